//! P-ONCE: a request that a client repeats takes effect once, and every answer to it is the first.
//!
//! Judged along the committed log, where a repeat is an entry of its own: it must be known as one
//! and carry the first result. A request below the newest of its lane is refused as stale, and so
//! is one that was given the newest's number and says something else. Once
//! its session has ended, whatever comes is refused for that and has no effect, but for the end
//! itself, which is confirmed to whoever asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mfsha_core::id::{Lane, LogIndex, RequestSeq, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Command, Op, Outcome, Reply, RequestId};
use mfsha_core::node::request::{RequestBody, ResponseBody};

use crate::event::{AppliedPayload, CallNumber, Event};
use crate::time::SimTime;

use super::history::{SharedHistory, is_first};
use super::{Checker, Violation, broken};

/// The newest request of a lane: its number, where it took effect, and what it came to.
#[derive(Clone, Debug)]
struct Newest {
    seq: RequestSeq,
    print: u64,
    index: LogIndex,
    outcome: Arc<Outcome>,
}

/// Watches repeats.
#[derive(Debug)]
pub struct OnceChecker {
    history: SharedHistory,
    judged: LogIndex,
    lanes: BTreeMap<(SessionId, Lane), Newest>,
    /// Sessions that have ended.
    ended: BTreeSet<SessionId>,
    /// Calls under way, and the request that each asks for.
    calls: BTreeMap<CallNumber, RequestId>,
}

impl OnceChecker {
    /// Judges this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            judged: LogIndex(0),
            lanes: BTreeMap::new(),
            ended: BTreeSet::new(),
            calls: BTreeMap::new(),
        }
    }

    fn judge(&mut self, index: LogIndex) -> Result<(), String> {
        let history = self.history.clone();
        let history = history.borrow();
        let Some(AppliedPayload::Command { command, outcome }) =
            history.get(index).map(|entry| &entry.payload)
        else {
            return Ok(());
        };
        if let Some(request) = command.request
            && request.session != SessionId(0)
            && request.lane.0 < limits::LANE_COUNT_MAX
        {
            self.judge_request(index, request, command, outcome)?;
        }
        if let (Op::CloseSession { session } | Op::ExpireSession { session, .. }, Ok(_), true) =
            (&command.op, &outcome.result, is_first(outcome))
        {
            self.ended.insert(*session);
            // Its lanes are forgotten with it, but for the end itself: that has an answer to repeat.
            self.lanes
                .retain(|(ended, _), newest| ended != session || newest.index == index);
        }
        Ok(())
    }

    fn judge_request(
        &mut self,
        index: LogIndex,
        request: RequestId,
        command: &Command,
        outcome: &Arc<Outcome>,
    ) -> Result<(), String> {
        let key = (request.session, request.lane);
        let newest = self.lanes.get(&key);
        if self.ended.contains(&request.session) {
            return judge_late(index, request, command, outcome);
        }
        match newest {
            // Two connections of a mount gave one number to two requests.
            Some(newest) if request.seq == newest.seq && request.print != newest.print => {
                match (&outcome.result, outcome.repeated) {
                    (Err(FsError::Stale), false) => Ok(()),
                    _ => Err(format!(
                        "{request:?} came to {:?} at {index}, though its number was another's at {}",
                        outcome.result, newest.index
                    )),
                }
            }
            Some(newest) if request.seq == newest.seq => {
                judge_repeat(index, request, newest, outcome)
            }
            Some(newest) if request.seq < newest.seq => {
                let gone = outcome.result == Err(FsError::BadSession);
                if outcome.repeated || is_first(outcome) && !gone {
                    return Err(format!(
                        "{request:?} came to {:?} at {index}, after {} of its lane had at {}",
                        outcome.result, newest.seq, newest.index
                    ));
                }
                Ok(())
            }
            _ if outcome.repeated => Err(format!(
                "{request:?} was taken for a repeat at {index}; it is the first ({:?})",
                command.op
            )),
            _ => {
                if is_first(outcome) {
                    let newest = Newest {
                        seq: request.seq,
                        print: request.print,
                        index,
                        outcome: Arc::clone(outcome),
                    };
                    self.lanes.insert(key, newest);
                }
                Ok(())
            }
        }
    }

    fn judge_answer(&self, request: RequestId, outcome: &Outcome) -> Result<(), String> {
        let Some(newest) = self.lanes.get(&(request.session, request.lane)) else {
            return Ok(());
        };
        let same = newest.seq == request.seq && newest.print == request.print;
        if !same || newest.outcome.result == outcome.result {
            return Ok(());
        }
        Err(format!(
            "{request:?} was answered with {:?}; it took effect at {} with {:?}",
            outcome.result, newest.index, newest.outcome.result
        ))
    }
}

/// A request of a session that has ended.
fn judge_late(
    index: LogIndex,
    request: RequestId,
    command: &Command,
    outcome: &Outcome,
) -> Result<(), String> {
    let ends = matches!(&command.op, Op::CloseSession { session } if *session == request.session);
    match &outcome.result {
        Err(FsError::BadSession) if !outcome.repeated => Ok(()),
        Ok(Reply::Done) if outcome.repeated && ends => Ok(()),
        other => Err(format!(
            "{request:?} came to {other:?} at {index}, when its session was no more"
        )),
    }
}

fn judge_repeat(
    index: LogIndex,
    request: RequestId,
    newest: &Newest,
    outcome: &Outcome,
) -> Result<(), String> {
    if outcome.result == Err(FsError::BadSession) && !outcome.repeated {
        // Ended by the request itself, or by the operator; the ids of sessions never come back.
        return Ok(());
    }
    if !outcome.repeated {
        return Err(format!(
            "{request:?} took effect twice, at {} and at {index}",
            newest.index
        ));
    }
    if outcome.result != newest.outcome.result {
        return Err(format!(
            "{request:?} came to {:?} at {}, its repeat to {:?} at {index}",
            newest.outcome.result, newest.index, outcome.result
        ));
    }
    if !outcome.notices.is_empty() {
        return Err(format!(
            "the repeat of {request:?} at {index} tells others again"
        ));
    }
    Ok(())
}

impl Checker for OnceChecker {
    fn name(&self) -> &'static str {
        "once"
    }

    fn promise(&self) -> &'static str {
        "P-ONCE"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Applied { .. } => {
                while self.judged < self.history.borrow().last() {
                    self.judged = self.judged.next();
                    if let Err(sentence) = self.judge(self.judged) {
                        return Err(broken(self, sentence));
                    }
                }
            }
            Event::Invoked { call, body, .. } => {
                if let RequestBody::Write {
                    session, lane, seq, ..
                } = *body
                    && session != SessionId(0)
                {
                    let request = RequestId::new(session, lane, seq);
                    self.calls.insert(*call, request);
                }
            }
            Event::GaveUp { call, .. } => {
                self.calls.remove(call);
            }
            Event::Returned { call, result, .. } => {
                if let Some(request) = self.calls.remove(call)
                    && let Ok(ResponseBody::Written { outcome, .. }) = result
                    && let Err(sentence) = self.judge_answer(request, outcome)
                {
                    return Err(broken(self, format!("call {}: {sentence}", call.0)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        applied, body, command, done, invoked, refused, show, write, written,
    };
    use super::*;

    fn judge(events: &[Event]) -> Result<(), Violation> {
        let history = SharedHistory::default();
        show(&mut OnceChecker::new(history.clone()), &history, events)
    }

    fn repeat(mut outcome: Outcome) -> Outcome {
        outcome.repeated = true;
        outcome
    }

    fn stale(version: u64) -> Outcome {
        Outcome {
            result: Err(FsError::Stale),
            ..done(version)
        }
    }

    #[test]
    fn repeats_that_are_known_as_such_and_stale_ones_are_lawful() {
        let (first, second) = (write(1, 1, 1), write(1, 1, 2));
        judge(&[
            invoked(1, 0, body(&first)),
            applied(0, command(1, 1, &first, refused(0))),
            applied(0, command(1, 2, &first, repeat(refused(0)))),
            written(1, 0, 2, repeat(refused(0))),
            applied(0, command(1, 3, &second, done(1))),
            applied(0, command(2, 4, &first, stale(1))),
            applied(0, command(2, 5, &write(1, 2, 1), done(2))),
        ])
        .unwrap();
    }

    #[test]
    fn a_second_effect_is_caught() {
        let first = write(1, 1, 1);
        let twice = [
            applied(0, command(1, 1, &first, done(1))),
            applied(0, command(2, 2, &first, done(2))),
        ];
        assert!(judge(&twice).is_err());
        // Also when the lane has gone on meanwhile.
        let late = [
            applied(0, command(1, 1, &first, done(1))),
            applied(0, command(1, 2, &write(1, 1, 2), done(2))),
            applied(0, command(2, 3, &first, done(3))),
        ];
        assert!(judge(&late).is_err());
    }

    #[test]
    fn another_answer_to_a_repeat_is_caught() {
        let first = write(1, 1, 1);
        let log = [
            invoked(1, 0, body(&first)),
            applied(0, command(1, 1, &first, done(1))),
        ];
        let with = |event| judge(&[log[0].clone(), log[1].clone(), event]);
        let other = command(2, 2, &first, repeat(refused(1)));
        assert!(with(applied(0, other)).is_err());
        with(written(1, 0, 1, done(1))).unwrap();
        assert!(with(written(1, 0, 1, refused(1))).is_err());
    }

    #[test]
    fn a_first_request_taken_for_a_repeat_is_caught() {
        let new = command(1, 1, &write(1, 1, 1), repeat(done(0)));
        assert!(judge(&[applied(0, new)]).is_err());
    }

    #[test]
    fn a_session_that_ended_owes_nothing() {
        let mut close = write(1, 1, 1);
        close.op = Op::CloseSession {
            session: SessionId(1),
        };
        let gone = Outcome {
            result: Err(FsError::BadSession),
            ..done(1)
        };
        judge(&[
            applied(0, command(1, 1, &close, done(1))),
            applied(0, command(1, 2, &close, gone)),
        ])
        .unwrap();
    }

    #[test]
    fn a_session_that_ended_itself_answers_a_repeat_of_that_and_of_nothing_else() {
        let mut close = write(1, 1, 1);
        close.op = Op::CloseSession {
            session: SessionId(1),
        };
        let ended = applied(0, command(1, 1, &close, done(1)));
        let again = applied(0, command(1, 2, &close, repeat(done(1))));
        judge(&[ended.clone(), again.clone()]).unwrap();
        let third = applied(0, command(1, 3, &close, repeat(done(1))));
        judge(&[ended.clone(), again.clone(), third]).unwrap();
        let other = applied(0, command(1, 2, &write(1, 2, 1), repeat(done(1))));
        assert!(judge(&[ended, other]).is_err());
        let unfounded = applied(0, command(1, 1, &close, repeat(done(1))));
        assert!(judge(&[unfounded]).is_err(), "nobody ended it before");
    }

    /// A duplicate that comes late, of a request that another session's client or a peer's face
    /// still carried about.
    #[test]
    fn what_comes_late_to_a_session_that_ended_has_no_effect() {
        let (first, second) = (write(1, 1, 1), write(1, 1, 2));
        let mut end = write(2, 1, 1);
        end.op = Op::CloseSession {
            session: SessionId(1),
        };
        let gone = Outcome {
            result: Err(FsError::BadSession),
            ..done(2)
        };
        let mut own_end = write(1, 1, 1);
        own_end.op = end.op.clone();
        let ended = [
            invoked(1, 0, body(&first)),
            applied(0, command(1, 1, &first, done(1))),
            applied(0, command(1, 2, &end, done(2))),
        ];
        let with = |more: &[Event]| judge(&[&ended[..], more].concat());
        with(&[
            applied(0, command(1, 3, &first, gone.clone())),
            written(1, 0, 1, done(1)),
            applied(0, command(1, 4, &second, gone)),
            applied(0, command(1, 5, &own_end, repeat(done(2)))),
        ])
        .unwrap();
        for wrong in [
            command(1, 3, &second, done(3)),
            command(1, 3, &first, repeat(done(2))),
            command(1, 3, &own_end, done(3)),
        ] {
            assert!(with(&[applied(0, wrong.clone())]).is_err(), "{wrong:?}");
        }
    }
}
