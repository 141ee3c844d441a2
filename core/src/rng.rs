//! Randomness as a value: seeded streams with children by name.
//!
//! A machine is handed its stream when it is built. Children are derived by name, not drawn, so
//! one more draw in one place never shifts another stream.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A named seed; derives child seeds and makes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of a run.
    #[must_use]
    pub fn from_u64(seed: u64) -> Self {
        Self(blake3::derive_key(
            "mfsha 2026 root seed",
            &seed.to_le_bytes(),
        ))
    }

    /// The child called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(name.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The child with this number.
    #[must_use]
    pub fn index(&self, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"#");
        hasher.update(&number.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The stream of this seed.
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng(ChaCha8Rng::from_seed(self.0))
    }
}

/// A deterministic stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..end`; `end` must not be zero. The bias is below 2^-64 * end.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "an empty range has no member to draw");
        ((u128::from(self.0.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has no member to draw");
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.0.next_u64(),
        }
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// A member of a non-empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts a slice into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_depend_on_their_name_alone() {
        let seed = Seed::from_u64(7);
        let mut drawn = seed.rng();
        drawn.next_u64();
        assert_eq!(seed.child("net"), Seed::from_u64(7).child("net"));
        assert_ne!(seed.child("net"), seed.child("disk"));
        assert_ne!(seed.index(1), seed.index(2));
    }

    #[test]
    fn ranges_hold() {
        let mut rng = Seed::from_u64(1).rng();
        for _ in 0..1_000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!(rng.below(7) < 7);
        }
        rng.between(0, u64::MAX);
    }
}
