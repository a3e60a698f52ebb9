//! The conformance suite on the memory backend.

use std::process::ExitCode;

use electrode_conformance::MemoryHarness;

fn main() -> ExitCode {
    electrode_conformance::main(MemoryHarness::default())
}
