//! A list to the end of a packet, read where it lies: a packet may hold forty million entries, and
//! they are not copied once more.

use std::marker::PhantomData;

use super::value::ChunkCopy;
use crate::id::ChunkId;
use crate::moosefs::reader::{PacketError, Reader};

/// One entry of a list, always of the same length.
pub trait Entry: Copy {
    /// Its bytes on the wire.
    const BYTES: usize;

    /// Reads one from exactly [`Self::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Self;

    /// Appends it.
    fn write(self, bytes: &mut Vec<u8>);
}

/// What [`List`] promises of each of its pieces.
const WHOLE: &str = "an entry is whole";

impl Entry for ChunkId {
    const BYTES: usize = 8;

    fn read(bytes: &[u8]) -> Self {
        Self(u64::from_be_bytes(bytes.try_into().expect(WHOLE)))
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.to_be_bytes());
    }
}

impl Entry for ChunkCopy {
    const BYTES: usize = 12;

    fn read(bytes: &[u8]) -> Self {
        let (id, version) = bytes.split_first_chunk().expect(WHOLE);
        let version = u32::from_be_bytes(version.try_into().expect(WHOLE));
        Self::of_wire(ChunkId(u64::from_be_bytes(*id)), version)
    }

    fn write(self, bytes: &mut Vec<u8>) {
        self.chunk.write(bytes);
        bytes.extend(self.wire_version().to_be_bytes());
    }
}

/// Entries as they lie in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a, E> {
    /// Invariant: whole entries.
    bytes: &'a [u8],
    entry: PhantomData<E>,
}

impl<'a, E: Entry> List<'a, E> {
    /// No entries.
    #[must_use]
    pub fn empty() -> Self {
        Self::of_whole(&[])
    }

    /// What is left of a packet.
    ///
    /// # Errors
    /// `Value` when that is no whole number of entries.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        if !reader.remaining().is_multiple_of(E::BYTES) {
            return Err(reader.wrong("a list does not end with a whole entry"));
        }
        Ok(Self::of_whole(reader.bytes(reader.remaining())?))
    }

    fn of_whole(bytes: &'a [u8]) -> Self {
        let entry = PhantomData;
        Self { bytes, entry }
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / E::BYTES
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries, in the order of the packet.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = E> + use<'a, E> {
        self.bytes.chunks_exact(E::BYTES).map(E::read)
    }

    /// The bytes of the entries.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same entries as several lists of at most `entries_max`, at least 1; nothing is copied.
    /// None for a list without entries.
    #[must_use]
    pub fn parts(&self, entries_max: usize) -> Parts<'a, E> {
        assert!(entries_max > 0, "a part has room for an entry");
        Parts {
            bytes: self.bytes.chunks(entries_max.saturating_mul(E::BYTES)),
            entry: PhantomData,
        }
    }
}

/// A list cut into several.
#[derive(Clone, Debug)]
pub struct Parts<'a, E> {
    bytes: std::slice::Chunks<'a, u8>,
    entry: PhantomData<E>,
}

impl<'a, E: Entry> Iterator for Parts<'a, E> {
    type Item = List<'a, E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.bytes.next().map(List::of_whole)
    }
}

/// A list that is being put together, to be written into packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListBuf<E> {
    bytes: Vec<u8>,
    entry: PhantomData<E>,
}

impl<E: Entry> ListBuf<E> {
    /// The list as a packet takes it.
    #[must_use]
    pub fn as_list(&self) -> List<'_, E> {
        List::of_whole(&self.bytes)
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: E) {
        entry.write(&mut self.bytes);
    }
}

impl<E: Entry> Default for ListBuf<E> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            entry: PhantomData,
        }
    }
}

impl<E: Entry> FromIterator<E> for ListBuf<E> {
    fn from_iter<I: IntoIterator<Item = E>>(entries: I) -> Self {
        let mut list = Self::default();
        entries.into_iter().for_each(|entry| list.push(entry));
        list
    }
}
