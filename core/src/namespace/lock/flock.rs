//! Whole-file locks of one inode: a table, what can be asked of it, and what it says back.
//!
//! Knows neither the store nor who has the file open.
//!
//! The identity of a holder is (session, owner). Waiters are served first come first: nobody is
//! granted past an earlier waiter that it conflicts with, so a stream of readers cannot starve a
//! writer (MooseFS 3.0.117). A holder that asks for the other kind converts its lock; when it has
//! to wait for that it gives up what it holds, as flock(2) says, so that two readers that both
//! want to write do not wait for each other. A refused try leaves what is held.

use crate::id::SessionId;
use crate::namespace::record::{FlockTable, FlockWaiter};

use super::Asked;

/// Who holds or waits: a session, and an owner within it.
pub type Identity = (SessionId, u64);

/// What came of a change of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Waiters that will never be granted, in the order in which they came.
    pub ended: Vec<FlockWaiter>,
    /// Waiters that hold the lock now, in the order in which they were granted.
    pub granted: Vec<FlockWaiter>,
}

/// Asks for the lock; the table takes `max` holders and waiters.
pub fn request(
    table: &mut FlockTable,
    asked: FlockWaiter,
    wait: bool,
    max: usize,
) -> (Asked, Woken) {
    let identity = (asked.session, asked.owner);
    if table.waiting.iter().any(|w| same_request(w, &asked)) {
        // The same request sent again, by a client that lost its connection.
        return (Asked::Waiting, Woken::default());
    }
    if held(table, identity) == Some(asked.exclusive) {
        return (Asked::Granted, Woken::default());
    }
    let mut ahead = Claims::held(table);
    for waiter in &table.waiting {
        ahead.add(identity_of(waiter), waiter.exclusive);
    }
    // Who gives up exclusiveness stands in nobody's way more than before.
    let downgrade = !asked.exclusive && held(table, identity).is_some();
    if downgrade || !ahead.conflict(identity, asked.exclusive) {
        if held(table, identity).is_none() && is_full(table, max) {
            return (Asked::Full, Woken::default());
        }
        hold(table, identity, asked.exclusive);
        return (Asked::Granted, grant(table));
    }
    if !wait {
        return (Asked::Refused, Woken::default());
    }
    if held(table, identity).is_none() && is_full(table, max) {
        return (Asked::Full, Woken::default());
    }
    drop_held(table, |holder| holder == identity);
    table.waiting.push(asked);
    (Asked::Waiting, grant(table))
}

/// Gives the lock back, held or not.
pub fn unlock(table: &mut FlockTable, identity: Identity) -> Woken {
    drop_held(table, |holder| holder == identity);
    grant(table)
}

/// Gives the lock back and forgets the owner's waiting requests.
pub fn release(table: &mut FlockTable, identity: Identity) -> Woken {
    forget(table, |holder| holder == identity)
}

/// Forgets everything of a session.
pub fn release_session(table: &mut FlockTable, session: SessionId) -> Woken {
    forget(table, |(holder, _)| holder == session)
}

/// Ends the wait of one request; nothing when it does not wait.
pub fn interrupt(table: &mut FlockTable, identity: Identity, reqid: u32) -> Woken {
    let ended = take_waiting(table, |w| identity_of(w) == identity && w.reqid == reqid);
    Woken {
        ended,
        ..grant(table)
    }
}

/// Whether nobody holds or waits.
#[must_use]
pub fn is_empty(table: &FlockTable) -> bool {
    table.held.is_empty() && table.waiting.is_empty()
}

fn forget(table: &mut FlockTable, mut which: impl FnMut(Identity) -> bool) -> Woken {
    let ended = take_waiting(table, |waiter| which(identity_of(waiter)));
    drop_held(table, which);
    Woken {
        ended,
        ..grant(table)
    }
}

/// Grants the first waiter that can be granted, until none can: a grant that makes an exclusive
/// lock a shared one lets earlier waiters through.
fn grant(table: &mut FlockTable) -> Woken {
    let mut woken = Woken::default();
    loop {
        let mut ahead = Claims::held(table);
        let next = table.waiting.iter().position(|waiter| {
            let identity = identity_of(waiter);
            let free = !ahead.conflict(identity, waiter.exclusive);
            ahead.add(identity, waiter.exclusive);
            free
        });
        let Some(next) = next else {
            return woken;
        };
        let waiter = table.waiting.remove(next);
        hold(table, identity_of(&waiter), waiter.exclusive);
        woken.granted.push(waiter);
    }
}

/// What is held or asked for earlier, as far as it matters to a later request.
#[derive(Default)]
struct Claims {
    any: Owners,
    exclusive: Owners,
}

impl Claims {
    fn held(table: &FlockTable) -> Self {
        let mut claims = Self::default();
        for (session, owner, exclusive) in &table.held {
            claims.add((*session, *owner), *exclusive);
        }
        claims
    }

    fn add(&mut self, identity: Identity, exclusive: bool) {
        self.any.add(identity);
        if exclusive {
            self.exclusive.add(identity);
        }
    }

    fn conflict(&self, identity: Identity, exclusive: bool) -> bool {
        if exclusive {
            self.any.other_than(identity)
        } else {
            self.exclusive.other_than(identity)
        }
    }
}

/// Nobody, one, or several: all that "somebody else" needs.
#[derive(Clone, Copy, Default)]
enum Owners {
    #[default]
    Nobody,
    One(Identity),
    Several,
}

impl Owners {
    fn add(&mut self, identity: Identity) {
        *self = match *self {
            Self::Nobody => Self::One(identity),
            Self::One(first) if first == identity => Self::One(first),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn other_than(self, identity: Identity) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(first) => first != identity,
            Self::Several => true,
        }
    }
}

fn identity_of(waiter: &FlockWaiter) -> Identity {
    (waiter.session, waiter.owner)
}

fn same_request(a: &FlockWaiter, b: &FlockWaiter) -> bool {
    identity_of(a) == identity_of(b) && a.reqid == b.reqid
}

fn is_full(table: &FlockTable, max: usize) -> bool {
    table.held.len() + table.waiting.len() >= max
}

fn position(table: &FlockTable, identity: Identity) -> Result<usize, usize> {
    table
        .held
        .binary_search_by_key(&identity, |(session, owner, _)| (*session, *owner))
}

/// How an identity holds the lock: exclusively or not, or not at all.
fn held(table: &FlockTable, identity: Identity) -> Option<bool> {
    position(table, identity).ok().map(|at| table.held[at].2)
}

fn hold(table: &mut FlockTable, identity: Identity, exclusive: bool) {
    let (session, owner) = identity;
    match position(table, identity) {
        Ok(at) => table.held[at].2 = exclusive,
        Err(at) => table.held.insert(at, (session, owner, exclusive)),
    }
}

fn drop_held(table: &mut FlockTable, mut which: impl FnMut(Identity) -> bool) {
    table
        .held
        .retain(|(session, owner, _)| !which((*session, *owner)));
}

fn take_waiting(
    table: &mut FlockTable,
    mut which: impl FnMut(&FlockWaiter) -> bool,
) -> Vec<FlockWaiter> {
    table
        .waiting
        .extract_if(.., |waiter| which(waiter))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::LOCK_COUNT_MAX;

    fn request(table: &mut FlockTable, asked: FlockWaiter, wait: bool) -> (Asked, Woken) {
        super::request(table, asked, wait, LOCK_COUNT_MAX)
    }

    fn ask(owner: u64, reqid: u32, exclusive: bool) -> FlockWaiter {
        FlockWaiter {
            session: SessionId(1),
            owner,
            reqid,
            exclusive,
        }
    }

    fn me(owner: u64) -> Identity {
        (SessionId(1), owner)
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let mut table = FlockTable::default();
        assert_eq!(
            request(&mut table, ask(1, 1, false), false).0,
            Asked::Granted
        );
        assert_eq!(
            request(&mut table, ask(2, 2, false), false).0,
            Asked::Granted
        );
        assert_eq!(
            request(&mut table, ask(3, 3, true), false).0,
            Asked::Refused
        );
        unlock(&mut table, me(1));
        unlock(&mut table, me(2));
        assert_eq!(
            request(&mut table, ask(3, 3, true), false).0,
            Asked::Granted
        );
        assert_eq!(
            request(&mut table, ask(1, 4, false), false).0,
            Asked::Refused
        );
    }

    #[test]
    fn a_reader_does_not_overtake_a_waiting_writer() {
        let mut table = FlockTable::default();
        request(&mut table, ask(1, 1, false), true);
        assert_eq!(request(&mut table, ask(2, 2, true), true).0, Asked::Waiting);
        assert_eq!(
            request(&mut table, ask(3, 3, false), false).0,
            Asked::Refused
        );
        assert_eq!(
            request(&mut table, ask(3, 4, false), true).0,
            Asked::Waiting
        );
        let woken = unlock(&mut table, me(1));
        assert_eq!(woken.granted, [ask(2, 2, true)]);
        let woken = unlock(&mut table, me(2));
        assert_eq!(woken.granted, [ask(3, 4, false)]);
    }

    #[test]
    fn two_readers_that_want_to_write_do_not_wait_for_each_other() {
        let mut table = FlockTable::default();
        request(&mut table, ask(1, 1, false), true);
        request(&mut table, ask(2, 2, false), true);
        assert_eq!(request(&mut table, ask(1, 3, true), true).0, Asked::Waiting);
        let (asked, woken) = request(&mut table, ask(2, 4, true), true);
        assert_eq!(asked, Asked::Waiting);
        assert_eq!(woken.granted, [ask(1, 3, true)]);
    }

    #[test]
    fn a_refused_conversion_keeps_what_is_held() {
        let mut table = FlockTable::default();
        request(&mut table, ask(1, 1, false), true);
        request(&mut table, ask(2, 2, false), true);
        assert_eq!(
            request(&mut table, ask(1, 3, true), false).0,
            Asked::Refused
        );
        assert_eq!(held(&table, me(1)), Some(false));
    }

    #[test]
    fn an_interrupted_writer_lets_the_readers_behind_it_through() {
        let mut table = FlockTable::default();
        request(&mut table, ask(1, 1, false), true);
        request(&mut table, ask(2, 2, true), true);
        request(&mut table, ask(3, 3, false), true);
        let woken = interrupt(&mut table, me(2), 2);
        assert_eq!(woken.ended, [ask(2, 2, true)]);
        assert_eq!(woken.granted, [ask(3, 3, false)]);
        assert_eq!(interrupt(&mut table, me(2), 2), Woken::default());
    }

    #[test]
    fn a_repeated_waiting_request_waits_once() {
        let mut table = FlockTable::default();
        request(&mut table, ask(1, 1, true), true);
        request(&mut table, ask(2, 2, true), true);
        assert_eq!(request(&mut table, ask(2, 2, true), true).0, Asked::Waiting);
        assert_eq!(table.waiting.len(), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = FlockTable {
            held: (0..LOCK_COUNT_MAX as u64)
                .map(|owner| (SessionId(1), owner, false))
                .collect(),
            waiting: Vec::new(),
        };
        let next = LOCK_COUNT_MAX as u64;
        assert_eq!(
            request(&mut table, ask(next, 1, false), true).0,
            Asked::Full
        );
        assert_eq!(request(&mut table, ask(next, 1, true), true).0, Asked::Full);
        unlock(&mut table, me(0));
        assert_eq!(
            request(&mut table, ask(next, 1, false), true).0,
            Asked::Granted
        );
    }

    /// The same rules said plainly: two lists, every pair compared.
    #[derive(Default)]
    struct Naive {
        held: Vec<(Identity, bool)>,
        waiting: Vec<FlockWaiter>,
    }

    impl Naive {
        fn clash(a: (Identity, bool), b: (Identity, bool)) -> bool {
            a.0 != b.0 && (a.1 || b.1)
        }

        fn may(&self, ahead: &[FlockWaiter], one: (Identity, bool)) -> bool {
            !self.held.iter().any(|h| Self::clash(*h, one))
                && !ahead
                    .iter()
                    .any(|w| Self::clash((identity_of(w), w.exclusive), one))
        }

        fn take(&mut self, one: (Identity, bool)) {
            self.held.retain(|h| h.0 != one.0);
            self.held.push(one);
            self.held.sort();
        }

        /// Grants the first that may be granted, until none may.
        fn wake(&mut self) -> Vec<FlockWaiter> {
            let mut out = Vec::new();
            while let Some(at) = (0..self.waiting.len()).find(|at| {
                let w = &self.waiting[*at];
                self.may(&self.waiting[..*at], (identity_of(w), w.exclusive))
            }) {
                let waiter = self.waiting.remove(at);
                self.take((identity_of(&waiter), waiter.exclusive));
                out.push(waiter);
            }
            out
        }

        fn ask(&mut self, asked: FlockWaiter, wait: bool) -> (Asked, Vec<FlockWaiter>) {
            let one = (identity_of(&asked), asked.exclusive);
            if self.waiting.iter().any(|w| same_request(w, &asked)) {
                return (Asked::Waiting, Vec::new());
            }
            let mine = self.held.iter().find(|h| h.0 == one.0).map(|h| h.1);
            if mine == Some(one.1) {
                return (Asked::Granted, Vec::new());
            }
            if mine == Some(true) || self.may(&self.waiting, one) {
                self.take(one);
                (Asked::Granted, self.wake())
            } else if wait {
                self.held.retain(|h| h.0 != one.0);
                self.waiting.push(asked);
                (Asked::Waiting, self.wake())
            } else {
                (Asked::Refused, Vec::new())
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(FlockWaiter, bool),
        Unlock(Identity),
        Release(Identity),
        End(SessionId),
        Interrupt(Identity, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let who = || (1..3u32, 0..3u64).prop_map(|(session, owner)| (SessionId(session), owner));
        prop_oneof![
            6 => (who(), 0..4u32, any::<bool>(), any::<bool>()).prop_map(
                |((session, owner), reqid, exclusive, wait)| {
                    Step::Ask(FlockWaiter { session, owner, reqid, exclusive }, wait)
                }
            ),
            3 => who().prop_map(Step::Unlock),
            1 => who().prop_map(Step::Release),
            1 => (1..3u32).prop_map(|session| Step::End(SessionId(session))),
            1 => (who(), 0..4u32).prop_map(|(who, reqid)| Step::Interrupt(who, reqid)),
        ]
    }

    proptest! {
        #[test]
        fn the_table_does_what_plain_lists_do(steps in prop::collection::vec(step(), 0..60)) {
            let mut table = FlockTable::default();
            let mut naive = Naive::default();
            for step in steps {
                let (woken, expected) = match step {
                    Step::Ask(asked, wait) => {
                        let (said, woken) = request(&mut table, asked.clone(), wait);
                        let (expected, granted) = naive.ask(asked, wait);
                        prop_assert_eq!(said, expected);
                        (woken, Woken { granted, ended: Vec::new() })
                    }
                    Step::Unlock(who) => {
                        naive.held.retain(|h| h.0 != who);
                        let expected = Woken { granted: naive.wake(), ended: Vec::new() };
                        (unlock(&mut table, who), expected)
                    }
                    Step::Release(who) => {
                        naive.held.retain(|h| h.0 != who);
                        let ended = naive.waiting.extract_if(.., |w| identity_of(w) == who);
                        let ended = ended.collect();
                        let expected = Woken { ended, granted: naive.wake() };
                        (release(&mut table, who), expected)
                    }
                    Step::End(session) => {
                        naive.held.retain(|h| h.0.0 != session);
                        let ended = naive.waiting.extract_if(.., |w| w.session == session);
                        let ended = ended.collect();
                        let expected = Woken { ended, granted: naive.wake() };
                        (release_session(&mut table, session), expected)
                    }
                    Step::Interrupt(who, reqid) => {
                        let ended = naive
                            .waiting
                            .extract_if(.., |w| identity_of(w) == who && w.reqid == reqid);
                        let ended = ended.collect();
                        let expected = Woken { ended, granted: naive.wake() };
                        (interrupt(&mut table, who, reqid), expected)
                    }
                };
                prop_assert_eq!(woken, expected);
                prop_assert_eq!(&table.waiting, &naive.waiting);
                let held: Vec<_> = table.held.iter().map(|(s, o, x)| ((*s, *o), *x)).collect();
                prop_assert_eq!(&held, &naive.held);
                // Nobody shares with a writer.
                prop_assert!(held.len() < 2 || held.iter().all(|(_, exclusive)| !exclusive));
            }
        }
    }
}
