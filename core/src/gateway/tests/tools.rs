//! What tools and mounts of the trash ask.

use super::*;

#[test]
fn quotas_are_set_limit_by_limit() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let get = |rig: &mut Rig, flags: u8| {
        rig.send(476, |w| {
            w.u32(dir).u8(flags);
        })
    };
    let set = |rig: &mut Rig, flags: u8, inodes: [u32; 2], lengths: [u64; 2], grace: u32| {
        rig.send(476, |w| {
            w.u32(dir).u8(flags).u32(grace);
            for (inodes, length) in inodes.into_iter().zip(lengths) {
                w.u32(inodes).u64(length).u64(0).u64(0);
            }
        })
    };
    let none = get(&mut rig, 0);
    assert_eq!((none.kind, none.payload.len()), (477, 93));
    assert_eq!(none.payload[4], 0);
    let used = rig::u32_at(&none, 4 + 5 + 56);
    assert_eq!(used, 0, "the directory itself does not count");
    let reply = set(&mut rig, 0x12, [0, 3], [500, 0], 60);
    assert_eq!(reply.payload[4], 0x12);
    assert_eq!(rig::u32_at(&reply, 5), 60);
    assert_eq!(reply.payload[4 + 5 + 4..4 + 5 + 12], 500_u64.to_be_bytes());
    assert_eq!(rig::u32_at(&reply, 4 + 5 + 28), 3);
    // Others stay, and so does the grace time.
    let reply = set(&mut rig, 0x10, [9, 1], [9, 9], 0);
    assert_eq!(reply.payload[4], 0x12);
    assert_eq!(rig::u32_at(&reply, 5), 60);
    assert_eq!(rig::u32_at(&reply, 4 + 5 + 28), 1);
    rig.file(dir, b"file");
    let full = rig.send(482, |w| {
        w.u32(dir).name(b"more").u16(0o644).u16(0);
        by(w, 0, &[0]);
    });
    assert_eq!(status_of(&full), Some(Status::QUOTA));
    assert_eq!(get(&mut rig, 0x10).payload[4], 0x02);
    assert_eq!(get(&mut rig, 0x0F).payload[4], 0);
    rig.params(|params| params.flags.admin = false);
    let reply = set(&mut rig, 0x10, [9, 2], [9, 9], 0);
    assert_eq!(status_of(&reply), Some(Status::EPERM));
    assert_eq!(status_of(&get(&mut rig, 0)), None);
    rig.client.version = Version::new(3, 0, 8);
    assert_eq!(get(&mut rig, 0).payload.len(), 89);
}

#[test]
fn a_quota_that_was_given_no_grace_has_the_default() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let reply = rig.send(476, |w| {
        w.u32(dir).u8(0x10).u32(0);
        for _ in 0..2 {
            w.u32(5).u64(0).u64(0).u64(0);
        }
    });
    assert_eq!((reply.kind, reply.payload[4]), (477, 0x10));
    assert_eq!(rig::u32_at(&reply, 5), 0, "0 is the default");
}

#[test]
fn nodes_in_a_directory_are_told_in_parts_and_neither_itself_nor_the_one_above() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    // More than one page of the namespace.
    let count = u64::from(crate::limits::READDIR_PAGE_MAX) + 700;
    let mut wanted: Vec<u32> = (0..count)
        .map(|number| rig.file(dir, format!("{number}").as_bytes()))
        .collect();
    let (mut found, mut next, mut parts) = (Vec::new(), 0_u64, 0);
    loop {
        let reply = rig.send(546, |w| {
            w.u32(dir).u32(4_000).u64(next);
        });
        assert_eq!((reply.kind, rig::u16_at(&reply, 4)), (547, 1));
        let (head, nodes) = reply.payload.split_at(14);
        next = u64::from_be_bytes(head[6..].try_into().unwrap());
        let nodes = nodes
            .chunks(4)
            .map(|it| u32::from_be_bytes(it.try_into().unwrap()));
        found.extend(nodes);
        parts += 1;
        assert!(parts <= 3, "it comes to an end");
        if next == 0 {
            break;
        }
    }
    assert_eq!(parts, 3);
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
    let empty = rig.dir(ROOT, b"empty");
    let reply = rig.send(546, |w| {
        w.u32(empty).u32(500).u64(0);
    });
    assert_eq!(reply.payload[4..], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A class of these many copies anywhere, in the form of the wire.
fn class_block(w: &mut Writer, copies: u8) {
    w.u8(0).u8(1).u16(0).u8(copies).u8(copies).u8(copies);
    for _ in 0..3 * copies {
        w.u32(0).u32(0).u32(0).u32(0);
    }
}

#[test]
fn classes_are_made_set_counted_and_shown() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    let file = rig.file(dir, b"file");
    let create = |rig: &mut Rig, name: &[u8], form: u8| {
        let reply = rig.send(350, |w| {
            w.name(name).u8(form);
            class_block(w, 3);
        });
        status_of(&reply)
    };
    assert_eq!(create(&mut rig, b"fast", 0), None);
    assert_eq!(create(&mut rig, b"fast", 0), Some(Status::CLASSEXISTS));
    assert_eq!(create(&mut rig, b"slow", 1), Some(Status::EINVAL));
    let set = |rig: &mut Rig, to: &[u8], mode: u8, from: Option<&[u8]>| {
        rig.send(448, |w| {
            w.u32(dir).u32(0).u8(0xFF).u8(mode);
            if let Some(from) = from {
                w.name(from);
            }
            w.name(to);
        })
    };
    let reply = set(&mut rig, b"fast", 4, None);
    assert_eq!((reply.kind, reply.payload.len()), (449, 16));
    assert_eq!(rig::u32_at(&reply, 4), 2);
    let count = |rig: &mut Rig, mode: u8| {
        rig.send(446, |w| {
            w.u32(dir).u8(mode);
        })
    };
    let named = b"\x01\x01\xff\x04fast\0\0\0\x01\xff\x04fast\0\0\0\x01";
    assert_eq!(count(&mut rig, 1).payload[4..], named[..]);
    // By goal; then where that stands, back by name.
    let reply = rig.send(448, |w| {
        w.u32(file).u32(0).u8(3).u8(0);
    });
    assert_eq!(rig::u32_at(&reply, 4), 1);
    let mixed = b"\x01\x01\x03\0\0\0\x01\xff\x04fast\0\0\0\x01";
    assert_eq!(count(&mut rig, 1).payload[4..], mixed[..]);
    let reply = set(&mut rig, b"2", 3 | 4, Some(b"3"));
    assert_eq!(rig::u32_at(&reply, 4), 1, "only the file");
    let mixed = b"\x01\x01\x02\0\0\0\x01\xff\x04fast\0\0\0\x01";
    assert_eq!(count(&mut rig, 1).payload[4..], mixed[..]);
    rig.client.version = Version::new(3, 0, 74);
    assert_eq!(count(&mut rig, 1).payload[4..], *b"\x01\0\x02\0\0\0\x01");
    rig.client.version = Version::OURS;
    for goal in [0, 10, 200] {
        let reply = rig.send(448, |w| {
            w.u32(file).u32(0).u8(goal).u8(0);
        });
        assert_eq!(status_of(&reply), Some(Status::EINVAL));
    }
    let reply = set(&mut rig, b"none", 0, None);
    assert_eq!(status_of(&reply), Some(Status::EINVAL));
    // Shown by anybody, changed by administrators.
    let change = |rig: &mut Rig, name: &[u8], mask: u16, copies: u8| {
        rig.send(352, |w| {
            w.name(name).u8(0).u16(mask);
            class_block(w, copies);
        })
    };
    assert_eq!(change(&mut rig, b"fast", 0x1C, 4).payload[4 + 5], 4);
    rig.params(|params| params.flags.admin = false);
    let shown = change(&mut rig, b"fast", 0, 0);
    assert_eq!(shown.payload.len(), 12 + 12 * 16);
    let reply = change(&mut rig, b"fast", 0x1C, 4);
    assert_eq!(status_of(&reply), Some(Status::EPERM_NOTADMIN));
    assert_eq!(create(&mut rig, b"x", 0), Some(Status::EPERM_NOTADMIN));
    let reply = change(&mut rig, b"none", 0, 0);
    assert_eq!(status_of(&reply), Some(Status::NOSUCHCLASS));
    let list = |rig: &mut Rig, long: u8| {
        rig.send(360, |w| {
            w.u8(long);
        })
    };
    let names = b"\x011\x012\x013\x014\x015\x016\x017\x018\x019\x04fast";
    assert_eq!(list(&mut rig, 0).payload[4..], names[..]);
    let (short, long) = (list(&mut rig, 0), list(&mut rig, 1));
    assert!(long.payload.len() > short.payload.len() + 10 * 7);
    rig.params(|params| params.flags.admin = true);
    for (number, second, expected) in [
        (354, None, Some(Status::CLASSINUSE)),
        (356, Some(&b"copy"[..]), None),
        (358, Some(b"copy"), Some(Status::CLASSEXISTS)),
    ] {
        let reply = rig.send(number, |w| {
            w.name(b"fast");
            if let Some(second) = second {
                w.name(second);
            }
        });
        assert_eq!((reply.kind, status_of(&reply)), (number + 1, expected));
    }
}

#[test]
fn values_of_subtrees_are_counted_and_changed() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    rig.file(dir, b"file");
    let reply = rig.send(444, |w| {
        w.u32(dir).u32(0).u32(7_200).u8(4);
    });
    assert_eq!(reply.payload[4..], [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    let reply = rig.send(442, |w| {
        w.u32(dir).u8(1);
    });
    let mut expected = Vec::new();
    for field in [1_u32, 1, 7_200, 1, 7_200, 1] {
        expected.extend(field.to_be_bytes());
    }
    assert_eq!(reply.payload[4..], expected[..]);
    let exchange = rig.send(444, |w| {
        w.u32(dir).u32(0).u32(7_200).u8(3);
    });
    assert_eq!(status_of(&exchange), Some(Status::EINVAL));
    let reply = rig.send(474, |w| {
        w.u32(dir).u32(0).u8(0x81).u8(1 | 4);
    });
    assert_eq!(rig::u32_at(&reply, 4), 2);
    let count = |rig: &mut Rig| {
        let reply = rig.send(472, |w| {
            w.u32(dir).u8(1);
        });
        reply.payload[4..].to_vec()
    };
    assert_eq!(count(&mut rig), [1, 1, 0x81, 0, 0, 0, 1, 0x81, 0, 0, 0, 1]);
    rig.client.version = Version::new(3, 0, 112);
    assert_eq!(count(&mut rig), [1, 1, 0x01, 0, 0, 0, 1, 0x01, 0, 0, 0, 1]);
    let archive = |rig: &mut Rig, what: u8, uid: Option<u32>| {
        rig.send(496, |w| {
            w.u32(dir).u8(what);
            if let Some(uid) = uid {
                w.u32(uid);
            }
        })
    };
    assert_eq!(archive(&mut rig, 2, None).payload.len(), 32);
    assert_eq!(archive(&mut rig, 1, Some(0)).payload.len(), 24);
    let reply = archive(&mut rig, 2, Some(0));
    assert_eq!(status_of(&reply), Some(Status::EINVAL));
    let stats = |rig: &mut Rig| {
        rig.send(462, |w| {
            w.u32(dir);
        })
    };
    assert_eq!(stats(&mut rig).payload.len(), 60);
    rig.client.tool = true;
    assert_eq!(stats(&mut rig).payload.len(), 44);
}

#[test]
fn the_trash_is_for_mounts_of_the_trash() {
    let mut rig = Rig::new();
    let file = rig.file(ROOT, b"file");
    rig.send(420, |w| {
        w.u32(ROOT).name(b"file");
        by(w, 0, &[0]);
    });
    let list = |rig: &mut Rig, bucket: Option<u32>| {
        rig.send(450, |w| {
            if let Some(bucket) = bucket {
                w.u32(bucket);
            }
        })
    };
    assert_eq!(status_of(&list(&mut rig, None)), Some(Status::EPERM));
    rig.params(|params| params.root = InodeId(0));
    let mut expected = b"\x04file".to_vec();
    expected.extend(file.to_be_bytes());
    let bucket = file & 0xFFF;
    for bucket in [None, Some(bucket), Some(4_096), Some(u32::MAX)] {
        assert_eq!(list(&mut rig, bucket).payload[4..], expected[..]);
    }
    assert_eq!(list(&mut rig, Some(bucket ^ 1)).payload.len(), 4);
    let of = |rig: &mut Rig, number: u32| {
        rig.send(number, |w| {
            w.u32(file);
        })
    };
    assert_eq!(of(&mut rig, 454).payload[4..], *b"\0\0\0\x05file\0");
    let attr = of(&mut rig, 452);
    assert_eq!(attr.payload.len(), 40);
    assert_eq!(attr_at(&attr, 4).1 >> 12, 1, "a file, wherever it is");
    let path = rig.send(456, |w| {
        w.u32(file).u32(7).bytes(b"other\0\0");
    });
    assert_eq!(status_of(&path), None);
    assert_eq!(of(&mut rig, 454).payload[4..], *b"\0\0\0\x06other\0");
    assert_eq!(status_of(&of(&mut rig, 458)), None);
    assert_eq!(status_of(&of(&mut rig, 460)), Some(Status::ENOENT));
    assert_eq!(rig.send(470, |_| {}).payload.len(), 4);
    let lookup = rig.lookup(ROOT, b"other", 0, &[0]);
    assert_eq!(status_of(&lookup), Some(Status::EPERM));
}

#[test]
fn snapshots_are_made_and_removed() {
    let mut rig = Rig::new();
    let dir = rig.dir(ROOT, b"dir");
    rig.file(dir, b"file");
    let snapshot = |rig: &mut Rig, inode: u32, mode: u8| {
        let reply = rig.send(468, |w| {
            w.u32(inode).u32(ROOT).name(b"copy");
            by(w, 0, &[0]);
            w.u8(mode).u16(0o022);
        });
        status_of(&reply)
    };
    assert_eq!(snapshot(&mut rig, dir, 0), None);
    assert_eq!(rig.read_dir(ROOT, 0).len(), 4);
    assert_eq!(snapshot(&mut rig, dir, 0x80), Some(Status::EINVAL));
    assert_eq!(snapshot(&mut rig, 0, 0x80), None);
    assert_eq!(rig.read_dir(ROOT, 0).len(), 3);
    assert_eq!(snapshot(&mut rig, 0, 0), Some(Status::EINVAL));
    let append = |rig: &mut Rig, src: u32| {
        let reply = rig.send(438, |w| {
            w.u8(0).u32(dir).u32(src).u32(0).u32(0x8000_0000);
            by(w, 0, &[0]);
        });
        status_of(&reply)
    };
    assert_eq!(append(&mut rig, 999), Some(Status::ENOENT));
    assert_eq!(append(&mut rig, ROOT), Some(Status::EPERM));
}

#[test]
fn space_and_options_are_those_of_the_world() {
    let mut rig = Rig::new();
    let reply = rig.send(402, |_| {});
    assert_eq!((reply.kind, reply.payload.len()), (403, 48));
    assert_eq!(reply.payload[4..12], rig::TOTAL.to_be_bytes());
    assert_eq!(reply.payload[12..20], rig::FREE.to_be_bytes());
    assert_eq!(reply.payload[20..28], rig::FREE.to_be_bytes());
    let ask = |rig: &mut Rig, name: &[u8]| {
        let reply = rig.send(80, |w| {
            w.name(name);
        });
        reply.payload[4..].to_vec()
    };
    rig.options.insert(b"ATIME_MODE".to_vec(), b"2".to_vec());
    rig.options.insert(b"LONG".to_vec(), vec![b'l'; 300]);
    assert_eq!(ask(&mut rig, b"ATIME_MODE"), b"\x012");
    assert_eq!(ask(&mut rig, b"LONG").len(), 256);
    assert_eq!(ask(&mut rig, b"NONE"), b"\0");
}
