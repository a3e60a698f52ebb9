//! What the warden has found, until the endpoint takes it under its lock.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::event::Event;
use crate::place::Place;

/// Hardware addresses of the next hops to peers; `None` for one that no frame from the interface reaches.
pub(crate) type Hops = BTreeMap<IpAddr, Option<[u8; 6]>>;

/// What has changed since it was last taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Of each peer that was looked for.
    pub(crate) hops: Hops,
    /// The egress program is no longer in place: what was let go may have been armed by nobody.
    pub(crate) unarmed: bool,
}

impl Findings {
    /// Brings a place up to date. Whether that changed anything.
    pub(crate) fn apply(&self, place: &mut Place) -> bool {
        let mut hops = place.hops.clone();
        for (peer, mac) in &self.hops {
            match mac {
                Some(mac) => hops.insert(*peer, *mac),
                None => hops.remove(peer),
            };
        }
        let changed = hops != place.hops;
        if changed {
            place.hops = hops;
            place.choose_carrier();
        }
        changed
    }
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    findings: Mutex<Findings>,
    full: AtomicBool,
    /// Set while it is full.
    event: Event,
    /// How often a program was found to be missing, and put back.
    pub(super) lost: AtomicU64,
    pub(super) regained: AtomicU64,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            findings: Mutex::default(),
            full: AtomicBool::new(false),
            event: Event::new()?,
            lost: AtomicU64::new(0),
            regained: AtomicU64::new(0),
        })
    }

    /// Readable as long as there is something to take.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }

    /// Whether there is something to take. Takes no lock and makes no system call.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Adds to what is there.
    pub(super) fn put(&self, add: impl FnOnce(&mut Findings)) {
        add(&mut self.findings.lock().unwrap_or_else(PoisonError::into_inner));
        self.full.store(true, Ordering::Release);
        self.event.set();
    }

    /// Takes everything. What is put in meanwhile fills it again.
    pub(crate) fn take(&self) -> Findings {
        self.event.clear();
        self.full.store(false, Ordering::Release);
        std::mem::take(&mut self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often a program was lost, and regained.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [&self.lost, &self.regained].map(|count| count.load(Ordering::Relaxed))
    }
}
