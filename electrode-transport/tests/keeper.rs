//! An engine whose keeper hears what never comes by: as with a kernel that counts acknowledgements
//! itself, and wakes by word of its backend.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::Duration;

use electrode_transport::engine::{
    Engine, GroupHandle, Host, Keeper, Leading, LocalKeeper, News, Reseating, TallyView,
};
use electrode_transport::rules::{Acceptor, ArmError, Proposal, Tally, TallyVerdict, Verdict};
use electrode_transport::{
    Ballot, Capabilities, ClusterId, ConfigError, Counter, EndpointConfig, Frame, GroupConfig,
    GroupId, Incarnation, Interest, LogBatch, Member, MemberIndex, MemberSet, Membership, NodeId,
    Obstacle, QuorumRule, Result, Slot, Time, TransportCore, TransportError,
};

const BALLOT: Ballot = Ballot(3);
const GROUP: GroupId = GroupId(1);
const MS: u64 = 1_000_000;

/// What the "kernel" shares with its keeper.
#[derive(Debug, Default)]
struct Counted {
    tally: Tally,
    next: [Slot; 32],
    former: Option<Vec<Option<MemberIndex>>>,
    /// What an earlier life led.
    led: Ballot,
    /// The library closed the group.
    ended: bool,
}

#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<Counted>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap()
    }

    /// The kernel hears a member that this process never will.
    fn hear(&self, member: u8, through: u64) {
        let mut counted = self.lock();
        let verdict = counted.tally.ack(BALLOT, MemberIndex(member), Slot(through));
        assert!(matches!(verdict, TallyVerdict::Quorum | TallyVerdict::Counted), "{verdict:?}");
        counted.next[usize::from(member)] = Slot(through + 1);
    }
}

impl TallyView for Board {
    fn sent(&self) -> Slot {
        self.lock().tally.sent()
    }
    fn quorum(&self) -> Slot {
        self.lock().tally.quorum()
    }
    fn acked(&self, member: MemberIndex) -> Slot {
        self.lock().tally.acked(member)
    }
    fn probed(&self, member: MemberIndex) -> u64 {
        self.lock().tally.probed(member)
    }
    fn probe_sent(&self) -> u64 {
        self.lock().tally.probe_sent()
    }
    fn probe_quorum(&self) -> u64 {
        self.lock().tally.probe_quorum()
    }
    fn voters_of(&self, slot: Slot) -> MemberSet {
        self.lock().tally.voters_of(slot)
    }
}

/// Follows here, counts there.
#[derive(Debug)]
struct Kernel {
    local: LocalKeeper,
    board: Board,
}

impl Keeper for Kernel {
    fn acceptor(&self) -> Acceptor {
        self.local.acceptor()
    }
    fn raise_fence(&mut self, ballot: Ballot) -> bool {
        self.local.raise_fence(ballot)
    }
    fn arm(&mut self, b: Ballot, leader: MemberIndex, n: Slot, now: Time) -> Result<(), ArmError> {
        self.local.arm(b, leader, n, now)
    }
    fn acknowledge(&mut self, ballot: Ballot, through: Slot) -> Result<(), ArmError> {
        self.local.acknowledge(ballot, through)
    }
    fn renew(&mut self, until: Time) {
        self.local.renew(until);
    }
    fn offer(&mut self, proposal: &Proposal, body: &[u8], now: Time) -> Verdict {
        self.local.offer(proposal, body, now)
    }
    fn probe(&mut self, ballot: Ballot, sender: MemberIndex, commit: Slot, now: Time) -> Verdict {
        self.local.probe(ballot, sender, commit, now)
    }
    fn poll(&mut self, batch: &mut LogBatch) {
        self.local.poll(batch);
    }
    fn splits(&mut self, through: Slot) -> Option<Slot> {
        self.local.splits(through)
    }
    fn discard_through(&mut self, through: Slot) {
        self.local.discard_through(through);
    }
    fn polled(&self) -> Slot {
        self.local.polled()
    }
    fn reset_polled(&mut self, through: Slot) {
        self.local.reset_polled(through);
    }
    fn lead(&mut self, leading: &Leading) {
        let Leading { ballot, sent, voters, members, own } = *leading;
        let tally = Tally::lead(ballot, sent, voters, members, own);
        *self.board.lock() = Counted { tally, ..Counted::default() };
    }
    fn resign(&mut self) {
        *self.board.lock() = Counted::default();
    }
    fn sending(&mut self, through: Slot, vote: bool) {
        let tally = &mut self.board.lock().tally;
        tally.arm(through);
        if vote {
            tally.ack(tally.ballot(), tally.own(), through);
        }
    }
    fn count(&mut self, b: Ballot, member: MemberIndex, through: Slot, next: Slot) -> TallyVerdict {
        let mut counted = self.board.lock();
        counted.next[usize::from(member.0)] = next;
        counted.tally.ack(b, member, through)
    }
    fn count_probe(&mut self, ballot: Ballot, member: MemberIndex, number: u64) -> TallyVerdict {
        self.board.lock().tally.probe_ack(ballot, member, number)
    }
    fn start_probe(&mut self) -> u64 {
        self.board.lock().tally.start_probe()
    }
    fn tally(&self) -> &impl TallyView {
        &self.board
    }
    fn heard_next(&self, member: MemberIndex) -> Option<Slot> {
        Some(self.board.lock().next[usize::from(member.0)])
    }
    fn reseat(&mut self, change: &Reseating<'_>) {
        let mut counted = self.board.lock();
        let (members, own) = (change.gate.members, change.gate.own);
        counted.tally =
            counted.tally.reseated(change.voters, members, own, |index| change.former(index));
        counted.next = [Slot::ZERO; 32];
        counted.former = Some(change.former[..usize::from(members)].to_vec());
    }
    fn led(&self) -> Ballot {
        self.board.lock().led
    }
    fn end(&mut self) {
        self.board.lock().ended = true;
    }
}

fn address(node: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1_000 + node as u16))
}

fn membership(incarnation: u32, ids: &[u64]) -> Membership {
    let members = ids.iter().map(|&id| Member::voter(NodeId(id), address(id)));
    Membership::new(Incarnation(incarnation), members, QuorumRule::Majority).unwrap()
}

/// Node 1's endpoint; what it sends is only looked at.
#[derive(Debug)]
struct Node(Mutex<(Engine<Kernel>, Time)>);

impl Node {
    /// The moment of the next timer, if any; time is there then, and what was due is done.
    fn expire(&self) -> Option<Time> {
        let mut state = self.0.lock().unwrap();
        let due = state.0.poll_timeout()?;
        state.1 = due;
        state.0.handle_timeout(due);
        Some(due)
    }

    /// How much waits to be sent to a node.
    fn sent_to(&self, node: u64) -> usize {
        self.with(|engine, _| {
            engine.outbox().iter().filter(|sent| sent.to == address(node)).count()
        })
    }

    /// What waits to be sent leaves.
    fn send(&self) {
        self.with(|engine, _| {
            let count = engine.outbox().len();
            engine.outbox().advance(count);
        });
    }
}

impl Host for Node {
    type Keeper = Kernel;

    fn with<R>(&self, call: impl FnOnce(&mut Engine<Kernel>, Time) -> R) -> R {
        let mut state = self.0.lock().unwrap();
        let now = state.1;
        let result = call(&mut state.0, now);
        let wakes = state.0.take_wakes();
        drop(state);
        wakes.wake();
        result
    }
    fn node(&self) -> NodeId {
        NodeId(1)
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    fn drive(&self) -> Result<()> {
        Ok(())
    }
    fn wait(&self, _max: Duration) -> Result<()> {
        Ok(())
    }
    fn attend(&self) -> Result<()> {
        Ok(())
    }
}

/// Node 1 of three, with a window of four frames, whose keeper has lived before.
fn open(board: &Board, local: impl FnOnce(&mut LocalKeeper)) -> (Arc<Node>, GroupHandle<Node>) {
    let config = EndpointConfig::new(ClusterId(1), NodeId(1), address(1));
    let mut engine = Engine::new(config).unwrap();
    let mut config = GroupConfig::new(GROUP, membership(1, &[1, 2, 3]));
    config.window_frames = 4;
    let key = engine
        .open_with(config, |config, gate| {
            assert_eq!((gate.own, gate.members), (MemberIndex(0), 3));
            let mut keeper = LocalKeeper::new(config.mode, config.log_bytes);
            local(&mut keeper);
            Ok(Kernel { local: keeper, board: board.clone() })
        })
        .unwrap();
    let node = Arc::new(Node(Mutex::new((engine, Time(MS)))));
    let handle = GroupHandle::new(Arc::clone(&node), key);
    (node, handle)
}

/// Node 1 of three leads, from the first slot.
fn leader() -> (Arc<Node>, GroupHandle<Node>, Board) {
    let board = Board::default();
    let (node, handle) = open(&board, |_| {});
    let token = handle.fence(BALLOT).unwrap().token;
    handle.lead(&token, Slot(1)).unwrap();
    (node, handle, board)
}

fn broadcast(handle: &GroupHandle<Node>, slot: u64) {
    let frame = Frame::single(Slot(slot), b"body");
    assert_eq!(handle.try_broadcast(BALLOT, &[frame]).unwrap(), 1);
    handle.acknowledge(BALLOT, Slot(slot)).unwrap();
}

fn retransmits(handle: &GroupHandle<Node>) -> u64 {
    handle.stats().count(Counter::TxRetransmits)
}

#[test]
fn what_the_kernel_heard_is_not_sent_again() {
    let (node, handle, board) = leader();
    broadcast(&handle, 1);
    broadcast(&handle, 2);
    board.hear(1, 2);
    board.hear(2, 2);
    assert_eq!(handle.quorum(BALLOT).unwrap().through, Slot(2), "read where it is counted");
    while node.expire().is_some() {}
    assert_eq!(retransmits(&handle), 0, "every member has it");
    // And nothing is kept for anybody.
    assert_eq!(handle.acked(BALLOT).unwrap().window_start, Slot(3));
}

#[test]
fn progress_that_the_kernel_heard_starts_the_time_out_over() {
    let (node, handle, board) = leader();
    broadcast(&handle, 1);
    broadcast(&handle, 2);
    board.hear(1, 2);
    board.hear(2, 1);
    node.send();
    let looked = node.expire().unwrap();
    assert_eq!(node.sent_to(3), 0, "the third has just moved");
    let resent = node.expire().unwrap();
    assert!(resent.since_ns(looked) >= 10 * MS, "a whole time-out later");
    assert_eq!((node.sent_to(2), node.sent_to(3)), (0, 1), "slot 2, to whom it lacks");
    assert_eq!(retransmits(&handle), 1, "from where the kernel heard that it stands");
    let acked = handle.acked(BALLOT).unwrap();
    assert_eq!(acked.of(NodeId(3)).unwrap().next, Slot(2));
    assert_eq!(acked.window_start, Slot(2), "slot 1 is kept for nobody");
}

#[test]
fn a_broadcast_makes_room_of_what_the_kernel_counted() {
    let (_node, handle, board) = leader();
    for slot in 1..=4 {
        broadcast(&handle, slot);
    }
    let fifth = [Frame::single(Slot(5), b"body")];
    let full = handle.try_broadcast(BALLOT, &fifth);
    assert!(matches!(full, Err(TransportError::Backpressure)), "{full:?}");
    board.hear(1, 3);
    board.hear(2, 2);
    broadcast(&handle, 5);
    let start = handle.acked(BALLOT).unwrap().window_start;
    assert_eq!(start, Slot(3), "what all have is released, also what need not have made room");
}

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn news_wake_whom_they_concern() {
    const ALL: [Interest; 5] =
        [Interest::Quorum, Interest::Log, Interest::Message, Interest::Window, Interest::Probe];
    let nothing = News::default();
    for (news, woken) in [
        (nothing, [0, 0, 0, 0, 0]),
        (News { quorum: true, ..nothing }, [1, 0, 0, 1, 0]),
        (News { log: true, ..nothing }, [0, 1, 0, 0, 0]),
        (News { probe: true, ..nothing }, [0, 0, 0, 0, 1]),
        (News { log: true, quorum: true, probe: true }, [1, 1, 0, 1, 1]),
    ] {
        let (node, handle, _board) = leader();
        let counts = ALL.map(|interest| {
            let count = Arc::new(Count::default());
            handle.watch(interest, &Waker::from(Arc::clone(&count))).unwrap();
            count
        });
        node.with(|engine, now| engine.stir(now, GroupId(9), news));
        node.with(|engine, now| engine.stir(now, GROUP, news));
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), woken, "{news:?}");
    }
}

#[test]
fn a_probe_that_the_kernel_confirmed_is_not_asked_again() {
    let (node, handle, board) = leader();
    let probe = handle.probe(BALLOT).unwrap();
    for member in [1, 2] {
        let mut counted = board.lock();
        counted.tally.probe_ack(BALLOT, MemberIndex(member), probe.number);
        counted.next[usize::from(member)] = Slot(1);
    }
    node.send();
    node.with(|engine, now| engine.stir(now, GROUP, News { probe: true, ..News::default() }));
    assert!(handle.try_confirmed(probe).unwrap());
    while node.expire().is_some() {}
    assert_eq!((node.sent_to(2), node.sent_to(3)), (0, 0));
}

#[test]
fn a_reseating_says_where_everybody_sat() {
    let (_node, handle, board) = leader();
    broadcast(&handle, 1);
    board.hear(2, 1);
    handle.reconfigure(membership(2, &[4, 3, 1])).unwrap();
    let former = board.lock().former.clone().unwrap();
    assert_eq!(former, [None, Some(MemberIndex(2)), Some(MemberIndex(0))]);
    let acked = handle.acked(BALLOT).unwrap();
    let of = |id| (acked.of(NodeId(id)).unwrap().acked, acked.of(NodeId(id)).unwrap().next);
    assert_eq!(of(3), (Slot(1), Slot(2)), "where it stood is known also where it sits now");
    assert_eq!(of(4).0, Slot::ZERO);
    assert_eq!(handle.quorum(BALLOT).unwrap().through, Slot(1));
}

#[test]
fn a_keeper_is_made_only_for_a_group_that_can_be_opened() {
    let config = EndpointConfig::new(ClusterId(1), NodeId(1), address(1));
    let mut engine = Engine::<Kernel>::new(config).unwrap();
    let unasked = |_: &GroupConfig, _| panic!("the group cannot be opened");
    let stranger = GroupConfig::new(GROUP, membership(1, &[2, 3]));
    let refused = engine.open_with(stranger, unasked).unwrap_err();
    assert!(matches!(refused, TransportError::Config(ConfigError::UnknownMember { .. })));
    // Its refusal is the group's, and the group can be opened later.
    let config = GroupConfig::new(GROUP, membership(1, &[1, 2, 3]));
    let why = || TransportError::Unavailable {
        backend: "kernel",
        reason: Obstacle::Limit,
        why: "full".into(),
    };
    let refused = engine.open_with(config.clone(), |_, _| Err(why())).unwrap_err();
    assert!(matches!(refused, TransportError::Unavailable { .. }));
    let local = LocalKeeper::new(config.mode, config.log_bytes);
    engine.open_with(config, |_, _| Ok(Kernel { local, board: Board::default() })).unwrap();
}

/// A keeper of a state that outlives its process brings what it led and whom it followed.
#[test]
fn an_earlier_life_goes_on() {
    let board = Board::default();
    board.lock().led = BALLOT;
    let (_node, handle) = open(&board, |local| assert!(local.raise_fence(BALLOT)));
    let token = handle.fence(BALLOT).unwrap().token;
    let own = NodeId(1);
    let again = handle.lead(&token, Slot(1));
    assert!(
        matches!(again, Err(TransportError::LeaderConflict { leader, .. }) if leader == own),
        "led in an earlier life: {again:?}"
    );
    let token = handle.fence(Ballot(BALLOT.0 + 1)).unwrap().token;
    handle.lead(&token, Slot(1)).unwrap();

    let follows = |local: &mut LocalKeeper| {
        assert!(local.raise_fence(BALLOT));
        local.arm(BALLOT, MemberIndex(2), Slot(9), Time(1)).unwrap();
    };
    let (_node, handle) = open(&Board::default(), follows);
    let token = handle.fence(BALLOT).unwrap().token;
    let lead = handle.lead(&token, Slot(9));
    let whom = NodeId(3);
    assert!(
        matches!(lead, Err(TransportError::LeaderConflict { leader, .. }) if leader == whom),
        "followed in an earlier life: {lead:?}"
    );
    handle.follow(&token, whom, Slot(9)).unwrap();
}

/// Only the library's own word ends a group for ever.
#[test]
fn the_keeper_is_told_that_its_group_is_closed() {
    let (_node, handle, board) = leader();
    handle.close();
    assert!(board.lock().ended);
    let (node, _handle, board) = leader();
    node.with(|engine, _| engine.close_all());
    assert!(!board.lock().ended);
}
