//! Ethernet frames that carry UDP: reading them off the wire, and forging them.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// Where a frame says that it goes, and whether to everybody.
pub(super) fn destination(frame: &[u8]) -> Option<([u8; 6], bool)> {
    let mac: [u8; 6] = frame.get(..6)?.try_into().ok()?;
    Some((mac, mac[0] & 1 == 1))
}

/// A whole UDP datagram in a frame without VLAN tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) bytes: &'a [u8],
    /// Whether every checksum is right, as a receiver sees it.
    pub(super) checksums_right: bool,
}

impl<'a> Datagram<'a> {
    /// `None` if the frame carries anything else, a fragment for one.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        if packet.vlan().is_some() {
            return None;
        }
        let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
        let (source, destination, checksums_right): (IpAddr, IpAddr, bool) = match packet.net? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                let (from, to) = (header.source, header.destination);
                let sum = udp.to_header().calc_checksum_ipv4_raw(from, to, udp.payload()).ok();
                let right = header.calc_header_checksum() == header.header_checksum
                    && (udp.checksum() == 0 || sum == Some(udp.checksum()));
                (from.into(), to.into(), right)
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                let (from, to) = (header.source, header.destination);
                let sum = udp.to_header().calc_checksum_ipv6_raw(from, to, udp.payload()).ok();
                // RFC 8200, section 8.1: never zero.
                (from.into(), to.into(), sum == Some(udp.checksum()))
            }
            NetSlice::Arp(_) => return None,
        };
        Some(Self {
            source: (source, udp.source_port()).into(),
            destination: (destination, udp.destination_port()).into(),
            bytes: udp.payload(),
            checksums_right,
        })
    }
}

/// A frame with right checksums.
///
/// # Panics
/// If the addresses are of two families or the bytes do not fit a datagram.
pub(super) fn forge(macs: [[u8; 6]; 2], addresses: [SocketAddr; 2], bytes: &[u8]) -> Vec<u8> {
    let [source, destination] = addresses;
    let ethernet = PacketBuilder::ethernet2(macs[0], macs[1]);
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("a datagram from {source} cannot go to {destination}"),
    };
    let udp = ip.udp(source.port(), destination.port());
    let mut frame = Vec::with_capacity(udp.size(bytes.len()));
    udp.write(&mut frame, bytes).expect("the bytes fit a datagram");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn addresses() -> [[SocketAddr; 2]; 2] {
        let parse = |text: &str| text.parse().expect("an address");
        [["10.0.0.1:7", "10.0.0.2:9"], ["[fd00::1]:7", "[fd00::2]:9"]].map(|pair| pair.map(parse))
    }

    #[test]
    fn a_forged_frame_reads_as_it_was_meant() {
        for [source, to] in addresses() {
            for len in [0, 1, 72, 9_001] {
                let bytes = vec![0xa5; len];
                let frame = forge(MACS, [source, to], &bytes);
                assert_eq!(destination(&frame), Some((MACS[1], false)));
                let expected =
                    Datagram { source, destination: to, bytes: &bytes, checksums_right: true };
                assert_eq!(Datagram::parse(&frame), Some(expected));
            }
        }
    }

    #[test]
    fn a_flipped_bit_shows_in_the_checksums() {
        for [source, to] in addresses() {
            let frame = forge(MACS, [source, to], b"twelve bytes");
            for at in [frame.len() - 1, frame.len() - 14] {
                let mut broken = frame.clone();
                broken[at] ^= 1;
                assert!(!Datagram::parse(&broken).expect("still UDP").checksums_right);
            }
        }
    }

    #[test]
    fn other_traffic_is_no_datagram() {
        let [[source, to], _] = addresses();
        let frame = forge(MACS, [source, to], b"twelve bytes");
        let mut tcp = frame.clone();
        tcp[23] = 6;
        let mut fragment = frame.clone();
        fragment[20] |= 0x20;
        let mut arp = frame.clone();
        arp[12..14].copy_from_slice(&[8, 6]);
        for other in [&tcp, &fragment, &arp, &frame[..20].to_vec(), &Vec::new()] {
            assert_eq!(Datagram::parse(other), None);
        }
    }
}
