//! What handles and drivers share: the engine, the socket, and who sleeps on it.
//!
//! Locks, in this order: `receiver`, `state`, `socket`. No system call that could block is made under
//! the first two, and no task is woken under any. A thread that sleeps holds only `socket`, for
//! reading; [`Core::close`] ends its sleep and then takes the socket away.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use electrode_transport::engine::{Engine, WakeList};
use electrode_transport::{Counter, EndpointConfig, Result, Time, TransportError};

use crate::driver::Driver;
use crate::net::{Kick, ReceiveBatch, SendBatch, Socket};

/// No timer is set.
const NEVER: u64 = u64::MAX;
/// Nobody sleeps: no deadline is earlier.
const AWAKE: u64 = 0;

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Core {
    receiver: Mutex<ReceiveBatch>,
    state: Mutex<State>,
    socket: RwLock<Option<Socket>>,
    /// The engine's next timer as of the last call: a drive that takes nothing in looks here and
    /// leaves the engine alone.
    next_timeout: AtomicU64,
    /// The system's send buffer is full and datagrams wait in the outbox.
    blocked: AtomicBool,
    /// Threads in `wait`.
    pub(crate) waiter: Sleeper,
    /// The driver's thread or task.
    pub(crate) driver: Driver,
    start: Instant,
    subject: String,
}

#[derive(Debug)]
struct State {
    engine: Engine,
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
    /// The socket was seen empty.
    pub(crate) emptied: bool,
}

impl Core {
    pub(crate) fn new(socket: Socket, config: EndpointConfig) -> Result<Self> {
        let subject = config.bind.to_string();
        let datagram_len_max = config.datagram_len_max;
        let kick =
            |source| TransportError::Io { operation: "eventfd", subject: subject.clone(), source };
        let (waiter, driver) = (Sleeper::new().map_err(kick)?, Driver::new().map_err(kick)?);
        let state = State { engine: Engine::new(config)?, sender: SendBatch::new() };
        Ok(Self {
            receiver: Mutex::new(ReceiveBatch::new(datagram_len_max)),
            state: Mutex::new(state),
            socket: RwLock::new(Some(socket)),
            next_timeout: AtomicU64::new(NEVER),
            blocked: AtomicBool::new(false),
            waiter,
            driver,
            start: Instant::now(),
            subject,
        })
    }

    /// Time on the endpoint's clock. It starts at one: zero is "never" in some places.
    fn now(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64 + 1)
    }

    /// The same moment on the system's clock.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_nanos(time.0)
    }

    /// A panic under the lock may have left the engine between two states. An endpoint that might
    /// acknowledge what it has not stored must fall silent instead.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.engine.close_all();
            state
        })
    }

    /// As [`Host::with`](electrode_transport::engine::Host::with).
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        let mut state = self.state();
        let result = call(&mut state.engine, self.now());
        let wakes = self.settle(&mut state);
        drop(state);
        wakes.wake();
        result
    }

    /// As [`Host::look`](electrode_transport::engine::Host::look).
    pub(crate) fn look<R>(&self, call: impl FnOnce(&mut Engine, Time) -> R) -> R {
        let mut state = self.state();
        call(&mut state.engine, self.now())
    }

    /// Sends what a call left behind, and tells sleepers of a new timer.
    fn settle(&self, state: &mut State) -> WakeList {
        self.flush(state);
        let due = state.engine.poll_timeout().map_or(NEVER, |due| due.0);
        self.next_timeout.store(due, Ordering::Relaxed);
        self.waiter.hasten(due);
        self.driver.hasten(due);
        state.engine.take_wakes()
    }

    fn flush(&self, state: &mut State) {
        let State { engine, sender } = state;
        if engine.outbox().is_empty() {
            return;
        }
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = socket.as_ref() else { return };
        let mut blocked = false;
        // What an earlier datagram met on its way may be reported to a later one, once.
        let mut retried = false;
        while !engine.outbox().is_empty() {
            engine.stats().add(Counter::SyscallsSend, 1);
            match sender.send(socket, engine.outbox().iter()) {
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
                    let to = engine.outbox().iter().next().map(|transmit| transmit.to);
                    tracing::debug!(?to, %error, "a datagram was refused by the system");
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

    /// Takes in one batch of what has arrived, answers it, and does what is due. Never blocks.
    pub(crate) fn drive_once(&self) -> Result<Driven> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let received = self.receive(&mut receiver)?;
        let emptied = received < ReceiveBatch::CAPACITY;
        if received == 0 && !self.is_due() {
            return Ok(Driven { received, emptied });
        }
        let mut state = self.state();
        let now = self.now();
        let engine = &mut state.engine;
        if received > 0 {
            engine.stats().add(Counter::SyscallsReceive, 1);
        }
        for (from, datagram) in receiver.datagrams() {
            match datagram {
                Some(datagram) => engine.handle_datagram(now, from, datagram),
                None => engine.stats().add(Counter::RxLength, 1),
            }
        }
        engine.handle_timeout(now);
        let wakes = self.settle(&mut state);
        drop(state);
        drop(receiver);
        wakes.wake();
        Ok(Driven { received, emptied })
    }

    fn receive(&self, receiver: &mut ReceiveBatch) -> Result<usize> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or(TransportError::Closed)?;
        receiver.receive(socket).or_else(|error| {
            if crate::net::is_passing(&error) {
                return Ok(0);
            }
            Err(self.io("receive", error))
        })
    }

    fn io(&self, operation: &'static str, source: io::Error) -> TransportError {
        TransportError::Io { operation, subject: self.subject.clone(), source }
    }

    fn is_due(&self) -> bool {
        let due = self.next_timeout.load(Ordering::Relaxed);
        self.blocked.load(Ordering::Relaxed) || due != NEVER && due <= self.now().0
    }

    /// As [`TransportCore::drive`](electrode_transport::TransportCore::drive).
    pub(crate) fn drive(&self) -> Result<()> {
        // A flood must not keep the caller for ever.
        const ROUNDS_MAX: usize = 8;
        for _ in 0..ROUNDS_MAX {
            if self.drive_once()?.emptied {
                break;
            }
        }
        Ok(())
    }

    /// As [`TransportCore::wait`](electrode_transport::TransportCore::wait), for one of the sleepers.
    pub(crate) fn wait(&self, sleeper: &Sleeper, max: Option<Duration>) -> Result<()> {
        if !sleeper.lone.load(Ordering::Relaxed) && self.drive_once()?.received > 0 {
            return Ok(());
        }
        if let Some(timeout) = self.prepare_sleep(sleeper, max)? {
            let slept = {
                let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
                let socket = socket.as_ref().ok_or(TransportError::Closed)?;
                let to_send = self.blocked.load(Ordering::Relaxed);
                socket.sleep(&sleeper.kick, to_send, timeout)
            };
            sleeper.until.store(AWAKE, Ordering::Relaxed);
            slept.map_err(|error| self.io("poll", error))?;
        }
        let received = self.drive_once()?.received;
        sleeper.lone.store(received == 1, Ordering::Relaxed);
        Ok(())
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
            return Err(TransportError::Closed);
        }
        let now = self.now();
        let limit = max.map(|max| now.after_ns(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)));
        let due = [state.engine.poll_timeout(), limit].into_iter().flatten().min();
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
        let until = state.engine.poll_timeout();
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

    /// Closes every group and the socket. When it returns, the port is free and nothing is answered.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.engine.close_all();
        let wakes = state.engine.take_wakes();
        drop(state);
        self.driver.close();
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
