use proptest::prelude::*;

use super::*;

fn any_slot() -> impl Strategy<Value = Slot> {
    (0..=Slot::MAX.0).prop_map(Slot)
}

fn any_entries() -> impl Strategy<Value = Vec<LogEntry>> {
    let entry = (any_slot(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(slot, ballot, value)| LogEntry { slot, ballot: Ballot(ballot), value });
    proptest::collection::vec(entry, 0..6)
}

fn any_lives() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(any::<u32>(), 0..=LIVES_MAX)
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    any::<u64>().prop_map(Ballot)
}

fn any_message() -> impl Strategy<Value = Message> {
    let n = any::<u64>;
    prop_oneof![
        n().prop_map(|attempt| Message::PreVote { attempt }),
        (n(), any::<bool>(), any_ballot()).prop_map(|(attempt, granted, promised)| {
            Message::PreVoteReply { attempt, granted, promised }
        }),
        (any_ballot(), n(), any_slot()).prop_map(|(ballot, attempt, from)| Message::Prepare {
            ballot,
            attempt,
            from
        }),
        (any_ballot(), n(), [any_slot(), any_slot(), any_slot()], any::<bool>(), any_lives())
            .prop_flat_map(|(ballot, attempt, [from, next, chosen], done, lives)| {
                any_entries().prop_map(move |entries| Message::Promise {
                    ballot,
                    attempt,
                    from,
                    next,
                    done,
                    chosen,
                    lives: lives.clone(),
                    entries,
                })
            }),
        (any_ballot(), any_ballot())
            .prop_map(|(ballot, promised)| Message::Nack { ballot, promised }),
        (any_ballot(), any_slot()).prop_map(|(ballot, chosen)| Message::Lead { ballot, chosen }),
        (any_slot(), proptest::option::of((any_slot(), n(), n())))
            .prop_map(|(from, snapshot)| Message::Fetch { from, snapshot }),
        (any_ballot(), any_slot(), any_slot(), any_entries()).prop_map(
            |(ballot, burst_end, chosen, entries)| {
                Message::Chosen { ballot, burst_end, chosen, entries }
            }
        ),
        (any_ballot(), any_slot(), [n(), n(), n(), n()], any_slot(), any::<Vec<u8>>()).prop_map(
            |(ballot, through, [checksum, len, offset, burst_end], chosen, bytes)| {
                Message::SnapshotPart {
                    ballot,
                    through,
                    checksum,
                    len,
                    offset,
                    burst_end,
                    chosen,
                    bytes,
                }
            }
        ),
        (n(), any::<u32>()).prop_map(|(nonce, life)| Message::Recover { nonce, life }),
        (n(), any::<u32>(), any_ballot(), any::<bool>(), [any_slot(), any_slot()], any_lives())
            .prop_map(|(nonce, life, promised, leads, [last, chosen], lives)| {
                Message::Recovery { nonce, life, promised, leads, last, chosen, lives }
            }),
    ]
}

proptest! {
    #[test]
    fn encode_and_decode_are_inverse(message in any_message()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn any_bytes_decode_or_err(bytes in any::<Vec<u8>>()) {
        if let Ok(message) = Message::decode(&bytes) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn damaged_messages_decode_or_err(
        message in any_message(), at in any::<prop::sample::Index>(), with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let index = at.index(bytes.len());
        bytes[index] = with;
        let _ = Message::decode(&bytes);
        let len = cut.index(bytes.len());
        prop_assert!(Message::decode(&bytes[..len]).is_err() || len == bytes.len());
    }
}

#[test]
fn the_largest_promise_fits_the_room_that_is_reckoned_with() {
    for members in [1, 3, LIVES_MAX] {
        let body_len_max = 1_000;
        let value = vec![1; entries_room(body_len_max, members) - ENTRY_OVERHEAD];
        let entry = LogEntry { slot: Slot(1), ballot: Ballot(1), value };
        let message = Message::Promise {
            ballot: Ballot(1),
            attempt: 2,
            from: Slot(1),
            next: Slot(2),
            done: true,
            chosen: Slot(0),
            lives: vec![0; members],
            entries: vec![entry],
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert!(bytes.len() <= body_len_max, "{} bytes", bytes.len());
    }
}
