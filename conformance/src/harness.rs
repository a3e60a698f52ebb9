//! What a backend author writes: a [`Harness`] that builds a [`Cluster`] of its transport, with the
//! means to disturb and to watch it.

use std::sync::Arc;
use std::time::Duration;

use electrode_transport::{GroupId, Membership, QuorumTransport, Result, TransportError};

use crate::features::Features;
use crate::spec::{ClusterSpec, Roster};

/// A backend under test.
pub trait Harness: Send + Sync + 'static {
    /// The backend's name, for reports.
    fn name(&self) -> &'static str;

    /// How the backend is attached (the ingress hook, say), for reports.
    fn hook(&self) -> String {
        "none".into()
    }

    /// What the backend and this harness can do. Whatever is declared is held to.
    fn declares(&self) -> Features;

    /// Builds a cluster: every node of the spec with an endpoint, every group of it opened on every
    /// node of the roster. The seed decides what the harness leaves to chance.
    ///
    /// # Errors
    /// [`SetupError`] says whether this counts as a skip or as a failure.
    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError>;
}

/// Why a case could not even start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The process lacks a privilege. The case is skipped and the whole result is `partial`, unless
    /// `ELECTRODE_REQUIRE_PRIVILEGED=1` makes it a failure.
    #[error("missing privilege: {0}")]
    MissingPrivilege(String),
    /// This harness cannot build what the spec asks for. On a declared feature this is a failure.
    #[error("not supported: {0}")]
    NotSupported(String),
    /// It should have worked.
    #[error("the cluster could not be built")]
    Failed(#[from] TransportError),
    /// The machinery around the backend failed.
    #[error("the harness could not {operation}")]
    Io {
        /// What it tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a link does to datagrams, one direction. Probabilities are between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Link {
    /// Nothing passes.
    pub cut: bool,
    /// How likely a datagram is lost.
    pub loss: f64,
    /// How likely it arrives twice.
    pub duplication: f64,
    /// How likely it is overtaken by later ones.
    pub reordering: f64,
}

impl Link {
    /// Everything passes, once and soon.
    pub const CLEAN: Self = Self { cut: false, loss: 0.0, duplication: 0.0, reordering: 0.0 };
    /// Nothing passes.
    pub const CUT: Self = Self { cut: true, ..Self::CLEAN };
    /// A bad network: a tenth lost, a tenth doubled, a fifth overtaken.
    pub const BAD: Self = Self { cut: false, loss: 0.1, duplication: 0.1, reordering: 0.2 };
}

/// Whose address an injected datagram comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A node's own, as its peers see it.
    Node(usize),
    /// One that no membership names.
    Stranger,
}

/// One datagram that left a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tapped {
    /// Which node sent it.
    pub from: usize,
    /// To which node; `None` if to an address that is no node's.
    pub to: Option<usize>,
    /// The datagram, before any fault touched it.
    pub bytes: Vec<u8>,
}

/// A cluster under test. Nodes are numbered from zero; node `n` has the id that
/// [`node_id`](crate::node_id) gives it.
///
/// Nothing waits: time passes in [`advance`](Self::advance), and a case asks again until its bound.
pub trait Cluster {
    /// A node's handle on a group.
    ///
    /// # Panics
    /// If the node is crashed or the group was never opened there.
    fn transport(&self, node: usize, group: GroupId) -> Arc<dyn QuorumTransport>;

    /// A roster as this node must be told of it: with the addresses at which it reaches the others.
    ///
    /// # Errors
    /// [`TransportError::Config`] if the roster is impossible.
    fn membership(&self, viewer: usize, roster: &Roster) -> Result<Membership>;

    /// Opens a group on a node, again or for the first time.
    ///
    /// # Errors
    /// Whatever the backend's own call gives.
    fn open(
        &mut self,
        node: usize,
        group: GroupId,
        roster: &Roster,
    ) -> Result<Arc<dyn QuorumTransport>>;

    /// Time since the cluster was built.
    fn now(&self) -> Duration;

    /// Lets about this much time pass, driving every node that lives and is not paused.
    fn advance(&mut self, time: Duration);

    /// Sets what the link from one node to another does from now on.
    fn set_link(&mut self, from: usize, to: usize, link: Link);

    /// Ends a node as `kill -9` does. What it had sent before is in the tap.
    fn crash(&mut self, node: usize);

    /// Starts a crashed node again, empty, with every group of the spec opened under `roster`.
    ///
    /// # Errors
    /// As [`Harness::cluster`].
    fn restart(&mut self, node: usize, roster: &Roster) -> Result<(), SetupError>;

    /// Freezes a node as `kill -STOP` does, or thaws it: what arrived meanwhile is there then.
    fn set_paused(&mut self, node: usize, paused: bool);

    /// Delivers bytes to a node, past any fault.
    fn inject(&mut self, from: Origin, to: usize, bytes: &[u8]);

    /// Every datagram that has left a node, in the order of leaving for each node, since the last
    /// call. Holds all that was sent before the call.
    fn take_tap(&mut self) -> Vec<Tapped>;
}
