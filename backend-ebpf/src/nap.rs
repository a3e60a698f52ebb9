//! When a follower that sleeps need not be woken for each entry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use electrode_transport::Time;

const AWAKE: u64 = 0;

/// As long as entries come, user space takes them in once a nap; when a nap brings none, it sleeps until
/// it is woken. So the kernel wakes it once for a burst and not once for an entry.
#[derive(Debug)]
pub(crate) struct Nap {
    length_ns: u64,
    until: AtomicU64,
}

impl Nap {
    pub(crate) fn of(length: Duration) -> Self {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { length_ns, until: AtomicU64::new(AWAKE) }
    }

    /// The rings were just looked at; `stored` if there was something that may wait like the rest.
    pub(crate) fn follow(&self, stored: bool, now: Time) {
        let until = self.until.load(Ordering::Relaxed);
        if stored && self.length_ns > 0 {
            self.until.store(now.after_ns(self.length_ns).0, Ordering::Relaxed);
        } else if until != AWAKE && until <= now.0 {
            self.until.store(AWAKE, Ordering::Relaxed);
        }
    }

    /// Until when a sleeper need not be woken for entries; `None` if it must be.
    pub(crate) fn until(&self) -> Option<Time> {
        let until = self.until.load(Ordering::Relaxed);
        (until != AWAKE).then_some(Time(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_nap_after_another_and_silence_ends_them() {
        let nap = Nap::of(Duration::from_nanos(100));
        assert_eq!(nap.until(), None, "the first entry wakes");
        nap.follow(true, Time(1_000));
        assert_eq!(nap.until(), Some(Time(1_100)));
        nap.follow(false, Time(1_050));
        assert_eq!(nap.until(), Some(Time(1_100)), "looked at for another reason meanwhile");
        nap.follow(true, Time(1_100));
        assert_eq!(nap.until(), Some(Time(1_200)));
        nap.follow(false, Time(1_200));
        assert_eq!(nap.until(), None, "nothing came: the next entry wakes");
    }

    #[test]
    fn without_naps_every_entry_wakes() {
        let nap = Nap::of(Duration::ZERO);
        nap.follow(true, Time(1_000));
        assert_eq!(nap.until(), None);
    }
}
