//! What leaves: arms the tally, and makes the other members' copies of a broadcast.

use aya_ebpf::helpers::generated as helper;
use electrode_ebpf_abi::{Group, NOBODY, OWN_MARK, Peer, Tick, news, offload};
use electrode_transport::Slot;
use electrode_transport::rules::{AckMode, TallyVerdict};
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, Header};

use crate::group::{Seat, notify, show_member, tick_by};
use crate::maps::{is_ipv6, offloads};
use crate::packet::{
    ETHERNET, IPV4, Look, Packet, Skb, UDP, addresses, head, head_at, headers_len, look, word,
};
use crate::reply::{fold, sum_words};

#[inline(always)]
pub fn handle(skb: Skb) {
    let Look::Ours { payload } = look(skb, 0) else { return };
    // Only of what is ours: another endpoint on this interface has the same mark.
    // SAFETY: the context that the kernel called with.
    if unsafe { (*skb.0).mark } == OWN_MARK {
        // A copy, or a reply: nobody after us needs to see the mark.
        // SAFETY: as above.
        unsafe { (*skb.0).mark = 0 };
        return;
    }
    let _ = leave(skb, payload);
}

#[inline(always)]
fn leave(skb: Skb, payload: u32) -> Option<()> {
    let header = Header::from_words(&head(skb)?).ok()?;
    let step = skb.segment_len();
    let frames = if step == 0 { 1 } else { payload.div_ceil(step) };
    tick_by(Tick::Left, frames.into());
    let is_accept = matches!(header.kind, FrameKind::Accept);
    let is_broadcast = header.destination == DESTINATION_ALL;
    if !is_accept && !is_broadcast {
        return None;
    }
    let seat = Seat::of(header.group.0)?;
    if is_accept {
        arm(seat, &header, newest(skb, &header, frames).unwrap_or(header.last));
    }
    if is_broadcast && offloads(offload::BROADCAST) {
        copy(skb, seat.glance(), header.incarnation.0, frames)?;
    }
    Some(())
}

/// The last slot of a packet that holds several frames of one leadership, in order: that of its last one.
/// `None` if it is not such a packet.
#[inline(always)]
fn newest(skb: Skb, first: &Header, frames: u32) -> Option<Slot> {
    let step = skb.segment_len();
    if step == 0 || broken!("first_armed") {
        return None;
    }
    let at = headers_len() + (((frames - 1) * step) & 0xffff) as usize;
    let last = Header::from_words(&head_at(skb, at)?).ok()?;
    let is_same = matches!(last.kind, FrameKind::Accept)
        && last.group.0 == first.group.0
        && last.ballot.0 == first.ballot.0;
    is_same.then_some(last.last)
}

/// An acknowledgement is believed only of what has left, so the tally learns of it before it does. In
/// `Received` mode the leader's own vote counts with it.
#[inline(always)]
fn arm(seat: Seat, header: &Header, last: Slot) {
    let quorum = seat.locked(|group, board| {
        if group.open == 0 || group.tally.ballot().0 != header.ballot.0 {
            return false;
        }
        let own = group.gate.own;
        if !broken!("not_armed") {
            group.tally.arm(last);
        }
        let received =
            matches!(group.acceptor.mode(), AckMode::Received) && !broken!("no_own_vote");
        let verdict =
            if received { group.tally.ack(header.ballot, own, last) } else { TallyVerdict::Repeat };
        show_member(group, board, own);
        matches!(verdict, TallyVerdict::Quorum)
    });
    if quorum {
        notify(seat.place, news::QUORUM);
    }
}

/// Copies a broadcast that is on its way to the carrier to every other reachable member.
#[inline(always)]
fn copy(skb: Skb, group: &Group, incarnation: u32, frames: u32) -> Option<()> {
    let carrier = group.carrier;
    if carrier == NOBODY || group.gate.incarnation.0 != incarnation {
        return None;
    }
    let carrier_peer = &group.peers[carrier as usize & 31];
    if !is_to(skb, carrier_peer)? {
        return None;
    }
    // SAFETY: the context that the kernel called with.
    let (mark, ifindex) = unsafe { ((*skb.0).mark, (*skb.0).ifindex) };
    // A mask, not a comparison of indices: a branch on those is a path of its own to the verifier.
    let copies = group.copies;
    for index in 0..32 {
        if copies >> index & 1 == 0 {
            continue;
        }
        // A clone goes to whom the packet is addressed to, and the packet on to the next: so the last
        // of them gets the packet itself, and nobody is addressed twice.
        // SAFETY: the context that the kernel called with.
        unsafe { (*skb.0).mark = OWN_MARK };
        // SAFETY: a helper on its own context.
        let failed = unsafe { helper::bpf_clone_redirect(skb.0, ifindex, 0) } != 0;
        // SAFETY: as above.
        unsafe { (*skb.0).mark = mark };
        tick_by(if failed { Tick::CopyFailed } else { Tick::Copies }, frames.into());
        readdress(skb, &group.peers[index])?;
    }
    Some(())
}

#[inline(always)]
fn is_to(skb: Skb, peer: &Peer) -> Option<bool> {
    let (headers, start) = (headers_len(), skb.start());
    if start + headers > skb.end() {
        return None;
    }
    let (first, count) = addresses();
    let mut same = true;
    // SAFETY: within `headers`, which was checked against the end.
    unsafe {
        for index in 0..count {
            let at = first + 2 * (count + index);
            same &= word(start, at) == address_word(peer, index);
        }
        same &= word(start, headers - UDP + 2) == u16::from_ne_bytes(peer.port);
    }
    Some(same)
}

#[inline(always)]
fn address_word(peer: &Peer, index: usize) -> u16 {
    u16::from_ne_bytes([peer.address[2 * index], peer.address[2 * index + 1]])
}

/// Changes the packet's destination to another member, checksums included.
#[inline(always)]
fn readdress(skb: Skb, to: &Peer) -> Option<()> {
    const PSEUDO: u64 = 0x10;
    const MANGLED_0: u64 = 0x20;
    let (headers, start) = (headers_len(), skb.start());
    if start + headers > skb.end() {
        return None;
    }
    let (first, count) = addresses();
    let mut difference = 0u32;
    let port;
    // SAFETY: within `headers`, which was checked against the end.
    unsafe {
        for index in 0..3 {
            let mac = u16::from_ne_bytes([to.mac[2 * index], to.mac[2 * index + 1]]);
            crate::packet::set_word(start, 2 * index, mac);
        }
        for index in 0..count {
            let at = first + 2 * (count + index);
            let (before, after) = (word(start, at), address_word(to, index));
            difference += u32::from(!before) + u32::from(after);
            crate::packet::set_word(start, at, after);
        }
        port = word(start, headers - UDP + 2);
        crate::packet::set_word(start, headers - UDP + 2, u16::from_ne_bytes(to.port));
        if !is_ipv6() {
            crate::packet::set_word(start, 24, 0);
            let sum = !fold(sum_words(start, ETHERNET, IPV4 / 2).into());
            crate::packet::set_word(start, 24, sum);
        }
    }
    if skb.segment_len() != 0 {
        return seed(skb, headers - 2, difference);
    }
    let at = (headers - UDP + 6) as u32;
    // SAFETY: helpers on their own context. A datagram without a checksum stays without.
    unsafe {
        helper::bpf_l4_csum_replace(skb.0, at, 0, difference.into(), PSEUDO | MANGLED_0);
        let to = u16::from_ne_bytes(to.port);
        if port != to {
            helper::bpf_l4_csum_replace(skb.0, at, port.into(), to.into(), MANGLED_0 | 2);
        }
    }
    Some(())
}

/// Changes the checksum of a packet that is cut into datagrams later. It holds none yet but a seed, the
/// sum of its pseudo-header, for those to go on from; also where the interface computes no checksums,
/// which the helper, that goes by what the packet says of itself, takes for a whole one.
#[inline(always)]
fn seed(skb: Skb, at: usize, difference: u32) -> Option<()> {
    let start = skb.start();
    if start + at + 2 > skb.end() {
        return None;
    }
    // SAFETY: just checked against the end.
    unsafe {
        let before = word(start, at);
        let after = fold(u64::from(before) + u64::from(difference));
        crate::packet::set_word(start, at, if broken!("sealed_seed") { !after } else { after });
    }
    Some(())
}
