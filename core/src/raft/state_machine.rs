//! The state machine, as openraft sees it: a door through which entries and snapshots are ordered.
//!
//! The state itself is the owner's. An entry counts as applied here as soon as the owner was told
//! to apply it, and is not far behind: the order of effects is the order of application, and
//! whoever reads waits for [`super::Input::Applied`] at the owner's side. Snapshots are names; their bytes never pass.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{EntryResponder, RaftStateMachine};

use super::shell::Shell;
use super::types::{
    OLogId, OPayload, OSnapshot, OSnapshotMeta, OStoredMembership, Types, our_membership,
    our_stored_membership, ours, their_stored_membership, theirs,
};
use super::{AppliedState, Committed, Effect, Payload, SnapshotId, SnapshotMeta};
use crate::id::LogIndex;

/// Entries that the owner may be behind what it was told to apply. It is behind only while its
/// store has no room.
const BEHIND_MAX: u64 = 1_024;
/// Entries that are handed over at a time.
const APPLY_ENTRIES_MAX: usize = 256;

/// A snapshot without its bytes. No name: the state is durable but was not kept to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotHandle(pub(super) Option<SnapshotId>);

/// openraft's door to the state machine.
pub(super) struct StateMachine {
    shell: Arc<Shell>,
    last: Option<OLogId>,
    membership: OStoredMembership,
}

/// openraft's snapshot of a state of ours.
pub(super) fn their_snapshot(applied: &AppliedState, id: Option<SnapshotId>) -> OSnapshot {
    OSnapshot {
        meta: OSnapshotMeta {
            last_log_id: applied.last.and_then(theirs),
            last_membership: their_stored_membership(&applied.membership)
                .expect("the owner keeps the membership that it was given"),
        },
        snapshot: SnapshotHandle(id),
    }
}

/// Our state for openraft's snapshot.
pub(super) fn our_applied(meta: &OSnapshotMeta) -> AppliedState {
    AppliedState {
        last: meta.last_log_id.as_ref().map(ours),
        membership: our_stored_membership(&meta.last_membership),
    }
}

impl StateMachine {
    pub(super) fn new(shell: Arc<Shell>, applied: &AppliedState) -> Self {
        let snapshot = their_snapshot(applied, None);
        Self {
            shell,
            last: snapshot.meta.last_log_id,
            membership: snapshot.meta.last_membership,
        }
    }

    /// Has the owner apply entries; waits when it is far behind, for what it has not applied is
    /// held in memory.
    async fn hand_over(&self, entries: Vec<Committed>) -> Result<(), io::Error> {
        let Some(last) = entries.last().map(|entry| entry.id.index) else {
            return Ok(());
        };
        assert!(
            self.last <= self.shell.log().committed(),
            "openraft applies up to {:?}, which it did not say is committed",
            self.last
        );
        self.shell.ask(Effect::Apply { entries });
        let wanted = LogIndex(last.0.saturating_sub(BEHIND_MAX));
        self.shell.applied(wanted).await.map_err(io::Error::other)
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<OLogId>, OStoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + openraft::OptionalSend,
    {
        let mut committed = Vec::new();
        let mut responders = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id;
            let next = self.last.map_or(0, |last| last.index + 1);
            assert!(
                id.index == next,
                "openraft applies {id} behind {:?}",
                self.last
            );
            let payload = match entry.payload {
                OPayload::Blank => Payload::Blank,
                OPayload::Normal(command) => Payload::Command(command.0.to_vec()),
                OPayload::Membership(membership) => {
                    let ours = our_membership(&membership, Some(ours(&id)));
                    self.membership = OStoredMembership::new(Some(id), membership);
                    Payload::Membership(ours)
                }
            };
            self.last = Some(id);
            committed.push(Committed {
                id: ours(&id),
                payload,
            });
            responders.extend(responder);
            if committed.len() >= APPLY_ENTRIES_MAX {
                self.hand_over(std::mem::take(&mut committed)).await?;
            }
        }
        self.hand_over(committed).await?;
        for responder in responders {
            responder.send(());
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            shell: Arc::clone(&self.shell),
        }
    }

    /// The state is replaced only when everything in the log up to now is durable: a log that
    /// still held what the snapshot made openraft cut off would contradict the state.
    async fn install_snapshot(
        &mut self,
        meta: &OSnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> Result<(), io::Error> {
        let SnapshotHandle(Some(id)) = snapshot else {
            return Err(io::Error::other("a snapshot without a name cannot be read"));
        };
        self.shell.all_durable().await;
        let ours = SnapshotMeta {
            id,
            applied: our_applied(meta),
        };
        self.shell
            .install_snapshot(ours.clone())
            .await
            .map_err(io::Error::other)?;
        self.shell.snapshot_is(&ours);
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<OSnapshot>, io::Error> {
        let current = self.shell.current_snapshot();
        Ok(current.map(|(applied, id)| their_snapshot(&applied, id)))
    }
}

/// Has a snapshot built.
pub(super) struct Builder {
    shell: Arc<Shell>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> Result<OSnapshot, io::Error> {
        let built = self.shell.build_snapshot();
        let meta = built.await.map_err(io::Error::other)?;
        Ok(their_snapshot(&meta.applied, Some(meta.id)))
    }
}
