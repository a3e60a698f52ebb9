//! What the kernel's tables say about the network: interfaces, next hops, and their changes.
//!
//! All of it is rtnetlink, without a thread or an executor. A netlink socket belongs to the network
//! namespace of the thread that opened it, for ever: what is opened inside a namespace may be used
//! from any thread later. sysfs does not work that way (it shows the namespace of its mount), so it
//! is not read.

mod ethtool;
mod interface;
mod next_hops;
mod request;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use ethtool::{Ethtool, Feature};
pub use interface::{Interface, InterfaceKind};
pub(crate) use interface::{ask_link, index_of_address, transmitted};
pub use next_hops::{NextHop, NextHops, Unreachable};
pub(crate) use request::{Requests, Shape};
pub use watch::{Changes, LinkState, Watch};
