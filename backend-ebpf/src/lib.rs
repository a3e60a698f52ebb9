//! The Electrode transport contract with its fast path in the kernel. Linux; elsewhere only the
//! options exist, so that a program which sets them compiles.

#[cfg(target_os = "linux")]
mod accelerator;
#[cfg(target_os = "linux")]
mod attach;
#[cfg(target_os = "linux")]
mod broadcast;
#[cfg(target_os = "linux")]
mod echo;
#[cfg(target_os = "linux")]
mod endpoint;
#[cfg(target_os = "linux")]
mod error;
#[cfg(all(test, target_os = "linux"))]
mod fault_tests;
mod hook;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod nap;
#[cfg(target_os = "linux")]
mod net;
mod options;
#[cfg(target_os = "linux")]
mod pin;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod preflight;
#[cfg(all(test, target_os = "linux"))]
mod privileged;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod shared;
#[cfg(all(feature = "stock", target_os = "linux"))]
mod stock;
#[cfg(target_os = "linux")]
mod survey;
#[cfg(target_os = "linux")]
mod ticks;
#[cfg(target_os = "linux")]
mod upkeep;

pub use hook::{Hook, UnknownHook};
pub use options::{EbpfOptions, HookChoice};

#[cfg(target_os = "linux")]
pub use endpoint::EbpfEndpoint;
#[cfg(target_os = "linux")]
pub use error::EbpfError;
#[cfg(target_os = "linux")]
pub use net::{
    Changes, Interface, InterfaceKind, LinkState, NextHop, NextHops, Unreachable, Watch,
};
#[cfg(target_os = "linux")]
pub use probe::{ProbeTarget, probe};
#[cfg(all(feature = "stock", target_os = "linux"))]
#[doc(hidden)]
pub use stock::Stock;
#[cfg(target_os = "linux")]
pub use survey::{
    Capabilities, DeviceFacts, Filter, Finding, HookReport, KernelFacts, Occupants, Offloads,
    Program, Proof, Report, Severity, Survey, TcOccupants, XdpMode, XdpOccupant,
};
#[cfg(target_os = "linux")]
pub use ticks::Ticks;
