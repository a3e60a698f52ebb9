//! A network interface, as the kernel describes it.

use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::{Ethtool, Requests, Shape};
use crate::error::EbpfError;

/// What sort of device an interface is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InterfaceKind {
    /// One end of a virtual cable.
    Veth,
    /// A program holds the other end, and sees Ethernet frames.
    Tap,
    /// A program holds the other end, and sees IP packets.
    Tun,
    /// A virtual switch.
    Bridge,
    /// The machine itself.
    Loopback,
    /// A network card, or what a virtual machine takes for one.
    Physical,
    /// Another virtual device, by the name that `ip link add type` knows.
    Other(String),
}

impl fmt::Display for InterfaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Veth => "veth",
            Self::Tap => "tap",
            Self::Tun => "tun",
            Self::Bridge => "bridge",
            Self::Loopback => "loopback",
            Self::Physical => "physical",
            Self::Other(name) => name,
        })
    }
}

/// A network interface at the moment it was read.
///
/// It is looked for in the network namespace of the calling thread.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Interface {
    /// Its name. May change; the index does not.
    pub name: String,
    /// Its index in its network namespace.
    pub index: u32,
    /// Its Ethernet address; none on devices that are not Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The longest IP packet it carries, in bytes.
    pub mtu: u32,
    /// What it is.
    pub kind: InterfaceKind,
    /// The driver, where one tells its name.
    pub driver: Option<String>,
    /// Whether it is switched on (`IFF_UP`).
    pub up: bool,
    /// Whether it is switched on and has a carrier (`IFF_RUNNING`).
    pub running: bool,
    /// Of a veth: the index of the other end, and whether that is in this namespace too.
    pub veth_peer: Option<(u32, bool)>,
}

impl Interface {
    /// The interface that has this address. IPv6 link-local addresses can be on several interfaces:
    /// then it is the one with the lowest index.
    ///
    /// # Errors
    /// [`EbpfError::AddressNotLocal`]; [`EbpfError::Netlink`] if the kernel's tables cannot be read.
    pub fn of_address(address: IpAddr) -> Result<Self, EbpfError> {
        let mut requests = open()?;
        let index = index_of_address(&mut requests, address, None)
            .map_err(|source| EbpfError::Netlink { operation: "list the addresses", source })?
            .ok_or(EbpfError::AddressNotLocal { address })?;
        Self::read(&mut requests, index).map_err(|source| missing(source, &index.to_string()))
    }

    /// Whether it has the address now.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`] if the kernel's tables cannot be read.
    pub(crate) fn has_address(&self, address: IpAddr) -> Result<bool, EbpfError> {
        let found = index_of_address(&mut open()?, address, Some(self.index))
            .map_err(|source| EbpfError::Netlink { operation: "list the addresses", source })?;
        Ok(found == Some(self.index))
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`EbpfError::NoSuchInterface`]; [`EbpfError::Netlink`] if the kernel does not answer.
    pub fn by_name(name: &str) -> Result<Self, EbpfError> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(EbpfError::NoSuchInterface { interface: format!("{name:?}") });
        }
        Self::ask(&mut open()?, question).map_err(|source| missing(source, name))
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// [`EbpfError::NoSuchInterface`]; [`EbpfError::Netlink`] if the kernel does not answer.
    pub fn by_index(index: u32) -> Result<Self, EbpfError> {
        Self::read(&mut open()?, index).map_err(|source| missing(source, &index.to_string()))
    }

    /// Its addresses, those that work beyond the link first, IPv4 before IPv6.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`] if the kernel's tables cannot be read.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, EbpfError> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = open()?
            .ask(Shape::Dump, &question)
            .map_err(|source| EbpfError::Netlink { operation: "list the addresses", source })?;
        let mut addresses: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(entry) => Some(entry),
                _ => None,
            })
            .filter(|entry| entry.header.index == self.index)
            .filter_map(own_address)
            .collect();
        let is_link_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        // Stable, so that the kernel's order, oldest first, is kept within each class.
        addresses.sort_by_key(|address| (is_link_local(address), address.is_ipv6()));
        Ok(addresses)
    }

    /// `ENODEV` if there is none.
    pub(super) fn read(requests: &mut Requests, index: u32) -> io::Result<Self> {
        if index == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let mut question = LinkMessage::default();
        question.header.index = index;
        Self::ask(requests, question)
    }

    fn ask(requests: &mut Requests, question: LinkMessage) -> io::Result<Self> {
        let mut interface = Self::from_message(&ask_link(requests, question)?);
        let ethtool = Ethtool { socket: requests, interface: &interface.name };
        interface.driver = ethtool.driver();
        Ok(interface)
    }

    /// All but the driver, which is not part of the message.
    pub(super) fn from_message(link: &LinkMessage) -> Self {
        let mut interface = Self {
            name: String::new(),
            index: link.header.index,
            mac: None,
            mtu: 0,
            kind: match link.header.link_layer_type {
                LinkLayerType::Loopback => InterfaceKind::Loopback,
                _ => InterfaceKind::Physical,
            },
            driver: None,
            up: link.header.flags.contains(LinkFlags::Up),
            running: link.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
            veth_peer: None,
        };
        let (mut other_end, mut same_namespace) = (None, true);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(bytes)
                    if link.header.link_layer_type == LinkLayerType::Ether =>
                {
                    interface.mac = bytes.as_slice().try_into().ok();
                }
                LinkAttribute::Link(index) => other_end = Some(*index),
                LinkAttribute::LinkNetNsId(_) => same_namespace = false,
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            interface.kind = kind_of(kind, link.header.link_layer_type);
                        }
                    }
                }
                _ => {}
            }
        }
        if interface.kind == InterfaceKind::Veth {
            interface.veth_peer = other_end.map(|index| (index, same_namespace));
        }
        interface
    }
}

/// Which interface has the address: the preferred one if it has it, else the one with the lowest index.
pub(crate) fn index_of_address(
    requests: &mut Requests,
    address: IpAddr,
    preferred: Option<u32>,
) -> io::Result<Option<u32>> {
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = requests.ask(Shape::Dump, &question)?;
    let indices = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(entry) if own_address(entry) == Some(address) => {
            Some(entry.header.index)
        }
        _ => None,
    });
    Ok(indices.min_by_key(|&index| (Some(index) != preferred, index)))
}

/// All that the kernel says of one link, without the counters.
pub(crate) fn ask_link(
    requests: &mut Requests,
    mut question: LinkMessage,
) -> io::Result<LinkMessage> {
    question.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = requests.ask(Shape::One, &RouteNetlinkMessage::GetLink(question))?;
    match answers.into_iter().next() {
        Some(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer describes no link")),
    }
}

/// How many frames the interface has sent.
pub(crate) fn transmitted(index: u32) -> io::Result<u64> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let answers = Requests::open()?.ask(Shape::One, &RouteNetlinkMessage::GetLink(question))?;
    let counters = answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => {
            link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Stats64(counters) => Some(counters.tx_packets),
                _ => None,
            })
        }
        _ => None,
    });
    counters.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer has no counters"))
}

fn kind_of(kind: &InfoKind, layer: LinkLayerType) -> InterfaceKind {
    match kind {
        InfoKind::Veth => InterfaceKind::Veth,
        InfoKind::Bridge => InterfaceKind::Bridge,
        InfoKind::Tun if layer == LinkLayerType::Ether => InterfaceKind::Tap,
        InfoKind::Tun => InterfaceKind::Tun,
        other => InterfaceKind::Other(other.to_string()),
    }
}

/// On a point-to-point interface `Address` is the other side's and `Local` is ours; IPv6 has no
/// `Local` elsewhere.
fn own_address(entry: &AddressMessage) -> Option<IpAddr> {
    let local = entry.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        entry.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn open() -> Result<Requests, EbpfError> {
    Requests::open().map_err(|source| EbpfError::Netlink { operation: "open a socket", source })
}

fn missing(source: io::Error, interface: &str) -> EbpfError {
    match source.raw_os_error() {
        Some(libc::ENODEV) => EbpfError::NoSuchInterface { interface: interface.to_owned() },
        _ => EbpfError::Netlink { operation: "read an interface", source },
    }
}
