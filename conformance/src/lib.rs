//! The conformance suite of the Electrode transport contract: any backend, one line to run it.
//!
//! A backend author writes a [`Harness`] (how to build a cluster of the backend, disturb it and
//! watch it) and a test target without libtest's own harness:
//!
//! ```no_run
//! // tests/conformance.rs, with `harness = false` in Cargo.toml
//! use electrode_conformance::MemoryHarness;
//!
//! fn main() -> std::process::ExitCode {
//!     electrode_conformance::main(MemoryHarness::default())
//! }
//! ```
//!
//! Every case is its own test with a stable id (`fenced/nothing-below-is-accepted`), the clause of
//! the contract that it proves, and the [`Features`] it needs. What a harness does not declare is
//! reported as not supported; what it declares and fails is a failure; a missing privilege skips the
//! case and makes the whole result partial.
//!
//! A ledger judges every case as a whole: what was broadcast, what each member's library was handed
//! and said, against every frame that left every member.

mod case;
mod cases;
mod coverage;
mod faults;
mod features;
mod harness;
mod lab;
mod memory;
mod mutants;
mod relay;
mod relayed;
mod report;
mod run;
mod seeds;
mod spec;
#[cfg(all(feature = "testbed", target_os = "linux"))]
pub mod testbed;

pub use case::{Case, Invariant, Profile, Stage};
pub use cases::all as cases;
pub use coverage::table as coverage_table;
pub use features::Features;
pub use harness::{Cluster, Harness, Link, Origin, SetupError, Tapped};
pub use memory::MemoryHarness;
pub use mutants::{MUTANTS, MutantCase};
pub use relay::Relay;
pub use relayed::{RelayedCluster, RelayedEndpoint};
pub use report::{Report, ReportError, SCHEMA, Verdict};
pub use run::{Outcome, Ran, main, main_of_many, require_privileged, run_case};
pub use seeds::Seeds;
pub use spec::{ClusterSpec, Roster, node_id};
