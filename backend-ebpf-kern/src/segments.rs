//! Several accept frames in one packet: a leader's batch for one follower, which the system cuts into
//! datagrams only where the next thing on its way needs them (`UDP_SEGMENT`, Linux 4.18). Between two
//! machines that is the network card; between namespaces of one machine, nobody.
//!
//! Each frame is judged and stored for itself, in order, as if it had come alone. Only the reply is one:
//! the newest, which says what the others would have said and more. If one of them is for user space, the
//! whole packet goes up the stack, which cuts it there: what was stored of it comes as a duplicate.
//!
//! A program of its own, for the stack of the one that arrives here has no room for a call.

use aya_ebpf::bindings::__sk_buff;
use electrode_ebpf_abi::{SEGMENTS_MAX, Tick, offload};
use electrode_transport::wire::{FrameKind, HEADER_LEN};

use crate::group::{Seat, note_passed, tick, tick_by, tick_by_index};
use crate::ingress::{Fate, accept, accepted, parse, pass, turn, vet};
use crate::maps::{body_len_max, el_batch, offloads};
use crate::packet::{Look, Skb, head_at, headers_len, look};

/// In what is said of a frame: it is not settled here. The counter is in the lower bits.
const PASS: u32 = 1 << 16;

#[inline(always)]
pub fn handle(skb: Skb) -> Fate {
    let Look::Ours { payload } = look(skb, 1) else {
        // It was ours when it was handed on.
        tick(Tick::Seen);
        return pass(Tick::PassMalformed, 1);
    };
    let step = skb.segment_len();
    let is_frame_long = step >= HEADER_LEN as u32 && step <= HEADER_LEN as u32 + body_len_max();
    let count = if is_frame_long { payload.div_ceil(step) } else { 1 };
    tick_by(Tick::Seen, count.into());
    if !is_frame_long || count > SEGMENTS_MAX {
        return pass(Tick::PassMalformed, count);
    }
    let Some(batch) = el_batch.get_ptr_mut(0) else { return pass(Tick::PassOff, count) };
    // SAFETY: this CPU's own, which nobody else uses while this program runs.
    unsafe { (*batch).is_answered = 0 };
    for index in 0..SEGMENTS_MAX {
        if index >= count {
            break;
        }
        let said = el_segment(skb.0, index, step, payload - index * step);
        if said & PASS != 0 {
            tick_by_number(said & !PASS, count - index);
            tick_by(Tick::Again, index.into());
            note_passed();
            return Fate::Pass;
        }
        tick_by_number(said, 1);
    }
    // SAFETY: as above.
    let is_answered = unsafe { (*batch).is_answered != 0 };
    if is_answered && el_answer(skb.0) != 0 { Fate::Return } else { Fate::Drop }
}

/// Makes the packet the newest reply; zero if that fails. A function of its own, like the next, so that
/// their stacks do not add up.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn el_answer(skb: *mut __sk_buff) -> u32 {
    let Some(batch) = el_batch.get_ptr_mut(0) else { return 0 };
    // SAFETY: whoever calls has seen that there is one.
    let reply = unsafe { (*batch).reply() };
    matches!(turn(Skb(skb), &reply), Fate::Return).into()
}

#[inline(always)]
fn tick_by_number(number: u32, by: u32) {
    if number < Tick::COUNT as u32 {
        tick_by_index(number as usize, by.into());
    }
}

/// Judges one frame of the packet, of so many datagrams of `step` bytes, with so many bytes `left` from
/// its beginning on. Answers which counter rises, with [`PASS`] if the frame is for user space. A function
/// of its own for the verifier, which then walks through it once and not for each frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn el_segment(skb: *mut __sk_buff, index: u32, step: u32, left: u32) -> u32 {
    let payload = if left < step { left } else { step };
    let at = (index & (SEGMENTS_MAX - 1)) * (step & 0xffff);
    match settle(Skb(skb), headers_len() + at as usize, index == 0, payload) {
        Ok(what) => what as u32,
        Err(why) => why as u32 | PASS,
    }
}

#[inline(always)]
fn settle(skb: Skb, at: usize, is_first: bool, payload: u32) -> Result<Tick, Tick> {
    let words = head_at(skb, at).ok_or(Tick::PassMalformed)?;
    let header = parse(&words, payload)?;
    if !matches!(header.kind, FrameKind::Accept) {
        return Err(Tick::PassMalformed);
    }
    if !offloads(offload::ACKNOWLEDGE) {
        return Err(Tick::PassOff);
    }
    let batch = el_batch.get_ptr_mut(0).ok_or(Tick::PassOff)?;
    let identity = [words[0], words[1], words[2], words[3]];
    // SAFETY: this CPU's own, which nobody else uses while this program runs.
    unsafe {
        if is_first {
            (*batch).identity = identity;
        } else if !(*batch).is_of(&identity) {
            return Err(Tick::PassMalformed);
        }
    }
    let seat = Seat::of(header.group.0).ok_or(Tick::PassGroup)?;
    vet(skb, at, seat, &header)?;
    let (what, judged) = accept(skb, at, seat, &header)?;
    // SAFETY: as above.
    unsafe {
        if judged.replies && !(broken!("oldest_reply") && (*batch).is_answered != 0) {
            (*batch).set_reply(accepted(&header, &judged));
            (*batch).is_answered = 1;
        }
    }
    Ok(what)
}
