//! Seeded randomness for election jitter and nonces: SplitMix64 (Steele, Lea and Flood, 2014).
//!
//! Ten lines instead of a dependency: it needs to be unpredictable to nobody, only different on each
//! member and the same again for the same seed.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time from `min` to below `max` (or `min`, if that is not above it).
    pub(crate) fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let span = max.saturating_sub(min).as_nanos() as u64;
        if span == 0 { min } else { min + Duration::from_nanos(self.number() % span) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same_and_stays_in_range() {
        let (mut one, mut two) = (Dice::new(9), Dice::new(9));
        let (min, max) = (Duration::from_millis(3), Duration::from_millis(5));
        for _ in 0..1_000 {
            let rolled = one.between(min, max);
            assert_eq!(rolled, two.between(min, max));
            assert!(min <= rolled && rolled < max);
        }
        assert_eq!(one.between(max, min), max);
    }
}
