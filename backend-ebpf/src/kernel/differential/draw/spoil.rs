//! Packets that are not what they were.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::packet::{ETHERNET, headers_len};

/// Spoils a packet in one way of many. Checksums stay what they were: the programs never see them.
pub(super) fn spoil(dice: &mut ChaCha8Rng, packet: &mut Vec<u8>, is_ipv6: bool) {
    let headers = headers_len(is_ipv6);
    let udp = headers - 8;
    let len = packet.len();
    match dice.random_range(0..17) {
        // Cut off, down to the least that a test run takes.
        0 => packet.truncate(dice.random_range(ETHERNET + 1..=len)),
        1 => packet.truncate(dice.random_range(headers..=headers + 73).min(len)),
        // Behind it, as Ethernet pads short frames.
        2 | 3 => packet.resize(len + dice.random_range(1..40), 0),
        // Bits anywhere, in the headers or in the frame's header.
        4 => flip(dice, packet, 0, len),
        5 => flip(dice, packet, 12, headers),
        6 | 7 => flip(dice, packet, headers, (headers + 72).min(len)),
        8 => flip(dice, packet, headers + 4, (headers + 24).min(len)),
        // Another length in UDP, in IP, or in both.
        9 => relength(dice, packet, udp + 4),
        10 => relength(dice, packet, if is_ipv6 { 18 } else { 16 }),
        11 => {
            let by = dice.random_range(0..3);
            for at in [udp + 4, if is_ipv6 { 18 } else { 16 }] {
                let word = u16::from_be_bytes([packet[at], packet[at + 1]]).wrapping_sub(by);
                packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
            }
        }
        12 => options(packet, is_ipv6),
        13 if is_ipv6 => packet[20] = [0, 6, 17, 43, 44, 58, 60][dice.random_range(0..7)],
        13 => packet[20..22].copy_from_slice(&(1u16 << dice.random_range(0..16)).to_be_bytes()),
        14 => {
            // A tag of 802.1Q or 802.1ad.
            let tag = [[0x81, 0x00, 0x00, 0x05], [0x88, 0xa8, 0x00, 0x05]];
            packet.splice(12..12, tag[dice.random_range(0..2)]);
        }
        15 => packet[if is_ipv6 { 20 } else { 23 }] = dice.random(),
        _ => {
            let from = dice.random_range(0..len);
            dice.fill(&mut packet[from..]);
        }
    }
}

fn flip(dice: &mut ChaCha8Rng, packet: &mut [u8], from: usize, to: usize) {
    if from >= to {
        return;
    }
    for _ in 0..dice.random_range(1..4) {
        packet[dice.random_range(from..to)] ^= 1 << dice.random_range(0..8);
    }
}

fn relength(dice: &mut ChaCha8Rng, packet: &mut [u8], at: usize) {
    let word = u16::from_be_bytes([packet[at], packet[at + 1]]);
    let word = match dice.random_range(0..4) {
        0 => dice.random(),
        1 => 0,
        2 => word.wrapping_add(1),
        _ => word.wrapping_sub(dice.random_range(1..30)),
    };
    packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// IPv4 options, or an IPv6 extension header: the lengths are right.
pub(in super::super) fn options(packet: &mut Vec<u8>, is_ipv6: bool) {
    let (at, more): (usize, &[u8]) =
        if is_ipv6 { (54, &[17, 0, 1, 4, 0, 0, 0, 0]) } else { (34, &[1, 1, 1, 0]) };
    packet.splice(at..at, more.iter().copied());
    if is_ipv6 {
        packet[20] = 60;
    } else {
        packet[14] = 0x46;
    }
    let len = if is_ipv6 { 18 } else { 16 };
    let word = u16::from_be_bytes([packet[len], packet[len + 1]]);
    let word = word.wrapping_add(more.len() as u16);
    packet[len..len + 2].copy_from_slice(&word.to_be_bytes());
}
