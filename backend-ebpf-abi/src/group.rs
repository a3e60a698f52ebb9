use electrode_transport::rules::{Acceptor, Gate, Tally, Voters};

/// No member: an index that none can have.
pub const NOBODY: u8 = 255;

/// Where a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Peer {
    /// Its address, IPv4 in the first four bytes, in network order.
    pub address: [u8; 16],
    /// Its port in network order.
    pub port: [u8; 2],
    /// The next hop's hardware address, if reachable.
    pub mac: [u8; 6],
    /// One if the next hop is known and on the programs' interface.
    pub reachable: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// One group's state, behind the lock in a map value that only the programs write. User space acts on
/// it by [`Command`](crate::Command)s.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Group {
    /// The group's id.
    pub id: u32,
    /// One while the group is open.
    pub open: u8,
    /// The lowest reachable member other than this one, or [`NOBODY`]: the one that a broadcast is
    /// addressed to, and from whose packet the others' copies are made.
    pub carrier: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// Those others: every reachable member but this one and the carrier, a bit each.
    pub copies: u32,
    /// Who may speak.
    pub gate: Gate,
    /// Whose vote counts.
    pub voters: Voters,
    /// The follower's rule.
    pub acceptor: Acceptor,
    /// The leader's rule.
    pub tally: Tally,
    /// Records stored since the group was opened: the number of the newest one.
    pub sequence: u64,
    /// Bytes charged to the log since the group was opened.
    pub charged: u64,
    /// How many charged bytes may be unreleased.
    pub log_limit: u64,
    /// Where everybody is, by index.
    pub peers: [Peer; 32],
}

const _: () = {
    assert!(size_of::<Peer>() == 32);
    assert!(size_of::<Group>() == 16 + 16 + 16 + 64 + size_of::<Tally>() + 24 + 32 * 32);
    assert!(align_of::<Group>() == 8);
};
