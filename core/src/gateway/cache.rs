//! Whether a client may keep what it has cached of a file: in which replies that can be said, and
//! what it says of its cache itself. Whether it may is known to whoever knows of all changes.

use super::session::Client;
use crate::id::InodeId;
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::flags;
use crate::moosefs::version::Version;

/// Clients of this version and later are told apart from the attributes, and say when they drop
/// what they have.
const KNOWS_KEEPING: Version = Version::new(3, 0, 113);

/// The file of which this reply can say that the client may keep what it has, as the client knows
/// it.
#[must_use]
pub fn cached(client: &Client, call: &Call, reply: &Reply) -> Option<InodeId> {
    if client.tool || client.version < KNOWS_KEEPING {
        return None;
    }
    match (call, reply) {
        (Call::Lookup(_), Reply::Lookup(Ok(looked))) => {
            let is_data = super::finish::has_data(looked.attributes.kind, looked.flags);
            let direct = looked.flags & flags::looked::DIRECT != 0;
            (is_data && !direct).then_some(looked.inode)
        }
        (Call::Open(open), Reply::Open(Ok(opened))) => {
            let direct = opened.flags & flags::opened::DIRECT != 0;
            (!direct).then_some(open.inode)
        }
        _ => None,
    }
}

/// Says in a reply that the client may keep what it has.
pub fn keep(reply: &mut Reply) {
    match reply {
        Reply::Lookup(Ok(looked)) => {
            looked.flags |= flags::looked::KEEP_CACHE;
            looked.attributes.flags |= flags::shown::DATA_CACHE;
        }
        Reply::Open(Ok(opened)) => {
            opened.flags |= flags::opened::KEEP_CACHE;
            opened.attributes.flags |= flags::shown::DATA_CACHE;
        }
        other => panic!("{other:?} says nothing of caches"),
    }
}

/// Whether the client says that it has dropped what it had of the file that it opens.
#[must_use]
pub fn is_dropped(call: &Call) -> bool {
    matches!(call, Call::Open(open) if open.flags & flags::open::CACHE_CLEARED != 0)
}
