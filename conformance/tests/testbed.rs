//! The test bed: hosts reach each other, faults follow their seed, and nothing is left behind. Linux,
//! as root; otherwise said and left out.
//!
//! What needs a process that dies is played by this program again, in a role that an environment
//! variable names.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "testbed/linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("LEFT OUT: the test bed needs Linux");
    if electrode_conformance::require_privileged() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
