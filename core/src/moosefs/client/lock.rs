//! Locks: what is asked, and what is told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use super::tree::Done;
use crate::id::InodeId;
use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;

packet! {
    /// A lock of a whole file.
    Flock {
        inode: InodeId,
        /// Names a waiting request, to end its wait.
        request: u32,
        owner: u64,
        /// One of [`crate::moosefs::flags::flock`].
        what: u8,
    }
}

packet! {
    /// A lock of the bytes from `start` up to `end`.
    PosixLock {
        inode: InodeId,
        /// Names a waiting request, to end its wait.
        request: u32,
        owner: u64,
        pid: u32,
        /// One of the first four of [`crate::moosefs::flags::posix`].
        what: u8,
        /// One of the last three of [`crate::moosefs::flags::posix`].
        kind: u8,
        start: u64,
        end: u64,
    }
}

packet! {
    /// A lock that is in the way; its kind is "no lock" when none is.
    InTheWay {
        pid: u32,
        /// One of the last three of [`crate::moosefs::flags::posix`].
        kind: u8,
        start: u64,
        end: u64,
    }
}

/// What a lock of bytes was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PosixLocked {
    /// Granted, or given back.
    Done,
    /// What is in the way, for those who asked.
    InTheWay(InTheWay),
}

impl Field for PosixLocked {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.remaining() {
            1 => Done::read(reader, form).map(|Done| Self::Done),
            _ => InTheWay::read(reader, form).map(Self::InTheWay),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Done => Done.write(writer, form),
            Self::InTheWay(lock) => lock.write(writer, form),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl crate::moosefs::sample::Sample for PosixLocked {
    fn sample(draw: &mut crate::moosefs::sample::Draw<'_>, form: Form) -> Self {
        match draw.byte() % 3 {
            0 => Self::Done,
            _ => Self::InTheWay(InTheWay::sample(draw, form)),
        }
    }
}
