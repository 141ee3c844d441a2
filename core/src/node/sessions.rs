//! Sessions whose clients are gone: the leader notices, has it noted, and ends them in time.
//!
//! Who speaks for a session is known to the leader alone, from what it hears, and is forgotten with
//! its office. Since when nobody does is part of the replicated state, so that the next leader does
//! not begin to count anew. A leader that has just come into office waits until everybody has had
//! time to speak to it before it notes anything or ends anybody.
//!
//! What a session is, and what its end gives back, is not known here.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use super::Effect;
use super::machine::{Node, Timer};
use super::pending::Caller;
use super::request::{Consistency, NodeError};
use crate::codec;
use crate::disk::Disk;
use crate::id::SessionId;
use crate::machine::Outbox;
use crate::namespace::key::Key;
use crate::namespace::op::{Command, Op, Query};
use crate::raft;
use crate::store::{StateStore, StoreError};
use crate::time::{Duration, Instant, WallTime};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Sessions that one look visits; the next one goes on behind them.
const LOOK_COUNT_MAX: usize = 1_000;
/// Sessions that one look ends: each may have many files open.
const END_COUNT_MAX: usize = 16;

/// What the leader has heard since it came into office.
#[derive(Debug, Default)]
pub(super) struct Heard {
    sessions: BTreeMap<SessionId, Voice>,
    /// The last session that was visited.
    visited: SessionId,
}

/// What was heard of one session.
#[derive(Clone, Copy, Debug)]
struct Voice {
    /// When it was heard last; before that, when this leader saw it first.
    at: Instant,
    /// Whether it was heard at all.
    spoke: bool,
    /// When something was proposed for it last.
    proposed: Option<Instant>,
}

/// How long is waited, and what time it is.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Instant,
    wall: WallTime,
    grace: Duration,
    sustain: Duration,
}

impl Voice {
    /// What has to be done about a session that is marked since then, or not.
    fn wants(&self, session: SessionId, marked: Option<WallTime>, moment: Moment) -> Option<Op> {
        let Moment { now, grace, .. } = moment;
        if self.proposed.is_some_and(|at| now.since(at) < grace) {
            return None;
        }
        let silent = now.since(self.at) >= grace;
        let connected = |connected| Some(Op::SetSessionConnected { session, connected });
        match marked {
            None if silent => connected(false),
            Some(_) if self.spoke && !silent => connected(true),
            Some(since) if silent => {
                let seconds = u64::from(moment.wall.0.saturating_sub(since.0));
                let over = seconds >= moment.sustain.as_secs();
                over.then_some(Op::ExpireSession { session, since })
            }
            _ => None,
        }
    }
}

impl Heard {
    /// Somebody spoke for a session that is there.
    fn hear(&mut self, session: SessionId, now: Instant) {
        let voice = self.first_seen(session, now);
        voice.at = voice.at.max(now);
        voice.spoke = true;
    }

    fn first_seen(&mut self, session: SessionId, now: Instant) -> &mut Voice {
        self.sessions.entry(session).or_insert(Voice {
            at: now,
            spoke: false,
            proposed: None,
        })
    }

    /// These are all sessions behind the last visited one, or the first of them: forgets the
    /// others.
    fn visit(&mut self, found: &[(SessionId, Option<WallTime>)]) {
        let from = self.visited;
        let last = found.last().map(|(session, _)| *session);
        let last = last.filter(|_| found.len() >= LOOK_COUNT_MAX);
        let to = last.map_or(SessionId(u32::MAX), |last| last);
        let gone: Vec<SessionId> = self
            .sessions
            .range((Excluded(from), Included(to)))
            .map(|(session, _)| *session)
            .filter(|session| {
                found
                    .binary_search_by_key(session, |(found, _)| *found)
                    .is_err()
            })
            .collect();
        for session in gone {
            self.sessions.remove(&session);
        }
        self.visited = last.unwrap_or_default();
    }
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// This node has come into office: nothing was heard yet.
    pub(super) fn begin_listening(&mut self) {
        self.heard = Heard::default();
        if self.options.session_sustain.is_some() {
            self.timers.arm(Timer::Sessions, self.now, LOOK);
        }
    }

    /// A client speaks for its session. The answer is the session as the leader's lease shows it.
    pub(super) fn on_keep_session(
        &mut self,
        caller: Caller,
        session: SessionId,
        out: &mut Outbox<Effect>,
    ) {
        if self.leads.is_none() {
            let leader = self.status().leader;
            return self.answer(caller, Err(NodeError::NotLeader { leader }), out);
        }
        match self.namespace.session_mark(session) {
            Ok(Some(marked)) if self.options.session_sustain.is_some() => {
                self.heard.hear(session, self.now);
                self.maybe_propose_for(session, marked, out);
            }
            // The read says it once this node is sure that it leads.
            Ok(_) => {}
            Err(error) => self.on_read_fault(&error, out),
        }
        let query = Query::GetSession { session };
        self.on_read(caller, Consistency::StrictByLease, query, out);
    }

    /// A client writes in the name of a session: that counts as speaking, when the session is known
    /// to be there.
    pub(super) fn note_writer(&mut self, session: SessionId) {
        if let Some(voice) = self.heard.sessions.get_mut(&session) {
            voice.at = self.now;
            voice.spoke = true;
        }
    }

    /// Looks at some sessions; the timer has rung.
    pub(super) fn look_at_sessions(&mut self, out: &mut Outbox<Effect>) {
        if self.leads.is_none() {
            return;
        }
        self.timers.arm(Timer::Sessions, self.now, LOOK);
        let found = match self
            .namespace
            .sessions_after(self.heard.visited, LOOK_COUNT_MAX)
        {
            Ok(found) => found,
            Err(error) => {
                // One that cannot be read must not keep the others from their end.
                if let StoreError::Corrupt { key, .. } = &error
                    && let Some(Key::Session(session)) = Key::parse(key)
                {
                    self.heard.visited = session;
                }
                return self.on_read_fault(&error, out);
            }
        };
        self.heard.visit(&found);
        let mut ended = 0;
        for (session, marked) in found {
            self.heard.first_seen(session, self.now);
            if ended < END_COUNT_MAX && self.maybe_propose_for(session, marked, out) {
                ended += 1;
            }
        }
    }

    /// Proposes what has to be done about a session; true when that is its end.
    fn maybe_propose_for(
        &mut self,
        session: SessionId,
        marked: Option<WallTime>,
        out: &mut Outbox<Effect>,
    ) -> bool {
        let Some(sustain) = self.options.session_sustain else {
            return false;
        };
        let moment = Moment {
            now: self.now,
            wall: self.wall_time(),
            grace: self.options.session_grace,
            sustain,
        };
        // Clients' own writes go first when room is short.
        if self.is_store_full() || self.wal.is_crowded() {
            return false;
        }
        let voice = self.heard.first_seen(session, self.now);
        let Some(op) = voice.wants(session, marked, moment) else {
            return false;
        };
        voice.proposed = Some(self.now);
        let ends = matches!(op, Op::ExpireSession { .. });
        if let Op::ExpireSession { since, .. } = &op {
            let seconds = moment.wall.0.saturating_sub(since.0);
            let message = format!(
                "nobody has spoken for session {session} for {seconds} s: it is ended, its open \
                 files and locks are given back"
            );
            out.push(Effect::Report { message });
        }
        self.propose_own(op);
        ends
    }

    /// Proposes a command of the cluster's own, for which nobody waits.
    fn propose_own(&mut self, op: Op) {
        let command = Command {
            stamp: self.hlc.stamp(self.wall_us),
            now: self.wall_time(),
            request: None,
            op,
        };
        let proposal = self.pending.unasked();
        self.inbox.push_back(raft::Input::Propose {
            proposal,
            command: codec::encode(&command),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn second(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn moment(seconds: u64) -> Moment {
        Moment {
            now: second(seconds),
            wall: WallTime(1_000 + u32::try_from(seconds).unwrap()),
            grace: Duration::from_secs(20),
            sustain: Duration::from_secs(100),
        }
    }

    #[test]
    fn silence_is_noted_and_ends_a_session_only_after_both_times() {
        let silent = Voice {
            at: second(50),
            spoke: false,
            proposed: None,
        };
        let wants = |seconds, marked: Option<u32>| {
            silent.wants(SESSION, marked.map(WallTime), moment(seconds))
        };
        let session = SESSION;
        let mark = Op::SetSessionConnected {
            session,
            connected: false,
        };
        assert_eq!(wants(69, None), None);
        assert_eq!(wants(70, None), Some(mark));
        // Marked long ago, but this leader has not listened for long enough.
        let since = WallTime(960);
        assert_eq!(wants(69, Some(960)), None);
        let end = Op::ExpireSession { session, since };
        assert_eq!(wants(70, Some(960)), Some(end));
        assert_eq!(wants(70, Some(971)), None, "99 s by the wall clock");
        // A clock that was set back hurries nobody.
        assert_eq!(wants(70, Some(4_000_000)), None);
    }

    #[test]
    fn who_speaks_is_unmarked_and_nothing_is_proposed_twice_at_once() {
        let session = SESSION;
        let mut heard = Heard::default();
        heard.hear(session, second(10));
        let voice = heard.sessions[&session];
        let back = Some(Op::SetSessionConnected {
            session,
            connected: true,
        });
        let marked = Some(WallTime(5));
        assert_eq!(voice.wants(session, marked, moment(11)), back);
        assert_eq!(voice.wants(session, None, moment(11)), None);
        let voice = Voice {
            proposed: Some(second(11)),
            ..voice
        };
        assert_eq!(voice.wants(session, marked, moment(12)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_sessions_there_are() {
        let mut heard = Heard::default();
        for session in 1..=2_500 {
            heard.hear(SessionId(session), second(1));
        }
        // Every second session has ended.
        let all: Vec<_> = (1..=1_250).map(|n| (SessionId(2 * n), None)).collect();
        heard.visit(&all[..1_000]);
        assert_eq!(heard.visited, SessionId(2_000));
        heard.visit(&all[1_000..]);
        assert_eq!(heard.visited, SessionId(0), "it begins again");
        assert_eq!(heard.sessions.len(), 1_250);
        assert!(heard.sessions.keys().all(|session| session.0 % 2 == 0));
    }
}
