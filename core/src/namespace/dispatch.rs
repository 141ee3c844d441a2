//! Which module knows which operation and question. Nothing is decided here.

use super::node::New;
use super::op::{Answer, NodeKind, Op, Query, Reply, SetMode};
use super::txn::{Res, Txn};
use super::{
    acl, append, archive, chunk, chunkserver, class, create, lock, lookup, open, passed, path,
    quota, remove, rename, session, setattr, snapshot_copy, snapshot_remove, subtree, trash,
    truncate, xattr,
};
use crate::id::InodeId;

/// Hands an operation to the module that knows it.
///
/// # Errors
/// Whatever the operation is refused with.
pub fn run(txn: &mut Txn<'_>, op: &Op) -> Res<Reply> {
    match op {
        Op::OpenSession { params } => session::open(txn, params),
        Op::UpdateSession { session, params } => session::update(txn, *session, params),
        Op::SetSessionConnected { session, connected } => {
            session::set_connected(txn, *session, *connected)
        }
        Op::CloseSession { session } => session::close(txn, *session),
        Op::ExpireSession { session, since } => session::expire(txn, *session, *since),
        Op::SetOpenFiles { session, inodes } => session::set_open_files(txn, *session, inodes),
        Op::Create {
            caller,
            parent,
            name,
            kind,
            mode,
            umask,
            rdev,
            open,
        } => {
            let new = New {
                kind: *kind,
                mode: *mode,
                umask: *umask,
                rdev: *rdev,
                target: Vec::new(),
                copy_setgid: false,
            };
            create::create(txn, caller, *parent, name, &new, *open)
        }
        Op::Mkdir {
            caller,
            parent,
            name,
            mode,
            umask,
            copy_setgid,
        } => {
            let new = New {
                kind: NodeKind::Directory,
                mode: *mode,
                umask: *umask,
                rdev: 0,
                target: Vec::new(),
                copy_setgid: *copy_setgid,
            };
            create::mkdir(txn, caller, *parent, name, &new)
        }
        Op::Symlink {
            caller,
            parent,
            name,
            target,
        } => create::symlink(txn, caller, *parent, name, target),
        Op::Link {
            caller,
            inode,
            parent,
            name,
        } => create::link(txn, caller, *inode, *parent, name),
        Op::Unlink {
            caller,
            parent,
            name,
        } => remove::unlink(txn, caller, *parent, name),
        Op::Rmdir {
            caller,
            parent,
            name,
        } => remove::rmdir(txn, caller, *parent, name),
        Op::Rename {
            caller,
            src_parent,
            src_name,
            dst_parent,
            dst_name,
        } => rename::rename(txn, caller, *src_parent, src_name, *dst_parent, dst_name),
        Op::SetAttr {
            caller,
            inode,
            opened,
            set,
        } => setattr::set_attr(txn, caller, *inode, *opened, set),
        Op::TouchAtime { inode } => setattr::touch_atime(txn, *inode),
        Op::SetTimes { session, times } => setattr::set_times(txn, *session, times),
        Op::Open {
            caller,
            inode,
            flags,
        } => open::open(txn, caller, *inode, *flags),
        Op::SetQuota {
            caller,
            inode,
            limits,
        } => quota::set_quota(txn, caller, *inode, limits.as_ref()),
        Op::SetTrashPath {
            caller,
            inode,
            path,
        } => trash::set_path(txn, caller, *inode, path),
        Op::Undelete { caller, inode } => trash::undelete(txn, caller, *inode),
        Op::PurgeTrash { caller, inode } => trash::purge(txn, caller, *inode),
        Op::Sweep { after, limit } => trash::sweep(txn, *after, *limit),
        Op::SetXattr {
            caller,
            inode,
            opened,
            name,
            value,
            mode,
        } => {
            let wanted = xattr::Wanted {
                inode: *inode,
                opened: *opened,
                name,
            };
            xattr::set(txn, caller, wanted, value, *mode)
        }
        Op::SetAcl {
            caller,
            inode,
            kind,
            acl,
        } => acl::set(txn, caller, *inode, *kind, acl),
        Op::Truncate {
            caller,
            inode,
            length,
            mode,
        } => truncate::truncate(txn, caller, *inode, *length, *mode),
        Op::TruncateEnd {
            caller,
            inode,
            index,
            chunk,
            length,
        } => truncate::truncate_end(txn, caller, (*inode, *index, *chunk), *length),
        Op::WriteChunk {
            caller,
            inode,
            index,
            go_on,
            chunk_moved,
            may_touch_times,
        } => {
            let mode = chunk::WriteMode {
                go_on: *go_on,
                chunk_moved: *chunk_moved,
                may_touch_times: *may_touch_times,
            };
            chunk::write(txn, caller, *inode, *index, mode)
        }
        Op::WriteChunkEnd {
            caller,
            inode,
            index,
            chunk,
            length,
            may_touch_times,
        } => {
            let slot = (*inode, *index, *chunk);
            chunk::write_end(txn, caller, slot, *length, *may_touch_times)
        }
        Op::RollbackChunk {
            inode,
            index,
            new,
            old,
        } => chunk::rollback(txn, *inode, *index, *new, *old),
        Op::SetChunkVersion { chunk, version } => chunk::set_version(txn, *chunk, *version),
        Op::SettleChunk { chunk, version } => chunk::settle(txn, *chunk, *version),
        Op::UnlockChunk { chunk } => chunk::unlock(txn, *chunk),
        Op::RepairChunk {
            inode,
            index,
            chunk,
            was,
            best,
        } => chunk::repair(txn, (*inode, *index), (*chunk, *was), *best),
        Op::ForgetChunk { chunk } => chunk::forget(txn, *chunk),
        Op::AppendSlice {
            caller,
            dst,
            src,
            from,
            to,
        } => append::append(txn, caller, (*dst, *src), (*from, *to)),
        Op::Flock {
            session,
            inode,
            owner,
            reqid,
            op,
        } => lock::flock(txn, *session, *inode, *owner, *reqid, *op),
        Op::PosixLock {
            session,
            inode,
            owner,
            pid,
            reqid,
            op,
            kind,
            start,
            end,
        } => {
            let request = lock::RangeRequest {
                owner: *owner,
                pid: *pid,
                reqid: *reqid,
                kind: *kind,
                start: *start,
                end: *end,
            };
            lock::posix(txn, *session, *inode, request, *op)
        }
        Op::SetTrashTime {
            caller,
            inode,
            seconds,
            mode,
            recursive,
        } => subtree::set_trash_time(txn, caller, scope(inode, mode, recursive), *seconds),
        Op::SetSclass {
            caller,
            inode,
            class,
            only,
            mode,
            recursive,
        } => subtree::set_class(txn, caller, scope(inode, mode, recursive), *class, *only),
        Op::SetEattr {
            caller,
            inode,
            eattr,
            mode,
            recursive,
        } => subtree::set_eattr(txn, caller, scope(inode, mode, recursive), *eattr),
        Op::SetArchived {
            caller,
            inode,
            archived,
        } => archive::set(txn, caller, *inode, *archived),
        Op::Snapshot {
            caller,
            src,
            dst_parent,
            name,
            flags,
            umask,
        } => {
            let wanted = snapshot_copy::Wanted {
                src: *src,
                dst_parent: *dst_parent,
                name,
                flags: *flags,
                umask: *umask,
            };
            snapshot_copy::snapshot(txn, caller, wanted)
        }
        Op::RemoveSnapshot {
            caller,
            parent,
            name,
            force,
        } => snapshot_remove::remove(txn, caller, *parent, name, *force),
        Op::CreateClass { session, class } => class::create(txn, *session, class),
        Op::ChangeClass {
            session,
            name,
            change,
        } => class::change(txn, *session, name, change),
        Op::DeleteClass { session, name } => class::delete(txn, *session, name),
        Op::DuplicateClass { session, old, new } => class::duplicate(txn, *session, old, new),
        Op::RenameClass { session, old, new } => class::rename(txn, *session, old, new),
        Op::RegisterChunkserver { csid, address } => chunkserver::register(txn, *csid, *address),
        Op::ForgetChunkserver { csid } => chunkserver::forget(txn, *csid),
        Op::SetMaintenance { csid, until } => chunkserver::set_maintenance(txn, *csid, *until),
        Op::ArchiveAged { inode, from, to } => archive::age(txn, *inode, (*from, *to)),
        Op::PassChunkIds { slot, next } => passed::ids(txn, *slot, *next),
        Op::PassVersions {
            chunk,
            was,
            low,
            high,
        } => passed::versions(txn, *chunk, *was, (*low, *high)),
        Op::ForgetPassedVersions { chunk, version } => {
            passed::forget_versions(txn, *chunk, *version)
        }
    }
}

/// What a request of a subtree's values means.
fn scope(inode: &InodeId, mode: &SetMode, recursive: &bool) -> subtree::Scope {
    subtree::Scope {
        inode: *inode,
        mode: *mode,
        recursive: *recursive,
    }
}

/// Hands a question to the module that knows it.
///
/// # Errors
/// Whatever the question is refused with.
pub fn ask(txn: &Txn<'_>, query: &Query) -> Res<Answer> {
    match query {
        Query::Lookup {
            caller,
            parent,
            name,
        } => lookup::lookup(txn, caller, *parent, name),
        Query::GetAttr {
            caller,
            inode,
            opened,
        } => lookup::get_attr(txn, caller, *inode, *opened),
        Query::Access {
            caller,
            inode,
            mask,
        } => lookup::access(txn, caller, *inode, *mask),
        Query::ReadLink { caller, inode } => lookup::read_link(txn, caller, *inode),
        Query::ReadDir {
            caller,
            inode,
            attrs,
            after,
            max,
        } => lookup::read_dir(txn, caller, *inode, *attrs, after, *max),
        Query::StatFs {
            caller,
            total,
            free,
        } => lookup::stat_fs(txn, caller, *total, *free),
        Query::DirStats { caller, inode } => lookup::dir_stats(txn, caller, *inode),
        Query::GetQuota { caller, inode } => quota::get_quota(txn, caller, *inode),
        Query::ListQuotas { session } => quota::list_quotas(txn, *session),
        Query::Parents { caller, inode } => path::parents(txn, caller, *inode),
        Query::Paths { caller, inode } => path::paths(txn, caller, *inode),
        Query::ListTrash { session, bucket } => trash::list_trash(txn, *session, *bucket),
        Query::ListSustained { session } => trash::list_sustained(txn, *session),
        Query::TrashPath { session, inode } => trash::path(txn, *session, *inode),
        Query::DetachedAttr { session, inode } => trash::detached_attr(txn, *session, *inode),
        Query::GetSession { session } => session::get(txn, *session),
        Query::LastRequests { session } => session::last_requests(txn, *session),
        Query::ListOpenFiles { session } => session::list_open_files(txn, *session),
        Query::GetXattr {
            caller,
            inode,
            opened,
            name,
        } => {
            let wanted = xattr::Wanted {
                inode: *inode,
                opened: *opened,
                name,
            };
            xattr::get(txn, caller, wanted)
        }
        Query::ListXattr {
            caller,
            inode,
            opened,
        } => xattr::list(txn, caller, *inode, *opened),
        Query::GetAcl {
            caller,
            inode,
            kind,
        } => acl::get(txn, caller, *inode, *kind),
        Query::TestPosixLock {
            session,
            inode,
            owner,
            kind,
            start,
            end,
        } => {
            let request = lock::RangeRequest {
                owner: *owner,
                pid: 0,
                reqid: 0,
                kind: *kind,
                start: *start,
                end: *end,
            };
            lock::test(txn, *session, *inode, request)
        }
        Query::ReadChunk {
            caller,
            inode,
            index,
        } => chunk::read(txn, caller, *inode, *index),
        Query::ListChunks {
            caller,
            inode,
            from,
            max,
        } => chunk::list(txn, caller, *inode, *from, *max),
        Query::GetTrashTime {
            caller,
            inode,
            recursive,
        } => subtree::trash_times(txn, caller, *inode, *recursive),
        Query::GetSclass {
            caller,
            inode,
            recursive,
        } => subtree::classes(txn, caller, *inode, *recursive),
        Query::GetEattr {
            caller,
            inode,
            recursive,
        } => subtree::eattrs(txn, caller, *inode, *recursive),
        Query::GetArchived { caller, inode } => archive::get(txn, caller, *inode),
        Query::ListClasses => class::list(txn),
        Query::ListLocks { inode } => lock::list(txn, *inode),
        Query::ListChunkservers => chunkserver::list(txn),
    }
}
