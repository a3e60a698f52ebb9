//! Says whether the eBPF backend works on an interface, by which hooks, and why not by the others.
//!
//! ```sh
//! cargo build --example doctor --features ebpf
//! sudo target/debug/examples/doctor eth0
//! sudo target/debug/examples/doctor --json 10.0.0.1
//! ```
//!
//! Exit status: 0 if a hook works, 1 if none does (the socket backend does everything then), 2 if the
//! question made no sense.

use std::process::ExitCode;

use clap::Parser;

/// Says whether Electrode's eBPF backend works on an interface.
///
/// Tries every hook: attaches the programs, has a frame go in and its answer come out, and detaches
/// them again. Other traffic passes untouched. Needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; without them
/// it says what it can. Exits with 0 if a hook works, 1 if none does, 2 if there is no such interface.
#[derive(Parser)]
#[command(name = "doctor")]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is nothing to ask"))]
struct Arguments {
    /// The interface, by its name or one of its addresses: `ip -brief address` lists them.
    target: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The longest datagram that the endpoint may send, in bytes
    /// (`EndpointConfig::datagram_len_max`).
    #[arg(long, default_value_t = 1_452, value_name = "BYTES")]
    datagram_len_max: usize,
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let Arguments { target, json, datagram_len_max } = Arguments::parse();
    match electrode::probe(target.as_str(), datagram_len_max) {
        Ok(report) => {
            if json {
                println!("{}", serde_json::json!(report));
            } else {
                print!("{report}");
            }
            if report.picked.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            if json {
                let reason = error.obstacle().name();
                println!(
                    "{}",
                    serde_json::json!({ "error": error.to_string(), "obstacle": reason })
                );
            } else {
                eprintln!("doctor: {error}");
            }
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    let _ = Arguments::parse();
    eprintln!("doctor: the eBPF backend needs Linux 6.6 or later; the socket backend works here");
    ExitCode::FAILURE
}
