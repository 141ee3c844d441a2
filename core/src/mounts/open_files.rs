//! Which files a mount has open, and how the state comes to know.
//!
//! A mount says now and then which files it has open; what it names no more is closed. Its list
//! knows nothing of files whose opening is still on its way, so opens and lists take turns: a list
//! waits for opens that are under way, later opens wait for the list. What was opened since the
//! mount made its list is added to it. `docs/protocols/mounts.md`, "Open files", has the rules.

use std::collections::{BTreeSet, VecDeque};

use crate::gateway::session::OPEN_FILES_MAX;
use crate::id::InodeId;
use crate::namespace::op::Op;

/// Whether a command opens a file.
pub(super) fn opens(op: &Op) -> bool {
    matches!(op, Op::Open { .. } | Op::Create { open: true, .. })
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn<T> {
    /// Something is under way.
    Wait,
    /// These requests may go on, in this order.
    GoOn(VecDeque<T>),
    /// This is to be said on the lane of open files; [`OpenFiles::on_said`] ends it.
    Say(Op),
    /// The list names so many files that it is not taken: those that it closes stay open.
    TooMany(usize),
}

/// Open files of one connection; `T` is a request that may have to wait.
#[derive(Debug)]
pub(super) struct OpenFiles<T> {
    /// Files that it has open, and perhaps some that it has closed since it said so last.
    open: BTreeSet<InodeId>,
    /// Files that it may have open without knowing it when it made its next list: the answer may
    /// have been on its way. No list closes them but the one after that.
    fresh: BTreeSet<InodeId>,
    /// Requests that open files, on their way.
    opening: usize,
    /// Nothing is done yet: earlier connections of the session are being kept out.
    entering: bool,
    /// A list is on its way, or what keeps out those of earlier connections.
    saying: bool,
    /// The list that is to follow.
    to_say: Option<Op>,
    /// Fingerprints of what was last said, and of what is on its way.
    prints: [u64; 2],
    /// Requests that wait: all while it enters, then those that open files for the list, which knows
    /// nothing of them and must not come behind them.
    held: VecDeque<T>,
}

impl<T> OpenFiles<T> {
    /// Of a connection that begins; the state has these files open for its session.
    pub fn new(open: Vec<InodeId>) -> Self {
        Self {
            open: open.iter().copied().collect(),
            fresh: open.into_iter().collect(),
            opening: 0,
            entering: false,
            saying: false,
            to_say: None,
            prints: [0; 2],
            held: VecDeque::new(),
        }
    }

    /// Whether the mount may have the file open.
    pub fn has(&self, inode: InodeId) -> bool {
        self.open.contains(&inode)
    }

    /// The mount has the file open from now on, or will.
    pub fn note(&mut self, inode: InodeId) {
        self.open.insert(inode);
    }

    /// What keeps out earlier connections of the session is said: every request waits until
    /// [`Self::on_said`].
    pub fn enter(&mut self) {
        self.entering = true;
        self.saying = true;
    }

    /// A request wants to go on with its command, which may be one that opens a file. It comes
    /// back unless it has to wait.
    pub fn begin(&mut self, opens: bool, request: T) -> Option<T> {
        if self.entering || opens && (self.saying || self.to_say.is_some()) {
            self.held.push_back(request);
            return None;
        }
        self.opening += usize::from(opens);
        Some(request)
    }

    /// A command that opens a file has ended; `opened` is open now, though the mount may not know
    /// it yet.
    pub fn on_ended(&mut self, opened: Option<InodeId>) {
        self.opening = self.opening.saturating_sub(1);
        self.fresh.extend(opened);
    }

    /// The mount said which files it has open. A list that waits still is replaced.
    pub fn on_list(&mut self, mut op: Op) {
        if let Op::SetOpenFiles { inodes, .. } = &mut op {
            self.open = inodes.iter().copied().collect();
            inodes.extend(std::mem::take(&mut self.fresh));
        }
        self.to_say = Some(op);
    }

    /// What may be done now. One list at a time is on its way: a late one must not undo a newer
    /// one, nor close what is opened meanwhile.
    pub fn turn(&mut self) -> Turn<T> {
        if self.saying {
            return Turn::Wait;
        }
        if self.to_say.is_some() && self.opening > 0 {
            return Turn::Wait;
        }
        let Some(mut op) = self.to_say.take() else {
            return Turn::GoOn(std::mem::take(&mut self.held));
        };
        if let Op::SetOpenFiles { inodes, .. } = &mut op {
            inodes.extend(&self.fresh);
            inodes.sort_unstable();
            inodes.dedup();
            if inodes.len() > OPEN_FILES_MAX {
                return Turn::TooMany(inodes.len());
            }
        }
        self.saying = true;
        Turn::Say(op)
    }

    /// What is being said has this fingerprint.
    pub fn note_print(&mut self, print: u64) {
        self.prints = [self.prints[1], print];
    }

    /// Whether this is the fingerprint of something that this connection said last.
    pub fn is_ours(&self, print: u64) -> bool {
        self.prints.contains(&print)
    }

    /// What was said is in the state.
    pub fn on_said(&mut self) {
        self.saying = false;
        self.entering = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    fn list(inodes: &[u32]) -> Op {
        Op::SetOpenFiles {
            session: SessionId(1),
            inodes: inodes.iter().map(|inode| InodeId(*inode)).collect(),
        }
    }

    fn said(turn: Turn<u32>) -> Vec<u32> {
        match turn {
            Turn::Say(Op::SetOpenFiles { inodes, .. }) => inodes.iter().map(|it| it.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_waits_while_a_connection_enters() {
        let mut files = OpenFiles::new(Vec::new());
        files.enter();
        assert_eq!(files.begin(false, 1), None);
        assert_eq!(files.begin(true, 2), None);
        assert_eq!(files.turn(), Turn::Wait);
        files.on_said();
        assert_eq!(files.turn(), Turn::GoOn([1, 2].into()));
    }

    #[test]
    fn a_list_waits_for_opens_and_later_opens_for_the_list() {
        let mut files = OpenFiles::new(Vec::new());
        assert_eq!(files.begin(true, 1), Some(1));
        files.on_list(list(&[2]));
        assert_eq!(files.turn(), Turn::Wait);
        assert_eq!(files.begin(true, 2), None);
        files.on_ended(Some(InodeId(3)));
        // What was opened since the list was made is in it.
        assert_eq!(said(files.turn()), [2, 3]);
        assert_eq!(files.turn(), Turn::Wait);
        files.on_said();
        assert_eq!(files.turn(), Turn::GoOn([2].into()));
        assert_eq!(files.begin(true, 2), Some(2));
        files.on_ended(Some(InodeId(4)));
        // 3 was in a list that the mount may have made without knowing of it, and is in one more.
        files.on_list(list(&[]));
        assert_eq!(said(files.turn()), [3, 4]);
        files.on_said();
        files.on_list(list(&[]));
        assert_eq!(said(files.turn()), [0_u32; 0]);
    }

    #[test]
    fn a_list_that_waits_is_replaced_by_the_next() {
        let mut files = OpenFiles::<u32>::new(vec![InodeId(9)]);
        files.on_list(list(&[1]));
        assert_eq!(said(files.turn()), [1, 9]);
        files.on_list(list(&[2]));
        files.on_list(list(&[3]));
        assert_eq!(files.turn(), Turn::Wait);
        files.on_said();
        assert_eq!(said(files.turn()), [3]);
        assert!(files.has(InodeId(3)) && !files.has(InodeId(2)));
    }

    #[test]
    fn a_list_that_is_too_long_is_dropped() {
        let mut files = OpenFiles::<u32>::new(vec![InodeId(1)]);
        let inodes: Vec<u32> = (2..2 + OPEN_FILES_MAX as u32).collect();
        files.on_list(list(&inodes));
        assert_eq!(files.turn(), Turn::TooMany(OPEN_FILES_MAX + 1));
        assert_eq!(files.turn(), Turn::GoOn(VecDeque::new()));
    }

    #[test]
    fn only_the_last_two_fingerprints_are_known() {
        let mut files = OpenFiles::<u32>::new(Vec::new());
        for print in [5, 6, 7] {
            files.note_print(print);
        }
        assert!(!files.is_ours(5) && files.is_ours(6) && files.is_ours(7));
    }
}
