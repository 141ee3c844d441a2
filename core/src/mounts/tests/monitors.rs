//! Tools of operators, which do not register.

use std::net::Ipv4Addr;

use super::rig::{Conn, HOME, Rig, close, create, open};
use crate::chunks::{Address, Space};
use crate::id::{CsId, InodeId, NodeId, SessionId};
use crate::moosefs::client::{Call, Reply};
use crate::moosefs::monitor::ask::{ChunkserverCommand, ChunkserverOrder};
use crate::moosefs::monitor::classes::Classes;
use crate::moosefs::monitor::cluster::{MasterState, MasterStates};
use crate::moosefs::monitor::sessions::{AcquiredLocks, OpenFilesListed};
use crate::moosefs::monitor::{Came, FromMonitor, ToMonitor};
use crate::moosefs::sample::Draw;
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::op::{ChunkserverInfo, Op};
use crate::native::admin::{ChunkserverHeard, ChunkserverStatus};
use crate::native::request::NodeError;
use crate::time::{Duration, WallTime};

fn ask(rig: &mut Rig, conn: Conn, asked: &FromMonitor) -> Option<ToMonitor> {
    rig.bytes(conn, &asked.encode());
    let packet = rig.hear(conn)?;
    Some(ToMonitor::parse(&packet, asked).expect("an answer to what was asked"))
}

fn server(csid: u16, heard: bool) -> ChunkserverStatus {
    ChunkserverStatus {
        info: ChunkserverInfo {
            csid: CsId(csid),
            address: Address {
                ip: Ipv4Addr::new(10, 1, 0, csid as u8),
                port: 9422,
            },
            registration: 1,
            registered_at: WallTime(1),
            maintenance_until: WallTime(0),
        },
        heard: heard.then_some(ChunkserverHeard {
            relay: NodeId(2),
            reachable: true,
            version: Version::OURS.0,
            listed: true,
            leaving: false,
            labels: 0b10,
            space: Space {
                used: 5,
                total: 50,
                chunks: 3,
                ..Space::default()
            },
            jobs: 4,
            overloaded: false,
            disk_errors: 1,
        }),
    }
}

#[test]
fn every_question_has_an_answer_that_fits_it() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    for number in FromMonitor::NUMBERS {
        let asked = FromMonitor::sample(*number, &mut Draw::new(&[1, 1, 1, 1, 1, 1]));
        if matches!(asked, FromMonitor::ChartData { .. }) {
            continue;
        }
        assert!(ask(&mut rig, conn, &asked).is_some(), "{asked:?}");
    }
    assert_eq!(rig.closed(conn), None);
    let charts = FromMonitor::ChartData { id: 0, max: None };
    assert_eq!(ask(&mut rig, conn, &charts), None);
    assert!(rig.closed(conn).unwrap().contains("no charts"));
}

#[test]
fn the_master_shows_its_state_and_the_whole() {
    let mut rig = Rig::new();
    let (mount, _) = rig.mount(0);
    assert!(matches!(
        rig.call(mount, 1, &create("file")),
        Some(Reply::Create(Ok(_)))
    ));
    let conn = rig.connect(0, HOME);
    let Some(ToMonitor::Info(info)) = ask(&mut rig, conn, &FromMonitor::Info) else {
        panic!("INFO is answered");
    };
    assert_eq!(info.states, MasterStates::stable(MasterState::Leader));
    assert_eq!((info.total, info.free), (1_000, 900));
    assert_eq!((info.dirs, info.files, info.nodes), (1, 1, 2));
    assert_eq!(info.state_changed, WallTime(7));
    assert_eq!(info.metadata_version, rig.tree.version());
    assert_ne!(info.exports_checksum, 0);
}

#[test]
fn a_node_that_cannot_answer_closes_and_says_nothing_wrong() {
    let mut rig = Rig::new();
    let conn = rig.connect(0, HOME);
    let reason = "it is starting".to_owned();
    rig.failing = Some(NodeError::Unavailable { reason });
    assert_eq!(ask(&mut rig, conn, &FromMonitor::Info), None);
    assert!(rig.closed(conn).unwrap().contains("starting"));
}

#[test]
fn sessions_are_told_in_all_forms_with_what_they_asked() {
    let mut rig = Rig::new();
    let (mount, session) = rig.mount(0);
    let Some(Reply::Create(Ok(created))) = rig.call(mount, 1, &create("file")) else {
        panic!("a file is made");
    };
    rig.call(mount, 1, &open(created.inode));
    // Another, by the other node, that has ended its connection: more than fit one page.
    for _ in 0..4 {
        let (other, _) = rig.mount(1);
        rig.lose(other);
    }
    let conn = rig.connect(0, HOME);
    for mode in [None, Some(1), Some(2), Some(3), Some(4)] {
        let asked = FromMonitor::Sessions { mode };
        let Some(ToMonitor::Sessions(told)) = ask(&mut rig, conn, &asked) else {
            panic!("sessions are told");
        };
        assert_eq!(told.sessions.len(), 5);
        let ours = told
            .sessions
            .iter()
            .find(|it| it.session == session)
            .unwrap();
        assert_eq!(ours.ip, HOME.into());
        assert_eq!(ours.path.0, b"/");
        assert_eq!((ours.this_hour[8], ours.this_hour[13]), (1, 1));
        assert_eq!(ours.last_hour, [0; 16]);
        if let Some((open, connections, expires)) = ours.standing {
            assert_eq!((open, connections, expires), (1, 1, u32::MAX));
        }
        assert_eq!(ours.standing.is_some(), mode >= Some(2));
        assert_eq!(ours.rights.disables, 0);
        assert_eq!(
            ours.rights.goals,
            if mode >= Some(1) { [1, 9] } else { [0, 0] }
        );
    }
    rig.pass(Duration::from_secs(3_600));
    // The tool has said nothing for an hour.
    let conn = rig.connect(0, HOME);
    let asked = FromMonitor::Sessions { mode: Some(4) };
    let Some(ToMonitor::Sessions(told)) = ask(&mut rig, conn, &asked) else {
        panic!("sessions are told");
    };
    let ours = told
        .sessions
        .iter()
        .find(|it| it.session == session)
        .unwrap();
    assert_eq!((ours.this_hour[13], ours.last_hour[13]), (0, 1));
}

#[test]
fn a_session_ends_by_command_when_nobody_speaks_for_it() {
    let mut rig = Rig::new();
    let (mount, session) = rig.mount(0);
    let conn = rig.connect(0, HOME);
    let end = |rig: &mut Rig, session| {
        let asked = FromMonitor::SessionCommand { order: 0, session };
        match ask(rig, conn, &asked) {
            Some(ToMonitor::SessionCommand(Came(result))) => result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end(&mut rig, session), Err(Status::ACTIVE));
    for unknown in [SessionId(0), SessionId(99)] {
        assert_eq!(end(&mut rig, unknown), Err(Status::NOTFOUND));
    }
    rig.lose(mount);
    let connected = false;
    let left = Op::SetSessionConnected { session, connected };
    assert!(rig.by_hand(None, left).0.is_ok());
    // It came back meanwhile, which the node that was asked has not applied yet.
    let before = rig.tree.sessions_seen(SessionId(0), 9).unwrap();
    let since = before[0].disconnected.unwrap();
    assert!(
        rig.by_hand(
            None,
            Op::SetSessionConnected {
                session,
                connected: true
            }
        )
        .0
        .is_ok()
    );
    let expired = rig.by_hand(None, Op::ExpireSession { session, since });
    assert_eq!(expired.0, Err(crate::namespace::error::FsError::Active));
    let left = Op::SetSessionConnected { session, connected };
    assert!(rig.by_hand(None, left).0.is_ok());
    assert_eq!(end(&mut rig, session), Ok(()));
    assert!(
        rig.applied
            .iter()
            .any(|(_, op)| matches!(op, Op::ExpireSession { .. })),
        "it ends only if nobody came back"
    );
    assert_eq!(end(&mut rig, session), Err(Status::NOTFOUND));
}

#[test]
fn open_files_and_locks_are_told_of_one_or_of_all() {
    let mut rig = Rig::new();
    let (mount, session) = rig.mount(0);
    let Some(Reply::Create(Ok(created))) = rig.call(mount, 1, &create("file")) else {
        panic!("a file is made");
    };
    let inode = created.inode;
    let lock = super::rig::flock(inode, 5, 1, crate::moosefs::flags::flock::LOCK_EXCLUSIVE);
    assert!(matches!(
        rig.call(mount, 2, &lock),
        Some(Reply::Flock(Ok(_)))
    ));
    let conn = rig.connect(1, HOME);
    let files = |session, id| FromMonitor::OpenFiles { id, session };
    assert_eq!(
        ask(&mut rig, conn, &files(SessionId(0), None)),
        Some(ToMonitor::OpenFiles(OpenFilesListed::All(vec![(
            session, inode
        )])))
    );
    for (session, expected) in [(session, vec![inode]), (SessionId(99), Vec::new())] {
        assert_eq!(
            ask(&mut rig, conn, &files(session, Some(77))),
            Some(ToMonitor::OpenFiles(OpenFilesListed::Of(expected)))
        );
    }
    let asked = FromMonitor::Locks { inode: InodeId(0) };
    let Some(ToMonitor::Locks(AcquiredLocks::All(all))) = ask(&mut rig, conn, &asked) else {
        panic!("locks are told");
    };
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].0, all[0].1.session, all[0].1.kind),
        (inode, session, 2)
    );
    let asked = FromMonitor::Locks { inode };
    let Some(ToMonitor::Locks(AcquiredLocks::Of(one))) = ask(&mut rig, conn, &asked) else {
        panic!("locks are told");
    };
    assert_eq!(one, [all[0].1.clone()]);
    // What is named twice is told once, in portions of a few bytes here.
    let asked = FromMonitor::Paths(vec![inode, InodeId(1), InodeId(4_000), inode]);
    let Some(ToMonitor::Paths(told)) = ask(&mut rig, conn, &asked) else {
        panic!("paths are told");
    };
    let found: Vec<Vec<&[u8]>> = told
        .iter()
        .map(|it| it.paths.iter().map(|path| path.0.as_slice()).collect())
        .collect();
    assert_eq!(found, [vec![&b"/"[..]], vec![], vec![&b"file"[..]]]);
    // Twelve bytes are two names and one more.
    for name in ["file-2", "file-3", "file-4"] {
        let link = Op::Link {
            caller: crate::namespace::op::Caller {
                session,
                uid: 0,
                gids: vec![0],
            },
            inode,
            parent: InodeId(1),
            name: name.into(),
        };
        assert!(rig.by_hand(None, link).0.is_ok());
    }
    let asked = FromMonitor::Paths(vec![inode]);
    let Some(ToMonitor::Paths(told)) = ask(&mut rig, conn, &asked) else {
        panic!("paths are told");
    };
    assert_eq!(told[0].paths.len(), 3, "of four");
}

#[test]
fn chunkservers_are_shown_and_commanded() {
    let mut rig = Rig::new();
    rig.chunkservers = vec![server(1, true), server(2, false)];
    let registered = rig.by_hand(
        None,
        Op::RegisterChunkserver {
            csid: CsId(0),
            address: server(2, false).info.address,
        },
    );
    assert!(registered.0.is_ok());
    let conn = rig.connect(0, HOME);
    let Some(ToMonitor::Chunkservers(told)) = ask(&mut rig, conn, &FromMonitor::Chunkservers)
    else {
        panic!("chunkservers are told");
    };
    assert_eq!((told[0].flags, told[1].flags), (0, 1));
    assert_eq!((told[0].used, told[0].labels, told[0].load), (5, 2, 4));
    assert_eq!(told[0].version, [3, 0, 234], "its minor number is doubled");
    let order = |rig: &mut Rig, order, number: u8| {
        let ip = Ipv4Addr::new(10, 1, 0, number).into();
        let command = ChunkserverCommand {
            order,
            ip,
            port: 9422,
        };
        match ask(rig, conn, &FromMonitor::ChunkserverCommand(command)) {
            Some(ToMonitor::ChunkserverCommand(Came(result))) => result,
            other => panic!("{other:?}"),
        }
    };
    rig.leads = false;
    let follower = rig.connect(1, HOME);
    let remove = ChunkserverCommand {
        order: None,
        ip: Ipv4Addr::new(10, 1, 0, 2).into(),
        port: 9422,
    };
    let asked = FromMonitor::ChunkserverCommand(remove);
    assert_eq!(
        ask(&mut rig, follower, &asked),
        None,
        "it may not know of it"
    );
    assert!(rig.closed(follower).unwrap().contains("the leader alone"));
    rig.leads = true;
    assert_eq!(order(&mut rig, None, 1), Err(Status::ACTIVE));
    assert_eq!(order(&mut rig, None, 3), Err(Status::NOTFOUND));
    let unknown = Some(ChunkserverOrder::Unknown(9));
    assert_eq!(order(&mut rig, unknown, 1), Err(Status::EINVAL));
    // In this tree the second one has the first number.
    rig.chunkservers[1].info.csid = CsId(1);
    assert_eq!(
        order(&mut rig, Some(ChunkserverOrder::MaintenanceOn), 2),
        Ok(())
    );
    let until = |rig: &Rig| rig.tree.chunkservers().unwrap()[0].maintenance_until;
    assert_eq!(until(&rig), WallTime(u32::MAX));
    assert_eq!(
        order(&mut rig, Some(ChunkserverOrder::MaintenanceOff), 2),
        Ok(())
    );
    assert_eq!(until(&rig), WallTime(0));
    assert_eq!(
        order(&mut rig, Some(ChunkserverOrder::BackToWork), 2),
        Ok(())
    );
    assert_eq!(order(&mut rig, Some(ChunkserverOrder::Remove), 2), Ok(()));
    assert!(rig.tree.chunkservers().unwrap().is_empty());
}

#[test]
fn a_class_is_fulfilled_when_its_labels_are_there() {
    let mut rig = Rig::new();
    rig.chunkservers = vec![server(1, true), server(2, false)];
    let conn = rig.connect(0, HOME);
    let Some(ToMonitor::Classes(Classes { servers, classes })) =
        ask(&mut rig, conn, &FromMonitor::Classes)
    else {
        panic!("classes are told");
    };
    assert_eq!((servers, classes.len()), (1, 9));
    let fulfilled: Vec<u8> = classes.iter().map(|it| it.wanted[0].fulfilled).collect();
    assert_eq!(
        fulfilled,
        [3, 0, 0, 0, 0, 0, 0, 0, 0],
        "one copy on one chunkserver"
    );
    assert_eq!(classes[1].wanted[1].copies.len(), 2);
    assert_eq!(classes[1].wanted[1].copies[0].servers, 1);
}

#[test]
fn a_tool_and_a_mount_share_a_port_and_not_a_connection() {
    let mut rig = Rig::new();
    let (mount, session) = rig.mount(0);
    // A mount may ask as well, as the CGI of one host does through nobody else.
    assert!(ask(&mut rig, mount, &FromMonitor::Info).is_some());
    assert_eq!(rig.closed(mount), None);
    let tool = rig.connect(0, HOME);
    rig.say(
        tool,
        &crate::moosefs::client::FromClient::Call {
            id: crate::moosefs::client::MsgId(1),
            call: Call::sample(402, &mut Draw::new(&[])),
        },
    );
    assert!(rig.closed(tool).is_some(), "it has no session");
    assert!(rig.register(mount, close(session)).is_some());
}
