//! One registration on its way to its answer: a new session, or one that is come back to.
//!
//! All of it is in the replicated state, so any node can answer. What cannot be known now is not
//! answered at all: any status but two makes a mount fail all its requests at once.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::exports::password::{CHALLENGE_BYTES, Proof};
use crate::exports::{Asker, Exports, Record, Refusal};
use crate::gateway::{Client, status};
use crate::id::{InodeId, SessionId};
use crate::moosefs::client::register::{Back, NewSession, Reconnect, Registered, Tools};
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::error::FsError;
use crate::namespace::op::{
    Answer, Caller, LastRequest, NodeKind, Op, Query, Reply, SessionParams,
};

/// What a registration depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// Who may mount what.
    pub exports: &'a Exports,
    /// The cluster.
    pub metaid: u64,
    /// Where the client is.
    pub ip: Ipv4Addr,
    /// What the client was given to prove its password with; zeros when it did not ask.
    pub challenge: [u8; CHALLENGE_BYTES],
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A question is to be answered.
    Ask(Query),
    /// A session is to be opened, or given other values.
    Do(Op),
    /// The client is told that there is nothing for it, and why.
    Refuse(Registered, String),
    /// The client is registered.
    Accept(Box<Accepted>),
}

/// A client that is registered.
#[derive(Debug)]
pub(super) struct Accepted {
    pub client: Client,
    /// What it is told.
    pub reply: Registered,
    /// What its threads did last.
    pub lasts: Vec<LastRequest>,
    /// Files that it has open.
    pub open: Vec<InodeId>,
}

/// What came of a step.
#[derive(Debug)]
pub(super) enum Came {
    Answer(Result<Answer, FsError>),
    Outcome(Result<Reply, FsError>),
}

/// What kind of registration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Session,
    Meta,
    Reconnect,
    Tools,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// The folder that is to be the root is looked for: what is left of its path.
    Path(VecDeque<Vec<u8>>),
    /// Whether the session is there.
    Session,
    /// A session is opened.
    Open,
    /// The session gets other values.
    Update,
    /// What its threads did last.
    Lasts,
    /// Which files it has open.
    Files(Vec<LastRequest>),
}

/// A registration on its way.
#[derive(Debug)]
pub(super) struct Registration {
    kind: Kind,
    stage: Stage,
    version: Version,
    session: Option<SessionId>,
    /// The record that lets it in, for a session that is new or gets new values.
    record: Option<Record>,
    root: InodeId,
    info: Vec<u8>,
    params: Option<SessionParams>,
}

impl Registration {
    /// A mount, or a mount of the trash, wants a session.
    pub fn of_session(new: &NewSession, scene: Scene<'_>) -> (Self, Next) {
        let proof = new.passcode.map(|passcode| Proof {
            challenge: scene.challenge,
            passcode,
        });
        let asker = Asker {
            ip: scene.ip,
            version: new.client,
            path: new.path.as_deref(),
            proof,
        };
        let kind = match new.path {
            Some(_) => Kind::Session,
            None => Kind::Meta,
        };
        // A session of another cluster is none.
        let session = new.session.as_ref().filter(|again| {
            let ours = again.metaid.is_none_or(|metaid| metaid == scene.metaid);
            ours && again.session != SessionId(0)
        });
        let parts = new.path.iter().flat_map(|path| path.split(|b| *b == b'/'));
        let parts = parts.filter(|part| !part.is_empty()).map(<[u8]>::to_vec);
        let mut registration = Self {
            kind,
            stage: Stage::Path(parts.collect()),
            version: new.client,
            session: session.map(|again| again.session),
            record: None,
            root: InodeId::ROOT,
            info: new.info.clone(),
            params: None,
        };
        let next = match scene.exports.choose(&asker) {
            Ok(record) => {
                registration.record = Some(record.clone());
                registration.walk(scene)
            }
            Err(refusal) => {
                let status = match refusal {
                    Refusal::NoExport => Status::EACCES,
                    Refusal::NoPassword => Status::NOPASSWORD,
                    Refusal::BadPassword => Status::BADPASSWORD,
                };
                registration.refuse(status, &refusal.to_string())
            }
        };
        (registration, next)
    }

    /// A mount comes back to its session.
    pub fn of_reconnect(again: &Reconnect, scene: Scene<'_>) -> (Self, Next) {
        let mut registration = Self::known(Kind::Reconnect, again.session, again.client);
        let next = match again.metaid {
            Some(metaid) if metaid != scene.metaid => {
                registration.refuse(Status::BADSESSIONID, "its session is of another cluster")
            }
            _ => registration.ask_session(),
        };
        (registration, next)
    }

    /// A tool speaks in the session of a mount.
    pub fn of_tools(tools: &Tools) -> (Self, Next) {
        let mut registration = Self::known(Kind::Tools, tools.session, tools.client);
        let next = registration.ask_session();
        (registration, next)
    }

    fn known(kind: Kind, session: SessionId, version: Version) -> Self {
        Self {
            kind,
            stage: Stage::Session,
            version,
            session: Some(session),
            record: None,
            root: InodeId::ROOT,
            info: Vec::new(),
            params: None,
        }
    }

    /// Version of the client.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was asked for came.
    pub fn go_on(&mut self, scene: Scene<'_>, came: Came) -> Next {
        let stage = std::mem::replace(&mut self.stage, Stage::Session);
        match (stage, came) {
            (Stage::Path(left), Came::Answer(answer)) => self.on_folder(left, answer, scene),
            (Stage::Session, Came::Answer(answer)) => self.on_session(answer, scene),
            (Stage::Open, Came::Outcome(Ok(Reply::Session(session)))) => {
                self.session = Some(session);
                self.accept(Vec::new(), Vec::new(), scene)
            }
            (Stage::Update, Came::Outcome(Ok(Reply::Done))) => self.ask_lasts(),
            (Stage::Lasts, Came::Answer(Ok(Answer::LastRequests(lasts)))) => {
                let session = self.session.expect("it is there");
                self.stage = Stage::Files(lasts);
                Next::Ask(Query::ListOpenFiles { session })
            }
            (Stage::Files(lasts), Came::Answer(Ok(Answer::OpenFiles(files)))) => {
                let files = files.into_iter().map(|(_, inode)| inode).collect();
                self.accept(lasts, files, scene)
            }
            // The session ended meanwhile.
            (Stage::Update, Came::Outcome(Err(FsError::BadSession))) => self.open(),
            (Stage::Lasts | Stage::Files(_), Came::Answer(Err(_))) => {
                self.refuse(self.gone(), "its session has ended")
            }
            (_, Came::Outcome(Err(error))) => {
                self.refuse(status::of_refusal(error), &error.to_string())
            }
            (stage, came) => unreachable!("{came:?} is no answer at {stage:?}"),
        }
    }

    /// One more folder on the way to the root.
    fn walk(&mut self, scene: Scene<'_>) -> Next {
        let Stage::Path(left) = &mut self.stage else {
            unreachable!("it is on its way");
        };
        if let Some(name) = left.pop_front() {
            let caller = Caller {
                session: SessionId(0),
                uid: 0,
                gids: vec![0],
            };
            let parent = self.root;
            return Next::Ask(Query::Lookup {
                caller,
                parent,
                name,
            });
        }
        let record = self.record.as_ref().expect("it was let in");
        let info = std::mem::take(&mut self.info);
        let checksum = scene.exports.checksum();
        self.params = Some(record.session_params(self.root, checksum, scene.ip, info));
        match self.session {
            Some(_) => self.ask_session(),
            None => self.open(),
        }
    }

    fn on_folder(
        &mut self,
        left: VecDeque<Vec<u8>>,
        answer: Result<Answer, FsError>,
        scene: Scene<'_>,
    ) -> Next {
        match answer {
            Ok(Answer::Looked { inode, attr, .. }) if attr.kind == NodeKind::Directory => {
                self.root = inode;
                self.stage = Stage::Path(left);
                self.walk(scene)
            }
            Ok(Answer::Looked { .. }) => self.refuse(Status::ENOTDIR, "it is no directory"),
            Ok(other) => unreachable!("{other:?} is no answer to a lookup"),
            Err(error) => {
                let status = match status::of_refusal(error) {
                    // What is not there may be there the next time.
                    Status::ENOENT_NOCACHE => Status::ENOENT,
                    status => status,
                };
                self.refuse(status, "there is no such directory")
            }
        }
    }

    fn ask_session(&mut self) -> Next {
        let session = self.session.expect("it has a number");
        self.stage = Stage::Session;
        Next::Ask(Query::GetSession { session })
    }

    fn on_session(&mut self, answer: Result<Answer, FsError>, scene: Scene<'_>) -> Next {
        let found = match answer {
            Ok(Answer::Session { params, .. }) => Some(params),
            Ok(other) => unreachable!("{other:?} is no session"),
            Err(_) => None,
        };
        // Native clients have sessions, too, which are no mount's.
        let found = found.filter(|params| params.peer_ip != 0);
        match (self.kind, found) {
            (Kind::Session | Kind::Meta, Some(_)) => {
                let params = self.params.clone().expect("it was let in");
                let session = self.session.expect("it is there");
                self.stage = Stage::Update;
                Next::Do(Op::UpdateSession { session, params })
            }
            (Kind::Session | Kind::Meta, None) => self.open(),
            (Kind::Reconnect | Kind::Tools, None) => {
                self.refuse(self.gone(), "it has no such session")
            }
            (Kind::Reconnect, Some(params)) => {
                let elsewhere = params.peer_ip != u32::from(scene.ip);
                if params.exports_checksum != scene.exports.checksum() {
                    self.refuse(
                        Status::EPERM,
                        "the exports have changed: it registers again",
                    )
                } else if elsewhere && !params.flags.dynamic_ip {
                    self.refuse(Status::EPERM, "it comes from another address")
                } else {
                    self.params = Some(params);
                    self.ask_lasts()
                }
            }
            (Kind::Tools, Some(params)) => {
                self.params = Some(params);
                self.accept(Vec::new(), Vec::new(), scene)
            }
        }
    }

    fn open(&mut self) -> Next {
        self.stage = Stage::Open;
        let params = self.params.clone().expect("it was let in");
        Next::Do(Op::OpenSession { params })
    }

    fn ask_lasts(&mut self) -> Next {
        let session = self.session.expect("it is there");
        self.stage = Stage::Lasts;
        Next::Ask(Query::LastRequests { session })
    }

    fn accept(&mut self, lasts: Vec<LastRequest>, open: Vec<InodeId>, scene: Scene<'_>) -> Next {
        let client = Client {
            session: self.session.expect("it is there"),
            params: self.params.take().expect("it was let in"),
            version: self.version,
            tool: self.kind == Kind::Tools,
        };
        let reply = match self.kind {
            Kind::Session => Registered::Session(client.values(scene.metaid)),
            Kind::Meta => Registered::Meta(client.meta_values(scene.metaid)),
            Kind::Reconnect => back(Ok(())),
            Kind::Tools => Registered::Status(Ok(())),
        };
        Next::Accept(Box::new(Accepted {
            client,
            reply,
            lasts,
            open,
        }))
    }

    /// The session is gone. Who comes back registers anew at `EPERM`, while its requests wait; any
    /// other status would fail them all.
    fn gone(&self) -> Status {
        match self.kind {
            Kind::Reconnect => Status::EPERM,
            Kind::Session | Kind::Meta | Kind::Tools => Status::BADSESSIONID,
        }
    }

    fn refuse(&self, why: Status, words: &str) -> Next {
        let reply = match self.kind {
            Kind::Reconnect => back(Err(why)),
            Kind::Session | Kind::Meta | Kind::Tools => Registered::Status(Err(why)),
        };
        Next::Refuse(reply, format!("{why:?}: {words}"))
    }
}

fn back(result: Result<(), Status>) -> Registered {
    let master = Version::OURS;
    Registered::Reconnected(Back { master, result })
}
