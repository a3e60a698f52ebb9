//! A packet, whatever hook it comes by, and its plain Ethernet, IP and UDP headers.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::TcContext;
use electrode_transport::MemberIndex;
use electrode_transport::wire::{HEADER_LEN, HEADER_WORDS};

use crate::maps::{SEGMENTS_PART, address_word, el_parts, is_ipv6, port};

pub const ETHERNET: usize = 14;
pub const UDP: usize = 8;
/// Words of an address pair in a pseudo-header.
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;

/// What a hook does to packets.
pub trait Packet: Copy {
    fn start(self) -> usize;
    fn end(self) -> usize;
    /// All of it, fragments of a jumbo frame included.
    fn len(self) -> u32;
    /// Sees to it that `len` bytes can be reached directly, if the packet has so many.
    fn reach(self, len: usize);
    /// Copies out of the packet.
    fn load(self, at: usize, to: *mut u8, len: u32) -> bool;
    /// Copies into the packet. Direct pointers are void afterwards.
    fn store(self, at: usize, from: *const u8, len: u32) -> bool;
    /// Cuts the packet off. Direct pointers are void afterwards.
    fn trim(self, len: u32) -> bool;
    /// A tag of the link layer was taken off on the way here.
    fn is_tagged(self) -> bool;
    /// Hands a packet that holds several frames in one piece to the program for those, if there is one
    /// on this hook. Returns if not.
    fn hand_on(self);
    /// Makes the checksum at `at` (that of the request, whose UDP length was `before`) one of the
    /// reply, for which `sum` is the right one.
    fn seal(self, at: usize, before: u16, after: u16, sum: u16);
}

#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

#[derive(Clone, Copy)]
pub struct Xdp(pub *mut xdp_md);

impl Skb {
    /// How long the datagrams are that the packet is cut into later, the last possibly shorter; zero if
    /// it is one.
    #[inline(always)]
    pub fn segment_len(self) -> u32 {
        // SAFETY: the context that the kernel called with.
        unsafe { (*self.0).gso_size }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn start(self) -> usize {
        // SAFETY: the context that the kernel called with.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).data_end as usize }
    }

    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn reach(self, len: usize) {
        if self.start() + len > self.end() && self.len() as usize >= len {
            // SAFETY: a helper on its own context.
            unsafe { helper::bpf_skb_pull_data(self.0, len as u32) };
        }
    }

    #[inline(always)]
    fn load(self, at: usize, to: *mut u8, len: u32) -> bool {
        let skb = self.0.cast::<c_void>();
        // SAFETY: the verifier checks `to` against `len`.
        unsafe { helper::bpf_skb_load_bytes(skb, at as u32, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn store(self, at: usize, from: *const u8, len: u32) -> bool {
        // SAFETY: as above.
        unsafe { helper::bpf_skb_store_bytes(self.0, at as u32, from.cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn trim(self, len: u32) -> bool {
        // SAFETY: a helper on its own context.
        len == self.len() || unsafe { helper::bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    #[inline(always)]
    fn is_tagged(self) -> bool {
        // SAFETY: the context that the kernel called with.
        unsafe { (*self.0).vlan_present != 0 }
    }

    #[inline(always)]
    fn hand_on(self) {
        if self.segment_len() != 0 {
            // SAFETY: nothing is left to be done here if the other program goes on.
            unsafe { el_parts.tail_call(&TcContext::new(self.0), SEGMENTS_PART) };
        }
    }

    /// A packet from a neighbour on this machine may hold no checksum yet but a seed, the sum of its
    /// pseudo-header, for hardware to go on from, and nothing tells. So the length changes in the way
    /// that is right for both, and the rest in the way that the helper leaves out for a seed.
    #[inline(always)]
    fn seal(self, at: usize, before: u16, after: u16, sum: u16) {
        const PSEUDO: u64 = 0x10;
        // A right checksum of zero is written the other way: zero says that there is none (RFC 768).
        const MANGLED_0: u64 = 0x20;
        if before != after {
            // SAFETY: a helper on its own context.
            unsafe {
                helper::bpf_l4_csum_replace(
                    self.0,
                    at as u32,
                    before.into(),
                    after.into(),
                    PSEUDO | MANGLED_0 | 2,
                )
            };
        }
        let start = self.start();
        if start + at + 2 > self.end() {
            return;
        }
        // SAFETY: just checked against the end.
        let now = unsafe { word(start, at) };
        let difference = u64::from(now) + u64::from(!sum);
        // SAFETY: as above.
        unsafe { helper::bpf_l4_csum_replace(self.0, at as u32, 0, difference, MANGLED_0) };
    }
}

impl Packet for Xdp {
    #[inline(always)]
    fn start(self) -> usize {
        // SAFETY: the context that the kernel called with.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).data_end as usize }
    }

    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: a helper on its own context.
        unsafe { helper::bpf_xdp_get_buff_len(self.0) as u32 }
    }

    #[inline(always)]
    fn reach(self, _len: usize) {}

    #[inline(always)]
    fn load(self, at: usize, to: *mut u8, len: u32) -> bool {
        // SAFETY: the verifier checks `to` against `len`.
        unsafe { helper::bpf_xdp_load_bytes(self.0, at as u32, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn store(self, at: usize, from: *const u8, len: u32) -> bool {
        // SAFETY: as above.
        unsafe { helper::bpf_xdp_store_bytes(self.0, at as u32, from.cast_mut().cast(), len) == 0 }
    }

    #[inline(always)]
    fn trim(self, len: u32) -> bool {
        let by = len as i32 - self.len() as i32;
        // SAFETY: a helper on its own context.
        by == 0 || unsafe { helper::bpf_xdp_adjust_tail(self.0, by) == 0 }
    }

    #[inline(always)]
    fn is_tagged(self) -> bool {
        false
    }

    /// A piece that comes here is longer than its first frame, and so goes up the stack.
    #[inline(always)]
    fn hand_on(self) {}

    /// Nothing after this hook completes a checksum: the whole of it is written.
    #[inline(always)]
    fn seal(self, at: usize, _before: u16, _after: u16, sum: u16) {
        self.store(at, sum.to_ne_bytes().as_ptr(), 2);
    }
}

/// Bytes before the UDP payload.
#[inline(always)]
pub fn headers_len() -> usize {
    ETHERNET + if is_ipv6() { IPV6 } else { IPV4 } + UDP
}

/// Where the addresses begin, source first, and how many words each has.
#[inline(always)]
pub fn addresses() -> (usize, usize) {
    if is_ipv6() { (ETHERNET + 8, 8) } else { (ETHERNET + 12, 2) }
}

/// A number at an offset. The kernel allows any alignment where the processor does.
///
/// # Safety
/// It must lie in the packet, as the caller has checked against its end.
#[inline(always)]
pub unsafe fn read<T: Copy>(start: usize, at: usize) -> T {
    // SAFETY: as the caller promises.
    unsafe { ((start + at) as *const T).read_unaligned() }
}

/// # Safety
/// As `read`.
#[inline(always)]
pub unsafe fn write<T: Copy>(start: usize, at: usize, value: T) {
    // SAFETY: as the caller promises.
    unsafe { ((start + at) as *mut T).write_unaligned(value) };
}

/// A 16-bit word, as it lies there.
///
/// # Safety
/// As `read`.
#[inline(always)]
pub unsafe fn word(start: usize, at: usize) -> u16 {
    // SAFETY: as the caller promises.
    unsafe { read(start, at) }
}

/// # Safety
/// As `read`.
#[inline(always)]
pub unsafe fn set_word(start: usize, at: usize, value: u16) {
    // SAFETY: as the caller promises.
    unsafe { write(start, at, value) };
}

/// A member's index that the verifier knows to be one. The rules have checked it, but the compiler may
/// have checked one copy of it and go on with another, and the verifier does not see that they are the
/// same. So this is an instruction that the compiler cannot leave out.
#[inline(always)]
pub fn bounded(member: MemberIndex) -> MemberIndex {
    let mut index = u64::from(member.0);
    // SAFETY: one instruction, on a register.
    unsafe { core::arch::asm!("{0} &= 31", inout(reg) index, options(pure, nomem, nostack)) };
    MemberIndex(index as u8)
}

/// A length below 2^16, of which the compiler knows nothing: what is checked of it is checked of the very
/// register that is used, where the verifier sees it.
#[inline(always)]
pub fn opaque(len: u32) -> u32 {
    let mut len = u64::from(len);
    // SAFETY: one instruction, on a register.
    unsafe { core::arch::asm!("{0} &= 0xffff", inout(reg) len, options(pure, nomem, nostack)) };
    len as u32
}

/// The frame's header, by loads if the packet has it in one piece. No array is set to zero before:
/// that would be a loop over bytes.
#[inline(always)]
pub fn head<P: Packet>(packet: P) -> Option<[u64; HEADER_WORDS]> {
    let (start, at) = (packet.start(), headers_len());
    if start + at + HEADER_LEN <= packet.end() {
        // SAFETY: just checked against the end.
        let words: [u64; HEADER_WORDS] = unsafe { read(start, at) };
        return Some(words.map(u64::from_le));
    }
    head_at(packet, at)
}

/// The header of a frame that lies anywhere in the packet.
#[inline(always)]
pub fn head_at<P: Packet>(packet: P, at: usize) -> Option<[u64; HEADER_WORDS]> {
    let mut words = core::mem::MaybeUninit::<[u64; HEADER_WORDS]>::uninit();
    if !packet.load(at, words.as_mut_ptr().cast(), HEADER_LEN as u32) {
        return None;
    }
    // SAFETY: the helper has filled it.
    Some(unsafe { words.assume_init() }.map(u64::from_le))
}

/// Puts a header in its place, likewise.
#[inline(always)]
pub fn set_head<P: Packet>(packet: P, words: &[u64; HEADER_WORDS]) -> bool {
    let (start, at) = (packet.start(), headers_len());
    if start + at + HEADER_LEN <= packet.end() {
        // SAFETY: just checked against the end.
        unsafe { write(start, at, *words) };
        return true;
    }
    packet.store(at, words.as_ptr().cast(), HEADER_LEN as u32)
}

/// What a look at a packet's headers says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Other traffic.
    Bystander,
    /// To our port, but not in a shape that is handled here.
    Odd,
    /// A plain datagram with at least this side's address and port as its destination.
    Ours { payload: u32 },
}

/// Whether the packet is a plain UDP datagram with our address and port at `ours` (0 source, 1
/// destination). Fragments, options, extension headers, link-layer tags and trailers are not plain.
#[inline(always)]
pub fn look<P: Packet>(packet: P, ours: usize) -> Look {
    let headers = headers_len();
    packet.reach(headers + HEADER_LEN);
    let start = packet.start();
    if start + headers > packet.end() || packet.is_tagged() {
        return Look::Bystander;
    }
    // SAFETY: every offset below is within `headers`, which was checked against the end.
    unsafe {
        if is_ipv6() {
            if word(start, 12) != 0x86dd_u16.to_be() || word(start, 14) & 0xf0_u16 != 0x60 {
                return Look::Bystander;
            }
            if word(start, 20) & 0xff != 17 {
                return Look::Bystander;
            }
        } else {
            if word(start, 12) != 0x0800_u16.to_be() || word(start, 14) & 0xff != 0x45 {
                return Look::Bystander;
            }
            let fragment = word(start, 20) & 0x3fff_u16.to_be() != 0;
            if word(start, 22) >> 8 != 17 || fragment && !broken!("any_fragment") {
                return Look::Bystander;
            }
        }
        let udp = headers - UDP;
        if word(start, udp + 2 * ours) != port() {
            return Look::Bystander;
        }
        let (addresses, words) = addresses();
        for index in 0..words {
            if word(start, addresses + 2 * (words * ours + index)) != address_word(index) {
                return Look::Bystander;
            }
        }
        let udp_len = u16::from_be(word(start, udp + 4)) as u32;
        let ip_len = if is_ipv6() {
            u16::from_be(word(start, 18)) as u32
        } else {
            (u16::from_be(word(start, 16)) as u32).wrapping_sub(IPV4 as u32)
        };
        let plain = udp_len >= UDP as u32
            && ip_len == udp_len
            && (packet.len() == (headers - UDP) as u32 + udp_len || broken!("any_trailer"));
        if plain { Look::Ours { payload: udp_len - UDP as u32 } } else { Look::Odd }
    }
}
