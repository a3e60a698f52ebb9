//! A leader that proposes without pause and two followers that poll, while the world around them
//! changes: nothing may be lost or doubled, the quorum must come again, and so must the offloads.

mod groups;
mod neighbours;
mod network;
mod programs;
mod refusals;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_conformance::testbed::{BridgeBed, Host, Namespace};
use electrode_ebpf_abi::Tick;
use electrode_transport::{
    AckMode, Ballot, Capabilities, ClusterId, Counter, EndpointConfig, Frame, GroupConfig, GroupId,
    Incarnation, LogBatch, Member, Membership, NodeId, QuorumRule, QuorumTransport, Slot,
    TransportError,
};

use crate::attach::Attachment;
use crate::endpoint::EbpfEndpoint;
use crate::hook::Hook;
use crate::kernel::{IN_TC, IN_XDP, Link, OUT_TC};
use crate::options::EbpfOptions;
use crate::shared::Shared;

const PORT: u16 = 7_400;
const BALLOT: Ballot = Ballot(3);
/// What the kernel's own time-outs need: a neighbour is given up after some eight seconds, and where
/// the machine's table of them is full of others' it makes room after five.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the leader proposes.
const PACE: Duration = Duration::from_micros(200);
/// Slots that may be without a quorum.
const OUTSTANDING: u64 = 16;

struct Node {
    endpoint: EbpfEndpoint,
    group: Arc<dyn QuorumTransport>,
    batch: LogBatch,
    /// What it has polled.
    polled: u64,
}

impl Node {
    fn bind(host: &Host, index: usize, membership: &Membership, setup: Setup) -> Self {
        let address = host.address(setup.ipv6, PORT);
        let mut config = EndpointConfig::new(ClusterId(9), NodeId(index as u64 + 1), address);
        config.datagram_len_max = 1_400;
        let options = EbpfOptions { hook: setup.hook.into(), ..EbpfOptions::default() };
        let endpoint = host.within(|| EbpfEndpoint::bind(config, options));
        let endpoint = endpoint.expect("the namespace").expect("the programs work here");
        let mut config = GroupConfig::new(GroupId(5), membership.clone());
        config.mode = setup.mode;
        // A member that is away comes back to a window that has all it missed.
        (config.window_frames, config.window_bytes) = (1 << 20, 256 << 20);
        config.lease = PATIENCE;
        let group = endpoint.join(config).expect("the group opens");
        Self { endpoint, group, batch: LogBatch::default(), polled: 0 }
    }

    fn shared(&self) -> &Shared {
        self.endpoint.shared()
    }

    fn can(&self) -> Capabilities {
        self.group.capabilities()
    }

    fn tick(&self, tick: Tick) -> u64 {
        self.shared().kernel.ticks().expect("the counters")[tick as usize]
    }

    fn count(&self, counter: Counter) -> u64 {
        self.endpoint.stats().count(counter)
    }

    /// The link of one of its programs, as an administrator would find it.
    fn link(&self, program: &str) -> Link {
        let program = self.shared().kernel.ebpf.program(program).expect("one of ours");
        let id = program.info().expect("a loaded program").id();
        let mut links = Link::all_of(id);
        assert_eq!(links.len(), 1, "each program is in one place");
        links.remove(0)
    }

    fn poll(&mut self, mode: AckMode) {
        self.group.try_poll_log(&mut self.batch).expect("the group is open");
        for entry in self.batch.iter() {
            assert_eq!(entry.first.0, self.polled + 1, "in order, none twice, none left out");
            assert_eq!(entry.body, body(entry.first.0), "slot {}", entry.first);
            self.polled = entry.last.0;
        }
        if mode == AckMode::Persisted && !self.batch.is_empty() {
            self.group.acknowledge(BALLOT, Slot(self.polled)).expect("it follows");
        }
    }
}

fn body(slot: u64) -> Vec<u8> {
    (0..slot * 37 % 300).map(|index| (index ^ slot) as u8).collect()
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    hook: Hook,
    mode: AckMode,
    ipv6: bool,
}

const PLAIN: Setup = Setup { hook: Hook::Tc, mode: AckMode::Received, ipv6: false };

/// Node 0 leads.
struct Load {
    nodes: Vec<Node>,
    _stubs: Vec<Attachment>,
    bed: BridgeBed,
    setup: Setup,
    sent: u64,
    next: Instant,
}

impl Load {
    fn start(setup: Setup) -> Self {
        Self::start_with(setup, |_| Vec::new())
    }

    /// With something on the bed from before the start to the end.
    fn start_with(setup: Setup, prepare: impl FnOnce(&BridgeBed) -> Vec<Attachment>) -> Self {
        let bed = BridgeBed::build(3, 1_500).expect("the test bed");
        let stubs = prepare(&bed);
        let members = bed.hosts().iter().zip(1..);
        let members =
            members.map(|(host, id)| Member::voter(NodeId(id), host.address(setup.ipv6, PORT)));
        let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)
            .expect("a fine membership");
        let nodes = bed.hosts().iter().enumerate();
        let nodes: Vec<Node> =
            nodes.map(|(index, host)| Node::bind(host, index, &membership, setup)).collect();
        for (index, node) in nodes.iter().enumerate() {
            let token = node.group.fence(BALLOT).expect("a first fence").token;
            if index == 0 {
                node.group.lead(&token, Slot(1)).expect("a first leader");
            } else {
                node.group.follow(&token, NodeId(1), Slot(1)).expect("a first leader");
            }
        }
        let mut load = Self { nodes, _stubs: stubs, bed, setup, sent: 0, next: Instant::now() };
        load.until("the kernels do the work", |load| {
            let leader = &load.nodes[0];
            leader.tick(Tick::Copies) > 10
                && load.nodes[1..].iter().all(|node| node.tick(Tick::Stored) > 10)
        });
        load
    }

    fn quorum(&self) -> u64 {
        self.nodes[0].group.quorum(BALLOT).expect("it leads").through.0
    }

    /// Everybody does what there is to do; with `propose` the leader also goes on.
    fn turn(&mut self, propose: bool) {
        for node in &mut self.nodes {
            node.group.drive().expect("the endpoint is open");
        }
        let mode = self.setup.mode;
        self.nodes[1..].iter_mut().for_each(|node| node.poll(mode));
        let leader = &self.nodes[0];
        let now = Instant::now();
        if propose && now >= self.next && self.sent < self.quorum() + OUTSTANDING {
            self.next = now + PACE;
            let body = body(self.sent + 1);
            let frame = Frame::single(Slot(self.sent + 1), &body);
            match leader.group.try_broadcast(BALLOT, &[frame]) {
                Ok(_) => self.sent += 1,
                Err(TransportError::Backpressure) => {}
                Err(error) => panic!("a leader may broadcast: {error}"),
            }
            if mode == AckMode::Persisted {
                leader.group.acknowledge(BALLOT, Slot(self.sent)).expect("it leads");
            }
        }
    }

    /// Goes on until the condition holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        self.wait(what, true, &mut holds);
    }

    fn wait(&mut self, what: &str, propose: bool, holds: &mut dyn FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < end,
                "{:?}: waited in vain until {what}: {self:?}",
                self.setup
            );
            for _ in 0..16 {
                self.turn(propose);
            }
        }
    }

    /// Goes on until this many more slots have a quorum.
    fn advance(&mut self, slots: u64) {
        let goal = self.quorum() + slots;
        self.until("the quorum rises", |load| load.quorum() >= goal);
    }

    /// Goes on until a node's program has counted this many more.
    fn until_ticks(&mut self, node: usize, tick: Tick, more: u64) {
        let goal = self.nodes[node].tick(tick) + more;
        self.until(tick.name(), |load| load.nodes[node].tick(tick) >= goal);
    }

    /// Everything that was proposed gets to everybody. Then nothing is left attached anywhere.
    fn finish(mut self) {
        self.advance(100);
        self.settle();
        let ids: Vec<u32> = self
            .nodes
            .iter()
            .flat_map(|node| [IN_TC, IN_XDP, OUT_TC].map(|name| (node, name)))
            .filter_map(|(node, name)| node.shared().kernel.ebpf.program(name)?.info().ok())
            .map(|info| info.id())
            .collect();
        self.nodes.iter().for_each(|node| node.endpoint.close());
        assert!(ids.iter().all(|&id| Link::all_of(id).is_empty()), "something is still attached");
    }

    fn settle(&mut self) {
        self.wait("everybody has everything", false, &mut |load| {
            load.quorum() == load.sent
                && load.nodes[1..].iter().all(|node| node.polled == load.sent)
        });
    }

    /// `ip` in a node's host.
    fn ip(&self, node: usize, line: &str) {
        ip(self.bed.hosts()[node].namespace(), line);
    }

    /// `ip` where the bridge is; a node's peer end is `peerN`.
    fn ip_at_switch(&self, line: &str) {
        ip(self.bed.switch(), line);
    }

    fn run_at_switch(&self, program: &str, line: &str) {
        run(self.bed.switch(), program, line);
    }

    /// Waits until a loss is noticed, and until it is made good.
    fn lost_and_regained(&mut self, node: usize, times: u64) {
        self.until("it was noticed", |load| load.nodes[node].count(Counter::OffloadLost) >= times);
        self.until("it was put back", |load| {
            load.nodes[node].count(Counter::OffloadRegained) >= times
        });
        let counts = [Counter::OffloadLost, Counter::OffloadRegained];
        assert_eq!(counts.map(|it| self.nodes[node].count(it)), [times; 2]);
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "sent {}, quorum {}", self.sent, self.quorum())?;
        for node in &self.nodes {
            let Capabilities { kernel_broadcast, kernel_acknowledge, .. } = node.can();
            writeln!(
                f,
                "polled {}: broadcasts {kernel_broadcast}, acknowledges {kernel_acknowledge}, {:?}",
                node.polled,
                node.endpoint.stats()
            )?;
        }
        Ok(())
    }
}

fn ip(namespace: &Namespace, line: &str) {
    run(namespace, "ip", line);
}

/// A program of iproute2.
fn run(namespace: &Namespace, program: &str, line: &str) {
    let words = line.split_whitespace();
    let done = Command::new(program).args(["-n", namespace.name()]).args(words).output();
    let done = done.expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {line}: {said}");
}
