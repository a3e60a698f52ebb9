//! The tag of a frame, over a copy of its own: packet memory is no place for a loop.

use electrode_transport::wire::{HEADER_LEN, Key, Tagger};

use crate::maps::{el_scratch, key};
use crate::packet::{Packet, opaque};

/// The longest tagged frame, in words.
const WORDS: u32 = 1_152;

/// Whether `tag` is that of the frame at `at`, as `tag_frame` says.
#[inline(always)]
pub fn is_right<P: Packet>(packet: P, at: usize, len: u32, tag: u64) -> bool {
    let Some(scratch) = el_scratch.get_ptr_mut(0) else { return false };
    let total = opaque(HEADER_LEN as u32 + len);
    if total < HEADER_LEN as u32 || total > WORDS * 8 - 8 {
        return false;
    }
    packet.load(at, scratch.cast(), total) && el_tag(total) == tag
}

/// The tag of the frame in this CPU's scratch. A function of its own for the verifier, which then
/// walks its loop once and not for each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn el_tag(total: u32) -> u64 {
    let Some(scratch) = el_scratch.get_ptr_mut(0) else { return 0 };
    let (words, rest) = (total / 8, total % 8);
    let mut tagger = Tagger::new(&Key(key()));
    let (mut index, mut last) = (0, 0);
    while index < WORDS {
        // SAFETY: this CPU's own scratch, in bounds by the loop's limit.
        let word = unsafe { (*scratch).0[index as usize] };
        if index >= words {
            last = word & ((1 << (8 * rest)) - 1);
            break;
        }
        let is_tag = index == HEADER_LEN as u32 / 8 - 1;
        tagger.word(if is_tag { 0 } else { word });
        index += 1;
    }
    tagger.finish(last, total as usize)
}
