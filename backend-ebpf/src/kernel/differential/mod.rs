//! The real bytecode against the rules: a seed drives the loaded programs through `BPF_PROG_TEST_RUN`
//! and a model side by side, and after every step all that can be seen of both must be the same.
//!
//! `ELECTRODE_DIFFERENTIAL_STEPS` asks for more steps (all loads together), `ELECTRODE_SEED` repeats
//! one seed. Needs root: left out loudly without, or failed if `ELECTRODE_REQUIRE_PRIVILEGED=1`.

mod bench;
mod compare;
mod draw;
mod extremes;
mod loads;
mod model;
mod mutants;
mod packet;
mod race;

use std::env;
use std::thread;

use electrode_ebpf_abi::Tick;

use self::bench::Bench;
use self::compare::{Census, Difference, simulate};
use self::loads::{LOADS, Load};

/// Steps of one seed: some hundred lives of a group.
const STEPS_PER_SEED: u64 = 20_000;
const STEPS: u64 = 2_400_000;
const SEED: u64 = 0x0e1e_c720_de00;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Whether nothing may be left out.
fn is_required() -> bool {
    env::var("ELECTRODE_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1")
}

/// Whether this process may load programs. If not, says so, or fails where that is demanded.
fn is_privileged(what: &str) -> bool {
    // SAFETY: no pointers are involved.
    let is_root = unsafe { libc::geteuid() } == 0;
    assert!(is_root || !is_required(), "{what}: needs root, and must not be left out");
    if !is_root {
        eprintln!("LEFT OUT: {what}: needs root to load programs");
    }
    is_root
}

/// Runs the seeds of one load, as many as make up `steps`.
fn run(load: &Load, cpu: usize, steps: u64) -> Result<Census, Difference> {
    let mut bench = Bench::load(load.name, None, &load.settings(), cpu)
        .map_err(|error| Difference(format!("{}: {error:?}", load.name)))?;
    let mut census = Census::default();
    if let Some(seed) = number("ELECTRODE_SEED") {
        let steps = number("ELECTRODE_DIFFERENTIAL_STEPS").unwrap_or(STEPS_PER_SEED);
        simulate(&mut bench, seed, steps, true, &mut census)?;
        return Ok(census);
    }
    for seed in 0..steps.div_ceil(STEPS_PER_SEED) {
        simulate(&mut bench, SEED + seed, STEPS_PER_SEED, false, &mut census)?;
    }
    Ok(census)
}

#[test]
fn the_programs_do_what_the_rules_say() {
    if !is_privileged("the programs against the rules") {
        return;
    }
    let steps = number("ELECTRODE_DIFFERENTIAL_STEPS").unwrap_or(STEPS) / LOADS.len() as u64;
    let mut total = Census::default();
    let mut differences = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = LOADS
            .iter()
            .enumerate()
            .map(|(index, load)| scope.spawn(move || run(load, index, steps)))
            .collect();
        for thread in threads {
            match thread.join().expect("no panic beside a difference") {
                Ok(census) => total.add(&census),
                Err(Difference(what)) => differences.push(what),
            }
        }
    });
    assert!(differences.is_empty(), "\n{}", differences.join("\n\n"));
    println!("{total}");
    if number("ELECTRODE_SEED").is_none() {
        let never: Vec<_> = Tick::ALL
            .iter()
            .filter(|tick| !matches!(tick, Tick::ReplyFailed | Tick::Copies))
            .filter(|tick| total.ticks[**tick as usize] == 0)
            .collect();
        assert!(never.is_empty(), "the simulation never came to {never:?}");
    }
}
