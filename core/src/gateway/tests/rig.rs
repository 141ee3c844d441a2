//! A client and a tree in memory, and nothing between them but tasks.

use std::collections::BTreeMap;

use crate::chunks::ChunkWish;
use crate::gateway::{Came, Client, Step, Task, World};
use crate::id::{InodeId, LogIndex, NodeId, SessionId};
use crate::moosefs::client::{Call, FromClient, MsgId, ToClient};
use crate::moosefs::frame::{Packet, PacketReader};
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;
use crate::namespace::Namespace;
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Command, Notice, Op, Query, SessionParams};
use crate::store::MemStore;
use crate::time::{Stamp, WallTime};

/// Message id of all requests.
pub const ID: u32 = 77;
/// Bytes of all chunkservers.
pub const TOTAL: u64 = 1 << 40;
/// Bytes of them that are free.
pub const FREE: u64 = 1 << 39;

pub struct Rig {
    pub client: Client,
    /// Time of what comes next, seconds.
    pub now: u32,
    pub options: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What was left to do after replies.
    pub left: Vec<Op>,
    /// What others have to be told of the last command.
    pub notices: Vec<Notice>,
    /// The last request that came to no reply.
    pub task: Option<Task>,
    tree: Namespace<MemStore>,
    index: u64,
}

/// The client of a new rig.
pub fn client() -> Client {
    Client {
        session: SessionId(1),
        params: SessionParams::unrestricted(),
        version: Version::OURS,
        tool: false,
    }
}

pub fn world(options: &BTreeMap<Vec<u8>, Vec<u8>>, now: u32) -> World<'_> {
    World {
        now: WallTime(now),
        total: TOTAL,
        free: FREE,
        options,
    }
}

impl Rig {
    /// One session that may do everything.
    pub fn new() -> Self {
        let mut rig = Self {
            client: client(),
            now: 1_000,
            options: BTreeMap::new(),
            left: Vec::new(),
            notices: Vec::new(),
            task: None,
            tree: Namespace::open(MemStore::new()).unwrap(),
            index: 0,
        };
        let params = rig.client.params.clone();
        let session = rig.run(Op::OpenSession { params });
        assert_eq!(session, Ok(op::Reply::Session(rig.client.session)));
        rig
    }

    pub fn world(&self) -> World<'_> {
        world(&self.options, self.now)
    }

    /// Changes what the session may do.
    pub fn params(&mut self, change: impl FnOnce(&mut SessionParams)) {
        change(&mut self.client.params);
        let (session, params) = (self.client.session, self.client.params.clone());
        self.apply(Op::UpdateSession { session, params });
    }

    /// Applies a command.
    pub fn run(&mut self, op: Op) -> Result<op::Reply, FsError> {
        self.index += 1;
        let stamp = Stamp {
            time: u64::from(self.now) * 1_000_000,
            node: NodeId(1),
        };
        let command = Command {
            stamp,
            now: WallTime(self.now),
            request: None,
            op,
        };
        let outcome = self.tree.apply(LogIndex(self.index), &command).unwrap();
        self.notices = outcome.notices;
        outcome.result
    }

    /// Applies a command that must succeed.
    pub fn apply(&mut self, op: Op) -> op::Reply {
        self.run(op.clone())
            .unwrap_or_else(|error| panic!("{op:?} was refused: {error}"))
    }

    /// Takes a request as far as it comes without chunkservers.
    pub fn drive(&mut self, call: Call) -> Step {
        let options = self.options.clone();
        let world = world(&options, self.now);
        let client = self.client.clone();
        let (mut task, mut step) = Task::begin(&client, world, call);
        loop {
            let came = match step {
                Step::Ask(query) => Came::Answer(self.ask(&query)),
                Step::Do(op) => Came::Outcome(self.run(op)),
                Step::Chunk(_) | Step::Wait(_) | Step::Tell { .. } => {
                    self.task = Some(task);
                    return step;
                }
            };
            step = task.go_on(&client, world, came);
        }
    }

    pub fn ask(&self, query: &Query) -> Result<Answer, FsError> {
        self.tree.query(WallTime(self.now), query).unwrap()
    }

    /// The last step of a request whose fields are written behind its message id.
    pub fn step(&mut self, number: u32, fields: impl FnOnce(&mut Writer)) -> Step {
        let call = call(number, fields);
        self.drive(call)
    }

    /// The reply to a request.
    pub fn send(&mut self, number: u32, fields: impl FnOnce(&mut Writer)) -> Packet {
        let call = call(number, fields);
        let form = call.form(self.client.version);
        let Step::Tell { reply, then } = self.drive(call) else {
            panic!("packet {number} came to no reply");
        };
        self.left.extend(then);
        let id = MsgId(ID);
        packet_of(&ToClient::Reply { id, reply }.encode(form))
    }

    /// What a request needs of chunkservers.
    pub fn hand_on(&mut self, number: u32, fields: impl FnOnce(&mut Writer)) -> ChunkWish {
        match self.step(number, fields) {
            Step::Chunk(request) => request,
            other => panic!("packet {number} needs no chunkservers: {other:?}"),
        }
    }

    pub fn lookup(&mut self, parent: u32, name: &[u8], uid: u32, gids: &[u32]) -> Packet {
        self.send(406, |w| {
            w.u32(parent).name(name);
            by(w, uid, gids);
        })
    }

    /// Makes a directory of root's.
    pub fn dir(&mut self, parent: u32, name: &[u8]) -> u32 {
        let reply = self.send(418, |w| {
            w.u32(parent).name(name).u16(0o755).u16(0);
            by(w, 0, &[0]);
            w.u8(0);
        });
        assert_eq!(status_of(&reply), None);
        u32_at(&reply, 4)
    }

    /// Makes a file of root's, which is not open.
    pub fn file(&mut self, parent: u32, name: &[u8]) -> u32 {
        let reply = self.send(416, |w| {
            w.u32(parent).name(name).u8(1).u16(0o644).u16(0);
            by(w, 0, &[0]);
            w.u32(0);
        });
        assert_eq!(status_of(&reply), None);
        u32_at(&reply, 4)
    }

    /// Sets a length as root; without flags in the oldest form.
    pub fn truncate(&mut self, inode: u32, flags: Option<u8>, length: u64) -> Packet {
        self.send(464, |w| {
            w.u32(inode);
            match flags {
                Some(flags) => by(w.u8(flags), 0, &[0]),
                None => {
                    w.u32(0).u32(0);
                }
            }
            w.u64(length);
        })
    }

    /// Names and nodes of a directory, as root.
    pub fn read_dir(&mut self, inode: u32, flags: u8) -> Vec<(Vec<u8>, u32)> {
        let reply = self.send(428, |w| {
            w.u32(inode);
            by(w, 0, &[0]);
            w.u8(flags).u32(u32::MAX).u64(0);
        });
        assert_eq!(status_of(&reply), None);
        let mut found = Vec::new();
        let mut rest = &reply.payload[12..];
        while let [length, more @ ..] = rest {
            let (name, more) = more.split_at(usize::from(*length));
            let (inode, more) = more.split_first_chunk().unwrap();
            found.push((name.to_vec(), u32::from_be_bytes(*inode)));
            rest = &more[if flags & 1 == 0 { 1 } else { 36 }..];
        }
        found
    }

    /// Files that are open in the session.
    pub fn open_files(&self) -> Vec<(SessionId, InodeId)> {
        let session = self.client.session;
        match self.ask(&Query::ListOpenFiles { session }) {
            Ok(Answer::OpenFiles(files)) => files,
            other => panic!("{other:?}"),
        }
    }
}

/// A request of bytes, parsed.
pub fn call(number: u32, fields: impl FnOnce(&mut Writer)) -> Call {
    let mut writer = Writer::new(number);
    writer.u32(ID);
    fields(&mut writer);
    match FromClient::parse(&packet_of(&writer.finish())) {
        Ok(FromClient::Call { id, call }) => {
            assert_eq!(id, MsgId(ID));
            call
        }
        other => panic!("packet {number} is {other:?}"),
    }
}

fn packet_of(bytes: &[u8]) -> Packet {
    let mut reader = PacketReader::new(u32::MAX);
    reader.push(bytes);
    reader.next_packet().unwrap().unwrap()
}

/// User and groups, in the form with a list.
pub fn by(writer: &mut Writer, uid: u32, gids: &[u32]) {
    writer.u32(uid).u32(gids.len() as u32);
    for gid in gids {
        writer.u32(*gid);
    }
}

/// The status that a reply consists of.
pub fn status_of(reply: &Packet) -> Option<Status> {
    match reply.payload[4..] {
        [byte] => Status::of_byte(byte).err(),
        _ => None,
    }
}

pub fn u16_at(reply: &Packet, at: usize) -> u16 {
    u16::from_be_bytes(reply.payload[at..at + 2].try_into().unwrap())
}

pub fn u32_at(reply: &Packet, at: usize) -> u32 {
    u32::from_be_bytes(reply.payload[at..at + 4].try_into().unwrap())
}

/// Flags, type and mode, owner and group of an attribute record.
pub fn attr_at(reply: &Packet, at: usize) -> (u8, u16, u32, u32) {
    (
        reply.payload[at],
        u16_at(reply, at + 1),
        u32_at(reply, at + 3),
        u32_at(reply, at + 7),
    )
}
