//! Chance that one seed decides. Each purpose has a stream of its own, so that a draw more in one does not change another.

use quorumfence_machine::Millis;

/// A stream of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

/// SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// Opens the stream of a seed for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let fold = |state: u64, byte: u8| mix(state ^ u64::from(byte)).wrapping_add(STEP);
        Self(purpose.bytes().fold(mix(seed), fold))
    }

    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Returns a number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        self.draw() % bound
    }

    /// Returns a number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Returns a time from `least` to `most`.
    pub fn time(&mut self, least: Millis, most: Millis) -> Millis {
        Millis(self.between(least.0, most.0))
    }

    /// Returns true with this probability.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of the choices, or none when there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).unwrap_or(u64::MAX);
        let at = if count == 0 { return None } else { self.below(count) };
        choices.get(usize::try_from(at).unwrap_or_default())
    }
}

/// SplitMix64's finalizer.
pub(crate) fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_are_one_stream() {
        let draws = |seed, purpose| -> Vec<u64> {
            let mut chance = Chance::new(seed, purpose);
            (0..8).map(|_| chance.draw()).collect()
        };
        assert_eq!(draws(1, "network"), draws(1, "network"));
        assert_ne!(draws(1, "network"), draws(2, "network"));
        assert_ne!(draws(1, "network"), draws(1, "nemesis"));
    }

    #[test]
    fn draws_keep_to_their_bounds_and_reach_them() {
        let mut chance = Chance::new(1, "bounds");
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| chance.between(3, 6)).collect();
        assert_eq!(drawn, (3..=6).collect());
        let often = (0..1000).filter(|_| chance.percent(25)).count();
        assert!((180..320).contains(&often), "{often} of 1000");
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
