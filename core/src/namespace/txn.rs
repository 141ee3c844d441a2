//! One command's view of the state: what is stored, under what the command has changed so far.
//!
//! Changes are joins of deltas; they reach the store together, or not at all. Every stored value
//! ends in a CRC-32C over its key and itself, so that rot and misplaced writes are noticed.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ceilings::Ceilings;
use super::error::FsError;
use super::key::Key;
use super::op::Notice;
use super::record::{Inode, Record};
use crate::codec;
use crate::crdt::{Dot, LOG_REPLICA, Lww};
use crate::id::{InodeId, LogIndex, Slot};
use crate::store::{StateView, StoreError, WriteBatch};
use crate::time::{Stamp, WallTime};

/// Why an operation ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Refused; what the caller is told.
    Fs(FsError),
    /// The state cannot be read; the replica has to heal itself.
    Store(StoreError),
}

impl From<FsError> for Fail {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What an operation gives.
pub type Res<T> = Result<T, Fail>;

/// When and where in the log a command is applied; the source of stamps and dots.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Log index.
    pub index: LogIndex,
    /// Proposer's stamp.
    pub stamp: Stamp,
    /// Proposer's wall clock.
    pub now: WallTime,
}

/// Dots that one command can make: the rest of a dot's 64 bits is the log index.
pub const DOT_BITS: u32 = 20;

const _: () = assert!(
    crate::limits::RECURSION_MAX < 1 << DOT_BITS,
    "a command that visits as many nodes as it may must not run out of dots"
);

/// Reads through pending changes.
pub struct Txn<'a> {
    view: &'a dyn StateView,
    pending: WriteBatch,
    moment: Moment,
    dots: u64,
    notices: Vec<Notice>,
    kept: Option<FsError>,
    measured: BTreeSet<InodeId>,
    ceilings: Ceilings,
    /// A mistake to make on purpose.
    #[cfg(feature = "planted-bugs")]
    bug: Option<crate::planted::Bug>,
}

/// What a command came to, to be written and told.
#[derive(Debug)]
pub struct Finished {
    /// Its changes.
    pub batch: WriteBatch,
    /// What others have to be told.
    pub notices: Vec<Notice>,
    /// A refusal that leaves the changes in place.
    pub kept: Option<FsError>,
}

impl<'a> Txn<'a> {
    /// A view without changes yet.
    #[must_use]
    pub fn new(view: &'a dyn StateView, moment: Moment) -> Self {
        Self {
            view,
            pending: WriteBatch::default(),
            moment,
            dots: 0,
            notices: Vec::new(),
            kept: None,
            measured: BTreeSet::new(),
            ceilings: Ceilings::default(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// From now the room ends here.
    pub fn set_ceilings(&mut self, ceilings: Ceilings) {
        self.ceilings = ceilings;
    }

    /// Where the room ends.
    #[must_use]
    pub fn ceilings(&self) -> &Ceilings {
        &self.ceilings
    }

    /// From now this mistake is made.
    #[cfg(feature = "planted-bugs")]
    pub fn set_bug(&mut self, bug: Option<crate::planted::Bug>) {
        self.bug = bug;
    }

    /// Whether this mistake is to be made.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn has_bug(&self, bug: crate::planted::Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The stamp that this command writes with; registers raise it above what they overwrite.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.moment.stamp
    }

    /// The command's time.
    #[must_use]
    pub fn now(&self) -> WallTime {
        self.moment.now
    }

    /// A dot that was never given out before.
    ///
    /// # Panics
    /// After a million of them in one command; operations are bounded below that.
    pub fn dot(&mut self) -> Dot {
        assert!(
            self.dots < 1 << DOT_BITS,
            "a command made more dots than it may"
        );
        let sequence = self.moment.index.0 << DOT_BITS | self.dots;
        self.dots += 1;
        Dot {
            node: LOG_REPLICA,
            sequence,
        }
    }

    /// The record of a key.
    ///
    /// # Errors
    /// [`StoreError`], also when the value is damaged.
    pub fn get<R: Record>(&self, key: &Key) -> Result<Option<R>, StoreError> {
        self.read(&key.bytes())
    }

    fn read<R: Record>(&self, bytes: &[u8]) -> Result<Option<R>, StoreError> {
        match self.pending.changes.get(bytes) {
            Some(value) => value.as_deref().map(|value| open(bytes, value)).transpose(),
            None => self
                .view
                .get(bytes)?
                .map(|value| open(bytes, &value))
                .transpose(),
        }
    }

    /// Whether a key holds anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has(&self, key: &Key) -> Result<bool, StoreError> {
        let bytes = key.bytes();
        match self.pending.changes.get(&bytes) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.view.get(&bytes)?.is_some()),
        }
    }

    /// Joins a delta into the record of a key: the one way in which state changes. Gives the
    /// record as it is afterwards.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn join<R: Record>(&mut self, key: &Key, delta: &R) -> Result<R, StoreError> {
        let bytes = key.bytes();
        let record = self.read::<R>(&bytes)?.unwrap_or_default();
        Ok(self.join_into(bytes, record, delta))
    }

    /// As [`Self::join`], for a delta that depends on the record before, which is read once.
    /// `None`, and nothing changed, when `make_delta` refuses to make one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn change<R: Record>(
        &mut self,
        key: &Key,
        make_delta: impl FnOnce(Option<&R>) -> Option<R>,
    ) -> Result<Option<R>, StoreError> {
        let bytes = key.bytes();
        let old = self.read::<R>(&bytes)?;
        let Some(delta) = make_delta(old.as_ref()) else {
            return Ok(None);
        };
        let record = old.unwrap_or_default();
        Ok(Some(self.join_into(bytes, record, &delta)))
    }

    fn join_into<R: Record>(&mut self, key: Vec<u8>, mut record: R, delta: &R) -> R {
        record.join(delta);
        record.settle();
        if record.is_gone() {
            self.pending.delete(key);
        } else {
            let value = seal(&key, &record);
            self.pending.put(key, value);
        }
        record
    }

    /// Visits the records whose keys begin with `prefix` and come after `after` (exclusive; a
    /// whole key, or `None` for the first), in order of key.
    ///
    /// # Errors
    /// [`StoreError`], and whatever `visit` fails with.
    pub fn scan<R: Record>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(Key, R) -> Res<ControlFlow<()>>,
    ) -> Res<()> {
        let mut from = after.map_or(Bound::Included(prefix.to_vec()), |key| {
            Bound::Excluded(key.max(prefix).to_vec())
        });
        loop {
            // A page at a time, so that the visitor may read while nothing of the store is held.
            let page = self.page(prefix, &from)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            from = Bound::Excluded(last.clone());
            for (bytes, value) in page {
                let key = Key::parse(&bytes).ok_or_else(|| StoreError::Corrupt {
                    key: bytes.clone(),
                    reason: "not a key of the namespace".to_owned(),
                })?;
                if visit(key, open(&bytes, &value)?)?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// The next few keys and values under a prefix, stored and pending together; none when there
    /// are no more.
    fn page(&self, prefix: &[u8], from: &Bound<Vec<u8>>) -> Result<Page, StoreError> {
        let mut from = from.clone();
        loop {
            let (page, end) = self.page_or_gap(prefix, &from)?;
            match end {
                // Everything on this page is going; look beyond it. A command may remove a whole
                // subtree, so this is no place for a recursion.
                Some(end) if page.is_empty() => from = Bound::Excluded(end),
                _ => return Ok(page),
            }
        }
    }

    /// One page of what is stored, under what is pending; and its last stored key, when more may be
    /// stored behind it.
    fn page_or_gap(
        &self,
        prefix: &[u8],
        from: &Bound<Vec<u8>>,
    ) -> Result<(Page, Option<Vec<u8>>), StoreError> {
        const PAGE: usize = 64;
        let lower = match from {
            Bound::Included(key) => Bound::Included(key.as_slice()),
            Bound::Excluded(key) => Bound::Excluded(key.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        let mut stored = Vec::new();
        self.view.scan(lower, Bound::Unbounded, &mut |key, value| {
            if !key.starts_with(prefix) || stored.len() == PAGE {
                return ControlFlow::Break(());
            }
            stored.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        // Beyond the last stored key of a full page there may be more stored ones in between.
        let horizon = (stored.len() == PAGE).then(|| stored[PAGE - 1].0.clone());
        let mut merged: std::collections::BTreeMap<_, _> = stored.into_iter().collect();
        for (key, value) in self
            .pending
            .changes
            .range::<[u8], _>((lower, Bound::Unbounded))
        {
            if !key.starts_with(prefix) || horizon.as_ref().is_some_and(|end| key > end) {
                break;
            }
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok((merged.into_iter().collect(), horizon))
    }

    /// A node.
    ///
    /// # Errors
    /// `NoEnt` when there is none.
    pub fn inode(&self, ino: InodeId) -> Res<Inode> {
        Ok(self.get(&Key::Inode(ino))?.ok_or(FsError::NoEnt)?)
    }

    /// The value of a register that is replaced as a whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn value<T>(&self, key: &Key) -> Result<Option<T>, StoreError>
    where
        T: Clone + Ord + Serialize + DeserializeOwned,
    {
        let register: Option<Lww<Option<T>>> = self.get(key)?;
        Ok(register.and_then(|register| register.get().cloned().flatten()))
    }

    /// Writes a register that is replaced as a whole; `None` removes it, there or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set<T>(&mut self, key: &Key, value: Option<T>) -> Result<(), StoreError>
    where
        T: Clone + Ord + Serialize + DeserializeOwned,
    {
        let stamp = self.stamp();
        self.change(key, |old: Option<&Lww<Option<T>>>| match old {
            Some(old) => Some(old.write(stamp, value)),
            None => value
                .is_some()
                .then(|| Lww::<Option<T>>::default().write(stamp, value)),
        })?;
        Ok(())
    }

    /// Whether any key begins with `prefix`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn any(&self, prefix: &[u8]) -> Result<bool, StoreError> {
        Ok(!self
            .page(prefix, &Bound::Included(prefix.to_vec()))?
            .is_empty())
    }

    /// The first key of the store at or after `from`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_key(&self, from: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let from = Bound::Included(from);
        let mut stored = None;
        self.view.scan(from, Bound::Unbounded, &mut |key, _| {
            if self.pending.changes.get(key) == Some(&None) {
                return ControlFlow::Continue(());
            }
            stored = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        let pending = self
            .pending
            .changes
            .range::<[u8], _>((from, Bound::Unbounded))
            .find(|(_, value)| value.is_some())
            .map(|(key, _)| key.clone());
        Ok(match (stored, pending) {
            (Some(stored), Some(pending)) => Some(stored.min(pending)),
            (stored, pending) => stored.or(pending),
        })
    }

    /// Visits the key prefixes of those slots, in order and from `first` on, in which a key of
    /// one of the kinds `low..=high` lies (see [`Key`]). Costs a step or two per slot in use,
    /// however many keys of other kinds there are.
    ///
    /// # Errors
    /// [`StoreError`], and whatever `visit` fails with.
    pub fn slots_with(
        &self,
        first: u16,
        low: u8,
        high: u8,
        mut visit: impl FnMut(Slot) -> Res<ControlFlow<()>>,
    ) -> Res<()> {
        let mut slot = first;
        while slot < super::key::SHARD {
            let from = [slot.to_be_bytes().as_slice(), &[low]].concat();
            let Some(key) = self.next_key(&from)? else {
                return Ok(());
            };
            let Some((head, [kind, ..])) = key.split_first_chunk::<2>() else {
                let reason = "too short for a key".to_owned();
                return Err(StoreError::Corrupt { key, reason }.into());
            };
            let found = u16::from_be_bytes(*head);
            if found == slot {
                if *kind <= high && visit(Slot(slot))?.is_break() {
                    return Ok(());
                }
                slot += 1;
            } else {
                slot = found;
            }
        }
        Ok(())
    }

    /// Tells somebody else, once the command is carried out.
    pub fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// The command is refused, but what it did so far stays. Only for `WriteChunkEnd`, which
    /// unlocks a chunk even when the quota stops its file from growing.
    pub fn refuse_but_keep(&mut self, error: FsError) {
        self.kept = Some(error);
    }

    /// Notes that the sums of a directory with a quota changed.
    pub fn measured(&mut self, dir: InodeId) {
        self.measured.insert(dir);
    }

    /// Takes the directories that [`Self::measured`] noted.
    pub fn take_measured(&mut self) -> BTreeSet<InodeId> {
        std::mem::take(&mut self.measured)
    }

    /// Ends the command: what is to be written and told.
    #[must_use]
    pub fn finish(self) -> Finished {
        Finished {
            batch: self.pending,
            notices: self.notices,
            kept: self.kept,
        }
    }

    /// Takes the changes out, to be written.
    #[must_use]
    pub fn into_batch(self) -> WriteBatch {
        self.pending
    }
}

/// Encodes a record for a key.
pub fn seal<R: Record>(key: &[u8], record: &R) -> Vec<u8> {
    let mut value = codec::encode(record);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value
}

/// Keys and values, in order of key.
type Page = Vec<(Vec<u8>, Vec<u8>)>;

/// Decodes the value of a key.
///
/// # Errors
/// [`StoreError::Corrupt`]; [`StoreError::Contradiction`] for what was written so.
pub fn open<R: Record>(key: &[u8], value: &[u8]) -> Result<R, StoreError> {
    let record = unsealed(key, value)?;
    codec::decode(record).map_err(|error| StoreError::Contradiction {
        key: key.to_vec(),
        reason: format!("{error}; a newer version may have written it"),
    })
}

/// The record in a sealed value.
///
/// # Errors
/// [`StoreError::Corrupt`] when key and value are not those that were written.
pub fn unsealed<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], StoreError> {
    let corrupt = |reason: &str| StoreError::Corrupt {
        key: key.to_vec(),
        reason: reason.to_owned(),
    };
    let Some((record, checksum)) = value.split_last_chunk::<4>() else {
        return Err(corrupt("shorter than its checksum"));
    };
    let computed = crc32c::crc32c_append(crc32c::crc32c(key), record);
    if u32::from_le_bytes(*checksum) != computed {
        return Err(corrupt("checksum does not match"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Lww;
    use crate::id::{InodeId, NodeId};
    use crate::namespace::record::Xattr;
    use crate::store::{MemStore, StateStore};

    const MOMENT: Moment = Moment {
        index: LogIndex(1),
        stamp: Stamp {
            time: 1,
            node: NodeId(1),
        },
        now: WallTime(1),
    };

    fn xattr(name: usize) -> Key {
        Key::Xattr(InodeId::ROOT, format!("{name:04}").into_bytes())
    }

    fn value(text: &str) -> Xattr {
        Lww::at(MOMENT.stamp, Some(text.as_bytes().to_vec()))
    }

    fn names(txn: &Txn<'_>) -> Vec<Key> {
        let mut out = Vec::new();
        txn.scan::<Xattr>(&xattr(0).prefix(), None, |key, _| {
            out.push(key);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        out
    }

    #[test]
    fn a_scan_sees_stored_and_pending_changes_once_and_in_order() {
        let mut store = MemStore::new();
        let mut txn = Txn::new(&store, MOMENT);
        for name in (0..400).step_by(2) {
            txn.join(&xattr(name), &value("old")).unwrap();
        }
        let batch = txn.into_batch();
        store.write(batch).unwrap();
        let mut txn = Txn::new(&store, MOMENT);
        for name in 0..300 {
            if name % 2 == 1 {
                txn.join(&xattr(name), &value("new")).unwrap();
            } else {
                let old: Xattr = txn.get(&xattr(name)).unwrap().unwrap();
                txn.join(&xattr(name), &old.write(MOMENT.stamp, None))
                    .unwrap();
            }
        }
        let expected: Vec<Key> = (0..300)
            .filter(|name| name % 2 == 1)
            .chain((300..400).filter(|name| name % 2 == 0))
            .map(xattr)
            .collect();
        assert_eq!(names(&txn), expected);
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let mut store = MemStore::new();
        let mut txn = Txn::new(&store, MOMENT);
        txn.join(&xattr(1), &value("kept")).unwrap();
        let batch = txn.into_batch();
        store.write(batch.clone()).unwrap();
        let (key, sealed) = batch.changes.into_iter().next().unwrap();
        let sealed = sealed.unwrap();
        for at in 0..sealed.len() {
            let mut rotten = sealed.clone();
            rotten[at] ^= 0x10;
            let mut batch = WriteBatch::default();
            batch.put(key.clone(), rotten);
            store.write(batch).unwrap();
            let txn = Txn::new(&store, MOMENT);
            assert!(matches!(
                txn.get::<Xattr>(&xattr(1)),
                Err(StoreError::Corrupt { .. })
            ));
        }
        // The right bytes under another key are as wrong.
        let mut batch = WriteBatch::default();
        batch.put(xattr(2).bytes(), sealed);
        store.write(batch).unwrap();
        let txn = Txn::new(&store, MOMENT);
        assert!(matches!(
            txn.get::<Xattr>(&xattr(2)),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn the_next_key_is_what_reading_would_find() {
        let mut store = MemStore::new();
        let mut txn = Txn::new(&store, MOMENT);
        for name in [2, 4, 6] {
            txn.join(&xattr(name), &value("stored")).unwrap();
        }
        let batch = txn.into_batch();
        store.write(batch).unwrap();
        let mut txn = Txn::new(&store, MOMENT);
        txn.set::<Vec<u8>>(&xattr(2), None).unwrap();
        txn.set::<Vec<u8>>(&xattr(6), None).unwrap();
        for name in [3, 8] {
            txn.join(&xattr(name), &value("pending")).unwrap();
        }
        let next = |name: usize| txn.next_key(&xattr(name).bytes()).unwrap();
        let found = |name: usize| Some(xattr(name).bytes());
        for (from, to) in [(0, 3), (3, 3), (4, 4), (5, 8)] {
            assert_eq!(next(from), found(to), "from {from}");
        }
        assert_eq!(next(9), None);
        assert!(txn.any(&xattr(0).prefix()).unwrap());
        assert!(
            !txn.any(&Key::Xattr(InodeId(2), Vec::new()).prefix())
                .unwrap()
        );
    }

    #[test]
    fn only_slots_in_use_are_visited() {
        let store = MemStore::new();
        let mut txn = Txn::new(&store, MOMENT);
        let at = |slot| InodeId::from_parts(1, Slot(slot)).unwrap();
        for slot in [0, 5, 6, 16_383] {
            let path: Lww<Option<Vec<u8>>> = Lww::at(MOMENT.stamp, Some(vec![1]));
            txn.join(&Key::Trashed(at(slot)), &path).unwrap();
        }
        for slot in [3, 5, 9] {
            // Of kinds before and after the one looked for.
            let stats = crate::namespace::record::Stats::default();
            txn.join(&Key::Stats(at(slot)), &stats).unwrap();
            txn.join(&Key::Xattr(at(slot), vec![1]), &value("x"))
                .unwrap();
        }
        txn.join(&Key::Applied, &crate::namespace::record::Applied::default())
            .unwrap();
        let visited = |first, most: usize| {
            let mut seen = Vec::new();
            txn.slots_with(first, b'T', b'U', |slot| {
                seen.push(slot.0);
                Ok(if seen.len() == most {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
            .unwrap();
            seen
        };
        assert_eq!(visited(0, 9), [0, 5, 6, 16_383]);
        assert_eq!(visited(6, 9), [6, 16_383]);
        assert_eq!(visited(0, 2), [0, 5]);
    }

    #[test]
    fn a_scan_over_any_number_of_keys_that_are_going_keeps_its_stack() {
        let key = |name: usize| Key::Edge(InodeId::ROOT, format!("{name:08}").into_bytes()).bytes();
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        for name in 0..600_000 {
            batch.put(key(name), vec![0; 8]);
        }
        store.write(batch).unwrap();
        let mut txn = Txn::new(&store, MOMENT);
        for name in 0..600_000 {
            txn.pending.delete(key(name));
        }
        let prefix = Key::Edge(InodeId::ROOT, Vec::new()).prefix();
        assert!(!txn.any(&prefix).unwrap());
        txn.pending.changes.remove(&key(599_999));
        assert!(txn.any(&prefix).unwrap(), "the last of them stays");
    }
}
