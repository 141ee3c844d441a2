//! A look at a state before it is used.

use super::key::Key;
use super::record::{Applied, AppliedMark};
use super::txn::{Moment, Txn};
use crate::id::LogIndex;
use crate::store::{StateView, StoreError};
use crate::time::{Stamp, WallTime};

/// What was applied last to the state in this store; `None` for a store that was never used.
///
/// # Errors
/// [`StoreError::Corrupt`] when the mark is damaged or missing in a store that holds something:
/// then nothing in it can be trusted. [`StoreError::Io`].
pub fn inspect(store: &dyn StateView) -> Result<Option<AppliedMark>, StoreError> {
    let moment = Moment {
        index: LogIndex(0),
        stamp: Stamp::MIN,
        now: WallTime(0),
    };
    let txn = Txn::new(store, moment);
    if txn.next_key(&[])?.is_none() {
        return Ok(None);
    }
    match txn.get::<Applied>(&Key::Applied)? {
        Some(mark) => Ok(Some(mark.0)),
        None => Err(StoreError::Corrupt {
            key: Key::Applied.bytes(),
            reason: "the state has no mark of what was applied".to_owned(),
        }),
    }
}
