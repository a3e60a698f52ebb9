//! The socket backend beside the raw C floor: same machine, same topology, alternating runs.
//!
//! As root, `cargo build --release -p electrode-bench && target/release/compare`. It builds three
//! network namespaces on a bridge, runs everything in them, and removes them, also when interrupted.

mod measure;
mod report;
mod topology;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use measure::{Programs, Setting, Subject};
use report::{Report, Row};
use topology::Topology;

/// Compares the socket backend with the raw C floor.
#[derive(Parser)]
struct Arguments {
    /// Rounds of one run of each program.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Followers beside the leader.
    #[arg(long, default_value_t = 2)]
    followers: u8,
    /// Only this mode.
    #[arg(long, value_parser = ["block", "spin"])]
    mode: Option<String>,
    /// Only this window, 1 or 64.
    #[arg(long)]
    window: Option<u64>,
    /// Writes every figure here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fails unless the rate is at least 80 % of the floor's and p50 at most 1.25 times.
    #[arg(long)]
    check: bool,
    /// A few seconds in all, to show that it runs; fails only far below the floor.
    #[arg(long)]
    quick: bool,
}

const SUBJECTS: [Subject; 3] = [Subject::Yardstick, Subject::Received, Subject::Persisted];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !is_root() {
        eprintln!("skipped: network namespaces need root");
        let required = std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|it| it == "1");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match compare(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn settings(arguments: &Arguments) -> Vec<Setting> {
    let scale = if arguments.quick { 20 } else { 1 };
    let setting =
        |spin, window, operations: u64| Setting { spin, window, operations: operations / scale };
    let all = [
        setting(false, 1, 40_000),
        setting(true, 1, 60_000),
        setting(false, 64, 200_000),
        setting(true, 64, 200_000),
    ];
    let wanted = |setting: &Setting| {
        arguments.mode.as_ref().is_none_or(|mode| mode == setting.mode())
            && arguments.window.is_none_or(|window| window == setting.window)
    };
    all.into_iter().filter(wanted).collect()
}

fn compare(arguments: &Arguments) -> io::Result<bool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).map_err(io::Error::other)?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::prepare(folder.path())?;
    let topology = Topology::up(arguments.followers + 1)?;
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    let mut report = Report::new(arguments.followers + 1, rounds);
    for setting in settings(arguments) {
        for round in 0..rounds {
            for subject in SUBJECTS {
                let figures =
                    measure::run(&topology, &programs, subject, &setting, arguments.followers);
                if interrupted.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                report.add(Row { setting, round, subject, figures: figures? });
            }
        }
        report.print_setting(&setting);
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.to_json()?)?;
    }
    Ok(match (arguments.quick, arguments.check) {
        (true, _) => report.within(0.1, 20.0),
        (false, true) => report.within(0.8, 1.25),
        (false, false) => true,
    })
}
