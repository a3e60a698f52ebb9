//! The engine under test, its host, and what must hold after every step.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use electrode_transport::engine::{Engine, GroupHandle, Host, LocalKeeper};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header};
use electrode_transport::{
    AckMode, Ballot, Capabilities, ClusterId, EndpointConfig, FenceToken, Frame, GroupConfig,
    GroupId, Incarnation, LogBatch, Member, MemberIndex, Membership, NodeId, QuorumRule, Result,
    Slot, Time, TransportCore, TransportError,
};

use crate::input::Input;

const GROUP: GroupId = GroupId(1);
const CLUSTER: ClusterId = ClusterId(1);

fn address(node: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1_000 + node as u16))
}

fn membership(incarnation: u32, order: u8) -> Membership {
    let ids: &[u64] = match order % 6 {
        0 => &[1, 2, 3],
        1 => &[3, 2, 1],
        2 => &[2, 1],
        3 => &[1],
        4 => &[4, 1, 5, 2, 3],
        _ => &[2, 3],
    };
    let members = ids.iter().map(|&id| match (order, id) {
        (128.., 2) if ids.len() > 1 => Member::learner(NodeId(id), address(id)),
        _ => Member::voter(NodeId(id), address(id)),
    });
    Membership::new(Incarnation(incarnation), members, QuorumRule::Majority)
        .expect("a sound membership")
}

#[derive(Debug)]
struct State {
    engine: Engine,
    now: Time,
    sent: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Endpoint(Mutex<State>);

impl Host for Endpoint {
    type Keeper = LocalKeeper;

    fn with<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        let mut state = self.0.lock().expect("no step panics and goes on");
        let now = state.now;
        let result = call(&mut state.engine, now);
        let sent: Vec<_> =
            state.engine.outbox().iter().map(|transmit| transmit.bytes.to_vec()).collect();
        state.engine.outbox().advance(sent.len());
        state.engine.flushed();
        state.sent.extend(sent);
        state.engine.take_wakes().wake();
        result
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn drive(&self) -> Result<()> {
        self.with(|engine, now| engine.handle_timeout(now));
        Ok(())
    }

    fn wait(&self, _: Duration) -> Result<()> {
        self.drive()
    }

    fn attend(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Node {
    endpoint: Arc<Endpoint>,
    handle: GroupHandle<Endpoint>,
    token: Option<FenceToken>,
    incarnation: u32,
    batch: LogBatch,
    handed_in: u64,
    fence: u64,
    /// The last slot that left the log, by ballot.
    polled: BTreeMap<u64, u64>,
    /// The highest slot acknowledged on the wire, by ballot.
    acknowledged: BTreeMap<u64, u64>,
    /// What the library said that it holds another way, by ballot.
    covered: BTreeMap<u64, u64>,
    /// The watermark last told, by led ballot.
    led: BTreeMap<u64, u64>,
}

impl Node {
    pub(crate) fn new(choice: u8) -> Self {
        let mut config = EndpointConfig::new(CLUSTER, NodeId(1), address(1));
        config.datagram_len_max = HEADER_LEN + 64;
        let mut engine = Engine::new(config).expect("a sound configuration");
        let mut group = GroupConfig::new(GROUP, membership(1, 0));
        group.mode = if choice.is_multiple_of(2) { AckMode::Received } else { AckMode::Persisted };
        (group.log_bytes, group.window_bytes, group.window_frames) = (256, 256, 4);
        group.inbox_messages = 2;
        let key = engine.open(group).expect("a sound group");
        let state = State { engine, now: Time(1), sent: Vec::new() };
        let endpoint = Arc::new(Endpoint(Mutex::new(state)));
        let handle = GroupHandle::new(Arc::clone(&endpoint), key);
        Self {
            endpoint,
            handle,
            token: None,
            incarnation: 1,
            batch: LogBatch::default(),
            handed_in: 0,
            fence: 0,
            polled: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            covered: BTreeMap::new(),
            led: BTreeMap::new(),
        }
    }

    fn deliver(&mut self, from: u8, bytes: &[u8]) {
        self.handed_in += 1;
        let from = address(u64::from(from % 6));
        self.endpoint.with(|engine, now| engine.handle_datagram(now, from, bytes));
    }

    /// A frame as a peer could send it, right in most fields.
    pub(crate) fn frame(&mut self, input: &mut Input<'_>) {
        let kind = match input.byte() % 6 {
            0 => FrameKind::Accept,
            1 => FrameKind::Accepted,
            2 => FrameKind::Probe,
            3 => FrameKind::ProbeAck,
            4 => FrameKind::Refused,
            _ => FrameKind::Message,
        };
        let from = input.byte();
        let ballot = if kind == FrameKind::Message { 0 } else { input.number() };
        let [first, last, commit] = [(); 3].map(|()| Slot(input.number()));
        let body = if matches!(kind, FrameKind::Accept | FrameKind::Message) {
            let len = usize::from(input.byte() % 80);
            input.take(len)
        } else {
            &[]
        };
        let incarnation = self.incarnation.wrapping_sub(u32::from(from == 255));
        let header = Header {
            kind,
            sender: MemberIndex((from % 6).wrapping_sub(1)),
            flags: if kind == FrameKind::Accepted { from >> 6 & 2 } else { 0 },
            cluster: CLUSTER,
            incarnation: Incarnation(incarnation),
            group: GROUP,
            ballot: Ballot(ballot),
            first,
            last,
            commit,
            body_len: body.len() as u16,
            destination: if from & 64 == 0 { DESTINATION_ALL } else { 0 },
            tag: 0,
        };
        let mut head = [0; HEADER_LEN];
        header.encode(&mut head);
        self.deliver(from, &[&head, body].concat());
    }

    pub(crate) fn noise(&mut self, input: &mut Input<'_>) {
        let from = input.byte();
        let len = usize::from(input.byte());
        let bytes = input.take(len);
        self.deliver(from, bytes);
    }

    pub(crate) fn fence(&mut self, ballot: u64) {
        let Ok(fenced) = self.handle.fence(Ballot(ballot)) else { return };
        assert!(ballot >= self.fence, "a fence fell");
        self.fence = ballot;
        self.token = Some(fenced.token);
        self.note_polled(&fenced.entries);
        for (ballot, acknowledged) in &self.acknowledged {
            let polled = self.polled.get(ballot).max(self.covered.get(ballot));
            assert!(polled >= Some(acknowledged), "acknowledged at {ballot} and not handed over");
        }
    }

    fn cover(&mut self, ballot: u64, through: u64) {
        let covered = self.covered.entry(ballot).or_insert(0);
        *covered = through.max(*covered);
    }

    pub(crate) fn lead(&mut self, next: u64) {
        let Some(token) = &self.token else { return };
        if self.handle.lead(token, Slot(next)).is_ok() {
            let before = self.led.insert(self.fence, 0);
            assert_eq!(before, None, "a ballot is led once");
        }
    }

    pub(crate) fn follow(&mut self, leader: u8, next: u64) {
        let Some(token) = &self.token else { return };
        let followed = self.handle.follow(token, NodeId(u64::from(leader % 6)), Slot(next));
        if followed.is_ok() {
            assert!(!self.led.contains_key(&self.fence), "a led ballot is not followed");
            self.cover(self.fence, next - 1);
        }
    }

    pub(crate) fn acknowledge(&mut self, ballot: u64, through: u64) {
        if self.handle.acknowledge(Ballot(ballot), Slot(through)).is_ok() {
            self.cover(ballot, through);
        }
    }

    pub(crate) fn poll(&mut self, limit: u8) {
        let mut batch = LogBatch::with_limits(usize::from(limit % 4), usize::from(limit));
        let count = self.handle.try_poll_log(&mut batch).expect("the group is open");
        assert_eq!(count, batch.len());
        let status = batch.status();
        if status.ballot != Ballot::NONE {
            assert!(status.acknowledged < status.next, "{status:?}");
            assert_eq!(status.ballot.0, self.fence);
        }
        self.note_polled(&batch);
        self.batch = batch;
    }

    /// Slots leave the log in order, each once, at ballots that were promised.
    fn note_polled(&mut self, batch: &LogBatch) {
        for entry in batch.iter() {
            assert!(entry.ballot.0 <= self.fence);
            assert!(entry.first <= entry.last);
            let last = self.polled.entry(entry.ballot.0).or_insert(0);
            assert!(entry.first.0 > *last, "slot {} came twice", entry.first);
            *last = entry.last.0;
        }
    }

    pub(crate) fn broadcast(&mut self, input: &mut Input<'_>) {
        let ballot = Ballot(input.number());
        let sent = self.handle.acked(ballot).map_or(Slot::ZERO, |acked| acked.sent);
        let first = if input.byte() < 200 { sent.next() } else { Slot(input.number()) };
        let last = Slot(first.0.saturating_add(u64::from(input.byte() % 3)));
        let len = usize::from(input.byte() % 80);
        let body = input.take(len);
        let frames = [Frame { first, last, body }, Frame { first: last.next(), last, body }];
        let taken = self.handle.try_broadcast(ballot, &frames[..1 + first.0 as usize % 2]);
        assert!(taken.is_err() || self.led.contains_key(&ballot.0));
        let _ = self.handle.set_commit(ballot, Slot(input.number()));
    }

    pub(crate) fn probe(&mut self, ballot: u64) {
        let ballot = Ballot(ballot);
        if let Ok(probe) = self.handle.probe(ballot) {
            let confirmed = self.handle.try_confirmed(probe);
            assert!(matches!(confirmed, Ok(_) | Err(TransportError::Superseded { .. })));
        }
        if ballot.0.is_multiple_of(13) {
            let _ = self.handle.resign(ballot);
        }
    }

    pub(crate) fn pass(&mut self, time: u64) {
        {
            let mut state = self.endpoint.0.lock().expect("no step panics and goes on");
            state.now = state.now.after_ns(time.saturating_mul(1_000_000));
        }
        self.endpoint.with(|engine, now| engine.handle_timeout(now));
    }

    pub(crate) fn reconfigure(&mut self, order: u8) {
        let membership = membership(self.incarnation + 1, order);
        if self.handle.reconfigure(membership).is_ok() {
            self.incarnation += 1;
        }
    }

    pub(crate) fn messages(&mut self, input: &mut Input<'_>) {
        let to = NodeId(u64::from(input.byte() % 6));
        let len = usize::from(input.byte() % 80);
        let _ = self.handle.try_send(to, input.take(len));
        let mut body = vec![1];
        let from = self.handle.try_recv(&mut body).expect("the group is open");
        assert!(from.is_some() || body.is_empty());
    }

    /// What must hold after every step.
    pub(crate) fn check(&mut self) {
        let stats = self.handle.stats();
        assert_eq!(stats.received(), self.handed_in, "{stats:?}");
        let sent =
            std::mem::take(&mut self.endpoint.0.lock().expect("no step panics and goes on").sent);
        for bytes in sent {
            let (header, _) = Header::decode(&bytes).expect("what is sent can be read");
            if matches!(header.kind, FrameKind::Accepted | FrameKind::ProbeAck) {
                assert_eq!(header.ballot.0, self.fence, "an acknowledgement below the fence");
                assert!(!self.led.contains_key(&header.ballot.0), "a leader follows nobody");
                let before = self.acknowledged.entry(header.ballot.0).or_insert(0);
                assert!(header.last.0 >= *before, "an acknowledgement was taken back");
                *before = header.last.0;
            }
        }
        if let Some((&ballot, told)) = self.led.iter_mut().next_back()
            && let Ok(quorum) = self.handle.quorum(Ballot(ballot))
        {
            let acked = self.handle.acked(Ballot(ballot)).expect("it leads");
            assert!(quorum.through <= acked.sent, "a quorum of what was never sent");
            assert!(quorum.through.0 >= *told, "the watermark fell");
            *told = quorum.through.0;
        }
    }

    /// The end: everything still in the log comes out, and a closed group stays closed.
    pub(crate) fn finish(mut self) {
        self.fence(u64::MAX);
        self.poll(255);
        assert!(self.batch.is_empty(), "the fence left something behind");
        self.check();
        self.handle.close();
        assert!(matches!(self.handle.fence(Ballot(u64::MAX)), Err(TransportError::Closed)));
    }
}
