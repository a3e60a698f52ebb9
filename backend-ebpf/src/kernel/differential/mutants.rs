//! Programs that are broken on purpose, each in one place of what surrounds the rules: the comparison
//! must notice every one, or it proves nothing.
//!
//! `cargo xtask build-ebpf --mutant NAME` builds them; `ELECTRODE_MUTANT_OBJECTS` names their folder.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;

use super::bench::Bench;
use super::compare::{Census, Difference, simulate};
use super::loads::{COUNTING, KEYED, Load, PLAIN, SIX, SMALL};
use super::{SEED, STEPS_PER_SEED, is_privileged, is_required};

/// Seeds until a mutant must have shown itself.
const SEEDS: u64 = 10;

/// Each mutant, and a load in which it matters.
const MUTANTS: [(&str, Load); 22] = [
    // A missing place in the ring is taken for room: acknowledged, and nobody has it.
    ("unstored_ack", SMALL),
    // What user space has not released yet does not count.
    ("no_limit", PLAIN),
    ("free_head", PLAIN),
    // The log holds other bytes than the frame.
    ("shifted_body", SIX),
    // A duplicate, or a gap, is answered with its own slot and not with what is stored.
    ("newest_slot", PLAIN),
    ("no_gap", PLAIN),
    ("no_lease", PLAIN),
    // Anybody speaks for a member; so does who left the membership; so does who has not the key.
    ("any_address", SIX),
    ("any_incarnation", COUNTING),
    ("any_tag", KEYED),
    ("untold_quorum", COUNTING),
    // What is passed up is not what came.
    ("cut_ack", PLAIN),
    ("any_fragment", PLAIN),
    ("any_trailer", SIX),
    // Right for nearly every packet.
    ("folded_once", PLAIN),
    ("no_checksum", SIX),
    // A leader begins with an earlier one's votes on its board, or without its own.
    ("kept_marks", COUNTING),
    ("not_armed", COUNTING),
    ("no_own_vote", COUNTING),
    // Of several frames in one packet, one counts for all; or copies of it have no checksum to begin with.
    ("first_armed", COUNTING),
    ("oldest_reply", PLAIN),
    ("sealed_seed", COUNTING),
];

pub(super) fn objects() -> Option<PathBuf> {
    let folder = env::var_os("ELECTRODE_MUTANT_OBJECTS");
    let is_required = is_required();
    assert!(folder.is_some() || !is_required, "ELECTRODE_MUTANT_OBJECTS names no folder");
    if folder.is_none() {
        eprintln!("LEFT OUT: broken programs: ELECTRODE_MUTANT_OBJECTS names no folder of them");
    }
    Some(folder?.into())
}

/// Where the comparison noticed the mutant, `None` if it did not.
fn hunt(object: &[u8], load: &Load, turn: usize) -> Option<String> {
    let mut bench = Bench::load(load.name, Some(object), &load.settings(), turn)
        .expect("a mutant that the verifier takes");
    let mut census = Census::default();
    for seed in SEED..SEED + SEEDS {
        let simulated = simulate(&mut bench, seed, STEPS_PER_SEED, false, &mut census);
        if let Err(Difference(what)) = simulated {
            return Some(what);
        }
    }
    None
}

#[test]
fn broken_programs_are_noticed() {
    if !is_privileged("broken programs") {
        return;
    }
    let Some(folder) = objects() else { return };
    let found = thread::scope(|scope| {
        let threads: Vec<_> = MUTANTS
            .iter()
            .enumerate()
            .map(|(turn, (name, load))| {
                let path = folder.join(format!("{name}.o"));
                let object = fs::read(&path)
                    .unwrap_or_else(|error| panic!("no mutant {}: {error}", path.display()));
                scope.spawn(move || (*name, hunt(&object, load, turn)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut unnoticed = Vec::new();
    for found in found {
        match found.expect("a mutant was loaded") {
            (name, Some(what)) => {
                let first: String = what.lines().next().unwrap_or_default().into();
                println!("{name}: {first}");
            }
            (name, None) => unnoticed.push(name),
        }
    }
    assert!(unnoticed.is_empty(), "nobody noticed {unnoticed:?}");
}
