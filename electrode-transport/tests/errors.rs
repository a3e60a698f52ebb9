//! Every error names what it is about and what to do next: the texts, field by field.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::SocketAddr;

use electrode_transport::{
    Ballot, ConfigError, GroupId, Incarnation, NodeId, Obstacle, Slot, TransportError,
};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The text holds each of `parts`: every field's value, and a word of what to do or what is wrong.
fn names(error: &dyn Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.ends_with('.') && !text.contains("  "), "{text:?}");
}

#[test]
fn configuration() {
    use ConfigError::*;
    let (a, b) = (at("10.1.2.3:4001"), at("[fd00::7]:4002"));
    names(&MemberCount { count: 33 }, &["33", "1 to 32"]);
    names(&DuplicateMember { member: NodeId(41) }, &["41", "give each member its own id"]);
    names(
        &DuplicateAddress { address: a, first: NodeId(41), second: NodeId(42) },
        &["10.1.2.3:4001", "41", "42", "each needs its own"],
    );
    names(&UnknownMember { member: NodeId(41) }, &["41", "add it to the membership"]);
    names(&QuorumSize { needed: 9, voters: 5 }, &["9", "out of 5", "use 1 to 5"]);
    names(&QuorumSize { needed: 1, voters: 0 }, &["no voters", "let at least one member vote"]);
    names(&OwnAddress { member: a, bound: b }, &["10.1.2.3:4001", "[fd00::7]:4002", "bind"]);
    names(&AddressFamily { member: a, bound: b }, &["10.1.2.3:4001", "[fd00::7]:4002", "use one"]);
    names(
        &OutOfRange { field: "window_frames", value: 71, min: 72, max: 73 },
        &["window_frames", "71", "at least 72", "at most 73"],
    );
    names(&GroupOpen { group: GroupId(61) }, &["61", "close it first"]);
    names(
        &IncarnationBackwards { offered: Incarnation(51), current: Incarnation(52) },
        &["51", "52", "higher"],
    );
}

#[test]
fn calls() {
    use TransportError::*;
    names(&TooLarge { len: 9_001, max: 1_380 }, &["9001", "1380", "split it"]);
    names(&Backpressure, &["full", "wait for a quorum"]);
    names(
        &BallotBackwards { offered: Ballot(31), current: Ballot(32) },
        &["31", "32", "take a higher one"],
    );
    names(&StaleToken { group: GroupId(61), ballot: Ballot(31) }, &["61", "31", "fence again"]);
    names(&NotLeading { ballot: Ballot(31) }, &["31", "fence at a higher ballot and lead"]);
    names(&NotFollowing { ballot: Ballot(31) }, &["31", "fence", "follow"]);
    names(
        &Superseded { ballot: Ballot(31), by: Ballot(32) },
        &["31", "32", "follow it or fence above it"],
    );
    names(
        &LeaderConflict { ballot: Ballot(31), leader: NodeId(41) },
        &["31", "41", "take a higher ballot"],
    );
    names(&SlotOutOfOrder { offered: Slot(21), expected: Slot(22) }, &["21", "22 is next"]);
    names(&InsideFrame { through: Slot(21), last: Slot(22) }, &["21", "22", "poll the log first"]);
    names(&SendToSelf { member: NodeId(41) }, &["41", "handle its message locally"]);
    names(&Closed, &["closed", "open it again"]);
    names(&TransportError::from(ConfigError::GroupOpen { group: GroupId(61) }), &["61"]);
    let why = "no CAP_BPF: run as root or grant it".to_owned();
    names(
        &Unavailable { backend: "ebpf", reason: Obstacle::Privileges, why },
        &["ebpf", "no CAP_BPF: run as root or grant it"],
    );
    let names: BTreeSet<_> = Obstacle::ALL.iter().map(|obstacle| obstacle.name()).collect();
    assert_eq!(names.len(), Obstacle::ALL.len(), "each has a word of its own");
}

#[test]
fn what_the_system_said_is_kept() {
    let address = at("10.1.2.3:4001");
    let source = || io::Error::from_raw_os_error(1);
    let local = TransportError::AddressNotLocal { address, source: source() };
    names(&local, &["10.1.2.3:4001", "bind one of its own"]);
    let in_use = TransportError::AddressInUse { address, source: source() };
    names(&in_use, &["10.1.2.3:4001", "another port"]);
    let io = TransportError::Io {
        operation: "setsockopt(SO_RCVBUF)",
        subject: "10.1.2.3:4001".to_owned(),
        source: source(),
    };
    names(&io, &["setsockopt(SO_RCVBUF)", "10.1.2.3:4001"]);
    for error in [local, in_use, io] {
        let source = error.source().expect("what the system said");
        assert_eq!(source.to_string(), io::Error::from_raw_os_error(1).to_string());
    }
}
