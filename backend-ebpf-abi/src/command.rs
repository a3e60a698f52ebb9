use electrode_transport::rules::{Gate, Voters};

use crate::group::Peer;

/// What user space asks of the control program, run once by `BPF_PROG_TEST_RUN` with a [`Command`]
/// as its packet. The answer is the program's return value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Op {
    /// Opens the group at an unused place; an [`Opening`] follows. Answers 1.
    Open = 1,
    /// Closes the group: nothing of it is judged any more. Answers 1.
    Close,
    /// Puts a membership in force, or new hardware addresses; a [`Seating`] follows. Answers 1.
    Seat,
    /// `Acceptor::raise_fence(ballot)`. Answers 1 if raised, 2 if not.
    Fence,
    /// `Acceptor::arm(ballot, member, first, now)`. Answers 1, or 2 plus the `ArmError`.
    Arm,
    /// `Acceptor::acknowledge(ballot, last)`. Answers 1, or 2 plus the `ArmError`.
    Acknowledge,
    /// Offers a frame that came as a datagram; its body follows. Answers the `Verdict`.
    Offer,
    /// `Acceptor::probe(ballot, member, commit, now)`. Answers the `Verdict`.
    Probe,
    /// `Tally::lead(ballot, last, ..)` with the membership in force. Answers 1.
    Lead,
    /// Counts no more. Answers 1.
    Resign,
    /// `Tally::arm(last)`; with `first` not zero also the own vote, `Tally::ack`. Answers 1.
    Sending,
    /// `Tally::ack(ballot, member, last)`; unless that refuses it, the member expects `first`, if not
    /// zero. Answers the `TallyVerdict`.
    Count,
    /// `Tally::probe_ack(ballot, member, last)`. Answers the `TallyVerdict`.
    CountProbe,
    /// `Tally::start_probe()`. Answers 1; the number is on the board.
    StartProbe,
}

/// The head of every command; what is not used is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Command {
    /// An [`Op`].
    pub op: u32,
    /// The place of the group in the maps.
    pub place: u32,
    /// See [`Op`].
    pub ballot: u64,
    /// See [`Op`].
    pub first: u64,
    /// See [`Op`].
    pub last: u64,
    /// See [`Op`].
    pub commit: u64,
    /// The moment, on the kernel's monotonic clock.
    pub now: u64,
    /// See [`Op`].
    pub member: u32,
    /// Bytes of body behind an `Offer`.
    pub len: u32,
}

/// Behind [`Op::Open`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Opening {
    /// The group's id.
    pub id: u32,
    /// An `AckMode`.
    pub mode: u32,
    /// How many charged bytes may be unreleased.
    pub log_limit: u64,
    /// The first membership.
    pub seating: Seating,
}

/// Behind [`Op::Seat`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Seating {
    /// Who may speak.
    pub gate: Gate,
    /// Whose vote counts.
    pub voters: Voters,
    /// What to do: bits of [`seat`].
    pub change: u8,
    /// The followed leader's new index, or [`NOBODY`](crate::NOBODY).
    pub leader: u8,
    /// See [`Group::carrier`](crate::Group::carrier).
    pub carrier: u8,
    /// Zero.
    pub reserved: u8,
    /// See [`Group::copies`](crate::Group::copies).
    pub copies: u32,
    /// Where everybody is.
    pub peers: [Peer; 32],
}

/// What a [`Seating`] changes beside the peers and the carrier.
pub mod seat {
    /// The gate and the voters.
    pub const MEMBERSHIP: u8 = 1;
    /// The followed leader's index.
    pub const LEADER: u8 = 2;
    /// The tally, as `Tally::reseat`. [`Op::Count`](crate::Op::Count)s follow.
    pub const TALLY: u8 = 4;
}

const _: () = {
    assert!(size_of::<Command>() == 56);
    assert!(size_of::<Seating>() == 16 + 16 + 8 + 1_024);
    assert!(size_of::<Opening>() == 16 + size_of::<Seating>());
};
