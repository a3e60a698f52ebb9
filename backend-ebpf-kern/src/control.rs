//! What user space asks: the same rules under the same lock, one step a call.

use electrode_ebpf_abi::{
    Board, Command, Group, NOBODY, Op, Opening, RECORD_CHARGE, Record, Seating, seat as change,
};
use electrode_transport::rules::{Acceptor, AckMode, ArmError, Proposal, Tally, Verdict, Voters};
use electrode_transport::{Ballot, MEMBERS_MAX, MemberIndex, Slot, Time};

use crate::group::{
    Seat, has_room, hint, renew_lease, show_acceptor, show_member, show_next, show_tally,
};
use crate::ingress::is_known;
use crate::log::Reserved;
use crate::maps::{el_hints, el_places};
use crate::packet::{Packet, Xdp};

const HEAD: usize = size_of::<Command>();

/// The answer: see `Op`. Zero is a command that makes no sense.
#[inline(always)]
pub fn handle(packet: Xdp) -> u32 {
    let Some(command) = command(packet) else { return 0 };
    let Some(seat) = Seat::at(command.place) else { return 0 };
    if command.op == Op::Offer as u32 {
        offer(packet, seat, command)
    } else if command.op >= Op::Lead as u32 {
        seat.locked(|group, board| lead(group, board, command))
    } else {
        seat.locked(|group, board| follow(group, board, command))
    }
}

/// The commands that seat a group, in a program of their own: they want a stack of their own.
#[inline(always)]
pub fn handle_seating(packet: Xdp) -> u32 {
    let Some(command) = command(packet) else { return 0 };
    let Some(seat) = Seat::at(command.place) else { return 0 };
    let is = |op: Op| command.op == op as u32;
    if is(Op::Seat) {
        let Some(seating) = behind::<Seating>(packet) else { return 0 };
        seat.locked(|group, board| reseat::<true>(group, board, seating));
        1
    } else if is(Op::Open) {
        let Some(opening) = behind::<Opening>(packet) else { return 0 };
        open(seat, opening)
    } else if is(Op::Close) {
        close(seat)
    } else {
        0
    }
}

#[inline(always)]
fn command<'a>(packet: Xdp) -> Option<&'a Command> {
    let start = packet.start();
    if start + HEAD > packet.end() {
        return None;
    }
    // SAFETY: checked against the end. The kernel puts test packets at a multiple of eight, and any
    // bytes are a command.
    Some(unsafe { &*(start as *const Command) })
}

/// What lies behind the command.
#[inline(always)]
fn behind<'a, T>(packet: Xdp) -> Option<&'a T> {
    let at = packet.start() + HEAD;
    if at + size_of::<T>() > packet.end() {
        return None;
    }
    // SAFETY: checked against the end. The kernel puts test packets at a multiple of eight, the
    // command's length is one, and any bytes are a `T`.
    Some(unsafe { &*(at as *const T) })
}

#[inline(always)]
fn open(seat: Seat, opening: &Opening) -> u32 {
    let id = opening.id;
    let mode = if opening.mode == AckMode::Received as u32 {
        AckMode::Received
    } else {
        AckMode::Persisted
    };
    seat.locked(|group, board| {
        group.id = id;
        group.acceptor = Acceptor::new(mode);
        group.sequence = 0;
        group.charged = 0;
        group.log_limit = opening.log_limit;
        board.sequence = 0;
        board.released = 0;
        board.lease_until = 0;
        end(&mut group.tally);
        reseat::<false>(group, board, &opening.seating);
        clear_marks(group, board);
        group.open = 1;
    });
    let _ = el_places.insert(id, seat.place, 0);
    if let Some(word) = el_hints.get_ptr_mut(hint(id)) {
        // SAFETY: one word, which everybody reads and writes whole.
        unsafe { word.write_volatile(seat.place) };
    }
    1
}

/// Leads nothing.
#[inline(always)]
fn end(tally: &mut Tally) {
    tally.begin(Ballot::NONE, Slot::ZERO, Voters::default(), 0, MemberIndex(NOBODY));
}

#[inline(always)]
fn close(seat: Seat) -> u32 {
    let id = seat.locked(|group, board| {
        group.open = 0;
        group.acceptor = Acceptor::new(AckMode::Persisted);
        end(&mut group.tally);
        show_acceptor(&group.acceptor, board);
        show_tally(group, board);
        group.id
    });
    // A place may be closed that was closed before: its old group may be open elsewhere by now. User
    // space gives one command at a time, so nobody comes between the two.
    // SAFETY: the value is one word, never half written.
    if unsafe { el_places.get(id) } == Some(&seat.place) {
        let _ = el_places.remove(id);
    }
    1
}

#[inline(always)]
fn reseat<const TALLY: bool>(group: &mut Group, board: &mut Board, seating: &Seating) {
    for index in 0..32 {
        group.peers[index] = seating.peers[index];
    }
    group.carrier = seating.carrier;
    group.copies = seating.copies;
    if seating.change & change::MEMBERSHIP != 0 {
        group.gate = seating.gate;
        group.voters = seating.voters;
    }
    if seating.change & change::LEADER != 0 {
        let leader = seating.leader;
        group.acceptor.reseat((leader != NOBODY).then_some(MemberIndex(leader)));
    }
    if TALLY && seating.change & change::TALLY != 0 {
        group.tally.reseat(seating.voters, seating.gate.members, seating.gate.own);
        clear_marks(group, board);
    }
    show_acceptor(&group.acceptor, board);
}

#[inline(always)]
fn show_marks(group: &Group, board: &mut Board) {
    for index in 0..32u8 {
        show_member(group, board, MemberIndex(index));
    }
}

#[inline(always)]
fn clear_marks(group: &Group, board: &mut Board) {
    for index in 0..32u8 {
        show_next(board, MemberIndex(index), Slot::ZERO);
    }
    show_marks(group, board);
}

#[inline(always)]
fn follow(group: &mut Group, board: &mut Board, command: &Command) -> u32 {
    let ballot = Ballot(command.ballot);
    let (now, member) = (Time(command.now), MemberIndex(command.member as u8));
    let is = |op: Op| command.op == op as u32;
    renew_lease(group, board);
    let acceptor = &mut group.acceptor;
    let answer = if group.open == 0 {
        0
    } else if is(Op::Fence) {
        if acceptor.raise_fence(ballot) { 1 } else { 2 }
    } else if is(Op::Arm) {
        code(acceptor.arm(ballot, member, Slot(command.first), now))
    } else if is(Op::Acknowledge) {
        code(acceptor.acknowledge(ballot, Slot(command.last)))
    } else if is(Op::Probe) {
        acceptor.probe(ballot, member, Slot(command.commit), now) as u32
    } else {
        0
    };
    show_acceptor(&group.acceptor, board);
    answer
}

#[inline(always)]
fn code(result: Result<(), ArmError>) -> u32 {
    match result {
        Ok(()) => 1,
        Err(error) => 2 + error as u32,
    }
}

#[inline(always)]
fn lead(group: &mut Group, board: &mut Board, command: &Command) -> u32 {
    let (ballot, last) = (Ballot(command.ballot), Slot(command.last));
    let member = MemberIndex(command.member as u8);
    let is = |op: Op| command.op == op as u32;
    let gate = group.gate;
    if group.open == 0 {
        return 0;
    }
    if is(Op::Lead) {
        let voters = group.voters;
        group.tally.begin(ballot, last, voters, gate.members, gate.own);
        if !broken!("kept_marks") {
            clear_marks(group, board);
        }
        return 1;
    }
    if is(Op::Resign) {
        end(&mut group.tally);
        clear_marks(group, board);
        return 1;
    }
    let answer = if is(Op::Sending) {
        group.tally.arm(last);
        if command.first != 0 {
            group.tally.ack(ballot, gate.own, last);
        }
        1
    } else if is(Op::Count) {
        let verdict = group.tally.ack(ballot, member, last);
        if is_known(verdict) && command.first != 0 {
            show_next(board, member, Slot(command.first));
        }
        verdict as u32
    } else if is(Op::CountProbe) {
        group.tally.probe_ack(ballot, member, last.0) as u32
    } else if is(Op::StartProbe) {
        group.tally.start_probe();
        1
    } else {
        0
    };
    let is_of_member = (is(Op::Count) || is(Op::CountProbe)) && (member.0 as usize) < MEMBERS_MAX;
    show_member(group, board, if is_of_member { member } else { gate.own });
    answer
}

/// As the ingress program does it, for a frame that came up the stack.
#[inline(always)]
fn offer(packet: Xdp, seat: Seat, command: &Command) -> u32 {
    let proposal = Proposal {
        ballot: Ballot(command.ballot),
        sender: MemberIndex(command.member as u8),
        first: Slot(command.first),
        last: Slot(command.last),
        commit: Slot(command.commit),
    };
    let (now, len) = (Time(command.now), command.len);
    let charge = u64::from(len) + RECORD_CHARGE;
    let place = Reserved::copy(packet, HEAD, len);
    let (verdict, sequence) = seat.locked(|group, board| {
        renew_lease(group, board);
        let room = place.is_some() && has_room(group, board, charge);
        let verdict = group.acceptor.offer(&proposal, now, room);
        if matches!(verdict, Verdict::Stored) {
            group.sequence += 1;
            group.charged += charge;
            board.sequence = group.sequence;
        }
        show_acceptor(&group.acceptor, board);
        (verdict, group.sequence)
    });
    if matches!(verdict, Verdict::Stored) {
        place.submit(Record {
            sequence,
            ballot: proposal.ballot.0,
            first: proposal.first.0,
            last: proposal.last.0,
            place: seat.place,
            len,
        });
    } else {
        place.discard();
    }
    verdict as u32
}
