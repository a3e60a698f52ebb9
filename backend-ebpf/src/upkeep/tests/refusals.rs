//! Members to whom the system refuses to send, and frames that no program of ours sees leave.

use super::*;
use crate::privileged::is_privileged;

/// `nft` in a node's host: its words, semicolons and braces as they are.
fn nft(load: &Load, node: usize, line: &str) {
    let namespace = load.bed.hosts()[node].namespace().name().to_owned();
    let done = Command::new("ip").args(["netns", "exec", &namespace, "nft", line]).output();
    let done = done.expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "nft {line}: {said}");
}

fn carrier(load: &Load) -> u8 {
    let state = load.nodes[0].shared().state();
    state.places.values().next().expect("a group").carrier
}

#[test]
fn a_member_behind_a_firewall_is_not_what_the_others_copies_are_made_of() {
    if !is_privileged("a_member_behind_a_firewall") {
        return;
    }
    let mut load = Load::start(PLAIN);
    assert_eq!(carrier(&load), 1);
    nft(&load, 0, "add table inet wall");
    nft(&load, 0, "add chain inet wall out { type filter hook output priority 0; }");
    let walled = load.bed.hosts()[1].ipv4();
    nft(&load, 0, &format!("add rule inet wall out ip daddr {walled} udp dport {PORT} drop"));
    load.until("another member is the carrier", |load| carrier(load) == 2);
    assert!(load.nodes[0].count(Counter::TxErrors) > 0, "it was the refusal that told");
    load.until_ticks(2, Tick::Stored, 200);
    nft(&load, 0, "delete table inet wall");
    load.until("it is the carrier again", |load| carrier(load) == 1);
    load.until_ticks(0, Tick::Copies, 100);
    load.finish();
}

#[test]
fn a_route_that_carries_less_than_a_datagram_is_left_to_the_socket() {
    if !is_privileged("a_route_that_carries_less_than_a_datagram") {
        return;
    }
    let mut load = Load::start(PLAIN);
    let narrow = load.bed.hosts()[1].ipv4();
    load.ip(0, &format!("route add {narrow}/32 dev eth0 mtu 600"));
    load.until("another member is the carrier", |load| carrier(load) == 2);
    load.until_ticks(2, Tick::Stored, 200);
    load.ip(0, &format!("route del {narrow}/32 dev eth0"));
    load.until("it is the carrier again", |load| carrier(load) == 1);
    load.finish();
}

/// The leader's own word is said once, and nobody repeats it: it must count, whether a program saw the
/// frame leave or not.
#[test]
fn the_leaders_own_vote_counts_for_what_no_program_saw_leave() {
    if !is_privileged("the_leaders_own_vote") {
        return;
    }
    let mut load = Load::start(Setup { mode: AckMode::Persisted, ..PLAIN });
    load.settle();
    // Both others are away: nothing but the leader's own vote can come about.
    load.ip_at_switch("link set dev peer1 down");
    load.ip_at_switch("link set dev peer2 down");
    let tally = |load: &Load| {
        let acked = load.nodes[0].group.acked(BALLOT).expect("it leads");
        acked.of(NodeId(1)).expect("a member").acked.0
    };
    load.nodes[0].link(OUT_TC).detach().expect("it was attached");
    load.next = Instant::now();
    // The mark still stands, so nobody arms the tally before the frame leaves; and it does not meet the
    // program. The vote is cast in the same turn.
    load.turn(true);
    assert_eq!(tally(&load), load.sent, "it was cast and counts");
    load.ip_at_switch("link set dev peer1 up");
    load.ip_at_switch("link set dev peer2 up");
    load.until("it is put back", |load| load.nodes[0].count(Counter::OffloadRegained) > 0);
    load.finish();
}

#[test]
fn two_endpoints_on_one_interface_do_not_meet_each_others_copies() {
    if !is_privileged("two_endpoints_on_one_interface") {
        return;
    }
    let mut load = Load::start(PLAIN);
    let host = &load.bed.hosts()[0];
    // Its program comes first on the way out.
    let other = host.address(false, PORT + 1);
    let config = EndpointConfig::new(ClusterId(9), NodeId(9), other);
    let options = EbpfOptions { hook: Hook::Tc.into(), ..EbpfOptions::default() };
    let endpoint = host.within(|| EbpfEndpoint::bind(config, options));
    let endpoint = endpoint.expect("the namespace").expect("there is room for two at TC");
    load.settle();
    let before: Vec<_> =
        [(0, Tick::Left), (0, Tick::Copies), (1, Tick::Duplicate), (2, Tick::Duplicate)]
            .map(|(node, tick)| (node, tick, load.nodes[node].tick(tick)))
            .into();
    load.advance(500);
    load.settle();
    let rose: Vec<_> =
        before.iter().map(|(node, tick, then)| load.nodes[*node].tick(*tick) - then).collect();
    let [left, copies, again @ ..] = &rose[..] else { panic!("four counters") };
    // One follower's copy of each frame that left, but for those sent again to one alone.
    assert!(*copies >= 500 && copies <= left, "{rose:?}");
    assert!(again.iter().all(|again| again * 10 < *left), "frames came over and over: {rose:?}");
    drop(endpoint);
    load.finish();
}
