//! Every question and answer through both directions: made up ones and cut ones.

use proptest::prelude::*;

use super::classes::Classes;
use super::sessions::{AcquiredLocks, ExportsListed, OpenFilesListed, SessionsListed};
use super::*;
use crate::moosefs::frame::PacketReader;
use crate::moosefs::sample::{Draw, Sample};

fn packet_of(bytes: &[u8]) -> Packet {
    let mut stream = PacketReader::new(u32::MAX);
    stream.push(bytes);
    let packet = stream.next_packet().unwrap().expect("a whole packet");
    assert_eq!(stream.waiting_bytes(), 0);
    packet
}

/// The message id that an answer begins with.
fn id_of(packet: &Packet) -> u32 {
    u32::from_be_bytes(*packet.payload.first_chunk().expect("it has one"))
}

/// Makes up an answer to a question.
fn answer(asked: &FromMonitor, draw: &mut Draw<'_>) -> ToMonitor {
    let form = Form::of(Version::OURS);
    let matrix = |draw: &mut Draw<'_>| {
        let rows = std::array::from_fn(|_| Sample::sample(draw, form));
        chunks::Matrix(Box::new(rows))
    };
    match asked {
        FromMonitor::Chunkservers => ToMonitor::Chunkservers(Sample::sample(draw, form)),
        FromMonitor::ChartData { .. } => ToMonitor::ChartData(Sample::sample(draw, form)),
        FromMonitor::Sessions { mode } => {
            ToMonitor::Sessions(SessionsListed::sample_in(draw, mode.unwrap_or(0)))
        }
        FromMonitor::Info => ToMonitor::Info(Box::new(Sample::sample(draw, form))),
        FromMonitor::FileLoop { form: asked } => {
            let numbers: [u32; 8] = Sample::sample(draw, form);
            ToMonitor::FileLoop(FileLoop {
                began: Sample::sample(draw, form),
                ended: Sample::sample(draw, form),
                files: numbers[0],
                files_under: numbers[1],
                files_missing: numbers[2],
                detached_missing: asked.map(|_| [numbers[3], numbers[4]]),
                chunks: numbers[5],
                chunks_under: numbers[6],
                chunks_missing: numbers[7],
                message: Sample::sample(draw, form),
            })
        }
        FromMonitor::ChunkLoop => ToMonitor::ChunkLoop(Sample::sample(draw, form)),
        FromMonitor::Matrices { which: Some(_) } => {
            ToMonitor::Matrices(Matrices::One(matrix(draw)))
        }
        FromMonitor::Matrices { which: None } => ToMonitor::Matrices(Matrices::Both {
            progress: draw.byte(),
            all: matrix(draw),
            regular: matrix(draw),
        }),
        FromMonitor::Quotas => ToMonitor::Quotas(Sample::sample(draw, form)),
        FromMonitor::Exports { mode } => {
            ToMonitor::Exports(ExportsListed::sample_in(draw, mode.unwrap_or(0)))
        }
        FromMonitor::Metaloggers => ToMonitor::Metaloggers(Sample::sample(draw, form)),
        FromMonitor::ChunkserverCommand(_) => {
            ToMonitor::ChunkserverCommand(Came(Status::of_byte(draw.byte())))
        }
        FromMonitor::SessionCommand { .. } => {
            ToMonitor::SessionCommand(Came(Status::of_byte(draw.byte())))
        }
        FromMonitor::Memory => ToMonitor::Memory(Sample::sample(draw, form)),
        FromMonitor::Module { .. } => ToMonitor::Module(Sample::sample(draw, form)),
        FromMonitor::OpenFiles { session, .. } => ToMonitor::OpenFiles(match session.0 {
            0 => OpenFilesListed::All(Sample::sample(draw, form)),
            _ => OpenFilesListed::Of(Sample::sample(draw, form)),
        }),
        FromMonitor::Locks { inode } => ToMonitor::Locks(match inode.0 {
            0 => AcquiredLocks::All(Sample::sample(draw, form)),
            _ => AcquiredLocks::Of(Sample::sample(draw, form)),
        }),
        FromMonitor::Paths(_) => ToMonitor::Paths(Sample::sample(draw, form)),
        FromMonitor::Classes => ToMonitor::Classes(Classes::sample(draw, form)),
        FromMonitor::Missing { form: asked } => {
            let count = draw.byte() % 5;
            let missing = (0..count).map(|_| MissingChunk {
                chunk: Sample::sample(draw, form),
                inode: Sample::sample(draw, form),
                index: Sample::sample(draw, form),
                kind: (*asked == Some(1)).then(|| draw.byte()),
            });
            ToMonitor::Missing(missing.collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_asked_and_told_is_heard(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        for number in FromMonitor::NUMBERS {
            let (head, rest) = bytes.split_at(bytes.len().min(9));
            let asked = FromMonitor::sample(*number, &mut Draw::new(head));
            let packet = packet_of(&asked.encode());
            prop_assert_eq!(packet.kind, *number);
            prop_assert_eq!(FromMonitor::parse(&packet), Ok(asked.clone()));
            let told = answer(&asked, &mut Draw::new(rest));
            let packet = packet_of(&told.encode(asked.id()));
            prop_assert_eq!(packet.kind, number + 1);
            prop_assert_eq!(ToMonitor::parse(&packet, &asked), Ok(told));
        }
    }

    #[test]
    fn what_is_cut_is_refused_or_another_whole_one(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        for number in FromMonitor::NUMBERS {
            let asked = FromMonitor::sample(*number, &mut Draw::new(&bytes));
            let whole = packet_of(&asked.encode());
            for length in 0..whole.payload.len() {
                let payload = whole.payload[..length].to_vec();
                let cut = Packet { kind: *number, payload };
                if let Ok(heard) = FromMonitor::parse(&cut) {
                    prop_assert_eq!(packet_of(&heard.encode()), cut);
                }
            }
            let told = packet_of(&answer(&asked, &mut Draw::new(&bytes)).encode(asked.id()));
            for length in 0..told.payload.len() {
                let payload = told.payload[..length].to_vec();
                let cut = Packet { kind: told.kind, payload };
                if let Ok(heard) = ToMonitor::parse(&cut, &asked) {
                    let again = packet_of(&heard.encode(asked.id().map(|_| id_of(&cut))));
                    prop_assert_eq!(again, cut);
                }
            }
        }
    }
}

#[test]
fn lengths_are_those_of_3_0_117() {
    let none = &mut Draw::new(&[]);
    let form = Form::of(Version::OURS);
    let length = |told: &ToMonitor| packet_of(&told.encode(None)).payload.len();
    let info = Info::sample(none, form);
    assert_eq!(length(&ToMonitor::Info(Box::new(info))), 149);
    let server = ChunkserverListed::sample(none, form);
    assert_eq!(length(&ToMonitor::Chunkservers(vec![server])), 69);
    let asked = FromMonitor::FileLoop { form: Some(0) };
    assert_eq!(length(&answer(&asked, none)), 44);
    let asked = FromMonitor::FileLoop { form: None };
    assert_eq!(length(&answer(&asked, none)), 36);
    assert_eq!(length(&answer(&FromMonitor::ChunkLoop, none)), 72);
    let asked = FromMonitor::Matrices { which: Some(0) };
    assert_eq!(length(&answer(&asked, none)), 484);
    let asked = FromMonitor::Matrices { which: None };
    assert_eq!(length(&answer(&asked, none)), 969);
    assert_eq!(length(&answer(&FromMonitor::Memory, none)), 176);
    assert_eq!(length(&answer(&FromMonitor::Module { id: None }, none)), 21);
    assert_eq!(
        length(&answer(&FromMonitor::Module { id: Some(1) }, none)),
        21
    );
}

#[test]
fn a_length_that_is_not_there_makes_no_room() {
    let payload = [0, 0, 0, 1, 255, 255, 255, 255].to_vec();
    for (kind, asked) in [
        (537, FromMonitor::Paths(Vec::new())),
        (507, FromMonitor::ChartData { id: 0, max: None }),
    ] {
        let packet = Packet {
            kind,
            payload: payload.clone(),
        };
        assert!(matches!(
            ToMonitor::parse(&packet, &asked),
            Err(PacketError::Short { .. })
        ));
    }
}
