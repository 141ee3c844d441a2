//! Requests, their repeats at another node, lists of open files, and what others hear.

use super::rig::*;
use crate::id::{InodeId, Lane, RequestSeq, SessionId};
use crate::moosefs::client::data::Truncate;
use crate::moosefs::client::push::LengthChanged;
use crate::moosefs::client::tree::{Lookup, PageWanted, ReadDir, Remove};
use crate::moosefs::client::{Call, FromClient, MsgId, Reply, ToClient};
use crate::moosefs::fields::{Form, Name};
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::op::{Op, RequestId};
use crate::native::request::{ClientId, NodeError};
use crate::time::{Duration, WallTime};

pub fn status(reply: Option<Reply>) -> Result<(), Status> {
    reply.expect("it is answered").status()
}

pub fn lookup(name: &str) -> Call {
    let Call::Mkdir(mkdir) = mkdir(name) else {
        unreachable!("it is one");
    };
    Call::Lookup(Lookup {
        parent: InodeId::ROOT,
        name: Name::new(name).unwrap(),
        by: mkdir.by,
    })
}

pub fn created(reply: Option<Reply>) -> InodeId {
    match reply {
        Some(Reply::Create(Ok(created))) => created.inode,
        other => panic!("{other:?}"),
    }
}

/// How often a directory was to be made.
fn mkdirs(rig: &Rig) -> usize {
    let made = rig.applied.iter();
    made.filter(|(_, op)| matches!(op, Op::Mkdir { .. }))
        .count()
}

#[test]
fn requests_go_to_the_tree_and_replies_come_in_their_forms() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    let Some(Reply::Mkdir(Ok(made))) = rig.call(conn, 1, &mkdir("dir")) else {
        panic!("it is made");
    };
    let Some(Reply::Lookup(Ok(looked))) = rig.call(conn, 2, &lookup("dir")) else {
        panic!("it is found");
    };
    assert_eq!(
        (looked.inode, looked.attributes),
        (made.inode, made.attributes)
    );
    let file = created(rig.call(conn, 1, &create("file")));
    let Call::Mkdir(by) = mkdir("x") else {
        unreachable!("it is one");
    };
    let page = |flags| {
        Call::ReadDir(ReadDir {
            inode: InodeId::ROOT,
            by: by.by.clone(),
            flags: Some(flags),
            page: Some(PageWanted {
                entries_max: 100,
                next: 0,
            }),
        })
    };
    for flags in [0, 1] {
        let Some(Reply::ReadDir(Ok(page))) = rig.call(conn, 3, &page(flags)) else {
            panic!("it is listed");
        };
        let found: Vec<InodeId> = page.entries.iter().map(|entry| entry.inode).collect();
        assert!(found.contains(&made.inode) && found.contains(&file));
    }
    assert_eq!(
        status(rig.call(conn, 4, &lookup("none"))),
        Err(Status::ENOENT)
    );
    rig.say(conn, &FromClient::GetVersion(Some(MsgId(5))));
    let packet = rig.hear(conn).expect("it is told");
    let told = ToClient::parse(&packet, Form::of(Version::OURS)).unwrap();
    assert!(matches!(
        told,
        ToClient::Version {
            id: Some(MsgId(5)),
            ..
        }
    ));
}

#[test]
fn a_packet_in_pieces_is_one_and_packets_in_one_piece_are_many() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    let bytes = |id, name: &str| {
        let (id, call) = (MsgId(id), mkdir(name));
        FromClient::Call { id, call }.encode()
    };
    for byte in bytes(1, "a") {
        rig.bytes(conn, &[byte]);
    }
    rig.bytes(conn, &[bytes(2, "b"), bytes(3, "c")].concat());
    for (id, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let reply = rig.reply(conn, id, &mkdir(name));
        assert_eq!(status(reply), Ok(()));
    }
}

#[test]
fn what_makes_no_sense_ends_its_connection_and_no_other() {
    let mut rig = Rig::new();
    let (one, session) = rig.mount(0);
    let early = rig.connect(0, HOME);
    rig.send(early, 1, &mkdir("early"));
    assert!(
        rig.closed(early).is_some(),
        "a request before a registration"
    );
    let mut garbage = FromClient::Call {
        id: MsgId(1),
        call: mkdir("garbage"),
    }
    .encode();
    garbage.push(0);
    garbage[7] += 1;
    let unknown = [0, 0, 0x7F, 0, 0, 0, 0, 0];
    let endless = [0, 0, 1, 0xA2, 0xFF, 0, 0, 0];
    for bytes in [&garbage[..], &unknown, &endless] {
        let conn = rig.come_back(0, session);
        rig.bytes(conn, bytes);
        assert!(rig.closed(conn).is_some(), "{bytes:?}");
        assert_eq!(rig.hear(conn), None);
    }
    for said in [
        FromClient::OpenFiles {
            inodes: vec![],
            old_number: false,
        },
        FromClient::Times(vec![]),
    ] {
        let conn = rig.connect(0, HOME);
        rig.say(conn, &said);
        assert!(rig.closed(conn).is_some(), "{said:?}");
    }
    assert_eq!(mkdirs(&rig), 0);
    assert_eq!(rig.closed(one), None);
}

#[test]
fn a_request_with_a_name_that_no_thread_has_ends_its_connection() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    rig.send(conn, u32::MAX, &mkdir("a"));
    let closed = rig.closed(conn).expect("it is closed");
    assert!(closed.contains("name"), "{closed}");
    assert_eq!(mkdirs(&rig), 0);
}

#[test]
fn a_repeat_at_another_node_takes_effect_once_and_gets_the_first_answer() {
    // Where the first one is when the connection breaks.
    for mode in [Mode::HoldAsked, Mode::HoldAnswers] {
        // Whether it is carried out before the client is back, if it was not already.
        for late in [false, true] {
            let mut rig = Rig::new();
            let (conn, session) = rig.mount(0);
            rig.mode = mode;
            rig.send(conn, 7, &mkdir("dir"));
            assert_eq!(rig.hear(conn), None);
            rig.lose(conn);
            rig.mode = Mode::AtOnce;
            if !late {
                rig.release_all();
            }
            let conn = rig.come_back(1, session);
            rig.release_all();
            assert_eq!(status(rig.call(conn, 7, &mkdir("dir"))), Ok(()));
            assert_eq!(mkdirs(&rig), 2, "both came to the tree");
            assert_eq!(
                status(rig.call(conn, 7, &mkdir("dir"))),
                Err(Status::EEXIST)
            );
        }
    }
}

#[test]
fn a_first_one_that_comes_behind_its_repeat_has_no_effect() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    rig.mode = Mode::HoldAsked;
    rig.send(conn, 7, &mkdir("dir"));
    rig.lose(conn);
    rig.mode = Mode::AtOnce;
    let conn = rig.come_back(1, session);
    assert_eq!(status(rig.call(conn, 7, &mkdir("dir"))), Ok(()));
    assert_eq!(status(rig.call(conn, 7, &rmdir("dir"))), Ok(()));
    rig.release_all();
    assert!(!rig.names(InodeId::ROOT).contains(&"dir".to_owned()));
}

#[test]
fn what_a_thread_says_twice_on_one_connection_is_done_twice() {
    let mut rig = Rig::new();
    let (mut conn, session) = rig.mount(0);
    assert_eq!(status(rig.call(conn, 7, &mkdir("dir"))), Ok(()));
    assert_eq!(
        status(rig.call(conn, 7, &mkdir("dir"))),
        Err(Status::EEXIST)
    );
    // Nor is it a repeat what comes after another request, or of another thread.
    for (id, between) in [(7, true), (8, false)] {
        let (conn2, _) = rig.mount(0);
        rig.lose(conn2);
        rig.call(conn, 7, &rmdir("dir"));
        assert_eq!(status(rig.call(conn, 7, &mkdir("dir"))), Ok(()));
        conn = rig.come_back(1, session);
        if between {
            rig.call(conn, id, &lookup("dir"));
        }
        assert_eq!(
            status(rig.call(conn, id, &mkdir("dir"))),
            Err(Status::EEXIST)
        );
    }
}

/// Whether that is so or only clocks disagree cannot be known: what the tree shows counts.
#[test]
fn what_seems_to_come_late_is_a_repeat_where_the_tree_is_as_it_was_left() {
    let mut rig = Rig::new();
    let (mut conn, session) = rig.mount(0);
    let late = |rig: &mut Rig, call: &Call| {
        let conn = rig.come_back(1, session);
        rig.pass(Duration::from_secs(300));
        (conn, status(rig.call(conn, 7, call)))
    };
    for call in [mkdir("dir"), rmdir("dir")] {
        assert_eq!(status(rig.call(conn, 7, &call)), Ok(()));
        let (came, again) = late(&mut rig, &call);
        assert_eq!(again, Ok(()), "{call:?}");
        // On the same connection it is another one.
        assert!(status(rig.call(came, 7, &call)).is_err(), "{call:?}");
        conn = came;
    }
    // The name is there again: whoever removes it now means this one.
    assert_eq!(status(rig.call(conn, 8, &mkdir("dir"))), Ok(()));
    assert_eq!(status(rig.call(conn, 7, &rmdir("dir"))), Ok(()));
    assert_eq!(status(rig.call(conn, 8, &mkdir("dir"))), Ok(()));
    let (conn, again) = late(&mut rig, &rmdir("dir"));
    assert_eq!(again, Ok(()));
    assert!(!rig.names(InodeId::ROOT).contains(&"dir".to_owned()));
    // An error left nothing behind that could be seen.
    assert_eq!(
        status(rig.call(conn, 7, &rmdir("dir"))),
        Err(Status::ENOENT)
    );
    assert_eq!(status(rig.call(conn, 8, &mkdir("dir"))), Ok(()));
    let (_, again) = late(&mut rig, &rmdir("dir"));
    assert_eq!(again, Ok(()));
}

#[test]
fn an_old_connection_does_nothing_behind_a_newer_one() {
    let mut rig = Rig::new();
    let (old, session) = rig.mount(0);
    rig.mode = Mode::HoldAsked;
    rig.send(old, 7, &mkdir("dir"));
    rig.mode = Mode::AtOnce;
    // Nobody knows yet that the first connection is gone.
    let new = rig.come_back(1, session);
    assert_eq!(status(rig.call(new, 7, &mkdir("dir"))), Ok(()));
    assert_eq!(status(rig.call(new, 7, &rmdir("dir"))), Ok(()));
    rig.release_all();
    assert!(!rig.names(InodeId::ROOT).contains(&"dir".to_owned()));
    assert!(rig.closed(old).is_some_and(|why| why.contains("newer")));
    assert_eq!(rig.closed(new), None);
}

#[test]
fn nothing_is_done_before_earlier_connections_are_kept_out() {
    let mut rig = Rig::new();
    let (_, session) = rig.mount(0);
    rig.mode = Mode::HoldAnswers;
    let conn = rig.connect(1, HOME);
    rig.say(conn, &FromClient::Register(reconnect(session)));
    while rig.registered_not_yet(conn) {
        rig.release(0);
    }
    rig.send(conn, 7, &mkdir("dir"));
    assert!(!rig.names(InodeId::ROOT).contains(&"dir".to_owned()));
    rig.release_all();
    assert!(rig.names(InodeId::ROOT).contains(&"dir".to_owned()));
}

#[test]
fn a_file_that_was_closed_meanwhile_is_opened_again() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let [a, _] = two_files(&mut rig, conn);
    assert_eq!(status(rig.call(conn, 5, &open(a))), Ok(()));
    for _ in 0..2 {
        say_open(&mut rig, conn, &[]);
    }
    assert_eq!(rig.open_files(session), []);
    rig.lose(conn);
    let conn = rig.come_back(1, session);
    assert_eq!(status(rig.call(conn, 5, &open(a))), Ok(()));
    assert_eq!(rig.open_files(session), [a]);
}

#[test]
fn a_chunk_whose_lock_is_gone_is_locked_again_for_who_asks_again() {
    // Whether somebody else has it by then.
    for taken in [false, true] {
        let mut rig = Rig::new();
        let (conn, session) = rig.mount(0);
        let file = created(rig.call(conn, 6, &create("file")));
        let write = Call::WriteChunk(crate::moosefs::client::data::WantChunk {
            inode: file,
            index: 0,
            flags: Some(0),
        });
        rig.mode = Mode::HoldAnswers;
        rig.send(conn, 7, &write);
        let Some(Held::Answer(_, answer)) = rig.held.first() else {
            panic!("it is under way")
        };
        let Ok(crate::native::request::ResponseBody::Written { outcome, .. }) = &answer.result
        else {
            panic!("it was carried out")
        };
        let Ok(crate::namespace::op::Reply::Chunk { chunk, .. }) = outcome.result else {
            panic!("it has a chunk")
        };
        rig.mode = Mode::AtOnce;
        rig.lose(conn);
        rig.held.clear();
        let unlocked = rig.by_hand(None, Op::UnlockChunk { chunk }).0;
        assert!(unlocked.is_ok());
        rig.pass(Duration::from_secs(2));
        let before = rig.applied.len();
        if taken {
            let (other, _) = rig.mount(0);
            assert_eq!(
                status(rig.call(other, 7, &write)),
                Err(Status::NOCHUNKSERVERS)
            );
        }
        let conn = rig.come_back(1, session);
        let told = status(rig.call(conn, 7, &write));
        let writes = rig.applied[before..].iter();
        let writes = writes.filter(|(_, op)| matches!(op, Op::WriteChunk { .. }));
        if taken {
            // The repeat that was found to be none, and the new one.
            assert_eq!((told, writes.count()), (Err(Status::LOCKED), 3));
        } else {
            assert_eq!((told, writes.count()), (Err(Status::NOCHUNKSERVERS), 2));
        }
    }
}

#[test]
fn a_request_that_needs_chunkservers_is_one_between_too() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let file = created(rig.call(conn, 6, &create("file")));
    assert_eq!(status(rig.call(conn, 7, &mkdir("dir"))), Ok(()));
    let conn = rig.come_back(1, session);
    let write = Call::WriteChunk(crate::moosefs::client::data::WantChunk {
        inode: file,
        index: 0,
        flags: Some(0),
    });
    assert_eq!(
        status(rig.call(conn, 7, &write)),
        Err(Status::NOCHUNKSERVERS)
    );
    assert_eq!(
        status(rig.call(conn, 7, &mkdir("dir"))),
        Err(Status::EEXIST)
    );
}

#[test]
fn a_number_that_was_taken_meanwhile_is_chosen_again() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let other = |seq| RequestId {
        print: 99,
        ..RequestId::new(session, Lane(7), RequestSeq(seq))
    };
    let nothing = Op::SetTimes {
        session,
        times: vec![],
    };
    for seq in [1, 5] {
        rig.by_hand(Some(other(seq)), nothing.clone()).0.unwrap();
        let name = format!("dir{seq}");
        assert_eq!(status(rig.call(conn, 7, &mkdir(&name))), Ok(()));
        assert_eq!(
            status(rig.call(conn, 7, &mkdir(&name))),
            Err(Status::EEXIST)
        );
    }
    // Again and again, but not for ever.
    rig.mode = Mode::HoldAsked;
    rig.send(conn, 7, &mkdir("last"));
    let mut seq = 100;
    while rig.hear(conn).is_none() {
        rig.by_hand(Some(other(seq)), nothing.clone()).0.unwrap();
        seq += 100;
        if rig.held.is_empty() {
            break;
        }
        rig.release(0);
        assert!(seq < 10_000, "it ends");
    }
    assert!(!rig.names(InodeId::ROOT).contains(&"last".to_owned()));
}

#[test]
fn errors_of_the_node_reach_no_application() {
    for error in [
        NodeError::Unknown,
        NodeError::Overloaded,
        NodeError::NotLeader { leader: None },
        NodeError::Unavailable {
            reason: "no majority".to_owned(),
        },
    ] {
        for call in [mkdir("a"), lookup("a")] {
            let mut rig = Rig::new();
            let (conn, _) = rig.mount(0);
            rig.failing = Some(error.clone());
            assert_eq!(rig.call(conn, 1, &call), None);
            assert!(rig.closed(conn).is_some(), "it comes back elsewhere");
        }
    }
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    let reason = "too long".to_owned();
    rig.failing = Some(NodeError::Invalid { reason });
    assert_eq!(status(rig.call(conn, 1, &mkdir("a"))), Err(Status::EINVAL));
    assert_eq!(rig.closed(conn), None);
}

#[test]
fn kept_times_are_set() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    let file = created(rig.call(conn, 1, &create("file")));
    let times = crate::moosefs::client::Times {
        inode: file,
        atime: WallTime(5_000),
        mtime: WallTime(6_000),
    };
    rig.say(conn, &FromClient::Times(vec![times]));
    let Some(Reply::Lookup(Ok(looked))) = rig.call(conn, 1, &lookup("file")) else {
        panic!("it is there");
    };
    let (atime, mtime) = (looked.attributes.atime, looked.attributes.mtime);
    assert_eq!((u64::from(atime.0), u64::from(mtime.0)), (5_000, 6_000));
}

// Open files.

pub fn say_open(rig: &mut Rig, conn: Conn, inodes: &[InodeId]) {
    let inodes = inodes.to_vec();
    let old_number = false;
    rig.say(conn, &FromClient::OpenFiles { inodes, old_number });
}

fn lists(rig: &Rig) -> Vec<Vec<InodeId>> {
    let said = rig.applied.iter().filter_map(|(_, op)| match op {
        Op::SetOpenFiles { inodes, .. } => Some(inodes.clone()),
        _ => None,
    });
    said.collect()
}

fn two_files(rig: &mut Rig, conn: Conn) -> [InodeId; 2] {
    ["a", "b"].map(|name| created(rig.call(conn, 1, &create(name))))
}

#[test]
fn one_list_of_open_files_is_under_way_and_the_newest_follows() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let [a, b] = two_files(&mut rig, conn);
    say_open(&mut rig, conn, &[a, b]);
    rig.mode = Mode::HoldAsked;
    for inodes in [&[a][..], &[], &[a, b], &[b]] {
        say_open(&mut rig, conn, inodes);
    }
    assert_eq!(rig.held.len(), 1);
    rig.release_all();
    assert_eq!(lists(&rig), [vec![a, b], vec![a], vec![b]]);
    assert_eq!(rig.open_files(session), [b]);
}

#[test]
fn a_list_closes_nothing_that_was_opened_since_the_one_before() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    // The answers may still be on their way when the list is made.
    let [a, b] = two_files(&mut rig, conn);
    say_open(&mut rig, conn, &[]);
    assert_eq!(rig.open_files(session), [a, b]);
    let c = created(rig.call(conn, 3, &create("c")));
    say_open(&mut rig, conn, &[b]);
    assert_eq!(rig.open_files(session), [b, c]);
    say_open(&mut rig, conn, &[b]);
    assert_eq!(rig.open_files(session), [b]);
    // What was open when the client came back may have been opened just before.
    rig.lose(conn);
    let conn = rig.come_back(1, session);
    say_open(&mut rig, conn, &[]);
    assert_eq!(rig.open_files(session), [b]);
    say_open(&mut rig, conn, &[]);
    assert_eq!(rig.open_files(session), []);
}

#[test]
fn what_opens_files_waits_for_the_list_and_the_list_for_it() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let [a, _] = two_files(&mut rig, conn);
    say_open(&mut rig, conn, &[a]);
    rig.mode = Mode::HoldAsked;
    rig.send(conn, 1, &create("c"));
    say_open(&mut rig, conn, &[a]);
    rig.send(conn, 2, &create("d"));
    rig.send(conn, 3, &mkdir("e"));
    let what = |rig: &Rig| -> Vec<&'static str> {
        let of = |held: &Held| match held {
            Held::Asked(_, _, Asked::Write(_, Op::Create { .. })) => "create",
            Held::Asked(_, _, Asked::Write(_, Op::SetOpenFiles { .. })) => "list",
            _ => "other",
        };
        rig.held.iter().map(of).collect()
    };
    assert_eq!(
        what(&rig),
        ["create", "other"],
        "the list waits, and so does d"
    );
    rig.release(0);
    assert_eq!(what(&rig), ["other", "list"]);
    rig.release(1);
    assert_eq!(what(&rig), ["other", "create"]);
    rig.release_all();
    let lists = lists(&rig);
    let [.., last] = lists.as_slice() else {
        panic!("there are lists")
    };
    assert_eq!(last.len(), 2, "it names what was opened before it");
    assert_eq!(rig.open_files(session).len(), 3);
}

#[test]
fn an_old_list_closes_nothing_that_a_newer_connection_opened() {
    // Whether the new connection is still being made when the old list comes.
    for early in [true, false] {
        let mut rig = Rig::new();
        let (conn, session) = rig.mount(0);
        let [a, b] = two_files(&mut rig, conn);
        say_open(&mut rig, conn, &[a, b]);
        rig.mode = Mode::HoldAsked;
        say_open(&mut rig, conn, &[a]);
        if early {
            rig.release(0);
            rig.mode = Mode::AtOnce;
        } else {
            rig.mode = Mode::AtOnce;
        }
        // The old connection is not known to be gone.
        let new = rig.come_back(1, session);
        let c = created(rig.call(new, 1, &create("c")));
        rig.release_all();
        let open = rig.open_files(session);
        assert!(open.contains(&a) && open.contains(&c), "{early}: {open:?}");
        if !early {
            assert!(open.contains(&b), "the old list came too late: {open:?}");
            let closed = rig.closed(conn).expect("the old connection is closed");
            assert!(closed.contains("newer connection"), "{closed}");
        }
    }
}

#[test]
fn a_list_of_a_lost_connection_does_not_undo_a_newer_one() {
    // Whether the old one comes first.
    for first in [true, false] {
        let mut rig = Rig::new();
        let (conn, session) = rig.mount(0);
        let [a, b] = two_files(&mut rig, conn);
        rig.mode = Mode::HoldAsked;
        say_open(&mut rig, conn, &[a]);
        rig.lose(conn);
        rig.mode = Mode::AtOnce;
        let new = rig.come_back(1, session);
        assert_eq!(conn.1, new.1, "both nodes call it {:?}", ClientId(1));
        if first {
            rig.release(0);
        }
        say_open(&mut rig, new, &[b]);
        say_open(&mut rig, new, &[b]);
        rig.release_all();
        assert_eq!(rig.open_files(session), [b], "{first}");
    }
}

#[test]
fn a_list_with_too_many_files_is_reported_and_changes_nothing() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let [a, _] = two_files(&mut rig, conn);
    say_open(&mut rig, conn, &[a]);
    say_open(&mut rig, conn, &[a]);
    let many: Vec<InodeId> = (0..200_001).map(InodeId).collect();
    say_open(&mut rig, conn, &many);
    assert_eq!(rig.open_files(session), [a]);
    assert_eq!(rig.reports.len(), 1);
    // With what it has opened since, this one is too long, too.
    let c = created(rig.call(conn, 3, &create("c")));
    let many: Vec<InodeId> = (0..200_000).map(|it| InodeId(1 << 20 | it)).collect();
    say_open(&mut rig, conn, &many);
    assert_eq!(rig.open_files(session), [a, c]);
    assert_eq!(rig.reports.len(), 2);
    assert_eq!(rig.closed(conn), None);
    let d = created(rig.call(conn, 3, &create("d")));
    assert_eq!(rig.open_files(session), [a, c, d]);
}

// What others hear.

fn heard_length(rig: &mut Rig, conn: Conn) -> Option<(InodeId, u64)> {
    let packet = rig.hear(conn)?;
    match ToClient::parse(&packet, Form::of(Version::OURS)).unwrap() {
        ToClient::LengthChanged(LengthChanged { inode, length }) => Some((inode, length)),
        other => panic!("{other:?}"),
    }
}

fn other_session(rig: &mut Rig) -> (Conn, SessionId) {
    rig.connect(1, HOME);
    rig.mount(1)
}

#[test]
fn who_has_a_file_open_hears_that_another_changed_its_length() {
    let mut rig = Rig::new();
    let (writer, _) = rig.mount(0);
    let (reader, session) = other_session(&mut rig);
    let (stranger, _) = rig.mount(1);
    let file = created(rig.call(writer, 1, &create("file")));
    let cut = |rig: &mut Rig, length| {
        rig.send(writer, 1, &truncate(file, length));
        while rig.hear(writer).is_some() {}
    };
    cut(&mut rig, 10);
    assert_eq!(heard_length(&mut rig, reader), None, "it has not opened it");
    assert_eq!(status(rig.call(reader, 1, &open(file))), Ok(()));
    cut(&mut rig, 4_096);
    assert_eq!(heard_length(&mut rig, reader), Some((file, 4_096)));
    assert_eq!(heard_length(&mut rig, stranger), None);
    // A new connection knows what its session has open.
    rig.lose(reader);
    let reader = rig.come_back(0, session);
    cut(&mut rig, 8_192);
    assert_eq!(heard_length(&mut rig, reader), Some((file, 8_192)));
    say_open(&mut rig, reader, &[]);
    cut(&mut rig, 5);
    assert_eq!(heard_length(&mut rig, reader), None, "it has closed it");
}

#[test]
fn who_has_made_a_file_has_it_open() {
    let mut rig = Rig::new();
    let (maker, _) = rig.mount(0);
    let (other, _) = other_session(&mut rig);
    let file = created(rig.call(maker, 1, &create("file")));
    assert_eq!(status(rig.call(other, 1, &truncate(file, 77))), Ok(()));
    assert_eq!(heard_length(&mut rig, maker), Some((file, 77)));
}

/// A truncate by an open file: 0x0B reserves room for an append, 3 extends.
fn truncate_by(inode: InodeId, flags: u8, length: u64) -> Call {
    Call::Truncate(Truncate {
        inode,
        flags: Some(flags),
        by: root(),
        length,
    })
}

fn previous(reply: Option<Reply>) -> u64 {
    match reply {
        Some(Reply::Truncate(Ok(truncated))) => truncated.previous,
        other => panic!("{other:?}"),
    }
}

#[test]
fn room_that_was_written_into_is_not_given_again_for_an_append_as_long_as_the_last() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let file = created(rig.call(conn, 1, &create("log")));
    let append = truncate_by(file, 0x0B, 10);
    assert_eq!(previous(rig.call(conn, 7, &append)), 0);
    // The answer was lost with the connection: the same room.
    let conn = rig.come_back(1, session);
    assert_eq!(previous(rig.call(conn, 7, &append)), 0);
    // It was not, as what was written there shows: the next append says the same.
    rig.send(conn, 8, &truncate_by(file, 3, 10));
    while rig.hear(conn).is_some() {}
    let conn = rig.come_back(0, session);
    assert_eq!(previous(rig.call(conn, 7, &append)), 10);
    // And that answer, lost, is told again.
    let conn = rig.come_back(1, session);
    assert_eq!(previous(rig.call(conn, 7, &append)), 10);
}

#[test]
fn what_was_made_and_is_gone_is_made_again() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    let first = created(rig.call(conn, 1, &create("lock")));
    let conn = rig.come_back(1, session);
    assert_eq!(created(rig.call(conn, 1, &create("lock"))), first);
    // Another thread removes it; then the first makes it anew, on a new connection.
    let unlink = Call::Unlink(Remove {
        parent: InodeId::ROOT,
        name: Name::new("lock").unwrap(),
        by: root(),
    });
    assert_eq!(status(rig.call(conn, 2, &unlink)), Ok(()));
    let conn = rig.come_back(0, session);
    let second = created(rig.call(conn, 1, &create("lock")));
    assert_ne!(second, first);
    assert!(matches!(
        rig.call(conn, 3, &lookup("lock")),
        Some(Reply::Lookup(Ok(looked))) if looked.inode == second
    ));
}
