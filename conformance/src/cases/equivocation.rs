//! Invariant 4: at one ballot and slot, one value.

use electrode_transport::wire::FrameKind;
use electrode_transport::{AckMode, Ballot, Counter, Frame, Slot, TransportError};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::spec::{ClusterSpec, node_id};

cases! { NoEquivocation, "no-equivocation";
    "duplicate-is-stored-once", FastAck, [RECEIVED PERSISTED TAP INJECT], duplicate_stored_once,
        "A duplicate is acknowledged again, truthfully, and stored once.";
    "second-value-is-not-taken", FastAck, [RECEIVED PERSISTED TAP INJECT], second_value,
        "What is stored at a ballot and slot is never replaced.";
    "a-ballot-is-led-once", Core, [], led_once,
        "A ballot is led once: not again, not after resigning, not while followed.";
    "a-ballot-has-one-leader", FastAck, [TAP INJECT], one_leader,
        "At the followed ballot only its leader's frames are stored or answered.";
    "retransmissions-carry-the-same-bytes", Lossy, [RECEIVED PERSISTED FAULTS TAP], same_bytes,
        "Whatever is sent again is what was broadcast, to the byte.";
    "slots-go-out-once", Core, [TAP], slots_go_out_once,
        "A slot is broadcast once, in order, at a ballot.";
}

fn duplicate_stored_once(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 1);
        for _ in 0..3 {
            lab.say_accept(0, 1, 1, 1);
        }
        lab.until("both duplicates are known", |lab| lab.count(1, Counter::RxDuplicate) == 2);
        assert_eq!(lab.poll(1), 1, "three copies, one entry");
        lab.say_accept(0, 1, 1, 1);
        lab.until("so is one after the poll", |lab| lab.count(1, Counter::RxDuplicate) == 3);
        assert_eq!(lab.poll(1), 0);
        let answers = lab.take_seen().iter().filter(|seen| seen.from == 1).count();
        assert!(answers >= 3, "each duplicate is answered, {answers} answers came");
        lab.check();
    }
    Ok(())
}

fn second_value(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 1);
        let header = lab.header(FrameKind::Accept, 0, 1, [1, 1, 0]);
        lab.ledger.offers(lab.group, Ballot(1), (Slot(1), Slot(1), b"first value"));
        lab.say(0, 1, header, b"first value");
        for forged in [b"other value".as_slice(), b"short", b"a much longer value than before"] {
            lab.say(0, 1, header, forged);
        }
        lab.until("all arrived", |lab| lab.count(1, Counter::RxDuplicate) == 3);
        assert_eq!(lab.poll(1), 1, "one value is stored: the ledger compares its bytes");
        lab.say(0, 1, header, b"other value");
        lab.until("the late one arrived", |lab| lab.count(1, Counter::RxDuplicate) == 4);
        assert_eq!(lab.poll(1), 0);
        lab.check();
    }
    Ok(())
}

fn led_once(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 3, 1);
    lab.propose(0, 3, 1..=1);
    let conflict = |result: Result<(), TransportError>, leader: usize| {
        let told = matches!(
            result,
            Err(TransportError::LeaderConflict { ballot: Ballot(3), leader: by }) if by == node_id(leader)
        );
        assert!(told, "expected a conflict with node {leader}: {result:?}");
    };
    let token = lab.fence(0, 3);
    conflict(lab.node(0).lead(&token, Slot(1)), 0);
    conflict(lab.node(0).follow(&token, node_id(1), Slot(1)), 0);
    let follower = lab.fence(1, 3);
    conflict(lab.node(1).lead(&follower, Slot(1)), 0);
    conflict(lab.node(1).follow(&follower, node_id(2), Slot(2)), 0);
    lab.node(0).resign(Ballot(3))?;
    conflict(lab.node(0).lead(&token, Slot(1)), 0);
    conflict(lab.node(0).follow(&token, node_id(1), Slot(1)), 0);
    lab.check();
    Ok(())
}

fn one_leader(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.follow(1, 0, 1, 1);
    lab.advance_ms(1);
    lab.take_seen();
    let before = lab.node(1).stats().received();
    lab.ledger.offers(lab.group, Ballot(1), (Slot(1), Slot(1), b"usurped"));
    let accept = lab.header(FrameKind::Accept, 2, 1, [1, 1, 0]);
    lab.say(2, 1, accept, b"usurped");
    let probe = lab.header(FrameKind::Probe, 2, 1, [1, 0, 0]);
    lab.say(2, 1, probe, &[]);
    lab.until("both have arrived", |lab| lab.node(1).stats().received() >= before + 2);
    assert_eq!(lab.poll(1), 0, "a usurper's frame is stored");
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 1), "a usurper is not answered: {seen:?}");
    assert_eq!(lab.count(1, Counter::RxNotLeader), 2, "both are counted");
    lab.check();
    Ok(())
}

fn same_bytes(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        lab.set_link(0, 1, Link::CUT);
        lab.propose(0, 1, 1..=20);
        lab.advance_ms(5);
        lab.set_link(0, 1, Link::CLEAN);
        lab.until_all(0, 1, 20);
        let twice = lab.take_seen();
        let to_one = twice.iter().filter(|s| s.header.kind == FrameKind::Accept && s.to == Some(1));
        assert!(
            to_one.count() >= 40,
            "every frame went out twice at least; the ledger compared them"
        );
        lab.check();
    }
    Ok(())
}

fn slots_go_out_once(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    lab.elect(0, 1, 5);
    let leader = lab.node(0);
    let offer = |slot| leader.try_broadcast(Ballot(1), &[Frame::single(Slot(slot), b"x")]);
    let refused = |slot, expected: u64| {
        let result = offer(slot);
        let told = matches!(
            result,
            Err(TransportError::SlotOutOfOrder { offered, expected: next })
                if offered == Slot(slot) && next == Slot(expected)
        );
        assert!(told, "slot {slot} where {expected} is next: {result:?}");
    };
    refused(4, 5);
    refused(6, 5);
    lab.propose(0, 1, 5..=6);
    refused(5, 7);
    refused(6, 7);
    let turned = Frame { first: Slot(7), last: Slot(6), body: b"x" };
    let long = Frame { first: Slot(7), last: Slot(7 + 65_536), body: b"x" };
    for frame in [turned, long] {
        let result = leader.try_broadcast(Ballot(1), &[frame]);
        assert!(matches!(result, Err(TransportError::SlotOutOfOrder { .. })), "{result:?}");
    }
    lab.until_all(0, 1, 6);
    lab.check();
    Ok(())
}
