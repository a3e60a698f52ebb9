//! Running the suite: one test a case, an outcome each, reports at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::case::{Case, Stage};
use crate::cases;
use crate::coverage;
use crate::harness::{Harness, SetupError};
use crate::report::{self, Report};
use crate::seeds::{Seeds, panic_message, quiet_panics, take_place};

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The contract held.
    Passed,
    /// It did not, or a declared feature is not there.
    Failed(String),
    /// The harness does not declare what the case needs. Not a failure, not a pass.
    NotSupported(String),
    /// A privilege is missing. The whole result is then partial.
    Skipped(String),
}

/// A case that was run, or could not be.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Which.
    pub case: Case,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// Runs one case on a harness. `require_privileged` makes a missing privilege a failure.
#[must_use]
pub fn run_case(case: &Case, harness: &dyn Harness, seeds: Seeds, require_privileged: bool) -> Ran {
    let started = Instant::now();
    let outcome = outcome_of(case, harness, seeds, require_privileged);
    Ran { case: *case, outcome, took: started.elapsed() }
}

fn outcome_of(
    case: &Case,
    harness: &dyn Harness,
    seeds: Seeds,
    require_privileged: bool,
) -> Outcome {
    let missing = case.needs.without(harness.declares());
    if missing != crate::Features::NONE {
        return Outcome::NotSupported(format!("{} does not declare: {missing}", harness.name()));
    }
    let stage = Stage::new(harness, seeds);
    quiet_panics();
    let _ = take_place();
    match catch_unwind(AssertUnwindSafe(|| (case.run)(&stage))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(error @ SetupError::MissingPrivilege(_))) if !require_privileged => {
            Outcome::Skipped(error.to_string())
        }
        Ok(Err(error)) => Outcome::Failed(explain(case, &with_sources(&error))),
        Err(panic) => Outcome::Failed(explain(case, &(panic_message(&*panic) + &take_place()))),
    }
}

fn explain(case: &Case, what: &str) -> String {
    format!("{what}\n  clause: {}", case.clause)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Runs the suite as a test target's `main` (`harness = false`), with the arguments of `cargo test`,
/// and writes the reports.
///
/// `--list-coverage` prints the table of invariants and cases instead. `ELECTRODE_REPORT_DIR` receives
/// the reports, `ELECTRODE_SEED` and `ELECTRODE_SEEDS` choose the seeds, and with
/// `ELECTRODE_REQUIRE_PRIVILEGED=1` a missing privilege fails.
#[must_use]
pub fn main(harness: impl Harness) -> ExitCode {
    let suite = Suite { harness: Arc::new(harness), prefix: String::new(), ran: Arc::default() };
    run(&[suite], None)
}

/// As [`main`], for a backend with several hooks or set-ups: every case on every harness, in their
/// order. A test's name begins with its harness's backend and hook, so that a filter can choose:
/// `ebpf-tc/fenced`. Each harness that ran anything has reports of its own.
#[must_use]
pub fn main_of_many(harnesses: Vec<Arc<dyn Harness>>) -> ExitCode {
    let suites = harnesses.into_iter().map(|harness| {
        let prefix = report::subject(harness.name(), &harness.hook()) + "/";
        Suite { harness, prefix, ran: Arc::default() }
    });
    // Where clusters take long to set up and to take down it is the system that is waited for.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    run(&suites.collect::<Vec<_>>(), Some(cpus + 1))
}

/// One harness with what ran on it.
struct Suite {
    harness: Arc<dyn Harness>,
    prefix: String,
    ran: Arc<Mutex<Vec<Ran>>>,
}

fn run(suites: &[Suite], threads: Option<usize>) -> ExitCode {
    if std::env::args().any(|argument| argument == "--list-coverage") {
        print!("{}", coverage::table());
        return ExitCode::SUCCESS;
    }
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(threads);
    let seeds = match Seeds::from_env() {
        Ok(seeds) => seeds,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let of_suite = |suite| cases::all().into_iter().map(move |case| trial(case, suite, seeds));
    let trials = suites.iter().flat_map(of_suite).collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if args.list {
        return ExitCode::SUCCESS;
    }
    let mut is_reported = true;
    for suite in suites {
        let ran = core::mem::take(&mut *suite.ran.lock().unwrap_or_else(PoisonError::into_inner));
        if ran.is_empty() && suites.len() > 1 {
            continue;
        }
        let report = Report::new(&*suite.harness, seeds, ran);
        println!("{}", report.summary());
        if let Err(error) = report.write_from_env() {
            eprintln!("error: {error}");
            is_reported = false;
        }
    }
    if is_reported { conclusion.exit_code() } else { ExitCode::FAILURE }
}

fn trial(case: Case, suite: &Suite, seeds: Seeds) -> Trial {
    let (harness, ran) = (Arc::clone(&suite.harness), Arc::clone(&suite.ran));
    let test = move || {
        let result = run_case(&case, &*harness, seeds, require_privileged());
        let outcome = result.outcome.clone();
        ran.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        match outcome {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::NotSupported(why) => {
                Ok(Completion::ignored_with(format!("not supported: {why}")))
            }
            Outcome::Skipped(why) => Ok(Completion::ignored_with(format!("skipped: {why}"))),
            Outcome::Failed(why) => Err(Failed::from(why)),
        }
    };
    Trial::ignorable_test(format!("{}{}", suite.prefix, case.id), test)
        .with_kind(case.profile.name())
}

/// Whether the environment demands that nothing is skipped for lack of privileges.
#[must_use]
pub fn require_privileged() -> bool {
    std::env::var("ELECTRODE_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1")
}
