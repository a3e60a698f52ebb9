//! Interfaces that fall, rise, are renamed, deleted and made again, and addresses that move.

use super::*;
use crate::privileged::is_privileged;

/// Wires a host's interface as the bed did, by another name perhaps.
fn wire(load: &Load, node: usize, name: &str) {
    let host = &load.bed.hosts()[node];
    let peer = format!("again{node}");
    let namespace = host.namespace().name();
    load.ip_at_switch(&format!("link add {peer} type veth peer name {name} netns {namespace}"));
    load.ip_at_switch(&format!("link set dev {peer} master br0 up"));
}

fn give_address(load: &Load, node: usize, name: &str) {
    let host = &load.bed.hosts()[node];
    load.ip(node, &format!("address add {}/24 dev {name}", host.ipv4()));
    load.ip(node, &format!("address add {}/64 dev {name} nodad", host.ipv6()));
}

#[test]
fn a_link_that_falls_and_rises_loses_nothing() {
    if !is_privileged("a_link_that_falls_and_rises_loses_nothing") {
        return;
    }
    let mut load = Load::start(PLAIN);
    // A follower: the other one and the leader are a quorum.
    load.ip(1, "link set dev eth0 down");
    load.advance(100);
    load.ip(1, "link set dev eth0 up");
    load.until_ticks(1, Tick::Stored, 100);
    // Its cable.
    load.ip_at_switch("link set dev peer2 down");
    load.advance(100);
    load.ip_at_switch("link set dev peer2 up");
    load.until_ticks(2, Tick::Stored, 100);
    // The leader: nothing goes until it is back.
    load.ip(0, "link set dev eth0 down");
    for _ in 0..200 {
        load.turn(true);
    }
    load.ip(0, "link set dev eth0 up");
    load.until_ticks(0, Tick::Copies, 100);
    load.finish();
}

#[test]
fn an_interface_keeps_its_programs_under_another_name() {
    if !is_privileged("an_interface_keeps_its_programs_under_another_name") {
        return;
    }
    let mut load = Load::start(PLAIN);
    for node in [0, 1] {
        load.ip(node, "link set dev eth0 down");
        load.ip(node, "link set dev eth0 name other0");
        load.ip(node, "link set dev other0 up");
    }
    load.until_ticks(0, Tick::Copies, 100);
    load.until_ticks(1, Tick::Stored, 100);
    assert_eq!(load.nodes[0].count(Counter::OffloadLost), 0, "they were in place all the time");
    // And are found there when they are missing.
    load.nodes[0].link(OUT_TC).detach().expect("it was attached");
    load.lost_and_regained(0, 1);
    load.finish();
}

#[test]
fn an_interface_that_is_deleted_and_made_again_gets_its_programs_back() {
    if !is_privileged("an_interface_that_is_deleted_and_made_again") {
        return;
    }
    for setup in [PLAIN, Setup { hook: Hook::XdpGeneric, ipv6: true, ..PLAIN }] {
        let mut load = Load::start(setup);
        for node in [1, 0] {
            load.ip(node, "link del dev eth0");
            load.until("it is known", |load| {
                let can = load.nodes[node].can();
                !can.kernel_broadcast && !can.kernel_acknowledge && !can.kernel_quorum
            });
            if node != 0 {
                load.advance(100);
            }
            // Something else has been made in between, so that the new one has another index.
            load.ip(node, "link add dev spare0 type veth peer name spare1");
            wire(&load, node, "eth0");
            let mac = load.bed.hosts()[node].mac().map(|byte| format!("{byte:02x}")).join(":");
            load.ip(node, &format!("link set dev eth0 address {mac} up"));
            give_address(&load, node, "eth0");
            load.lost_and_regained(node, 2);
        }
        load.until_ticks(0, Tick::Copies, 100);
        load.until_ticks(1, Tick::Stored, 100);
        load.finish();
    }
}

#[test]
fn an_address_that_moves_to_another_interface_is_followed() {
    if !is_privileged("an_address_that_moves_to_another_interface_is_followed") {
        return;
    }
    let mut load = Load::start(PLAIN);
    for node in [1, 0] {
        wire(&load, node, "eth1");
        load.ip(node, "link set dev eth1 up");
        let ipv4 = load.bed.hosts()[node].ipv4();
        load.ip(node, &format!("address del {ipv4}/24 dev eth0"));
        load.ip(node, "link set dev eth0 down");
        give_address_v4(&load, node, "eth1");
        load.lost_and_regained(node, 2);
    }
    load.until_ticks(0, Tick::Copies, 100);
    load.until_ticks(1, Tick::Stored, 100);
    load.finish();
}

fn give_address_v4(load: &Load, node: usize, name: &str) {
    let ipv4 = load.bed.hosts()[node].ipv4();
    load.ip(node, &format!("address add {ipv4}/24 dev {name}"));
}

#[test]
fn an_mtu_below_a_datagram_puts_user_space_in_charge_of_broadcasts() {
    if !is_privileged("an_mtu_below_a_datagram_puts_user_space_in_charge") {
        return;
    }
    let mut load = Load::start(PLAIN);
    // Room for the heads, not for every body: datagrams of this load have up to 364 bytes.
    load.ip(0, "link set dev eth0 mtu 300");
    load.until("it is known", |load| !load.nodes[0].can().kernel_broadcast);
    assert!(load.nodes[0].can().kernel_quorum, "answers are short");
    load.advance(500);
    load.ip(0, "link set dev eth0 mtu 1500");
    load.lost_and_regained(0, 1);
    load.until_ticks(0, Tick::Copies, 100);
    load.finish();
}
