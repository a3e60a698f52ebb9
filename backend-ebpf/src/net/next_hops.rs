//! Which hardware address a frame for a peer must carry, as the kernel itself would send it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Requests, Shape};
use crate::error::EbpfError;

/// Where a frame for a peer goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The gateway, or the peer itself if it is on the link.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// Why a frame for a peer cannot leave from this interface without the kernel's help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unreachable {
    /// The peer's address is one of this machine.
    Local,
    /// The routing table has no way to it, or forbids it.
    NoRoute,
    /// The way leads through another interface.
    OtherInterface {
        /// Its index.
        index: u32,
    },
    /// The route wraps packets into others (MPLS, SRv6, tunnels).
    Encapsulated,
    /// The route carries less than the longest packet, which would travel in fragments.
    SmallMtu {
        /// What it carries, in bytes.
        mtu: u32,
    },
    /// Nobody has asked for the next hop's hardware address yet. Sending it anything makes the
    /// kernel ask.
    NotAsked {
        /// Whose.
        next_hop: IpAddr,
    },
    /// The kernel is asking for it right now.
    Asking {
        /// Whose.
        next_hop: IpAddr,
    },
    /// The next hop has not answered.
    NoAnswer {
        /// Who.
        next_hop: IpAddr,
    },
    /// The link does not speak Ethernet.
    NotEthernet,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("the address is on this machine"),
            Self::NoRoute => f.write_str("there is no route to it"),
            Self::OtherInterface { index } => {
                write!(f, "its route leaves by another interface, of index {index}")
            }
            Self::Encapsulated => f.write_str("its route wraps packets into others"),
            Self::SmallMtu { mtu } => {
                write!(f, "its route carries {mtu} bytes, which is less than a datagram")
            }
            Self::NotAsked { next_hop } => {
                write!(f, "the hardware address of {next_hop} has not been asked for yet")
            }
            Self::Asking { next_hop } => {
                write!(f, "the hardware address of {next_hop} is being asked for")
            }
            Self::NoAnswer { next_hop } => {
                write!(f, "{next_hop} has not told its hardware address")
            }
            Self::NotEthernet => f.write_str("the link does not speak Ethernet"),
        }
    }
}

/// Reads the next hops of peers on one interface.
///
/// Opened in the network namespace where the interface is, it can be used from any thread.
#[derive(Debug)]
pub struct NextHops {
    requests: Requests,
    interface: u32,
    source: IpAddr,
    /// Bytes of the longest packet that must not become fragments.
    packet_len: usize,
}

impl NextHops {
    /// For frames that leave by the interface of this index with this source address.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`] if no socket can be opened.
    pub fn open(interface: u32, source: IpAddr) -> Result<Self, EbpfError> {
        let requests = Requests::open()
            .map_err(|source| EbpfError::Netlink { operation: "open a socket", source })?;
        Ok(Self { requests, interface, source, packet_len: 0 })
    }

    /// From now on a route with an MTU below so many bytes is none: the kernel would send fragments.
    #[must_use]
    pub const fn for_packets_of(mut self, len: usize) -> Self {
        self.packet_len = len;
        self
    }

    /// The next hop of each peer, or why there is none. Takes a question to the kernel for each peer
    /// and one for the neighbours.
    ///
    /// Read it again after [`Watch`](super::Watch) tells of changes; subscribe first, or a change
    /// between the two is missed.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`] if the kernel's tables cannot be read.
    pub fn read(
        &mut self,
        peers: impl IntoIterator<Item = IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Result<NextHop, Unreachable>>, EbpfError> {
        let neighbours = self
            .neighbours()
            .map_err(|source| EbpfError::Netlink { operation: "list the neighbours", source })?;
        let mut hops = BTreeMap::new();
        for peer in peers {
            let way = self
                .way(peer)
                .map_err(|source| EbpfError::Netlink { operation: "look up a route", source })?;
            hops.insert(peer, way.and_then(|next_hop| resolve(&neighbours, next_hop)));
        }
        Ok(hops)
    }

    /// The next hop's address: what the socket's own lookup would say, but where that goes by ports too
    /// (policy rules, multipath by the flow's hash).
    fn way(&mut self, peer: IpAddr) -> io::Result<Result<IpAddr, Unreachable>> {
        let mut question = RouteMessage::default();
        let prefix_len = if peer.is_ipv4() { 32 } else { 128 };
        question.header.address_family =
            if peer.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        question.header.destination_prefix_length = prefix_len;
        question.header.source_prefix_length = prefix_len;
        question.attributes.push(RouteAttribute::Destination(peer.into()));
        question.attributes.push(RouteAttribute::Source(self.source.into()));
        // Link-local addresses mean nothing without their link. For all others the interface is left
        // open: given one, IPv4 believes that any address is on its link.
        if matches!(peer, IpAddr::V6(peer) if peer.is_unicast_link_local()) {
            question.attributes.push(RouteAttribute::Oif(self.interface));
        }
        match self.requests.ask(Shape::One, &RouteNetlinkMessage::GetRoute(question)) {
            Ok(answers) => match answers.into_iter().next() {
                Some(RouteNetlinkMessage::NewRoute(route)) => Ok(self.judge(peer, &route)),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no route")),
            },
            Err(error) if means_no_route(&error) => Ok(Err(Unreachable::NoRoute)),
            Err(error) => Err(error),
        }
    }

    fn judge(&self, peer: IpAddr, route: &RouteMessage) -> Result<IpAddr, Unreachable> {
        match route.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(Unreachable::Local),
            _ => return Err(Unreachable::NoRoute),
        }
        let mut next_hop = peer;
        let mut leaves_by = None;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => leaves_by = Some(*index),
                RouteAttribute::Gateway(RouteAddress::Inet(gateway))
                | RouteAttribute::Via(RouteVia::Inet(gateway)) => next_hop = (*gateway).into(),
                RouteAttribute::Gateway(RouteAddress::Inet6(gateway))
                | RouteAttribute::Via(RouteVia::Inet6(gateway)) => next_hop = (*gateway).into(),
                RouteAttribute::Metrics(metrics) => {
                    for metric in metrics {
                        if let RouteMetric::Mtu(mtu) = *metric
                            && mtu != 0
                            && (mtu as usize) < self.packet_len
                        {
                            return Err(Unreachable::SmallMtu { mtu });
                        }
                    }
                }
                RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                    return Err(Unreachable::Encapsulated);
                }
                _ => {}
            }
        }
        match leaves_by {
            Some(index) if index == self.interface => Ok(next_hop),
            Some(index) => Err(Unreachable::OtherInterface { index }),
            None => Err(Unreachable::NoRoute),
        }
    }

    fn neighbours(&mut self) -> io::Result<BTreeMap<IpAddr, Neighbour>> {
        let mut question = NeighbourMessage::default();
        // The kernel leaves out other interfaces' entries; very old ones do not, so look again.
        question.attributes.push(NeighbourAttribute::IfIndex(self.interface));
        let answers =
            self.requests.ask(Shape::Dump, &RouteNetlinkMessage::GetNeighbour(question))?;
        let entries = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(entry) if entry.header.ifindex == self.interface => {
                Neighbour::of(entry)
            }
            _ => None,
        });
        Ok(entries.collect())
    }
}

/// Routing errors, not failures to ask.
fn means_no_route(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        // EINVAL: forbidden by a blackhole route, or the source address has left this machine.
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENETDOWN)
    )
}

#[derive(Clone, Copy, Debug)]
struct Neighbour {
    state: u16,
    mac: Option<[u8; 6]>,
}

impl Neighbour {
    // `include/uapi/linux/neighbour.h`. It is a bit set.
    const INCOMPLETE: u16 = 0x01;
    const FAILED: u16 = 0x20;
    /// REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT: in these the kernel sends to the address.
    const VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;

    fn of(entry: &NeighbourMessage) -> Option<(IpAddr, Self)> {
        let (mut address, mut mac) = (None, None);
        for attribute in &entry.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                    address = Some(IpAddr::V4(*ip));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                    address = Some(IpAddr::V6(*ip));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok();
                }
                _ => {}
            }
        }
        Some((address?, Self { state: entry.header.state.into(), mac }))
    }
}

fn resolve(
    neighbours: &BTreeMap<IpAddr, Neighbour>,
    next_hop: IpAddr,
) -> Result<NextHop, Unreachable> {
    let Some(neighbour) = neighbours.get(&next_hop) else {
        return Err(Unreachable::NotAsked { next_hop });
    };
    if neighbour.state & Neighbour::VALID != 0 {
        return neighbour
            .mac
            .map(|mac| NextHop { address: next_hop, mac })
            .ok_or(Unreachable::NotEthernet);
    }
    Err(if neighbour.state & Neighbour::INCOMPLETE != 0 {
        Unreachable::Asking { next_hop }
    } else if neighbour.state & Neighbour::FAILED != 0 {
        Unreachable::NoAnswer { next_hop }
    } else {
        Unreachable::NotAsked { next_hop }
    })
}
