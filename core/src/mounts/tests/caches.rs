//! What clients are told of chunks and caches beside what they ask, and how it is taken back.

use super::requests::{created, lookup, say_open, status};
use super::rig::*;
use crate::chunks::Address;
use crate::chunks::keeper::Holder;
use crate::id::{ChunkId, CsId, InodeId};
use crate::moosefs::client::data::Open;
use crate::moosefs::client::push::ChunkChanged;
use crate::moosefs::client::tree::Looked;
use crate::moosefs::client::{Call, Reply, ToClient};
use crate::moosefs::fields::Form;
use crate::moosefs::flags;
use crate::moosefs::version::Version;
use crate::mounts::Event;
use crate::namespace::op::{self, Caller, Op, Query};
use crate::native::request::Consistency;
use crate::time::Duration;

fn holder() -> Holder {
    Holder {
        csid: CsId(1),
        address: Address {
            ip: HOME,
            port: 9422,
        },
        version: 0x0003_00EA,
        labels: 0,
    }
}

/// An OPEN by what was told with the name.
fn open_told(inode: InodeId, more: u8) -> Call {
    Call::Open(Open {
        inode,
        by: root(),
        flags: flags::open::READ | flags::open::AFTER_CREATE | more,
    })
}

fn looked(rig: &mut Rig, conn: Conn, name: &str) -> Looked {
    match rig.call(conn, 9, &lookup(name)) {
        Some(Reply::Lookup(Ok(looked))) => looked,
        other => panic!("{other:?}"),
    }
}

/// The chunk of a file is written, by nobody who is connected here.
fn written(rig: &mut Rig, inode: InodeId) -> ChunkId {
    let caller = Caller {
        session: crate::id::SessionId(0),
        uid: 0,
        gids: vec![0],
    };
    let (result, _) = rig.by_hand(
        None,
        Op::WriteChunk {
            caller: caller.clone(),
            inode,
            index: 0,
            go_on: false,
            chunk_moved: false,
            may_touch_times: false,
        },
    );
    let Ok(op::Reply::Chunk { chunk, version, .. }) = result else {
        panic!("{result:?}");
    };
    let (settled, _) = rig.by_hand(None, Op::SettleChunk { chunk, version });
    assert_eq!(settled, Ok(op::Reply::Done));
    let (ended, _) = rig.by_hand(
        None,
        Op::WriteChunkEnd {
            caller,
            inode,
            index: 0,
            chunk,
            length: 10,
            may_touch_times: false,
        },
    );
    assert_eq!(ended, Ok(op::Reply::Done));
    chunk
}

/// Chunks that a client heard to have changed.
fn heard_chunks(rig: &mut Rig, conn: Conn) -> Vec<(InodeId, ChunkId)> {
    let mut heard = Vec::new();
    while let Some(packet) = rig.hear(conn) {
        if let Ok(ToClient::ChunkChanged(ChunkChanged { inode, chunk, .. })) =
            ToClient::parse(&packet, Form::of(Version::OURS))
        {
            heard.push((inode, chunk));
        }
    }
    heard
}

/// A file with a chunk, closed again; nobody has come back a moment ago.
fn with_file(rig: &mut Rig, conn: Conn) -> (InodeId, ChunkId) {
    rig.holder = Some(holder());
    let file = created(rig.call(conn, 1, &create("file")));
    say_open(rig, conn, &[]);
    let chunk = written(rig, file);
    rig.pass(Duration::from_secs(20));
    while rig.hear(conn).is_some() {}
    (file, chunk)
}

#[test]
fn what_follows_a_first_answer_is_asked_of_the_same_state_and_of_no_leader() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    let (file, chunk) = with_file(&mut rig, conn);
    rig.asked.clear();
    assert_eq!(looked(&mut rig, conn, "file").chunk.unwrap().chunk, chunk);
    assert_eq!(status(rig.call(conn, 1, &open(file))), Ok(()));
    let by_kind = |rig: &Rig, wanted: fn(&Query) -> bool| {
        let asked = rig.asked.iter().filter(|(query, _)| wanted(query));
        asked.map(|(_, how)| *how).collect::<Vec<_>>()
    };
    let first = by_kind(&rig, |query| matches!(query, Query::Lookup { .. }));
    assert_eq!(first, [Consistency::Strict]);
    let fast =
        |how: &Consistency| matches!(how, Consistency::Fast { not_before } if not_before.0 > 0);
    let chunks = by_kind(&rig, |query| matches!(query, Query::ListChunks { .. }));
    let eattrs = by_kind(&rig, |query| matches!(query, Query::GetEattr { .. }));
    assert_eq!((chunks.len(), eattrs.len()), (1, 2));
    assert!(chunks.iter().all(fast), "{chunks:?}");
    assert!(eattrs.iter().all(fast), "{eattrs:?}");
    // The answer to an open waits until this node has applied it.
    let opened = rig.applied.len() as u64;
    assert!(matches!(eattrs[1], Consistency::Fast { not_before } if not_before.0 == opened));
    rig.behind = Some(0);
    assert_eq!(rig.call(conn, 1, &open(file)), None);
    rig.catch_up();
    assert_eq!(status(rig.reply(conn, 1, &open(file))), Ok(()));
}

#[test]
fn who_opens_a_file_by_what_it_was_told_hears_what_changed_since() {
    let mut rig = Rig::new();
    let (reader, _) = rig.mount(0);
    let (other, _) = rig.mount(1);
    let (file, chunk) = with_file(&mut rig, reader);
    assert_eq!(looked(&mut rig, reader, "file").chunk.unwrap().chunk, chunk);
    // The file is cut to nothing and written anew, through the other node.
    assert_eq!(status(rig.call(other, 1, &truncate(file, 0))), Ok(()));
    let next = written(&mut rig, file);
    assert_ne!(next, chunk);
    // It hears it now, when it may have opened the file already, and when it says that it has.
    assert_eq!(heard_chunks(&mut rig, reader), [(file, next)]);
    rig.send(reader, 1, &open_told(file, 0));
    assert_eq!(heard_chunks(&mut rig, reader), [(file, next)]);
    // Another thread may have been told before it.
    rig.send(reader, 2, &open_told(file, 0));
    assert_eq!(heard_chunks(&mut rig, reader), [(file, next)]);
    // Who was told long ago has opened it, or never will.
    rig.pass(Duration::from_secs(20));
    rig.send(reader, 2, &open_told(file, 0));
    assert_eq!(heard_chunks(&mut rig, reader), []);
    assert_eq!(heard_chunks(&mut rig, other), []);
}

#[test]
fn who_came_back_forgets_what_it_was_told_elsewhere() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let (file, _) = with_file(&mut rig, conn);
    looked(&mut rig, conn, "file");
    rig.lose(conn);
    let conn = rig.come_back(1, session);
    assert_eq!(status(rig.call(conn, 1, &open(file))), Ok(()));
    assert_eq!(rig.peers[&conn].forgot, 0, "it was not told with a name");
    assert_eq!(status(rig.call(conn, 1, &open_told(file, 0))), Ok(()));
    assert_eq!(rig.peers[&conn].forgot, 1);
    rig.pass(Duration::from_secs(15));
    assert_eq!(status(rig.call(conn, 1, &open_told(file, 0))), Ok(()));
    assert_eq!(rig.peers[&conn].forgot, 1, "it has forgotten by itself");
    // So it is when news may have been missed.
    rig.feed(1, Event::StateReplaced);
    assert_eq!(rig.peers[&conn].forgot, 2);
    assert_eq!(status(rig.call(conn, 1, &open_told(file, 0))), Ok(()));
    assert_eq!(rig.peers[&conn].forgot, 3);
}

#[test]
fn every_mount_forgets_where_chunks_are_when_copies_have_moved() {
    let mut rig = Rig::new();
    let (mount, _) = rig.mount(0);
    let (elsewhere, _) = rig.mount(1);
    let stranger = rig.connect(0, HOME);
    rig.feed(0, Event::CopiesMoved);
    let forgot = |rig: &Rig, conn: Conn| rig.peers[&conn].forgot;
    assert_eq!(forgot(&rig, mount), 1);
    assert_eq!(forgot(&rig, elsewhere), 0, "its node tells it");
    assert_eq!(forgot(&rig, stranger), 0);
}

fn may_keep(rig: &mut Rig, conn: Conn) -> bool {
    let looked = looked(rig, conn, "file");
    let kept = looked.flags & flags::looked::KEEP_CACHE != 0;
    let current = looked.attributes.flags & flags::shown::DATA_CACHE != 0;
    assert_eq!(kept, current, "attributes and flags say the same");
    kept
}

/// Looks a file up, opens it by that and, as it was not told otherwise, drops what it had.
fn open_dropping(rig: &mut Rig, conn: Conn, file: InodeId) {
    assert!(!may_keep(rig, conn), "what it has may be old");
    let call = open_told(file, flags::open::CACHE_CLEARED);
    rig.send(conn, 3, &call);
    while rig.hear(conn).is_some() {}
}

/// What an OPEN that was not told before is told.
fn open_keeps(reply: Option<Reply>) -> bool {
    match reply {
        Some(Reply::Open(Ok(opened))) => opened.flags & flags::opened::KEEP_CACHE != 0,
        other => panic!("{other:?}"),
    }
}

/// The two sessions of most tests, each at a node of its own, and a file.
fn two() -> (Rig, Conn, Conn, InodeId) {
    let mut rig = Rig::new();
    let (one, _) = rig.mount(0);
    let (other, _) = rig.mount(1);
    let (file, _) = with_file(&mut rig, one);
    (rig, one, other, file)
}

#[test]
fn who_dropped_its_cache_may_keep_it_until_another_changes_the_file_through_another_node() {
    let (mut rig, one, other, file) = two();
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
    assert!(open_keeps(rig.call(one, 1, &open(file))));
    // Another session knows nothing of that, also at the same node.
    assert!(!may_keep(&mut rig, other));
    // A change of the attributes is none of the data.
    assert_eq!(status(rig.call(other, 1, &mkdir("dir"))), Ok(()));
    assert!(may_keep(&mut rig, one));
    rig.send(other, 1, &truncate(file, 77));
    while rig.hear(one).is_some() || rig.hear(other).is_some() {}
    assert!(!may_keep(&mut rig, one));
    assert!(!open_keeps(rig.call(one, 1, &open(file))));
    // So does the data of a chunk, with the length as it was.
    rig.pass(Duration::from_secs(20));
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
    written(&mut rig, file);
    while rig.hear(one).is_some() {}
    assert!(!may_keep(&mut rig, one));
}

#[test]
fn ones_own_change_takes_only_from_others() {
    let (mut rig, one, other, file) = two();
    open_dropping(&mut rig, one, file);
    open_dropping(&mut rig, other, file);
    assert!(may_keep(&mut rig, one));
    assert!(may_keep(&mut rig, other));
    rig.send(one, 1, &truncate(file, 77));
    while rig.hear(one).is_some() {}
    while rig.hear(other).is_some() {}
    assert!(may_keep(&mut rig, one));
    assert!(!may_keep(&mut rig, other));
    // What a tool does in the session did not go through the mount's cache.
    let src = created(rig.call(other, 1, &create("src")));
    rig.send(other, 1, &truncate(src, 5));
    while rig.hear(other).is_some() {}
    let session = crate::id::SessionId(1);
    let (gids, uid) = (vec![0], 0);
    let (appended, _) = rig.by_hand(
        None,
        Op::AppendSlice {
            caller: Caller { session, uid, gids },
            dst: file,
            src,
            from: 0,
            to: 1,
        },
    );
    assert_eq!(appended, Ok(op::Reply::Done));
    while rig.hear(one).is_some() {}
    assert!(!may_keep(&mut rig, one));
}

#[test]
fn a_node_that_is_behind_says_nothing_of_caches_before_it_has_heard_of_every_change() {
    let (mut rig, one, other, file) = two();
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
    rig.behind = Some(0);
    assert_eq!(status(rig.call(other, 1, &truncate(file, 77))), Ok(()));
    // The leader has opened the file; this node has not heard of the change.
    assert_eq!(rig.call(one, 1, &open(file)), None);
    assert_eq!(rig.call(one, 9, &lookup("file")), None);
    rig.catch_up();
    let mut told = Vec::new();
    while let Some(packet) = rig.hear(one) {
        for (id, call) in [(1, open(file)), (9, lookup("file"))] {
            if let Ok(ToClient::Reply { id: of, reply }) =
                ToClient::parse(&packet, call.form(Version::OURS))
                && of.0 == id
            {
                told.push(match reply {
                    Reply::Open(_) => open_keeps(Some(reply)),
                    Reply::Lookup(Ok(it)) => it.flags & flags::looked::KEEP_CACHE != 0,
                    other => panic!("{other:?}"),
                });
            }
        }
    }
    assert_eq!(told, [false, false]);
}

#[test]
fn what_was_dropped_before_the_last_change_is_not_taken_for_dropped_after_it() {
    let (mut rig, one, other, file) = two();
    // It looks the file up, opens and reads it; then another changes it; then it is looked up by
    // another thread; only then the first one's OPEN comes.
    assert!(!may_keep(&mut rig, one));
    assert_eq!(status(rig.call(other, 1, &truncate(file, 77))), Ok(()));
    while rig.hear(one).is_some() {}
    assert!(!may_keep(&mut rig, one));
    rig.send(one, 3, &open_told(file, flags::open::CACHE_CLEARED));
    while rig.hear(one).is_some() {}
    assert!(!may_keep(&mut rig, one));
    rig.pass(Duration::from_secs(20));
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
}

#[test]
fn nothing_is_kept_over_a_lost_connection_or_a_state_that_was_replaced() {
    let mut rig = Rig::new();
    let (one, session) = rig.mount(0);
    let (file, _) = with_file(&mut rig, one);
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
    rig.lose(one);
    let one = rig.come_back(0, session);
    open_dropping(&mut rig, one, file);
    // What it says at first may be of before it was away.
    open_dropping(&mut rig, one, file);
    rig.pass(Duration::from_secs(15));
    open_dropping(&mut rig, one, file);
    assert!(may_keep(&mut rig, one));
    rig.feed(0, Event::StateReplaced);
    open_dropping(&mut rig, one, file);
    assert!(!may_keep(&mut rig, one));
}

#[test]
fn who_keeps_its_cache_by_a_name_hears_what_changed_before_it_says_that_it_opened() {
    let (mut rig, one, _, file) = two();
    // Without a place, so that the cache alone is what it was told of.
    rig.holder = None;
    open_dropping(&mut rig, one, file);
    say_open(&mut rig, one, &[]);
    rig.pass(Duration::from_secs(20));
    assert!(may_keep(&mut rig, one));
    let chunk = written(&mut rig, file);
    assert_eq!(heard_chunks(&mut rig, one), [(file, chunk)]);
    rig.send(one, 3, &open_told(file, 0));
    assert_eq!(heard_chunks(&mut rig, one), [(file, chunk)]);
}
