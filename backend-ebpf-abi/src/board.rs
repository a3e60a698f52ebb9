/// One group's notice board, in an array that both sides have mapped: reading it costs no system
/// call. Each word is written by one side only, but for a group that is being opened: the kernel sets all
/// of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Board {
    /// The kernel's: the acceptor as words. `next`, `acknowledged`, `commit` and `heard` change with
    /// frames; the others only by commands.
    pub acceptor: [u64; 8],
    /// The kernel's: the number of the newest stored record.
    pub sequence: u64,
    /// The kernel's: the led ballot.
    pub led: u64,
    /// The kernel's: the highest slot that may have left.
    pub sent: u64,
    /// The kernel's: the quorum's watermark, written after the members' that made it.
    pub quorum: u64,
    /// The kernel's: the newest probe.
    pub probe_sent: u64,
    /// The kernel's: the newest probe that a quorum has answered, written after `probed`.
    pub probe_quorum: u64,
    /// The kernel's: each member's watermark.
    pub acked: [u64; 32],
    /// The kernel's: each member's newest answered probe.
    pub probed: [u64; 32],
    /// The kernel's: what each member last said it expects next; zero if nothing yet.
    pub next: [u64; 32],
    /// User space's: charged bytes that it has handed on.
    pub released: u64,
    /// User space's: until when the follower may acknowledge, on the kernel's monotonic clock.
    pub lease_until: u64,
}

/// The endpoint's one desk, mapped likewise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Desk {
    /// User space's: how many sleep and want to be woken by anything.
    pub asleep: u64,
    /// The kernel's: frames to the endpoint's port that it has let through to the socket.
    pub passed: u64,
    /// User space's, of pinned maps: [`LAYOUT_VERSION`](crate::LAYOUT_VERSION).
    pub layout: u64,
    /// User space's, of pinned maps: the cluster.
    pub cluster: u64,
    /// User space's, of pinned maps: the node.
    pub node: u64,
    /// User space's: how many sleep for a moment and want to be woken by notices, not by log records.
    pub napping: u64,
    /// The kernel's: notices for which there was no room.
    pub notices_lost: u64,
    /// Zero.
    pub reserved: u64,
}

const _: () = {
    assert!(size_of::<Board>() == 8 * (8 + 6 + 96 + 2));
    assert!(size_of::<Desk>() == 64);
};
