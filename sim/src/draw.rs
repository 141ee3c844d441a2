//! Distributions in whole numbers: the same on every machine, which floating point is not.

use mfsha_core::rng::Rng;

/// An exponentially distributed number with this mean, at most about 64 times it.
///
/// The logarithm is read off the leading zeros of a random word and interpolated linearly in
/// between; the error is below a tenth of the mean, and latencies do not care.
pub fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    let word = rng.next_u64() | 1;
    let zeros = u64::from(word.leading_zeros());
    // The 16 bits after the leading one, as a fraction.
    let fraction = (word << (zeros + 1).min(63)) >> 48;
    let log2 = (zeros << 16) + (0x1_0000 - fraction);
    // 45,426 / 65,536 is the natural logarithm of 2.
    ((u128::from(mean) * u128::from(log2) * 45_426) >> 32) as u64
}

/// True in so many parts of a million.
pub fn ppm(rng: &mut Rng, ppm: u32) -> bool {
    ppm > 0 && rng.chance(u64::from(ppm), 1_000_000)
}

/// The position of a weight, by chance in proportion; `None` when all are 0.
pub fn weighted(rng: &mut Rng, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if total == 0 {
        return None;
    }
    let mut left = rng.below(total);
    for (at, weight) in weights.enumerate() {
        match left.checked_sub(u64::from(weight)) {
            None => return Some(at),
            Some(rest) => left = rest,
        }
    }
    unreachable!("the draw is below the sum of the weights")
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    #[test]
    fn the_mean_is_the_mean() {
        let mut rng = Seed::from_u64(1).rng();
        let sum: u64 = (0..100_000).map(|_| exponential(&mut rng, 1_000)).sum();
        let mean = sum / 100_000;
        assert!((950..1_080).contains(&mean), "{mean}");
    }

    #[test]
    fn weights_are_kept_and_zero_is_never() {
        let mut rng = Seed::from_u64(2).rng();
        let mut hits = [0u32; 3];
        for _ in 0..3_000 {
            hits[weighted(&mut rng, [1, 0, 2].into_iter()).unwrap()] += 1;
        }
        assert_eq!(hits[1], 0);
        assert!((800..1_200).contains(&hits[0]), "{hits:?}");
        assert_eq!(weighted(&mut rng, [0, 0].into_iter()), None);
    }
}
