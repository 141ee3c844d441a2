//! The first step of each request.

use super::chunk;
use super::convert;
use super::listing::{Listing, list};
use super::session::Client;
use super::status;
use super::task::{Stage, Step, Task, World};
use crate::id::InodeId;
use crate::limits;
use crate::moosefs::client::class::Versioned;
use crate::moosefs::client::data::{AppendSlice, Truncate, WantChunk, WriteChunkEnd};
use crate::moosefs::client::inspect::Snapshot;
use crate::moosefs::client::lock::{Flock, PosixLock};
use crate::moosefs::client::subtree::{Archive, ClassName, QuotaControl, SetSclass};
use crate::moosefs::client::tree::{GetAttr, Mknod, Remove, Symlink};
use crate::moosefs::client::xattr::{GetXattr, SetXattr};
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::flags;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::op::{Disable, NodeKind, Op, OpenFlags, PosixOp, Query, SnapshotFlags};

/// The mask of access to write.
const WRITE: u8 = 2;
/// Clients of this version and later say themselves when times change.
const KEEPS_TIMES: Version = Version::new(3, 0, 74);

/// The first step of a request.
pub fn begin(task: &mut Task, client: &Client, world: World<'_>) -> Step {
    if let Call::ReadDir(read) = &task.call {
        let skip = read.page.as_ref().map_or(0, |page| page.next);
        let step = list(client, read, skip, Vec::new());
        task.stage = Stage::Listing(Listing {
            skip,
            ..Listing::default()
        });
        return step;
    }
    match first(&task.call, client, world) {
        Ok(step) => step,
        Err(status) => refuse(&task.call, client, status),
    }
}

/// A reply that says why it was not done.
pub fn refuse(call: &Call, client: &Client, why: Status) -> Step {
    let why = match call {
        Call::ReadChunk(_) | Call::WriteChunk(_) | Call::WriteChunkEnd(_) => {
            status::of_chunk_for_client(why, client.version)
        }
        _ => status::for_client(why, client.version),
    };
    tell(call.refused(why))
}

/// A reply after which nothing is left to do.
pub fn tell(reply: Reply) -> Step {
    Step::Tell { reply, then: None }
}

fn first(call: &Call, client: &Client, world: World<'_>) -> Result<Step, Status> {
    let caller = |by| convert::caller(client, by);
    let session = client.session;
    Ok(match call {
        Call::GetConfig(name) => {
            let value = world.options.get(name.as_bytes());
            let value = convert::name(value.cloned().unwrap_or_default());
            tell(Reply::GetConfig(Ok(value)))
        }
        Call::StatFs(_) => Step::Ask(Query::StatFs {
            caller: client.itself(),
            total: world.total,
            free: world.free,
        }),
        Call::Access(access) => Step::Ask(Query::Access {
            caller: caller(&access.by),
            inode: access.inode,
            mask: access.mask.bits(),
        }),
        Call::Lookup(lookup) => Step::Ask(Query::Lookup {
            caller: caller(&lookup.by),
            parent: lookup.parent,
            name: lookup.name.as_bytes().to_vec(),
        }),
        Call::GetAttr(get) => Step::Ask(get_attr(client, get)),
        Call::SetAttr(set) => Step::Do(Op::SetAttr {
            caller: caller(&set.by),
            inode: set.inode,
            opened: set.opened.unwrap_or(0) != 0,
            set: convert::set_attr(set).ok_or(Status::EINVAL)?,
        }),
        Call::ReadLink(read) => Step::Ask(Query::ReadLink {
            caller: client.itself(),
            inode: read.inode,
        }),
        Call::Symlink(make) => Step::Do(symlink(client, make)),
        Call::Mknod(make) => Step::Do(mknod(client, make)?),
        Call::Mkdir(make) => Step::Do(Op::Mkdir {
            caller: caller(&make.by),
            parent: make.parent,
            name: make.name.as_bytes().to_vec(),
            mode: make.mode,
            umask: make.umask.unwrap_or(0),
            copy_setgid: make.copy_setgid.unwrap_or(0) != 0,
        }),
        Call::Create(make) => Step::Do(Op::Create {
            caller: caller(&make.by),
            parent: make.parent,
            name: make.name.as_bytes().to_vec(),
            kind: NodeKind::File,
            mode: make.mode,
            umask: make.umask.unwrap_or(0),
            rdev: 0,
            open: true,
        }),
        Call::Unlink(Remove { parent, name, by }) => Step::Do(Op::Unlink {
            caller: caller(by),
            parent: *parent,
            name: name.as_bytes().to_vec(),
        }),
        Call::Rmdir(Remove { parent, name, by }) => Step::Do(Op::Rmdir {
            caller: caller(by),
            parent: *parent,
            name: name.as_bytes().to_vec(),
        }),
        Call::Rename(rename) => Step::Do(Op::Rename {
            caller: caller(&rename.by),
            src_parent: rename.src_parent,
            src_name: rename.src_name.as_bytes().to_vec(),
            dst_parent: rename.dst_parent,
            dst_name: rename.dst_name.as_bytes().to_vec(),
        }),
        Call::Link(link) => Step::Do(Op::Link {
            caller: caller(&link.by),
            inode: link.inode,
            parent: link.parent,
            name: link.name.as_bytes().to_vec(),
        }),
        Call::ReadDir(_) => unreachable!("a listing has its own beginning"),
        Call::Open(open) => Step::Do(Op::Open {
            caller: caller(&open.by),
            inode: open.inode,
            flags: OpenFlags {
                read: open.flags & flags::open::READ != 0,
                write: open.flags & flags::open::WRITE != 0,
                after_create: open.flags & flags::open::AFTER_CREATE != 0,
                truncate: open.flags & flags::open::TRUNCATE != 0,
            },
        }),
        Call::ReadChunk(read) => read_chunk(client, read)?,
        Call::WriteChunk(write) => write_chunk(client, write)?,
        Call::WriteChunkEnd(end) => Step::Do(write_chunk_end(client, end)?),
        Call::Truncate(truncate) => Step::Do(truncate_op(client, truncate)),
        Call::AppendSlice(append) => Step::Do(append_slice(client, append)),
        Call::Check(check) => chunk::check(client, check.inode, check.index),
        Call::Repair(repair) => Step::Ask(Query::Access {
            caller: caller(&repair.by),
            inode: repair.inode,
            mask: WRITE,
        }),
        Call::NodeInfo(info) => Step::Ask(Query::GetAttr {
            caller: client.itself(),
            inode: info.inode,
            opened: false,
        }),
        Call::GetDirStats(of) => Step::Ask(Query::DirStats {
            caller: client.itself(),
            inode: of.inode,
        }),
        Call::Parents(of) => Step::Ask(Query::Parents {
            caller: client.itself(),
            inode: of.inode,
        }),
        Call::Paths(of) => Step::Ask(Query::Paths {
            caller: client.itself(),
            inode: of.inode,
        }),
        Call::Snapshot(snapshot) => Step::Do(snapshot_op(client, snapshot)?),
        Call::GetTrashTime(get) => Step::Ask(Query::GetTrashTime {
            caller: client.itself(),
            inode: get.inode,
            recursive: get.mode != 0,
        }),
        Call::GetSclass(get) => Step::Ask(Query::GetSclass {
            caller: client.itself(),
            inode: get.inode,
            recursive: get.mode != 0,
        }),
        Call::GetEattr(get) => Step::Ask(Query::GetEattr {
            caller: client.itself(),
            inode: get.inode,
            recursive: get.mode != 0,
        }),
        Call::SetTrashTime(set) => {
            let (mode, recursive) = convert::set_mode(set.mode);
            Step::Do(Op::SetTrashTime {
                caller: convert::user(client, set.uid),
                inode: set.inode,
                seconds: set.seconds,
                mode: mode.ok_or(Status::EINVAL)?,
                recursive,
            })
        }
        Call::SetEattr(set) => {
            let (mode, recursive) = convert::set_mode(set.mode);
            Step::Do(Op::SetEattr {
                caller: convert::user(client, set.uid),
                inode: set.inode,
                eattr: set.eattr,
                mode: mode.ok_or(Status::EINVAL)?,
                recursive,
            })
        }
        Call::SetSclass(set) => set_sclass(client, set)?,
        Call::ArchCtl(archive) => archive_step(client, archive)?,
        Call::QuotaControl(QuotaControl { inode, .. }) => Step::Ask(Query::GetQuota {
            caller: client.itself(),
            inode: *inode,
        }),
        Call::GetXattr(get) => Step::Ask(get_xattr(client, get)?),
        Call::SetXattr(set) => Step::Do(set_xattr(client, set)?),
        Call::GetFacl(get) => Step::Ask(Query::GetAcl {
            caller: client.itself(),
            inode: get.inode,
            kind: convert::acl_kind(get.kind).ok_or(Status::EINVAL)?,
        }),
        Call::SetFacl(set) => Step::Do(Op::SetAcl {
            caller: convert::user(client, set.uid),
            inode: set.inode,
            kind: convert::acl_kind(set.kind).ok_or(Status::EINVAL)?,
            acl: convert::acl(&set.acl),
        }),
        Call::Flock(lock) => Step::Do(flock(client, lock)?),
        Call::PosixLock(lock) => posix_lock(client, lock)?,
        Call::GetTrash(get) => Step::Ask(Query::ListTrash {
            session,
            bucket: get.bucket.and_then(bucket),
        }),
        Call::GetSustained(_) => Step::Ask(Query::ListSustained { session }),
        Call::GetDetachedAttr(get) => {
            if get.kind.unwrap_or(0) > 2 {
                return Err(Status::EINVAL);
            }
            let inode = get.inode;
            Step::Ask(Query::DetachedAttr { session, inode })
        }
        Call::GetTrashPath(of) => {
            let inode = of.inode;
            Step::Ask(Query::TrashPath { session, inode })
        }
        Call::SetTrashPath(set) => Step::Do(Op::SetTrashPath {
            caller: client.itself(),
            inode: set.inode,
            path: judged(without_nuls(&set.path.0), limits::TRASH_PATH_BYTES_MAX).to_vec(),
        }),
        Call::Undel(of) => Step::Do(Op::Undelete {
            caller: client.itself(),
            inode: of.inode,
        }),
        Call::Purge(of) => Step::Do(Op::PurgeTrash {
            caller: client.itself(),
            inode: of.inode,
        }),
        Call::SclassCreate(create) => {
            admin(client)?;
            let Versioned::Known(block) = &create.class else {
                return Err(Status::EINVAL);
            };
            let class = convert::storage_class(&create.name, block).ok_or(Status::EINVAL)?;
            Step::Do(Op::CreateClass { session, class })
        }
        Call::SclassChange(change) => {
            let Versioned::Known(known) = &change.change else {
                return Err(Status::EINVAL);
            };
            if known.mask == 0 {
                return Ok(Step::Ask(Query::ListClasses));
            }
            admin(client)?;
            let name = change.name.as_bytes().to_vec();
            let change = convert::class_change(known).ok_or(Status::EINVAL)?;
            Step::Do(Op::ChangeClass {
                session,
                name,
                change,
            })
        }
        Call::SclassDelete(delete) => Step::Do(Op::DeleteClass {
            session,
            name: delete.name.as_bytes().to_vec(),
        }),
        Call::SclassDuplicate(two) => Step::Do(Op::DuplicateClass {
            session,
            old: two.old.as_bytes().to_vec(),
            new: two.new.as_bytes().to_vec(),
        }),
        Call::SclassRename(two) => Step::Do(Op::RenameClass {
            session,
            old: two.old.as_bytes().to_vec(),
            new: two.new.as_bytes().to_vec(),
        }),
        Call::SclassList(_) => Step::Ask(Query::ListClasses),
    })
}

fn admin(client: &Client) -> Result<(), Status> {
    match client.params.flags.admin {
        true => Ok(()),
        false => Err(Status::EPERM_NOTADMIN),
    }
}

fn get_attr(client: &Client, get: &GetAttr) -> Query {
    let caller = match &get.by {
        Some(by) => client.caller(by.uid, vec![by.gid]),
        None => client.itself(),
    };
    Query::GetAttr {
        caller,
        inode: get.inode,
        opened: get.opened.unwrap_or(0) != 0,
    }
}

/// The target without the NUL that has to be at its end. Whether the rest can be a target is for
/// the namespace to say.
fn symlink(client: &Client, make: &Symlink) -> Op {
    let target = &make.target.0;
    let target = target.strip_suffix(b"\0").unwrap_or(target);
    let target = judged(target, limits::SYMLINK_BYTES_MAX);
    Op::Symlink {
        caller: convert::caller(client, &make.by),
        parent: make.parent,
        name: make.name.as_bytes().to_vec(),
        target: target.to_vec(),
    }
}

fn mknod(client: &Client, make: &Mknod) -> Result<Op, Status> {
    let kind = convert::made_by_mknod(make.kind).ok_or(Status::EINVAL)?;
    let device = matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice);
    Ok(Op::Create {
        caller: convert::caller(client, &make.by),
        parent: make.parent,
        name: make.name.as_bytes().to_vec(),
        kind,
        mode: make.mode,
        umask: make.umask.unwrap_or(0),
        rdev: if device { make.rdev } else { 0 },
        open: false,
    })
}

fn forbidden(client: &Client, what: Disable) -> Result<(), Status> {
    match client.forbids(what) {
        true => Err(Status::EPERM),
        false => Ok(()),
    }
}

fn read_chunk(client: &Client, read: &WantChunk) -> Result<Step, Status> {
    forbidden(client, Disable::Read)?;
    Ok(Step::Ask(Query::ReadChunk {
        caller: client.itself(),
        inode: read.inode,
        index: read.index,
    }))
}

/// Clients that keep times themselves never let the master touch them.
fn may_touch_times(client: &Client, asked: u8) -> bool {
    client.version < KEEPS_TIMES && asked & flags::chunk::MAY_TOUCH_TIMES != 0
}

fn write_chunk(client: &Client, write: &WantChunk) -> Result<Step, Status> {
    forbidden(client, Disable::Write)?;
    if client.params.flags.read_only {
        return Err(Status::EROFS);
    }
    // Clients that say nothing are those whose times are the master's business.
    let asked = write.flags.unwrap_or(flags::chunk::MAY_TOUCH_TIMES);
    Ok(Step::Do(Op::WriteChunk {
        caller: client.itself(),
        inode: write.inode,
        index: write.index,
        go_on: asked & flags::chunk::GO_ON != 0,
        // Only the leader knows whether copies have changed: it raises the version where it must.
        chunk_moved: false,
        may_touch_times: may_touch_times(client, asked),
    }))
}

fn write_chunk_end(client: &Client, end: &WriteChunkEnd) -> Result<Op, Status> {
    forbidden(client, Disable::Write)?;
    let asked = end.flags.unwrap_or(flags::chunk::MAY_TOUCH_TIMES);
    Ok(Op::WriteChunkEnd {
        caller: client.itself(),
        inode: end.inode,
        index: end.index.unwrap_or(0),
        chunk: end.chunk,
        length: end.length,
        may_touch_times: may_touch_times(client, asked),
    })
}

fn truncate_op(client: &Client, truncate: &Truncate) -> Op {
    Op::Truncate {
        caller: convert::caller(client, &truncate.by),
        inode: truncate.inode,
        length: truncate.length,
        mode: convert::truncate_mode(truncate.flags, &truncate.by),
    }
}

/// A slice that is not said is the whole file.
fn append_slice(client: &Client, append: &AppendSlice) -> Op {
    let signed = |position: u32, negative: bool| match negative {
        true => -i64::from(position),
        false => i64::from(position),
    };
    let (from, to) = match append.slice {
        Some(slice) => (
            signed(slice.from, slice.flags & flags::slice::FROM_NEGATIVE != 0),
            signed(slice.to, slice.flags & flags::slice::TO_NEGATIVE != 0),
        ),
        None => (0, i64::from(u32::MAX)),
    };
    Op::AppendSlice {
        caller: convert::caller(client, &append.by),
        dst: append.inode,
        src: append.src,
        from,
        to,
    }
}

fn snapshot_op(client: &Client, snapshot: &Snapshot) -> Result<Op, Status> {
    let caller = convert::caller(client, &snapshot.by);
    let asked = |bit: u8| snapshot.mode & bit != 0;
    let name = snapshot.name.as_bytes().to_vec();
    if asked(flags::snapshot::DELETE) {
        if snapshot.inode != InodeId(0) {
            return Err(Status::EINVAL);
        }
        return Ok(Op::RemoveSnapshot {
            caller,
            parent: snapshot.dst_parent,
            name,
            force: asked(flags::snapshot::FORCE),
        });
    }
    Ok(Op::Snapshot {
        caller,
        src: snapshot.inode,
        dst_parent: snapshot.dst_parent,
        name,
        flags: SnapshotFlags {
            overwrite: asked(flags::snapshot::OVERWRITE),
            // Without a umask nothing can be made as a copy would be.
            like_cp: asked(flags::snapshot::LIKE_CP) && snapshot.umask.is_some(),
            keep_hardlinks: asked(flags::snapshot::HARD_LINKS),
        },
        umask: snapshot.umask.unwrap_or(0),
    })
}

/// By name the classes have to be looked up first.
fn set_sclass(client: &Client, set: &SetSclass) -> Result<Step, Status> {
    forbidden(client, Disable::SetSclass)?;
    match &set.to {
        ClassName::Named(_) => Ok(Step::Ask(Query::ListClasses)),
        ClassName::Goal(goal @ 1..=9) => {
            let (mode, recursive) = convert::set_mode(set.mode);
            Ok(Step::Do(set_class(
                client,
                set,
                *goal,
                mode.map_or(Some(*goal), |_| None),
                recursive,
            )))
        }
        ClassName::Goal(_) => Err(Status::EINVAL),
    }
}

/// Sets a class by its number; an exchange is a set of those that have the other one.
pub fn set_class(
    client: &Client,
    set: &SetSclass,
    class: u8,
    only: Option<u8>,
    recursive: bool,
) -> Op {
    use crate::namespace::op::SetMode;
    let (mode, _) = convert::set_mode(set.mode);
    Op::SetSclass {
        caller: convert::user(client, set.uid),
        inode: set.inode,
        class,
        only,
        mode: mode.unwrap_or(SetMode::Set),
        recursive,
    }
}

fn archive_step(client: &Client, archive: &Archive) -> Result<Step, Status> {
    let inode = archive.inode;
    match (archive.what, archive.uid) {
        (flags::archive::GET, None) => Ok(Step::Ask(Query::GetArchived {
            caller: client.itself(),
            inode,
        })),
        (what @ (flags::archive::SET | flags::archive::CLEAR), Some(uid)) => {
            Ok(Step::Do(Op::SetArchived {
                caller: convert::user(client, uid),
                inode,
                archived: what == flags::archive::SET,
            }))
        }
        _ => Err(Status::EINVAL),
    }
}

fn get_xattr(client: &Client, get: &GetXattr) -> Result<Query, Status> {
    if get.mode > flags::xattr_get::LENGTH {
        return Err(Status::EINVAL);
    }
    let caller = convert::caller(client, &get.by);
    let (inode, opened) = (get.inode, get.opened != 0);
    let name = get.name.as_bytes().to_vec();
    Ok(match name.is_empty() {
        true => Query::ListXattr {
            caller,
            inode,
            opened,
        },
        false => Query::GetXattr {
            caller,
            inode,
            opened,
            name,
        },
    })
}

fn set_xattr(client: &Client, set: &SetXattr) -> Result<Op, Status> {
    Ok(Op::SetXattr {
        caller: convert::caller(client, &set.by),
        inode: set.inode,
        opened: set.opened != 0,
        name: set.name.as_bytes().to_vec(),
        value: judged(&set.value.0, limits::XATTR_VALUE_BYTES_MAX).to_vec(),
        mode: convert::xattr_mode(set.mode).ok_or(Status::EINVAL)?,
    })
}

fn flock(client: &Client, lock: &Flock) -> Result<Op, Status> {
    Ok(Op::Flock {
        session: client.session,
        inode: client.real(lock.inode),
        owner: lock.owner,
        reqid: lock.request,
        op: convert::flock_op(lock.what).ok_or(Status::EINVAL)?,
    })
}

fn posix_lock(client: &Client, lock: &PosixLock) -> Result<Step, Status> {
    let session = client.session;
    let inode = client.real(lock.inode);
    let kind = convert::lock_kind(lock.kind).ok_or(Status::EINVAL)?;
    let op = match lock.what {
        flags::posix::GET => {
            return Ok(Step::Ask(Query::TestPosixLock {
                session,
                inode,
                owner: lock.owner,
                kind,
                start: lock.start,
                end: lock.end,
            }));
        }
        flags::posix::SET => PosixOp::Set,
        flags::posix::TRY => PosixOp::Try,
        flags::posix::INTERRUPT => PosixOp::Interrupt,
        _ => return Err(Status::EINVAL),
    };
    Ok(Step::Do(Op::PosixLock {
        session,
        inode,
        owner: lock.owner,
        pid: lock.pid,
        reqid: lock.request,
        op,
        kind,
        start: lock.start,
        end: lock.end,
    }))
}

/// Numbers beyond the buckets mean all of them.
fn bucket(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number < 4_096)
}

/// As much of something as is needed to see that it is too long: the namespace refuses it in its
/// turn, and no entry of the log grows without a bound.
fn judged(bytes: &[u8], bytes_max: usize) -> &[u8] {
    &bytes[..bytes.len().min(bytes_max + 1)]
}

fn without_nuls(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"\0") {
        path = shorter;
    }
    path
}
