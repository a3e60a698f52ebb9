//! Processes are killed at random moments, under load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use electrode_backend_ebpf::{EbpfEndpoint, Survey};
use electrode_backend_socket::{SocketEndpoint, SocketHost, SocketOptions};
use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_transport::engine::GroupHandle;
use electrode_transport::{Ballot, FenceToken, Frame, Slot, TransportCore, TransportError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Outcome;
use crate::bpffs::Bpffs;
use crate::journal::{Log, body};
use crate::member::{FOLLOWER, LEADER, LEASE, PORT, Role, endpoint, group};

const ROUNDS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(10);

/// The leader: a socket endpoint in this process, which never dies.
pub(crate) struct Leading {
    endpoint: SocketEndpoint,
    transport: GroupHandle<SocketHost>,
    ballot: u64,
    sent: u64,
    /// At which ballot each slot was sent last.
    ballots: Vec<u64>,
}

impl Leading {
    pub(crate) fn start(host: &Host, members: [SocketAddr; 2]) -> Self {
        let endpoint = host
            .within(|| SocketEndpoint::bind(endpoint(LEADER, members[0]), SocketOptions::default()))
            .unwrap()
            .unwrap();
        let transport = endpoint.join(group(members)).unwrap();
        let mut leading = Self { endpoint, transport, ballot: 0, sent: 0, ballots: Vec::new() };
        leading.lead(Slot(1));
        leading
    }

    /// Leads the next ballot. What had no quorum is forgotten, and its slots are sent anew.
    fn lead(&mut self, next: Slot) {
        self.ballot += 1;
        let token: FenceToken = self.transport.fence(Ballot(self.ballot)).unwrap().token;
        self.transport.lead(&token, next).unwrap();
        self.sent = next.0 - 1;
        self.ballots.truncate(self.sent as usize);
    }

    /// Sends what the window takes and takes in what comes, for a while.
    pub(crate) fn pump(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..4 {
                let slot = self.sent + 1;
                let body = body(self.ballot, slot);
                match self
                    .transport
                    .try_broadcast(Ballot(self.ballot), &[Frame::single(Slot(slot), &body)])
                {
                    Ok(_) => {
                        self.sent = slot;
                        self.ballots.push(self.ballot);
                    }
                    Err(TransportError::Backpressure) => break,
                    Err(error) => panic!("broadcast: {error}"),
                }
            }
            self.endpoint.drive().unwrap();
        }
    }

    /// Takes in what comes and sends again what is due, for a while.
    fn listen(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.endpoint.drive().unwrap();
        }
    }

    /// Waits until everything is acknowledged.
    fn settle(&self) {
        let end = Instant::now() + PATIENCE;
        while self.acked() < self.sent {
            assert!(Instant::now() < end, "{} of {} acknowledged", self.acked(), self.sent);
            self.endpoint.drive().unwrap();
        }
    }

    /// How far the follower has acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.transport.quorum(Ballot(self.ballot)).unwrap().through.0
    }
}

pub(crate) fn members(bed: &BridgeBed) -> [SocketAddr; 2] {
    let hosts = bed.hosts();
    [hosts[0].address(false, PORT), hosts[1].address(false, PORT)]
}

fn journal_path(bpffs: &Bpffs) -> PathBuf {
    bpffs.root().with_extension("journal")
}

/// A follower's role, pinned.
fn follower(bpffs: &Bpffs, members: [SocketAddr; 2]) -> Role {
    Role {
        what: "follow".to_owned(),
        folder: bpffs.folder().display().to_string(),
        members,
        journal: journal_path(bpffs).display().to_string(),
        life: 1,
        ballot: 1,
        next: 1,
    }
}

/// How many programs of ours a host's interface has: ingress and egress.
pub(crate) fn attached(host: &Host) -> usize {
    let survey = host.within(|| Survey::of(host.ipv4().into(), 1_452)).unwrap().unwrap();
    let tcx = |side: &electrode_backend_ebpf::TcOccupants| side.tcx.as_ref().unwrap().len();
    let occupants = &survey.occupants;
    occupants.xdp.len() + tcx(&occupants.ingress) + tcx(&occupants.egress)
}

/// A follower under load is killed again and again. Whatever was acknowledged to the leader is in the
/// library's hands by the time that the next life is ready, whole, in order, at the right ballot; also
/// what the kernel acknowledged while nobody lived.
pub(crate) fn nothing_is_lost() -> Outcome {
    let seed: u64 = rand::random();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    println!("seed {seed}");
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let members = members(&bed);
    let mut role = follower(&bpffs, members);
    let path = journal_path(&bpffs);
    let mut leading = Leading::start(&bed.hosts()[0], members);
    let (mut while_dead, mut repeats) = (0, 0);
    for life in 1..=ROUNDS {
        role.life = life;
        role.ballot = leading.ballot;
        if dice.random_bool(0.3) {
            // One that dies before it is ready, taking over or not yet.
            let brief = role.start(&bed.hosts()[1]);
            leading.pump(Duration::from_micros(dice.random_range(0..15_000)));
            brief.kill();
            role.life += 1_000;
        }
        let claimed = leading.acked();
        let mut process = role.start(&bed.hosts()[1]);
        if dice.random_bool(0.3) {
            leading.pump(Duration::from_millis(dice.random_range(0..20)));
        }
        let ready = process.line();
        assert!(ready.starts_with("ready "), "seed {seed}, life {life}: {ready:?}");
        let log = Log::read(&path).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(log.last().0 >= claimed, "seed {seed}, life {life}: {claimed} were acknowledged");
        log.check_bodies().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        leading.pump(Duration::from_micros(dice.random_range(0..60_000)));
        let before = leading.acked();
        process.kill();
        leading.pump(Duration::from_millis(if life % 10 == 0 { 300 } else { life % 7 * 4 }));
        while_dead += leading.acked() - before;
        if life % 4 == 0 {
            // Another ballot. What was not acknowledged is proposed anew, with other bodies.
            let acked = leading.acked();
            leading.lead(Slot(acked + 1));
            role.next = acked + 1;
        }
        repeats = Log::read(&path).unwrap().repeats;
    }
    role.life = ROUNDS + 1;
    role.ballot = leading.ballot;
    let mut process = role.start(&bed.hosts()[1]);
    assert!(process.line().starts_with("ready "), "seed {seed}: a last life");
    leading.pump(Duration::from_millis(20));
    leading.settle();
    process.kill();
    role.life += 1;
    let mut process = role.start(&bed.hosts()[1]);
    assert_eq!(process.line(), format!("ready {}", leading.sent), "seed {seed}");
    let log = Log::read(&path).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    log.check_bodies().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for (slot, ballot) in (1..).zip(&leading.ballots) {
        assert_eq!(log.ballot_of(slot), Some(*ballot), "seed {seed}: slot {slot}");
    }
    println!(
        "{ROUNDS} lives, {} slots, {while_dead} acknowledged while nobody lived, {repeats} came again",
        leading.sent
    );
    assert!(
        while_dead > 0,
        "seed {seed}: the kernel acknowledged for a dead owner within its lease"
    );
    process.kill();
    let _ = std::fs::remove_file(&path);
    EbpfEndpoint::unpin(&bpffs.folder(), members[1]).unwrap();
    assert_eq!(attached(&bed.hosts()[1]), 0, "unpinned is detached");
    assert!(bpffs.contents().is_empty(), "nothing is left: {:?}", bpffs.contents());
    Ok(())
}

/// The kernel acknowledges for a dead owner until the lease runs out, and then no more; and again for
/// the next owner.
pub(crate) fn lease_ends() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let members = members(&bed);
    let role = follower(&bpffs, members);
    let mut leading = Leading::start(&bed.hosts()[0], members);
    let mut process = role.start(&bed.hosts()[1]);
    assert_eq!(process.line(), "ready 0");
    leading.pump(Duration::from_millis(50));
    process.kill();
    leading.listen(LEASE + Duration::from_millis(20));
    let acked = leading.acked();
    leading.pump(Duration::from_millis(100));
    assert!(leading.sent > acked, "there is something to acknowledge");
    leading.listen(LEASE);
    assert_eq!(leading.acked(), acked, "nobody lives, and nothing is acknowledged");
    assert_eq!(attached(&bed.hosts()[1]), 2, "the programs are where they were");
    let mut process = Role { life: 2, ..role }.start(&bed.hosts()[1]);
    let ready = process.line();
    assert!(ready.starts_with("ready "), "{ready:?}");
    leading.settle();
    process.kill();
    let _ = std::fs::remove_file(journal_path(&bpffs));
    Ok(())
}

pub(crate) fn led_once() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let members = members(&bed);
    let mut role = follower(&bpffs, members);
    role.what = "lead".to_owned();
    role.ballot = 3;
    for life in 0..3 {
        let mut process = role.start(&bed.hosts()[0]);
        if life > 0 {
            assert_eq!(process.line(), format!("refused {}", role.ballot), "life {life}");
        }
        assert_eq!(process.line(), format!("led {}", 3 + life));
        process.kill();
        role.ballot = 3 + life;
    }
    Ok(())
}

/// Killed while it loads, pins, attaches, takes over or removes: the next one starts all the same.
pub(crate) fn at_any_moment() -> Outcome {
    let seed: u64 = rand::random();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    println!("seed {seed}");
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let members = members(&bed);
    let mut role = follower(&bpffs, members);
    role.what = "brief".to_owned();
    let begin = Instant::now();
    let mut process = role.start(&bed.hosts()[1]);
    assert_eq!(process.line(), "up", "seed {seed}");
    assert_eq!(process.line(), "closed", "seed {seed}");
    let whole = begin.elapsed();
    drop(process);
    assert!(bpffs.contents().is_empty(), "closed leaves nothing: {:?}", bpffs.contents());
    let (mut found, mut gone) = (0, 0);
    for round in 0..40 {
        let process = role.start(&bed.hosts()[1]);
        std::thread::sleep(whole.mul_f64(dice.random_range(0.3..1.1)));
        process.kill();
        if bpffs.contents().is_empty() {
            gone += 1;
        } else {
            found += 1;
        }
        if round % 4 == 3 {
            let mut process = role.start(&bed.hosts()[1]);
            assert_eq!(process.line(), "up", "seed {seed}, round {round}");
            assert_eq!(process.line(), "closed", "seed {seed}, round {round}");
            assert!(bpffs.contents().is_empty(), "seed {seed}: {:?}", bpffs.contents());
            drop(process);
            assert_eq!(attached(&bed.hosts()[1]), 0, "seed {seed}, round {round}");
        }
    }
    println!("killed with pins {found} times, without {gone} times");
    assert!(found > 0, "seed {seed}: some die in the middle");
    Ok(())
}

/// The default leaves nothing, whatever ends it.
pub(crate) fn unpinned_leaves_nothing() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let members = members(&bed);
    let mut role = follower(&bpffs, members);
    role.folder = String::new();
    let mut leading = Leading::start(&bed.hosts()[0], members);
    let mut process = role.start(&bed.hosts()[1]);
    assert_eq!(process.line(), "ready 0");
    leading.pump(Duration::from_millis(30));
    assert!(leading.acked() > 0, "node {FOLLOWER:?} follows");
    assert_eq!(attached(&bed.hosts()[1]), 2);
    process.kill();
    let end = Instant::now() + PATIENCE;
    while attached(&bed.hosts()[1]) != 0 {
        assert!(Instant::now() < end, "the programs are still there");
    }
    let acked = leading.acked();
    leading.pump(Duration::from_millis(20));
    leading.listen(Duration::from_millis(20));
    assert_eq!(leading.acked(), acked, "nobody acknowledges");
    let _ = std::fs::remove_file(journal_path(&bpffs));
    Ok(())
}
