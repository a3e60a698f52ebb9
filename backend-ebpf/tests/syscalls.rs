//! What a member asks of the kernel once the programs work: a leader that polls makes one system call
//! for each broadcast and none to learn of its quorum, a follower none until it wants its log.
//! Linux, as root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a panic is a test's verdict"
)]
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook};
use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_transport::{
    AckMode, Ballot, ClusterId, Counter, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation,
    LogBatch, Member, Membership, NodeId, QuorumRule, QuorumTransport, Slot,
};

const BALLOT: Ballot = Ballot(1);
const PORT: u16 = 7_400;
const MEMBERS: usize = 5;
const BROADCASTS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);
/// The members' addresses, and by that the leader's role.
/// Proposals before that, at most.
const WARM_MAX: u64 = 1_000;
const ROLE: &str = "ELECTRODE_SYSCALLS_MEMBERS";
/// What the leader looks for on the disk before and after: marks in its trace.
const MARKS: [&str; 2] = ["/electrode-mark-begin", "/electrode-mark-end"];

fn join(
    addresses: &[SocketAddr],
    index: usize,
) -> electrode_transport::Result<(EbpfEndpoint, Arc<dyn QuorumTransport>)> {
    let node = |index: usize| NodeId(index as u64 + 1);
    let members = addresses.iter().enumerate();
    let members = members.map(|(index, &address)| Member::voter(node(index), address));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let mut config = GroupConfig::new(GroupId(5), membership);
    config.mode = AckMode::Received;
    // Longer than a trace takes.
    config.lease = Duration::from_secs(60);
    let mut endpoint = EndpointConfig::new(ClusterId(9), node(index), addresses[index]);
    // What is sent again is no part of what is looked at here: strace makes everything slow.
    endpoint.retransmit_min = PATIENCE;
    endpoint.retransmit_max = PATIENCE;
    let mut options = EbpfOptions::default();
    options.hook = Hook::Tc.into();
    let endpoint = EbpfEndpoint::bind(endpoint, options)?;
    let transport = endpoint.join(config)?;
    Ok((endpoint, transport))
}

/// Proposes one slot after the other and polls for each quorum, in a process of its own under strace.
#[test]
fn leader() {
    let Ok(members) = std::env::var(ROLE) else { return };
    let addresses: Vec<SocketAddr> = members.split(',').map(|one| one.parse().unwrap()).collect();
    let (endpoint, transport) = join(&addresses, 0).unwrap();
    let token = transport.fence(BALLOT).unwrap().token;
    transport.lead(&token, Slot(1)).unwrap();
    let propose = |slot: u64| {
        let frame = Frame::single(
            Slot(slot),
            b"sixty-four bytes of somebody's state machine, more or less.",
        );
        assert_eq!(transport.try_broadcast(BALLOT, &[frame]).unwrap(), 1);
        let start = Instant::now();
        while transport.quorum(BALLOT).unwrap().through < Slot(slot) {
            transport.drive().unwrap();
            assert!(start.elapsed() < PATIENCE, "no quorum for slot {slot}");
        }
    };
    // The others' hardware addresses are asked for beside; until they are known the socket sends to all.
    let copies = || endpoint.ticks().unwrap().events().any(|it| it.0 == "copies" && it.1 > 0);
    let mut warm = 0;
    while warm == 0 || !copies() {
        warm += 1;
        assert!(warm < WARM_MAX, "the kernel makes no copies");
        propose(warm);
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = transport.stats();
    let start = Instant::now();
    let _ = std::fs::metadata(MARKS[0]);
    (warm + 1..=warm + BROADCASTS).for_each(propose);
    let _ = std::fs::metadata(MARKS[1]);
    let took = start.elapsed();
    let after = transport.stats();
    let count = |counter| after.count(counter) - before.count(counter);
    assert_eq!(count(Counter::SyscallsSend), BROADCASTS);
    println!("took {} ms, warm after {warm} slots", took.as_millis());
}

fn is_privileged() -> bool {
    let required =
        std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1");
    // SAFETY: no arguments.
    let is_root = unsafe { libc::geteuid() } == 0;
    let strace = Command::new("strace").arg("-V").output().is_ok();
    if is_root && strace {
        return true;
    }
    assert!(!required, "root ({is_root}) and strace ({strace}) are required here");
    eprintln!("LEFT OUT: counting system calls needs root ({is_root}) and strace ({strace})");
    false
}

/// The name of the system call in a line of `strace -f`, and whose it is.
fn call(line: &str) -> Option<(&str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    // The second half of a call that another thread's cut in two is none.
    name.chars().all(|char| char.is_alphanumeric() || char == '_').then_some((thread, name))
}

#[test]
fn one_call_a_broadcast_and_none_for_its_quorum() {
    if !is_privileged() {
        return;
    }
    let bed = BridgeBed::build(MEMBERS, 1_500).unwrap();
    let addresses: Vec<_> = bed.hosts().iter().map(|host| host.address(false, PORT)).collect();
    let follow = |(index, host): (usize, &Host)| {
        let (endpoint, transport) = host.within(|| join(&addresses, index)).unwrap().unwrap();
        let token = transport.fence(BALLOT).unwrap().token;
        transport.follow(&token, NodeId(1), Slot(1)).unwrap();
        (endpoint, transport)
    };
    let followers: Vec<_> = bed.hosts().iter().enumerate().skip(1).map(follow).collect();
    let calls = |endpoint: &EbpfEndpoint| {
        let stats = endpoint.stats();
        stats.count(Counter::SyscallsSend) + stats.count(Counter::SyscallsReceive)
    };
    let before: Vec<_> = followers.iter().map(|(endpoint, _)| calls(endpoint)).collect();

    let mut strace = bed.hosts()[0].command("strace").unwrap();
    let members: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    strace.args(["-f", "-qq", "-o", "/dev/stderr"]).arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "leader", "--test-threads", "1", "--nocapture"]);
    let output = strace.env(ROLE, members.join(",")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    // Nobody drove the followers: whatever was acknowledged, their kernels did.
    let after: Vec<_> = followers.iter().map(|(endpoint, _)| calls(endpoint)).collect();
    assert_eq!(before, after, "a follower made system calls");
    let report = String::from_utf8_lossy(&output.stdout);
    let number = |word: &str| -> u64 {
        let after = report.split(word).nth(1).and_then(|rest| rest.split_whitespace().next());
        after.and_then(|number| number.parse().ok()).expect("the leader has said")
    };
    let (took, slots_sent) = (number("took "), number("warm after ") + BROADCASTS);
    let mut reached = 0;
    for (endpoint, transport) in &followers {
        let mut batch = LogBatch::default();
        let (end, mut slots) = (Instant::now() + PATIENCE, 0);
        while slots < slots_sent && Instant::now() < end {
            endpoint.drive().unwrap();
            transport.try_poll_log(&mut batch).unwrap();
            slots += batch.iter().count() as u64;
            if batch.iter().count() == 0 {
                break;
            }
        }
        reached += u32::from(slots == slots_sent);
    }
    assert!(reached >= 2, "{reached} followers have everything that got a quorum");

    let lines: Vec<_> = said.lines().collect();
    let at = |mark| lines.iter().position(|line| line.contains(mark)).expect("a mark");
    let [begin, end] = MARKS.map(at);
    let (polling, _) = call(lines[begin]).expect("a call");
    let calls = lines[begin + 1..end].iter().filter_map(|line| call(line));
    let calls: Vec<_> =
        calls.filter(|&(thread, _)| thread == polling).map(|(_, name)| name).collect();
    let sends = calls.iter().filter(|&&name| name == "sendto").count() as u64;
    assert_eq!(sends, BROADCASTS, "a call for each broadcast to {MEMBERS} members");
    let others: Vec<_> = calls.iter().filter(|&&name| name != "sendto").collect();
    // What came by another interface no program has seen: it is looked for once in a millisecond.
    let is_look = |name: &&&str| **name == "recvmmsg" || **name == "recvfrom";
    assert!(others.iter().all(is_look), "{others:?}");
    assert!(others.len() as u64 <= took + 2, "{} looks at the socket in {took} ms", others.len());
    println!("{sends} sends and {} looks at the socket in {took} ms", others.len());
}
