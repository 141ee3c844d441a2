//! Packets of clients in, packets for clients out, over a tree in memory.

mod data;
mod rig;
mod session;
mod tools;
mod tree;

use proptest::prelude::*;

use self::rig::{Rig, attr_at, by, status_of};
use super::{Came, Client, LockWait, Step, Task};
use crate::chunks::{ChunkAnswer, ChunkWish, Refusal};
use crate::id::{ChunkId, InodeId, SessionId};
use crate::moosefs::client::{Call, FromClient, MsgId, OLDEST_CLIENT, Reply, Times, ToClient};
use crate::moosefs::flags;
use crate::moosefs::frame::Packet;
use crate::moosefs::sample::Draw;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;
use crate::namespace::op::{self, Answer, Disable, NodeKind, Notice, Op, SessionParams};
use crate::time::WallTime;

const ROOT: u32 = 1;
