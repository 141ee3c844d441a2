//! P-CHUNKS: what was written and acknowledged is on a disk for ever, and a read gives it.
//!
//! Every file has one chunk and one owner, who says what it may hold: one thing once a write was
//! acknowledged, several while one is under way. A read gives something that the file might hold
//! while it was read. No order of a master takes the last copy of all that a file may hold. Space is
//! counted once, whoever registers how often. And in the end every chunk has the copies that its
//! files want, all alike, and no chunkserver has anything else.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::ChunkId;
use mfsha_core::namespace::FileCursor;
use mfsha_core::namespace::op::ChunkInfo;

use crate::event::{Event, FileFact, Phase};
use crate::fleet::{Content, Stored, total_bytes};
use crate::options::Options;
use crate::time::SimTime;

use super::{Checker, ClusterView, StateImage, Violation, broken, image};

/// Copies on all disks: by chunk, and by chunkserver.
pub type Disks = BTreeMap<ChunkId, BTreeMap<u8, Stored>>;

/// What the tree wants of each chunk, and which chunkservers there are.
#[derive(Clone, Debug, Default)]
pub struct Goals {
    /// Chunks, and how many copies each has to have.
    pub chunks: BTreeMap<ChunkId, (ChunkInfo, usize)>,
}

/// Reads what a state wants of chunks, where there are so many chunkservers; `None` where it cannot
/// be read: it rotted, and its node has not seen that yet.
#[must_use]
pub fn goals(state: &StateImage, servers: u8) -> Option<Goals> {
    let mut goals = Goals::default();
    let tree = image::namespace(state)?;
    for info in tree.chunks_after(None, usize::MAX).ok()? {
        goals.chunks.insert(info.chunk, (info, 0));
    }
    let mut after = FileCursor::default();
    loop {
        let files = tree.files_after(after, 100, 1_000).ok()?;
        let Some(last) = files.last() else {
            return Some(goals);
        };
        after = last.cursor;
        for file in &files {
            let class = tree.class(file.class).ok()?;
            let wanted = class.map_or(0, |class| class.keep.len());
            for info in &file.chunks {
                if let Some((_, goal)) = goals.chunks.get_mut(&info.chunk) {
                    *goal = (*goal).max(wanted).min(servers.into());
                }
            }
        }
    }
}

/// The first thing that is not as it should be once nothing happens any more.
#[must_use]
pub fn unrest(goals: &Goals, disks: &Disks) -> Option<String> {
    let none = BTreeMap::new();
    for (chunk, (info, goal)) in &goals.chunks {
        if info.references == 0 {
            return Some(format!("{chunk} is of no file"));
        }
        if info.unsettled.is_some() {
            return Some(format!("{chunk} is not settled"));
        }
        let copies = disks.get(chunk).unwrap_or(&none);
        let sound = copies
            .values()
            .filter(|it| !it.bad && it.version == info.version);
        if sound.count() != *goal || copies.len() != *goal {
            return Some(format!(
                "{chunk} at version {} has to have {goal} copies, and has {copies:?}",
                info.version
            ));
        }
    }
    let stray = disks.keys().find(|chunk| !goals.chunks.contains_key(chunk));
    stray.map(|chunk| format!("{chunk} is on a disk, and in no file"))
}

#[derive(Debug)]
struct Read {
    file: u32,
    /// Everything that the file might hold since the read began.
    may: BTreeSet<Content>,
}

/// Watches copies.
#[derive(Debug)]
pub struct ChunksChecker {
    servers: u8,
    /// Mounts write chunks, too.
    with_mounts: bool,
    disks: Disks,
    files: BTreeMap<u32, BTreeSet<Content>>,
    reads: BTreeMap<u64, Read>,
}

impl ChunksChecker {
    /// Judges a run with these options.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            servers: options.chunkservers,
            with_mounts: options.mounts > 0 && options.mount.scribes > 0,
            disks: Disks::new(),
            files: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    fn on_fact(&mut self, file: u32, fact: FileFact) {
        let mut may = self.files.remove(&file).unwrap_or_default();
        let written = |stamp| Content {
            stamp,
            ..Content::default()
        };
        let cut = |content: &Content| Content {
            cut: true,
            ..*content
        };
        match fact {
            FileFact::Made => may = BTreeSet::from([Content::default()]),
            FileFact::CopyOf(other) => may = self.files.get(&other).cloned().unwrap_or_default(),
            FileFact::MayHold(stamp) => {
                may.insert(written(stamp));
            }
            FileFact::Holds(stamp) => may = BTreeSet::from([written(stamp)]),
            FileFact::MayBeCut => {
                let all: Vec<Content> = may.iter().map(cut).collect();
                may.extend(all);
            }
            FileFact::Cut => may.retain(|content| content.cut),
            FileFact::Gone => {
                // What is read meanwhile may be of a file that took its place.
                self.reads.retain(|_, read| read.file != file);
                return;
            }
        }
        for read in self.reads.values_mut().filter(|read| read.file == file) {
            read.may.extend(&may);
        }
        self.files.insert(file, may);
    }

    fn on_read(&mut self, read: u64, content: Option<Content>) -> Result<(), String> {
        let (Some(read), Some(content)) = (self.reads.remove(&read), content) else {
            return Ok(());
        };
        if read.may.contains(&content) {
            return Ok(());
        }
        Err(format!(
            "file {} was read as {content:?}, and might hold {:?}",
            read.file, read.may
        ))
    }

    /// A copy went: somebody must still have what was in it, if a file is to hold it.
    fn judge_lost(&self, lost: Content) -> Result<(), String> {
        let is_there = |content: &Content| {
            let all = self.disks.values().flat_map(BTreeMap::values);
            let mut good = all.filter(|it| !it.bad);
            good.any(|it| it.content == *content)
        };
        for (file, may) in &self.files {
            if may.contains(&lost)
                && !may.contains(&Content::default())
                && may.iter().all(|content| content.stamp > 0)
                && !may.iter().any(is_there)
            {
                return Err(format!(
                    "the last copy of what file {file} may hold is gone: {may:?}"
                ));
            }
        }
        Ok(())
    }

    fn judge_space(&self, total: u64, free: u64, servers: usize) -> Result<(), String> {
        let all: u64 = (0..self.servers).map(total_bytes).sum();
        let once = total & !all == 0 && total.count_ones() as usize == servers;
        match once && free <= total {
            true => Ok(()),
            false => Err(format!(
                "{free} of {total:#x} bytes free on {servers} chunkservers is not what distinct \
                 ones have"
            )),
        }
    }

    fn judge_end(&self, cluster: &ClusterView) -> Result<(), String> {
        let mut states = cluster
            .core
            .iter()
            .filter_map(|seat| cluster.states.get(seat));
        let Some(goals) = states.find_map(|state| goals(state, self.servers)) else {
            return Ok(());
        };
        if let Some(unrest) = unrest(&goals, &self.disks) {
            return Err(unrest);
        }
        for (chunk, copies) in &self.disks {
            // What mounts wrote is judged block by block, as P-BYTES.
            let of_owner = |it: &Stored| Content {
                blocks: Content::default().blocks,
                ..it.content
            };
            let contents: BTreeSet<Content> = copies.values().map(of_owner).collect();
            if contents.len() > 1 {
                return Err(format!("copies of {chunk} are not alike: {copies:?}"));
            }
            let content = contents.first().copied().unwrap_or_default();
            let of_mounts = self.with_mounts && content.stamp == 0;
            if !of_mounts && !self.files.values().any(|may| may.contains(&content)) {
                return Err(format!("{chunk} holds {content:?}, and no file may"));
            }
        }
        Ok(())
    }
}

impl Checker for ChunksChecker {
    fn name(&self) -> &'static str {
        "chunks"
    }

    fn promise(&self) -> &'static str {
        "P-CHUNKS"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        let judged = match event {
            Event::CopyChanged {
                server,
                chunk,
                copy,
            } => {
                let copies = self.disks.entry(*chunk).or_default();
                let before = match copy {
                    Some(stored) => copies.insert(*server, *stored),
                    None => copies.remove(server),
                };
                if copies.is_empty() {
                    self.disks.remove(chunk);
                }
                before.map_or(Ok(()), |before| self.judge_lost(before.content))
            }
            Event::FileSaid { file, fact } => {
                self.on_fact(*file, *fact);
                Ok(())
            }
            Event::ReadBegan { read, file } => {
                let may = self.files.get(file).cloned().unwrap_or_default();
                let file = *file;
                self.reads.insert(*read, Read { file, may });
                Ok(())
            }
            Event::ReadEnded {
                read,
                content,
                from,
                ..
            } => self
                .on_read(*read, *content)
                .map_err(|why| format!("read #{read} from {from:?}: {why}")),
            Event::SpaceTold {
                seat,
                total,
                free,
                servers,
                ..
            } => self
                .judge_space(*total, *free, *servers)
                .map_err(|why| format!("{seat} tells that {why}")),
            _ => Ok(()),
        };
        judged.map_err(|sentence| broken(self, sentence))
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        if cluster.phase != Phase::Quiescent || self.servers == 0 {
            return Ok(());
        }
        self.judge_end(cluster)
            .map_err(|sentence| broken(self, sentence))
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;
    use crate::place::Seat;

    fn judge(events: &[Event]) -> Result<(), Violation> {
        let mut options = Options::draw(&Seed::from_u64(1));
        options.chunkservers = 3;
        let mut checker = ChunksChecker::new(&options);
        events
            .iter()
            .try_for_each(|event| checker.on_event(SimTime::ZERO, event))
    }

    fn said(fact: FileFact) -> Event {
        Event::FileSaid { file: 1, fact }
    }

    fn copy(server: u8, stamp: Option<u64>) -> Event {
        let stored = |stamp| Stored {
            version: 1,
            content: Content {
                stamp,
                ..Content::default()
            },
            bad: false,
        };
        Event::CopyChanged {
            server,
            chunk: ChunkId(1),
            copy: stamp.map(stored),
        }
    }

    fn read(read: u64) -> Event {
        Event::ReadBegan { read, file: 1 }
    }

    fn gave(read: u64, stamp: u64, cut: bool) -> Event {
        Event::ReadEnded {
            read,
            file: 1,
            content: Some(Content {
                stamp,
                cut,
                ..Content::default()
            }),
            from: None,
        }
    }

    fn told(total: u64, servers: usize) -> Event {
        Event::SpaceTold {
            seat: Seat(0),
            node: mfsha_core::id::NodeId(1),
            total,
            free: 0,
            servers,
        }
    }

    #[test]
    fn a_read_gives_what_the_file_may_hold_while_it_is_read() {
        let (may, holds) = (FileFact::MayHold(7), FileFact::Holds(7));
        let begin = [said(FileFact::Made), read(1), said(may), said(holds)];
        for stamp in [0, 7] {
            judge(&[begin.as_slice(), &[gave(1, stamp, false)]].concat()).unwrap();
        }
        let late = [begin.as_slice(), &[read(2), gave(2, 0, false)]].concat();
        assert!(judge(&late).is_err(), "it began when the write was over");
        assert!(judge(&[begin.as_slice(), &[gave(1, 7, true)]].concat()).is_err());
        let cut = [said(FileFact::MayBeCut), gave(1, 7, true)];
        judge(&[begin.as_slice(), &cut].concat()).unwrap();
    }

    #[test]
    fn the_last_copy_of_what_was_written_must_not_go() {
        let begin = [
            said(FileFact::Made),
            said(FileFact::MayHold(7)),
            copy(0, Some(7)),
            copy(1, Some(7)),
            said(FileFact::Holds(7)),
            copy(0, None),
        ];
        judge(&begin).unwrap();
        assert!(judge(&[begin.as_slice(), &[copy(1, None)]].concat()).is_err());
        let gone = [said(FileFact::Gone), copy(1, None)];
        judge(&[begin.as_slice(), &gone].concat()).unwrap();
    }

    #[test]
    fn space_that_is_counted_twice_is_caught() {
        let (one, two) = (total_bytes(0), total_bytes(1));
        judge(&[told(0, 0), told(one, 1), told(one + two, 2)]).unwrap();
        assert!(judge(&[told(one + one, 2)]).is_err());
        assert!(judge(&[told(one, 2)]).is_err());
    }

    #[test]
    fn a_state_that_rotted_tells_no_goals() {
        let state = super::super::testing::state_at(2);
        assert!(goals(&state, 3).is_some());
        let rotten = state.keys().map(|key| (key.clone(), vec![0xFF; 7]));
        assert!(goals(&std::sync::Arc::new(rotten.collect()), 3).is_none());
    }
}
