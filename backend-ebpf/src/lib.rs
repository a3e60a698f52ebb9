//! The Electrode transport contract with its fast path in the kernel.
#![cfg(target_os = "linux")]

mod accelerator;
mod attach;
mod endpoint;
mod error;
mod keeper;
mod kernel;
mod nap;
mod net;
mod place;
#[cfg(test)]
mod privileged;
mod shared;
#[cfg(feature = "stock")]
mod stock;
mod survey;

pub use endpoint::{EbpfEndpoint, EbpfOptions};
pub use error::EbpfError;
pub use net::{
    Changes, Interface, InterfaceKind, LinkState, NextHop, NextHops, Unreachable, Watch,
};
#[cfg(feature = "stock")]
#[doc(hidden)]
pub use stock::Stock;
pub use survey::{
    Capabilities, DeviceFacts, Filter, Finding, Hook, HookReport, KernelFacts, Occupants, Offloads,
    Program, Report, Severity, Survey, TcOccupants, UnknownHook, XdpMode, XdpOccupant,
};
