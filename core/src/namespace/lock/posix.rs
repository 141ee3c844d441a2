//! Byte-range locks of one inode: a table, what can be asked of it, and what it says back.
//!
//! Knows neither the store nor who has the file open.
//!
//! The identity of a holder is (session, owner); a process id only labels a range. What an owner
//! locks replaces, byte by byte, what it held there. Waiters are served first come first: nobody
//! is granted past an earlier waiter that it conflicts with, unless that waiter waits for the
//! newcomer itself, which would be a deadlock of two. What an owner holds it keeps while it waits.

use crate::id::SessionId;
use crate::namespace::op::PosixLockKind;
use crate::namespace::record::{PosixRange, PosixTable};

use super::Asked;
use super::flock::Identity;

/// A waiting request: what it wants, and the client's name for it.
pub type Waiter = (PosixRange, u32);

/// What came of a change of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Waiters that will never be granted, in the order in which they came.
    pub ended: Vec<Waiter>,
    /// Waiters that hold their range now, in the order in which they were granted.
    pub granted: Vec<Waiter>,
}

/// Asks for a range, which is not empty and whose kind is not `Unlock`. The table takes `max`
/// ranges and waiters; so below.
pub fn request(
    table: &mut PosixTable,
    asked: PosixRange,
    reqid: u32,
    wait: bool,
    max: usize,
) -> (Asked, Woken) {
    if table
        .waiting
        .iter()
        .any(|(waiter, of)| identity(waiter) == identity(&asked) && *of == reqid)
    {
        // The same request sent again, by a client that lost its connection.
        return (Asked::Waiting, Woken::default());
    }
    if blocked(table, table.waiting.len(), &asked) {
        if !wait {
            return (Asked::Refused, Woken::default());
        }
        if room(table, max) < 1 {
            return (Asked::Full, Woken::default());
        }
        table.waiting.push((asked, reqid));
        return (Asked::Waiting, Woken::default());
    }
    // A range in the middle of another one makes three of one.
    if room(table, max) < 2 {
        return (Asked::Full, Woken::default());
    }
    put(table, &asked);
    (Asked::Granted, grant(table, max))
}

/// Gives back what of a range its owner holds. `None`, and nothing done, when that would tear a
/// range in two and the table is full.
#[must_use]
pub fn unlock(table: &mut PosixTable, range: &PosixRange, max: usize) -> Option<Woken> {
    let tears = table.held.iter().any(|held| {
        identity(held) == identity(range) && held.start < range.start && range.end < held.end
    });
    if tears && room(table, max) < 1 {
        return None;
    }
    carve(table, range);
    Some(grant(table, max))
}

/// Forgets everything of a session.
pub fn release_session(table: &mut PosixTable, session: SessionId, max: usize) -> Woken {
    let ended = table
        .waiting
        .extract_if(.., |(waiter, _)| waiter.session == session)
        .collect();
    table.held.retain(|held| held.session != session);
    Woken {
        ended,
        ..grant(table, max)
    }
}

/// Ends the wait of one request; nothing when it does not wait.
pub fn interrupt(table: &mut PosixTable, who: Identity, reqid: u32, max: usize) -> Woken {
    let ended = table
        .waiting
        .extract_if(.., |(waiter, of)| identity(waiter) == who && *of == reqid)
        .collect();
    Woken {
        ended,
        ..grant(table, max)
    }
}

/// The first range held, in order of position, that stands in the way of this one.
#[must_use]
pub fn in_the_way<'a>(table: &'a PosixTable, asked: &PosixRange) -> Option<&'a PosixRange> {
    table.held.iter().find(|held| conflict(held, asked))
}

/// Whether nobody holds or waits.
#[must_use]
pub fn is_empty(table: &PosixTable) -> bool {
    table.held.is_empty() && table.waiting.is_empty()
}

fn identity(range: &PosixRange) -> Identity {
    (range.session, range.owner)
}

fn conflict(a: &PosixRange, b: &PosixRange) -> bool {
    identity(a) != identity(b)
        && a.start < b.end
        && b.start < a.end
        && (a.kind == PosixLockKind::Write || b.kind == PosixLockKind::Write)
        && a.kind != PosixLockKind::Unlock
        && b.kind != PosixLockKind::Unlock
}

/// Entries that the table may still take.
fn room(table: &PosixTable, max: usize) -> usize {
    max.saturating_sub(table.held.len() + table.waiting.len())
}

/// Whether a request has to wait, when the first `ahead` waiters came before it.
fn blocked(table: &PosixTable, ahead: usize, asked: &PosixRange) -> bool {
    in_the_way(table, asked).is_some()
        || table.waiting[..ahead].iter().any(|(waiter, _)| {
            conflict(waiter, asked) && !waits_for(table, waiter, identity(asked))
        })
}

/// Whether something held by `who` stands in the waiter's way.
fn waits_for(table: &PosixTable, waiter: &PosixRange, who: Identity) -> bool {
    table
        .held
        .iter()
        .any(|held| identity(held) == who && conflict(held, waiter))
}

/// Grants what can be granted, first come first, until nothing more can be: a grant that makes a
/// write lock a read lock may let an earlier waiter through.
fn grant(table: &mut PosixTable, max: usize) -> Woken {
    let mut woken = Woken::default();
    loop {
        let before = woken.granted.len();
        let mut at = 0;
        while at < table.waiting.len() {
            // A grant makes three ranges of one at most, and frees the waiter's own place.
            if room(table, max) >= 1 && !blocked(table, at, &table.waiting[at].0) {
                let waiter = table.waiting.remove(at);
                put(table, &waiter.0);
                woken.granted.push(waiter);
            } else {
                at += 1;
            }
        }
        if woken.granted.len() == before {
            return woken;
        }
    }
}

/// Takes a range away from its owner.
fn carve(table: &mut PosixTable, range: &PosixRange) {
    let mut rest = Vec::new();
    let overlapping = table.held.extract_if(.., |held| {
        identity(held) == identity(range) && held.start < range.end && range.start < held.end
    });
    for held in overlapping {
        if held.start < range.start {
            rest.push(PosixRange {
                end: range.start,
                ..held.clone()
            });
        }
        if range.end < held.end {
            rest.push(PosixRange {
                start: range.end,
                ..held
            });
        }
    }
    for range in rest {
        insert(table, range);
    }
}

/// Gives a range to its owner in place of what it held there, and joins it with what it touches.
fn put(table: &mut PosixTable, range: &PosixRange) {
    carve(table, range);
    let mut joined = range.clone();
    let touching = table.held.extract_if(.., |held| {
        identity(held) == identity(range)
            && held.kind == range.kind
            && held.pid == range.pid
            && (held.end == range.start || held.start == range.end)
    });
    for held in touching {
        joined.start = joined.start.min(held.start);
        joined.end = joined.end.max(held.end);
    }
    insert(table, joined);
}

fn insert(table: &mut PosixTable, range: PosixRange) {
    let at = table.held.partition_point(|held| *held < range);
    table.held.insert(at, range);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::LOCK_COUNT_MAX;

    fn request(
        table: &mut PosixTable,
        asked: PosixRange,
        reqid: u32,
        wait: bool,
    ) -> (Asked, Woken) {
        super::request(table, asked, reqid, wait, LOCK_COUNT_MAX)
    }

    fn unlock(table: &mut PosixTable, range: &PosixRange) -> Option<Woken> {
        super::unlock(table, range, LOCK_COUNT_MAX)
    }
    use PosixLockKind::{Read, Write};

    fn range(owner: u64, start: u64, end: u64, kind: PosixLockKind) -> PosixRange {
        PosixRange {
            start,
            end,
            session: SessionId(1),
            owner,
            pid: 7,
            kind,
        }
    }

    #[test]
    fn a_lock_inside_a_lock_splits_and_joins_again() {
        let mut table = PosixTable::default();
        request(&mut table, range(1, 0, 30, Write), 1, false);
        request(&mut table, range(1, 10, 20, Read), 2, false);
        assert_eq!(
            table.held,
            [
                range(1, 0, 10, Write),
                range(1, 10, 20, Read),
                range(1, 20, 30, Write)
            ]
        );
        request(&mut table, range(1, 10, 20, Write), 3, false);
        assert_eq!(table.held, [range(1, 0, 30, Write)]);
        unlock(&mut table, &range(1, 5, u64::MAX, Read)).unwrap();
        assert_eq!(table.held, [range(1, 0, 5, Write)]);
    }

    #[test]
    fn a_reader_does_not_overtake_a_waiting_writer() {
        let mut table = PosixTable::default();
        request(&mut table, range(1, 0, 10, Read), 1, false);
        assert_eq!(
            request(&mut table, range(2, 0, 10, Write), 2, true).0,
            Asked::Waiting
        );
        assert_eq!(
            request(&mut table, range(3, 5, 6, Read), 3, false).0,
            Asked::Refused
        );
        assert_eq!(
            request(&mut table, range(3, 10, 11, Read), 3, false).0,
            Asked::Granted
        );
        let woken = unlock(&mut table, &range(1, 0, u64::MAX, Read)).unwrap();
        assert_eq!(woken.granted, [(range(2, 0, 10, Write), 2)]);
    }

    #[test]
    fn who_is_waited_for_need_not_queue_behind_the_waiter() {
        let mut table = PosixTable::default();
        request(&mut table, range(1, 0, 10, Read), 1, false);
        request(&mut table, range(2, 0, 10, Write), 2, true);
        assert_eq!(
            request(&mut table, range(1, 0, 10, Write), 3, true).0,
            Asked::Granted
        );
    }

    #[test]
    fn the_lock_in_the_way_is_told() {
        let mut table = PosixTable::default();
        request(&mut table, range(1, 4, 8, Read), 1, false);
        assert_eq!(in_the_way(&table, &range(2, 0, 5, Read)), None);
        assert_eq!(in_the_way(&table, &range(1, 0, 5, Write)), None);
        assert_eq!(
            in_the_way(&table, &range(2, 0, 5, Write)),
            Some(&range(1, 4, 8, Read))
        );
        assert_eq!(in_the_way(&table, &range(2, 8, 9, Write)), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = PosixTable {
            held: (0..LOCK_COUNT_MAX as u64)
                .map(|at| range(1, at * 20, at * 20 + 10, Write))
                .collect(),
            waiting: Vec::new(),
        };
        assert_eq!(
            request(&mut table, range(2, 15, 16, Read), 1, true).0,
            Asked::Full
        );
        assert_eq!(
            request(&mut table, range(2, 5, 6, Read), 1, true).0,
            Asked::Full
        );
        assert_eq!(unlock(&mut table, &range(1, 5, 6, Read)), None);
        assert!(unlock(&mut table, &range(1, 0, u64::MAX, Read)).is_some());
        assert!(is_empty(&table));
    }

    /// What each owner holds, byte by byte, and the waiters.
    #[derive(Default)]
    struct Naive {
        bytes: BTreeMap<(Identity, u64), (PosixLockKind, u32)>,
        waiting: Vec<Waiter>,
    }

    /// Bytes that the test looks at; the last stands for everything behind.
    const BYTES: u64 = 12;

    fn bytes(range: &PosixRange) -> impl Iterator<Item = u64> + use<> {
        range.start..range.end.min(BYTES)
    }

    impl Naive {
        fn held_against(&self, asked: &PosixRange) -> bool {
            bytes(asked).any(|byte| {
                self.bytes.iter().any(|((who, at), (kind, _))| {
                    *at == byte
                        && *who != identity(asked)
                        && (*kind == Write || asked.kind == Write)
                })
            })
        }

        fn waits_for(&self, waiter: &PosixRange, who: Identity) -> bool {
            bytes(waiter).any(|byte| {
                self.bytes
                    .get(&(who, byte))
                    .is_some_and(|(kind, _)| *kind == Write || waiter.kind == Write)
            })
        }

        fn blocked(&self, ahead: usize, asked: &PosixRange) -> bool {
            self.held_against(asked)
                || self.waiting[..ahead].iter().any(|(waiter, _)| {
                    identity(waiter) != identity(asked)
                        && (waiter.kind == Write || asked.kind == Write)
                        && bytes(waiter).any(|byte| bytes(asked).any(|other| other == byte))
                        && !self.waits_for(waiter, identity(asked))
                })
        }

        fn put(&mut self, asked: &PosixRange) {
            for byte in bytes(asked) {
                self.bytes
                    .insert((identity(asked), byte), (asked.kind, asked.pid));
            }
        }

        fn wake(&mut self) -> Vec<Waiter> {
            let mut out = Vec::new();
            // Round after round through the queue, until a round grants nothing.
            let mut from = 0;
            loop {
                let next =
                    (from..self.waiting.len()).find(|at| !self.blocked(*at, &self.waiting[*at].0));
                match next {
                    Some(at) => {
                        let waiter = self.waiting.remove(at);
                        self.put(&waiter.0);
                        out.push(waiter);
                        from = at;
                    }
                    None if from == 0 => return out,
                    None => from = 0,
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(PosixRange, u32, bool),
        Unlock(PosixRange),
        End(SessionId),
        Interrupt(Identity, u32),
    }

    fn any_range() -> impl Strategy<Value = PosixRange> {
        let end = prop_oneof![3 => 1..BYTES, 1 => Just(u64::MAX)];
        (0..BYTES, end, 1..3u32, 0..2u64, 0..2u32, any::<bool>()).prop_map(
            |(start, end, session, owner, pid, write)| PosixRange {
                start: start.min(end - 1),
                end,
                session: SessionId(session),
                owner,
                pid,
                kind: if write { Write } else { Read },
            },
        )
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any_range(), 0..4u32, any::<bool>())
                .prop_map(|(range, reqid, wait)| Step::Ask(range, reqid, wait)),
            4 => any_range().prop_map(Step::Unlock),
            1 => (1..3u32).prop_map(|session| Step::End(SessionId(session))),
            1 => (1..3u32, 0..2u64, 0..4u32)
                .prop_map(|(session, owner, reqid)| Step::Interrupt((SessionId(session), owner), reqid)),
        ]
    }

    proptest! {
        #[test]
        fn the_table_does_what_single_bytes_do(steps in prop::collection::vec(step(), 0..60)) {
            let mut table = PosixTable::default();
            let mut naive = Naive::default();
            for step in steps {
                let (woken, ended) = match step {
                    Step::Ask(asked, reqid, wait) => {
                        let again = naive
                            .waiting
                            .iter()
                            .any(|(w, of)| identity(w) == identity(&asked) && *of == reqid);
                        let expected = if again {
                            Asked::Waiting
                        } else if !naive.blocked(naive.waiting.len(), &asked) {
                            naive.put(&asked);
                            Asked::Granted
                        } else if wait {
                            naive.waiting.push((asked.clone(), reqid));
                            Asked::Waiting
                        } else {
                            Asked::Refused
                        };
                        let (said, woken) = request(&mut table, asked, reqid, wait);
                        prop_assert_eq!(said, expected);
                        (woken, Vec::new())
                    }
                    Step::Unlock(range) => {
                        for byte in bytes(&range) {
                            naive.bytes.remove(&(identity(&range), byte));
                        }
                        (unlock(&mut table, &range).unwrap(), Vec::new())
                    }
                    Step::End(session) => {
                        naive.bytes.retain(|((who, _), _), _| *who != session);
                        let ended = naive.waiting.extract_if(.., |(w, _)| w.session == session);
                        let ended = ended.collect();
                        (release_session(&mut table, session, LOCK_COUNT_MAX), ended)
                    }
                    Step::Interrupt(who, reqid) => {
                        let ended = naive
                            .waiting
                            .extract_if(.., |(w, of)| identity(w) == who && *of == reqid)
                            .collect();
                        (interrupt(&mut table, who, reqid, LOCK_COUNT_MAX), ended)
                    }
                };
                prop_assert_eq!(woken, Woken { ended, granted: naive.wake() });
                prop_assert_eq!(&table.waiting, &naive.waiting);
                let mut held = BTreeMap::new();
                for range in &table.held {
                    for byte in bytes(range) {
                        let old = held.insert((identity(range), byte), (range.kind, range.pid));
                        prop_assert!(old.is_none(), "an owner holds a byte twice");
                    }
                }
                prop_assert_eq!(&held, &naive.bytes);
                prop_assert!(table.held.is_sorted());
                for (at, one) in table.held.iter().enumerate() {
                    for other in &table.held[at + 1..] {
                        prop_assert!(
                            identity(one) != identity(other)
                                || (one.kind, one.pid) != (other.kind, other.pid)
                                || (one.end != other.start && other.end != one.start),
                            "ranges that touch are one"
                        );
                    }
                }
            }
        }
    }
}
