//! What can go wrong before the kernel works for us, and what to do about it.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use aya::EbpfError as ObjectError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use electrode_transport::{GroupId, Obstacle, TransportError};

use crate::hook::Hook;

/// Why the eBPF backend cannot run here, or one of its calls failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// The process may not load or attach programs.
    #[error(
        "the eBPF backend needs {missing}: run as root, or grant it (setcap, AmbientCapabilities=, \
         --cap-add), or use the socket backend"
    )]
    Privileges {
        /// The capabilities that are missing, or what the kernel refused.
        missing: String,
    },
    /// The kernel lacks what everything attaches by (tcx).
    #[error(
        "Linux {release} is too old: the eBPF backend needs 6.6 or later; use the socket backend \
         until then"
    )]
    OldKernel {
        /// As `uname -r` prints it.
        release: String,
    },
    /// The interface carries no Ethernet frames, and the programs read nothing else.
    #[error("{interface} is {interface_kind}: bind an address of an Ethernet interface")]
    NotEthernet {
        /// The interface.
        interface: String,
        /// What it is.
        interface_kind: String,
    },
    /// The object could not be read or its maps not be made: a kernel that lacks something, or a
    /// memory limit.
    #[error("the kernel did not take the programs' maps")]
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
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// An interface has one XDP slot, and it is taken. Nobody is evicted.
    #[error(
        "the XDP slot of {interface} is taken by {owner}: use the hook tc, which shares, or stop \
         whose program it is"
    )]
    Occupied {
        /// Where.
        interface: String,
        /// Whose program is there: its mode, name and number.
        owner: String,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The self-test of a hook failed: the program was in its place and a frame went astray.
    #[error("{hook} of {interface} did not pass the self-test: {what}")]
    NoAnswer {
        /// The hook.
        hook: Hook,
        /// Where.
        interface: String,
        /// What did not come about.
        what: String,
    },
    /// No hook of the interface passed the self-test.
    #[error("no hook of {interface} works: {reports}")]
    NoHook {
        /// Where.
        interface: String,
        /// Why each does not.
        reports: String,
        /// Why the preferred one does not.
        obstacle: Obstacle,
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
    /// The kernel's log has no room for the longest body that the configuration allows, however empty it
    /// is.
    #[error(
        "a datagram of {len} bytes is longer than what the kernel's log takes: lower \
         `datagram_len_max` to {max} or less on every node"
    )]
    DatagramTooLong {
        /// What is allowed, in bytes.
        len: usize,
        /// What fits, in bytes.
        max: usize,
    },
    /// This process has a clock of its own (a time namespace), and leases run on the kernel's.
    #[error(
        "this process is in a time namespace whose monotonic clock differs from the kernel's by \
         {seconds} s and {nanos} ns, so a lease would not mean what it says: start it outside, or use the socket backend"
    )]
    TimeNamespace {
        /// By how much: whole seconds.
        seconds: i64,
        /// And nanoseconds.
        nanos: i64,
    },
    /// The address has moved to another interface while the endpoint was being bound.
    #[error("the address {address} has left {interface} just now: bind again")]
    AddressMoved {
        /// The address.
        address: IpAddr,
        /// Where it was.
        interface: String,
    },
    /// The folder for the pins is on another kind of file system.
    #[error(
        "{path} is not on a BPF file system, where alone something can be pinned: mount one \
         (`mount -t bpf bpf DIRECTORY`, usually at /sys/fs/bpf) and give a folder on it"
    )]
    NotBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The folder for the pins is not safely this user's alone, so anybody may have put things there.
    #[error(
        "{path} cannot be trusted: {why}; give a folder of this user's own (mode 0700), below which \
         nobody else can write"
    )]
    UntrustedPins {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process that lives has the pins.
    #[error(
        "another process has the endpoint that is pinned at {path}: end it first, or give each its \
         own folder"
    )]
    PinsInUse {
        /// The endpoint's folder.
        path: PathBuf,
    },
    /// What is pinned was made for something else.
    #[error(
        "what is pinned at {path} has {what} {pinned}, and here it is {wanted}: start with what is \
         pinned, or give up what its kernel acknowledged (`EbpfEndpoint::unpin`, or `rm -r` of that \
         folder while nobody has it)"
    )]
    PinsDiffer {
        /// The endpoint's folder.
        path: PathBuf,
        /// What is not the same.
        what: &'static str,
        /// As it is pinned.
        pinned: String,
        /// As it is wanted now.
        wanted: String,
    },
    /// Something that was pinned is gone or is not what it was.
    #[error(
        "what is pinned at {path} is damaged: {what}. What its kernel acknowledged may be lost with \
         it: recover this member as one that lost its memory, after `EbpfEndpoint::unpin` or `rm -r` \
         of that folder"
    )]
    PinsDamaged {
        /// The endpoint's folder.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A group is pinned and the library does not agree with it.
    #[error(
        "the pinned group {group} has {what} {pinned}, and here it is {wanted}: open it as it was, or \
         give up what was acknowledged in it (`EbpfEndpoint::discard`)"
    )]
    PinnedGroupDiffers {
        /// The group.
        group: GroupId,
        /// What is not the same.
        what: &'static str,
        /// As it is pinned.
        pinned: String,
        /// As it is wanted now.
        wanted: String,
    },
    /// Something could not be pinned.
    #[error("could not pin {name}")]
    Pin {
        /// What.
        name: String,
        /// What the kernel said.
        source: Box<PinError>,
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

impl EbpfError {
    /// What keeps the backend from running here, for programs.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        if self.system_error() == Some(libc::EPERM) {
            return Obstacle::Privileges;
        }
        match self {
            Self::Privileges { .. } => Obstacle::Privileges,
            Self::OldKernel { .. } | Self::NoLink { .. } | Self::Object(_) => Obstacle::Kernel,
            Self::Load { .. } => Obstacle::Verifier,
            Self::Foreign { .. }
            | Self::PinsDiffer {
                what: "the layout version" | "the programs (as a digest)", ..
            } => Obstacle::Version,
            Self::PinsInUse { .. } => Obstacle::Occupied,
            Self::NotEthernet { .. }
            | Self::NoSuchInterface { .. }
            | Self::AddressNotLocal { .. }
            | Self::AddressMoved { .. } => Obstacle::Interface,
            Self::Occupied { .. } => Obstacle::Occupied,
            Self::Mtu { .. } => Obstacle::Mtu,
            Self::NoAnswer { .. } => Obstacle::NoAnswer,
            Self::NoHook { obstacle, .. } => *obstacle,
            Self::TooManyGroups { .. } | Self::DatagramTooLong { .. } => Obstacle::Limit,
            _ => Obstacle::Refused,
        }
    }

    /// The number of what the system said, if it said anything.
    pub(crate) fn system_error(&self) -> Option<i32> {
        let mut source: Option<&dyn Error> = Some(self);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.raw_os_error();
            }
            source = error.source();
        }
        None
    }

    /// The text with all of its causes, a verifier's log included.
    pub(crate) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}

impl From<EbpfError> for TransportError {
    fn from(error: EbpfError) -> Self {
        Self::Unavailable { backend: "ebpf", reason: error.obstacle(), why: error.in_full() }
    }
}
