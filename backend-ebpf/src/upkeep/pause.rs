//! How long to wait before the next attempt at something that keeps failing.

use std::time::{Duration, Instant};

/// Doubles with every failure, and with every success that does not last.
#[derive(Debug)]
pub(super) struct Pause {
    next: Instant,
    delay: Duration,
    succeeded: Option<Instant>,
}

impl Pause {
    pub(super) const SHORTEST: Duration = Duration::from_millis(100);
    pub(super) const LONGEST: Duration = Duration::from_secs(3);
    /// A success that is undone sooner was none.
    const LASTING: Duration = Duration::from_secs(10);

    /// The first attempt may be made now.
    pub(super) const fn new(now: Instant) -> Self {
        Self { next: now, delay: Self::SHORTEST, succeeded: None }
    }

    /// Whether it is time for an attempt.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.next
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// The attempt has failed, or what it brought about is undone.
    pub(super) fn fail(&mut self, now: Instant) {
        let lasted = |since: Instant| now.saturating_duration_since(since) >= Self::LASTING;
        if self.succeeded.take().is_some_and(lasted) {
            self.delay = Self::SHORTEST;
        }
        self.next = now + self.delay;
        self.delay = (2 * self.delay).min(Self::LONGEST);
    }

    pub(super) const fn succeed(&mut self, now: Instant) {
        self.succeeded = Some(now);
    }

    /// The world is another: whatever failed may work now.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_until_one_lasts() {
        let start = Instant::now();
        let mut pause = Pause::new(start);
        assert!(pause.is_over(start));
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..8 {
            pause.fail(now);
            delays.push((pause.next() - now).as_millis());
            assert!(!pause.is_over(now));
            now = pause.next();
            assert!(pause.is_over(now));
        }
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_000, 3_000, 3_000]);
        // Undone at once: no better than a failure.
        pause.succeed(now);
        pause.fail(now + Duration::from_secs(1));
        assert_eq!(pause.next(), now + Duration::from_secs(1) + Pause::LONGEST);
        pause.succeed(now);
        pause.fail(now + Pause::LASTING);
        assert_eq!(pause.next(), now + Pause::LASTING + Pause::SHORTEST);
        pause.reset(now);
        assert!(pause.is_over(now));
    }
}
