//! One run: a cluster, its clients and its misfortunes under virtual time, and the checks.

use std::collections::BTreeMap;
use std::time::Duration;

use electrode_multi_paxos::{Event, ReplicaError, RoleName, StoreError};
use electrode_transport::memory::{Faults, MemoryNetwork};
use electrode_transport::{AckMode, Membership, NodeId, QuorumRule};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::Client;
use crate::history::History;
use crate::node::Node;
use crate::plan::Plan;
use crate::totals::Totals;

/// What was promised and did not hold.
pub(crate) type Violation = String;

/// Virtual time moves by this much between looks at the nodes.
const QUANTUM: Duration = Duration::from_micros(50);
/// Virtual time within which a healed cluster must have answered everybody and agree.
const LIVENESS: Duration = Duration::from_secs(4);
/// Operations that each client must complete after the network has healed.
const OPERATIONS_AFTER: u64 = 2;

pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) history: History,
    pub(crate) dice: ChaCha8Rng,
    pub(crate) now: Duration,
    pub(crate) next_id: u64,
    pub(crate) totals: Totals,
    membership: Membership,
    /// What was applied at each slot, with everything before it, by whoever was first.
    applied: BTreeMap<u64, u64>,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let network = MemoryNetwork::new(plan.seed);
        network.set_faults(plan.faults);
        let membership = network.membership(plan.replicas, QuorumRule::Majority);
        let nodes = (1..=u64::from(plan.replicas)).map(|id| Node::new(NodeId(id), &plan)).collect();
        let mut totals = Totals { runs: 1, ..Totals::default() };
        totals.runs_received = u64::from(plan.mode == AckMode::Received);
        totals.runs_of_five = u64::from(plan.replicas == 5);
        Self {
            clients: (0..plan.clients).map(|_| Client::new()).collect(),
            history: History::default(),
            dice: ChaCha8Rng::seed_from_u64(plan.seed),
            now: Duration::ZERO,
            next_id: 0,
            totals,
            membership,
            applied: BTreeMap::new(),
            nodes,
            network,
            plan,
        }
    }

    /// Moves time by a quantum and lets everybody do what is due.
    fn tick(&mut self) -> Result<(), Violation> {
        self.network.advance(QUANTUM);
        self.now = Duration::from_nanos(self.network.now().0);
        for index in 0..self.nodes.len() {
            self.tick_node(index)?;
        }
        for index in 0..self.clients.len() {
            self.step_client(index);
        }
        Ok(())
    }

    fn tick_node(&mut self, index: usize) -> Result<(), Violation> {
        let lag = Duration::from_micros(self.dice.random_range(0..self.plan.poll_lag_us));
        let node = &mut self.nodes[index];
        if node.paused_until.is_some_and(|until| until <= self.now) {
            node.paused_until = None;
            self.network.set_paused(node.address, false);
        }
        if node.restart_at.is_some_and(|at| at <= self.now) {
            node.start(&self.network, &self.membership, &self.plan, self.now)
                .map_err(|error| format!("node {} does not start: {error:?}", node.id))?;
        }
        match node.poll(self.now, lag) {
            Ok(false) => {}
            Ok(true) => self.collect(index)?,
            Err(ReplicaError::Store(StoreError::Full { .. })) => {
                self.collect(index)?;
                self.crash(index);
            }
            Err(error) => return Err(format!("node {} stopped: {error:?}", node.id)),
        }
        Ok(())
    }

    /// Takes a replica's events, and checks what it applied.
    fn collect(&mut self, index: usize) -> Result<(), Violation> {
        while let Some(event) = self.nodes[index].replica().and_then(|r| r.next_event()) {
            if let Event::Applied { slot, digest } = event {
                let first = *self.applied.entry(slot.0).or_insert(digest);
                if first != digest {
                    let id = self.nodes[index].id;
                    return Err(format!(
                        "agreement: node {id} applied another value at slot {slot}"
                    ));
                }
            } else {
                self.handle_event(event)?;
            }
        }
        let machine = self.nodes[index].peek().map(|replica| replica.machine());
        if let Some(machine) = machine.filter(|machine| !machine.repeated.is_empty()) {
            let commands = &machine.repeated;
            return Err(format!("at most once: commands {commands:?} were executed again"));
        }
        Ok(())
    }

    fn rage(&mut self) -> Result<(), Violation> {
        let mut strike_at = self.plan.fault_gap * 2;
        while self.now < self.plan.chaos {
            self.tick()?;
            if self.now >= strike_at {
                self.strike();
                strike_at =
                    self.now + self.plan.fault_gap.mul_f64(self.dice.random_range(0.1..1.0));
            }
        }
        Ok(())
    }

    /// Ends all faults: from here on the cluster must make progress.
    fn heal(&mut self) {
        self.network.heal();
        self.network.set_faults(Faults::default());
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.and(Some(self.now));
            node.restart_at = node.restart_at.and(Some(self.now));
            node.stalled_until = Duration::ZERO;
            node.store.inner.set_full(false);
        }
    }

    fn settle(&mut self) -> Result<(), Violation> {
        let until = self.now + LIVENESS;
        let goals: Vec<_> =
            self.clients.iter().map(|client| client.done + OPERATIONS_AFTER).collect();
        while self.clients.iter().zip(&goals).any(|(client, goal)| client.done < *goal) {
            self.tick()?;
            if self.now >= until {
                return Err(format!("liveness: clients wait {LIVENESS:?} after all faults ended"));
            }
        }
        self.clients.clear();
        while !self.is_settled() {
            self.tick()?;
            if self.now >= until {
                let status: Vec<_> =
                    self.nodes.iter().map(|n| n.peek().map(|r| r.status())).collect();
                return Err(format!("liveness: replicas still differ: {status:#?}"));
            }
        }
        Ok(())
    }

    /// One leader, and everybody has applied the same.
    fn is_settled(&self) -> bool {
        let statuses: Option<Vec<_>> =
            self.nodes.iter().map(|node| node.peek().map(|replica| replica.status())).collect();
        let Some(statuses) = statuses else { return false };
        let leaders = statuses.iter().filter(|status| status.role == RoleName::Leader).count();
        let first = (statuses[0].applied, statuses[0].digest);
        leaders == 1
            && statuses.iter().all(|status| (status.applied, status.digest) == first)
            && statuses.iter().all(|status| status.in_flight == 0)
    }

    fn check(&mut self) -> Result<(), Violation> {
        let machines: Vec<_> =
            self.nodes.iter().filter_map(|node| node.peek().map(|r| r.machine())).collect();
        if machines.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err("agreement: equal logs, different states".to_owned());
        }
        if let Some(&key) = self.history.violations().first() {
            let calls = self.history.describe(key);
            return Err(format!("linearizability: no register answers so (key {key}):\n{calls}"));
        }
        Ok(())
    }

    /// A number that equal runs share.
    fn digest(&self) -> u64 {
        let applied = self.applied.last_key_value().map_or(0, |(slot, digest)| slot ^ digest);
        self.network.digest() ^ applied.rotate_left(17) ^ self.history.digest().rotate_left(31)
    }
}

/// Runs a plan to its end: what it exercised and its digest, or what did not hold.
pub(crate) fn run(plan: Plan) -> Result<(Totals, u64), Violation> {
    let mut run = Run::new(plan);
    run.rage()?;
    run.heal();
    run.settle()?;
    run.check()?;
    for node in &run.nodes {
        node.count(&mut run.totals);
    }
    run.totals.operations = run.history.completed() as u64;
    run.totals.unanswered = run.history.unanswered() as u64;
    let digest = run.digest();
    Ok((run.totals, digest))
}
