//! Hosts on one machine: network namespaces with an interface each, for backends that live in the
//! kernel and for everything else that wants a network of its own. Linux only, as root, with
//! iproute2.
//!
//! - [`TapBed`]: TAP devices whose other ends this process holds. It is the switch, sees every frame
//!   and can lose, double, delay and forge them. [`TapCluster`] runs the conformance suite on it.
//! - [`BridgeBed`]: veths on a bridge; the kernel is the switch. For demonstrations and measurements,
//!   over many processes.
//!
//! ```no_run
//! use std::net::UdpSocket;
//!
//! use electrode_conformance::SetupError;
//! use electrode_conformance::testbed::{BridgeBed, MTU_PLAIN};
//!
//! # fn main() -> Result<(), SetupError> {
//! let bed = BridgeBed::build(3, MTU_PLAIN)?;
//! let [one, two, _] = bed.hosts() else { unreachable!("three were asked for") };
//! // A socket stays where it was made, wherever it is used from.
//! let socket = one.within(|| UdpSocket::bind((one.ipv4(), 7_400)))?;
//! let mut ping = two.command("ping")?;
//! ping.args(["-c1", &one.ipv4().to_string()]);
//! # Ok(())
//! # }
//! ```
//!
//! Namespaces are named `el<pid>-<bed>-<host>` (`ip netns list`) and go when the bed is dropped, also by
//! a panic, and at the latest when the process ends; see [`clean_up`]. Nothing outside of the
//! namespaces is touched.

mod bed;
mod cluster;
mod frame;
mod host;
mod names;
mod pool;
mod switch;
mod system;

pub use bed::{BridgeBed, MTU_JUMBO, MTU_PLAIN, TapBed};
pub use cluster::{PORT, Place, TapCluster, TapEndpoint};
pub use host::{Host, Namespace};
pub use names::clean_up;
pub use pool::{PooledBed, TapPool};
pub use switch::{Passed, Switch};
