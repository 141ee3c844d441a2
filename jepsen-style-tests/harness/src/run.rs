//! A run from its begin to its end: lab, cluster, clients, round after round, verdict, and
//! everything removed again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mfsha_client::{Address, Client, ClientOptions};
use mfsha_core::id::SessionId;
use mfsha_core::rng::Seed;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError};
use crate::door::Door;
use crate::journal::{ClientJournal, JournalError, Lines, Role, Via, write_json};
use crate::keeper::{self, KeeperError, Reader, Remains};
use crate::lab::{Host, Lab, LabError, Mesh, NamespaceError, enter};
use crate::layout::{GROUP_WRITERS, Layout, groups};
use crate::nemesis::{Nemesis, NemesisError, Note};
use crate::plan::{Kind, Plan, Round};
use crate::recording::{Files, Recording};
use crate::stalls::{self, Line};
use crate::verdict::{Finding, Law, Verdict, judge_round, judge_run};
use crate::workload::{Common, Member, PATIENCE, Way, open_session, plain};

/// How long a cluster may take to form.
const FORM_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to come back once everything is healed.
const RECOVER_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a node has died meanwhile.
const LOOK_FOR_DEATHS: Duration = Duration::from_secs(1);
/// Findings of one round that are shown while the run goes on.
const SHOWN_MAX: usize = 5;

/// Through what writers ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Through {
    /// Half of the groups each way.
    Both,
    /// Plain connections: every answer tells its log index.
    Plain,
    /// The native client library.
    Library,
}

/// What is wanted of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the lab.
    pub name: String,
    /// Rounds.
    pub rounds: u32,
    /// The seed.
    pub seed: u64,
    /// Clients that write.
    pub writers: usize,
    /// Nodes.
    pub nodes: usize,
    /// The daemon.
    pub binary: PathBuf,
    /// Where everything is written.
    pub out: PathBuf,
    /// Kinds of fault.
    pub kinds: Vec<Kind>,
    /// Whether the nodes' directories stay, also when every promise was kept.
    pub keep: bool,
    /// Through what writers ask.
    pub through: Through,
    /// Whether nodes and clients speak TLS.
    pub tls: bool,
    /// Pause of each client between two operations, milliseconds.
    pub pause_ms: (u64, u64),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is a run in that directory already.
    #[error("{path} is not empty; name another directory with --out, or remove it")]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// The daemon cannot be found.
    #[error("{path} is no program; build it, or name it with --binary")]
    NoBinary {
        /// Which.
        path: PathBuf,
    },
    /// See there.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// See there.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// See there.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// See there.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The harness itself failed.
    #[error("{0}")]
    Own(String),
}

impl RunError {
    /// Whether this machine cannot carry out a run at all.
    #[must_use]
    pub fn cannot_run(&self) -> bool {
        matches!(self, Self::Lab(LabError::CannotRun { .. }))
    }
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Rounds that were lived to their end.
    pub rounds: u32,
    /// Whether somebody ended it early.
    pub interrupted: bool,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What the judges say.
    pub verdict: Verdict,
    /// How long clients stood still.
    pub stalls: Vec<Line>,
}

/// Tells a run to end early.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    told: Arc<AtomicBool>,
    notify: Arc<Notify>,
}

impl Stop {
    /// Tells it.
    pub fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }
}

/// Lives a run and judges it.
///
/// # Errors
/// [`RunError`]: there is no verdict then.
pub fn run(options: &Options, stop: &Stop) -> Result<Outcome, RunError> {
    let begin = Instant::now();
    let files = prepare(options)?;
    let plan = Plan::draw(
        options.seed,
        options.rounds,
        options.nodes,
        options.writers,
        &options.kinds,
    );
    write_json(&files.plan(), &plan)?;
    let hosts: Vec<Host> = (1..=options.nodes)
        .map(|number| Host(format!("n{number}")))
        .collect();
    let home = Host("u1".to_owned());
    let lab = Lab::up(
        &options.name,
        &[&hosts[..], std::slice::from_ref(&home)].concat(),
    )?;
    let namespace = lab.namespace(&home);
    let mesh = Mesh::open(&lab)?;
    let cluster = Cluster::new(lab, &hosts, &options.binary, &options.out, options.tls)?;
    let lived = std::thread::scope(|scope| {
        let inside = || {
            enter(&namespace)?;
            live(
                options,
                plan.clone(),
                &files,
                cluster,
                &mesh,
                &namespace,
                stop,
            )
        };
        let thread = scope.spawn(inside);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let lived = lived?;
    let mut outcome = judged(&files, lived)?;
    outcome.seconds = begin.elapsed().as_secs_f64();
    write_json(&options.out.join("outcome.json"), &outcome)?;
    if outcome.verdict.is_kept() && !options.keep {
        let data = options.out.join("data");
        fs::remove_dir_all(&data).map_err(|error| LabError::File {
            path: data.display().to_string(),
            error,
        })?;
    }
    Ok(outcome)
}

fn prepare(options: &Options) -> Result<Files, RunError> {
    let out = &options.out;
    if !options.binary.is_file() {
        return Err(RunError::NoBinary {
            path: options.binary.clone(),
        });
    }
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RunError::NotEmpty { path: out.clone() });
    }
    let files = Files(out.clone());
    for dir in [files.journal(), out.join("rounds"), out.join("last")] {
        fs::create_dir_all(&dir).map_err(|error| LabError::File {
            path: dir.display().to_string(),
            error,
        })?;
    }
    Ok(files)
}

/// What the controller leaves behind.
struct Lived {
    rounds: u32,
    interrupted: bool,
    /// Of the rounds, as they were judged on the way.
    verdict: Verdict,
}

fn live(
    options: &Options,
    plan: Plan,
    files: &Files,
    cluster: Cluster,
    mesh: &Mesh,
    namespace: &str,
    stop: &Stop,
) -> Result<Lived, RunError> {
    let home = namespace.to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || {
            if let Err(error) = enter(&home) {
                // Without its namespace a thread would ask the wrong network and wait for ever.
                eprintln!("mfsha-jepsen: {error}");
                std::process::abort();
            }
        })
        .enable_all()
        .build()
        .map_err(|error| RunError::Own(format!("no runtime: {error}")))?;
    let lived = runtime.block_on(async {
        let mut world = World::new(options, plan, files, cluster, mesh)?;
        let end = tokio::select! {
            end = world.live() => Some(end),
            () = stop.notify.notified() => None,
        };
        let interrupted = end.is_none() || stop.told.load(Ordering::SeqCst);
        if let Some(Err(trouble)) = end {
            world.note_trouble(trouble)?;
        }
        Ok(Lived {
            rounds: world.rounds_lived,
            interrupted,
            verdict: world.verdict,
        })
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    lived
}

/// Why the rounds ended early.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    InTime(String),
    #[error("{0}")]
    Died(String),
    /// A judge refused a round; it is in the verdict already.
    #[error("a round was refused")]
    Refused,
    #[error(transparent)]
    Fatal(RunError),
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<ClusterError> for Trouble {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::NotInTime { .. } => Self::InTime(error.to_string()),
            other => Self::Fatal(other.into()),
        }
    }
}

impl From<KeeperError> for Trouble {
    fn from(error: KeeperError) -> Self {
        match error {
            KeeperError::Journal(error) => error.into(),
            KeeperError::Cluster { .. } => Self::InTime(error.to_string()),
        }
    }
}

impl From<NemesisError> for Trouble {
    fn from(error: NemesisError) -> Self {
        match error {
            NemesisError::Cluster(error) => error.into(),
            NemesisError::Journal(error) => error.into(),
            NemesisError::Lab(error) => Self::Fatal(error.into()),
        }
    }
}

struct World<'a> {
    options: &'a Options,
    plan: Plan,
    files: &'a Files,
    cluster: Cluster,
    mesh: &'a Mesh,
    clock: Clock,
    notes: Lines,
    troubles: Lines,
    /// Writers and readers; empty while they work.
    members: Vec<Member>,
    keeper: Option<Member>,
    layouts: BTreeMap<u32, Layout>,
    verdict: Verdict,
    rounds_lived: u32,
}

impl<'a> World<'a> {
    fn new(
        options: &'a Options,
        plan: Plan,
        files: &'a Files,
        cluster: Cluster,
        mesh: &'a Mesh,
    ) -> Result<Self, RunError> {
        Ok(Self {
            options,
            plan,
            files,
            cluster,
            mesh,
            clock: Clock::start(),
            notes: Lines::create(&files.notes())?,
            troubles: Lines::create(&files.troubles())?,
            members: Vec::new(),
            keeper: None,
            layouts: BTreeMap::new(),
            verdict: Verdict::default(),
            rounds_lived: 0,
        })
    }

    async fn live(&mut self) -> Result<(), Trouble> {
        self.cluster.start_all()?;
        self.await_agreement(FORM_PATIENCE).await?;
        eprintln!("{} nodes have formed a cluster", self.plan.nodes);
        self.make_members().await?;
        for round in self.plan.rounds.clone() {
            self.live_round(&round).await?;
        }
        self.look_back().await?;
        for member in self.members.iter_mut().chain(&mut self.keeper) {
            member.leave().await;
        }
        let bad = self.cluster.stop_all()?;
        if !bad.is_empty() {
            return Err(Trouble::Died(format!(
                "{bad:?} did not end well after SIGTERM"
            )));
        }
        Ok(())
    }

    fn note_trouble(&mut self, trouble: Trouble) -> Result<(), RunError> {
        let law = match &trouble {
            Trouble::Refused => return Ok(()),
            Trouble::InTime(_) => Law::InTime,
            Trouble::Died(_) => Law::Died,
            Trouble::Fatal(_) => {
                let Trouble::Fatal(error) = trouble else {
                    unreachable!("just seen")
                };
                return Err(error);
            }
        };
        let round = self.layouts.keys().next_back().copied();
        let finding = Finding {
            law,
            round,
            text: trouble.to_string(),
        };
        eprintln!("!!! {finding}");
        Ok(self.troubles.write(&finding)?)
    }

    async fn make_members(&mut self) -> Result<(), Trouble> {
        let doors = self.cluster.doors();
        let journal = self.files.journal();
        let common = Common {
            clock: self.clock,
            pause_ms: self.options.pause_ms,
        };
        let member = |number, role, way| Member::new(&journal, number, role, common, way);
        let own = session(&doors).await?;
        self.keeper = Some(member(0, Role::Keeper, plain(doors.clone(), 0, own, 1))?);
        let mut ways = Vec::new();
        for group in 0..groups(self.plan.writers) {
            let by_library = match self.options.through {
                Through::Both => group % 4 >= 2,
                Through::Plain => false,
                Through::Library => true,
            };
            if by_library {
                let client = library(&doors).await?;
                ways.extend((0..GROUP_WRITERS).map(|_| Way::Library(client.clone())));
            } else {
                let session = session(&doors).await?;
                let lanes = (1..).take(GROUP_WRITERS);
                let first = |lane: u32| lane as usize % doors.len();
                ways.extend(lanes.map(|it| plain(doors.clone(), first(it), session, it)));
            }
        }
        ways.truncate(self.plan.writers);
        for (number, way) in (1..).zip(ways) {
            self.members.push(member(number, Role::Writer, way)?);
        }
        for (seat, door) in doors.iter().enumerate() {
            let number = (self.plan.writers + seat + 1) as u64;
            let way = plain(vec![door.clone()], 0, SessionId(0), 0);
            self.members.push(member(number, Role::Reader, way)?);
        }
        Ok(())
    }

    async fn live_round(&mut self, round: &Round) -> Result<(), Trouble> {
        let begin = Instant::now();
        let mut keeper = self
            .keeper
            .take()
            .expect("the keeper is back after each round");
        let layout = keeper::set_up(&mut keeper, round.number, self.plan.writers).await?;
        self.layouts.insert(round.number, layout.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let mut working = self.begin_work(round, &layout, &stop);
        let struck = self.strike(round).await;
        stop.store(true, Ordering::SeqCst);
        if struck.is_err() {
            // Nobody will answer any more: what is under way stays unknown.
            working.abort_all();
            return struck;
        }
        self.members = end_work(&mut working).await?;
        let index = self.cluster.settled(RECOVER_PATIENCE).await?;
        self.look_for_deaths()?;
        keeper::look_again(&mut keeper, round.number, &layout).await?;
        let doors = self.cluster.doors();
        let remains = keeper::remains(&doors, round.number, &layout, index).await?;
        write_json(&self.files.remains(round.number), &remains)?;
        let clients = std::iter::once(keeper.take());
        let clients = clients
            .chain(self.members.iter_mut().map(Member::take))
            .collect();
        self.keeper = Some(keeper);
        self.judge(round, clients, remains, begin)
    }

    fn begin_work(
        &mut self,
        round: &Round,
        layout: &Layout,
        stop: &Arc<AtomicBool>,
    ) -> JoinSet<Result<Member, JournalError>> {
        let mut working = JoinSet::new();
        let seed = Seed::from_u64(self.plan.seed)
            .child("work")
            .index(u64::from(round.number));
        for mut member in std::mem::take(&mut self.members) {
            let (number, layout, stop) = (round.number, layout.clone(), Arc::clone(stop));
            working.spawn(async move {
                member.work(number, layout, seed, stop).await?;
                Ok(member)
            });
        }
        working
    }

    /// The fault between two stretches of work, and the cluster's recovery.
    async fn strike(&mut self, round: &Round) -> Result<(), Trouble> {
        tokio::time::sleep(Duration::from_millis(round.calm_ms)).await;
        let mut nemesis = Nemesis {
            cluster: &mut self.cluster,
            mesh: self.mesh,
            clock: self.clock,
            notes: &mut self.notes,
        };
        let struck = nemesis.strike(round).await;
        self.look_for_deaths()?;
        struck?;
        self.await_agreement(RECOVER_PATIENCE).await?;
        tokio::time::sleep(Duration::from_millis(round.tail_ms)).await;
        Ok(())
    }

    /// Waits until all nodes agree, and no longer than until one has died.
    async fn await_agreement(&mut self, patience: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + patience;
        loop {
            let agreed = self.cluster.agreed(LOOK_FOR_DEATHS).await;
            self.look_for_deaths()?;
            match agreed {
                Ok(_) => return Ok(()),
                Err(ClusterError::NotInTime { what, last, .. }) if Instant::now() > until => {
                    let seconds = patience.as_secs();
                    return Err(ClusterError::NotInTime {
                        what,
                        seconds,
                        last,
                    }
                    .into());
                }
                Err(ClusterError::NotInTime { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn look_for_deaths(&mut self) -> Result<(), Trouble> {
        let deaths = self.cluster.deaths()?;
        match deaths.first() {
            None => Ok(()),
            Some(death) => Err(Trouble::Died(format!(
                "{} on seat {} ended by itself: {}; see its log",
                death.node, death.seat, death.status
            ))),
        }
    }

    fn judge(
        &mut self,
        round: &Round,
        clients: Vec<ClientJournal>,
        remains: Remains,
        begin: Instant,
    ) -> Result<(), Trouble> {
        let notes: Vec<Note> = crate::journal::read_lines(&self.files.notes())?;
        let own = |note: &Note| note.round() == round.number;
        let recording = Recording {
            plan: self.plan.clone(),
            clients,
            notes: notes.into_iter().filter(own).collect(),
            remains: BTreeMap::from([(round.number, remains)]),
            last: BTreeMap::new(),
            troubles: Vec::new(),
        };
        let judging = Instant::now();
        let verdict = tokio::task::block_in_place(|| judge_round(&recording, round.number));
        self.tell(round, &recording, &verdict, begin, judging);
        self.rounds_lived += 1;
        let is_kept = verdict.is_kept();
        self.verdict.join(verdict);
        if is_kept {
            Ok(())
        } else {
            Err(Trouble::Refused)
        }
    }

    fn tell(
        &self,
        round: &Round,
        recording: &Recording,
        verdict: &Verdict,
        begin: Instant,
        judging: Instant,
    ) {
        let changes = recording
            .operations(round.number)
            .filter(|(client, operation)| {
                client.role == Role::Writer
                    && operation.via == Via::Write
                    && Recording::answered(operation).is_some()
            });
        let all = stalls::measure(recording);
        let longest = all
            .iter()
            .map(|line| line.stalls.max_ms)
            .fold(0.0, f64::max);
        eprintln!(
            "round {:>3}/{} {:<8} {:>5.1} s, judged in {:>4.1} s: {:>5} changes, longest stall \
             {:>6.0} ms, {}",
            round.number,
            self.plan.rounds.len(),
            round.kind.to_string(),
            begin.elapsed().as_secs_f64(),
            judging.elapsed().as_secs_f64(),
            changes.count(),
            longest,
            if verdict.is_kept() { "kept" } else { "BROKEN" }
        );
        for finding in verdict.findings.iter().take(SHOWN_MAX) {
            eprintln!("!!! {finding}");
        }
    }

    /// Kills every node once more, and reads all rounds from what the disks hold.
    async fn look_back(&mut self) -> Result<(), Trouble> {
        for seat in 0..self.plan.nodes {
            self.cluster.kill(seat)?;
        }
        self.cluster.start_all()?;
        self.await_agreement(RECOVER_PATIENCE).await?;
        for (round, layout) in &self.layouts {
            let mut reader = Reader::strict(self.cluster.doors());
            write_json(&self.files.last(*round), &reader.tree(layout).await?)?;
        }
        Ok(())
    }
}

async fn end_work(
    working: &mut JoinSet<Result<Member, JournalError>>,
) -> Result<Vec<Member>, Trouble> {
    let mut members = Vec::new();
    let bound = PATIENCE + Duration::from_secs(10);
    let ended = tokio::time::timeout(bound, async {
        while let Some(ended) = working.join_next().await {
            match ended {
                Ok(member) => members.push(member?),
                Err(error) => {
                    return Err(Trouble::Fatal(RunError::Own(format!(
                        "a client failed: {error}"
                    ))));
                }
            }
        }
        Ok(())
    });
    match ended.await {
        Ok(ended) => ended?,
        Err(_) => return Err(Trouble::InTime("clients do not come to an end".to_owned())),
    }
    members.sort_by_key(Member::number);
    Ok(members)
}

async fn session(doors: &[Door]) -> Result<SessionId, Trouble> {
    open_session(doors.to_vec(), PATIENCE)
        .await
        .map_err(Trouble::InTime)
}

async fn library(doors: &[Door]) -> Result<Client, Trouble> {
    let own = |reason: String| Trouble::Fatal(RunError::Own(reason));
    let mut known: Vec<Address> = Vec::new();
    for door in doors {
        known.push(door.named().map_err(own)?);
    }
    let mut client_options = ClientOptions::new(known);
    client_options.tls = doors.first().and_then(Door::files);
    client_options.timeout = PATIENCE;
    match Client::connect(client_options).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(fail)) => Err(Trouble::InTime(fail.to_string())),
        Err(error) => Err(own(error.to_string())),
    }
}

/// Joins what was judged on the way with what only the whole run shows.
fn judged(files: &Files, lived: Lived) -> Result<Outcome, RunError> {
    let recording = Recording::read(&files.0)?;
    let mut verdict = lived.verdict;
    // A round that did not come to its end is judged by what was answered in it.
    for round in recording.rounds().into_iter().skip(lived.rounds as usize) {
        verdict.join(judge_round(&recording, round));
    }
    let mut of_run = Verdict::default();
    judge_run(&recording, &mut of_run);
    if lived.interrupted {
        of_run
            .findings
            .retain(|finding| finding.law != Law::Coverage);
    }
    verdict.join(of_run);
    Ok(Outcome {
        seed: recording.plan.seed,
        rounds: lived.rounds,
        interrupted: lived.interrupted,
        seconds: 0.0,
        verdict,
        stalls: stalls::measure(&recording),
    })
}

impl Outcome {
    /// The block at the end of a run.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "=== seed {}: {} rounds in {:.0} s\n",
            self.seed, self.rounds, self.seconds
        );
        for (what, count) in &self.verdict.counts {
            text += &format!("{count:>10} {what}\n");
        }
        text += "longest stall of each writer in each round\n";
        text += &stalls::table(&self.stalls);
        text += &self.findings();
        text += match (self.verdict.is_kept(), self.interrupted) {
            (true, false) => "VERDICT: every promise was kept\n",
            (true, true) => "VERDICT: interrupted; every promise was kept until then\n",
            (false, _) => "VERDICT: BROKEN\n",
        };
        text
    }

    /// The first findings of each law; `outcome.json` has all.
    fn findings(&self) -> String {
        let mut of_law: BTreeMap<Law, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.verdict.findings {
            of_law.entry(finding.law).or_default().push(finding);
        }
        let mut text = String::new();
        for (law, findings) in of_law {
            for finding in findings.iter().take(SHOWN_MAX) {
                text += &format!("!!! {finding}\n");
            }
            if findings.len() > SHOWN_MAX {
                text += &format!("!!! {law}: {} more\n", findings.len() - SHOWN_MAX);
            }
        }
        text
    }

    /// 0 kept, 1 wrong, 2 not in time, 3 died, 5 not covered, 130 interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let code = exit_code(&self.verdict);
        if code == 0 && self.interrupted {
            130
        } else {
            code
        }
    }
}

/// 0 kept, 1 wrong, 2 not in time, 3 died, 5 not covered; the gravest counts.
#[must_use]
pub fn exit_code(verdict: &Verdict) -> u8 {
    let has = |wanted: &dyn Fn(Law) -> bool| verdict.findings.iter().any(|it| wanted(it.law));
    if has(&|law| !matches!(law, Law::Died | Law::InTime | Law::Coverage)) {
        1
    } else if has(&|law| law == Law::Died) {
        3
    } else if has(&|law| law == Law::InTime) {
        2
    } else if has(&|law| law == Law::Coverage) {
        5
    } else {
        0
    }
}
