//! Time into raft's ticks.

use std::time::Duration;

/// Says when a tick is due. A node that was frozen does not make up for missed ticks: the silence
/// was its own, and must not look like its leader's.
#[derive(Clone, Copy, Debug)]
pub struct Ticker {
    interval: Duration,
    next: Duration,
}

impl Ticker {
    /// A tick each `interval`, the first one `interval` after `now`. `now` is the time since any
    /// fixed moment.
    #[must_use]
    pub const fn new(interval: Duration, now: Duration) -> Self {
        Self { interval, next: now.saturating_add(interval) }
    }

    /// Whether a tick is due. Says so once, however many intervals have passed.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now.saturating_add(self.interval);
        }
        due
    }

    /// How long until the next tick.
    #[must_use]
    pub const fn until_next(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_not_made_up_for() {
        let ms = Duration::from_millis;
        let mut ticker = Ticker::new(ms(10), ms(0));
        assert!(!ticker.is_due(ms(9)));
        assert_eq!(ticker.until_next(ms(9)), ms(1));
        assert!(ticker.is_due(ms(10)));
        assert!(!ticker.is_due(ms(10)), "once");
        assert!(ticker.is_due(ms(500)), "after a long sleep");
        assert!(!ticker.is_due(ms(509)), "the ticks of the sleep are gone");
    }
}
