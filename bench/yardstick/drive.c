/*
 * Loads kern.c's object on an interface, as a follower or as the leader, and times the leader.
 *
 *   drive OBJECT follower tc|xdp IFACE
 *   drive OBJECT leader   tc|xdp IFACE OPERATIONS WINDOW (IP MAC)...
 *
 * XDP is the generic one. The leader spins on the ring of quorums; followers empty theirs every millisecond. Whatever is
 * attached goes with the interface's namespace, or with this process.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "busy.h"

/* Linux 6.6; older headers do not have them. */
#define TCX_INGRESS ((enum bpf_attach_type)46)
#define TCX_EGRESS ((enum bpf_attach_type)47)

enum { PORT = 10000, PAYLOAD_LEN = 64, FOLLOWERS_MAX = 6, PATIENCE_NS = 5000000 };

struct follower {
	unsigned char mac[8];
	uint32_t ip, pad;
};

static uint64_t known;

static int on_record(void *context, void *data, size_t len)
{
	(void)context, (void)data, (void)len;
	known++;
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int program(struct bpf_object *object, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(object, name));
}

static int map(struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

static void attach_tc(int ifindex, int fd, enum bpf_attach_type where)
{
	if (bpf_link_create(fd, ifindex, where, NULL) < 0)
		die("attach by tcx (Linux 6.6)");
}

static void attach_ingress(struct bpf_object *object, int ifindex, int tc, const char *who)
{
	char name[32];
	LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = 2 /* XDP_FLAGS_SKB_MODE */);

	snprintf(name, sizeof name, "%s_%s", who, tc ? "tc" : "xdp");
	if (tc)
		attach_tc(ifindex, program(object, name), TCX_INGRESS);
	else if (bpf_link_create(program(object, name), ifindex, BPF_XDP, &generic) < 0)
		die("attach by XDP");
}

static _Noreturn void follow(struct bpf_object *object)
{
	struct ring_buffer *ring = ring_buffer__new(map(object, "entries"), on_record, NULL, NULL);

	for (;;) {
		usleep(1000);
		ring_buffer__consume(ring);
	}
}

static void set_followers(struct bpf_object *object, uint32_t count, char **places)
{
	uint32_t key = 0, needed = (count + 1) / 2;

	bpf_map_update_elem(map(object, "config"), &key, &count, 0);
	key = 1;
	bpf_map_update_elem(map(object, "config"), &key, &needed, 0);
	for (key = 0; key < count; key++) {
		struct follower to = { .ip = inet_addr(places[2 * key]) };
		unsigned char *m = to.mac;

		sscanf(places[2 * key + 1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5);
		bpf_map_update_elem(map(object, "followers"), &key, &to, 0);
	}
}

static int open_socket(const char *first)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr(first) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
		die("connect");
	return fd;
}

static int lead(struct bpf_object *object, uint64_t operations, uint64_t window, const char *first)
{
	struct ring_buffer *ring = ring_buffer__new(map(object, "quorums"), on_record, NULL, NULL);
	int fd = open_socket(first);
	char payload[PAYLOAD_LEN] = { 0 };
	uint64_t *times = calloc(operations + 1, sizeof *times), sent = 0, seen = 0, start, heard, elapsed;
	double busy;

	if (!times)
		die("calloc");
	busy = busy_us();
	start = heard = now_ns();
	while (seen < operations && now_ns() - heard < PATIENCE_NS) {
		for (; sent - seen < window && sent < operations; sent++) {
			memcpy(payload, &sent, sizeof sent);
			times[sent] = now_ns();
			send(fd, payload, sizeof payload, 0);
		}
		ring_buffer__consume(ring);
		if (known == seen)
			continue;
		heard = now_ns();
		for (; seen < known; seen++)
			times[seen] = heard - times[seen];
	}
	elapsed = now_ns() - start;
	busy = busy_us() - busy;
	qsort(times, seen, sizeof *times, by_value);
	printf("{\"ops_per_s\": %.0f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"cpu_us_per_op\": %.2f, \"lost\": %llu}\n",
	       (double)seen / (double)elapsed * 1e9, (double)times[seen / 2] / 1e3, (double)times[seen * 99 / 100] / 1e3,
	       busy / (double)operations, (unsigned long long)(operations - seen));
	return 0;
}

int main(int argc, char **argv)
{
	int leads = argc >= 9 && argc % 2 == 1 && !strcmp(argv[2], "leader");

	if (!leads && (argc != 5 || strcmp(argv[2], "follower"))) {
		fprintf(stderr, "usage: %s OBJECT follower|leader tc|xdp IFACE [OPERATIONS WINDOW (IP MAC)...]\n", argv[0]);
		return 2;
	}
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	int ifindex = (int)if_nametoindex(argv[4]), tc = !strcmp(argv[3], "tc");

	if (!ifindex || !object || bpf_object__load(object))
		die("load");
	attach_ingress(object, ifindex, tc, leads ? "leader" : "follower");
	if (!leads) {
		puts("ready");
		fflush(stdout);
		follow(object);
	}
	attach_tc(ifindex, program(object, "leader_egress"), TCX_EGRESS);
	set_followers(object, (uint32_t)(argc - 7) / 2, argv + 7);
	return lead(object, strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10), argv[7]);
}
