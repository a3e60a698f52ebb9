//! What arrives: settled here if it can be, passed up the stack untouched if not.
//!
//! Order (invariant 1): admission, a look without the lock, reserve and copy, and then under the lock
//! admission again and the rule; only after that submit or discard, and only then the reply.

use aya_ebpf::helpers::generated as helper;
use electrode_ebpf_abi::{Board, Group, RECORD_CHARGE, Record, Tick, news, offload};
use electrode_transport::rules::{Position, Proposal, TallyVerdict, Verdict};
use electrode_transport::wire::{FrameKind, HEADER_LEN, HEADER_WORDS, Header, flags};
use electrode_transport::{MemberIndex, Slot, Time};

use crate::group::{
    Seat, has_room, note_passed, notify, renew_lease, show_acceptor, show_member, show_next, tick,
    tick_by,
};
use crate::log::Reserved;
use crate::maps::{body_len_max, is_keyed, offloads};
use crate::packet::{Look, Packet, UDP, addresses, bounded, head, headers_len, look, word};
use crate::reply;
use crate::tag;

/// What becomes of the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as if this program did not exist.
    Pass,
    /// It has served.
    Drop,
    /// It goes back where it came from: it is the reply now.
    Return,
}

#[inline(always)]
pub fn handle<P: Packet>(packet: P) -> Fate {
    let payload = match look(packet, 1) {
        Look::Bystander => {
            tick(Tick::Seen);
            tick(Tick::PassBystander);
            return Fate::Pass;
        }
        Look::Odd => {
            tick(Tick::Seen);
            return pass(Tick::PassMalformed, 1);
        }
        Look::Ours { payload } => payload,
    };
    packet.hand_on();
    tick(Tick::Seen);
    match settle(packet, payload) {
        Ok((what, fate)) => {
            tick(what);
            fate
        }
        Err(why) => pass(why, 1),
    }
}

/// The packet goes up the stack, because of so many of its frames.
#[inline(always)]
pub fn pass(why: Tick, frames: u32) -> Fate {
    tick_by(why, frames.into());
    note_passed();
    Fate::Pass
}

/// The frame that a payload is, if it is one.
#[inline(always)]
pub fn parse(words: &[u64; HEADER_WORDS], payload: u32) -> Result<Header, Tick> {
    let header = Header::from_words(words).map_err(|_| Tick::PassMalformed)?;
    let len = u32::from(header.body_len);
    if payload != HEADER_LEN as u32 + len || len > body_len_max() {
        return Err(Tick::PassMalformed);
    }
    Ok(header)
}

#[inline(always)]
fn settle<P: Packet>(packet: P, payload: u32) -> Result<(Tick, Fate), Tick> {
    let header = parse(&head(packet).ok_or(Tick::PassMalformed)?, payload)?;
    match header.kind {
        FrameKind::Message | FrameKind::Refused => return Err(Tick::PassMessage),
        FrameKind::Accept | FrameKind::Probe if !offloads(offload::ACKNOWLEDGE) => {
            return Err(Tick::PassOff);
        }
        FrameKind::Accepted | FrameKind::ProbeAck if !offloads(offload::QUORUM) => {
            return Err(Tick::PassOff);
        }
        _ => {}
    }
    let seat = Seat::of(header.group.0).ok_or(Tick::PassGroup)?;
    let at = headers_len();
    // Admission counts under the lock: where it costs strangers nothing else, it is the only one.
    if is_keyed() || matches!(header.kind, FrameKind::Accept) {
        vet(packet, at, seat, &header)?;
    }
    match header.kind {
        FrameKind::Accept => {
            let (what, judged) = accept(packet, at, seat, &header)?;
            if !judged.replies {
                return Ok((what, Fate::Drop));
            }
            Ok((what, turn(packet, &accepted(&header, &judged))))
        }
        FrameKind::Probe => probe(packet, seat, &header),
        _ => count(packet, seat, &header),
    }
}

/// Neither a tag is looked at nor room in a log taken for strangers.
#[inline(always)]
pub fn vet<P: Packet>(packet: P, at: usize, seat: Seat, header: &Header) -> Result<(), Tick> {
    admit(packet, seat.glance(), header).ok_or(Tick::PassRefused)?;
    let len = u32::from(header.body_len);
    if is_keyed() && !broken!("any_tag") && !tag::is_right(packet, at, len, header.tag) {
        return Err(Tick::PassTag);
    }
    Ok(())
}

/// Invariant 10: cluster, incarnation, index and address, all of one membership if under the lock.
#[inline(always)]
fn admit<P: Packet>(packet: P, group: &Group, header: &Header) -> Option<MemberIndex> {
    if group.open == 0 || group.id != header.group.0 {
        return None;
    }
    let incarnation =
        if broken!("any_incarnation") { group.gate.incarnation } else { header.incarnation };
    let sender = bounded(group.gate.admit(&Header { incarnation, ..*header }).ok()?);
    let peer = &group.peers[sender.0 as usize & 31];
    let (headers, start) = (headers_len(), packet.start());
    if start + headers > packet.end() {
        return None;
    }
    let (first, words) = addresses();
    let mut difference = 0;
    for index in 0..words {
        let known = u16::from_ne_bytes([peer.address[2 * index], peer.address[2 * index + 1]]);
        // SAFETY: within `headers`, which was checked against the end.
        difference |= unsafe { word(start, first + 2 * index) } ^ known;
    }
    // SAFETY: as above.
    difference |= unsafe { word(start, headers - UDP) } ^ u16::from_ne_bytes(peer.port);
    (difference == 0 || broken!("any_address")).then_some(sender)
}

/// A reply's header: from this member to the one that asked.
#[inline(always)]
fn answer(request: &Header, group_own: MemberIndex, kind: FrameKind, slots: [Slot; 3]) -> Header {
    let [first, last, commit] = slots;
    Header {
        kind,
        sender: group_own,
        flags: 0,
        first,
        last,
        commit,
        body_len: 0,
        destination: request.sender.0,
        tag: 0,
        ..*request
    }
}

#[inline(always)]
pub fn turn<P: Packet>(packet: P, header: &Header) -> Fate {
    if reply::turn(packet, header) {
        Fate::Return
    } else {
        tick(Tick::ReplyFailed);
        Fate::Drop
    }
}

/// What the rule said of an accept frame or a probe, under one lock.
#[derive(Clone, Copy)]
pub struct Judged {
    verdict: Verdict,
    pub replies: bool,
    position: Position,
    own: MemberIndex,
    sequence: u64,
    commit_rose: bool,
}

/// Judges the accept frame at `at`, and stores it if it is to be.
#[inline(always)]
pub fn accept<P: Packet>(
    packet: P,
    at: usize,
    seat: Seat,
    header: &Header,
) -> Result<(Tick, Judged), Tick> {
    let len = u32::from(header.body_len);
    let mut proposal = Proposal {
        ballot: header.ballot,
        sender: header.sender,
        first: header.first,
        last: header.last,
        commit: header.commit,
    };
    // SAFETY: no arguments.
    let now = Time(unsafe { helper::bpf_ktime_get_ns() });
    let charge = u64::from(len) + if broken!("free_head") { 0 } else { RECORD_CHARGE };
    let place = if wants(seat, &proposal, now) {
        Reserved::copy(packet, at + HEADER_LEN - broken!("shifted_body") as usize, len)
    } else {
        Reserved::NONE
    };
    let (group, board) = seat.lock();
    let is_placed = place.is_some() || broken!("unstored_ack");
    let judged = if let Some(sender) = admit(packet, group, header) {
        proposal.sender = sender;
        let has_room = is_placed && has_room(group, board, charge);
        Some(offer(group, board, &proposal, now, has_room.then_some(charge)))
    } else {
        None
    };
    seat.unlock();
    let Some(judged) = judged else {
        place.discard();
        return Err(Tick::PassRefused);
    };
    if broken!("slow_submit") {
        linger();
    }
    if matches!(judged.verdict, Verdict::Stored) {
        place.submit(Record {
            sequence: judged.sequence,
            ballot: proposal.ballot.0,
            first: proposal.first.0,
            last: proposal.last.0,
            place: seat.place,
            len,
        });
    } else {
        place.discard();
        if judged.commit_rose {
            notify(seat.place, news::COMMIT);
        }
    }
    let what = match judged.verdict {
        Verdict::Stored => Tick::Stored,
        Verdict::Duplicate => Tick::Duplicate,
        Verdict::Gap => Tick::Gap,
        Verdict::Straddle => Tick::Straddle,
        _ => return Err(Tick::PassVerdict),
    };
    Ok((what, judged))
}

/// Asks the rule, under the lock. `charge` is what the log has room for.
#[inline(always)]
fn offer(
    group: &mut Group,
    board: &mut Board,
    proposal: &Proposal,
    now: Time,
    charge: Option<u64>,
) -> Judged {
    renew_lease(group, board);
    let commit = group.acceptor.commit();
    let verdict = group.acceptor.offer(proposal, now, charge.is_some());
    if matches!(verdict, Verdict::Stored) {
        group.sequence += 1;
        group.charged += charge.unwrap_or(0);
        board.sequence = group.sequence;
    }
    show_acceptor(&group.acceptor, board);
    Judged {
        verdict,
        replies: verdict.replies(group.acceptor.mode()),
        position: group.acceptor.position(),
        own: group.gate.own,
        sequence: group.sequence,
        commit_rose: group.acceptor.commit().0 > commit.0,
    }
}

/// The reply to an accept frame that was judged.
#[inline(always)]
pub fn accepted(header: &Header, judged: &Judged) -> Header {
    let Position { next, acknowledged } = judged.position;
    let acknowledged = if broken!("newest_slot") { header.last } else { acknowledged };
    let mut reply =
        answer(header, judged.own, FrameKind::Accepted, [next, acknowledged, Slot::ZERO]);
    if matches!(judged.verdict, Verdict::Gap) && !broken!("no_gap") {
        reply.flags = flags::GAP;
    }
    reply
}

/// Some 20 microseconds, in a program that is slow but right: whoever fences meanwhile must wait.
#[inline(always)]
fn linger() {
    for _ in 0..500 {
        // SAFETY: no arguments.
        unsafe { helper::bpf_ktime_get_ns() };
    }
}

/// A look without the lock that spares the copy of what will be refused anyway. The lease on the board
/// counts: it is newer than the acceptor's.
#[inline(always)]
fn wants(seat: Seat, proposal: &Proposal, now: Time) -> bool {
    let mut acceptor = seat.glance().acceptor;
    // SAFETY: a word that user space writes whole.
    acceptor.renew(Time(unsafe { (&raw const (*seat.board).lease_until).read_volatile() }));
    acceptor.wants(proposal, now)
}

#[inline(always)]
fn probe<P: Packet>(packet: P, seat: Seat, header: &Header) -> Result<(Tick, Fate), Tick> {
    // SAFETY: no arguments.
    let now = Time(unsafe { helper::bpf_ktime_get_ns() });
    let judged = seat.locked(|group, board| {
        let sender = admit(packet, group, header)?;
        renew_lease(group, board);
        let commit = group.acceptor.commit();
        let verdict = group.acceptor.probe(header.ballot, sender, header.commit, now);
        show_acceptor(&group.acceptor, board);
        Some(Judged {
            verdict,
            replies: matches!(verdict, Verdict::Confirmed),
            position: group.acceptor.position(),
            own: group.gate.own,
            sequence: 0,
            commit_rose: group.acceptor.commit().0 > commit.0,
        })
    });
    let judged = judged.ok_or(Tick::PassRefused)?;
    if judged.commit_rose {
        notify(seat.place, news::COMMIT);
    }
    if !judged.replies {
        return Err(Tick::PassVerdict);
    }
    let Position { next, acknowledged } = judged.position;
    let slots = [header.first, acknowledged, next];
    let reply = answer(header, judged.own, FrameKind::ProbeAck, slots);
    Ok((Tick::Probe, turn(packet, &reply)))
}

/// What the tally said of an answer, under one lock.
#[derive(Clone, Copy)]
struct Counted {
    ack: TallyVerdict,
    probe: TallyVerdict,
}

#[inline(always)]
fn count<P: Packet>(packet: P, seat: Seat, header: &Header) -> Result<(Tick, Fate), Tick> {
    let is_probe = matches!(header.kind, FrameKind::ProbeAck);
    let next = if is_probe { header.commit } else { header.first };
    let counted = seat.locked(|group, board| {
        let sender = admit(packet, group, header)?;
        let ack = group.tally.ack(header.ballot, sender, header.last);
        let probe = if is_probe {
            group.tally.probe_ack(header.ballot, sender, header.first.0)
        } else {
            TallyVerdict::Repeat
        };
        if is_known(ack) && is_known(probe) {
            show_next(board, sender, next);
        }
        show_member(group, board, sender);
        Some(Counted { ack, probe })
    });
    let Counted { ack, probe } = counted.ok_or(Tick::PassRefused)?;
    let mut told = 0;
    if matches!(ack, TallyVerdict::Quorum) && !broken!("untold_quorum") {
        told |= news::QUORUM;
    }
    if matches!(probe, TallyVerdict::Quorum) {
        told |= news::PROBE;
    }
    if told != 0 {
        notify(seat.place, told);
    }
    if header.flags & flags::GAP != 0 || !is_known(ack) || !is_known(probe) {
        if broken!("cut_ack") {
            packet.trim(headers_len() as u32);
        }
        return Err(Tick::PassAck);
    }
    let shown = if matches!(probe, TallyVerdict::Repeat) { ack } else { probe };
    let what = match shown {
        TallyVerdict::Quorum => Tick::AckQuorum,
        TallyVerdict::Counted => Tick::AckCounted,
        _ => Tick::AckRepeat,
    };
    Ok((what, Fate::Drop))
}

/// Whether an answer was of this leadership and about what was sent.
#[inline(always)]
pub const fn is_known(verdict: TallyVerdict) -> bool {
    matches!(verdict, TallyVerdict::Quorum | TallyVerdict::Counted | TallyVerdict::Repeat)
}
