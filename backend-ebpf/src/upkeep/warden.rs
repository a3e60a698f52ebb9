//! The warden's rounds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::event::sleep;
use super::guard::Guard;
use super::mailbox::{Hops, Mailbox};
use super::pause::Pause;
use crate::attach::{Attachment, Post};
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::net::{LinkState, NextHop, NextHops, Requests, Watch, index_of_address};
use crate::shared::Shared;

/// How often it is looked whether the programs are in place. The kernel tells nobody when a link is
/// detached, so this bounds how long a leader goes on without its egress program.
const CHECK: Duration = Duration::from_millis(100);
/// How soon the tables of neighbours and routes are read again, however fast they change.
const READ_AGAIN: Duration = Duration::from_millis(10);

/// For how long a peer is avoided to whom the system refuses to send: twice as long each time that it does
/// so soon after.
const AVOID_MIN: Duration = Duration::from_secs(1);
const AVOID_MAX: Duration = Duration::from_secs(64);

#[derive(Clone, Copy, Debug)]
struct Avoided {
    until: Instant,
    span: Duration,
    /// It is tried again.
    is_over: bool,
}

/// The guards: first that of the ingress program.
const GUARDS: std::ops::Range<usize> = 0..2;
const EGRESS: usize = 1;

/// What is fixed about the endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) address: IpAddr,
    /// Bytes of the longest packet that it sends.
    pub(crate) packet_len_max: usize,
}

impl Site {
    /// The members' next hops from an interface that has the address.
    pub(crate) fn next_hops(&self, interface: u32) -> Result<NextHops, EbpfError> {
        Ok(NextHops::open(interface, self.address)?.for_packets_of(self.packet_len_max))
    }
}

/// Where the endpoint's address is.
#[derive(Debug)]
struct Home {
    watch: Watch,
    next_hops: NextHops,
}

#[derive(Debug)]
pub(crate) struct Warden {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    site: Site,
    requests: Requests,
    /// `None` while no interface has the address.
    home: Option<Home>,
    /// The attempts to find one.
    search: Pause,
    guards: [Guard; 2],
    check_at: Instant,
    /// What was told of the peers' hardware addresses.
    told: Hops,
    /// Some group knows less than that: it has new members.
    retell: bool,
    /// The kernel did not say whether the address is still there.
    recheck: bool,
    /// Peers to whom the system has refused to send: until when nothing of theirs is told.
    avoided: BTreeMap<IpAddr, Avoided>,
    /// There may be other ones.
    stale: bool,
    read_at: Instant,
}

impl Warden {
    /// Over programs that are in place on the watched interface. To be called in its network namespace.
    ///
    /// # Errors
    /// [`EbpfError::Netlink`], [`EbpfError::Io`] if there is no descriptor left.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        site: Site,
        hook: Hook,
        watch: Watch,
        [ingress, egress]: [Attachment; 2],
    ) -> Result<Self, EbpfError> {
        let failed = |source| EbpfError::Netlink { operation: "open a socket", source };
        let requests = Requests::open().map_err(failed)?;
        let next_hops = site.next_hops(watch.interface().index)?;
        let mailbox = Mailbox::new()
            .map_err(|source| EbpfError::Io { operation: "make an eventfd", source })?;
        let now = Instant::now();
        Ok(Self {
            shared: Arc::clone(shared),
            mailbox: Arc::new(mailbox),
            site,
            requests,
            home: Some(Home { watch, next_hops }),
            search: Pause::new(now),
            guards: [
                Guard::new(Post::Ingress(hook), ingress, now),
                Guard::new(Post::Egress, egress, now),
            ],
            check_at: now + CHECK,
            told: Hops::new(),
            retell: false,
            recheck: false,
            avoided: BTreeMap::new(),
            stale: false,
            read_at: now,
        })
    }

    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    pub(super) fn run(mut self) {
        while !self.shared.briefing.has_ended() {
            let now = Instant::now();
            self.round(now);
            let watch = self.home.as_ref().map(|home| home.watch.as_fd());
            let next = self.next_round().saturating_duration_since(Instant::now());
            sleep(self.shared.briefing.as_fd(), watch, next);
        }
    }

    fn round(&mut self, now: Instant) {
        if self.shared.briefing.take_changed() {
            (self.stale, self.retell) = (true, true);
        }
        self.follow_refusals(now);
        match &self.home {
            Some(_) => self.follow(now),
            None => self.search(now),
        }
        if now >= self.check_at {
            self.check_at = now + CHECK;
            self.check(now);
        }
        self.restore(now);
        if self.stale && now >= self.read_at + READ_AGAIN {
            self.read_hops(now);
        }
    }

    /// When there is something to do if nothing happens.
    fn next_round(&self) -> Instant {
        let mut next = self.check_at;
        if self.home.is_none() {
            next = next.min(self.search.next());
        }
        for index in GUARDS {
            let guard = &self.guards[index];
            if !guard.is_attached() && self.has_place_for(index) {
                next = next.min(guard.pause.next());
            }
        }
        let avoided = self.avoided.values().filter(|it| !it.is_over);
        next = avoided.map(|it| it.until).fold(next, Instant::min);
        if self.stale && self.home.is_some() { next.min(self.read_at + READ_AGAIN) } else { next }
    }

    /// Whoever a firewall or a route keeps from being sent to would take the others' copies along.
    fn follow_refusals(&mut self, now: Instant) {
        for it in self.avoided.values_mut().filter(|it| !it.is_over && now >= it.until) {
            (it.is_over, self.stale) = (true, true);
        }
        self.avoided.retain(|_, it| now < it.until + it.span);
        for peer in self.shared.briefing.take_avoided() {
            let span = match self.avoided.get(&peer) {
                Some(it) if !it.is_over => continue,
                Some(it) => (2 * it.span).min(AVOID_MAX),
                None => AVOID_MIN,
            };
            tracing::warn!(%peer, ?span, "the system refuses to send to it: broadcasts are copied from another's packet");
            self.avoided.insert(peer, Avoided { until: now + span, span, is_over: false });
            self.stale = true;
        }
    }

    /// What the kernel tells of the interface and its surroundings.
    fn follow(&mut self, now: Instant) {
        let Some(home) = &mut self.home else { return };
        let name = home.watch.interface().name.clone();
        let changes = match home.watch.poll() {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, interface = name, "it can no longer be followed");
                return self.leave("it can no longer be followed", now);
            }
        };
        let interface = home.watch.interface();
        let index = interface.index;
        self.stale |= changes.neighbours || changes.routes || changes.link.is_some();
        if changes.interface {
            let (now, mtu) = (&interface.name, interface.mtu);
            tracing::info!(interface = name, now, mtu, "the interface has changed");
        }
        match changes.link {
            Some(LinkState::Gone) => return self.leave("its interface is gone", now),
            Some(LinkState::Down) => tracing::warn!(interface = name, "the link is down"),
            Some(LinkState::Up) => tracing::info!(interface = name, "the link is up again"),
            None => {}
        }
        let is_checked = changes.addresses || std::mem::take(&mut self.recheck);
        if is_checked && !self.still_at(index) {
            return self.leave("the endpoint's address has left the interface", now);
        }
        if self.guards[EGRESS].is_attached() && !self.has_place_for(EGRESS) {
            // A datagram in fragments is none to the egress program: neither copied nor armed.
            self.lose(EGRESS, "the MTU is less than a datagram", now);
        }
    }

    fn still_at(&mut self, index: u32) -> bool {
        let found = index_of_address(&mut self.requests, self.site.address, Some(index));
        match found {
            Ok(found) => found == Some(index),
            Err(error) => {
                tracing::debug!(%error, "whether the address is still there is asked again");
                self.recheck = true;
                true
            }
        }
    }

    /// Whether the program would be of use where the endpoint's address is now.
    fn has_place_for(&self, index: usize) -> bool {
        let Some(home) = &self.home else { return false };
        index != EGRESS || self.site.packet_len_max <= home.watch.interface().mtu as usize
    }

    fn check(&mut self, now: Instant) {
        for index in GUARDS {
            if let Some(why) = self.guards[index].look() {
                self.lose(index, why, now);
            }
        }
    }

    /// The order matters: see the module.
    fn lose(&mut self, index: usize, why: &str, now: Instant) {
        let guard = &mut self.guards[index];
        self.shared.unmark(guard.mark());
        if index == EGRESS {
            self.mailbox.put(|findings| findings.unarmed = true);
        }
        guard.withdraw(&self.shared.kernel, now);
        self.mailbox.lost.fetch_add(1, Ordering::Relaxed);
        let address = self.site.address;
        tracing::warn!(
            %address,
            program = guard.name(),
            why,
            "a program is no longer in place: user space does its work"
        );
    }

    /// Gives up the interface: the endpoint's address is not on it any more.
    fn leave(&mut self, why: &str, now: Instant) {
        for index in GUARDS {
            if self.guards[index].is_attached() {
                self.lose(index, why, now);
            }
        }
        self.home = None;
        self.search.reset(now);
        self.tell(self.told.keys().map(|&peer| (peer, None)).collect());
    }

    fn search(&mut self, now: Instant) {
        if !self.search.is_over(now) {
            return;
        }
        match self.find_home() {
            Ok(Some(home)) => {
                let (interface, index) =
                    (home.watch.interface().name.clone(), home.watch.interface().index);
                let address = self.site.address;
                tracing::info!(%address, interface, index, "the endpoint's address is on an interface again");
                self.home = Some(home);
                self.guards.iter_mut().for_each(|guard| guard.pause.reset(now));
                self.stale = true;
            }
            Ok(None) => self.search.fail(now),
            Err(error) => {
                tracing::debug!(%error, "no interface can be looked for");
                self.search.fail(now);
            }
        }
    }

    fn find_home(&mut self) -> Result<Option<Home>, EbpfError> {
        let address = self.site.address;
        let failed = |source| EbpfError::Netlink { operation: "list the addresses", source };
        let find = |requests: &mut Requests, preferred| {
            index_of_address(requests, address, preferred).map_err(failed)
        };
        let Some(index) = find(&mut self.requests, None)? else { return Ok(None) };
        let watch = match Watch::open(index) {
            Ok(watch) => watch,
            Err(EbpfError::NoSuchInterface { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // From here on every change is told; there may have been one just before.
        if find(&mut self.requests, Some(index))? != Some(index) {
            return Ok(None);
        }
        let next_hops = self.site.next_hops(index)?;
        Ok(Some(Home { watch, next_hops }))
    }

    fn restore(&mut self, now: Instant) {
        for index in GUARDS {
            let guard = &self.guards[index];
            if guard.is_attached() || !self.has_place_for(index) || !guard.pause.is_over(now) {
                continue;
            }
            let Some(home) = &self.home else { return };
            let guard = &mut self.guards[index];
            if guard.restore(&self.shared.kernel, home.watch.interface(), now) {
                self.shared.mark(guard.mark());
                self.mailbox.regained.fetch_add(1, Ordering::Relaxed);
                let interface = &home.watch.interface().name;
                tracing::info!(interface, program = guard.name(), "a program is in place again");
            }
        }
    }

    fn read_hops(&mut self, now: Instant) {
        let Some(home) = &mut self.home else { return };
        self.stale = false;
        self.read_at = now;
        let peers = self.shared.briefing.all_peers();
        let hops = match home.next_hops.read(peers.iter().copied()) {
            Ok(hops) => {
                let of = |(peer, hop): (IpAddr, Result<NextHop, _>)| {
                    let is_avoided = self.avoided.get(&peer).is_some_and(|it| !it.is_over);
                    (peer, hop.ok().filter(|_| !is_avoided).map(|hop| hop.mac))
                };
                hops.into_iter().map(of).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "nobody's hardware address is known: broadcasts go by the socket");
                peers.into_iter().map(|peer| (peer, None)).collect()
            }
        };
        self.tell(hops);
    }

    fn tell(&mut self, hops: Hops) {
        if hops != self.told || self.retell {
            self.retell = false;
            self.told.clone_from(&hops);
            self.mailbox.put(|findings| findings.hops.extend(hops));
        }
    }
}

/// Also by a panic: nobody looks after the programs any more. They go with the guards, but for those that
/// are pinned: those are for whoever comes next.
impl Drop for Warden {
    fn drop(&mut self) {
        self.guards.iter().for_each(|guard| self.shared.unmark(guard.mark()));
        self.mailbox.put(|findings| findings.unarmed = true);
    }
}
