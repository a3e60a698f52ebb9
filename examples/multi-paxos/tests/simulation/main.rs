//! Seeded whole-cluster runs of Multi-Paxos over a simulated network, with everything going wrong
//! that may: loss, duplication, reordering, partitions one way and both, pauses, crashes of one, of
//! the leader and of all, full disks. After each run: agreement, at-most-once execution,
//! linearizability of what the clients saw, and progress once the faults have ended.
//!
//! `ELECTRODE_SEEDS=N` runs that many seeds instead of the default, `ELECTRODE_SEED=S` that one.

mod client;
mod history;
mod machine;
mod nemesis;
mod node;
mod plan;
mod planted;
mod run;
mod totals;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::plan::Plan;
use crate::planted::Bug;
use crate::run::{Violation, run};
use crate::totals::Totals;

const SEEDS: u64 = 2_000;
/// From so many runs on everything must have been exercised.
const COVERING: u64 = 300;
/// A planted bug must show within so many runs.
const SEEDS_FOR_BUG: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {value}")))
}

fn run_caught(seed: u64, bug: Option<Bug>) -> Result<(Totals, u64), Violation> {
    catch_unwind(AssertUnwindSafe(|| run(Plan::of(seed, bug)))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Runs seeds on all processors until one fails. Returns what was exercised, or the failure of the
/// lowest seed that was seen to fail.
fn run_seeds(first: u64, count: u64, bug: Option<Bug>) -> Result<Totals, (u64, Violation)> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let (totals, failures) = (Mutex::new(Totals::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    match run_caught(seed, bug) {
                        Ok((run, _)) => totals.lock().expect("no panic inside").merge(&run),
                        Err(violation) => {
                            failed.store(true, Ordering::Relaxed);
                            failures.lock().expect("no panic inside").push((seed, violation));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic inside");
    match failures.into_iter().min() {
        Some(failure) => Err(failure),
        None => Ok(totals.into_inner().expect("no panic inside")),
    }
}

#[test]
fn seeds() {
    let (first, count) = match number("ELECTRODE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("ELECTRODE_SEEDS").unwrap_or(SEEDS)),
    };
    match run_seeds(first, count, None) {
        Ok(totals) => {
            totals.print();
            let missing = totals.missing();
            assert!(
                count < COVERING || missing.is_empty(),
                "{count} runs never exercised {missing:?}"
            );
        }
        Err((seed, violation)) => panic!(
            "seed {seed}: {violation}\nRepeat it with:\n  ELECTRODE_SEED={seed} cargo test -p \
             electrode-multi-paxos --test simulation -- seeds --exact --nocapture"
        ),
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut digests = Vec::new();
    for seed in 1_000_000..1_000_006 {
        let [one, two] = [(); 2].map(|()| run(Plan::of(seed, None)).expect("the run holds"));
        assert_eq!(one, two, "seed {seed} ran differently the second time");
        digests.push(one.1);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 6, "different seeds are different runs");
}

/// A bug that the checks do not see within a few hundred runs would mean that they see nothing.
fn caught(bug: Bug) {
    let (seed, violation) =
        run_seeds(0, SEEDS_FOR_BUG, Some(bug)).expect_err("the bug was not caught");
    let line = violation.lines().next().unwrap_or_default();
    println!("{bug:?} was caught by seed {seed}: {line}");
}

#[test]
fn votes_without_storing_are_caught() {
    caught(Bug::VotesWithoutStoring);
}

#[test]
fn forgotten_promises_are_caught() {
    caught(Bug::ForgetsPromises);
}

#[test]
fn reads_without_confirming_are_caught() {
    caught(Bug::ReadsWithoutConfirming);
}

#[test]
fn commits_without_quorum_are_caught() {
    caught(Bug::CommitsWithoutQuorum);
}

#[test]
fn retries_in_a_new_session_are_caught() {
    caught(Bug::RetriesInANewSession);
}
