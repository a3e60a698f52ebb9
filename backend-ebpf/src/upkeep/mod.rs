//! The world around the programs, followed while they run: whether they are still in place, whether
//! their interface is, where its address is, and through which hardware addresses the members are
//! reached.
//!
//! A thread does it, the *warden*. What it asks may wait for the kernel's lock over network devices,
//! which others hold for milliseconds, so none of it can be asked under the engine's lock. And a program
//! can only be attached from its interface's network namespace: a thread that is started by the one
//! that binds the endpoint is born there and stays. (To enter it later would take `CAP_SYS_ADMIN`.)
//!
//! What the warden does by itself is to move programs and the marks that say which are in place
//! ([`Shared::is_attached`]). What concerns the groups it puts into the [`Mailbox`], and the endpoint
//! takes it from there under its lock. Nothing is lost on the way:
//!
//! - A program that is gone: first the mark falls, so that from then on user space sends every copy
//!   itself and arms the tally before each frame; then the endpoint is told to arm what it let go
//!   before ([`unarmed`](mailbox::Findings::unarmed)). Frames that left in between were armed by nobody, or not copied:
//!   acknowledgements of them count for nothing, and the window sends them again.
//! - A program that comes back: it is attached first and marked after. What is done twice in between
//!   changes nothing: to arm is idempotent, and a second copy is a duplicate to whoever gets it.
//!
//! [`Shared::is_attached`]: crate::shared::Shared::is_attached

mod briefing;
mod event;
mod guard;
mod mailbox;
mod pause;
#[cfg(test)]
mod tests;
mod warden;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub(crate) use briefing::Briefing;
use mailbox::Mailbox;
pub(crate) use warden::{Site, Warden};

use crate::shared::Shared;

/// The running warden. Ends with this, and with it every attachment.
#[derive(Debug)]
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    /// Starts the warden's thread, from the thread in the interface's network namespace.
    pub(crate) fn start(shared: &Arc<Shared>, warden: Warden) -> io::Result<Self> {
        let mailbox = warden.mailbox();
        let thread = std::thread::Builder::new().name("electrode-warden".into());
        let thread = thread.spawn(move || warden.run())?;
        Ok(Self { shared: Arc::clone(shared), mailbox, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Detaches the programs and ends the warden. When it returns they are gone. A second call does
    /// nothing.
    pub(crate) fn stop(&self) {
        self.shared.briefing.end();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that kept watch over the programs has panicked");
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}
