//! The next process goes on: here the endpoints follow each other in one process, which is quicker. An
//! endpoint that is dropped leaves its pins as one that is killed does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook, HookChoice};
use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_transport::{
    AckMode, Ballot, Frame, GroupConfig, GroupId, Incarnation, LogBatch, Member, Membership,
    NodeId, QuorumRule, QuorumTransport, Slot, TransportCore, TransportError,
};

use crate::Outcome;
use crate::bpffs::Bpffs;
use crate::crashes::{attached, members};
use crate::member::{FOLLOWER, GROUP, LEADER, PORT, endpoint, group, options};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for a driver to fall asleep.
const SOON: Duration = Duration::from_millis(50);

/// A follower's endpoint on host 1.
pub(crate) fn bind(host: &Host, options: EbpfOptions) -> electrode_transport::Result<EbpfEndpoint> {
    let config = endpoint(FOLLOWER, host.address(false, PORT));
    host.within(|| EbpfEndpoint::bind(config, options)).unwrap()
}

/// A leader that sends one slot after the other.
pub(crate) struct Leader {
    endpoint: SocketEndpoint,
    transport: Arc<dyn QuorumTransport>,
    ballot: Ballot,
}

impl Leader {
    pub(crate) fn start(host: &Host, config: GroupConfig, ballot: u64) -> Self {
        let address = host.address(false, PORT);
        let endpoint = host
            .within(|| SocketEndpoint::bind(endpoint(LEADER, address), SocketOptions::default()))
            .unwrap()
            .unwrap();
        let transport: Arc<dyn QuorumTransport> = Arc::new(endpoint.join(config).unwrap());
        let ballot = Ballot(ballot);
        let token = transport.fence(ballot).unwrap().token;
        transport.lead(&token, Slot(1)).unwrap();
        Self { endpoint, transport, ballot }
    }

    /// Sends slots until the follower's kernel has what is expected of it.
    pub(crate) fn send(&self, slots: std::ops::RangeInclusive<u64>, arrived: impl Fn() -> bool) {
        for slot in slots {
            let body = slot.to_le_bytes();
            let frame = Frame::single(Slot(slot), &body);
            assert_eq!(self.transport.try_broadcast(self.ballot, &[frame]).unwrap(), 1);
        }
        let end = Instant::now() + PATIENCE;
        while !arrived() {
            assert!(Instant::now() < end, "nothing arrives");
            self.endpoint.drive().unwrap();
        }
    }

    pub(crate) fn quorum(&self) -> u64 {
        self.transport.quorum(self.ballot).unwrap().through.0
    }
}

pub(crate) fn poll(transport: &Arc<dyn QuorumTransport>) -> (Vec<u64>, LogBatch) {
    let mut batch = LogBatch::default();
    transport.try_poll_log(&mut batch).unwrap();
    (slots(&batch), batch)
}

fn slots(batch: &LogBatch) -> Vec<u64> {
    batch.iter().map(|entry| entry.first.0).collect()
}

pub(crate) fn follow(transport: &Arc<dyn QuorumTransport>, ballot: u64, next: u64) -> Vec<u64> {
    let fenced = transport.fence(Ballot(ballot)).unwrap();
    transport.follow(&fenced.token, LEADER, Slot(next)).unwrap();
    slots(&fenced.entries)
}

/// A lease that does not end during a test.
pub(crate) fn lasting(config: GroupConfig) -> GroupConfig {
    GroupConfig { lease: Duration::from_secs(60), ..config }
}

pub(crate) fn status_and_entries() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = lasting(group(members));
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(config.clone()).unwrap();
    assert!(transport.capabilities().pinned);
    assert_eq!(follow(&transport, 4, 1), [0; 0]);
    leader.send(1..=3, || leader.quorum() == 3);
    assert_eq!(poll(&transport).0, [1, 2, 3]);
    leader.send(4..=5, || leader.quorum() == 5);
    drop((transport, first));
    // Nobody lives.
    leader.send(6..=6, || leader.quorum() == 6);
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!(second.dormant(), [GROUP]);
    leader.send(7..=7, || leader.quorum() == 7);
    let transport = second.join(config.clone()).unwrap();
    assert_eq!(second.dormant(), []);
    let refused = transport.fence(Ballot(3)).map(|_| ());
    assert!(
        matches!(refused, Err(TransportError::BallotBackwards { current: Ballot(4), .. })),
        "{refused:?}"
    );
    let (polled, batch) = poll(&transport);
    assert_eq!(polled, [1, 2, 3, 4, 5, 6, 7], "the first three were handed out, not taken");
    let status = batch.status();
    assert_eq!((status.ballot, status.next, status.acknowledged), (Ballot(4), Slot(8), Slot(7)));
    // As if nothing had been, with the leader known by name.
    leader.send(8..=9, || leader.quorum() == 9);
    assert_eq!(poll(&transport).0, [8, 9]);
    drop((transport, second));
    let third = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = third.join(config).unwrap();
    let fenced = transport.fence(Ballot(4)).unwrap();
    assert_eq!(slots(&fenced.entries), [8, 9], "polling again took those before");
    transport.follow(&fenced.token, LEADER, Slot(10)).unwrap();
    let other = transport.follow(&fenced.token, FOLLOWER, Slot(10));
    assert!(matches!(other, Err(TransportError::LeaderConflict { .. })), "{other:?}");
    let lead = transport.lead(&fenced.token, Slot(10));
    assert!(
        matches!(lead, Err(TransportError::LeaderConflict { leader: LEADER, .. })),
        "followed in another life: {lead:?}"
    );
    leader.send(10..=10, || leader.quorum() == 10);
    assert_eq!(poll(&transport).0, [10]);
    third.close();
    Ok(())
}

pub(crate) fn persisted() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let mut config = lasting(group(members));
    config.mode = AckMode::Persisted;
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(config.clone()).unwrap();
    assert_eq!(follow(&transport, 4, 1), [0; 0]);
    let stored = |transport: &Arc<dyn QuorumTransport>, slots: &mut Vec<u64>| {
        slots.extend(poll(transport).0);
        slots.len()
    };
    let got = std::cell::RefCell::new(Vec::new());
    leader.send(1..=6, || stored(&transport, &mut got.borrow_mut()) == 6);
    transport.acknowledge(Ballot(4), Slot(2)).unwrap();
    poll(&transport);
    drop((transport, first));
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = second.join(config).unwrap();
    let (polled, batch) = poll(&transport);
    assert_eq!(polled, [3, 4, 5, 6], "polled by the last life, never acknowledged");
    assert_eq!((batch.status().next, batch.status().acknowledged), (Slot(7), Slot(2)));
    leader.transport.acknowledge(Ballot(4), Slot(6)).unwrap();
    transport.acknowledge(Ballot(4), Slot(6)).unwrap();
    leader.send(7..=7, || leader.quorum() == 6);
    second.close();
    Ok(())
}

/// What a library gave up when it followed another ballot does not come again, and what it was handed
/// by a fence alone does.
pub(crate) fn given_up() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = lasting(group(members));
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(config.clone()).unwrap();
    assert_eq!(follow(&transport, 4, 1), [0; 0]);
    leader.send(1..=2, || leader.quorum() == 2);
    assert_eq!(poll(&transport).0, [1, 2]);
    leader.send(3..=3, || leader.quorum() == 3);
    assert_eq!(slots(&transport.fence(Ballot(5)).unwrap().entries), [3]);
    drop((transport, first));
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = second.join(config.clone()).unwrap();
    assert_eq!(follow(&transport, 5, 2), [1, 2, 3], "handed over, and nothing said since");
    drop((transport, second));
    let third = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = third.join(config).unwrap();
    let fenced = transport.fence(Ballot(5)).unwrap();
    assert!(fenced.entries.is_empty(), "the log ends at 1: {:?}", slots(&fenced.entries));
    assert_eq!(poll(&transport).1.status().next, Slot(2));
    third.close();
    Ok(())
}

/// A ballot that was led and resigned is led no more, in no life.
pub(crate) fn resigned() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    for life in 0..2 {
        let endpoint = bind(host, options(Some(&bpffs.folder()))).unwrap();
        let transport = endpoint.join(group(members)).unwrap();
        let token = transport.fence(Ballot(3)).unwrap().token;
        let led = transport.lead(&token, Slot(1));
        if life == 0 {
            led.unwrap();
            transport.resign(Ballot(3)).unwrap();
        } else {
            assert!(
                matches!(led, Err(TransportError::LeaderConflict { leader: FOLLOWER, .. })),
                "led in another life: {led:?}"
            );
            let token = transport.fence(Ballot(4)).unwrap().token;
            transport.lead(&token, Slot(1)).unwrap();
        }
    }
    Ok(())
}

fn with_members(members: &[(NodeId, SocketAddr)], incarnation: u32) -> Membership {
    let members: Vec<_> = members.iter().map(|&(id, address)| Member::voter(id, address)).collect();
    Membership::new(Incarnation(incarnation), members, QuorumRule::Majority).unwrap()
}

/// A new membership comes with the new life: whom the group follows is known by name, at whatever index.
pub(crate) fn newer_membership() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = lasting(group(members));
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(config.clone()).unwrap();
    assert_eq!(follow(&transport, 4, 1), [0; 0]);
    leader.send(1..=2, || leader.quorum() == 2);
    drop((transport, first));
    let turned = with_members(&[(FOLLOWER, members[1]), (LEADER, members[0])], 2);
    leader.transport.reconfigure(turned.clone()).unwrap();
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let next = GroupConfig { membership: turned, ..config.clone() };
    let transport = second.join(next.clone()).unwrap();
    leader.send(3..=3, || leader.quorum() == 3);
    assert_eq!(poll(&transport).0, [1, 2, 3], "the leader is followed still, at its new index");
    drop((transport, second));
    let old = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let refused = old.join(config).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("the newer incarnation 2, and here it is 1"), "{refused}");
    // The leader leaves: nobody is followed until a higher ballot.
    let stranger = NodeId(7);
    let without = with_members(&[(FOLLOWER, members[1]), (stranger, members[0])], 3);
    let transport = old.join(GroupConfig { membership: without, ..next }).unwrap();
    let (polled, batch) = poll(&transport);
    assert_eq!((polled.as_slice(), batch.status().ballot), ([1, 2, 3].as_slice(), Ballot::NONE));
    let fenced = transport.fence(Ballot(4)).unwrap();
    let again = transport.follow(&fenced.token, stranger, Slot(4));
    assert!(matches!(again, Err(TransportError::LeaderConflict { .. })), "{again:?}");
    old.close();
    Ok(())
}

pub(crate) fn dormant_groups() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = |id| GroupConfig { group: GroupId(id), ..lasting(group(members)) };
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transports: Vec<_> = (1..=3).map(|id| first.join(config(id)).unwrap()).collect();
    transports[1].close();
    drop((transports, first));
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!(second.dormant(), [GroupId(1), GroupId(3)], "the second was closed");
    assert!(!second.discard(GroupId(2)).unwrap(), "there is no such group");
    assert!(second.discard(GroupId(3)).unwrap());
    let fresh = second.join(config(3)).unwrap();
    fresh.fence(Ballot(1)).map(|_| ()).unwrap();
    // A group that nobody joins keeps what its kernel stored while the others' is read.
    let leader = Leader::start(&bed.hosts()[0], config(3), 2);
    follow(&fresh, 2, 1);
    leader.send(1..=1, || leader.quorum() == 1);
    assert_eq!(poll(&fresh).0, [1]);
    drop((fresh, second, leader));
    let leader = Leader::start(&bed.hosts()[0], config(3), 2);
    let third = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let other = third.join(config(1)).unwrap();
    // The same leadership, as far as the follower can tell: slot 1 is known, slot 2 is new.
    leader.send(1..=2, || leader.quorum() == 2);
    third.drive().unwrap();
    assert_eq!(poll(&other).0, [0; 0]);
    drop((other, third));
    let fourth = bind(host, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!(poll(&fourth.join(config(3)).unwrap()).0, [1, 2]);
    fourth.close();
    Ok(())
}

/// The driver of the first endpoint sleeps when that is dropped, and ends later than the second one begins:
/// who is asleep is counted in memory that both share.
pub(crate) fn from_one_that_sleeps() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = lasting(group(members));
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
        let transport = first.join(config.clone()).unwrap();
        assert_eq!(follow(&transport, 4, 1), [0; 0]);
        let mut batch = LogBatch::default();
        let waited = tokio::time::timeout(SOON, transport.poll_log(&mut batch)).await;
        assert!(waited.is_err(), "there is nothing, so its driver sleeps");
        drop((transport, first));
        // Not once has the first one's driver run since.
        let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
        let transport = second.join(config.clone()).unwrap();
        let waiting = tokio::spawn(async move {
            let mut batch = LogBatch::default();
            transport.poll_log(&mut batch).await.map(|_| slots(&batch))
        });
        tokio::time::sleep(SOON).await;
        leader.send(1..=1, || leader.quorum() == 1);
        let woken = tokio::time::timeout(PATIENCE, waiting).await;
        assert_eq!(woken.expect("the kernel wakes the second one").unwrap().unwrap(), [1]);
        second.close();
    });
    Ok(())
}

pub(crate) fn closed_leaves_nothing() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let endpoint = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = endpoint.join(group(members)).unwrap();
    assert_eq!(attached(host), 2);
    assert_eq!(bpffs.contents().len(), 1);
    endpoint.close();
    assert_eq!(attached(host), 0);
    assert!(bpffs.contents().is_empty(), "{:?}", bpffs.contents());
    assert!(matches!(transport.fence(Ballot(1)), Err(TransportError::Closed)));
    // A successor has its pins for itself, also if its predecessor's last clone goes later.
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    drop((transport, endpoint));
    assert_eq!((attached(host), bpffs.contents().len()), (2, 1));
    drop(second);
    let third = bind(host, options(Some(&bpffs.folder()))).unwrap();
    third.close();
    assert!(bpffs.contents().is_empty(), "{:?}", bpffs.contents());
    // And an endpoint that cannot be made.
    let failed = host.within(|| {
        let mut config = self::endpoint(FOLLOWER, members[1]);
        config.retransmit_min = Duration::ZERO;
        EbpfEndpoint::bind(config, options(Some(&bpffs.folder())))
    });
    assert!(failed.unwrap().is_err());
    assert!(bpffs.contents().is_empty(), "{:?}", bpffs.contents());
    Ok(())
}

/// Whoever leaves the choice open finds a hook that works, and stays with the one that is pinned.
pub(crate) fn any_hook() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let host = &bed.hosts()[1];
    let with = |hook| {
        let mut options = options(Some(&bpffs.folder()));
        options.hook = hook;
        bind(host, options).unwrap()
    };
    let found = with(HookChoice::Auto).hook();
    assert_eq!(with(HookChoice::Auto).hook(), found);
    with(HookChoice::Only(found)).close();
    let other = Hook::ALL.into_iter().find(|&hook| hook != found && hook != Hook::XdpNative);
    let other = other.unwrap();
    assert_eq!(with(HookChoice::Only(other)).hook(), other);
    let again = with(HookChoice::Auto);
    assert_eq!((again.hook(), attached(host)), (other, 2));
    again.close();
    assert_eq!(attached(host), 0);
    Ok(())
}

pub(crate) fn every_hook() -> Outcome {
    for hook in Hook::ALL {
        let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
        let (members, host) = (members(&bed), &bed.hosts()[1]);
        let config = lasting(group(members));
        let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
        let options = || {
            let mut options = options(Some(&bpffs.folder()));
            options.hook = hook.into();
            // A driver-mode program's reply would need a program at the veth's other end.
            options.acknowledge = hook != Hook::XdpNative;
            options
        };
        let first = bind(host, options()).unwrap();
        let transport = first.join(config.clone()).unwrap();
        follow(&transport, 4, 1);
        leader.send(1..=1, || {
            first.drive().unwrap();
            leader.quorum() == 1
        });
        drop((transport, first));
        assert_eq!(attached(host), 2, "{hook}");
        let second = bind(host, options()).unwrap();
        assert_eq!(attached(host), 2, "{hook}");
        let transport = second.join(config).unwrap();
        leader.send(2..=3, || {
            second.drive().unwrap();
            leader.quorum() == 3
        });
        assert_eq!(poll(&transport).0, [1, 2, 3], "{hook}");
        second.close();
        assert_eq!(attached(host), 0, "{hook}");
    }
    Ok(())
}
