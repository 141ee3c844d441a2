//! What the log promises, tried on a disk in memory and on one that forgets.

use super::record::{LogId, Record};
use super::*;
use crate::disk::MemDisk;
use crate::id::{LogIndex, NodeId, Term};

fn options() -> WalOptions {
    WalOptions::small(NodeId(1))
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        leader: NodeId(1),
        index: LogIndex(index),
    }
}

fn entry(term: u64, index: u64) -> Record {
    Record::Entry {
        id: id(term, index),
        payload: format!("entry {term} {index}").into_bytes(),
    }
}

fn vote(text: &str) -> Record {
    Record::Vote {
        vote: text.as_bytes().to_vec(),
    }
}

fn open(disk: MemDisk, life: u64) -> (Wal<MemDisk>, Recovery) {
    let (wal, recovery) = Wal::open(disk, options(), life).unwrap();
    wal.check();
    (wal, recovery)
}

fn flush<D: Disk>(wal: &mut Wal<D>) -> Option<WriteId> {
    let flush = wal.start_flush().unwrap()?;
    let write = wal.on_flushed(flush, Ok(())).unwrap();
    wal.check();
    Some(write)
}

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

#[test]
fn what_was_flushed_comes_back() {
    let (mut wal, recovery) = open(MemDisk::new(), 1);
    assert!(recovery.groups.is_empty());
    wal.append(A, vote("v1")).unwrap();
    for index in 1..=5 {
        wal.append(A, entry(1, index)).unwrap();
        wal.append(B, entry(7, index)).unwrap();
    }
    wal.append(A, Record::Truncate { last: LogIndex(3) })
        .unwrap();
    wal.append(A, entry(2, 4)).unwrap();
    wal.append(B, Record::Purge { through: id(7, 2) }).unwrap();
    let last = wal.append(B, Record::Committed { id: id(7, 4) }).unwrap();
    assert_eq!(flush(&mut wal), Some(last));

    let (_, recovery) = open(wal.into_disk(), 2);
    assert_eq!(recovery.damage, []);
    assert_eq!(recovery.tail, Tail::Clean);
    let a = recovery.group(A);
    assert_eq!(a.vote.as_deref(), Some(&b"v1"[..]));
    let ids: Vec<_> = a.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [id(1, 1), id(1, 2), id(1, 3), id(2, 4)]);
    assert_eq!(a.entries[3].1, b"entry 2 4");
    let b = recovery.group(B);
    assert_eq!((b.purged, b.committed), (Some(id(7, 2)), Some(id(7, 4))));
    let ids: Vec<_> = b.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [id(7, 3), id(7, 4), id(7, 5)]);
    assert!(a.is_whole() && b.is_whole());
}

#[test]
fn one_flush_covers_every_append_before_it() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    flush(&mut wal);
    let before = wal.disk().flush_count();
    for index in 1..=100 {
        wal.append(A, entry(1, index)).unwrap();
        wal.append(B, entry(1, index)).unwrap();
    }
    let running = wal.start_flush().unwrap().unwrap();
    let late = wal.append(A, entry(1, 101)).unwrap();
    assert_eq!(wal.start_flush().unwrap(), None, "one flush runs at a time");
    assert_eq!(wal.on_flushed(running, Ok(())).unwrap(), WriteId(200));
    assert_eq!(flush(&mut wal), Some(late));
    assert_eq!(flush(&mut wal), None, "nothing is left to flush");
    assert_eq!(wal.disk().flush_count() - before, 2);
}

#[test]
fn a_failed_flush_stops_the_log_for_good() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(A, entry(1, 1)).unwrap();
    let running = wal.start_flush().unwrap().unwrap();
    let error = DiskError::Io {
        file: "a".into(),
        reason: "broken".into(),
    };
    let stopped = wal.on_flushed(running, Err(error)).unwrap_err();
    assert!(stopped.to_string().contains("broken"), "{stopped}");
    assert_eq!(wal.append(A, entry(1, 2)).unwrap_err(), stopped);
    assert_eq!(wal.start_flush().unwrap_err(), stopped);
    assert_eq!(wal.heal(A).unwrap_err(), stopped);
    assert_eq!(wal.repair(A, id(1, 1), b"").unwrap_err(), stopped);
    assert!(!wal.needs_flush());
}

#[test]
fn records_out_of_order_or_too_long_are_refused_and_change_nothing() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(A, entry(1, 1)).unwrap();
    for record in [entry(1, 1), entry(1, 3)] {
        let error = wal.append(A, record).unwrap_err();
        assert!(matches!(error, WalError::Order { group: A, .. }), "{error}");
    }
    wal.append(A, Record::Purge { through: id(1, 5) }).unwrap();
    let below = Record::Truncate { last: LogIndex(4) };
    assert!(matches!(wal.append(A, below), Err(WalError::Order { .. })));
    let beyond = Record::Purge {
        through: id(1, u64::MAX),
    };
    assert!(matches!(wal.append(A, beyond), Err(WalError::Order { .. })));
    let own = wal.append(frame::OWN_GROUP, entry(1, 1));
    assert!(matches!(own, Err(WalError::Order { .. })));
    let long = Record::Entry {
        id: id(1, 6),
        payload: vec![0; options().record_bytes_max + 1],
    };
    assert!(matches!(wal.append(A, long), Err(WalError::TooLong { .. })));
    assert_eq!(wal.append(A, entry(1, 6)).unwrap(), WriteId(3));
}

#[test]
fn segments_are_reused_and_the_facts_of_quiet_groups_move_on() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(B, vote("quiet")).unwrap();
    wal.append(B, Record::Purge { through: id(1, 9) }).unwrap();
    wal.append(B, Record::Committed { id: id(1, 9) }).unwrap();
    let mut counts = BTreeSet::new();
    for index in 1..=2_000 {
        wal.append(A, entry(1, index)).unwrap();
        if index > 10 {
            wal.append(
                A,
                Record::Purge {
                    through: id(1, index - 10),
                },
            )
            .unwrap();
        }
        flush(&mut wal);
        counts.insert(wal.segment_count());
    }
    assert!(
        wal.segments.last().unwrap().number > 100,
        "many segments were begun"
    );
    assert!(*counts.last().unwrap() < 10, "they were reused: {counts:?}");
    let (_, recovery) = open(wal.into_disk(), 2);
    assert_eq!(recovery.damage, []);
    let quiet = recovery.group(B);
    assert!(quiet.is_whole());
    assert_eq!(quiet.vote.as_deref(), Some(&b"quiet"[..]));
    assert_eq!(
        (quiet.purged, quiet.committed),
        (Some(id(1, 9)), Some(id(1, 9)))
    );
    assert_eq!(recovery.group(A).entries.len(), 10);
}

#[test]
fn a_log_that_was_long_gives_its_files_back() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    for index in 1..=500 {
        wal.append(A, entry(1, index)).unwrap();
        flush(&mut wal);
    }
    let long = wal.segment_count();
    assert!(long > 20, "{long} segments");
    let through = id(1, 499);
    wal.append(A, Record::Purge { through }).unwrap();
    for index in 501..=504 {
        flush(&mut wal);
        wal.append(A, entry(1, index)).unwrap();
    }
    flush(&mut wal);
    let most = wal.live_segment_count() + wal.options.free_segments_max as usize;
    assert!(wal.segment_count() <= most && most < long);
    assert!(wal.disk().list().unwrap().len() <= most, "others are gone");
    // The log goes on, on the files it kept and on new ones.
    for index in 505..=700 {
        wal.append(A, entry(1, index)).unwrap();
        flush(&mut wal);
    }
    let (_, recovery) = open(wal.into_disk(), 2);
    assert_eq!(
        (recovery.damage.as_slice(), recovery.tail.clone()),
        (&[][..], Tail::Clean)
    );
    assert_eq!(recovery.group(A).entries.len(), 201);
}

#[test]
fn a_group_with_old_entries_is_named_when_it_pins_the_log() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(B, entry(1, 1)).unwrap();
    for index in 1..=200 {
        wal.append(A, entry(1, index)).unwrap();
        wal.append(
            A,
            Record::Purge {
                through: id(1, index),
            },
        )
        .unwrap();
        flush(&mut wal);
    }
    assert_eq!(wal.pinned_by(), [B]);
    let pinned = wal.live_segment_count();
    wal.append(B, Record::Purge { through: id(1, 1) }).unwrap();
    flush(&mut wal);
    flush(&mut wal);
    assert_eq!(wal.pinned_by(), []);
    assert!(wal.live_segment_count() < pinned);
}

#[test]
fn a_full_disk_still_takes_what_frees_it() {
    let mut disk = MemDisk::new();
    disk.capacity_bytes = Some(4 * u64::from(options().segment_bytes));
    let (mut wal, _) = open(disk, 1);
    let mut last = 0;
    let error = loop {
        match wal.append(A, entry(1, last + 1)) {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
        flush(&mut wal);
    };
    assert!(
        matches!(error, WalError::Disk(DiskError::Full { .. })),
        "{error}"
    );
    assert!(matches!(
        wal.append(A, entry(1, last + 1)),
        Err(WalError::Disk(_))
    ));
    wal.append(A, vote("still")).unwrap();
    wal.append(
        A,
        Record::Purge {
            through: id(1, last),
        },
    )
    .unwrap();
    for _ in 0..4 {
        flush(&mut wal);
        wal.append(A, Record::Committed { id: id(1, last) })
            .unwrap();
    }
    wal.append(A, entry(1, last + 1)).unwrap();
    flush(&mut wal);
    let (_, recovery) = open(wal.into_disk(), 2);
    let log = recovery.group(A);
    assert_eq!(log.entries.len(), 1);
    assert_eq!(log.vote.as_deref(), Some(&b"still"[..]));
}

#[test]
fn the_log_keeps_to_its_number_of_segments() {
    let options = WalOptions {
        segments_max: 3,
        ..options()
    };
    let (mut wal, _) = Wal::open(MemDisk::new(), options, 1).unwrap();
    let error = (1..)
        .find_map(|index| wal.append(A, entry(1, index)).err())
        .unwrap();
    assert!(matches!(error, WalError::Limit { limit: 3, .. }), "{error}");
    assert_eq!(wal.disk().files.len(), 3);
    wal.append(A, vote("reserve")).unwrap();
}

/// A log with most of what there is: two groups, votes, a truncation, a purge, several flushes.
/// Also gives every state it went through, group by group, and every entry ever written.
struct History {
    disk: MemDisk,
    states: Vec<BTreeMap<GroupId, GroupLog>>,
    written: BTreeMap<(GroupId, LogId), Vec<u8>>,
}

fn history() -> History {
    let (mut wal, _) = open(MemDisk::new(), 1);
    let mut states = vec![BTreeMap::new()];
    let mut written = BTreeMap::new();
    let mut script = vec![(A, vote("a1")), (B, vote("b1"))];
    for index in 1..=4 {
        script.extend([(A, entry(1, index)), (B, entry(1, index))]);
    }
    script.extend([
        (A, Record::Committed { id: id(1, 2) }),
        (A, Record::Truncate { last: LogIndex(2) }),
        (A, vote("a2")),
        (A, entry(2, 3)),
        (B, Record::Purge { through: id(1, 2) }),
        (B, entry(1, 5)),
        (A, entry(2, 4)),
    ]);
    for (at, (group, record)) in script.into_iter().enumerate() {
        let mut state = states.last().cloned().unwrap_or_default();
        apply(
            state.entry(group).or_insert_with(GroupLog::default),
            &record,
        );
        states.push(state);
        if let Record::Entry { id, payload } = &record {
            written.insert((group, *id), payload.clone());
        }
        wal.append(group, record).unwrap();
        if at % 5 == 4 {
            flush(&mut wal);
        }
    }
    flush(&mut wal);
    History {
        disk: wal.into_disk(),
        states,
        written,
    }
}

fn apply(log: &mut GroupLog, record: &Record) {
    match record.clone() {
        Record::Entry { id, payload } => log.entries.push((id, payload)),
        Record::Truncate { last } => log.entries.retain(|(id, _)| id.index <= last),
        Record::Purge { through } => {
            log.entries.retain(|(id, _)| id.index > through.index);
            log.purged = Some(through);
        }
        Record::Vote { vote } => log.vote = Some(vote),
        Record::Committed { id } => log.committed = Some(id),
    }
}

impl History {
    /// What comes back is never wrong: a group said to be whole is as it was at some time, and
    /// any other gives only entries that were written.
    fn judge(&self, recovery: &Recovery) {
        for group in [A, B] {
            let log = recovery.group(group);
            for (id, payload) in &log.entries {
                assert_eq!(
                    self.written.get(&(group, *id)),
                    Some(payload),
                    "{group} {id:?}"
                );
            }
            let mut known = self
                .states
                .iter()
                .map(|s| s.get(&group).cloned().unwrap_or_default());
            assert!(
                !log.is_whole() || known.any(|state| state == log),
                "{group} is said to be whole and never was like this: {log:?}"
            );
        }
    }

    fn is_last(&self, recovery: &Recovery) -> bool {
        recovery.groups == *self.states.last().unwrap()
    }
}

#[test]
#[should_panic(expected = "g2 t1-n1-i4")]
fn the_judge_notices_another_content() {
    let history = history();
    let (_, mut recovery) = open(history.disk.clone(), 2);
    let log = recovery.groups.get_mut(&B).unwrap();
    log.entries[1].1[0] ^= 1;
    history.judge(&recovery);
}

#[test]
#[should_panic(expected = "never was like this")]
fn the_judge_notices_a_hole_that_is_not_marked() {
    let history = history();
    let (_, mut recovery) = open(history.disk.clone(), 2);
    recovery.groups.get_mut(&B).unwrap().entries.remove(1);
    history.judge(&recovery);
}

#[test]
fn every_flipped_byte_is_reported_or_harmless() {
    let history = history();
    let (_, recovery) = open(history.disk.clone(), 2);
    assert!(history.is_last(&recovery));
    let mut reported = 0;
    for (file, bytes) in &history.disk.files {
        for at in 0..bytes.len() {
            let mut disk = history.disk.clone();
            disk.files.get_mut(file).unwrap()[at] ^= 1 << (at % 8);
            let (wal, recovery) = open(disk, 2);
            history.judge(&recovery);
            if history.is_last(&recovery) {
                reported += usize::from(!recovery.damage.is_empty());
                continue;
            }
            reported += 1;
            let near = |damage: &Damage| damage.file == *file && damage.offset <= at as u64;
            assert!(
                recovery.damage.iter().any(near),
                "byte {at}: {:?}",
                recovery.damage
            );
            drop(wal);
        }
    }
    assert!(reported > 2_000, "only {reported} flips mattered");
}

#[test]
fn a_log_cut_at_any_length_is_never_wrong() {
    let history = history();
    let (file, bytes) = history.disk.files.first_key_value().unwrap();
    for length in 0..bytes.len() {
        let mut disk = history.disk.clone();
        disk.files.get_mut(file).unwrap().truncate(length);
        let (_, recovery) = open(disk, 2);
        history.judge(&recovery);
        // Once a second batch stands in the file, it is known to have been flushed.
        if length >= frame::DATA_START + 2 * PAGE_BYTES {
            let missing = matches!(recovery.tail, Tail::Unreadable { .. });
            assert!(missing || history.is_last(&recovery), "cut at {length}");
            assert!(recovery.damage.iter().any(|d| d.offset == length as u64));
        }
    }
}

fn frames_of(bytes: &[u8]) -> Vec<FrameHeader> {
    (frame::DATA_START..bytes.len())
        .step_by(frame::FRAME_ALIGN)
        .filter_map(|at| FrameHeader::parse(&bytes[at..]))
        .collect()
}

/// Spoils frames of a log, content alone or header and content.
fn spoil(disk: &mut MemDisk, which: impl Fn(&FrameHeader) -> bool, header_too: bool) -> usize {
    let mut count = 0;
    for bytes in disk.files.values_mut() {
        for frame in frames_of(bytes).iter().filter(|frame| which(frame)) {
            let at = frame.offset as usize;
            let from = if header_too {
                at
            } else {
                at + FRAME_HEADER_BYTES
            };
            let to = at + FRAME_HEADER_BYTES + frame.length as usize;
            bytes[from..to].fill(0xE5);
            count += 1;
        }
    }
    count
}

#[test]
fn a_damaged_entry_is_a_hole_until_it_is_repaired() {
    let history = history();
    let mut disk = history.disk.clone();
    let hit = |frame: &FrameHeader| frame.group == B && frame.id == id(1, 4);
    assert_eq!(spoil(&mut disk, hit, false), 1);
    let (mut wal, recovery) = open(disk, 2);
    let log = recovery.group(B);
    assert_eq!(log.damaged, [Damaged::Entry(id(1, 4))]);
    let ids: Vec<_> = log.entries.iter().map(|(id, _)| id.index.0).collect();
    assert_eq!(ids, [3, 5]);
    let what = What::Payload {
        group: B,
        kind: Kind::Entry,
        id: id(1, 4),
    };
    assert_eq!(recovery.damage.len(), 1);
    assert_eq!(recovery.damage[0].what, what);

    assert!(
        wal.repair(B, id(3, 4), b"another").is_err(),
        "the id that stood there is known"
    );
    assert!(wal.repair(B, id(1, 3), b"no hole").is_err());
    wal.repair(B, id(1, 4), b"entry 1 4").unwrap();
    wal.append(B, entry(1, 6)).unwrap();
    flush(&mut wal);
    let (_, recovery) = open(wal.into_disk(), 3);
    let log = recovery.group(B);
    assert!(log.is_whole(), "{:?}", log.damaged);
    assert_eq!(log.entries.len(), 4);
    assert_eq!(log.entries[1], (id(1, 4), b"entry 1 4".to_vec()));
}

#[test]
fn a_lost_stretch_puts_in_doubt_only_the_groups_that_had_records_in_it() {
    let history = history();
    let mut disk = history.disk.clone();
    // The truncation goes, unseen: entries 3 and 4 of term 1 must not come back as good.
    let hit = |frame: &FrameHeader| frame.kind == Kind::Truncate;
    assert_eq!(spoil(&mut disk, hit, true), 1);
    let (mut wal, recovery) = open(disk, 2);
    let a = recovery.group(A);
    assert!(recovery.group(B).is_whole());
    assert!(!recovery.unattributed);
    assert_eq!(
        a.vote.as_deref(),
        Some(&b"a2"[..]),
        "its newest vote came later"
    );
    let ids: Vec<_> = a.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [id(1, 1), id(1, 2), id(2, 3), id(2, 4)]);
    assert!(
        a.is_whole(),
        "entry 3 says where the log was truncated: {:?}",
        a.damaged
    );

    // Nothing followed the first entry of the second term: then the end is in doubt, for good.
    let mut disk = history.disk.clone();
    let hit = |frame: &FrameHeader| frame.group == A && frame.id.term == Term(2);
    assert_eq!(spoil(&mut disk, hit, true), 2);
    drop(wal);
    let (again, recovery) = open(disk, 2);
    wal = again;
    let a = recovery.group(A);
    assert!(a.vote_lost);
    assert_eq!(a.entries.len(), 2);
    let open_end = Damaged::Range {
        first: LogIndex(3),
        last: None,
    };
    assert_eq!(a.damaged, [open_end]);
    assert!(
        recovery.unattributed,
        "who owned the last lost frame is not known"
    );
    assert!(recovery.group(GroupId(9)).vote_lost);
    flush(&mut wal);
    for index in 6..=300 {
        wal.append(B, entry(1, index)).unwrap();
        wal.append(
            B,
            Record::Purge {
                through: id(1, index),
            },
        )
        .unwrap();
        flush(&mut wal);
    }
    let (mut wal, recovery) = open(wal.into_disk(), 3);
    let a = recovery.group(A);
    assert!(a.vote_lost, "a loss is not forgotten with its segment");
    assert!(recovery.group(GroupId(9)).vote_lost);
    assert!(
        a.damaged
            .iter()
            .any(|d| matches!(d, Damaged::Range { last: None, .. }))
    );
    wal.append(A, entry(2, 3)).unwrap();
    wal.append(A, vote("a3")).unwrap();
    wal.heal(A).unwrap();
    flush(&mut wal);
    let (_, recovery) = open(wal.into_disk(), 4);
    let a = recovery.group(A);
    assert!(a.is_whole(), "{:?}", a.damaged);
    assert_eq!(a.vote.as_deref(), Some(&b"a3"[..]));
}

#[test]
fn one_good_copy_of_a_vote_serves_and_is_doubled_again() {
    for copy in 0..2 {
        for header_too in [false, true] {
            let history = history();
            let mut disk = history.disk.clone();
            let newest = |frame: &FrameHeader| {
                frame.kind == Kind::Vote && frame.group == B && frame.detail == copy
            };
            assert_eq!(spoil(&mut disk, newest, header_too), 1);
            let (mut wal, recovery) = open(disk, 2);
            assert!(
                history.is_last(&recovery),
                "copy {copy}: {:?}",
                recovery.groups
            );
            assert_eq!(recovery.damage.len(), 1);
            let last = wal.next_frame;
            flush(&mut wal);
            let mut disk = wal.into_disk();
            // What is left of the old one goes too: the new copies serve.
            let old = |frame: &FrameHeader| {
                frame.kind == Kind::Vote && frame.group == B && frame.seq < last
            };
            assert!(spoil(&mut disk, old, false) > 0);
            let (_, recovery) = open(disk, 3);
            assert!(history.is_last(&recovery));
        }
    }
}

#[test]
fn half_a_vote_that_was_never_acknowledged_is_dropped() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(A, vote("old")).unwrap();
    flush(&mut wal);
    wal.append(A, vote("new")).unwrap();
    wal.start_flush().unwrap().unwrap();
    let mut disk = wal.into_disk();
    let newest = disk
        .files
        .values()
        .flat_map(|b| frames_of(b))
        .map(|f| f.seq)
        .max()
        .unwrap();
    assert_eq!(spoil(&mut disk, |frame| frame.seq == newest, true), 1);
    let (wal, recovery) = open(disk, 2);
    assert_eq!(wal.next_frame, newest - 1);
    assert_eq!(recovery.damage, []);
    assert!(
        matches!(recovery.tail, Tail::Torn { dropped: 1, .. }),
        "{:?}",
        recovery.tail
    );
    assert_eq!(recovery.group(A).vote.as_deref(), Some(&b"old"[..]));
    assert!(recovery.group(A).is_whole());
}

#[test]
fn a_vote_with_both_copies_damaged_is_lost_and_said_to_be() {
    for header_too in [false, true] {
        let mut disk = history().disk;
        let newest = |frame: &FrameHeader| frame.kind == Kind::Vote && frame.group == B;
        assert_eq!(spoil(&mut disk, newest, header_too), 2);
        let (mut wal, recovery) = open(disk, 2);
        let b = recovery.group(B);
        assert!(b.vote_lost);
        assert_eq!(b.vote, None);
        assert!(!recovery.group(A).vote_lost);
        flush(&mut wal);
        let (_, recovery) = open(wal.into_disk(), 3);
        assert!(recovery.group(B).vote_lost);
    }
}

#[test]
fn strange_files_are_left_alone_or_refused() {
    let history = history();
    let mut disk = history.disk.clone();
    disk.files.insert("notes.txt".into(), vec![1; 100]);
    disk.files.insert(segment::file_name(77), vec![0; 16_384]);
    disk.files
        .insert(segment::file_name(78), vec![0xA5; 20_000]);
    disk.files.insert(segment::file_name(79), Vec::new());
    let (mut wal, recovery) = open(disk.clone(), 2);
    assert!(history.is_last(&recovery));
    assert_eq!(recovery.strays, ["notes.txt"]);
    assert_eq!(recovery.damage, []);
    flush(&mut wal);
    wal.append(A, entry(2, 5)).unwrap();
    flush(&mut wal);
    assert!(wal.disk().files.contains_key("notes.txt"));
    assert!(
        !wal.disk().files.contains_key(&segment::file_name(78)),
        "its length is no use"
    );

    // A copy of a segment: the same content, reported, not used twice.
    let mut twice = history.disk.clone();
    let content = twice.files.first_key_value().unwrap().1.clone();
    twice.files.insert(segment::file_name(80), content);
    let (_, recovery) = open(twice, 2);
    assert!(history.is_last(&recovery));
    assert_eq!(recovery.damage[0].what, What::Duplicate { segment: 1 });

    // Another node's segment, and one of a later version.
    let other = WalOptions {
        owner: NodeId(2),
        ..options()
    };
    let error = Wal::open(history.disk.clone(), other, 2).err().unwrap();
    assert!(matches!(error, WalError::Foreign { .. }), "{error}");
    let mut newer = history.disk;
    let bytes = newer.files.first_entry().unwrap().into_mut();
    let mut header = frame::SegmentHeader::parse(bytes).unwrap();
    header.version += 1;
    header.encode(&mut bytes[PAGE_BYTES..]);
    let error = Wal::open(newer, options(), 2).err().unwrap();
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[test]
fn unreasonable_options_are_refused_by_name() {
    let cases = [
        (
            WalOptions {
                segment_bytes: 4_096,
                ..options()
            },
            "segment_bytes",
        ),
        (
            WalOptions {
                segment_bytes: 20_000,
                ..options()
            },
            "segment_bytes",
        ),
        (
            WalOptions {
                align_bytes: 700,
                ..options()
            },
            "align_bytes",
        ),
        (
            WalOptions {
                record_bytes_max: 5_000,
                ..options()
            },
            "record_bytes_max",
        ),
        (
            WalOptions {
                record_bytes_max: 0,
                ..options()
            },
            "record_bytes_max",
        ),
        (
            WalOptions {
                segments_max: 2,
                ..options()
            },
            "segments_max",
        ),
    ];
    for (options, option) in cases {
        let error = options.validate().unwrap_err();
        assert_eq!(error.option, option);
        assert!(Wal::open(MemDisk::new(), options, 1).is_err());
    }
    WalOptions::new(NodeId(1)).validate().unwrap();
    options().validate().unwrap();
}

#[test]
fn segments_of_another_length_are_read_and_in_time_removed() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    wal.append(A, vote("old")).unwrap();
    for index in 1..=30 {
        wal.append(A, entry(1, index)).unwrap();
    }
    flush(&mut wal);
    let longer = WalOptions {
        segment_bytes: 2 * options().segment_bytes,
        ..options()
    };
    let (mut wal, recovery) = Wal::open(wal.into_disk(), longer.clone(), 2).unwrap();
    assert_eq!(recovery.group(A).entries.len(), 30);
    flush(&mut wal);
    wal.append(A, Record::Purge { through: id(1, 30) }).unwrap();
    for index in 31..=40 {
        wal.append(A, entry(1, index)).unwrap();
        flush(&mut wal);
    }
    let length = longer.segment_bytes as usize;
    assert!(wal.disk().files.values().all(|bytes| bytes.len() == length));
    let (_, recovery) = Wal::open(wal.into_disk(), longer, 3).unwrap();
    let log = recovery.group(A);
    assert_eq!(
        (log.entries.len(), log.vote.as_deref()),
        (10, Some(&b"old"[..]))
    );
    assert_eq!(recovery.damage, []);
}

#[test]
fn an_unreadable_page_is_reported_and_what_stood_in_it_is_in_doubt() {
    /// Refuses to read one page.
    struct Broken(MemDisk, FileName, u64);

    impl Disk for Broken {
        fn list(&self) -> Result<Vec<(FileName, u64)>, DiskError> {
            self.0.list()
        }
        fn create(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
            self.0.create(file, length)
        }
        fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
            self.0.rename(from, to)
        }
        fn remove(&mut self, file: &str) -> Result<(), DiskError> {
            self.0.remove(file)
        }
        fn read(&self, file: &str, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
            let end = offset + into.len() as u64;
            if file == self.1 && offset < self.2 + PAGE_BYTES as u64 && end > self.2 {
                let reason = "broken".into();
                return Err(DiskError::Io {
                    file: file.into(),
                    reason,
                });
            }
            self.0.read(file, offset, into)
        }
        fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
            self.0.write(file, offset, bytes)
        }
        fn start_flush(&mut self) -> FlushId {
            self.0.start_flush()
        }
    }

    let history = history();
    for (file, bytes) in &history.disk.files {
        for page in (0..bytes.len()).step_by(PAGE_BYTES) {
            let disk = Broken(history.disk.clone(), file.clone(), page as u64);
            let (wal, recovery) = Wal::open(disk, options(), 2).unwrap();
            wal.check();
            history.judge(&recovery);
            let length = PAGE_BYTES as u64;
            let there = |damage: &Damage| {
                damage.file == *file
                    && damage.offset == page as u64
                    && damage.what == What::Unreadable { length }
            };
            assert!(recovery.damage.iter().any(there), "{file} {page}");
            let held_frames = !frames_of(bytes).is_empty() && page >= frame::DATA_START;
            let doubtful = recovery.groups.values().any(|log| !log.is_whole());
            assert!(
                !held_frames || doubtful || history.is_last(&recovery),
                "{file} {page}"
            );
        }
    }
}

#[test]
fn the_longest_records_fit_and_come_back() {
    let (mut wal, _) = open(MemDisk::new(), 1);
    for index in 1..=20 {
        let payload = vec![index as u8; options().record_bytes_max];
        wal.append(
            A,
            Record::Entry {
                id: id(1, index),
                payload,
            },
        )
        .unwrap();
        wal.append(
            A,
            Record::Vote {
                vote: vec![index as u8; VOTE_BYTES_MAX],
            },
        )
        .unwrap();
        wal.check();
    }
    flush(&mut wal);
    let (_, recovery) = open(wal.into_disk(), 2);
    let log = recovery.group(A);
    assert_eq!(log.entries.len(), 20);
    assert_eq!(log.vote, Some(vec![20; VOTE_BYTES_MAX]));
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::fuzz::fuzz_recovery;

    /// One way to spoil bytes.
    #[derive(Clone, Debug)]
    enum Spoil {
        Flip(prop::sample::Index, u8),
        Zero(prop::sample::Index, usize),
        Copy(prop::sample::Index, prop::sample::Index, usize),
        Cut(prop::sample::Index),
    }

    fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
        let at = || any::<prop::sample::Index>();
        let one = prop_oneof![
            (at(), 0..8u8).prop_map(|(at, bit)| Spoil::Flip(at, bit)),
            (at(), 1..10_000usize).prop_map(|(at, length)| Spoil::Zero(at, length)),
            (at(), at(), 1..5_000usize).prop_map(|(a, b, length)| Spoil::Copy(a, b, length)),
            at().prop_map(Spoil::Cut),
        ];
        prop::collection::vec(one, 1..6)
    }

    fn spoil(bytes: &mut Vec<u8>, how: &Spoil) {
        if bytes.is_empty() {
            return;
        }
        let end = bytes.len();
        match how {
            Spoil::Flip(at, bit) => bytes[at.index(end)] ^= 1 << bit,
            Spoil::Zero(at, length) => {
                let at = at.index(end);
                bytes[at..(at + length).min(end)].fill(0);
            }
            Spoil::Copy(from, to, length) => {
                let (from, to) = (from.index(end) & !511, to.index(end) & !511);
                let length = (*length).min(end - from).min(end - to);
                bytes.copy_within(from..from + length, to);
            }
            Spoil::Cut(at) => bytes.truncate(at.index(end)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_spoilt_log_is_never_wrong(spoils in spoils()) {
            let history = history();
            let mut disk = history.disk.clone();
            for how in &spoils {
                disk.files.values_mut().take(1).for_each(|bytes| spoil(bytes, how));
            }
            fuzz_recovery(&disk.files.values().flatten().copied().collect::<Vec<_>>());
            let (_, recovery) = open(disk, 2);
            history.judge(&recovery);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40_000)) {
            fuzz_recovery(&bytes);
        }
    }
}
