//! What chunkservers are told to do, and what they answer.

use std::net::Ipv4Addr;

use super::rig::*;
use crate::chunks::{Address, Order, OrderKind, Report};
use crate::id::ChunkId;
use crate::moosefs::chunkserver::{ChunkAt, Done, DoneKind, Operation, ToChunkserver, ToMaster};

/// One order of each kind, for chunks from 1 on.
fn all() -> [Order; 7] {
    let chunk = ChunkId;
    [
        Order::Create {
            chunk: chunk(1),
            version: 11,
        },
        Order::SetVersion {
            chunk: chunk(2),
            from: 21,
            to: 22,
        },
        Order::Duplicate {
            chunk: chunk(3),
            version: 31,
            from: chunk(33),
            from_version: 32,
        },
        Order::Truncate {
            chunk: chunk(4),
            from: 41,
            to: 42,
            bytes: 43,
        },
        Order::DupTrunc {
            chunk: chunk(5),
            version: 51,
            from: chunk(55),
            from_version: 52,
            bytes: 53,
        },
        Order::Replicate {
            chunk: chunk(6),
            version: 61,
            source: Address {
                ip: Ipv4Addr::new(10, 0, 0, 9),
                port: 9422,
            },
        },
        Order::Delete { chunk: chunk(7) },
    ]
}

/// A number of eight bytes and others of four, as they stand on the wire.
fn wire(chunk: u64, rest: &[u32]) -> Vec<u8> {
    let mut bytes = chunk.to_be_bytes().to_vec();
    bytes.extend(rest.iter().flat_map(|number| number.to_be_bytes()));
    bytes
}

/// What the chunkserver was told, read as it reads it.
fn operation((kind, payload): (u32, Vec<u8>)) -> Operation {
    match ToChunkserver::parse(kind, &payload).unwrap() {
        ToChunkserver::Operation(operation) => operation,
        other => panic!("{other:?} is no order"),
    }
}

fn done(kind: DoneKind, chunk: u64, status: u8) -> ToMaster<'static> {
    let chunk = ChunkId(chunk);
    ToMaster::Done(Done {
        kind,
        chunk,
        status,
    })
}

#[test]
fn each_order_is_a_packet_and_its_answer_a_report() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let replicate = [wire(6, &[61]), vec![10, 0, 0, 9], vec![36, 206]].concat();
    let packets = [
        (110, wire(1, &[11])),
        (140, wire(2, &[22, 21])),
        (130, [wire(3, &[31]), wire(33, &[32])].concat()),
        (160, wire(4, &[43, 42, 41])),
        (170, [wire(5, &[51]), wire(55, &[52, 53])].concat()),
        (150, replicate),
        (120, wire(7, &[0])),
    ];
    for (order, packet) in all().into_iter().zip(packets) {
        rig.order(conn, order);
        let told = rig.told(conn).unwrap();
        assert_eq!(told, packet, "{order:?}");
        assert_eq!(rig.nodes[0].orders(conn.1), 1);
        rig.say(conn, &operation(told).done(9));
        let report = Report::Done {
            kind: order.kind(),
            chunk: order.chunk(),
            status: 9,
        };
        assert_eq!(rig.reports(conn), [report]);
        assert_eq!(rig.nodes[0].orders(conn.1), 0);
    }
    assert_eq!(rig.messages, [""; 0]);
}

#[test]
fn answers_come_in_any_order_and_another_order_may_follow() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    all().into_iter().for_each(|order| rig.order(conn, order));
    let mut told: Vec<Operation> = std::iter::from_fn(|| rig.told(conn))
        .map(operation)
        .collect();
    told.reverse();
    for operation in told {
        rig.say(conn, &operation.done(0));
        assert_eq!(rig.reports(conn).len(), 1, "{operation:?}");
        let chunk = operation.chunk();
        rig.order(conn, Order::Delete { chunk });
        assert_eq!(rig.told(conn).unwrap().0, 120);
    }
    assert_eq!(rig.nodes[0].orders(conn.1), 7);
}

#[test]
fn an_answer_to_nothing_is_for_the_log_alone() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let (chunk, version) = (ChunkId(5), 3);
    rig.order(conn, Order::Create { chunk, version });
    let new = |version| ChunkAt { chunk, version };
    let status = 0;
    let strays = [
        done(DoneKind::Create, 6, 0),
        done(DoneKind::Delete, 5, 0),
        ToMaster::Replicated {
            new: new(3),
            status,
        },
    ];
    for stray in &strays {
        rig.say(conn, stray);
        assert_eq!(rig.reports(conn), [], "{stray:?}");
    }
    assert_eq!(rig.messages.len(), 3);
    assert!(
        rig.messages[1].contains("Delete of c5"),
        "{:?}",
        rig.messages
    );
    assert_eq!(rig.closed(conn), None);
    rig.say(conn, &done(DoneKind::Create, 5, 0));
    let kind = OrderKind::Create;
    let report = Report::Done {
        kind,
        chunk,
        status,
    };
    assert_eq!(rig.reports(conn), [report], "it was under way all the time");
    rig.say(conn, &done(DoneKind::Create, 5, 0));
    assert_eq!((rig.reports(conn), rig.messages.len()), (vec![], 4), "once");
    // A replication is known by its version, too.
    let source = Address {
        ip: HOME,
        port: PORT,
    };
    rig.order(
        conn,
        Order::Replicate {
            chunk,
            version,
            source,
        },
    );
    for (version, heard) in [(4, 0), (3, 1)] {
        let new = new(version);
        rig.say(conn, &ToMaster::Replicated { new, status });
        assert_eq!(rig.reports(conn).len(), heard);
    }
}

#[test]
fn what_was_under_way_ends_with_the_connection_without_a_word() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    all().into_iter().for_each(|order| rig.order(conn, order));
    assert_eq!(std::iter::from_fn(|| rig.told(conn)).count(), 7);
    rig.lose(conn);
    assert_eq!(rig.reports(conn), []);
    assert!(rig.is_gone(conn));
    // The node may not have heard of it yet.
    rig.order(conn, all()[0]);
    assert_eq!((rig.told(conn), rig.nodes[0].len()), (None, 0));
    let again = rig.serve(0, 0);
    rig.order(again, all()[0]);
    assert_eq!(rig.nodes[0].orders(again.1), 1, "nothing is left of before");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is busy with the chunk")]
fn a_second_order_for_a_chunk_is_a_bug_of_who_gives_it() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let chunk = ChunkId(5);
    rig.order(conn, Order::Create { chunk, version: 1 });
    rig.order(conn, Order::Delete { chunk });
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "has not joined")]
fn so_is_one_for_who_has_not_joined() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    rig.order(conn, all()[0]);
}
