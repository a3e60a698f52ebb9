//! The Electrode transport contract with its fast path in the kernel.
#![cfg(target_os = "linux")]

mod error;
#[allow(dead_code, reason = "the endpoint comes next")]
mod kernel;
#[allow(dead_code, reason = "the survey comes next")]
mod net;

pub use error::EbpfError;
pub use net::{
    Changes, Interface, InterfaceKind, LinkState, NextHop, NextHops, Unreachable, Watch,
};
