//! Turning a request round in place: addresses swapped, the header replaced, the body cut off.

use aya_ebpf::helpers::generated as helper;
use electrode_transport::wire::{HEADER_LEN, Header, Key, Tagger, flags};

use crate::maps::{is_ipv6, is_keyed, key};
use crate::packet::{ETHERNET, IPV4, Packet, UDP, addresses, headers_len, set_word, word};

/// The header as words, so that it is on the stack, aligned, and cheap to sum.
#[repr(C, align(8))]
pub struct Words(pub [u8; HEADER_LEN]);

/// Makes the packet the reply and says whether that went well. After a failure it is fit for nothing.
#[inline(always)]
pub fn turn<P: Packet>(packet: P, header: &Header) -> bool {
    let mut words = Words([0; HEADER_LEN]);
    encode(header, &mut words);
    let headers = headers_len();
    let udp = headers - UDP;
    let start = packet.start();
    if start + headers > packet.end() {
        return false;
    }
    let after = ((UDP + HEADER_LEN) as u16).to_be();
    // SAFETY: every offset is within `headers`, which was checked against the end.
    let (before, sealed, sum) = unsafe {
        swap(start, 0, 6, 3);
        let (first, count) = addresses();
        swap(start, first, first + 2 * count, count);
        swap(start, udp, udp + 2, 1);
        let before = word(start, udp + 4);
        set_word(start, udp + 4, after);
        if is_ipv6() {
            set_word(start, 18, after);
            let hop = word(start, 20) & 0xff | 64 << 8;
            set_word(start, 20, hop);
        } else {
            set_word(start, 16, ((IPV4 + UDP + HEADER_LEN) as u16).to_be());
            set_word(start, 22, 17 << 8 | 64);
            set_word(start, 24, 0);
            set_word(start, 24, !fold(sum_words(start, ETHERNET, IPV4 / 2)));
        }
        let sealed = word(start, udp + 6) != 0;
        let mut sum = sum_words(start, first, 2 * count) + sum_words(start, udp, 3);
        sum += u32::from(after) + u32::from(17_u16.to_be());
        (before, sealed, sum)
    };
    if !packet.store(headers, words.0.as_ptr(), HEADER_LEN as u32)
        || !packet.trim((headers + HEADER_LEN) as u32)
    {
        return false;
    }
    if sealed {
        packet.seal(udp + 6, before, after, checksum(sum, &mut words));
    }
    true
}

#[inline(always)]
fn encode(header: &Header, words: &mut Words) {
    if !is_keyed() {
        header.encode(&mut words.0);
        return;
    }
    let mut header = *header;
    header.flags |= flags::TAGGED;
    header.tag = 0;
    header.encode(&mut words.0);
    let mut tagger = Tagger::new(&Key(key()));
    let (chunks, _) = words.0.as_chunks::<8>();
    for chunk in chunks {
        tagger.word(u64::from_le_bytes(*chunk));
    }
    header.tag = tagger.finish(0, HEADER_LEN);
    header.encode(&mut words.0);
}

/// The UDP checksum of the reply: `sum` is that of its pseudo-header and UDP header.
#[inline(always)]
fn checksum(sum: u32, words: &mut Words) -> u16 {
    let (from, to) = (core::ptr::null_mut(), words.0.as_mut_ptr().cast());
    // SAFETY: the verifier checks the size.
    let body = unsafe { helper::bpf_csum_diff(from, 0, to, HEADER_LEN as u32, 0) } as u64;
    let total = body + u64::from(sum);
    let total = (total & 0xffff_ffff) + (total >> 32);
    let folded = !fold(((total & 0xffff) + (total >> 16)) as u32);
    // Zero on the wire would say that there is none (RFC 768).
    if folded == 0 && !broken!("no_checksum") { 0xffff } else { folded }
}

/// One's complement to 16 bits. Twice is not enough for every sum that arrives here.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    if broken!("folded_once") {
        return sum as u16;
    }
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// # Safety
/// As `word`, for `count` words from `at`.
#[inline(always)]
pub unsafe fn sum_words(start: usize, at: usize, count: usize) -> u32 {
    let mut sum = 0;
    for index in 0..count {
        // SAFETY: as the caller promises.
        sum += u32::from(unsafe { word(start, at + 2 * index) });
    }
    sum
}

/// # Safety
/// As `word`, for `count` words from both places.
#[inline(always)]
unsafe fn swap(start: usize, one: usize, other: usize, count: usize) {
    for index in 0..count {
        let (one, other) = (one + 2 * index, other + 2 * index);
        // SAFETY: as the caller promises.
        unsafe {
            let kept = word(start, one);
            set_word(start, one, word(start, other));
            set_word(start, other, kept);
        }
    }
}
