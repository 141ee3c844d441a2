//! Open files, their data, what is attached to them, and locks.

use std::net::Ipv4Addr;

use super::*;
use crate::chunks::keeper::Holder;
use crate::chunks::{Address, Located, Repairs};
use crate::id::CsId;
use crate::moosefs::client::inspect::Repaired;

#[test]
fn what_protects_a_file_is_told_where_it_is_looked_up() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let protect = |rig: &mut Rig, eattr: u8| {
        let reply = rig.send(474, |w| {
            w.u32(file).u32(0).u8(eattr).u8(flags::change::SET);
        });
        assert_eq!((reply.kind, reply.payload.len()), (475, 16));
    };
    let told = |rig: &mut Rig, uid: u32| {
        let reply = rig.lookup(ROOT, b"file", uid, &[uid]);
        let told = rig::u16_at(&reply, reply.payload.len() - 2);
        (told, reply.payload[8])
    };
    assert_eq!(told(&mut rig, 0), (0x00FF, flags::shown::NO_XATTR));
    protect(&mut rig, 0x40);
    assert_eq!(told(&mut rig, 0).0, 0x20FF);
    let open = |rig: &mut Rig, flags: u8| {
        rig.send(430, |w| {
            w.u32(file);
            by(w, 0, &[0]);
            w.u8(flags);
        })
    };
    let reply = open(&mut rig, 2);
    assert_eq!((reply.kind, reply.payload.len()), (431, 41));
    assert_eq!(reply.payload[4], flags::opened::APPEND_ONLY);
    let reply = open(&mut rig, 2 | 8);
    assert_eq!(status_of(&reply), Some(Status::EPERM));
    rig.client.version = Version::new(3, 0, 112);
    assert_eq!(told(&mut rig, 0).0, 0x2033, "no W for who knows no better");
    assert_eq!(status_of(&open(&mut rig, 2)), Some(Status::EACCES));
    assert_eq!(open(&mut rig, 1).payload.len(), 40);
    rig.client.version = Version::OURS;
    protect(&mut rig, 0x80);
    assert_eq!(told(&mut rig, 0).0, 0x08FF);
    assert_eq!(status_of(&open(&mut rig, 2)), Some(Status::EPERM));
    protect(&mut rig, 0x08);
    let (bits, shown) = told(&mut rig, 0);
    assert_eq!(bits, 0x10FF);
    assert!(shown & flags::shown::DIRECT != 0);
    assert_eq!(open(&mut rig, 1).payload[4], flags::opened::DIRECT);
    rig.params(|params| params.flags.read_only = true);
    assert_eq!(told(&mut rig, 0).0 & 0x0200, 0x0200);
}

#[test]
fn a_file_is_created_open() {
    let mut rig = Rig::new();
    let create = |rig: &mut Rig| {
        rig.send(482, |w| {
            w.u32(ROOT).name(b"file").u16(0o666).u16(0o022);
            by(w, 5, &[6]);
        })
    };
    let reply = create(&mut rig);
    assert_eq!((reply.kind, reply.payload.len()), (483, 45));
    assert_eq!(reply.payload[4], 0);
    let file = InodeId(rig::u32_at(&reply, 5));
    assert_eq!(attr_at(&reply, 9).1, 0x1000 | 0o644);
    assert_eq!(rig.open_files(), [(rig.client.session, file)]);
    assert_eq!(status_of(&create(&mut rig)), Some(Status::EEXIST));
    let op = rig.client.open_files(&[]).unwrap();
    rig.apply(op);
    assert_eq!(rig.open_files(), []);
}

#[test]
fn lengths_are_set_and_room_for_appends_is_kept() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let reply = rig.truncate(file, Some(0), 10);
    assert_eq!((reply.kind, reply.payload.len()), (465, 48));
    assert_eq!(reply.payload[4..12], 0_u64.to_be_bytes());
    let reply = rig.truncate(file, Some(3), 5);
    assert_eq!(reply.payload[4..12], 10_u64.to_be_bytes());
    assert_eq!(reply.payload[12 + 27..12 + 35], 10_u64.to_be_bytes());
    for begins in [10_u64, 16, 22] {
        let reply = rig.truncate(file, Some(0x0B), 6);
        assert_eq!(reply.payload[4..12], begins.to_be_bytes());
    }
    let reply = rig.truncate(file, Some(1), u64::MAX);
    assert_eq!(status_of(&reply), Some(Status::INDEXTOOBIG));
    rig.client.version = Version::new(3, 0, 112);
    let reply = rig.truncate(file, None, 3);
    assert_eq!(reply.payload.len(), 40);
}

#[test]
fn what_needs_chunkservers_is_handed_on() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let chunk = |w: &mut Writer| {
        w.u32(file).u32(0).u8(5);
    };
    // A hole has no copies.
    let hole = rig.send(432, chunk);
    assert_eq!(
        hole.payload[4..],
        [
            2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    // A chunk to write to is made by the tree; where it is, others say.
    let ChunkWish::Write {
        inode: InodeId(_),
        index: 0,
        chunk: made,
        version: 1,
        length: 0,
    } = rig.hand_on(434, chunk)
    else {
        panic!("a chunk was to be made");
    };
    let locked = rig.send(434, chunk);
    assert_eq!(status_of(&locked), Some(Status::LOCKED));
    rig.apply(Op::SettleChunk {
        chunk: made,
        version: 1,
    });
    let end = rig.send(436, |w| {
        w.u64(made.0).u32(file).u32(0).u64(1_000).u8(0);
    });
    assert_eq!((end.kind, status_of(&end)), (437, None));
    let handed = rig.hand_on(432, chunk);
    let ChunkWish::Read { info, length } = handed else {
        panic!("{handed:?}");
    };
    assert_eq!((info.chunk, info.version, length), (made, 1, 1_000));
    let refused = |rig: &mut Rig, refusal: Refusal| {
        let world = rig::world(&rig.options, rig.now);
        let mut task = rig.task.clone().unwrap();
        let came = Came::Chunks(ChunkAnswer::Refused(refusal));
        match task.go_on(&rig.client, world, came) {
            Step::Tell { reply, .. } => reply,
            step => panic!("{step:?}"),
        }
    };
    for (refusal, status) in [
        (Refusal::Again, Status::EAGAIN),
        (Refusal::NoServers, Status::NOCHUNKSERVERS),
        (Refusal::NoSpace, Status::NOSPACE),
        (Refusal::NotPresent, Status::CSNOTPRESENT),
        (Refusal::Lost, Status::CHUNKLOST),
    ] {
        assert_eq!(refused(&mut rig, refusal), Reply::ReadChunk(Err(status)));
    }
    let handed = rig.hand_on(464, |w| {
        w.u32(file).u8(1);
        by(w, 0, &[0]);
        w.u64(400);
    });
    let end = Op::TruncateEnd {
        caller: rig::client().itself(),
        inode: InodeId(file),
        index: 0,
        chunk: made,
        length: 400,
    };
    let expected = ChunkWish::Cut {
        chunk: made,
        end: Box::new(end.clone()),
    };
    assert_eq!(handed, expected);
    // A cut that cannot be made now is asked for again, however often.
    assert_eq!(
        refused(&mut rig, Refusal::Again),
        Reply::Truncate(Err(Status::LOCKED))
    );
    // What it comes to afterwards is the reply.
    let outcome = rig.run(end);
    let world = rig::world(&rig.options, rig.now);
    let mut task = rig.task.take().unwrap();
    let step = task.go_on(&rig.client, world, Came::Outcome(outcome));
    let Step::Tell {
        reply: Reply::Truncate(Ok(truncated)),
        ..
    } = step
    else {
        panic!("{step:?}");
    };
    assert_eq!(
        (truncated.previous, truncated.attributes.length),
        (1_000, 400)
    );
    let handed = rig.hand_on(440, |w| {
        w.u32(file);
    });
    let expected = ChunkWish::Show {
        chunks: vec![(made, 2)],
    };
    assert_eq!(handed, expected);
}

#[test]
fn data_is_refused_where_the_export_forbids_it() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let data = |rig: &mut Rig, number: u32| {
        let reply = rig.send(number, |w| match number {
            436 => {
                w.u64(7).u32(file).u32(0).u64(1).u8(0);
            }
            _ => {
                w.u32(file).u32(0).u8(0);
            }
        });
        status_of(&reply)
    };
    rig.params(|params| params.disables = 1 << Disable::Read as u32 | 1 << Disable::Write as u32);
    for number in [432, 434, 436] {
        assert_eq!(data(&mut rig, number), Some(Status::EPERM));
    }
    rig.params(|params| {
        params.disables = 0;
        params.flags.read_only = true;
    });
    for number in [434, 436] {
        assert_eq!(data(&mut rig, number), Some(Status::EROFS));
        rig.client.version = Version::new(3, 0, 100);
        assert_eq!(data(&mut rig, number), Some(Status::IO));
        rig.client.version = Version::OURS;
    }
    rig.params(|params| params.flags.read_only = false);
    assert_eq!(data(&mut rig, 436), Some(Status::NOCHUNK));
}

#[test]
fn extended_attributes_and_acls_come_back_as_they_were_set() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let set = |rig: &mut Rig, name: &[u8], value: &[u8], mode: u8| {
        let reply = rig.send(480, |w| {
            w.u32(file).name(name);
            w.u32(value.len() as u32).bytes(value).u8(mode).u8(0);
            by(w, 0, &[0]);
        });
        status_of(&reply)
    };
    let get = |rig: &mut Rig, name: &[u8], mode: u8| {
        rig.send(478, |w| {
            w.u32(file).name(name).u8(mode).u8(0);
            by(w, 0, &[0]);
        })
    };
    assert_eq!(set(&mut rig, b"user.a", b"value", 1), None);
    assert_eq!(set(&mut rig, b"user.a", b"x", 1), Some(Status::EEXIST));
    assert_eq!(set(&mut rig, b"user.b", b"x", 2), Some(Status::ENOATTR));
    assert_eq!(set(&mut rig, b"user.b", b"", 0), None);
    assert_eq!(set(&mut rig, b"user.c", b"x", 4), Some(Status::EINVAL));
    let long = vec![0; 65_537];
    assert_eq!(set(&mut rig, b"user.c", &long, 0), Some(Status::ERANGE));
    let longer = vec![0; 2_000_000];
    assert_eq!(set(&mut rig, b"user.c", &longer, 0), Some(Status::ERANGE));
    assert_eq!(set(&mut rig, b"user.c", &long[1..], 0), None);
    assert_eq!(
        get(&mut rig, b"user.a", 0).payload[4..],
        *b"\0\0\0\x05value"
    );
    assert_eq!(get(&mut rig, b"user.a", 1).payload[4..], [0, 0, 0, 5]);
    assert_eq!(get(&mut rig, b"user.b", 0).payload[4..], [0; 4]);
    let list = b"\0\0\0\x15user.a\0user.b\0user.c\0";
    assert_eq!(get(&mut rig, b"", 0).payload[4..], list[..]);
    assert_eq!(status_of(&get(&mut rig, b"x", 0)), Some(Status::ENOATTR));
    assert_eq!(status_of(&get(&mut rig, b"x", 2)), Some(Status::EINVAL));

    let get_acl = |rig: &mut Rig, kind: u8| {
        rig.send(488, |w| {
            w.u32(file).u8(kind);
        })
    };
    let reply = get_acl(&mut rig, 1);
    assert_eq!(status_of(&reply), Some(Status::ENOATTR));
    assert_eq!(status_of(&get_acl(&mut rig, 3)), Some(Status::EINVAL));
    let fields: [u16; 6] = [6, 4, 0, 5, 1, 1];
    let set_acl = |rig: &mut Rig, kind: u8| {
        let reply = rig.send(490, |w| {
            w.u32(file).u32(0).u8(kind);
            for field in fields {
                w.u16(field);
            }
            w.u32(70).u16(7).u32(80).u16(1);
        });
        status_of(&reply)
    };
    assert_eq!(set_acl(&mut rig, 1), None);
    assert_eq!(set_acl(&mut rig, 2), Some(Status::ENOTSUP));
    let reply = get_acl(&mut rig, 1);
    assert_eq!(reply.payload.len(), 4 + 12 + 12);
    assert_eq!(reply.payload[4..6], 6_u16.to_be_bytes());
    assert_eq!(reply.payload[16..22], [0, 0, 0, 70, 0, 7]);
    let found = rig.lookup(ROOT, b"file", 0, &[0]);
    assert_eq!(found.payload[8] & flags::shown::NO_XATTR, 0);
}

#[test]
fn locks_are_granted_waited_for_and_shown() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let flock = |w: &mut Writer, owner: u64, what: u8| {
        w.u32(file).u32(9).u64(owner).u8(what);
    };
    let not_open = rig.send(492, |w| flock(w, 1, 4));
    assert_eq!(status_of(&not_open), Some(Status::NOTOPENED));
    let op = rig.client.open_files(&[InodeId(file)]).unwrap();
    rig.apply(op);
    assert_eq!(status_of(&rig.send(492, |w| flock(w, 1, 4))), None);
    let busy = rig.send(492, |w| flock(w, 2, 3));
    assert_eq!(status_of(&busy), Some(Status::EAGAIN));
    let wait = rig.step(492, |w| flock(w, 2, 4));
    let expected = LockWait {
        inode: InodeId(file),
        owner: 2,
        request: 9,
        posix: false,
    };
    assert_eq!(wait, Step::Wait(expected));
    let task = rig.task.take().unwrap();
    assert_eq!(status_of(&rig.send(492, |w| flock(w, 1, 6))), None);
    let granted = Notice::LockGranted {
        session: rig.client.session,
        inode: InodeId(file),
        owner: 2,
        reqid: 9,
        posix: false,
    };
    assert_eq!(rig.notices, [granted]);
    assert_eq!(task.lock_ended(true).status(), Ok(()));
    assert_eq!(task.lock_ended(false).status(), Err(Status::EINTR));
    assert_eq!(
        status_of(&rig.send(492, |w| flock(w, 1, 7))),
        Some(Status::EINVAL)
    );

    let posix = |w: &mut Writer, owner: u64, what: u8, kind: u8| {
        w.u32(file).u32(9).u64(owner).u32(77).u8(what).u8(kind);
        w.u64(10).u64(20);
    };
    assert_eq!(status_of(&rig.send(494, |w| posix(w, 1, 1, 2))), None);
    let busy = rig.send(494, |w| posix(w, 2, 2, 1));
    assert_eq!(status_of(&busy), Some(Status::EAGAIN));
    let asked = rig.send(494, |w| posix(w, 2, 0, 1));
    assert_eq!(asked.payload.len(), 25);
    assert_eq!(rig::u32_at(&asked, 4), 77);
    assert_eq!(asked.payload[8], 2);
    assert_eq!(asked.payload[9..17], 10_u64.to_be_bytes());
    let free = rig.send(494, |w| posix(w, 1, 0, 1));
    assert_eq!(free.payload[4..], [0; 21]);
    for (what, kind) in [(4, 1), (1, 3)] {
        let reply = rig.send(494, |w| posix(w, 1, what, kind));
        assert_eq!(status_of(&reply), Some(Status::EINVAL));
    }
    let wait = rig.step(494, |w| posix(w, 2, 1, 1));
    assert!(matches!(wait, Step::Wait(LockWait { posix: true, .. })));
}

/// A file of root's with one chunk and this length, which others may not touch.
fn with_chunk(rig: &mut Rig, name: &[u8], length: u64) -> (u32, ChunkId) {
    let file = rig.file(ROOT, name);
    let ChunkWish::Write { chunk, version, .. } = rig.hand_on(434, |w| {
        w.u32(file).u32(0).u8(5);
    }) else {
        panic!("a chunk was to be made");
    };
    rig.apply(Op::SettleChunk { chunk, version });
    end_write(rig, file, chunk, length);
    (file, chunk)
}

fn end_write(rig: &mut Rig, file: u32, chunk: ChunkId, length: u64) {
    let end = rig.send(436, |w| {
        w.u64(chunk.0).u32(file).u32(0).u64(length).u8(0);
    });
    assert_eq!(status_of(&end), None);
}

fn look_up(rig: &mut Rig, name: &[u8], uid: u32) -> Step {
    rig.step(406, |w| {
        w.u32(ROOT).name(name);
        by(w, uid, &[uid]);
    })
}

#[test]
fn where_the_only_chunk_of_a_file_is_comes_with_its_name() {
    let mut rig = Rig::new();
    let (_, chunk) = with_chunk(&mut rig, b"file", 6);
    let Step::Chunk(ChunkWish::Look { info, length }) = look_up(&mut rig, b"file", 0) else {
        panic!("its place is told");
    };
    assert_eq!((info.chunk, info.version, length), (chunk, 1, 6));
    let told = |rig: &mut Rig, answer: ChunkAnswer| {
        let world = rig::world(&rig.options, rig.now);
        let mut task = rig.task.clone().unwrap();
        match task.go_on(&rig.client, world, Came::Chunks(answer)) {
            Step::Tell { reply, then: None } => {
                let form = task.call().form(rig.client.version);
                let id = MsgId(rig::ID);
                ToClient::Reply { id, reply }.encode(form)
            }
            step => panic!("{step:?}"),
        }
    };
    let holder = |last: u8| Holder {
        csid: CsId(last.into()),
        address: Address {
            ip: Ipv4Addr::new(10, 77, 0, last),
            port: 9422,
        },
        version: 0x0003_00EA,
        labels: 0,
    };
    let located = |holders: Vec<Holder>| {
        ChunkAnswer::Located(Located {
            chunk,
            version: 1,
            length,
            holders,
        })
    };
    let bytes = told(&mut rig, located(vec![holder(4), holder(6)]));
    // The packet that MooseFS sends: 8 of frame, then 87.
    assert_eq!(bytes.len(), 8 + 87);
    let flags = 8 + 4 + 4 + 36;
    assert_eq!(bytes[flags..flags + 3], [0x01, 0xFF, 2]);
    assert_eq!(bytes[flags + 3..flags + 11], chunk.0.to_be_bytes());
    assert_eq!(
        bytes[flags + 11..flags + 29],
        [
            0, 0, 0, 1, 10, 77, 0, 4, 0x24, 0xCE, 0, 3, 0, 0xEA, 0, 0, 0, 0
        ]
    );
    // Without places there is no chunk either: a client would wait for ten seconds.
    for answer in [located(Vec::new()), ChunkAnswer::Refused(Refusal::Again)] {
        let bytes = told(&mut rig, answer);
        assert_eq!(bytes.len(), 8 + 46);
        assert_eq!(bytes[flags..], [0x00, 0xFF]);
    }
}

#[test]
fn no_place_is_told_where_it_is_of_no_use_or_would_not_hold() {
    let mut rig = Rig::new();
    let (file, chunk) = with_chunk(&mut rig, b"file", 6);
    let is_told = |rig: &mut Rig, uid: u32| match look_up(rig, b"file", uid) {
        Step::Chunk(ChunkWish::Look { .. }) => true,
        Step::Tell { .. } => false,
        step => panic!("{step:?}"),
    };
    assert!(is_told(&mut rig, 0));
    assert!(is_told(&mut rig, 9), "it may read");
    let mode = |rig: &mut Rig, mode: u16| {
        rig.send(410, |w| {
            w.u32(file).u8(0);
            by(w, 0, &[0]);
            w.u8(2).u16(mode).u32(0).u32(0).u32(0).u32(0).u8(0).u8(0);
        });
    };
    mode(&mut rig, 0o600);
    assert!(!is_told(&mut rig, 9), "it may neither read nor write");
    rig.client.tool = true;
    assert!(!is_told(&mut rig, 0));
    rig.client.tool = false;
    rig.client.version = Version::new(3, 0, 99);
    assert!(!is_told(&mut rig, 0), "it cannot be told to forget it");
    rig.client.version = Version::OURS;
    rig.params(|params| params.disables = 1 << Disable::Read as u32);
    assert!(!is_told(&mut rig, 0));
    rig.params(|params| params.disables = 0);
    // A writer has it, at its version or, not told to chunkservers yet, at the next.
    let write = |rig: &mut Rig, chunk_moved| {
        rig.apply(Op::WriteChunk {
            caller: rig::client().itself(),
            inode: InodeId(file),
            index: 0,
            go_on: false,
            chunk_moved,
            may_touch_times: false,
        });
    };
    write(&mut rig, false);
    assert!(!is_told(&mut rig, 0));
    end_write(&mut rig, file, chunk, 6);
    assert!(is_told(&mut rig, 0));
    write(&mut rig, true);
    end_write(&mut rig, file, chunk, 6);
    assert!(!is_told(&mut rig, 0));
    rig.apply(Op::SettleChunk { chunk, version: 2 });
    assert!(is_told(&mut rig, 0));
    rig.truncate(file, Some(0), 64 << 20);
    assert!(is_told(&mut rig, 0));
    rig.truncate(file, Some(0), (64 << 20) + 1);
    assert!(!is_told(&mut rig, 0), "there is room for a second chunk");
    rig.file(ROOT, b"empty");
    assert!(matches!(look_up(&mut rig, b"empty", 0), Step::Tell { .. }));
    rig.dir(ROOT, b"dir");
    assert!(matches!(look_up(&mut rig, b"dir", 0), Step::Tell { .. }));
}

fn repair(rig: &mut Rig, inode: u32, uid: u32) -> Step {
    rig.step(466, |w| {
        w.u32(inode);
        by(w, uid, &[uid]);
    })
}

fn go_on(rig: &mut Rig, repairs: (u32, u32, u32)) -> Step {
    let world = rig::world(&rig.options, rig.now);
    let mut task = rig.task.take().unwrap();
    let (unchanged, erased, repaired) = repairs;
    let came = Came::Chunks(ChunkAnswer::Repaired(Repairs {
        unchanged,
        erased,
        repaired,
    }));
    let mut step = task.go_on(&rig.client, world, came);
    if let Step::Ask(query) = &step {
        let answer = rig.ask(query);
        let world = rig::world(&rig.options, rig.now);
        step = task.go_on(&rig.client, world, Came::Answer(answer));
    }
    rig.task = Some(task);
    step
}

#[test]
fn a_file_is_repaired_in_portions_and_told_in_one_answer() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    // Every second slot up to 240 is a hole, and so are three behind them.
    for index in 0..120_u32 {
        rig.apply(Op::WriteChunk {
            caller: rig::client().itself(),
            inode: InodeId(file),
            index: 2 * index,
            go_on: false,
            chunk_moved: false,
            may_touch_times: false,
        });
    }
    rig.truncate(file, Some(0), 242 * (64 << 20) + 1);
    let portion = |step: &Step| match step {
        Step::Chunk(ChunkWish::Repair { inode, indexes }) => {
            assert_eq!(*inode, InodeId(file));
            (indexes.len(), indexes[0], indexes[indexes.len() - 1])
        }
        step => panic!("{step:?}"),
    };
    let step = repair(&mut rig, file, 0);
    assert_eq!(portion(&step), (100, 0, 198));
    let step = go_on(&mut rig, (97, 1, 2));
    assert_eq!(portion(&step), (20, 200, 238));
    let Step::Tell { reply, .. } = go_on(&mut rig, (20, 0, 0)) else {
        panic!("that is all");
    };
    let expected = Repaired {
        unchanged: 243 - 3,
        erased: 1,
        repaired: 2,
    };
    assert_eq!(reply, Reply::Repair(Ok(expected)));
    // A file without data has nothing to repair.
    let empty = rig.file(ROOT, b"empty");
    let reply = rig.send(466, |w| {
        w.u32(empty);
        by(w, 0, &[0]);
    });
    assert_eq!(reply.payload[4..], [0; 12]);
}

#[test]
fn who_may_not_write_a_file_does_not_repair_it() {
    let mut rig = Rig::new();
    let (file, _) = with_chunk(&mut rig, b"file", 6);
    let dir = rig.dir(ROOT, b"dir");
    let told = |rig: &mut Rig, inode: u32, uid: u32| match repair(rig, inode, uid) {
        Step::Tell { reply, .. } => reply,
        step => panic!("{step:?}"),
    };
    let status = |status| Reply::Repair(Err(status));
    assert_eq!(told(&mut rig, file, 9), status(Status::EACCES));
    assert_eq!(told(&mut rig, dir, 0), status(Status::EPERM));
    assert_eq!(told(&mut rig, 77_777, 0), status(Status::ENOENT));
    repair(&mut rig, file, 0);
    let world = rig::world(&rig.options, rig.now);
    let mut task = rig.task.take().unwrap();
    let came = Came::Chunks(ChunkAnswer::Refused(Refusal::NotPresent));
    assert!(matches!(
        task.go_on(&rig.client, world, came),
        Step::Tell { reply, .. } if reply == status(Status::CSNOTPRESENT)
    ));
    rig.params(|params| params.flags.read_only = true);
    assert_eq!(told(&mut rig, file, 0), status(Status::EROFS));
}
