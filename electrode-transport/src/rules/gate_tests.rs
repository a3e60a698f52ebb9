//! The gate case by case: one row, one header that differs from an admitted one in what it names.

use super::*;
use crate::ident::{Ballot, GroupId, Slot};
use crate::wire::{FrameKind, flags};

const GATE: Gate = Gate {
    cluster: ClusterId(9),
    incarnation: Incarnation(4),
    own: MemberIndex(1),
    members: 3,
    keyed: 0,
    reserved: 0,
};

fn header() -> Header {
    Header {
        kind: FrameKind::Probe,
        sender: MemberIndex(2),
        flags: 0,
        cluster: ClusterId(9),
        incarnation: Incarnation(4),
        group: GroupId(1),
        ballot: Ballot(1),
        first: Slot(1),
        last: Slot(0),
        commit: Slot(0),
        body_len: 0,
        destination: DESTINATION_ALL,
        tag: 0,
    }
}

#[test]
fn stories() {
    let with = |change: fn(&mut Header)| {
        let mut changed = header();
        change(&mut changed);
        changed
    };
    for (what, header, verdict) in [
        ("to all", header(), Ok(MemberIndex(2))),
        ("to this one", with(|h| h.destination = 1), Ok(MemberIndex(2))),
        ("to another", with(|h| h.destination = 0), Err(Refusal::Misdirected)),
        ("to nobody", with(|h| h.destination = 254), Err(Refusal::Misdirected)),
        ("another cluster", with(|h| h.cluster = ClusterId(8)), Err(Refusal::ForeignCluster)),
        (
            "replayed from before",
            with(|h| h.incarnation = Incarnation(3)),
            Err(Refusal::StaleIncarnation),
        ),
        (
            "ahead of this node",
            with(|h| h.incarnation = Incarnation(5)),
            Err(Refusal::FutureIncarnation),
        ),
        ("no such member", with(|h| h.sender = MemberIndex(3)), Err(Refusal::NotMember)),
        ("an index past the 32nd", with(|h| h.sender = MemberIndex(32)), Err(Refusal::NotMember)),
        ("the highest index", with(|h| h.sender = MemberIndex(255)), Err(Refusal::NotMember)),
        ("itself", with(|h| h.sender = MemberIndex(1)), Err(Refusal::NotMember)),
        ("a tag without a key", with(|h| h.flags = flags::TAGGED), Err(Refusal::BadTag)),
    ] {
        assert_eq!(GATE.admit(&header), verdict, "{what}");
    }
}

#[test]
fn with_a_key_only_tagged_frames_pass() {
    let keyed = Gate { keyed: 1, ..GATE };
    assert_eq!(keyed.admit(&header()), Err(Refusal::BadTag));
    let tagged = Header { flags: flags::TAGGED, ..header() };
    assert_eq!(keyed.admit(&tagged), Ok(MemberIndex(2)));
}

#[test]
fn a_member_count_off_a_map_value_admits_no_33rd() {
    let wide = Gate { members: 255, ..GATE };
    for sender in 0..=255 {
        let admitted = wide.admit(&Header { sender: MemberIndex(sender), ..header() });
        assert_eq!(admitted.is_ok(), sender < 32 && sender != 1, "index {sender}");
    }
}

#[test]
fn words_are_the_memory_of_a_little_endian_machine() {
    use core::mem::offset_of;
    let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
    let gate = Gate::from_words(words);
    assert_eq!(gate.to_words(), words, "nothing is lost on the way");
    assert_eq!((gate.cluster.0, offset_of!(Gate, cluster)), (words[0], 0));
    assert_eq!((gate.incarnation.0, offset_of!(Gate, incarnation)), (0x0b0a_0908, 8));
    assert_eq!(usize::from(gate.own.0), offset_of!(Gate, own));
    assert_eq!(usize::from(gate.members), offset_of!(Gate, members));
    assert_eq!(usize::from(gate.keyed), offset_of!(Gate, keyed));
    assert_eq!(usize::from(gate.reserved), offset_of!(Gate, reserved));
}
