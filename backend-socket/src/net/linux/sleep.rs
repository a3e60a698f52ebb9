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

use super::Socket;

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
    /// Sleeps until a datagram can be received (or, with `to_send`, sent), `kick` was kicked, or
    /// `timeout` has passed; for ever without one. May wake early.
    pub(crate) fn sleep(
        &self,
        kick: &Kick,
        to_send: bool,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let interest = if to_send { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        let watch = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut watched =
            [watch(self.as_raw_fd(), interest), watch(kick.event.as_raw_fd(), libc::POLLIN)];
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: both pointers lead to locals that outlive the call; no signal mask is given.
        let ready = unsafe {
            libc::ppoll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, limit, ptr::null())
        };
        if watched[1].revents != 0 {
            kick.clear();
        }
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        Ok(())
    }
}
