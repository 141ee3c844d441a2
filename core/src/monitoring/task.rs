//! One question of a tool on its way to its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::counted::Counted;
use super::{Process, cluster, listed};
use crate::chunks::{Address, Census};
use crate::exports::Exports;
use crate::id::{InodeId, SessionId};
use crate::moosefs::monitor::ask::{ChunkserverCommand, ChunkserverOrder, FromMonitor};
use crate::moosefs::monitor::{Came as Status, ToMonitor};
use crate::moosefs::status;
use crate::moosefs::version::Version;
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Op, Query, StorageClass};
use crate::native::admin::ChunkserverStatus;
use crate::native::inspect::{Inspect, Inspected, Overview, SessionSeen};
use crate::time::WallTime;

/// Nodes whose paths are asked for at once.
const PATHS_MAX: usize = 256;
/// Bytes of paths that are told at most.
const PATHS_BYTES_MAX: usize = 50_000_000;
/// Sessions that are told of at most: a packet of about 50 MB.
const LISTED_MAX: usize = 100_000;
/// A chunkserver that is taken away for maintenance is waited for until it is said to be back.
const UNTIL_SAID: WallTime = WallTime(u32::MAX);

/// What an answer depends on that is neither the node's nor the question's.
pub struct Scene<'a> {
    /// Microseconds since 1970.
    pub wall_us: u64,
    /// The exports.
    pub exports: &'a Exports,
    /// The cluster.
    pub metaid: u64,
    /// The process.
    pub process: &'a Process,
    /// Sessions that are connected here: version of the client, and connections. Needed when
    /// [`Task::is_of_sessions`] says so.
    pub connected: BTreeMap<SessionId, (Version, u8)>,
    /// What they asked.
    pub counted: &'a mut Counted,
    /// How long a session lasts that nobody speaks for, seconds.
    pub sustain_seconds: u32,
}

impl Scene<'_> {
    /// The time in whole seconds.
    #[must_use]
    pub fn now(&self) -> WallTime {
        WallTime(u32::try_from(self.wall_us / 1_000_000).unwrap_or(u32::MAX))
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node is to be looked at: [`Came::Inspected`].
    Inspect(Inspect),
    /// Its state is to be asked, as it is here: [`Came::Answer`].
    Ask(Query),
    /// A command is to be applied: [`Came::Outcome`].
    Do(Op),
    /// The answer.
    Tell(ToMonitor),
    /// There is no answer, for this reason: the connection is to be closed.
    Refuse(String),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// What is to be seen.
    Inspected(Inspected),
    /// What the state says.
    Answer(Result<Answer, FsError>),
    /// What the command came to.
    Outcome(Result<op::Reply, FsError>),
}

/// A question on its way.
#[derive(Debug)]
pub struct Task {
    asked: FromMonitor,
    overview: Option<Box<Overview>>,
    sessions: Vec<SessionSeen>,
    classes: Vec<(u8, StorageClass)>,
    servers: Vec<ChunkserverStatus>,
    /// Nodes whose paths are wanted, and those that are known, of the first ones.
    inodes: Vec<InodeId>,
    paths: Vec<Vec<Vec<u8>>>,
    paths_bytes: usize,
}

impl Task {
    /// A question that came, and its first step.
    #[must_use]
    pub fn begin(asked: FromMonitor, scene: &Scene<'_>) -> (Self, Step) {
        let mut task = Self {
            asked,
            overview: None,
            sessions: Vec::new(),
            classes: Vec::new(),
            servers: Vec::new(),
            inodes: Vec::new(),
            paths: Vec::new(),
            paths_bytes: 0,
        };
        let step = match &task.asked {
            FromMonitor::Paths(inodes) => {
                // One that is named again is told once.
                let named: BTreeSet<InodeId> = inodes.iter().copied().collect();
                task.inodes = named.into_iter().collect();
                task.more_paths()
            }
            asked => first(asked, scene),
        };
        (task, step)
    }

    /// The message id of the question.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.asked.id()
    }

    /// Whether sessions are to be listed, which needs those that are connected here.
    #[must_use]
    pub fn is_of_sessions(&self) -> bool {
        matches!(self.asked, FromMonitor::Sessions { .. })
    }

    /// What was asked for came; the next step.
    #[must_use]
    pub fn go_on(&mut self, scene: &mut Scene<'_>, came: Came) -> Step {
        match came {
            Came::Inspected(seen) => self.on_seen(scene, seen),
            Came::Answer(answer) => self.on_answer(answer),
            Came::Outcome(outcome) => {
                let result = outcome
                    .map(|_| ())
                    .map_err(crate::gateway::status::of_refusal);
                self.on_done(result)
            }
        }
    }

    fn on_done(&self, result: Result<(), status::Status>) -> Step {
        Step::Tell(match self.asked {
            FromMonitor::SessionCommand { .. } => ToMonitor::SessionCommand(Status(result)),
            _ => ToMonitor::ChunkserverCommand(Status(result)),
        })
    }

    fn on_seen(&mut self, scene: &mut Scene<'_>, seen: Inspected) -> Step {
        match seen {
            Inspected::Overview(seen) => match self.asked {
                FromMonitor::ChunkserverCommand(_) if seen.status.leads => {
                    Step::Inspect(Inspect::Chunkservers)
                }
                FromMonitor::ChunkserverCommand(_) => {
                    let reason = "whether a chunkserver is there is judged by the leader alone";
                    Step::Refuse(reason.to_owned())
                }
                _ => {
                    self.overview = Some(seen);
                    Step::Inspect(Inspect::Census)
                }
            },
            Inspected::Chunkservers(found) => self.on_chunkservers(scene, found),
            Inspected::Census(census) => self.on_census(scene, census.as_deref()),
            Inspected::Sessions(found) => self.on_sessions(scene, found),
            Inspected::Quotas(found) => {
                Step::Tell(ToMonitor::Quotas(listed::quotas(found, scene.now().0)))
            }
            Inspected::Paths(found) => self.on_paths(scene, found),
        }
    }

    fn on_chunkservers(&mut self, scene: &Scene<'_>, found: Vec<ChunkserverStatus>) -> Step {
        match &self.asked {
            FromMonitor::ChunkserverCommand(command) => self.command(*command, &found),
            FromMonitor::Classes => {
                self.servers = found;
                Step::Inspect(Inspect::Census)
            }
            _ => {
                let now = scene.now();
                let told = found.iter().map(|it| cluster::chunkserver(it, now));
                Step::Tell(ToMonitor::Chunkservers(told.collect()))
            }
        }
    }

    fn command(&self, command: ChunkserverCommand, found: &[ChunkserverStatus]) -> Step {
        let address = Address {
            ip: Ipv4Addr::from(command.ip),
            port: command.port,
        };
        let Some(server) = found.iter().find(|it| it.info.address == address) else {
            return self.on_done(Err(status::Status::NOTFOUND));
        };
        let csid = server.info.csid;
        let until = |until| Step::Do(Op::SetMaintenance { csid, until });
        match command.order.unwrap_or(ChunkserverOrder::Remove) {
            ChunkserverOrder::Remove if server.heard.is_some() => {
                self.on_done(Err(status::Status::ACTIVE))
            }
            ChunkserverOrder::Remove => Step::Do(Op::ForgetChunkserver { csid }),
            // No chunkserver is given up here for a while, so that none has to be taken back.
            ChunkserverOrder::BackToWork => self.on_done(Ok(())),
            ChunkserverOrder::MaintenanceOn => until(UNTIL_SAID),
            ChunkserverOrder::MaintenanceOff => until(WallTime(0)),
            ChunkserverOrder::Unknown(_) => self.on_done(Err(status::Status::EINVAL)),
        }
    }

    fn on_census(&mut self, scene: &Scene<'_>, census: Option<&Census>) -> Step {
        Step::Tell(match &self.asked {
            FromMonitor::FileLoop { form } => {
                ToMonitor::FileLoop(cluster::file_loop(census, form.is_some()))
            }
            FromMonitor::ChunkLoop => ToMonitor::ChunkLoop(cluster::chunk_loop(census)),
            FromMonitor::Matrices { which } => {
                ToMonitor::Matrices(cluster::matrices(census, *which))
            }
            FromMonitor::Missing { form } => {
                ToMonitor::Missing(cluster::missing(census, *form == Some(1)))
            }
            FromMonitor::Classes => {
                let found = std::mem::take(&mut self.classes);
                ToMonitor::Classes(listed::classes(found, &self.servers, census))
            }
            _ => match &self.overview {
                Some(seen) => ToMonitor::Info(Box::new(cluster::info(scene, seen, census))),
                None => return Step::Refuse("it did not ask for this".to_owned()),
            },
        })
    }

    fn on_sessions(&mut self, scene: &mut Scene<'_>, found: Vec<SessionSeen>) -> Step {
        if let FromMonitor::SessionCommand { session, .. } = self.asked {
            let seen = found.iter().find(|it| it.session == session);
            return match seen {
                None => self.on_done(Err(status::Status::NOTFOUND)),
                Some(seen) => match seen.disconnected {
                    None => self.on_done(Err(status::Status::ACTIVE)),
                    // Only if nobody has come back since, whatever is known here.
                    Some(since) => Step::Do(Op::ExpireSession { session, since }),
                },
            };
        }
        let more = !found.is_empty();
        self.sessions.extend(found);
        if more
            && self.sessions.len() < LISTED_MAX
            && let Some(last) = self.sessions.last()
        {
            let after = last.session;
            return Step::Inspect(Inspect::Sessions { after });
        }
        let roots: BTreeSet<InodeId> = self.sessions.iter().map(|it| it.params.root).collect();
        self.inodes = roots.into_iter().filter(|it| it.0 != 0).collect();
        match self.inodes.is_empty() {
            true => self.tell_sessions(scene),
            false => self.more_paths(),
        }
    }

    /// Asks for the paths of the next nodes: a portion at a time, so that nothing else waits long.
    fn more_paths(&self) -> Step {
        let next = self.inodes.iter().skip(self.paths.len());
        Step::Inspect(Inspect::Paths(next.take(PATHS_MAX).copied().collect()))
    }

    fn on_paths(&mut self, scene: &mut Scene<'_>, found: Vec<Vec<Vec<u8>>>) -> Step {
        let bytes: usize = found.iter().flatten().map(|path| path.len() + 4).sum();
        self.paths_bytes += bytes;
        if self.paths_bytes > PATHS_BYTES_MAX {
            return Step::Refuse(format!("the paths have more than {PATHS_BYTES_MAX} bytes"));
        }
        let is_last = found.is_empty();
        self.paths.extend(found);
        if !is_last && self.paths.len() < self.inodes.len() {
            return self.more_paths();
        }
        match &self.asked {
            FromMonitor::Paths(_) => {
                let found = std::mem::take(&mut self.paths);
                Step::Tell(ToMonitor::Paths(listed::paths(&self.inodes, found)))
            }
            _ => self.tell_sessions(scene),
        }
    }

    fn tell_sessions(&mut self, scene: &mut Scene<'_>) -> Step {
        let FromMonitor::Sessions { mode } = self.asked else {
            return Step::Refuse("it did not ask for sessions".to_owned());
        };
        let first = |paths: Vec<Vec<u8>>| paths.into_iter().next().unwrap_or_default();
        let found = std::mem::take(&mut self.paths);
        let roots = self
            .inodes
            .iter()
            .copied()
            .zip(found.into_iter().map(first));
        let roots: BTreeMap<InodeId, Vec<u8>> = roots.collect();
        let seen = std::mem::take(&mut self.sessions);
        let told = listed::sessions(scene, seen, &roots, mode.unwrap_or(0));
        Step::Tell(ToMonitor::Sessions(told))
    }

    fn on_answer(&mut self, answer: Result<Answer, FsError>) -> Step {
        match (&self.asked, answer) {
            (FromMonitor::OpenFiles { session, .. }, answer) => {
                let found = match answer {
                    Ok(Answer::OpenFiles(found)) => found,
                    // There is no such session.
                    _ => Vec::new(),
                };
                Step::Tell(ToMonitor::OpenFiles(listed::open_files(*session, found)))
            }
            (FromMonitor::Locks { inode }, answer) => {
                let held = match answer {
                    Ok(Answer::Locks(held)) => held,
                    // There is no such file.
                    _ => Vec::new(),
                };
                Step::Tell(ToMonitor::Locks(listed::locks(*inode, held)))
            }
            (FromMonitor::Classes, Ok(Answer::Classes(found))) => {
                self.classes = found;
                Step::Inspect(Inspect::Chunkservers)
            }
            (asked, answer) => Step::Refuse(format!("{asked:?} was answered {answer:?}")),
        }
    }
}

fn first(asked: &FromMonitor, scene: &Scene<'_>) -> Step {
    match asked {
        FromMonitor::Chunkservers => Step::Inspect(Inspect::Chunkservers),
        FromMonitor::ChartData { .. } => Step::Refuse("no charts are kept here".to_owned()),
        FromMonitor::Sessions { .. } => Step::Inspect(Inspect::Sessions {
            after: SessionId(0),
        }),
        FromMonitor::SessionCommand { order, session } => match (order, session.0.checked_sub(1)) {
            (0, Some(before)) => Step::Inspect(Inspect::Sessions {
                after: SessionId(before),
            }),
            (0, None) => Step::Tell(ToMonitor::SessionCommand(Status(Err(
                status::Status::NOTFOUND,
            )))),
            _ => Step::Tell(ToMonitor::SessionCommand(Status(Err(
                status::Status::EINVAL,
            )))),
        },
        FromMonitor::Info | FromMonitor::ChunkserverCommand(_) => Step::Inspect(Inspect::Overview),
        FromMonitor::FileLoop { .. }
        | FromMonitor::ChunkLoop
        | FromMonitor::Matrices { .. }
        | FromMonitor::Missing { .. } => Step::Inspect(Inspect::Census),
        FromMonitor::Quotas => Step::Inspect(Inspect::Quotas),
        FromMonitor::Exports { mode } => {
            let mode = mode.unwrap_or(0);
            Step::Tell(ToMonitor::Exports(listed::exports(
                scene.exports.records(),
                mode,
            )))
        }
        FromMonitor::Metaloggers => Step::Tell(ToMonitor::Metaloggers(Vec::new())),
        FromMonitor::Memory => Step::Tell(ToMonitor::Memory(cluster::memory())),
        FromMonitor::Module { .. } => Step::Tell(ToMonitor::Module(cluster::module(scene))),
        FromMonitor::OpenFiles { session, .. } => {
            let session = *session;
            Step::Ask(Query::ListOpenFiles { session })
        }
        FromMonitor::Locks { inode } => Step::Ask(Query::ListLocks { inode: *inode }),
        FromMonitor::Paths(_) => unreachable!("paths are asked for in portions"),
        FromMonitor::Classes => Step::Ask(Query::ListClasses),
    }
}
