//! Names of a directory, page by page of the namespace, as one reply; and the time that reading
//! them touches.

use super::convert;
use super::session::Client;
use super::task::{Stage, Step};
use crate::id::InodeId;
use crate::moosefs::attributes::Attributes;
use crate::moosefs::client::Reply;
use crate::moosefs::client::tree::{DIRECTORY_END, DirEntry, Entry, Page, ReadDir};
use crate::moosefs::flags;
use crate::moosefs::status::Status;
use crate::namespace::op::{self, Attr, Op, Query};
use crate::time::WallTime;

/// Longest reply to a READDIR, bytes.
const LISTING_BYTES_MAX: usize = 0xFFFF_0000;
/// A day, in seconds.
const DAY: u64 = 86_400;

/// Names of a directory that were found so far.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Names to be passed over, since the client has them.
    pub skip: u64,
    /// How many names came.
    pub seen: u64,
    /// Bytes of the reply so far.
    pub bytes: usize,
    /// Those for the client.
    pub entries: Vec<DirEntry>,
}

/// How many names are asked for at once.
fn page_max(read: &ReadDir, skip: u64) -> u32 {
    let wanted = read.page.as_ref().map_or(u32::MAX, |page| page.entries_max);
    match wanted {
        0 => 0,
        wanted => {
            let all = u64::from(wanted).saturating_add(skip);
            u32::try_from(all).unwrap_or(u32::MAX)
        }
    }
}

/// The names of a directory behind `after`.
pub fn list(client: &Client, read: &ReadDir, skip: u64, after: Vec<u8>) -> Step {
    Step::Ask(Query::ReadDir {
        caller: convert::caller(client, &read.by),
        inode: read.inode,
        attrs: read.flags.unwrap_or(0) & flags::readdir::ATTRIBUTES != 0,
        after,
        max: page_max(read, skip),
    })
}

/// Takes a page of names in; the next page, or the reply.
pub fn on_page(
    client: &Client,
    read: &ReadDir,
    now: WallTime,
    mut listing: Listing,
    entries: Vec<op::Entry>,
    done: bool,
) -> Result<(Step, Stage), Status> {
    let wanted = read.page.as_ref().map_or(u32::MAX, |page| page.entries_max);
    let record = Attributes::bytes(client.version);
    let mut last = Vec::new();
    let mut touched = None;
    let mut full = false;
    for entry in entries {
        full = listing.entries.len() as u64 >= u64::from(wanted);
        if full {
            break;
        }
        if entry.name == b"." {
            touched = entry.attr.clone();
        }
        last.clone_from(&entry.name);
        listing.seen += 1;
        if listing.seen <= listing.skip {
            continue;
        }
        let what = match &entry.attr {
            Some(attr) => Entry::Attributes(convert::attributes(attr)),
            None => Entry::Kind(convert::node_number(entry.kind)),
        };
        listing.bytes += 1 + entry.name.len() + 4;
        listing.bytes += match what {
            Entry::Attributes(_) => record,
            Entry::Kind(_) => 1,
        };
        if listing.bytes > LISTING_BYTES_MAX {
            return Err(Status::ERANGE);
        }
        listing.entries.push(DirEntry {
            name: convert::name(entry.name),
            inode: entry.inode,
            what,
        });
    }
    full |= listing.entries.len() as u64 >= u64::from(wanted);
    if !done && !full {
        let step = list(client, read, listing.skip, last);
        return Ok((step, Stage::Listing(listing)));
    }
    let next = match done && !full {
        true => DIRECTORY_END,
        false => listing.seen,
    };
    let reply = Reply::ReadDir(Ok(Page {
        next,
        entries: listing.entries,
    }));
    // The directory's own entry has its times; without attributes they have to be asked for.
    Ok(match touched {
        Some(attr) => {
            let then = touch_node(client, now, read.inode, &attr);
            (Step::Tell { reply, then }, Stage::First)
        }
        None => (ask_attr(client, read.inode), Stage::Touch(reply)),
    })
}

/// The command that touches a node's access time, when it would change something: an entry of the
/// log for every READDIR would be one too many.
pub fn touch_node(client: &Client, now: WallTime, inode: InodeId, attr: &Attr) -> Option<Op> {
    let old = attr.atime <= attr.mtime || attr.atime <= attr.ctime;
    let a_day_ago = u64::from(attr.atime.0) + DAY < u64::from(now.0);
    if client.params.flags.read_only || now <= attr.atime || !(old || a_day_ago) {
        return None;
    }
    let inode = client.real(inode);
    Some(Op::TouchAtime { inode })
}

/// Asks for a node's times, whatever the client can see.
pub fn ask_attr(client: &Client, inode: InodeId) -> Step {
    Step::Ask(Query::GetAttr {
        caller: client.itself(),
        inode,
        opened: true,
    })
}
