//! Registrations, and how connections end.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use super::rig::*;
use crate::chunks::{Address, Joined, Report};
use crate::chunkservers::{AuthCode, Event, Options};
use crate::id::CsId;
use crate::moosefs::chunkserver::{Ack, Begin, Place, Register, ToMaster, Together, TogetherForm};
use crate::moosefs::chunkserver::{Labels, List};
use crate::moosefs::version::Version;
use crate::native::request::NodeError;
use crate::time::Duration;

const REDIRECT: Option<Ack> = Some(Ack::Redirect { leader: None });

fn welcome(csid: u16, timeout_seconds: u16) -> Option<Ack> {
    Some(Ack::Welcome {
        version: Version::OURS,
        timeout_seconds: NonZeroU16::new(timeout_seconds).unwrap(),
        csid: CsId(csid),
        metaid: METAID,
    })
}

fn address(ip: Ipv4Addr) -> Address {
    Address { ip, port: PORT }
}

fn at(ip: Ipv4Addr, csid: u16) -> Begin {
    let place = Place { ip, port: PORT };
    Begin {
        place,
        ..begin(csid)
    }
}

#[test]
fn a_chunkserver_registers_names_what_it_has_and_leaves() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(begin(0)));
    assert_eq!(rig.ack(conn), welcome(1, 3));
    let joined = Joined {
        csid: CsId(1),
        registration: 1,
        address: address(HOME),
        version: Version::OURS.0,
        space: space_heard(),
    };
    assert_eq!(rig.joined(conn), Some(joined));
    assert_eq!(rig.nodes[0].joined(), 1);
    rig.say(conn, &ToMaster::Labels(Labels(5)));
    assert_eq!(rig.reports(conn), [Report::Labels(5)]);
    for first in [100, 200] {
        let (said, heard) = copies(first, 10);
        rig.register(conn, Register::Copies(said.as_list()));
        assert_eq!(rig.ack(conn), Some(Ack::Next), "one for each packet");
        assert_eq!(rig.reports(conn), [Report::Found(heard)]);
    }
    rig.register(conn, Register::End);
    assert_eq!(rig.ack(conn), None);
    assert_eq!(rig.reports(conn), [Report::Listed]);
    rig.register(conn, Register::Disconnect);
    assert_eq!(rig.reports(conn), [Report::Leaving]);
    assert_eq!(rig.closed(conn), Some("everything was said".to_owned()));
    assert!(rig.is_gone(conn));
    assert_eq!(rig.nodes[0].joined(), 0);
    assert!(rig.nodes[0].is_empty());
    assert_eq!(rig.messages, [""; 0]);
}

#[test]
fn a_chunkserver_keeps_its_number_at_any_node_and_each_registration_has_a_higher_one() {
    let mut rig = Rig::new();
    let first = rig.serve(0, 0);
    let other = rig.connect(1, HOME);
    let elsewhere = Ipv4Addr::new(10, 0, 0, 6);
    rig.register(other, Register::Begin(at(elsewhere, 0)));
    assert_eq!(rig.ack(other), welcome(2, 3));
    // It names where it is reached, and that counts.
    assert_eq!(rig.joined(other).unwrap().address, address(elsewhere));
    // The first one comes to the other node while this one takes it for connected.
    let again = rig.connect(1, HOME);
    rig.register(again, Register::Begin(begin(1)));
    assert_eq!(rig.ack(again), welcome(1, 3));
    let registration = |rig: &mut Rig, conn| rig.joined(conn).unwrap().registration;
    let before = registration(&mut rig, first);
    let between = registration(&mut rig, other);
    let after = registration(&mut rig, again);
    assert!(before < between && between < after);
    // That it is of no use any more is for the node to say.
    assert_eq!(rig.closed(first), None);
    let reason = "it has registered elsewhere".to_owned();
    let (node, conn) = first;
    rig.feed(node, Event::Unseat { conn, reason });
    assert_eq!(
        rig.closed(first),
        Some("it has registered elsewhere".to_owned())
    );
    assert!(rig.is_gone(first) && !rig.is_gone(again));
    // Once more is as good as never.
    let reason = "again".to_owned();
    rig.feed(node, Event::Unseat { conn, reason });
}

#[test]
fn version_five_of_the_registration_is_taken_too() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    let old = Register::OldBegin {
        version: Version::OURS,
        place: begin(0).place,
        timeout_seconds: 12,
    };
    rig.register(conn, old);
    let version = Version::OURS;
    assert_eq!(rig.ack(conn), Some(Ack::Old { version }));
    let joined = rig.joined(conn).unwrap();
    assert_eq!(
        (joined.csid, joined.address, joined.space),
        (CsId(1), address(HOME), crate::chunks::Space::default())
    );
    let (said, heard) = copies(1, 3);
    rig.register(conn, Register::OldCopies(said.as_list()));
    assert_eq!(rig.reports(conn), [Report::Found(heard)]);
    rig.register(conn, Register::OldEnd(space()));
    let all = [Report::Space(space_heard()), Report::Listed];
    assert_eq!(rig.reports(conn), all);
    assert_eq!(rig.ack(conn), None, "its copies are not answered");
    rig.alive = false;
    rig.pass(Duration::from_millis(11_900));
    assert_eq!(rig.closed(conn), None, "its own timeout counts");
    rig.pass(Duration::from_millis(100));
    assert!(rig.is_gone(conn));
}

#[test]
fn older_chunkservers_are_answered_as_they_expect() {
    let mut rig = Rig::new();
    let of = |version| Begin {
        version,
        ..begin(0)
    };
    let numbered = rig.connect(0, HOME);
    rig.register(numbered, Register::Begin(of(Version::new(2, 0, 32))));
    let ack = Ack::Numbered {
        version: Version::OURS,
        timeout_seconds: NonZeroU16::new(3).unwrap(),
        csid: CsId(1),
    };
    assert_eq!(rig.ack(numbered), Some(ack));
    let unanswered = rig.connect(0, HOME);
    let old = Version(0x0001_0600);
    rig.register(unanswered, Register::Begin(of(old)));
    let (said, _) = copies(1, 1);
    rig.register(unanswered, Register::Copies(said.as_list()));
    assert_eq!(rig.ack(unanswered), None);
    assert_eq!(rig.joined(unanswered).unwrap().version, old.0);
    assert_eq!(rig.reports(unanswered).len(), 1);
}

#[test]
fn who_would_be_reached_by_nobody_is_refused() {
    let mut rig = Rig::new();
    let loopback = Ipv4Addr::new(127, 0, 0, 7);
    let named = rig.connect(0, HOME);
    rig.register(named, Register::Begin(at(loopback, 1)));
    let comes_from_there = rig.connect(0, loopback);
    rig.register(comes_from_there, Register::Begin(begin(1)));
    for conn in [named, comes_from_there] {
        let reason = rig.closed(conn).unwrap();
        assert!(reason.contains("127.0.0.7:9422"), "{reason}");
        assert_eq!((rig.ack(conn), rig.joined(conn)), (None, None));
    }
    let no_port = rig.connect(0, HOME);
    let place = Place {
        port: 0,
        ..begin(0).place
    };
    rig.register(no_port, Register::Begin(Begin { place, ..begin(0) }));
    assert!(rig.closed(no_port).unwrap().contains("port"));
    // From here it may come, when it is reached elsewhere.
    let conn = rig.connect(0, loopback);
    rig.register(conn, Register::Begin(at(HOME, 0)));
    assert_eq!(rig.joined(conn).unwrap().address, address(HOME));
}

#[test]
fn a_secret_is_proved_with_a_challenge_that_is_good_once() {
    let mut rig = Rig::with(&options_with_secret());
    let challenge = |rig: &mut Rig| {
        let conn = rig.connect(0, HOME);
        rig.register(conn, Register::Begin(begin(0)));
        match rig.ack(conn) {
            Some(Ack::Authenticate { challenge }) => (conn, challenge),
            other => panic!("no challenge: {other:?}"),
        }
    };
    let prove = |secret: &[u8], challenge| Begin {
        passcode: Some(AuthCode::new(secret).passcode(&challenge)),
        ..begin(0)
    };
    let (conn, first) = challenge(&mut rig);
    rig.register(conn, Register::Begin(prove(SECRET, first)));
    assert_eq!(rig.ack(conn), welcome(1, 3));
    let (wrong, second) = challenge(&mut rig);
    assert_ne!(first, second);
    rig.register(wrong, Register::Begin(prove(b"other", second)));
    assert!(rig.closed(wrong).unwrap().contains("AUTH_CODE is another"));
    let (replayed, _) = challenge(&mut rig);
    rig.register(replayed, Register::Begin(prove(SECRET, first)));
    assert!(rig.closed(replayed).unwrap().contains("AUTH_CODE"));
    let (silent, _) = challenge(&mut rig);
    rig.register(silent, Register::Begin(begin(0)));
    assert!(rig.closed(silent).unwrap().contains("does not prove"));
    let unasked = rig.connect(0, HOME);
    rig.register(unasked, Register::Begin(prove(SECRET, [0; 32])));
    assert!(rig.closed(unasked).unwrap().contains("not asked for"));
    let old = rig.connect(0, HOME);
    let place = begin(0).place;
    rig.register(
        old,
        Register::OldBegin {
            version: Version::OURS,
            place,
            timeout_seconds: 10,
        },
    );
    assert!(rig.closed(old).unwrap().contains("AUTH_CODE"));
    assert_eq!(rig.nodes[0].joined(), 1);
    // Nobody here knows of a secret, and a proof does no harm.
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(prove(SECRET, first)));
    assert_eq!(rig.ack(conn), welcome(1, 3));
}

#[test]
fn who_cannot_be_registered_in_time_is_told_to_come_again() {
    let mut rig = Rig::new();
    rig.holds = true;
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(begin(0)));
    rig.pass(PATIENCE - Duration::from_millis(100));
    assert_eq!((rig.ack(conn), rig.closed(conn)), (None, None));
    assert_eq!(rig.signs_of_life(conn), 0, "none before the first answer");
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.ack(conn), REDIRECT);
    assert_eq!(rig.closed(conn), Some("everything was said".to_owned()));
    assert_eq!(rig.messages.len(), 1, "{:?}", rig.messages);
    assert!(rig.messages[0].contains("10.0.0.5:9422"));
    // The answer is for nobody.
    rig.release(0);
    assert_eq!(rig.joined(conn), None);
    // It comes again, and has the number that it was given.
    rig.holds = false;
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(begin(0)));
    assert_eq!(rig.ack(conn), welcome(1, 3));
    assert_eq!(rig.joined(conn).unwrap().registration, 2);
}

#[test]
fn so_is_who_the_node_cannot_register() {
    let mut rig = Rig::new();
    for error in [NodeError::Unknown, NodeError::Overloaded] {
        rig.failing = Some(error);
        let conn = rig.connect(0, HOME);
        rig.register(conn, Register::Begin(begin(0)));
        assert_eq!(rig.ack(conn), REDIRECT);
        assert_eq!(rig.closed(conn), Some("everything was said".to_owned()));
        assert_eq!(rig.joined(conn), None);
    }
    assert_eq!(rig.messages.len(), 2);
}

#[test]
fn who_is_gone_before_the_answer_was_never_there() {
    let mut rig = Rig::new();
    rig.holds = true;
    let conn = rig.connect(0, HOME);
    rig.register(conn, Register::Begin(begin(0)));
    rig.lose(conn);
    rig.release(0);
    assert_eq!((rig.joined(conn), rig.nodes[0].len()), (None, 0));
    assert!(!rig.is_gone(conn), "nor has it gone");
}

#[test]
fn what_is_out_of_turn_ends_its_connection_and_no_other() {
    let mut rig = Rig::new();
    let (said, _) = copies(1, 1);
    let list = said.as_list();
    let place = begin(0).place;
    let old = Register::OldBegin {
        version: Version::OURS,
        place,
        timeout_seconds: 10,
    };
    let together = Together {
        place,
        used: 1,
        total: 2,
        form: TogetherForm::V0,
        copies: List::empty(),
    };
    let fine = rig.serve(1, 0);
    let unregistered = [
        ToMaster::Register(Register::Copies(list)),
        ToMaster::Register(Register::OldCopies(list)),
        ToMaster::Register(Register::End),
        ToMaster::Register(Register::Disconnect),
        ToMaster::Register(Register::Together(together)),
        ToMaster::Labels(Labels(1)),
        ToMaster::ChunkNew(list),
    ];
    for said in &unregistered {
        let conn = rig.connect(0, HOME);
        rig.say(conn, said);
        assert!(rig.closed(conn).is_some(), "{said:?}");
    }
    let registered = [
        Register::Begin(begin(0)),
        old,
        Register::Together(together),
        Register::OldCopies(list),
        Register::OldEnd(space()),
    ];
    for said in registered {
        let conn = rig.connect(0, HOME);
        rig.register(conn, Register::Begin(begin(0)));
        rig.register(conn, said);
        assert!(rig.closed(conn).is_some(), "{said:?}");
        assert_eq!(rig.reports(conn), [], "{said:?}");
        assert!(rig.is_gone(conn));
    }
    for said in [
        Register::Copies(list),
        Register::End,
        Register::Begin(begin(0)),
    ] {
        let conn = rig.serve(0, 0);
        rig.register(conn, said);
        assert!(rig.closed(conn).is_some(), "{said:?} when all is named");
        assert_eq!(rig.reports(conn), [], "{said:?}");
    }
    let five = rig.connect(0, HOME);
    rig.register(five, old);
    rig.register(five, Register::Copies(list));
    assert!(rig.closed(five).is_some(), "the versions do not mix");
    assert_eq!(rig.closed(fine), None);
}

#[test]
fn what_follows_nonsense_is_not_heard() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    let mut bytes = ToMaster::Register(Register::End).encode().unwrap();
    bytes.extend(ToMaster::Labels(Labels(1)).encode().unwrap());
    rig.bytes(conn, &bytes);
    assert!(rig.is_gone(conn));
    assert_eq!(rig.reports(conn), []);
}

#[test]
fn both_sides_give_signs_of_life_and_a_silent_one_is_lost() {
    let mut rig = Rig::new();
    let conn = rig.serve(0, 0);
    rig.signs_of_life(conn);
    rig.pass(Duration::from_secs(30));
    let signs = rig.signs_of_life(conn);
    assert!((29..=30).contains(&signs), "{signs} within 30 s");
    assert_eq!(rig.closed(conn), None);
    rig.alive = false;
    rig.pass(Duration::from_millis(2_900));
    assert_eq!(rig.closed(conn), None);
    rig.pass(Duration::from_millis(100));
    let reason = "nothing was heard for 3000 ms".to_owned();
    assert_eq!(rig.closed(conn), Some(reason));
    assert!(rig.is_gone(conn));
    // Who has a timeout of its own is told that, and given that.
    let conn = rig.connect(0, HOME);
    let timeout_seconds = 12;
    rig.register(
        conn,
        Register::Begin(Begin {
            timeout_seconds,
            ..begin(0)
        }),
    );
    assert_eq!(rig.ack(conn), welcome(1, 12));
    rig.signs_of_life(conn);
    rig.pass(Duration::from_millis(11_900));
    assert_eq!((rig.closed(conn), rig.signs_of_life(conn)), (None, 2));
    rig.pass(Duration::from_millis(100));
    assert!(rig.is_gone(conn));
}

#[test]
fn who_never_registers_is_closed() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    rig.pass(Duration::from_secs(10));
    let reason = "it did not register within 10000 ms".to_owned();
    assert_eq!(rig.closed(conn), Some(reason));
    assert!(!rig.is_gone(conn), "it never joined");
}

#[test]
fn more_than_the_most_connections_are_not_taken() {
    let connections_max = 2;
    let mut rig = Rig::with(&Options {
        connections_max,
        ..options()
    });
    let conns = [0; 3].map(|node| rig.connect(node, HOME));
    assert_eq!((rig.closed(conns[0]), rig.closed(conns[1])), (None, None));
    assert!(rig.closed(conns[2]).unwrap().contains("2 are connected"));
    rig.lose(conns[0]);
    let conn = rig.serve(0, 0);
    assert_eq!(rig.closed(conn), None);
}
