//! Mistakes that a tree makes on purpose, for the simulator to find: those that need a memory of
//! the process. The others are made where the right thing would be done.

use super::Namespace;
use super::key::Key;
use super::op::Outcome;
use super::record::Stats;
use super::txn::{Moment, Txn};
use crate::id::{InodeId, LogIndex};
use crate::planted::Bug;
use crate::store::{StateStore, StoreError, WriteBatch};
use crate::time::{Stamp, WallTime};

/// Which mistake, and whether it is still to be made in this life.
#[derive(Debug, Default)]
pub struct Planted {
    /// Which.
    pub bug: Option<Bug>,
    /// The process found a state when it began, and nothing was replayed yet.
    restarted: bool,
}

impl<S: StateStore> Namespace<S> {
    /// From now this mistake is made; called when a process begins.
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        let restarted = self.applied().index > LogIndex(0);
        self.planted = Planted { bug, restarted };
        self
    }

    /// What goes wrong with the first change that is carried out after a restart.
    pub(super) fn plant_replay(
        &mut self,
        outcome: Option<Outcome>,
        batch: &mut WriteBatch,
    ) -> Result<Option<Outcome>, StoreError> {
        let Some(mut outcome) = outcome else {
            return Ok(None);
        };
        let changes = outcome.result.is_ok() && !outcome.repeated;
        if !changes || !std::mem::take(&mut self.planted.restarted) {
            return Ok(Some(outcome));
        }
        match self.planted.bug {
            Some(Bug::ReplayCountsAgain) => outcome.version += 1,
            Some(Bug::CountersMergedByAdding) => {
                let moment = Moment {
                    index: LogIndex(0),
                    stamp: Stamp::MIN,
                    now: WallTime(0),
                };
                let mut txn = Txn::new(self.store(), moment);
                let key = Key::Stats(InodeId::ROOT);
                let sums: Stats = txn.get(&key)?.unwrap_or_default();
                txn.join(&key, &sums.add(&sums.value()))?;
                batch.changes.extend(txn.into_batch().changes);
            }
            _ => {}
        }
        Ok(Some(outcome))
    }
}
