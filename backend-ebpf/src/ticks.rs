//! What the programs counted, for reading.

use electrode_ebpf_abi::Tick;

/// The programs' counters since the endpoint was bound, over all CPUs.
///
/// Each packet that the ingress program saw is in [`seen`](Self::seen) and in exactly one of
/// [`verdicts`](Self::verdicts), so these add up: to the packet when nothing is on its way, and but for
/// the packets of the moment while traffic goes on. A batch that came in one piece counts as its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticks {
    counts: [u64; Tick::COUNT],
}

impl Ticks {
    pub(crate) const fn new(counts: [u64; Tick::COUNT]) -> Self {
        Self { counts }
    }

    /// Packets that the ingress program saw: everything that arrived at the interface.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.counts[Tick::Seen as usize]
    }

    /// What became of them, by verdict and reason: `stored`, `ack_counted`, `pass_bystander` ... What
    /// begins with `pass_` went up the stack untouched; the rest was settled in the kernel, but for the
    /// event `again`: frames that went up all the same, because a later one of the same piece had to. User
    /// space has counted those once more.
    pub fn verdicts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.named().filter(|(tick, ..)| (Tick::Stored..=Tick::PassOff).contains(tick)).map(named)
    }

    /// Everything else that the programs count: `again`, `left` (frames of ours that left), `copies`,
    /// `copy_failed`, `reply_failed`, `notice_lost`.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.named().filter(|(tick, ..)| *tick > Tick::PassOff).map(named)
    }

    fn named(&self) -> impl Iterator<Item = (Tick, u64)> + '_ {
        Tick::ALL.iter().copied().zip(self.counts)
    }
}

fn named((tick, count): (Tick, u64)) -> (&'static str, u64) {
    (tick.name().trim_start_matches("ebpf_"), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_in_one_place() {
        let counts = std::array::from_fn(|index| 1 << index);
        let ticks = Ticks::new(counts);
        let sum = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| {
            counts.map(|(_, count)| count).sum::<u64>()
        };
        let all = sum(&mut ticks.verdicts()) + sum(&mut ticks.events()) + ticks.seen();
        assert_eq!(all, (1 << Tick::COUNT) - 1);
        assert!(ticks.verdicts().any(|it| it == ("stored", 1 << Tick::Stored as u32)));
        assert!(ticks.events().any(|it| it == ("copies", 1 << Tick::Copies as u32)));
    }
}
