//! For backends that let a kernel do part of the work: the same socket, drivers and sleeps, with an
//! [`Accelerator`] beside the socket.
//!
//! The kernel settles what it can before it becomes a datagram, and this endpoint takes in the rest.
//! The accelerator says what the kernel did ([`harvest`](Accelerator::harvest)), what to sleep on,
//! when the socket need not be asked, and which datagrams need not be sent. Users of sockets have
//! [`Plain`], which does nothing, and costs nothing.

use std::fmt::Debug;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use electrode_transport::engine::{Engine, Keeper, LocalKeeper, Outbox};
use electrode_transport::rules::Gate;
use electrode_transport::{Capabilities, Counter, GroupConfig, Result, Stats, Time};

/// How somebody sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doze {
    /// Until anything happens, or a timer.
    Deep,
    /// Until something urgent happens, or a timer, which [`Accelerator::next_upkeep`] keeps close: the
    /// rest can wait so long, and need not wake anybody.
    Nap,
}

/// What works beside an endpoint's socket. It lives as long as the endpoint, and is dropped without
/// [`close`](Self::close) only if the endpoint cannot be made.
///
/// Its calls come from any thread, several at once, all but [`harvest`](Self::harvest) possibly after
/// [`close`](Self::close) too. Where it says "under the lock" the engine's lock is held: no system
/// call that could block may be made there.
pub trait Accelerator: Debug + Send + Sync + 'static {
    /// Who keeps a group's state.
    type Keeper: Keeper;

    /// Makes the keeper of a group that is about to be opened. Dropping it ends the group. Under the
    /// lock, so that nobody opens the same group meanwhile.
    ///
    /// # Errors
    /// What stands in the way: the group is not opened then.
    fn keeper(&self, config: &GroupConfig, gate: Gate) -> Result<Self::Keeper>;

    /// Time on the endpoint's clock, which the kernel shares. It never stands at zero and never goes
    /// back.
    fn now(&self) -> Time;

    /// The same moment on the system's monotonic clock, for timers.
    fn instant(&self, time: Time) -> Instant {
        Instant::now() + Duration::from_nanos(time.since_ns(self.now()))
    }

    /// Descriptors beside the socket that are readable as long as there is something to harvest, and
    /// not longer: one that stays readable lets nobody sleep. Asked for once, when the endpoint is
    /// bound; they must stay open until [`close`](Self::close).
    #[cfg(unix)]
    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// Those of the [`descriptors`](Self::descriptors) that end a [`Doze::Nap`] too.
    #[cfg(unix)]
    fn urgent_descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// Whether anything waits to be harvested. Takes no lock and makes no system call.
    #[inline]
    fn is_ripe(&self) -> bool {
        false
    }

    /// Takes in what the kernel did: [`Engine::stir`]s the groups concerned. Also does the backend's
    /// own upkeep if it is due. Under the lock; comes with every drive that has anything to do, also
    /// if nothing is ripe.
    #[inline]
    fn harvest(&self, engine: &mut Engine<Self::Keeper>, now: Time) {
        let _ = (engine, now);
    }

    /// Whether a call on a group has taken in what concerns others too, and nobody told them yet. Takes no
    /// lock and makes no system call.
    #[inline]
    fn owes_news(&self) -> bool {
        false
    }

    /// Tells them: [`Engine::stir`]s the groups concerned. Under the lock, at the end of a call that left
    /// something to tell: who was woken for it may have looked already, and found nothing.
    #[inline]
    fn tell_news(&self, engine: &mut Engine<Self::Keeper>, now: Time) {
        let _ = (engine, now);
    }

    /// When the upkeep is due next, if ever. Takes no lock and makes no system call. A sleeper knows
    /// of it as it stood before the sleep, or after the last call that changed anything since.
    #[inline]
    fn next_upkeep(&self) -> Option<Time> {
        None
    }

    /// Whether the socket may hold a datagram: `false` spares a drive the system call. Datagrams that
    /// no program saw, as over another interface, count too: whoever cannot tell says `true` now and
    /// then. A sleeper that the socket itself has woken does not ask.
    #[inline]
    fn socket_may_have(&self, now: Time) -> bool {
        let _ = now;
        true
    }

    /// The socket was asked, and this many datagrams came; `emptied` if none is left.
    #[inline]
    fn received(&self, count: usize, emptied: bool, now: Time) {
        let _ = (count, emptied, now);
    }

    /// Somebody is about to sleep on socket and descriptors: from now on the kernel must make a
    /// descriptor readable when it has done something, in a nap only if it is urgent. `None` if that
    /// has come about already; then nobody sleeps. Sleepers can be several: each `Some` is followed by
    /// one [`rouse`](Self::rouse) with the same, possibly after [`close`](Self::close).
    #[inline]
    fn doze(&self) -> Option<Doze> {
        Some(Doze::Deep)
    }

    /// One who slept is awake.
    #[inline]
    fn rouse(&self, from: Doze) {
        let _ = from;
    }

    /// Takes out of what is to be sent those copies of a broadcast that the kernel makes itself, out of
    /// another copy that stays. They count as sent all the same. Under the lock.
    #[inline]
    fn thin_out(&self, outbox: &mut Outbox) {
        let _ = outbox;
    }

    /// The system refuses to send to this address, by a firewall or for want of a route: nobody gets the
    /// datagram, nor a copy that the kernel was to make of it. The window sends it again. Under the lock.
    #[inline]
    fn refused(&self, datagram: &[u8], to: SocketAddr) {
        let _ = (datagram, to);
    }

    /// Whether a datagram may leave in one piece with the one before it, which goes to the same address
    /// and is not shorter. The system cuts the piece where it must, and a program on its way meets it
    /// whole: only who knows that program can say so. Under the lock.
    #[inline]
    fn may_join(&self, one: &[u8], next: &[u8]) -> bool {
        let _ = (one, next);
        false
    }

    /// Adds the kernel's counters to the endpoint's.
    #[inline]
    fn stats(&self, into: &mut Stats) {
        let _ = into;
    }

    /// The endpoint's capabilities as they stand, out of a plain socket's.
    #[inline]
    fn capabilities(&self, plain: Capabilities) -> Capabilities {
        plain
    }

    /// The endpoint closes: its groups are closed already, its socket is still open. When this
    /// returns nothing is answered any more. Closing twice is not an error.
    #[inline]
    fn close(&self) {}
}

/// No acceleration: an endpoint over a socket alone.
#[derive(Debug)]
pub struct Plain {
    start: Instant,
    is_fallback: bool,
}

impl Plain {
    pub(crate) fn new(is_fallback: bool) -> Self {
        Self { start: Instant::now(), is_fallback }
    }
}

impl Accelerator for Plain {
    type Keeper = LocalKeeper;

    fn keeper(&self, config: &GroupConfig, _gate: Gate) -> Result<LocalKeeper> {
        Ok(LocalKeeper::new(config.mode, config.log_bytes))
    }

    /// Since the socket was bound. It starts at one: zero is "never" in some places.
    #[inline]
    fn now(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64 + 1)
    }

    #[inline]
    fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_nanos(time.0)
    }

    #[inline]
    fn stats(&self, into: &mut Stats) {
        into.add(Counter::Fallbacks, self.is_fallback.into());
    }
}
