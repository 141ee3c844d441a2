//! Requests that have a message id, with what each is told: one table.
//!
//! A reply is the request's number plus one. One byte other than 0 behind the message id is a
//! status, in all replies.

use super::MsgId;
use super::class::{
    ChangeClass, CreateClass, DeleteClass, ListClasses, ListedClass, ShownClass, TwoClasses,
};
use super::data::{
    AppendSlice, ChunkPlace, Open, Opened, Truncate, Truncated, WantChunk, WriteChunkEnd,
};
use super::inspect::{
    Check, Checked, DirStats, NodeInfo, NodeParts, OfNode, Paths, Repair, Repaired, Snapshot,
};
use super::lock::{Flock, PosixLock, PosixLocked};
use super::subtree::{
    Archive, Archived, Changed, Classes, Eattrs, GetValue, Quota, QuotaControl, SetEattr,
    SetSclass, SetTrashTime, TrashTimes,
};
use super::trash::{Detached, GetDetachedAttr, GetSustained, GetTrash, SetTrashPath};
use super::tree::{
    Access, Create, Created, Done, GetAttr, Link, Looked, Lookup, Mkdir, Mknod, Node, Page,
    ReadDir, ReadLink, Remove, Removed, Rename, SetAttr, Space, StatFs, Symlink,
};
use super::xattr::{GetFacl, GetXattr, SetFacl, SetXattr, WireAcl, XattrValue};
use crate::id::InodeId;
use crate::moosefs::attributes::Attributes;
use crate::moosefs::fields::{Field, Form, Name, Text};
use crate::moosefs::flags;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

macro_rules! calls {
    ($($number:literal $name:ident($request:ty) -> $reply:ty,)*) => {
        /// A request that has a message id.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "MooseFS's names; the requests say what they are")]
        pub enum Call {
            $($name($request),)*
        }

        /// What a request is told: what it asked for, or why not.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "MooseFS's names; the replies say what they are")]
        pub enum Reply {
            $($name(Result<$reply, Status>),)*
        }

        impl Call {
            /// Numbers of all requests, in order.
            pub const NUMBERS: &[u32] = &[$($number),*];

            /// The request's number.
            #[must_use]
            pub const fn number(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $number,)*
                }
            }

            /// The request's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// Reads what stands behind the message id of a request with this number.
            ///
            /// # Errors
            /// [`PacketError`]; `Unknown` for a number that no request has.
            pub fn read(number: u32, reader: &mut Reader<'_>) -> Result<Self, PacketError> {
                let form = Form::of(Version::OURS);
                match number {
                    $($number => Field::read(reader, form).map(Self::$name),)*
                    kind => Err(PacketError::Unknown {
                        kind,
                        length: reader.remaining(),
                    }),
                }
            }

            /// Writes what stands behind the message id.
            pub fn write(&self, writer: &mut Writer) {
                let form = Form::of(Version::OURS);
                match self {
                    $(Self::$name(request) => request.write(writer, form),)*
                }
            }

            /// The reply that says why this was not done.
            #[must_use]
            pub fn refused(&self, status: Status) -> Reply {
                match self {
                    $(Self::$name(_) => Reply::$name(Err(status)),)*
                }
            }
        }

        impl Reply {
            /// Number of the reply.
            #[must_use]
            pub const fn number(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $number + 1,)*
                }
            }

            /// Whether it was done.
            ///
            /// # Errors
            /// Why it was not.
            pub fn status(&self) -> Result<(), Status> {
                match self {
                    $(Self::$name(result) => result.as_ref().map(|_| ()).map_err(|s| *s),)*
                }
            }

            /// Reads what stands behind the message id of a reply with this number.
            ///
            /// # Errors
            /// [`PacketError`]; `Unknown` for a number that no reply has.
            pub fn read(
                number: u32,
                reader: &mut Reader<'_>,
                form: Form,
            ) -> Result<Self, PacketError> {
                match number.wrapping_sub(1) {
                    $($number => read_result(reader, form).map(Self::$name),)*
                    _ => Err(PacketError::Unknown {
                        kind: number,
                        length: reader.remaining(),
                    }),
                }
            }

            /// Writes what stands behind the message id.
            pub fn write(&self, writer: &mut Writer, form: Form) {
                match self {
                    $(Self::$name(Ok(told)) => told.write(writer, form),)*
                    $(Self::$name(Err(status)) => {
                        writer.u8(status.number());
                    })*
                }
            }
        }

        #[cfg(any(test, feature = "fuzzing"))]
        impl Call {
            /// Makes up a request with this number.
            ///
            /// # Panics
            /// When no request has it.
            pub fn sample(number: u32, draw: &mut crate::moosefs::sample::Draw<'_>) -> Self {
                use crate::moosefs::sample::Sample;
                let form = Form::of(Version::OURS);
                match number {
                    $($number => Self::$name(Sample::sample(draw, form)),)*
                    _ => panic!("no request has the number {number}"),
                }
            }
        }

        #[cfg(any(test, feature = "fuzzing"))]
        impl Reply {
            /// Makes up a reply to a request with this number.
            ///
            /// # Panics
            /// When no request has it.
            pub fn sample(
                number: u32,
                draw: &mut crate::moosefs::sample::Draw<'_>,
                form: Form,
            ) -> Self {
                use crate::moosefs::sample::Sample;
                let result = match draw.byte() {
                    refused @ 1..40 => Status::of_byte(refused),
                    _ => Ok(()),
                };
                match number {
                    $($number => {
                        Self::$name(result.map(|()| Sample::sample(draw, form)))
                    })*
                    _ => panic!("no request has the number {number}"),
                }
            }
        }
    };
}

calls! {
    80 GetConfig(Name) -> Name,
    350 SclassCreate(CreateClass) -> Done,
    352 SclassChange(ChangeClass) -> ShownClass,
    354 SclassDelete(DeleteClass) -> Done,
    356 SclassDuplicate(TwoClasses) -> Done,
    358 SclassRename(TwoClasses) -> Done,
    360 SclassList(ListClasses) -> Vec<ListedClass>,
    402 StatFs(StatFs) -> Space,
    404 Access(Access) -> Done,
    406 Lookup(Lookup) -> Looked,
    408 GetAttr(GetAttr) -> Attributes,
    410 SetAttr(SetAttr) -> Attributes,
    412 ReadLink(ReadLink) -> Text,
    414 Symlink(Symlink) -> Node,
    416 Mknod(Mknod) -> Node,
    418 Mkdir(Mkdir) -> Node,
    420 Unlink(Remove) -> Removed,
    422 Rmdir(Remove) -> Removed,
    424 Rename(Rename) -> Node,
    426 Link(Link) -> Node,
    428 ReadDir(ReadDir) -> Page,
    430 Open(Open) -> Opened,
    432 ReadChunk(WantChunk) -> ChunkPlace,
    434 WriteChunk(WantChunk) -> ChunkPlace,
    436 WriteChunkEnd(WriteChunkEnd) -> Done,
    438 AppendSlice(AppendSlice) -> Done,
    440 Check(Check) -> Checked,
    442 GetTrashTime(GetValue) -> TrashTimes,
    444 SetTrashTime(SetTrashTime) -> Changed,
    446 GetSclass(GetValue) -> Classes,
    448 SetSclass(SetSclass) -> Changed,
    450 GetTrash(GetTrash) -> Vec<Detached>,
    452 GetDetachedAttr(GetDetachedAttr) -> Attributes,
    454 GetTrashPath(OfNode) -> Text,
    456 SetTrashPath(SetTrashPath) -> Done,
    458 Undel(OfNode) -> Done,
    460 Purge(OfNode) -> Done,
    462 GetDirStats(OfNode) -> DirStats,
    464 Truncate(Truncate) -> Truncated,
    466 Repair(Repair) -> Repaired,
    468 Snapshot(Snapshot) -> Done,
    470 GetSustained(GetSustained) -> Vec<Detached>,
    472 GetEattr(GetValue) -> Eattrs,
    474 SetEattr(SetEattr) -> Changed,
    476 QuotaControl(QuotaControl) -> Quota,
    478 GetXattr(GetXattr) -> XattrValue,
    480 SetXattr(SetXattr) -> Done,
    482 Create(Create) -> Created,
    484 Parents(OfNode) -> Vec<InodeId>,
    486 Paths(OfNode) -> Paths,
    488 GetFacl(GetFacl) -> WireAcl,
    490 SetFacl(SetFacl) -> Done,
    492 Flock(Flock) -> Done,
    494 PosixLock(PosixLock) -> PosixLocked,
    496 ArchCtl(Archive) -> Archived,
    546 NodeInfo(NodeInfo) -> NodeParts,
}

/// One byte is a status; where that is 0 it is for the reply to say whether it may be.
fn read_result<T: Field>(
    reader: &mut Reader<'_>,
    form: Form,
) -> Result<Result<T, Status>, PacketError> {
    if reader.remaining() == 1
        && let Err(status) = Status::of_byte(reader.clone().u8()?)
    {
        reader.u8()?;
        return Ok(Err(status));
    }
    T::read(reader, form).map(Ok)
}

impl Call {
    /// The form of what this request is told, for a client of this version.
    #[must_use]
    pub fn form(&self, client: Version) -> Form {
        let mut form = Form::of(client);
        match self {
            Self::ReadDir(read) => {
                form.long = read.flags.unwrap_or(0) & flags::readdir::ATTRIBUTES != 0;
                form.resumable = read.page.is_some();
            }
            Self::SclassList(list) => form.long = list.long != 0,
            _ => {}
        }
        form
    }
}

impl Reply {
    /// The whole packet.
    #[must_use]
    pub fn encode(&self, id: MsgId, form: Form) -> Vec<u8> {
        let mut writer = Writer::new(self.number());
        writer.u32(id.0);
        self.write(&mut writer, form);
        writer.finish()
    }
}
