//! Everything about the contract that needs no I/O: datagrams, calls and time go in, datagrams and
//! wake-ups come out.
//!
//! A backend owns an [`Engine`] behind a lock and is a [`Host`]: it feeds
//! [`handle_datagram`](Engine::handle_datagram) and [`handle_timeout`](Engine::handle_timeout),
//! sends what is in the [`outbox`](Engine::outbox), and wakes the [`WakeList`]. [`GroupHandle`] is
//! the contract over any host. The engine decides nothing about consensus: it asks
//! [`Acceptor`](crate::rules::Acceptor) and [`Tally`](crate::rules::Tally), by way of the group's
//! [`Keeper`], which has their state.

mod group;
mod handle;
mod inbox;
mod keeper;
mod leader;
mod local;
mod mutant;
mod outbox;
mod peer;
mod ring;
mod seat;
mod wakers;
mod window;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::string::String;

pub use handle::{GroupHandle, Host};
pub use keeper::{Keeper, Leading, Reseating, TallyView};
pub use local::LocalKeeper;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use outbox::{Outbox, Transmit};
pub use ring::LogRing;
pub use wakers::WakeList;

use crate::config::{EndpointConfig, GroupConfig};
use crate::contract::Result;
use crate::error::{ConfigError, TransportError};
use crate::ident::{GroupId, Time};
use crate::obstacle::Obstacle;
use crate::rules::{AckMode, Gate};
use crate::stats::{Counter, Stats};
use crate::wire::{FrameKind, Header, WireError};

use group::Group;
#[cfg(not(feature = "mutants"))]
use mutant::Mutant;
use mutant::Mutation;
use seat::Seat;

/// What groups share on their endpoint: the way out, the counters, the configuration.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) config: EndpointConfig,
    pub(crate) outbox: Outbox,
    pub(crate) stats: Stats,
    pub(crate) wakes: WakeList,
    /// A caller was turned away because the outbox was full.
    turned_away: bool,
    pub(crate) mutation: Mutation,
}

impl Io {
    /// Whether a caller's frame can be queued; notes that one was turned away if not.
    pub(crate) fn has_room(&mut self) -> bool {
        let room = !self.outbox.is_full();
        self.turned_away |= !room;
        room
    }

    /// Queues a frame for every other member: encoded once.
    pub(crate) fn send_all(&mut self, seat: &Seat, header: Header, body: &[u8]) {
        let reach = if self.mutation.is(Mutant::BroadcastStopsAtEight) { 8 } else { usize::MAX };
        let to = seat.others().take(reach).filter_map(|index| seat.address(index));
        let count = self.outbox.push(header, body, self.config.key.as_ref(), to);
        self.stats.add(Counter::TxDatagrams, count as u64);
    }

    /// Queues a frame for one member.
    pub(crate) fn send_one(&mut self, header: Header, body: &[u8], to: SocketAddr) {
        let count = self.outbox.push(header, body, self.config.key.as_ref(), [to]);
        self.stats.add(Counter::TxDatagrams, count as u64);
    }

    /// Queues a reply, unless the way out is full: a reply can always be asked for again.
    pub(crate) fn reply(&mut self, header: Header, to: SocketAddr) {
        if self.outbox.is_full() {
            self.stats.add(Counter::TxRepliesDropped, 1);
        } else {
            self.send_one(header, &[], to);
            if self.mutation.is(Mutant::ReplyTwice) {
                self.send_one(header, &[], to);
            }
        }
    }
}

/// One open group as a handle names it: a group opened again under the same id is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupKey {
    pub(crate) group: GroupId,
    pub(crate) mode: AckMode,
    epoch: u64,
}

/// What a backend's kernel did by itself, without a datagram that the engine could have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// An entry was accepted, or the commit slot rose.
    pub log: bool,
    /// A member was heard that the tally counts: the quorum's watermark may have risen.
    pub quorum: bool,
    /// A probe was confirmed.
    pub probe: bool,
}

/// Which backend failed, and why.
type Failure = (&'static str, Obstacle, String);

#[cold]
fn ended(failure: Option<&Failure>) -> TransportError {
    match failure {
        Some((backend, reason, why)) => {
            TransportError::Unavailable { backend, reason: *reason, why: why.clone() }
        }
        None => TransportError::Closed,
    }
}

/// One endpoint's state for all of its groups, whose rules' state is with `K`.
#[derive(Debug)]
pub struct Engine<K: Keeper = LocalKeeper> {
    io: Io,
    groups: BTreeMap<GroupId, (u64, Group<K>)>,
    epochs: u64,
    /// No timer is due before this. A lower bound: it may be early, never late.
    next_timeout: Option<Time>,
    closed: bool,
    /// Which backend closed it, and why, if no caller did.
    failure: Option<Failure>,
}

impl Engine {
    /// Opens a group whose state is kept here.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(&mut self, config: GroupConfig) -> Result<GroupKey> {
        self.open_with(config, |config, _| Ok(LocalKeeper::new(config.mode, config.log_bytes)))
    }
}

impl<K: Keeper> Engine<K> {
    /// An endpoint without groups.
    ///
    /// # Errors
    /// [`ConfigError`] as [`EndpointConfig::validate`].
    pub fn new(config: EndpointConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            io: Io {
                config,
                outbox: Outbox::default(),
                stats: Stats::default(),
                wakes: WakeList::default(),
                turned_away: false,
                mutation: Mutation::default(),
            },
            groups: BTreeMap::new(),
            epochs: 0,
            next_timeout: None,
            closed: false,
            failure: None,
        })
    }

    /// Opens a group with the keeper that `keeper` makes, once everything else is known to be right:
    /// of the group's configuration, and of what frames must match to reach its rules. What the keeper
    /// brings from an earlier life goes on: whom it follows, and what it must not lead again.
    ///
    /// # Errors
    /// [`ConfigError`] as [`GroupConfig::validate`], or [`ConfigError::GroupOpen`];
    /// [`ended`](Self::ended) on a closed endpoint; and those of `keeper`.
    pub fn open_with(
        &mut self,
        config: GroupConfig,
        keeper: impl FnOnce(&GroupConfig, Gate) -> Result<K>,
    ) -> Result<GroupKey> {
        if self.closed {
            return Err(self.ended());
        }
        config.validate(&self.io.config)?;
        let (group, mode) = (config.group, config.mode);
        if self.groups.contains_key(&group) {
            return Err(ConfigError::GroupOpen { group }.into());
        }
        let seat = Seat::new(group, config.membership.clone(), &self.io.config)?;
        let keeper = keeper(&config, seat.gate)?;
        let opened = Group::new(config, seat, keeper);
        self.epochs += 1;
        self.groups.insert(group, (self.epochs, opened));
        Ok(GroupKey { group, mode, epoch: self.epochs })
    }

    /// Closes a group; its waiting tasks are woken and find it closed.
    pub fn close(&mut self, key: GroupKey) {
        if self.io.mutation.is(Mutant::AckAfterClose) {
            if let Some((epoch, _)) = self.groups.get_mut(&key.group) {
                *epoch = 0;
            }
            return;
        }
        if self.groups.get(&key.group).is_some_and(|(epoch, _)| *epoch == key.epoch)
            && let Some((_, mut group)) = self.groups.remove(&key.group)
        {
            group.end();
            if !self.io.mutation.is(Mutant::CloseWakesNobody) {
                group.fire_all(&mut self.io);
            }
        }
    }

    /// Closes the endpoint with all of its groups, and sends nothing any more.
    pub fn close_all(&mut self) {
        self.closed = true;
        for (_, mut group) in core::mem::take(&mut self.groups).into_values() {
            group.fire_all(&mut self.io);
        }
        self.io.outbox = Outbox::default();
        self.next_timeout = None;
    }

    /// As [`close_all`](Self::close_all), by the backend itself: it can no longer work. From now on every
    /// call says why ([`TransportError::Unavailable`]).
    pub fn fail(&mut self, backend: &'static str, reason: Obstacle, why: String) {
        self.failure.get_or_insert((backend, reason, why));
        self.close_all();
    }

    /// What calls on a closed endpoint end with: [`TransportError::Closed`], or why the backend failed.
    #[must_use]
    pub fn ended(&self) -> TransportError {
        ended(self.failure.as_ref())
    }

    /// Wakes every waiting task, to look again: for a backend whose driver has ended under them.
    pub fn wake_all(&mut self) {
        for (_, group) in self.groups.values_mut() {
            group.fire_all(&mut self.io);
        }
    }

    /// The backend's kernel did something for a group without a datagram: wakes whoever waits for
    /// it, and takes in how far the members have come. Of a group that is not open it means nothing.
    pub fn stir(&mut self, now: Time, group: GroupId, news: News) {
        let Some((_, group)) = self.groups.get_mut(&group) else { return };
        group.stir(news, &mut self.io, now);
        let timeout = group.next_timeout(&self.io);
        self.expect_timeout(timeout);
    }

    /// A group with what it needs of the endpoint.
    fn group(&mut self, key: GroupKey) -> Result<(&mut Group<K>, &mut Io)> {
        match self.groups.get_mut(&key.group) {
            Some((epoch, group)) if *epoch == key.epoch => Ok((group, &mut self.io)),
            _ => Err(ended(self.failure.as_ref())),
        }
    }

    /// As [`group`](Self::group), for calls that may start a timer.
    fn group_and_timer<T>(
        &mut self,
        key: GroupKey,
        call: impl FnOnce(&mut Group<K>, &mut Io) -> Result<T>,
    ) -> Result<T> {
        let (group, io) = self.group(key)?;
        let result = call(group, io);
        let timeout = group.next_timeout(io);
        self.expect_timeout(timeout);
        result
    }

    fn expect_timeout(&mut self, timeout: Option<Time>) {
        self.next_timeout = match (self.next_timeout, timeout) {
            (Some(current), Some(new)) => Some(current.min(new)),
            (current, new) => current.or(new),
        };
    }

    /// Takes in a datagram. Whatever it holds, it ends in exactly one `Rx*` counter.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        let (header, body) = match Header::decode(datagram) {
            Ok(frame) => frame,
            Err(WireError::Length) if self.io.mutation.is(Mutant::LenientLength) => {
                return self.mutate_length(now, from, datagram);
            }
            Err(_) if self.io.mutation.is(Mutant::UncountedDrop) => return,
            Err(error) => return self.io.stats.add(error.into(), 1),
        };
        if body.len() > self.io.config.body_len_max() {
            return self.io.stats.add(Counter::RxLength, 1);
        }
        if header.cluster != self.io.config.cluster
            && !self.io.mutation.is(Mutant::SkipClusterCheck)
        {
            return self.io.stats.add(Counter::RxForeignCluster, 1);
        }
        let header = self.mutate_header(header);
        let Some((_, group)) = self.groups.get_mut(&header.group) else {
            return self.io.stats.add(Counter::RxUnknownGroup, 1);
        };
        group.handle_frame(&header, datagram, from, &mut self.io, now);
        let timeout = group.next_timeout(&self.io);
        self.expect_timeout(timeout);
    }

    /// The header as a broken engine reads it.
    #[inline(always)]
    fn mutate_header(&self, mut header: Header) -> Header {
        if self.io.mutation.is(Mutant::CutTo32Bits) {
            for number in [&mut header.ballot.0, &mut header.first.0, &mut header.last.0] {
                *number &= u64::from(u32::MAX);
            }
        }
        if self.io.mutation.is(Mutant::CountForeignGroup)
            && let Some(&group) = self.groups.keys().next()
            && header.kind == FrameKind::Accepted
        {
            header.group = group;
        }
        header
    }

    /// A broken engine handles a frame whose length is wrong.
    fn mutate_length(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        let decoded = datagram.first_chunk().map(Header::decode_head);
        if let Some(Ok(header)) = decoded
            && let Some((_, group)) = self.groups.get_mut(&header.group)
        {
            group.handle_frame(&header, datagram, from, &mut self.io, now);
        }
    }

    /// From now on the engine is broken in this way.
    #[cfg(feature = "mutants")]
    pub fn set_mutant(&mut self, mutant: Option<Mutant>) {
        self.io.mutation.which = mutant;
    }

    /// Retransmits what is due. Cheap if nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_timeout.is_none_or(|due| due > now) {
            return;
        }
        let mut next: Option<Time> = None;
        for (_, group) in self.groups.values_mut() {
            group.handle_timeout(&mut self.io, now);
            let timeout = group.next_timeout(&self.io);
            next = match (next, timeout) {
                (Some(current), Some(new)) => Some(current.min(new)),
                (current, new) => current.or(new),
            };
        }
        self.next_timeout = next;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, at the earliest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.next_timeout
    }

    /// What waits to be sent.
    pub const fn outbox(&mut self) -> &mut Outbox {
        &mut self.io.outbox
    }

    /// The outbox has been emptied as far as the network takes it: whoever was turned away because
    /// it was full may try again. Call it after every flush.
    pub fn flushed(&mut self) {
        if self.io.turned_away && !self.io.outbox.is_full() {
            self.io.turned_away = false;
            for (_, group) in self.groups.values_mut() {
                group.fire_window(&mut self.io);
            }
        }
    }

    /// The counters, for the backend to add its own.
    pub const fn stats(&mut self) -> &mut Stats {
        &mut self.io.stats
    }

    /// The endpoint's configuration.
    #[must_use]
    pub const fn config(&self) -> &EndpointConfig {
        &self.io.config
    }

    /// Whether the endpoint was closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whom to wake, once the lock is released.
    pub fn take_wakes(&mut self) -> WakeList {
        core::mem::take(&mut self.io.wakes)
    }
}
