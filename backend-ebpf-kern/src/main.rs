//! Electrode's kernel programs: ingress (as XDP and as TC classifier, one body), egress, and the
//! control program through which user space acts on the same state.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "atomic operations, which this target's `core` leaves out")]

/// Whether this is the named variant, broken on purpose: a test that compares programs and rules must
/// notice each of them. No released object is one.
macro_rules! broken {
    ($name:tt) => {
        cfg!(electrode_mutant = $name)
    };
}

mod control;
mod egress;
mod group;
mod ingress;
mod log;
mod maps;
mod packet;
mod probe;
mod reply;
mod segments;
mod tag;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, xdp_action};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use electrode_ebpf_abi::OWN_MARK;

use crate::ingress::Fate;
use crate::packet::{Skb, Xdp};

/// On to the next program, and on the stack's way in the end.
const NEXT: i32 = -1;
const SHOT: i32 = 2;

#[xdp(frags)]
pub fn el_in_xdp(context: XdpContext) -> u32 {
    match ingress::handle(Xdp(context.ctx)) {
        Fate::Pass => xdp_action::XDP_PASS,
        Fate::Drop => xdp_action::XDP_DROP,
        Fate::Return => xdp_action::XDP_TX,
    }
}

#[classifier]
pub fn el_in_tc(context: TcContext) -> i32 {
    let skb = context.as_ptr().cast::<__sk_buff>();
    go(skb, ingress::handle(Skb(skb)))
}

/// Where `el_in_tc` goes on with a packet that holds several frames.
#[classifier]
pub fn el_in_segments(context: TcContext) -> i32 {
    let skb = context.as_ptr().cast::<__sk_buff>();
    go(skb, segments::handle(Skb(skb)))
}

#[inline(always)]
fn go(skb: *mut __sk_buff, fate: Fate) -> i32 {
    match fate {
        Fate::Pass => NEXT,
        Fate::Drop => SHOT,
        Fate::Return => {
            // SAFETY: the context that the kernel called with.
            unsafe { (*skb).mark = OWN_MARK };
            // SAFETY: as above; a redirect to where it came from.
            unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
        }
    }
}

#[classifier]
pub fn el_out_tc(context: TcContext) -> i32 {
    egress::handle(Skb(context.as_ptr().cast()));
    NEXT
}

#[xdp(frags)]
pub fn el_control(context: XdpContext) -> u32 {
    control::handle(Xdp(context.ctx))
}

#[xdp(frags)]
pub fn el_seat(context: XdpContext) -> u32 {
    control::handle_seating(Xdp(context.ctx))
}

/// For the veth end opposite a native XDP program, which sends nothing back without one.
#[xdp(frags)]
pub fn el_pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Of the self-test: puts a frame into an interface, or out of it.
#[classifier]
pub fn el_inject(context: TcContext) -> i32 {
    probe::inject(Skb(context.as_ptr().cast()))
}

/// Of the self-test: keeps the answer from the wire.
#[classifier]
pub fn el_catch(context: TcContext) -> i32 {
    if probe::is_caught(Skb(context.as_ptr().cast())) { SHOT } else { NEXT }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
