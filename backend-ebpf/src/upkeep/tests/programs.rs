//! Programs that are detached or replaced under a running endpoint, by somebody else.

use super::*;
use crate::kernel::{Kernel, Rings, Settings};
use crate::net::Interface;
use crate::privileged::is_privileged;

/// Programs of somebody else.
fn other_programs() -> (Kernel, Rings) {
    let settings = Settings {
        endpoint: electrode_ebpf_abi::Endpoint::default(),
        offloads: 0,
        log_bytes: 1 << 16,
        notice_bytes: 1 << 16,
    };
    Kernel::load(&settings).expect("the programs load")
}

/// On veth a frame sent back by a driver-mode program needs a program at the other end.
fn stubs(bed: &BridgeBed) -> Vec<Attachment> {
    let stub = |(switch, peer): (&Namespace, String)| {
        let attach = || {
            let (mut kernel, _rings) = other_programs();
            kernel.attach_stub(&Interface::by_name(&peer).expect("the peer end"))
        };
        switch.within(attach).expect("the namespace").expect("the stub")
    };
    bed.peers().map(stub).collect()
}

fn ingress_program(hook: Hook) -> &'static str {
    if hook == Hook::Tc { IN_TC } else { IN_XDP }
}

#[test]
fn an_egress_program_that_is_detached_comes_back() {
    if !is_privileged("an_egress_program_that_is_detached_comes_back") {
        return;
    }
    for mode in [AckMode::Received, AckMode::Persisted] {
        let mut load = Load::start(Setup { mode, ..PLAIN });
        for node in [0, 1] {
            load.nodes[node].link(OUT_TC).detach().expect("it was attached");
            load.until("it is known", |load| !load.nodes[node].can().kernel_broadcast);
            load.advance(100);
            load.lost_and_regained(node, 1);
            assert!(load.nodes[node].can().kernel_broadcast);
        }
        load.until_ticks(0, Tick::Copies, 100);
        load.finish();
    }
}

#[test]
fn an_ingress_program_that_is_detached_comes_back_on_every_hook() {
    if !is_privileged("an_ingress_program_that_is_detached_comes_back") {
        return;
    }
    for hook in Hook::ALL {
        let setup = Setup { hook, ..PLAIN };
        let mut load = Load::start_with(setup, stubs);
        for node in [0, 1] {
            load.nodes[node].link(ingress_program(hook)).detach().expect("it was attached");
            load.until("it is known", |load| {
                let can = load.nodes[node].can();
                !can.kernel_acknowledge && !can.kernel_quorum
            });
            load.advance(100);
            load.lost_and_regained(node, 1);
            let can = load.nodes[node].can();
            assert!(can.kernel_acknowledge && can.kernel_quorum);
        }
        load.until_ticks(1, Tick::Stored, 100);
        load.until_ticks(0, Tick::AckCounted, 100);
        load.finish();
    }
}

#[test]
fn frames_let_go_before_a_detached_program_is_missed_get_their_quorum() {
    if !is_privileged("frames_let_go_before_a_detached_program_is_missed") {
        return;
    }
    let mut load = Load::start(PLAIN);
    for round in 1..=3 {
        load.settle();
        load.nodes[0].link(OUT_TC).detach().expect("it was attached");
        // The mark still stands: no copies, and nobody arms the tally. And nothing follows that would.
        load.next = Instant::now();
        load.turn(true);
        assert_eq!(load.quorum() + 1, load.sent);
        // Nor does the program come back to do it for what is sent again: it has no place now.
        load.ip(0, "link set dev eth0 mtu 1300");
        load.settle();
        assert!(!load.nodes[0].can().kernel_broadcast, "user space has done it alone");
        load.ip(0, "link set dev eth0 mtu 1500");
        load.until("it is put back", |load| load.nodes[0].can().kernel_broadcast);
        assert!(load.nodes[0].count(Counter::OffloadLost) >= round);
    }
    load.finish();
}

#[test]
fn a_program_put_in_the_place_of_ours_is_missed() {
    if !is_privileged("a_program_put_in_the_place_of_ours_is_missed") {
        return;
    }
    let mut load = Load::start(Setup { hook: Hook::XdpGeneric, ..PLAIN });
    let (mut other, _rings) = other_programs();
    let other = other.load_xdp("el_pass").expect("the program loads");
    let other = std::os::fd::AsFd::as_fd(other.fd().expect("it is loaded"));
    load.nodes[1].link(IN_XDP).replace(other).expect("one XDP program for another");
    load.lost_and_regained(1, 1);
    load.until_ticks(1, Tick::Stored, 100);
    load.finish();
}

#[test]
fn a_slot_that_somebody_else_took_is_left_to_them_until_it_is_free() {
    if !is_privileged("a_slot_that_somebody_else_took_is_left_to_them") {
        return;
    }
    let mut load = Load::start(Setup { hook: Hook::XdpGeneric, ..PLAIN });
    let (mut other, _rings) = other_programs();
    let host = &load.bed.hosts()[1];
    let ours = load.nodes[1].link(IN_XDP);
    // Between the two the warden may be faster, and then it is detached once more.
    let theirs = host
        .within(|| {
            let interface = Interface::by_name(host.interface()).expect("the interface");
            loop {
                ours.detach().or_else(|_| load.nodes[1].link(IN_XDP).detach()).expect("detached");
                if let Ok(attached) = other.attach_ingress(&interface, Hook::XdpGeneric) {
                    break attached;
                }
            }
        })
        .expect("the namespace");
    load.until("it is known", |load| !load.nodes[1].can().kernel_acknowledge);
    load.advance(2_000);
    assert!(!load.nodes[1].can().kernel_acknowledge, "the slot is taken");
    drop(theirs);
    load.until("it is back", |load| load.nodes[1].can().kernel_acknowledge);
    load.until_ticks(1, Tick::Stored, 100);
    load.finish();
}
