//! What an accelerator has beside the socket, as one descriptor to sleep on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Readable as long as one of an accelerator's descriptors is (epoll(7), level-triggered). It owns
/// none of them: one that is closed is no longer watched.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    /// A watch over an accelerator's descriptors; `None` if it has none.
    pub(crate) fn over(descriptors: Vec<RawFd>) -> io::Result<Option<Self>> {
        if descriptors.is_empty() {
            return Ok(None);
        }
        // SAFETY: no pointers are involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else owns it.
        let watch = Self { epoll: unsafe { OwnedFd::from_raw_fd(fd) } };
        descriptors.into_iter().try_for_each(|descriptor| watch.add(descriptor))?;
        Ok(Some(watch))
    }

    fn add(&self, descriptor: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        let add = libc::EPOLL_CTL_ADD;
        // SAFETY: the pointer leads to a local that outlives the call.
        let result = unsafe { libc::epoll_ctl(self.as_raw_fd(), add, descriptor, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
