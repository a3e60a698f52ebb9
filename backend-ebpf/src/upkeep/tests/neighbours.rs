//! Neighbours that go, come back, and change their hardware address.

use super::*;
use crate::privileged::is_privileged;

/// Whether the leader's kernel makes this member's copy or its packet is the one that is copied.
fn reaches(load: &Load, member: usize) -> bool {
    let address = load.bed.hosts()[member].address(load.setup.ipv6, PORT);
    let state = load.nodes[0].shared().state();
    state.places.values().any(|place| place.hops.contains_key(&address.ip()))
}

#[test]
fn a_neighbour_that_cannot_be_reached_is_left_to_the_socket_until_it_can() {
    if !is_privileged("a_neighbour_that_cannot_be_reached_is_left_to_the_socket") {
        return;
    }
    for setup in [PLAIN, Setup { ipv6: true, ..PLAIN }] {
        let mut load = Load::start(setup);
        // The carrier, from whose packet the other's copy is made.
        load.ip_at_switch("link set dev peer1 nomaster");
        load.until("it is given up", |load| !reaches(load, 1));
        load.advance(100);
        load.ip_at_switch("link set dev peer1 master br0");
        load.until("it is reached again", |load| reaches(load, 1));
        load.until_ticks(0, Tick::Copies, 100);
        load.until_ticks(1, Tick::Stored, 100);
        assert_eq!(load.nodes[0].count(Counter::OffloadLost), 0, "the programs were never gone");
        load.finish();
    }
}

#[test]
fn a_neighbours_new_hardware_address_is_found() {
    if !is_privileged("a_neighbours_new_hardware_address_is_found") {
        return;
    }
    let mut load = Load::start(PLAIN);
    // The kernel asks a neighbour whether it is there still once in a while: here more often.
    for (parameter, value) in [
        ("base_reachable_time_ms", "1000"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "200"),
    ] {
        let path = format!("ipv4/neigh/eth0/{parameter}");
        load.bed.hosts()[0].set_parameter(&path, value).expect("a parameter of neighbours");
    }
    for (member, mac) in [(1, [2, 0xe1, 0xec, 0, 0x99, 1]), (2, [2, 0xe1, 0xec, 0, 0x99, 2])] {
        // The bridge must not deliver to an address that nobody has any more.
        let peer = format!("peer{member}");
        load.run_at_switch("bridge", &format!("link set dev {peer} flood off"));
        load.ip(member, &format!("link set dev eth0 address {}", text(mac)));
        let old = text(load.bed.hosts()[member].mac());
        load.run_at_switch("bridge", &format!("fdb del {old} dev {peer} master"));
        let address = load.bed.hosts()[member].ipv4();
        load.until("the address is found", |load| {
            let state = load.nodes[0].shared().state();
            state.places.values().all(|place| place.hops.get(&address.into()) == Some(&mac))
        });
        load.until_ticks(member, Tick::Stored, 100);
    }
    load.until_ticks(0, Tick::Copies, 100);
    load.finish();
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
