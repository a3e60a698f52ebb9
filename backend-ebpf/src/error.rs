//! What can go wrong before the kernel works for us, and what to do about it.

use std::io;
use std::net::IpAddr;

use aya::EbpfError as ObjectError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use electrode_transport::TransportError;

use crate::survey::Hook;

/// Why the eBPF backend cannot run here, or one of its calls failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// The object could not be read or its maps not be made: an old kernel, a missing privilege, or
    /// a memory limit.
    #[error("the kernel did not take the programs' maps: CAP_BPF and CAP_NET_ADMIN are needed")]
    Object(#[source] Box<ObjectError>),
    /// The kernel's verifier refused a program. The error holds its log: please report it.
    #[error("the kernel did not take the program {name}")]
    Load {
        /// The program.
        name: &'static str,
        /// What the kernel said, with the verifier's log.
        source: Box<ProgramError>,
    },
    /// A map could not be made or used.
    #[error("the map {name} could not be used")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
    /// The object does not have what this library expects: it is of another version.
    #[error(
        "the object has no {name} as this version of the library knows it: rebuild both together"
    )]
    Foreign {
        /// The program or map.
        name: &'static str,
    },
    /// A command to the programs was not run.
    #[error("the kernel did not run a command")]
    Command {
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// No interface has that name or index in this network namespace.
    #[error(
        "there is no interface {interface} in this network namespace: `ip link` lists what is here"
    )]
    NoSuchInterface {
        /// Its name, or its index.
        interface: String,
    },
    /// No interface of this network namespace has the address.
    #[error(
        "no interface here has the address {address}: give one that `ip address` lists, or add it"
    )]
    AddressNotLocal {
        /// The address.
        address: IpAddr,
    },
    /// The kernel's network tables could not be read.
    #[error("could not {operation} over rtnetlink")]
    Netlink {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be put in its place.
    #[error("the program {name} could not be attached to {interface} by {hook}")]
    Attach {
        /// The program.
        name: &'static str,
        /// How.
        hook: String,
        /// Where.
        interface: String,
        /// What the kernel said: EBUSY is a slot that somebody else's program has.
        source: Box<ProgramError>,
    },
    /// The kernel attaches without a link, so that the attachment would outlive the process.
    #[error("attaching by {hook} gives no link here: Linux 6.6 or later is needed")]
    NoLink {
        /// How.
        hook: Hook,
    },
    /// A full datagram does not fit the interface's frames.
    #[error(
        "a datagram needs {needed} bytes with its headers and {interface} carries {mtu}: lower \
         `datagram_len_max` or raise the MTU"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// What it carries, in bytes.
        mtu: u32,
        /// What is needed, in bytes.
        needed: usize,
    },
    /// The endpoint's maps have a place for so many groups.
    #[error("the endpoint has {max} groups, which is all it can have: open another endpoint")]
    TooManyGroups {
        /// How many.
        max: u32,
    },
    /// A system call failed.
    #[error("could not {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<EbpfError> for TransportError {
    fn from(error: EbpfError) -> Self {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            why = format!("{why}: {error}");
            source = error.source();
        }
        Self::Unavailable { backend: "ebpf", why }
    }
}
