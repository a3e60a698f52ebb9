//! What stands in the way of an endpoint, one story a row: a typed error that says what to do, and
//! nothing left attached.

use std::net::SocketAddr;

use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_ebpf_abi::{Endpoint, GROUPS_MAX};
use electrode_transport::{
    AckMode, Ballot, ClusterId, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation, LogBatch,
    Member, Membership, NodeId, Obstacle, QuorumRule, Slot, TransportError,
};

use crate::endpoint::EbpfEndpoint;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{Kernel, Settings};
use crate::net::Interface;
use crate::options::{EbpfOptions, HookChoice};
use crate::privileged::is_privileged;
use crate::survey::{Survey, TcOccupants};

#[path = "../tests/pinned/bpffs.rs"]
#[allow(dead_code, reason = "the pinned tests' own, which use all of it")]
#[allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
mod bpffs;

const PORT: u16 = 7_400;

fn settings() -> Settings {
    Settings {
        endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
        offloads: 0,
        log_bytes: 1 << 16,
        notice_bytes: 1 << 16,
    }
}

fn bind(
    address: SocketAddr,
    hook: impl Into<HookChoice>,
    len: usize,
) -> electrode_transport::Result<EbpfEndpoint> {
    let mut config = EndpointConfig::new(ClusterId(9), NodeId(1), address);
    config.datagram_len_max = len;
    EbpfEndpoint::bind(config, EbpfOptions { hook: hook.into(), ..EbpfOptions::default() })
}

/// A group of this one member.
fn alone(group: GroupId, address: SocketAddr) -> GroupConfig {
    let members = [Member::voter(NodeId(1), address)];
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority);
    let mut config = GroupConfig::new(group, membership.expect("one member"));
    config.mode = AckMode::Received;
    config
}

/// What is attached to the host's interface: the owner's names at XDP, ingress and egress.
fn attached(host: &Host) -> [Vec<String>; 3] {
    let survey = host.within(|| Survey::of(host.ipv4().into(), 1_400)).expect("the namespace");
    let occupants = survey.expect("the interface").occupants;
    let name = |program: &crate::survey::Program| program.name.clone().unwrap_or_default();
    let tcx = |at: &TcOccupants| at.tcx.as_ref().expect("tcx").iter().map(name).collect();
    let xdp = occupants.xdp.iter().map(|it| name(&it.program)).collect();
    [xdp, tcx(&occupants.ingress), tcx(&occupants.egress)]
}

const NOTHING: [Vec<String>; 3] = [Vec::new(), Vec::new(), Vec::new()];

fn why(error: TransportError, obstacle: Obstacle) -> String {
    match error {
        TransportError::Unavailable { backend: "ebpf", reason, why } if reason == obstacle => why,
        error => panic!("not that {obstacle} is why the backend cannot run: {error:?}"),
    }
}

/// `include/uapi/linux/capability.h`.
const NET_ADMIN: u64 = 1 << 12;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// From now on this thread, and whatever it starts, has no other capabilities (capset(2)).
fn keep(capabilities: u64) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (capabilities as u32, (capabilities >> 32) as u32);
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: both arrays are what version 3 of the call reads, and outlive it.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn without_privileges_the_error_says_which_are_needed() {
    if !is_privileged("without privileges the error says which are needed") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).expect("the test bed");
    let host = &bed.hosts()[0];
    let address = host.address(false, PORT);
    for (capabilities, lacks) in [
        (0, Some("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN:")),
        (NET_ADMIN, Some("CAP_BPF, CAP_PERFMON:")),
        (BPF | PERFMON, Some("CAP_NET_ADMIN:")),
        (BPF | NET_ADMIN, Some("CAP_PERFMON:")),
        (BPF | NET_ADMIN | PERFMON, None),
    ] {
        for hook in Hook::ALL {
            let bound = host.enter(|| {
                keep(capabilities);
                bind(address, hook, 1_400)
            });
            let result = bound.expect("the namespace");
            let during = attached(host);
            let what = format!("{hook} with capabilities {capabilities:#x}");
            match result {
                Ok(endpoint) => {
                    assert_eq!(lacks, None, "{what} is not enough");
                    assert_ne!(during, NOTHING, "{what}");
                    endpoint.close();
                }
                Err(error) => {
                    let why = why(error, Obstacle::Privileges);
                    let lacks = lacks.unwrap_or_else(|| panic!("{what}: {why}"));
                    assert!(why.contains(&format!("needs {lacks}")), "{what}: {why}");
                }
            }
            assert_eq!(attached(host), NOTHING, "{what}");
        }
    }
}

#[test]
fn an_xdp_slot_that_is_taken_is_told_with_its_owner() {
    if !is_privileged("an XDP slot that is taken is told with its owner") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).expect("the test bed");
    let host = &bed.hosts()[0];
    let address = host.address(false, PORT);
    let (mut other, _rings) = Kernel::load(&settings()).expect("the programs load");
    let _theirs = host
        .within(|| {
            let interface = Interface::of_address(host.ipv4().into()).expect("the interface");
            other.attach_stub(&interface).expect("a free slot")
        })
        .expect("the namespace");
    let theirs = [vec!["el_pass".to_owned()], Vec::new(), Vec::new()];
    for hook in [Hook::XdpNative, Hook::XdpGeneric] {
        let error = host.within(|| bind(address, hook, 1_400)).expect("the namespace");
        let why = why(error.expect_err("the slot is taken"), Obstacle::Occupied);
        assert!(why.contains("el_pass") && why.contains("use the hook tc"), "{hook}: {why}");
        assert_eq!(attached(host), theirs, "{hook}: nothing of ours, and theirs is still there");
    }
    for choice in [HookChoice::Only(Hook::Tc), HookChoice::Auto] {
        let endpoint = host.within(|| bind(address, choice, 1_400)).expect("the namespace");
        let endpoint = endpoint.expect("TC is free");
        assert_eq!(attached(host)[0], theirs[0], "{choice}: nobody is evicted");
        endpoint.close();
        assert_eq!(attached(host), theirs, "{choice}");
    }
}

#[test]
fn where_it_cannot_work_the_error_says_what_to_change() {
    if !is_privileged("where it cannot work the error says what to change") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).expect("the test bed");
    let host = &bed.hosts()[0];
    let (four, six) = (host.address(false, PORT), host.address(true, PORT));
    // One row: where, how long a datagram, and what the error says, if there is one.
    for (address, len, said) in [
        (four, 1_472, None),
        (four, 1_473, Some("lower `datagram_len_max`")),
        (six, 1_452, None),
        (six, 1_453, Some("raise the MTU")),
        (four, 8_952, Some("needs 8980 bytes")),
    ] {
        let result = host.within(|| bind(address, Hook::Tc, len)).expect("the namespace");
        match (result, said) {
            (Ok(endpoint), None) => endpoint.close(),
            (Err(error), Some(said)) => {
                let why = why(error, Obstacle::Mtu);
                assert!(why.contains(said), "{address}, {len}: {why}");
            }
            (result, _) => panic!("{address}, {len}: {result:?}"),
        }
        assert_eq!(attached(host), NOTHING, "{address}, {len}");
    }
    let nobodys = SocketAddr::from(([10, 77, 0, 200], PORT));
    let result = host.within(|| bind(nobodys, Hook::Tc, 1_400)).expect("the namespace");
    assert!(matches!(result, Err(TransportError::AddressNotLocal { .. })), "{result:?}");
    let endpoint = host.within(|| bind(four, Hook::Tc, 1_400)).expect("the namespace");
    let endpoint = endpoint.expect("it works here");
    let result = host.within(|| bind(four, Hook::Tc, 1_400)).expect("the namespace");
    assert!(matches!(result, Err(TransportError::AddressInUse { .. })), "{result:?}");
    assert_ne!(attached(host), NOTHING, "the first one works on");
    drop(endpoint);
    assert_eq!(attached(host), NOTHING);
}

#[test]
fn an_endpoint_whose_kernel_runs_no_commands_says_so() {
    if !is_privileged("an endpoint whose kernel runs no commands says so") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).expect("the test bed");
    let host = &bed.hosts()[0];
    let address = host.address(false, PORT);
    let endpoint = host.within(|| bind(address, Hook::Tc, 1_400)).expect("the namespace");
    let endpoint = endpoint.expect("it works here");
    let mut config = alone(GroupId(1), address);
    let group = endpoint.join(config.clone()).expect("the group opens");
    let token = group.fence(Ballot(1)).expect("a first fence").token;
    group.lead(&token, Slot(1)).expect("a first leader");

    let answer = endpoint.shared().insist(|| Err(EbpfError::Foreign { name: "el_control" }));
    assert_eq!(answer, 0, "which is no command's answer");
    let first = endpoint.drive();
    let frame = Frame::single(Slot(1), b"lost");
    config.group = GroupId(2);
    for (call, error) in [
        ("drive", first.and_then(|()| endpoint.drive()).err()),
        ("wait", endpoint.wait(std::time::Duration::ZERO).err()),
        ("broadcast", group.try_broadcast(Ballot(1), &[frame]).err()),
        ("quorum", group.quorum(Ballot(1)).err()),
        ("fence", group.fence(Ballot(2)).err()),
        ("poll_log", group.try_poll_log(&mut LogBatch::default()).err()),
        ("join", endpoint.join(config.clone()).err()),
    ] {
        let error = error.unwrap_or_else(|| panic!("{call} does as if nothing had happened"));
        let why = why(error, Obstacle::Version);
        assert!(why.contains("el_control") && why.contains("bind it anew"), "{call}: {why}");
    }
    endpoint.close();
    assert_eq!(attached(host), NOTHING);
}

#[test]
fn there_is_room_for_so_many_groups_and_no_more() {
    if !is_privileged("room for so many groups") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).expect("the test bed");
    let host = &bed.hosts()[0];
    let address = host.address(false, PORT);
    let endpoint = host.within(|| bind(address, Hook::Tc, 1_400)).expect("the namespace");
    let endpoint = endpoint.expect("it works here");
    let groups: Vec<_> = (1..=GROUPS_MAX)
        .map(|id| endpoint.join(alone(GroupId(id), address)).expect("there is room"))
        .collect();
    // Each has a state of its own.
    for (group, ballot) in groups.iter().zip(1..) {
        let token = group.fence(Ballot(ballot)).expect("a first fence").token;
        group.lead(&token, Slot(ballot)).expect("a first leader");
    }
    for (group, ballot) in groups.iter().zip(1..) {
        let frame = Frame::single(Slot(ballot), b"of this group alone");
        assert_eq!(group.try_broadcast(Ballot(ballot), &[frame]).expect("it leads"), 1);
        assert_eq!(group.quorum(Ballot(ballot)).expect("it leads").through, Slot(ballot));
    }
    let more = || endpoint.join(alone(GroupId(GROUPS_MAX + 1), address));
    let why = why(more().err().expect("there is no room"), Obstacle::Limit);
    assert!(why.contains("1024 groups") && why.contains("open another endpoint"), "{why}");
    groups[500].close();
    more().expect("there is room again");
}

/// It closes itself before its user can say how it is to end.
#[test]
fn an_endpoint_that_failed_leaves_no_pins_when_it_is_closed() {
    if !is_privileged("pins of an endpoint that failed") {
        return;
    }
    let (bed, bpffs) = (BridgeBed::build(1, 1_500).expect("the test bed"), bpffs::Bpffs::mount());
    let host = &bed.hosts()[0];
    let config = EndpointConfig::new(ClusterId(9), NodeId(1), host.address(false, PORT));
    let mut options = EbpfOptions { hook: Hook::Tc.into(), ..EbpfOptions::default() };
    options.pin = Some(bpffs.folder());
    let endpoint = host.within(|| EbpfEndpoint::bind(config, options)).expect("the namespace");
    let endpoint = endpoint.expect("it works here");
    assert_eq!(bpffs.contents().len(), 1);
    endpoint.shared().insist(|| Err(EbpfError::Foreign { name: "el_control" }));
    // What a driver does that meets it.
    assert!(endpoint.drive().and_then(|()| endpoint.drive()).is_err());
    endpoint.inner.close();
    assert_eq!(bpffs.contents().len(), 1, "an end that nobody asked for leaves its pins");
    endpoint.close();
    assert!(bpffs.contents().is_empty(), "{:?}", bpffs.contents());
    assert_eq!(attached(host), NOTHING);
}
