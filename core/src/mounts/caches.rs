//! What clients may keep in their caches of file data: what each connection was told of a file, and
//! whether it has dropped what it had since, with nobody else changing the file after that.
//!
//! A client that is told "keep" shows what it has to an application without asking. So a doubt is
//! a no: it costs that the data is read again. Nothing of this is replicated. It holds because a
//! node hears of every change through its own state, and says "keep" only from a state that is as
//! new as the question.

use std::collections::BTreeMap;

use crate::id::{InodeId, SessionId};
use crate::native::request::ClientId;
use crate::time::{Duration, Instant};

/// Files of all connections together, as MooseFS has them.
const FILES_MAX: usize = 500_000;

/// A file, as a connection knows it.
#[derive(Debug)]
struct Entry {
    session: SessionId,
    /// What the client has is current.
    kept: bool,
    /// Before this it cannot become so: the client may say that it has dropped what it had when it
    /// did so before the last change.
    not_before: Instant,
    /// Its place in the order of use, and when that was.
    used: (u64, Instant),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Caches {
    entries: BTreeMap<(InodeId, ClientId), Entry>,
    /// One for each entry.
    order: BTreeMap<u64, (InodeId, ClientId)>,
    next: u64,
    files_max: usize,
    /// How long what a client says may be on its way.
    delay: Duration,
    /// Before this nothing becomes current: what was known of changes has been forgotten.
    not_before: Instant,
}

impl Caches {
    /// Nothing is current.
    pub fn new(delay: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            files_max: FILES_MAX,
            delay,
            not_before: Instant::ZERO,
        }
    }

    /// Whether a client may keep what it has of a file. From here on changes are noted for it.
    pub fn may_keep(
        &mut self,
        inode: InodeId,
        (client, session): (ClientId, SessionId),
        now: Instant,
    ) -> bool {
        self.next += 1;
        let (key, used) = ((inode, client), (self.next, now));
        let not_before = self.not_before;
        let entry = self.entries.entry(key).or_insert(Entry {
            session,
            kept: false,
            not_before,
            used,
        });
        self.order.remove(&entry.used.0);
        entry.used = used;
        let kept = entry.kept;
        self.order.insert(used.0, key);
        self.make_room(now);
        kept
    }

    fn make_room(&mut self, now: Instant) {
        while self.entries.len() > self.files_max {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            let entry = self.entries.remove(&oldest);
            if entry.is_some_and(|it| it.used.1 + self.delay > now) {
                // Its last change may be as young, and will not be known any more.
                self.not_before = now + self.delay;
            }
        }
    }

    /// A client has dropped what it had of a file, after it was last told that it may not keep it.
    pub fn note_dropped(&mut self, inode: InodeId, client: ClientId, now: Instant) {
        let not_before = self.not_before;
        if let Some(entry) = self.entries.get_mut(&(inode, client))
            && now >= entry.not_before.max(not_before)
        {
            entry.kept = true;
        }
    }

    /// A file's data changed, by a client of this session or by nobody: all others have something
    /// older. A client's own change is in its own cache; it makes nothing current that was not.
    pub fn note_changed(&mut self, inode: InodeId, by: Option<SessionId>, now: Instant) {
        let all = (inode, ClientId(0))..=(inode, ClientId(u64::MAX));
        for (key, entry) in self.entries.range_mut(all) {
            if Some(entry.session) == by {
                continue;
            }
            self.next += 1;
            self.order.remove(&entry.used.0);
            entry.used = (self.next, now);
            self.order.insert(self.next, *key);
            entry.kept = false;
            entry.not_before = now + self.delay;
        }
    }

    /// Changes may have been missed: nothing is current.
    pub fn forget(&mut self, now: Instant) {
        self.entries.clear();
        self.order.clear();
        self.not_before = now + self.delay;
    }

    /// Panics when the lists do not fit each other.
    pub fn check(&self) {
        assert_eq!(self.entries.len(), self.order.len(), "each is used once");
        assert!(self.entries.len() <= self.files_max, "there is a bound");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeId = InodeId(5);
    const A: (ClientId, SessionId) = (ClientId(1), SessionId(1));
    const B: (ClientId, SessionId) = (ClientId(2), SessionId(2));

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn caches() -> Caches {
        Caches::new(Duration::from_secs(10))
    }

    /// Looks the file up, opens it, and drops what was there.
    fn drop_it(caches: &mut Caches, who: (ClientId, SessionId), now: Instant) -> bool {
        let kept = caches.may_keep(FILE, who, now);
        caches.note_dropped(FILE, who.0, now);
        caches.check();
        kept
    }

    #[test]
    fn what_was_dropped_since_the_last_change_is_kept() {
        let mut caches = caches();
        caches.note_dropped(FILE, A.0, at(0));
        assert!(!drop_it(&mut caches, A, at(0)), "nothing was known of it");
        assert!(drop_it(&mut caches, A, at(1)));
        assert!(!drop_it(&mut caches, B, at(1)), "each for itself");
        caches.note_changed(FILE, Some(B.1), at(2));
        assert!(!caches.may_keep(FILE, A, at(2)));
        assert!(caches.may_keep(FILE, B, at(2)), "it has its own change");
        caches.note_changed(InodeId(6), None, at(2));
        assert!(caches.may_keep(FILE, B, at(2)), "another file");
        caches.note_changed(FILE, None, at(2));
        assert!(!caches.may_keep(FILE, B, at(2)));
    }

    #[test]
    fn who_says_late_that_it_dropped_may_have_done_so_before_the_change() {
        let mut caches = caches();
        drop_it(&mut caches, A, at(0));
        // A has opened the file, and reads; B changes it; another thread of A looks it up.
        caches.note_changed(FILE, Some(B.1), at(1));
        assert!(!caches.may_keep(FILE, A, at(1)));
        caches.note_dropped(FILE, A.0, at(10));
        assert!(!caches.may_keep(FILE, A, at(10)));
        caches.note_dropped(FILE, A.0, at(11));
        assert!(caches.may_keep(FILE, A, at(11)));
    }

    #[test]
    fn ones_own_change_makes_nothing_current_that_was_not() {
        let mut caches = caches();
        assert!(!caches.may_keep(FILE, A, at(0)));
        caches.note_changed(FILE, Some(A.1), at(0));
        assert!(!caches.may_keep(FILE, A, at(0)));
    }

    #[test]
    fn nothing_is_current_when_changes_may_have_been_missed() {
        let mut caches = caches();
        drop_it(&mut caches, A, at(0));
        caches.forget(at(1));
        assert!(!drop_it(&mut caches, A, at(1)));
        assert!(!drop_it(&mut caches, A, at(10)));
        assert!(!drop_it(&mut caches, A, at(11)));
        assert!(drop_it(&mut caches, A, at(11)));
    }

    #[test]
    fn what_was_used_last_stays_and_what_is_forgotten_is_doubted() {
        let mut caches = caches();
        caches.files_max = 3;
        for number in 1..=3 {
            caches.may_keep(InodeId(number), A, at(0));
            caches.note_dropped(InodeId(number), A.0, at(0));
        }
        caches.may_keep(InodeId(1), A, at(20));
        // The second is forgotten, unused for long enough that nothing about it can be on its way.
        caches.may_keep(InodeId(4), A, at(20));
        caches.note_dropped(InodeId(4), A.0, at(20));
        caches.check();
        assert!(caches.may_keep(InodeId(4), A, at(20)));
        assert!(caches.may_keep(InodeId(1), A, at(20)));
        assert!(!caches.entries.contains_key(&(InodeId(2), A.0)));
        // A change of the fourth is forgotten with it, and so nobody is believed for a while.
        caches.note_changed(InodeId(4), Some(B.1), at(21));
        for number in 5..=7 {
            caches.may_keep(InodeId(number), A, at(21));
        }
        assert!(!caches.entries.contains_key(&(InodeId(4), A.0)));
        assert!(!caches.may_keep(InodeId(4), A, at(22)));
        caches.note_dropped(InodeId(4), A.0, at(22));
        assert!(!caches.may_keep(InodeId(4), A, at(22)));
        // That took the place of another young one.
        caches.note_dropped(InodeId(4), A.0, at(31));
        assert!(!caches.may_keep(InodeId(4), A, at(31)));
        caches.note_dropped(InodeId(4), A.0, at(32));
        assert!(caches.may_keep(InodeId(4), A, at(32)));
    }
}
