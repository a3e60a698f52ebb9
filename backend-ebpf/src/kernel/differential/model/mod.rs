//! What the programs ought to do, written down a second time. The rules are the very same; everything
//! around them (who is admitted, what is reserved, what is told and answered) is not.

mod commands;
mod egress;
mod ingress;
mod ring;
mod whole;

use std::collections::{HashMap, VecDeque};
use std::fmt;

use electrode_ebpf_abi::{Command, Endpoint, NOBODY, Notice, Op, Opening, Peer, Record, Tick};
use electrode_ebpf_abi::{Seating, news};
use electrode_transport::rules::{Acceptor, AckMode, Gate, Tally, Voters};
use electrode_transport::wire::Key;
use electrode_transport::{Ballot, ClusterId, Incarnation, MemberIndex, Slot, Time};

pub(super) use ring::Ring;

/// Places that a simulation uses.
pub(super) const PLACES: usize = 6;

/// By which way a packet arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hook {
    Xdp,
    Tc,
}

/// Bytes that a report shows in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes ", self.0.len())?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What user space asks.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Open(u32, Box<Opening>),
    Seat(u32, Box<Seating>),
    Close(u32),
    Offer(Command, Bytes),
    Plain(Op, Command),
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Arrive(Hook, Bytes),
    /// By TC: a packet that is cut into datagrams of so many bytes later.
    ArriveWhole(Bytes, u32),
    /// With the mark that it carries.
    Leave(Bytes, u32),
    /// A packet that is cut into datagrams of so many bytes later.
    LeaveWhole(Bytes, u32),
    Order(Order),
    Lease(u32, u64),
    Release(u32, u64),
    Drain,
}

/// What is to be seen of a step at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Passed(Bytes),
    /// It left with the mark of what the programs send themselves: it is somebody else's.
    Marked(Bytes),
    Dropped,
    Returned(Bytes),
    Answer(u32),
    Nothing,
}

/// A group as its map value and its board should be.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: u32,
    pub(super) is_open: bool,
    pub(super) carrier: u8,
    pub(super) copies: u32,
    pub(super) gate: Gate,
    pub(super) voters: Voters,
    pub(super) acceptor: Acceptor,
    pub(super) tally: Tally,
    pub(super) sequence: u64,
    pub(super) charged: u64,
    pub(super) log_limit: u64,
    pub(super) peers: [Peer; 32],
    /// On the board alone: what each member expects next.
    pub(super) next: [u64; 32],
    /// User space's words.
    pub(super) released: u64,
    pub(super) lease: u64,
}

impl Group {
    /// `shown` is what its board holds of the lease and of an earlier group's records.
    fn closed([lease, sequence]: [u64; 2]) -> Self {
        Self {
            id: 0,
            is_open: false,
            carrier: NOBODY,
            copies: 0,
            gate: Gate {
                cluster: ClusterId(0),
                incarnation: Incarnation(0),
                own: MemberIndex(0),
                members: 0,
                keyed: 0,
                reserved: 0,
            },
            voters: Voters::default(),
            acceptor: Acceptor::new(AckMode::Persisted),
            tally: idle(),
            sequence,
            charged: 0,
            log_limit: 0,
            peers: [Peer::default(); 32],
            next: [0; 32],
            released: 0,
            lease,
        }
    }

    fn has_room(&self, charge: u64) -> bool {
        let held = self.charged.wrapping_sub(self.released);
        held.saturating_add(charge) <= self.log_limit
    }
}

/// Leads nothing.
fn idle() -> Tally {
    Tally::lead(Ballot::NONE, Slot::ZERO, Voters::default(), 0, MemberIndex(NOBODY))
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) endpoint: Endpoint,
    pub(super) offloads: u32,
    pub(super) groups: Vec<Group>,
    /// Which place has which id.
    ids: HashMap<u32, u32>,
    pub(super) ticks: [u64; Tick::COUNT],
    pub(super) passed: u64,
    pub(super) log: Ring,
    pub(super) notices: Ring,
    /// Not drained yet.
    pub(super) records: VecDeque<(Record, Bytes)>,
    pub(super) told: VecDeque<Notice>,
}

impl Model {
    /// Of programs that have every place closed and all rings drained.
    pub(super) fn new(
        endpoint: Endpoint,
        offloads: u32,
        rings: [Ring; 2],
        shown: [[u64; 2]; PLACES],
    ) -> Self {
        let [log, notices] = rings;
        Self {
            endpoint,
            offloads,
            groups: shown.map(Group::closed).into(),
            ids: HashMap::new(),
            ticks: [0; Tick::COUNT],
            passed: 0,
            log,
            notices,
            records: VecDeque::new(),
            told: VecDeque::new(),
        }
    }

    pub(super) const fn is_ipv6(&self) -> bool {
        self.endpoint.ipv6 != 0
    }

    pub(super) fn key(&self) -> Option<Key> {
        (self.endpoint.keyed != 0).then_some(Key(self.endpoint.key))
    }

    /// What the step should show. `clock` gives the moment at which the programs ran, by place.
    pub(super) fn take(&mut self, step: &Step, clock: impl Fn(u32) -> Time) -> Seen {
        match step {
            Step::Arrive(_, packet) => self.arrive(&packet.0, clock),
            Step::ArriveWhole(packet, step) => self.arrive_whole(&packet.0, *step, clock),
            Step::Leave(packet, mark) => self.leave(&packet.0, *mark, 0),
            Step::LeaveWhole(packet, step) => self.leave(&packet.0, 0, *step),
            Step::Order(order) => Seen::Answer(self.obey(order)),
            Step::Lease(place, until) => {
                self.groups[*place as usize].lease = *until;
                Seen::Nothing
            }
            Step::Release(place, bytes) => {
                self.groups[*place as usize].released = *bytes;
                Seen::Nothing
            }
            Step::Drain => {
                self.log.drain();
                self.notices.drain();
                self.records.clear();
                self.told.clear();
                Seen::Nothing
            }
        }
    }

    fn tick(&mut self, what: Tick) {
        self.tick_by(what, 1);
    }

    fn tick_by(&mut self, what: Tick, by: u64) {
        self.ticks[what as usize] += by;
    }

    fn notify(&mut self, place: u32, news: u32) {
        debug_assert!(news & !(news::QUORUM | news::PROBE | news::COMMIT) == 0);
        if self.notices.reserve(size_of::<Notice>() as u64) {
            self.told.push_back(Notice { place, news });
        } else {
            self.tick(Tick::NoticeLost);
        }
    }

    /// A place on the log ring for a body, if there is one. What is reserved is used up, also if it
    /// is given back.
    fn reserve(&mut self, len: u64) -> bool {
        let head = size_of::<Record>() as u64;
        let class = [256, 1_536, 9_024].into_iter().find(|class| head + len <= *class);
        class.is_some_and(|class| self.log.reserve(class))
    }
}
