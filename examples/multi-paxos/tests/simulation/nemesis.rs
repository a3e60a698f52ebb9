//! What goes wrong, and when.

use std::time::Duration;

use electrode_multi_paxos::RoleName;
use electrode_transport::AckMode;
use rand::RngExt;

use crate::run::Run;

impl Run {
    /// Lets one thing go wrong.
    pub(crate) fn strike(&mut self) {
        match self.dice.random_range(0..100) {
            0..24 => self.crash_somebody(),
            24..28 => self.crash_everybody(),
            28..40 => self.pause_somebody(),
            40..52 => self.stall_somebody(),
            52..64 => self.partition(),
            64..72 => self.cut_a_pair(),
            72..80 => self.cut_one_way(),
            80..92 => self.network.heal(),
            92..96 => self.fill_a_disk(),
            _ => self.resign(),
        }
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.peek().is_some_and(|replica| replica.status().role == RoleName::Leader)
        })
    }

    /// The leader as often as not.
    fn victim(&mut self) -> usize {
        let anybody = self.dice.random_range(0..self.nodes.len());
        if self.dice.random_bool(0.5) { self.leader().unwrap_or(anybody) } else { anybody }
    }

    fn later(&mut self, ms: core::ops::Range<u64>) -> Duration {
        self.now + Duration::from_micros(self.dice.random_range(ms.start * 1_000..ms.end * 1_000))
    }

    /// In `Received` mode a minority may be without memory at once, and no more.
    fn may_crash(&self) -> bool {
        let without_memory = |role| role == RoleName::Recovering;
        let down = self
            .nodes
            .iter()
            .filter(|node| node.peek().is_none_or(|replica| without_memory(replica.status().role)));
        self.plan.mode == AckMode::Persisted || down.count() < (self.nodes.len() - 1) / 2
    }

    fn crash_somebody(&mut self) {
        let victim = self.victim();
        if !self.nodes[victim].is_up() || !self.may_crash() {
            return;
        }
        self.totals.leader_kills += u64::from(self.leader() == Some(victim));
        self.crash(victim);
    }

    pub(crate) fn crash(&mut self, victim: usize) {
        let restart_at = self.later(2..self.plan.down_max.as_millis() as u64);
        let node = &mut self.nodes[victim];
        let kept = self.dice.random_range(0..=node.store.inner.unsynced());
        node.crash(&self.network, &self.plan, kept, &mut self.totals);
        node.restart_at = Some(restart_at);
        self.totals.crashes += 1;
    }

    fn crash_everybody(&mut self) {
        if self.plan.mode == AckMode::Received {
            return self.crash_somebody();
        }
        self.totals.crashes_of_all += 1;
        for victim in 0..self.nodes.len() {
            if self.nodes[victim].is_up() {
                self.crash(victim);
            }
        }
    }

    fn pause_somebody(&mut self) {
        let victim = self.victim();
        let until = self.later(5..300);
        let node = &mut self.nodes[victim];
        if node.is_up() && node.paused_until.is_none() {
            self.network.set_paused(node.address, true);
            node.paused_until = Some(until);
            self.totals.pauses += 1;
        }
    }

    /// The process hangs while its transport lives on.
    fn stall_somebody(&mut self) {
        let victim = self.victim();
        let until = self.later(1..300);
        if self.nodes[victim].is_up() {
            self.nodes[victim].stalled_until = until;
            self.totals.stalls += 1;
        }
    }

    /// Two nodes lose each other; the others hear both.
    fn cut_a_pair(&mut self) {
        let (one, other) = (self.victim(), self.dice.random_range(0..self.nodes.len()));
        let (one, other) = (self.nodes[one].address, self.nodes[other].address);
        self.network.set_cut(one, other, true);
        self.network.set_cut(other, one, true);
        self.totals.pairs_cut += 1;
    }

    fn partition(&mut self) {
        let all: Vec<_> = self.nodes.iter().map(|node| node.address).collect();
        let alone = self.victim();
        let mut side = vec![all[alone]];
        if all.len() > 3 && self.dice.random_bool(0.5) {
            side.push(all[(alone + 1) % all.len()]);
        }
        self.network.partition(&all, &side);
        self.totals.partitions += 1;
    }

    fn cut_one_way(&mut self) {
        let (from, to) = (self.victim(), self.dice.random_range(0..self.nodes.len()));
        self.network.set_cut(self.nodes[from].address, self.nodes[to].address, true);
        self.totals.one_way_cuts += 1;
    }

    fn fill_a_disk(&mut self) {
        let victim = self.victim();
        if self.plan.mode == AckMode::Persisted && self.nodes[victim].is_up() {
            self.nodes[victim].store.inner.set_full(true);
            self.totals.disks_full += 1;
        }
    }

    fn resign(&mut self) {
        let Some(leader) = self.leader() else { return };
        if let Some(replica) = self.nodes[leader].replica()
            && replica.resign().is_ok()
        {
            self.totals.resignations += 1;
        }
    }
}
