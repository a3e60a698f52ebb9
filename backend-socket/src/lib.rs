//! The Electrode transport contract over UDP sockets: any system, no privileges.
#![allow(unexpected_cfgs, reason = "`--cfg electrode_portable` tests the portable module on Linux")]
#![cfg_attr(
    not(all(feature = "tokio", target_os = "linux", not(electrode_portable))),
    allow(dead_code, reason = "some of `Core` is for the driver's task alone")
)]

mod core;
mod driver;
mod endpoint;
mod host;
mod net;

pub use endpoint::SocketEndpoint;
pub use host::{SocketHost, SocketTransport};
pub use net::SocketOptions;
