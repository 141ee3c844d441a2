//! Three whole nodes on disks and stores that forget: wherever the power of one fails, or of all
//! at once, nothing that was acknowledged is lost, and the cluster serves.
//!
//! A leader and two followers carry out a few hundred requests that the model's generator makes.
//! Each run is lived again from its beginning up to one operation on one node's disk, or one flush
//! of it; there that node loses its power, or all three do, in one variant of `crash_points`. They
//! come back, go on, and are judged by the model.
//!
//! Of all points a sample is judged, the same in every run; `MFSHA_CRASH_EVERY=1` judges them all,
//! `MFSHA_CRASH_SEEDS` more workloads.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mfsha_core::buggify::Buggify;
use mfsha_core::disk::FlushId;
use mfsha_core::id::{LogIndex, NodeId, SessionId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{Command, Outcome};
use mfsha_core::node::request::{CallId, ClientId, Request, RequestBody, ResponseBody};
use mfsha_core::node::{Effect, Event, Input, Node};
use mfsha_core::rng::{Rng, Seed};
use mfsha_core::store::CheckpointId;
use mfsha_core::time::Instant;
use mfsha_model::Model;
use mfsha_model::generate::{COMMANDS, Generator, Request as Drawn, Step};
use mfsha_sim::crash_points::{Variant, crash_point};
use mfsha_sim::disk::{self, Files, SimDisk};
use mfsha_sim::event::{AppliedEntry, AppliedPayload};
use mfsha_sim::node::{Kind, NodeSpec, SimNode};
use mfsha_sim::real::Real;
use mfsha_sim::store::SimStore;

use common::{Content, body, content, options};

const NODES: usize = 3;
const REQUESTS: usize = 200;
const CAPACITY: u64 = 64 << 20;
/// Steps after which a cluster that has not recovered will not.
const STEPS_MAX: usize = 20_000;
const VARIANTS: [Variant; 4] = [
    Variant::Lost,
    Variant::Torn,
    Variant::Reordered,
    Variant::PagesScattered,
];

/// Where a run is struck.
#[derive(Clone, Copy, Debug)]
struct Strike {
    /// Whose events are counted.
    victim: usize,
    /// After so many of them.
    events: usize,
    variant: Variant,
    /// All lose their power, not the victim alone.
    all: bool,
}

struct Host {
    node: Node<SimDisk, SimStore>,
    disk: SimDisk,
    store: SimStore,
    life: u32,
    flushes: VecDeque<FlushId>,
    checkpoints: VecDeque<CheckpointId>,
    /// All that was done to its disk in its first life.
    record: Vec<disk::Event>,
    stopped: Option<String>,
}

struct Cluster {
    hosts: Vec<Host>,
    seed: Seed,
    rng: Rng,
    bug: String,
    now: Instant,
    wall_us: u64,
    /// What is on the way, in order.
    links: BTreeMap<(usize, usize), VecDeque<Vec<u8>>>,
    strike: Option<Strike>,
    struck: bool,
    /// Entries as somebody applied them first.
    history: BTreeMap<LogIndex, AppliedEntry>,
    model: Model,
    /// Up to where the model has come.
    modelled: LogIndex,
    /// Answers to writes.
    acknowledged: BTreeMap<LogIndex, Outcome>,
    wrong: Vec<String>,
}

impl Host {
    fn open(
        disk: SimDisk,
        store: SimStore,
        at: usize,
        life: u32,
        bug: &str,
    ) -> Result<Self, String> {
        let all: BTreeSet<NodeId> = (1..=NODES as u64).map(NodeId).collect();
        let node = NodeId(at as u64 + 1);
        let spec = NodeSpec {
            node,
            bootstrap: all.clone(),
            peers: all.into_iter().filter(|peer| *peer != node).collect(),
            life,
            options: options(bug),
            buggify: Buggify::default(),
        };
        let seed = Seed::from_u64(7).index(at as u64).index(life.into());
        let now = Instant::default();
        let node = Real::open(&spec, disk.clone(), store.clone(), seed, now, 0)?;
        Ok(Self {
            node,
            disk,
            store,
            life,
            flushes: VecDeque::new(),
            checkpoints: VecDeque::new(),
            record: Vec::new(),
            stopped: None,
        })
    }
}

impl Cluster {
    fn new(seed: &Seed, bug: &str, strike: Option<Strike>) -> Self {
        let host = |at: usize| {
            let rng = seed.child("disk").index(at as u64).rng();
            let disk = SimDisk::new(CAPACITY, rng);
            disk.start_record();
            Host::open(disk, SimStore::new(), at, 1, bug).expect("an empty disk opens")
        };
        let mut cluster = Self {
            hosts: (0..NODES).map(host).collect(),
            seed: *seed,
            rng: seed.child("order").rng(),
            bug: bug.to_owned(),
            now: Instant::default(),
            wall_us: 0,
            links: BTreeMap::new(),
            strike,
            struck: false,
            history: BTreeMap::new(),
            model: Model::new(),
            modelled: LogIndex(0),
            acknowledged: BTreeMap::new(),
            wrong: Vec::new(),
        };
        for at in 0..NODES {
            cluster.step(at, Event::Tick);
        }
        cluster
    }

    /// Lives a workload to its end, or to the strike.
    fn live(&mut self) {
        let mut requests = self.seed.child("requests").rng();
        let mut generator = Generator::new();
        let commands: u16 = COMMANDS.iter().map(|(_, weight)| weight).sum();
        let mut asked = 0;
        while !self.struck && (asked < REQUESTS || !self.is_settled()) {
            let host = self.rng.below(NODES as u64) as usize;
            match self.rng.below(16) {
                0 | 1 if asked < REQUESTS => {
                    let Some(leader) = self.leader() else {
                        continue;
                    };
                    asked += 1;
                    let step = Step {
                        kind: requests.below(commands.into()) as u16,
                        seed: requests.next_u64(),
                    };
                    let Drawn::Command(command) = generator.realize(&self.model, step) else {
                        unreachable!("commands come first");
                    };
                    self.wall_us = u64::from(command.now.0) * 1_000_000;
                    self.ask(leader, asked as u64, body(&command));
                }
                2..=9 => drop(self.deliver_any()),
                10..=12 => drop(self.end_flush(host)),
                13 => drop(self.end_checkpoint(host)),
                _ => {
                    let time = Duration::from_micros(self.rng.between(100, 3_000));
                    self.now = self.now + time;
                    self.tick_who_is_due();
                }
            }
        }
    }

    fn step(&mut self, at: usize, event: Event) {
        if self.struck && self.hosts[at].life == 1 && self.dies(at) {
            return;
        }
        let mut out = Outbox::new();
        let input = Input {
            wall_us: self.wall_us,
            event,
        };
        let host = &mut self.hosts[at];
        host.node.step(self.now, input, &mut out);
        host.node.check();
        let applied = SimNode::take_applied(&mut host.node);
        if self.is_struck_within(at) {
            // It died in the middle of the step: nothing of it was heard.
            return;
        }
        for effect in out.drain() {
            self.carry_out(at, effect);
        }
        for entry in applied {
            self.on_applied(at, entry);
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let host = &mut self.hosts[at];
        match effect {
            Effect::FlushStarted { flush } => host.flushes.push_back(flush),
            Effect::CheckpointStarted { checkpoint } => host.checkpoints.push_back(checkpoint),
            Effect::Send { to, message, .. } => {
                let link = (at, to.0 as usize - 1);
                self.links.entry(link).or_default().push_back(message);
            }
            Effect::Reply { response, .. } => {
                if let Ok(ResponseBody::Written { index, outcome }) = response.result {
                    self.acknowledged.insert(index, outcome);
                }
            }
            Effect::Stopped { reason } => host.stopped = Some(reason),
            _ => {}
        }
    }

    /// Takes note of what was done to a disk; whether that brought the strike, and with it the end
    /// of what was going on.
    fn is_struck_within(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        if host.life > 1 {
            return false;
        }
        host.record.extend(host.disk.take_record().events);
        let Some(strike) = self.strike.filter(|strike| strike.victim == at) else {
            return false;
        };
        let done = self.hosts[at].record.len();
        self.struck |= done >= strike.events;
        done > strike.events
    }

    fn dies(&self, at: usize) -> bool {
        self.strike
            .is_some_and(|strike| strike.all || strike.victim == at)
    }

    fn on_applied(&mut self, at: usize, entry: AppliedEntry) {
        let index = entry.id.index;
        match self.history.get(&index) {
            Some(first) if *first != entry => {
                let what = format!("node {at} applied {entry:?} where {first:?} was applied");
                self.wrong.push(what);
            }
            Some(_) => {}
            None => {
                self.history.insert(index, entry);
            }
        }
        while let Some(entry) = self.history.get(&LogIndex(self.modelled.0 + 1)) {
            self.modelled = entry.id.index;
            if let AppliedPayload::Command { command, outcome } = &entry.payload
                && let Err(error) = self.model.apply(command, outcome)
            {
                self.wrong.push(format!("at {}: {error:?}", entry.id.index));
            }
        }
    }

    fn ask(&mut self, at: usize, call: u64, body: RequestBody) {
        let request = Request {
            call: CallId(call),
            body,
        };
        let client = ClientId(1);
        self.step(at, Event::Request { client, request });
    }

    fn leader(&self) -> Option<usize> {
        let leads = |host: &Host| host.node.shows().1.leads;
        self.hosts.iter().position(leads)
    }

    fn deliver_any(&mut self) -> bool {
        let busy = self.links.iter().filter(|(_, link)| !link.is_empty());
        let busy: Vec<_> = busy.map(|(ends, _)| *ends).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = *self.rng.pick(&busy);
        let message = self.links.entry((from, to)).or_default().pop_front();
        let message = message.expect("it is busy");
        let from = NodeId(from as u64 + 1);
        self.step(to, Event::Message { from, message });
        true
    }

    fn end_flush(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        let Some(flush) = host.flushes.pop_front() else {
            return false;
        };
        host.disk.finish_flush(flush);
        // The power may fail before the node has heard of it.
        self.is_struck_within(at);
        let result = Ok(());
        self.step(at, Event::Flushed { flush, result });
        true
    }

    fn end_checkpoint(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        let Some(checkpoint) = host.checkpoints.pop_front() else {
            return false;
        };
        let result = host.store.finish_checkpoint(checkpoint);
        let result = result.expect("it is under way");
        self.step(at, Event::Checkpointed { checkpoint, result });
        true
    }

    fn tick_who_is_due(&mut self) {
        for at in 0..NODES {
            let deadline = self.hosts[at].node.deadline();
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.step(at, Event::Tick);
            }
        }
    }

    /// Everybody has applied all that the leader has in its log.
    fn is_settled(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let (raft, leading) = self.hosts[leader].node.shows();
        let last = raft.and_then(|raft| raft.last_log).map(|id| id.index);
        self.hosts.iter().all(|host| {
            let (_, status) = host.node.shows();
            host.flushes.is_empty()
                && !status.repairing
                && status.term == leading.term
                && Some(status.applied) == last
        })
    }

    /// Goes on until everybody stands where the leader does.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let stopped = self.hosts.iter().find_map(|host| host.stopped.as_ref());
            if let Some(reason) = stopped {
                return Err(format!("a node stopped: {reason}"));
            }
            if self.is_settled() {
                return Ok(());
            }
            let ended = (0..NODES).any(|at| self.end_flush(at));
            if ended || self.deliver_any() || (0..NODES).any(|at| self.end_checkpoint(at)) {
                continue;
            }
            let deadlines = self.hosts.iter().filter_map(|host| host.node.deadline());
            let next = deadlines.min().ok_or("everybody sleeps")?;
            self.now = self.now.max(next);
            self.tick_who_is_due();
        }
        let stand: Vec<_> = self.hosts.iter().map(|host| host.node.shows().1).collect();
        Err(format!("it does not serve: {stand:?}"))
    }

    /// The power fails, and comes back.
    fn fail(&mut self, contents: &BTreeMap<Content, LogIndex>) -> Result<(), String> {
        let strike = self.strike.expect("it was struck");
        let mut rng = self.seed.child("fate").index(strike.events as u64).rng();
        let dead: Vec<usize> = (0..NODES).filter(|at| self.dies(*at)).collect();
        // What the dead had said may have left them, or not; nothing reaches them any more.
        let said = rng.chance(1, 2);
        for ((from, to), link) in &mut self.links {
            if dead.contains(to) || (dead.contains(from) && !said) {
                link.clear();
            }
        }
        for at in dead.iter().copied() {
            let durable = self.hosts[at].node.durable_entry();
            self.restart(at, strike, &mut rng)?;
            let host = &self.hosts[at];
            let state = content(&host.store.image(), SimNode::version(&host.node));
            if !contents.contains_key(&state) {
                return Err(format!("node {at} came back with a state that never was"));
            }
            self.step(at, Event::Tick);
            // What it recovered counts once it is flushed.
            while self.end_flush(at) {}
            let host = &self.hosts[at];
            let last = SimNode::log(&host.node).last().map(|(id, _)| id.index);
            let purged = host.node.raft_status().and_then(|raft| raft.purged);
            let end = last.max(purged.map(|id| id.index));
            if durable.is_some_and(|id| Some(id.index) > end) {
                return Err(format!(
                    "node {at} had {durable:?} durable, and now {end:?}"
                ));
            }
        }
        for at in 0..NODES {
            for peer in dead.iter().filter(|peer| **peer != at) {
                let peer = NodeId(*peer as u64 + 1);
                self.step(at, Event::PeerLost { peer });
            }
        }
        Ok(())
    }

    fn restart(&mut self, at: usize, strike: Strike, rng: &mut Rng) -> Result<(), String> {
        let host = &self.hosts[at];
        let events = match at == strike.victim {
            true => strike.events,
            false => host.record.len(),
        };
        let seed = self.seed.child("crash").index(at as u64);
        let files = crash_point(&Files::new(), &host.record, events, strike.variant, &seed);
        // A checkpoint may be finished without anybody having heard.
        let pending = host.store.pending_image().filter(|_| rng.chance(1, 2));
        let image = pending.unwrap_or_else(|| host.store.durable_image());
        let disk = SimDisk::from_files(files, CAPACITY, Seed::from_u64(0).rng());
        let store = SimStore::of_durable(image);
        self.hosts[at] = Host::open(disk, store, at, host.life + 1, &self.bug)?;
        Ok(())
    }

    /// What was acknowledged is there, and all are one state, the model's.
    fn judge(&mut self) -> Result<(), String> {
        for (index, outcome) in &self.acknowledged {
            let entry = self.history.get(index).map(|entry| &entry.payload);
            match entry {
                Some(AppliedPayload::Command { outcome: right, .. }) if **right == *outcome => {}
                other => return Err(format!("{index} was acknowledged, and is {other:?}")),
            }
        }
        let last = self.acknowledged.keys().next_back().copied();
        let applied = self.hosts[0].node.shows().1.applied;
        if last.is_some_and(|last| last > applied) {
            return Err(format!("{last:?} was acknowledged, all ends at {applied}"));
        }
        let first = self.hosts[0].store.image();
        for host in &self.hosts {
            if host.store.image() != first {
                return Err(format!("states differ at {applied}"));
            }
        }
        let held = self.hosts[0].node.namespace().dump();
        let held = held.map_err(|error| error.to_string())?;
        if let Some(difference) = self.model.dump().difference(&held) {
            return Err(format!("at {applied}: {difference}"));
        }
        match self.wrong.first() {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// The last acknowledged request comes again and is known; and a new one is carried out.
    fn ask_again(&mut self) -> Result<(), String> {
        let leader = self.leader().ok_or("nobody leads")?;
        let last = self.acknowledged.iter().next_back();
        if let Some((command, outcome)) = last.and_then(|(index, outcome)| {
            let command = command_of(self.history.get(index)?)?;
            Some((command.clone(), outcome.clone()))
        }) && self.is_remembered(leader, &command)
        {
            let again = self.write(leader, body(&command))?;
            if !again.repeated || again.result != outcome.result {
                return Err(format!("asked again, {outcome:?} became {again:?}"));
            }
        }
        let step = Step { kind: 0, seed: 1 };
        let Drawn::Command(new) = Generator::new().realize(&self.model, step) else {
            unreachable!("commands come first");
        };
        let leader = self.leader().ok_or("nobody leads")?;
        self.write(leader, body(&new)).map(drop)
    }

    fn is_remembered(&self, at: usize, command: &Command) -> bool {
        let dump = self.hosts[at].node.namespace().dump();
        let lane = command.request.filter(|id| id.session != SessionId(0));
        let (Ok(dump), Some(id)) = (dump, lane) else {
            return false;
        };
        let known = dump.lanes.get(&(id.session, id.lane));
        known.is_some_and(|known| known.0.seq == id.seq)
    }

    fn write(&mut self, at: usize, body: RequestBody) -> Result<Outcome, String> {
        let before = self.acknowledged.keys().next_back().copied();
        self.ask(at, 1_000_000, body);
        self.settle()?;
        let newest = self.acknowledged.iter().next_back();
        let newest = newest.filter(|(index, _)| Some(**index) > before);
        let newest = newest.map(|(_, outcome)| outcome.clone());
        newest.ok_or_else(|| "a write was not answered".to_owned())
    }
}

fn command_of(entry: &AppliedEntry) -> Option<&Command> {
    match &entry.payload {
        AppliedPayload::Command { command, .. } => Some(command),
        AppliedPayload::Blank | AppliedPayload::Membership(_) => None,
    }
}

/// A run without a strike: how much each disk did, who led, and every state there was.
struct Whole {
    events: Vec<usize>,
    leader: usize,
    acknowledged: usize,
    contents: BTreeMap<Content, LogIndex>,
}

fn whole(seed: &Seed, bug: &str) -> Whole {
    let mut cluster = Cluster::new(seed, bug, None);
    cluster.live();
    assert_eq!(cluster.wrong, Vec::<String>::new());
    let store = SimStore::new();
    let mut tree = Namespace::open(store.clone()).unwrap();
    let mut contents = BTreeMap::from([(content(&store.image(), 0), LogIndex(0))]);
    for (index, entry) in &cluster.history {
        if let AppliedPayload::Command { command, outcome } = &entry.payload {
            let applied = tree.apply(*index, command).unwrap();
            assert_eq!(applied, **outcome, "at {index}");
        }
        contents.insert(content(&store.image(), tree.version()), *index);
    }
    Whole {
        events: cluster.hosts.iter().map(|host| host.record.len()).collect(),
        leader: cluster.leader().expect("it has settled"),
        acknowledged: cluster.acknowledged.len(),
        contents,
    }
}

/// One run with one strike; says what is wrong with what came of it.
fn strike(seed: &Seed, whole: &Whole, bug: &str, strike: Strike) -> Result<(), String> {
    let mut cluster = Cluster::new(seed, bug, Some(strike));
    cluster.live();
    cluster.fail(&whole.contents)?;
    cluster.settle()?;
    cluster.judge()?;
    cluster.ask_again()?;
    cluster.judge()
}

/// What is wrong with the chosen points, and how many were judged.
fn sweep(seed: &Seed, bug: &str, every: usize, modes: &[bool]) -> (usize, Vec<String>) {
    let whole = whole(seed, bug);
    assert!(
        whole.acknowledged > REQUESTS / 2,
        "hardly anything was acknowledged: {}",
        whole.acknowledged
    );
    let (mut judged, mut wrong) = (0, Vec::new());
    for victim in [whole.leader, (whole.leader + 1) % NODES] {
        let mut number = 0;
        for events in 1..=whole.events[victim] {
            for variant in VARIANTS {
                for all in modes.iter().copied() {
                    number += 1;
                    // A stride that has no factor in common with the variants meets them all.
                    if number % every != 0 {
                        continue;
                    }
                    judged += 1;
                    let point = Strike {
                        victim,
                        events,
                        variant,
                        all,
                    };
                    let result =
                        catch_unwind(AssertUnwindSafe(|| strike(seed, &whole, bug, point)));
                    let result = result.unwrap_or_else(|_| Err("it panicked".to_owned()));
                    if let Err(reason) = result {
                        wrong.push(format!("{point:?}: {reason}"));
                    }
                }
            }
        }
    }
    (judged, wrong)
}

fn asked(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn wherever_the_power_of_one_or_of_all_fails_nothing_acknowledged_is_lost() {
    let every = asked("MFSHA_CRASH_EVERY", 127) as usize;
    for number in 0..asked("MFSHA_CRASH_SEEDS", 1) {
        let seed = Seed::from_u64(number);
        let (judged, wrong) = sweep(&seed, "", every.max(1), &[false, true]);
        println!("seed {number}: {judged} points");
        assert_eq!(wrong, Vec::<String>::new(), "seed {number}");
        assert!(judged > 30, "only {judged} points");
    }
}

#[test]
fn an_acknowledgement_before_the_flush_is_caught_when_all_lose_their_power() {
    let (judged, wrong) = sweep(&Seed::from_u64(2), "ack-before-flush", 127, &[true]);
    println!("{} of {judged}, as {:?}", wrong.len(), wrong.first());
    assert!(wrong.len() > 1, "caught {} times only", wrong.len());
}

#[test]
fn a_commit_without_a_majority_is_caught_when_one_loses_its_power() {
    let (judged, wrong) = sweep(&Seed::from_u64(2), "commit-without-quorum", 61, &[false]);
    println!("{} of {judged}, as {:?}", wrong.len(), wrong.first());
    assert!(!wrong.is_empty(), "not caught at {judged} points");
}
