//! What the endpoint's accelerator and its groups' keepers share: the kernel's side, and what was
//! harvested from it.
//!
//! All of it is used under the engine's lock, so the lock in here is never waited for. It is there
//! because the accelerator and the keepers are owned apart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use electrode_ebpf_abi::{Command, GROUPS_MAX, Notice, Op, Record, news};
use electrode_transport::engine::News;
use electrode_transport::{AckMode, GroupId, Obstacle};

use crate::error::EbpfError;
use crate::kernel::{Kernel, Rings};
use crate::log::Log;
use crate::pin::Dormant;
use crate::place::Place;
use crate::upkeep::Briefing;

/// Which of the programs are in place.
pub(crate) mod attached {
    /// Frames that arrive meet the ingress program.
    pub(crate) const INGRESS: u32 = 1;
    /// Frames that leave meet the egress program.
    pub(crate) const EGRESS: u32 = 2;
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kernel: Kernel,
    /// Bits of [`attached`].
    attached: AtomicU32,
    /// What the warden is told.
    pub(crate) briefing: Briefing,
    /// A command failed: what the kernel holds can no longer be steered, so nothing may count. Why.
    broken: OnceLock<(Obstacle, String)>,
    /// The state has news that nobody was told of.
    owes: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    rings: Rings,
    pub(crate) places: BTreeMap<u32, Place>,
    by_group: BTreeMap<GroupId, u32>,
    /// Pinned groups that an earlier process left and this one has not opened: what the kernel stored
    /// of them is kept.
    pub(crate) dormant: BTreeMap<u32, Dormant>,
    /// What came about and was not told yet.
    news: Vec<(GroupId, News)>,
    owes: Arc<AtomicBool>,
    /// Lost notices that were made up for.
    lost_seen: u64,
    /// Wrong on purpose, for a test that must notice: a fence waits for nothing.
    #[cfg(test)]
    pub(crate) is_hasty: bool,
}

impl Shared {
    /// # Errors
    /// [`EbpfError::Io`] if there is no descriptor left.
    pub(crate) fn new(kernel: Kernel, rings: Rings) -> Result<Self, EbpfError> {
        let briefing = Briefing::new()
            .map_err(|source| EbpfError::Io { operation: "make an eventfd", source })?;
        let owes = Arc::new(AtomicBool::new(false));
        let state = State {
            rings,
            places: BTreeMap::new(),
            by_group: BTreeMap::new(),
            dormant: BTreeMap::new(),
            news: Vec::new(),
            owes: Arc::clone(&owes),
            lost_seen: kernel.desk.notices_lost(),
            #[cfg(test)]
            is_hasty: false,
        };
        Ok(Self {
            kernel,
            attached: AtomicU32::new(0),
            briefing,
            broken: OnceLock::new(),
            owes,
            state: Mutex::new(state),
        })
    }

    /// What it was made of, and the places that are still open.
    #[cfg(feature = "stock")]
    pub(crate) fn into_parts(self) -> (Kernel, Rings, BTreeMap<u32, Place>) {
        let State { rings, places, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.kernel, rings, places)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything to take in or to tell. While somebody else has the state it may be that
    /// there is: whoever only looks has lost nothing, and whoever would go to sleep must not.
    pub(crate) fn is_ripe(&self) -> bool {
        self.owes_news() || self.state.try_lock().map_or(true, |state| state.is_ripe(self.lost()))
    }

    /// The same of what is urgent: notices.
    pub(crate) fn is_urgent(&self) -> bool {
        self.owes_news() || self.state.try_lock().map_or(true, |state| state.is_urgent(self.lost()))
    }

    /// Whether a call took in what concerns others too, and they were not told yet.
    pub(crate) fn owes_news(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.kernel.desk.notices_lost()
    }

    pub(crate) fn is_attached(&self, which: u32) -> bool {
        self.attached.load(Ordering::Relaxed) & which != 0
    }

    /// These programs are in place from now on.
    pub(crate) fn mark(&self, which: u32) {
        self.attached.fetch_or(which, Ordering::Relaxed);
    }

    /// These are not. Whoever sees what is put into the warden's mailbox afterwards sees this too.
    pub(crate) fn unmark(&self, which: u32) {
        self.attached.fetch_and(!which, Ordering::Relaxed);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Why the endpoint is broken, if it is, and what to do about it.
    pub(crate) fn failure(&self) -> Option<(Obstacle, String)> {
        let (reason, why) = self.broken.get()?;
        Some((*reason, format!("{why}; the endpoint has closed: bind it anew")))
    }

    /// Runs a command. If the kernel does not, the answer is zero, which no command's is, and the
    /// endpoint is broken from now on.
    pub(crate) fn command(&self, op: Op, command: Command) -> u32 {
        self.insist(|| self.kernel.command(op, command))
    }

    /// Tries again when memory was short, which is the only reason to fail that can pass.
    pub(crate) fn insist(&self, mut run: impl FnMut() -> Result<u32, EbpfError>) -> u32 {
        const ATTEMPTS: usize = 16;
        for attempt in 1..=ATTEMPTS {
            match run() {
                Ok(answer) => return answer,
                Err(error) if attempt == ATTEMPTS => {
                    tracing::error!(%error, "the kernel runs no commands: the endpoint falls silent");
                    let _ = self.broken.set((error.obstacle(), error.in_full()));
                }
                Err(_) => std::thread::yield_now(),
            }
        }
        0
    }
}

impl State {
    /// A place that no group has.
    pub(crate) fn free_place(&self) -> Option<u32> {
        let is_free =
            |place: &u32| !self.places.contains_key(place) && !self.dormant.contains_key(place);
        (0..GROUPS_MAX).find(is_free)
    }

    /// The place of a pinned group that nobody has opened yet.
    pub(crate) fn dormant_place(&self, group: GroupId) -> Option<u32> {
        let found = self.dormant.iter().find(|(_, dormant)| dormant.group == group);
        found.map(|(place, _)| *place)
    }

    /// A pinned group is left to whoever opens it next.
    pub(crate) fn lay_down(&mut self, place: u32) {
        if let Some(Place { group, log: Log::Pinned(shelf), .. }) = self.unseat(place) {
            self.dormant.insert(place, Dormant { group, shelf });
        }
    }

    /// A group has taken a place.
    pub(crate) fn seat(&mut self, number: u32, place: Place) {
        self.by_group.insert(place.group, number);
        self.places.insert(number, place);
    }

    /// The group at a place has gone.
    pub(crate) fn unseat(&mut self, number: u32) -> Option<Place> {
        let place = self.places.remove(&number)?;
        self.by_group.remove(&place.group);
        Some(place)
    }

    /// Whether the rings hold anything, or too little: `lost` notices had no room so far.
    fn is_ripe(&self, lost: u64) -> bool {
        self.lost_seen != lost || self.are_rings_ripe()
    }

    fn is_urgent(&self, lost: u64) -> bool {
        self.lost_seen != lost || self.rings.notices.is_ripe()
    }

    /// Whether the rings hold anything.
    pub(crate) fn are_rings_ripe(&self) -> bool {
        self.rings.notices.is_ripe() || self.rings.logs.iter().any(|ring| ring.is_ripe())
    }

    /// Notices that had no room may have been of any group, and of anything: each is told to look. To be
    /// called after a harvest, which makes room.
    pub(crate) fn make_up_for(&mut self, lost: u64) {
        if self.lost_seen != lost {
            self.lost_seen = lost;
            let groups = self.places.values().map(|place| place.group);
            self.news.extend(groups.map(|group| (group, EVERYTHING)));
        }
    }

    /// The group's place.
    pub(crate) fn place_of(&self, group: GroupId) -> Option<&Place> {
        self.by_group.get(&group).and_then(|number| self.places.get(number))
    }

    /// Takes in what the rings hold, up to what is still being written. How many records that was.
    pub(crate) fn harvest(&mut self) -> usize {
        let Self { rings, places, dormant, news, .. } = self;
        let mut stored = 0;
        for ring in &mut rings.logs {
            stored += ring.read(|bytes| take_record(places, dormant, news, bytes));
        }
        rings.notices.read(|bytes| take_notice(places, news, bytes));
        self.owe();
        stored
    }

    fn owe(&self) {
        if !self.news.is_empty() {
            self.owes.store(true, Ordering::Relaxed);
        }
    }

    /// Whether stored entries may wait: the kernel acknowledges them by itself in every group.
    pub(crate) fn may_wait(&self) -> bool {
        self.places.values().all(|place| place.mode == AckMode::Received)
    }

    /// Takes in everything that was reserved before this call: what the programs acknowledged, or
    /// still will, of anything they judged before.
    pub(crate) fn harvest_all(&mut self) {
        #[cfg(test)]
        if self.is_hasty {
            self.harvest();
            return;
        }
        let Self { rings, places, dormant, news, .. } = self;
        for ring in &mut rings.logs {
            ring.read_reserved(|bytes| take_record(places, dormant, news, bytes));
        }
        self.owe();
    }

    /// What has come about since the last call.
    pub(crate) fn take_news(&mut self) -> Vec<(GroupId, News)> {
        self.owes.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.news)
    }
}

const EVERYTHING: News = News { log: true, quorum: true, probe: true };

fn take_record(
    places: &mut BTreeMap<u32, Place>,
    dormant: &mut BTreeMap<u32, Dormant>,
    news: &mut Vec<(GroupId, News)>,
    bytes: &[u8],
) {
    let Some((head, rest)) = read_record(bytes) else { return };
    let Some(body) = rest.get(..head.len as usize) else { return };
    let Some(place) = places.get_mut(&head.place) else {
        // A group that was closed meanwhile wants nothing any more.
        if let Some(dormant) = dormant.get_mut(&head.place) {
            dormant.shelf.take(&head, body);
        }
        return;
    };
    place.log.take(&head, body);
    push_news(news, place.group, News { log: true, ..News::default() });
}

fn take_notice(places: &mut BTreeMap<u32, Place>, told: &mut Vec<(GroupId, News)>, bytes: &[u8]) {
    let Some(notice) = read_notice(bytes) else { return };
    let Some(place) = places.get(&notice.place) else { return };
    let is = |bit: u32| notice.news & bit != 0;
    let what = News { log: is(news::COMMIT), quorum: is(news::QUORUM), probe: is(news::PROBE) };
    push_news(told, place.group, what);
}

/// Adds to the last entry if it is of the same group: a burst is one entry.
fn push_news(news: &mut Vec<(GroupId, News)>, group: GroupId, what: News) {
    match news.last_mut() {
        Some((last, told)) if *last == group => {
            told.log |= what.log;
            told.quorum |= what.quorum;
            told.probe |= what.probe;
        }
        _ => news.push((group, what)),
    }
}

fn read_record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<{ size_of::<Record>() }>()?;
    let (words, _) = head.as_chunks::<8>();
    let [sequence, ballot, first, last, tail] = words else { return None };
    let [p0, p1, p2, p3, l0, l1, l2, l3] = *tail;
    let record = Record {
        sequence: u64::from_ne_bytes(*sequence),
        ballot: u64::from_ne_bytes(*ballot),
        first: u64::from_ne_bytes(*first),
        last: u64::from_ne_bytes(*last),
        place: u32::from_ne_bytes([p0, p1, p2, p3]),
        len: u32::from_ne_bytes([l0, l1, l2, l3]),
    };
    Some((record, body))
}

fn read_notice(bytes: &[u8]) -> Option<Notice> {
    let [p0, p1, p2, p3, n0, n1, n2, n3, ..] = *bytes else { return None };
    Some(Notice {
        place: u32::from_ne_bytes([p0, p1, p2, p3]),
        news: u32::from_ne_bytes([n0, n1, n2, n3]),
    })
}
