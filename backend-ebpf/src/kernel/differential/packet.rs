//! Packets, laid out and taken apart by hand: the other reading of what the programs do by words.

use electrode_ebpf_abi::Endpoint;

pub(super) const ETHERNET: usize = 14;
const UDP: usize = 8;

/// An address and a port as they lie in a packet; IPv4 in the first four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) address: [u8; 16],
    pub(super) port: [u8; 2],
}

/// A datagram's headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) is_ipv6: bool,
    pub(super) macs: [u8; 12],
    pub(super) from: Spot,
    pub(super) to: Spot,
    /// What a reply keeps: class of service, identification, flow label.
    pub(super) kept: [u8; 5],
    pub(super) hops: u8,
    /// Whether it has a UDP checksum.
    pub(super) is_sealed: bool,
}

/// Bytes before a plain datagram's payload.
pub(super) const fn headers_len(is_ipv6: bool) -> usize {
    ETHERNET + if is_ipv6 { 40 } else { 20 } + UDP
}

/// Where the source address begins, and how long an address is.
const fn addresses(is_ipv6: bool) -> (usize, usize) {
    if is_ipv6 { (ETHERNET + 8, 16) } else { (ETHERNET + 12, 4) }
}

/// The internet checksum (RFC 1071).
fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Envelope {
    /// The whole packet.
    pub(super) fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let headers = headers_len(self.is_ipv6);
        let mut packet = vec![0; headers];
        packet[..12].copy_from_slice(&self.macs);
        let kept = &self.kept;
        if self.is_ipv6 {
            packet[12..14].copy_from_slice(&[0x86, 0xdd]);
            packet[14..18].copy_from_slice(&[0x60 | kept[0] >> 4, kept[1], kept[2], kept[3]]);
            packet[20..22].copy_from_slice(&[17, self.hops]);
        } else {
            packet[12..14].copy_from_slice(&[0x08, 0x00]);
            packet[14..16].copy_from_slice(&[0x45, kept[0]]);
            // Don't-fragment and the reserved bit are no fragment's.
            packet[18..21].copy_from_slice(&[kept[1], kept[2], kept[3] & 0xc0]);
            packet[22..24].copy_from_slice(&[self.hops, 17]);
        }
        let (at, len) = addresses(self.is_ipv6);
        packet[at..at + len].copy_from_slice(&self.from.address[..len]);
        packet[at + len..at + 2 * len].copy_from_slice(&self.to.address[..len]);
        let udp = headers - UDP;
        packet[udp..udp + 2].copy_from_slice(&self.from.port);
        packet[udp + 2..udp + 4].copy_from_slice(&self.to.port);
        packet.extend_from_slice(payload);
        finish(&mut packet, self.is_ipv6, self.is_sealed);
        packet
    }
}

/// Sets lengths and checksums of a plain datagram.
fn finish(packet: &mut [u8], is_ipv6: bool, is_sealed: bool) {
    let udp = headers_len(is_ipv6) - UDP;
    let len = ((packet.len() - udp) as u16).to_be_bytes();
    packet[udp + 4..udp + 6].copy_from_slice(&len);
    if is_ipv6 {
        packet[18..20].copy_from_slice(&len);
    } else {
        let total = (packet.len() - ETHERNET) as u16;
        packet[16..18].copy_from_slice(&total.to_be_bytes());
        mend_ipv4(packet);
    }
    packet[udp + 6..udp + 8].fill(0);
    if is_sealed {
        let sum = udp_checksum(packet, is_ipv6);
        packet[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Sets the IPv4 header's checksum.
pub(super) fn mend_ipv4(packet: &mut [u8]) {
    packet[24..26].fill(0);
    let sum = checksum([&packet[14..34]]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of a plain datagram whose field is zero (RFC 768): never zero itself.
fn udp_checksum(packet: &[u8], is_ipv6: bool) -> u16 {
    let udp = headers_len(is_ipv6) - UDP;
    let (at, len) = addresses(is_ipv6);
    let pseudo = [0, 17, packet[udp + 4], packet[udp + 5]];
    let sum = checksum([&packet[at..at + 2 * len], &pseudo, &packet[udp..]]);
    if sum == 0 { 0xffff } else { sum }
}

/// The answer to a plain datagram: back where it came from, with another payload.
pub(super) fn reply(request: &[u8], is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let headers = headers_len(is_ipv6);
    let mut packet = [&request[..headers], payload].concat();
    swap(&mut packet, 0, 6);
    let (at, len) = addresses(is_ipv6);
    swap(&mut packet, at, len);
    swap(&mut packet, headers - UDP, 2);
    packet[if is_ipv6 { 21 } else { 22 }] = 64;
    let is_sealed = request[headers - 2..headers] != [0, 0];
    finish(&mut packet, is_ipv6, is_sealed);
    packet
}

/// Addresses a datagram to another place, its UDP checksum along (RFC 1624): a wrong one stays wrong.
pub(super) fn readdress(packet: &mut [u8], is_ipv6: bool, mac: [u8; 6], to: Spot) {
    let headers = headers_len(is_ipv6);
    let (at, len) = addresses(is_ipv6);
    let (address, port) = (at + len..at + 2 * len, headers - UDP + 2..headers - UDP + 4);
    let before = [&packet[address.clone()], &packet[port.clone()]].concat();
    packet[..6].copy_from_slice(&mac);
    packet[address].copy_from_slice(&to.address[..len]);
    packet[port].copy_from_slice(&to.port);
    if !is_ipv6 {
        mend_ipv4(packet);
    }
    let field = headers - 2..headers;
    if packet[field.clone()] == [0, 0] {
        return;
    }
    let inverted = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
    let (sum, before) = (inverted(&packet[field.clone()]), inverted(&before));
    let sealed = checksum([&sum[..], &before, &to.address[..len], &to.port]);
    let sealed = if sealed == 0 { 0xffff } else { sealed };
    packet[field].copy_from_slice(&sealed.to_be_bytes());
}

/// The same with a packet that is cut into datagrams later: its checksum is the sum of its pseudo-header.
pub(super) fn readdress_whole(packet: &mut [u8], is_ipv6: bool, mac: [u8; 6], to: Spot) {
    let headers = headers_len(is_ipv6);
    let (at, len) = addresses(is_ipv6);
    let before: Vec<_> = packet[at + len..at + 2 * len].iter().map(|byte| !byte).collect();
    let sum = !checksum([&packet[headers - 2..headers], &before, &to.address[..len]]);
    readdress(packet, is_ipv6, mac, to);
    packet[headers - 2..headers].copy_from_slice(&sum.to_be_bytes());
}

fn swap(packet: &mut [u8], at: usize, len: usize) {
    let (one, other) = packet[at..at + 2 * len].split_at_mut(len);
    one.swap_with_slice(other);
}

/// What a packet is to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    Bystander,
    /// With our address and port, but its lengths do not fit each other.
    Odd,
    Plain,
}

/// Sorts a packet that goes to the endpoint, or with `is_from` one that comes from it.
pub(super) fn sort(endpoint: &Endpoint, packet: &[u8], is_from: bool) -> Sort {
    let is_ipv6 = endpoint.ipv6 != 0;
    let headers = headers_len(is_ipv6);
    if packet.len() < headers {
        return Sort::Bystander;
    }
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let is_udp = if is_ipv6 {
        word(12) == 0x86dd && packet[14] >> 4 == 6 && packet[20] == 17
    } else {
        let is_fragment = word(20) & 0x3fff != 0;
        word(12) == 0x0800 && packet[14] == 0x45 && packet[23] == 17 && !is_fragment
    };
    let ours = Spot { address: endpoint.address, port: endpoint.port };
    if !is_udp || spot(packet, is_ipv6, is_from) != ours {
        return Sort::Bystander;
    }
    let udp = headers - UDP;
    let rest = packet.len() - udp;
    let in_ip = if is_ipv6 { word(18).into() } else { usize::from(word(16)).wrapping_sub(20) };
    let fits = usize::from(word(udp + 4)) == rest && in_ip == rest;
    if fits { Sort::Plain } else { Sort::Odd }
}

/// Where a packet that has all its headers comes from, or goes to.
pub(super) fn spot(packet: &[u8], is_ipv6: bool, is_from: bool) -> Spot {
    let (at, len) = addresses(is_ipv6);
    let at = if is_from { at } else { at + len };
    let udp = headers_len(is_ipv6) - UDP + if is_from { 0 } else { 2 };
    let mut address = [0; 16];
    address[..len].copy_from_slice(&packet[at..at + len]);
    Spot { address, port: [packet[udp], packet[udp + 1]] }
}
