//! The state machine: log entries in, outcomes out; and questions.
//!
//! One entry is one batch of the store, and the mark of what was applied is part of it. What each
//! operation does is said elsewhere; here is only what all have in common.

use super::error::FsError;
use super::genesis::genesis;
use super::key::Key;
use super::node::New;
use super::op::{Answer, Command, NodeKind, Op, Outcome, Query, Reply, RequestId};
use super::record::{Applied, AppliedMark, LaneLast, LaneRecord};
use super::txn::{Fail, Moment, Res, Txn};
use super::{create, lookup, open, path, quota, remove, rename, session, setattr, trash};
use crate::id::{LogIndex, SessionId};
use crate::limits;
use crate::store::{StateStore, StoreError, WriteBatch};
use crate::time::{Stamp, WallTime};

/// The tree of one shard, kept in a store.
#[derive(Debug)]
pub struct Namespace<S> {
    store: S,
    applied: AppliedMark,
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
        };
        namespace.reload()?;
        Ok(namespace)
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
        let request = command
            .request
            .filter(|request| request.session != SessionId(0));
        match request.map_or(Ok(Lane::New), |request| recall(&txn, request)) {
            Ok(Lane::New) => {}
            Ok(Lane::Repeated(outcome)) => {
                let outcome = Outcome {
                    version,
                    repeated: true,
                    ..outcome
                };
                return Ok((outcome, WriteBatch::default()));
            }
            Err(Fail::Fs(error)) => return Ok((refused(error), WriteBatch::default())),
            Err(Fail::Store(error)) => return Err(error),
        }
        let result = run(&mut txn, &command.op).and_then(|reply| {
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
        let moment = Moment {
            index: self.applied.index,
            stamp: Stamp::MIN,
            now,
        };
        let txn = Txn::new(&self.store, moment);
        match ask(&txn, query) {
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
        Some(last) if last.seq == request.seq => Ok(Lane::Repeated(last.outcome)),
        Some(last) if last.seq > request.seq => Err(FsError::Stale.into()),
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

/// Hands an operation to the module that knows it.
fn run(txn: &mut Txn<'_>, op: &Op) -> Res<Reply> {
    match op {
        Op::OpenSession { params } => session::open(txn, params),
        Op::UpdateSession { session, params } => session::update(txn, *session, params),
        Op::SetSessionConnected { session, connected } => {
            session::set_connected(txn, *session, *connected)
        }
        Op::CloseSession { session } => session::close(txn, *session),
        Op::SetOpenFiles { session, inodes } => session::set_open_files(txn, *session, inodes),
        Op::Create {
            caller,
            parent,
            name,
            kind,
            mode,
            umask,
            rdev,
            open,
        } => {
            let new = New {
                kind: *kind,
                mode: *mode,
                umask: *umask,
                rdev: *rdev,
                target: Vec::new(),
                copy_setgid: false,
            };
            create::create(txn, caller, *parent, name, &new, *open)
        }
        Op::Mkdir {
            caller,
            parent,
            name,
            mode,
            umask,
            copy_setgid,
        } => {
            let new = New {
                kind: NodeKind::Directory,
                mode: *mode,
                umask: *umask,
                rdev: 0,
                target: Vec::new(),
                copy_setgid: *copy_setgid,
            };
            create::mkdir(txn, caller, *parent, name, &new)
        }
        Op::Symlink {
            caller,
            parent,
            name,
            target,
        } => create::symlink(txn, caller, *parent, name, target),
        Op::Link {
            caller,
            inode,
            parent,
            name,
        } => create::link(txn, caller, *inode, *parent, name),
        Op::Unlink {
            caller,
            parent,
            name,
        } => remove::unlink(txn, caller, *parent, name),
        Op::Rmdir {
            caller,
            parent,
            name,
        } => remove::rmdir(txn, caller, *parent, name),
        Op::Rename {
            caller,
            src_parent,
            src_name,
            dst_parent,
            dst_name,
        } => rename::rename(txn, caller, *src_parent, src_name, *dst_parent, dst_name),
        Op::SetAttr {
            caller,
            inode,
            opened,
            set,
        } => setattr::set_attr(txn, caller, *inode, *opened, set),
        Op::TouchAtime { inode } => setattr::touch_atime(txn, *inode),
        Op::SetTimes { session, times } => setattr::set_times(txn, *session, times),
        Op::Open {
            caller,
            inode,
            flags,
        } => open::open(txn, caller, *inode, *flags),
        Op::SetQuota {
            caller,
            inode,
            limits,
        } => quota::set_quota(txn, caller, *inode, limits.as_ref()),
        Op::SetTrashPath {
            caller,
            inode,
            path,
        } => trash::set_path(txn, caller, *inode, path),
        Op::Undelete { caller, inode } => trash::undelete(txn, caller, *inode),
        Op::PurgeTrash { caller, inode } => trash::purge(txn, caller, *inode),
        Op::Sweep { after, limit } => trash::sweep(txn, *after, *limit),
        _ => Err(FsError::NotSupported.into()),
    }
}

/// Hands a question to the module that knows it.
fn ask(txn: &Txn<'_>, query: &Query) -> Res<Answer> {
    match query {
        Query::Lookup {
            caller,
            parent,
            name,
        } => lookup::lookup(txn, caller, *parent, name),
        Query::GetAttr {
            caller,
            inode,
            opened,
        } => lookup::get_attr(txn, caller, *inode, *opened),
        Query::Access {
            caller,
            inode,
            mask,
        } => lookup::access(txn, caller, *inode, *mask),
        Query::ReadLink { caller, inode } => lookup::read_link(txn, caller, *inode),
        Query::ReadDir {
            caller,
            inode,
            attrs,
            after,
            max,
        } => lookup::read_dir(txn, caller, *inode, *attrs, after, *max),
        Query::StatFs {
            caller,
            total,
            free,
        } => lookup::stat_fs(txn, caller, *total, *free),
        Query::DirStats { caller, inode } => lookup::dir_stats(txn, caller, *inode),
        Query::GetQuota { caller, inode } => quota::get_quota(txn, caller, *inode),
        Query::ListQuotas { session } => quota::list_quotas(txn, *session),
        Query::Parents { caller, inode } => path::parents(txn, caller, *inode),
        Query::Paths { caller, inode } => path::paths(txn, caller, *inode),
        Query::ListTrash { session, bucket } => trash::list_trash(txn, *session, *bucket),
        Query::ListSustained { session } => trash::list_sustained(txn, *session),
        Query::TrashPath { session, inode } => trash::path(txn, *session, *inode),
        Query::DetachedAttr { session, inode } => trash::detached_attr(txn, *session, *inode),
        Query::GetSession { session } => session::get(txn, *session),
        Query::ListOpenFiles { session } => session::list_open_files(txn, *session),
        _ => Err(FsError::NotSupported.into()),
    }
}
