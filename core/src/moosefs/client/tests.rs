//! Every packet through both directions: made up ones, cut ones, random bytes, and those of
//! unmodified 3.0.117 programs.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::class::{ClassBlock, ShownClass};
use super::credentials::{Credentials, Gids};
use super::data::{ChunkPlace, Location, LookedChunk, Protocol2, Truncate, Truncated, WantChunk};
use super::register::{Again, BLOB, Back, NewSession, Reconnect, SessionValues};
use super::tree::{Done, Looked};
use super::*;
use crate::id::{ChunkId, SessionId};
use crate::moosefs::attributes::Attributes;
use crate::moosefs::fields::Name;
use crate::moosefs::flags;
use crate::moosefs::frame::PacketReader;
use crate::moosefs::sample::Draw;
use crate::moosefs::status::Status;

fn packet_of(bytes: &[u8]) -> Packet {
    let mut stream = PacketReader::new(PAYLOAD_BYTES_MAX);
    stream.push(bytes);
    let packet = stream.next_packet().unwrap().expect("a whole packet");
    assert_eq!(stream.waiting_bytes(), 0);
    packet
}

fn numbers() -> impl Iterator<Item = u32> {
    OTHER_NUMBERS.iter().chain(Call::NUMBERS).copied()
}

/// Versions on both sides of each change of a form.
const CLIENTS: [Version; 12] = [
    Version::OURS,
    Version::new(3, 0, 112),
    Version::new(3, 0, 111),
    Version::new(3, 0, 106),
    Version::new(3, 0, 101),
    Version::new(3, 0, 92),
    Version::new(3, 0, 74),
    Version::new(3, 0, 39),
    Version::new(3, 0, 29),
    Version::new(3, 0, 10),
    Version::new(3, 0, 8),
    OLDEST_CLIENT,
];

fn forms() -> impl Iterator<Item = Form> {
    CLIENTS.into_iter().flat_map(|client| {
        (0..4).map(move |bits| Form {
            client,
            long: bits & 1 != 0,
            resumable: bits & 2 != 0,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_a_client_says_is_heard(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for number in numbers() {
            let said = FromClient::sample(number, &mut Draw::new(&bytes));
            let packet = packet_of(&said.encode());
            prop_assert_eq!(packet.kind, number);
            let heard = FromClient::parse(&packet);
            prop_assert_eq!(heard, Ok(said));
        }
    }

    #[test]
    fn a_cut_packet_is_refused_or_is_another_whole_one(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        for number in numbers() {
            let said = FromClient::sample(number, &mut Draw::new(&bytes));
            let whole = packet_of(&said.encode());
            for length in 0..whole.payload.len() {
                let payload = whole.payload[..length].to_vec();
                let cut = Packet { kind: number, payload };
                if let Ok(heard) = FromClient::parse(&cut) {
                    prop_assert_eq!(packet_of(&heard.encode()), cut);
                }
            }
            let mut longer = whole;
            longer.payload.push(0);
            if let Ok(heard) = FromClient::parse(&longer) {
                prop_assert_eq!(packet_of(&heard.encode()), longer);
            }
        }
    }

    #[test]
    fn what_a_master_says_is_heard(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for form in forms() {
            for number in [0].iter().chain(Call::NUMBERS) {
                let said = ToClient::sample(*number, &mut Draw::new(&bytes), form);
                let packet = packet_of(&said.encode(form));
                if let ToClient::Reply { id, reply } = &said {
                    prop_assert_eq!(ToClient::id_of(&packet), Some(*id));
                    prop_assert_eq!(reply.number(), number + 1);
                }
                let heard = ToClient::parse(&packet, form);
                prop_assert_eq!(heard, Ok(said));
            }
        }
    }

    #[test]
    fn a_cut_reply_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for form in [Form::of(Version::OURS), Form { long: true, ..Form::of(OLDEST_CLIENT) }] {
            for number in [0].iter().chain(Call::NUMBERS) {
                let said = ToClient::sample(*number, &mut Draw::new(&bytes), form);
                let whole = packet_of(&said.encode(form));
                for length in 0..whole.payload.len() {
                    let payload = whole.payload[..length].to_vec();
                    let cut = Packet { kind: whole.kind, payload };
                    if let Ok(heard) = ToClient::parse(&cut, form) {
                        let again = packet_of(&heard.encode(form));
                        prop_assert_eq!(ToClient::parse(&again, form), Ok(heard));
                    }
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in 0..=710 {
            let packet = Packet { kind, payload: payload.clone() };
            if let Ok(heard) = FromClient::parse(&packet) {
                prop_assert_eq!(packet_of(&heard.encode()), packet.clone());
            }
            let _ = ToClient::parse(&packet, Form::of(Version::OURS));
        }
    }
}

#[test]
fn every_number_is_known_and_no_other() {
    let tools = [350, 352, 354, 356, 358, 360];
    let tree = (402..=496).step_by(2);
    let mut expected: Vec<u32> = [0, 1, 2, 10, 80, 400, 499, 546, 700, 701, 704]
        .into_iter()
        .chain(tools)
        .chain(tree)
        .collect();
    expected.sort_unstable();
    let mut known: Vec<u32> = numbers().collect();
    known.sort_unstable();
    assert_eq!(known, expected);
    for kind in (0..1_000).chain([u32::MAX]) {
        for length in [0, 4, 8, 64] {
            let payload = vec![0; length];
            let found = FromClient::parse(&Packet { kind, payload });
            let unknown = matches!(found, Err(PacketError::Unknown { .. }));
            assert_eq!(unknown, !expected.contains(&kind), "packet {kind}");
        }
    }
}

fn one_group(uid: u32, gid: u32) -> Credentials {
    let gids = Gids::List(vec![gid]);
    Credentials { uid, gids }
}

/// Lengths of a request's payload that are understood, when all its bytes are 0 or, where a list
/// of groups begins, its count.
fn lengths(number: u32, prefix: &[u8]) -> Vec<usize> {
    (prefix.len()..90)
        .filter(|length| {
            let mut payload = prefix.to_vec();
            payload.resize(*length, 0);
            let kind = number;
            FromClient::parse(&Packet { kind, payload }).is_ok()
        })
        .collect()
}

#[test]
fn old_forms_are_selected_by_their_length() {
    // With zeros alone a list of groups is refused, so these are all forms but those with one.
    for (number, expected) in [
        (0, &[0, 4][..]),
        (1, &[12, 16]),
        (10, &[0, 4]),
        (402, &[4]),
        (404, &[17]),
        (406, &[17]),
        (408, &[8, 16, 17]),
        (410, &[35, 36, 37]),
        (412, &[8]),
        (414, &[21]),
        (416, &[24, 26]),
        (418, &[19, 20, 22]),
        (420, &[17]),
        (424, &[22]),
        (426, &[21]),
        (428, &[16, 17, 29]),
        (430, &[17]),
        (432, &[12, 13]),
        (434, &[12, 13]),
        (436, &[24, 25, 29]),
        (438, &[20]),
        (440, &[8, 12]),
        (442, &[9]),
        (444, &[17]),
        (446, &[9]),
        (448, &[14]),
        (450, &[4, 8]),
        (452, &[8, 9]),
        (454, &[8]),
        (456, &[12]),
        (462, &[8]),
        (464, &[24, 25]),
        (466, &[16]),
        (468, &[22, 24]),
        (470, &[4]),
        (474, &[14]),
        (476, &[9, 65, 69]),
        (478, &[19]),
        (480, &[23]),
        (482, &[19, 21]),
        (484, &[8]),
        (488, &[9, 18]),
        (490, &[25]),
        (492, &[21]),
        (494, &[42]),
        (496, &[9, 13]),
        (546, &[20]),
        (350, &[13]),
        (352, &[15]),
        (354, &[5]),
        (356, &[6]),
        (360, &[5]),
        (80, &[5]),
        (704, &[0, 4]),
    ] {
        assert_eq!(lengths(number, &[]), expected, "packet {number}");
    }
}

#[test]
fn a_list_of_groups_makes_the_new_form() {
    // Message id, node, what stands before the user, the user, and two groups. Short forms that
    // are long enough take the count for their group.
    for (number, before, expected) in [
        (404, 0, &[17, 18 + 8][..]),
        (406, 1, &[17, 17 + 8]),
        (430, 0, &[17, 17 + 8]),
        (464, 1, &[24, 25, 25 + 8]),
        (428, 0, &[16, 17, 29, 29 + 8]),
        (482, 5, &[21, 21 + 8]),
        (416, 6, &[24, 26, 26 + 8]),
        (418, 5, &[22, 22 + 8]),
        (466, 0, &[16, 16 + 8]),
        (438, 13, &[29 + 8]),
        // With windows attributes, and without.
        (410, 1, &[35, 36, 37, 37 + 8, 38 + 8]),
    ] {
        let mut prefix = vec![0; 8 + before + 4];
        prefix.extend(2_u32.to_be_bytes());
        assert_eq!(lengths(number, &prefix), expected, "packet {number}");
    }
}

#[test]
fn a_payload_above_the_limit_ends_the_stream() {
    let mut stream = PacketReader::new(PAYLOAD_BYTES_MAX);
    let header = |length: u32| [700_u32.to_be_bytes(), length.to_be_bytes()].concat();
    stream.push(&header(50_000_000));
    assert_eq!(stream.next_packet(), Ok(None));
    let mut stream = PacketReader::new(PAYLOAD_BYTES_MAX);
    stream.push(&header(50_000_001));
    assert!(stream.next_packet().is_err());
}

// What follows was captured from unmodified 3.0.117 programs.

/// Bytes written as in a capture: hexadecimal digits, spaces anywhere.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let pairs = digits.chunks(2);
    pairs.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn client_said(bytes: &[u8], expected: FromClient) {
    assert_eq!(FromClient::parse(&packet_of(bytes)), Ok(expected.clone()));
    assert_eq!(expected.encode(), bytes);
}

fn master_said(bytes: &[u8], expected: ToClient) {
    let form = Form::of(Version::OURS);
    assert_eq!(
        ToClient::parse(&packet_of(bytes), form),
        Ok(expected.clone())
    );
    assert_eq!(expected.encode(form), bytes);
}

fn asked(id: u32, call: Call) -> FromClient {
    let id = MsgId(id);
    FromClient::Call { id, call }
}

fn told(id: u32, reply: Reply) -> ToClient {
    let id = MsgId(id);
    ToClient::Reply { id, reply }
}

#[test]
fn a_mount_registers() {
    let mut bytes = hex("00000190 00000058");
    bytes.extend(BLOB);
    bytes.extend(hex("02 000300ea 00000009 2f6d6e742f6d667300 00000002 2f00"));
    let new = NewSession {
        client: Version::OURS,
        info: b"/mnt/mfs".to_vec(),
        path: Some(b"/".to_vec()),
        session: None,
        passcode: None,
    };
    client_said(&bytes, FromClient::Register(Register::Session(new.clone())));
    // Longer forms of the same.
    let again = Again {
        session: SessionId(4),
        metaid: Some(0x6b00_dc97_18b1_c1d6),
    };
    for (session, passcode, spare) in [
        (Some(again.clone()), None, 12),
        (Some(again), Some([7; 16]), 28),
        (None, Some([7; 16]), 16),
    ] {
        let session = NewSession {
            session,
            passcode,
            ..new.clone()
        };
        let said = FromClient::Register(Register::Session(session));
        assert_eq!(said.encode().len(), bytes.len() + spare);
    }
    master_said(
        &hex(
            "00000191 00000031 000300ea 00000004 6b00dc9718b1c1d6 08 0000
            00000000 00000000 000003e7 000003e7 01 09 00000000 ffffffff 00000000",
        ),
        ToClient::Registered(Registered::Session(SessionValues {
            master: Version::OURS,
            session: SessionId(4),
            metaid: 0x6b00_dc97_18b1_c1d6,
            flags: flags::session::ADMIN,
            umask: 0,
            root_uid: 0,
            root_gid: 0,
            map_all_uid: 999,
            map_all_gid: 999,
            goal_min: 1,
            goal_max: 9,
            trash_seconds_min: 0,
            trash_seconds_max: u32::MAX,
            disables: 0,
        })),
    );
}

#[test]
fn a_mount_comes_back() {
    let mut bytes = hex("00000190 00000051");
    bytes.extend(BLOB);
    bytes.extend(hex("03 00000001 000300ea 6b00e40579bda053"));
    let back = Reconnect {
        session: SessionId(1),
        client: Version::OURS,
        metaid: Some(0x6b00_e405_79bd_a053),
    };
    client_said(&bytes, FromClient::Register(Register::Reconnect(back)));
    let back = Back {
        master: Version::OURS,
        result: Ok(()),
    };
    for (bytes, registered) in [
        (
            "00000191 00000005 000300ea 00",
            Registered::Reconnected(back),
        ),
        (
            "00000191 00000004 0a4f0006",
            Registered::Redirect(Ipv4Addr::new(10, 79, 0, 6)),
        ),
        (
            "00000191 00000004 00000000",
            Registered::Redirect(Ipv4Addr::UNSPECIFIED),
        ),
    ] {
        master_said(&hex(bytes), ToClient::Registered(registered));
    }
}

fn locations() -> Vec<Location> {
    [0x0a4d_0004, 0x0a4d_0006]
        .map(|ip| Location {
            ip,
            port: 9422,
            server: Version::OURS.0,
            labels: 0,
        })
        .to_vec()
}

#[test]
fn a_name_is_looked_up() {
    client_said(
        &hex("00000196 0000001a 00000001 0000012f 05 612e747874
            00000000 00000001 00000000"),
        asked(
            1,
            Call::Lookup(tree::Lookup {
                parent: InodeId(303),
                name: Name::new(b"a.txt").unwrap(),
                by: one_group(0, 0),
            }),
        ),
    );
    let now = WallTime(0x6b00_e365);
    let looked = Looked {
        inode: InodeId(304),
        attributes: Attributes {
            flags: flags::shown::NO_XATTR,
            kind: flags::node::FILE,
            mode: 0o644,
            atime: now,
            mtime: now,
            ctime: now,
            nlink: 1,
            length: 6,
            ..Attributes::default()
        },
        flags: flags::looked::ACCESS,
        chunk: Some(LookedChunk {
            protocol: Protocol2,
            chunk: ChunkId(2),
            version: 1,
            locations: locations(),
        }),
    };
    let bytes = hex("00000197 00000057 00000001 00000130
        08 11a4 00000000 00000000 6b00e365 6b00e365 6b00e365
        00000001 0000000000000006 00 01ff 02 0000000000000002 00000001
        0a4d0004 24ce 000300ea 00000000 0a4d0006 24ce 000300ea 00000000");
    master_said(&bytes, told(1, Reply::Lookup(Ok(looked.clone()))));
    // Older ones: no windows attributes; then no flags and no chunk either.
    for (client, length) in [
        (Version::new(3, 0, 92), 86),
        (Version::new(3, 0, 39), 4 + 4 + 35),
    ] {
        let packet = told(1, Reply::Lookup(Ok(looked.clone()))).encode(Form::of(client));
        assert_eq!(packet.len() - 8, length);
    }
}

#[test]
fn a_chunk_is_written() {
    client_said(
        &hex("000001b2 0000000d 00000003 00000130 00000000 04"),
        asked(
            3,
            Call::WriteChunk(WantChunk {
                inode: InodeId(304),
                index: 0,
                flags: Some(flags::chunk::RESERVED_SPACE),
            }),
        ),
    );
    let place = ChunkPlace {
        length: 0,
        chunk: ChunkId(2),
        version: 1,
        locations: locations(),
    };
    master_said(
        &hex(
            "000001b3 00000035 00000003 02 0000000000000000 0000000000000002 00000001
            0a4d0004 24ce 000300ea 00000000 0a4d0006 24ce 000300ea 00000000",
        ),
        told(3, Reply::WriteChunk(Ok(place.clone()))),
    );
    let old = told(3, Reply::WriteChunk(Ok(place)));
    assert_eq!(old.encode(Form::of(OLDEST_CLIENT)).len(), 8 + 25 + 2 * 10);
    client_said(
        &hex(
            "000001b4 0000001d 00000003 0000000000000002 00000130 00000000
            0000000000000006 00",
        ),
        asked(
            3,
            Call::WriteChunkEnd(data::WriteChunkEnd {
                chunk: ChunkId(2),
                inode: InodeId(304),
                index: Some(0),
                length: 6,
                flags: Some(0),
            }),
        ),
    );
    master_said(
        &hex("000001b5 00000005 00000003 00"),
        told(3, Reply::WriteChunkEnd(Ok(Done))),
    );
}

#[test]
fn room_for_an_append_is_reserved() {
    client_said(
        &hex("000001d0 0000001d 00000005 00000132 0b
            00000000 00000001 00000000 0000000000000006"),
        asked(
            5,
            Call::Truncate(Truncate {
                inode: InodeId(306),
                flags: Some(
                    flags::truncate::OPENED | flags::truncate::UPDATE | flags::truncate::RESERVE,
                ),
                by: one_group(0, 0),
                length: 6,
            }),
        ),
    );
    // The capture shows the beginning of the attributes; the rest is made up.
    let attributes = "0c 11a0 00000000 00000000 6b00e365 6b00e365 6b00e365
        00000001 0000000004000003 00";
    let bytes = hex(&format!(
        "000001d1 00000030 00000005 0000000004000003 {attributes}"
    ));
    let expected = Truncated {
        previous: 0x0400_0003,
        attributes: Attributes {
            flags: flags::shown::DATA_CACHE | flags::shown::NO_XATTR,
            kind: flags::node::FILE,
            mode: 0o640,
            atime: WallTime(0x6b00_e365),
            mtime: WallTime(0x6b00_e365),
            ctime: WallTime(0x6b00_e365),
            nlink: 1,
            length: 0x0400_0003,
            ..Attributes::default()
        },
    };
    master_said(&bytes, told(5, Reply::Truncate(Ok(expected))));
}

#[test]
fn a_directory_is_summed_up() {
    client_said(
        &hex("000001ce 00000008 00000005 0000012f"),
        asked(
            5,
            Call::GetDirStats(inspect::OfNode {
                inode: InodeId(303),
            }),
        ),
    );
    let stats = inspect::DirStats {
        short: false,
        inodes: 4,
        dirs: 1,
        files: 2,
        chunks: 2,
        length: 11,
        size: 147_456,
        real_size: 294_912,
    };
    master_said(
        &hex(
            "000001cf 0000003c 00000005 00000004 00000001 00000002 00000000 00000000
            00000002 00000000 00000000
            000000000000000b 0000000000024000 0000000000048000",
        ),
        told(5, Reply::GetDirStats(Ok(stats.clone()))),
    );
    let short = inspect::DirStats {
        short: true,
        ..stats
    };
    let packet = told(5, Reply::GetDirStats(Ok(short)));
    assert_eq!(packet.encode(Form::of(Version::OURS)).len(), 8 + 44);
}

#[test]
fn what_is_pushed_has_the_length_that_clients_insist_on() {
    let form = Form::of(Version::OURS);
    let changed = ChunkChanged {
        inode: InodeId(1),
        index: 2,
        chunk: ChunkId(3),
        version: 4,
        length: 5,
        truncated: 0,
    };
    let length = LengthChanged {
        inode: InodeId(1),
        length: 2,
    };
    for (packet, kind, bytes) in [
        (ToClient::Nop, 0, 4),
        (ToClient::ChunkChanged(changed), 702, 33),
        (ToClient::LengthChanged(length), 703, 16),
        (ToClient::InvalidateChunks, 706, 4),
        (
            ToClient::Time {
                id: Some(MsgId(0)),
                microseconds: 1,
            },
            705,
            12,
        ),
    ] {
        let packet = packet_of(&packet.encode(form));
        assert_eq!((packet.kind, packet.payload.len()), (kind, bytes));
        assert_eq!(packet.payload[..4], [0; 4]);
    }
}

#[test]
fn replies_have_the_lengths_that_clients_insist_on() {
    let node = tree::Node {
        inode: InodeId(1),
        attributes: Attributes::default(),
    };
    let space = tree::Space {
        total: 1,
        available: 2,
        free: 3,
        trash: 4,
        sustained: 5,
        inodes: 6,
    };
    let opened = data::Opened {
        flags: 0,
        attributes: Attributes::default(),
    };
    let created = tree::Created {
        flags: 0,
        inode: InodeId(1),
        attributes: Attributes::default(),
    };
    let truncated = Truncated {
        previous: 0,
        attributes: Attributes::default(),
    };
    let limits = subtree::WireLimits {
        inodes: 0,
        length: 0,
        size: 0,
        real_size: 0,
    };
    let quota = subtree::Quota {
        flags: 0,
        grace_seconds: 0,
        soft: limits.clone(),
        hard: limits.clone(),
        used: limits,
    };
    let changed = subtree::Changed {
        changed: 1,
        unchanged: 2,
        refused: 3,
        over_quota: None,
    };
    let removed = tree::Removed(InodeId(1));
    let class = ShownClass(ClassBlock::default());
    let newest_older = |a: usize, b: usize| [a, b];
    for (reply, lengths) in [
        (Reply::StatFs(Ok(space)), newest_older(48, 40)),
        (Reply::Symlink(Ok(node)), newest_older(44, 43)),
        (Reply::Open(Ok(opened)), newest_older(41, 39)),
        (Reply::Create(Ok(created)), newest_older(45, 43)),
        (Reply::Truncate(Ok(truncated)), newest_older(48, 39)),
        (Reply::Unlink(Ok(removed)), newest_older(8, 5)),
        (Reply::Rmdir(Err(Status::ENOTEMPTY)), newest_older(5, 5)),
        (Reply::QuotaControl(Ok(quota)), newest_older(93, 89)),
        (Reply::SetEattr(Ok(changed)), newest_older(16, 16)),
        (Reply::SclassChange(Ok(class)), newest_older(12, 12)),
        (
            Reply::Check(Ok(inspect::Checked::Copies([0; 12]))),
            newest_older(52, 48),
        ),
        (
            Reply::ArchCtl(Ok(subtree::Archived::Counts(subtree::ArchiveCounts {
                chunks: 0,
                chunks_not: 0,
                files: 0,
                files_partly: 0,
                files_not: 0,
            }))),
            newest_older(32, 32),
        ),
        (
            Reply::PosixLock(Ok(lock::PosixLocked::InTheWay(lock::InTheWay {
                pid: 0,
                kind: 0,
                start: 0,
                end: 0,
            }))),
            newest_older(25, 25),
        ),
    ] {
        for (client, length) in [Version::OURS, OLDEST_CLIENT].into_iter().zip(lengths) {
            let bytes = reply.encode(MsgId(1), Form::of(client));
            assert_eq!(bytes.len() - 8, length, "{reply:?} for {client}");
        }
    }
}
