//! One member of a group on either backend, driven by a plain thread: the counterpart of
//! `yardstick/sockets.c` and `yardstick/drive.c`. The leader proposes and prints one line of JSON;
//! followers run until killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook};
use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_transport::{
    AckMode, Ballot, ClusterId, Counter, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation,
    LogBatch, Member, Membership, NodeId, QuorumRule, QuorumTransport, Slot, TransportError,
};

const BALLOT: Ballot = Ballot(1);
const PAYLOAD_LEN: usize = 64;
/// A leader that finds its quorums without driving drives after so long all the same: members that are
/// behind need frames again. Well below any retransmission time.
const UPKEEP: Duration = Duration::from_micros(200);
/// Slots before the first measured one.
const OFFSET: u64 = 1;
/// Longer than any retransmission: a run that hears nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Sleep until something arrives.
    Block,
    /// Ask again and again.
    Spin,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// Acknowledged when it lies in memory.
    Received,
    /// Acknowledged when the library says so, here at once.
    Persisted,
}

/// Where the three operations happen.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// In user space, over UDP.
    Socket,
    /// In the kernel.
    Ebpf,
}

/// What the kernel is left to do.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Offload {
    /// Copies of a broadcast.
    Broadcast,
    /// Acknowledgements.
    Acknowledge,
    /// Counting them.
    Quorum,
}

/// Proposes to quorum over one of the backends.
#[derive(Parser)]
struct Arguments {
    /// Where the three operations happen.
    #[arg(long, value_enum, default_value = "socket")]
    backend: Backend,
    /// Where arriving packets meet the eBPF program: tc, xdp-generic or xdp-native.
    #[arg(long, default_value = "tc")]
    hook: Hook,
    /// Which operations the kernel does, on the eBPF backend.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "broadcast,acknowledge,quorum")]
    offloads: Vec<Offload>,
    /// Every member's address; the first leads.
    #[arg(long, required = true, value_delimiter = ',')]
    members: Vec<SocketAddr>,
    /// This member's place among them.
    #[arg(long)]
    index: usize,
    /// How the leader waits. Followers always sleep.
    #[arg(long, value_enum, default_value = "block")]
    mode: Mode,
    /// What an acknowledgement promises.
    #[arg(long, value_enum, default_value = "received")]
    ack: Ack,
    /// Proposals under way at a time.
    #[arg(long, default_value_t = 1)]
    window: u64,
    /// Proposals in all.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Prints the endpoint's counters to stderr at the end.
    #[arg(long)]
    stats: bool,
}

fn main() -> Result<(), TransportError> {
    let arguments = Arguments::parse();
    let node = open(&arguments)?;
    let node = &*node;
    let token = node.fence(BALLOT)?.token;
    if arguments.index == 0 {
        node.lead(&token, Slot(1))?;
        lead(&arguments, node)
    } else {
        node.follow(&token, NodeId(1), Slot(1))?;
        follow(node, arguments.ack)
    }
}

fn open(arguments: &Arguments) -> Result<Arc<dyn QuorumTransport>, TransportError> {
    let members = arguments.members.iter().zip(1..).map(|(&at, id)| Member::voter(NodeId(id), at));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let own = membership.members().get(arguments.index).copied().unwrap_or_else(|| {
        eprintln!("--index {} is not among the members", arguments.index);
        std::process::exit(2);
    });
    let endpoint = EndpointConfig::new(ClusterId(1), own.id, own.address);
    let mut group = GroupConfig::new(GroupId(1), membership);
    group.mode = match arguments.ack {
        Ack::Received => AckMode::Received,
        Ack::Persisted => AckMode::Persisted,
    };
    if arguments.backend == Backend::Socket {
        let endpoint = SocketEndpoint::bind(endpoint, SocketOptions::default())?;
        return Ok(Arc::new(endpoint.join(group)?));
    }
    let mut options = EbpfOptions::default();
    options.hook = arguments.hook.into();
    options.broadcast = arguments.offloads.contains(&Offload::Broadcast);
    options.acknowledge = arguments.offloads.contains(&Offload::Acknowledge);
    options.quorum = arguments.offloads.contains(&Offload::Quorum);
    EbpfEndpoint::bind(endpoint, options)?.join(group)
}

fn follow(node: &dyn QuorumTransport, ack: Ack) -> Result<(), TransportError> {
    let mut batch = LogBatch::default();
    println!("ready");
    loop {
        node.wait(Duration::from_millis(200))?;
        while node.try_poll_log(&mut batch)? > 0 {
            if let (Ack::Persisted, Some(through)) = (ack, batch.last_slot()) {
                node.acknowledge(BALLOT, through)?;
            }
        }
    }
}

/// What the leader measures.
struct Run {
    sent: u64,
    known: u64,
    frames: Vec<Frame<'static>>,
    sent_at: Vec<Instant>,
    latencies_ns: Vec<u64>,
}

fn lead(arguments: &Arguments, node: &dyn QuorumTransport) -> Result<(), TransportError> {
    meet(arguments, node)?;
    let operations = arguments.operations;
    let busy = busy_us();
    let start = Instant::now();
    let mut run = Run {
        sent: 0,
        known: 0,
        frames: Vec::new(),
        sent_at: Vec::with_capacity(operations as usize),
        latencies_ns: Vec::with_capacity(operations as usize),
    };
    let (mut heard, mut driven) = (start, start);
    while run.known < operations {
        run.fill_window(arguments, node)?;
        // Where the kernel counts, a quorum shows without a drive, and what else there is to do can wait.
        if let Some(now) = run.look(node)? {
            heard = now;
            if now - driven < UPKEEP {
                continue;
            }
        }
        match arguments.mode {
            Mode::Block => node.wait(PATIENCE)?,
            Mode::Spin => node.drive()?,
        }
        driven = Instant::now();
        if let Some(now) = run.look(node)? {
            heard = now;
        } else if arguments.mode == Mode::Block && heard.elapsed() > PATIENCE {
            break;
        }
    }
    let elapsed = start.elapsed();
    run.report(operations, elapsed, busy_us() - busy);
    if arguments.stats {
        eprintln!("{:?}", node.stats());
    }
    let lost = operations - run.known;
    let stats = node.stats();
    if lost > 0 || stats.count(Counter::TxErrors) > 0 {
        eprintln!("lost {lost}: {stats:?}");
    }
    Ok(())
}

/// Microseconds that all CPUs together have been busy: user, nice, system, irq, softirq (proc(5)).
fn busy_us() -> f64 {
    // The kernel reports in hundredths of a second on every architecture (USER_HZ).
    const TICK_US: f64 = 10_000.0;
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.split_whitespace().skip(1).map_while(|field| field.parse().ok());
    match fields.take(7).collect::<Vec<f64>>()[..] {
        [user, nice, system, _idle, _iowait, irq, softirq] => {
            (user + nice + system + irq + softirq) * TICK_US
        }
        _ => f64::NAN,
    }
}

/// Has one proposal stored by everybody, so that starting up is not measured.
fn meet(arguments: &Arguments, node: &dyn QuorumTransport) -> Result<(), TransportError> {
    node.try_broadcast(BALLOT, &[Frame::single(Slot(1), b"hello")])?;
    arguments.vote(node, Slot(1))?;
    let start = Instant::now();
    while node.acked(BALLOT)?.iter().any(|progress| progress.acked < Slot(1)) {
        assert!(start.elapsed() < PATIENCE, "not everybody follows: are the followers running?");
        node.wait(Duration::from_millis(5))?;
    }
    Ok(())
}

impl Arguments {
    /// The leader's own vote, which in `Received` mode it has cast already.
    fn vote(&self, node: &dyn QuorumTransport, through: Slot) -> Result<(), TransportError> {
        match self.ack {
            Ack::Received => Ok(()),
            Ack::Persisted => node.acknowledge(BALLOT, through),
        }
    }
}

impl Run {
    /// Proposes what the window has room for, in one batch.
    fn fill_window(
        &mut self,
        arguments: &Arguments,
        node: &dyn QuorumTransport,
    ) -> Result<(), TransportError> {
        const BATCH_MAX: usize = 64;
        const PAYLOAD: [u8; PAYLOAD_LEN] = [0x5a; PAYLOAD_LEN];
        loop {
            let room = arguments.window - (self.sent - self.known);
            let count = room.min(arguments.operations - self.sent).min(BATCH_MAX as u64) as usize;
            if count == 0 {
                return Ok(());
            }
            self.frames.clear();
            let slots = (self.sent + OFFSET + 1..).take(count);
            self.frames.extend(slots.map(|slot| Frame::single(Slot(slot), &PAYLOAD)));
            let now = Instant::now();
            let taken = match node.try_broadcast(BALLOT, &self.frames) {
                Ok(taken) => taken,
                // A follower far behind keeps nothing here: the quorum moves on.
                Err(TransportError::Backpressure) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.sent += taken as u64;
            arguments.vote(node, Slot(self.sent + OFFSET))?;
            self.sent_at.extend(std::iter::repeat_n(now, taken));
        }
    }

    /// When it was seen that more has reached a quorum than was known, if it has.
    fn look(&mut self, node: &dyn QuorumTransport) -> Result<Option<Instant>, TransportError> {
        let through = node.quorum(BALLOT)?.through.0 - OFFSET;
        if through <= self.known {
            return Ok(None);
        }
        let now = Instant::now();
        self.note(through, now);
        Ok(Some(now))
    }

    fn note(&mut self, through: u64, now: Instant) {
        for slot in self.known..through {
            let latency = now - self.sent_at[slot as usize];
            self.latencies_ns.push(latency.as_nanos() as u64);
        }
        self.known = through;
    }

    fn report(&mut self, operations: u64, elapsed: Duration, busy_us: f64) {
        self.latencies_ns.sort_unstable();
        let count = self.latencies_ns.len();
        let at = |place: usize| self.latencies_ns.get(place).map_or(0.0, |&ns| ns as f64 / 1e3);
        println!(
            "{{\"ops_per_s\": {:.0}, \"p50_us\": {:.2}, \"p99_us\": {:.2}, \"cpu_us_per_op\": {:.2}, \
             \"lost\": {}}}",
            self.known as f64 / elapsed.as_secs_f64(),
            at(count / 2),
            at(count * 99 / 100),
            busy_us / operations as f64,
            operations - self.known,
        );
    }
}
