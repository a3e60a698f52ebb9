//! Pinned mode: what the kernel acknowledged outlives any death of the process, and nothing else does.
//!
//! The members that die are processes of their own: this binary again, with a role. Linux, as root.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod bpffs;
mod crashes;
mod journal;
mod links;
mod member;
mod refusals;
mod take_over;

use std::process::ExitCode;

use electrode_conformance::{SetupError, require_privileged};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

type Outcome = Result<(), SetupError>;
type Test = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    if let Some(role) = member::role() {
        return member::play(&role);
    }
    let tests: [Test; 25] = [
        ("crashes/nothing-acknowledged-is-lost", crashes::nothing_is_lost),
        ("crashes/nothing-is-acknowledged-after-the-lease", crashes::lease_ends),
        ("crashes/a-ballot-led-is-not-led-again", crashes::led_once),
        ("crashes/at-any-moment-of-a-start-or-an-end", crashes::at_any_moment),
        ("crashes/unpinned-leaves-nothing", crashes::unpinned_leaves_nothing),
        ("take-over/status-and-entries", take_over::status_and_entries),
        ("take-over/persisted-until-acknowledged", take_over::persisted),
        ("take-over/entries-given-up", take_over::given_up),
        ("take-over/a-ballot-resigned", take_over::resigned),
        ("take-over/newer-membership", take_over::newer_membership),
        ("take-over/groups-that-nobody-joins", take_over::dormant_groups),
        ("take-over/from-one-that-sleeps", take_over::from_one_that_sleeps),
        ("take-over/closed-leaves-nothing", take_over::closed_leaves_nothing),
        ("links/another-interface", links::another_interface),
        ("links/missing", links::missing),
        ("links/put-back-while-it-lived", links::put_back),
        ("take-over/whichever-hook", take_over::any_hook),
        ("take-over/on-every-hook", take_over::every_hook),
        ("refusals/folders", refusals::folders),
        ("refusals/two-owners", refusals::two_owners),
        ("refusals/other-settings", refusals::other_settings),
        ("refusals/other-layout", refusals::other_layout),
        ("refusals/groups", refusals::groups),
        ("refusals/half-made", refusals::half_made),
        ("refusals/damaged", refusals::damaged),
    ];
    let trials = tests.into_iter().map(|(name, test)| privileged(name, test)).collect();
    // One at a time: for a moment a process that a test starts has every descriptor of the others open,
    // so their ports and links would outlive them.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Left out, and said, where a privilege is missing; a failure where that may not be.
fn privileged(name: &str, test: fn() -> Outcome) -> Trial {
    Trial::ignorable_test(name, move || match test() {
        Ok(()) => Ok(Completion::Completed),
        Err(SetupError::MissingPrivilege(why)) if !require_privileged() => {
            Ok(Completion::ignored_with(format!("LEFT OUT: {why}")))
        }
        Err(error) => Err(Failed::from(format!("{error:?}"))),
    })
}
