//! Sessions that nobody speaks for, on whole nodes.

use super::*;
use crate::namespace::error::FsError;
use crate::namespace::op::{FlockOp, Notice};
use crate::time::WallTime;

const SUSTAIN: u64 = 40;
const GRACE: u64 = 10;
/// What passes between two words of a client.
const WORD: u64 = 5;
/// The leader looks this often.
const LOOK: u64 = 5;

impl Cluster {
    fn sustaining(count: u64) -> Self {
        let mut cluster = Self::new(count);
        cluster.session_sustain = Some(Duration::from_secs(SUSTAIN));
        for id in 1..=count {
            cluster.kill(NodeId(id));
        }
        cluster.restart_all();
        cluster
    }

    fn do_as_cluster(&mut self, op: Op) -> Result<Reply, FsError> {
        let leader = self.leader();
        let (session, lane, seq) = (SessionId(0), Lane(0), RequestSeq(0));
        let body = RequestBody::Write {
            session,
            lane,
            seq,
            op,
        };
        match self.call(leader, body).unwrap() {
            ResponseBody::Written { outcome, .. } => outcome.result,
            other => panic!("{other:?}"),
        }
    }

    fn new_session(&mut self) -> SessionId {
        let params = SessionParams::unrestricted();
        match self.do_as_cluster(Op::OpenSession { params }) {
            Ok(Reply::Session(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    /// A client speaks for its session: whether it is there.
    fn keep(&mut self, session: SessionId) -> bool {
        let leader = self.leader();
        match self.call(leader, RequestBody::KeepSession { session }) {
            Ok(ResponseBody::Read { result, .. }) => result != Err(FsError::BadSession),
            other => panic!("{other:?}"),
        }
    }

    /// Since when nobody speaks for a session; outside `None` when it is gone.
    fn mark(&mut self, session: SessionId) -> Option<Option<WallTime>> {
        let leader = self.leader();
        let body = RequestBody::Read {
            consistency: Consistency::Strict,
            query: Query::GetSession { session },
        };
        match self.call(leader, body) {
            Ok(ResponseBody::Read { result, .. }) => match result {
                Ok(Answer::Session { disconnected, .. }) => Some(disconnected),
                Err(FsError::BadSession) => None,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Lets so many seconds pass, in which somebody speaks for these sessions.
    fn pass(&mut self, seconds: u64, spoken_for: &[SessionId]) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            for session in spoken_for {
                assert!(self.keep(*session), "{session} is gone");
            }
            let rest = end.since(self.now).min(Duration::from_secs(WORD));
            self.run_for(rest);
        }
    }

    /// Lets time pass until a session is gone; gives how many seconds that took.
    fn seconds_until_gone(&mut self, session: SessionId, spoken_for: &[SessionId]) -> u64 {
        let began = self.now;
        for _ in 0..1_000 {
            if self.mark(session).is_none() {
                return self.now.since(began).as_secs();
            }
            self.pass(1, spoken_for);
        }
        panic!("{session} is there for ever");
    }

    fn file(&mut self, name: &str) -> InodeId {
        let made = self.do_as_cluster(Op::Create {
            caller: Caller {
                session: SessionId(0),
                ..caller()
            },
            parent: ROOT,
            name: name.as_bytes().to_vec(),
            kind: crate::namespace::op::NodeKind::File,
            mode: 0o644,
            umask: 0,
            rdev: 0,
            open: false,
        });
        match made {
            Ok(Reply::Node { inode, .. }) => inode,
            other => panic!("{other:?}"),
        }
    }

    /// Notices that leaders have sent about this session's locks.
    fn lock_notices(&self, session: SessionId) -> usize {
        let about = |notice: &&Notice| match notice {
            Notice::LockGranted { session: of, .. } | Notice::LockEnded { session: of, .. } => {
                *of == session
            }
            _ => false,
        };
        self.notices.iter().filter(about).count()
    }
}

fn lock(session: SessionId, inode: InodeId) -> Op {
    Op::Flock {
        session,
        inode,
        owner: 1,
        reqid: 1,
        op: FlockOp::LockExclusive,
    }
}

#[test]
fn a_session_that_was_left_is_ended_once_and_gives_back_what_it_held() {
    let mut cluster = Cluster::sustaining(3);
    let (used, left) = (cluster.new_session(), cluster.new_session());
    let file = cluster.file("file");
    for session in [left, used] {
        let inodes = vec![file];
        let opened = cluster.do_as_cluster(Op::SetOpenFiles { session, inodes });
        assert_eq!(opened, Ok(Reply::Done));
        let locked = cluster.do_as_cluster(lock(session, file));
        assert!(locked.is_ok(), "{locked:?}");
    }
    assert_eq!(cluster.lock_notices(used), 0, "it waits");
    cluster.pass(GRACE + 2 * LOOK, &[used]);
    assert!(matches!(cluster.mark(left), Some(Some(_))), "it is noted");
    assert_eq!(cluster.mark(used), Some(None));
    let seconds = cluster.seconds_until_gone(left, &[used]);
    let most = SUSTAIN + 2 * LOOK;
    assert!(
        (SUSTAIN - LOOK..=most).contains(&(seconds + LOOK)),
        "{seconds}"
    );
    assert_eq!(cluster.lock_notices(used), 1, "the lock is its own now");
    cluster.pass(GRACE + 2 * LOOK, &[used]);
    assert_eq!(cluster.lock_notices(used), 1, "once");
    assert_eq!(cluster.mark(used), Some(None));
    let ends = cluster.reports.iter();
    let ends = ends.filter(|report| report.contains("nobody has spoken"));
    assert_eq!(ends.count(), 1, "{:?}", cluster.reports);
    cluster.assert_converged();
}

#[test]
fn a_client_that_comes_back_in_time_keeps_its_session() {
    let mut cluster = Cluster::sustaining(3);
    let session = cluster.new_session();
    for _ in 0..3 {
        cluster.pass(GRACE + SUSTAIN / 2, &[]);
        assert!(matches!(cluster.mark(session), Some(Some(_))));
        assert!(cluster.keep(session));
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.mark(session), Some(None), "it counts anew");
    }
    // Writing is speaking.
    for seq in 1..=2 * SUSTAIN / WORD {
        cluster.pass(WORD, &[]);
        assert_eq!(session, SessionId(1), "the one that writes");
        cluster.mkdir(&format!("d{seq}"), seq);
    }
    assert_eq!(cluster.mark(session), Some(None));
    cluster.seconds_until_gone(session, &[]);
    assert!(!cluster.keep(session));
}

#[test]
fn a_new_leader_neither_forgets_nor_hurries() {
    let mut cluster = Cluster::sustaining(3);
    let (used, left) = (cluster.new_session(), cluster.new_session());
    cluster.pass(GRACE + 2 * LOOK, &[used]);
    let marked = cluster.mark(left);
    let Some(Some(since)) = marked else {
        panic!("{marked:?}");
    };
    // Leaders change again and again, each long before it has listened for long enough twice.
    let began = cluster.now;
    let mut rounds = 0;
    while cluster.mark(left).is_some() {
        assert_eq!(cluster.mark(left), marked, "the time stands");
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.run_for(Duration::from_secs(2));
        cluster.start(leader).unwrap();
        cluster.pass(GRACE + LOOK, &[used]);
        rounds += 1;
        assert!(rounds < 50, "it is forgotten");
    }
    let wall = 1_000 + u32::try_from(cluster.now.0 / 1_000_000_000).unwrap();
    let seconds = u64::from(wall - since.0);
    assert!(seconds >= SUSTAIN, "hurried: {seconds}");
    let one_office = GRACE + 2 * LOOK + 4;
    assert!(seconds <= SUSTAIN + one_office, "{seconds}");
    assert!(cluster.now.since(began) < Duration::from_secs(SUSTAIN + 2 * one_office));
    assert_eq!(cluster.mark(used), Some(None));
}

#[test]
fn without_a_time_nobody_is_ended_and_others_are_sent_to_the_leader() {
    let mut cluster = Cluster::new(3);
    let session = cluster.new_session();
    cluster.pass(GRACE + 2 * SUSTAIN, &[]);
    assert_eq!(cluster.mark(session), Some(None));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let body = RequestBody::KeepSession { session };
    let leader = Some(leader);
    assert_eq!(
        cluster.call(follower, body),
        Err(NodeError::NotLeader { leader })
    );
}
