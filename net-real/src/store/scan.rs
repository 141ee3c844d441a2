//! Reading a range across layers and environment, in pieces: nothing is locked or borrowed while
//! the visitor runs, so it may come back to the store.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use mfsha_core::store::{StoreError, Visit};

use super::base::Base;
use super::layer::{Frozen, Map, Merged, is_backward};

/// Pairs of the first piece: most scans want one or a few.
const FIRST_PIECE: usize = 4;
/// Most pairs of a piece.
const PIECE_MAX: usize = 512;
/// A piece ends behind the pair that fills this many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Some pairs, one behind the other.
#[derive(Default)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    /// End of each key and of its value.
    ends: Vec<(usize, usize)>,
}

impl Piece {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn is_full(&self, pairs: usize) -> bool {
        self.ends.len() >= pairs || self.bytes.len() >= PIECE_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        begins
            .zip(&self.ends)
            .map(|(begin, (key, end))| (&self.bytes[begin..*key], &self.bytes[*key..*end]))
    }
}

/// Visits a range, which `collect` reads piece by piece.
pub(super) fn scan(
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    visit: Visit<'_>,
    mut collect: impl FnMut(Bound<&[u8]>, usize, &mut Piece) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = from.map(<[u8]>::to_vec);
    let mut piece = Piece::default();
    let mut pairs = FIRST_PIECE;
    loop {
        let begin = from.as_ref().map(Vec::as_slice);
        if is_backward(begin, to) {
            return Ok(());
        }
        piece.clear();
        collect(begin, pairs, &mut piece)?;
        let mut last = None;
        for (key, value) in piece.pairs() {
            if let ControlFlow::Break(()) = visit(key, value) {
                return Ok(());
            }
            last = Some(key);
        }
        match last {
            Some(last) if piece.is_full(pairs) => from = Bound::Excluded(last.to_vec()),
            _ => return Ok(()),
        }
        pairs = (pairs * 4).min(PIECE_MAX);
    }
}

/// Reads up to `pairs` pairs of a range that is not backward: the layers' changes, newest first,
/// over what the environment holds.
pub(super) fn collect(
    newest: Option<&Map>,
    layers: &[Arc<Frozen>],
    base: &Base,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    pairs: usize,
    piece: &mut Piece,
) -> Result<(), StoreError> {
    let (from, to) = range;
    let maps = newest.into_iter().chain(layers.iter().map(|l| l.map()));
    let mut changes = Merged::new(maps, from, to).peekable();
    base.range(from, to, |below| {
        let mut below = below.peekable();
        while !piece.is_full(pairs) {
            let next = match below.peek() {
                None => None,
                Some(Ok((key, _))) => Some(*key),
                Some(Err(error)) => return Err(error.clone()),
            };
            let change = changes.next_if(|(key, _)| next.is_none_or(|next| *key <= next));
            match change {
                Some((key, value)) => {
                    if next == Some(key) {
                        below.next();
                    }
                    if let Some(value) = value {
                        piece.push(key, value);
                    }
                }
                None => match below.next() {
                    Some(Ok((key, value))) => piece.push(key, value),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    })?
}
