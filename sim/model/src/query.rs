//! What a query has to answer.

use std::collections::BTreeMap;

use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    AclKind, Answer, Caller, ChunkInfo, Disable, Entry, Name, NodeKind, PosixLockKind, Query,
    Whereabouts,
};
use mfsha_core::time::WallTime;

use crate::access::{R, X, check_name, check_xattr_name};
use crate::locks::check_range;
use crate::state::{Model, Node, Range, eattr, join};
use crate::subtrees::has_class;
use crate::view::Who;

impl Model {
    /// Answers a query; `now` judges locks of chunks.
    ///
    /// # Errors
    /// The refusal that is right.
    pub fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::Lookup { .. }
            | Query::GetAttr { .. }
            | Query::Access { .. }
            | Query::ReadLink { .. }
            | Query::ReadDir { .. }
            | Query::StatFs { .. } => self.query_tree(query),
            Query::GetXattr { .. } | Query::ListXattr { .. } | Query::GetAcl { .. } => {
                self.query_attribute(query)
            }
            Query::TestPosixLock { .. } | Query::ListLocks { .. } => self.query_locks(query),
            Query::ReadChunk { .. } | Query::ListChunks { .. } => self.query_chunks(now, query),
            Query::DirStats { .. }
            | Query::GetTrashTime { .. }
            | Query::GetSclass { .. }
            | Query::GetEattr { .. }
            | Query::GetArchived { .. }
            | Query::GetQuota { .. }
            | Query::ListQuotas { .. } => self.query_subtree(query),
            Query::Parents { caller, inode } => self.parents(caller, *inode),
            Query::Paths { caller, inode } => self.paths(caller, *inode),
            Query::ListTrash { session, bucket } => {
                self.meta_session(*session)?;
                let mut files = self.detached(Whereabouts::Trash);
                files.retain(|(_, inode)| bucket.is_none_or(|b| inode.0 & 0xFFF == u32::from(b)));
                Ok(Answer::Detached(files))
            }
            Query::ListSustained { session } => {
                self.meta_session(*session)?;
                Ok(Answer::Detached(self.detached(Whereabouts::Sustained)))
            }
            Query::TrashPath { session, inode } => {
                self.meta_session(*session)?;
                match self.nodes.get(inode) {
                    Some(node) if node.whereabouts == Whereabouts::Trash => {
                        Ok(Answer::Bytes(node.path.clone()))
                    }
                    _ => Err(FsError::NoEnt),
                }
            }
            Query::DetachedAttr { session, inode } => {
                let who = self.meta_session(*session)?;
                match self.nodes.get(inode) {
                    Some(node) if node.is_detached() => Ok(Answer::Attr(self.attr(&who, *inode))),
                    _ => Err(FsError::NoEnt),
                }
            }
            Query::ListClasses => {
                let classes = self.classes.iter().map(|(id, class)| (*id, class.clone()));
                Ok(Answer::Classes(classes.collect()))
            }
            Query::ListChunkservers => {
                let all = self.chunkservers.values().copied();
                Ok(Answer::Chunkservers(all.collect()))
            }
            Query::GetSession { session } => {
                let session = self.sessions.get(session).ok_or(FsError::BadSession)?;
                Ok(Answer::Session {
                    params: session.params.clone(),
                    disconnected: session.disconnected,
                })
            }
            Query::LastRequests { session } => {
                self.sessions.get(session).ok_or(FsError::BadSession)?;
                let lasts = self.lanes.iter().filter(|((of, _), _)| of == session);
                Ok(Answer::LastRequests(
                    lasts.map(|(_, (last, _))| *last).collect(),
                ))
            }
            Query::ListOpenFiles { session } => {
                self.session(*session)?;
                let all = *session == SessionId(0);
                let pairs = self.open_files.iter().copied();
                let pairs = pairs.filter(|(of, _)| all || of == session);
                Ok(Answer::OpenFiles(pairs.collect()))
            }
        }
    }

    fn query_tree(&self, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::Lookup {
                caller,
                parent,
                name,
            } => self.lookup(caller, *parent, name),
            Query::GetAttr {
                caller,
                inode,
                opened,
            } => {
                let who = self.tree_caller(caller)?;
                let inode = self.see(&who, *inode, *opened)?;
                Ok(Answer::Attr(self.attr(&who, inode)))
            }
            Query::Access {
                caller,
                inode,
                mask,
            } => {
                let who = self.tree_caller(caller)?;
                let writes = mask & 2 != 0;
                if writes && who.params.flags.read_only {
                    return Err(FsError::ReadOnly);
                }
                let inode = self.see(&who, *inode, false)?;
                if writes {
                    self.forbid(inode, eattr::IMMUTABLE)?;
                }
                self.demand(&who, inode, u16::from(mask & 7))?;
                Ok(Answer::Done)
            }
            Query::ReadLink { caller, inode } => {
                let who = self.tree_caller(caller)?;
                let node = self.node(self.see(&who, *inode, false)?);
                if node.kind != NodeKind::Symlink {
                    return Err(FsError::Invalid);
                }
                Ok(Answer::Bytes(node.target.clone()))
            }
            Query::ReadDir {
                caller,
                inode,
                attrs,
                after,
                max,
            } => {
                let who = self.tree_caller(caller)?;
                who.not_disabled(&[Disable::Readdir])?;
                let dir = self.see_directory(&who, *inode)?;
                self.demand(&who, dir, if *attrs { R | X } else { R })?;
                if *max == 0 {
                    return Err(FsError::Invalid);
                }
                Ok(self.read_dir(&who, dir, *attrs, after, *max))
            }
            Query::StatFs {
                caller,
                total,
                free,
            } => self.stat_fs(caller, *total, *free),
            _ => unreachable!("dispatched by query"),
        }
    }

    /// Section 3.2.
    fn lookup(&self, caller: &Caller, parent: InodeId, name: &[u8]) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let dir = self
            .see(&who, parent, false)
            .map_err(|_| FsError::NoEntNoCache)?;
        let node = self.node(dir);
        if node.kind != NodeKind::Directory {
            return Err(FsError::NotDir);
        }
        self.demand(&who, dir, X)?;
        let inode = if name == b"." {
            dir
        } else if name == b".." {
            self.above(&who, dir)
        } else {
            check_name(name)?;
            match node.entries.get(name) {
                Some(inode) => *inode,
                None if node.has(eattr::NO_ENTRY_CACHE) => return Err(FsError::NoEntNoCache),
                None => return Err(FsError::NoEnt),
            }
        };
        let mut access = 0;
        for mask in 0..8 {
            if self.allows(&who, inode, mask) {
                access |= 1 << mask;
            }
        }
        Ok(Answer::Looked {
            inode: who.outward(inode),
            attr: self.attr(&who, inode),
            access,
        })
    }

    /// The directory above, as far as the session can see.
    fn above(&self, who: &Who, dir: InodeId) -> InodeId {
        if dir == who.params.root {
            return dir;
        }
        self.parent(dir).unwrap_or(dir)
    }

    /// "." and ".." come before all names, and can be gone on after like names.
    fn read_dir(&self, who: &Who, dir: InodeId, attrs: bool, after: &Name, max: u32) -> Answer {
        let entry = |name: &[u8], inode: InodeId| Entry {
            name: name.to_vec(),
            inode: who.outward(inode),
            kind: self.node(inode).kind,
            attr: attrs.then(|| self.attr(who, inode)),
        };
        let above = self.above(who, dir);
        let mut entries = vec![entry(b".", dir), entry(b"..", above)];
        for (name, inode) in &self.node(dir).entries {
            entries.push(entry(name, *inode));
        }
        let passed = match after.as_slice() {
            b"" => 0,
            b"." => 1,
            b".." => 2,
            _ => 2 + self.node(dir).entries.range(..=after.clone()).count(),
        };
        entries.drain(..passed);
        let count = max.min(limits::READDIR_PAGE_MAX) as usize;
        let done = entries.len() <= count;
        entries.truncate(count);
        Answer::Entries { entries, done }
    }

    /// Section 3.1: quotas on the way up limit what is free.
    fn stat_fs(&self, caller: &Caller, total: u64, free: u64) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let root = self.see(&who, InodeId::ROOT, false)?;
        let mut available = free;
        for dir in self.self_and_above(root) {
            let used = self.stats(dir);
            if let Some(quota) = &self.node(dir).quota {
                for (limit, used) in [
                    (quota.hard.length, used.length),
                    (quota.hard.size, used.size),
                ] {
                    if let Some(limit) = limit {
                        available = available
                            .min(limit.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX)));
                    }
                }
            }
        }
        let sum = |whereabouts: Whereabouts| -> u64 {
            let files = self.nodes.values();
            let files = files.filter(|n| root == InodeId::ROOT && n.whereabouts == whereabouts);
            files.map(|n| n.length).fold(0, u64::saturating_add)
        };
        Ok(Answer::StatFs {
            total,
            available,
            trash: sum(Whereabouts::Trash),
            sustained: sum(Whereabouts::Sustained),
            inodes: self.stats(root).inodes as u32,
        })
    }

    fn query_attribute(&self, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::GetXattr {
                caller,
                inode,
                opened,
                name,
            } => {
                let who = self.tree_caller(caller)?;
                let inode = self.see(&who, *inode, *opened)?;
                check_xattr_name(name)?;
                if name.starts_with(b"trusted.") && !who.is_root() {
                    return Err(FsError::Perm);
                }
                if !opened {
                    self.demand(&who, inode, R)?;
                }
                let value = self.node(inode).xattrs.get(name).ok_or(FsError::NoAttr)?;
                Ok(Answer::Bytes(value.clone()))
            }
            Query::ListXattr {
                caller,
                inode,
                opened,
            } => {
                let who = self.tree_caller(caller)?;
                let inode = self.see(&who, *inode, *opened)?;
                if !opened {
                    self.demand(&who, inode, R)?;
                }
                let mut list = Vec::new();
                for name in self.node(inode).xattrs.keys() {
                    list.extend_from_slice(name);
                    list.push(0);
                }
                Ok(Answer::Bytes(list))
            }
            Query::GetAcl {
                caller,
                inode,
                kind,
            } => {
                let who = self.tree_caller(caller)?;
                let node = self.node(self.see(&who, *inode, false)?);
                let acl = match kind {
                    AclKind::Access => &node.access_acl,
                    AclKind::Default => &node.default_acl,
                };
                acl.clone().map(Answer::Acl).ok_or(FsError::NoAttr)
            }
            _ => unreachable!("dispatched by query"),
        }
    }

    fn query_locks(&self, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::TestPosixLock {
                session,
                inode,
                owner,
                kind,
                start,
                end,
            } => {
                let inode = self.tree_session(*session)?.inward(*inode);
                self.check_lockable(*session, inode)?;
                let range = Range {
                    session: *session,
                    owner: *owner,
                    pid: 0,
                    start: *start,
                    end: *end,
                    exclusive: *kind == PosixLockKind::Write,
                };
                check_range(&range)?;
                let found = self.range_in_the_way(inode, &range);
                let asked = *kind != PosixLockKind::Unlock;
                Ok(Answer::PosixLock(found.filter(|_| asked)))
            }
            Query::ListLocks { inode } if *inode == InodeId(0) => {
                let all = self.locks.keys().flat_map(|inode| self.held_locks(*inode));
                Ok(Answer::Locks(all.collect()))
            }
            Query::ListLocks { inode } => Ok(Answer::Locks(self.held_locks(*inode))),
            _ => unreachable!("dispatched by query"),
        }
    }

    fn query_chunks(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::ReadChunk {
                caller,
                inode,
                index,
            } => {
                let who = self.tree_caller(caller)?;
                who.not_disabled(&[Disable::Read])?;
                let node = self.node(self.see_file(&who, *inode, true)?);
                if *index > limits::CHUNK_INDEX_MAX {
                    return Err(FsError::IndexTooBig);
                }
                let info = self.chunk_info(node, *index);
                let cut = info.unsettled.is_some_and(|it| it.cut.is_some());
                if !cut && info.locked_until != WallTime(0) && info.locked_until >= now {
                    return Err(FsError::Locked);
                }
                let length = node.length;
                Ok(Answer::Chunk { info, length })
            }
            Query::ListChunks {
                caller,
                inode,
                from,
                max,
            } => {
                let who = self.tree_caller(caller)?;
                let node = self.node(self.see_file(&who, *inode, false)?);
                if *max == 0 {
                    return Err(FsError::Invalid);
                }
                let mut indices = node.chunks.range(*from..).map(|(index, _)| *index);
                let chunks = indices
                    .by_ref()
                    .take(*max as usize)
                    .map(|index| self.chunk_info(node, index))
                    .collect();
                Ok(Answer::Chunks {
                    chunks,
                    length: node.length,
                    done: indices.next().is_none(),
                })
            }
            _ => unreachable!("dispatched by query"),
        }
    }

    fn chunk_info(&self, node: &Node, index: u32) -> ChunkInfo {
        let Some(chunk) = node.chunks.get(&index).copied() else {
            return ChunkInfo {
                index,
                chunk: ChunkId::HOLE,
                version: 0,
                locked_until: WallTime(0),
                archived: false,
                unsettled: None,
                references: 0,
            };
        };
        let known = &self.chunks[&chunk];
        ChunkInfo {
            index,
            chunk,
            version: known.version,
            locked_until: known.locked_until,
            archived: known.archived,
            unsettled: known.unsettled,
            references: self.references()[&chunk].into(),
        }
    }

    fn query_subtree(&self, query: &Query) -> Result<Answer, FsError> {
        match query {
            Query::DirStats { caller, inode } => {
                let who = self.tree_caller(caller)?;
                let inode = self.see(&who, *inode, false)?;
                if !has_class(self.node(inode)) {
                    return Err(FsError::Perm);
                }
                Ok(Answer::DirStats(self.stats(inode)))
            }
            Query::GetTrashTime {
                caller,
                inode,
                recursive,
            } => {
                self.check_has_class(caller, *inode)?;
                self.count(caller, *inode, *recursive, |node| {
                    has_class(node).then_some(node.trash_hours * 3_600)
                })
            }
            Query::GetSclass {
                caller,
                inode,
                recursive,
            } => {
                self.check_has_class(caller, *inode)?;
                self.count(caller, *inode, *recursive, |node| {
                    has_class(node).then_some(node.class.into())
                })
            }
            Query::GetEattr {
                caller,
                inode,
                recursive,
            } => self.count(caller, *inode, *recursive, |node| Some(node.eattr.into())),
            Query::GetArchived { caller, inode } => self.count_archived(caller, *inode),
            Query::GetQuota { caller, inode } => {
                let who = self.tree_caller(caller)?;
                let dir = self.see(&who, *inode, false)?;
                if self.node(dir).kind != NodeKind::Directory {
                    return Err(FsError::Perm);
                }
                Ok(Answer::Quota(self.quota_state(dir, who.outward(dir))))
            }
            Query::ListQuotas { session } => {
                let who = self.any_session(*session)?;
                let mut quotas = Vec::new();
                for (dir, node) in &self.nodes {
                    let path = self.path_below(who.params.root, *dir);
                    if let (Some(_), Some(path)) = (&node.quota, path) {
                        let state = self.quota_state(*dir, who.outward(*dir));
                        quotas.push((state, or_slash(path)));
                    }
                }
                quotas.sort_by_key(|(state, _)| state.inode);
                Ok(Answer::Quotas(quotas))
            }
            _ => unreachable!("dispatched by query"),
        }
    }

    /// How many nodes have each value: directories, and everything else.
    /// Of what is neither file nor directory no class and no trash time is told.
    fn check_has_class(&self, caller: &Caller, inode: InodeId) -> Result<(), FsError> {
        let who = self.tree_caller(caller)?;
        let inode = self.see(&who, inode, false)?;
        if has_class(self.node(inode)) {
            Ok(())
        } else {
            Err(FsError::Perm)
        }
    }

    fn count(
        &self,
        caller: &Caller,
        inode: InodeId,
        recursive: bool,
        value: impl Fn(&Node) -> Option<u32>,
    ) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let inode = self.see(&who, inode, false)?;
        let (mut files, mut dirs) = (BTreeMap::new(), BTreeMap::new());
        for inode in self.subtree(inode, recursive) {
            let node = self.node(inode);
            let counts = if node.kind == NodeKind::Directory {
                &mut dirs
            } else {
                &mut files
            };
            if let Some(value) = value(node) {
                *counts.entry(value).or_insert(0) += 1;
            }
        }
        Ok(Answer::Counts {
            files: files.into_iter().collect(),
            dirs: dirs.into_iter().collect(),
        })
    }

    fn count_archived(&self, caller: &Caller, inode: InodeId) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let inode = self.see(&who, inode, false)?;
        let (mut archived, mut not, mut files, mut partial, mut files_not) = (0, 0, 0, 0, 0);
        for inode in self.subtree(inode, true) {
            let node = self.node(inode);
            if node.kind != NodeKind::File {
                continue;
            }
            let chunks = node.chunks.values().map(|chunk| &self.chunks[chunk]);
            let with = chunks.filter(|chunk| chunk.archived).count();
            let without = node.chunks.len() - with;
            archived += with as u64;
            not += without as u64;
            match (with, without) {
                (0, 0) => {}
                (0, _) => files_not += 1,
                (_, 0) => files += 1,
                _ => partial += 1,
            }
        }
        Ok(Answer::Archive {
            archived,
            not,
            files,
            partial,
            files_not,
        })
    }

    /// Directories of a node's names that the session can see; its root is its own.
    fn parents(&self, caller: &Caller, inode: InodeId) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let inode = self.see(&who, inode, false)?;
        if inode == who.params.root {
            return Ok(Answer::Inodes(vec![InodeId::ROOT]));
        }
        let dirs = self.links(inode).into_iter().map(|(dir, _)| dir);
        let visible = dirs.filter(|dir| self.is_within(who.params.root, *dir));
        let mut shown: Vec<InodeId> = visible.map(|dir| who.outward(dir)).collect();
        shown.sort();
        Ok(Answer::Inodes(shown))
    }

    /// Section 3.11, PATHS.
    fn paths(&self, caller: &Caller, inode: InodeId) -> Result<Answer, FsError> {
        let who = self.tree_caller(caller)?;
        let inode = self.see(&who, inode, false)?;
        let node = self.node(inode);
        let wrapped = |prefix: &[u8]| [prefix, b" (", &node.path, b")"].concat();
        let mut paths = match node.whereabouts {
            Whereabouts::Trash => vec![wrapped(b"./TRASH")],
            Whereabouts::Sustained => vec![wrapped(b"./SUSTAINED")],
            Whereabouts::Linked if inode == who.params.root => vec![b"/".to_vec()],
            Whereabouts::Linked => self
                .links(inode)
                .into_iter()
                .filter_map(|(dir, name)| Some(join(self.path_below(who.params.root, dir)?, &name)))
                .collect(),
        };
        paths.sort();
        Ok(Answer::Paths(paths))
    }

    /// Section 3.12: names as the meta mount shows them, in order of inode.
    fn detached(&self, whereabouts: Whereabouts) -> Vec<(Name, InodeId)> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.whereabouts == whereabouts)
            .map(|(inode, node)| (flat_name(&node.path), *inode))
            .collect()
    }
}

/// A path as one name: `|` for `/`, and only the end of what is longer than 240 bytes.
fn flat_name(path: &[u8]) -> Name {
    let mut name: Vec<u8> = path
        .iter()
        .map(|byte| if *byte == b'/' { b'|' } else { *byte })
        .collect();
    if name.len() > 240 {
        name = [b"(...)", &name[name.len() - 235..]].concat();
    }
    name
}

fn or_slash(path: Vec<u8>) -> Vec<u8> {
    if path.is_empty() { b"/".to_vec() } else { path }
}
