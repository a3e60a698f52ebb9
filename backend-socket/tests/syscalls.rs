//! One system call for a batch: by the endpoint's own counters, and by what the kernel was asked.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(target_os = "linux")]

mod cluster;

use std::process::Command;

use cluster::{BALLOT, Cluster, GROUP, drive_until, lead_and_follow};
use electrode_transport::wire::HEADER_LEN;
use electrode_transport::{AckMode, Counter, Frame, Slot, TransportCore};

const FRAMES: u64 = 16;
const FOLLOWERS: u64 = 4;

/// Also what the other test runs under strace: the leader's batch is the only call with more than
/// one message, for the followers answer one frame at a time here.
#[test]
fn a_batch_to_all_is_one_call_by_the_counters() {
    let nodes = Cluster::new(FOLLOWERS + 1).join(GROUP, AckMode::Received);
    lead_and_follow(&nodes);
    let frames: Vec<_> = (1..=FRAMES).map(|slot| Frame::single(Slot(slot), b"body")).collect();
    let before = nodes[0].stats();
    assert_eq!(nodes[0].try_broadcast(BALLOT, &frames).unwrap() as u64, FRAMES);
    let after = nodes[0].stats();
    let count = |counter| after.count(counter) - before.count(counter);
    assert_eq!(count(Counter::TxDatagrams), FRAMES * FOLLOWERS);
    assert_eq!(count(Counter::SyscallsSend), 1);

    // A follower takes the batch in by one call and acknowledges it by one.
    let follower = &nodes[1];
    let before = follower.stats();
    follower.drive().unwrap();
    let after = follower.stats();
    let count = |counter| after.count(counter) - before.count(counter);
    assert_eq!(count(Counter::RxStored), FRAMES);
    assert_eq!((count(Counter::SyscallsReceive), count(Counter::SyscallsSend)), (1, 1));
    drive_until(&nodes, "a quorum", || nodes[0].quorum(BALLOT).unwrap().through == Slot(FRAMES));
}

fn is_required() -> bool {
    std::env::var_os("CI").is_some()
        || std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1")
}

#[test]
fn a_batch_to_all_is_one_call_by_strace() {
    let own = std::env::current_exe().unwrap();
    let traced = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=sendmmsg,sendmsg,sendto,write,writev",
            "-o",
            "/dev/stderr",
        ])
        .arg(own)
        .args(["--exact", "a_batch_to_all_is_one_call_by_the_counters", "--test-threads", "1"])
        .output();
    let output = match traced {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: strace cannot be run ({error})");
            assert!(!is_required(), "strace is required here: install it");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("PTRACE") && !said.contains("sendmmsg(") {
        eprintln!("skipped: strace may not trace here: {said}");
        assert!(!is_required(), "strace must be allowed to trace here");
        return;
    }
    assert!(output.status.success(), "{said}");
    let calls: Vec<_> = said.lines().filter(|line| line.contains("sendmmsg(")).collect();
    let batch = format!(" = {}", FRAMES * FOLLOWERS);
    let whole: Vec<_> = calls.iter().filter(|call| call.trim_end().ends_with(&batch)).collect();
    assert_eq!(whole.len(), 1, "one call hands over the whole batch:\n{}", calls.join("\n"));
    // A lone datagram goes by `sendto`: the followers' answers do, which are a header and no more.
    let lone = said.lines().filter(|line| line.contains("sendto("));
    for call in lone {
        let is_answer = call.trim_end().ends_with(&format!(" = {HEADER_LEN}"));
        assert!(is_answer, "no frame is sent one by one:\n{call}");
    }
    assert!(!said.contains("sendmsg("), "nothing is sent one by one:\n{said}");
}
