//! A descriptor that is readable from when it is set until it is cleared (eventfd(2)).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Event {
    file: File,
}

impl Event {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: fd.into() })
    }

    pub(super) fn set(&self) {
        // It fails only if set 2^64 times since it was last cleared: then it is set already.
        let _ = (&self.file).write(&1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let _ = (&self.file).read(&mut [0; 8]);
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Sleeps until one of the two is readable, at most this long. May wake early.
pub(super) fn sleep(one: BorrowedFd<'_>, other: Option<BorrowedFd<'_>>, max: Duration) {
    // The kernel leaves a negative descriptor out (poll(2)).
    let other = other.map_or(-1, |fd| fd.as_raw_fd());
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut watched = [entry(one.as_raw_fd()), entry(other)];
    let max = libc::timespec {
        tv_sec: libc::time_t::try_from(max.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: max.subsec_nanos().into(),
    };
    // SAFETY: both pointers lead to locals that outlive the call; no signal mask is given.
    let ready = unsafe { libc::ppoll(watched.as_mut_ptr(), 2, &raw const max, ptr::null()) };
    // Interrupted, or out of memory for a moment: as good as awake.
    let _ = ready;
}
