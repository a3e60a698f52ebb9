//! The conformance suite on the eBPF backend: by every hook, over IPv4 and IPv6, and in groups that
//! mix hooks with members on plain sockets; and with everything pinned. Linux, as root; unprivileged, every case says that it was
//! left out.
//!
//! A filter chooses: `cargo test -p electrode-backend-ebpf --test conformance -- ebpf-tc/fenced`.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../pinned/bpffs.rs"]
#[allow(dead_code, reason = "the pinned tests' own, which use all of it")]
mod bpffs;
#[cfg(target_os = "linux")]
mod harness;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    harness::raise_descriptor_limit();
    electrode_conformance::main_of_many(harness::all())
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("LEFT OUT: the eBPF backend needs Linux");
    if electrode_conformance::require_privileged() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
