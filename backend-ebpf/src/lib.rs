//! The Electrode transport contract with its fast path in the kernel.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "the endpoint comes next")]
mod attach;
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
mod survey;

pub use error::EbpfError;
pub use net::{
    Changes, Interface, InterfaceKind, LinkState, NextHop, NextHops, Unreachable, Watch,
};
pub use survey::{
    Capabilities, DeviceFacts, Filter, Finding, Hook, HookReport, KernelFacts, Occupants, Offloads,
    Program, Report, Severity, Survey, TcOccupants, UnknownHook, XdpMode, XdpOccupant,
};
