//! A harness for backends over UDP on one machine: every datagram goes through a relay that the
//! suite owns, so that faults, the tap and forged datagrams need nothing of the backend.
//!
//! Each node has a face, a socket of the relay. Peers know a node by its face: what they send there
//! is handed on to the node from the *sender's* face. So every membership names a viewer's own bound
//! address and the others' faces, and the source address of a datagram is the claimed member's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::faults::Faults;
use crate::harness::{Link, Origin, SetupError, Tapped};

/// Enough for what a burst leaves while nobody pumps.
const BUFFER_BYTES: usize = 1 << 20;

/// The relay between the nodes of one cluster.
#[derive(Debug)]
pub struct Relay {
    faces: Vec<UdpSocket>,
    stranger: UdpSocket,
    /// Where each node is bound, while it lives.
    bound: Vec<Option<SocketAddr>>,
    faults: Faults,
    tap: Vec<Tapped>,
    buffer: Vec<u8>,
}

impl Relay {
    /// Faces for this many nodes on the loopback interface.
    ///
    /// # Errors
    /// [`SetupError::Io`] if a socket cannot be had.
    pub fn new(nodes: usize, ipv6: bool, seed: u64) -> Result<Self, SetupError> {
        let open = || socket(ipv6).map_err(|source| io_error("bind a relay socket", source));
        Ok(Self {
            faces: (0..nodes).map(|_| open()).collect::<Result<_, _>>()?,
            stranger: open()?,
            bound: vec![None; nodes],
            faults: Faults::new(seed),
            tap: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    /// A node's address as its peers must know it.
    ///
    /// # Errors
    /// [`SetupError::Io`] if the system does not tell.
    pub fn face(&self, node: usize) -> Result<SocketAddr, SetupError> {
        self.faces[node].local_addr().map_err(|source| io_error("read a relay address", source))
    }

    /// The node lives, bound here; or has died.
    pub fn set_bound(&mut self, node: usize, address: Option<SocketAddr>) {
        self.bound[node] = address;
    }

    /// What the link from one node to another does from now on.
    pub fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.faults.set_link(from, to, link);
    }

    /// Everything that has left a node since the last call.
    ///
    /// # Panics
    /// If the system fails a relay socket.
    pub fn take_tap(&mut self) -> Vec<Tapped> {
        self.pump();
        core::mem::take(&mut self.tap)
    }

    /// Delivers bytes to a node past any fault.
    pub fn inject(&self, from: Origin, to: usize, bytes: &[u8]) {
        let socket = match from {
            Origin::Node(node) => &self.faces[node],
            Origin::Stranger => &self.stranger,
        };
        self.deliver(socket, to, bytes);
    }

    /// Hands on what has come and what is due. Whether there was anything.
    ///
    /// # Panics
    /// If the system fails a relay socket.
    pub fn pump(&mut self) -> bool {
        let mut moved = self.release();
        for to in 0..self.faces.len() {
            loop {
                match self.faces[to].recv_from(&mut self.buffer) {
                    Ok((len, source)) => {
                        let bytes = self.buffer[..len].to_vec();
                        self.arrived(source, to, bytes);
                        moved = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Linux reports the port of a dead node so; the next datagram may be fine.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => panic!("a relay socket failed: {error}"),
                }
            }
        }
        moved
    }

    fn arrived(&mut self, source: SocketAddr, to: usize, bytes: Vec<u8>) {
        let Some(from) = self.bound.iter().position(|bound| *bound == Some(source)) else { return };
        self.tap.push(Tapped { from, to: Some(to), bytes: bytes.clone() });
        for _ in 0..self.faults.pass(from, to, &bytes) {
            self.deliver(&self.faces[from], to, &bytes);
        }
    }

    fn release(&mut self) -> bool {
        let due = self.faults.take_due();
        for held in &due {
            self.deliver(&self.faces[held.from], held.to, &held.bytes);
        }
        !due.is_empty()
    }

    /// A datagram that cannot be delivered is a lost one.
    fn deliver(&self, socket: &UdpSocket, to: usize, bytes: &[u8]) {
        if let Some(address) = self.bound[to] {
            let _ = socket.send_to(bytes, address);
        }
    }
}

fn socket(ipv6: bool) -> io::Result<UdpSocket> {
    let any_port = if ipv6 {
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
    } else {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    };
    let socket = UdpSocket::bind(any_port)?;
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}

fn io_error(operation: &'static str, source: io::Error) -> SetupError {
    SetupError::Io { operation, source }
}
