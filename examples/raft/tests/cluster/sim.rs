//! Three nodes on the simulated network, in virtual time.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::time::Duration;

use electrode_example_raft::{Disk, Node, Options, Ticker};
use electrode_transport::memory::{MemoryNetwork, MemoryTransport};
use electrode_transport::{GroupConfig, GroupId, NodeId, QuorumRule, TransportCore};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cluster::{Agreed, Journal};

pub type MemoryNode = Node<MemoryTransport, Journal>;

pub struct Life {
    pub node: MemoryNode,
    ticker: Ticker,
    checked: usize,
    paused: bool,
}

pub struct Sim {
    pub network: MemoryNetwork,
    pub dice: ChaCha8Rng,
    pub lives: [Option<Life>; 3],
    pub agreed: Agreed,
    disks: [Disk; 3],
    group: GroupConfig,
    options: Options,
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Options::default(), 1_024)
    }

    pub fn with(seed: u64, options: Options, window_frames: usize) -> Self {
        let network = MemoryNetwork::new(seed);
        let mut group = GroupConfig::new(GroupId(1), network.membership(3, QuorumRule::Majority));
        group.window_frames = window_frames;
        let mut sim = Self {
            network,
            dice: ChaCha8Rng::seed_from_u64(seed),
            lives: [None, None, None],
            agreed: Agreed::default(),
            disks: [0; 3].map(|_| Disk::new(1..=3)),
            group,
            options,
        };
        (0..3).for_each(|at| sim.start(at));
        sim
    }

    pub fn address(at: usize) -> std::net::SocketAddr {
        MemoryNetwork::address(NodeId(at as u64 + 1))
    }

    /// Starts a node on its disk. Raft rolls its own dice for election time-outs; a range of one
    /// leaves it no choice, and ours decides: differently for each node, or they would vote for
    /// themselves for ever.
    pub fn start(&mut self, at: usize) {
        let ticks = 15 + 5 * at + self.dice.random_range(0..5);
        let options = Options { election_ticks: ticks..ticks + 1, ..self.options.clone() };
        let endpoint = self.network.endpoint(NodeId(at as u64 + 1)).unwrap();
        let transport = endpoint.join(self.group.clone()).unwrap();
        let node = Node::new(transport, self.disks[at].clone(), Journal::default(), options);
        let now = Duration::from_nanos(self.network.now().0);
        let ticker = Ticker::new(self.options.tick, now);
        let node = node.unwrap();
        self.lives[at] = Some(Life { node, ticker, checked: 0, paused: false });
    }

    /// As `kill -9`.
    pub fn crash(&mut self, at: usize) {
        self.network.crash(Self::address(at));
        self.lives[at] = None;
    }

    /// As `kill -STOP` and `-CONT`.
    pub fn set_paused(&mut self, at: usize, paused: bool) {
        self.network.set_paused(Self::address(at), paused);
        if let Some(life) = &mut self.lives[at] {
            life.paused = paused;
        }
    }

    pub fn node(&mut self, at: usize) -> &mut MemoryNode {
        &mut self.lives[at].as_mut().expect("it runs").node
    }

    pub fn journal(&mut self, at: usize) -> Vec<Vec<u8>> {
        let applied = &self.node(at).machine().applied;
        applied.iter().map(|(_, command)| command.clone()).collect()
    }

    /// One virtual millisecond: the network moves, each node takes in what came, in any order.
    pub fn step(&mut self) {
        self.network.advance(Duration::from_millis(1));
        let now = Duration::from_nanos(self.network.now().0);
        let first = self.dice.random_range(0..3);
        for at in (0..3).map(|offset| (first + offset) % 3) {
            let Some(life) = self.lives[at].as_mut().filter(|life| !life.paused) else { continue };
            life.node.poll().unwrap();
            if life.ticker.is_due(now) {
                life.node.tick().unwrap();
            }
            // A snapshot replaces the journal: all of it is checked again.
            let journal = life.node.machine();
            let from = if journal.applied.len() < life.checked { 0 } else { life.checked };
            life.checked = self.agreed.check(journal, from);
        }
    }

    pub fn run(&mut self, time: Duration) {
        (0..time.as_millis()).for_each(|_| self.step());
    }

    /// Steps until `condition`, at most for `time`.
    #[track_caller]
    pub fn until(
        &mut self,
        what: &str,
        time: Duration,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) {
        for _ in 0..time.as_millis() {
            if condition(self) {
                return;
            }
            self.step();
        }
        for life in self.lives.iter().flatten() {
            eprintln!("{:?}, {:?}", life.node, life.node.transport().stats());
        }
        panic!("not within {time:?}: {what}");
    }

    /// The leader of the highest term, once it is known.
    pub fn leader(&self) -> Option<usize> {
        (0..3)
            .filter(|&at| self.lives[at].as_ref().is_some_and(|life| life.node.is_leader()))
            .max_by_key(|&at| self.lives[at].as_ref().map(|life| life.node.term()))
    }

    pub fn elect(&mut self) -> usize {
        self.until("a leader that all running nodes know", Duration::from_secs(10), |sim| {
            sim.leader().is_some_and(|leader| {
                let id = Some(NodeId(leader as u64 + 1));
                sim.lives.iter().flatten().all(|life| life.node.leader() == id)
            })
        });
        self.leader().expect("just elected")
    }

    /// Proposes at `at` until it is taken, and returns once every running node has applied it.
    pub fn replicate(&mut self, at: usize, command: &[u8]) {
        self.until("the proposal to be taken", Duration::from_secs(10), |sim| {
            sim.node(at).propose(command.to_vec()).is_ok()
        });
        self.until("all to apply it", Duration::from_secs(20), |sim| {
            sim.lives
                .iter()
                .flatten()
                .all(|life| life.node.machine().applied.iter().any(|(_, known)| known == command))
        });
    }
}
