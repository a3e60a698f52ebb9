//! The frame that a self-test sends, from header to header.

use std::net::SocketAddr;

use electrode_transport::wire::{FrameKind, HEADER_LEN, Header};
use electrode_transport::{Ballot, ClusterId, GroupId, Incarnation, MemberIndex, Slot};

/// What the program under test must store.
pub(super) const BODY: &[u8] = b"electrode self-test";
/// The made-up group and its ballot.
pub(super) const GROUP: GroupId = GroupId(1);
pub(super) const CLUSTER: ClusterId = ClusterId(0x7365_6c66_7465_7374);
pub(super) const BALLOT: Ballot = Ballot(1);
/// This node and the made-up leader.
pub(super) const OWN: MemberIndex = MemberIndex(0);
pub(super) const LEADER: MemberIndex = MemberIndex(1);

/// An accept frame from the made-up leader to the made-up endpoint, as it comes off the wire.
///
/// Both Ethernet addresses are the interface's own: an answer that reaches the wire is addressed to
/// the port that it came from, and no switch forwards it.
pub(super) fn accept(mac: [u8; 6], from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut head = [0; HEADER_LEN];
    Header {
        kind: FrameKind::Accept,
        sender: LEADER,
        flags: 0,
        cluster: CLUSTER,
        incarnation: Incarnation(1),
        group: GROUP,
        ballot: BALLOT,
        first: Slot(1),
        last: Slot(1),
        commit: Slot::ZERO,
        body_len: BODY.len() as u16,
        destination: OWN.0,
        tag: 0,
    }
    .encode(&mut head);
    packet(mac, from, to, &[&head, BODY].concat())
}

fn packet(mac: [u8; 6], from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::with_capacity(8 + payload.len());
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    udp.extend_from_slice(&[0; 2]);
    udp.extend_from_slice(payload);
    let mut pseudo = Vec::new();
    let ip = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            pseudo.extend_from_slice(&from.ip().octets());
            pseudo.extend_from_slice(&to.ip().octets());
            ipv4(&pseudo, udp.len() as u16)
        }
        (from, to) => {
            pseudo.extend_from_slice(&octets(from));
            pseudo.extend_from_slice(&octets(to));
            ipv6(&pseudo, udp.len() as u16)
        }
    };
    pseudo.extend_from_slice(&[0, 17]);
    pseudo.extend_from_slice(&(udp.len() as u16).to_be_bytes());
    let sum = match checksum(&[&pseudo, &udp]) {
        // Zero says that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let ethertype: [u8; 2] = if ip.len() == 20 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&mac[..], &mac, &ethertype, &ip, &udp].concat()
}

/// Addresses of different families never meet here: both sides are made together.
fn octets(address: SocketAddr) -> [u8; 16] {
    crate::place::octets(address.ip())
}

fn ipv4(addresses: &[u8], len: u16) -> Vec<u8> {
    let total = (20 + len).to_be_bytes();
    // No fragment, one hop, UDP: should it ever be passed up, it goes no further than this machine.
    let mut ip = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 1, 17, 0, 0];
    ip.extend_from_slice(addresses);
    let sum = checksum(&[&ip]).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip
}

fn ipv6(addresses: &[u8], len: u16) -> Vec<u8> {
    let len = len.to_be_bytes();
    let mut ip = vec![0x60, 0, 0, 0, len[0], len[1], 17, 1];
    ip.extend_from_slice(addresses);
    ip
}

/// RFC 1071, over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        for pair in pairs {
            sum += u32::from(u16::from_be_bytes(*pair));
        }
        if let [last] = rest {
            sum += u32::from(u16::from_be_bytes([*last, 0]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Summed again with the checksum in it, a right packet gives zero.
    #[test]
    fn checksums_are_right() {
        let mac = [2, 0, 0, 0, 0, 1];
        for (from, to, ip_len) in
            [("127.1.2.3:4000", "127.1.2.4:4001", 20), ("[::1]:4000", "[fd00::7]:4001", 40)]
        {
            let from: SocketAddr = from.parse().expect("an address");
            let to: SocketAddr = to.parse().expect("an address");
            let bytes = accept(mac, from, to);
            let (ip, udp) = bytes[14..].split_at(ip_len);
            if ip_len == 20 {
                assert_eq!(checksum(&[ip]), 0);
            }
            let addresses = if ip_len == 20 { &ip[12..] } else { &ip[8..] };
            let len = (udp.len() as u16).to_be_bytes();
            assert_eq!(checksum(&[addresses, &[0, 17], &len, udp]), 0);
            assert_eq!(udp.len(), 8 + HEADER_LEN + BODY.len());
            assert!(Header::decode(&udp[8..]).is_ok());
        }
    }
}
