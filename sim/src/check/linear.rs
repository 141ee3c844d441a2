//! P-LINEAR: strict reads and writes are linearizable, from whichever node they are asked.
//!
//! Every acknowledgement names its place in the log, so nothing has to be searched:
//!
//! - the acknowledged entry is the very request, and its outcome the one it came to there; along
//!   the log the reference model says which outcome that has to be;
//! - a write takes effect above, and a strict read reads at or above, everything that any node had
//!   applied when it was invoked: whatever was acknowledged, or could be seen, before;
//! - a fast read reads at or above what its client had seen, as the client said it;
//! - the answer of every read is the model's at the index that it names.
//!
//! The model can only go forward, so it stays behind: short of every index that a read under way
//! may still name, and, where there are fast reads, some way behind the newest entry, since a
//! replica that lags answers from the past. An answer from further back than that is judged by its
//! index alone, and counted.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::id::{Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Op, Outcome, Query, RequestId};
use mfsha_core::node::request::{Consistency, RequestBody, ResponseBody};
use mfsha_core::time::WallTime;
use mfsha_model::Model;

use crate::event::{AppliedPayload, CallNumber, Event};
use crate::options::Options;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::reference::Reference;
use super::{Checker, ClusterView, Violation, broken};

/// How far the model stays behind where lagging replicas answer reads, entries.
const BEHIND: u64 = 512;

/// A call under way.
#[derive(Clone, Debug)]
enum Call {
    /// A write; it takes effect above `floor`.
    Write {
        request: Option<RequestId>,
        op: Op,
        floor: LogIndex,
    },
    /// A read at `floor` or above.
    Read {
        query: Query,
        strict: bool,
        floor: LogIndex,
    },
    /// A change of membership to these voters; it is made above `floor`, or was so before.
    Membership {
        voters: BTreeSet<NodeId>,
        floor: LogIndex,
    },
}

/// An answer that waits for the model.
#[derive(Clone, Debug)]
struct Waiting {
    call: CallNumber,
    query: Query,
    result: Result<Answer, FsError>,
}

/// Watches acknowledgements.
#[derive(Debug)]
pub struct LinearChecker<R = Model> {
    history: SharedHistory,
    reference: R,
    /// Where the reference stands.
    position: LogIndex,
    /// How far it stays behind.
    behind: u64,
    calls: BTreeMap<CallNumber, Call>,
    /// How many reads under way may name each index or any above it.
    floors: BTreeMap<LogIndex, u32>,
    /// Answers above `position`.
    waiting: BTreeMap<LogIndex, Vec<Waiting>>,
    /// The newest request of each lane, and its floor when it was first asked for: a call that
    /// asks for the same again may name what took effect before this call.
    asked: BTreeMap<(SessionId, Lane), (RequestSeq, LogIndex)>,
    /// Answers that were judged by their index alone.
    unjudged: u64,
}

impl LinearChecker<Model> {
    /// For a run of these options, by this history and the model of the namespace.
    #[must_use]
    pub fn new(options: &Options, history: SharedHistory) -> Self {
        let behind = if options.workload.read_fast > 0 {
            BEHIND
        } else {
            0
        };
        Self::with(Model::new(), behind, history)
    }
}

impl<R: Reference> LinearChecker<R> {
    /// Judges by this reference, which stays so many entries behind.
    #[must_use]
    pub fn with(reference: R, behind: u64, history: SharedHistory) -> Self {
        Self {
            history,
            reference,
            position: LogIndex(0),
            behind,
            calls: BTreeMap::new(),
            floors: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            unjudged: 0,
        }
    }

    /// Answers of reads that were judged by their index alone.
    #[must_use]
    pub fn unjudged(&self) -> u64 {
        self.unjudged
    }

    fn on_invoked(&mut self, call: CallNumber, body: &RequestBody) {
        let newest = self.history.borrow().last();
        let call_of = match body {
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            } => {
                let request =
                    (*session != SessionId(0)).then(|| RequestId::new(*session, *lane, *seq));
                let floor = request.map_or(newest, |request| self.first_floor(request, newest));
                Call::Write {
                    request,
                    op: op.clone(),
                    floor,
                }
            }
            RequestBody::Read { consistency, query } => {
                let (strict, floor) = match consistency {
                    Consistency::Strict | Consistency::StrictByLease => (true, newest),
                    Consistency::Fast { not_before } => (false, *not_before),
                };
                *self.floors.entry(floor).or_insert(0) += 1;
                Call::Read {
                    query: query.clone(),
                    strict,
                    floor,
                }
            }
            RequestBody::ChangeMembership { voters, .. } => Call::Membership {
                voters: voters.clone(),
                floor: newest,
            },
            RequestBody::TransferLeadership { .. }
            | RequestBody::TakeSnapshot
            | RequestBody::KeepSession { .. }
            | RequestBody::Status => return,
        };
        self.calls.insert(call, call_of);
    }

    /// The floor of a request: that of the first call that asked for it.
    fn first_floor(&mut self, request: RequestId, newest: LogIndex) -> LogIndex {
        let lane = (request.session, request.lane);
        match self.asked.get(&lane) {
            Some((seq, floor)) if *seq == request.seq => *floor,
            _ => {
                self.asked.insert(lane, (request.seq, newest));
                newest
            }
        }
    }

    /// The call is over, however it ended.
    fn take_call(&mut self, number: CallNumber) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        if let Call::Read { floor, .. } = &call {
            let count = self.floors.get_mut(floor).expect("counted when it began");
            *count -= 1;
            if *count == 0 {
                self.floors.remove(floor);
            }
        }
        Some(call)
    }

    fn on_returned(&mut self, number: CallNumber, body: &ResponseBody) -> Result<(), String> {
        let named = |what: String| format!("call {}: {what}", number.0);
        match (self.take_call(number), body) {
            (
                Some(Call::Write { request, op, floor }),
                ResponseBody::Written { index, outcome },
            ) => self
                .judge_write(request, &op, floor, *index, outcome)
                .map_err(named),
            (
                Some(Call::Read {
                    query,
                    strict,
                    floor,
                }),
                ResponseBody::Read { index, result },
            ) => {
                self.judge_place(strict, floor, *index).map_err(named)?;
                self.judge_answer(
                    *index,
                    Waiting {
                        call: number,
                        query,
                        result: result.clone(),
                    },
                )
            }
            (
                Some(Call::Membership { voters, floor }),
                ResponseBody::MembershipChanged { index },
            ) => self.judge_membership(&voters, floor, *index).map_err(named),
            (None, _) => Ok(()),
            (Some(call), body) => Err(named(format!("{call:?} was answered with {body:?}"))),
        }
    }

    fn judge_write(
        &self,
        request: Option<RequestId>,
        op: &Op,
        floor: LogIndex,
        index: LogIndex,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let history = self.history.borrow();
        let Some((command, came_to)) = history.get(index).and_then(|entry| entry.command()) else {
            return Err(format!(
                "{op:?} was acknowledged at {index}, which is no command"
            ));
        };
        if command.request != request || command.op != *op {
            return Err(format!(
                "{request:?} {op:?} was acknowledged at {index}, which is {:?} {:?}",
                command.request, command.op
            ));
        }
        if came_to != outcome {
            return Err(format!(
                "{op:?} was acknowledged at {index} with {outcome:?}; it came to {came_to:?}"
            ));
        }
        let effect = request
            .and_then(|request| history.executed(&request))
            .unwrap_or(index);
        if effect <= floor {
            return Err(format!(
                "{op:?} took effect at {effect}, but {floor} was applied before it was invoked"
            ));
        }
        Ok(())
    }

    /// What was so before is acknowledged at the entry that made it so.
    fn judge_membership(
        &self,
        voters: &BTreeSet<NodeId>,
        floor: LogIndex,
        index: LogIndex,
    ) -> Result<(), String> {
        let history = self.history.borrow();
        let Some(AppliedPayload::Membership(made)) = history.get(index).map(|entry| &entry.payload)
        else {
            return Err(format!(
                "a membership was acknowledged at {index}, which is none"
            ));
        };
        if made.voters != [voters.clone()] {
            return Err(format!(
                "{voters:?} was acknowledged at {index}, which is {:?}",
                made.voters
            ));
        }
        if index <= floor && history.membership_at(floor) != Some(made) {
            return Err(format!(
                "{voters:?} was acknowledged at {index}; it was over at {floor}"
            ));
        }
        Ok(())
    }

    fn judge_place(&self, strict: bool, floor: LogIndex, index: LogIndex) -> Result<(), String> {
        let newest = self.history.borrow().last();
        if index > newest {
            return Err(format!(
                "it read at {index}; nothing above {newest} is committed"
            ));
        }
        if index >= floor {
            return Ok(());
        }
        Err(if strict {
            format!("a strict read read at {index}; {floor} was applied before it was invoked")
        } else {
            format!("a fast read read at {index}; its client had seen {floor}")
        })
    }

    fn judge_answer(&mut self, index: LogIndex, answer: Waiting) -> Result<(), String> {
        if index > self.position {
            self.waiting.entry(index).or_default().push(answer);
        } else if index == self.position {
            self.judge_now(&answer)?;
        } else {
            self.unjudged += 1;
        }
        Ok(())
    }

    /// Compares an answer at the reference's position.
    fn judge_now(&mut self, answer: &Waiting) -> Result<(), String> {
        // Only locks of chunks look at the asked node's clock: they are either held or over.
        let right = self.reference.query(WallTime(0), &answer.query);
        let looks_at_clock = matches!(
            answer.query,
            Query::ReadChunk { .. } | Query::ListChunks { .. }
        );
        let later = || self.reference.query(WallTime(u32::MAX), &answer.query);
        if right == answer.result || looks_at_clock && later() == answer.result {
            return Ok(());
        }
        Err(format!(
            "call {} was answered at {} with {:?}, it has to be {right:?}: {:?}",
            answer.call.0, self.position, answer.result, answer.query
        ))
    }

    /// Moves the reference as far as no read may look back.
    fn advance(&mut self, behind: u64) -> Result<(), String> {
        let newest = self.history.borrow().last();
        let mut target = LogIndex(newest.0.saturating_sub(behind));
        if let Some((floor, _)) = self.floors.first_key_value() {
            target = target.min(*floor);
        }
        while self.position < target {
            self.position = self.position.next();
            self.apply_entry()?;
            for answer in self.waiting.remove(&self.position).unwrap_or_default() {
                self.judge_now(&answer)?;
            }
        }
        Ok(())
    }

    fn apply_entry(&mut self) -> Result<(), String> {
        let history = self.history.borrow();
        let entry = history.get(self.position).expect("below the newest");
        match entry.command() {
            Some((command, outcome)) => self
                .reference
                .apply(command, outcome)
                .map_err(|wrong| format!("{:?}: {wrong}", entry.id)),
            None => Ok(()),
        }
    }
}

impl<R: Reference> Checker for LinearChecker<R> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn promise(&self) -> &'static str {
        "P-LINEAR"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        let judged = match event {
            Event::Invoked { call, body, .. } => {
                self.on_invoked(*call, body);
                Ok(())
            }
            Event::GaveUp { call, .. }
            | Event::Returned {
                call,
                result: Err(_),
                ..
            } => {
                self.take_call(*call);
                self.advance(self.behind)
            }
            Event::Returned {
                call,
                result: Ok(body),
                ..
            } => self
                .on_returned(*call, body)
                .and_then(|()| self.advance(self.behind)),
            Event::Applied { .. } => self.advance(self.behind),
            _ => Ok(()),
        };
        judged.map_err(|sentence| broken(self, sentence))
    }

    fn at_end(&mut self, _cluster: &ClusterView) -> Result<(), Violation> {
        // Whoever still waits is not answered any more.
        self.floors.clear();
        self.calls.clear();
        self.advance(0).map_err(|sentence| broken(self, sentence))
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::InodeId;
    use mfsha_core::namespace::Namespace;
    use mfsha_core::namespace::op::{Command, Reply, SnapshotFlags};
    use mfsha_core::store::MemStore;

    use super::super::testing::{
        applied, blank, body, cluster, command, done, invoked, members, membership, refused,
        returned, show, write, written,
    };
    use super::*;
    use crate::event::Phase;

    /// Counts commands; every query asks for the count.
    #[derive(Debug, Default)]
    struct Counter {
        count: u64,
    }

    impl Reference for Counter {
        fn apply(&mut self, command: &Command, observed: &Outcome) -> Result<(), String> {
            self.count += 1;
            match (&command.op, &observed.result) {
                (Op::TouchAtime { .. }, Ok(Reply::Done)) => Ok(()),
                (op, result) => Err(format!("{op:?} came to {result:?}")),
            }
        }

        fn query(&self, _now: WallTime, _query: &Query) -> Result<Answer, FsError> {
            Ok(Answer::Inodes(vec![InodeId(self.count as u32)]))
        }
    }

    struct Bench {
        checker: LinearChecker<Counter>,
        history: SharedHistory,
    }

    impl Bench {
        fn new(behind: u64) -> Self {
            let history = SharedHistory::default();
            Self {
                checker: LinearChecker::with(Counter::default(), behind, history.clone()),
                history,
            }
        }

        fn show(&mut self, events: &[Event]) -> Result<(), Violation> {
            show(&mut self.checker, &self.history, events)
        }

        fn end(&mut self) -> Result<(), Violation> {
            self.checker.at_end(&cluster(Phase::Quiescent, Vec::new()))
        }

        /// A bench with so many entries applied.
        fn at(entries: u64, behind: u64) -> Self {
            let mut bench = Self::new(behind);
            for index in 1..=entries {
                let entry = command(1, index, &write(9, 9, index), done(index));
                bench.show(&[applied(0, entry)]).unwrap();
            }
            bench
        }
    }

    fn asks(call: u64, consistency: Consistency) -> Event {
        let query = Query::ListClasses;
        invoked(call, 0, RequestBody::Read { consistency, query })
    }

    fn fast(call: u64, not_before: u64) -> Event {
        let not_before = LogIndex(not_before);
        asks(call, Consistency::Fast { not_before })
    }

    fn reads(call: u64, index: u64, count: u32) -> Event {
        let body = ResponseBody::Read {
            index: LogIndex(index),
            result: Ok(Answer::Inodes(vec![InodeId(count)])),
        };
        returned(call, 0, Ok(body))
    }

    #[test]
    fn writes_and_reads_in_order_are_lawful() {
        for behind in [0, 100] {
            let mut bench = Bench::at(3, behind);
            let first = write(1, 1, 1);
            bench
                .show(&[
                    asks(1, Consistency::Strict),
                    invoked(2, 0, body(&first)),
                    applied(0, command(1, 4, &first, done(4))),
                    fast(3, 2),
                    reads(1, 3, 3),
                    written(2, 0, 4, done(4)),
                    reads(3, 4, 4),
                    asks(4, Consistency::StrictByLease),
                    reads(4, 4, 4),
                ])
                .unwrap();
            bench.end().unwrap();
            assert_eq!(bench.checker.unjudged(), 0);
        }
    }

    #[test]
    fn a_strict_read_of_the_past_is_caught() {
        for consistency in [Consistency::Strict, Consistency::StrictByLease] {
            let mut bench = Bench::at(3, 100);
            assert!(bench.show(&[asks(1, consistency), reads(1, 2, 2)]).is_err());
        }
    }

    #[test]
    fn a_fast_read_that_goes_back_is_caught_and_one_of_the_past_is_judged() {
        let mut bench = Bench::at(3, 100);
        bench.show(&[fast(1, 1), reads(1, 2, 2)]).unwrap();
        assert!(bench.show(&[fast(2, 2), reads(2, 1, 1)]).is_err());
        let mut bench = Bench::at(3, 100);
        bench.show(&[fast(1, 1), reads(1, 2, 3)]).unwrap();
        assert!(bench.end().is_err());
    }

    #[test]
    fn a_wrong_answer_is_caught_whether_the_model_is_there_or_not() {
        let strict = asks(1, Consistency::Strict);
        let mut bench = Bench::at(3, 0);
        assert!(bench.show(&[strict.clone(), reads(1, 3, 7)]).is_err());
        let mut bench = Bench::at(3, 100);
        bench.show(&[strict.clone(), reads(1, 3, 7)]).unwrap();
        assert!(bench.end().is_err());
        assert!(Bench::at(3, 0).show(&[strict, reads(1, 4, 4)]).is_err());
    }

    #[test]
    fn an_answer_from_before_the_model_is_counted() {
        let mut bench = Bench::at(3, 0);
        bench.show(&[fast(1, 1), reads(1, 2, 9)]).unwrap();
        assert_eq!(bench.checker.unjudged(), 1);
    }

    #[test]
    fn a_write_before_what_was_applied_when_it_was_invoked_is_caught() {
        let first = write(1, 1, 1);
        let mut bench = Bench::at(1, 0);
        let entry = command(1, 2, &first, done(2));
        let late = [
            applied(0, entry),
            applied(0, blank(1, 3)),
            invoked(1, 0, body(&first)),
            written(1, 0, 2, done(2)),
        ];
        assert!(bench.show(&late).is_err());
    }

    #[test]
    fn an_acknowledgement_of_another_entry_or_outcome_is_caught() {
        let (first, second) = (write(1, 1, 1), write(1, 1, 2));
        let log = |bench: &mut Bench| {
            let events = [
                invoked(1, 0, body(&first)),
                applied(0, command(1, 2, &first, done(2))),
                applied(0, command(1, 3, &second, done(3))),
                applied(0, blank(1, 4)),
            ];
            bench.show(&events).unwrap();
        };
        for wrong in [
            written(1, 0, 3, done(3)),
            written(1, 0, 2, refused(2)),
            written(1, 0, 4, done(2)),
            written(1, 0, 9, done(2)),
            reads(1, 2, 2),
        ] {
            let mut bench = Bench::at(1, 0);
            log(&mut bench);
            assert!(bench.show(&[wrong]).is_err());
        }
        let mut bench = Bench::at(1, 0);
        log(&mut bench);
        bench.show(&[written(1, 0, 2, done(2))]).unwrap();
    }

    #[test]
    fn an_outcome_that_the_model_does_not_foretell_is_caught() {
        let mut bench = Bench::new(0);
        let wrong = applied(0, command(1, 1, &write(1, 1, 1), refused(0)));
        assert!(bench.show(&[wrong]).is_err());
    }

    #[test]
    fn a_membership_has_its_place_too() {
        let change = |call, voters: &[u64]| {
            let body = RequestBody::ChangeMembership {
                voters: members(voters).voters[0].clone(),
                learners: members(&[]).learners,
            };
            invoked(call, 0, body)
        };
        let changed = |call, index| {
            let index = LogIndex(index);
            returned(call, 0, Ok(ResponseBody::MembershipChanged { index }))
        };
        let mut bench = Bench::at(1, 0);
        let entry = applied(0, membership(1, 2, &[1, 2]));
        bench
            .show(&[change(1, &[1, 2]), entry, changed(1, 2)])
            .unwrap();
        // It is so already.
        bench.show(&[change(2, &[1, 2]), changed(2, 2)]).unwrap();
        assert!(bench.show(&[change(3, &[1, 2]), changed(3, 1)]).is_err());
        assert!(bench.show(&[change(4, &[1, 3]), changed(4, 2)]).is_err());
        let over = applied(0, membership(1, 3, &[1, 3]));
        bench.show(&[over, change(5, &[1, 2])]).unwrap();
        assert!(bench.show(&[changed(5, 2)]).is_err());
    }

    /// Commands, in order, as the real tree carries them out.
    fn carried_out(ops: Vec<Op>) -> (Namespace<MemStore>, Vec<(Command, Outcome)>) {
        let mut tree = Namespace::open(MemStore::new()).unwrap();
        let mut done = Vec::new();
        for (index, op) in (1..).zip(ops) {
            let command = Command {
                op,
                request: None,
                now: WallTime(1_000),
                ..write(1, 1, index)
            };
            let outcome = tree.apply(LogIndex(index), &command).unwrap();
            assert!(outcome.result.is_ok(), "{outcome:?}");
            done.push((command, outcome));
        }
        (tree, done)
    }

    /// Makes a directory and copies it: a node whose id no reply tells; then works in the copy.
    fn with_a_snapshot() -> (Namespace<MemStore>, Vec<(Command, Outcome)>) {
        let caller = super::super::testing::cluster_itself;
        let mkdir = super::super::testing::mkdir;
        let first = vec![
            mkdir("a"),
            Op::Snapshot {
                caller: caller(),
                src: made("a"),
                dst_parent: InodeId::ROOT,
                name: b"b".to_vec(),
                flags: SnapshotFlags::default(),
                umask: 0,
            },
        ];
        let (tree, _) = carried_out(first.clone());
        let copy = found(&tree, "b");
        let touch = Op::Mkdir {
            caller: caller(),
            parent: copy,
            name: b"c".to_vec(),
            mode: 0o755,
            umask: 0,
            copy_setgid: false,
        };
        carried_out([first, vec![touch]].concat())
    }

    /// The id that the first directory of this name gets in the root.
    fn made(name: &str) -> InodeId {
        let (tree, _) = carried_out(vec![super::super::testing::mkdir(name)]);
        found(&tree, name)
    }

    fn look(name: &str) -> Query {
        Query::Lookup {
            caller: super::super::testing::cluster_itself(),
            parent: InodeId::ROOT,
            name: name.into(),
        }
    }

    fn found(tree: &Namespace<MemStore>, name: &str) -> InodeId {
        match tree.query(WallTime(0), &look(name)).unwrap() {
            Ok(Answer::Looked { inode, .. }) => inode,
            other => panic!("{other:?}"),
        }
    }

    fn judged(entries: &[(Command, Outcome)], answer: Answer) -> Result<u64, Violation> {
        let history = SharedHistory::default();
        let mut checker = LinearChecker::with(Model::new(), 0, history.clone());
        let mut events: Vec<Event> = (1..)
            .zip(entries)
            .map(|(index, (entry, outcome))| applied(0, command(1, index, entry, outcome.clone())))
            .collect();
        let read = RequestBody::Read {
            consistency: Consistency::Strict,
            query: look("b"),
        };
        events.push(invoked(1, 0, read));
        let body = ResponseBody::Read {
            index: LogIndex(entries.len() as u64),
            result: Ok(answer),
        };
        events.push(returned(1, 0, Ok(body)));
        show(&mut checker, &history, &events)?;
        checker.at_end(&cluster(Phase::Quiescent, Vec::new()))?;
        Ok(checker.unjudged())
    }

    #[test]
    fn what_comes_after_a_snapshot_is_judged_by_the_model() {
        let (tree, entries) = with_a_snapshot();
        let right = tree.query(WallTime(0), &look("b")).unwrap().unwrap();
        assert_eq!(judged(&entries, right.clone()).unwrap(), 0);

        // The reply to a command in the copy: another number, another time.
        let Ok(Reply::Node { inode, attr }) = entries[2].1.result.clone() else {
            panic!("{entries:?}");
        };
        let (mut later, other) = (attr.clone(), InodeId(inode.0 + (1 << 14)));
        later.mtime.0 += 1;
        for (inode, attr) in [(other, attr.clone()), (inode, later)] {
            let mut wrong = entries.clone();
            wrong[2].1.result = Ok(Reply::Node { inode, attr });
            let found = judged(&wrong, right.clone()).unwrap_err();
            assert_eq!(found.promise, "P-LINEAR");
        }
        // A question about the copy, answered with another node of a legal slot.
        let Answer::Looked {
            inode,
            attr,
            access,
        } = right
        else {
            panic!("{right:?}");
        };
        let inode = InodeId(inode.0 + (1 << 14));
        let wrong = Answer::Looked {
            inode,
            attr,
            access,
        };
        assert!(judged(&entries, wrong).is_err());
    }

    #[test]
    fn the_models_own_check_is_the_namespaces() {
        let history = SharedHistory::default();
        let mut checker = LinearChecker::with(Model::new(), 0, history.clone());
        let mut mkdir = write(1, 1, 1);
        mkdir.request = None;
        mkdir.op = super::super::testing::mkdir("a");
        let wrong = applied(0, command(1, 1, &mkdir, done(1)));
        let found = show(&mut checker, &history, &[wrong]).unwrap_err();
        assert_eq!(found.promise, "P-LINEAR");
    }
}
