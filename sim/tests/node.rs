//! A whole node on a disk and a store that forget: wherever the power fails, what comes back is
//! the state after some entry, not before the last acknowledged one, with version, sessions,
//! locks and remembered requests; and it serves.
//!
//! One node, alone in its group, carries out a few hundred requests that the model's generator
//! makes. A crash may come after every operation on its disk, after every flush, and before and
//! after every checkpoint; each in every variant of `crash_points`. From what that leaves a node
//! is opened and judged by the model.
//!
//! Every point is judged, of three workloads; `MFSHA_CRASH_SEEDS` asks for more of them.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mfsha_core::buggify::Buggify;
use mfsha_core::disk::FlushId;
use mfsha_core::id::{LogIndex, NodeId, SessionId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{Command, Outcome};
use mfsha_core::node::request::{CallId, ClientId, NodeError, Request, RequestBody, ResponseBody};
use mfsha_core::node::{Effect, Event, Input, Node};
use mfsha_core::rng::Seed;
use mfsha_core::store::CheckpointId;
use mfsha_core::time::Instant;
use mfsha_model::Model;
use mfsha_model::generate::{COMMANDS, Generator, Request as Drawn, Step};
use mfsha_sim::crash_points::{Variant, crash_points};
use mfsha_sim::disk::{Files, Record, SimDisk};
use mfsha_sim::event::{AppliedEntry, AppliedPayload};
use mfsha_sim::node::{Kind, NodeSpec, SimNode};
use mfsha_sim::real::Real;
use mfsha_sim::store::SimStore;

use common::{Content, Map, body, content, options};

const CAPACITY: u64 = 64 << 20;
/// Steps after which a node that has not recovered will not.
const STEPS_MAX: usize = 2_000;

/// A node, and what it waits for.
struct Driven {
    node: Node<SimDisk, SimStore>,
    disk: SimDisk,
    store: SimStore,
    now: Instant,
    wall_us: u64,
    flushes: VecDeque<FlushId>,
    checkpoints: VecDeque<CheckpointId>,
    answers: Vec<(CallId, ResponseBody)>,
    applied: Vec<AppliedEntry>,
    stopped: Option<String>,
}

impl Driven {
    fn open(disk: SimDisk, store: SimStore, life: u32, bug: &str) -> Result<Self, String> {
        let node = NodeId(1);
        let options = options(bug);
        let spec = NodeSpec {
            node,
            bootstrap: BTreeSet::from([node]),
            peers: BTreeSet::new(),
            life,
            options,
            buggify: Buggify::default(),
        };
        let now = Instant::default();
        let seed = Seed::from_u64(7).index(life.into());
        let node = Real::open(&spec, disk.clone(), store.clone(), seed, now, 0)?;
        let mut driven = Self {
            node,
            disk,
            store,
            now,
            wall_us: 0,
            flushes: VecDeque::new(),
            checkpoints: VecDeque::new(),
            answers: Vec::new(),
            applied: Vec::new(),
            stopped: None,
        };
        driven.step(Event::Tick);
        Ok(driven)
    }

    fn step(&mut self, event: Event) {
        let mut out = Outbox::new();
        let input = Input {
            wall_us: self.wall_us,
            event,
        };
        self.node.step(self.now, input, &mut out);
        self.node.check();
        for effect in out.drain() {
            match effect {
                Effect::FlushStarted { flush } => self.flushes.push_back(flush),
                Effect::CheckpointStarted { checkpoint } => self.checkpoints.push_back(checkpoint),
                Effect::Reply { response, .. } => {
                    match response.result {
                        Ok(body) => self.answers.push((response.call, body)),
                        // Longer than the small log takes: it never was in it.
                        Err(NodeError::Invalid { .. }) => {}
                        Err(error) => panic!("a lone node serves: {error:?}"),
                    }
                }
                Effect::Stopped { reason } => self.stopped = Some(reason),
                _ => {}
            }
        }
        self.applied.extend(SimNode::take_applied(&mut self.node));
    }

    /// The oldest flush ends.
    fn end_flush(&mut self) -> bool {
        let Some(flush) = self.flushes.pop_front() else {
            return false;
        };
        self.disk.finish_flush(flush);
        let result = Ok(());
        self.step(Event::Flushed { flush, result });
        true
    }

    /// The oldest checkpoint is durable, and then the node hears of it.
    fn end_checkpoint(&mut self, durable: impl FnOnce(&Self)) -> bool {
        let Some(checkpoint) = self.checkpoints.pop_front() else {
            return false;
        };
        let result = self.store.finish_checkpoint(checkpoint);
        durable(self);
        let result = result.expect("it is under way");
        self.step(Event::Checkpointed { checkpoint, result });
        true
    }

    fn ask(&mut self, call: u64, body: RequestBody) {
        let request = Request {
            call: CallId(call),
            body,
        };
        let client = ClientId(1);
        self.step(Event::Request { client, request });
    }

    /// Time passes, and the node notices.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if self.node.deadline().is_some_and(|at| at <= self.now) {
            self.step(Event::Tick);
        }
    }

    /// Whether it leads, and has applied all that its log holds.
    fn serves(&self) -> bool {
        let (raft, status) = self.node.shows();
        self.flushes.is_empty()
            && status.leads
            && raft.is_some_and(|raft| raft.last_log.is_some() && raft.applied == raft.last_log)
    }

    /// Goes on until the node serves.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            if let Some(reason) = &self.stopped {
                return Err(format!("it stopped: {reason}"));
            }
            if self.serves() {
                return Ok(());
            }
            if self.end_flush() || self.end_checkpoint(|_| {}) {
                continue;
            }
            if let Some(deadline) = self.node.deadline() {
                self.now = self.now.max(deadline);
            }
            self.step(Event::Tick);
        }
        Err(format!("it does not serve: {:?}", self.node.shows().0))
    }
}

/// An entry of the log: the command in it and what it came to, if it holds one.
type Entry = Option<(Command, Outcome)>;

/// The world at a moment in which the power could fail.
#[derive(Clone)]
struct Moment {
    /// Events on the disk before.
    events: usize,
    /// The last finished checkpoint.
    durable: Arc<Map>,
    /// One that is under way, and may be finished without anybody having heard.
    pending: Option<Arc<Map>>,
    /// The last entry of which somebody was told.
    promised: LogIndex,
    /// The checkpoint began or ended here.
    remarkable: bool,
}

/// What was done and promised.
struct Run {
    record: Record,
    moments: Vec<Moment>,
    /// What each entry said and came to, by index from 0 on, where it was a command.
    after: Vec<Option<(Command, Outcome)>>,
    /// The last index of each content and version.
    contents: BTreeMap<Content, LogIndex>,
}

/// Notes moments while a node is being driven.
struct Recorder {
    record: Record,
    moments: Vec<Moment>,
}

impl Recorder {
    fn note(&mut self, driven: &Driven, promised: LogIndex, remarkable: bool) {
        let events = driven.disk.take_record().events;
        // In the middle of a step nothing is promised yet, and the store is as before.
        for _ in 1..events.len() {
            let mut before = self.moments.last().expect("it began").clone();
            before.events += 1;
            before.remarkable = false;
            self.moments.push(before);
        }
        self.record.events.extend(events);
        self.moments.push(Moment {
            events: self.record.events.len(),
            durable: driven.store.durable_image(),
            pending: driven.store.pending_image(),
            promised,
            remarkable,
        });
    }
}

/// A lone node carries out requests; the model says whether rightly.
fn run(seed: &Seed, requests: usize, bug: &str) -> Run {
    let mut rng = seed.child("requests").rng();
    let disk = SimDisk::new(CAPACITY, seed.child("disk").rng());
    disk.start_record();
    let mut driven = Driven::open(disk, SimStore::new(), 1, bug).unwrap();
    let mut recorder = Recorder {
        record: Record::default(),
        moments: vec![Moment {
            events: 0,
            durable: Arc::default(),
            pending: None,
            promised: LogIndex(0),
            remarkable: false,
        }],
    };
    recorder.note(&driven, LogIndex(0), false);
    let mut model = Model::new();
    let mut generator = Generator::new();
    let mut entries: Vec<AppliedEntry> = Vec::new();
    let mut promised = LogIndex(0);
    let commands: u16 = COMMANDS.iter().map(|(_, weight)| weight).sum();
    let mut asked = 0;
    // To the last entry applied: a state that nobody saw could not be told from a wrong one.
    while asked < requests || !driven.serves() {
        let checkpoints = driven.checkpoints.len();
        match rng.below(8) {
            0..=3 if asked < requests && driven.node.shows().1.leads => {
                asked += 1;
                let step = Step {
                    kind: rng.below(commands.into()) as u16,
                    seed: rng.next_u64(),
                };
                let Drawn::Command(command) = generator.realize(&model, step) else {
                    unreachable!("commands come first");
                };
                driven.wall_us = u64::from(command.now.0) * 1_000_000;
                driven.ask(asked as u64, body(&command));
            }
            4 | 5 => drop(driven.end_flush()),
            6 => {
                let ended = driven.end_checkpoint(|driven| recorder.note(driven, promised, true));
                if ended {
                    recorder.note(&driven, promised, true);
                }
            }
            _ => driven.pass(Duration::from_millis(rng.between(1, 60))),
        }
        assert_eq!(driven.stopped, None);
        for entry in std::mem::take(&mut driven.applied) {
            if let AppliedPayload::Command { command, outcome } = &entry.payload {
                model.apply(command, outcome).unwrap();
            }
            entries.push(entry);
        }
        for (_, answer) in driven.answers.drain(..) {
            let ResponseBody::Written { index, outcome } = answer else {
                panic!("a write was answered with {answer:?}");
            };
            let entry = entries.iter().find(|entry| entry.id.index == index);
            let Some(AppliedPayload::Command { outcome: right, .. }) = entry.map(|e| &e.payload)
            else {
                panic!("an acknowledgement names {index}, which is no command");
            };
            assert_eq!(outcome, **right, "the acknowledgement of {index}");
            promised = promised.max(index);
        }
        let begun = driven.checkpoints.len() > checkpoints;
        recorder.note(&driven, promised, begun);
    }
    assert_eq!(model.version(), SimNode::version(&driven.node));
    let Recorder { record, moments } = recorder;
    let (after, contents) = replay(&entries, &driven.store.image());
    Run {
        record,
        moments,
        after,
        contents,
    }
}

/// Every state along the log, by a tree without a node around it, and compared with the model's.
fn replay(entries: &[AppliedEntry], end: &Arc<Map>) -> (Vec<Entry>, BTreeMap<Content, LogIndex>) {
    let store = SimStore::new();
    let mut tree = Namespace::open(store.clone()).unwrap();
    let mut model = Model::new();
    let mut after = vec![None];
    let mut contents = BTreeMap::from([(content(&store.image(), 0), LogIndex(0))]);
    for entry in entries {
        let index = entry.id.index;
        let mut command = None;
        if let AppliedPayload::Command {
            command: said,
            outcome,
        } = &entry.payload
        {
            assert_eq!(tree.apply(index, said).unwrap(), **outcome);
            model.apply(said, outcome).unwrap();
            let held = tree.dump().unwrap();
            assert_eq!(model.dump().difference(&held), None, "after {index}");
            command = Some(((**said).clone(), (**outcome).clone()));
        }
        after.resize(index.0 as usize + 1, None);
        after[index.0 as usize] = command;
        contents.insert(content(&store.image(), model.version()), index);
    }
    assert_eq!(
        content(&store.image(), 0),
        content(end, 0),
        "the node's own state"
    );
    (after, contents)
}

/// Opens what a crash left; says what is wrong with it.
fn judge(
    run: &Run,
    moment: &Moment,
    files: &Files,
    store: &Arc<Map>,
    bug: &str,
) -> Result<(), String> {
    let disk = SimDisk::from_files(files.clone(), CAPACITY, Seed::from_u64(0).rng());
    let store = SimStore::of_durable(Arc::clone(store));
    let mut driven = Driven::open(disk, store, 2, bug)?;
    driven.settle()?;
    let state = driven.store.image();
    let version = SimNode::version(&driven.node);
    let Some(at) = run.contents.get(&content(&state, version)).copied() else {
        return Err(format!(
            "its state, version {version}, is none that there ever was"
        ));
    };
    if at < moment.promised {
        return Err(format!(
            "its state is that of {at}; {} was acknowledged",
            moment.promised
        ));
    }
    let after = &run.after[at.0 as usize];
    if let Some((command, outcome)) = after {
        return ask_again(&mut driven, command, outcome);
    }
    Ok(())
}

/// The last request that is in the state comes again: it is known, and nothing changes.
fn ask_again(driven: &mut Driven, command: &Command, outcome: &Outcome) -> Result<(), String> {
    let remembered = command.request.is_some_and(|id| id.session != SessionId(0));
    let dump = driven.node.namespace().dump().map_err(|e| e.to_string())?;
    let lane = command.request.and_then(|id| {
        let lane = dump.lanes.get(&(id.session, id.lane))?;
        Some(lane.0.seq == id.seq)
    });
    if !remembered || lane != Some(true) {
        return Ok(());
    }
    let version = SimNode::version(&driven.node);
    driven.ask(1, body(command));
    while driven.answers.is_empty() {
        driven.settle()?;
    }
    let (_, answer) = driven.answers.remove(0);
    let ResponseBody::Written { outcome: again, .. } = answer else {
        return Err(format!("a write was answered with {answer:?}"));
    };
    if !again.repeated || again.result != outcome.result || again.version != version {
        return Err(format!("asked again, {outcome:?} became {again:?}"));
    }
    Ok(())
}

/// What is wrong with the points of a run, and how many were judged.
fn sweep(run: &Run, seed: &Seed, bug: &str) -> (usize, Vec<String>) {
    let mut moments: BTreeMap<usize, Vec<&Moment>> = BTreeMap::new();
    for moment in &run.moments {
        moments.entry(moment.events).or_default().push(moment);
    }
    let (mut judged, mut wrong) = (0, Vec::new());
    for point in crash_points(
        &Files::new(),
        &run.record,
        Variant::ALL,
        seed.child("crash"),
    ) {
        // Of what is the same but for what was promised, the last demands most.
        let mut here: Vec<&Moment> = Vec::new();
        for moment in moments.get(&point.events).into_iter().flatten() {
            let same = here.last().is_some_and(|last| {
                Arc::ptr_eq(&last.durable, &moment.durable) && !last.remarkable
            });
            if same {
                here.pop();
            }
            here.push(moment);
        }
        for moment in here {
            let pending = moment
                .pending
                .iter()
                .filter(|_| point.variant == Variant::Kept);
            for store in [&moment.durable].into_iter().chain(pending) {
                judged += 1;
                let result = catch_unwind(AssertUnwindSafe(|| {
                    judge(run, moment, &point.files, store, bug)
                }));
                let result = result.unwrap_or_else(|_| Err("it panicked".to_owned()));
                if let Err(reason) = result {
                    wrong.push(format!(
                        "after {} of {} events, {:?}: {reason}",
                        point.events,
                        run.record.events.len(),
                        point.variant
                    ));
                }
            }
        }
    }
    (judged, wrong)
}

#[test]
fn wherever_the_power_fails_a_node_comes_back_with_all_that_it_acknowledged() {
    let seeds = std::env::var("MFSHA_CRASH_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(3);
    for number in 0..seeds {
        let seed = Seed::from_u64(number);
        let run = run(&seed, 300, "");
        let promised = run.moments.last().unwrap().promised;
        assert!(promised > LogIndex(200), "hardly anything was acknowledged");
        let durable = run.moments.iter().map(|moment| &moment.durable);
        let durable: Vec<&Arc<Map>> = durable.collect();
        let changes = durable
            .windows(2)
            .filter(|two| !Arc::ptr_eq(two[0], two[1]));
        assert!(changes.count() > 5, "hardly any checkpoint was taken");
        let (judged, wrong) = sweep(&run, &seed, "");
        println!("{judged} points of {} events", run.record.events.len());
        assert_eq!(wrong, Vec::<String>::new(), "seed {number}");
        assert!(judged > 1_000, "only {judged} points");
    }
}

#[test]
fn what_spoils_or_doubles_what_was_acknowledged_is_caught() {
    for bug in [
        "ack-before-flush",
        "replay-counts-again",
        "counters-merged-by-adding",
        "batches-share-pages",
    ] {
        let seed = Seed::from_u64(2);
        let run = run(&seed, 120, bug);
        let (judged, wrong) = sweep(&run, &seed, bug);
        println!(
            "{bug}: {} of {judged} points, as {:?}",
            wrong.len(),
            wrong.first()
        );
        assert!(
            wrong.len() > 5,
            "{bug} was caught {} times only",
            wrong.len()
        );
    }
}
