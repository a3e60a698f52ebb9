//! Every deliberately broken engine must fail the case that claims to catch it, by name; with nothing
//! broken the same cases pass.

use std::process::ExitCode;

use electrode_conformance::{
    Case, MUTANTS, MemoryHarness, MutantCase, Outcome, Seeds, cases, coverage_table, run_case,
};
use electrode_transport::engine::Mutant;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials: Vec<_> = MUTANTS.iter().map(|mutant| trial(*mutant)).collect();
    trials.push(Trial::test("catalogue/every-mutant-is-listed-once", listed));
    trials.push(Trial::test("catalogue/coverage-table-is-current", coverage_is_current));
    trials.push(Trial::test("catalogue/every-invariant-has-cases-and-mutants", every_invariant));
    libtest_mimic::run(&args, trials).exit_code()
}

fn trial(mutant: MutantCase) -> Trial {
    let name = format!("{}/{}", mutant.invariant(), mutant.name);
    Trial::test(name, move || is_caught(&mutant)).with_kind("mutant")
}

fn find(id: &str) -> Result<Case, Failed> {
    let found = cases().into_iter().find(|case| case.id == id);
    found.ok_or_else(|| Failed::from(format!("there is no case {id}")))
}

fn is_caught(mutant: &MutantCase) -> Result<(), Failed> {
    let case = find(mutant.caught_by)?;
    let which = Mutant::ALL.iter().copied().find(|which| which.name() == mutant.name);
    let which = which.ok_or_else(|| Failed::from("the engine has no such mutant"))?;
    let sound = run_case(&case, &MemoryHarness::default(), Seeds::default(), true);
    if sound.outcome != Outcome::Passed {
        return Err(format!("without any mutant: {:?}", sound.outcome).into());
    }
    let broken = MemoryHarness::prepared(move |network| network.set_mutant(Some(which)));
    match run_case(&case, &broken, Seeds::default(), true).outcome {
        Outcome::Failed(why) => {
            // What it said, for whoever wants to see that it failed for the right reason.
            if std::env::var_os("ELECTRODE_EXPLAIN").is_some() {
                println!("{} fails {}: {why}", mutant.name, case.id);
            }
            Ok(())
        }
        other => Err(format!("{} survives {}: {other:?}", mutant.name, case.id).into()),
    }
}

fn listed() -> Result<(), Failed> {
    for which in Mutant::ALL {
        let count = MUTANTS.iter().filter(|mutant| mutant.name == which.name()).count();
        if count != 1 {
            return Err(format!("{} is in the catalogue {count} times", which.name()).into());
        }
    }
    Ok(())
}

fn every_invariant() -> Result<(), Failed> {
    for invariant in electrode_conformance::Invariant::ALL {
        let prefix = format!("{invariant}/");
        let misnamed = cases()
            .into_iter()
            .find(|case| (case.invariant == *invariant) != case.id.starts_with(&prefix));
        if let Some(case) = misnamed {
            return Err(format!("{} does not begin with its invariant", case.id).into());
        }
        let mutants = MUTANTS.iter().filter(|mutant| mutant.invariant() == *invariant).count();
        let cases = cases().iter().filter(|case| case.invariant == *invariant).count();
        if mutants == 0 || cases < 2 {
            return Err(format!("{invariant}: {cases} cases, {mutants} mutants").into());
        }
    }
    let mut ids: Vec<_> = cases().iter().map(|case| case.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two cases are called {}", pair[0]).into()),
        None => Ok(()),
    }
}

/// `ELECTRODE_BLESS=1` writes the table instead of comparing it.
fn coverage_is_current() -> Result<(), Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
    if std::env::var_os("ELECTRODE_BLESS").is_some() {
        std::fs::write(path, coverage_table())?;
    }
    if std::fs::read_to_string(path)? != coverage_table() {
        let how = "ELECTRODE_BLESS=1 cargo test -p electrode-conformance --test mutants coverage";
        return Err(format!("COVERAGE.md is not current; write it anew with: {how}").into());
    }
    Ok(())
}
