//! Golden bytes: what version 1 looks like, written by hand. A change here is a new wire version.

use super::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header, Key, WireError, flags, tag_frame};
use crate::ident::{Ballot, ClusterId, GroupId, Incarnation, MemberIndex, Slot};

/// The reference vector's key: 00 01 .. 0f.
const KEY: Key = Key([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/// A header with a different value in every byte that may have one.
fn header(kind: FrameKind, slots: [u64; 3]) -> Header {
    let [first, last, commit] = slots;
    Header {
        kind,
        sender: MemberIndex(2),
        flags: 0,
        cluster: ClusterId(0x1112_1314_1516_1718),
        incarnation: Incarnation(0x2122_2324),
        group: GroupId(0x3132_3334),
        ballot: Ballot(0x4142_4344_4546_4748),
        first: Slot(first),
        last: Slot(last),
        commit: Slot(commit),
        body_len: 0,
        destination: DESTINATION_ALL,
        tag: 0,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn check(header: &Header, body: &[u8], hex: &str) {
    let mut head = [0xee; HEADER_LEN];
    header.encode(&mut head);
    let golden = bytes(hex);
    assert_eq!([&head, body].concat(), golden, "encoded {:?}", header.kind);
    assert_eq!(Header::decode(&golden), Ok((*header, body)), "decoded {:?}", header.kind);
}

#[test]
fn accept() {
    let header = Header {
        body_len: 3,
        ..header(FrameKind::Accept, [0x5152_5354_5556, 0x5152_5354_5557, 9])
    };
    check(
        &header,
        b"abc",
        "454c5452 01 01 02 00  1817161514131211  24232221 34333231  4847464544434241
         5655545352510000  5755545352510000  0900000000000000  0300 ff 0000000000
         0000000000000000  616263",
    );
}

#[test]
fn accept_tagged() {
    let mut header = Header {
        flags: flags::TAGGED,
        body_len: 3,
        ..header(FrameKind::Accept, [0x5152_5354_5556, 0x5152_5354_5557, 9])
    };
    let mut head = [0; HEADER_LEN];
    header.encode(&mut head);
    header.tag = tag_frame(&KEY, &head, b"abc");
    check(
        &header,
        b"abc",
        "454c5452 01 01 02 01  1817161514131211  24232221 34333231  4847464544434241
         5655545352510000  5755545352510000  0900000000000000  0300 ff 0000000000
         02513999c3f9e99d  616263",
    );
}

#[test]
fn accepted() {
    check(
        &Header { destination: 0, ..header(FrameKind::Accepted, [0x61, 0x60, 0]) },
        b"",
        "454c5452 01 02 02 00  1817161514131211  24232221 34333231  4847464544434241
         6100000000000000  6000000000000000  0000000000000000  0000 00 0000000000
         0000000000000000",
    );
}

#[test]
fn accepted_with_a_gap() {
    let header = Header {
        flags: flags::GAP,
        destination: 31,
        ..header(FrameKind::Accepted, [u64::MAX, Slot::MAX.0, 0])
    };
    check(
        &header,
        b"",
        "454c5452 01 02 02 02  1817161514131211  24232221 34333231  4847464544434241
         ffffffffffffffff  feffffffffffffff  0000000000000000  0000 1f 0000000000
         0000000000000000",
    );
}

#[test]
fn probe() {
    check(
        &header(FrameKind::Probe, [0x71, 0, 0x0102_0304_0506_0708]),
        b"",
        "454c5452 01 03 02 00  1817161514131211  24232221 34333231  4847464544434241
         7100000000000000  0000000000000000  0807060504030201  0000 ff 0000000000
         0000000000000000",
    );
}

#[test]
fn probe_ack() {
    check(
        &header(FrameKind::ProbeAck, [0x71, 0x60, 0x61]),
        b"",
        "454c5452 01 04 02 00  1817161514131211  24232221 34333231  4847464544434241
         7100000000000000  6000000000000000  6100000000000000  0000 ff 0000000000
         0000000000000000",
    );
}

#[test]
fn refused() {
    check(
        &header(FrameKind::Refused, [u64::MAX, 0, 0]),
        b"",
        "454c5452 01 05 02 00  1817161514131211  24232221 34333231  4847464544434241
         ffffffffffffffff  0000000000000000  0000000000000000  0000 ff 0000000000
         0000000000000000",
    );
}

#[test]
fn message() {
    check(
        &Header { ballot: Ballot::NONE, body_len: 2, ..header(FrameKind::Message, [0; 3]) },
        b"hi",
        "454c5452 01 06 02 00  1817161514131211  24232221 34333231  0000000000000000
         0000000000000000  0000000000000000  0000000000000000  0200 ff 0000000000
         0000000000000000  6869",
    );
}

/// Every byte but those of numbers that any value fits, changed by hand: which error it gives.
#[test]
fn one_wrong_byte() {
    let golden = bytes(
        "454c5452 01 02 02 00  1817161514131211  24232221 34333231  4847464544434241
         6100000000000000  6000000000000000  0000000000000000  0000 00 0000000000
         0000000000000000",
    );
    for (what, at, value, error) in [
        ("magic, first byte", 0, 0x44, WireError::Magic),
        ("magic, last byte", 3, 0, WireError::Magic),
        ("version before the first", 4, 0, WireError::Version),
        ("a later version", 4, 2, WireError::Version),
        ("kind before the first", 5, 0, WireError::Unknown),
        ("kind after the last", 5, 7, WireError::Unknown),
        ("a kind that allows no gap flag", 7, 4, WireError::Unknown),
        ("the highest flag", 7, 0x80, WireError::Unknown),
        ("stored beyond what is expected", 40, 0x61, WireError::Range),
        ("a field that this kind does not use", 55, 1, WireError::Range),
        ("a body that this kind does not have", 56, 1, WireError::Length),
        ("a body longer than any", 57, 0xff, WireError::Length),
        ("reserved, first byte", 59, 1, WireError::Unknown),
        ("reserved, last byte", 63, 1, WireError::Unknown),
        ("a tag without its flag", 64, 1, WireError::Unknown),
        ("a tag without its flag, last byte", 71, 0x80, WireError::Unknown),
    ] {
        let mut wrong = golden.clone();
        wrong[at] = value;
        assert_eq!(Header::decode(&wrong), Err(error), "{what}");
    }
    assert_eq!(Header::decode(&golden[..71]), Err(WireError::Truncated));
    assert_eq!(Header::decode(&[]), Err(WireError::Truncated));
    assert_eq!(Header::decode(&[golden, vec![0]].concat()), Err(WireError::Length));
}
