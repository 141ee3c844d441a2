//! The laws of every lattice, over random values.

use proptest::prelude::*;

use super::{Dot, GCounter, Lattice, LinkCounter, Lww, LwwMap, OrSet, PnCounter, VersionVector};
use crate::id::NodeId;
use crate::time::Stamp;

/// Panics when a law does not hold for these three values.
pub(crate) fn check<L: Lattice + Clone + PartialEq + std::fmt::Debug>(a: &L, b: &L, c: &L) {
    let join = |x: &L, y: &L| {
        let mut out = x.clone();
        out.join(y);
        out
    };
    assert_eq!(join(a, b), join(b, a), "join commutes");
    assert_eq!(
        join(&join(a, b), c),
        join(a, &join(b, c)),
        "join associates"
    );
    assert_eq!(join(a, a), *a, "join is idempotent");
    assert_eq!(join(a, &L::default()), *a, "bottom changes nothing");
    assert_eq!(
        join(&join(a, b), b),
        join(a, b),
        "a repeated delta changes nothing"
    );
}

/// Few of them, so that ties are common.
pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    (0..4u64, 0..3u64).prop_map(|(time, node)| Stamp {
        time,
        node: NodeId(node),
    })
}

fn dot() -> impl Strategy<Value = Dot> {
    (0..3u64, 1..5u64).prop_map(|(node, sequence)| Dot {
        node: NodeId(node),
        sequence,
    })
}

fn lww() -> impl Strategy<Value = Lww<u8>> {
    lww_of(0..4u8)
}

/// A register of such values, or one that was never written.
pub(crate) fn lww_of<T: Clone + Ord + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Lww<T>> {
    prop::option::of((stamp(), value))
        .prop_map(|w| w.map_or_else(Lww::default, |(stamp, value)| Lww::at(stamp, value)))
}

fn lww_map() -> impl Strategy<Value = LwwMap<u8, u8>> {
    prop::collection::vec((0..3u8, stamp(), prop::option::of(0..3u8)), 0..6).prop_map(|writes| {
        writes
            .into_iter()
            .fold(LwwMap::default(), |mut map, (key, stamp, value)| {
                let delta = LwwMap::default().write(key, stamp, value);
                map.join(&delta);
                map
            })
    })
}

pub(crate) fn gcounter() -> impl Strategy<Value = GCounter> {
    prop::collection::vec((0..3u64, 0..5u64), 0..5).prop_map(|adds| {
        adds.into_iter()
            .fold(GCounter::default(), |mut counter, (node, amount)| {
                let delta = counter.add(NodeId(node), amount);
                counter.join(&delta);
                counter
            })
    })
}

pub(crate) fn pncounter() -> impl Strategy<Value = PnCounter> {
    prop::collection::vec((0..3u64, -5..5i128), 0..5).prop_map(|adds| {
        adds.into_iter()
            .fold(PnCounter::default(), |mut counter, (node, amount)| {
                let delta = counter.add(NodeId(node), amount);
                counter.join(&delta);
                counter
            })
    })
}

pub(crate) fn link_counter() -> impl Strategy<Value = LinkCounter> {
    prop::collection::vec((0..3u64, any::<bool>()), 0..6).prop_map(|changes| {
        changes
            .into_iter()
            .fold(LinkCounter::default(), |mut counter, (node, up)| {
                let node = NodeId(node);
                let delta = if up {
                    counter.link(node)
                } else {
                    counter.unlink(node)
                };
                counter.join(&delta);
                counter
            })
    })
}

fn orset() -> impl Strategy<Value = OrSet<u8>> {
    orset_of(0..3u8)
}

/// A set of such values, after additions and removals.
pub(crate) fn orset_of<T: Clone + Ord + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = OrSet<T>> {
    prop::collection::vec((dot(), value, any::<bool>()), 0..8).prop_map(|changes| {
        changes
            .into_iter()
            .fold(OrSet::default(), |mut set: OrSet<T>, (dot, value, add)| {
                let delta = if add {
                    OrSet::insert(dot, value)
                } else {
                    set.remove(|member| *member == value)
                };
                set.join(&delta);
                set
            })
    })
}

fn version_vector() -> impl Strategy<Value = VersionVector> {
    prop::collection::vec(0..3u64, 0..6).prop_map(|nodes| {
        nodes
            .into_iter()
            .fold(VersionVector::default(), |mut vector, node| {
                assert!(
                    vector.advance(vector.next(NodeId(node))),
                    "the next change always fits"
                );
                vector
            })
    })
}

proptest! {
    #[test]
    fn lww_is_a_lattice(a in lww(), b in lww(), c in lww()) { check(&a, &b, &c); }

    #[test]
    fn lww_map_is_a_lattice(a in lww_map(), b in lww_map(), c in lww_map()) { check(&a, &b, &c); }

    #[test]
    fn gcounter_is_a_lattice(a in gcounter(), b in gcounter(), c in gcounter()) { check(&a, &b, &c); }

    #[test]
    fn pncounter_is_a_lattice(a in pncounter(), b in pncounter(), c in pncounter()) {
        check(&a, &b, &c);
    }

    #[test]
    fn link_counter_is_a_lattice(a in link_counter(), b in link_counter(), c in link_counter()) {
        check(&a, &b, &c);
    }

    #[test]
    fn orset_is_a_lattice(a in orset(), b in orset(), c in orset()) { check(&a, &b, &c); }

    #[test]
    fn version_vector_is_a_lattice(
        a in version_vector(), b in version_vector(), c in version_vector(),
    ) {
        check(&a, &b, &c);
    }

    #[test]
    fn a_write_wins_over_what_it_saw(old in lww(), at in stamp(), value in 0..4u8) {
        let mut register = old.clone();
        register.join(&old.write(at, value));
        prop_assert_eq!(register.get(), Some(&value));
    }

    #[test]
    fn counters_count(amounts in prop::collection::vec((0..3u64, -9..9i128), 0..20)) {
        let mut counter = PnCounter::default();
        let mut sum = 0;
        for (node, amount) in amounts {
            counter.join(&counter.clone().add(NodeId(node), amount));
            sum += amount;
        }
        prop_assert_eq!(counter.value(), sum);
    }
}

#[test]
fn a_settled_counter_never_fills_up() {
    let (mut counter, replica, much) = (PnCounter::default(), NodeId(1), i128::MAX / 2);
    for _ in 0..10 {
        for amount in [much, -much] {
            counter.join(&counter.clone().add(replica, amount));
            counter.settle(replica);
        }
        assert_eq!(counter, PnCounter::default());
    }
}

/// The mistakes that others made (design: mistakes others made, 12) break the laws above.
mod planted {
    use super::*;

    fn breaks<L: Lattice + Clone + PartialEq + std::fmt::Debug + std::panic::RefUnwindSafe>(
        a: L,
        b: L,
        c: L,
    ) {
        let verdict = std::panic::catch_unwind(|| check(&a, &b, &c));
        assert!(verdict.is_err(), "the laws must notice this");
    }

    #[test]
    fn a_counter_merged_by_adding_is_caught() {
        #[derive(Clone, Debug, Default, PartialEq)]
        struct Adding(u64);
        impl Lattice for Adding {
            fn join(&mut self, other: &Self) {
                self.0 += other.0;
            }
        }
        breaks(Adding(1), Adding(2), Adding(3));
    }

    #[test]
    fn a_tie_of_stamps_that_is_not_broken_is_caught() {
        #[derive(Clone, Debug, Default, PartialEq)]
        struct Untied(u64, u8);
        impl Lattice for Untied {
            fn join(&mut self, other: &Self) {
                if other.0 >= self.0 {
                    *self = other.clone();
                }
            }
        }
        breaks(Untied(1, 1), Untied(1, 2), Untied(0, 0));
    }

    #[test]
    fn a_removal_without_dots_is_caught() {
        #[derive(Clone, Debug, Default, PartialEq)]
        struct Plain(
            std::collections::BTreeSet<u8>,
            std::collections::BTreeSet<u8>,
        );
        impl Lattice for Plain {
            fn join(&mut self, other: &Self) {
                self.0.extend(&other.0);
                self.0.retain(|member| !other.1.contains(member));
                self.1 = other.1.clone();
            }
        }
        let added = Plain([1].into(), [].into());
        let removed = Plain([].into(), [1].into());
        breaks(added, removed, Plain::default());
    }
}
