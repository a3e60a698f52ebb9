/*
 * The floor: propose to quorum over plain UDP sockets, with nothing but the system calls.
 *
 *   sockets follower PORT
 *   sockets leader block|spin PORT OPERATIONS WINDOW FOLLOWER-IP...
 *
 * The leader hands each proposal of 64 bytes to every follower in one sendmmsg(2) and counts echoes; a proposal is
 * known when half of the followers, rounded up, have echoed it (the leader is the other half of the majority). There
 * is no protocol, no check and no retransmission: a lost datagram shows as a lost operation.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "busy.h"

enum { PAYLOAD_LEN = 64, FOLLOWERS_MAX = 31, PATIENCE_MS = 200 };

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(uint16_t port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	if (bind(fd, (struct sockaddr *)&own, sizeof own))
		die("bind");
	return fd;
}

static _Noreturn void follow(uint16_t port)
{
	int fd = open_socket(port);
	char payload[2048];

	puts("ready");
	fflush(stdout);
	for (;;) {
		struct sockaddr_in from;
		socklen_t from_len = sizeof from;
		ssize_t len = recvfrom(fd, payload, sizeof payload, 0, (struct sockaddr *)&from, &from_len);

		if (len >= 0)
			sendto(fd, payload, (size_t)len, 0, (struct sockaddr *)&from, from_len);
	}
}

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

struct run {
	uint64_t operations, sent, known;
	uint64_t *times; /* sent at, then latency */
	uint8_t *votes;
	uint8_t needed;
};

static void count_echo(struct run *run, const char *payload, ssize_t len)
{
	uint64_t slot;

	if (len != PAYLOAD_LEN)
		return;
	memcpy(&slot, payload, sizeof slot);
	if (slot >= run->sent || ++run->votes[slot] != run->needed)
		return;
	run->times[slot] = now_ns() - run->times[slot];
	run->known++;
}

static int lead(int spin, uint16_t port, struct run *run, uint64_t window, int followers, char **ips)
{
	struct sockaddr_in to[FOLLOWERS_MAX] = { 0 };
	struct mmsghdr batch[FOLLOWERS_MAX] = { 0 };
	char payload[PAYLOAD_LEN] = { 0 }, echo[PAYLOAD_LEN + 1];
	struct iovec body = { payload, sizeof payload };
	struct timeval patience = { .tv_usec = PATIENCE_MS * 1000 };
	uint64_t start, heard, elapsed;
	double busy;
	int fd = open_socket(port);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	for (int i = 0; i < followers; i++) {
		to[i] = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
		if (inet_pton(AF_INET, ips[i], &to[i].sin_addr) != 1)
			die(ips[i]);
		batch[i].msg_hdr = (struct msghdr){
			.msg_name = &to[i], .msg_namelen = sizeof to[i], .msg_iov = &body, .msg_iovlen = 1,
		};
	}
	busy = busy_us();
	start = heard = now_ns();
	while (run->known < run->operations) {
		for (; run->sent - run->known < window && run->sent < run->operations; run->sent++) {
			memcpy(payload, &run->sent, sizeof run->sent);
			run->times[run->sent] = now_ns();
			if (sendmmsg(fd, batch, (unsigned int)followers, 0) < 0)
				die("sendmmsg");
		}
		ssize_t len = recv(fd, echo, sizeof echo, spin ? MSG_DONTWAIT : 0);

		if (len >= 0) {
			count_echo(run, echo, len);
			heard = 0;
		} else if (!spin || (heard && now_ns() - heard > PATIENCE_MS * 1000000ull)) {
			break; /* lost: the window is stuck */
		} else if (!heard) {
			heard = now_ns();
		}
	}
	elapsed = now_ns() - start;
	busy = busy_us() - busy;
	qsort(run->times, run->known, sizeof *run->times, by_value);
	printf("{\"ops_per_s\": %.0f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"cpu_us_per_op\": %.2f, \"lost\": %llu}\n",
	       (double)run->known / (double)elapsed * 1e9, (double)run->times[run->known / 2] / 1e3,
	       (double)run->times[run->known * 99 / 100] / 1e3, busy / (double)run->operations,
	       (unsigned long long)(run->operations - run->known));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "follower"))
		follow((uint16_t)atoi(argv[2]));
	if (argc < 7 || argc - 6 > FOLLOWERS_MAX || strcmp(argv[1], "leader")) {
		fprintf(stderr, "usage: %s follower PORT | leader block|spin PORT OPERATIONS WINDOW IP...\n", argv[0]);
		return 2;
	}
	int followers = argc - 6;
	struct run run = { .operations = strtoull(argv[4], NULL, 10), .needed = (uint8_t)((followers + 1) / 2) };

	run.times = calloc(run.operations + 1, sizeof *run.times);
	run.votes = calloc(run.operations + 1, sizeof *run.votes);
	if (!run.times || !run.votes)
		die("calloc");
	return lead(!strcmp(argv[2], "spin"), (uint16_t)atoi(argv[3]), &run, strtoull(argv[5], NULL, 10), followers,
		    argv + 6);
}
