//! Numbers as a few ranges. Knows not what they number.

use serde::{Deserialize, Serialize};

/// Ranges, lowest first; none touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Whether a number is in one of them.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(low, high)| (*low..=*high).contains(&number))
    }

    /// Adds the numbers from `low` to `high`, both among them; nothing when `high` is lower.
    pub fn insert(&mut self, low: u64, high: u64) {
        if high < low {
            return;
        }
        let mut made = (low, high);
        self.0.retain(|(from, to)| {
            let touches = *from <= made.1.saturating_add(1) && made.0 <= to.saturating_add(1);
            if touches {
                made = (made.0.min(*from), made.1.max(*to));
            }
            !touches
        });
        let at = self.0.partition_point(|range| range.0 < made.0);
        self.0.insert(at, made);
    }

    /// Makes the two lowest one, with all that is between them: so there is one less.
    pub fn close_lowest_gap(&mut self) {
        if let [(low, _), (_, high), ..] = self.0[..] {
            self.insert(low, high);
        }
    }

    /// The highest number of the second lowest range.
    #[must_use]
    pub fn second_end(&self) -> Option<u64> {
        self.0.get(1).map(|range| range.1)
    }

    /// The ranges, lowest first: first and last number of each.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_put_in_and_are_as_few_as_can_be(
            parts in prop::collection::vec((0..40_u64, 0..6_u64), 0..20)
        ) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (low, more) in parts {
                ranges.insert(low, low + more);
                model.extend(low..=low + more);
            }
            for number in 0..50 {
                prop_assert_eq!(ranges.contains(number), model.contains(&number));
            }
            for pair in ranges.as_slice().windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "{:?}", pair);
            }
        }
    }

    #[test]
    fn the_ends_of_all_numbers_are_numbers() {
        let mut ranges = Ranges::default();
        ranges.insert(u64::MAX, u64::MAX);
        ranges.insert(0, 3);
        ranges.insert(9, 5);
        assert_eq!(ranges.as_slice(), [(0, 3), (u64::MAX, u64::MAX)]);
        assert_eq!(ranges.second_end(), Some(u64::MAX));
        ranges.close_lowest_gap();
        assert_eq!(ranges.as_slice(), [(0, u64::MAX)]);
        ranges.close_lowest_gap();
        assert_eq!(ranges.second_end(), None);
    }
}
