//! The backends beside the raw C floors: same machine, same topology, alternating runs.
//!
//! As root, `cargo build --release -p electrode-bench && target/release/compare`. It builds network
//! namespaces on a bridge, runs everything in them, and removes them, also when interrupted.

mod measure;
mod report;
mod targets;
mod topology;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use measure::{Programs, Setting, Subject};
use report::{Report, Row};
use topology::{Receive, Topology};

/// Compares the backends with the raw C floors.
#[derive(Parser)]
struct Arguments {
    /// Rounds of one run of each program.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Sizes of the group, leader included: 2 to 7.
    #[arg(long, value_delimiter = ',', default_value = "3", value_parser = clap::value_parser!(u8).range(2..=7))]
    members: Vec<u8>,
    /// How the leader waits.
    #[arg(long, value_delimiter = ',', default_value = "block,spin", value_parser = ["block", "spin"])]
    mode: Vec<String>,
    /// Which CPUs take in what arrives.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sender")]
    receive: Vec<Receive>,
    /// Proposals under way at a time.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    window: Vec<u64>,
    /// What to run, in this order. The floors in the kernel need clang and libbpf-dev.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor-sockets,floor-tc,floor-xdp,socket,ebpf-tc,ebpf-xdp"
    )]
    subjects: Vec<Subject>,
    /// Writes every figure here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fails unless every target for the settings that were run is met.
    #[arg(long)]
    check: bool,
    /// A few seconds in all, to show that it runs: one round, few operations, no targets.
    #[arg(long)]
    quick: bool,
}

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
    let mut settings = Vec::new();
    for &members in &arguments.members {
        for mode in &arguments.mode {
            for &receive in &arguments.receive {
                for &window in &arguments.window {
                    let operations = if window == 1 { 60_000 } else { 200_000 } / scale;
                    let spin = mode == "spin";
                    settings.push(Setting { members, spin, receive, window, operations });
                }
            }
        }
    }
    settings
}

fn compare(arguments: &Arguments) -> io::Result<bool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).map_err(io::Error::other)?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::prepare(folder.path(), &arguments.subjects)?;
    let topology = Topology::up(arguments.members.iter().copied().max().unwrap_or(3))?;
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    let mut report = Report::new(rounds);
    for setting in settings(arguments) {
        topology.steer(setting.receive)?;
        let able = |subject: &&Subject| subject.can(&setting);
        for round in 0..rounds {
            for &subject in arguments.subjects.iter().filter(able) {
                let figures = measure::run(&topology, &programs, subject, &setting);
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
    if arguments.quick {
        return Ok(report.lost_nothing());
    }
    let met = targets::print(&report);
    Ok(met || !arguments.check)
}
