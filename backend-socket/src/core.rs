//! What handles and drivers share: the engine, the socket, and who sleeps on it.
//!
//! Locks, in this order: `receiver`, `state`, `socket`. No system call that could block is made under
//! the first two, and no task is woken under any. A thread that sleeps holds only `socket`, for
//! reading; [`Core::close`] ends its sleep and then takes the socket away.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use electrode_transport::engine::{Engine, Transmit, WakeList};
use electrode_transport::{Counter, EndpointConfig, Result, Time, TransportError};

use crate::accelerate::{Accelerator, Doze};
use crate::driver::Driver;
use crate::net::{Kick, ReceiveBatch, SendBatch, Socket, Watch};

/// No timer is set.
const NEVER: u64 = u64::MAX;
/// Nobody sleeps: no deadline is earlier.
const AWAKE: u64 = 0;

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Core<A: Accelerator> {
    receiver: Mutex<ReceiveBatch>,
    state: Mutex<State<A>>,
    socket: RwLock<Option<Socket>>,
    /// The accelerator's descriptors, if it has any.
    watch: Option<Watch>,
    /// The urgent ones.
    nap_watch: Option<Watch>,
    accelerator: A,
    /// The engine's next timer as of the last call: a drive that takes nothing in looks here and
    /// leaves the engine alone.
    next_timeout: AtomicU64,
    /// The system's send buffer is full and datagrams wait in the outbox.
    blocked: AtomicBool,
    /// Threads in `wait`.
    pub(crate) waiter: Sleeper,
    /// The driver's thread or task.
    pub(crate) driver: Driver,
    subject: String,
}

#[derive(Debug)]
struct State<A: Accelerator> {
    engine: Engine<A::Keeper>,
    sender: SendBatch,
}

/// Somebody who sleeps until a moment, unless kicked.
#[derive(Debug)]
pub(crate) struct Sleeper {
    kick: Kick,
    until: AtomicU64,
    /// The last sleep ended with one datagram and no more: the next thing to do is most likely to
    /// sleep again, so the look beforehand is left out. It is a system call.
    lone: AtomicBool,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { kick: Kick::new()?, until: AtomicU64::new(AWAKE), lone: AtomicBool::new(false) })
    }
}

/// How a drive went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driven {
    /// Datagrams taken in.
    pub(crate) received: usize,
    /// The socket was seen empty, or not asked.
    pub(crate) emptied: bool,
    /// The accelerator had something.
    pub(crate) harvested: bool,
}

impl Driven {
    /// Whether anything had happened.
    pub(crate) const fn is_news(&self) -> bool {
        self.received > 0 || self.harvested
    }
}

/// Whether a drive asks the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// It has something, or may have: somebody saw it readable.
    Surely,
    /// If the accelerator thinks that it may have something.
    Perhaps,
}

impl Ask {
    pub(crate) const fn surely_if(readable: bool) -> Self {
        if readable { Self::Surely } else { Self::Perhaps }
    }
}

impl<A: Accelerator> Core<A> {
    pub(crate) fn new(socket: Socket, config: EndpointConfig, accelerator: A) -> Result<Self> {
        let subject = config.bind.to_string();
        let datagram_len_max = config.datagram_len_max;
        let io = |operation| {
            let subject = subject.clone();
            move |source| TransportError::Io { operation, subject, source }
        };
        let waiter = Sleeper::new().map_err(io("eventfd"))?;
        let driver = Driver::new().map_err(io("eventfd"))?;
        let (watch, nap_watch) = watches(&accelerator).map_err(io("epoll"))?;
        let state = State { engine: Engine::new(config)?, sender: SendBatch::new() };
        Ok(Self {
            receiver: Mutex::new(ReceiveBatch::new(datagram_len_max)),
            state: Mutex::new(state),
            socket: RwLock::new(Some(socket)),
            watch,
            nap_watch,
            accelerator,
            next_timeout: AtomicU64::new(NEVER),
            blocked: AtomicBool::new(false),
            waiter,
            driver,
            subject,
        })
    }

    /// Time on the endpoint's clock.
    fn now(&self) -> Time {
        self.accelerator.now()
    }

    pub(crate) const fn accelerator(&self) -> &A {
        &self.accelerator
    }

    pub(crate) const fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// A panic under the lock may have left the engine between two states. An endpoint that might
    /// acknowledge what it has not stored must fall silent instead.
    fn state(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.engine.close_all();
            state
        })
    }

    /// As [`Host::with`](electrode_transport::engine::Host::with).
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>, Time) -> R) -> R {
        let mut state = self.state();
        let result = call(&mut state.engine, self.now());
        let wakes = self.settle(&mut state);
        drop(state);
        wakes.wake();
        result
    }

    /// As [`Host::look`](electrode_transport::engine::Host::look).
    pub(crate) fn look<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>, Time) -> R) -> R {
        self.read(|engine| call(engine, self.now()))
    }

    /// As [`Host::read`](electrode_transport::engine::Host::read).
    pub(crate) fn read<R>(&self, call: impl FnOnce(&mut Engine<A::Keeper>) -> R) -> R {
        let mut state = self.state();
        let result = call(&mut state.engine);
        if self.accelerator.owes_news() {
            let wakes = self.settle(&mut state);
            drop(state);
            wakes.wake();
        }
        result
    }

    /// Sends what a call left behind, and tells sleepers of a new timer.
    fn settle(&self, state: &mut State<A>) -> WakeList {
        if self.accelerator.owes_news() {
            self.accelerator.tell_news(&mut state.engine, self.now());
        }
        self.flush(state);
        let timeout = state.engine.poll_timeout().map_or(NEVER, |due| due.0);
        self.next_timeout.store(timeout, Ordering::Relaxed);
        let due = self.accelerator.next_upkeep().map_or(timeout, |upkeep| timeout.min(upkeep.0));
        self.waiter.hasten(due);
        self.driver.hasten(due);
        state.engine.take_wakes()
    }

    /// The next timer, the engine's or the accelerator's.
    fn due(&self, engine: &Engine<A::Keeper>) -> Option<Time> {
        [engine.poll_timeout(), self.accelerator.next_upkeep()].into_iter().flatten().min()
    }

    fn flush(&self, state: &mut State<A>) {
        let State { engine, sender } = state;
        if engine.outbox().is_empty() {
            return;
        }
        self.accelerator.thin_out(engine.outbox());
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = socket.as_ref() else { return };
        let mut blocked = false;
        // What an earlier datagram met on its way may be reported to a later one, once.
        let mut retried = false;
        while !engine.outbox().is_empty() {
            engine.stats().add(Counter::SyscallsSend, 1);
            let may_join = |one: &[u8], next: &[u8]| self.accelerator.may_join(one, next);
            match sender.send(socket, engine.outbox().iter(), may_join) {
                Ok(sent) => {
                    engine.outbox().advance(sent);
                    retried = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    blocked = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !retried => {
                    retried = true;
                }
                Err(error) => {
                    if let Some(Transmit { to, bytes }) = engine.outbox().iter().next() {
                        tracing::debug!(%to, %error, "a datagram was refused by the system");
                        if is_about_the_peer(&error) {
                            self.accelerator.refused(bytes, to);
                        }
                    }
                    engine.outbox().advance(1);
                    engine.stats().add(Counter::TxErrors, 1);
                    retried = false;
                }
            }
        }
        if self.blocked.swap(blocked, Ordering::Relaxed) != blocked && blocked {
            self.waiter.hasten(AWAKE);
            self.driver.hasten(AWAKE);
        }
        engine.flushed();
    }

    /// Takes in one batch of what has arrived, and what the accelerator has, answers it, and does
    /// what is due. Never blocks.
    pub(crate) fn drive_once(&self, ask: Ask) -> Result<Driven> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let received = self.receive(&mut receiver, ask, now)?;
        let emptied = received.is_none_or(|received| received < ReceiveBatch::CAPACITY);
        let received = received.unwrap_or(0);
        let harvested = self.accelerator.is_ripe();
        let driven = Driven { received, emptied, harvested };
        if !driven.is_news() && !self.is_due(now) {
            return Ok(driven);
        }
        let mut state = self.state();
        if state.engine.is_closed() {
            return Err(state.engine.ended());
        }
        let engine = &mut state.engine;
        if received > 0 {
            engine.stats().add(Counter::SyscallsReceive, 1);
            for (from, datagram) in receiver.datagrams() {
                match datagram {
                    Some(datagram) => engine.handle_datagram(now, from, datagram),
                    None => engine.stats().add(Counter::RxLength, 1),
                }
            }
        }
        self.accelerator.harvest(engine, now);
        engine.handle_timeout(now);
        let wakes = self.settle(&mut state);
        drop(state);
        drop(receiver);
        wakes.wake();
        Ok(driven)
    }

    /// How many datagrams came; `None` if the socket was not asked.
    fn receive(&self, receiver: &mut ReceiveBatch, ask: Ask, now: Time) -> Result<Option<usize>> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or(TransportError::Closed)?;
        if ask == Ask::Perhaps && !self.accelerator.socket_may_have(now) {
            return Ok(None);
        }
        match receiver.receive(socket) {
            Ok(received) => {
                self.accelerator.received(received, received < ReceiveBatch::CAPACITY, now);
                Ok(Some(received))
            }
            Err(error) if crate::net::is_passing(&error) => {
                self.accelerator.received(0, error.kind() == io::ErrorKind::WouldBlock, now);
                Ok(Some(0))
            }
            Err(error) => Err(self.io("receive", error)),
        }
    }

    fn io(&self, operation: &'static str, source: io::Error) -> TransportError {
        TransportError::Io { operation, subject: self.subject.clone(), source }
    }

    fn is_due(&self, now: Time) -> bool {
        let timeout = self.next_timeout.load(Ordering::Relaxed);
        let due = self.accelerator.next_upkeep().map_or(timeout, |upkeep| timeout.min(upkeep.0));
        self.blocked.load(Ordering::Relaxed) || due != NEVER && due <= now.0
    }

    /// As [`TransportCore::drive`](electrode_transport::TransportCore::drive).
    pub(crate) fn drive(&self) -> Result<()> {
        // A flood must not keep the caller for ever.
        const ROUNDS_MAX: usize = 8;
        for _ in 0..ROUNDS_MAX {
            if self.drive_once(Ask::Perhaps)?.emptied {
                break;
            }
        }
        Ok(())
    }

    /// As [`TransportCore::wait`](electrode_transport::TransportCore::wait), for one of the sleepers.
    pub(crate) fn wait(&self, sleeper: &Sleeper, max: Option<Duration>) -> Result<()> {
        if !sleeper.lone.load(Ordering::Relaxed) && self.drive_once(Ask::Perhaps)?.is_news() {
            return Ok(());
        }
        let mut ask = Ask::Perhaps;
        if let Some(timeout) = self.prepare_sleep(sleeper, max)? {
            let readable = self.sleep(sleeper, timeout);
            sleeper.until.store(AWAKE, Ordering::Relaxed);
            ask = Ask::surely_if(readable?);
        }
        let driven = self.drive_once(ask)?;
        sleeper.lone.store(driven.received == 1 && !driven.harvested, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the socket was seen readable.
    fn sleep(&self, sleeper: &Sleeper, timeout: Option<Duration>) -> Result<bool> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or(TransportError::Closed)?;
        let Some(doze) = self.accelerator.doze() else { return Ok(false) };
        let watch = match doze {
            Doze::Deep => self.watch.as_ref(),
            Doze::Nap => self.nap_watch.as_ref(),
        };
        let to_send = self.blocked.load(Ordering::Relaxed);
        let slept = socket.sleep(&sleeper.kick, watch, to_send, timeout);
        self.accelerator.rouse(doze);
        slept.map_err(|error| self.io("poll", error))
    }

    /// Announces a sleep under the lock, so that whoever sets an earlier timer afterwards kicks.
    /// `None` if something is due now; otherwise for how long to sleep at most.
    fn prepare_sleep(
        &self,
        sleeper: &Sleeper,
        max: Option<Duration>,
    ) -> Result<Option<Option<Duration>>> {
        let state = self.state();
        if state.engine.is_closed() {
            return Err(state.engine.ended());
        }
        let now = self.now();
        let limit = max.map(|max| now.after_ns(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)));
        let due = [self.due(&state.engine), limit].into_iter().flatten().min();
        match due {
            None => {
                sleeper.until.store(NEVER, Ordering::Relaxed);
                Ok(Some(None))
            }
            Some(due) if due > now => {
                sleeper.until.store(due.0, Ordering::Relaxed);
                Ok(Some(Some(Duration::from_nanos(due.since_ns(now)))))
            }
            Some(_) => Ok(None),
        }
    }

    /// The next timer, announced as what the driver's task sleeps until. `None` once closed.
    pub(crate) fn announce_driver_sleep(&self) -> Option<DriverSleep> {
        let state = self.state();
        if state.engine.is_closed() {
            return None;
        }
        let until = self.due(&state.engine);
        self.driver.sleeps_until(until.map_or(NEVER, |until| until.0));
        Some(DriverSleep { until, to_send: self.blocked.load(Ordering::Relaxed) })
    }

    /// Wakes every waiting task: its driver has gone.
    pub(crate) fn wake_all(&self) {
        let mut state = self.state();
        state.engine.wake_all();
        let wakes = state.engine.take_wakes();
        drop(state);
        wakes.wake();
    }

    pub(crate) fn with_socket<R>(&self, call: impl FnOnce(&Socket) -> R) -> Option<R> {
        self.socket.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(call)
    }

    /// Closes every group, the accelerator and the socket. When it returns, the port is free and nothing is answered.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.engine.close_all();
        let wakes = state.engine.take_wakes();
        drop(state);
        self.driver.close();
        self.accelerator.close();
        // One kick wakes one thread: with several in `wait`, each needs its own.
        let socket = loop {
            self.waiter.kick.kick();
            match self.socket.try_write() {
                Ok(mut socket) => break socket.take(),
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner().take(),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        };
        drop(socket);
        wakes.wake();
    }
}

/// Whether the system refuses to send to this address, and not just now: a firewall, no route.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, InvalidInput, NetworkUnreachable, PermissionDenied};
    matches!(error.kind(), PermissionDenied | HostUnreachable | NetworkUnreachable | InvalidInput)
}

/// What to sleep on, deep and in a nap, beside the socket.
#[cfg(any(not(target_os = "linux"), electrode_portable))]
fn watches<A: Accelerator>(_: &A) -> io::Result<(Option<Watch>, Option<Watch>)> {
    Ok((None, None))
}

#[cfg(all(target_os = "linux", not(electrode_portable)))]
fn watches<A: Accelerator>(accelerator: &A) -> io::Result<(Option<Watch>, Option<Watch>)> {
    Ok((Watch::over(accelerator.descriptors())?, Watch::over(accelerator.urgent_descriptors())?))
}

/// What the driver's task waits for beside arrivals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriverSleep {
    /// The next timer.
    pub(crate) until: Option<Time>,
    /// Datagrams wait for room in the system's send buffer.
    pub(crate) to_send: bool,
}

impl Sleeper {
    /// Ends the sleep if it would last beyond `due`. Called under the engine's lock.
    pub(crate) fn hasten(&self, due: u64) {
        if self.until.load(Ordering::Relaxed) > due {
            self.until.store(AWAKE, Ordering::Relaxed);
            self.kick.kick();
        }
    }

    pub(crate) fn kick(&self) {
        self.kick.kick();
    }
}
