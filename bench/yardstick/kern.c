/*
 * The floor in the kernel: the unavoidable work of the three offloads, and nothing else. A follower's program appends
 * 64 bytes to a ring and turns the packet round; the leader's egress program clones one packet to everybody, its
 * ingress program counts and posts a quorum once. There is no protocol, no check, no retransmission; loaded by drive.c.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define PORT_HI 0x27 // UDP port 10000
#define PORT_LO 0x10
#define PAYLOAD 64
#define FRAME (42 + PAYLOAD) // Ethernet 14, IPv4 20, UDP 8
#define CLONE_MARK 0xe1ec
#define MAX_FOLLOWERS 6
#define WINDOW 4096

struct follower {
	unsigned char mac[8];
	__u32 ip;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} quorums SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FOLLOWERS);
	__type(key, __u32);
	__type(value, struct follower);
} followers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WINDOW);
	__type(key, __u32);
	__type(value, __u64);
} votes SEC(".maps");

// 0: how many followers; 1: how many of their acknowledgements make a quorum with the leader
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} config SEC(".maps");

static __always_inline int is_udp(unsigned char *p, unsigned char *end)
{
	return p + FRAME <= end && p[12] == 8 && p[13] == 0 && p[23] == 17;
}

static __always_inline void turn_round(unsigned char *p)
{
	unsigned char t;

#pragma unroll
	for (int i = 0; i < 6; i++) {
		t = p[i];
		p[i] = p[6 + i];
		p[6 + i] = t;
	}
#pragma unroll
	for (int i = 0; i < 4; i++) {
		t = p[26 + i];
		p[26 + i] = p[30 + i];
		p[30 + i] = t;
	}
	t = p[34], p[34] = p[36], p[36] = t;
	t = p[35], p[35] = p[37], p[37] = t;
	p[40] = p[41] = 0;
}

static __always_inline int store_and_turn(unsigned char *p, unsigned char *end)
{
	void *record;

	if (!is_udp(p, end) || p[36] != PORT_HI || p[37] != PORT_LO)
		return 0;
	record = bpf_ringbuf_reserve(&entries, PAYLOAD, 0);
	if (!record)
		return 0;
	__builtin_memcpy(record, p + 42, PAYLOAD);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	turn_round(p);
	return 1;
}

static __always_inline int count(unsigned char *p, unsigned char *end)
{
	__u32 index, one = 1, *needed;
	__u64 slot, *seen, *record;

	if (!is_udp(p, end) || p[34] != PORT_HI || p[35] != PORT_LO)
		return 0;
	slot = *(__u64 *)(p + 42);
	index = slot & (WINDOW - 1);
	seen = bpf_map_lookup_elem(&votes, &index);
	needed = bpf_map_lookup_elem(&config, &one);
	if (!seen || !needed)
		return 0;
	if (__sync_fetch_and_add(seen, 1) + 1 == *needed) {
		record = bpf_ringbuf_reserve(&quorums, 8, 0);
		if (record) {
			*record = slot;
			bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
		}
	}
	return 1;
}

#define DATA(c) ((void *)(long)(c)->data)
#define END(c) ((void *)(long)(c)->data_end)

SEC("xdp") int follower_xdp(struct xdp_md *c)
{
	return store_and_turn(DATA(c), END(c)) ? XDP_TX : XDP_PASS;
}

SEC("tc") int follower_tc(struct __sk_buff *c)
{
	if (bpf_skb_pull_data(c, FRAME))
		return TC_ACT_OK;
	return store_and_turn(DATA(c), END(c)) ? bpf_redirect(c->ifindex, 0) : TC_ACT_OK;
}

SEC("xdp") int leader_xdp(struct xdp_md *c)
{
	return count(DATA(c), END(c)) ? XDP_DROP : XDP_PASS;
}

SEC("tc") int leader_tc(struct __sk_buff *c)
{
	if (bpf_skb_pull_data(c, FRAME))
		return TC_ACT_OK;
	return count(DATA(c), END(c)) ? TC_ACT_SHOT : TC_ACT_OK;
}

// Clones re-enter this program: the mark lets them through.
SEC("tc") int leader_egress(struct __sk_buff *c)
{
	__u32 index, zero = 0, *n, total;
	__u64 *seen;
	unsigned char *p;

	if (c->mark == CLONE_MARK || bpf_skb_pull_data(c, FRAME))
		return TC_ACT_OK;
	p = DATA(c);
	if (!is_udp(p, END(c)) || p[36] != PORT_HI || p[37] != PORT_LO)
		return TC_ACT_OK;
	index = *(__u64 *)(p + 42) & (WINDOW - 1);
	seen = bpf_map_lookup_elem(&votes, &index);
	if (seen)
		*seen = 0;
	n = bpf_map_lookup_elem(&config, &zero);
	if (!n)
		return TC_ACT_OK;
	total = *n;
	for (__u32 i = 0; i < MAX_FOLLOWERS && i < total; i++) {
		__u32 key = i, before, sum;
		struct follower *f = bpf_map_lookup_elem(&followers, &key);

		p = DATA(c);
		if (!f || !is_udp(p, END(c)))
			return TC_ACT_OK;
		__builtin_memcpy(p, f->mac, 6);
		before = *(__u32 *)(p + 30);
		*(__u32 *)(p + 30) = f->ip;
		p[40] = p[41] = 0;
		sum = (~*(__u16 *)(p + 24)) & 0xffff;
		sum += (~before & 0xffff) + ((~before >> 16) & 0xffff);
		sum += (f->ip & 0xffff) + (f->ip >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		*(__u16 *)(p + 24) = ~sum;
		if (i == total - 1)
			return TC_ACT_OK;
		c->mark = CLONE_MARK;
		bpf_clone_redirect(c, c->ifindex, 0);
	}
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
