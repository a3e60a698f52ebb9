//! Invariant 9, as far as it goes without a kernel: what is not ours disturbs nothing and is counted;
//! messages, which no rule touches, pass whole.

use electrode_transport::wire::{FrameKind, HEADER_LEN};
use electrode_transport::{AckMode, Counter, Slot};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::case::Stage;
use crate::harness::{Origin, SetupError};
use crate::lab::Lab;
use crate::spec::{ClusterSpec, node_id};

cases! { Bystanders, "bystanders";
    "malformed-datagrams", Core, [RECEIVED TAP INJECT], malformed,
        "Truncated, oversized, foreign and malformed datagrams are dropped, each counted by its reason, and answered by nothing.";
    "any-bytes", Core, [RECEIVED INJECT], any_bytes,
        "Whatever bytes arrive, each datagram ends in exactly one counter and nothing breaks.";
    "messages-arrive-whole", Core, [], messages_whole,
        "A message that the transport does not handle itself arrives to the byte.";
}

/// Node 1 follows node 0 at ballot 1 and has stored slot 1.
fn follower(stage: &Stage<'_>) -> Result<Lab, SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Received))?;
    lab.follow(1, 0, 1, 1);
    lab.say_accept(0, 1, 1, 1);
    lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
    lab.advance_ms(1);
    lab.take_seen();
    Ok(lab)
}

fn malformed(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = follower(stage)?;
    let accept = lab.header(FrameKind::Accept, 0, 1, [2, 2, 0]);
    let good = lab.datagram(accept, b"12345678");
    let with = |at: usize, bytes: &[u8]| {
        let mut broken = good.clone();
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        broken
    };
    let mut oversized = good.clone();
    oversized.extend([0; 2_000]);
    oversized[56..58].copy_from_slice(&2_008_u16.to_le_bytes());
    let stories: Vec<(&str, Vec<u8>, Counter)> = vec![
        ("empty", Vec::new(), Counter::RxTruncated),
        ("half a header", good[..HEADER_LEN / 2].to_vec(), Counter::RxTruncated),
        ("one byte short of a header", good[..HEADER_LEN - 1].to_vec(), Counter::RxTruncated),
        ("a body cut short", good[..good.len() - 1].to_vec(), Counter::RxLength),
        ("a body too long", [&good[..], b"!"].concat(), Counter::RxLength),
        ("over the endpoint's limit", oversized, Counter::RxLength),
        ("wrong magic", with(0, b"HTTP"), Counter::RxMagic),
        ("wrong version", with(4, &[2]), Counter::RxVersion),
        ("unknown kind", with(5, &[7]), Counter::RxUnknown),
        ("unknown flag", with(7, &[0x80]), Counter::RxUnknown),
        ("reserved byte", with(60, &[1]), Counter::RxUnknown),
        ("slots backwards", with(32, &3_u64.to_le_bytes()), Counter::RxRange),
        ("slot zero", with(32, &[0; 16]), Counter::RxRange),
        ("ballot zero", with(24, &[0; 8]), Counter::RxRange),
        ("slots past the end", with(40, &[0xff; 8]), Counter::RxRange),
    ];
    for (story, bytes, counter) in stories {
        for origin in [Origin::Node(0), Origin::Stranger] {
            let before = lab.count(1, counter);
            lab.inject(origin, 1, &bytes);
            lab.until(
                &format!("{story} from {origin:?} is counted as {}", counter.name()),
                |lab| lab.count(1, counter) == before + 1,
            );
        }
    }
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 1), "something was answered: {seen:?}");
    lab.poll(1);
    assert_eq!(lab.held(1, 1), 1, "nothing of it was stored");
    lab.say_accept(0, 1, 1, 2);
    lab.until("and the path is as it was", |lab| {
        lab.poll(1);
        lab.held(1, 1) == 2
    });
    lab.check();
    Ok(())
}

fn any_bytes(stage: &Stage<'_>) -> Result<(), SetupError> {
    stage.each_seed(20, 1, |seed| {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut lab = follower(stage)?;
        let header = lab.header(FrameKind::Accept, 0, 1, [1, 1, 0]);
        let frame = lab.datagram(header, b"12345678");
        let mut expected = lab.node(1).stats().received();
        for _ in 0..150 {
            let bytes: Vec<u8> = if dice.random_bool(0.5) {
                // Every bit of an old frame but those of its ballot may flip: whatever it then is,
                // it cannot be an entry that the ledger does not know.
                let mut bytes = frame.clone();
                for _ in 0..dice.random_range(1..4) {
                    let at = dice.random_range(0..bytes.len());
                    if !(24..48).contains(&at) {
                        bytes[at] ^= 1 << dice.random_range(0..8);
                    }
                }
                bytes
            } else {
                let len = dice.random_range(0..200);
                (0..len).map(|_| dice.random_range(0..=255_u8)).collect()
            };
            let origin = if dice.random_bool(0.5) { Origin::Node(0) } else { Origin::Stranger };
            lab.inject(origin, 1, &bytes);
            expected += 1;
            lab.until("the datagram is counted", |lab| lab.node(1).stats().received() >= expected);
            assert_eq!(lab.node(1).stats().received(), expected, "in one counter, once");
        }
        lab.say_accept(0, 1, 1, 2);
        lab.until("the path is as it was", |lab| {
            lab.poll(1);
            lab.held(1, 1) == 2
        });
        Ok(())
    })
}

fn messages_whole(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec::voters(3, AckMode::Persisted);
    let mut lab = stage.lab(&spec)?;
    let mut body = vec![1, 2, 3];
    assert_eq!(lab.node(1).try_recv(&mut body)?, None);
    assert!(body.is_empty(), "the body is cleared");
    for len in [0, 1, 71, 72, 73, 1_000, spec.body_len_max()] {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        lab.node(2).try_send(node_id(1), &message)?;
        let mut from = None;
        lab.until("the message arrives", |lab| {
            from = lab.node(1).try_recv(&mut body).expect("the group is open");
            from.is_some()
        });
        assert_eq!(from, Some(node_id(2)));
        assert_eq!(body, message, "to the byte");
    }
    lab.elect(0, 1, Slot(1).0);
    lab.check();
    Ok(())
}
