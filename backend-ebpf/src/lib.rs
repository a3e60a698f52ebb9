//! The Electrode transport contract with its fast path in the kernel.
#![cfg(target_os = "linux")]

mod error;
#[allow(dead_code, reason = "the endpoint comes next")]
mod kernel;

pub use error::EbpfError;
