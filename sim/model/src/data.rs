//! Open files and their chunks (sections 3.5 to 3.7, 4.7).

use std::sync::Arc;

use mfsha_core::id::{ChunkId, InodeId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Caller, ChunkAction, Cut, DirStats, Disable, Notice, Op, OpenFlags, Reply, TruncateMode,
    Unsettled,
};
use mfsha_core::time::WallTime;

use crate::access::{R, W};
use crate::apply::Step;
use crate::state::{Chunk, Model, eattr, subtract};
use crate::view::Who;

impl Model {
    pub(crate) fn run_data(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        match op {
            Op::Open {
                caller,
                inode,
                flags,
            } => self.open(step, caller, *inode, *flags),
            Op::Truncate {
                caller,
                inode,
                length,
                mode,
            } => self.truncate(step, caller, *inode, *length, *mode),
            Op::TruncateEnd {
                caller,
                inode,
                index,
                chunk,
                length,
            } => {
                let who = self.tree_caller(caller)?;
                who.may_change(&[])?;
                let inode = self.see_file(&who, *inode, true)?;
                self.truncate_end(step, &who, inode, (*index, *chunk), *length)
            }
            Op::WriteChunk { .. } => self.write_chunk(step, op),
            Op::WriteChunkEnd { .. } => self.write_chunk_end(step, op),
            Op::AppendSlice {
                caller,
                dst,
                src,
                from,
                to,
            } => self.append_slice(step, caller, (*dst, *src), (*from, *to)),
            Op::RollbackChunk {
                inode,
                index,
                new,
                old,
            } => {
                self.check_slot(*inode, *index, *new)
                    .map_err(|_| FsError::NoChunk)?;
                let unsettled = self.known_chunk(*new)?.unsettled;
                let back = match unsettled.map(|it| it.action) {
                    _ if new == old => Some(*new),
                    Some(ChunkAction::Created) if *old == ChunkId::HOLE => None,
                    Some(ChunkAction::Duplicated { from, .. }) if from == *old => Some(from),
                    _ => return Err(FsError::NoChunk),
                };
                if new != old {
                    self.known_chunk(*new)?.locked_until = WallTime(0);
                }
                let slots = &mut self.node_mut(*inode).chunks;
                match back {
                    Some(chunk) => {
                        slots.insert(*index, chunk);
                        if new == old {
                            self.known_chunk(chunk)?.locked_until = WallTime(0);
                        }
                    }
                    None => drop(slots.remove(index)),
                }
                Ok(Reply::Done)
            }
            Op::SetChunkVersion { chunk, version } => {
                let known = self.known_chunk(*chunk)?;
                if *version != known.version && Some(*version) != known.version.checked_add(1) {
                    return Err(FsError::Invalid);
                }
                if *version != known.version {
                    let raised = Unsettled {
                        action: ChunkAction::Raised {
                            from_version: known.version,
                        },
                        cut: None,
                        inode: InodeId(0),
                        index: 0,
                    };
                    known.unsettled.get_or_insert(raised);
                    known.version = *version;
                }
                Ok(Reply::Done)
            }
            Op::SettleChunk { chunk, version } => {
                let known = self.known_chunk(*chunk)?;
                if known.version != *version {
                    return Err(FsError::Invalid);
                }
                let unsettled = known.unsettled.take();
                self.unlock_source(unsettled);
                if let Some(unsettled) = unsettled
                    && let Some(cut) = unsettled.cut
                {
                    self.known_chunk(*chunk)?.locked_until = WallTime(0);
                    let slot = (unsettled.inode, unsettled.index);
                    if self.check_slot(slot.0, slot.1, *chunk).is_ok() {
                        self.cut(step, slot.0, cut.file_length);
                        self.tell_chunk_changed(step, slot.0, slot.1, true);
                    }
                }
                Ok(Reply::Done)
            }
            Op::UnlockChunk { chunk } => {
                self.known_chunk(*chunk)?.locked_until = WallTime(0);
                Ok(Reply::Done)
            }
            Op::RepairChunk {
                inode,
                index,
                chunk,
                was,
                best,
            } => {
                let node = self.known_node(*inode).ok_or(FsError::NoChunk)?;
                if node.chunks.get(index) != Some(chunk) {
                    return Err(FsError::NoChunk);
                }
                let known = self.known_chunk(*chunk)?;
                if known.version != *was {
                    return Err(FsError::Invalid);
                }
                if known.locked_until >= step.now {
                    return Err(FsError::Locked);
                }
                let before = known.unsettled;
                match *best {
                    Some(from_version) => {
                        let next = (*was).max(from_version).checked_add(1);
                        known.version = next.ok_or(FsError::NoSpace)?;
                        known.unsettled = Some(Unsettled {
                            action: ChunkAction::Raised { from_version },
                            cut: None,
                            inode: InodeId(0),
                            index: 0,
                        });
                        self.unlock_source(before);
                    }
                    None => {
                        self.node_mut(*inode).chunks.remove(index);
                    }
                }
                let node = self.node_mut(*inode);
                node.eattr &= !eattr::SNAPSHOT;
                node.modified(step.now);
                self.tell_chunk_changed(step, *inode, *index, false);
                Ok(Reply::Done)
            }
            Op::ForgetChunk { chunk } => {
                self.known_chunk(*chunk)?;
                if self.references().contains_key(chunk) {
                    return Err(FsError::ChunkBusy);
                }
                self.chunks.remove(chunk);
                self.note_forgotten(*chunk);
                Ok(Reply::Done)
            }
            _ => unreachable!("dispatched by apply"),
        }
    }

    /// Section 3.5.
    fn open(
        &mut self,
        step: &Step,
        caller: &Caller,
        inode: InodeId,
        flags: OpenFlags,
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        let uses = [
            (flags.read, Disable::Read),
            (flags.write, Disable::Write),
            (flags.truncate, Disable::Truncate),
        ];
        for (used, disable) in uses {
            if used {
                who.not_disabled(&[disable])?;
            }
        }
        if flags.write || flags.truncate {
            who.may_change(&[])?;
        }
        let inode = self.see_file(&who, inode, false)?;
        if !flags.after_create {
            if flags.write || flags.truncate {
                self.forbid(inode, eattr::IMMUTABLE)?;
            }
            if flags.truncate {
                self.forbid(inode, eattr::APPEND_ONLY)?;
            }
            let read = if flags.read { R } else { 0 };
            let write = if flags.write || flags.truncate { W } else { 0 };
            self.demand(&who, inode, read | write)?;
        }
        if flags.truncate {
            self.cut(step, inode, 0);
        }
        self.keep_open(who.session, inode);
        Ok(Reply::Attr(self.attr(&who, inode)))
    }

    /// Section 3.7.
    fn truncate(
        &mut self,
        step: &mut Step,
        caller: &Caller,
        inode: InodeId,
        length: u64,
        mode: TruncateMode,
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        let append = matches!(mode, TruncateMode::Extend | TruncateMode::Reserve);
        who.may_change(&[])?;
        let inode = self.see_file(&who, inode, mode != TruncateMode::Path)?;
        self.forbid(inode, eattr::IMMUTABLE)?;
        if !append {
            self.forbid(inode, eattr::APPEND_ONLY)?;
        }
        if mode == TruncateMode::Path {
            self.demand(&who, inode, W)?;
        }
        let node = self.node(inode);
        let mut previous_length = node.length;
        if !append && length <= limits::FILE_BYTES_MAX {
            if length < previous_length {
                who.not_disabled(&[Disable::Truncate])?;
            } else if length > previous_length {
                who.not_disabled(&[Disable::SetLength])?;
            }
        }
        if mode == TruncateMode::Reserve {
            previous_length = node.length.max(node.reserved_end);
            let end = previous_length.checked_add(length);
            let end = end.filter(|end| *end <= limits::FILE_BYTES_MAX);
            self.node_mut(inode).reserved_end = end.ok_or(FsError::IndexTooBig)?;
        } else if length > limits::FILE_BYTES_MAX {
            return Err(FsError::IndexTooBig);
        } else if length > previous_length {
            self.check_length_quota(step, inode, length)?;
            let node = self.node_mut(inode);
            node.length = length;
            node.eattr &= !eattr::SNAPSHOT;
            if mode != TruncateMode::Extend {
                node.reserved_end = 0;
                node.modified(step.now);
            }
        } else if mode != TruncateMode::Extend {
            let index = (length / limits::CHUNK_BYTES) as u32;
            let bytes = (length % limits::CHUNK_BYTES) as u32;
            let slot = node.chunks.get(&index).copied();
            if let Some(chunk) = slot
                && bytes != 0
                && length < previous_length
            {
                return self.cut_chunk(step, inode, (index, chunk), bytes);
            }
            self.cut(step, inode, length);
        }
        Ok(Reply::Truncated {
            previous_length,
            attr: self.attr(&who, inode),
        })
    }

    /// Sets the length, and lets chunks go that are wholly beyond it.
    fn cut(&mut self, step: &Step, inode: InodeId, length: u64) {
        let node = self.node_mut(inode);
        node.length = length;
        node.reserved_end = 0;
        let slots = length.div_ceil(limits::CHUNK_BYTES);
        node.chunks.retain(|index, _| u64::from(*index) < slots);
        node.modified(step.now);
    }

    /// The chunkservers have to cut the last chunk first: it is locked, under a new version or,
    /// when it is shared, as a copy of its own.
    fn cut_chunk(
        &mut self,
        step: &mut Step,
        inode: InodeId,
        (index, chunk): (u32, ChunkId),
        bytes: u32,
    ) -> Result<Reply, FsError> {
        self.check_not_cut(chunk)?;
        self.check_unlocked(step, chunk)?;
        let (chunk, action) = if self.is_shared(chunk) {
            self.duplicate(inode, index, chunk)?
        } else {
            (chunk, self.raise(chunk)?)
        };
        let cut = Cut {
            bytes,
            file_length: u64::from(index) * limits::CHUNK_BYTES + u64::from(bytes),
        };
        self.note_unsettled((inode, index), chunk, action, Some(cut));
        self.lock_chunk(step, chunk);
        Ok(Reply::TruncateChunk {
            index,
            chunk,
            version: self.chunks[&chunk].version,
            action,
            bytes,
        })
    }

    fn truncate_end(
        &mut self,
        step: &mut Step,
        who: &Who,
        inode: InodeId,
        (index, chunk): (u32, ChunkId),
        length: u64,
    ) -> Result<Reply, FsError> {
        if length > limits::FILE_BYTES_MAX {
            return Err(FsError::IndexTooBig);
        }
        self.check_slot(inode, index, chunk)?;
        let inside = !length.is_multiple_of(limits::CHUNK_BYTES);
        if !inside || length / limits::CHUNK_BYTES != u64::from(index) {
            return Err(FsError::Invalid);
        }
        let previous_length = self.node(inode).length;
        let known = self.known_chunk(chunk)?;
        // Whoever ended it before has done all of this.
        if let Some(cut) = known.unsettled.and_then(|it| it.cut) {
            if cut.file_length != length {
                return Err(FsError::Invalid);
            }
            let unsettled = known.unsettled.take();
            known.locked_until = WallTime(0);
            self.unlock_source(unsettled);
            self.cut(step, inode, length);
            self.tell_chunk_changed(step, inode, index, true);
        }
        Ok(Reply::Truncated {
            previous_length,
            attr: self.attr(who, inode),
        })
    }

    /// Section 4.7.
    fn write_chunk(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        let Op::WriteChunk {
            caller,
            inode,
            index,
            go_on,
            chunk_moved,
            may_touch_times,
        } = op
        else {
            unreachable!("dispatched by run_data");
        };
        let who = self.tree_caller(caller)?;
        who.may_change(&[Disable::Write])?;
        let inode = self.see_file(&who, *inode, true)?;
        self.forbid(inode, eattr::IMMUTABLE)?;
        if *index > limits::CHUNK_INDEX_MAX {
            return Err(FsError::IndexTooBig);
        }
        let (chunk, action) = match self.node(inode).chunks.get(index).copied() {
            None => {
                self.check_whole_chunk(step, inode)?;
                let chunk = self.new_chunk(inode)?;
                self.insert_chunk(inode, *index, chunk);
                (chunk, ChunkAction::Created)
            }
            Some(old) if self.is_shared(old) => {
                self.check_whole_chunk(step, inode)?;
                self.check_not_cut(old)?;
                if !go_on {
                    self.check_unlocked(step, old)?;
                }
                self.duplicate(inode, *index, old)?
            }
            Some(own) => {
                self.check_not_cut(own)?;
                if !go_on {
                    self.check_unlocked(step, own)?;
                }
                // Nobody uses a version that is unsettled: it will do.
                let unsettled = self.chunks[&own].unsettled.is_some();
                if *chunk_moved && !unsettled {
                    (own, self.raise(own)?)
                } else {
                    (own, ChunkAction::Kept)
                }
            }
        };
        self.note_unsettled((inode, *index), chunk, action, None);
        self.lock_chunk(step, chunk);
        let node = self.node_mut(inode);
        node.length = node.length.max(u64::from(*index) * limits::CHUNK_BYTES);
        node.eattr &= !eattr::SNAPSHOT;
        if *may_touch_times && action != ChunkAction::Kept {
            node.modified(step.now);
        }
        let length = node.length;
        Ok(Reply::Chunk {
            chunk,
            version: self.chunks[&chunk].version,
            action,
            length,
        })
    }

    /// Always unlocks the chunk, even when the file may not grow (section 3.6).
    fn write_chunk_end(&mut self, step: &mut Step, op: &Op) -> Result<Reply, FsError> {
        let Op::WriteChunkEnd {
            caller,
            inode,
            index,
            chunk,
            length,
            may_touch_times,
        } = op
        else {
            unreachable!("dispatched by run_data");
        };
        let who = self.tree_caller(caller)?;
        who.may_change(&[])?;
        if *length > limits::FILE_BYTES_MAX {
            return Err(FsError::IndexTooBig);
        }
        self.known_chunk(*chunk)?.locked_until = WallTime(0);
        let Ok(inode) = self.see_file(&who, *inode, true) else {
            return Ok(Reply::Done);
        };
        let grows = *length > self.node(inode).length;
        let allowed = if grows {
            self.check_length_quota(step, inode, *length)
        } else {
            Ok(())
        };
        if grows && allowed.is_ok() {
            let node = self.node_mut(inode);
            node.length = *length;
            node.eattr &= !eattr::SNAPSHOT;
            if *may_touch_times {
                node.modified(step.now);
            }
        }
        if self.check_slot(inode, *index, *chunk).is_ok() {
            self.tell_chunk_changed(step, inode, *index, false);
        }
        step.refusal_counts = true;
        allowed.map(|()| Reply::Done)
    }

    /// APPEND_SLICE of section 3.6.
    fn append_slice(
        &mut self,
        step: &Step,
        caller: &Caller,
        (dst, src): (InodeId, InodeId),
        (from, to): (i64, i64),
    ) -> Result<Reply, FsError> {
        let who = self.tree_caller(caller)?;
        who.may_change(&[Disable::AppendChunks])?;
        let dst = self.see(&who, dst, false)?;
        let src = self.see(&who, src, false)?;
        let dst = self.see_file(&who, dst, true)?;
        let src = self.see_file(&who, src, true)?;
        if dst == src {
            return Err(FsError::Invalid);
        }
        self.demand(&who, dst, W)?;
        self.demand(&who, src, R)?;
        self.forbid(dst, eattr::IMMUTABLE)?;
        let source = self.node(src);
        let count = source.length.div_ceil(limits::CHUNK_BYTES);
        let from = position(from, count);
        let to = position(to, count);
        if from > to {
            return Err(FsError::Invalid);
        }
        if from == to {
            return Ok(Reply::Done);
        }
        let mut target = self.node(dst).clone();
        let first = target.length.div_ceil(limits::CHUNK_BYTES);
        let end = (to * limits::CHUNK_BYTES).min(source.length);
        target.length = first * limits::CHUNK_BYTES + end - from * limits::CHUNK_BYTES;
        if target.length > limits::FILE_BYTES_MAX {
            return Err(FsError::IndexTooBig);
        }
        let appended = first..first + (to - from);
        target
            .chunks
            .retain(|index, _| !appended.contains(&u64::from(*index)));
        for (index, chunk) in &source.chunks {
            let index = u64::from(*index);
            if (from..to).contains(&index) {
                target.chunks.insert((first + index - from) as u32, *chunk);
            }
        }
        target.modified(step.now);
        let mut after = self.clone();
        after.nodes.insert(dst, Arc::new(target));
        if after.cuts_what_is_shared() {
            return Err(FsError::Locked);
        }
        let more = subtract(after.stats(dst), self.stats(dst));
        self.check_quota(step.now, &self.grow_file(dst, more))?;
        *self = after;
        Ok(Reply::Done)
    }

    /// Whether a file may have this length: of what grows, the length alone is compared.
    fn check_length_quota(&self, step: &Step, inode: InodeId, length: u64) -> Result<(), FsError> {
        let more = DirStats {
            length: i128::from(length - self.node(inode).length),
            ..DirStats::default()
        };
        self.check_quota(step.now, &self.grow_file(inode, more))
    }

    /// Whether a file may have one more chunk: a whole one is compared with the quotas, since
    /// nobody knows yet how much of it will be written.
    fn check_whole_chunk(&self, step: &Step, inode: InodeId) -> Result<(), FsError> {
        let size = i128::from(limits::CHUNK_BYTES + limits::CHUNK_HEADER_BYTES);
        let more = DirStats {
            size,
            real_size: size * i128::from(self.copies(self.node(inode).class)),
            ..DirStats::default()
        };
        self.check_quota(step.now, &self.grow_file(inode, more))
    }

    fn is_shared(&self, chunk: ChunkId) -> bool {
        self.references().get(&chunk).is_some_and(|n| *n > 1)
    }

    /// A chunk is locked up to and including the last second of its lock.
    fn check_unlocked(&self, step: &Step, chunk: ChunkId) -> Result<(), FsError> {
        let until = self.chunks[&chunk].locked_until;
        if until != WallTime(0) && until >= step.now {
            return Err(FsError::Locked);
        }
        Ok(())
    }

    /// While a chunk is being cut, nothing else is done with it, whoever has locked it.
    fn check_not_cut(&self, chunk: ChunkId) -> Result<(), FsError> {
        if self.chunks[&chunk].is_being_cut() {
            return Err(FsError::Locked);
        }
        Ok(())
    }

    /// Chunkservers have to be told. What they had to be told before begins from the same copies.
    fn note_unsettled(
        &mut self,
        (inode, index): (InodeId, u32),
        chunk: ChunkId,
        action: ChunkAction,
        cut: Option<Cut>,
    ) {
        let known = self.chunks.get_mut(&chunk).expect("it is in a file");
        let before = known.unsettled.map(|it| it.action);
        let made = (action != ChunkAction::Kept).then_some(action);
        known.unsettled = before.or(made).map(|action| Unsettled {
            action,
            cut,
            inode,
            index,
        });
    }

    fn lock_chunk(&mut self, step: &Step, chunk: ChunkId) {
        let chunk = self.chunks.get_mut(&chunk).expect("it is in a file");
        chunk.locked_until = WallTime(step.now.0.saturating_add(limits::CHUNK_LOCK_SECONDS));
        chunk.archived = false;
    }

    fn raise(&mut self, chunk: ChunkId) -> Result<ChunkAction, FsError> {
        let chunk = self.chunks.get_mut(&chunk).expect("it is in a file");
        let from_version = chunk.version;
        chunk.version = from_version.checked_add(1).ok_or(FsError::NoSpace)?;
        Ok(ChunkAction::Raised { from_version })
    }

    /// A copy of its own for this file; the shared chunk is kept until the copy is made.
    fn duplicate(
        &mut self,
        inode: InodeId,
        index: u32,
        from: ChunkId,
    ) -> Result<(ChunkId, ChunkAction), FsError> {
        let chunk = self.new_chunk(inode)?;
        let from_version = self.chunks[&from].version;
        self.insert_chunk(inode, index, chunk);
        Ok((chunk, ChunkAction::Duplicated { from, from_version }))
    }

    /// What a chunk was made from is nobody's to write any more: its writer went on to the copy.
    fn unlock_source(&mut self, unsettled: Option<Unsettled>) {
        if let Some(ChunkAction::Duplicated { from, .. }) = unsettled.map(|it| it.action)
            && let Some(source) = self.chunks.get_mut(&from)
        {
            source.locked_until = WallTime(0);
        }
    }

    fn insert_chunk(&mut self, inode: InodeId, index: u32, chunk: ChunkId) {
        let new = Chunk {
            version: 1,
            locked_until: WallTime(0),
            archived: false,
            unsettled: None,
        };
        self.chunks.insert(chunk, new);
        self.node_mut(inode).chunks.insert(index, chunk);
    }

    pub(crate) fn known_chunk(&mut self, chunk: ChunkId) -> Result<&mut Chunk, FsError> {
        self.chunks.get_mut(&chunk).ok_or(FsError::NoChunk)
    }

    /// `NoEnt` without the node, `NoChunk` when the slot does not hold the chunk.
    fn check_slot(&self, inode: InodeId, index: u32, chunk: ChunkId) -> Result<(), FsError> {
        let node = self.nodes.get(&inode).ok_or(FsError::NoEnt)?;
        match node.chunks.get(&index) {
            Some(there) if *there == chunk => Ok(()),
            _ => Err(FsError::NoChunk),
        }
    }

    /// Tells what is in a slot now.
    fn tell_chunk_changed(&self, step: &mut Step, inode: InodeId, index: u32, truncated: bool) {
        let slot = self.node(inode).chunks.get(&index).copied();
        let chunk = slot.unwrap_or(ChunkId::HOLE);
        step.chunk_notices.push(Notice::ChunkChanged {
            inode,
            index,
            chunk,
            version: self.chunks.get(&chunk).map_or(0, |known| known.version),
            length: self.node(inode).length,
            truncated,
        });
    }
}

/// A position in `0..=count`; negative ones count from the end.
fn position(at: i64, count: u64) -> u64 {
    if at < 0 {
        count.saturating_sub(at.unsigned_abs())
    } else {
        (at as u64).min(count)
    }
}
