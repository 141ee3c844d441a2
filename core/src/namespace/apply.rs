//! The state machine: log entries in, outcomes out; and questions.
//!
//! One entry is one batch of the store, and the mark of what was applied is part of it. What each
//! operation does is said elsewhere; here is only what all have in common.

use super::ceilings::Ceilings;
use super::error::FsError;
use super::genesis::genesis;
use super::key::Key;
use super::op::{Answer, Command, Op, Outcome, Query, Reply, RequestId};
use super::record::{Applied, AppliedMark, LaneLast, LaneRecord, ShardIds};
use super::txn::{Fail, Moment, Res, Txn};
use super::{dispatch, quota};
use crate::id::{LogIndex, SessionId};
use crate::limits;
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::store::{StateStore, StoreError, WriteBatch};
use crate::time::{Stamp, WallTime};

/// The tree of one shard, kept in a store.
#[derive(Debug)]
pub struct Namespace<S> {
    store: S,
    applied: AppliedMark,
    ceilings: Ceilings,
    /// The mistake that it makes on purpose.
    #[cfg(feature = "planted-bugs")]
    pub(super) planted: super::planted::Planted,
}

impl<S: StateStore> Namespace<S> {
    /// Opens the tree in a store; an empty store gets the first state.
    ///
    /// # Errors
    /// [`StoreError`]; also `Corrupt` for a store that holds something but no mark of what was
    /// applied.
    pub fn open(store: S) -> Result<Self, StoreError> {
        let mut namespace = Self {
            store,
            applied: AppliedMark::default(),
            ceilings: Ceilings::default(),
            #[cfg(feature = "planted-bugs")]
            planted: super::planted::Planted::default(),
        };
        namespace.reload()?;
        Ok(namespace)
    }

    /// From now the room ends here. For tests: every replica has to have the same.
    #[must_use]
    pub fn with_ceilings(mut self, ceilings: Ceilings) -> Self {
        self.ceilings = ceilings;
        self
    }

    /// A store whose mark of what was applied cannot be read: nothing is to be asked of it or
    /// applied to it before another state was put into it, see [`Self::reload`].
    #[must_use]
    pub fn over_damage(store: S) -> Self {
        Self {
            store,
            applied: AppliedMark::default(),
            ceilings: Ceilings::default(),
            #[cfg(feature = "planted-bugs")]
            planted: super::planted::Planted::default(),
        }
    }

    /// Looks again what was applied last: after another state was put into the store.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reload(&mut self) -> Result<(), StoreError> {
        let txn = Txn::new(&self.store, before_all());
        if txn.next_key(&[])?.is_none() {
            let batch = genesis(&self.store)?;
            self.store.write(batch)?;
        }
        self.applied = self.stored_mark()?;
        Ok(())
    }

    fn stored_mark(&self) -> Result<AppliedMark, StoreError> {
        let txn = Txn::new(&self.store, before_all());
        let mark: Option<Applied> = txn.get(&Key::Applied)?;
        mark.map(|mark| mark.0).ok_or_else(|| StoreError::Corrupt {
            key: Key::Applied.bytes(),
            reason: "the state has no mark of what was applied".to_owned(),
        })
    }

    /// Carries out one command of the log, keeping the note of the last entry. See
    /// [`Self::apply_noted`].
    ///
    /// # Errors
    /// As [`Self::apply_noted`].
    ///
    /// # Panics
    /// As [`Self::apply_noted`].
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Result<Outcome, StoreError> {
        let note = self.applied.note.clone();
        let outcome = self.apply_noted(index, note, Some(command))?;
        Ok(outcome.expect("a command has an outcome"))
    }

    /// Applies one entry of the log, and keeps `note` in the same batch. `None` is an entry that
    /// changes nothing here; it has no outcome.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was applied.
    ///
    /// # Panics
    /// When the index was applied before: applying an entry twice would be a second effect.
    pub fn apply_noted(
        &mut self,
        index: LogIndex,
        note: Vec<u8>,
        command: Option<&Command>,
    ) -> Result<Option<Outcome>, StoreError> {
        let before = self.stored_mark()?;
        assert!(
            index > before.index,
            "entry {index} was applied before, the state is at {}",
            before.index
        );
        let (outcome, mut batch) = match command {
            None => (None, WriteBatch::default()),
            Some(command) => {
                let (outcome, batch) = self.outcome(index, before.version, command)?;
                (Some(outcome), batch)
            }
        };
        #[cfg(feature = "planted-bugs")]
        let outcome = self.plant_replay(outcome, &mut batch)?;
        let mark = AppliedMark {
            index,
            version: outcome.as_ref().map_or(before.version, |it| it.version),
            note,
        };
        let moment = Moment {
            index,
            ..before_all()
        };
        let mut txn = Txn::new(&self.store, moment);
        txn.join(&Key::Applied, &Applied(mark.clone()))?;
        batch.changes.extend(txn.into_batch().changes);
        self.store.write(batch)?;
        self.applied = mark;
        Ok(outcome)
    }

    /// What a command comes to, and the changes it makes, its lane's memory included.
    fn outcome(
        &self,
        index: LogIndex,
        version: u64,
        command: &Command,
    ) -> Result<(Outcome, WriteBatch), StoreError> {
        let moment = Moment {
            index,
            stamp: command.stamp,
            now: command.now,
        };
        let refused = |error| Outcome {
            result: Err(error),
            notices: Vec::new(),
            version,
            repeated: false,
        };
        let mut txn = Txn::new(&self.store, moment);
        txn.set_ceilings(self.ceilings);
        #[cfg(feature = "planted-bugs")]
        txn.set_bug(self.planted.bug);
        let request = command
            .request
            .filter(|request| request.session != SessionId(0));
        match request.map_or(Ok(Lane::New), |request| recall(&txn, request)) {
            Ok(Lane::New) => {}
            #[cfg(feature = "planted-bugs")]
            Ok(Lane::Repeated(_)) if txn.has_bug(Bug::RetryExecutesTwice) => {}
            #[cfg(feature = "planted-bugs")]
            Ok(Lane::Repeated(outcome)) if txn.has_bug(Bug::VersionOfOldChange) => {
                let repeated = true;
                return Ok((
                    Outcome {
                        repeated,
                        ..outcome
                    },
                    WriteBatch::default(),
                ));
            }
            Ok(Lane::Repeated(outcome)) => {
                let outcome = Outcome {
                    version,
                    repeated: true,
                    ..outcome
                };
                return Ok((outcome, WriteBatch::default()));
            }
            Err(Fail::Fs(error)) => {
                let outcome = if closed_already(&txn, command)? {
                    Outcome {
                        result: Ok(Reply::Done),
                        repeated: true,
                        ..refused(error)
                    }
                } else {
                    refused(error)
                };
                return Ok((outcome, WriteBatch::default()));
            }
            Err(Fail::Store(error)) => return Err(error),
        }
        let result = dispatch::run(&mut txn, &command.op).and_then(|reply| {
            quota::settle(&mut txn)?;
            Ok(reply)
        });
        let (mut outcome, changes) = match result {
            Ok(reply) => {
                let finished = txn.finish();
                let outcome = Outcome {
                    result: finished.kept.map_or(Ok(reply), Err),
                    notices: finished.notices,
                    version: version + u64::from(finished.kept.is_none()),
                    repeated: false,
                };
                (outcome, finished.batch)
            }
            Err(Fail::Fs(error)) => (refused(error), WriteBatch::default()),
            Err(Fail::Store(error)) => return Err(error),
        };
        let mut batch = changes;
        if let Some(request) = request {
            self.remember(moment, request, &outcome, &mut batch)?;
        }
        outcome.notices.shrink_to_fit();
        Ok((outcome, batch))
    }

    /// Keeps an outcome for the case that its request comes again, unless the session ended.
    fn remember(
        &self,
        moment: Moment,
        request: RequestId,
        outcome: &Outcome,
        batch: &mut WriteBatch,
    ) -> Result<(), StoreError> {
        let session = Key::Session(request.session).bytes();
        if batch.changes.get(&session) == Some(&None) {
            return Ok(());
        }
        let last = LaneLast {
            seq: request.seq,
            print: request.print,
            at: moment.now,
            outcome: Outcome {
                notices: Vec::new(),
                ..outcome.clone()
            },
            gone: false,
        };
        let mut txn = Txn::new(&self.store, moment);
        let key = Key::Lane(request.session, request.lane);
        txn.join(&key, &LaneRecord(Some(last)))?;
        batch.changes.extend(txn.into_batch().changes);
        Ok(())
    }

    /// Answers a question; `now` is the asked node's wall clock.
    ///
    /// # Errors
    /// [`StoreError`] outside; the refusal inside.
    pub fn query(
        &self,
        now: WallTime,
        query: &Query,
    ) -> Result<Result<Answer, FsError>, StoreError> {
        self.look(now, |txn| dispatch::ask(txn, query))
    }

    /// Reads; what is said of errors is as in [`Self::query`].
    pub(super) fn look<T>(
        &self,
        now: WallTime,
        ask: impl FnOnce(&Txn<'_>) -> Res<T>,
    ) -> Result<Result<T, FsError>, StoreError> {
        let moment = Moment {
            index: self.applied.index,
            stamp: Stamp::MIN,
            now,
        };
        match ask(&Txn::new(&self.store, moment)) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Fail::Fs(error)) => Ok(Err(error)),
            Err(Fail::Store(error)) => Err(error),
        }
    }

    /// What was applied last.
    #[must_use]
    pub fn applied(&self) -> AppliedMark {
        self.applied.clone()
    }

    /// The metadata version: how many commands were carried out.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.applied.version
    }

    /// The number by which clients and chunkservers know the cluster, when it was imported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn metaid(&self) -> Result<Option<u64>, StoreError> {
        Txn::new(&self.store, before_all()).value(&Key::MetaId)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for checkpoints and restores; call [`Self::reload`] after a restore.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Gives the store back.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}

/// Whether the command closes the session in whose name it comes, and that session has ended: its
/// lanes went with it, but that it was closed is known for ever, for ids are never used again.
fn closed_already(txn: &Txn<'_>, command: &Command) -> Result<bool, StoreError> {
    let (Op::CloseSession { session }, Some(request)) = (&command.op, command.request) else {
        return Ok(false);
    };
    let ids: ShardIds = txn.get(&Key::ShardIds)?.unwrap_or_default();
    Ok(request.session == *session
        && u64::from(session.0) <= ids.sessions.value()
        && !txn.has(&Key::Session(*session))?)
}

/// What a lane remembers of a request.
enum Lane {
    /// Nothing: it is new.
    New,
    /// Its outcome.
    Repeated(Outcome),
}

/// Whether a request came before.
fn recall(txn: &Txn<'_>, request: RequestId) -> Res<Lane> {
    if !txn.has(&Key::Session(request.session))? {
        return Err(FsError::BadSession.into());
    }
    if request.lane.0 >= limits::LANE_COUNT_MAX {
        return Err(FsError::Invalid.into());
    }
    let record: Option<LaneRecord> = txn.get(&Key::Lane(request.session, request.lane))?;
    match record.and_then(|record| record.0) {
        Some(last) if last.seq == request.seq && last.print == request.print => {
            Ok(Lane::Repeated(last.outcome))
        }
        Some(last) if last.seq >= request.seq => Err(FsError::Stale.into()),
        _ => Ok(Lane::New),
    }
}

/// The moment for reading, and for what no clock stamps.
fn before_all() -> Moment {
    Moment {
        index: LogIndex(0),
        stamp: Stamp::MIN,
        now: WallTime(0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{
        Answer, LastRequest, NodeKind, Op, Query, Reply, SessionParams, SetAttr,
    };
    use super::super::testing::{Bed, ROOT, create, mkdir, root, set_attr, user};
    use super::*;
    use crate::id::{self, RequestSeq};
    use crate::store::MemStore;

    fn request(session: SessionId, lane: u32, seq: u64) -> Option<RequestId> {
        Some(RequestId::new(session, id::Lane(lane), RequestSeq(seq)))
    }

    #[test]
    fn the_first_state_is_lawful_and_the_same_everywhere() {
        let (one, two) = (Bed::new(), Bed::new());
        assert_eq!(one.tree.check().unwrap(), Ok(()));
        assert_eq!(one.contents(), two.contents());
        let attr = one.attr(ROOT);
        assert_eq!(
            (attr.mode, attr.uid, attr.gid, attr.nlink),
            (0o777, 0, 0, 2)
        );
        assert_eq!(one.tree.applied(), AppliedMark::default());
    }

    #[test]
    fn replicas_that_apply_the_same_commands_hold_the_same_bytes() {
        let (mut one, mut two) = (Bed::new(), Bed::new());
        for bed in [&mut one, &mut two] {
            let dir = bed.dir(&root(), ROOT, "dir");
            bed.file(&root(), dir, "file");
            let _ = bed.run(create(&root(), dir, "file", NodeKind::File));
            bed.ok(set_attr(&root(), dir, SetAttr::default()));
        }
        assert_eq!(one.contents(), two.contents());
        assert_eq!(one.tree.applied(), two.tree.applied());
    }

    #[test]
    fn a_request_that_comes_again_takes_effect_once() {
        let mut bed = Bed::new();
        let session = bed.session(SessionParams::unrestricted());
        let first = bed.command(request(session, 3, 7), mkdir(&root(), ROOT, "dir"));
        let done = bed.apply(&first);
        assert!(done.result.is_ok() && !done.repeated);
        bed.dir(&root(), ROOT, "other");
        let before = bed.contents();
        let again = bed.apply(&first);
        assert_eq!(again.result, done.result);
        assert_eq!(again.version, bed.tree.version());
        assert!(again.repeated);
        assert_eq!(bed.contents(), before);
    }

    #[test]
    fn a_refusal_is_remembered_too() {
        let mut bed = Bed::new();
        let session = bed.session(SessionParams::unrestricted());
        bed.dir(&root(), ROOT, "dir");
        let taken = bed.command(request(session, 0, 1), mkdir(&root(), ROOT, "dir"));
        assert_eq!(bed.apply(&taken).result, Err(FsError::Exist));
        bed.ok(super::super::testing::rmdir(&root(), ROOT, "dir"));
        let again = bed.apply(&taken);
        assert_eq!(again.result, Err(FsError::Exist));
        assert!(again.repeated);
    }

    #[test]
    fn lanes_refuse_what_is_old_unknown_or_too_far() {
        let mut bed = Bed::new();
        let session = bed.session(SessionParams::unrestricted());
        let newest = bed.command(request(session, 0, 5), mkdir(&root(), ROOT, "a"));
        assert!(bed.apply(&newest).result.is_ok());
        let examples = [
            (FsError::Stale, request(session, 0, 4)),
            (FsError::BadSession, request(SessionId(99), 0, 1)),
            (
                FsError::Invalid,
                request(session, limits::LANE_COUNT_MAX, 1),
            ),
        ];
        for (error, request) in examples {
            let before = bed.contents();
            let command = bed.command(request, mkdir(&root(), ROOT, "b"));
            assert_eq!(bed.apply(&command).result, Err(error));
            assert_eq!(bed.contents(), before);
        }
        let other_lane = bed.command(request(session, 1, 1), mkdir(&root(), ROOT, "b"));
        assert!(!bed.apply(&other_lane).repeated);
    }

    #[test]
    fn the_cluster_itself_has_no_lanes() {
        let mut bed = Bed::new();
        let params = SessionParams::unrestricted();
        let open = bed.command(request(SessionId(0), 0, 1), Op::OpenSession { params });
        assert_eq!(bed.apply(&open).result, Ok(Reply::Session(SessionId(1))));
        assert_eq!(bed.apply(&open).result, Ok(Reply::Session(SessionId(2))));
    }

    #[test]
    fn a_session_that_closes_itself_leaves_no_lane_behind() {
        let mut bed = Bed::new();
        let session = bed.session(SessionParams::unrestricted());
        let made = bed.command(request(session, 0, 1), mkdir(&root(), ROOT, "dir"));
        bed.apply(&made);
        let close = bed.command(request(session, 1, 1), Op::CloseSession { session });
        assert_eq!(bed.apply(&close).result, Ok(Reply::Done));
        assert_eq!(bed.apply(&made).result, Err(FsError::BadSession));
        // Asked again, it is still closed; a session that never was is not.
        let again = bed.apply(&close);
        assert_eq!((again.result, again.repeated), (Ok(Reply::Done), true));
        let never = SessionId(99);
        let close = bed.command(request(never, 1, 1), Op::CloseSession { session: never });
        assert_eq!(bed.apply(&close).result, Err(FsError::BadSession));
    }

    #[test]
    #[should_panic(expected = "was applied before")]
    fn an_entry_is_never_applied_twice() {
        let mut bed = Bed::new();
        bed.dir(&root(), ROOT, "dir");
        let command = bed.command(None, mkdir(&root(), ROOT, "other"));
        let _ = bed.tree.apply(LogIndex(1), &command);
    }

    #[test]
    fn an_entry_without_a_command_moves_only_the_mark() {
        let mut bed = Bed::new();
        bed.dir(&root(), ROOT, "dir");
        let (before, version) = (bed.contents(), bed.tree.version());
        let outcome = bed
            .tree
            .apply_noted(LogIndex(9), b"members".to_vec(), None)
            .unwrap();
        assert_eq!(outcome, None);
        assert_eq!(bed.contents(), before);
        let mark = AppliedMark {
            index: LogIndex(9),
            version,
            note: b"members".to_vec(),
        };
        assert_eq!(bed.tree.applied(), mark);
        // A command without a note keeps the one that is there, and a restart finds both.
        let command = bed.command(None, mkdir(&root(), ROOT, "other"));
        bed.tree.apply(LogIndex(10), &command).unwrap();
        let reopened = Namespace::open(bed.tree.into_store()).unwrap();
        assert_eq!(reopened.applied().note, b"members");
        assert_eq!(reopened.applied().index, LogIndex(10));
        assert_eq!(reopened.version(), version + 1);
    }

    #[test]
    fn a_store_without_a_mark_is_not_taken_for_an_empty_one() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        batch.put(Key::ShardIds.bytes(), Vec::new());
        store.write(batch).unwrap();
        assert!(matches!(
            Namespace::open(store),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn damage_stops_a_command_and_a_question() {
        let mut bed = Bed::new();
        let mut batch = WriteBatch::default();
        batch.put(Key::Stats(ROOT).bytes(), vec![1, 2, 3, 4, 5]);
        bed.tree.store_mut().write(batch).unwrap();
        let before = bed.tree.applied();
        let command = bed.command(None, mkdir(&user(SessionId(0), 5), ROOT, "dir"));
        let result = bed.tree.apply(LogIndex(1), &command);
        assert!(matches!(result, Err(StoreError::Corrupt { .. })));
        assert_eq!(bed.tree.applied(), before);
        let query = Query::DirStats {
            caller: root(),
            inode: ROOT,
        };
        let result = bed.tree.query(WallTime(1), &query);
        assert!(matches!(result, Err(StoreError::Corrupt { .. })));
    }

    /// Where a node numbers requests for a client, a number alone does not name one.
    #[test]
    fn another_request_under_the_number_of_the_last_is_not_its_repeat() {
        let mut bed = Bed::new();
        let session = bed.session_with(|_| {});
        let ask = |bed: &mut Bed, seq, print, name: &str| {
            bed.now += 1;
            let id = RequestId {
                print,
                ..RequestId::new(session, id::Lane(3), RequestSeq(seq))
            };
            let command = bed.command(Some(id), mkdir(&root(), ROOT, name));
            bed.apply(&command)
        };
        let first = ask(&mut bed, 7, 70, "one");
        let at = WallTime(bed.now);
        assert!(first.result.is_ok());
        let again = ask(&mut bed, 7, 70, "one");
        assert!(again.repeated, "same number, same print");
        assert_eq!(again.result, first.result);
        let other = ask(&mut bed, 7, 71, "two");
        assert_eq!(other.result, Err(FsError::Stale));
        let last = LastRequest {
            lane: id::Lane(3),
            seq: RequestSeq(7),
            print: 70,
            at,
        };
        let asked = bed.ask(Query::LastRequests { session });
        assert_eq!(asked, Ok(Answer::LastRequests(vec![last])));
        let nobody = Query::LastRequests {
            session: SessionId(99),
        };
        assert_eq!(bed.ask(nobody), Err(FsError::BadSession));
    }
}
