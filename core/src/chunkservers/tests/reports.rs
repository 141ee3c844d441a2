//! What the node hears of a chunkserver that is registered.

use super::rig::*;
use crate::chunks::Report;
use crate::id::ChunkId;
use crate::moosefs::chunkserver::{
    Checksum, ChunkAt, ChunkOp, Complaint, ListBuf, Load, Register, SpaceReport, Strain,
    ToChunkserver, ToMaster, VersionText,
};
use crate::moosefs::version::Version;

#[test]
fn each_packet_is_a_report() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let chunks: Vec<ChunkId> = [7, 8].map(ChunkId).to_vec();
    let list: ListBuf<ChunkId> = chunks.iter().copied().collect();
    let (said, heard) = copies(5, 3);
    let load = |strain| {
        let jobs = 9;
        ToMaster::CurrentLoad(Load { jobs, strain })
    };
    let busy = |overloaded| {
        let jobs = 9;
        Report::Load { jobs, overloaded }
    };
    let list = list.as_list();
    let cases = [
        (ToMaster::ChunkNew(said.as_list()), Report::Found(heard)),
        (ToMaster::ChunkLost(list), Report::Lost(chunks.clone())),
        (ToMaster::ChunkDamaged(list), Report::Damaged(chunks)),
        (ToMaster::ErrorOccurred, Report::DiskError),
        (load(None), busy(false)),
        (load(Some(Strain::Default)), busy(false)),
        (load(Some(Strain::Ok)), busy(false)),
        (load(Some(Strain::Overloaded)), busy(true)),
        (load(Some(Strain::Rebalance)), busy(true)),
        (load(Some(Strain::Graceful)), busy(true)),
        (load(Some(Strain::Other(77))), busy(false)),
    ];
    for (said, heard) in cases {
        rig.say(conn, &said);
        assert_eq!(rig.reports(conn), [heard], "{said:?}");
    }
    for said in [
        ToMaster::Nop,
        ToMaster::ChunkNew(ListBuf::default().as_list()),
    ] {
        rig.say(conn, &said);
        assert_eq!(rig.reports(conn), [], "{said:?}");
    }
    assert_eq!(rig.closed(conn), None);
    assert_eq!(rig.messages, [""; 0]);
}

#[test]
fn what_old_chunkservers_leave_out_of_their_space_is_as_before() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let before = space_heard();
    let (used, total) = (50, 60);
    rig.say(conn, &ToMaster::Space(SpaceReport::Used { used, total }));
    let short = crate::chunks::Space {
        used,
        total,
        ..before
    };
    assert_eq!(rig.reports(conn), [Report::Space(short)]);
    let report = SpaceReport::WithRemoval {
        used: 51,
        total: 61,
        to_remove_used: 4,
        to_remove_total: 5,
    };
    rig.say(conn, &ToMaster::Space(report));
    let longer = crate::chunks::Space {
        used: 51,
        total: 61,
        removal_used: 4,
        removal_total: 5,
        ..before
    };
    assert_eq!(rig.reports(conn), [Report::Space(longer)]);
    rig.say(conn, &ToMaster::Space(SpaceReport::Full(space())));
    assert_eq!(rig.reports(conn), [Report::Space(before)]);
}

#[test]
fn a_long_list_comes_in_portions_and_in_pieces() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(begin(0)));
    rig.ack(conn);
    let (said, heard) = copies(1, 25_001);
    let packet = ToMaster::Register(Register::Copies(said.as_list()));
    for piece in packet.encode().unwrap().chunks(100_001) {
        assert_eq!(rig.reports(conn), [], "only a whole one is heard");
        rig.bytes(conn, piece);
    }
    assert!(rig.ack(conn).is_some());
    assert_eq!(rig.ack(conn), None, "one packet, one answer");
    let portions = rig.reports(conn).into_iter().map(|report| match report {
        Report::Found(copies) => copies,
        other => panic!("{other:?}"),
    });
    let portions: Vec<_> = portions.collect();
    let lengths: Vec<usize> = portions.iter().map(Vec::len).collect();
    assert_eq!(lengths, [10_000, 10_000, 5_001]);
    assert!(portions.concat() == heard, "all of them, in order");
    let chunks: ListBuf<ChunkId> = (1..=10_001).map(ChunkId).collect();
    rig.say(conn, &ToMaster::ChunkLost(chunks.as_list()));
    rig.say(conn, &ToMaster::ChunkDamaged(chunks.as_list()));
    let lengths = rig.reports(conn).into_iter().map(|report| match report {
        Report::Lost(chunks) | Report::Damaged(chunks) => chunks.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [10_000, 1, 10_000, 1]);
}

#[test]
fn questions_are_answered_whenever_they_come() {
    let mut rig = Rig::new();
    let new = rig.connect(0, HOME);
    let conn = rig.serve(0, 0);
    for conn in [new, conn] {
        for msgid in [None, Some(7)] {
            rig.say(conn, &ToMaster::GetVersion { msgid });
            let told = ToChunkserver::Version(VersionText {
                msgid,
                version: Version::OURS,
                text: b"3.0.117",
            });
            let (kind, payload) = rig.told(conn).unwrap();
            assert_eq!(ToChunkserver::parse(kind, &payload), Ok(told));
        }
        let value = [b'u'; 255];
        for (name, value) in [(&b"WORKING_USER"[..], &value[..]), (b"AUTH_CODE", b"")] {
            rig.say(conn, &ToMaster::GetConfig { msgid: 8, name });
            let (kind, payload) = rig.told(conn).unwrap();
            let told = ToChunkserver::ConfigValue { msgid: 8, value };
            assert_eq!(ToChunkserver::parse(kind, &payload), Ok(told));
        }
    }
    assert_eq!(rig.closed(new), None);
}

#[test]
fn complaints_are_for_the_log() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let complaint = Complaint {
        msgid: None,
        kind: 120,
        length: 12,
        version: Version::OURS,
    };
    rig.say(conn, &ToMaster::UnknownCommand(complaint));
    rig.say(conn, &ToMaster::BadCommandSize(complaint));
    let expected = [
        "chunkserver 1 at 10.0.0.5:9422 does not know packet 120 of 12 bytes, as it says",
        "chunkserver 1 at 10.0.0.5:9422 cannot read packet 120 of 12 bytes, as it says",
    ];
    assert_eq!(rig.messages, expected);
    assert_eq!((rig.closed(conn), rig.reports(conn)), (None, vec![]));
}

#[test]
fn what_a_master_does_not_take_ends_the_connection() {
    let at = ChunkAt {
        chunk: ChunkId(1),
        version: 1,
    };
    let op = ChunkOp {
        chunk: at,
        new_version: 2,
        copy: at,
        length: 3,
    };
    let (status, blocks) = (0, 1);
    let packets = [
        ToMaster::ChunkOpDone { op, status },
        ToMaster::ChunkBlocks {
            chunk: at,
            blocks,
            status,
        },
        ToMaster::ChunkChecksumTab {
            chunk: at,
            checksums: Err(1),
        },
    ];
    let mut rig = Rig::new();
    for said in &packets {
        let conn = rig.serve(0, 0);
        rig.say(conn, said);
        assert!(rig.is_gone(conn), "{said:?}");
        assert_eq!(rig.reports(conn), []);
    }
    let conn = rig.serve(0, 0);
    let checksum: Checksum<u32> = Ok(1);
    rig.say(
        conn,
        &ToMaster::ChunkChecksum {
            chunk: at,
            checksum,
        },
    );
    assert_eq!(rig.closed(conn), None, "this one is of no interest");
    // Space of 15 bytes, a number that nobody has, and a packet that is too long to be one.
    let wrong: [&[u8]; 3] = [
        &[
            0, 0, 0, 101, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
        &[0, 0, 3, 231, 0, 0, 0, 0],
        &[0, 0, 0, 107, 0x1D, 0xCD, 0x65, 0x01],
    ];
    for bytes in wrong {
        let conn = rig.serve(0, 0);
        rig.bytes(conn, bytes);
        assert!(rig.is_gone(conn), "{bytes:?}");
    }
}
