//! Packets of every kind with random fields: written, read, cut, bent.

use proptest::prelude::*;

use super::super::*;
use crate::id::{ChunkId, CsId};
use crate::moosefs::frame::HEADER_BYTES;
use crate::moosefs::reader::PacketError;
use crate::moosefs::version::Version;
use crate::rng::{Rng, Seed};

/// What a chunkserver may say, written down once more.
const TO_MASTER: [u32; 24] = [
    0, 1, 2, 10, 80, 100, 101, 102, 103, 105, 106, 107, 109, 111, 121, 131, 141, 151, 153, 161,
    171, 251, 301, 303,
];

/// What a master may say, written down once more.
const TO_CHUNKSERVER: [u32; 17] = [
    0, 1, 2, 11, 81, 104, 110, 120, 130, 140, 150, 152, 160, 170, 250, 300, 302,
];

/// Forms of a registration that have a number of their own below.
const REGISTER_FORMS: u64 = 12;
/// Forms of an answer to it.
const ACK_FORMS: u64 = 8;

fn small(rng: &mut Rng) -> u32 {
    // Small numbers meet the special ones more often.
    match rng.below(3) {
        0 => rng.below(4) as u32,
        _ => rng.next_u64() as u32,
    }
}

fn at(rng: &mut Rng) -> ChunkAt {
    ChunkAt {
        chunk: ChunkId(rng.next_u64()),
        version: small(rng),
    }
}

fn place(rng: &mut Rng) -> Place {
    Place {
        ip: small(rng).into(),
        port: rng.next_u64() as u16,
    }
}

fn space(rng: &mut Rng) -> RemovalSpace {
    let mut of = || Space {
        used: rng.next_u64(),
        total: rng.next_u64(),
        chunks: small(rng),
    };
    RemovalSpace {
        regular: of(),
        to_remove: of(),
    }
}

fn copies(rng: &mut Rng) -> ListBuf<ChunkCopy> {
    let count = rng.below(20);
    let copy = |_| ChunkCopy {
        chunk: ChunkId(rng.next_u64()),
        version: small(rng) & 0x7FFF_FFFF,
        to_remove: rng.chance(1, 2),
    };
    (0..count).map(copy).collect()
}

fn text(rng: &mut Rng) -> Vec<u8> {
    let count = rng.below(20);
    (0..count).map(|_| rng.between(1, 255) as u8).collect()
}

fn complaint(rng: &mut Rng) -> Complaint {
    Complaint {
        msgid: rng.chance(1, 2).then(|| small(rng)),
        kind: small(rng),
        length: small(rng),
        version: Version(small(rng)),
    }
}

fn with_register(rng: &mut Rng, give: &mut dyn FnMut(&ToMaster<'_>)) {
    let form = rng.below(REGISTER_FORMS);
    let copies = copies(rng);
    let copies = copies.as_list();
    let version = Version(small(rng));
    let timeout_seconds = rng.next_u64() as u16;
    let together_space = TogetherSpace {
        chunks: small(rng),
        to_remove_used: rng.next_u64(),
        to_remove_total: rng.next_u64(),
        to_remove_chunks: small(rng),
    };
    let mut passcode = [0; 16];
    rng.fill(&mut passcode);
    let register = match form {
        0..5 => Register::Together(Together {
            place: place(rng),
            used: rng.next_u64(),
            total: rng.next_u64(),
            form: match form {
                0 => TogetherForm::V0,
                1 => TogetherForm::V1 {
                    to_remove_used: rng.next_u64(),
                    to_remove_total: rng.next_u64(),
                },
                2 => TogetherForm::V2(together_space),
                3 => TogetherForm::V3 {
                    timeout_seconds,
                    space: together_space,
                },
                _ => TogetherForm::V4 {
                    version,
                    timeout_seconds,
                    space: together_space,
                },
            },
            copies,
        }),
        5 => Register::OldBegin {
            version,
            place: place(rng),
            timeout_seconds,
        },
        6 => Register::OldCopies(copies),
        7 => Register::OldEnd(space(rng)),
        8 => Register::Begin(Begin {
            passcode: rng.chance(1, 2).then_some(passcode),
            version,
            place: place(rng),
            timeout_seconds,
            csid: CsId(rng.next_u64() as u16),
            space: space(rng),
        }),
        9 => Register::Copies(copies),
        10 => Register::End,
        _ => Register::Disconnect,
    };
    give(&ToMaster::Register(register));
}

fn space_report(rng: &mut Rng) -> SpaceReport {
    let (used, total) = (rng.next_u64(), rng.next_u64());
    match rng.below(3) {
        0 => SpaceReport::Used { used, total },
        1 => SpaceReport::WithRemoval {
            used,
            total,
            to_remove_used: rng.next_u64(),
            to_remove_total: rng.next_u64(),
        },
        _ => SpaceReport::Full(space(rng)),
    }
}

fn load(rng: &mut Rng) -> Load {
    let strains = [
        None,
        Some(Strain::Default),
        Some(Strain::Ok),
        Some(Strain::Overloaded),
        Some(Strain::Rebalance),
        Some(Strain::Graceful),
        Some(Strain::Other(5)),
    ];
    Load {
        jobs: small(rng),
        strain: *rng.pick(&strains),
    }
}

fn chunk_op(rng: &mut Rng) -> ChunkOp {
    ChunkOp {
        chunk: at(rng),
        new_version: small(rng),
        copy: at(rng),
        length: small(rng),
    }
}

/// Gives a random packet of this number.
fn with_to_master(kind: u32, rng: &mut Rng, give: &mut dyn FnMut(&ToMaster<'_>)) {
    let chunk = at(rng);
    let status = rng.next_u64() as u8;
    let chunks = ListBuf::from_iter((0..rng.below(20)).map(|_| ChunkId(rng.next_u64())));
    let copies = copies(rng);
    let text = text(rng);
    let mut table = [0; 4096];
    rng.fill(&mut table);
    let given = rng.chance(1, 2);
    let packet = match kind {
        0 => ToMaster::Nop,
        1 => ToMaster::UnknownCommand(complaint(rng)),
        2 => ToMaster::BadCommandSize(complaint(rng)),
        10 => ToMaster::GetVersion {
            msgid: given.then(|| small(rng)),
        },
        80 => ToMaster::GetConfig {
            msgid: small(rng),
            name: &text,
        },
        100 => return with_register(rng, give),
        101 => ToMaster::Space(space_report(rng)),
        102 => ToMaster::ChunkDamaged(chunks.as_list()),
        103 => ToMaster::CurrentLoad(load(rng)),
        105 => ToMaster::ChunkLost(chunks.as_list()),
        106 => ToMaster::ErrorOccurred,
        107 => ToMaster::ChunkNew(copies.as_list()),
        109 => ToMaster::Labels(Labels(small(rng))),
        151 => ToMaster::Replicated { new: chunk, status },
        153 => ToMaster::ChunkOpDone {
            op: chunk_op(rng),
            status,
        },
        251 => ToMaster::ChunkBlocks {
            chunk,
            blocks: rng.next_u64() as u16,
            status,
        },
        301 => ToMaster::ChunkChecksum {
            chunk,
            checksum: if given { Ok(small(rng)) } else { Err(status) },
        },
        303 => ToMaster::ChunkChecksumTab {
            chunk,
            checksums: if given { Ok(&table) } else { Err(status) },
        },
        _ => ToMaster::Done(Done {
            kind: DoneKind::numbered(kind).expect("the number of an answer"),
            chunk: chunk.chunk,
            status,
        }),
    };
    give(&packet);
}

fn ack(rng: &mut Rng) -> Ack {
    let version = Version(small(rng));
    let timeout_seconds = (rng.between(1, 0xFFFF) as u16).try_into();
    let timeout_seconds = timeout_seconds.expect("not zero");
    let csid = CsId(rng.next_u64() as u16);
    let metaid = rng.next_u64();
    match rng.below(ACK_FORMS) {
        0 => Ack::Next,
        1 => Ack::Old { version },
        2 => Ack::Numbered {
            version,
            timeout_seconds,
            csid,
        },
        3 => Ack::Welcome {
            version,
            timeout_seconds,
            csid,
            metaid,
        },
        4 => Ack::Redirect {
            leader: Some((small(rng) | 1).into()),
        },
        5 => Ack::Redirect { leader: None },
        6 => Ack::Wait {
            version,
            timeout_seconds,
            metaid: rng.chance(1, 2).then_some(metaid),
        },
        _ => {
            let mut challenge = [0; 32];
            rng.fill(&mut challenge);
            Ack::Authenticate { challenge }
        }
    }
}

fn operation(kind: u32, rng: &mut Rng) -> Operation {
    let (new, old) = (at(rng), at(rng));
    let (length, old_version) = (small(rng), small(rng));
    match kind {
        110 => Operation::Create(new),
        120 => Operation::Delete(new),
        130 => Operation::Duplicate { new, old },
        140 => Operation::SetVersion { new, old_version },
        150 if rng.chance(1, 2) => Operation::Replicate {
            new,
            sources: Sources::One(place(rng)),
        },
        150 => {
            let count = rng.between(1, SOURCES_MAX as u64);
            let source = |_| Source {
                chunk: at(rng),
                place: place(rng),
            };
            let sources = (0..count).map(source).collect();
            let masks = [small(rng), small(rng), small(rng), small(rng)];
            let sources = Sources::Xor { masks, sources };
            Operation::Replicate { new, sources }
        }
        152 => Operation::ChunkOp(chunk_op(rng)),
        160 => Operation::Truncate {
            new,
            length,
            old_version,
        },
        _ => Operation::DupTrunc { new, old, length },
    }
}

/// Gives a random packet of this number.
fn with_to_chunkserver(kind: u32, rng: &mut Rng, give: &mut dyn FnMut(&ToChunkserver<'_>)) {
    let chunk = at(rng);
    let text = text(rng);
    let packet = match kind {
        0 => ToChunkserver::Nop,
        1 => ToChunkserver::UnknownCommand(complaint(rng)),
        2 => ToChunkserver::BadCommandSize(complaint(rng)),
        11 => ToChunkserver::Version(VersionText {
            msgid: rng.chance(1, 2).then(|| small(rng)),
            version: Version(small(rng) >> 8),
            text: &text,
        }),
        81 => ToChunkserver::ConfigValue {
            msgid: small(rng),
            value: &text,
        },
        104 => ToChunkserver::Ack(ack(rng)),
        250 => ToChunkserver::GetChunkBlocks(chunk),
        300 => ToChunkserver::GetChunkChecksum(chunk),
        302 => ToChunkserver::GetChunkChecksumTab(chunk),
        _ => ToChunkserver::Operation(operation(kind, rng)),
    };
    give(&packet);
}

/// Reads `payload`; what is read has to be written again just so.
fn read_to_master(kind: u32, payload: &[u8]) -> bool {
    let Ok(packet) = ToMaster::parse(kind, payload) else {
        return false;
    };
    let again = packet.encode().expect("what was read can be written");
    assert_eq!(&again[HEADER_BYTES..], payload, "of packet {kind}");
    true
}

fn read_to_chunkserver(kind: u32, payload: &[u8]) -> bool {
    let Ok(packet) = ToChunkserver::parse(kind, payload) else {
        return false;
    };
    let again = packet.encode().expect("what was read can be written");
    assert_eq!(&again[HEADER_BYTES..], payload, "of packet {kind}");
    true
}

fn header(bytes: &[u8]) -> (u32, &[u8]) {
    let number = |range: std::ops::Range<usize>| {
        u32::from_be_bytes(bytes[range].try_into().expect("four bytes"))
    };
    assert_eq!(number(4..8) as usize, bytes.len() - HEADER_BYTES);
    (number(0..4), &bytes[HEADER_BYTES..])
}

#[test]
fn no_number_is_forgotten() {
    let sorted = |numbers: &[u32]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(sorted(&number::TO_MASTER), TO_MASTER);
    assert_eq!(sorted(&number::TO_CHUNKSERVER), TO_CHUNKSERVER);
    let payload = [0; 3];
    for kind in 0..2_000 {
        let unknown = PacketError::Unknown { kind, length: 3 };
        let known = ToMaster::parse(kind, &payload) != Err(unknown.clone());
        assert_eq!(known, TO_MASTER.contains(&kind), "{kind} to a master");
        let known = ToChunkserver::parse(kind, &payload) != Err(unknown);
        let expected = TO_CHUNKSERVER.contains(&kind);
        assert_eq!(known, expected, "{kind} to a chunkserver");
    }
}

proptest! {
    /// A packet is read as it was written; a part of it is an error or another whole packet.
    #[test]
    fn what_a_chunkserver_says_is_read_as_it_was_written(seed: u64) {
        let mut rng = Seed::from_u64(seed).rng();
        for kind in TO_MASTER {
            with_to_master(kind, &mut rng, &mut |packet| {
                assert_eq!(packet.number(), kind);
                let bytes = packet.encode().expect("it is short enough");
                let (number, payload) = header(&bytes);
                assert_eq!(number, kind);
                assert_eq!(ToMaster::parse(kind, payload).as_ref(), Ok(packet));
                // A table of checksums is long, and any length within it is like any other.
                for end in (0..payload.len()).filter(|end| *end < 100 || end % 97 == 0) {
                    read_to_master(kind, &payload[..end]);
                }
            });
        }
    }

    /// The same in the other direction.
    #[test]
    fn what_a_master_says_is_read_as_it_was_written(seed: u64) {
        let mut rng = Seed::from_u64(seed).rng();
        for kind in TO_CHUNKSERVER {
            with_to_chunkserver(kind, &mut rng, &mut |packet| {
                assert_eq!(packet.number(), kind);
                let bytes = packet.encode().expect("it is short enough");
                let (number, payload) = header(&bytes);
                assert_eq!(number, kind);
                assert_eq!(ToChunkserver::parse(kind, payload).as_ref(), Ok(packet));
                for end in 0..payload.len() {
                    read_to_chunkserver(kind, &payload[..end]);
                }
            });
        }
    }

    /// Random bytes of every number: an error, or a packet that is those bytes.
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        for kind in 0..310 {
            read_to_master(kind, &bytes);
            read_to_chunkserver(kind, &bytes);
        }
    }
}

/// Random forms reach every form: otherwise the tests above would prove less than they say.
#[test]
fn random_packets_reach_every_form() {
    let mut rng = Seed::from_u64(1).rng();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        with_to_master(100, &mut rng, &mut |packet| {
            let bytes = packet.encode().expect("it is short enough");
            let payload = &bytes[HEADER_BYTES..];
            let form = if payload.len().is_multiple_of(2) {
                0
            } else {
                payload[0]
            };
            seen.insert(form);
        });
        let bytes = ToChunkserver::Ack(ack(&mut rng)).encode().expect("short");
        // Lengths of answers, kept apart from the forms above.
        seen.insert(100 + bytes[7]);
    }
    let forms = [0, 1, 2, 3, 4, 50, 51, 52, 60, 61, 62, 63];
    let lengths = [1, 5, 7, 9, 15, 17, 33].map(|length| 100 + length);
    assert_eq!(seen, forms.into_iter().chain(lengths).collect());
}
