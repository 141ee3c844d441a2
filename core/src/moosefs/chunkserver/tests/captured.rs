//! Packets captured from unmodified 3.0.117 programs, and the forms that only older ones send.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use super::super::*;
use crate::id::{ChunkId, CsId};
use crate::moosefs::frame::{HEADER_BYTES, PacketReader};
use crate::moosefs::reader::PacketError;
use crate::moosefs::version::Version;

const METAID: u64 = 0x6B00_E405_79BD_A053;

/// The packet that these digits are, spaces left out.
fn packet(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    });
    pairs.collect()
}

/// Checks that these digits are this packet of a chunkserver, in both directions.
fn from_chunkserver(hex: &str, expected: ToMaster<'_>) {
    let bytes = packet(hex);
    let mut reader = PacketReader::new(TO_MASTER_BYTES_MAX);
    reader.push(&bytes);
    let framed = reader.next_packet().expect("short").expect("whole");
    assert_eq!(reader.waiting_bytes(), 0);
    let parsed = ToMaster::parse(framed.kind, &framed.payload);
    assert_eq!(parsed, Ok(expected.clone()), "{hex}");
    assert_eq!(expected.encode(), Ok(bytes), "{hex}");
}

/// Checks that these digits are this packet of a master, in both directions.
fn from_master(hex: &str, expected: ToChunkserver<'_>) {
    let bytes = packet(hex);
    let mut reader = PacketReader::new(TO_CHUNKSERVER_BYTES_MAX);
    reader.push(&bytes);
    let framed = reader.next_packet().expect("short").expect("whole");
    assert_eq!(reader.waiting_bytes(), 0);
    let parsed = ToChunkserver::parse(framed.kind, &framed.payload);
    assert_eq!(parsed, Ok(expected.clone()), "{hex}");
    assert_eq!(expected.encode(), Ok(bytes), "{hex}");
}

fn ack(hex: &str, expected: Ack) {
    from_master(hex, ToChunkserver::Ack(expected));
}

fn at(chunk: u64, version: u32) -> ChunkAt {
    let chunk = ChunkId(chunk);
    ChunkAt { chunk, version }
}

fn space(first: u64) -> RemovalSpace {
    let of = |first: u64| Space {
        used: first,
        total: first + 1,
        chunks: first as u32 + 2,
    };
    RemovalSpace {
        regular: of(first),
        to_remove: of(first + 3),
    }
}

fn ten_seconds() -> NonZeroU16 {
    NonZeroU16::new(10).expect("ten")
}

#[test]
fn a_chunkserver_registers() {
    let begin = Begin {
        passcode: None,
        version: Version::OURS,
        place: Place {
            ip: Ipv4Addr::new(10, 79, 0, 5),
            port: 9422,
        },
        timeout_seconds: 0,
        csid: CsId(2),
        space: RemovalSpace::default(),
    };
    from_chunkserver(
        "00000064 00000037  3c 000300ea 0a4f0005 24ce 0000 0002
         0000000000000000 0000000000000000 00000000
         0000000000000000 0000000000000000 00000000"
            .replace('\n', "")
            .as_str(),
        ToMaster::Register(Register::Begin(begin)),
    );
    let welcome = Ack::to_begin(begin.version, ten_seconds(), CsId(2), METAID);
    ack(
        "00000068 00000011  00 000300ea 000a 0002 6b00e40579bda053",
        welcome.expect("it is new enough for an answer"),
    );
    let labels = Labels(0b101);
    from_chunkserver("0000006d 00000004 00000005", ToMaster::Labels(labels));
    from_chunkserver("00000064 00000001 3e", ToMaster::Register(Register::End));
    let copies = ListBuf::from_iter([1, 2, 3, 4, 5].map(|number| ChunkCopy {
        chunk: ChunkId(number),
        version: 1,
        to_remove: number == 5,
    }));
    from_chunkserver(
        "0000006b 0000003c
         0000000000000001 00000001 0000000000000002 00000001 0000000000000003 00000001
         0000000000000004 00000001 0000000000000005 80000001"
            .replace('\n', "")
            .as_str(),
        ToMaster::ChunkNew(copies.as_list()),
    );
}

#[test]
fn a_server_that_lost_its_master_sends_what_it_has_first() {
    let copies = ListBuf::from_iter([ChunkCopy {
        chunk: ChunkId(7),
        version: 9,
        to_remove: false,
    }]);
    from_chunkserver(
        "00000064 0000000d 3d 0000000000000007 00000009",
        ToMaster::Register(Register::Copies(copies.as_list())),
    );
    ack("00000068 00000001 00", Ack::Next);
    assert_eq!(Ack::to_copies(Version::OURS), Some(Ack::Next));
}

#[test]
fn a_chunk_is_made_for_a_write() {
    let create = Operation::Create(at(2, 1));
    let done = create.done(0);
    from_master(
        "0000006e 0000000c 0000000000000002 00000001",
        ToChunkserver::Operation(create),
    );
    from_chunkserver("0000006f 00000009 0000000000000002 00", done);
}

#[test]
fn every_answer_to_a_registration_has_its_length() {
    let version = Version::OURS;
    let timeout_seconds = NonZeroU16::new(3).expect("three");
    ack("00000068 00000005 00 000300ea", Ack::Old { version });
    ack(
        "00000068 00000009 00 000300ea 0003 0002",
        Ack::Numbered {
            version,
            timeout_seconds,
            csid: CsId(2),
        },
    );
    let leader = Some(Ipv4Addr::new(10, 79, 0, 6));
    ack("00000068 00000005 01 0a4f0006", Ack::Redirect { leader });
    ack(
        "00000068 00000005 01 00000000",
        Ack::Redirect { leader: None },
    );
    for (hex, metaid) in [
        ("00000068 00000007 02 000300ea 0003", None),
        (
            "00000068 0000000f 02 000300ea 0003 6b00e40579bda053",
            Some(METAID),
        ),
    ] {
        let wait = Ack::Wait {
            version,
            timeout_seconds,
            metaid,
        };
        ack(hex, wait);
    }
    let challenge = [0x5A; 32];
    let digits = format!("00000068 00000021 03 {}", "5a".repeat(32));
    ack(&digits, Ack::Authenticate { challenge });
}

/// Of 256 kinds and 40 lengths exactly these are answers.
#[test]
fn an_answer_of_any_other_length_is_refused() {
    let mut good = Vec::new();
    for kind in 0..=u8::MAX {
        for length in 0..40 {
            // Ones, so that no timeout is zero.
            let mut payload = vec![1; length];
            if let Some(first) = payload.first_mut() {
                *first = kind;
            }
            if ToChunkserver::parse(number::MATOCS_MASTER_ACK, &payload).is_ok() {
                good.push((kind, length));
            }
        }
    }
    let answers = [
        (0, 1),
        (0, 5),
        (0, 9),
        (0, 17),
        (1, 5),
        (2, 7),
        (2, 15),
        (3, 33),
    ];
    assert_eq!(good, answers);
}

#[test]
fn an_answer_with_a_timeout_of_zero_is_refused() {
    let payload = &packet("00 000300ea 0000 0002 6b00e40579bda053")[..];
    let error = ToChunkserver::parse(number::MATOCS_MASTER_ACK, payload);
    assert!(matches!(error, Err(PacketError::Value { .. })), "{error:?}");
}

#[test]
fn the_answer_depends_on_the_servers_version() {
    let begin = |server| Ack::to_begin(server, ten_seconds(), CsId(1), METAID);
    let old = Version(0x0001_0600 + 27 * 2);
    let answered = Version(0x0001_0600 + 28 * 2);
    assert_eq!(begin(old), None);
    assert_eq!(Ack::to_old_begin(old), None);
    let version = Version::OURS;
    assert_eq!(Ack::to_old_begin(answered), Some(Ack::Old { version }));
    let numbered = |server| matches!(begin(server), Some(Ack::Numbered { .. }));
    assert!(numbered(answered));
    assert!(numbered(Version::new(2, 0, 32)));
    let welcome = begin(Version::new(2, 0, 33));
    assert!(matches!(welcome, Some(Ack::Welcome { metaid: METAID, .. })));
    assert_eq!(Ack::to_copies(Version(0x0001_07FF)), None);
    assert_eq!(Ack::to_copies(Version::new(2, 0, 0)), Some(Ack::Next));
}

/// Where a server is and what it has, as the forms before version 6 say it.
#[test]
fn older_forms_of_a_registration_are_read() {
    let place = Place {
        ip: Ipv4Addr::new(10, 79, 0, 5),
        port: 9422,
    };
    let copies = ListBuf::from_iter([ChunkCopy {
        chunk: ChunkId(7),
        version: 9,
        to_remove: false,
    }]);
    let (used, total) = (1, 2);
    let (to_remove_used, to_remove_total) = (4, 5);
    let space = TogetherSpace {
        chunks: 3,
        to_remove_used,
        to_remove_total,
        to_remove_chunks: 6,
    };
    let timeout_seconds = 10;
    let version = Version::new(3, 0, 117);
    let v1 = TogetherForm::V1 {
        to_remove_used,
        to_remove_total,
    };
    let v3 = TogetherForm::V3 {
        timeout_seconds,
        space,
    };
    let v4 = TogetherForm::V4 {
        version,
        timeout_seconds,
        space,
    };
    let here = "0a4f0005 24ce";
    let used_total = "0000000000000001 0000000000000002";
    let removal = "0000000000000004 0000000000000005";
    let rest = format!("00000003 {removal} 00000006");
    let list = "0000000000000007 00000009";
    for (form, length, fields) in [
        (TogetherForm::V0, 22, format!("{here} {used_total}")),
        (v1, 39, format!("01 {here} {used_total} {removal}")),
        (
            TogetherForm::V2(space),
            47,
            format!("02 {here} {used_total} {rest}"),
        ),
        (v3, 49, format!("03 {here} 000a {used_total} {rest}")),
        (
            v4,
            53,
            format!("04 000300ea {here} 000a {used_total} {rest}"),
        ),
    ] {
        let hex = format!("00000064 {:08x} {fields} {list}", length + 12);
        let together = Together {
            place,
            used,
            total,
            form,
            copies: copies.as_list(),
        };
        from_chunkserver(&hex, ToMaster::Register(Register::Together(together)));
    }
    from_chunkserver(
        "00000064 0000000d 32 000300ea 0a4f0005 24ce 000a",
        ToMaster::Register(Register::OldBegin {
            version,
            place,
            timeout_seconds,
        }),
    );
    from_chunkserver(
        &format!("00000064 0000000d 33 {list}"),
        ToMaster::Register(Register::OldCopies(copies.as_list())),
    );
    from_chunkserver(
        "00000064 00000029 34
         0000000000000001 0000000000000002 00000003
         0000000000000004 0000000000000005 00000006"
            .replace('\n', "")
            .as_str(),
        ToMaster::Register(Register::OldEnd(super::captured::space(1))),
    );
    from_chunkserver(
        "00000064 00000001 3f",
        ToMaster::Register(Register::Disconnect),
    );
}

#[test]
fn a_registration_with_a_passcode_is_read() {
    let hex = format!(
        "00000064 00000047 3c {} 000300ea 00000000 24ce 000a 0000 {} {}",
        "a5".repeat(16),
        "0000000000000001 0000000000000002 00000003",
        "0000000000000004 0000000000000005 00000006"
    );
    let begin = Begin {
        passcode: Some([0xA5; 16]),
        version: Version::OURS,
        place: Place {
            ip: Ipv4Addr::UNSPECIFIED,
            port: 9422,
        },
        timeout_seconds: 10,
        csid: CsId(0),
        space: space(1),
    };
    from_chunkserver(&hex, ToMaster::Register(Register::Begin(begin)));
}

#[test]
fn what_a_running_server_reports_is_read() {
    from_chunkserver("00000000 00000000", ToMaster::Nop);
    from_chunkserver("0000006a 00000000", ToMaster::ErrorOccurred);
    let (used, total) = (1, 2);
    let (to_remove_used, to_remove_total) = (3, 4);
    let reports = [
        ("00000010", "", SpaceReport::Used { used, total }),
        (
            "00000020",
            "0000000000000003 0000000000000004",
            SpaceReport::WithRemoval {
                used,
                total,
                to_remove_used,
                to_remove_total,
            },
        ),
        (
            "00000028",
            "00000003 0000000000000004 0000000000000005 00000006",
            SpaceReport::Full(space(1)),
        ),
    ];
    for (length, rest, report) in reports {
        let hex = format!("00000065 {length} 0000000000000001 0000000000000002 {rest}");
        from_chunkserver(&hex, ToMaster::Space(report));
    }
    let strains = [
        ("00000004 00000009", None),
        ("00000005 00000009 02", Some(Strain::Overloaded)),
        ("00000005 00000009 04", Some(Strain::Graceful)),
        ("00000005 00000009 07", Some(Strain::Other(7))),
    ];
    for (rest, strain) in strains {
        let load = Load { jobs: 9, strain };
        from_chunkserver(&format!("00000067 {rest}"), ToMaster::CurrentLoad(load));
    }
    let chunks = ListBuf::from_iter([ChunkId(7), ChunkId(8)]);
    let list = "00000010 0000000000000007 0000000000000008";
    let (damaged, lost) = (chunks.as_list(), chunks.as_list());
    from_chunkserver(&format!("00000066 {list}"), ToMaster::ChunkDamaged(damaged));
    from_chunkserver(&format!("00000069 {list}"), ToMaster::ChunkLost(lost));
}

/// Every operation with the answer that a server gives.
#[test]
fn operations_and_their_answers_have_their_fields_in_order() {
    let place = Place {
        ip: Ipv4Addr::new(10, 79, 0, 6),
        port: 9422,
    };
    let (new, old) = (at(8, 2), at(7, 9));
    let source = Source { chunk: old, place };
    let xor = Sources::Xor {
        masks: [1, 2, 3, 4],
        sources: vec![source; 2],
    };
    let op = ChunkOp {
        chunk: old,
        new_version: 10,
        copy: new,
        length: u32::MAX,
    };
    let (n, o) = ("0000000000000008 00000002", "0000000000000007 00000009");
    let from = format!("{o} 0a4f0006 24ce");
    let all = format!("{o} 0000000a {n} ffffffff");
    let one = Sources::One(place);
    let cases = [
        (
            Operation::Delete(at(8, 0)),
            "00000078 0000000c",
            "0000000000000008 00000000",
            "00000079",
        ),
        (
            Operation::Duplicate { new, old },
            "00000082 00000018",
            &format!("{n} {o}"),
            "00000083",
        ),
        (
            Operation::SetVersion {
                new,
                old_version: 1,
            },
            "0000008c 00000010",
            &format!("{n} 00000001"),
            "0000008d",
        ),
        (
            Operation::Truncate {
                new,
                length: 6,
                old_version: 1,
            },
            "000000a0 00000014",
            "0000000000000008 00000006 00000002 00000001",
            "000000a1",
        ),
        (
            Operation::DupTrunc {
                new,
                old,
                length: 6,
            },
            "000000aa 0000001c",
            &format!("{n} {o} 00000006"),
            "000000ab",
        ),
        (
            Operation::Replicate { new, sources: one },
            "00000096 00000012",
            &format!("{n} 0a4f0006 24ce"),
            "00000097",
        ),
        (
            Operation::Replicate { new, sources: xor },
            "00000096 00000040",
            &format!("{n} 00000001 00000002 00000003 00000004 {from} {from}"),
            "00000097",
        ),
        (
            Operation::ChunkOp(op),
            "00000098 00000020",
            &all,
            "00000099",
        ),
    ];
    for (operation, header, fields, answer) in cases {
        let named = match answer {
            "00000097" => format!("0000000d {n}"),
            "00000099" => format!("00000021 {all}"),
            _ => "00000009 0000000000000008".into(),
        };
        from_chunkserver(&format!("{answer} {named} 13"), operation.done(19));
        assert_eq!(operation.number() + 1, operation.done(19).number());
        let hex = format!("{header} {fields}");
        from_master(&hex, ToChunkserver::Operation(operation));
    }
}

#[test]
fn diagnostic_packets_have_their_fields_in_order() {
    let chunk = at(7, 9);
    let c = "0000000000000007 00000009";
    let asked = [
        ("000000fa", ToChunkserver::GetChunkBlocks(chunk)),
        ("0000012c", ToChunkserver::GetChunkChecksum(chunk)),
        ("0000012e", ToChunkserver::GetChunkChecksumTab(chunk)),
    ];
    for (number, packet) in asked {
        from_master(&format!("{number} 0000000c {c}"), packet);
    }
    let (blocks, status) = (1024, 13);
    from_chunkserver(
        &format!("000000fb 0000000f {c} 0400 0d"),
        ToMaster::ChunkBlocks {
            chunk,
            blocks,
            status,
        },
    );
    for (rest, checksum) in [("00000010", Ok(0xD797_8EEB)), ("0000000d", Err(13))] {
        let field = checksum.map_or("0d".into(), |sum: u32| format!("{sum:08x}"));
        let hex = format!("0000012d {rest} {c} {field}");
        from_chunkserver(&hex, ToMaster::ChunkChecksum { chunk, checksum });
    }
    let table = [0xAB; 4096];
    for (length, rest, checksums) in [
        ("0000100c", "ab".repeat(4096), Ok(&table)),
        ("0000000d", "0d".into(), Err(13)),
    ] {
        let hex = format!("0000012f {length} {c} {rest}");
        from_chunkserver(&hex, ToMaster::ChunkChecksumTab { chunk, checksums });
    }
}

#[test]
fn packets_that_any_program_sends_are_read() {
    let version = Version::OURS;
    from_master("00000000 00000000", ToChunkserver::Nop);
    for (hex, msgid) in [
        ("0000000c 00000064 00000003 000300ea", None),
        ("00000010 00000005 00000064 00000003 000300ea", Some(5)),
    ] {
        let complaint = Complaint {
            msgid,
            kind: 100,
            length: 3,
            version,
        };
        let (one, two) = (format!("00000001 {hex}"), format!("00000002 {hex}"));
        from_master(&one, ToChunkserver::UnknownCommand(complaint));
        from_master(&two, ToChunkserver::BadCommandSize(complaint));
        from_chunkserver(&one, ToMaster::UnknownCommand(complaint));
        from_chunkserver(&two, ToMaster::BadCommandSize(complaint));
    }
    let msgid = None;
    from_chunkserver("0000000a 00000000", ToMaster::GetVersion { msgid });
    let msgid = Some(5);
    from_chunkserver("0000000a 00000004 00000005", ToMaster::GetVersion { msgid });
    for (hex, msgid) in [
        ("0000000b 0000000b 000300ea 332e302e313137", None),
        (
            "0000000b 0000000f 00000005 000300ea 332e302e313137",
            Some(5),
        ),
    ] {
        let text = b"3.0.117";
        let version = VersionText {
            msgid,
            version,
            text,
        };
        from_master(hex, ToChunkserver::Version(version));
    }
    let (msgid, name, value) = (5, b"AB", b"1");
    from_chunkserver(
        "00000050 00000007 00000005 02 4142",
        ToMaster::GetConfig { msgid, name },
    );
    from_master(
        "00000051 00000006 00000005 01 31",
        ToChunkserver::ConfigValue { msgid, value },
    );
}

#[test]
fn nothing_too_long_is_written() {
    let text = vec![b'x'; 9_996];
    let version = |text| {
        ToChunkserver::Version(VersionText {
            msgid: None,
            version: Version::OURS,
            text,
        })
    };
    let longest = version(&text).encode().expect("it just fits");
    assert_eq!(longest.len(), HEADER_BYTES + 10_000);
    let text = [&text[..], b"x"].concat();
    assert_eq!(
        version(&text).encode(),
        Err(EncodeError::TooLong {
            kind: 11,
            length: 10_001,
            limit: 10_000
        })
    );
    let long = [b'x'; 256];
    let (msgid, name, value) = (0, &long[..], &long[..]);
    let wrong =
        |kind| move |error| matches!(error, EncodeError::Value { kind: k, .. } if k == kind);
    let get = ToMaster::GetConfig { msgid, name }.encode();
    assert!(get.is_err_and(wrong(80)));
    let answer = ToChunkserver::ConfigValue { msgid, value }.encode();
    assert!(answer.is_err_and(wrong(81)));
    let place = Place {
        ip: Ipv4Addr::LOCALHOST,
        port: 1,
    };
    let chunk = at(1, 1);
    for count in [0, SOURCES_MAX + 1] {
        let sources = Sources::Xor {
            masks: [0; 4],
            sources: vec![Source { chunk, place }; count],
        };
        let replicate = Operation::Replicate {
            new: chunk,
            sources,
        };
        let replicate = ToChunkserver::Operation(replicate).encode();
        assert!(replicate.is_err_and(wrong(150)));
    }
}

#[test]
fn a_long_list_is_read_where_it_lies_and_cut_without_a_copy() {
    let copies = ListBuf::from_iter((1..=25_001).map(|number| ChunkCopy {
        chunk: ChunkId(number),
        version: number as u32,
        to_remove: number % 2 == 0,
    }));
    let list = copies.as_list();
    let parts: Vec<_> = list.parts(REGISTER_COPIES_MAX).collect();
    let lengths: Vec<_> = parts.iter().map(List::len).collect();
    assert_eq!(lengths, [10_000, 10_000, 5_001]);
    assert!(parts.iter().flat_map(List::iter).eq(list.iter()));
    assert_eq!(List::<ChunkId>::empty().parts(1).count(), 0);
    let packet = ToMaster::Register(Register::Copies(list)).encode();
    let packet = packet.expect("it is short enough");
    let payload = &packet[HEADER_BYTES..];
    let Ok(ToMaster::Register(Register::Copies(found))) = ToMaster::parse(100, payload) else {
        panic!("it is read as it was written");
    };
    assert_eq!(found.bytes().as_ptr(), payload[1..].as_ptr());
    assert!(found.iter().eq(list.iter()));
}
