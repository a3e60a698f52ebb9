//! The driver as a tokio task.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use electrode_transport::{Time, TransportError};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use super::Attendance;
use crate::accelerate::{Accelerator, Doze};
use crate::core::{Ask, Core};

/// The registrations with a runtime of the socket, and of what an accelerator has beside it. The
/// endpoint owns both and drops this first.
#[derive(Debug)]
pub(super) struct Readiness {
    socket: AsyncFd<RawFd>,
    watch: Option<AsyncFd<RawFd>>,
}

impl Readiness {
    /// Registers the socket with the current runtime; `None` if there is none, or it is ending.
    pub(super) fn register<A: Accelerator>(core: &Core<A>) -> Option<(Self, Runtime)> {
        let runtime = Handle::try_current().ok()?;
        if !is_equipped() {
            tracing::debug!("the runtime has no I/O or no time: a thread will do");
            return None;
        }
        let socket = core.with_socket(AsRawFd::as_raw_fd)?;
        let watch = core.watch().map(AsRawFd::as_raw_fd);
        match Self::of(socket, watch) {
            Ok(readiness) => Some((readiness, Runtime(runtime))),
            Err(error) => {
                tracing::debug!(%error, "the runtime takes no driver: a thread will do");
                None
            }
        }
    }

    fn of(socket: RawFd, watch: Option<RawFd>) -> io::Result<Self> {
        // SAFETY: `Core::close` drops this registration before it closes the socket, and lets no other
        // be made afterwards: both happen under the driver's slot.
        let socket = unsafe { AsyncFd::register(socket) }?;
        let watch = watch.map(|watch| {
            // SAFETY: the core owns this one as long as it lives, and the driver's slot with it.
            let registered = unsafe { AsyncFd::register(watch) };
            registered.map_err(io::Error::from)
        });
        Ok(Self { socket, watch: watch.transpose()? })
    }

    /// Ready if something has arrived since it was last ready. The caller takes in all that is there:
    /// clearing comes first, so that what arrives meanwhile makes it ready again.
    fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.socket.poll_read_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Ready if the accelerator has something to harvest, likewise.
    fn poll_harvest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(watch) = &self.watch else { return Poll::Pending };
        let mut guard = ready!(watch.poll_read_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Ready if there is room to send, likewise.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.socket.poll_write_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

/// Whether the current runtime has both I/O and time enabled. Tokio offers no way to ask but to try,
/// and panics if not; caught here, it costs a line on stderr and the endpoint gets a thread.
fn is_equipped() -> bool {
    let tried = std::panic::catch_unwind(|| {
        let (one, _other) = std::os::unix::net::UnixStream::pair()?;
        drop(tokio::time::sleep(std::time::Duration::ZERO));
        // SAFETY: `one` is open, and the registration is dropped before it.
        let registration = unsafe { AsyncFd::register(one.as_raw_fd()) }?;
        drop(registration);
        io::Result::Ok(())
    });
    matches!(tried, Ok(Ok(())))
}

/// Where the task will run.
#[derive(Debug)]
pub(super) struct Runtime(Handle);

impl Runtime {
    pub(super) fn spawn<A: Accelerator>(&self, attendance: Attendance<A>) {
        self.0.spawn(DriverTask {
            attendance,
            sleep: None,
            armed: None,
            more: true,
            ripe: false,
            dozing: None,
        });
    }
}

/// How others wake the task: until when it sleeps, and its waker.
#[derive(Debug, Default)]
pub(super) struct Bell {
    until: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    pub(super) fn sleeps_until(&self, until: u64) {
        self.until.store(until, Ordering::Relaxed);
    }

    pub(super) fn hasten(&self, due: u64) {
        if self.until.load(Ordering::Relaxed) > due {
            self.until.store(0, Ordering::Relaxed);
            self.ring();
        }
    }

    pub(super) fn ring(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waker.as_ref() {
            waker.wake_by_ref();
        }
    }

    fn answer_to(&self, waker: &Waker) {
        let mut current = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }
}

/// The task. It ends with the endpoint.
#[derive(Debug)]
struct DriverTask<A: Accelerator> {
    attendance: Attendance<A>,
    /// Made on the first poll, where there is a runtime for certain.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What `sleep` is set to. It may be earlier than the engine's next timer: then the task looks,
    /// and sets it anew. So a leader that moves its timer with every frame costs nothing here.
    armed: Option<Time>,
    /// The last look left datagrams behind.
    more: bool,
    /// The accelerator has something, although nothing told of it.
    ripe: bool,
    /// The accelerator was told that the task sleeps.
    dozing: Option<Doze>,
}

/// Batches a poll, before other tasks have their turn.
const ROUNDS_MAX: usize = 4;

impl<A: Accelerator> DriverTask<A> {
    /// Does what there is to do. Ready once nothing is left to wait for: the endpoint has closed.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Result<Poll<bool>, TransportError> {
        let Some(arrived) = self.poll_readiness(cx, Readiness::poll_arrival) else {
            return Ok(Poll::Ready(false));
        };
        let core = &self.attendance.0;
        let harvest = match core.watch() {
            None => Some(false),
            Some(_) => self.poll_readiness(cx, Readiness::poll_harvest),
        };
        let Some(harvest) = harvest else { return Ok(Poll::Ready(false)) };
        let asked = arrived || self.more;
        let mut busy = asked || harvest || core::mem::take(&mut self.ripe);
        if busy {
            self.more = !core.drive_once(Ask::surely_if(asked))?.emptied;
        }
        let Some(sleep) = core.announce_driver_sleep() else { return Ok(Poll::Ready(false)) };
        if sleep.to_send {
            match self.poll_readiness(cx, Readiness::poll_room) {
                Some(true) => {
                    self.attendance.0.drive_once(Ask::Perhaps)?;
                    busy = true;
                }
                Some(false) => {}
                None => return Ok(Poll::Ready(false)),
            }
        }
        if self.poll_timer(cx, sleep.until) {
            self.attendance.0.drive_once(Ask::Perhaps)?;
            busy = true;
        }
        Ok(if busy { Poll::Ready(true) } else { Poll::Pending })
    }

    /// `None` if the endpoint has closed or the runtime is ending.
    fn poll_readiness(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&Readiness, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Option<bool> {
        let slot = self.attendance.0.driver.slot();
        match poll(slot.readiness.as_ref()?, cx) {
            Poll::Ready(Ok(())) => Some(true),
            Poll::Ready(Err(_)) => None,
            Poll::Pending => Some(false),
        }
    }

    /// Whether the timer has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, until: Option<Time>) -> bool {
        let Some(until) = until else { return false };
        let core = &self.attendance.0;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now().into())));
        if self.armed.is_none_or(|armed| until < armed) {
            sleep.as_mut().reset(core.accelerator().instant(until).into());
            self.armed = Some(until);
        }
        let due = sleep.as_mut().poll(cx).is_ready();
        if due {
            self.armed = None;
        }
        due
    }
}

impl<A: Accelerator> DriverTask<A> {
    /// Whether the task may sleep now.
    fn doze(&mut self) -> bool {
        self.dozing = self.attendance.0.accelerator().doze();
        self.ripe = self.dozing.is_none();
        !self.ripe
    }

    fn rouse(&mut self) {
        if let Some(doze) = self.dozing.take() {
            self.attendance.0.accelerator().rouse(doze);
        }
    }
}

impl<A: Accelerator> Drop for DriverTask<A> {
    fn drop(&mut self) {
        self.rouse();
    }
}

impl<A: Accelerator> Future for DriverTask<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.rouse();
        this.attendance.0.driver.task.answer_to(cx.waker());
        for _ in 0..ROUNDS_MAX {
            match this.poll_round(cx) {
                Ok(Poll::Ready(true)) => {}
                Ok(Poll::Ready(false)) => return Poll::Ready(()),
                Ok(Poll::Pending) if this.doze() => return Poll::Pending,
                Ok(Poll::Pending) => {}
                Err(TransportError::Closed) => return Poll::Ready(()),
                Err(error) => {
                    this.attendance.fail(&error);
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
