//! What runs have exercised, so that coverage cannot vanish unnoticed.

use electrode_multi_paxos::Counters;
use electrode_transport::{Counter, Stats};

macro_rules! totals {
    ($($name:ident),* $(,)?) => {
        /// Counts over lives, nodes and runs.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub(crate) struct Totals {
            $(pub(crate) $name: u64,)*
        }

        impl Totals {
            pub(crate) fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

totals! {
    runs, runs_received, runs_of_five,
    operations, unanswered, client_retries, replies_lost, sessions_expired,
    crashes, leader_kills, crashes_of_all, disks_full, pauses, stalls, partitions, pairs_cut, one_way_cuts, resignations,
    elections, leaderships, values_recovered, slots_proposed, commands_proposed,
    reads_confirmed, duplicates_answered, sessions_evicted, slots_fetched, snapshots_taken,
    snapshots_installed, messages_resent, promises_outlived, recoveries, retransmits, gaps,
    duplicate_frames, stale_ballots, writes_lost, acknowledgements_lapsed,
}

/// Too rare to be demanded of every set of runs.
const RARE: [&str; 1] = ["promises_outlived"];

impl Totals {
    /// Takes in what a replica's life has counted.
    pub(crate) fn add_life(&mut self, counters: &Counters, stats: &Stats) {
        self.elections += counters.elections;
        self.leaderships += counters.leaderships;
        self.values_recovered += counters.values_recovered;
        self.slots_proposed += counters.slots_proposed;
        self.commands_proposed += counters.commands_proposed;
        self.reads_confirmed += counters.reads_confirmed;
        self.duplicates_answered += counters.duplicates_answered;
        self.sessions_evicted += counters.sessions_evicted;
        self.slots_fetched += counters.slots_fetched;
        self.snapshots_taken += counters.snapshots_taken;
        self.snapshots_installed += counters.snapshots_installed;
        self.messages_resent += counters.messages_resent;
        self.promises_outlived += counters.promises_outlived;
        self.recoveries += counters.recoveries;
        self.retransmits += stats.count(Counter::TxRetransmits);
        self.gaps += stats.count(Counter::RxGap);
        self.duplicate_frames += stats.count(Counter::RxDuplicate);
        self.stale_ballots += stats.count(Counter::RxStaleBallot);
        self.acknowledgements_lapsed += stats.count(Counter::RxLapsed);
    }

    /// What never happened although it should.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.named()
            .into_iter()
            .filter(|(name, count)| *count == 0 && !RARE.contains(name))
            .map(|(name, _)| name)
            .collect()
    }

    pub(crate) fn print(&self) {
        for row in self.named().chunks(4) {
            let cells: Vec<_> =
                row.iter().map(|(name, count)| format!("{name:>20} {count:>9}")).collect();
            println!("{}", cells.join("  "));
        }
    }
}
