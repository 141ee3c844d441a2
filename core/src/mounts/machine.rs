//! The machine: who is connected, what each waits for, and who is told what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::caches::Caches;
use super::doubt::{Doubt, Judged};
use super::lanes::{self, Again, Lanes};
use super::monitors::Monitored;
use super::open_files::{OpenFiles, Turn, opens};
use super::registration::{self, Accepted, Next, Registration, Scene};
use super::told::{TOLD_FOR, Told};
use super::waits::Waits;
use super::{Effect, Event, Input, Options};
use crate::chunks::{ChunkAnswer, ChunkWish, Refusal};
use crate::exports::Exports;
use crate::exports::password::CHALLENGE_BYTES;
use crate::gateway::{self, Client, LockWait, Step, Task, World};
use crate::id::{InodeId, Lane, LogIndex, RequestSeq, SessionId};
use crate::machine::{Machine, Outbox};
use crate::monitoring::{Counted, Process};
use crate::moosefs::client::register::{Register, Registered};
use crate::moosefs::client::{Call, FromClient, MsgId, Reply, ToClient};
use crate::moosefs::connection::{self, RequestNo, Standing};
use crate::moosefs::connections::Connections;
use crate::moosefs::fields::Form;
use crate::moosefs::frame::Packet;
use crate::moosefs::monitor::FromMonitor;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Notice, Op, Query, RequestId};
use crate::native::request::{
    CallId, ClientId, Consistency, NodeError, Request, RequestBody, Response, ResponseBody,
};
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, WallTime};

/// A number that two nodes chose at once is chosen again so often.
const RENAMES_MAX: u8 = 8;
/// Why an old connection is closed.
const SUPERSEDED: &str = "its mount has a newer connection";
/// Why who waits for a lock is disconnected.
const NEWS_MISSED: &str = "news of its locks may have been missed";

/// How far a client has come.
enum Stage {
    /// It has said nothing yet, or has asked for a challenge.
    New,
    /// Its registration is on its way.
    Registering {
        request: RequestNo,
        registration: Box<Registration>,
        /// When its patience ends.
        until: Instant,
    },
    /// It has a session.
    Registered(Box<Member>),
}

/// A client with a session.
pub(super) struct Member {
    pub(super) client: Client,
    lanes: Lanes,
    files: OpenFiles<(Box<Pending>, Op)>,
    /// Files that it may open by what it was told with their name.
    told: Told,
    /// Until then it may do so by what it was told elsewhere, or before news were missed.
    doubt_until: Instant,
}

/// A list of open files is not taken.
fn too_many_open(session: SessionId, count: usize) -> String {
    format!(
        "session {session} has {count} files open, more than are kept: those that it closes stay \
         open until there are fewer"
    )
}

/// One connection.
struct Mount {
    ip: Ipv4Addr,
    challenge: [u8; CHALLENGE_BYTES],
    stage: Stage,
    /// What it waits for.
    calls: BTreeSet<CallId>,
}

/// A client's request on its way.
pub(super) struct Pending {
    request: RequestNo,
    id: MsgId,
    form: Form,
    /// Tells the packet from others.
    print: u64,
    task: Task,
    /// A state that is as new as it has to be, once one is known: what is asked from there on needs
    /// no word of the leader.
    seen: Option<LogIndex>,
}

/// What an answer of the node is for.
pub(super) enum Purpose {
    /// A registration.
    Registration,
    /// A question of a request.
    Question(Box<Pending>),
    /// The command of a request.
    Command {
        pending: Box<Pending>,
        name: RequestId,
        op: Box<Op>,
        renames: u8,
        /// It seems to repeat one.
        again: Option<Again>,
    },
    /// Whether a command only seemed to repeat an earlier one, whose outcome is kept.
    Doubt {
        pending: Box<Pending>,
        name: RequestId,
        op: Box<Op>,
        doubt: Doubt,
        outcome: Box<Result<ResponseBody, NodeError>>,
    },
    /// The number of a command was another's: what the state knows.
    Rename {
        pending: Box<Pending>,
        name: RequestId,
        op: Box<Op>,
        renames: u8,
    },
    /// The list of open files.
    OpenFiles { name: RequestId, op: Box<Op> },
    /// The number of such a list was another's.
    RenameOpenFiles { name: RequestId, op: Box<Op> },
    /// A session is spoken for.
    Keep,
    /// The end of a session.
    Close { request: RequestNo },
    /// A question of a tool of operators.
    Monitor(Box<Monitored>),
    /// Nobody asks what comes of it.
    Nothing,
}

/// Who waits for a lock.
type Waiter = (ClientId, Box<Pending>);

/// See the module's documentation.
pub struct Mounts {
    pub(super) options: Options,
    pub(super) exports: Exports,
    rng: Rng,
    connections: Connections<ClientId>,
    /// One entry for each connection.
    mounts: BTreeMap<ClientId, Mount>,
    calls: BTreeMap<CallId, (ClientId, Purpose)>,
    next_call: u64,
    /// News of what was asked up to this call may have been missed.
    replaced_at: CallId,
    waits: Waits<Waiter>,
    /// Sessions that were opened here.
    #[cfg(feature = "planted-bugs")]
    opened: BTreeSet<SessionId>,
    /// What was told of where chunks are.
    #[cfg(feature = "planted-bugs")]
    told_before: BTreeMap<(InodeId, u32), Reply>,
    caches: Caches,
    /// Connections of each session.
    pub(super) sessions: BTreeMap<SessionId, BTreeSet<ClientId>>,
    /// One entry for each registration on its way.
    registering: BTreeSet<(Instant, ClientId)>,
    keep_at: Option<Instant>,
    /// Bytes on chunkservers, and those of them that are free.
    space: (u64, u64),
    pub(super) process: Process,
    pub(super) counted: Counted,
    now: Instant,
    pub(super) wall_us: u64,
}

impl Mounts {
    /// A face without connections. The seed makes challenges for passwords: nobody may know it.
    #[must_use]
    pub fn new(options: Options, exports: Exports, seed: &Seed) -> Self {
        Self {
            options,
            exports,
            rng: seed.child("challenges").rng(),
            connections: Connections::default(),
            mounts: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            replaced_at: CallId(0),
            waits: Waits::default(),
            #[cfg(feature = "planted-bugs")]
            opened: BTreeSet::new(),
            #[cfg(feature = "planted-bugs")]
            told_before: BTreeMap::new(),
            caches: Caches::new(TOLD_FOR),
            sessions: BTreeMap::new(),
            registering: BTreeSet::new(),
            keep_at: None,
            space: (0, 0),
            process: Process::default(),
            counted: Counted::default(),
            now: Instant::ZERO,
            wall_us: 0,
        }
    }

    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mounts.len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// Sessions that have a connection here.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn wall(&self) -> WallTime {
        WallTime(u32::try_from(self.wall_us / 1_000_000).unwrap_or(u32::MAX))
    }

    fn world(&self) -> World<'_> {
        World {
            now: self.wall(),
            total: self.space.0,
            free: self.space.1,
            options: &self.options.settings,
        }
    }

    fn on_event(&mut self, event: Event, out: &mut Outbox<Effect>) {
        match event {
            Event::Tick => {}
            Event::Accepted { client, ip } => self.on_accepted(client, ip, out),
            Event::Connection { client, event } => self.connections.tell(client, event),
            Event::Answered { client, response } => self.on_answered(client, response, out),
            Event::News { index, by, notices } => self.on_news(index, by, &notices),
            Event::StateReplaced => self.on_state_replaced(),
            Event::CopiesMoved => self.on_copies_moved(),
            Event::Space { total, free } => self.space = (total, free),
            Event::Exports(exports) => self.on_exports(exports),
            Event::Process(process) => self.process = process,
        }
    }

    /// Whether who comes back has a session that is known here: it always is, unless a mistake is
    /// made on purpose.
    #[cfg(feature = "planted-bugs")]
    fn knows_session_of(&self, register: &Register) -> bool {
        match register {
            Register::Reconnect(again) if self.options.bug == Some(Bug::SessionOfOneNode) => {
                self.opened.contains(&again.session)
            }
            _ => true,
        }
    }

    fn on_accepted(&mut self, client: ClientId, ip: Ipv4Addr, out: &mut Outbox<Effect>) {
        if self.mounts.len() >= self.options.connections_max {
            let most = self.options.connections_max;
            let reason = connection::Closed::Dropped(format!("{most} are connected already"));
            let effect = connection::Effect::Close { reason };
            out.push(Effect::Connection { client, effect });
            return;
        }
        let mount = Mount {
            ip,
            challenge: [0; CHALLENGE_BYTES],
            stage: Stage::New,
            calls: BTreeSet::new(),
        };
        let options = self.options.connection.clone();
        self.connections.open(client, options, self.now);
        self.mounts.insert(client, mount);
    }

    /// Lets connections do what they have to, until nothing is left.
    fn run_connections(&mut self, out: &mut Outbox<Effect>) {
        self.connections.wake(self.now);
        while let Some((client, effect)) = self.connections.next(self.now) {
            match effect {
                connection::Effect::Packet { request, packet } => {
                    self.on_packet(client, request, &packet, out);
                }
                effect @ connection::Effect::Close { .. } => {
                    out.push(Effect::Connection { client, effect });
                    self.on_gone(client, out);
                }
                effect => out.push(Effect::Connection { client, effect }),
            }
        }
    }

    /// A connection is closed: nobody is to be told anything.
    fn on_gone(&mut self, client: ClientId, out: &mut Outbox<Effect>) {
        let Some(mount) = self.mounts.remove(&client) else {
            return;
        };
        for call in mount.calls {
            self.calls.remove(&call);
        }
        match mount.stage {
            Stage::New => {}
            Stage::Registering { until, .. } => {
                self.registering.remove(&(until, client));
            }
            Stage::Registered(member) => {
                let session = member.client.session;
                if let Some(connected) = self.sessions.get_mut(&session) {
                    connected.remove(&client);
                    if connected.is_empty() {
                        self.sessions.remove(&session);
                        self.counted.forget(session);
                    }
                }
            }
        }
        self.waits.forget(|(waiter, _)| *waiter == client);
        out.push(Effect::Gone { client });
    }

    pub(super) fn drop_connection(&mut self, client: ClientId, reason: impl Into<String>) {
        self.connections.drop(client, reason);
    }

    pub(super) fn done(&mut self, client: ClientId, request: RequestNo, packet: Option<Vec<u8>>) {
        self.connections
            .done(client, request, packet, Standing::Same);
    }

    // What clients say.

    fn on_packet(
        &mut self,
        client: ClientId,
        request: RequestNo,
        packet: &Packet,
        out: &mut Outbox<Effect>,
    ) {
        if FromMonitor::NUMBERS.contains(&packet.kind) {
            return match FromMonitor::parse(packet) {
                Ok(asked) => self.on_monitor(client, request, asked, out),
                Err(error) => self.drop_connection(client, error.to_string()),
            };
        }
        let said = match FromClient::parse(packet) {
            Ok(said) => said,
            Err(error) => return self.drop_connection(client, error.to_string()),
        };
        let form = self.form_of(client);
        match said {
            FromClient::Register(register) => self.on_register(client, request, &register, out),
            FromClient::GetVersion(id) => {
                let told = ToClient::Version {
                    id,
                    version: Version::OURS,
                    text: Version::OURS.to_string().into_bytes(),
                };
                self.done(client, request, Some(told.encode(form)));
            }
            FromClient::TimeSync(id) => {
                let microseconds = self.wall_us;
                let told = ToClient::Time { id, microseconds };
                self.done(client, request, Some(told.encode(form)));
            }
            FromClient::Nop(_) | FromClient::UnknownCommand(_) | FromClient::BadCommandSize(_) => {
                self.done(client, request, None);
            }
            FromClient::OpenFiles { inodes, .. } => {
                self.on_open_files(client, &inodes, out);
                self.done(client, request, None);
            }
            FromClient::Times(times) => {
                let Some(member) = self.member(client) else {
                    return self.drop_connection(client, "times without a session");
                };
                for op in member.client.times(&times).collect::<Vec<_>>() {
                    self.write_unnamed(client, op, Purpose::Nothing, out);
                }
                self.done(client, request, None);
            }
            FromClient::Call { id, call } => {
                let print = lanes::print_of(packet.kind, &packet.payload);
                self.on_call(client, (request, id), call, print, out);
            }
        }
    }

    fn form_of(&self, client: ClientId) -> Form {
        let version = match self.mounts.get(&client).map(|mount| &mount.stage) {
            Some(Stage::Registered(member)) => member.client.version,
            _ => Version::OURS,
        };
        Form::of(version)
    }

    pub(super) fn member(&mut self, client: ClientId) -> Option<&mut Member> {
        match &mut self.mounts.get_mut(&client)?.stage {
            Stage::Registered(member) => Some(member),
            _ => None,
        }
    }

    fn on_call(
        &mut self,
        client: ClientId,
        (request, id): (RequestNo, MsgId),
        call: Call,
        print: u64,
        out: &mut Outbox<Effect>,
    ) {
        let Some(Mount {
            stage: Stage::Registered(member),
            ..
        }) = self.mounts.get(&client)
        else {
            return self.drop_connection(client, "a request without a session");
        };
        let form = call.form(member.client.version);
        let (session, now) = (member.client.session, self.wall());
        self.counted.note(session, &call, now);
        let (task, step) = Task::begin(&member.client, self.world(), call);
        let pending = Pending {
            request,
            id,
            form,
            print,
            task,
            seen: None,
        };
        self.carry_out(client, Box::new(pending), step, out);
    }

    /// Brings a request one step further.
    fn carry_out(
        &mut self,
        client: ClientId,
        mut pending: Box<Pending>,
        step: Step,
        out: &mut Outbox<Effect>,
    ) {
        match step {
            Step::Ask(query) => {
                let consistency = match pending.seen {
                    Some(not_before) => Consistency::Fast { not_before },
                    None => Consistency::Strict,
                };
                let purpose = Purpose::Question(pending);
                self.ask_as(client, consistency, query, purpose, out);
            }
            Step::Do(op) => self.command(client, pending, op, out),
            Step::Chunk(ChunkWish::Look { .. }) if !self.may_tell_place(client, &pending) => {
                let Some(Mount {
                    stage: Stage::Registered(member),
                    ..
                }) = self.mounts.get(&client)
                else {
                    return;
                };
                let refused = ChunkAnswer::Refused(Refusal::Again);
                let came = gateway::Came::Chunks(refused);
                let step = pending.task.go_on(&member.client, self.world(), came);
                self.carry_out(client, pending, step, out);
            }
            Step::Chunk(wish) => {
                let call = self.new_call(client, Purpose::Question(pending));
                out.push(Effect::AskChunk { client, call, wish });
            }
            Step::Wait(_) => unreachable!("a lock is waited for when its command was applied"),
            Step::Tell { mut reply, then } => {
                self.note_created(client, &reply);
                self.maybe_keep(client, pending.task.call(), &mut reply);
                #[cfg(feature = "planted-bugs")]
                self.maybe_tell_old(pending.task.call(), &mut reply);
                self.tell(
                    client,
                    &pending,
                    &ToClient::Reply {
                        id: pending.id,
                        reply,
                    },
                );
                if let Some(op) = then {
                    self.write_unnamed(client, op, Purpose::Nothing, out);
                }
            }
        }
    }

    /// Answers a request: what follows of its thread is no repeat of anything before it.
    fn tell(&mut self, client: ClientId, pending: &Pending, told: &ToClient) {
        let lane = lanes::lane_of(pending.id);
        if let (Some(lane), Some(member)) = (lane, self.member(client)) {
            member.lanes.pass(lane);
        }
        self.done(client, pending.request, Some(told.encode(pending.form)));
    }

    /// A request's command, once however often it is asked.
    fn command(
        &mut self,
        client: ClientId,
        pending: Box<Pending>,
        op: Op,
        out: &mut Outbox<Effect>,
    ) {
        let (now, print) = (self.wall(), pending.print);
        // A lock that was waited for on a lost connection is asked for anew: what its first
        // request came to may have changed since.
        let mut repeats = !matches!(op, Op::Flock { .. } | Op::PosixLock { .. });
        // A file that was closed meanwhile has to be opened again, and to open it twice does no harm.
        if let Op::Open { flags, .. } = &op {
            repeats = flags.truncate;
        }
        #[cfg(feature = "planted-bugs")]
        let repeats = repeats && self.options.bug != Some(Bug::RepeatTakenForNew);
        #[cfg(feature = "planted-bugs")]
        let op = self.bent(op);
        let micros = self.wall_us;
        let Some(member) = self.member(client) else {
            return;
        };
        let (pending, op) = if member.client.tool {
            (pending, op)
        } else {
            let opens = opens(&op);
            let Some(begun) = member.files.begin(opens, (pending, op)) else {
                return;
            };
            begun
        };
        let session = member.client.session;
        let (name, again) = if member.client.tool {
            // Tools name their requests as they like, beside the mount whose session they use.
            let lane = Lane(1 << 15 | (client.0 % (1 << 14)) as u32);
            // None repeats another, though another node may give the same lane and number.
            let print = self.rng.next_u64();
            let name = RequestId {
                print,
                ..RequestId::new(session, lane, RequestSeq(micros))
            };
            (name, None)
        } else {
            let Some(lane) = lanes::lane_of(pending.id) else {
                return self.drop_connection(client, "a request with a name that no client has");
            };
            member.lanes.name((session, lane), print, repeats, now)
        };
        self.note_opened(client, &op);
        let op = Box::new(op);
        let purpose = Purpose::Command {
            pending,
            name,
            op: op.clone(),
            renames: 0,
            again,
        };
        self.write(client, name, op, purpose, out);
    }

    /// A request's command that only seemed to repeat an earlier one.
    fn command_anew(
        &mut self,
        client: ClientId,
        pending: Box<Pending>,
        (name, op): (RequestId, Box<Op>),
        out: &mut Outbox<Effect>,
    ) {
        let Some(member) = self.member(client) else {
            return;
        };
        let name = member.lanes.name_anew(name);
        let purpose = Purpose::Command {
            pending,
            name,
            op: op.clone(),
            renames: 0,
            again: None,
        };
        self.write(client, name, op, purpose, out);
    }

    /// Files that a request opens are open from now on: news of them are for this client. It may
    /// have opened one by what it was told with the name, and is told now what changed since.
    fn note_opened(&mut self, client: ClientId, op: &Op) {
        let now = self.now;
        let Op::Open { inode, flags, .. } = op else {
            return;
        };
        let Some(member) = self.member(client) else {
            return;
        };
        let inode = member.client.real(*inode);
        member.files.note(inode);
        if !flags.after_create {
            return;
        }
        let heard = member.told.news(inode, now).iter();
        let mut heard: Vec<ToClient> = heard.filter_map(|it| member.client.hears(it)).collect();
        if now < member.doubt_until {
            heard.extend(member.client.forgets_places());
        }
        for told in heard {
            self.push(client, &told);
        }
    }

    /// Whether a client that is told where a file's chunk is can be told later that it changed.
    fn may_tell_place(&mut self, client: ClientId, pending: &Pending) -> bool {
        let now = self.now;
        let Some(inode) = pending.task.looked_up() else {
            return false;
        };
        let member = self.member(client);
        member.is_some_and(|it| it.told.begin(it.client.real(inode), now))
    }

    /// A command has ended: a file that it opened is open, though its client does not know it yet.
    fn note_ended(
        &mut self,
        client: ClientId,
        op: &Op,
        result: &Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(member) = self.member(client) else {
            return;
        };
        if !opens(op) || member.client.tool {
            return;
        }
        let opened = match (op, result) {
            (Op::Open { inode, .. }, Ok(ResponseBody::Written { outcome, .. })) => {
                let inode = member.client.real(*inode);
                outcome.result.as_ref().ok().map(|_| inode)
            }
            (_, Ok(ResponseBody::Written { outcome, .. })) => match outcome.result {
                Ok(op::Reply::Node { inode, .. }) => Some(inode),
                _ => None,
            },
            _ => None,
        };
        member.files.on_ended(opened);
        self.next_turn(client, out);
    }

    /// So are those that it makes.
    fn note_created(&mut self, client: ClientId, reply: &Reply) {
        if let Reply::Create(Ok(created)) = reply
            && let Some(member) = self.member(client)
        {
            member.files.note(created.inode);
        }
    }

    /// A command as a node with a bug gives it.
    #[cfg(feature = "planted-bugs")]
    fn bent(&self, mut op: Op) -> Op {
        match (self.options.bug, &mut op) {
            (Some(Bug::WrittenLengthLost), Op::WriteChunkEnd { length, .. }) => *length = 0,
            (Some(Bug::RoomGivenTwice), Op::Truncate { length, mode, .. })
                if *mode == op::TruncateMode::Reserve =>
            {
                *length = 0;
            }
            _ => {}
        }
        op
    }

    /// Every second answer is the one before, where a node has that bug.
    #[cfg(feature = "planted-bugs")]
    fn maybe_tell_old(&mut self, call: &Call, reply: &mut Reply) {
        let bug = self.options.bug == Some(Bug::OldPlacesTold);
        if let (Call::ReadChunk(asked), Reply::ReadChunk(Ok(_)), true) = (call, &*reply, bug) {
            let chunk = (asked.inode, asked.index);
            match self.told_before.remove(&chunk) {
                Some(before) => *reply = before,
                None => {
                    self.told_before.insert(chunk, reply.clone());
                }
            }
        }
    }

    /// Says in a reply that the client may keep what it has of a file, if that is known.
    fn maybe_keep(&mut self, client: ClientId, call: &Call, reply: &mut Reply) {
        let now = self.now;
        let Some(member) = self.member(client) else {
            return;
        };
        let Some(inode) = gateway::cache::cached(&member.client, call, reply) else {
            return;
        };
        let inode = member.client.real(inode);
        let (session, in_doubt) = (member.client.session, now < member.doubt_until);
        // Who opens the file by its name hears what changed since; who could not is told nothing.
        let hears = !matches!(reply, Reply::Lookup(_)) || member.told.begin(inode, now);
        // What it dropped before it came back may have been before a change that is not known here.
        if gateway::cache::is_dropped(call) && !in_doubt {
            self.caches.note_dropped(inode, client, now);
        }
        if self.caches.may_keep(inode, (client, session), now) && hears {
            gateway::cache::keep(reply);
        }
    }

    fn on_open_files(&mut self, client: ClientId, inodes: &[InodeId], out: &mut Outbox<Effect>) {
        let Some(member) = self.member(client) else {
            return self.drop_connection(client, "a list of files without a session");
        };
        let Some(op) = member.client.open_files(inodes) else {
            let message = too_many_open(member.client.session, inodes.len());
            return out.push(Effect::Report { message });
        };
        member.files.on_list(op);
        self.next_turn(client, out);
    }

    /// Opens and lists of open files take turns.
    fn next_turn(&mut self, client: ClientId, out: &mut Outbox<Effect>) {
        let Some(member) = self.member(client) else {
            return;
        };
        match member.files.turn() {
            Turn::Wait => {}
            Turn::GoOn(held) => {
                for (pending, op) in held {
                    self.command(client, pending, op, out);
                }
            }
            Turn::Say(op) => self.say_open_files(client, op, out),
            Turn::TooMany(count) => {
                let message = too_many_open(member.client.session, count);
                out.push(Effect::Report { message });
                self.next_turn(client, out);
            }
        }
    }

    /// Nothing that was said of open files on earlier connections of the session counts any more:
    /// what is still on its way must not close what is opened from now on.
    fn keep_out_old_lists(&mut self, client: ClientId, out: &mut Outbox<Effect>) {
        if let Some(member) = self.member(client).filter(|it| !it.client.tool) {
            let session = member.client.session;
            let connected = true;
            member.files.enter();
            let op = Op::SetSessionConnected { session, connected };
            self.say_open_files(client, op, out);
        }
    }

    /// Says something on the lane of open files.
    fn say_open_files(&mut self, client: ClientId, op: Op, out: &mut Outbox<Effect>) {
        let now = self.wall();
        // A list of a lost connection, under the same number at another node, is another one.
        let print = self.rng.next_u64();
        let Some(member) = self.member(client) else {
            return;
        };
        let of = (member.client.session, lanes::OPEN_FILES);
        let (name, _) = member.lanes.name(of, print, false, now);
        member.files.note_print(print);
        let op = Box::new(op);
        let purpose = Purpose::OpenFiles {
            name,
            op: op.clone(),
        };
        self.write(client, name, op, purpose, out);
    }

    // Registrations.

    fn on_register(
        &mut self,
        client: ClientId,
        request: RequestNo,
        register: &Register,
        out: &mut Outbox<Effect>,
    ) {
        let metaid = self.options.metaid;
        #[cfg(feature = "planted-bugs")]
        let metaid = if self.knows_session_of(register) {
            metaid
        } else {
            0
        };
        let Some(mount) = self.mounts.get_mut(&client) else {
            return;
        };
        match (&mount.stage, register) {
            (Stage::Registered(member), Register::Close(close))
                if close.session == member.client.session =>
            {
                let session = close.session;
                let op = Op::CloseSession { session };
                return self.write_unnamed(client, op, Purpose::Close { request }, out);
            }
            (Stage::New, Register::Close(_)) | (Stage::Registered(_), _) => {
                return self.drop_connection(client, "a registration out of turn");
            }
            (Stage::Registering { .. }, _) => unreachable!("a connection registers once at a time"),
            (Stage::New, _) => {}
        }
        if let Register::Random = register {
            let words = [(); 4].map(|()| self.rng.next_u64().to_be_bytes());
            mount.challenge = words.concat().try_into().expect("four words");
            let told = ToClient::Registered(Registered::Random(mount.challenge));
            return self.done(client, request, Some(told.encode(Form::of(Version::OURS))));
        }
        let scene = Scene {
            exports: &self.exports,
            metaid,
            ip: mount.ip,
            challenge: mount.challenge,
        };
        let (registration, next) = match register {
            Register::Session(new) | Register::Meta(new) => Registration::of_session(new, scene),
            Register::Reconnect(again) => Registration::of_reconnect(again, scene),
            Register::Tools(tools) => Registration::of_tools(tools),
            Register::Random | Register::Close(_) => unreachable!("answered above"),
        };
        let until = self.now + self.options.register_patience;
        mount.stage = Stage::Registering {
            request,
            registration: Box::new(registration),
            until,
        };
        self.registering.insert((until, client));
        self.register_on(client, next, out);
    }

    fn register_on(&mut self, client: ClientId, next: Next, out: &mut Outbox<Effect>) {
        match next {
            Next::Ask(query) => self.ask(client, query, Purpose::Registration, out),
            Next::Do(op) => self.write_unnamed(client, op, Purpose::Registration, out),
            Next::Refuse(reply, why) => self.end_registration(client, reply, Err(why), out),
            Next::Accept(accepted) => {
                let Accepted {
                    client: values,
                    reply,
                    lasts,
                    open,
                } = *accepted;
                let member = Member {
                    client: values,
                    lanes: Lanes::new(&lasts),
                    files: OpenFiles::new(open),
                    told: Told::default(),
                    doubt_until: self.now + TOLD_FOR,
                };
                self.end_registration(client, reply, Ok(Box::new(member)), out);
                self.keep_out_old_lists(client, out);
            }
        }
    }

    fn end_registration(
        &mut self,
        client: ClientId,
        reply: Registered,
        member: Result<Box<Member>, String>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(mount) = self.mounts.get_mut(&client) else {
            return;
        };
        let before = std::mem::replace(&mut mount.stage, Stage::New);
        let Stage::Registering {
            request,
            registration,
            until,
        } = before
        else {
            unreachable!("its registration is on its way");
        };
        let ip = mount.ip;
        self.registering.remove(&(until, client));
        let standing = match member {
            Ok(member) => {
                let session = member.client.session;
                #[cfg(feature = "planted-bugs")]
                self.opened.insert(session);
                mount.stage = Stage::Registered(member);
                self.sessions.entry(session).or_default().insert(client);
                let keep_at = self.now + self.options.keep_interval;
                self.keep_at.get_or_insert(keep_at);
                Standing::Registered { silence_max: None }
            }
            Err(why) => {
                let message = format!("a client at {ip} was refused: {why}");
                out.push(Effect::Report { message });
                Standing::Same
            }
        };
        let form = Form::of(registration.version());
        let packet = ToClient::Registered(reply).encode(form);
        self.connections
            .done(client, request, Some(packet), standing);
    }

    // What the node says.

    pub(super) fn new_call(&mut self, client: ClientId, purpose: Purpose) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        if let Some(mount) = self.mounts.get_mut(&client) {
            mount.calls.insert(call);
        }
        self.calls.insert(call, (client, purpose));
        call
    }

    fn ask(&mut self, client: ClientId, query: Query, purpose: Purpose, out: &mut Outbox<Effect>) {
        self.ask_as(client, Consistency::Strict, query, purpose, out);
    }

    pub(super) fn ask_as(
        &mut self,
        client: ClientId,
        consistency: Consistency,
        query: Query,
        purpose: Purpose,
        out: &mut Outbox<Effect>,
    ) {
        let call = self.new_call(client, purpose);
        let body = RequestBody::Read { consistency, query };
        let request = Request { call, body };
        out.push(Effect::Ask { client, request });
    }

    fn write(
        &mut self,
        client: ClientId,
        request: RequestId,
        op: Box<Op>,
        purpose: Purpose,
        out: &mut Outbox<Effect>,
    ) {
        let call = self.new_call(client, purpose);
        out.push(Effect::AskWrite {
            client,
            call,
            request,
            op,
        });
    }

    /// A command that may take effect twice.
    pub(super) fn write_unnamed(
        &mut self,
        client: ClientId,
        op: Op,
        purpose: Purpose,
        out: &mut Outbox<Effect>,
    ) {
        let name = RequestId::new(SessionId(0), Lane(0), RequestSeq(0));
        self.write(client, name, Box::new(op), purpose, out);
    }

    fn on_answered(&mut self, client: ClientId, response: Response, out: &mut Outbox<Effect>) {
        let Response { call, result } = response;
        let Some((of, purpose)) = self.calls.remove(&call) else {
            // Its connection is gone.
            return;
        };
        assert_eq!(of, client, "answers find who asked");
        if let Some(mount) = self.mounts.get_mut(&client) {
            mount.calls.remove(&call);
        }
        match purpose {
            Purpose::Nothing => {}
            Purpose::Keep => self.on_kept(client, result),
            Purpose::Registration => self.on_registration_answer(client, result, out),
            Purpose::Close { request } => self.on_closed(client, request, result),
            Purpose::Monitor(asked) => self.on_monitor_answer(client, asked, result, out),
            Purpose::OpenFiles { name, op } => self.on_files_said(client, (name, op), result, out),
            Purpose::RenameOpenFiles { name, op } => {
                let Some((name, _)) = self.renamed(client, name, result) else {
                    return;
                };
                let purpose = Purpose::OpenFiles {
                    name,
                    op: op.clone(),
                };
                self.write(client, name, op, purpose, out);
            }
            Purpose::Question(pending) => {
                self.on_task_answer(client, call, pending, result, out);
            }
            Purpose::Command {
                pending,
                name,
                op,
                renames,
                again,
            } => match &result {
                Ok(ResponseBody::Written { outcome, .. })
                    if outcome.result == Err(FsError::Stale) && renames < RENAMES_MAX =>
                {
                    let session = name.session;
                    let purpose = Purpose::Rename {
                        pending,
                        name,
                        op,
                        renames: renames + 1,
                    };
                    self.ask(client, Query::LastRequests { session }, purpose, out);
                }
                Ok(ResponseBody::Written { outcome, .. }) if let Some(again) = again => {
                    match Judged::of(&op, &outcome.result, again) {
                        Judged::Told => {
                            self.note_ended(client, &op, &result, out);
                            self.on_task_answer(client, call, pending, result, out);
                        }
                        Judged::Ask(query, doubt) => {
                            let purpose = Purpose::Doubt {
                                pending,
                                name,
                                op,
                                doubt,
                                outcome: Box::new(result),
                            };
                            self.ask(client, query, purpose, out);
                        }
                        Judged::Anew => self.command_anew(client, pending, (name, op), out),
                    }
                }
                _ => {
                    self.note_ended(client, &op, &result, out);
                    self.on_task_answer(client, call, pending, result, out);
                }
            },
            Purpose::Doubt {
                pending,
                name,
                op,
                doubt,
                outcome,
            } => match &result {
                Ok(ResponseBody::Read { result, .. })
                    if doubt.is_proved_by(result, self.wall()) =>
                {
                    self.command_anew(client, pending, (name, op), out);
                }
                Ok(_) => {
                    self.note_ended(client, &op, &outcome, out);
                    self.on_task_answer(client, call, pending, *outcome, out);
                }
                Err(_) => self.on_task_answer(client, call, pending, result, out),
            },
            Purpose::Rename {
                pending,
                name,
                op,
                renames,
            } => {
                let Some((name, again)) = self.renamed(client, name, result) else {
                    return;
                };
                let purpose = Purpose::Command {
                    pending,
                    name,
                    op: op.clone(),
                    renames,
                    again,
                };
                self.write(client, name, op, purpose, out);
            }
        }
    }

    /// The next name of a command whose number was another's, and whether it seems to repeat one.
    fn renamed(
        &mut self,
        client: ClientId,
        name: RequestId,
        result: Result<ResponseBody, NodeError>,
    ) -> Option<(RequestId, Option<Again>)> {
        match result {
            Ok(ResponseBody::Read {
                result: Ok(Answer::LastRequests(lasts)),
                ..
            }) => {
                let member = self.member(client)?;
                // Whoever comes back takes a number of this lane first. A connection that finds
                // another's there is an old one: what its mount asked here, it has asked anew since.
                let newest = lasts.iter().find(|last| last.lane == lanes::OPEN_FILES);
                let old = newest.is_some_and(|last| !member.files.is_ours(last.print));
                if old && name.lane != lanes::OPEN_FILES && !member.client.tool {
                    self.drop_connection(client, SUPERSEDED);
                    return None;
                }
                Some(member.lanes.rename(name, &lasts))
            }
            Ok(_) => {
                self.drop_connection(client, "its session has ended");
                None
            }
            Err(error) => {
                self.drop_connection(client, error.to_string());
                None
            }
        }
    }

    fn on_registration_answer(
        &mut self,
        client: ClientId,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let came = match result {
            Ok(ResponseBody::Read { result, .. }) => registration::Came::Answer(result),
            Ok(ResponseBody::Written { outcome, .. }) => {
                registration::Came::Outcome(outcome.result)
            }
            Ok(other) => unreachable!("{other:?} was not asked for"),
            // No answer is better than a wrong one: it comes back, or asks another node.
            Err(error) => return self.drop_connection(client, error.to_string()),
        };
        let Some(mount) = self.mounts.get_mut(&client) else {
            return;
        };
        let Stage::Registering { registration, .. } = &mut mount.stage else {
            unreachable!("its registration is on its way");
        };
        let scene = Scene {
            exports: &self.exports,
            metaid: self.options.metaid,
            ip: mount.ip,
            challenge: mount.challenge,
        };
        let next = registration.go_on(scene, came);
        self.register_on(client, next, out);
    }

    fn on_closed(
        &mut self,
        client: ClientId,
        request: RequestNo,
        result: Result<ResponseBody, NodeError>,
    ) {
        if let Err(error) = result {
            return self.drop_connection(client, error.to_string());
        }
        let form = self.form_of(client);
        let told = ToClient::Registered(Registered::Status(Ok(())));
        self.done(client, request, Some(told.encode(form)));
        self.connections.tell(client, connection::Input::Finish);
    }

    fn on_files_said(
        &mut self,
        client: ClientId,
        (name, op): (RequestId, Box<Op>),
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        match result {
            Ok(ResponseBody::Written { outcome, .. })
                if outcome.result == Err(FsError::Stale)
                    && matches!(*op, Op::SetOpenFiles { .. }) =>
            {
                self.drop_connection(client, SUPERSEDED);
            }
            Ok(ResponseBody::Written { outcome, .. }) if outcome.result == Err(FsError::Stale) => {
                let session = name.session;
                let purpose = Purpose::RenameOpenFiles { name, op };
                self.ask(client, Query::LastRequests { session }, purpose, out);
            }
            Ok(_) => {
                if let Some(member) = self.member(client) {
                    member.files.on_said();
                }
                self.next_turn(client, out);
            }
            Err(error) => self.drop_connection(client, error.to_string()),
        }
    }

    fn on_task_answer(
        &mut self,
        client: ClientId,
        call: CallId,
        mut pending: Box<Pending>,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let (came, index, repeated) = match result {
            Ok(ResponseBody::Read { result, index }) => {
                pending.seen = pending.seen.max(Some(index));
                (gateway::Came::Answer(result), index, false)
            }
            Ok(ResponseBody::Written { outcome, index }) => {
                let repeated = outcome.repeated;
                pending.seen = pending.seen.max(Some(index));
                (gateway::Came::Outcome(outcome.result), index, repeated)
            }
            Ok(ResponseBody::Chunk(answer)) => (gateway::Came::Chunks(answer), LogIndex(0), false),
            Ok(other) => unreachable!("{other:?} was not asked for"),
            Err(NodeError::Invalid { .. }) => {
                let reply = pending.task.call().refused(Status::EINVAL);
                let told = ToClient::Reply {
                    id: pending.id,
                    reply,
                };
                return self.tell(client, &pending, &told);
            }
            // A status would reach the application; a lost connection is made again.
            Err(error) => return self.drop_connection(client, error.to_string()),
        };
        let Some(Mount {
            stage: Stage::Registered(member),
            ..
        }) = self.mounts.get(&client)
        else {
            return;
        };
        let session = member.client.session;
        let step = pending.task.go_on(&member.client, self.world(), came);
        if let Step::Wait(wait) = step {
            // The index of a repeat is not that of the first one: the wait may be over since.
            if repeated || call <= self.replaced_at {
                return self.drop_connection(client, NEWS_MISSED);
            }
            return self.wait_for_lock(client, pending, (session, wait), index);
        }
        self.carry_out(client, pending, step, out);
    }

    // Locks and news.

    fn wait_for_lock(
        &mut self,
        client: ClientId,
        pending: Box<Pending>,
        key: (SessionId, LockWait),
        index: LogIndex,
    ) {
        let (over, before) = self.waits.wait(key, index, (client, pending));
        if let Some(((client, pending), granted)) = over {
            self.end_wait(client, &pending, granted);
        }
        if let Some((before, pending)) = before {
            // The same wait, mostly on an older connection of the session, which is of no use any
            // more.
            self.end_wait(before, &pending, false);
        }
    }

    fn end_wait(&mut self, client: ClientId, pending: &Pending, granted: bool) {
        let reply = pending.task.lock_ended(granted);
        let id = pending.id;
        self.tell(client, pending, &ToClient::Reply { id, reply });
    }

    fn on_news(&mut self, index: LogIndex, by: Option<SessionId>, notices: &[Notice]) {
        for notice in notices {
            match *notice {
                Notice::LockGranted {
                    session,
                    inode,
                    owner,
                    reqid,
                    posix,
                } => self.on_lock_news((session, inode), (owner, reqid, posix), index, true),
                Notice::LockEnded {
                    session,
                    inode,
                    owner,
                    reqid,
                    posix,
                } => self.on_lock_news((session, inode), (owner, reqid, posix), index, false),
                Notice::LengthChanged { inode, .. } | Notice::ChunkChanged { inode, .. } => {
                    self.caches.note_changed(inode, by, self.now);
                    self.push_news(inode, notice);
                }
                Notice::ChunkUnused { .. }
                | Notice::ChunkserverRegistered { .. }
                | Notice::ChunkserverForgotten { .. } => {}
            }
        }
    }

    fn on_lock_news(
        &mut self,
        (session, inode): (SessionId, InodeId),
        (owner, request, posix): (u64, u32, bool),
        index: LogIndex,
        granted: bool,
    ) {
        let wait = LockWait {
            inode,
            owner,
            request,
            posix,
        };
        if let Some((client, pending)) = self.waits.end((session, wait), index, granted) {
            self.end_wait(client, &pending, granted);
        }
    }

    /// Whoever has the file open, or may open it by what it was told, hears that it changed, and
    /// may hear it of its own change.
    fn push_news(&mut self, inode: InodeId, notice: &Notice) {
        let now = self.now;
        let mut heard = Vec::new();
        for (client, mount) in &mut self.mounts {
            let Stage::Registered(member) = &mut mount.stage else {
                continue;
            };
            let was_told = member.told.note(inode, notice, now);
            if member.client.tool || !was_told && !member.files.has(inode) {
                continue;
            }
            if let Some(told) = member.client.hears(notice) {
                heard.push((*client, told));
            }
        }
        for (client, told) in heard {
            self.push(client, &told);
        }
    }

    /// Tells a client what it has not asked for.
    fn push(&mut self, client: ClientId, told: &ToClient) {
        let packet = told.encode(self.form_of(client));
        let standing = Standing::Same;
        let push = connection::Input::Push { packet, standing };
        self.connections.tell(client, push);
    }

    /// Every mount forgets where chunks are, and asks again when it needs one.
    fn on_copies_moved(&mut self) {
        let mut heard = Vec::new();
        for (client, mount) in &self.mounts {
            if let Stage::Registered(member) = &mount.stage
                && let Some(told) = member.client.forgets_places()
            {
                heard.push((*client, told));
            }
        }
        for (client, told) in heard {
            self.push(client, &told);
        }
    }

    /// Whoever waits for a lock asks again on a new connection: it may have been granted. So does
    /// who is told only later that it has to wait. What was told of chunks may be of before.
    fn on_state_replaced(&mut self) {
        self.caches.forget(self.now);
        self.replaced_at = CallId(self.next_call);
        let doubt_until = self.now + TOLD_FOR;
        for mount in self.mounts.values_mut() {
            if let Stage::Registered(member) = &mut mount.stage {
                member.doubt_until = doubt_until;
            }
        }
        self.on_copies_moved();
        let waiters = self.waits.forget(|_| true);
        for (client, _) in waiters {
            self.drop_connection(client, NEWS_MISSED);
        }
    }

    fn on_exports(&mut self, exports: Exports) {
        let checksum = exports.checksum();
        self.exports = exports;
        let changed = self.mounts.iter().filter(|(_, mount)| match &mount.stage {
            Stage::Registered(member) => member.client.params.exports_checksum != checksum,
            // What it is told would be of the exports before.
            Stage::Registering { .. } => true,
            Stage::New => false,
        });
        for client in changed.map(|(client, _)| *client).collect::<Vec<_>>() {
            self.drop_connection(client, "the exports have changed: it registers again");
        }
    }

    // Time.

    fn on_timers(&mut self, out: &mut Outbox<Effect>) {
        while let Some((at, client)) = self.registering.first().copied()
            && at <= self.now
        {
            self.registering.remove(&(at, client));
            self.drop_connection(client, "its registration could not be answered in time");
        }
        if self.keep_at.is_some_and(|at| at <= self.now) {
            let again = !self.sessions.is_empty();
            self.keep_at = again.then(|| self.now + self.options.keep_interval);
            self.keep_sessions(out);
        }
    }

    /// Speaks for every session that is connected here.
    fn keep_sessions(&mut self, out: &mut Outbox<Effect>) {
        let spoken: Vec<(SessionId, ClientId)> = self
            .sessions
            .iter()
            .filter_map(|(session, clients)| Some((*session, *clients.first()?)))
            .collect();
        for (session, client) in spoken {
            let call = self.new_call(client, Purpose::Keep);
            let body = RequestBody::KeepSession { session };
            let request = Request { call, body };
            out.push(Effect::Ask { client, request });
        }
    }

    fn on_kept(&mut self, client: ClientId, result: Result<ResponseBody, NodeError>) {
        let Ok(ResponseBody::Read { result: Err(_), .. }) = result else {
            // Whether it is there or could not be found out now: it is asked again.
            return;
        };
        let Some(member) = self.member(client) else {
            return;
        };
        let session = member.client.session;
        let connected = self.sessions.get(&session).cloned().unwrap_or_default();
        for client in connected {
            self.drop_connection(client, "its session has ended");
        }
    }
}

impl Machine for Mounts {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        self.now = self.now.max(now);
        self.wall_us = input.wall_us;
        self.on_event(input.event, out);
        self.on_timers(out);
        self.run_connections(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let wake = self.connections.deadline();
        let register = self.registering.first().map(|(at, _)| *at);
        [wake, register, self.keep_at].into_iter().flatten().min()
    }

    fn check(&self) {
        self.waits.check();
        self.caches.check();
        self.connections.check();
        let (connections, mounts) = (self.connections.len(), self.mounts.len());
        assert_eq!(connections, mounts, "each connection is somebody's");
        for (call, (client, _)) in &self.calls {
            let mount = self.mounts.get(client);
            assert!(
                mount.is_some_and(|mount| mount.calls.contains(call)),
                "{call:?} is of a client that knows it"
            );
        }
    }
}
