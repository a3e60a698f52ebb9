//! The log rings: reserve and copy first, then ask the rule, then submit or discard (invariant 1).

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helper;
use electrode_ebpf_abi::{RECORD_LEN_MAX, Record};

use crate::group::wake_flag;
use crate::maps::el_logs;
use crate::packet::{Packet, opaque};

/// A reserved record, its body copied.
#[derive(Clone, Copy)]
pub struct Reserved(*mut Record);

const HEAD: usize = size_of::<Record>();

/// A ring takes records of sizes that the verifier knows, so there are classes of them. The last but
/// one fits a 1,500-byte MTU, the last a jumbo frame's.
const CLASSES: [usize; 3] = [256, 1_536, RECORD_LEN_MAX as usize];

impl Reserved {
    /// Nothing is reserved.
    pub const NONE: Self = Self(core::ptr::null_mut());

    /// A place on this CPU's ring for a body that lies at `at` in the packet.
    #[inline(always)]
    pub fn copy<P: Packet>(packet: P, at: usize, len: u32) -> Self {
        // SAFETY: no arguments.
        let cpu = unsafe { helper::bpf_get_smp_processor_id() };
        let Some(ring) = el_logs.get(cpu) else { return Self::NONE };
        let ring = core::ptr::from_ref(ring).cast_mut().cast();
        let len = opaque(len);
        let room = |class: usize| len <= (CLASSES[class] - HEAD) as u32;
        if room(0) {
            Self::copy_sized::<P, { CLASSES[0] }>(ring, packet, at, len)
        } else if room(1) {
            Self::copy_sized::<P, { CLASSES[1] }>(ring, packet, at, len)
        } else if room(2) {
            Self::copy_sized::<P, { CLASSES[2] }>(ring, packet, at, len)
        } else {
            Self::NONE
        }
    }

    #[inline(always)]
    fn copy_sized<P: Packet, const SIZE: usize>(
        ring: *mut c_void,
        packet: P,
        at: usize,
        len: u32,
    ) -> Self {
        // SAFETY: the ring is a map of this program.
        let record = unsafe { helper::bpf_ringbuf_reserve(ring, SIZE as u64, 0) };
        if record.is_null() {
            return Self::NONE;
        }
        let room = (SIZE - HEAD) as u32;
        // SAFETY: `SIZE` bytes were reserved.
        let body = unsafe { record.cast::<u8>().add(HEAD) };
        if len != 0 && !(len <= room && packet.load(at, body, len)) {
            // SAFETY: a record that was not submitted yet.
            unsafe { helper::bpf_ringbuf_discard(record, 1) };
            return Self::NONE;
        }
        Self(record.cast())
    }

    #[inline(always)]
    pub fn is_some(self) -> bool {
        !self.0.is_null()
    }

    /// Makes the record readable, with its head.
    #[inline(always)]
    pub fn submit(self, head: Record) {
        if self.is_some() {
            let flag = wake_flag(false);
            // SAFETY: a record was reserved there.
            unsafe { self.0.write(head) };
            // SAFETY: a record that was not submitted yet.
            unsafe { helper::bpf_ringbuf_submit(self.0.cast(), flag) };
        }
    }

    /// Gives the place back.
    #[inline(always)]
    pub fn discard(self) {
        if self.is_some() {
            // SAFETY: a record that was not submitted yet. No wake-up: there is nothing to read.
            unsafe { helper::bpf_ringbuf_discard(self.0.cast(), 1) };
        }
    }
}
