//! The conformance suite on the eBPF backend, mixed with members on sockets.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![allow(unreachable_pub, reason = "a module of a test")]
#![cfg(target_os = "linux")]

mod conformance;

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::main("ebpf-and-socket", electrode_backend_ebpf::Hook::Tc, |node| node % 2 == 0)
}
