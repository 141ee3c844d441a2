//! What came of a step: the next step, or the reply.

use super::begin::{refuse, set_class, tell};
use super::chunk;
use super::convert;
use super::listing::{ask_attr, on_page, touch_node};
use super::session::Client;
use super::status;
use super::task::{Came, LockWait, Stage, Step, Task, World};
use crate::chunks::ChunkWish;
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::moosefs::client::class::{ListedClass, ShownClass, Versioned};
use crate::moosefs::client::data::{ChunkPlace, Opened, Truncated};
use crate::moosefs::client::inspect::DirStats;
use crate::moosefs::client::lock::{InTheWay, PosixLocked};
use crate::moosefs::client::subtree::{
    ArchiveChanges, ArchiveCounts, Archived, Changed, ClassName, Classes, Eattrs, Quota, SetSclass,
    TrashTimes,
};
use crate::moosefs::client::trash::Detached;
use crate::moosefs::client::tree::{Created, Done, Looked, Node, Removed, Space};
use crate::moosefs::client::xattr::XattrValue;
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::fields::{Blob, Text};
use crate::moosefs::flags;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Attr, HeldLock, NodeKind, Op, Query, StorageClass};
use crate::time::WallTime;

/// Clients of this version and later know files that may only be appended to.
const KNOWS_APPEND_ONLY: Version = Version::new(3, 0, 113);
/// Masks of access without W.
const ACCESS_WITHOUT_WRITE: u16 = 0x33;
/// Masks of access with R or W.
const ACCESS_TO_DATA: u16 = 0xFC;
const NO_DATA_CACHE: u8 = 0x08;
const APPEND_ONLY: u8 = 0x40;
const IMMUTABLE: u8 = 0x80;

/// The next step.
///
/// # Panics
/// When something else came than was asked for.
pub fn go_on(task: &mut Task, client: &Client, world: World<'_>, came: Came) -> Step {
    match came {
        Came::Answer(Ok(answer)) => on_answer(task, client, world, answer),
        Came::Outcome(Ok(reply)) => on_outcome(task, client, reply),
        Came::Chunks(answer) => chunk::on_answer(task, client, answer),
        Came::Answer(Err(error)) | Came::Outcome(Err(error)) => on_refusal(task, client, error),
    }
}

/// A refusal ends most requests. Where the reply is there already and only an addition to it is
/// missing, the reply stands.
fn on_refusal(task: &mut Task, client: &Client, error: FsError) -> Step {
    match std::mem::replace(&mut task.stage, Stage::First) {
        Stage::Touch(reply) | Stage::Looked(reply) => tell(reply),
        Stage::Eattr(reply) if matches!(task.call, Call::Open(_)) => tell(reply),
        _ => refuse(&task.call, client, status::of_refusal(error)),
    }
}

fn on_answer(task: &mut Task, client: &Client, world: World<'_>, answer: Answer) -> Step {
    match (std::mem::replace(&mut task.stage, Stage::First), answer) {
        (Stage::Listing(listing), Answer::Entries { entries, done }) => {
            let Call::ReadDir(read) = &task.call else {
                unreachable!("only a READDIR lists a directory");
            };
            match on_page(client, read, world.now, listing, entries, done) {
                Ok((step, stage)) => {
                    task.stage = stage;
                    step
                }
                Err(status) => refuse(&task.call, client, status),
            }
        }
        (Stage::Within(within), Answer::Entries { entries, done }) => {
            chunk::on_names(task, client, within, &entries, done)
        }
        (Stage::Eattr(reply), Answer::Counts { files, dirs }) => {
            let eattr = files.first().or(dirs.first());
            let eattr = eattr.map_or(0, |(eattr, _)| *eattr as u8);
            match writes_what_it_may_not(client, &task.call, eattr) {
                true => refuse(&task.call, client, Status::EACCES),
                false => {
                    let reply = with_eattr(client, reply, eattr);
                    chunk::maybe_place(task, client, reply)
                }
            }
        }
        (Stage::Looked(reply), Answer::Chunks { chunks, length, .. }) => {
            chunk::on_only_chunk(task, world.now, reply, &chunks, length)
        }
        (Stage::Touch(reply), Answer::Attr(attr)) => Step::Tell {
            then: touch(client, world.now, &task.call, &attr),
            reply,
        },
        (Stage::Names(Answer::Counts { files, dirs }), Answer::Classes(classes)) => {
            let named = |counts| named_classes(counts, &classes);
            let classes = Classes {
                files: named(files),
                dirs: named(dirs),
            };
            tell(Reply::GetSclass(Ok(classes)))
        }
        (Stage::Show, Answer::Classes(classes)) => show_class(&task.call, client, &classes),
        (Stage::QuotaSet, Answer::Quota(state)) => tell(quota(&state)),
        (
            Stage::Counting(counts),
            Answer::Chunks {
                chunks,
                length,
                done,
            },
        ) => chunk::on_chunks(task, chunks, length, done, counts),
        (Stage::Repairing(repairing), Answer::Chunks { chunks, done, .. }) => {
            chunk::on_chunks_to_repair(task, client, repairing, &chunks, done)
        }
        (Stage::First, answer) => first_answer(task, client, world, answer),
        (stage, answer) => panic!("{answer:?} came, at {stage:?}"),
    }
}

/// What the first question of a request was answered with.
fn first_answer(task: &mut Task, client: &Client, world: World<'_>, answer: Answer) -> Step {
    if let Answer::Chunks {
        chunks,
        length,
        done,
    } = answer
    {
        if let Call::Repair(_) = &task.call {
            let repairing = chunk::Repairing::of_file(length);
            return chunk::on_chunks_to_repair(task, client, repairing, &chunks, done);
        }
        return chunk::on_chunks(task, chunks, length, done, [0; 12]);
    }
    if let Call::NodeInfo(_) = &task.call {
        return chunk::on_node(task, client, answer);
    }
    let call = &task.call;
    let reply = match (call, answer) {
        (Call::Access(_), Answer::Done) => Reply::Access(Ok(Done)),
        (Call::Repair(repair), Answer::Done) => {
            return chunk::list_to_repair(client, repair.inode, 0);
        }
        (Call::GetAttr(_), Answer::Attr(attr)) => Reply::GetAttr(Ok(convert::attributes(&attr))),
        (Call::GetDetachedAttr(_), Answer::Attr(attr)) => {
            Reply::GetDetachedAttr(Ok(convert::attributes(&attr)))
        }
        (
            Call::StatFs(_),
            Answer::StatFs {
                total,
                available,
                trash,
                sustained,
                inodes,
            },
        ) => Reply::StatFs(Ok(Space {
            total,
            available,
            free: world.free,
            trash,
            sustained,
            inodes,
        })),
        (
            Call::Lookup(_),
            Answer::Looked {
                inode,
                attr,
                access,
            },
        ) => {
            task.stage = Stage::Eattr(looked(client, inode, &attr, access));
            return ask_eattr(client, inode);
        }
        (Call::ReadLink(read), Answer::Bytes(target)) => {
            let inode = read.inode;
            task.stage = Stage::Touch(Reply::ReadLink(Ok(Text(target))));
            return ask_attr(client, inode);
        }
        (Call::GetTrashPath(_), Answer::Bytes(path)) => Reply::GetTrashPath(Ok(Text(path))),
        (Call::GetXattr(get), Answer::Bytes(value)) => {
            Reply::GetXattr(xattr_value(get.mode, value))
        }
        (Call::GetFacl(_), Answer::Acl(acl)) => Reply::GetFacl(Ok(convert::wire_acl(acl))),
        (Call::PosixLock(_), Answer::PosixLock(lock)) => {
            Reply::PosixLock(Ok(PosixLocked::InTheWay(in_the_way(lock))))
        }
        (Call::ReadChunk(_), Answer::Chunk { info, length }) => {
            if info.chunk != ChunkId::HOLE {
                return Step::Chunk(ChunkWish::Read { info, length });
            }
            Reply::ReadChunk(Ok(ChunkPlace {
                length,
                chunk: ChunkId::HOLE,
                version: 0,
                locations: Vec::new(),
            }))
        }
        (Call::GetDirStats(_), Answer::DirStats(stats)) => {
            let sums = convert::sums(&stats);
            Reply::GetDirStats(Ok(DirStats {
                short: client.tool,
                inodes: sums.inodes,
                dirs: convert::narrow(stats.dirs),
                files: convert::narrow(stats.files),
                chunks: convert::narrow(stats.chunks),
                length: sums.length,
                size: sums.size,
                real_size: sums.real_size,
            }))
        }
        (Call::GetTrashTime(_), Answer::Counts { files, dirs }) => {
            Reply::GetTrashTime(Ok(TrashTimes { files, dirs }))
        }
        (Call::GetEattr(_), Answer::Counts { files, dirs }) => {
            let folded = |counts| folded_eattrs(client.version, counts);
            Reply::GetEattr(Ok(Eattrs {
                files: folded(files),
                dirs: folded(dirs),
            }))
        }
        (Call::GetSclass(_), counts @ Answer::Counts { .. }) => {
            task.stage = Stage::Names(counts);
            return Step::Ask(Query::ListClasses);
        }
        (
            Call::ArchCtl(_),
            Answer::Archive {
                archived,
                not,
                files,
                partial,
                files_not,
            },
        ) => Reply::ArchCtl(Ok(Archived::Counts(ArchiveCounts {
            chunks: archived,
            chunks_not: not,
            files,
            files_partly: partial,
            files_not,
        }))),
        (Call::QuotaControl(control), Answer::Quota(state)) => {
            let sets = control.limits.is_some();
            if control.flags == 0 {
                return tell(quota(&state));
            }
            let limits = convert::quota_after(control.flags, &state, control.limits.as_ref());
            // To take away what is not there changes nothing, but is judged all the same.
            debug_assert!(limits.is_some() || !sets, "limits that are set are there");
            let inode = control.inode;
            task.stage = Stage::QuotaSet;
            return Step::Do(Op::SetQuota {
                caller: client.itself(),
                inode,
                limits,
            });
        }
        (Call::Parents(_), Answer::Inodes(inodes)) => Reply::Parents(Ok(inodes)),
        (Call::Paths(_), Answer::Paths(paths)) => {
            Reply::Paths(Ok(paths.into_iter().map(Blob).collect()))
        }
        (Call::GetTrash(_), Answer::Detached(found)) => Reply::GetTrash(Ok(detached(found))),
        (Call::GetSustained(_), Answer::Detached(found)) => {
            Reply::GetSustained(Ok(detached(found)))
        }
        (Call::SclassList(list), Answer::Classes(classes)) => {
            Reply::SclassList(Ok(listed_classes(&classes, list.long != 0)))
        }
        (Call::SclassChange(_), Answer::Classes(classes)) => {
            return show_class(call, client, &classes);
        }
        (Call::SetSclass(set), Answer::Classes(classes)) => {
            return match set_class_by_name(client, set, &classes) {
                Ok(op) => Step::Do(op),
                Err(status) => refuse(call, client, status),
            };
        }
        (call, answer) => panic!("{answer:?} came for {}", call.name()),
    };
    tell(reply)
}

/// What the command of a request came to.
fn on_outcome(task: &mut Task, client: &Client, came: op::Reply) -> Step {
    use op::Reply as Came;
    let call = &task.call;
    let reply = match (call, came) {
        (Call::SetAttr(_), Came::Attr(attr)) => Reply::SetAttr(Ok(convert::attributes(&attr))),
        (Call::Symlink(_), Came::Node { inode, attr }) => Reply::Symlink(Ok(node(inode, &attr))),
        (Call::Mknod(_), Came::Node { inode, attr }) => Reply::Mknod(Ok(node(inode, &attr))),
        (Call::Mkdir(_), Came::Node { inode, attr }) => Reply::Mkdir(Ok(node(inode, &attr))),
        (Call::Rename(_), Came::Node { inode, attr }) => Reply::Rename(Ok(node(inode, &attr))),
        (Call::Link(_), Came::Node { inode, attr }) => Reply::Link(Ok(node(inode, &attr))),
        (Call::Create(_), Came::Node { inode, attr }) => Reply::Create(Ok(Created {
            flags: direct(&attr, flags::opened::DIRECT),
            inode,
            attributes: convert::uncached(&attr),
        })),
        (Call::Unlink(_), Came::Removed { inode }) => Reply::Unlink(Ok(Removed(inode))),
        (Call::Rmdir(_), Came::Removed { inode }) => Reply::Rmdir(Ok(Removed(inode))),
        (Call::Open(open), Came::Attr(attr)) => {
            let inode = open.inode;
            task.stage = Stage::Eattr(Reply::Open(Ok(Opened {
                flags: direct(&attr, flags::opened::DIRECT),
                attributes: convert::uncached(&attr),
            })));
            return ask_eattr(client, inode);
        }
        (
            Call::Truncate(_),
            Came::Truncated {
                previous_length,
                attr,
            },
        ) => Reply::Truncate(Ok(Truncated {
            previous: previous_length,
            attributes: convert::attributes(&attr),
        })),
        (Call::Truncate(truncate), Came::TruncateChunk { index, chunk, .. }) => {
            let end = Box::new(Op::TruncateEnd {
                caller: convert::caller(client, &truncate.by),
                inode: truncate.inode,
                index,
                chunk,
                length: truncate.length,
            });
            return Step::Chunk(ChunkWish::Cut { chunk, end });
        }
        (
            Call::WriteChunk(write),
            Came::Chunk {
                chunk,
                version,
                length,
                ..
            },
        ) => {
            return Step::Chunk(ChunkWish::Write {
                inode: write.inode,
                index: write.index,
                chunk,
                version,
                length,
            });
        }
        (Call::WriteChunkEnd(_), Came::Done) => Reply::WriteChunkEnd(Ok(Done)),
        (Call::AppendSlice(_), Came::Done) => Reply::AppendSlice(Ok(Done)),
        (Call::Snapshot(_), Came::Done) => Reply::Snapshot(Ok(Done)),
        (Call::SetXattr(_), Came::Done) => Reply::SetXattr(Ok(Done)),
        (Call::SetFacl(_), Came::Done) => Reply::SetFacl(Ok(Done)),
        (Call::SetTrashPath(_), Came::Done) => Reply::SetTrashPath(Ok(Done)),
        (Call::Undel(_), Came::Done) => Reply::Undel(Ok(Done)),
        (Call::Purge(_), Came::Done) => Reply::Purge(Ok(Done)),
        (Call::SetTrashTime(_), changed @ Came::Changed { .. }) => {
            Reply::SetTrashTime(Ok(counts(&changed)))
        }
        (Call::SetEattr(_), changed @ Came::Changed { .. }) => {
            Reply::SetEattr(Ok(counts(&changed)))
        }
        (Call::SetSclass(_), changed @ Came::Changed { .. }) => {
            Reply::SetSclass(Ok(counts(&changed)))
        }
        (
            Call::ArchCtl(_),
            Came::Changed64 {
                changed,
                unchanged,
                refused,
            },
        ) => Reply::ArchCtl(Ok(Archived::Changes(ArchiveChanges {
            changed,
            unchanged,
            refused,
        }))),
        (Call::QuotaControl(control), Came::Done) => {
            let inode = control.inode;
            task.stage = Stage::QuotaSet;
            return Step::Ask(Query::GetQuota {
                caller: client.itself(),
                inode,
            });
        }
        (Call::Flock(_) | Call::PosixLock(_), Came::Done) => lock_ended(call, true),
        (Call::Flock(lock), Came::LockWaiting) => {
            return Step::Wait(LockWait {
                inode: client.real(lock.inode),
                owner: lock.owner,
                request: lock.request,
                posix: false,
            });
        }
        (Call::PosixLock(lock), Came::LockWaiting) => {
            return Step::Wait(LockWait {
                inode: client.real(lock.inode),
                owner: lock.owner,
                request: lock.request,
                posix: true,
            });
        }
        (Call::SclassCreate(_), Came::Class(_)) => Reply::SclassCreate(Ok(Done)),
        (Call::SclassDelete(_), Came::Done) => Reply::SclassDelete(Ok(Done)),
        (Call::SclassDuplicate(_), Came::Class(_)) => Reply::SclassDuplicate(Ok(Done)),
        (Call::SclassRename(_), Came::Done) => Reply::SclassRename(Ok(Done)),
        (Call::SclassChange(_), Came::Class(_)) => {
            task.stage = Stage::Show;
            return Step::Ask(Query::ListClasses);
        }
        (call, came) => panic!("{came:?} came for {}", call.name()),
    };
    tell(reply)
}

/// The reply to a request for a lock, once it is known.
pub fn lock_ended(call: &Call, granted: bool) -> Reply {
    let result = match granted {
        true => Ok(()),
        false => Err(Status::EINTR),
    };
    match call {
        Call::Flock(_) => Reply::Flock(result.map(|()| Done)),
        Call::PosixLock(_) => Reply::PosixLock(result.map(|()| PosixLocked::Done)),
        other => panic!("{} waits for no lock", other.name()),
    }
}

fn ask_eattr(client: &Client, inode: InodeId) -> Step {
    Step::Ask(Query::GetEattr {
        caller: client.itself(),
        inode,
        recursive: false,
    })
}

fn node(inode: InodeId, attr: &Attr) -> Node {
    Node {
        inode,
        attributes: convert::attributes(attr),
    }
}

/// `bit` of a file whose data is not to be cached.
fn direct(attr: &Attr, bit: u8) -> u8 {
    match attr.flags & flags::shown::DATA_CACHE {
        0 => bit,
        _ => 0,
    }
}

/// Whether a node is a file whose data the caller may read or write, by what is told of its name.
pub(super) fn has_data(kind: u8, looked: u16) -> bool {
    kind == flags::node::FILE && looked & ACCESS_TO_DATA != 0
}

/// What is told of a name. Nobody here knows who else wrote, so a client's data is not said to be
/// current.
fn looked(client: &Client, inode: InodeId, attr: &Attr, access: u8) -> Reply {
    let access = u16::from(access);
    let has_data = attr.kind == NodeKind::File && access & ACCESS_TO_DATA != 0;
    let read_only = match client.params.flags.read_only {
        true => flags::looked::READ_ONLY,
        false => 0,
    };
    Reply::Lookup(Ok(Looked {
        inode,
        attributes: match has_data {
            true => convert::uncached(attr),
            false => convert::attributes(attr),
        },
        flags: access | read_only,
        chunk: None,
    }))
}

/// Whether a client that knows nothing of files that may only be appended to opens one to write.
fn writes_what_it_may_not(client: &Client, call: &Call, eattr: u8) -> bool {
    let writes = match call {
        Call::Open(open) => open.flags & flags::open::WRITE != 0,
        _ => false,
    };
    writes && eattr & APPEND_ONLY != 0 && client.version < KNOWS_APPEND_ONLY
}

/// A reply with what a node's extra attributes add to it. Old clients know nothing of files that
/// may only be appended to: they may not write them.
fn with_eattr(client: &Client, mut reply: Reply, eattr: u8) -> Reply {
    let set = |bit: u8| eattr & bit != 0;
    let old = client.version < KNOWS_APPEND_ONLY;
    match &mut reply {
        Reply::Lookup(Ok(looked)) => {
            for (bit, told) in [
                (NO_DATA_CACHE, flags::looked::DIRECT),
                (APPEND_ONLY, flags::looked::APPEND_ONLY),
                (IMMUTABLE, flags::looked::IMMUTABLE),
            ] {
                if set(bit) {
                    looked.flags |= told;
                }
            }
            if old && set(APPEND_ONLY) {
                looked.flags &= !flags::looked::ACCESS | ACCESS_WITHOUT_WRITE;
            }
        }
        Reply::Open(Ok(opened)) if set(APPEND_ONLY) => {
            opened.flags |= flags::opened::APPEND_ONLY;
        }
        _ => {}
    }
    reply
}

fn touch(client: &Client, now: WallTime, call: &Call, attr: &Attr) -> Option<Op> {
    match call {
        Call::ReadLink(read) => touch_node(client, now, read.inode, attr),
        Call::ReadDir(read) => touch_node(client, now, read.inode, attr),
        other => panic!("{} touches no time", other.name()),
    }
}

fn xattr_value(mode: u8, value: Vec<u8>) -> Result<XattrValue, Status> {
    if value.len() > limits::XATTR_VALUE_BYTES_MAX {
        return Err(Status::ERANGE);
    }
    Ok(match mode {
        flags::xattr_get::DATA if !value.is_empty() => XattrValue::Value(value),
        _ => XattrValue::Length(value.len() as u32),
    })
}

fn in_the_way(lock: Option<HeldLock>) -> InTheWay {
    match lock {
        Some(lock) => InTheWay {
            pid: lock.pid,
            kind: match lock.exclusive {
                true => flags::posix::WRITE,
                false => flags::posix::READ,
            },
            start: lock.start,
            end: lock.end,
        },
        None => InTheWay {
            pid: 0,
            kind: flags::posix::UNLOCK,
            start: 0,
            end: 0,
        },
    }
}

fn counts(came: &op::Reply) -> Changed {
    let op::Reply::Changed {
        changed,
        unchanged,
        refused,
        over_quota,
    } = came
    else {
        panic!("{came:?} has no counts");
    };
    Changed {
        changed: *changed,
        unchanged: *unchanged,
        refused: *refused,
        over_quota: (*over_quota > 0).then_some(*over_quota),
    }
}

fn quota(state: &op::QuotaState) -> Reply {
    Reply::QuotaControl(Ok(Quota {
        flags: convert::quota_bits(state),
        // What a quota has that was given none; tools show it as the default.
        grace_seconds: match state.grace_seconds {
            limits::QUOTA_GRACE_SECONDS => 0,
            other => other,
        },
        soft: convert::wire_limits(&state.soft),
        hard: convert::wire_limits(&state.hard),
        used: convert::sums(&state.used),
    }))
}

fn detached(found: Vec<(Vec<u8>, InodeId)>) -> Vec<Detached> {
    let shown = |(name, inode)| Detached {
        name: convert::name(name),
        inode,
    };
    found.into_iter().map(shown).collect()
}

/// Extra attributes as a client of this version knows them, counted again.
fn folded_eattrs(client: Version, counts: Vec<(u32, u32)>) -> Vec<(u8, u32)> {
    let known: u32 = match client {
        _ if client < Version::new(3, 0, 30) => 0x0F,
        _ if client < Version::new(3, 0, 113) => 0x1F,
        _ => 0xFF,
    };
    let mut folded = std::collections::BTreeMap::new();
    for (eattr, count) in counts {
        let sum: &mut u32 = folded.entry((eattr & known) as u8).or_default();
        *sum = sum.saturating_add(count);
    }
    folded.into_iter().collect()
}

type NumberedClass = (u8, StorageClass);

/// Classes by what clients call them. Class 0 is no class of clients: nodes without data have it.
fn named_classes(counts: Vec<(u32, u32)>, classes: &[NumberedClass]) -> Vec<(ClassName, u32)> {
    let name_of = |id: u32| match u8::try_from(id) {
        Ok(goal @ 1..=limits::GOAL_MAX) => Some(ClassName::Goal(goal)),
        Ok(id) if id >= limits::SCLASS_USER_FIRST => {
            let (_, class) = classes.iter().find(|(known, _)| *known == id)?;
            Some(ClassName::Named(convert::name(class.name.clone())))
        }
        _ => None,
    };
    let named = |(id, count)| Some((name_of(id)?, count));
    counts.into_iter().filter_map(named).collect()
}

fn listed_classes(classes: &[NumberedClass], long: bool) -> Vec<ListedClass> {
    let listed = |(_, class): &NumberedClass| ListedClass {
        name: convert::name(class.name.clone()),
        class: long.then(|| convert::class_block(class)),
    };
    let known = classes.iter().filter(|(id, _)| *id > 0);
    known.map(listed).collect()
}

/// The class of a SCLASS_CHANGE as it is now.
fn show_class(call: &Call, client: &Client, classes: &[NumberedClass]) -> Step {
    let Call::SclassChange(change) = call else {
        panic!("{} shows no class", call.name());
    };
    debug_assert!(matches!(change.change, Versioned::Known(_)));
    match find_class(classes, change.name.as_bytes()) {
        Some((_, class)) => {
            let block = convert::class_block(class);
            tell(Reply::SclassChange(Ok(ShownClass(block))))
        }
        None => refuse(call, client, Status::NOSUCHCLASS),
    }
}

fn find_class<'a>(classes: &'a [NumberedClass], name: &[u8]) -> Option<&'a NumberedClass> {
    classes
        .iter()
        .find(|(id, class)| *id > 0 && class.name == name)
}

/// MooseFS calls a name that no class has an invalid argument here.
fn set_class_by_name(
    client: &Client,
    set: &SetSclass,
    classes: &[NumberedClass],
) -> Result<Op, Status> {
    let number = |name: &[u8]| {
        let found = find_class(classes, name);
        found.map(|(id, _)| *id).ok_or(Status::EINVAL)
    };
    let ClassName::Named(to) = &set.to else {
        panic!("a goal needs no list of classes");
    };
    let only = match &set.from {
        Some(from) => Some(number(from.as_bytes())?),
        None => None,
    };
    let to = number(to.as_bytes())?;
    let (_, recursive) = convert::set_mode(set.mode);
    Ok(set_class(client, set, to, only, recursive))
}
