//! Opening the eBPF backend, and what becomes of it where it cannot be had.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(all(feature = "ebpf", feature = "socket", target_os = "linux"))]

mod privileged;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode::{
    AckMode, Ballot, Choice, ClusterId, Counter, Endpoint, EndpointConfig, Frame, GroupConfig,
    GroupId, Hook, Incarnation, LogBatch, Member, Membership, NodeId, Obstacle, Options,
    QuorumRule, QuorumTransport, Slot, TransportError,
};
use electrode_conformance::testbed::BridgeBed;
use privileged::{ForEverybody, is_privileged};

fn options(node: u64, address: SocketAddr) -> Options {
    let mut options = Options::new(EndpointConfig::new(ClusterId(1), NodeId(node), address));
    options.ebpf.log_bytes = 1 << 16;
    options
}

/// What `Auto` and `Ebpf` must do where the kernel cannot serve.
fn falls_back(address: SocketAddr, reason: Obstacle, says: &str) {
    let refused = electrode::open(options(1, address).with_backend(Choice::Ebpf)).unwrap_err();
    match &refused {
        TransportError::Unavailable { backend: "ebpf", reason: told, why } => {
            assert_eq!(*told, reason, "{refused}");
            assert!(why.contains(says), "{refused}");
        }
        _ => panic!("{refused}"),
    }
    let mut pinned = options(1, address);
    pinned.ebpf.pin = Some("/sys/fs/bpf/electrode-none".into());
    let refused = electrode::open(pinned).unwrap_err();
    let is_told =
        matches!(&refused, TransportError::Unavailable { reason: told, .. } if *told == reason);
    assert!(is_told, "what may be pinned is not left for sockets: {refused}");
    let endpoint = electrode::open(options(1, address)).unwrap();
    let selected = endpoint.backend();
    let fallback = selected.fallback.as_ref().expect("a fallback");
    assert_eq!((selected.name, fallback.from, fallback.reason), ("socket", "ebpf", reason));
    assert!(fallback.why.contains(says) && selected.to_string().contains(says), "{selected}");
    assert_eq!(endpoint.stats().count(Counter::Fallbacks), 1);
    let member = Member::voter(NodeId(1), endpoint.local_addr());
    let membership = Membership::new(Incarnation(1), [member], QuorumRule::Majority).unwrap();
    let transport = endpoint.join(GroupConfig::new(GroupId(1), membership)).unwrap();
    assert_eq!(transport.stats().count(Counter::Fallbacks), 1, "its groups tell too");
    let socket = electrode::open(options(1, address).with_backend(Choice::Socket)).unwrap();
    assert_eq!(socket.stats().count(Counter::Fallbacks), 0, "it was asked for");
}

#[test]
fn the_loopback_carries_no_ethernet() {
    falls_back(([127, 0, 0, 1], 0).into(), Obstacle::Interface, "bind an address of an Ethernet");
}

/// Runs as a test of its own in a process that has given its privileges away.
#[test]
fn child_without_privileges() {
    let Ok(address) = std::env::var("ELECTRODE_TEST_UNPRIVILEGED") else { return };
    falls_back(
        address.parse().unwrap(),
        Obstacle::Privileges,
        "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
    );
}

#[test]
fn without_privileges_it_falls_back_or_refuses() {
    if !is_privileged("a process without privileges, on an interface of its own") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).unwrap();
    let [host] = bed.hosts() else { panic!("one host") };
    let test = ForEverybody::copy(&std::env::current_exe().unwrap());
    let mut child = host.command(test.path()).unwrap();
    child.args(["--exact", "child_without_privileges", "--nocapture"]);
    child.env("ELECTRODE_TEST_UNPRIVILEGED", host.address(false, 0).to_string());
    drop_privileges(&mut child);
    let done = child.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{done:?}");
}

/// As `setpriv --reuid 65534 --clear-groups` does, after it has entered the namespace.
fn drop_privileges(child: &mut Command) {
    let drop = || {
        // SAFETY: no pointers; only this process, which is about to become another, changes.
        if unsafe { libc::setresuid(65_534, 65_534, 65_534) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { child.pre_exec(drop) };
}

#[test]
fn a_datagram_that_does_not_fit_is_told() {
    if !is_privileged("an interface of its own") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).unwrap();
    let [host] = bed.hosts() else { panic!("one host") };
    host.within(|| {
        let mut options = options(1, host.address(false, 0)).with_backend(Choice::Ebpf);
        options.endpoint.datagram_len_max = 1_473;
        let error = electrode::open(options).unwrap_err();
        let told = matches!(error, TransportError::Unavailable { reason: Obstacle::Mtu, .. });
        assert!(told && error.to_string().contains("1501 bytes"), "{error}");
    })
    .unwrap();
}

/// Opens a group's leader and follower and replicates one entry: the follower's kernel answers.
fn replicates(endpoints: &[Endpoint; 2]) -> [Arc<dyn QuorumTransport>; 2] {
    let members =
        [1, 2].map(|id| Member::voter(NodeId(id), endpoints[id as usize - 1].local_addr()));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::All).unwrap();
    let mut config = GroupConfig::new(GroupId(1), membership);
    config.mode = AckMode::Received;
    let [leader, follower] = [0, 1].map(|at| endpoints[at].join(config.clone()).unwrap());
    let ballot = Ballot(1);
    leader.lead(&leader.fence(ballot).unwrap().token, Slot(1)).unwrap();
    let token = follower.fence(ballot).unwrap().token;
    follower.follow(&token, leader.node(), Slot(1)).unwrap();
    let mut batch = LogBatch::default();
    follower.try_poll_log(&mut batch).unwrap();
    leader.try_broadcast(ballot, &[Frame::single(Slot(1), b"entry")]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while leader.quorum(ballot).unwrap().through < Slot(1) {
        assert!(Instant::now() < deadline, "no quorum in twenty seconds");
        for transport in [&leader, &follower] {
            transport.wait(Duration::from_millis(1)).unwrap();
        }
        follower.try_poll_log(&mut batch).unwrap();
    }
    [leader, follower]
}

#[test]
fn auto_opens_it_where_it_works_and_says_where() {
    if !is_privileged("the eBPF backend") {
        return;
    }
    let bed = BridgeBed::build(2, 1_500).unwrap();
    for hook in ["auto", "tc", "xdp-generic"] {
        let endpoints = [0, 1].map(|index: usize| {
            let host = &bed.hosts()[index];
            host.within(|| {
                let mut options = options(index as u64 + 1, host.address(false, 0));
                options.ebpf.hook = hook.parse().unwrap();
                electrode::open(options).unwrap()
            })
            .unwrap()
        });
        for (endpoint, host) in endpoints.iter().zip(bed.hosts()) {
            let selected = endpoint.backend();
            let picked = if hook == "auto" { Hook::Tc.name() } else { hook };
            let why = format!("it works here; programs on {} by {picked}", host.interface());
            assert_eq!((selected.name, selected.why.as_str()), ("ebpf", why.as_str()));
            assert_eq!(selected.fallback, None);
            assert_eq!(endpoint.stats().count(Counter::Fallbacks), 0);
        }
        replicates(&endpoints);
    }
}

#[test]
fn each_offload_is_switched_off_by_itself() {
    if !is_privileged("the eBPF backend") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).unwrap();
    let [host] = bed.hosts() else { panic!("one host") };
    for off in 0..3 {
        let mut options = options(1, host.address(false, 0)).with_backend(Choice::Ebpf);
        options.ebpf.hook = Hook::Tc.into();
        let ebpf = &mut options.ebpf;
        *[&mut ebpf.broadcast, &mut ebpf.acknowledge, &mut ebpf.quorum][off] = false;
        let endpoint = host.within(|| electrode::open(options).unwrap()).unwrap();
        let member = Member::voter(NodeId(1), endpoint.local_addr());
        let membership = Membership::new(Incarnation(1), [member], QuorumRule::Majority).unwrap();
        let transport = endpoint.join(GroupConfig::new(GroupId(1), membership)).unwrap();
        let has = transport.capabilities();
        let does = [has.kernel_broadcast, has.kernel_acknowledge, has.kernel_quorum];
        assert_eq!(does, [off != 0, off != 1, off != 2]);
    }
}

/// Election timers live on it: in the kernel's part nothing wakes user space, so it must be the kernel
/// that says when the leader was last heard.
#[test]
fn when_the_leader_was_heard_is_known_from_the_kernel_alone() {
    if !is_privileged("the eBPF backend") {
        return;
    }
    let bed = BridgeBed::build(2, 1_500).unwrap();
    let endpoints = [0, 1].map(|index: usize| {
        let host = &bed.hosts()[index];
        let options = options(index as u64 + 1, host.address(false, 0)).with_backend(Choice::Ebpf);
        host.within(|| electrode::open(options).unwrap()).unwrap()
    });
    let [leader, follower] = replicates(&endpoints);
    let before = endpoints[1].stats();
    let mut batch = LogBatch::default();
    let mut heard_ago = || {
        follower.try_poll_log(&mut batch).unwrap();
        batch.status().heard_ago.expect("it follows")
    };
    // Nothing is heard of a leader that is silent.
    let silence = Duration::from_millis(300);
    let start = Instant::now();
    while start.elapsed() < silence {
        heard_ago();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(heard_ago() >= silence - Duration::from_millis(50), "{:?}", heard_ago());
    // A round of confirmations, which the follower's kernel answers, and it is heard again.
    let probe = leader.probe(Ballot(1)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !leader.try_confirmed(probe).unwrap() {
        assert!(Instant::now() < deadline, "no confirmation in five seconds");
        leader.wait(Duration::from_millis(1)).unwrap();
    }
    assert!(heard_ago() < silence / 2, "{:?}", heard_ago());
    let after = endpoints[1].stats();
    assert!(after.count(Counter::RxProbe) > before.count(Counter::RxProbe), "{after:?}");
    let receives = [&before, &after].map(|stats| stats.count(Counter::SyscallsReceive));
    assert_eq!(receives[0], receives[1], "its user space received nothing");
}
