//! What the endpoint tells the warden: whom the groups send to, and when to end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::Event;
use crate::place::Place;

#[derive(Debug)]
pub(crate) struct Briefing {
    peers: Mutex<BTreeMap<u32, BTreeSet<IpAddr>>>,
    changed: AtomicBool,
    /// To whom the system has refused to send.
    avoided: Mutex<BTreeSet<IpAddr>>,
    ended: AtomicBool,
    /// Set with every change.
    event: Event,
}

impl AsFd for Briefing {
    /// Readable when there is something new.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Briefing {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            peers: Mutex::default(),
            changed: AtomicBool::new(false),
            avoided: Mutex::default(),
            ended: AtomicBool::new(false),
            event: Event::new()?,
        })
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<u32, BTreeSet<IpAddr>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group at this number has these members now.
    pub(crate) fn follow(&self, number: u32, place: &Place) {
        let peers: BTreeSet<_> = place.peers().collect();
        let old = self.peers().insert(number, peers.clone());
        // Fewer peers are nothing to ask the kernel about.
        if !old.is_some_and(|old| old.is_superset(&peers)) {
            self.tell(&self.changed);
        }
    }

    /// The group is closed.
    pub(crate) fn forget(&self, number: u32) {
        self.peers().remove(&number);
    }

    /// The system has refused to send to this peer: no broadcast's packet is to go to it for a while.
    pub(crate) fn avoid(&self, peer: IpAddr) {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        self.event.set();
    }

    /// The peers to avoid since the last call.
    pub(super) fn take_avoided(&self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.avoided.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn end(&self) {
        self.tell(&self.ended);
    }

    fn tell(&self, what: &AtomicBool) {
        what.store(true, Ordering::Release);
        self.event.set();
    }

    /// Whether there are new peers since the last call. Clears the descriptor.
    pub(super) fn take_changed(&self) -> bool {
        self.event.clear();
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Every group's peers.
    pub(super) fn all_peers(&self) -> BTreeSet<IpAddr> {
        self.peers().values().flatten().copied().collect()
    }
}
