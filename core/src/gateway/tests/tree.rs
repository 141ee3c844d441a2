//! Names and attributes.

use super::*;

#[test]
fn a_directory_is_made_and_found() {
    let mut rig = Rig::new();
    let reply = rig.send(418, |w| {
        w.u32(ROOT).name(b"dir").u16(0o2777).u16(0o022);
        by(w, 5, &[6, 7]);
        w.u8(1);
    });
    assert_eq!((reply.kind, reply.payload.len()), (419, 44));
    assert_eq!(reply.payload[..4], rig::ID.to_be_bytes());
    let made = rig::u32_at(&reply, 4);
    let (shown, kind_and_mode, uid, gid) = attr_at(&reply, 8);
    assert_eq!(kind_and_mode, 0x2000 | 0o2755);
    assert_eq!((uid, gid), (5, 6));
    assert_eq!(shown, flags::shown::DATA_CACHE | flags::shown::NO_XATTR);
    let found = rig.lookup(ROOT, b"dir", 5, &[6]);
    assert_eq!((found.kind, found.payload.len()), (407, 46));
    assert_eq!(rig::u32_at(&found, 4), made);
    assert_eq!(found.payload[8..44], reply.payload[8..44]);
    // Somebody else may read and search: masks 0, X, R and RX.
    assert_eq!(found.payload[44..], 0x00FF_u16.to_be_bytes());
    let found = rig.lookup(ROOT, b"dir", 8, &[9]);
    assert_eq!(found.payload[44..], 0x0033_u16.to_be_bytes());
    let missing = rig.lookup(ROOT, b"none", 5, &[6]);
    assert_eq!(status_of(&missing), Some(Status::ENOENT));
    let missing = rig.lookup(999, b"none", 5, &[6]);
    assert_eq!(status_of(&missing), Some(Status::ENOENT_NOCACHE));
    rig.client.version = Version::new(3, 0, 24);
    let missing = rig.lookup(999, b"none", 5, &[6]);
    assert_eq!(status_of(&missing), Some(Status::ENOENT));
}

#[test]
fn the_first_refusals_come_in_moosefs_order() {
    let mut rig = Rig::new();
    let mkdir = |rig: &mut Rig| {
        let reply = rig.send(418, |w| {
            w.u32(999).name(b"").u16(0o755).u16(0);
            by(w, 5, &[6]);
            w.u8(0);
        });
        status_of(&reply)
    };
    rig.params(|params| {
        params.disables = 1 << Disable::Mkdir as u32;
        params.flags.read_only = true;
    });
    assert_eq!(mkdir(&mut rig), Some(Status::EPERM));
    rig.params(|params| params.disables = 0);
    assert_eq!(mkdir(&mut rig), Some(Status::EROFS));
    rig.params(|params| params.flags.read_only = false);
    assert_eq!(mkdir(&mut rig), Some(Status::ENOENT));
    let file = rig.file(ROOT, b"file");
    let access = |rig: &mut Rig, inode: u32, mask: u16, uid: u32| {
        let reply = rig.send(404, |w| {
            w.u32(inode);
            by(w, uid, &[6]);
            w.u16(mask);
        });
        status_of(&reply)
    };
    rig.params(|params| params.flags.read_only = true);
    assert_eq!(access(&mut rig, 999, 2, 5), Some(Status::EROFS));
    assert_eq!(access(&mut rig, 999, 4, 5), Some(Status::ENOENT));
    rig.params(|params| params.flags.read_only = false);
    assert_eq!(access(&mut rig, file, 2, 5), Some(Status::EACCES));
    assert_eq!(access(&mut rig, file, 4, 5), None);
}

#[test]
fn a_sub_folder_is_inode_one_in_both_directions() {
    let mut rig = Rig::new();
    let top = rig.dir(ROOT, b"top");
    let inner = rig.dir(top, b"inner");
    let outside = rig.file(ROOT, b"outside");
    rig.params(|params| params.root = InodeId(top));
    // "." and ".." of the root are the root.
    for name in [&b"."[..], b".."] {
        let found = rig.lookup(ROOT, name, 0, &[0]);
        assert_eq!(rig::u32_at(&found, 4), ROOT);
    }
    let found = rig.lookup(ROOT, b"inner", 0, &[0]);
    assert_eq!(rig::u32_at(&found, 4), inner);
    let found = rig.lookup(inner, b"..", 0, &[0]);
    assert_eq!(rig::u32_at(&found, 4), ROOT);
    let get_attr = |rig: &mut Rig, inode: u32| {
        rig.send(408, |w| {
            w.u32(inode).u8(0).u32(0).u32(0);
        })
    };
    assert_eq!(get_attr(&mut rig, ROOT).payload.len(), 40);
    let hidden = get_attr(&mut rig, outside);
    assert_eq!(status_of(&hidden), Some(Status::ENOENT));
    let entries = rig.read_dir(ROOT, 0);
    assert_eq!(
        entries,
        [
            (b".".to_vec(), ROOT),
            (b"..".to_vec(), ROOT),
            (b"inner".to_vec(), inner)
        ]
    );
    let paths = rig.send(486, |w| {
        w.u32(inner);
    });
    assert_eq!(paths.payload[4..], *b"\0\0\0\x05inner");
    let parents = rig.send(484, |w| {
        w.u32(inner);
    });
    assert_eq!(parents.payload[4..], ROOT.to_be_bytes());
    // What the client says of its files means its own numbers.
    assert_eq!(
        rig.client.open_files(&[InodeId(ROOT), InodeId(inner)]),
        Some(Op::SetOpenFiles {
            session: rig.client.session,
            inodes: vec![InodeId(top), InodeId(inner)],
        })
    );
    let kept = Times {
        inode: InodeId(ROOT),
        atime: WallTime(5),
        mtime: WallTime(6),
    };
    let ops: Vec<Op> = rig.client.times(&[kept]).collect();
    assert_eq!(
        ops,
        [Op::SetTimes {
            session: rig.client.session,
            times: vec![(InodeId(top), WallTime(5), WallTime(6))],
        }]
    );
}

#[test]
fn records_of_all_types_have_the_length_of_their_type() {
    let mut rig = Rig::new();
    let mknod = |rig: &mut Rig, name: &[u8], kind: u8| {
        rig.send(416, |w| {
            w.u32(ROOT).name(name).u8(kind).u16(0o640).u16(0);
            by(w, 0, &[0]);
            w.u32(0x0102_0304);
        })
    };
    for kind in [1, 4, 5, 6, 7] {
        let reply = mknod(&mut rig, &[b'a' + kind], kind);
        let (_, kind_and_mode, ..) = attr_at(&reply, 8);
        assert_eq!(kind_and_mode, u16::from(kind) << 12 | 0o640);
        let length: [u8; 8] = reply.payload[8 + 27..8 + 35].try_into().unwrap();
        let device = matches!(kind, 5 | 6);
        let expected = if device { 0x0102_0304_u64 << 32 } else { 0 };
        assert_eq!(u64::from_be_bytes(length), expected, "type {kind}");
    }
    for kind in [0, 2, 3, 8, 9] {
        let reply = mknod(&mut rig, b"no", kind);
        assert_eq!(status_of(&reply), Some(Status::EINVAL));
    }
    let symlink = |rig: &mut Rig, name: &[u8], target: &[u8]| {
        rig.send(414, |w| {
            w.u32(ROOT).name(name);
            w.u32(target.len() as u32).bytes(target);
            by(w, 0, &[0]);
        })
    };
    let reply = symlink(&mut rig, b"link", b"over/there\0");
    assert_eq!(reply.payload[8 + 27..8 + 35], 10_u64.to_be_bytes());
    let link = rig::u32_at(&reply, 4);
    let read = rig.send(412, |w| {
        w.u32(link);
    });
    assert_eq!(read.payload[4..], *b"\0\0\0\x0bover/there\0");
    for target in [&b"\0"[..], b"", b"a\0b\0", &[b'x'; 4_097]] {
        let reply = symlink(&mut rig, b"bad", target);
        assert_eq!(status_of(&reply), Some(Status::EINVAL));
    }
    let longest = [&[b'x'; 4_095][..], b"\0"].concat();
    assert_eq!(status_of(&symlink(&mut rig, b"long", &longest)), None);
    // Six bytes in a tree are 600 hundredths of a byte.
    let dir = rig.dir(ROOT, b"dir");
    let file = rig.file(dir, b"file");
    assert_eq!(status_of(&rig.truncate(file, Some(3), 6)), None);
    let reply = rig.send(408, |w| {
        w.u32(dir);
    });
    assert_eq!(reply.payload[4 + 27..4 + 35], 600_u64.to_be_bytes());
}

#[test]
fn a_session_that_maps_everybody_shows_them_themselves() {
    let mut rig = Rig::new();
    rig.params(|params| {
        params.flags.map_all = true;
        params.map_all_uid = 40;
        params.map_all_gid = 41;
    });
    let reply = rig.send(418, |w| {
        w.u32(ROOT).name(b"dir").u16(0o755).u16(0);
        by(w, 5, &[6]);
        w.u8(0);
    });
    let (shown, _, uid, gid) = attr_at(&reply, 8);
    assert_eq!((uid, gid), (5, 6));
    assert!(shown & flags::shown::NO_ATTR_CACHE != 0);
    let dir = rig::u32_at(&reply, 4);
    rig.params(|params| params.flags.map_all = false);
    let (_, _, uid, gid) = attr_at(
        &rig.send(408, |w| {
            w.u32(dir).u8(0).u32(0).u32(0);
        }),
        4,
    );
    assert_eq!((uid, gid), (40, 41));
    let reply = rig.send(418, |w| {
        w.u32(dir).name(b"deeper").u16(0o755).u16(0);
        by(w, 40, &[41]);
        w.u8(0);
    });
    assert_eq!(status_of(&reply), None);
    // Root's things are root's, for everybody who is mapped.
    rig.params(|params| params.flags.map_all = true);
    let reply = rig.send(408, |w| {
        w.u32(ROOT).u8(0).u32(5).u32(6);
    });
    let (_, _, uid, gid) = attr_at(&reply, 4);
    assert_eq!((uid, gid), (0, 0));
}

#[test]
fn attributes_are_set_by_their_mask() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    let set = |rig: &mut Rig, mask: u8, uid: u32| {
        rig.send(410, |w| {
            w.u32(file).u8(0);
            by(w, uid, &[6]);
            w.u8(mask).u16(0o4711).u32(7).u32(8).u32(900).u32(901);
            w.u8(3).u8(4);
        })
    };
    let reply = set(&mut rig, flags::set::MODE, 0);
    assert_eq!((reply.kind, reply.payload.len()), (411, 40));
    assert_eq!(attr_at(&reply, 4).1, 0x1000 | 0o4711);
    let all = 0x01 | 0x04 | 0x08 | 0x20 | 0x40;
    let reply = set(&mut rig, all, 0);
    let (_, kind_and_mode, uid, gid) = attr_at(&reply, 4);
    // A change of owner takes setuid and setgid; the mask asks for no mode.
    assert_eq!((kind_and_mode, uid, gid), (0x1000 | 0o711, 7, 8));
    assert_eq!(rig::u32_at(&reply, 4 + 11), 900);
    assert_eq!(rig::u32_at(&reply, 4 + 15), 901);
    assert_eq!(reply.payload[4 + 35], 3);
    let reply = set(&mut rig, flags::set::ATIME_NOW | flags::set::MTIME_NOW, 7);
    assert_eq!(rig::u32_at(&reply, 4 + 11), rig.now);
    assert_eq!(rig::u32_at(&reply, 4 + 15), rig.now);
    let reply = set(&mut rig, flags::set::MODE, 9);
    assert_eq!(status_of(&reply), Some(Status::EPERM));
    // The short form knows no windows attributes, and clears setuid and setgid always.
    let short = |rig: &mut Rig, mask: u8| {
        rig.send(410, |w| {
            w.u32(file).u32(0).u32(0);
            w.u8(mask).u16(0o755).u32(0).u32(0).u32(0).u32(0);
        })
    };
    assert_eq!(status_of(&short(&mut rig, flags::set::UID)), None);
    let reply = short(&mut rig, flags::set::WINATTR);
    assert_eq!(status_of(&reply), Some(Status::EINVAL));
}

#[test]
fn removals_tell_the_node_to_those_who_know() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let file = rig.file(dir, b"file");
    let remove = |rig: &mut Rig, number: u32, parent: u32, name: &[u8]| {
        rig.send(number, |w| {
            w.u32(parent).name(name);
            by(w, 0, &[0]);
        })
    };
    let cases = [
        (420, ROOT, &b"dir"[..], Status::EPERM),
        (422, ROOT, b"dir", Status::ENOTEMPTY),
        (422, dir, b"file", Status::ENOTDIR),
        (420, dir, b"none", Status::ENOENT),
    ];
    for (number, parent, name, status) in cases {
        let reply = remove(&mut rig, number, parent, name);
        assert_eq!(status_of(&reply), Some(status));
    }
    let reply = remove(&mut rig, 420, dir, b"file");
    assert_eq!(reply.payload[4..], file.to_be_bytes());
    rig.client.version = Version::new(3, 0, 106);
    let reply = remove(&mut rig, 422, ROOT, b"dir");
    assert_eq!(reply.payload[4..], [0]);
}

#[test]
fn names_move_and_multiply() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let file = rig.file(ROOT, b"file");
    let reply = rig.send(426, |w| {
        w.u32(file).u32(dir).name(b"other");
        by(w, 0, &[0]);
    });
    assert_eq!((reply.kind, reply.payload.len()), (427, 44));
    assert_eq!(rig::u32_at(&reply, 8 + 23), 2, "two links");
    let reply = rig.send(424, |w| {
        w.u32(ROOT).name(b"file").u32(dir).name(b"moved");
        by(w, 0, &[0]);
    });
    assert_eq!((reply.kind, rig::u32_at(&reply, 4)), (425, file));
    let reply = rig.send(484, |w| {
        w.u32(file);
    });
    assert_eq!(reply.payload.len(), 4 + 8);
    let reply = rig.send(486, |w| {
        w.u32(file);
    });
    let expected = b"\0\0\0\x09dir/moved\0\0\0\x09dir/other";
    assert_eq!(reply.payload[4..], expected[..]);
}

#[test]
fn a_directory_is_read_in_both_forms_and_in_parts() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let files: Vec<u32> = [b"a", b"b", b"c"]
        .iter()
        .map(|name| rig.file(dir, *name))
        .collect();
    let read = |rig: &mut Rig, flags: u8, max: u32, next: u64| {
        rig.send(428, |w| {
            w.u32(dir);
            by(w, 0, &[0]);
            w.u8(flags).u32(max).u64(next);
        })
    };
    let whole = read(&mut rig, 0, u32::MAX, 0);
    assert_eq!(
        whole.payload[4..12],
        0x7FFF_FFFF_FFFF_FFFF_u64.to_be_bytes()
    );
    let mut expected = b"\x01.".to_vec();
    expected.extend(dir.to_be_bytes());
    expected.extend(b"\x02\x02..");
    expected.extend(ROOT.to_be_bytes());
    expected.push(2);
    for (name, file) in b"abc".iter().zip(&files) {
        expected.extend([1, *name]);
        expected.extend(file.to_be_bytes());
        expected.push(1);
    }
    assert_eq!(whole.payload[12..], expected[..]);
    let long = read(&mut rig, 1, u32::MAX, 0);
    assert_eq!(long.payload.len(), whole.payload.len() + 5 * 35);
    rig.client.version = Version::new(3, 0, 92);
    let older = read(&mut rig, 1, u32::MAX, 0);
    assert_eq!(older.payload.len(), whole.payload.len() + 5 * 34);
    rig.client.version = Version::OURS;
    // In parts.
    let mut parts: Vec<u8> = Vec::new();
    let mut next = 0;
    while next != 0x7FFF_FFFF_FFFF_FFFF {
        let part = read(&mut rig, 0, 2, next);
        parts.extend(&part.payload[12..]);
        next = u64::from_be_bytes(part.payload[4..12].try_into().unwrap());
    }
    assert_eq!(parts, whole.payload[12..]);
    // Short forms have no place to go on, and no types alone in the longer of them.
    for extra in [&[][..], &[0]] {
        let short = rig.send(428, |w| {
            w.u32(dir).u32(0).u32(0).bytes(extra);
        });
        assert_eq!(short.payload[4..], whole.payload[12..]);
    }
    let file = rig.send(428, |w| {
        w.u32(files[0]).u32(0).u32(0);
    });
    assert_eq!(status_of(&file), Some(Status::ENOTDIR));
}

#[test]
fn pages_of_the_namespace_become_one_reply() {
    let rig = Rig::new();
    let call = rig::call(428, |w| {
        w.u32(ROOT);
        by(w, 0, &[0]);
        w.u8(0).u32(u32::MAX).u64(0);
    });
    let world = rig.world();
    let (mut task, step) = Task::begin(&rig.client, world, call);
    let entry = |name: &[u8]| op::Entry {
        name: name.to_vec(),
        inode: InodeId(7),
        kind: NodeKind::File,
        attr: None,
    };
    let after = |step: &Step| match step {
        Step::Ask(op::Query::ReadDir { after, .. }) => after.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(after(&step), b"");
    let page = |names: &[&[u8]], done| {
        let entries = names.iter().map(|name| entry(name)).collect();
        Came::Answer(Ok(Answer::Entries { entries, done }))
    };
    let step = task.go_on(&rig.client, world, page(&[b"a", b"b"], false));
    assert_eq!(after(&step), b"b");
    let step = task.go_on(&rig.client, world, page(&[b"c"], false));
    assert_eq!(after(&step), b"c");
    let step = task.go_on(&rig.client, world, page(&[b"d"], true));
    // Then whether the directory's time has to be touched; a refusal leaves the reply as it is.
    assert!(matches!(step, Step::Ask(op::Query::GetAttr { .. })));
    let gone = Came::Answer(Err(crate::namespace::error::FsError::NoEnt));
    let Step::Tell {
        reply: Reply::ReadDir(Ok(page)),
        then: None,
    } = task.go_on(&rig.client, world, gone)
    else {
        panic!("a page was expected");
    };
    let names: Vec<&[u8]> = page.entries.iter().map(|e| e.name.as_bytes()).collect();
    assert_eq!(names, [b"a", b"b", b"c", b"d"]);
}

#[test]
fn reading_a_directory_touches_its_time_when_that_changes_it() {
    let mut rig = Rig::new();
    rig.now = 5_000;
    rig.read_dir(ROOT, 0);
    let touch = Op::TouchAtime {
        inode: InodeId(ROOT),
    };
    assert_eq!(rig.left.pop(), Some(touch.clone()));
    rig.apply(touch.clone());
    rig.now = 5_001;
    rig.read_dir(ROOT, 1);
    assert_eq!(rig.left.pop(), None, "it was read since it was changed");
    rig.now = 5_000 + 86_401;
    rig.read_dir(ROOT, 1);
    assert_eq!(rig.left.pop(), Some(touch), "a day passed");
    rig.params(|params| params.flags.read_only = true);
    rig.read_dir(ROOT, 1);
    assert_eq!(rig.left.pop(), None);
}
