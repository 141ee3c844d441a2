//! P-BYTES: what a mount was told is written is read back, by any mount at any node, until it is
//! overwritten.
//!
//! A write is acknowledged when its whole chain has the data and WRITE_CHUNK_END was answered; a
//! truncate when it is answered. A block then holds nothing that was over before that change began.
//! A change that is under way, or whose mount gave it up, may be there or not, in one copy so and in
//! another otherwise, now so and then otherwise: MooseFS writes copies one after the other, and
//! mends none of them for a writer that gave up. So what a read may give is what the block might
//! hold at some moment of it, and nothing else: neither an older value nor another block's.
//!
//! A length that a reader is told ends behind everything that is not nobody's, and not behind what
//! anybody made it to reach. Two appends are given no room twice, nor room that is in use. A repair
//! gives nothing up, since some good copy is left of everything in a run. Nobody is told anything
//! that costs its application an error or a minute. In the end, every copy that a reader could be
//! sent to holds in each block what that may hold.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::InodeId;
use mfsha_core::limits::CHUNK_BYTES;
use mfsha_core::namespace::FileCursor;
use mfsha_core::namespace::op::ChunkInfo;

use crate::data::{Block, CHUNKS, DataFact};
use crate::event::{Event, Phase};
use crate::time::SimTime;

use super::chunks::Disks;
use super::{Checker, ClusterView, StateImage, Violation, broken, image};

/// Something that a block may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    /// Which change made it so.
    op: u64,
    /// One of these: where chunks are shared nobody knows which.
    values: BTreeSet<u64>,
    /// The event with which it was over.
    ended: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct File {
    blocks: BTreeMap<Block, Vec<Candidate>>,
    /// No length is greater.
    reach: u64,
    /// Changes that are under way, and whether others were meanwhile.
    under_way: BTreeMap<u64, bool>,
    /// Room that was given to appends, since the file was cut last.
    rooms: BTreeSet<u64>,
}

impl File {
    fn may(&self, block: Block) -> BTreeSet<u64> {
        let all = self.blocks.get(&block).into_iter().flatten();
        all.flat_map(|it| it.values.iter().copied()).collect()
    }
}

/// A change on its way.
#[derive(Clone, Debug)]
enum Change {
    Write { block: Block, value: u64 },
    Cut { length: u64 },
    Slice { of: InodeId },
}

#[derive(Clone, Debug)]
struct Changing {
    file: InodeId,
    began: u64,
    change: Change,
}

/// Somebody looks at a file: what each block might hold meanwhile, and how long it might be.
#[derive(Clone, Debug)]
struct Looking {
    file: InodeId,
    may: BTreeMap<Block, BTreeSet<u64>>,
    reach: u64,
    block: Option<Block>,
    /// Whether a cut was under way meanwhile.
    cut: bool,
}

/// Watches what mounts read and write.
#[derive(Debug, Default)]
pub struct BytesChecker {
    /// Events so far.
    count: u64,
    files: BTreeMap<InodeId, File>,
    changes: BTreeMap<u64, Changing>,
    looks: BTreeMap<u64, Looking>,
    disks: Disks,
}

impl BytesChecker {
    fn begin(&mut self, op: u64, file: InodeId, change: Change) {
        let began = self.count;
        let it = self.files.entry(file).or_default();
        let alone = it.under_way.is_empty();
        for disturbed in it.under_way.values_mut() {
            *disturbed = true;
        }
        it.under_way.insert(op, !alone);
        let values: Vec<(Block, u64)> = match &change {
            Change::Write { block, value } => {
                it.reach = it.reach.max(block.end());
                vec![(*block, *value)]
            }
            Change::Cut { length } => {
                it.reach = it.reach.max(*length);
                it.rooms.clear();
                let behind = Block::all().filter(|block| block.begin() >= *length);
                behind.map(|block| (block, 0)).collect()
            }
            Change::Slice { .. } => Vec::new(),
        };
        let is_cut = matches!(change, Change::Cut { .. });
        let reach = it.reach;
        for (block, value) in values {
            let candidate = Candidate {
                op,
                values: BTreeSet::from([value]),
                ended: None,
            };
            it.blocks.entry(block).or_default().push(candidate);
            for look in self.looks.values_mut().filter(|look| look.file == file) {
                look.may.entry(block).or_default().insert(value);
            }
        }
        for look in self.looks.values_mut().filter(|look| look.file == file) {
            look.reach = look.reach.max(reach);
            look.cut |= is_cut;
        }
        if let Change::Slice { of } = change {
            self.look(op, of, None);
        }
        let changing = Changing {
            file,
            began,
            change,
        };
        self.changes.insert(op, changing);
    }

    fn look(&mut self, op: u64, file: InodeId, block: Option<Block>) {
        let is_cut = |it: &Changing| it.file == file && matches!(it.change, Change::Cut { .. });
        let cut = self.changes.values().any(is_cut);
        let it = self.files.entry(file).or_default();
        let may = Block::all().map(|block| (block, it.may(block))).collect();
        let look = Looking {
            file,
            may,
            reach: it.reach,
            block,
            cut,
        };
        self.looks.insert(op, look);
    }

    fn end(&mut self, op: u64, done: bool) {
        let source = self.looks.remove(&op);
        let Some(changing) = self.changes.remove(&op) else {
            return;
        };
        let Some(it) = self.files.get_mut(&changing.file) else {
            return;
        };
        let disturbed = it.under_way.remove(&op).unwrap_or(true);
        if let (Change::Slice { .. }, Some(source)) = (&changing.change, source) {
            it.reach = it.reach.max(source.reach.min(CHUNK_BYTES));
            for block in Block::of(0) {
                let values = source.may.get(&block).cloned().unwrap_or_default();
                let candidate = Candidate {
                    op,
                    values,
                    ended: None,
                };
                it.blocks.entry(block).or_default().push(candidate);
            }
        }
        for candidates in it.blocks.values_mut() {
            let Some(own) = candidates.iter_mut().find(|it| it.op == op) else {
                continue;
            };
            own.ended = Some(self.count);
            if done {
                // What was over before this began is overwritten.
                candidates.retain(|it| it.ended.is_none_or(|ended| ended >= changing.began));
            }
        }
        if let (Change::Cut { length }, true, false) = (&changing.change, done, disturbed) {
            it.reach = *length;
        }
    }

    fn on_length(&mut self, op: u64, length: u64) -> Result<(), String> {
        let Some(look) = self.looks.get(&op) else {
            return Ok(());
        };
        if length > look.reach {
            return Err(format!(
                "{:?} is told to have {length} bytes, and nobody made it reach behind {}",
                look.file, look.reach
            ));
        }
        let behind = look.may.iter().filter(|(block, _)| block.end() > length);
        for (block, may) in behind {
            if !may.contains(&0) {
                return Err(format!(
                    "{:?} is told to have {length} bytes, and {block:?} behind that holds one of \
                     {may:x?}",
                    look.file
                ));
            }
        }
        Ok(())
    }

    fn on_read(&mut self, op: u64, value: Option<u64>) -> Result<(), String> {
        let (Some(look), Some(value)) = (self.looks.remove(&op), value) else {
            return Ok(());
        };
        let Some((block, may)) = look
            .block
            .and_then(|block| Some((block, look.may.get(&block)?)))
        else {
            return Ok(());
        };
        match may.contains(&value) {
            true => Ok(()),
            false => Err(format!(
                "{block:?} of {:?} was read as {value:#x}, and might hold {may:x?}",
                look.file
            )),
        }
    }

    fn on_room(&mut self, op: u64, begin: u64) -> Result<(), String> {
        let Some(look) = self.looks.remove(&op) else {
            return Ok(());
        };
        let Some(it) = self.files.get_mut(&look.file) else {
            return Ok(());
        };
        if !look.cut && !it.rooms.insert(begin) {
            return Err(format!(
                "two appends to {:?} are given the room from {begin} on",
                look.file
            ));
        }
        let block = Block::beginning(begin);
        let used = block.and_then(|block| look.may.get(&block));
        match used.filter(|may| !may.contains(&0)) {
            Some(may) => Err(format!(
                "an append to {:?} is given the room from {begin} on, where one of {may:x?} is",
                look.file
            )),
            None => Ok(()),
        }
    }

    fn judge(&mut self, fact: &DataFact) -> Result<(), String> {
        match fact {
            DataFact::Made { file } => {
                let mut made = File::default();
                for block in Block::all() {
                    let nobody = Candidate {
                        op: 0,
                        values: BTreeSet::from([0]),
                        ended: Some(self.count),
                    };
                    made.blocks.insert(block, vec![nobody]);
                }
                self.files.insert(*file, made);
            }
            DataFact::Gone { file } => {
                self.files.remove(file);
            }
            DataFact::Writes { op, file, block } => {
                let (block, value) = (*block, *op);
                self.begin(*op, *file, Change::Write { block, value });
            }
            DataFact::Cuts { op, file, length } => {
                let length = *length;
                self.begin(*op, *file, Change::Cut { length });
            }
            DataFact::Slices { op, file, of } => {
                let of = *of;
                self.begin(*op, *file, Change::Slice { of });
            }
            DataFact::Changed { op, done } => self.end(*op, *done),
            DataFact::Reserves { op, file } => self.look(*op, *file, None),
            DataFact::Reserved { op, begin } => return self.on_room(*op, *begin),
            DataFact::Reads { op, file, block } => self.look(*op, *file, Some(*block)),
            DataFact::Length { op, length } => return self.on_length(*op, *length),
            DataFact::Read { op, value, .. } => return self.on_read(*op, *value),
            DataFact::Repaired {
                file,
                erased,
                repaired,
            } => {
                if (*erased, *repaired) != (0, 0) {
                    return Err(format!(
                        "a repair of {file:?} gave {erased} chunk(s) up and took {repaired} from \
                         other versions, and there are good copies"
                    ));
                }
            }
            DataFact::Refused { .. } => {}
            DataFact::Wrong { what } => return Err(what.clone()),
        }
        Ok(())
    }

    /// Copies that readers could be sent to.
    fn judge_end(&self, chunks: &BTreeMap<(InodeId, u32), ChunkInfo>) -> Result<(), String> {
        let none = BTreeMap::new();
        for ((file, index), info) in chunks {
            let Some(it) = self.files.get(file) else {
                continue;
            };
            let copies = self.disks.get(&info.chunk).unwrap_or(&none);
            let good = copies
                .iter()
                .filter(|(_, copy)| !copy.bad && copy.version == info.version);
            for (server, copy) in good {
                for block in Block::of(*index) {
                    let (value, may) = (copy.content.blocks[block.at], it.may(block));
                    if !may.contains(&value) {
                        return Err(format!(
                            "cs{server} holds {value:#x} in {block:?} of {file:?}, {}, which may \
                             hold {may:x?}",
                            info.chunk
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The chunks of all files.
fn chunks_of(state: &StateImage) -> Option<BTreeMap<(InodeId, u32), ChunkInfo>> {
    let tree = image::namespace(state)?;
    let mut chunks = BTreeMap::new();
    let mut after = FileCursor::default();
    loop {
        let files = tree.files_after(after, 100, 1_000).ok()?;
        let Some(last) = files.last() else {
            return Some(chunks);
        };
        after = last.cursor;
        for file in &files {
            let few = file.chunks.iter().filter(|info| info.index < CHUNKS);
            chunks.extend(few.map(|info| ((file.inode, info.index), *info)));
        }
    }
}

impl Checker for BytesChecker {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn promise(&self) -> &'static str {
        "P-BYTES"
    }

    fn on_event(&mut self, _: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::DataSaid {
                mount,
                thread,
                fact,
            } => {
                self.count += 1;
                let judged = self.judge(fact);
                judged.map_err(|what| {
                    broken(self, format!("thread {thread} of mount {mount}: {what}"))
                })
            }
            Event::CopyChanged {
                server,
                chunk,
                copy,
            } => {
                let copies = self.disks.entry(*chunk).or_default();
                match copy {
                    Some(stored) => copies.insert(*server, *stored),
                    None => copies.remove(server),
                };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        if cluster.phase != Phase::Quiescent || self.files.is_empty() {
            return Ok(());
        }
        let mut states = cluster
            .core
            .iter()
            .filter_map(|seat| cluster.states.get(seat));
        let Some(chunks) = states.find_map(chunks_of) else {
            return Ok(());
        };
        self.judge_end(&chunks)
            .map_err(|sentence| broken(self, sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeId = InodeId(7);
    const OTHER: InodeId = InodeId(8);
    const FIRST: Block = Block { index: 0, at: 0 };
    const SECOND: Block = Block { index: 0, at: 1 };

    fn judge(facts: &[DataFact]) -> Result<(), String> {
        let mut checker = BytesChecker::default();
        let made = [FILE, OTHER].map(|file| DataFact::Made { file });
        let mut all = made.iter().chain(facts);
        all.try_for_each(|fact| {
            checker.count += 1;
            checker.judge(fact)
        })
    }

    fn writes(op: u64) -> DataFact {
        let (file, block) = (FILE, FIRST);
        DataFact::Writes { op, file, block }
    }

    fn ended(op: u64, done: bool) -> DataFact {
        DataFact::Changed { op, done }
    }

    fn reads(op: u64, file: InodeId, block: Block) -> DataFact {
        DataFact::Reads { op, file, block }
    }

    fn gave(op: u64, value: u64) -> DataFact {
        let (value, from) = (Some(value), None);
        DataFact::Read { op, value, from }
    }

    fn read(value: u64) -> [DataFact; 2] {
        [reads(100, FILE, FIRST), gave(100, value)]
    }

    fn all(parts: &[&[DataFact]]) -> Result<(), String> {
        judge(&parts.concat())
    }

    #[test]
    fn what_was_acknowledged_is_read_until_it_is_overwritten() {
        let one = [writes(1), ended(1, true)];
        judge(&read(0)).unwrap();
        all(&[&one, &read(1)]).unwrap();
        assert!(all(&[&one, &read(0)]).is_err(), "it was overwritten");
        assert!(all(&[&one, &read(9)]).is_err(), "nobody wrote that");
        let two = [writes(2), ended(2, true)];
        all(&[&one, &two, &read(2)]).unwrap();
        assert!(all(&[&one, &two, &read(1)]).is_err());
        let other = [reads(100, FILE, SECOND), gave(100, 1)];
        assert!(all(&[&one, &other]).is_err(), "that is another block's");
    }

    #[test]
    fn what_is_under_way_or_given_up_may_be_there_or_not() {
        let one = [writes(1), ended(1, true)];
        for begun in [vec![writes(2)], vec![writes(2), ended(2, false)]] {
            for value in [1, 2] {
                all(&[&one, &begun, &read(value), &read(3 - value)]).unwrap();
            }
            let three = [writes(3), ended(3, true)];
            all(&[&one, &begun, &three, &read(3)]).unwrap();
            assert!(all(&[&one, &begun, &three, &read(1)]).is_err());
            let over = begun.len() == 2;
            let late = all(&[&one, &begun, &three, &read(2)]);
            assert_eq!(late.is_err(), over, "{late:?}");
        }
    }

    #[test]
    fn a_read_that_began_before_may_give_what_was_there_then() {
        let begun = [reads(100, FILE, FIRST)];
        let one = [writes(1), ended(1, true)];
        for value in [0, 1] {
            all(&[&begun, &one, &[gave(100, value)]]).unwrap();
        }
        assert!(all(&[&one, &begun, &[gave(100, 0)]]).is_err());
    }

    #[test]
    fn a_cut_takes_what_is_behind_it_and_the_length() {
        let cuts = |op, length| DataFact::Cuts {
            op,
            file: FILE,
            length,
        };
        let told = |length| DataFact::Length { op: 100, length };
        let one = [writes(1), ended(1, true)];
        let cut = [cuts(2, 0), ended(2, true)];
        all(&[&one, &cut, &read(0)]).unwrap();
        assert!(all(&[&one, &cut, &read(1)]).is_err());
        // Behind the block: it stays.
        let behind = [cuts(2, FIRST.end()), ended(2, true)];
        assert!(all(&[&one, &behind, &read(0)]).is_err());
        let begun = [reads(100, FILE, FIRST)];
        all(&[&one, &begun, &[told(FIRST.end())]]).unwrap();
        assert!(
            all(&[&one, &begun, &[told(0)]]).is_err(),
            "the block is behind it"
        );
        assert!(all(&[&one, &begun, &[told(SECOND.end())]]).is_err());
        assert!(all(&[&one, &cut, &begun, &[told(FIRST.end())]]).is_err());
        all(&[&one, &cut, &begun, &[told(0)]]).unwrap();
    }

    #[test]
    fn what_is_appended_of_another_file_holds_what_that_might() {
        let (file, of) = (OTHER, FILE);
        let slices = DataFact::Slices { op: 5, file, of };
        let slice = [slices, ended(5, true)];
        let read = |value| [reads(100, OTHER, FIRST), gave(100, value)];
        let one = [writes(1), ended(1, true)];
        all(&[&one, &slice, &read(1)]).unwrap();
        assert!(all(&[&one, &slice, &read(0)]).is_err());
        for value in [1, 2] {
            all(&[&one, &[writes(2)], &slice, &read(value)]).unwrap();
        }
        let late = [writes(2), ended(2, true)];
        assert!(all(&[&one, &slice, &late, &read(2)]).is_err());
    }

    #[test]
    fn no_room_is_given_twice() {
        let reserve = |op, begin| {
            let file = FILE;
            [
                DataFact::Reserves { op, file },
                DataFact::Reserved { op, begin },
            ]
        };
        all(&[&reserve(1, 0), &reserve(2, SECOND.begin())]).unwrap();
        assert!(all(&[&reserve(1, 0), &reserve(2, 0)]).is_err());
        let one = [writes(3), ended(3, true)];
        assert!(all(&[&one, &reserve(1, 0)]).is_err(), "it is in use");
    }

    #[test]
    fn repairs_and_refusals_that_must_not_be_are_told() {
        let repaired = |erased| DataFact::Repaired {
            file: FILE,
            erased,
            repaired: 0,
        };
        judge(&[repaired(0)]).unwrap();
        assert!(judge(&[repaired(1)]).is_err());
        let what = "it is lost".to_owned();
        assert!(judge(&[DataFact::Wrong { what }]).is_err());
    }
}
