//! Where a case works: a cluster, the ledger that judges everything it shows, and the verbs.

mod forge;
mod ledger;
mod verbs;
mod waker;

use std::sync::Arc;
use std::time::Duration;

use electrode_transport::wire::{Header, WireError};
use electrode_transport::{Counter, GroupId, LogBatch, QuorumTransport};

use crate::harness::{Cluster, Link};
use crate::spec::{ClusterSpec, Roster};

pub(crate) use ledger::Ledger;
pub(crate) use waker::Bell;

/// How long a condition may take to come about before the case fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// The grain of waiting.
const STEP: Duration = Duration::from_micros(500);

/// One frame that left a node.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) from: usize,
    pub(crate) to: Option<usize>,
    pub(crate) header: Header,
    pub(crate) len: usize,
}

pub(crate) struct Lab {
    cluster: Box<dyn Cluster>,
    pub(crate) spec: ClusterSpec,
    pub(crate) ledger: Ledger,
    /// The group that the verbs are about.
    pub(crate) group: GroupId,
    alive: Vec<bool>,
    seen: Vec<Seen>,
    batch: LogBatch,
}

impl Lab {
    pub(crate) fn new(cluster: Box<dyn Cluster>, spec: &ClusterSpec) -> Self {
        let mut lab = Self {
            cluster,
            spec: spec.clone(),
            ledger: Ledger::new(spec.mode),
            group: *spec.groups.first().expect("a spec names a group"),
            alive: vec![true; spec.nodes],
            seen: Vec::new(),
            batch: LogBatch::default(),
        };
        for node in 0..spec.nodes {
            lab.seat_all(node, &spec.roster);
        }
        lab
    }

    fn seat_all(&mut self, node: usize, roster: &Roster) {
        for group in self.spec.groups.clone() {
            self.ledger.seat((node, group), roster);
        }
    }

    pub(crate) fn node(&self, node: usize) -> Arc<dyn QuorumTransport> {
        self.cluster.transport(node, self.group)
    }

    pub(crate) fn is_alive(&self, node: usize) -> bool {
        self.alive[node]
    }

    /// The nodes of the group as `viewer` knows it.
    pub(crate) fn roster(&self, viewer: usize) -> Roster {
        self.ledger.roster((viewer, self.group)).clone()
    }

    pub(crate) fn now(&self) -> Duration {
        self.cluster.now()
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.cluster.advance(time);
    }

    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Lets time pass until the condition holds; fails the case if it does not come to.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let end = self.now() + PATIENCE;
        while !condition(self) {
            assert!(self.now() < end, "waited {PATIENCE:?} in vain until {what}");
            self.advance(STEP);
        }
    }

    /// Lets time pass while the condition holds; fails the case as soon as it does not.
    #[track_caller]
    pub(crate) fn throughout(
        &mut self,
        time: Duration,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) {
        let end = self.now() + time;
        while self.now() < end {
            assert!(condition(self), "it did not last that {what}");
            self.advance(STEP);
        }
        assert!(condition(self), "it did not last that {what}");
    }

    pub(crate) fn count(&self, node: usize, counter: Counter) -> u64 {
        self.node(node).stats().count(counter)
    }

    // ---- the network ---------------------------------------------------------------------------

    pub(crate) fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.cluster.set_link(from, to, link);
    }

    /// Every link, both ways.
    pub(crate) fn set_links(&mut self, link: Link) {
        for from in 0..self.spec.nodes {
            for to in 0..self.spec.nodes {
                if from != to {
                    self.set_link(from, to, link);
                }
            }
        }
    }

    /// Cuts `side` off from everybody else, both ways; mends all other links.
    pub(crate) fn partition(&mut self, side: &[usize]) {
        for from in 0..self.spec.nodes {
            for to in 0..self.spec.nodes {
                let cut = side.contains(&from) != side.contains(&to);
                if from != to {
                    self.set_link(from, to, if cut { Link::CUT } else { Link::CLEAN });
                }
            }
        }
    }

    /// Kills a node. Whatever it claimed in `Persisted` mode has been judged; in `Received` mode an
    /// unpolled acknowledged entry is lost with it, as that mode says.
    pub(crate) fn crash(&mut self, node: usize) {
        self.cluster.crash(node);
        self.look();
        self.ledger.forget(node);
        self.alive[node] = false;
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let roster = self.roster(node);
        self.cluster.restart(node, &roster).expect("a crashed node starts again");
        self.seat_all(node, &roster);
        self.alive[node] = true;
    }

    pub(crate) fn set_paused(&mut self, node: usize, paused: bool) {
        self.cluster.set_paused(node, paused);
    }

    pub(crate) fn open(
        &mut self,
        node: usize,
        group: GroupId,
        roster: &Roster,
    ) -> electrode_transport::Result<Arc<dyn QuorumTransport>> {
        self.cluster.open(node, group, roster)
    }

    pub(crate) fn membership(
        &self,
        viewer: usize,
        roster: &Roster,
    ) -> electrode_transport::Membership {
        self.cluster.membership(viewer, roster).expect("the case's roster is possible")
    }

    /// Enters everything that has left since the last look.
    pub(crate) fn look(&mut self) {
        for tapped in self.cluster.take_tap() {
            let (header, body) = match Header::decode(&tapped.bytes) {
                Ok(frame) => frame,
                Err(error) => malformed(tapped.from, error),
            };
            assert_eq!(header.cluster, self.spec.cluster, "a frame of another cluster left");
            assert_eq!(
                header.is_tagged(),
                self.spec.key.is_some(),
                "a frame with a wrong tag left"
            );
            self.ledger.left(tapped.from, &header, body);
            let (from, to, len) = (tapped.from, tapped.to, tapped.bytes.len());
            self.seen.push(Seen { from, to, header, len });
        }
    }

    /// Every frame that has left since the last call.
    pub(crate) fn take_seen(&mut self) -> Vec<Seen> {
        self.look();
        core::mem::take(&mut self.seen)
    }
}

fn malformed(node: usize, error: WireError) -> ! {
    panic!("admission: node {node} sent a datagram that is no frame: {error}")
}
