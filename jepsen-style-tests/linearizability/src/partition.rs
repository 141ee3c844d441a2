//! A history as independent histories.
//!
//! Knows nothing of what the parts mean: an operation that touches several joins them for the whole
//! history, so that a part is always closed.

use std::collections::BTreeMap;

use crate::history::{History, OpIndex};
use crate::model::{Parts, Touches};

/// Operations that share no state with those of any other part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<K> {
    /// What they touch, ascending. Empty for operations that depend on nothing, and when the only
    /// operations of a history are about everything.
    pub keys: Vec<K>,
    /// The operations, ascending; never empty.
    pub operations: Vec<OpIndex>,
}

/// Splits a history into the finest parts that are certainly independent, ordered by their first
/// key (the operations that touch nothing come first, as a part of their own).
#[must_use]
pub fn partition<M: Parts>(model: &M, history: &History<M::Call, M::Return>) -> Vec<Part<M::Key>> {
    let touched: Vec<Touches<M::Key>> = history
        .operations()
        .iter()
        .map(|operation| model.touches(&operation.call))
        .collect();
    if touched.contains(&Touches::Everything) {
        return one_part(&touched);
    }
    let mut groups = Groups::default();
    for touches in &touched {
        let Touches::Parts(keys) = touches else {
            unreachable!("handled above");
        };
        for key in keys {
            groups.add(key);
            groups.join(&keys[0], key);
        }
    }
    let mut parts: BTreeMap<Option<usize>, Part<M::Key>> = BTreeMap::new();
    for (key, number) in groups.numbers.clone() {
        let group = find(&mut groups.parents, number);
        let part = parts.entry(Some(group)).or_insert_with(empty_part);
        part.keys.push(key);
    }
    for (index, touches) in touched.iter().enumerate() {
        let Touches::Parts(keys) = touches else {
            unreachable!("handled above");
        };
        let group = keys.first().map(|key| groups.group(key));
        let part = parts.entry(group).or_insert_with(empty_part);
        part.operations.push(OpIndex(index));
    }
    let mut parts: Vec<Part<M::Key>> = parts.into_values().collect();
    parts.sort_by(|one, other| one.keys.first().cmp(&other.keys.first()));
    parts
}

fn empty_part<K>() -> Part<K> {
    Part {
        keys: Vec::new(),
        operations: Vec::new(),
    }
}

fn one_part<K: Ord + Clone>(touched: &[Touches<K>]) -> Vec<Part<K>> {
    let mut keys: Vec<K> = touched
        .iter()
        .flat_map(|touches| match touches {
            Touches::Parts(keys) => keys.clone(),
            Touches::Everything => Vec::new(),
        })
        .collect();
    keys.sort();
    keys.dedup();
    vec![Part {
        keys,
        operations: (0..touched.len()).map(OpIndex).collect(),
    }]
}

/// Disjoint sets of keys.
struct Groups<K> {
    numbers: BTreeMap<K, usize>,
    parents: Vec<usize>,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            parents: Vec::new(),
        }
    }
}

impl<K: Ord + Clone> Groups<K> {
    fn add(&mut self, key: &K) {
        if !self.numbers.contains_key(key) {
            self.numbers.insert(key.clone(), self.parents.len());
            self.parents.push(self.parents.len());
        }
    }

    fn group(&mut self, key: &K) -> usize {
        find(&mut self.parents, self.numbers[key])
    }

    fn join(&mut self, one: &K, other: &K) {
        let (one, other) = (self.group(one), self.group(other));
        self.parents[one.max(other)] = one.min(other);
    }
}

fn find(parents: &mut [usize], mut number: usize) -> usize {
    while parents[number] != number {
        parents[number] = parents[parents[number]];
        number = parents[number];
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{End, Operation, ProcessId};
    use crate::model::Model;

    /// Calls name what they touch; `None` is everything.
    struct Named;

    impl Model for Named {
        type State = ();
        type Call = Option<Vec<u8>>;
        type Return = ();

        fn init(&self) {}

        fn step(&self, (): &(), _: &Self::Call, _: Option<&()>) -> Vec<()> {
            vec![()]
        }
    }

    impl Parts for Named {
        type Key = u8;

        fn touches(&self, call: &Self::Call) -> Touches<u8> {
            call.clone().map_or(Touches::Everything, Touches::Parts)
        }
    }

    fn parts(calls: &[Option<&[u8]>]) -> Vec<(Vec<u8>, Vec<usize>)> {
        let operations = calls
            .iter()
            .enumerate()
            .map(|(at, call)| Operation {
                process: ProcessId(at as u64),
                invoked_at: 0,
                call: call.map(<[u8]>::to_vec),
                end: End::Unknown { gave_up_at: None },
            })
            .collect();
        partition(&Named, &History::new(operations).unwrap())
            .into_iter()
            .map(|part| (part.keys, part.operations.iter().map(|i| i.0).collect()))
            .collect()
    }

    #[test]
    fn what_shares_nothing_is_apart() {
        assert_eq!(
            parts(&[Some(&[2]), Some(&[1]), Some(&[2])]),
            [(vec![1], vec![1]), (vec![2], vec![0, 2])]
        );
        assert_eq!(parts(&[]), []);
    }

    #[test]
    fn one_operation_on_two_parts_joins_them_for_good() {
        assert_eq!(
            parts(&[
                Some(&[1]),
                Some(&[4]),
                Some(&[2]),
                Some(&[3, 2]),
                Some(&[1, 3])
            ]),
            [(vec![1, 2, 3], vec![0, 2, 3, 4]), (vec![4], vec![1])]
        );
    }

    #[test]
    fn long_chains_of_joins_end_in_one_part() {
        let pairs: Vec<[u8; 2]> = (0..=253).rev().map(|k| [k, k + 1]).collect();
        let calls: Vec<Option<&[u8]>> = pairs.iter().map(|pair| Some(&pair[..])).collect();
        let parts = parts(&calls);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].0.len(), 255);
    }

    #[test]
    fn what_touches_everything_leaves_one_part() {
        assert_eq!(
            parts(&[Some(&[1]), None, Some(&[2])]),
            [(vec![1, 2], vec![0, 1, 2])]
        );
    }

    #[test]
    fn what_touches_nothing_is_a_part_of_its_own() {
        assert_eq!(
            parts(&[Some(&[1]), Some(&[]), Some(&[])]),
            [(vec![], vec![1, 2]), (vec![1], vec![0])]
        );
    }
}
