//! The log on a disk that forgets: whatever the crash, what comes back is what was written up to
//! some point, and that point is not before the last acknowledged write.

use std::collections::BTreeMap;

use mfsha_core::disk::DiskError;
use mfsha_core::id::{GroupId, LogIndex, NodeId, Term, WriteId};
use mfsha_core::limits::PAGE_BYTES;
use mfsha_core::planted::Bug;
use mfsha_core::rng::{Rng, Seed};
use mfsha_core::wal::record::{LogId, Record};
use mfsha_core::wal::{Recovery, Wal, WalError, WalOptions};
use mfsha_sim::crash_points::{CrashPoint, Variant, crash_points};
use mfsha_sim::disk::{CrashFate, DiskFaults, Event, Files, Pending, SimDisk};
use proptest::prelude::*;

const CAPACITY: u64 = 64 << 20;

/// One group, as plainly as it can be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GroupModel {
    vote: Option<Vec<u8>>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: Vec<(LogId, Vec<u8>)>,
}

type Model = BTreeMap<GroupId, GroupModel>;

fn apply(model: &mut Model, group: GroupId, record: &Record) {
    let group = model.entry(group).or_default();
    match record.clone() {
        Record::Entry { id, payload } => group.entries.push((id, payload)),
        Record::Truncate { last } => group.entries.retain(|(id, _)| id.index <= last),
        Record::Purge { through } => {
            group.entries.retain(|(id, _)| id.index > through.index);
            if group
                .purged
                .is_none_or(|purged| purged.index < through.index)
            {
                group.purged = Some(through);
            }
        }
        Record::Vote { vote } => group.vote = Some(vote),
        Record::Committed { id } => group.committed = Some(id),
    }
}

fn recovered(recovery: &Recovery) -> Model {
    assert_eq!(recovery.damage, [], "a crash is not damage");
    let groups = recovery.groups.iter().map(|(id, log)| {
        assert!(
            log.is_whole(),
            "{id}: {:?} vote lost: {}",
            log.damaged,
            log.vote_lost
        );
        let model = GroupModel {
            vote: log.vote.clone(),
            committed: log.committed,
            purged: log.purged,
            entries: log.entries.clone(),
        };
        (*id, model)
    });
    groups.collect()
}

/// Draws a record that a group may get next.
fn draw(rng: &mut Rng, model: &Model, group: GroupId, term: &mut u64) -> Record {
    let empty = GroupModel::default();
    let have = model.get(&group).unwrap_or(&empty);
    let floor = have.purged.map_or(0, |id| id.index.0);
    let last = have.entries.last().map_or(floor, |(id, _)| id.index.0);
    *term += u64::from(rng.chance(1, 8));
    let id = |index| LogId {
        term: Term(*term),
        leader: NodeId(3),
        index: LogIndex(index),
    };
    match rng.below(20) {
        0 if last > floor => Record::Truncate {
            last: LogIndex(rng.between(floor, last - 1)),
        },
        1 | 2 if !have.entries.is_empty() => Record::Purge {
            through: rng.pick(&have.entries).0,
        },
        3 => Record::Purge {
            through: id(last + 3),
        },
        4 | 5 => {
            let mut vote = vec![0; rng.between(1, 40) as usize];
            rng.fill(&mut vote);
            Record::Vote { vote }
        }
        6 | 7 if !have.entries.is_empty() => Record::Committed {
            id: rng.pick(&have.entries).0,
        },
        _ => {
            let mut payload = vec![0; rng.between(0, 1_500) as usize];
            rng.fill(&mut payload);
            Record::Entry {
                id: id(last + 1),
                payload,
            }
        }
    }
}

/// When the driver passes an acknowledgement on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledge {
    /// When its flush has finished.
    AfterFlush,
    /// When its flush has begun: wrong, and to be caught.
    BeforeFlush,
}

/// A log being driven: what it was given, and what was promised about it.
struct Driven {
    disk: SimDisk,
    wal: Wal<SimDisk>,
    /// State after each record of this life; the first is what was recovered.
    states: Vec<Model>,
    acknowledged: usize,
    term: u64,
}

impl Driven {
    fn open(disk: SimDisk, options: WalOptions, life: u64) -> (Self, Model) {
        let (wal, recovery) = Wal::open(disk.clone(), options, life).unwrap();
        let model = recovered(&recovery);
        let driven = Self {
            disk,
            wal,
            states: vec![model.clone()],
            acknowledged: 0,
            term: life,
        };
        (driven, model)
    }

    fn append(&mut self, rng: &mut Rng) {
        let group = GroupId(rng.below(3) as u32);
        let model = self.states.last().unwrap();
        let record = draw(rng, model, group, &mut self.term);
        let write = self.wal.append(group, record.clone()).unwrap();
        let mut model = model.clone();
        apply(&mut model, group, &record);
        self.states.push(model);
        assert_eq!(write, WriteId(self.states.len() as u64 - 1));
    }

    fn fail_flush(&mut self, fate: &mut Rng) {
        let flush = self.wal.start_flush().unwrap().unwrap();
        self.disk.fail_flush(flush, fate);
        let file = "any".into();
        let reason = "simulated".into();
        let result = Err(DiskError::Io { file, reason });
        assert!(self.wal.on_flushed(flush, result).is_err());
    }

    fn flush(&mut self) {
        if let Some(flush) = self.wal.start_flush().unwrap() {
            self.disk.finish_flush(flush);
            self.acknowledged = self.wal.on_flushed(flush, Ok(())).unwrap().0 as usize;
        }
        self.wal.check();
    }
}

fn options() -> WalOptions {
    WalOptions::small(NodeId(1))
}

/// The same, with batches that begin at whole pages, as production's do.
fn page_options() -> WalOptions {
    WalOptions {
        align_bytes: PAGE_BYTES as u32,
        ..options()
    }
}

fn open(disk: SimDisk, life: u64) -> Result<(Wal<SimDisk>, Recovery), WalError> {
    Wal::open(disk, options(), life)
}

/// A workload; gives the record of its disk, all states, and how many were acknowledged at each
/// event.
fn workload(
    seed: Seed,
    appends: usize,
    options: &WalOptions,
    acknowledge: Acknowledge,
) -> (mfsha_sim::disk::Record, Vec<Model>, Vec<usize>) {
    let mut rng = seed.child("workload").rng();
    let disk = SimDisk::new(CAPACITY, seed.child("disk").rng());
    disk.start_record();
    let (mut driven, _) = Driven::open(disk.clone(), options.clone(), 1);
    let mut record = mfsha_sim::disk::Record::default();
    let mut promised = vec![0];
    let mut note = |disk: &SimDisk, acknowledged: usize| {
        record.events.extend(disk.take_record().events);
        // What was promised before an event is promised at it.
        let before = *promised.last().unwrap();
        promised.resize(record.events.len() + 1, before);
        *promised.last_mut().unwrap() = acknowledged;
    };
    let mut running = None;
    for _ in 0..appends {
        driven.append(&mut rng);
        note(&disk, driven.acknowledged);
        if running.is_none() && rng.chance(1, 3) {
            running = driven.wal.start_flush().unwrap();
            if acknowledge == Acknowledge::BeforeFlush {
                driven.acknowledged = driven.states.len() - 1;
            }
            note(&disk, driven.acknowledged);
        }
        if let Some(flush) = running
            && rng.chance(1, 2)
        {
            running = None;
            disk.finish_flush(flush);
            note(&disk, driven.acknowledged);
            let write = driven.wal.on_flushed(flush, Ok(())).unwrap();
            driven.acknowledged = driven.acknowledged.max(write.0 as usize);
            driven.wal.check();
            note(&disk, driven.acknowledged);
        }
    }
    (record, driven.states, promised)
}

/// Opens one crash point; says what is wrong with what comes back.
fn judge(point: &CrashPoint, states: &[Model], promised: usize) -> Result<(), String> {
    let disk = SimDisk::from_files(point.files.clone(), CAPACITY, Seed::from_u64(0).rng());
    let (wal, recovery) = open(disk, 2).map_err(|error| error.to_string())?;
    wal.check();
    if !recovery.damage.is_empty() || recovery.groups.values().any(|log| !log.is_whole()) {
        return Err(format!(
            "a crash was taken for damage: {:?}",
            recovery.damage
        ));
    }
    let model = recovered(&recovery);
    let legal = states[promised..].iter().any(|state| same(state, &model));
    if legal {
        return Ok(());
    }
    Err(format!(
        "not a state from {promised} on: {:?}",
        states.iter().position(|state| same(state, &model))
    ))
}

/// At how many crash points something comes back that should not, or does not that should.
fn caught(
    record: &mfsha_sim::disk::Record,
    states: &[Model],
    promised: &[usize],
    variants: &'static [Variant],
    seed: &Seed,
) -> usize {
    crash_points(&Files::new(), record, variants, seed.child("crash"))
        .filter(|point| judge(point, states, promised[point.events]).is_err())
        .count()
}

/// How often a segment was begun in a file that had held one before.
fn reused(record: &mfsha_sim::disk::Record) -> usize {
    let mut begun = BTreeMap::new();
    for event in &record.events {
        if let Event::Operation(Pending::Write {
            file, offset: 0, ..
        }) = event
        {
            *begun.entry(file.clone()).or_insert(0) += 1;
        }
    }
    begun.values().filter(|count| **count > 1).count()
}

/// A state without its payloads, short enough to be read.
fn outline(model: &Model) -> Vec<String> {
    let outline = |(id, group): (&GroupId, &GroupModel)| {
        let GroupModel {
            committed,
            purged,
            entries,
            ..
        } = group;
        let ends = (entries.first().map(|e| e.0), entries.last().map(|e| e.0));
        format!("{id}: purged {purged:?} committed {committed:?} entries {ends:?}")
    };
    model.iter().map(outline).collect()
}

/// Groups without a single fact need not be there.
fn same(a: &Model, b: &Model) -> bool {
    let empty = GroupModel::default();
    a.keys()
        .chain(b.keys())
        .all(|group| a.get(group).unwrap_or(&empty) == b.get(group).unwrap_or(&empty))
}

#[test]
fn every_crash_point_recovers_to_a_prefix_with_everything_acknowledged() {
    every_point_recovers(&options(), Variant::OF_SECTORS);
}

#[test]
fn where_whole_pages_are_torn_batches_that_begin_at_pages_recover_from_every_crash_point() {
    every_point_recovers(&page_options(), Variant::ALL);
}

/// The fault that once cost what had been acknowledged: batches began at sectors, also on disks
/// that write whole pages.
#[test]
fn batches_that_share_pages_are_caught_where_whole_pages_are_torn() {
    let mut sharing = page_options();
    sharing.bug = Some(Bug::BatchesSharePages);
    for options in [options(), sharing] {
        let seed = Seed::from_u64(0);
        let (record, states, promised) = workload(seed, 250, &options, Acknowledge::AfterFlush);
        let caught = caught(&record, &states, &promised, Variant::OF_PAGES, &seed);
        println!("caught {caught} times");
        assert!(caught > 20, "caught {caught} times only");
    }
}

fn every_point_recovers(options: &WalOptions, variants: &'static [Variant]) {
    for number in 0..3 {
        let seed = Seed::from_u64(number);
        let (record, states, promised) = workload(seed, 250, options, Acknowledge::AfterFlush);
        let mut points = 0;
        for point in crash_points(&Files::new(), &record, variants, seed.child("crash")) {
            points += 1;
            if let Err(reason) = judge(&point, &states, promised[point.events]) {
                panic!(
                    "seed {number}, event {}, {:?}: {reason}",
                    point.events, point.variant
                );
            }
        }
        assert!(points > 500, "only {points} points");
        assert!(reused(&record) > 0, "no segment was ever reused");
        assert!(
            *promised.last().unwrap() > 150,
            "hardly anything was acknowledged"
        );
    }
}

#[test]
fn an_acknowledgement_before_the_flush_is_caught() {
    let seed = Seed::from_u64(0);
    let (record, states, promised) = workload(seed, 250, &options(), Acknowledge::BeforeFlush);
    let caught = caught(&record, &states, &promised, Variant::OF_SECTORS, &seed);
    assert!(caught > 20, "caught {caught} times only");
}

#[test]
fn a_disk_that_lies_about_a_flush_is_caught() {
    // The same, with one flush in the middle that covered nothing.
    let seed = Seed::from_u64(1);
    let (mut record, states, promised) = workload(seed, 250, &options(), Acknowledge::AfterFlush);
    let ends = |event: &Event| matches!(event, Event::FlushEnded(_));
    let last = record.events.iter().rposition(ends).unwrap();
    let Event::FlushEnded(flush) = record.events[last] else {
        unreachable!("it was looked for")
    };
    // An event that ends a flush covering nothing keeps the numbering.
    let began = record
        .events
        .iter()
        .position(|e| *e == Event::FlushBegan(flush))
        .unwrap();
    let previous = record.events[..began].iter().rposition(ends).unwrap_or(0);
    record.events.swap(began, previous + 1);
    let caught = caught(&record, &states, &promised, Variant::OF_SECTORS, &seed);
    assert!(caught > 0);
}

/// Some lives, each after a crash or a kill; says what came back that should not have.
fn live(number: u64, lives: u64) -> Result<(), String> {
    let seed = Seed::from_u64(number);
    let mut rng = seed.child("workload").rng();
    let mut fate = seed.child("fate").rng();
    let mut early = seed.child("early flushes").rng();
    let spoils_pages = seed.child("tears").rng().chance(1, 2);
    let disk = SimDisk::new(CAPACITY, seed.child("disk").rng()).tearing_pages(spoils_pages);
    // Sectors are enough where a torn write keeps them whole. Otherwise they are not: what shares
    // a page with a torn write is promised nothing (docs/protocols/wal.md).
    let options = match spoils_pages {
        true => page_options(),
        false => options(),
    };
    let mut expected: Vec<Model> = vec![Model::new()];
    for life in 1..=lives {
        disk.set_faults(DiskFaults {
            read_error: 20,
            read_flip: 20,
            misdirect: 0,
        });
        let (mut driven, model) = Driven::open(disk.clone(), options.clone(), life);
        disk.set_faults(DiskFaults::default());
        if !expected.iter().any(|state| same(state, &model)) {
            return Err(format!("life {life}: recovered {:?}", outline(&model)));
        }
        if early.chance(1, 3) {
            // As a node does it, before it acts upon what was recovered.
            driven.flush();
            expected = vec![model];
        }
        for _ in 0..rng.below(120) {
            driven.append(&mut rng);
            if rng.chance(1, 200) {
                driven.fail_flush(&mut fate);
                break;
            }
            if rng.chance(1, 4) {
                driven.flush();
            }
        }
        // Before the first flush of a life what it recovered is not sure to be durable.
        let mut states = driven.states.split_off(driven.acknowledged);
        if driven.acknowledged == 0 {
            states.append(&mut expected);
        }
        expected = states;
        if rng.chance(1, 3) {
            disk.kill();
        } else {
            disk.crash(CrashFate::ANY, &mut fate);
        }
    }
    Ok(())
}

#[test]
fn lives_that_once_went_wrong_go_well() {
    let cases = [
        // A batch that shared a page with one before it, on a disk that tears whole pages.
        (7_993_513_716_096_118_746, 2),
        // Files written over because a frame said so that the next crash lost.
        (2_643_222_531_541_122_296, 9),
        (11_312_049_156_247_841_259, 7),
        (15_398_396_866_144_385_562, 9),
        (16_341_993_702_090_738_052, 10),
        // Frames written again and lost with both headers of their segment; later ones stayed.
        (13_948_928_432_739_966_693, 7),
        (16_059_066_621_184_950_301, 6),
        (69_458_937_728_863_615, 11),
    ];
    for (number, lives) in cases {
        if let Err(reason) = live(number, lives) {
            panic!("number {number}, {lives} lives: {reason}");
        }
    }
}

/// A vote is flushed once. The next life writes it again and is killed; the one after that reads
/// the second copy from the cache, and loses it with its power.
#[test]
fn what_was_flushed_outlives_a_copy_that_the_cache_alone_has() {
    let group = GroupId(1);
    for number in 0..400 {
        let seed = Seed::from_u64(number);
        let mut fate = seed.child("fate").rng();
        let disk = SimDisk::new(CAPACITY, seed.child("disk").rng()).tearing_pages(true);
        let (mut driven, _) = Driven::open(disk.clone(), page_options(), 1);
        let vote = vec![7; 20];
        let record = Record::Vote { vote: vote.clone() };
        driven.wal.append(group, record).unwrap();
        driven.flush();
        disk.kill();
        let (mut driven, _) = Driven::open(disk.clone(), page_options(), 2);
        driven.wal.start_flush().unwrap().expect("it is owed");
        disk.kill();
        let (mut driven, _) = Driven::open(disk.clone(), page_options(), 3);
        if number % 2 == 0 {
            driven.fail_flush(&mut fate);
        }
        disk.crash(CrashFate::ANY, &mut fate);
        let (_, model) = Driven::open(disk, page_options(), 4);
        let kept = model.get(&group).and_then(|group| group.vote.clone());
        assert_eq!(kept, Some(vote), "number {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn life_after_life_what_was_acknowledged_stays(number: u64, lives in 2..8u64) {
        let lived = live(number, lives);
        prop_assert!(lived.is_ok(), "{}", lived.unwrap_err());
    }
}
