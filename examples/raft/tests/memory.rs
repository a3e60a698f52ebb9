//! An unmodified raft on the memory backend: the stories one by one, then all faults at once.
#![cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
#[path = "cluster/sim.rs"]
mod sim;

use std::time::Duration;

use electrode_example_raft::{Disk, Error, Node, Options};
use electrode_transport::memory::{Faults, MemoryNetwork};
use electrode_transport::wire::{FrameKind, Header};
use electrode_transport::{
    AckMode, Ballot, Counter, GroupConfig, GroupId, NodeId, QuorumRule, TransportCore,
    TransportError,
};
use rand::RngExt;

use cluster::Journal;
use sim::Sim;

const SECOND: Duration = Duration::from_secs(1);

fn command(number: usize) -> Vec<u8> {
    format!("command {number}").into_bytes()
}

/// How many datagrams of a kind left since the capture began.
fn captured(sim: &Sim, kind: FrameKind) -> usize {
    let captured = sim.network.take_capture();
    let of_kind = |bytes: &[u8]| Header::decode(bytes).unwrap().0.kind == kind;
    captured.iter().filter(|datagram| of_kind(&datagram.bytes)).count()
}

#[test]
fn appends_to_all_leave_as_one_frame_and_no_message() {
    let mut sim = Sim::new(1);
    let leader = sim.elect();
    sim.replicate(leader, b"warm up");
    for (kind, wanted) in [(FrameKind::Message, 0), (FrameKind::Accept, 2)] {
        sim.network.start_capture();
        for number in 0..20 {
            sim.node(leader).propose(format!("{kind:?} {number}").into_bytes()).unwrap();
            sim.run(Duration::from_millis(5));
        }
        assert_eq!(captured(&sim, kind), 20 * wanted, "{kind:?}: one frame, two followers");
    }
}

#[test]
fn an_idle_cluster_keeps_its_leader_by_probes_alone() {
    let mut sim = Sim::new(2);
    let leader = sim.elect();
    sim.run(SECOND);
    let term = sim.node(leader).term();
    sim.network.start_capture();
    sim.run(10 * SECOND);
    assert_eq!(captured(&sim, FrameKind::Message), 0, "no heartbeat, vote or append by message");
    assert_eq!((sim.leader(), sim.node(leader).term()), (Some(leader), term), "CheckQuorum holds");
}

#[test]
fn the_leaders_death_loses_nothing_and_it_catches_up() {
    let mut sim = Sim::new(3);
    let old = sim.elect();
    (0..10).for_each(|number| sim.replicate(old, &command(number)));
    sim.crash(old);
    let new = sim.elect();
    assert_ne!(old, new);
    (10..20).for_each(|number| sim.replicate(new, &command(number)));
    sim.start(old);
    (20..30).for_each(|number| sim.replicate(new, &command(number)));
    let all: Vec<_> = (0..30).map(command).collect();
    (0..3).for_each(|at| assert_eq!(sim.journal(at), all));
}

/// Returns how many snapshots the lagging node was given.
fn catch_up(snapshot_every: u64) -> (Sim, usize) {
    let options = Options { snapshot_every, snapshot_keep: 20, ..Options::default() };
    let mut sim = Sim::with(4, options, 8);
    let leader = sim.elect();
    let lagging = (leader + 1) % 3;
    sim.replicate(leader, b"before");
    sim.crash(lagging);
    for number in 0..300 {
        let big = [&command(number)[..], &[b'.'; 900]].concat();
        sim.until("room", SECOND, |sim| sim.node(leader).propose(big.clone()).is_ok());
        sim.run(Duration::from_millis(2));
    }
    sim.start(lagging);
    let last = [&command(299)[..], &[b'.'; 900]].concat();
    sim.until("the lagging node to have it all", 30 * SECOND, |sim| {
        sim.node(lagging).machine().applied.last().is_some_and(|(_, known)| *known == last)
    });
    sim.replicate(leader, b"after");
    let ballot = Ballot(sim.node(leader).term());
    let behind = sim.node(leader).transport().acked(ballot).unwrap();
    assert!(behind.behind().is_empty(), "its fast path has resumed");
    assert_eq!(sim.journal(lagging), sim.journal(leader));
    let restored = sim.node(lagging).machine().restored;
    (sim, restored)
}

#[test]
fn a_follower_beyond_the_window_is_brought_up_to_date_by_messages() {
    assert_eq!(catch_up(u64::MAX).1, 0, "the log had it all");
}

#[test]
fn a_follower_beyond_the_log_gets_a_snapshot_in_parts() {
    let (mut sim, restored) = catch_up(100);
    assert!(restored > 0);
    let leader = sim.leader().unwrap();
    let body_len_max = sim.node(leader).transport().capabilities().body_len_max;
    assert!(100 * 900 > 10 * body_len_max, "no snapshot of it fits a datagram");
}

/// Raft would send followers by message what the full window kept from being broadcast, and their
/// acknowledgements of it, ahead of the transport, would never open the window.
#[test]
fn a_full_window_opens_when_both_followers_come_back() {
    let mut sim = Sim::with(10, Options::default(), 4);
    let leader = sim.elect();
    sim.replicate(leader, b"before");
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    others.iter().for_each(|&at| sim.crash(at));
    for number in 0..20 {
        sim.node(leader).propose(command(number)).unwrap();
        sim.step();
    }
    others.iter().for_each(|&at| sim.start(at));
    sim.until("all to have it", 10 * SECOND, |sim| {
        let all = (0..20).map(command).collect::<Vec<_>>();
        (0..3).all(|at| sim.journal(at).ends_with(&all))
    });
    sim.replicate(leader, b"after");
    let ballot = Ballot(sim.node(leader).term());
    let acked = sim.node(leader).transport().acked(ballot).unwrap();
    assert!(acked.iter().all(|progress| progress.acked == acked.sent), "{acked:?}");
}

#[test]
fn a_leader_without_a_quorum_resigns_at_its_own_term() {
    let mut sim = Sim::new(5);
    let old = sim.elect();
    let ballot = Ballot(sim.node(old).term());
    let all = [0, 1, 2].map(Sim::address);
    sim.network.partition(&all, &[all[old]]);
    sim.until("the others to elect one", 10 * SECOND, |sim| {
        sim.leader().is_some_and(|leader| leader != old)
    });
    sim.until("the old one to step down", 10 * SECOND, |sim| !sim.node(old).is_leader());
    assert_eq!(Ballot(sim.node(old).term()), ballot, "not by a higher term: it hears nobody");
    let acked = sim.node(old).transport().acked(ballot);
    assert!(matches!(acked, Err(TransportError::NotLeading { .. })), "{acked:?}");
    sim.network.heal();
    let new = sim.elect();
    sim.replicate(new, b"healed");
}

#[test]
fn a_read_is_confirmed_by_a_probe_and_never_by_a_leader_cut_off() {
    let mut sim = Sim::new(6);
    let leader = sim.elect();
    sim.replicate(leader, b"written");
    sim.node(leader).read(b"mine".to_vec()).unwrap();
    sim.run(Duration::from_millis(5));
    let reads = sim.node(leader).take_reads();
    assert_eq!(reads.len(), 1);
    assert_eq!(&reads[0].request_ctx[..], b"mine");
    assert!(sim.node(leader).applied() >= reads[0].index);

    let all = [0, 1, 2].map(Sim::address);
    sim.network.partition(&all, &[all[leader]]);
    sim.node(leader).read(b"stale".to_vec()).unwrap();
    sim.run(5 * SECOND);
    assert!(sim.node(leader).take_reads().is_empty());
}

#[test]
fn leadership_is_handed_over() {
    let mut sim = Sim::new(7);
    let old = sim.elect();
    sim.replicate(old, b"caught up");
    let new = (old + 1) % 3;
    sim.node(old).transfer_leadership(NodeId(new as u64 + 1)).unwrap();
    sim.until("the other to lead", SECOND, |sim| sim.leader() == Some(new));
    sim.replicate(new, b"after");
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let network = MemoryNetwork::new(8);
    let mut group = GroupConfig::new(GroupId(1), network.membership(3, QuorumRule::Majority));
    group.mode = AckMode::Received;
    let transport = network.endpoint(NodeId(1)).unwrap().join(group).unwrap();
    let error = Node::new(transport, Disk::new(1..=3), Journal::default(), Options::default());
    assert!(matches!(error.err(), Some(Error::Mode { mode: AckMode::Received })));

    let mut sim = Sim::new(9);
    let leader = sim.elect();
    let max = match sim.node(leader).propose(vec![0; 9_000]) {
        Err(Error::TooLarge { len: 9_000, max }) => max,
        other => panic!("{other:?}"),
    };
    sim.replicate(leader, &vec![7; max]);
    sim.crash((leader + 1) % 3);
    sim.crash((leader + 2) % 3);
    sim.until("it to step down", 5 * SECOND, |sim| !sim.node(leader).is_leader());
    let dropped = sim.node(leader).propose(b"nobody leads".to_vec());
    assert!(matches!(dropped, Err(Error::Dropped { leader: None })), "{dropped:?}");
}

/// What all runs together have met; a simulation that never elects or loses shows nothing.
#[derive(Default, Debug)]
struct Met {
    terms: u64,
    stored: u64,
    retransmitted: u64,
    restored: usize,
    crashes: usize,
}

fn disturb(sim: &mut Sim, met: &mut Met) {
    let at = sim.dice.random_range(0..3);
    let all = [0, 1, 2].map(Sim::address);
    match sim.dice.random_range(0..10) {
        0 | 1 if sim.lives[at].is_some() => {
            sim.crash(at);
            met.crashes += 1;
        }
        2..=4 => (0..3)
            .filter(|&at| sim.lives[at].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| sim.start(at)),
        5 => sim.network.partition(&all, &[all[at]]),
        6 => sim.network.heal(),
        7 => sim.set_paused(at, true),
        8 => (0..3).for_each(|at| sim.set_paused(at, false)),
        9 => {
            let lossy = sim.dice.random_bool(0.7);
            sim.network.set_faults(if lossy { Faults::lossy() } else { Faults::default() });
        }
        _ => {}
    }
}

/// All faults for four virtual seconds, then peace. Returns the run's digest.
fn disturbed_run(seed: u64, met: &mut Met) -> u64 {
    let options = Options { snapshot_every: 50, snapshot_keep: 10, ..Options::default() };
    let mut sim = Sim::with(seed, options, 16);
    let mut proposed = Vec::new();
    sim.network.set_faults(Faults::lossy());
    for round in 0..400 {
        if sim.dice.random_bool(0.06) {
            disturb(&mut sim, met);
        }
        let at = sim.dice.random_range(0..3);
        if let Some(life) = &mut sim.lives[at] {
            let len = if sim.dice.random_bool(0.1) { 1_200 } else { sim.dice.random_range(0..40) };
            let unique = [format!("{seed}/{round}").as_bytes(), &vec![b'.'; len]].concat();
            match life.node.propose(unique.clone()) {
                Ok(()) => proposed.push(unique),
                Err(Error::Dropped { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        sim.run(Duration::from_millis(10));
    }

    sim.network.heal();
    sim.network.set_faults(Faults::default());
    for at in 0..3 {
        sim.set_paused(at, false);
        if sim.lives[at].is_none() {
            sim.start(at);
        }
    }
    let leader = sim.elect();
    // A proposal is lost with the leader that took it; its client would try again, and so do we.
    for lost in
        proposed.iter().filter(|known| !sim.agreed.contains(known)).cloned().collect::<Vec<_>>()
    {
        sim.until("room for a lost one", 10 * SECOND, |sim| {
            let at = sim.leader().unwrap_or(leader);
            sim.node(at).propose(lost.clone()).is_ok()
        });
    }
    let last = sim.leader().unwrap_or(leader);
    sim.replicate(last, b"the last one");
    sim.run(SECOND);
    assert!(proposed.iter().all(|known| sim.agreed.contains(known)), "every proposal is applied");
    let all: Vec<_> = sim.agreed.log.values().cloned().collect();
    for at in 0..3 {
        assert_eq!(sim.journal(at), all, "node {at} has applied all of it, in order");
        let stats = sim.node(at).transport().stats();
        met.stored += stats.count(Counter::RxStored);
        met.retransmitted += stats.count(Counter::TxRetransmits);
        met.restored += sim.node(at).machine().restored;
        met.terms += sim.node(at).term() / 3;
    }
    sim.network.digest()
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("ELECTRODE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ELECTRODE_SEEDS").unwrap_or(200)).collect(),
    }
}

#[test]
fn all_nodes_apply_the_same_under_every_fault() {
    let (mut met, seeds) = (Met::default(), seeds());
    for &seed in &seeds {
        let run = std::panic::AssertUnwindSafe(|| disturbed_run(seed, &mut met));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("failed with ELECTRODE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{} runs met {met:?}", seeds.len());
    if seeds.len() >= 200 {
        assert!(met.terms > 400 && met.crashes > 200 && met.restored > 50, "{met:?}");
        assert!(met.stored > 10_000 && met.retransmitted > 1_000, "{met:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digest = |seed| disturbed_run(seed, &mut Met::default());
    assert_eq!(digest(11), digest(11));
    assert_ne!(digest(11), digest(12));
}
