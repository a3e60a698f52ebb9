//! Sleeping until a datagram, a kick, or a moment.
//!
//! A blocking `recvmmsg` would spare `ppoll` a system call a wake. It cannot be ended by another
//! thread that sets an earlier timer or closes the endpoint, its time-out has the granularity of a
//! tick, and measured over a bridge of veths it is not faster: the call costs 0.3 us of a 30 us wake.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{Socket, Watch};

/// Ends another thread's sleep, or the next one if nobody sleeps.
#[derive(Debug)]
pub(crate) struct Kick {
    event: File,
}

impl Kick {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event: fd.into() })
    }

    pub(crate) fn kick(&self) {
        // It fails only if kicked 2^64 times without a sleep in between: then it is kicked already.
        let _ = (&self.event).write(&1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = (&self.event).read(&mut [0; 8]);
    }
}

impl Socket {
    /// Sleeps until a datagram can be received (or, with `to_send`, sent), `watch` has something,
    /// `kick` was kicked, or `timeout` has passed; for ever without one. May wake early. Whether the
    /// socket was seen readable.
    pub(crate) fn sleep(
        &self,
        kick: &Kick,
        watch: Option<&Watch>,
        to_send: bool,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let interest = if to_send { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        // The kernel leaves a negative descriptor out (poll(2)).
        let beside = watch.map_or(-1, AsRawFd::as_raw_fd);
        let mut watched = [
            entry(self.as_raw_fd(), interest),
            entry(kick.event.as_raw_fd(), libc::POLLIN),
            entry(beside, libc::POLLIN),
        ];
        let count = if watch.is_some() { 3 } else { 2 };
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: both pointers lead to locals that outlive the call; no signal mask is given.
        let ready = unsafe { libc::ppoll(watched.as_mut_ptr(), count, limit, ptr::null()) };
        if watched[1].revents != 0 {
            kick.clear();
        }
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        Ok(watched[0].revents & !libc::POLLOUT != 0)
    }
}
