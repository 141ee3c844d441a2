//! One mount: its session, its connection, and the threads that ask through it.

use std::collections::BTreeSet;
use std::time::Duration;

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::moosefs::client::register::{Again, NewSession, Reconnect, Register, Registered};
use mfsha_core::moosefs::client::{FromClient, MsgId, Reply, ToClient};
use mfsha_core::moosefs::fields::Form;
use mfsha_core::moosefs::frame::PacketReader;
use mfsha_core::moosefs::version::Version;
use mfsha_core::node::request::ClientId;
use mfsha_core::rng::{Rng, Seed};

use super::scribe::{Asked, Scribe};
use super::thread::{About, Opened, Thread, Waiting};
use super::{Crowd, Deed, Moment};
use crate::event::Event;
use crate::face::METAID;
use crate::options::MountOptions;
use crate::time::SimTime;
use crate::view::View;

/// A mount gives a sign of life this often.
const BEAT: Duration = Duration::from_millis(500);
/// A connection on which nothing was heard for so long is given up.
const SILENCE: Duration = Duration::from_secs(3);
/// A registration that is not answered for so long ends with its connection, as with mfsmount.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Mount {
    number: u8,
    rng: Rng,
    mean_ms: u64,
    pub client: Option<ClientId>,
    /// Counts the times that it looked for a node.
    pub turn: u64,
    reader: PacketReader,
    session: Option<SessionId>,
    registered: bool,
    /// Its session was refused: it asks for a new one, and names the old one.
    refused: bool,
    connected_at: SimTime,
    heard_at: SimTime,
    dir: Option<InodeId>,
    /// Nothing below its directory goes to the trash.
    ready: bool,
    threads: Vec<Thread>,
    /// Those who read and write data; numbered behind the threads.
    pub scribes: Vec<Scribe>,
    open: BTreeSet<InodeId>,
    has_lock_file: bool,
}

/// What a packet was about, for the world.
enum Heard {
    Nothing,
    /// It has a session.
    Registered,
    /// A thread was answered.
    Answered(u32),
    /// A scribe was answered.
    Told(u32, Reply),
    /// It is nonsense, or a refusal: the connection is given up.
    GiveUp,
}

impl Mount {
    pub fn new(number: u8, options: &MountOptions, rng: Rng, data: (u8, &Seed)) -> Self {
        let (scribes, seed) = data;
        let scribes = (1..=u32::from(scribes)).map(|scribe| {
            let rng = seed.index(scribe.into()).rng();
            let maker = number == 0 && scribe == 1;
            let behind = u32::from(options.threads) + scribe;
            Scribe::new(number, behind, maker, options.mean_ms, rng)
        });
        Self {
            number,
            rng,
            mean_ms: options.mean_ms,
            client: None,
            turn: 0,
            reader: PacketReader::new(u32::MAX),
            session: None,
            registered: false,
            refused: false,
            connected_at: SimTime::ZERO,
            heard_at: SimTime::ZERO,
            dir: None,
            ready: false,
            threads: (1..=u32::from(options.threads))
                .map(|thread| Thread::new(number, thread))
                .collect(),
            scribes: scribes.collect(),
            open: BTreeSet::new(),
            has_lock_file: false,
        }
    }

    fn thread(&mut self, thread: u32) -> &mut Thread {
        &mut self.threads[thread as usize - 1]
    }

    /// One that reads and writes data.
    pub fn scribe(&mut self, scribe: u32) -> &mut Scribe {
        let at = scribe as usize - 1 - self.threads.len();
        &mut self.scribes[at]
    }

    pub fn probe(&mut self) {
        for thread in &mut self.threads {
            thread.probe();
        }
    }

    /// What it still waits for, in words.
    pub fn outstanding(&self) -> Option<String> {
        let mut waits: Vec<String> = self
            .threads
            .iter()
            .filter(|thread| !thread.is_done())
            .map(|thread| match &thread.waiting {
                Some(waiting) => format!("{} {:?}", thread.number, waiting.call),
                None => format!("{} goes on", thread.number),
            })
            .collect();
        let scribes = self.scribes.iter().filter(|it| !it.is_done());
        waits.extend(scribes.map(Scribe::standing));
        (!waits.is_empty()).then(|| {
            let how = match (self.client, self.registered) {
                (None, _) => "without a connection",
                (Some(_), false) => "registers",
                (Some(_), true) => "is registered",
            };
            format!("mount {} {how}, threads {waits:?}", self.number)
        })
    }

    /// It has a connection, and registers on it.
    pub fn on_connected(&mut self, now: SimTime, client: ClientId) -> Vec<u8> {
        self.client = Some(client);
        self.reader = PacketReader::new(u32::MAX);
        self.registered = false;
        (self.connected_at, self.heard_at) = (now, now);
        for thread in &mut self.threads {
            if let Some(waiting) = &mut thread.waiting {
                waiting.said = false;
            }
        }
        for asked in self.scribes.iter_mut().filter_map(|it| it.asked.as_mut()) {
            asked.said = false;
        }
        let metaid = Some(METAID);
        let register = match self.session.filter(|_| !self.refused) {
            Some(session) => Register::Reconnect(Reconnect {
                session,
                client: Version::OURS,
                metaid,
            }),
            None => Register::Session(NewSession {
                client: Version::OURS,
                info: b"/mnt".to_vec(),
                path: Some(b"/".to_vec()),
                session: self.session.map(|session| Again { session, metaid }),
                passcode: None,
            }),
        };
        FromClient::Register(register).encode()
    }

    /// Its connection is gone; whether it was this one.
    pub fn on_disconnected(&mut self, client: ClientId) -> bool {
        if self.client != Some(client) {
            return false;
        }
        self.client = None;
        self.registered = false;
        true
    }

    /// What is said now of what threads wait for, and was not said on this connection.
    fn unsaid(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.registered {
            return bytes;
        }
        for thread in &mut self.threads {
            if let Some(Waiting { call, said, .. }) = &mut thread.waiting
                && !std::mem::replace(said, true)
            {
                let (id, call) = (MsgId(thread.number), call.clone());
                bytes.extend(FromClient::Call { id, call }.encode());
            }
        }
        bytes
    }

    /// The same of scribes.
    pub fn unsaid_by_scribes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.registered {
            return bytes;
        }
        for scribe in &mut self.scribes {
            if let Some(Asked { call, said }) = &mut scribe.asked
                && !std::mem::replace(said, true)
            {
                let (id, call) = (MsgId(scribe.number), call.clone());
                bytes.extend(FromClient::Call { id, call }.encode());
            }
        }
        bytes
    }

    /// What it says without being asked: the files that it has open. Not while one is being opened:
    /// the list would be without it.
    fn sign_of_life(&self) -> Vec<u8> {
        let mut bytes = FromClient::Nop(Some(MsgId(0))).encode();
        let opens = |waiting: &Waiting| {
            use mfsha_core::moosefs::client::Call;
            matches!(waiting.call, Call::Create(_) | Call::Open(_))
        };
        let waiting = self.threads.iter().filter_map(|it| it.waiting.as_ref());
        if self.registered && !waiting.into_iter().any(opens) {
            let list = FromClient::OpenFiles {
                inodes: self.open.iter().copied().collect(),
                old_number: false,
            };
            bytes.extend(list.encode());
        }
        bytes
    }

    fn on_packet(
        &mut self,
        lock_file: &mut Option<InodeId>,
        said: ToClient,
        out: &mut Vec<Deed>,
    ) -> Heard {
        let mount = self.number;
        match said {
            ToClient::Registered(told) => {
                let (session, status) = match &told {
                    Registered::Session(values) => (Some(values.session), Ok(())),
                    Registered::Reconnected(back) => (self.session, back.result),
                    Registered::Status(status) => (None, *status),
                    _ => return Heard::GiveUp,
                };
                out.push(Deed::Tell(Event::MountRegistered {
                    mount,
                    session,
                    status: status.err().map_or(0, |status| status.number()),
                }));
                if status.is_err() {
                    self.refused = true;
                    return Heard::GiveUp;
                }
                self.session = session;
                self.refused = false;
                self.registered = true;
                Heard::Registered
            }
            ToClient::Reply { id, reply }
                if (id.0 as usize) > self.threads.len()
                    && id.0 as usize <= self.threads.len() + self.scribes.len() =>
            {
                Heard::Told(id.0, reply)
            }
            ToClient::Reply { id, reply } => {
                let Some(thread) = self.threads.get_mut((id.0 as usize).wrapping_sub(1)) else {
                    return Heard::GiveUp;
                };
                let had_lock = thread.has_lock;
                let number = thread.number;
                let words = thread.waiting.as_ref().map(|it| it.call.name());
                let judged = thread.on_reply(reply);
                if thread.has_lock && !had_lock {
                    out.push(Deed::Tell(Event::MountLocked { mount, held: true }));
                }
                let (opened, wrong) = match judged {
                    Ok(opened) => (opened, None),
                    Err(wrong) => (Opened::Nothing, Some(wrong)),
                };
                out.push(Deed::Tell(Event::MountTold {
                    mount,
                    thread: number,
                    call: words.unwrap_or("nothing"),
                    wrong,
                }));
                if let Opened::Opens(inode) = opened {
                    self.open.insert(inode);
                }
                if self.dir.is_none() {
                    self.dir = self.thread(number).disown(&super::directory(mount));
                } else if !self.ready {
                    self.ready = true;
                } else if let Some(inode) = self.thread(number).disown(super::LOCK_FILE) {
                    *lock_file = Some(inode);
                    self.has_lock_file = true;
                } else if words == Some("Open") {
                    self.open.extend(*lock_file);
                    self.has_lock_file = true;
                }
                Heard::Answered(number)
            }
            _ => Heard::Nothing,
        }
    }

    /// Has a thread ask something, if it may: whether it asks.
    fn think(&mut self, thread: u32, lock_file: Option<InodeId>, out: &mut Vec<Deed>) -> bool {
        if self.thread(thread).waiting.is_some() {
            return true;
        }
        let Some(dir) = self.dir else {
            if thread == 1 {
                self.thread(1).ask_for_directory();
            }
            return thread == 1;
        };
        if !self.ready {
            if thread == 1 {
                self.thread(1).ask_for_no_trash(dir);
            }
            return thread == 1;
        }
        // The first thread of each mount shares a lock with those of the others.
        if thread == 1 {
            if !self.has_lock_file && (lock_file.is_some() || self.number == 0) {
                self.thread(1).ask_for_lock_file(lock_file);
                return true;
            }
            let ends = self.thread(1).left.is_some();
            let has_lock = self.thread(1).has_lock;
            if let Some(inode) = lock_file.filter(|_| self.has_lock_file)
                && (has_lock || (!ends && self.rng.chance(1, 3)))
            {
                if has_lock {
                    let mount = self.number;
                    out.push(Deed::Tell(Event::MountLocked { mount, held: false }));
                }
                self.thread(1).ask_for_lock(inode);
                return true;
            }
        }
        let it = &mut self.threads[thread as usize - 1];
        if let Some(closed) = it.think(dir, &mut self.rng) {
            self.open.remove(&closed);
        }
        self.thread(thread).waiting.is_some()
    }
}

impl Crowd {
    pub(super) fn beat_in(&mut self, now: SimTime, client: ClientId, out: &mut Vec<Deed>) {
        out.push(Deed::Plan {
            at: now + BEAT,
            moment: Moment::Beat { client },
        });
    }

    pub(super) fn on_beat<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        out: &mut Vec<Deed>,
    ) {
        let Some(mount) = self.links.get(&client).map(|link| link.mount) else {
            return;
        };
        let it = self.mount(mount);
        if it.client != Some(client) {
            return;
        }
        let silent = view.now.since(it.heard_at) > SILENCE;
        let late = !it.registered && view.now.since(it.connected_at) > PATIENCE;
        if silent || late {
            return self.give_up(view.now, client, out);
        }
        let bytes = it.sign_of_life();
        self.say(view, client, bytes, out);
        self.beat_in(view.now, client, out);
    }

    /// A mount closes its connection, and looks for another.
    fn give_up(&mut self, now: SimTime, client: ClientId, out: &mut Vec<Deed>) {
        self.break_link(now, client, out);
        self.on_dropped(now, client, out);
    }

    pub(super) fn on_down<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        bytes: &[u8],
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get(&client) else {
            return;
        };
        let mount = link.mount;
        let it = &mut self.mounts[usize::from(mount)];
        if it.client != Some(client) || link.line.broken {
            return;
        }
        it.heard_at = view.now;
        it.reader.push(bytes);
        loop {
            let it = &mut self.mounts[usize::from(mount)];
            let packet = match it.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return,
                Err(error) => panic!("a face wrote nonsense: {error}"),
            };
            let said = match ToClient::parse(&packet, Form::of(Version::OURS)) {
                Ok(said) => said,
                Err(error) => panic!("a face wrote nonsense: {error}"),
            };
            match it.on_packet(&mut self.lock_file, said, out) {
                Heard::Nothing => {}
                Heard::Registered => {
                    self.go_on(view.now, mount, out);
                    self.say_for_scribes(view, mount, out);
                }
                Heard::Told(scribe, reply) => {
                    let it = self.mounts[usize::from(mount)].scribe(scribe);
                    let mut facts = Vec::new();
                    let next = it.on_reply(&reply, &mut self.shared, &mut facts);
                    self.do_next(view, (mount, scribe), next, facts, out);
                }
                Heard::Answered(thread) => {
                    let more = self.mounts[usize::from(mount)].ready;
                    self.go_in(view.now, mount, thread, out);
                    if thread == 1 && more {
                        // Those who waited for the directory.
                        self.go_on(view.now, mount, out);
                    }
                }
                Heard::GiveUp => return self.give_up(view.now, client, out),
            }
        }
    }

    /// All threads go on.
    pub(super) fn go_on(&mut self, now: SimTime, mount: u8, out: &mut Vec<Deed>) {
        for thread in 1..=u32::from(self.options.threads) {
            self.go_in(now, mount, thread, out);
        }
    }

    fn go_in(&mut self, now: SimTime, mount: u8, thread: u32, out: &mut Vec<Deed>) {
        let it = self.mount(mount);
        let mean = match it.thread(thread).left {
            Some(_) => 1_000_000,
            None => it.mean_ms * 1_000_000,
        };
        let waits = it.thread(thread).waiting.is_some();
        let after = if waits {
            0
        } else {
            crate::draw::exponential(&mut it.rng, mean)
        };
        let it = self.mount(mount).thread(thread);
        if std::mem::replace(&mut it.goes, true) {
            return;
        }
        out.push(Deed::Plan {
            at: now + Duration::from_nanos(after.max(1)),
            moment: Moment::Go { mount, thread },
        });
    }

    pub(super) fn on_go<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        mount: u8,
        thread: u32,
        out: &mut Vec<Deed>,
    ) {
        let lock_file = self.lock_file;
        let it = self.mount(mount);
        it.thread(thread).goes = false;
        let Some(client) = it.client.filter(|_| it.registered) else {
            // It goes on when it is registered again.
            return;
        };
        if it.think(thread, lock_file, out) {
            let bytes = it.unsaid();
            if !bytes.is_empty() {
                self.say(view, client, bytes, out);
            }
        } else if !it.thread(thread).is_done() {
            self.go_in(view.now, mount, thread, out);
        }
    }
}

impl About {
    /// The promise.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::Once => "P-ONCE",
            Self::Session => "P-SESSION",
        }
    }
}
