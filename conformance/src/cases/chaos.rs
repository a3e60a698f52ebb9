//! Random histories: every verb and every disturbance in any order, the ledger judging all of it, and
//! at the end, on a whole network again, everybody comes to the same log.

use std::time::Duration;

use electrode_transport::{AckMode, Ballot, Probe, TransportError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::MODES;
use crate::case::Stage;
use crate::harness::{Link, SetupError};
use crate::lab::Lab;
use crate::spec::ClusterSpec;

/// How likely each kind of event is at a step, in thousandths.
#[derive(Clone, Copy)]
struct Weather {
    elections: u32,
    promises: u32,
    crashes: u32,
    partitions: u32,
    pauses: u32,
    reconfigurations: u32,
    bad_links: bool,
    small_logs: bool,
    nodes: usize,
}

const CALM: Weather = Weather {
    elections: 0,
    promises: 0,
    crashes: 0,
    partitions: 0,
    pauses: 0,
    reconfigurations: 0,
    bad_links: true,
    small_logs: false,
    nodes: 3,
};

/// Slow libraries with small logs on a bad network.
pub(super) fn small_logs(stage: &Stage<'_>) -> Result<(), SetupError> {
    run(stage, Weather { small_logs: true, elections: 10, ..CALM })
}

/// One leadership after the other, and promises that lead to none.
pub(super) fn leader_changes(stage: &Stage<'_>) -> Result<(), SetupError> {
    run(stage, Weather { elections: 60, promises: 40, pauses: 20, nodes: 5, ..CALM })
}

/// Partitions that come and go.
pub(super) fn partitions(stage: &Stage<'_>) -> Result<(), SetupError> {
    run(stage, Weather { partitions: 60, elections: 10, nodes: 5, ..CALM })
}

/// Members that die and come back.
pub(super) fn crashes(stage: &Stage<'_>) -> Result<(), SetupError> {
    run(stage, Weather { crashes: 40, elections: 20, ..CALM })
}

/// The membership changes all the time.
pub(super) fn reconfigurations(stage: &Stage<'_>) -> Result<(), SetupError> {
    run(stage, Weather { reconfigurations: 30, elections: 10, nodes: 5, ..CALM })
}

/// Everything at once.
pub(super) fn everything(stage: &Stage<'_>) -> Result<(), SetupError> {
    let weather = Weather {
        elections: 30,
        promises: 15,
        crashes: 15,
        partitions: 20,
        pauses: 15,
        reconfigurations: 10,
        bad_links: true,
        small_logs: true,
        nodes: 5,
    };
    run(stage, weather)
}

fn run(stage: &Stage<'_>, weather: Weather) -> Result<(), SetupError> {
    stage.each_seed(100, 3, |seed| {
        for mode in MODES {
            let mut spec =
                ClusterSpec { window_frames: 16, ..ClusterSpec::voters(weather.nodes, mode) };
            if weather.small_logs {
                // A few dozen of the suite's small values, so that logs run full.
                spec.datagram_len_max = 200;
                spec.log_bytes = 600;
            }
            let lab = stage.lab_seeded(&spec, seed)?;
            Storm::new(lab, weather, seed).run(if stage.is_virtual() { 200 } else { 80 });
        }
        Ok(())
    })
}

struct Storm {
    lab: Lab,
    dice: ChaCha8Rng,
    weather: Weather,
    /// The newest ballot that anybody led, and who.
    ballot: u64,
    leader: usize,
    base: u64,
    /// The highest ballot that anybody promised.
    promised: u64,
    /// The leader's next slot at the newest ballot.
    next: u64,
    /// Which ballot each node follows.
    follows: Vec<u64>,
    paused: Option<usize>,
    probes: Vec<Probe>,
}

impl Storm {
    fn new(lab: Lab, weather: Weather, seed: u64) -> Self {
        let nodes = weather.nodes;
        let mut storm = Self {
            lab,
            dice: ChaCha8Rng::seed_from_u64(seed),
            weather,
            ballot: 0,
            leader: 0,
            base: 1,
            promised: 0,
            next: 1,
            follows: vec![0; nodes],
            paused: None,
            probes: Vec::new(),
        };
        if weather.bad_links {
            storm.lab.set_links(Link::BAD);
        }
        storm.elect();
        storm
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.calm_down();
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.dice.random_range(0..1_000) < thousandths
    }

    fn any_node(&mut self) -> usize {
        self.dice.random_range(0..self.weather.nodes)
    }

    /// Whether a call on this node is one that a running library makes.
    fn runs(&self, node: usize) -> bool {
        self.lab.is_alive(node) && self.paused != Some(node)
    }

    fn step(&mut self) {
        let Weather { elections, promises, crashes, partitions, pauses, reconfigurations, .. } =
            self.weather;
        if self.chance(elections) {
            self.elect();
        }
        if self.chance(promises) {
            self.promise();
        }
        if self.chance(crashes) {
            self.crash_or_restart();
        }
        if self.chance(partitions) {
            self.cut_or_mend();
        }
        if self.chance(pauses) {
            self.pause_or_thaw();
        }
        if self.chance(reconfigurations) {
            self.reconfigure();
        }
        self.propose();
        self.join();
        self.serve();
        self.judge();
        let micros = self.dice.random_range(0..1_500);
        self.lab.advance(Duration::from_micros(micros));
    }

    /// A running node leads at a new ballot; some follow at once, others when they come to it.
    fn elect(&mut self) {
        let leader = self.any_node();
        if !self.runs(leader) {
            return;
        }
        self.ballot = self.promised + 1;
        self.promised = self.ballot;
        self.leader = leader;
        self.base = self.next;
        self.probes.clear();
        self.lab.lead(leader, self.ballot, self.base);
        self.follows[leader] = self.ballot;
    }

    /// A node promises a ballot at which nobody will lead.
    fn promise(&mut self) {
        let node = self.any_node();
        if self.runs(node) {
            self.promised += 1;
            self.lab.raise(node, self.promised);
            self.follows[node] = 0;
        }
    }

    /// Whether the newest leader lives and leads: it may have promised or crashed.
    fn leads(&self) -> bool {
        self.runs(self.leader) && self.follows[self.leader] == self.ballot
    }

    fn propose(&mut self) {
        if !self.leads() || self.chance(400) {
            return;
        }
        let count = self.dice.random_range(1..=5);
        match self.lab.broadcast(self.leader, self.ballot, self.next..=self.next + count - 1) {
            Ok(sent) => self.next = sent.0 + 1,
            Err(TransportError::Backpressure) => {}
            Err(other) => panic!("the leader cannot broadcast: {other}"),
        }
        let last = self.next - 1;
        if self.lab.spec.mode == AckMode::Persisted && last >= self.base && !self.chance(300) {
            self.lab.acknowledge(self.leader, self.ballot, last);
        }
    }

    /// A node that does not follow the newest ballot comes to it, unless it has promised beyond.
    fn join(&mut self) {
        let node = self.any_node();
        let behind = self.follows[node] != self.ballot && node != self.leader;
        if !behind || !self.runs(node) || self.promised > self.ballot {
            return;
        }
        let sent = self.lab.ledger.sent_through(self.lab.group, Ballot(self.ballot)).0;
        // Sometimes the library has already been sent a part of the new log.
        let ahead =
            if self.chance(300) { self.dice.random_range(0..=sent + 1 - self.base) } else { 0 };
        self.lab.follow(node, self.leader, self.ballot, self.base + ahead);
        self.follows[node] = self.ballot;
    }

    fn serve(&mut self) {
        let node = self.any_node();
        if !self.runs(node) {
            return;
        }
        self.lab.poll(node);
        let ballot = self.follows[node];
        if self.lab.spec.mode == AckMode::Persisted && ballot != 0 && node != self.leader {
            let held = self.lab.held(node, ballot);
            let kept = held.saturating_sub(self.dice.random_range(0..3));
            if kept > 0 {
                self.lab.acknowledge(node, ballot, kept);
            }
        }
    }

    fn crash_or_restart(&mut self) {
        let node = self.any_node();
        if !self.lab.is_alive(node) {
            self.lab.restart(node);
            // A restarted library promises at least what it had promised before.
            self.lab.raise(node, self.promised);
            return;
        }
        if self.paused == Some(node) {
            return;
        }
        self.lab.crash(node);
        self.follows[node] = 0;
    }

    fn cut_or_mend(&mut self) {
        if self.chance(500) {
            let side: Vec<_> =
                (0..self.weather.nodes).filter(|_| self.dice.random_bool(0.4)).collect();
            self.lab.partition(&side);
        } else {
            self.lab.set_links(if self.weather.bad_links { Link::BAD } else { Link::CLEAN });
        }
    }

    fn pause_or_thaw(&mut self) {
        match self.paused.take() {
            Some(node) => self.lab.set_paused(node, false),
            None => {
                let node = self.any_node();
                if self.lab.is_alive(node) {
                    self.lab.set_paused(node, true);
                    self.paused = Some(node);
                }
            }
        }
    }

    /// Everybody is given a new membership of the same nodes: one of them learns for a while.
    fn reconfigure(&mut self) {
        let all_run = (0..self.weather.nodes).all(|node| self.runs(node));
        if !all_run {
            return;
        }
        self.judge();
        let mut next = self.lab.roster(0);
        next.incarnation.0 += 1;
        match next.learners.pop() {
            Some(node) => next.voters.push(node),
            None => {
                let place = self.dice.random_range(0..next.voters.len());
                let learner = next.voters.remove(place);
                next.learners.push(learner);
            }
        }
        let joint = self.lab.roster(0).joint.is_none() && self.chance(300);
        next.joint = joint.then(|| self.lab.roster(0).voters);
        for node in 0..self.weather.nodes {
            self.lab.reconfigure(node, &next);
        }
        // The ledger judges a probe's answers by the roster in force when it was asked.
        self.probes.clear();
    }

    fn judge(&mut self) {
        if self.chance(150) {
            self.check();
        }
        if !self.leads() {
            return;
        }
        self.lab.quorum(self.leader, self.ballot);
        let member = self.any_node();
        self.lab.acked(self.leader, self.ballot, member);
        if self.chance(100) {
            let probe = self.lab.probe(self.leader, self.ballot);
            self.probes.push(probe);
        }
        let probes = core::mem::take(&mut self.probes);
        for probe in probes {
            match self.lab.node(self.leader).try_confirmed(probe) {
                Ok(true) => assert!(self.lab.confirmed(self.leader, probe)),
                Ok(false) => self.probes.push(probe),
                Err(TransportError::Superseded { .. }) => {}
                Err(other) => panic!("a leader is not told about its probe: {other}"),
            }
        }
    }

    /// Judges all claims. A paused process is not asked.
    fn check(&mut self) {
        if self.paused.is_none() {
            self.lab.check();
        }
    }

    /// Whole again, a new leader's slots reach everybody: nothing that happened has left a mark.
    fn calm_down(&mut self) {
        if let Some(node) = self.paused.take() {
            self.lab.set_paused(node, false);
        }
        self.lab.set_links(Link::CLEAN);
        for node in 0..self.weather.nodes {
            if !self.lab.is_alive(node) {
                self.lab.restart(node);
            }
        }
        self.check();
        let (leader, ballot, next) = (0, self.promised + 1, self.next);
        self.lab.elect(leader, ballot, next);
        self.lab.propose(leader, ballot, next..=next + 9);
        self.lab.until_all(leader, ballot, next + 9);
        self.lab.until_quorum(leader, ballot, next + 9);
        let probe = self.lab.probe(leader, ballot);
        self.lab.until("the last leader is confirmed", |lab| lab.confirmed(leader, probe));
        self.check();
    }
}
