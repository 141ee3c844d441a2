//! Requests that wait for a lock, and news of locks that came before their requests did.
//!
//! A command's news come from this node's own state, its outcome perhaps from a peer: a lock may
//! be granted before it is known here that it has to be waited for.

use std::collections::{BTreeMap, BTreeSet};

use crate::gateway::LockWait;
use crate::id::{LogIndex, SessionId};

/// News that are kept for waits that are not known yet. Older ones go: whoever waits for them has
/// long asked again on another connection.
const RECENT_COUNT_MAX: usize = 65_536;

/// Names a wait.
pub(super) type Key = (SessionId, LockWait);

/// Everybody who waits for a lock; `W` is where the answer goes.
#[derive(Debug)]
pub(super) struct Waits<W> {
    waiting: BTreeMap<Key, W>,
    /// How a wait ended last, and where in the log.
    recent: BTreeMap<Key, (LogIndex, bool)>,
    /// The same in order of the log.
    order: BTreeSet<(LogIndex, Key)>,
}

impl<W> Default for Waits<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            recent: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<W> Waits<W> {
    /// A lock has to be waited for, as the command at `index` said. Gives back who waits when it
    /// is over already, and how; and who waited for the same before, who will not be told.
    pub fn wait(&mut self, key: Key, index: LogIndex, who: W) -> (Option<(W, bool)>, Option<W>) {
        match self.recent.get(&key) {
            Some((at, granted)) if *at > index => {
                let granted = *granted;
                (Some((who, granted)), None)
            }
            _ => (None, self.waiting.insert(key, who)),
        }
    }

    /// A wait ended with the command at `index`; gives back who waited.
    pub fn end(&mut self, key: Key, index: LogIndex, granted: bool) -> Option<W> {
        if let Some((before, _)) = self.recent.insert(key, (index, granted)) {
            self.order.remove(&(before, key));
        }
        self.order.insert((index, key));
        if self.order.len() > RECENT_COUNT_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.recent.remove(&oldest);
        }
        self.waiting.remove(&key)
    }

    /// Takes out those who wait and fulfil a condition.
    pub fn forget(&mut self, gone: impl Fn(&W) -> bool) -> Vec<W> {
        let taken = self.waiting.extract_if(.., |_, who| gone(who));
        taken.map(|(_, who)| who).collect()
    }

    /// Panics when news are kept without an order, or the other way round.
    pub fn check(&self) {
        assert_eq!(self.recent.len(), self.order.len(), "news have one place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InodeId;

    fn key(request: u32) -> Key {
        let wait = LockWait {
            inode: InodeId(5),
            owner: 1,
            request,
            posix: false,
        };
        (SessionId(2), wait)
    }

    #[test]
    fn a_grant_finds_its_waiter_whichever_comes_first() {
        let mut waits = Waits::default();
        assert_eq!(waits.wait(key(1), LogIndex(7), 'a'), (None, None));
        assert_eq!(waits.end(key(1), LogIndex(9), true), Some('a'));
        assert_eq!(waits.end(key(2), LogIndex(10), false), None);
        let over = waits.wait(key(2), LogIndex(8), 'b');
        assert_eq!(over, (Some(('b', false)), None));
        // News of an earlier wait of the same name are not about this one.
        assert_eq!(waits.wait(key(2), LogIndex(11), 'c'), (None, None));
        assert_eq!(waits.wait(key(2), LogIndex(12), 'd'), (None, Some('c')));
        assert_eq!(waits.forget(|who| *who == 'd'), ['d']);
        assert_eq!(waits.end(key(2), LogIndex(13), true), None);
        waits.check();
    }

    #[test]
    fn news_that_nobody_waits_for_are_bounded() {
        let mut waits = Waits::<()>::default();
        for request in 0..RECENT_COUNT_MAX as u32 + 10 {
            waits.end(key(request), LogIndex(u64::from(request)), true);
        }
        waits.check();
        assert_eq!(waits.recent.len(), RECENT_COUNT_MAX);
        assert!(!waits.recent.contains_key(&key(9)));
    }
}
