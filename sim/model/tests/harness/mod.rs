//! A run: requests made against the model, given to a subject, and compared one by one; and what
//! occurred in it.

use std::collections::BTreeMap;

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    AclKind, Answer, Caller, Command, NodeKind, Outcome, Query, Whereabouts,
};
use mfsha_core::time::WallTime;
use mfsha_model::generate::{COMMANDS, Generator, QUERIES, Request, Step};
use mfsha_model::{Mismatch, Model};

/// When a refusal has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Within a few runs.
    Soon,
    /// Within a few runs, where the room ends soon.
    WhenFull,
    /// After more requests than a run has: there is a test of its own.
    Elsewhere,
    /// Never: it is for others to say. Copies of chunks and servers are not the namespace's
    /// business, and an interrupted wait is told by a notice.
    Never,
}

/// One list for both directions: what is due is also demanded. A refusal that is new has to be put
/// somewhere.
macro_rules! refusals {
    ($($when:ident: $($error:ident)+;)+) => {
        /// When a refusal has to come.
        pub fn due(error: FsError) -> Due {
            match error {
                $($(FsError::$error)|+ => Due::$when,)+
            }
        }

        /// Every refusal.
        const ALL: &[FsError] = &[$($(FsError::$error,)+)+];
    };
}

refusals! {
    WhenFull: NoSpace;
    Elsewhere: ClassLimit;
    Never: ChunkLost Interrupted;
    Soon:
        Perm NotDir NoEnt Access Exist Invalid NotEmpty IndexTooBig Locked NoChunk ChunkBusy
        ReadOnly Quota BadSession NoAttr NotSupported Range NotOpened Again NoEntNoCache NotAdmin
        ClassExists NoClass ClassInUse CantCreatePath NotFound Active Stale;
}

/// Something that says it is the namespace.
pub trait Subject {
    /// Carries out a command.
    fn apply(&mut self, command: &Command) -> Outcome;
    /// Answers a query.
    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError>;
}

impl Subject for Model {
    fn apply(&mut self, command: &Command) -> Outcome {
        self.carry_out(command)
    }

    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        Model::query(self, now, query)
    }
}

/// How often each operation was carried out and refused, and each refusal given.
#[derive(Default)]
pub struct Seen {
    done: BTreeMap<String, u64>,
    refused: BTreeMap<(String, FsError), u64>,
    repeated: u64,
}

impl Seen {
    fn count<T>(&mut self, what: String, result: &Result<T, FsError>) {
        match result {
            Ok(_) => *self.done.entry(what).or_default() += 1,
            Err(error) => *self.refused.entry((what, *error)).or_default() += 1,
        }
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: Seen) {
        for (what, count) in other.done {
            *self.done.entry(what).or_default() += count;
        }
        for (what, count) in other.refused {
            *self.refused.entry(what).or_default() += count;
        }
        self.repeated += other.repeated;
    }

    /// Names of operations that were never carried out.
    pub fn operations_missing(&self) -> Vec<String> {
        let commands = COMMANDS.iter().map(|(kind, _)| format!("{kind:?}"));
        let queries = QUERIES.iter().map(|(kind, _)| format!("{kind:?}"));
        commands
            .chain(queries)
            .filter(|name| !self.done.contains_key(name))
            .collect()
    }

    /// Refusals that have to come soon and were never given.
    pub fn refusals_missing(&self) -> Vec<FsError> {
        let soon = ALL.iter().filter(|error| due(**error) == Due::Soon);
        soon.filter(|error| !self.refused.keys().any(|(_, seen)| seen == *error))
            .copied()
            .collect()
    }

    /// Refusals that nobody should give.
    pub fn refusals_forbidden(&self) -> Vec<FsError> {
        let seen = self.refused.keys().map(|(_, error)| *error);
        seen.filter(|error| due(*error) == Due::Never).collect()
    }

    /// Names of operations that were refused with this.
    pub fn refused_with(&self, error: FsError) -> Vec<&str> {
        let seen = self.refused.keys().filter(|(_, seen)| *seen == error);
        seen.map(|(what, _)| what.as_str()).collect()
    }

    /// Whether a request was ever repeated.
    pub fn has_repeats(&self) -> bool {
        self.repeated > 0
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        for (what, count) in &self.done {
            let refusals: Vec<String> = self
                .refused
                .iter()
                .filter(|((of, _), _)| of == what)
                .map(|((_, error), count)| format!("{error:?} {count}"))
                .collect();
            lines.push(format!("{what} {count}: {}", refusals.join(", ")));
        }
        lines.push(format!("repeated: {}", self.repeated));
        lines.join("\n")
    }
}

/// Name of an operation or query: what stands before its fields.
fn name_of(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    text[..end].to_owned()
}

/// One run.
pub struct Run<S> {
    pub model: Model,
    pub subject: S,
    pub seen: Seen,
    generator: Generator,
}

impl<S: Subject> Run<S> {
    pub fn new(subject: S) -> Self {
        Self::with(subject, Model::new())
    }

    pub fn with(subject: S, model: Model) -> Self {
        Self {
            model,
            subject,
            seen: Seen::default(),
            generator: Generator::new(),
        }
    }

    /// Takes one step and compares.
    pub fn step(&mut self, step: Step) -> Result<(), Mismatch> {
        match self.generator.realize(&self.model, step) {
            Request::Command(command) => self.command(&command),
            Request::Query(now, query) => self.query(now, &query),
        }
    }

    /// Gives a command to both and compares.
    pub fn command(&mut self, command: &Command) -> Result<(), Mismatch> {
        let observed = self.subject.apply(command);
        if observed.repeated {
            self.seen.repeated += 1;
        } else {
            self.seen.count(name_of(&command.op), &observed.result);
        }
        self.model.apply(command, &observed)
    }

    /// Asks both and compares.
    pub fn query(&mut self, now: WallTime, query: &Query) -> Result<(), Mismatch> {
        let observed = self.subject.query(now, query);
        let expected = self.model.query(now, query);
        if observed != expected {
            let rule = "the answer is that of the semantics";
            return Err(Mismatch::new(rule, &expected, &observed, query));
        }
        self.seen.count(name_of(query), &observed);
        Ok(())
    }

    /// Compares the whole states, as far as queries can show them: every node by number, every
    /// directory, and everything else there is.
    pub fn compare_states(&mut self) -> Result<(), Mismatch> {
        let cluster = SessionId(0);
        let caller = Caller {
            session: cluster,
            uid: 0,
            gids: vec![0],
        };
        let now = WallTime(0);
        let mut queries = vec![
            Query::StatFs {
                caller: caller.clone(),
                total: 1 << 50,
                free: 1 << 50,
            },
            Query::ListQuotas { session: cluster },
            Query::ListTrash {
                session: cluster,
                bucket: None,
            },
            Query::ListSustained { session: cluster },
            Query::ListClasses,
            Query::ListOpenFiles { session: cluster },
            Query::ListLocks { inode: InodeId(0) },
            Query::ListChunkservers,
        ];
        for (session, _) in self.model.sessions() {
            queries.push(Query::GetSession { session });
            queries.push(Query::LastRequests { session });
        }
        let inodes: Vec<InodeId> = self.model.inodes().collect();
        for inode in inodes {
            queries.extend(about_node(&self.model, &caller, inode));
        }
        let mut seen = std::mem::take(&mut self.seen);
        let result = queries.iter().try_for_each(|query| self.query(now, query));
        std::mem::swap(&mut self.seen, &mut seen);
        result
    }
}

/// Everything that can be asked about a node.
fn about_node(model: &Model, caller: &Caller, inode: InodeId) -> Vec<Query> {
    let caller = || caller.clone();
    let mut queries = vec![
        Query::GetAttr {
            caller: caller(),
            inode,
            opened: false,
        },
        Query::ListXattr {
            caller: caller(),
            inode,
            opened: false,
        },
        Query::Parents {
            caller: caller(),
            inode,
        },
        Query::Paths {
            caller: caller(),
            inode,
        },
        Query::GetEattr {
            caller: caller(),
            inode,
            recursive: false,
        },
        Query::GetTrashTime {
            caller: caller(),
            inode,
            recursive: false,
        },
        Query::GetSclass {
            caller: caller(),
            inode,
            recursive: false,
        },
    ];
    for kind in [AclKind::Access, AclKind::Default] {
        queries.push(Query::GetAcl {
            caller: caller(),
            inode,
            kind,
        });
    }
    if let Ok(Answer::Bytes(list)) = model.query(
        WallTime(0),
        &Query::ListXattr {
            caller: caller(),
            inode,
            opened: false,
        },
    ) {
        for name in list
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            queries.push(Query::GetXattr {
                caller: caller(),
                inode,
                opened: false,
                name: name.to_vec(),
            });
        }
    }
    match model.kind(inode) {
        Some((NodeKind::Directory, _)) => {
            queries.push(Query::DirStats {
                caller: caller(),
                inode,
            });
            queries.push(Query::GetQuota {
                caller: caller(),
                inode,
            });
            queries.push(Query::ReadDir {
                caller: caller(),
                inode,
                attrs: true,
                after: Vec::new(),
                max: u32::MAX,
            });
        }
        Some((NodeKind::File, whereabouts)) => {
            queries.push(Query::ListChunks {
                caller: caller(),
                inode,
                from: 0,
                max: u32::MAX,
            });
            if whereabouts == Whereabouts::Trash {
                let session = caller().session;
                queries.push(Query::TrashPath { session, inode });
            }
        }
        Some((NodeKind::Symlink, _)) => queries.push(Query::ReadLink {
            caller: caller(),
            inode,
        }),
        _ => {}
    }
    queries
}
