//! Changes of the kernel's network tables, as they happen.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourHeader;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::request::{BUFFER_LEN, messages};
use super::{Interface, Requests};
use crate::error::EbpfError;

/// What is listened to: links, neighbours, and per IP version addresses, routes and rules; nexthop
/// objects.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// Bounds one call of [`Watch::poll`]; the socket stays readable if there is more.
const DATAGRAMS_MAX: usize = 256;

const NETLINK_HEADER_LEN: usize = 16;
/// `include/uapi/linux/rtnetlink.h`; libc has it not.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// Whether an interface can carry frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// On, with a carrier.
    Up,
    /// Switched off, or without a carrier.
    Down,
    /// Deleted, or moved to another network namespace. It never comes back under its index.
    Gone,
}

/// What may differ since the last [`Watch::poll`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Changes {
    /// A neighbour on the interface: read [`NextHops`](super::NextHops) again.
    pub neighbours: bool,
    /// A route, rule or nexthop object on any interface: read [`NextHops`](super::NextHops) again.
    pub routes: bool,
    /// An address of the interface came or went.
    pub addresses: bool,
    /// The interface's name, Ethernet address or MTU: see [`Watch::interface`].
    pub interface: bool,
    /// The interface's new state, if it differs.
    pub link: Option<LinkState>,
    /// There were more changes than the socket could hold, or one that could not be understood. The
    /// marks of what is not known here are all set, and the interface was read again; if the kernel did
    /// not let it be read either, that is tried again at the next call, and this is set again.
    pub overrun: bool,
}

impl Changes {
    /// Whether there is anything.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Listens to changes that matter to one interface.
///
/// Opened in the network namespace where the interface is, it can be used from any thread.
#[derive(Debug)]
pub struct Watch {
    pub(super) socket: Socket,
    requests: Requests,
    interface: Interface,
    state: LinkState,
    /// It could not be read when it had to be.
    unread: bool,
    buffer: Vec<u8>,
}

impl AsFd for Watch {
    /// Readable when [`Watch::poll`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Watch {
    /// Subscribes, then reads the interface: no change after this is missed. Needs no privileges.
    ///
    /// # Errors
    /// [`EbpfError::NoSuchInterface`]; [`EbpfError::Netlink`] if no socket can be opened.
    pub fn open(index: u32) -> Result<Self, EbpfError> {
        let failed = |operation| move |source| EbpfError::Netlink { operation, source };
        let socket = subscribe().map_err(failed("subscribe to changes"))?;
        let mut requests = Requests::open().map_err(failed("open a socket"))?;
        let interface = Interface::read(&mut requests, index).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::ENODEV) => EbpfError::NoSuchInterface { interface: index.to_string() },
                _ => failed("read an interface")(source),
            }
        })?;
        let state = state_of(&interface);
        let buffer = vec![0; BUFFER_LEN];
        Ok(Self { socket, requests, interface, state, unread: false, buffer })
    }

    /// The interface as last seen.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Its state as last seen.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// What has changed since the last call. Never blocks.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`] if the socket is broken.
    pub fn poll(&mut self) -> Result<Changes, EbpfError> {
        let before = self.state;
        let mut changes = Changes { overrun: self.unread, ..Changes::default() };
        for _ in 0..DATAGRAMS_MAX {
            match self.socket.recv_from(&mut self.buffer.as_mut_slice(), libc::MSG_TRUNC) {
                Ok((_, from)) if from.port_number() != 0 => {} // Not from the kernel.
                Ok((len, _)) if len <= self.buffer.len() => {
                    let datagram = self.buffer[..len].to_vec();
                    for message in messages(&datagram) {
                        self.handle(message, &mut changes);
                    }
                }
                Ok(_) => changes.overrun = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changes.overrun = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(EbpfError::Netlink { operation: "read changes", source });
                }
            }
        }
        if changes.overrun {
            changes = Changes { neighbours: true, routes: true, addresses: true, ..changes };
            self.read_again(&mut changes);
        }
        changes.link = Some(self.state).filter(|state| *state != before);
        Ok(changes)
    }

    fn handle(&mut self, message: &[u8], changes: &mut Changes) {
        let (header, body) = message.split_at(NETLINK_HEADER_LEN);
        match u16::from_ne_bytes([header[4], header[5]]) {
            libc::RTM_NEWROUTE
            | libc::RTM_DELROUTE
            | libc::RTM_NEWRULE
            | libc::RTM_DELRULE
            | RTM_NEWNEXTHOP
            | RTM_DELNEXTHOP => changes.routes = true,
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => match NeighbourHeader::parse(body) {
                // Bridges tell of their forwarding tables in the same words.
                Ok(entry) if matches!(entry.family, AddressFamily::Inet | AddressFamily::Inet6) => {
                    changes.neighbours |= entry.ifindex == self.interface.index;
                }
                Ok(_) => {}
                Err(_) => changes.overrun = true,
            },
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                // `struct ifaddrmsg` ends with the interface's index.
                let index = body.get(4..8).and_then(|bytes| bytes.try_into().ok());
                changes.addresses |= index == Some(self.interface.index.to_ne_bytes());
            }
            kind @ (libc::RTM_NEWLINK | libc::RTM_DELLINK) => {
                self.handle_link(kind == libc::RTM_DELLINK, body, changes);
            }
            _ => {}
        }
    }

    fn handle_link(&mut self, deleted: bool, body: &[u8], changes: &mut Changes) {
        // `struct ifinfomsg`: the family is the first byte, the index the second word. A bridge tells
        // of a port that leaves it as of a deleted link, of its own family.
        let ours = body.get(4..8).is_some_and(|index| index == self.interface.index.to_ne_bytes())
            && body[0] == libc::AF_UNSPEC as u8;
        if !ours {
            return;
        }
        if deleted {
            self.state = LinkState::Gone;
            return;
        }
        match LinkMessage::parse(body) {
            Ok(link) => {
                let driver = self.interface.driver.take();
                let now = Interface { driver, ..Interface::from_message(&link) };
                self.take(now, changes);
            }
            Err(_) => changes.overrun = true,
        }
    }

    fn take(&mut self, now: Interface, changes: &mut Changes) {
        let last = &self.interface;
        changes.interface |= (&last.name, last.mac, last.mtu) != (&now.name, now.mac, now.mtu);
        // After a deletion the kernel may still tell of the last changes before it.
        if self.state != LinkState::Gone {
            self.state = state_of(&now);
        }
        self.interface = now;
    }

    fn read_again(&mut self, changes: &mut Changes) {
        let found = Interface::read(&mut self.requests, self.interface.index);
        self.unread = false;
        match found {
            Ok(now) => self.take(now, changes),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                self.state = LinkState::Gone;
            }
            Err(_) => self.unread = true,
        }
    }
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

fn state_of(interface: &Interface) -> LinkState {
    if interface.running { LinkState::Up } else { LinkState::Down }
}
