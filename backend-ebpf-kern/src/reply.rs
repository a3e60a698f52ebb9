//! Turning a request round in place: addresses swapped, the header replaced, the body cut off.

use electrode_transport::wire::{HEADER_LEN, HEADER_WORDS, Header, Key, Tagger, flags};

use crate::maps::{is_ipv6, is_keyed, key};
use crate::packet::{
    ETHERNET, IPV4, Packet, UDP, addresses, headers_len, read, set_head, set_word, word, write,
};

/// Makes the packet the reply and says whether that went well. After a failure it is fit for nothing.
#[inline(always)]
pub fn turn<P: Packet>(packet: P, header: &Header) -> bool {
    let words = encode(header).map(u64::to_le);
    let headers = headers_len();
    let udp = headers - UDP;
    let start = packet.start();
    if start + headers > packet.end() {
        return false;
    }
    let after = ((UDP + HEADER_LEN) as u16).to_be();
    // SAFETY: every offset is within `headers`, which was checked against the end.
    let (before, sealed, sum) = unsafe {
        swap::<[u16; 3]>(start, 0, 6);
        let (first, count) = addresses();
        if is_ipv6() {
            swap::<[u64; 2]>(start, first, first + 16);
        } else {
            swap::<u32>(start, first, first + 4);
        }
        swap::<u16>(start, udp, udp + 2);
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
            set_word(start, 24, !fold(sum_words(start, ETHERNET, IPV4 / 2).into()));
        }
        let sealed = word(start, udp + 6) != 0;
        let mut sum = sum_words(start, first, 2 * count) + sum_words(start, udp, 3);
        sum += u32::from(after) + u32::from(17_u16.to_be());
        (before, sealed, sum)
    };
    if !set_head(packet, &words) || !packet.trim((headers + HEADER_LEN) as u32) {
        return false;
    }
    if sealed {
        packet.seal(udp + 6, before, after, checksum(sum, &words));
    }
    true
}

#[inline(always)]
fn encode(header: &Header) -> [u64; HEADER_WORDS] {
    if !is_keyed() {
        return header.to_words();
    }
    let mut words = Header { flags: header.flags | flags::TAGGED, tag: 0, ..*header }.to_words();
    let mut tagger = Tagger::new(&Key(key()));
    for word in words {
        tagger.word(word);
    }
    words[HEADER_WORDS - 1] = tagger.finish(0, HEADER_LEN);
    words
}

/// The UDP checksum of the reply: `sum` is that of its pseudo-header and UDP header.
#[inline(always)]
fn checksum(sum: u32, words: &[u64; HEADER_WORDS]) -> u16 {
    let mut total = u64::from(sum);
    for word in words {
        total += (word & 0xffff_ffff) + (word >> 32);
    }
    let total = (total & 0xffff_ffff) + (total >> 32);
    let folded = !fold(total);
    // Zero on the wire would say that there is none (RFC 768).
    if folded == 0 && !broken!("no_checksum") { 0xffff } else { folded }
}

/// One's complement to 16 bits, of a sum below 2^34.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    if broken!("folded_once") {
        return sum as u16;
    }
    let sum = (sum & 0xffff) + (sum >> 16);
    // A sum of 33 bits may carry once more.
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
/// As `read`, for both places.
#[inline(always)]
unsafe fn swap<T: Copy>(start: usize, one: usize, other: usize) {
    // SAFETY: as the caller promises.
    let (first, second) = unsafe { (read::<T>(start, one), read::<T>(start, other)) };
    // SAFETY: as above.
    unsafe { write(start, one, second) };
    // SAFETY: as above.
    unsafe { write(start, other, first) };
}
