//! The maps, and the globals that user space sets before the programs are loaded.
#![allow(non_upper_case_globals, reason = "a map's name is what the system's tools show")]

use aya_ebpf::bindings::bpf_spin_lock;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use electrode_ebpf_abi::{
    Board, CPUS_MAX, Desk, Endpoint, GROUPS_MAX, Group, Notice, Record, Tick,
};
use electrode_transport::wire::Header;

/// `BPF_F_MMAPABLE`.
const MAPPED: usize = 1 << 10;
/// Several times the groups, so that few share one; a power of two.
pub const HINTS: usize = 4_096;
/// Stand-ins: user space chooses the rings' sizes.
const RING_BYTES: usize = 1 << 16;

/// A group's state and its lock.
#[repr(C)]
pub struct Cell {
    pub lock: bpf_spin_lock,
    reserved: u32,
    pub group: Group,
}

/// The largest tagged frame, to the word.
#[repr(C, align(8))]
pub struct Scratch(pub [u64; 1_152]);

/// What the frames of one packet have said so far.
#[repr(C)]
pub struct Batch {
    /// The first words of the first frame's header: version, kind, sender, flags, cluster,
    /// incarnation, group, ballot. One reply can only answer frames that agree on all of them.
    pub identity: [u64; 4],
    /// One if there is a reply.
    pub is_answered: u64,
    /// The newest reply's header, as this program has it.
    reply: [u64; size_of::<Header>() / 8],
}

const _: () = assert!(size_of::<Header>().is_multiple_of(8) && align_of::<Header>() == 8);

impl Batch {
    /// By words: an array's comparison is a call of a function over bytes.
    #[inline(always)]
    pub fn is_of(&self, identity: &[u64; 4]) -> bool {
        let mut difference = 0;
        for (ours, theirs) in self.identity.iter().zip(identity) {
            difference |= ours ^ theirs;
        }
        difference == 0
    }

    #[inline(always)]
    pub fn set_reply(&mut self, reply: Header) {
        // SAFETY: as large and as aligned as a header, as was asserted.
        unsafe { (&raw mut self.reply).cast::<Header>().write(reply) };
    }

    /// # Safety
    /// One must have been set.
    #[inline(always)]
    pub unsafe fn reply(&self) -> Header {
        // SAFETY: as the caller promises.
        unsafe { (&raw const self.reply).cast::<Header>().read() }
    }
}

/// The place in `el_parts` of the program for packets that hold several frames.
pub const SEGMENTS_PART: u32 = 0;

/// The endpoint, fixed at load.
#[unsafe(no_mangle)]
pub static ENDPOINT: Endpoint =
    Endpoint { address: [0; 16], key: [0; 16], body_len_max: 0, port: [0; 2], ipv6: 0, keyed: 0 };

/// Which offloads are on, fixed at load.
#[unsafe(no_mangle)]
pub static OFFLOADS: u32 = 0;

/// Where each group is, by its id.
#[btf_map]
pub static el_places: HashMap<u32, u32, { GROUPS_MAX as usize }> = HashMap::new();

/// Where a group most likely is, by its id's low bits: an array is looked up without a call. Whoever goes
/// by it compares the id.
#[btf_map]
pub static el_hints: Array<u32, { HINTS }> = Array::new();

#[btf_map]
pub static el_groups: Array<Cell, { GROUPS_MAX as usize }> = Array::new();

#[btf_map]
pub static el_boards: Array<Board, { GROUPS_MAX as usize }, MAPPED> = Array::new();

#[btf_map]
pub static el_desk: Array<Desk, 1, MAPPED> = Array::new();

#[btf_map]
pub static el_ticks: PerCpuArray<[u64; Tick::COUNT], 1> = PerCpuArray::new();

/// For tags alone: a CPU's whole frame, side by side.
#[btf_map]
pub static el_scratch: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// For packets that hold several frames alone.
#[btf_map]
pub static el_batch: PerCpuArray<Batch, 1> = PerCpuArray::new();

/// Programs that others go on to.
#[btf_map]
pub static el_parts: ProgramArray<1> = ProgramArray::new();

/// Accepted entries, one ring a CPU.
#[btf_map]
pub static el_logs: ArrayOfMaps<RingBuf<Record, RING_BYTES>, { CPUS_MAX as usize }> =
    ArrayOfMaps::new();

/// What has come about.
#[btf_map]
pub static el_notices: RingBuf<Notice, RING_BYTES> = RingBuf::new();

/// The endpoint as it was set at load. The verifier knows it to be constant and drops what it rules out.
#[inline(always)]
pub fn is_ipv6() -> bool {
    // SAFETY: a static of this program; volatile, because user space has changed it since.
    unsafe { (&raw const ENDPOINT.ipv6).read_volatile() != 0 }
}

#[inline(always)]
pub fn is_keyed() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const ENDPOINT.keyed).read_volatile() != 0 }
}

#[inline(always)]
pub fn body_len_max() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const ENDPOINT.body_len_max).read_volatile() }
}

#[inline(always)]
pub fn key() -> [u8; 16] {
    // SAFETY: as above.
    unsafe { (&raw const ENDPOINT.key).read_volatile() }
}

/// The port as it lies in a packet.
#[inline(always)]
pub fn port() -> u16 {
    // SAFETY: as above.
    u16::from_ne_bytes(unsafe { (&raw const ENDPOINT.port).read_volatile() })
}

/// A word of the address as it lies in a packet.
#[inline(always)]
pub fn address_word(index: usize) -> u16 {
    let bytes = &raw const ENDPOINT.address;
    // SAFETY: as above; `index` is below 8.
    unsafe { bytes.cast::<u16>().add(index).read_volatile() }
}

/// Whether an offload is on: a bit of `electrode_ebpf_abi::offload`.
#[inline(always)]
pub fn offloads(which: u32) -> bool {
    // SAFETY: as above.
    unsafe { (&raw const OFFLOADS).read_volatile() & which != 0 }
}
