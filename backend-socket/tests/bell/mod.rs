//! A kernel made of atomics: it has done something when it is rung.
#![allow(unreachable_pub, reason = "a folder that a target includes")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use electrode_backend_socket::accelerate::{Accelerator, Doze};
use electrode_backend_socket::{SocketEndpoint, SocketHost, SocketOptions};
use electrode_transport::engine::{Engine, GroupHandle, LocalKeeper, News, Outbox};
use electrode_transport::rules::Gate;
use electrode_transport::wire::{DESTINATION_ALL, Header};
use electrode_transport::{
    Capabilities, Counter, GroupConfig, GroupId, Obstacle, Result, Stats, Time, TransportError,
};

use crate::cluster::{GROUP, config};

pub type BellTransport = GroupHandle<SocketHost<Bell>>;

#[derive(Debug)]
pub struct Bell {
    start: Instant,
    local: SocketAddr,
    /// What is slept on, and what makes it readable.
    descriptor: UnixStream,
    clapper: UnixStream,
    ripe: AtomicBool,
    /// Rings at the next doze, as if just before.
    late: AtomicBool,
    /// Sleepers now.
    pub dozing: AtomicUsize,
    /// How often what was ripe was taken in.
    pub harvested: AtomicU64,
    /// The socket holds nothing, says the kernel.
    pub silent: AtomicBool,
    /// How often the socket was asked.
    pub asked: AtomicU64,
    /// To whom broadcasts are sent; the others get copies.
    pub carrier: Mutex<Option<SocketAddr>>,
    /// In nanoseconds; zero for never.
    upkeep_every: AtomicU64,
    upkeep_at: AtomicU64,
    pub upkeeps: AtomicU64,
    /// Whether the port was still the endpoint's when it closed.
    pub bound_when_closed: Mutex<Option<bool>>,
}

/// An endpoint on loopback with a bell beside its socket.
pub fn bound(node: u64) -> SocketEndpoint<Bell> {
    let config = config(node, Ipv4Addr::LOCALHOST.into());
    SocketEndpoint::bind_with(config, SocketOptions::default(), |local, socket| {
        assert!(socket.as_raw_fd() >= 0 && local.port() != 0);
        Ok(Bell::new(local))
    })
    .unwrap()
}

impl Bell {
    fn new(local: SocketAddr) -> Self {
        let (descriptor, clapper) = UnixStream::pair().unwrap();
        descriptor.set_nonblocking(true).unwrap();
        Self {
            start: Instant::now(),
            local,
            descriptor,
            clapper,
            ripe: AtomicBool::new(false),
            late: AtomicBool::new(false),
            dozing: AtomicUsize::new(0),
            harvested: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            carrier: Mutex::new(None),
            upkeep_every: AtomicU64::new(0),
            upkeep_at: AtomicU64::new(0),
            upkeeps: AtomicU64::new(0),
            bound_when_closed: Mutex::new(None),
        }
    }

    /// The kernel has done something; it wakes whoever asked for it.
    pub fn ring(&self) {
        self.ripe.store(true, SeqCst);
        if self.dozing.load(SeqCst) > 0 {
            (&self.clapper).write_all(&[0]).unwrap();
        }
    }

    /// It does something just before the next sleeper asks to be woken.
    pub fn ring_unless_asleep_at_the_next_doze(&self) {
        self.late.store(true, SeqCst);
    }

    pub fn keep_up_every(&self, time: Duration) {
        self.upkeep_at.store(self.now().0, SeqCst);
        self.upkeep_every.store(time.as_nanos() as u64, SeqCst);
    }
}

impl Accelerator for Bell {
    type Keeper = LocalKeeper;

    fn keeper(&self, config: &GroupConfig, gate: Gate) -> Result<LocalKeeper> {
        assert_eq!(gate.incarnation, config.membership.incarnation());
        if config.group == GroupId(9) {
            return Err(TransportError::Unavailable {
                backend: "bell",
                reason: Obstacle::Limit,
                why: "no ninth".into(),
            });
        }
        Ok(LocalKeeper::new(config.mode, config.log_bytes))
    }

    fn now(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64 + 77)
    }

    fn descriptors(&self) -> Vec<RawFd> {
        vec![self.descriptor.as_raw_fd()]
    }

    fn is_ripe(&self) -> bool {
        self.ripe.load(SeqCst)
    }

    fn harvest(&self, engine: &mut Engine<LocalKeeper>, now: Time) {
        if self.ripe.swap(false, SeqCst) {
            while (&self.descriptor).read(&mut [0; 64]).is_ok() {}
            self.harvested.fetch_add(1, SeqCst);
            engine.stir(now, GROUP, News { log: true, ..News::default() });
        }
        if self.next_upkeep().is_some_and(|due| due <= now) {
            self.upkeeps.fetch_add(1, SeqCst);
            self.upkeep_at.store(now.0 + self.upkeep_every.load(SeqCst), SeqCst);
        }
    }

    fn next_upkeep(&self) -> Option<Time> {
        (self.upkeep_every.load(SeqCst) > 0).then(|| Time(self.upkeep_at.load(SeqCst)))
    }

    fn socket_may_have(&self, _now: Time) -> bool {
        !self.silent.load(SeqCst)
    }

    fn received(&self, count: usize, emptied: bool, _now: Time) {
        assert!(emptied || count > 0, "loopback has no passing errors");
        self.asked.fetch_add(1, SeqCst);
    }

    fn doze(&self) -> Option<Doze> {
        if self.late.swap(false, SeqCst) {
            self.ring();
        }
        self.dozing.fetch_add(1, SeqCst);
        if self.is_ripe() {
            self.dozing.fetch_sub(1, SeqCst);
            return None;
        }
        Some(Doze::Deep)
    }

    fn rouse(&self, _from: Doze) {
        assert!(self.dozing.fetch_sub(1, SeqCst) > 0, "only who sleeps is roused");
    }

    fn thin_out(&self, outbox: &mut Outbox) {
        let Some(carrier) = *self.carrier.lock().unwrap() else { return };
        outbox.leave_out(|copy| {
            let (header, _) = Header::decode(copy.bytes).unwrap();
            header.destination == DESTINATION_ALL && carrier != copy.to
        });
    }

    fn stats(&self, into: &mut Stats) {
        into.add(Counter::RxStored, 1_000);
    }

    fn capabilities(&self, plain: Capabilities) -> Capabilities {
        assert_eq!(plain.backend, "socket");
        let mut capabilities = plain;
        capabilities.backend = "bell";
        capabilities
    }

    fn close(&self) {
        let mut bound = self.bound_when_closed.lock().unwrap();
        bound.get_or_insert_with(|| UdpSocket::bind(self.local).is_err());
    }
}
