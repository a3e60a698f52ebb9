//! Who drives an endpoint while tasks sleep: one task on tokio, or one thread.
//!
//! It starts with the first task that waits, ends when the endpoint closes, and renews no lease: it
//! moves datagrams and timers, and polls no log. If it ends before the endpoint, because its runtime
//! did, every waiting task is woken, asks again, and so starts the next.

#[cfg_attr(all(feature = "tokio", target_os = "linux", not(electrode_portable)), path = "task.rs")]
#[cfg_attr(
    not(all(feature = "tokio", target_os = "linux", not(electrode_portable))),
    path = "no_task.rs"
)]
mod task;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use electrode_transport::{Result, TransportError};

use crate::accelerate::Accelerator;
use crate::core::{Core, Sleeper};

/// An endpoint's driver, running or not.
#[derive(Debug)]
pub(crate) struct Driver {
    running: AtomicBool,
    slot: Mutex<Slot>,
    /// The driver's thread, if it is one.
    thread: Sleeper,
    task: task::Bell,
}

/// What must not change while a driver starts or the endpoint closes.
#[derive(Debug, Default)]
struct Slot {
    closed: bool,
    /// The task's registration with its runtime, here so that closing the endpoint ends it before
    /// the descriptor's number can mean something else.
    readiness: Option<task::Readiness>,
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            running: AtomicBool::new(false),
            slot: Mutex::new(Slot::default()),
            thread: Sleeper::new()?,
            task: task::Bell::default(),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has a timer at `due`: a driver that means to sleep longer must not.
    pub(crate) fn hasten(&self, due: u64) {
        self.thread.hasten(due);
        self.task.hasten(due);
    }

    pub(crate) fn sleeps_until(&self, until: u64) {
        self.task.sleeps_until(until);
    }

    /// The endpoint is closed: lets go of the socket and ends.
    pub(crate) fn close(&self) {
        let mut slot = self.slot();
        slot.closed = true;
        slot.readiness = None;
        drop(slot);
        self.thread.kick();
        self.task.ring();
    }
}

/// Sees to it that a driver runs.
pub(crate) fn attend<A: Accelerator>(core: &Arc<Core<A>>) -> Result<()> {
    if core.driver.running.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut slot = core.driver.slot();
    if slot.closed {
        return Err(TransportError::Closed);
    }
    if core.driver.running.load(Ordering::Acquire) {
        return Ok(());
    }
    if let Some((readiness, runtime)) = task::Readiness::register(core) {
        slot.readiness = Some(readiness);
        core.driver.running.store(true, Ordering::Release);
        // Before the spawn: a runtime that has just ended drops the task at once.
        drop(slot);
        runtime.spawn(Attendance(Arc::clone(core)));
        return Ok(());
    }
    core.driver.running.store(true, Ordering::Release);
    drop(slot);
    let attendance = Attendance(Arc::clone(core));
    let thread = thread::Builder::new().name("electrode-driver".into());
    let spawned = thread.spawn(move || attendance.run());
    spawned.map(drop).map_err(|source| TransportError::Io {
        operation: "starting the driver's thread",
        subject: "this process".into(),
        source,
    })
}

/// The running driver's share of the endpoint. Dropping it says that the driver has ended.
#[derive(Debug)]
struct Attendance<A: Accelerator>(Arc<Core<A>>);

impl<A: Accelerator> Attendance<A> {
    fn run(self) {
        let core = &self.0;
        loop {
            match core.wait(&core.driver.thread, None) {
                Ok(()) => {}
                Err(TransportError::Closed) => return,
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// The socket is broken for good. Whoever waits must hear of it, so the endpoint closes.
    fn fail(&self, error: &TransportError) {
        tracing::error!(%error, "the endpoint is broken and closes");
        self.0.close();
    }
}

impl<A: Accelerator> Drop for Attendance<A> {
    fn drop(&mut self) {
        self.0.driver.slot().readiness = None;
        self.0.driver.running.store(false, Ordering::Release);
        self.0.wake_all();
    }
}
