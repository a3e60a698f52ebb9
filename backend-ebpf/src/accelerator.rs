//! What works beside the endpoint's socket: the programs, their rings, and the upkeep of both.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use electrode_backend_socket::accelerate::{Accelerator, Doze};
use electrode_ebpf_abi::{Command, Endpoint, NOBODY, Op, Tick, offload};
use electrode_transport::engine::{Engine, Outbox};
use electrode_transport::rules::Gate;
use electrode_transport::{
    Capabilities, Counter, EndpointConfig, GroupConfig, Result, Stats, Time,
};

use crate::broadcast;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::keeper::KernelKeeper;
use crate::kernel::{Kernel, Rings, Settings};
use crate::nap::Nap;
use crate::net::{Interface, Watch};
use crate::options::EbpfOptions;
use crate::pin::{self, Charter, Start};
use crate::place::{Place, octets};
use crate::preflight;
use crate::shared::{Shared, attached};
use crate::upkeep::{Site, Upkeep, Warden};

/// How long a datagram may lie in the socket that no program has seen: one by another interface.
const ASK_SOCKET_NS: u64 = 1_000_000;

/// How many of this process's threads and tasks are counted on the desk as asleep.
#[derive(Debug, Default)]
struct Dozers {
    deep: u64,
    napping: u64,
    is_closed: bool,
}

impl Dozers {
    const fn of(&mut self, doze: Doze) -> &mut u64 {
        match doze {
            Doze::Deep => &mut self.deep,
            Doze::Nap => &mut self.napping,
        }
    }
}

/// The kernel's side of one endpoint.
#[derive(Debug)]
pub(crate) struct Programs {
    shared: Arc<Shared>,
    upkeep: Upkeep,
    offloads: u32,
    hook: Hook,
    /// Whether batches may leave in one piece.
    segments: bool,
    interface: String,
    descriptors: Vec<RawFd>,
    dozers: Mutex<Dozers>,
    nap: Nap,
    /// How many datagrams the programs had let through when the socket was last seen empty.
    seen: AtomicU64,
    /// When the socket was last asked.
    asked: AtomicU64,
}

impl Programs {
    /// Has the programs loaded and puts them in place on the interface that has the address.
    pub(crate) fn start(
        address: SocketAddr,
        config: &EndpointConfig,
        options: &EbpfOptions,
        load: impl FnOnce(&Settings) -> Result<(Kernel, Rings), EbpfError>,
    ) -> Result<Self, EbpfError> {
        let interface = Interface::of_address(address.ip())?;
        preflight::check(&interface, address, config)?;
        let offloads = options.offload_bits();
        let settings = Settings {
            endpoint: Endpoint {
                address: octets(address.ip()),
                key: config.key.map_or([0; 16], |key| key.0),
                body_len_max: config.body_len_max() as u32,
                port: address.port().to_be_bytes(),
                ipv6: address.is_ipv6().into(),
                keyed: config.key.is_some().into(),
            },
            offloads,
            log_bytes: ring_bytes(options.log_bytes),
            notice_bytes: ring_bytes(1 << 16),
        };
        let resolve = || options.hook.resolve(&interface, address.ip(), config);
        let Start { mut kernel, rings, dormant, hook } = match &options.pin {
            None => {
                let hook = resolve()?;
                Start::unpinned(hook, load(&settings)?)
            }
            Some(folder) => {
                let charter = Charter::new(config, &settings, options.hook);
                pin::start(folder, address, charter, &settings, resolve, load)?
            }
        };
        // Subscribed before the tables are read: nothing is missed in between.
        let watch = Watch::open(interface.index)?;
        let packet_len_max = preflight::packet_len_max(address, config);
        let site = Site { address: address.ip(), packet_len_max };
        // What went before took its time.
        if !interface.has_address(address.ip())? {
            let (address, interface) = (address.ip(), interface.name);
            return Err(EbpfError::AddressMoved { address, interface });
        }
        let attachments = kernel.attach_both(&interface, hook)?;
        let shared = Arc::new(Shared::new(kernel, rings)?);
        shared.state().dormant = dormant;
        shared.mark(attached::INGRESS | attached::EGRESS);
        let warden = Warden::new(&shared, site, hook, watch, attachments)?;
        let upkeep = Upkeep::start(&shared, warden)
            .map_err(|source| EbpfError::Io { operation: "start a thread", source })?;
        let rings = shared.kernel.ring_maps.iter().map(|map| map.fd().as_fd().as_raw_fd());
        let descriptors = [upkeep.mailbox().descriptor()].into_iter().chain(rings).collect();
        Ok(Self {
            shared,
            upkeep,
            offloads,
            hook,
            segments: options.segments && hook == Hook::Tc,
            interface: interface.name,
            descriptors,
            dozers: Mutex::default(),
            nap: Nap::of(options.nap),
            seen: AtomicU64::new(u64::MAX),
            asked: AtomicU64::new(0),
        })
    }

    /// Whether the kernel copies broadcasts.
    fn copies(&self) -> bool {
        self.offloads & offload::BROADCAST != 0 && self.shared.is_attached(attached::EGRESS)
    }

    fn sleepers(&self, doze: Doze) -> &AtomicU64 {
        let desk = &self.shared.kernel.desk;
        match doze {
            Doze::Deep => desk.sleepers(),
            Doze::Nap => desk.nappers(),
        }
    }

    /// `None` once the endpoint is closed: the desk may be a successor's.
    fn dozers(&self) -> Option<MutexGuard<'_, Dozers>> {
        let dozers = self.dozers.lock().unwrap_or_else(PoisonError::into_inner);
        (!dozers.is_closed).then_some(dozers)
    }

    /// Whoever still sleeps is not counted on the desk any more.
    fn wake_for_good(&self) {
        let Some(mut dozers) = self.dozers() else { return };
        dozers.is_closed = true;
        for (doze, count) in [(Doze::Deep, dozers.deep), (Doze::Nap, dozers.napping)] {
            self.sleepers(doze).fetch_sub(count, Ordering::SeqCst);
        }
    }

    /// What both sides of the endpoint share.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where the ingress program is.
    pub(crate) const fn hook(&self) -> Hook {
        self.hook
    }

    /// On which interface; it may have been renamed since.
    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    /// The programs' counters.
    pub(crate) fn ticks(&self) -> Result<[u64; Tick::COUNT], EbpfError> {
        self.shared.kernel.ticks()
    }

    /// Takes in what the warden has found.
    fn take_findings(&self) {
        let findings = self.upkeep.mailbox().take();
        let mut state = self.shared.state();
        for (&number, place) in &mut state.places {
            let changed = findings.apply(place);
            if changed {
                let seating = place.seating(0, NOBODY);
                self.shared.insist(|| self.shared.kernel.seat(number, &seating));
            }
            // Where no program arms the tally as a frame leaves, what was sent counts from now.
            if let Some(lead) = place.leading.filter(|_| changed || findings.unarmed) {
                let vote = u64::from(lead.votes(place.mode));
                let (ballot, last) = (lead.ballot.0, lead.sent.0);
                let command =
                    Command { place: number, ballot, last, first: vote, ..Command::default() };
                self.shared.command(Op::Sending, command);
            }
        }
    }
}

/// The size of a ring: a power of two of at least a page.
fn ring_bytes(wanted: usize) -> u32 {
    u32::try_from(wanted).unwrap_or(1 << 30).clamp(1 << 16, 1 << 30).next_power_of_two()
}

impl Accelerator for Programs {
    type Keeper = KernelKeeper;

    fn keeper(&self, config: &GroupConfig, gate: Gate) -> Result<KernelKeeper> {
        // Nobody's hardware address is known at first: the warden asks for them, and until it has told the
        // socket sends to everybody.
        KernelKeeper::open(&self.shared, config, gate, |_| {})
    }

    /// The kernel's monotonic clock, which is also the programs' own.
    fn now(&self) -> Time {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a local that outlives the call.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.descriptors.clone()
    }

    fn urgent_descriptors(&self) -> Vec<RawFd> {
        // The mailbox is the first of them, the notice ring the last.
        [self.descriptors.first(), self.descriptors.last()].into_iter().flatten().copied().collect()
    }

    fn is_ripe(&self) -> bool {
        self.upkeep.mailbox().is_full() || self.shared.is_ripe()
    }

    fn harvest(&self, engine: &mut Engine<KernelKeeper>, now: Time) {
        let mut state = self.shared.state();
        let stored = state.harvest();
        state.make_up_for(self.shared.kernel.desk.notices_lost());
        self.nap.follow(stored > 0 && state.may_wait(), now);
        drop(state);
        self.tell_news(engine, now);
        if let Some((reason, why)) = self.shared.failure() {
            engine.fail("ebpf", reason, why);
        }
    }

    /// What the warden has found counts too: who only sends and looks, and never drives, must come to have
    /// its broadcasts copied.
    fn owes_news(&self) -> bool {
        self.shared.owes_news() || self.upkeep.mailbox().is_full()
    }

    fn tell_news(&self, engine: &mut Engine<KernelKeeper>, now: Time) {
        if self.upkeep.mailbox().is_full() {
            self.take_findings();
        }
        let news = self.shared.state().take_news();
        for (group, news) in news {
            engine.stir(now, group, news);
        }
    }

    /// At once if the endpoint is broken: whoever sleeps or only drives must hear of it.
    fn next_upkeep(&self) -> Option<Time> {
        if self.shared.is_broken() { Some(Time(1)) } else { self.nap.until() }
    }

    fn socket_may_have(&self, now: Time) -> bool {
        // Where no program looks at what arrives, none counts what it lets through.
        let passed = self.shared.kernel.desk.passed();
        !self.shared.is_attached(attached::INGRESS)
            || passed != self.seen.load(Ordering::Relaxed)
            || now.0 >= self.asked.load(Ordering::Relaxed) + ASK_SOCKET_NS
    }

    fn received(&self, _count: usize, emptied: bool, now: Time) {
        self.asked.store(now.0, Ordering::Relaxed);
        if emptied {
            self.seen.store(self.shared.kernel.desk.passed(), Ordering::Relaxed);
        }
    }

    fn doze(&self) -> Option<Doze> {
        let doze = if self.nap.until().is_some() { Doze::Nap } else { Doze::Deep };
        let mut dozers = self.dozers()?;
        *dozers.of(doze) += 1;
        self.sleepers(doze).fetch_add(1, Ordering::SeqCst);
        drop(dozers);
        let ripe = match doze {
            Doze::Deep => self.is_ripe(),
            Doze::Nap => self.upkeep.mailbox().is_full() || self.shared.is_urgent(),
        };
        if ripe {
            self.rouse(doze);
        }
        (!ripe).then_some(doze)
    }

    fn rouse(&self, from: Doze) {
        if let Some(mut dozers) = self.dozers() {
            *dozers.of(from) -= 1;
            self.sleepers(from).fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn thin_out(&self, outbox: &mut Outbox) {
        if !self.copies() {
            return;
        }
        let state = self.shared.state();
        // Copies of one datagram follow each other, the carrier's before those that are made of it. What is
        // left of an earlier broadcast may be without it: then nobody makes them.
        let mut last: (*const u8, Option<&Place>) = (std::ptr::null(), None);
        let mut is_carried = false;
        outbox.leave_out(|copy| {
            let start = copy.bytes.as_ptr();
            if last.0 != start {
                let group = broadcast::group(copy.bytes);
                last = (start, group.and_then(|group| state.place_of(group)));
                is_carried = false;
            }
            let Some(place) = last.1 else { return false };
            is_carried |= place.is_carrier(copy.to);
            is_carried && place.covers(copy.to)
        });
    }

    fn refused(&self, datagram: &[u8], to: SocketAddr) {
        let state = self.shared.state();
        let place = broadcast::group(datagram).and_then(|group| state.place_of(group));
        if self.copies() && place.is_some_and(|place| place.is_carrier(to)) {
            self.shared.briefing.avoid(to.ip());
        }
    }

    /// Such as the egress program arms the tally for at one look, and a follower's program answers with
    /// one reply: successive slots of one leadership.
    fn may_join(&self, one: &[u8], next: &[u8]) -> bool {
        self.segments && self.copies() && broadcast::continues(one, next)
    }

    fn stats(&self, into: &mut Stats) {
        const SETTLED: [(Tick, Counter); 8] = [
            (Tick::Stored, Counter::RxStored),
            (Tick::Duplicate, Counter::RxDuplicate),
            (Tick::Gap, Counter::RxGap),
            (Tick::Straddle, Counter::RxStraddle),
            (Tick::Probe, Counter::RxProbe),
            (Tick::AckQuorum, Counter::RxAckQuorum),
            (Tick::AckCounted, Counter::RxAckCounted),
            (Tick::AckRepeat, Counter::RxAckRepeat),
        ];
        match self.shared.kernel.ticks() {
            Ok(ticks) => {
                for (tick, counter) in SETTLED {
                    into.add(counter, ticks[tick as usize]);
                }
            }
            Err(error) => tracing::warn!(%error, "the programs' counters cannot be read"),
        }
        let [lost, regained] = self.upkeep.mailbox().counts();
        into.add(Counter::OffloadLost, lost);
        into.add(Counter::OffloadRegained, regained);
    }

    fn capabilities(&self, mut plain: Capabilities) -> Capabilities {
        plain.backend = "ebpf";
        plain.pinned = self.shared.kernel.pins.is_some();
        plain.kernel_broadcast = self.copies();
        let ingress = self.shared.is_attached(attached::INGRESS);
        plain.kernel_acknowledge = ingress && self.offloads & offload::ACKNOWLEDGE != 0;
        plain.kernel_quorum = ingress && self.offloads & offload::QUORUM != 0;
        plain
    }

    fn close(&self) {
        let pins = self.shared.kernel.pins.as_ref();
        if let Some(pins) = pins {
            pins.settle();
        }
        // First: what it puts back in its place would be in the way of taking it away.
        self.upkeep.stop();
        self.wake_for_good();
        if let Some(pins) = pins {
            // From here on there may be a successor, and what is left of earlier groups is its own.
            self.shared.state().dormant.clear();
            pins.close();
        }
    }
}
