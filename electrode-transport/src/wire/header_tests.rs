//! Properties of the header: total decoding, exact inverses, and no corruption unnoticed.

use proptest::prelude::*;

use super::*;

/// Numbers with their ends in it more often than chance would have it.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..5u64,
        (u64::MAX - 4)..=u64::MAX,
        (1..64u32).prop_map(|shift| 1 << shift),
    ]
}

fn slot() -> impl Strategy<Value = Slot> {
    number().prop_map(|number| Slot(number.min(Slot::MAX.0)))
}

/// Kind, `[first, last, commit]`, each as the kind allows.
fn body_of_kind() -> impl Strategy<Value = (FrameKind, u64, [Slot; 3], u8)> {
    let ballot = || number().prop_map(|number| number.max(1));
    let below = |slot: Slot, by: u64| Slot(slot.0 - by % (slot.0 + 1));
    prop_oneof![
        (ballot(), slot(), 0..SLOTS_PER_FRAME_MAX, number()).prop_map(
            move |(ballot, last, run, commit)| {
                let last = Slot(last.0.max(1));
                let first = Slot(below(last, run).0.max(1));
                (FrameKind::Accept, ballot, [first, last, Slot(commit)], 0)
            }
        ),
        (ballot(), number(), number(), prop::sample::select(vec![0, flags::GAP])).prop_map(
            move |(ballot, next, behind, flags)| {
                let next = Slot(next.max(1));
                let slots = [next, below(next.prev(), behind), Slot::ZERO];
                (FrameKind::Accepted, ballot, slots, flags)
            }
        ),
        (ballot(), slot(), number()).prop_map(|(ballot, probe, commit)| {
            (FrameKind::Probe, ballot, [probe, Slot::ZERO, Slot(commit)], 0)
        }),
        (ballot(), slot(), number(), number()).prop_map(move |(ballot, probe, next, behind)| {
            let next = Slot(next.max(1));
            let slots = [probe, below(next.prev(), behind), next];
            (FrameKind::ProbeAck, ballot, slots, 0)
        }),
        (1..u64::MAX, number()).prop_map(|(ballot, above)| {
            let promised = Slot(ballot.saturating_add(above.max(1)));
            (FrameKind::Refused, ballot, [promised, Slot::ZERO, Slot::ZERO], 0)
        }),
        Just((FrameKind::Message, 0, [Slot::ZERO; 3], 0)),
    ]
}

prop_compose! {
    /// Any valid header with a body that fits it.
    fn frame()(
        (kind, ballot, [first, last, commit], flags) in body_of_kind(),
        (sender, destination, cluster, incarnation, group) in any::<(u8, u8, u64, u32, u32)>(),
        tag in prop::option::of(number()),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) -> (Header, Vec<u8>) {
        let has_body = matches!(kind, FrameKind::Accept | FrameKind::Message);
        let body = if has_body { body } else { Vec::new() };
        let header = Header {
            kind,
            sender: MemberIndex(sender),
            flags: flags | if tag.is_some() { flags::TAGGED } else { 0 },
            cluster: ClusterId(cluster),
            incarnation: Incarnation(incarnation),
            group: GroupId(group),
            ballot: Ballot(ballot),
            first,
            last,
            commit,
            body_len: body.len() as u16,
            destination,
            tag: tag.unwrap_or(0),
        };
        (header, body)
    }
}

fn encode(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut head = [0xaa; HEADER_LEN];
    header.encode(&mut head);
    [&head, body].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_valid_header_survives_the_wire((header, body) in frame()) {
        let bytes = encode(&header, &body);
        prop_assert_eq!(Header::decode(&bytes), Ok((header, &body[..])));
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((header, body)) = Header::decode(&bytes) {
            prop_assert_eq!(encode(&header, body), bytes);
        }
    }

    /// As above, but past the first comparisons: a valid frame with a few bytes overwritten.
    #[test]
    fn nearly_valid_bytes_are_a_frame_or_an_error(
        (header, body) in frame(),
        changes in proptest::collection::vec((5..HEADER_LEN, any::<u8>()), 1..4),
        cut in prop::option::of(0..200usize),
    ) {
        let mut bytes = encode(&header, &body);
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if let Ok((header, body)) = Header::decode(&bytes) {
            prop_assert_eq!(encode(&header, body), bytes, "what is read is what was written");
        }
    }

    /// Whatever single byte is changed, the reader notices: an error that fits the field, or a
    /// header that differs.
    #[test]
    fn no_corruption_reads_as_the_same_frame(
        (header, body) in frame(),
        at in 0..HEADER_LEN,
        flip in 1..=255u8,
    ) {
        let mut bytes = encode(&header, &body);
        bytes[at] ^= flip;
        let result = Header::decode(&bytes);
        prop_assert_ne!(result, Ok((header, &body[..])));
        let Err(error) = result else { return Ok(()) };
        let possible: &[WireError] = match at {
            0..=3 => &[WireError::Magic],
            4 => &[WireError::Version],
            // Another kind has other ranges, and may have no body or no gap.
            5 => &[WireError::Unknown, WireError::Length, WireError::Range],
            7 | 59..=71 => &[WireError::Unknown],
            24..=55 => &[WireError::Range],
            56 | 57 => &[WireError::Length],
            _ => &[],
        };
        prop_assert!(possible.contains(&error), "byte {at}: {error:?}");
    }

    #[test]
    fn no_length_but_the_right_one((header, body) in frame(), len in 0..200usize) {
        let mut bytes = encode(&header, &body);
        let whole = bytes.len();
        bytes.resize(len, 0);
        let expected = match len {
            0..HEADER_LEN => Err(WireError::Truncated),
            _ if len == whole => Ok((header, &body[..])),
            _ => Err(WireError::Length),
        };
        prop_assert_eq!(Header::decode(&bytes), expected);
    }
}

fn accept(first: u64, last: u64) -> Header {
    Header {
        kind: FrameKind::Accept,
        sender: MemberIndex(255),
        flags: 0,
        cluster: ClusterId(u64::MAX),
        incarnation: Incarnation(u32::MAX),
        group: GroupId(u32::MAX),
        ballot: Ballot(u64::MAX),
        first: Slot(first),
        last: Slot(last),
        commit: Slot(u64::MAX),
        body_len: 0,
        destination: 254,
        tag: 0,
    }
}

#[test]
fn the_ends_of_every_range() {
    use FrameKind::*;
    let kind = |kind, ballot, first, last, commit| Header {
        kind,
        ballot: Ballot(ballot),
        commit: Slot(commit),
        ..accept(first, last)
    };
    let top = u64::MAX;
    for (what, header, fits) in [
        ("everything at its highest", accept(top - 1, top - 1), true),
        ("slot zero", accept(0, 0), false),
        ("a slot past the last", accept(top, top), false),
        ("backwards", accept(5, 4), false),
        ("the longest run", accept(1, SLOTS_PER_FRAME_MAX), true),
        ("one slot longer", accept(1, SLOTS_PER_FRAME_MAX + 1), false),
        ("a run of everything", accept(1, top - 1), false),
        ("no ballot", kind(Accept, 0, 1, 1, 0), false),
        ("nothing stored, nothing expected", kind(Accepted, 1, 0, 0, 0), false),
        ("nothing stored, the first expected", kind(Accepted, 1, 1, 0, 0), true),
        ("everything stored", kind(Accepted, top, top, top - 1, 0), true),
        ("an acknowledgement with a commit slot", kind(Accepted, 1, 2, 1, 1), false),
        ("an acknowledgement without ballot", kind(Accepted, 0, 2, 1, 0), false),
        ("a position probe", kind(Probe, 1, 0, 0, top), true),
        ("the last probe", kind(Probe, 1, top - 1, 0, 0), true),
        ("a probe past the last", kind(Probe, 1, top, 0, 0), false),
        ("a probe of a slot", kind(Probe, 1, 1, 1, 0), false),
        ("an answer that is everything", kind(ProbeAck, top, top - 1, top - 1, top), true),
        ("an answer past the last probe", kind(ProbeAck, 1, top, 0, 1), false),
        ("an answer that expects what it has", kind(ProbeAck, 1, 1, 4, 4), false),
        ("the highest promise", kind(Refused, top - 1, top, 0, 0), true),
        ("a promise that refuses nothing", kind(Refused, 4, 4, 0, 0), false),
        ("a refusal with a slot", kind(Refused, 4, 5, 1, 0), false),
        ("a refusal with a commit slot", kind(Refused, 4, 5, 0, 1), false),
        ("a message", kind(Message, 0, 0, 0, 0), true),
        ("a message with a ballot", kind(Message, 1, 0, 0, 0), false),
        ("a message with a slot", kind(Message, 0, 1, 0, 0), false),
        ("a message with a commit slot", kind(Message, 0, 0, 0, 1), false),
    ] {
        let expected = if fits { Ok((header, &[][..])) } else { Err(WireError::Range) };
        assert_eq!(Header::decode(&encode(&header, &[])), expected, "{what}");
    }
}

#[test]
fn the_longest_body() {
    for (len, fits) in [(BODY_LEN_MAX, true), (BODY_LEN_MAX + 1, false), (0xffff, false)] {
        let body = vec![7; len];
        let header = Header { body_len: len as u16, ..accept(1, 1) };
        let bytes = encode(&header, &body);
        let expected = if fits { Ok((header, &body[..])) } else { Err(WireError::Length) };
        assert_eq!(Header::decode(&bytes), expected, "{len} bytes");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (error, text) in [
        (WireError::Truncated, "shorter than a header"),
        (WireError::Magic, "wrong magic: not an Electrode frame"),
        (WireError::Version, "wire version not spoken by this build"),
        (WireError::Unknown, "unknown frame kind, flag or reserved bits"),
        (WireError::Length, "body length does not match the datagram"),
        (WireError::Range, "slots or ballot out of the range that the kind allows"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
