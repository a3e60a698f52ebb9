//! Every async method is cancel-safe: dropped after its first poll and asked again, it loses nothing.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use electrode_transport::{AckMode, Ballot, Frame, LogBatch, Slot};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::{Bell, Lab};
use crate::spec::{ClusterSpec, node_id};

cases! { Contract, "contract";
    "dropped-broadcast", Core, [PERSISTED FAULTS], dropped_broadcast,
        "A dropped broadcast has taken a prefix, which acked tells; the rest can be broadcast after it.";
    "dropped-poll-log", Core, [RECEIVED PERSISTED], dropped_poll_log,
        "A dropped poll_log leaves what it did not move in the log.";
    "dropped-recv", Core, [], dropped_recv,
        "A dropped recv leaves the message in the inbox.";
    "dropped-confirmation", Quorum, [PERSISTED], dropped_confirmation,
        "A dropped confirm_leadership is harmless, and the next one is answered.";
    "sleeping-broadcaster-is-woken", Core, [PERSISTED], sleeping_broadcaster,
        "A broadcast that waits for room is woken when a quorum makes it.";
}

/// Polls a future once and drops it. Whether it was still waiting.
fn poll_and_drop<F: Future>(future: F) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut cx).is_pending()
}

/// Polls a future to its end, letting time pass.
#[track_caller]
fn finish<F: Future>(lab: &mut Lab, what: &str, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut output = None;
    let mut cx = Context::from_waker(Waker::noop());
    lab.until(what, |_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(value) => {
            output = Some(value);
            true
        }
        Poll::Pending => false,
    });
    output.expect("until returns once the future is ready")
}

fn dropped_broadcast(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec { window_frames: 4, ..ClusterSpec::voters(3, AckMode::Persisted) };
    let mut lab = stage.lab(&spec)?;
    lab.elect(0, 1, 1);
    lab.advance_ms(2);
    lab.set_links(Link::CUT);
    let bodies: Vec<_> = (1..=9_u8).map(|slot| vec![slot; 20]).collect();
    let frames: Vec<_> =
        (1..).map(Slot).zip(&bodies).map(|(slot, body)| Frame::single(slot, body)).collect();
    for frame in &frames {
        lab.ledger.offers(lab.group, Ballot(1), (frame.first, frame.last, frame.body));
    }
    let leader = lab.node(0);
    assert!(poll_and_drop(leader.broadcast(Ballot(1), &frames)), "nine frames do not fit");
    let sent = leader.acked(Ballot(1))?.sent;
    assert_eq!(sent, Slot(4), "what fits was taken");
    lab.ledger.sent((0, lab.group), Ballot(1), sent);
    lab.set_links(Link::CLEAN);
    lab.acknowledge(0, 1, 4);
    lab.until_all(0, 1, 4);
    lab.ledger.sent((0, lab.group), Ballot(1), Slot(8));
    let rest = frames.get(4..8).unwrap_or_default();
    finish(&mut lab, "the rest is broadcast", leader.broadcast(Ballot(1), rest))?;
    lab.acknowledge(0, 1, 8);
    lab.until_all(0, 1, 8);
    lab.check();
    Ok(())
}

fn dropped_poll_log(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        let follower = lab.node(1);
        let mut batch = LogBatch::default();
        for slot in 1..=5 {
            assert!(poll_and_drop(follower.poll_log(&mut batch)), "nothing to yield yet");
            lab.propose(0, 1, slot..=slot);
            let count = finish(&mut lab, "the entry comes", follower.poll_log(&mut batch))?;
            assert_eq!(count, 1);
            for entry in batch.iter() {
                lab.ledger.yielded((1, lab.group), &entry);
            }
            if mode == AckMode::Persisted {
                lab.acknowledge(1, 1, slot);
            }
        }
        lab.until_quorum(0, 1, 5);
        lab.check();
    }
    Ok(())
}

fn dropped_recv(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(2, AckMode::Persisted))?;
    let (sender, receiver) = (lab.node(0), lab.node(1));
    for number in 0..5_u8 {
        assert!(poll_and_drop(receiver.recv()), "nothing has come yet");
        finish(&mut lab, "it is sent", sender.send(node_id(1), &[number]))?;
        let message = finish(&mut lab, "it comes", receiver.recv())?;
        assert_eq!((message.from, message.body), (node_id(0), vec![number]));
    }
    Ok(())
}

fn dropped_confirmation(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 1);
    let leader = lab.node(0);
    for _ in 0..3 {
        assert!(poll_and_drop(leader.confirm_leadership(Ballot(1))), "nobody has answered yet");
        finish(&mut lab, "the next is answered", leader.confirm_leadership(Ballot(1)))?;
    }
    lab.check();
    Ok(())
}

fn sleeping_broadcaster(stage: &Stage<'_>) -> Result<(), SetupError> {
    let spec = ClusterSpec { window_frames: 2, ..ClusterSpec::voters(3, AckMode::Persisted) };
    let mut lab = stage.lab(&spec)?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=2);
    let leader = lab.node(0);
    let (bell, waker) = Bell::new();
    let mut cx = Context::from_waker(&waker);
    let frame = [Frame::single(Slot(3), b"waits for room")];
    lab.ledger.offers(lab.group, Ballot(1), (Slot(3), Slot(3), b"waits for room"));
    assert!(leader.poll_broadcast(&mut cx, Ballot(1), &frame).is_pending());
    lab.until("the broadcaster is woken", |lab| {
        lab.serve_all(0, 1);
        bell.rings() > 0
    });
    lab.ledger.sent((0, lab.group), Ballot(1), Slot(3));
    let taken = leader.poll_broadcast(&mut cx, Ballot(1), &frame);
    assert!(matches!(taken, Poll::Ready(Ok(1))), "{taken:?}");
    lab.acknowledge(0, 1, 3);
    lab.until_all(0, 1, 3);
    lab.check();
    Ok(())
}
