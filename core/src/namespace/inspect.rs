//! A look at a state before it is used, and at its pairs of key and value on their way.

use super::key::Key;
use super::record::{Applied, AppliedMark};
use super::txn::{Moment, Txn, open, unsealed};
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

/// Looks at one pair on its way to or from a peer: whether it is what was written. Gives the mark
/// of what was applied, for the pair that is it.
///
/// # Errors
/// [`StoreError::Corrupt`]; [`StoreError::Contradiction`] for a mark of a newer version.
pub fn inspect_pair(key: &[u8], value: &[u8]) -> Result<Option<AppliedMark>, StoreError> {
    if key != Key::Applied.bytes() {
        return unsealed(key, value).map(|_| None);
    }
    open::<Applied>(key, value).map(|mark| Some(mark.0))
}
