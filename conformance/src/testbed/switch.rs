//! The switch of a [`TapBed`](super::TapBed): it holds the wire's end of every TAP device.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::frame::{self, Datagram};
use super::host::Host;
use super::system::{self, io_error};
use crate::faults::Faults;
use crate::harness::{Link, SetupError};

/// Where datagrams go that only make hosts know each other (RFC 863).
const DISCARD: u16 = 9;
/// How long hosts may take to find each other. The kernel asks three times, a second apart; where the
/// table of neighbours is full of others' it makes room after five seconds.
const WARM_UP_MAX: Duration = Duration::from_secs(20);
const WARM_UP_AGAIN: Duration = Duration::from_millis(200);
/// Bounds of one pump, should somebody send without end.
const ROUNDS_MAX: usize = 64;
const FRAMES_MAX: usize = 1_024;

/// One UDP datagram that left a host, before any fault touched it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Which host sent it.
    pub from: usize,
    /// Which host has both the MAC and the IP address that it is for, if one has.
    pub to: Option<usize>,
    /// The address that it says it is from.
    pub source: SocketAddr,
    /// The address that it is for.
    pub destination: SocketAddr,
    /// Whether its checksums are as a receiver needs them.
    pub checksums_right: bool,
    /// The datagram.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Port {
    tap: OwnedFd,
    mac: [u8; 6],
    /// Sockets in the host for the warm-up, one a family.
    discard: [UdpSocket; 2],
}

/// Forwards frames between hosts by their MAC addresses; what is for all goes to all. Only UDP
/// meets the faults of the links: neighbours find each other whatever happens.
#[derive(Debug)]
pub struct Switch {
    ports: Vec<Port>,
    faults: Faults,
    watched: Option<u16>,
    passed: Vec<Passed>,
    buffer: Vec<u8>,
}

impl Switch {
    pub(super) fn new(hosts: &[Host], taps: Vec<OwnedFd>, seed: u64) -> Result<Self, SetupError> {
        let mut ports = Vec::new();
        for (host, tap) in hosts.iter().zip(taps) {
            let open = || Ok([discard_socket(host, false)?, discard_socket(host, true)?]);
            let discard = host.within(open)?.map_err(|source: io::Error| {
                io_error("bind a socket at a host's own address", source)
            })?;
            ports.push(Port { tap, mac: host.mac(), discard });
        }
        Ok(Self {
            ports,
            faults: Faults::new(seed),
            watched: None,
            passed: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    /// Forgets links, what is held back, what was seen and what waits to be forwarded.
    ///
    /// # Panics
    /// As [`pump`](Self::pump).
    pub fn reset(&mut self, seed: u64) {
        self.faults = Faults::new(seed);
        for from in 0..self.ports.len() {
            while self.read(from).is_some() {}
        }
        self.watched = None;
        self.passed.clear();
    }

    /// What UDP meets from one host to another from now on.
    pub fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.faults.set_link(from, to, link);
    }

    /// From now on keeps a copy of every datagram with this source port that leaves a host.
    pub const fn watch(&mut self, port: u16) {
        self.watched = Some(port);
    }

    /// What was kept since the last call, in the order of leaving for each host.
    pub fn take_passed(&mut self) -> Vec<Passed> {
        core::mem::take(&mut self.passed)
    }

    /// Forwards whatever hosts have sent, and what their kernels answer to that, until nothing
    /// moves any more. Whether anything did.
    ///
    /// # Panics
    /// If a TAP device fails.
    pub fn pump(&mut self) -> bool {
        for held in self.faults.take_due() {
            self.inject_frame(held.to, &held.bytes);
        }
        let mut moved = false;
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                return moved;
            }
            moved = true;
        }
        moved
    }

    /// Sleeps until a host sends, at most this long.
    ///
    /// # Panics
    /// If the system cannot wait.
    pub fn wait(&self, max: Duration) {
        let taps = self.ports.iter().map(|port| &port.tap);
        system::wait_readable(taps, max).expect("TAP devices can be waited for");
    }

    fn round(&mut self) -> bool {
        let mut moved = false;
        for from in 0..self.ports.len() {
            for _ in 0..FRAMES_MAX {
                let Some(len) = self.read(from) else { break };
                let frame = self.buffer[..len].to_vec();
                self.forward(from, &frame);
                moved = true;
            }
        }
        moved
    }

    fn read(&mut self, from: usize) -> Option<usize> {
        system::read_frame(&self.ports[from].tap, &mut self.buffer)
            .unwrap_or_else(|error| panic!("the TAP device of host {from} failed: {error}"))
    }

    fn forward(&mut self, from: usize, frame: &[u8]) {
        let Some((mac, to_all)) = frame::destination(frame) else { return };
        let owner = self.ports.iter().position(|port| port.mac == mac);
        let datagram = Datagram::parse(frame);
        if let Some(datagram) = datagram
            && self.watched == Some(datagram.source.port())
        {
            self.keep(from, owner, datagram);
        }
        for to in (0..self.ports.len()).filter(|&to| to != from && (to_all || Some(to) == owner)) {
            let copies = if datagram.is_some() { self.faults.pass(from, to, frame) } else { 1 };
            for _ in 0..copies {
                self.inject_frame(to, frame);
            }
        }
    }

    fn keep(&mut self, from: usize, owner: Option<usize>, datagram: Datagram<'_>) {
        let Datagram { source, destination, bytes, checksums_right } = datagram;
        let to = owner.filter(|&to| self.address(to, destination.is_ipv6()) == destination.ip());
        let bytes = bytes.to_vec();
        self.passed.push(Passed { from, to, source, destination, checksums_right, bytes });
    }

    fn address(&self, host: usize, ipv6: bool) -> std::net::IpAddr {
        let socket = &self.ports[host].discard[usize::from(ipv6)];
        socket.local_addr().expect("the socket is bound").ip()
    }

    /// Delivers a frame to a host past any fault, and before what is still to be forwarded. One that
    /// its kernel does not take is lost. When this returns the kernel has dealt with it.
    pub fn inject_frame(&self, to: usize, frame: &[u8]) {
        let _ = system::write_frame(&self.ports[to].tap, frame);
    }

    /// Delivers a datagram to a host's MAC and to this address, as if host `from`'s device had sent
    /// it from `source`, with right checksums. It may be longer than the MTU.
    ///
    /// # Panics
    /// If the addresses are of two families or the bytes do not fit a datagram.
    pub fn inject(
        &self,
        from: usize,
        source: SocketAddr,
        to: usize,
        destination: SocketAddr,
        bytes: &[u8],
    ) {
        let macs = [self.ports[from].mac, self.ports[to].mac];
        self.inject_frame(to, &frame::forge(macs, [source, destination], bytes));
    }

    /// Has the first host of every pair find the second, as the first datagram to it would. Links must
    /// be clean.
    ///
    /// The kernel keeps the neighbours of all namespaces of a machine in one table a family, of 1,024
    /// entries unless `net.ipv4.neigh.default.gc_thresh3` says otherwise: so not everybody can know
    /// everybody in a bed of more than about 30 hosts.
    ///
    /// # Errors
    /// [`SetupError::Io`] if they do not within 20 seconds.
    ///
    /// # Panics
    /// As [`pump`](Self::pump).
    pub fn warm_up(
        &mut self,
        pairs: impl IntoIterator<Item = (usize, usize)>,
        ipv6: bool,
    ) -> Result<(), SetupError> {
        self.take_discarded(ipv6);
        let mut missing: BTreeSet<_> = pairs.into_iter().collect();
        let started = Instant::now();
        while !missing.is_empty() {
            if started.elapsed() > WARM_UP_MAX {
                let (count, first) = (missing.len(), missing.first());
                let why = format!("{count} pairs do not, {first:?} for one; is the table full?");
                let source = io::Error::other(why);
                let operation = "have hosts reach each other";
                return Err(SetupError::Io { operation, source });
            }
            for &(from, to) in &missing {
                let target = SocketAddr::new(self.address(to, ipv6), DISCARD);
                // The host's address tells who it was; what cannot leave yet is sent again.
                let _ = self.ports[from].discard[usize::from(ipv6)].send_to(&[0], target);
            }
            let again = Instant::now() + WARM_UP_AGAIN;
            while !missing.is_empty() && Instant::now() < again {
                self.pump();
                for pair in self.take_discarded(ipv6) {
                    missing.remove(&pair);
                }
                if !missing.is_empty() {
                    self.wait(Duration::from_millis(5));
                }
            }
        }
        Ok(())
    }

    /// Who has reached whom.
    fn take_discarded(&self, ipv6: bool) -> Vec<(usize, usize)> {
        let mut reached = Vec::new();
        for (to, port) in self.ports.iter().enumerate() {
            while let Ok((_, source)) = port.discard[usize::from(ipv6)].recv_from(&mut [0]) {
                let from =
                    (0..self.ports.len()).find(|&host| self.address(host, ipv6) == source.ip());
                reached.extend(from.map(|from| (from, to)));
            }
        }
        reached
    }
}

fn discard_socket(host: &Host, ipv6: bool) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(host.address(ipv6, DISCARD))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
