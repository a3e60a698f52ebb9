//! For the self-test of a hook: a frame goes in at the interface, and its answer is caught on the way
//! out, so that nothing reaches the wire.

use aya_ebpf::helpers::generated as helper;
use electrode_ebpf_abi::Tick;

use crate::group::tick;
use crate::packet::{Look, Skb, look};

/// Sends the packet that it is run with, by `BPF_PROG_TEST_RUN`, to the interface in the context: into
/// it or out of it, as the flags in the mark say (`BPF_F_INGRESS`). Answers what the helper did.
#[inline(always)]
pub fn inject(skb: Skb) -> i32 {
    // SAFETY: the context that the kernel called with.
    let (ifindex, flags) = unsafe { ((*skb.0).ifindex, (*skb.0).mark) };
    // SAFETY: as above.
    unsafe { (*skb.0).mark = 0 };
    // SAFETY: a helper on its own context.
    unsafe { helper::bpf_clone_redirect(skb.0, ifindex, flags.into()) as i32 }
}

/// Whether this is an answer of the endpoint's, which is counted and goes no further.
#[inline(always)]
pub fn is_caught(skb: Skb) -> bool {
    let is_ours = matches!(look(skb, 0), Look::Ours { .. });
    if is_ours {
        tick(Tick::Left);
    }
    is_ours
}
