//! What needs chunkservers: what is wished of whoever knows them, and what a client is told.

use super::begin::{refuse, tell};
use super::finish::has_data;
use super::session::Client;
use super::status;
use super::task::{Stage, Step, Task};
use crate::chunks::keeper::{CopyState, Holder, ShownCopy};
use crate::chunks::{ChunkAnswer, ChunkWish, Located, Refusal, Repairs};
use crate::id::{ChunkId, InodeId};
use crate::limits;
use crate::moosefs::client::data::{ChunkPlace, Location, LookedChunk, Protocol2};
use crate::moosefs::client::inspect::{
    Checked, CheckedChunk, ChunkWithin, ChunksWithin, Copy, NodeInfo, NodeParts, NodesWithin,
    Repaired,
};
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::status::Status;
use crate::namespace::op::{Answer, ChunkInfo, Disable, Entry, NodeKind, Query};
use crate::time::WallTime;

/// Chunks that are looked at together.
const PAGE: u32 = 1_000;
/// Chunks that are repaired together: each may take a command, and who asks waits.
const REPAIR_PAGE: u32 = 100;
/// Most copies that a count of its own is kept for.
const COUNTED_MAX: usize = 10;
/// Where holes are counted.
const HOLES: usize = 11;

/// Chunks of a file whose copies are to be shown.
#[derive(Clone, Debug)]
pub(super) struct Showing {
    chunks: Vec<ChunkInfo>,
    length: u64,
    done: bool,
    /// Chunks with so many copies, of pages before.
    counts: [u32; 12],
}

/// Nodes in a directory that were found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Within {
    /// How many names came.
    seen: u64,
    /// Those for the client.
    nodes: Vec<InodeId>,
}

/// A repair: what came of it so far, and where it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repairing {
    length: u64,
    next: Option<u32>,
    came: Repairs,
}

impl Repairing {
    /// The repair of a file of this length.
    pub(super) fn of_file(length: u64) -> Self {
        Self {
            length,
            next: None,
            came: Repairs::default(),
        }
    }
}

/// Asks for a page of a file's chunks.
pub(super) fn list(client: &Client, inode: InodeId, from: u32, max: u32) -> Step {
    Step::Ask(Query::ListChunks {
        caller: client.itself(),
        inode,
        from,
        max: max.min(PAGE),
    })
}

/// The first step of CHECK.
pub(super) fn check(client: &Client, inode: InodeId, index: Option<u32>) -> Step {
    match index {
        Some(index) => list(client, inode, index, 1),
        None => list(client, inode, 0, PAGE),
    }
}

/// Asks for the chunks of a file that was looked up, where its client would be told of a single
/// one; ends any other request.
pub(super) fn maybe_place(task: &mut Task, client: &Client, reply: Reply) -> Step {
    let Reply::Lookup(Ok(looked)) = &reply else {
        return tell(reply);
    };
    let (attributes, inode) = (&looked.attributes, looked.inode);
    let is_one_chunk = (1..=limits::CHUNK_BYTES).contains(&attributes.length);
    if client.knows_places()
        && has_data(attributes.kind, looked.flags)
        && is_one_chunk
        && !client.forbids(Disable::Read)
    {
        task.stage = Stage::Looked(reply);
        return list(client, inode, 0, 2);
    }
    tell(reply)
}

/// The chunks of a file that was looked up came: a single one that nobody writes is placed.
pub(super) fn on_only_chunk(
    task: &mut Task,
    now: WallTime,
    reply: Reply,
    chunks: &[ChunkInfo],
    length: u64,
) -> Step {
    let told = match &reply {
        Reply::Lookup(Ok(looked)) => looked.attributes.length,
        other => panic!("{other:?} tells no place"),
    };
    match chunks {
        // Of another length the file was changed since it was looked up.
        [info]
            if info.index == 0
                && info.unsettled.is_none()
                && !info.is_locked(now)
                && length == told =>
        {
            let info = *info;
            task.stage = Stage::Looked(reply);
            Step::Chunk(ChunkWish::Look { info, length })
        }
        _ => tell(reply),
    }
}

/// A client that is told of a chunk without places waits for ten seconds, so it never is.
fn with_place(mut reply: Reply, located: &Located) -> Reply {
    if let Reply::Lookup(Ok(looked)) = &mut reply
        && !located.holders.is_empty()
    {
        looked.chunk = Some(LookedChunk {
            protocol: Protocol2,
            chunk: located.chunk,
            version: located.version,
            locations: located.holders.iter().map(location).collect(),
        });
    }
    reply
}

/// Asks for a page of a file's chunks to repair them.
pub(super) fn list_to_repair(client: &Client, inode: InodeId, from: u32) -> Step {
    list(client, inode, from, REPAIR_PAGE)
}

/// A page of chunks came that are to be repaired.
pub(super) fn on_chunks_to_repair(
    task: &mut Task,
    client: &Client,
    mut repairing: Repairing,
    chunks: &[ChunkInfo],
    done: bool,
) -> Step {
    let Call::Repair(repair) = &task.call else {
        panic!("{} repairs nothing", task.call.name());
    };
    let inode = client.real(repair.inode);
    let last = chunks.last().and_then(|info| info.index.checked_add(1));
    repairing.next = last.filter(|_| !done);
    let indexes: Vec<u32> = chunks.iter().map(|info| info.index).collect();
    if indexes.is_empty() {
        return repaired(&repairing);
    }
    task.stage = Stage::Repairing(repairing);
    Step::Chunk(ChunkWish::Repair { inode, indexes })
}

/// Holes are chunks that were right, as MooseFS counts them.
fn repaired(repairing: &Repairing) -> Step {
    let Repairs {
        erased, repaired, ..
    } = repairing.came;
    let slots = repairing.length.div_ceil(limits::CHUNK_BYTES);
    let changed = u64::from(erased) + u64::from(repaired);
    let unchanged = slots.saturating_sub(changed);
    tell(Reply::Repair(Ok(Repaired {
        unchanged: u32::try_from(unchanged).unwrap_or(u32::MAX),
        erased,
        repaired,
    })))
}

/// A node's attributes, or the names in it, came for a NODE_INFO.
pub(super) fn on_node(task: &mut Task, client: &Client, answer: Answer) -> Step {
    let Call::NodeInfo(info) = &task.call else {
        unreachable!("only a NODE_INFO asks what a node is made of");
    };
    match answer {
        Answer::Attr(attr) => match attr.kind {
            NodeKind::File => {
                let from = u32::try_from(info.next).unwrap_or(u32::MAX);
                list(client, info.inode, from, info.entries_max.max(1))
            }
            NodeKind::Directory => {
                let step = names_behind(client, info, Vec::new());
                task.stage = Stage::Within(Within::default());
                step
            }
            _ => tell(Reply::NodeInfo(Ok(NodeParts::Other))),
        },
        other => panic!("{other:?} came for a node"),
    }
}

fn names_behind(client: &Client, info: &NodeInfo, after: Vec<u8>) -> Step {
    Step::Ask(Query::ReadDir {
        caller: client.itself(),
        inode: info.inode,
        attrs: false,
        after,
        max: u32::MAX,
    })
}

/// A page of the names in a directory came, for a NODE_INFO. Nodes are told from the place on that
/// the part before named, the directory itself and the one above not among them.
pub(super) fn on_names(
    task: &mut Task,
    client: &Client,
    mut within: Within,
    entries: &[Entry],
    done: bool,
) -> Step {
    let Call::NodeInfo(info) = &task.call else {
        unreachable!("only a NODE_INFO asks what is in a directory");
    };
    let max = info.entries_max.max(1) as usize;
    let mut full = false;
    for entry in entries {
        if matches!(entry.name.as_slice(), b"." | b"..") {
            continue;
        }
        full = within.nodes.len() == max;
        if full {
            break;
        }
        if within.seen >= info.next {
            within.nodes.push(entry.inode);
        }
        within.seen += 1;
    }
    if let (false, false, Some(last)) = (full, done, entries.last()) {
        let step = names_behind(client, info, last.name.clone());
        task.stage = Stage::Within(within);
        return step;
    }
    tell(Reply::NodeInfo(Ok(NodeParts::Directory(NodesWithin {
        next: if full { within.seen } else { 0 },
        nodes: within.nodes,
    }))))
}

/// A page of chunks came, for a CHECK or a NODE_INFO.
pub(super) fn on_chunks(
    task: &mut Task,
    chunks: Vec<ChunkInfo>,
    length: u64,
    done: bool,
    counts: [u32; 12],
) -> Step {
    let wanted = chunks.iter().map(|info| (info.chunk, info.version));
    let wish = ChunkWish::Show {
        chunks: wanted.collect(),
    };
    task.stage = Stage::Showing(Showing {
        chunks,
        length,
        done,
        counts,
    });
    Step::Chunk(wish)
}

/// What was wished of chunks came.
///
/// # Panics
/// When something else came than was wished.
pub(super) fn on_answer(task: &mut Task, client: &Client, answer: ChunkAnswer) -> Step {
    let stage = std::mem::replace(&mut task.stage, Stage::First);
    match (&task.call, answer, stage) {
        (Call::Lookup(_), ChunkAnswer::Located(located), Stage::Looked(reply)) => {
            tell(with_place(reply, &located))
        }
        (Call::Lookup(_), ChunkAnswer::Refused(_), Stage::Looked(reply)) => tell(reply),
        (call, ChunkAnswer::Refused(refusal), _) => refused(call, client, refusal),
        (Call::ReadChunk(_), ChunkAnswer::Located(located), _) => {
            tell(Reply::ReadChunk(Ok(place(&located))))
        }
        (Call::WriteChunk(_), ChunkAnswer::Located(located), _) => {
            tell(Reply::WriteChunk(Ok(place(&located))))
        }
        (Call::Check(_) | Call::NodeInfo(_), ChunkAnswer::Copies(copies), Stage::Showing(it)) => {
            shown(task, client, it, &copies)
        }
        (Call::Repair(repair), ChunkAnswer::Repaired(more), Stage::Repairing(mut it)) => {
            let came = &mut it.came;
            came.unchanged = came.unchanged.saturating_add(more.unchanged);
            came.erased = came.erased.saturating_add(more.erased);
            came.repaired = came.repaired.saturating_add(more.repaired);
            match it.next {
                Some(from) => {
                    let step = list_to_repair(client, repair.inode, from);
                    task.stage = Stage::Repairing(it);
                    step
                }
                None => repaired(&it),
            }
        }
        (call, answer, _) => panic!("{answer:?} came for {call:?}"),
    }
}

fn shown(task: &mut Task, client: &Client, showing: Showing, copies: &[Vec<ShownCopy>]) -> Step {
    let Showing {
        chunks,
        length,
        done,
        mut counts,
    } = showing;
    let valid = |copies: &[ShownCopy]| {
        let valid = |copy: &&ShownCopy| copy.state == CopyState::Valid;
        copies.iter().filter(valid).count()
    };
    match &task.call {
        Call::Check(check) => {
            if let Some(index) = check.index {
                let found = chunks.first().zip(copies.first());
                let checked = match found.filter(|(info, _)| info.index == index) {
                    Some((info, copies)) => CheckedChunk {
                        chunk: info.chunk,
                        version: info.version,
                        copies: copies.iter().map(copy).collect(),
                    },
                    None => CheckedChunk {
                        chunk: ChunkId::HOLE,
                        version: 0,
                        copies: Vec::new(),
                    },
                };
                return tell(Reply::Check(Ok(Checked::Chunk(checked))));
            }
            for copies in copies {
                let count = &mut counts[valid(copies).min(COUNTED_MAX)];
                *count = count.saturating_add(1);
            }
            // Up to the last chunk: a file that was made longer has no holes behind it. Until the
            // last page came, this counts slots.
            if let Some(last) = chunks.last() {
                counts[HOLES] = last.index.saturating_add(1);
            }
            if let Some(next) = chunks.last().and_then(|info| info.index.checked_add(1))
                && !done
            {
                task.stage = Stage::Counting(counts);
                let inode = check.inode;
                return list(client, inode, next, PAGE);
            }
            let whole = counts[..HOLES]
                .iter()
                .fold(0, |sum: u32, count| sum.saturating_add(*count));
            counts[HOLES] = counts[HOLES].saturating_sub(whole);
            tell(Reply::Check(Ok(Checked::Copies(counts))))
        }
        Call::NodeInfo(_) => {
            let next = match done {
                true => 0,
                false => chunks.last().map_or(0, |info| u64::from(info.index) + 1),
            };
            let within = chunks.iter().zip(copies).map(|(info, copies)| ChunkWithin {
                chunk: info.chunk,
                size: bytes_of(info.index, length),
                copies: u8::try_from(valid(copies)).unwrap_or(u8::MAX),
            });
            let chunks = within.collect();
            tell(Reply::NodeInfo(Ok(NodeParts::File(ChunksWithin {
                next,
                length,
                chunks,
            }))))
        }
        call => panic!("{call:?} shows no chunks"),
    }
}

/// Bytes that a copy of one of a file's chunks takes, as they count in sums of directories.
fn bytes_of(index: u32, length: u64) -> u32 {
    let begin = u64::from(index) * limits::CHUNK_BYTES;
    let bytes = length.saturating_sub(begin).min(limits::CHUNK_BYTES);
    let blocks = bytes.next_multiple_of(limits::BLOCK_BYTES);
    u32::try_from(blocks + limits::CHUNK_HEADER_BYTES).unwrap_or(u32::MAX)
}

fn copy(shown: &ShownCopy) -> Copy {
    let state = match (shown.state, shown.to_remove) {
        (CopyState::Valid, false) => 0,
        (CopyState::Valid, true) => 1,
        (CopyState::WrongVersion(_), false) => 2,
        (CopyState::WrongVersion(_), true) => 3,
        (CopyState::Damaged, _) => 4,
    };
    Copy {
        ip: u32::from(shown.holder.address.ip),
        port: shown.holder.address.port,
        state,
    }
}

fn place(located: &Located) -> ChunkPlace {
    ChunkPlace {
        length: located.length,
        chunk: located.chunk,
        version: located.version,
        locations: located.holders.iter().map(location).collect(),
    }
}

fn location(holder: &Holder) -> Location {
    Location {
        ip: u32::from(holder.address.ip),
        port: holder.address.port,
        server: holder.version,
        labels: holder.labels,
    }
}

fn refused(call: &Call, client: &Client, refusal: Refusal) -> Step {
    let status = match refusal {
        Refusal::Fs(error) => status::of_refusal(error),
        // A truncate that is told EAGAIN counts its tries; one that is told LOCKED does not.
        Refusal::Again if matches!(call, Call::Truncate(_)) => Status::LOCKED,
        Refusal::Again => Status::EAGAIN,
        Refusal::NoServers => Status::NOCHUNKSERVERS,
        Refusal::NoSpace => Status::NOSPACE,
        Refusal::NotPresent => Status::CSNOTPRESENT,
        Refusal::Lost => Status::CHUNKLOST,
    };
    refuse(call, client, status)
}
