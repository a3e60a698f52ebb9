//! The Electrode transport contract with its fast path in the kernel.
#![cfg(target_os = "linux")]

mod error;
#[allow(dead_code, reason = "the endpoint comes next")]
mod keeper;
#[allow(dead_code, reason = "the endpoint comes next")]
mod kernel;
mod net;
#[allow(dead_code, reason = "the endpoint comes next")]
mod place;
#[cfg(test)]
mod privileged;
#[allow(dead_code, reason = "the endpoint comes next")]
mod shared;

pub use error::EbpfError;
pub use net::{
    Changes, Interface, InterfaceKind, LinkState, NextHop, NextHops, Unreachable, Watch,
};
