//! What a backend can do, as it stands.

use std::vec::Vec;

use crate::ident::{Ballot, MEMBERS_MAX, MemberIndex, MemberSet, NodeId, Slot};
use crate::rules::AckMode;

/// What the backend of a group can do. The semantics are the same on all; this is for choosing
/// sizes, for reports, and for tests that need something special.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name: `memory`, `socket`, `ebpf`.
    pub backend: &'static str,
    /// What this group's acknowledgements promise. A library that is right in one mode only, as Raft
    /// is in [`AckMode::Persisted`], refuses the other when it is given the transport.
    pub mode: AckMode,
    /// The longest body of a frame or message, in bytes.
    pub body_len_max: usize,
    /// One packet is cloned to all followers in the kernel.
    pub kernel_broadcast: bool,
    /// Followers acknowledge in the kernel.
    pub kernel_acknowledge: bool,
    /// Quorums are counted in the kernel.
    pub kernel_quorum: bool,
    /// A batch is handed to the system in one call.
    pub batched_send: bool,
    /// The log survives the process.
    pub pinned: bool,
    /// Frames carry tags.
    pub authenticated: bool,
}

/// How far a leader's quorum has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// The ballot at which it was counted.
    pub ballot: Ballot,
    /// This slot and every one before it is stored by a quorum.
    pub through: Slot,
    /// The voters that have acknowledged `through`, the leader among them once its own vote counts.
    pub voters: MemberSet,
    /// A member has promised this higher ballot: the leadership is ending.
    pub superseded_by: Option<Ballot>,
}

/// Each member's highest acknowledged slot at the led ballot: Raft's match index.
///
/// A snapshot: slots only grow while the leadership lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acked {
    /// The ballot at which they were acknowledged.
    pub ballot: Ballot,
    /// The oldest slot that is still retransmitted. A member that expects an earlier one is beyond
    /// the transport's help: bring it up to date through `send`.
    pub window_start: Slot,
    /// The highest slot broadcast.
    pub sent: Slot,
    members: [Progress; MEMBERS_MAX],
    count: usize,
}

impl Acked {
    /// For backends: gathers a snapshot, in index order.
    #[must_use]
    pub fn collect(
        ballot: Ballot,
        window_start: Slot,
        sent: Slot,
        positions: impl IntoIterator<Item = Progress>,
    ) -> Self {
        let mut acked = Self {
            ballot,
            window_start,
            sent,
            members: [Progress::default(); MEMBERS_MAX],
            count: 0,
        };
        for (place, progress) in acked.members.iter_mut().zip(positions) {
            *place = progress;
            acked.count += 1;
        }
        acked
    }

    /// Everybody's progress, in index order.
    pub fn iter(&self) -> impl Iterator<Item = Progress> + '_ {
        self.members[..self.count].iter().copied()
    }

    /// One member's progress.
    #[must_use]
    pub fn of(&self, member: NodeId) -> Option<Progress> {
        self.iter().find(|progress| progress.member == member)
    }

    /// The members that the transport cannot bring up to date ([`Progress::unaided`]).
    #[must_use]
    pub fn behind(&self) -> Vec<Progress> {
        self.iter().filter(|progress| progress.unaided).collect()
    }
}

/// One member's progress as its leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Who.
    pub member: NodeId,
    /// Acknowledged through this slot.
    pub acked: Slot,
    /// The slot that it said it expects next. At the start of a leadership, before the member has
    /// said anything, the leadership's first slot.
    pub next: Slot,
    /// The number of the newest [`Probe`] that it has answered, zero before the first. It tells who is
    /// alive while nothing is broadcast (Raft's CheckQuorum), whose voices confirmed a read, and which
    /// member answers no more and must be reached by `send`. On the leader itself, the newest sent.
    pub probed: u64,
    /// No kept frame begins at `next`: it was released before this member had it, or another way
    /// brought the member to the middle of one. The transport cannot help it: bring it up to date
    /// through `send`, to the end of a frame.
    pub unaided: bool,
}

/// A leadership probe on its way, for [`try_confirmed`](crate::TransportCore::try_confirmed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Probe {
    /// The ballot it asks about.
    pub ballot: Ballot,
    /// Its number within the leadership.
    pub number: u64,
}

/// Something that a task can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Interest {
    /// The quorum watermark rose, or the leadership ended or is ending.
    Quorum = 0,
    /// An entry was accepted, the commit slot rose, or a higher ballot was seen.
    Log,
    /// A message arrived.
    Message,
    /// The window has room again.
    Window,
    /// A probe was confirmed, or the leadership ended or is ending.
    Probe,
}

impl Interest {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Where a member sits; a convenience for backends that index per-member tables.
impl From<MemberIndex> for usize {
    fn from(index: MemberIndex) -> Self {
        index.0 as usize
    }
}
