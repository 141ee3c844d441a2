//! A disk that forgets, tears, rots and lies, under a seed.
//!
//! What was written is pending until a flush that began after it finishes; a crash decides for each
//! pending operation what became of it. The world keeps a handle to the disk while a log owns
//! another one: the world finishes flushes and brings the faults, the log sees their effects.
//!
//! Faults are of two kinds. Those of an honest disk in a bad hour (lost, torn and reordered writes
//! in a crash, failed flushes, a full disk, errors and flipped bits on reading) may happen at any
//! time. Those that destroy what was flushed (rot, misdirected writes) are for the world to dose:
//! it knows where the last good copy is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mfsha_core::disk::{Disk, DiskError, FileName, FlushId, range_of};
use mfsha_core::limits::{PAGE_BYTES, SECTOR_BYTES};
use mfsha_core::rng::Rng;

/// How often what goes wrong. Chances are in parts of a thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A read fails; the next one may not.
    pub read_error: u64,
    /// One bit of what is read is flipped on the way; the disk keeps the right one.
    pub read_flip: u64,
    /// A write goes to another place in the same file.
    pub misdirect: u64,
}

/// What becomes of pending operations in a crash, in parts of a thousand each; the rest is torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashFate {
    /// The operation happened.
    pub kept: u64,
    /// It did not.
    pub lost: u64,
}

impl CrashFate {
    /// Everything pending happened.
    pub const KEEP: Self = Self {
        kept: 1_000,
        lost: 0,
    };
    /// Nothing pending happened.
    pub const LOSE: Self = Self {
        kept: 0,
        lost: 1_000,
    };
    /// Any of it, in any order, whole or torn.
    pub const ANY: Self = Self {
        kept: 400,
        lost: 300,
    };
}

/// Something done to the disk that a flush has not covered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A file of zeros was made.
    Create {
        /// Its name.
        file: FileName,
        /// Its length, bytes.
        length: u64,
    },
    /// A file got another name.
    Rename {
        /// The old name.
        from: FileName,
        /// The new one.
        to: FileName,
    },
    /// A file was removed.
    Remove {
        /// Its name.
        file: FileName,
    },
    /// Bytes were written.
    Write {
        /// The file.
        file: FileName,
        /// Where, bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
}

impl Pending {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. })
    }

    /// Sectors that it writes to: file, and offset in bytes.
    fn sectors(&self) -> BTreeSet<(FileName, u64)> {
        let Self::Write {
            file,
            offset,
            bytes,
        } = self
        else {
            return BTreeSet::new();
        };
        let sector = SECTOR_BYTES as u64;
        let (first, end) = (offset / sector, offset + bytes.len() as u64);
        let sectors = (first..end.div_ceil(sector)).map(|at| (file.clone(), at * sector));
        sectors.collect()
    }
}

/// Content of every file.
pub type Files = BTreeMap<FileName, Vec<u8>>;

/// How often what went wrong, for coverage: what came of faults, not what was planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes, and makings and renamings of files, that failed.
    pub write_errors: u64,
    /// Reads with a flipped bit.
    pub read_flips: u64,
    /// Writes that went elsewhere.
    pub misdirected: u64,
    /// Flushes that failed.
    pub flush_errors: u64,
    /// Operations that a crash or a failed flush lost.
    pub lost: u64,
    /// Operations that a crash or a failed flush did in part, sector by sector.
    pub torn: u64,
    /// The same, where whole pages were spoilt.
    pub torn_pages: u64,
    /// Crashes that kept an operation and none of an earlier one.
    pub reordered: u64,
    /// Sectors that rotted.
    pub rotted: u64,
    /// Requests refused for want of space.
    pub full: u64,
}

impl DiskCounts {
    /// Each with the name of the situation that it is.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 11] {
        let Self {
            read_errors,
            write_errors,
            read_flips,
            misdirected,
            flush_errors,
            lost,
            torn,
            torn_pages,
            reordered,
            rotted,
            full,
        } = *self;
        [
            ("disk read failed", read_errors),
            ("disk write failed", write_errors),
            ("disk read flipped a bit", read_flips),
            ("disk write went astray", misdirected),
            ("disk flush failed", flush_errors),
            ("disk operation lost", lost),
            ("disk operation torn", torn),
            ("disk pages torn", torn_pages),
            ("disk operations out of order", reordered),
            ("disk sector rotted", rotted),
            ("disk was full", full),
        ]
    }
}

#[derive(Debug)]
struct State {
    durable: Files,
    seen: Files,
    pending: Vec<Pending>,
    /// Sectors that the newest flush with any write in it made durable.
    newest: BTreeSet<(FileName, u64)>,
    /// Running flushes, and how many pending operations each covers.
    flushes: VecDeque<(FlushId, usize)>,
    next_flush: u64,
    capacity_bytes: u64,
    /// A torn write spoils whole pages.
    pages_tear: bool,
    /// What is written next fails.
    fail_next: bool,
    faults: DiskFaults,
    counts: DiskCounts,
    rng: Rng,
    /// What was done since somebody asked to keep it.
    record: Option<Record>,
}

/// Everything that was done to a disk, in order.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Operations and finished flushes.
    pub events: Vec<Event>,
}

/// One thing done to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation, pending until a flush.
    Operation(Pending),
    /// A flush began.
    FlushBegan(FlushId),
    /// A flush finished well.
    FlushEnded(FlushId),
}

/// A handle to a disk; clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk of so many bytes; `rng` decides about read faults and misdirected writes.
    #[must_use]
    pub fn new(capacity_bytes: u64, rng: Rng) -> Self {
        Self::from_files(Files::new(), capacity_bytes, rng)
    }

    /// The disk, on which torn writes spoil whole pages or, as a new one's do, keep whole sectors.
    #[must_use]
    pub fn tearing_pages(self, pages_tear: bool) -> Self {
        self.state().pages_tear = pages_tear;
        self
    }

    /// A disk that holds these files, durably.
    #[must_use]
    pub fn from_files(files: Files, capacity_bytes: u64, rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            seen: files.clone(),
            durable: files,
            pending: Vec::new(),
            newest: BTreeSet::new(),
            flushes: VecDeque::new(),
            next_flush: 0,
            capacity_bytes,
            pages_tear: false,
            fail_next: false,
            faults: DiskFaults::default(),
            counts: DiskCounts::default(),
            rng,
            record: None,
        })))
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// The next write, or making or renaming of a file, fails, and may have been done in part.
    pub fn fail_next_write(&self) {
        self.state().fail_next = true;
    }

    /// Nothing fails any more: a fault that was to come is called off.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fail_next = false;
        state.faults = DiskFaults::default();
    }

    /// Sets the capacity; files that are there stay, also above it.
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Records everything done from now on.
    pub fn start_record(&self) {
        self.state().record = Some(Record::default());
    }

    /// Takes the record out; it goes on empty.
    #[must_use]
    pub fn take_record(&self) -> Record {
        let mut state = self.state();
        state
            .record
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// How often what went wrong so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// Whether nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let state = self.state();
        state.used_bytes() >= state.capacity_bytes
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// What is durable.
    #[must_use]
    pub fn durable(&self) -> Files {
        self.state().durable.clone()
    }

    /// Operations that no finished flush covers.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.state().pending.len()
    }

    /// Flushes that run, oldest first.
    #[must_use]
    pub fn flushes(&self) -> Vec<FlushId> {
        self.state().flushes.iter().map(|(id, _)| *id).collect()
    }

    /// Finishes the oldest running flush well: what was done before it began is durable.
    ///
    /// # Panics
    /// When `flush` is not the oldest running one: flushes finish in order.
    pub fn finish_flush(&self, flush: FlushId) {
        let mut state = self.state();
        let covered = state.end_flush(flush);
        let done: Vec<_> = state.pending.drain(..covered).collect();
        for (_, later) in &mut state.flushes {
            *later -= covered;
        }
        if done.iter().any(Pending::is_write) {
            state.newest = done.iter().flat_map(Pending::sectors).collect();
        }
        for operation in &done {
            apply(&mut state.durable, operation);
        }
        if let Some(record) = &mut state.record {
            record.events.push(Event::FlushEnded(flush));
        }
    }

    /// Lets the oldest running flush fail. Each operation it covered has happened, or is forgotten
    /// for ever, whole or torn: what is read from now on need not be what is on the disk. Names
    /// are kept: a file system that cannot keep its own records stops instead.
    ///
    /// # Panics
    /// When `flush` is not the oldest running one.
    pub fn fail_flush(&self, flush: FlushId, rng: &mut Rng) {
        let mut state = self.state();
        let covered = state.end_flush(flush);
        state.counts.flush_errors += 1;
        let done: Vec<_> = state.pending.drain(..covered).collect();
        for (_, later) in &mut state.flushes {
            *later -= covered;
        }
        for operation in &done {
            match operation {
                Pending::Write { .. } => {
                    state.scatter(std::slice::from_ref(operation), CrashFate::ANY, rng);
                }
                _ => apply(&mut state.durable, operation),
            }
        }
    }

    /// The process dies but the machine does not: what was written stays, running flushes are
    /// forgotten.
    pub fn kill(&self) {
        self.state().flushes.clear();
    }

    /// The power fails: each pending operation is kept, lost or torn. The disk goes on with what
    /// is left, as the next life finds it; that is also returned.
    pub fn crash(&self, fate: CrashFate, rng: &mut Rng) -> Files {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        state.flushes.clear();
        state.scatter(&pending, fate, rng);
        state.seen = state.durable.clone();
        state.durable.clone()
    }

    /// The disk is replaced by an empty one.
    pub fn lose_everything(&self) {
        let mut state = self.state();
        state.pending.clear();
        state.flushes.clear();
        state.durable.clear();
        state.seen.clear();
    }

    /// One durable sector goes bad: its bytes are others from now on. Says which file and where.
    ///
    /// Three times of four it is one that was written to, where there is any. It is none of the
    /// newest flush: no log can tell that from a batch that was never flushed
    /// (`docs/protocols/wal.md`, "What it does not promise").
    pub fn rot(&self, rng: &mut Rng) -> Option<(FileName, u64)> {
        let mut state = self.state();
        let aimed = rng.chance(3, 4);
        let written = state.written().filter(|_| aimed);
        let written: Vec<_> = written.collect();
        if !written.is_empty() {
            let (name, offset) = rng.pick(&written).clone();
            let mut noise = [0; SECTOR_BYTES];
            rng.fill(&mut noise);
            state.spoil(&name, offset, &noise);
            return Some((name, offset));
        }
        let files: Vec<_> = state
            .durable
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        if files.is_empty() {
            return None;
        }
        let (name, bytes) = *rng.pick(&files);
        let (name, sectors) = (name.clone(), bytes.len().div_ceil(SECTOR_BYTES));
        let offset = rng.below(sectors as u64) * SECTOR_BYTES as u64;
        if state.newest.contains(&(name.clone(), offset)) {
            return None;
        }
        let mut noise = [0; SECTOR_BYTES];
        rng.fill(&mut noise);
        state.spoil(&name, offset, &noise);
        Some((name, offset))
    }

    /// Puts these bytes into a durable file, behind everybody's back.
    pub fn spoil(&self, file: &str, offset: u64, bytes: &[u8]) {
        self.state().spoil(file, offset, bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the run; the disk itself is consistent between calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.seen.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Durable sectors that hold something, but for those of the newest flush.
    fn written(&self) -> impl Iterator<Item = (FileName, u64)> {
        let files = self.durable.iter();
        let sectors = files.flat_map(|(name, bytes)| {
            let chunks = bytes.chunks(SECTOR_BYTES).enumerate();
            let full = chunks.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
            full.map(move |(at, _)| (name.clone(), (at * SECTOR_BYTES) as u64))
        });
        sectors.filter(|sector| !self.newest.contains(sector))
    }

    fn end_flush(&mut self, flush: FlushId) -> usize {
        let oldest = self.flushes.pop_front();
        let (id, covered) = oldest.expect("a flush ends that does not run");
        assert_eq!(id, flush, "flushes end in the order they began");
        covered
    }

    /// Takes an operation on, or fails it when that is due: some of it may be done all the same.
    fn attempt(&mut self, operation: Pending) -> Result<(), DiskError> {
        if !std::mem::take(&mut self.fail_next) {
            self.enter(operation);
            return Ok(());
        }
        self.counts.write_errors += 1;
        let file = match &operation {
            Pending::Create { file, .. }
            | Pending::Remove { file }
            | Pending::Write { file, .. }
            | Pending::Rename { from: file, .. } => file.clone(),
        };
        for piece in tear(&operation, &mut self.rng) {
            self.enter(piece);
        }
        Err(DiskError::Io {
            file,
            reason: "simulated write error".into(),
        })
    }

    fn enter(&mut self, operation: Pending) {
        if let Some(record) = &mut self.record {
            record.events.push(Event::Operation(operation.clone()));
        }
        apply(&mut self.seen, &operation);
        self.pending.push(operation);
    }

    fn scatter(&mut self, operations: &[Pending], fate: CrashFate, rng: &mut Rng) {
        let (mut one_lost, mut out_of_order) = (false, false);
        for operation in operations {
            let draw = rng.below(1_000);
            if draw < fate.kept {
                apply(&mut self.durable, operation);
                out_of_order |= one_lost;
            } else if draw < fate.kept + fate.lost {
                self.counts.lost += 1;
                one_lost = true;
            } else {
                let left = match self.pages_tear {
                    true => tear_pages(operation, rng),
                    false => tear(operation, rng),
                };
                for piece in left {
                    apply(&mut self.durable, &piece);
                }
                match self.pages_tear && matches!(operation, Pending::Write { .. }) {
                    true => self.counts.torn_pages += 1,
                    false => self.counts.torn += 1,
                }
            }
        }
        self.counts.reordered += u64::from(out_of_order);
    }

    fn spoil(&mut self, file: &str, offset: u64, bytes: &[u8]) {
        self.counts.rotted += 1;
        for files in [&mut self.durable, &mut self.seen] {
            let Some(content) = files.get_mut(file) else {
                continue;
            };
            let from = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(content.len());
            let length = bytes.len().min(content.len() - from);
            content[from..from + length].copy_from_slice(&bytes[..length]);
        }
    }

    fn full(&mut self, file: &str) -> DiskError {
        self.counts.full += 1;
        DiskError::Full { file: file.into() }
    }

    fn missing(&self, file: &str) -> Result<(), DiskError> {
        match self.seen.contains_key(file) {
            true => Ok(()),
            false => Err(DiskError::Missing { file: file.into() }),
        }
    }
}

/// Does an operation, as far as its file is there: a write to a file that was never made, or is
/// gone, has nowhere to go.
pub fn apply(files: &mut Files, operation: &Pending) {
    match operation {
        Pending::Create { file, length } => {
            files.insert(file.clone(), vec![0; *length as usize]);
        }
        Pending::Rename { from, to } => {
            if let Some(bytes) = files.remove(from) {
                files.insert(to.clone(), bytes);
            }
        }
        Pending::Remove { file } => {
            files.remove(file);
        }
        Pending::Write {
            file,
            offset,
            bytes,
        } => {
            if let Some(content) = files.get_mut(file)
                && let Ok(range) = range_of(file, content.len(), *offset, bytes.len())
            {
                content[range].copy_from_slice(bytes);
            }
        }
    }
}

/// What may remain of an operation: some sectors of a write, whole or nothing of anything else.
/// Pages are dealt with one after the other: kept, lost, or torn at a sector.
#[must_use]
pub fn tear(operation: &Pending, rng: &mut Rng) -> Vec<Pending> {
    let Pending::Write {
        file,
        offset,
        bytes,
    } = operation
    else {
        return if rng.chance(1, 2) {
            vec![operation.clone()]
        } else {
            Vec::new()
        };
    };
    let mut kept = Vec::new();
    let mut page = u64::MAX;
    let mut page_fate = 0;
    let mut at = 0;
    while at < bytes.len() {
        let place = offset + at as u64;
        let step = SECTOR_BYTES - (place as usize % SECTOR_BYTES);
        let end = (at + step).min(bytes.len());
        if place / PAGE_BYTES as u64 != page {
            page = place / PAGE_BYTES as u64;
            page_fate = rng.below(3);
        }
        if page_fate == 0 || (page_fate == 1 && rng.chance(1, 2)) {
            kept.push(Pending::Write {
                file: file.clone(),
                offset: place,
                bytes: bytes[at..end].to_vec(),
            });
        }
        at = end;
    }
    kept
}

/// What may remain of an operation on a disk that writes whole pages: each page is kept, lost, or
/// spoilt with all that was in it, durable or not.
#[must_use]
pub fn tear_pages(operation: &Pending, rng: &mut Rng) -> Vec<Pending> {
    let Pending::Write {
        file,
        offset,
        bytes,
    } = operation
    else {
        return tear(operation, rng);
    };
    let page_bytes = PAGE_BYTES as u64;
    let end = offset + bytes.len() as u64;
    let mut left = Vec::new();
    let mut at = *offset;
    while at < end {
        let page = at - at % page_bytes;
        let next = end.min(page + page_bytes);
        let piece = match rng.below(3) {
            0 => Some((
                at,
                bytes[(at - offset) as usize..(next - offset) as usize].to_vec(),
            )),
            1 => Some((
                page,
                (0..PAGE_BYTES).map(|_| rng.next_u64() as u8).collect(),
            )),
            _ => None,
        };
        left.extend(piece.map(|(offset, bytes)| Pending::Write {
            file: file.clone(),
            offset,
            bytes,
        }));
        at = next;
    }
    left
}

impl Disk for SimDisk {
    fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError> {
        let state = self.state();
        let files = state.seen.iter();
        Ok(files
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
            .collect())
    }

    fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.seen.contains_key(file) {
            return Err(DiskError::Io {
                file: file.into(),
                reason: "the file exists".into(),
            });
        }
        if state.used_bytes().saturating_add(length) > state.capacity_bytes {
            return Err(state.full(file));
        }
        state.attempt(Pending::Create {
            file: file.into(),
            length,
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.missing(from)?;
        state.attempt(Pending::Rename {
            from: from.into(),
            to: to.into(),
        })
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.missing(file)?;
        state.enter(Pending::Remove { file: file.into() });
        Ok(())
    }

    fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.state();
        state.missing(file)?;
        let State {
            seen,
            rng,
            faults,
            counts,
            ..
        } = &mut *state;
        let content = &seen[file];
        let range = range_of(file, content.len(), offset, into.len())?;
        if faults.read_error > 0 && rng.chance(faults.read_error, 1_000) {
            counts.read_errors += 1;
            return Err(DiskError::Io {
                file: file.into(),
                reason: "simulated read error".into(),
            });
        }
        into.copy_from_slice(&content[range]);
        if faults.read_flip > 0 && !into.is_empty() && rng.chance(faults.read_flip, 1_000) {
            counts.read_flips += 1;
            let bit = rng.below(into.len() as u64 * 8);
            into[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state();
        state.missing(file)?;
        let length = state.seen[file].len();
        range_of(file, length, offset, bytes.len())?;
        let mut place = offset;
        let chance = state.faults.misdirect;
        if chance > 0 && state.rng.chance(chance, 1_000) {
            let sectors = (length - bytes.len()) / SECTOR_BYTES;
            place = state.rng.below(sectors as u64 + 1) * SECTOR_BYTES as u64;
            state.counts.misdirected += 1;
        }
        state.attempt(Pending::Write {
            file: file.into(),
            offset: place,
            bytes: bytes.to_vec(),
        })
    }

    fn start_flush(&mut self) -> FlushId {
        let mut state = self.state();
        state.next_flush += 1;
        let flush = FlushId(state.next_flush);
        let covered = state.pending.len();
        state.flushes.push_back((flush, covered));
        if let Some(record) = &mut state.record {
            record.events.push(Event::FlushBegan(flush));
        }
        flush
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mfsha_core::rng::Seed;

    use super::*;

    fn disk() -> (SimDisk, Rng) {
        let seed = Seed::from_u64(1);
        (
            SimDisk::new(1 << 20, seed.child("reads").rng()),
            seed.child("fate").rng(),
        )
    }

    fn content(disk: &SimDisk, file: &str) -> Vec<u8> {
        let mut bytes = vec![0; 8_192];
        disk.read(file, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_write_that_fails_does_so_once_and_may_be_done_in_part() {
        let mut sectors = BTreeSet::new();
        for number in 0..40 {
            let mut disk = SimDisk::new(1 << 20, Seed::from_u64(number).rng());
            disk.create("a", 4_096).unwrap();
            disk.fail_next_write();
            let failed = disk.write("a", 0, &[1; 2_048]);
            assert!(matches!(failed, Err(DiskError::Io { .. })), "{failed:?}");
            let mut came = [0; 2_048];
            disk.read("a", 0, &mut came).unwrap();
            let done = came.chunks(SECTOR_BYTES).filter(|sector| sector[0] == 1);
            sectors.insert(done.count());
            disk.write("a", 0, &[2; 10]).unwrap();
            disk.fail_next_write();
            assert!(disk.create("b", 512).is_err());
            disk.fail_next_write();
            disk.heal();
            disk.rename("a", "c").unwrap();
            assert_eq!(disk.counts().write_errors, 2);
        }
        assert!(sectors.contains(&0) && sectors.contains(&4), "{sectors:?}");
        assert!(sectors.len() > 2, "{sectors:?}");
    }

    #[test]
    fn only_a_finished_flush_makes_durable_and_only_what_came_before_it() {
        let (mut disk, mut rng) = disk();
        disk.create("a", 8_192).unwrap();
        disk.write("a", 0, b"one").unwrap();
        let first = disk.start_flush();
        disk.write("a", 0, b"two").unwrap();
        disk.finish_flush(first);
        assert_eq!(&content(&disk, "a")[..3], b"two");
        disk.crash(CrashFate::LOSE, &mut rng);
        assert_eq!(&content(&disk, "a")[..3], b"one");
    }

    #[test]
    fn a_running_flush_promises_nothing() {
        let (mut disk, mut rng) = disk();
        disk.create("a", 8_192).unwrap();
        disk.start_flush();
        assert_eq!(disk.crash(CrashFate::LOSE, &mut rng), Files::new());
    }

    #[test]
    fn torn_writes_keep_whole_sectors_and_every_fate_occurs() {
        let (mut disk, mut rng) = disk();
        disk.create("a", 8_192).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        let fate = CrashFate { kept: 0, lost: 0 };
        let mut kept = BTreeSet::new();
        for round in 1..=200u8 {
            let before = content(&disk, "a");
            disk.write("a", 0, &[round; 8_192]).unwrap();
            disk.crash(fate, &mut rng);
            let after = content(&disk, "a");
            let mut sectors = 0;
            for (old, new) in before.chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES)) {
                assert!(new == old || new == [round; SECTOR_BYTES], "a sector tore");
                sectors += usize::from(new == [round; SECTOR_BYTES]);
            }
            kept.insert(sectors);
        }
        assert!(kept.contains(&0), "never nothing");
        assert!(kept.contains(&16), "never everything");
        assert!(kept.len() > 8, "hardly ever a part: {kept:?}");
    }

    #[test]
    fn torn_pages_are_kept_or_lost_or_spoilt_with_what_was_in_them() {
        let (disk, mut rng) = disk();
        let mut disk = disk.tearing_pages(true);
        disk.create("a", 8_192).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        let fate = CrashFate { kept: 0, lost: 0 };
        let (mut kept, mut lost, mut spoilt) = (0, 0, 0);
        for round in 1..=100u8 {
            let before = content(&disk, "a");
            disk.write("a", 4_096 + 512, &[round; 512]).unwrap();
            disk.crash(fate, &mut rng);
            let after = content(&disk, "a");
            assert_eq!(after[..4_096], before[..4_096], "the page beside it");
            let mut written = before.clone();
            written[4_608..5_120].fill(round);
            if after == written {
                kept += 1;
            } else if after == before {
                lost += 1;
            } else {
                assert_ne!(after[4_096..4_608], before[4_096..4_608], "spoilt with it");
                spoilt += 1;
            }
        }
        assert!(kept > 10, "{kept}");
        assert!(lost > 10, "{lost}");
        assert!(spoilt > 10, "{spoilt}");
    }

    #[test]
    fn a_failed_flush_leaves_anything() {
        let (mut disk, mut rng) = disk();
        disk.create("a", 8_192).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        let mut outcomes = BTreeSet::new();
        for round in 1..=50u8 {
            disk.write("a", 0, &[round; 4_096]).unwrap();
            let flush = disk.start_flush();
            disk.fail_flush(flush, &mut rng);
            let durable = disk.crash(CrashFate::LOSE, &mut rng);
            outcomes.insert(
                durable["a"][..4_096]
                    .iter()
                    .filter(|b| **b == round)
                    .count(),
            );
        }
        assert!(outcomes.contains(&0));
        assert!(outcomes.contains(&4_096));
    }

    #[test]
    fn reads_fail_and_flip_and_the_disk_keeps_the_right_bytes() {
        let (mut disk, _) = disk();
        disk.create("a", 8_192).unwrap();
        disk.set_faults(DiskFaults {
            read_error: 300,
            read_flip: 300,
            misdirect: 0,
        });
        let mut bytes = vec![0; 8_192];
        for _ in 0..100 {
            let _ = disk.read("a", 0, &mut bytes);
        }
        let counts = disk.counts();
        assert!(counts.read_errors > 0);
        assert!(counts.read_flips > 0);
        disk.set_faults(DiskFaults::default());
        assert_eq!(content(&disk, "a"), vec![0; 8_192]);
    }

    #[test]
    fn a_full_disk_refuses_and_changes_nothing() {
        let (mut disk, _) = disk();
        disk.set_capacity_bytes(10_000);
        disk.create("a", 8_192).unwrap();
        assert!(matches!(
            disk.create("b", 8_192),
            Err(DiskError::Full { .. })
        ));
        assert_eq!(disk.used_bytes(), 8_192);
        assert_eq!(disk.counts().full, 1);
    }

    #[test]
    fn rot_strikes_what_was_written_but_for_the_newest_flush() {
        let (_, mut rng) = disk();
        let flush = |disk: &mut SimDisk| {
            let flush = disk.start_flush();
            disk.finish_flush(flush);
        };
        // A sector that rotted is one that was written to: each disk is struck once.
        let mut strike = || {
            let (mut disk, _) = disk();
            disk.create("a", 64 << 10).unwrap();
            disk.write("a", 1_024, &[1; 512]).unwrap();
            flush(&mut disk);
            disk.write("a", 4_096, &[2; 1_000]).unwrap();
            flush(&mut disk);
            disk.rot(&mut rng).map(|(_, offset)| offset)
        };
        let struck: Vec<u64> = (0..100).filter_map(|_| strike()).collect();
        let of_older = struck.iter().filter(|offset| **offset == 1_024).count();
        assert!(of_older > 50, "{struck:?}");
        assert!(
            !struck.contains(&4_096) && !struck.contains(&4_608),
            "{struck:?}"
        );
    }

    #[test]
    fn rot_and_misdirected_writes_reach_durable_bytes() {
        let (mut disk, mut rng) = disk();
        disk.create("a", 8_192).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        let (file, offset) = disk.rot(&mut rng).unwrap();
        assert_eq!(file, "a");
        let offset = offset as usize;
        assert_ne!(
            disk.durable()["a"][offset..offset + SECTOR_BYTES],
            [0; SECTOR_BYTES]
        );

        disk.set_faults(DiskFaults {
            misdirect: 1_000,
            ..DiskFaults::default()
        });
        for _ in 0..5 {
            disk.write("a", 512, &[9; 512]).unwrap();
        }
        assert!(disk.counts().misdirected >= 5);
    }
}
