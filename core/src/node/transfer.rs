//! Streaming a state from node to node: neither side holds it whole, and parts that get lost are
//! sent again.
//!
//! The sender reads its snapshot part by part and keeps a window of parts unconfirmed; the
//! receiver takes parts in order and confirms the first one missing (go-back-n).

use std::ops::{Bound, ControlFlow};

use super::peer::{Part, TransferId};
use crate::id::NodeId;
use crate::namespace::inspect_pair;
use crate::namespace::record::AppliedMark;
use crate::raft::{SnapshotId, SnapshotMeta};
use crate::store::{StateView, StoreError};
use crate::time::{Duration, Instant};
use crate::wal::record::LogId;

/// A state on its way to a peer.
pub(super) struct Outgoing<V> {
    /// To whom.
    pub to: NodeId,
    /// Its name.
    pub transfer: TransferId,
    meta: SnapshotMeta,
    header: Vec<u8>,
    view: std::sync::Arc<V>,
    /// Where each unconfirmed part begins: exclusive lower bound of its keys.
    /// Invariant: entry 0 is of part `confirmed`; one more than the parts sent and unconfirmed.
    starts: Vec<Vec<u8>>,
    /// First part that the receiver has not confirmed.
    confirmed: u64,
    /// First part not sent since the last confirmation or resend.
    next: u64,
    /// Number of parts, once the last has been read.
    total: Option<u64>,
    /// When the last confirmation came, or the transfer began.
    progress_at: Instant,
    /// When unconfirmed parts are sent again.
    resend_at: Instant,
}

impl<V: StateView> Outgoing<V> {
    /// A transfer that has not sent anything.
    pub fn new(
        to: NodeId,
        transfer: TransferId,
        meta: SnapshotMeta,
        header: Vec<u8>,
        view: std::sync::Arc<V>,
        now: Instant,
    ) -> Self {
        Self {
            to,
            transfer,
            meta,
            header,
            view,
            starts: vec![Vec::new()],
            confirmed: 0,
            next: 0,
            total: None,
            progress_at: now,
            resend_at: now,
        }
    }

    /// The next part, if the window has room and there is one.
    pub fn next_part(
        &mut self,
        window: u64,
        bytes: usize,
        now: Instant,
        resend: Duration,
    ) -> Result<Option<Part>, StoreError> {
        let all_sent = self.total.is_some_and(|total| self.next >= total);
        if all_sent || self.next >= self.confirmed + window {
            return Ok(None);
        }
        let at = usize::try_from(self.next - self.confirmed).expect("a window is small");
        let after = self.starts[at].clone();
        let (pairs, last) = match self.starts.get(at + 1) {
            // What it was the first time: the parts behind it may be there already.
            Some(end) => {
                let (view, end) = (self.view.as_ref(), Some(end.as_slice()));
                let (pairs, _) = read_pairs(view, &after, end, usize::MAX)?;
                (pairs, self.total == Some(self.next + 1))
            }
            None => {
                let (pairs, last) = read_pairs(self.view.as_ref(), &after, None, bytes)?;
                let end = pairs.last().map(|(key, _)| key.clone());
                self.starts.push(end.unwrap_or_else(|| after.clone()));
                (pairs, last)
            }
        };
        if last {
            self.total = Some(self.next + 1);
        }
        let part = Part {
            transfer: self.transfer,
            number: self.next,
            meta: self.meta.clone(),
            header: self.header.clone(),
            after,
            pairs,
            last,
        };
        self.next += 1;
        self.resend_at = now + resend;
        Ok(Some(part))
    }

    /// The receiver has every part before `next`.
    pub fn on_received(&mut self, next: u64, now: Instant, resend: Duration) {
        if self.is_delivered() && next == self.confirmed {
            // The receiver works on it: installing a large state takes longer than a part's way.
            self.progress_at = now;
        }
        let sent_at_most = self.confirmed + self.starts.len() as u64 - 1;
        if next <= self.confirmed || next > sent_at_most {
            return;
        }
        let gone = usize::try_from(next - self.confirmed).expect("a window is small");
        self.starts.drain(..gone);
        self.confirmed = next;
        self.next = self.next.max(next);
        self.progress_at = now;
        self.resend_at = now + resend;
    }

    /// Whether every part has been confirmed: only the receiver's verdict is missing.
    pub fn is_delivered(&self) -> bool {
        self.total == Some(self.confirmed)
    }

    /// Goes back to the first unconfirmed part when it is time to.
    pub fn maybe_resend(&mut self, now: Instant) {
        if now >= self.resend_at && !self.is_delivered() {
            self.next = self.confirmed;
        }
    }

    /// Whether nothing has been confirmed for too long.
    pub fn is_stalled(&self, now: Instant, give_up: Duration) -> bool {
        now.since(self.progress_at) >= give_up
    }
}

/// Keys and values, in order of key.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads about `bytes` of keys and values after `after`, none of them damaged, up to and with
/// `through`; the flag tells whether they are the last.
fn read_pairs<V: StateView>(
    view: &V,
    after: &[u8],
    through: Option<&[u8]>,
    bytes: usize,
) -> Result<(Pairs, bool), StoreError> {
    let from = if after.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Excluded(after)
    };
    let to = through.map_or(Bound::Unbounded, Bound::Included);
    let (mut pairs, mut taken, mut last) = (Vec::new(), 0, true);
    let mut damage = None;
    view.scan(from, to, &mut |key, value| {
        if taken >= bytes && !pairs.is_empty() {
            last = false;
            return ControlFlow::Break(());
        }
        if let Err(error) = inspect_pair(key, value) {
            damage = Some(error);
            return ControlFlow::Break(());
        }
        taken += key.len() + value.len();
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    damage.map_or(Ok((pairs, last)), Err)
}

/// A state on its way from a peer, into the store's other half.
pub(super) struct Incoming {
    /// From whom.
    pub from: NodeId,
    /// Its name there.
    pub transfer: TransferId,
    /// Last entry that the sender says it holds.
    pub last: Option<LogId>,
    /// Next part expected.
    pub next: u64,
    /// The last key that has arrived; empty before the first.
    pub end: Vec<u8>,
    /// Whether the last part is here, and what arrived is what the sender said.
    pub complete: bool,
    /// The mark of what was applied, once its part is here.
    pub mark: Option<AppliedMark>,
    /// The name under which consensus judges it, when it has arrived for consensus.
    pub snapshot: Option<SnapshotId>,
    /// When the last part came.
    pub touched: Instant,
}

impl Incoming {
    /// What is wrong with a part that does not go on where the last one ended.
    pub fn gap(&self) -> PartError {
        PartError::Gap {
            number: self.next,
            end: self.end.clone(),
        }
    }
}

/// A transfer that has arrived completely and that consensus judges: until it has, no other is
/// taken, for the store builds one state at a time.
pub(super) struct Judged {
    /// From whom.
    pub from: NodeId,
    /// Its name there.
    pub transfer: TransferId,
    /// Parts of it.
    pub parts: u64,
}

/// Why a part is not taken. The present state stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartError {
    /// A pair is damaged, on the way or at the sender; or this node's store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part does not go on where the one before it ended, or its keys are not in order: something
    /// of the state would be lacking. A fault of the sender.
    #[error(
        "part {number} of the state does not go on behind key {end:02x?}, where the last ended"
    )]
    Gap {
        /// Which part.
        number: u64,
        /// The last key that had arrived.
        end: Vec<u8>,
    },
    /// The state that arrived does not say what was applied to it: a fault of the sender.
    #[error("the state that arrived has no mark of what was applied")]
    NoMark,
    /// The state that arrived is not the one that was promised: a fault of the sender.
    #[error("the state that arrived is that of {found:?}, promised was that of {promised:?}")]
    Other {
        /// The entry that it ends with.
        found: Option<LogId>,
        /// The entry that it should end with.
        promised: Option<LogId>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::key::Key;
    use crate::raft::AppliedState;
    use crate::store::{MemStore, StateStore, WriteBatch};

    /// As the namespace seals a value.
    fn sealed(key: &[u8], record: &[u8]) -> Vec<u8> {
        let checksum = crc32c::crc32c_append(crc32c::crc32c(key), record);
        [record, &checksum.to_le_bytes()].concat()
    }

    fn outgoing(keys: u32) -> Outgoing<MemStore> {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        for key in 0..keys {
            let key = key.to_be_bytes().to_vec();
            let value = sealed(&key, &[7; 6]);
            batch.put(key, value);
        }
        store.write(batch).unwrap();
        Outgoing::new(
            NodeId(2),
            TransferId::Repair { life: 1, wish: 1 },
            SnapshotMeta {
                id: SnapshotId(1),
                applied: AppliedState::default(),
            },
            Vec::new(),
            std::sync::Arc::new(store),
            Instant::ZERO,
        )
    }

    /// Delivers parts, losing those for which `lost` says so, until the end.
    fn deliver(mut out: Outgoing<MemStore>, mut lost: impl FnMut(u64) -> bool) -> Vec<Vec<u8>> {
        let (mut now, mut expected) = (Instant::ZERO, 0);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let resend = Duration::from_secs(1);
        for sent in 0..10_000 {
            // Another size each time: what is sent again is what it was.
            let bytes = [40, 1, 100][sent as usize % 3];
            let Some(part) = out.next_part(3, bytes, now, resend).unwrap() else {
                if out.is_delivered() {
                    return keys;
                }
                now = now + resend;
                out.maybe_resend(now);
                continue;
            };
            if lost(sent) || part.number != expected {
                continue;
            }
            expected += 1;
            assert_eq!(part.after, keys.last().cloned().unwrap_or_default());
            keys.extend(part.pairs.into_iter().map(|(key, _)| key));
            out.on_received(expected, now, resend);
        }
        panic!("the transfer never ends");
    }

    #[test]
    fn every_key_arrives_once_whatever_is_lost() {
        for keys in [0, 1, 2, 3, 50] {
            let expected: Vec<_> = (0..keys)
                .map(|key: u32| key.to_be_bytes().to_vec())
                .collect();
            assert_eq!(deliver(outgoing(keys), |_| false), expected);
            assert_eq!(deliver(outgoing(keys), |sent| sent * 7 % 5 < 2), expected);
        }
    }

    #[test]
    fn a_damaged_pair_is_not_sent() {
        let mut store = MemStore::new();
        let mut batch = WriteBatch::default();
        let key = Key::ShardIds.bytes();
        let mut value = sealed(&key, &[7; 6]);
        batch.put(key.clone(), value.clone());
        store.write(batch).unwrap();
        assert!(read_pairs(&store, &[], None, 100).is_ok());
        value[2] ^= 1;
        let mut batch = WriteBatch::default();
        batch.put(key, value);
        store.write(batch).unwrap();
        let read = read_pairs(&store, &[], None, 100);
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    }

    #[test]
    fn a_receiver_that_works_on_what_has_arrived_is_waited_for() {
        let mut out = outgoing(3);
        let (resend, give_up) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut sent = 0;
        while out
            .next_part(8, 40, Instant::ZERO, resend)
            .unwrap()
            .is_some()
        {
            sent += 1;
        }
        out.on_received(sent, Instant::ZERO, resend);
        assert!(out.is_delivered());
        let later = Instant::ZERO + give_up;
        assert!(out.is_stalled(later, give_up));
        out.on_received(sent, later, resend);
        assert!(!out.is_stalled(later, give_up));
    }

    #[test]
    fn a_confirmation_of_what_was_never_sent_is_ignored() {
        let mut out = outgoing(50);
        out.on_received(9, Instant::ZERO, Duration::from_secs(1));
        assert_eq!(out.confirmed, 0);
    }
}
