//! The same raft over real UDP on loopback: three threads, the leader killed, a node catching up.
#![cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_example_raft::{Disk, Node, Options, serve};
use electrode_transport::{
    ClusterId, EndpointConfig, GroupConfig, GroupId, Incarnation, Member, Membership, NodeId,
    QuorumRule,
};

use cluster::{Agreed, Journal};

/// What a node's thread shows.
#[derive(Clone, Default)]
struct View {
    journal: Journal,
    leads: bool,
}

struct Running {
    endpoint: SocketEndpoint,
    stop: Arc<AtomicBool>,
    view: Arc<Mutex<View>>,
    proposals: Sender<Vec<u8>>,
    thread: JoinHandle<()>,
}

struct Cluster {
    disks: [Disk; 3],
    group: GroupConfig,
    running: [Option<Running>; 3],
    agreed: Agreed,
}

fn bind(at: usize, address: SocketAddr) -> SocketEndpoint {
    let config = EndpointConfig::new(ClusterId(5), NodeId(at as u64 + 1), address);
    SocketEndpoint::bind(config, SocketOptions::default()).unwrap()
}

impl Cluster {
    fn start() -> Self {
        let endpoints = [0, 1, 2].map(|at| bind(at, SocketAddr::from(([127, 0, 0, 1], 0))));
        let members = (1..)
            .zip(&endpoints)
            .map(|(id, endpoint)| Member::voter(NodeId(id), endpoint.local_addr()));
        let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
        let mut group = GroupConfig::new(GroupId(1), membership);
        group.window_frames = 8;
        let disks = [0; 3].map(|_| Disk::new(1..=3));
        let mut cluster =
            Self { disks, group, running: [None, None, None], agreed: Agreed::default() };
        for (at, endpoint) in endpoints.into_iter().enumerate() {
            cluster.run(at, endpoint);
        }
        cluster
    }

    fn run(&mut self, at: usize, endpoint: SocketEndpoint) {
        let transport = endpoint.join(self.group.clone()).unwrap();
        let options = Options { snapshot_every: 100, snapshot_keep: 20, ..Options::default() };
        let disk = self.disks[at].clone();
        let (stop, view) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(View::default())));
        let (proposals, inbox) = channel();
        let (stopped, shown) = (Arc::clone(&stop), Arc::clone(&view));
        let thread = std::thread::spawn(move || {
            let mut node = Node::new(transport, disk, Journal::default(), options).unwrap();
            serve(&mut node, &inbox, |node| {
                let mut view = shown.lock().unwrap();
                view.leads = node.is_leader();
                if view.journal != *node.machine() {
                    view.journal = node.machine().clone();
                }
                !stopped.load(Ordering::Relaxed)
            })
            .unwrap();
        });
        self.running[at] = Some(Running { endpoint, stop, view, proposals, thread });
    }

    /// It says goodbye to nobody: for the others it is gone as by `kill -9`.
    fn kill(&mut self, at: usize) {
        let Running { endpoint, stop, thread, .. } = self.running[at].take().unwrap();
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        endpoint.close();
    }

    fn restart(&mut self, at: usize) {
        let address = self.group.membership.members()[at].address;
        self.run(at, bind(at, address));
    }

    fn view(&self, at: usize) -> Option<View> {
        self.running[at].as_ref().map(|running| running.view.lock().unwrap().clone())
    }

    /// Waits, at most half a minute, and checks meanwhile that all agree.
    #[track_caller]
    fn until(&mut self, what: &str, condition: impl Fn(&[Option<View>; 3]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let views = [0, 1, 2].map(|at| self.view(at));
            for view in views.iter().flatten() {
                self.agreed.check(&view.journal, 0);
            }
            if condition(&views) {
                return;
            }
            assert!(Instant::now() < deadline, "not within half a minute: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn leader(&mut self) -> usize {
        let leads = |view: &Option<View>| view.as_ref().is_some_and(|view| view.leads);
        self.until("one leader", |views| views.iter().filter(|view| leads(view)).count() == 1);
        (0..3).find(|&at| leads(&self.view(at))).unwrap_or(0)
    }

    /// Proposes at the leader and waits until every running node has applied all of it.
    fn replicate(&mut self, leader: usize, commands: &[Vec<u8>]) {
        let running = self.running[leader].as_ref().unwrap();
        commands.iter().for_each(|command| running.proposals.send(command.clone()).unwrap());
        self.until("all to apply it", |views| {
            views.iter().flatten().all(|view| {
                let applied = view.journal.applied.iter().map(|(_, command)| command);
                let known: std::collections::BTreeSet<_> = applied.collect();
                commands.iter().all(|command| known.contains(command))
            })
        });
    }
}

fn commands(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(|number| [format!("{number}/").as_bytes(), &[b'.'; 600]].concat()).collect()
}

#[test]
fn the_leader_is_killed_and_a_node_far_behind_catches_up() {
    let mut cluster = Cluster::start();
    let old = cluster.leader();
    cluster.replicate(old, &commands(0..50));

    cluster.kill(old);
    let new = cluster.leader();
    assert_ne!(old, new);
    // Far beyond the window of eight frames, and beyond the log that is kept.
    cluster.replicate(new, &commands(50..400));

    cluster.restart(old);
    let leader = cluster.leader();
    cluster.replicate(leader, &commands(400..420));
    let all = cluster.agreed.log.len();
    cluster.until("all to have everything", |views| {
        views.iter().flatten().all(|view| view.journal.applied.len() == all)
    });
    assert!(cluster.view(old).unwrap().journal.restored > 0, "it was given a snapshot");
    (0..3).for_each(|at| cluster.kill(at));
}
