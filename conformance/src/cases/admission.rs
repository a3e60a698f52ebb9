//! Invariant 10: only a member's frames reach the rules, and replies never exceed requests.

use electrode_transport::wire::{FrameKind, Header, Key, flags};
use electrode_transport::{AckMode, Counter, Incarnation, MemberIndex};

use super::MODES;
use crate::case::Stage;
use crate::harness::{Origin, SetupError};
use crate::lab::Lab;
use crate::spec::{ClusterSpec, node_id};

cases! { Admission, "admission";
    "gate", Core, [RECEIVED TAP INJECT], gate,
        "Frames of another cluster, another incarnation, another member's address or place are dropped, counted by reason and not answered.";
    "replayed-incarnation", Quorum, [RECEIVED TAP INJECT], replayed_incarnation,
        "Frames recorded under a former membership are dropped after the change.";
    "tags", Core, [RECEIVED TAP INJECT TAGS], tags,
        "With a key, only frames with the right tag reach a rule; without one, no tagged frame does.";
    "keyed-cluster", Core, [RECEIVED PERSISTED TAGS TAP], keyed_cluster,
        "A cluster with a key works, and every frame of it carries a tag.";
    "replies-never-exceed-requests", FastAck, [RECEIVED PERSISTED TAP INJECT], replies_bounded,
        "No request draws more frames, or more bytes, than it is.";
    "messages-between-incarnations", Quorum, [INJECT], messages_between_incarnations,
        "Messages pass between members of different incarnations; strangers' do not.";
}

/// Node 1 follows node 0 at ballot 1, and nothing is on its way.
fn follower(stage: &Stage<'_>, spec: &ClusterSpec) -> Result<Lab, SetupError> {
    let mut lab = stage.lab(spec)?;
    lab.follow(1, 0, 1, 1);
    lab.advance_ms(1);
    lab.take_seen();
    Ok(lab)
}

/// Delivers frames of every kind that a rule would answer, changed by `forge`: each must be refused
/// for this reason, silently and without effect.
fn refused(lab: &mut Lab, origin: Origin, reason: Counter, forge: impl Fn(&mut Header)) {
    let (held, before) = (lab.held(1, 1), lab.count(1, reason));
    for (kind, slots) in [
        (FrameKind::Accept, [held + 1, held + 1, 0]),
        (FrameKind::Probe, [1, 0, 0]),
        (FrameKind::Accepted, [2, 1, 0]),
        (FrameKind::ProbeAck, [1, 1, 2]),
        (FrameKind::Refused, [9, 0, 0]),
    ] {
        let mut header = lab.header(kind, 0, 1, slots);
        forge(&mut header);
        let body: &[u8] = if kind == FrameKind::Accept { b"forged" } else { &[] };
        let bytes = lab.datagram(header, body);
        lab.say_heard(origin, 1, &bytes);
    }
    lab.advance_ms(1);
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 1), "{} was answered: {seen:?}", reason.name());
    lab.poll(1);
    assert_eq!(lab.held(1, 1), held, "{} was stored", reason.name());
    assert_eq!(lab.count(1, reason), before + 5, "each is counted as {}", reason.name());
}

fn gate(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = follower(stage, &ClusterSpec::voters(3, AckMode::Received))?;
    let leader = Origin::Node(0);
    refused(&mut lab, leader, Counter::RxForeignCluster, |h| {
        h.cluster.0 += 1;
    });
    refused(&mut lab, leader, Counter::RxStaleIncarnation, |h| h.incarnation = Incarnation(0));
    refused(&mut lab, leader, Counter::RxFutureIncarnation, |h| h.incarnation = Incarnation(2));
    refused(&mut lab, leader, Counter::RxWrongAddress, |h| h.sender = MemberIndex(2));
    refused(&mut lab, Origin::Node(2), Counter::RxWrongAddress, |_| {});
    refused(&mut lab, Origin::Stranger, Counter::RxWrongAddress, |_| {});
    for index in [1, 3, 32, 255] {
        refused(&mut lab, leader, Counter::RxNotMember, |h| h.sender = MemberIndex(index));
    }
    for place in [0, 2, 3, 254] {
        refused(&mut lab, leader, Counter::RxMisdirected, |h| h.destination = place);
    }
    refused(&mut lab, leader, Counter::RxUnknownGroup, |h| h.group.0 += 1);
    lab.say_accept(0, 1, 1, 1);
    lab.until("the true frame is stored", |lab| lab.poll(1) == 1);
    lab.check();
    Ok(())
}

fn replayed_incarnation(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = follower(stage, &ClusterSpec::voters(3, AckMode::Received))?;
    lab.say_accept(0, 1, 1, 1);
    lab.until("slot 1 is stored", |lab| lab.poll(1) == 1);
    let next = lab.roster(0).next(&[0, 1, 2]);
    for node in 0..3 {
        lab.reconfigure(node, &next);
    }
    lab.advance_ms(1);
    lab.take_seen();
    refused(&mut lab, Origin::Node(0), Counter::RxStaleIncarnation, |h| {
        h.incarnation = Incarnation(1);
    });
    lab.say_accept(0, 1, 1, 2);
    lab.until("the new incarnation's frame is stored", |lab| lab.poll(1) == 1);
    lab.check();
    Ok(())
}

fn tags(stage: &Stage<'_>) -> Result<(), SetupError> {
    let key = Key(*b"a shared secret!");
    let spec = ClusterSpec { key: Some(key), ..ClusterSpec::voters(3, AckMode::Received) };
    let mut lab = follower(stage, &spec)?;
    let header = lab.header(FrameKind::Accept, 0, 1, [1, 1, 0]);
    let good = lab.datagram(header, b"forged body");
    let mut forgeries = Vec::new();
    // A bit flipped anywhere that decodes still, the tag itself among them.
    for at in [24, 31, 33, 40, 48, 64, 71, 72, good.len() - 1] {
        let mut forged = good.clone();
        forged[at] ^= 1;
        if Header::decode(&forged).is_ok() {
            forgeries.push(forged);
        }
    }
    assert!(forgeries.len() >= 6, "the forgeries must reach the tag's check");
    lab.spec.key = None;
    forgeries.push(lab.datagram(header, b"forged body"));
    lab.spec.key = Some(Key(*b"another secret!!"));
    forgeries.push(lab.datagram(header, b"forged body"));
    lab.spec.key = Some(key);
    for (count, forged) in (1..).zip(&forgeries) {
        lab.say_heard(Origin::Node(0), 1, forged);
        assert_eq!(lab.poll(1), 0, "forgery {count} was stored");
    }
    assert_eq!(lab.count(1, Counter::RxBadTag), forgeries.len() as u64, "each is counted");
    let seen = lab.take_seen();
    assert!(!seen.iter().any(|seen| seen.from == 1), "a forgery was answered: {seen:?}");
    lab.say_accept(0, 1, 1, 1);
    lab.until("the true frame is stored", |lab| lab.poll(1) == 1);
    lab.check();

    let mut lab = follower(stage, &ClusterSpec::voters(3, AckMode::Received))?;
    let mut tagged = lab.header(FrameKind::Accept, 0, 1, [1, 1, 0]);
    (tagged.flags, tagged.tag) = (flags::TAGGED, 7);
    lab.say(0, 1, tagged, b"unexpected");
    lab.until("an unexpected tag is refused", |lab| lab.count(1, Counter::RxBadTag) == 1);
    assert_eq!(lab.poll(1), 0);
    lab.check();
    Ok(())
}

fn keyed_cluster(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let key = Some(Key([9; 16]));
        let mut lab = stage.lab(&ClusterSpec { key, ..ClusterSpec::voters(3, mode) })?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=10);
        lab.until_all(0, 1, 10);
        let probe = lab.probe(0, 1);
        lab.until("the leadership is confirmed", |lab| lab.confirmed(0, probe));
        assert!(lab.node(0).capabilities().authenticated);
        lab.check();
    }
    Ok(())
}

fn replies_bounded(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = follower(stage, &ClusterSpec::voters(3, mode))?;
        lab.say_accept(0, 1, 1, 1);
        lab.say_accept(0, 1, 1, 2);
        lab.until("two are stored", |lab| lab.count(1, Counter::RxStored) == 2);
        lab.serve(1, 1);
        lab.advance_ms(1);
        lab.take_seen();
        let requests = [
            (FrameKind::Accept, 1, [1, 1, 0]),
            (FrameKind::Accept, 1, [2, 2, 0]),
            (FrameKind::Accept, 1, [7, 7, 0]),
            (FrameKind::Accept, 1, [2, 5, 0]),
            (FrameKind::Accept, 9, [1, 1, 0]),
            (FrameKind::Probe, 1, [0, 0, 0]),
            (FrameKind::Probe, 1, [3, 0, 0]),
            (FrameKind::Probe, 9, [3, 0, 0]),
            (FrameKind::Accepted, 1, [3, 2, 0]),
            (FrameKind::ProbeAck, 1, [1, 2, 3]),
            (FrameKind::Refused, 1, [5, 0, 0]),
            (FrameKind::Message, 0, [0, 0, 0]),
        ];
        for (kind, ballot, slots) in requests {
            let header = lab.header(kind, 0, ballot, slots);
            let before = lab.node(1).stats().received();
            let bytes = lab.datagram(header, &[]);
            lab.inject(Origin::Node(0), 1, &bytes);
            lab.until("the request arrived", |lab| lab.node(1).stats().received() > before);
            lab.advance_ms(1);
            let seen = lab.take_seen();
            let replies: Vec<_> = seen.iter().filter(|seen| seen.from == 1).collect();
            assert!(replies.len() <= 1, "{kind:?} drew {replies:?}");
            assert!(
                replies.iter().all(|reply| reply.len <= bytes.len() && reply.to == Some(0)),
                "{kind:?} of {} bytes drew {replies:?}",
                bytes.len()
            );
        }
        lab.check();
    }
    Ok(())
}

fn messages_between_incarnations(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = stage.lab(&ClusterSpec::voters(3, AckMode::Persisted))?;
    let next = lab.roster(0).next(&[0, 1, 2]);
    lab.reconfigure(1, &next);
    let mut body = Vec::new();
    for (from, to) in [(0, 1), (1, 0)] {
        lab.node(from).try_send(node_id(to), b"catch up")?;
        let mut got = None;
        lab.until("the message passes", |lab| {
            got = lab.node(to).try_recv(&mut body).expect("the group is open");
            got.is_some()
        });
        assert_eq!((got, body.as_slice()), (Some(node_id(from)), b"catch up".as_slice()));
    }
    let message = lab.header(FrameKind::Message, 0, 0, [0, 0, 0]);
    let bytes = lab.datagram(message, b"let me in");
    lab.inject(Origin::Stranger, 1, &bytes);
    lab.until("a stranger's is refused", |lab| lab.count(1, Counter::RxWrongAddress) == 1);
    assert_eq!(lab.node(1).try_recv(&mut body)?, None);
    Ok(())
}
