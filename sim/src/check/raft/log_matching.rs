//! RAFT, log matching: two entries of the same index and term say the same, and so does
//! everything before them.
//!
//! Judged over all logs ever seen, not only those of one moment. Within one log indexes have no
//! gap and terms do not fall.

use mfsha_core::id::{NodeId, Term};
use mfsha_core::wal::record::LogId;

use crate::check::{Checker, ClusterView, LogImage, Violation, broken};
use crate::place::Seat;

/// One entry as it was first seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    term: Term,
    leader: NodeId,
    hash: u64,
    /// The entry before it; `None` while nobody has shown that.
    before: Option<LogId>,
    seat: Seat,
}

/// Watches that logs agree.
#[derive(Debug, Default)]
pub struct LogMatching {
    /// What was seen at each index; one per term, mostly one.
    seen: Vec<Vec<Seen>>,
}

impl LogMatching {
    fn judge_log(&mut self, seat: Seat, log: &LogImage) -> Result<(), String> {
        let mut before: Option<LogId> = None;
        for (id, hash) in log {
            if let Some(before) = before
                && (id.index != before.index.next() || id.term < before.term)
            {
                return Err(format!(
                    "the log of {seat} holds {id:?} right after {before:?}"
                ));
            }
            self.judge_entry(seat, *id, *hash, before)?;
            before = Some(*id);
        }
        Ok(())
    }

    fn judge_entry(
        &mut self,
        seat: Seat,
        id: LogId,
        hash: u64,
        before: Option<LogId>,
    ) -> Result<(), String> {
        let at = usize::try_from(id.index.0).expect("a simulated log fits into memory");
        if self.seen.len() <= at {
            self.seen.resize(at + 1, Vec::new());
        }
        let found = self.seen[at].iter_mut().find(|seen| seen.term == id.term);
        let Some(seen) = found else {
            self.seen[at].push(Seen {
                term: id.term,
                leader: id.leader,
                hash,
                before,
                seat,
            });
            return Ok(());
        };
        let other = seen.seat;
        if seen.leader != id.leader {
            let leader = seen.leader;
            return Err(format!(
                "{id:?} in the log of {seat} was made by {leader} in that of {other}"
            ));
        }
        if seen.hash != hash {
            return Err(format!(
                "{id:?} says one thing on {other}, another on {seat}"
            ));
        }
        match (seen.before, before) {
            (Some(first), Some(second)) if first != second => Err(format!(
                "before {id:?} comes {first:?} on {other}, {second:?} on {seat}"
            )),
            (None, Some(_)) => {
                seen.before = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn promise(&self) -> &'static str {
        "RAFT"
    }

    fn on_cluster(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        for (seat, log) in &cluster.logs {
            if let Err(sentence) = self.judge_log(*seat, log) {
                return Err(broken(self, sentence));
            }
        }
        Ok(())
    }

    fn at_end(&mut self, cluster: &ClusterView) -> Result<(), Violation> {
        self.on_cluster(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{cluster, log_id};
    use super::*;
    use crate::event::Phase;

    fn judge(checker: &mut LogMatching, logs: &[&[(u64, u64, u64)]]) -> Result<(), Violation> {
        let mut view = cluster(Phase::Safety, Vec::new());
        for (seat, log) in logs.iter().enumerate() {
            let image = log
                .iter()
                .map(|(term, index, hash)| (log_id(*term, *index), *hash))
                .collect();
            view.logs.insert(Seat(seat as u8), image);
        }
        checker.on_cluster(&view)
    }

    #[test]
    fn logs_may_differ_in_other_terms_and_be_cut_at_both_ends() {
        let mut checker = LogMatching::default();
        let logs: [&[_]; 3] = [
            &[(1, 1, 10), (1, 2, 11), (2, 3, 12)],
            &[(1, 1, 10), (1, 2, 11), (1, 3, 13)],
            &[(1, 2, 11)],
        ];
        judge(&mut checker, &logs).unwrap();
        judge(&mut checker, &[&[(1, 2, 11), (2, 3, 12), (3, 4, 9)]]).unwrap();
    }

    #[test]
    fn another_content_another_past_and_a_gap_are_caught() {
        let mut checker = LogMatching::default();
        judge(&mut checker, &[&[(1, 1, 10), (2, 2, 11)]]).unwrap();
        assert!(judge(&mut checker, &[&[(1, 1, 99)]]).is_err());
        let mut past = LogMatching::default();
        judge(&mut past, &[&[(1, 1, 10), (3, 2, 11)]]).unwrap();
        assert!(judge(&mut past, &[&[(2, 1, 10), (3, 2, 11)]]).is_err());
        let gap: &[_] = &[(1, 1, 10), (1, 3, 11)];
        assert!(judge(&mut LogMatching::default(), &[gap]).is_err());
        let falling: &[_] = &[(2, 1, 10), (1, 2, 11)];
        assert!(judge(&mut LogMatching::default(), &[falling]).is_err());
    }

    #[test]
    fn two_leaders_of_one_term_show_in_their_entries() {
        let mut checker = LogMatching::default();
        judge(&mut checker, &[&[(1, 1, 10)]]).unwrap();
        let mut view = cluster(Phase::Safety, Vec::new());
        let mut id = log_id(1, 1);
        id.leader = NodeId(77);
        view.logs.insert(Seat(2), vec![(id, 10)]);
        assert!(checker.on_cluster(&view).is_err());
    }
}
