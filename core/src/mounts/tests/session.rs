//! Registrations, and how sessions and connections end.

use std::net::Ipv4Addr;

use super::rig::*;
use crate::exports::password::PasswordDigest;
use crate::exports::{ExportPath, Exports, Record};
use crate::id::{InodeId, SessionId};
use crate::moosefs::client::register::{
    MetaValues, Reconnect, Register, Registered, SessionValues, Tools,
};
use crate::moosefs::client::tree::Lookup;
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::fields::Name;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::mounts::Event;
use crate::namespace::error::FsError;
use crate::namespace::op::{Answer, Op, Query, SessionFlags};
use crate::native::request::NodeError;
use crate::time::Duration;

const PATIENCE: Duration = Duration::from_millis(900);

fn refused(status: Status) -> Option<Registered> {
    Some(Registered::Status(Err(status)))
}

fn session_of(told: Option<Registered>) -> SessionId {
    match told {
        Some(Registered::Session(values)) => values.session,
        other => panic!("no session: {other:?}"),
    }
}

fn exports(rig: &mut Rig, records: &[Record]) {
    for node in 0..2 {
        rig.feed(node, Event::Exports(Exports::new(records.to_vec())));
    }
}

#[test]
fn a_new_session_is_told_everything_that_its_export_says() {
    let mut rig = Rig::new();
    let record = Record {
        path: ExportPath::Tree(b"sub".to_vec()),
        umask: 0o27,
        disables: 5,
        root_uid: 11,
        root_gid: 12,
        map_all_uid: 13,
        map_all_gid: 14,
        goal_min: 2,
        goal_max: 7,
        trash_seconds_min: 60,
        trash_seconds_max: 600,
        flags: SessionFlags {
            admin: true,
            map_all: true,
            ..SessionFlags::default()
        },
        ..home()
    };
    let (first, _) = rig.mount(0);
    let made = rig.call(first, 1, &mkdir("sub"));
    assert!(made.is_some_and(|reply| reply.status().is_ok()));
    exports(&mut rig, std::slice::from_ref(&record));
    let conn = rig.connect(1, HOME);
    let told = rig.register(conn, new_session(b"//sub/"));
    let expected = SessionValues {
        master: Version::OURS,
        session: SessionId(2),
        metaid: METAID,
        flags: 0x18,
        umask: 0o27,
        root_uid: 11,
        root_gid: 12,
        map_all_uid: 13,
        map_all_gid: 14,
        goal_min: 2,
        goal_max: 7,
        trash_seconds_min: 60,
        trash_seconds_max: 600,
        disables: 5,
    };
    assert_eq!(told, Some(Registered::Session(expected)));
    let session = SessionId(2);
    let Ok(Answer::Session { params, .. }) = rig.ask(&Query::GetSession { session }) else {
        panic!("it is in the state");
    };
    let checksum = Exports::new(vec![record]).checksum();
    assert_eq!(params.exports_checksum, checksum);
    assert_eq!(
        (params.peer_ip, params.info),
        (HOME.into(), b"/mnt".to_vec())
    );
    assert_ne!(params.root, InodeId::ROOT, "the folder is its root");
}

#[test]
fn who_may_not_mount_is_told_why_and_may_ask_for_something_else() {
    let mut rig = Rig::new();
    let stranger = rig.connect(0, Ipv4Addr::new(9, 9, 9, 9));
    let told = rig.register(stranger, new_session(b"/"));
    assert_eq!(told, refused(Status::EACCES));
    let conn = rig.connect(0, HOME);
    let told = rig.register(conn, new_session(b"/missing/below"));
    assert_eq!(told, refused(Status::ENOENT));
    assert_eq!(rig.reports.len(), 2, "{:?}", rig.reports);
    assert_eq!(rig.nodes[0].sessions(), 0);
    assert_eq!(rig.applied, [], "nothing was written");
    assert_eq!(rig.closed(conn), None);
    session_of(rig.register(conn, new_session(b"/")));
    rig.call(conn, 1, &create("file"));
    let conn = rig.connect(0, HOME);
    let told = rig.register(conn, new_session(b"/file"));
    assert_eq!(told, refused(Status::ENOTDIR));
}

#[test]
fn a_password_is_proved_with_the_challenge_of_the_same_connection() {
    let mut rig = Rig::new();
    let with = |passcode: Option<[u8; 16]>| {
        let Register::Session(mut new) = new_session(b"/") else {
            unreachable!("it is one");
        };
        new.passcode = passcode;
        Register::Session(new)
    };
    let challenge = |rig: &mut Rig, conn| match rig.register(conn, Register::Random) {
        Some(Registered::Random(challenge)) => challenge,
        other => panic!("no challenge: {other:?}"),
    };
    let passcode = |word: &[u8], challenge| PasswordDigest::of(word).passcode(challenge);
    let conn = rig.connect(0, GUEST);
    assert_eq!(rig.register(conn, with(None)), refused(Status::NOPASSWORD));
    let first = challenge(&mut rig, conn);
    let wrong = passcode(b"other", &first);
    let told = rig.register(conn, with(Some(wrong)));
    assert_eq!(told, refused(Status::BADPASSWORD));
    // An answer to an older challenge proves nothing, nor one to none at all.
    let second = challenge(&mut rig, conn);
    assert_ne!(first, second);
    let old = passcode(PASSWORD, &first);
    let told = rig.register(conn, with(Some(old)));
    assert_eq!(told, refused(Status::BADPASSWORD));
    let unasked = rig.connect(0, GUEST);
    let zeros = passcode(PASSWORD, &[0; 32]);
    let told = rig.register(unasked, with(Some(zeros)));
    assert_eq!(told, refused(Status::NOPASSWORD));
    let right = passcode(PASSWORD, &second);
    session_of(rig.register(conn, with(Some(right))));
}

#[test]
fn a_client_comes_back_to_its_session_at_any_node() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    rig.lose(conn);
    let conn = rig.come_back(1, session);
    let made = rig.call(conn, 1, &mkdir("a"));
    assert!(made.is_some_and(|reply| reply.status().is_ok()));
    assert_eq!(rig.nodes.each_ref().map(|node| node.sessions()), [0, 1]);
}

#[test]
fn who_may_not_come_back_is_told_the_status_that_makes_it_register() {
    let mut rig = Rig::new();
    let (_, session) = rig.mount(0);
    let try_from = |rig: &mut Rig, ip: Ipv4Addr, register: Register| {
        let conn = rig.connect(1, ip);
        rig.register(conn, register).expect("it is answered")
    };
    let unknown = try_from(&mut rig, HOME, reconnect(SessionId(99)));
    assert_eq!(unknown, back(Err(Status::EPERM)));
    let elsewhere = try_from(&mut rig, Ipv4Addr::new(10, 0, 0, 2), reconnect(session));
    assert_eq!(elsewhere, back(Err(Status::EPERM)));
    let other_cluster = Register::Reconnect(Reconnect {
        session,
        client: Version::OURS,
        metaid: Some(METAID + 1),
    });
    let other_cluster = try_from(&mut rig, HOME, other_cluster);
    assert_eq!(other_cluster, back(Err(Status::BADSESSIONID)));
    let mut changed = records();
    changed[0].umask = 1;
    exports(&mut rig, &changed);
    let changed = try_from(&mut rig, HOME, reconnect(session));
    assert_eq!(changed, back(Err(Status::EPERM)));
    // A session of a native client is none of a mount.
    let params = crate::namespace::op::SessionParams::unrestricted();
    let (opened, _) = rig.by_hand(None, Op::OpenSession { params });
    assert!(opened.is_ok());
    let native = try_from(&mut rig, HOME, reconnect(SessionId(2)));
    assert_eq!(native, back(Err(Status::EPERM)));
}

#[test]
fn an_export_may_allow_to_come_back_from_another_address() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, ROAMER);
    let session = session_of(rig.register(conn, new_session(b"/")));
    let conn = rig.connect(1, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(rig.register(conn, reconnect(session)), Some(back(Ok(()))));
}

#[test]
fn a_new_registration_keeps_the_session_that_it_had() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    rig.call(conn, 1, &create("file"));
    let open = rig.open_files(session);
    assert_eq!(open.len(), 1);
    let mut changed = records();
    changed[0].umask = 0o77;
    exports(&mut rig, &changed);
    let conn = rig.connect(1, HOME);
    let Some(Registered::Session(values)) = rig.register(conn, again(session, METAID)) else {
        panic!("{:?}", rig.reports);
    };
    assert_eq!((values.session, values.umask), (session, 0o77));
    assert_eq!(rig.open_files(session), open);
    // Of another cluster, or gone: it gets a new one.
    let conn = rig.connect(1, HOME);
    let new = session_of(rig.register(conn, again(session, METAID + 1)));
    assert_ne!(new, session);
    let conn = rig.connect(1, HOME);
    let newer = session_of(rig.register(conn, again(SessionId(50), METAID)));
    assert!(newer != session && newer != new && newer != SessionId(50));
}

#[test]
fn a_session_that_ends_while_it_is_taken_up_again_is_replaced() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    rig.lose(conn);
    let conn = rig.connect(1, HOME);
    rig.mode = Mode::HoldAsked;
    assert_eq!(rig.register(conn, again(session, METAID)), None);
    rig.release(0);
    let (closed, _) = rig.by_hand(None, Op::CloseSession { session });
    assert!(closed.is_ok());
    rig.release_all();
    let told = rig.registered(conn);
    assert_ne!(session_of(told), session);
}

#[test]
fn tools_speak_in_the_session_of_a_mount_and_do_not_disturb_its_threads() {
    let mut rig = Rig::new();
    let (mount, session) = rig.mount(0);
    let tools = |session| {
        Register::Tools(Tools {
            session,
            client: Version::OURS,
        })
    };
    let conn = rig.connect(1, HOME);
    let told = rig.register(conn, tools(SessionId(9)));
    assert_eq!(told, refused(Status::BADSESSIONID));
    assert_eq!(
        rig.register(conn, tools(session)),
        Some(Registered::Status(Ok(())))
    );
    // Names of its requests are its own: any, and the same ones.
    for (name, id) in [("a", u32::MAX), ("b", 1), ("c", 1)] {
        let made = rig.call(conn, id, &mkdir(name)).expect("it is answered");
        assert_eq!(made.status(), Ok(()), "{name}");
        let made = rig.call(mount, 1, &mkdir(&format!("of-mount-{name}")));
        assert_eq!(made.expect("it is answered").status(), Ok(()), "{name}");
    }
    let again = rig.call(conn, 1, &mkdir("c")).expect("it is answered");
    assert_eq!(
        again.status(),
        Err(Status::EEXIST),
        "a tool repeats nothing"
    );
}

#[test]
fn tools_at_two_nodes_are_two_whatever_their_clocks_and_numbers_say() {
    let mut rig = Rig::new();
    let (_, session) = rig.mount(0);
    rig.connect(1, HOME);
    let tool = |rig: &mut Rig, node| {
        let conn = rig.connect(node, HOME);
        let client = Version::OURS;
        let told = rig.register(conn, Register::Tools(Tools { session, client }));
        assert_eq!(told, Some(Registered::Status(Ok(()))));
        conn
    };
    let (one, two) = (tool(&mut rig, 0), tool(&mut rig, 1));
    assert_eq!(one.1, two.1, "they have one number");
    let status = |reply: Option<Reply>| reply.expect("it is answered").status();
    assert_eq!(status(rig.call(one, 1, &mkdir("a"))), Ok(()));
    // In the same microsecond.
    assert_eq!(status(rig.call(two, 1, &mkdir("a"))), Err(Status::EEXIST));
}

#[test]
fn a_mount_of_the_trash_sees_nothing_else() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    let Register::Session(new) = new_session(b"/") else {
        unreachable!("it is one");
    };
    let meta = crate::moosefs::client::register::NewSession { path: None, ..new };
    let told = rig.register(conn, Register::Meta(meta));
    let expected = MetaValues {
        master: Version::OURS,
        session: SessionId(1),
        metaid: METAID,
        flags: 0x08,
        goal_min: 1,
        goal_max: 9,
        trash_seconds_min: 0,
        trash_seconds_max: u32::MAX,
    };
    assert_eq!(told, Some(Registered::Meta(expected)));
    let made = rig.call(conn, 1, &mkdir("a")).expect("it is answered");
    assert_eq!(made.status(), Err(Status::EPERM));
}

#[test]
fn a_closed_session_is_over_with_its_connection() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    assert_eq!(
        rig.register(conn, close(session)),
        Some(Registered::Status(Ok(())))
    );
    assert_eq!(rig.closed(conn).as_deref(), Some("everything was said"));
    let gone = rig.ask(&Query::GetSession { session });
    assert_eq!(gone, Err(FsError::BadSession));
    assert_eq!((rig.nodes[0].len(), rig.nodes[0].sessions()), (0, 0));
    // That of others is not theirs to close.
    let (_, session) = rig.mount(0);
    let (other, _) = rig.mount(0);
    assert_eq!(rig.register(other, close(session)), None);
    assert!(rig.closed(other).is_some());
    assert!(rig.ask(&Query::GetSession { session }).is_ok());
}

#[test]
fn who_is_registered_does_not_register_again() {
    let mut rig = Rig::new();
    let (conn, session) = rig.mount(0);
    assert_eq!(rig.register(conn, reconnect(session)), None);
    let closed = rig.closed(conn).expect("it is closed");
    assert!(closed.contains("out of turn"), "{closed}");
}

#[test]
fn a_registration_that_cannot_be_answered_in_time_is_not_answered() {
    let mut rig = Rig::new();
    let (_, session) = rig.mount(0);
    rig.mode = Mode::HoldAsked;
    for register in [new_session(b"/"), reconnect(session)] {
        let conn = rig.connect(1, HOME);
        assert_eq!(rig.register(conn, register), None);
        rig.pass(PATIENCE - Duration::from_millis(100));
        assert_eq!(rig.closed(conn), None);
        rig.pass(Duration::from_millis(100));
        let closed = rig.closed(conn).expect("its patience is over");
        assert!(closed.contains("in time"), "{closed}");
        assert_eq!(rig.hear(conn), None, "no status");
    }
    // What comes afterwards is for nobody.
    rig.release_all();
    assert_eq!(rig.nodes[1].len(), 0);
}

#[test]
fn a_registration_that_the_node_cannot_carry_out_is_not_answered() {
    let mut rig = Rig::new();
    rig.failing = Some(NodeError::Unknown);
    let conn = rig.connect(0, HOME);
    assert_eq!(rig.register(conn, new_session(b"/")), None);
    assert!(rig.closed(conn).is_some());
}

#[test]
fn sessions_are_spoken_for_and_end_with_their_connections_when_they_are_gone() {
    let mut rig = Rig::new();
    let (one, first) = rig.mount(0);
    let (two, second) = rig.mount(0);
    let third = rig.come_back(0, first);
    rig.pass(Duration::from_secs(18));
    let kept = |session| rig.kept.iter().filter(|of| **of == session).count();
    assert_eq!(
        (kept(first), kept(second)),
        (3, 3),
        "once, however connected"
    );
    // A node that cannot say it now does not mean that it is over.
    rig.failing = Some(NodeError::Unknown);
    rig.pass(Duration::from_secs(6));
    rig.failing = None;
    assert_eq!(rig.closed(one), None);
    let session = first;
    rig.by_hand(None, Op::CloseSession { session }).0.unwrap();
    rig.pass(Duration::from_secs(6));
    for conn in [one, third] {
        let closed = rig.closed(conn).expect("its session has ended");
        assert!(closed.contains("ended"), "{closed}");
    }
    assert_eq!(rig.closed(two), None);
    rig.lose(two);
    let before = rig.kept.len();
    rig.pass(Duration::from_secs(20));
    assert_eq!(
        rig.kept.len(),
        before,
        "nobody is spoken for who is not there"
    );
    rig.come_back(0, second);
    rig.pass(Duration::from_secs(6));
    assert_eq!(rig.kept.len(), before + 1, "and again when somebody is");
}

#[test]
fn changed_exports_are_for_everybody_who_is_connected() {
    let mut rig = Rig::new();
    let (old, session) = rig.mount(0);
    let waiting = rig.connect(0, HOME);
    let mut changed = records();
    changed[0].umask = 1;
    // Read again without a change.
    exports(&mut rig, &records());
    assert_eq!(rig.closed(old), None);
    rig.mode = Mode::HoldAsked;
    assert_eq!(rig.register(waiting, new_session(b"/")), None);
    let idle = rig.connect(0, HOME);
    exports(&mut rig, &changed);
    for conn in [old, waiting] {
        let closed = rig.closed(conn).expect("it registers again");
        assert!(closed.contains("exports"), "{closed}");
        assert_eq!(rig.hear(conn), None);
    }
    assert_eq!(rig.closed(idle), None, "it has asked for nothing yet");
    rig.release_all();
    assert_eq!(
        session_of(rig.register(idle, again(session, METAID))),
        session
    );
}

#[test]
fn more_than_the_most_connections_are_not_taken() {
    let mut rig = Rig::new();
    let mut options = crate::mounts::Options::new(METAID);
    options.connections_max = 1;
    let seed = crate::rng::Seed::from_u64(1);
    rig.nodes[0] = crate::mounts::Mounts::new(options, Exports::new(records()), &seed);
    let (one, _) = rig.mount(0);
    let two = rig.connect(0, HOME);
    assert!(rig.closed(two).is_some());
    rig.lose(one);
    rig.mount(0);
}

#[test]
fn a_root_below_is_the_clients_root() {
    let mut rig = Rig::new();
    let (conn, _) = rig.mount(0);
    rig.call(conn, 1, &mkdir("sub"));
    let conn = rig.connect(1, HOME);
    session_of(rig.register(conn, new_session(b"/sub")));
    rig.call(conn, 1, &mkdir("inner"));
    assert!(!rig.names(InodeId::ROOT).contains(&"inner".to_owned()));
    let mkdir = mkdir("x");
    let Call::Mkdir(mkdir) = mkdir else {
        unreachable!("it is one");
    };
    let lookup = Call::Lookup(Lookup {
        parent: InodeId::ROOT,
        name: Name::new("inner").unwrap(),
        by: mkdir.by,
    });
    let Some(Reply::Lookup(Ok(_))) = rig.call(conn, 1, &lookup) else {
        panic!("it is there");
    };
}
