//! What the example shows.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_example_raft::{Disk, Error, Node, Options, Result, StateMachine, serve};
use electrode_transport::{
    ClusterId, Counter, EndpointConfig, GroupConfig, GroupId, Incarnation, Member, Membership,
    NodeId, QuorumRule, TransportCore,
};

const COMMANDS: u64 = 5_000;
const COMMAND_LEN: usize = 64;

/// Counts what it applies.
#[derive(Default)]
struct Count(u64);

impl StateMachine for Count {
    fn apply(&mut self, _index: u64, _command: &[u8]) {
        self.0 += 1;
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, state: &[u8]) {
        self.0 = state.try_into().map_or(0, u64::from_le_bytes);
    }
}

/// What a node's thread shows to the others.
#[derive(Clone, Copy, Default)]
struct View {
    applied: u64,
    term: u64,
    leads: bool,
    stop: bool,
    frames_stored: u64,
    messages: u64,
}

struct Running {
    view: Arc<Mutex<View>>,
    proposals: Sender<Vec<u8>>,
    thread: JoinHandle<Result<()>>,
}

impl Running {
    fn start(endpoint: &SocketEndpoint, group: &GroupConfig, disk: Disk) -> Result<Self> {
        let transport = endpoint.join(group.clone())?;
        let options = Options { snapshot_every: 2_000, ..Options::default() };
        let view = Arc::new(Mutex::new(View::default()));
        let (proposals, inbox): (_, Receiver<Vec<u8>>) = channel();
        let shown = Arc::clone(&view);
        let thread = std::thread::spawn(move || {
            let mut node = Node::new(transport, disk, Count::default(), options)?;
            serve(&mut node, &inbox, |node| {
                let stats = node.transport().stats();
                let mut view = shown.lock().unwrap_or_else(PoisonError::into_inner);
                view.applied = node.machine().0;
                view.term = node.term();
                view.leads = node.is_leader();
                view.frames_stored = stats.count(Counter::RxStored);
                view.messages = stats.count(Counter::RxMessage);
                !view.stop
            })
        });
        Ok(Self { view, proposals, thread })
    }

    fn view(&self) -> View {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it without a word to the others.
    fn kill(self) -> Result<()> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.thread.join().unwrap_or(Ok(()))
    }
}

/// Waits, at most a minute, and says how long it took.
fn until(mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

fn leader(nodes: &[Option<Running>]) -> Option<usize> {
    let leads = |node: &Option<Running>| node.as_ref().is_some_and(|node| node.view().leads);
    nodes.iter().position(leads)
}

/// Proposes commands at the leader and waits until every running node has applied `total`.
fn replicate(nodes: &[Option<Running>], count: u64, total: u64) -> Duration {
    if let Some(node) = leader(nodes).and_then(|at| nodes[at].as_ref()) {
        for _ in 0..count {
            // A node that ended meanwhile shows as a total that is never reached.
            let _ = node.proposals.send(vec![b'.'; COMMAND_LEN]);
        }
    }
    until(|| nodes.iter().flatten().all(|node| node.view().applied >= total))
}

fn table(nodes: &[Option<Running>]) {
    println!("  node  role      term  applied  frames stored  messages");
    for (at, node) in nodes.iter().enumerate() {
        let Some(View { applied, term, leads, frames_stored, messages, .. }) =
            node.as_ref().map(Running::view)
        else {
            println!("  {:>4}  gone", at + 1);
            continue;
        };
        let role = if leads { "leader" } else { "follower" };
        println!(
            "  {:>4}  {role:<8}  {term:>4}  {applied:>7}  {frames_stored:>13}  {messages:>8}",
            at + 1
        );
    }
}

fn bind(at: usize, address: SocketAddr) -> Result<SocketEndpoint> {
    let config = EndpointConfig::new(ClusterId(1), NodeId(at as u64 + 1), address);
    Ok(SocketEndpoint::bind(config, SocketOptions::default())?)
}

pub(crate) fn run() -> Result<()> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoints = (0..3).map(|at| bind(at, any_port)).collect::<Result<Vec<_>>>()?;
    let members = (1..)
        .zip(&endpoints)
        .map(|(id, endpoint)| Member::voter(NodeId(id), endpoint.local_addr()));
    let membership =
        Membership::new(Incarnation(1), members, QuorumRule::Majority).map_err(into_error)?;
    let group = GroupConfig::new(GroupId(1), membership);
    let disks: Vec<_> = (0..3).map(|_| Disk::new(1..=3)).collect();
    let mut nodes = Vec::new();
    for (endpoint, disk) in endpoints.iter().zip(&disks) {
        nodes.push(Some(Running::start(endpoint, &group, disk.clone())?));
    }

    let took = until(|| leader(&nodes).is_some());
    let old = leader(&nodes).unwrap_or(0);
    println!("node {} is elected after {took:?}", old + 1);
    let took = replicate(&nodes, COMMANDS, COMMANDS);
    println!("{COMMANDS} commands applied by all three in {took:?}");
    table(&nodes);

    if let Some(node) = nodes[old].take() {
        node.kill()?;
        endpoints[old].close();
    }
    let took = until(|| leader(&nodes).is_some());
    println!("\nnode {} is killed; the next leader is there after {took:?}", old + 1);
    let took = replicate(&nodes, COMMANDS, 2 * COMMANDS);
    println!("{COMMANDS} more commands applied by the other two in {took:?}");

    let endpoint = bind(old, group.membership.members()[old].address)?;
    nodes[old] = Some(Running::start(&endpoint, &group, disks[old].clone())?);
    let took = until(|| nodes.iter().flatten().all(|node| node.view().applied == 2 * COMMANDS));
    println!("\nnode {} is back and has caught up after {took:?}", old + 1);
    table(&nodes);
    nodes.into_iter().flatten().try_for_each(Running::kill)
}

fn into_error(error: electrode_transport::ConfigError) -> Error {
    Error::Transport(error.into())
}
