//! A group's state as an earlier process left it in the kernel.

use std::mem::offset_of;

use aya::maps::{Array, MapData};
use electrode_ebpf_abi::{Group, Peer, Seating};
use electrode_transport::rules::{Gate, VoterSet, Voters};
use electrode_transport::{GroupId, MEMBERS_MAX};

use super::take_over::GROUPS;
use crate::error::EbpfError;
use crate::kernel::Objects;

/// The lock before the group in the map's value.
const LOCK: usize = 8;
const CELL: usize = LOCK + size_of::<Group>();

/// What a taker-over must know of a group. The acceptor and the tally are on the board.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: GroupId,
    pub(crate) is_open: bool,
    pub(crate) log_limit: u64,
    pub(crate) gate: Gate,
    voters: [u32; 4],
    peers: [([u8; 16], [u8; 2]); MEMBERS_MAX],
}

impl Found {
    /// Whether the same members vote and are where they were.
    pub(crate) fn has_seats_of(&self, seating: &Seating) -> bool {
        let peers = seating.peers.iter().map(|peer| (peer.address, peer.port));
        self.voters == words(&seating.voters) && peers.eq(self.peers)
    }
}

/// The group at a place, read under its lock.
pub(crate) fn group(ebpf: &Objects, place: u32) -> Result<Found, EbpfError> {
    /// Copies the value under its lock.
    const BPF_F_LOCK: u64 = 4;
    let map_error = |source| EbpfError::Map { name: GROUPS, source: Box::new(source) };
    let map = ebpf.map(GROUPS).ok_or(EbpfError::Foreign { name: GROUPS })?;
    let map: Array<&MapData, [u8; CELL]> = map.try_into().map_err(map_error)?;
    Ok(parse(&map.get(&place, BPF_F_LOCK).map_err(map_error)?))
}

fn parse(cell: &[u8; CELL]) -> Found {
    let bytes = &cell[LOCK..];
    let u32_at = |at| u32::from_ne_bytes(array(bytes, at));
    let u64_at = |at| u64::from_ne_bytes(array(bytes, at));
    let gate = offset_of!(Group, gate);
    let voters = offset_of!(Group, voters);
    let peers = offset_of!(Group, peers);
    Found {
        id: GroupId(u32_at(offset_of!(Group, id))),
        is_open: bytes[offset_of!(Group, open)] != 0,
        log_limit: u64_at(offset_of!(Group, log_limit)),
        gate: Gate::from_words([u64_at(gate), u64_at(gate + 8)]),
        voters: [0, 4, 8, 12].map(|at| u32_at(voters + at)),
        peers: std::array::from_fn(|index| {
            let at = peers + index * size_of::<Peer>();
            let (address, port) = (offset_of!(Peer, address), offset_of!(Peer, port));
            (array(bytes, at + address), array(bytes, at + port))
        }),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn words(voters: &Voters) -> [u32; 4] {
    let Voters { current, joint } = voters;
    [current.members.0, current.needed, joint.members.0, joint.needed]
}

// The order of `words`, as it lies in memory.
const _: () = {
    assert!(offset_of!(Voters, current) == 0 && offset_of!(Voters, joint) == 8);
    assert!(offset_of!(VoterSet, members) == 0 && offset_of!(VoterSet, needed) == 4);
};
