//! What the kernel programs and their user space share: the layouts of map values, the commands of
//! the control program, the records of the rings. Plain data, laid out by `repr(C)`, asserted below.
//!
//! Whoever changes a layout raises [`LAYOUT_VERSION`]: pinned maps outlive a process, and a newer
//! one must not read them wrongly.
#![no_std]
#![forbid(unsafe_code)]

mod board;
mod command;
mod group;
mod record;
mod tick;

pub use board::{Board, Desk};
pub use command::{Command, Op, Opening, Seating, seat};
pub use group::{Group, NOBODY, Peer};
pub use record::{BODY_LEN_MAX, Notice, RECORD_CHARGE, RECORD_LEN_MAX, Record, news};
pub use tick::Tick;

/// The version of everything in this crate.
pub const LAYOUT_VERSION: u32 = 2;

/// Groups of one endpoint.
pub const GROUPS_MAX: u32 = 1_024;

/// The most CPUs whose rings the ingress program can find. A frame on a later one goes up the stack.
pub const CPUS_MAX: u32 = 512;

/// The most frames that the programs take in one packet, and that leave in one (`UDP_MAX_SEGMENTS` of
/// kernels before 6.9). A power of two.
pub const SEGMENTS_MAX: u32 = 64;

/// The mark of what the programs send themselves, copies and replies by TC: the egress program meets it
/// and must let it pass.
pub const OWN_MARK: u32 = 0x454c_5452;

/// Which of the three offloads the programs do: bits of the global `OFFLOADS`.
pub mod offload {
    /// One packet is cloned to all followers.
    pub const BROADCAST: u32 = 1;
    /// Followers acknowledge in the kernel.
    pub const ACKNOWLEDGE: u32 = 2;
    /// The leader's kernel counts acknowledgements.
    pub const QUORUM: u32 = 4;
    /// All three.
    pub const ALL: u32 = BROADCAST | ACKNOWLEDGE | QUORUM;
}

/// What the programs know of their endpoint from the start: the global `ENDPOINT`, fixed at load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Endpoint {
    /// The endpoint's address, IPv4 in the first four bytes, in network order.
    pub address: [u8; 16],
    /// The cluster's key, if `keyed`.
    pub key: [u8; 16],
    /// The longest body, in bytes.
    pub body_len_max: u32,
    /// The port in network order, as it lies in the packet.
    pub port: [u8; 2],
    /// One for IPv6, else zero.
    pub ipv6: u8,
    /// One if frames carry tags.
    pub keyed: u8,
}

const _: () = assert!(size_of::<Endpoint>() == 40);
