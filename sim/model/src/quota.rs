//! Quotas (section 8.5): limits on the sum of a directory's subtree.
//!
//! Usage is walked each time it is needed. The one thing kept is since when a soft limit is
//! passed.

use std::collections::BTreeMap;

use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{DirStats, QuotaLimits, QuotaState};
use mfsha_core::time::WallTime;

use crate::state::{Model, Quota};

/// What each directory would hold more.
#[derive(Default)]
pub(crate) struct Growth(BTreeMap<InodeId, DirStats>);

impl Model {
    /// Refuses when the growth takes anything over a limit on the directory or above it. Only
    /// what grows is compared: what is too big already may stay.
    pub(crate) fn check_quota(&self, now: WallTime, growth: &Growth) -> Result<(), FsError> {
        for (dir, more) in &growth.0 {
            let Some(quota) = &self.node(*dir).quota else {
                continue;
            };
            let used = self.below(*dir);
            if over(&quota.hard, used, *more) {
                return Err(FsError::Quota);
            }
            let expired = quota.over_soft_since.is_some_and(|t| {
                u64::from(t.0) + u64::from(quota.grace_seconds) < u64::from(now.0)
            });
            if expired && over(&quota.soft, used, *more) {
                return Err(FsError::Quota);
            }
        }
        Ok(())
    }

    /// What a directory's limits are compared with: the sum of its entries, and not itself.
    fn below(&self, dir: InodeId) -> DirStats {
        let sum = self.stats(dir);
        DirStats {
            inodes: sum.inodes - 1,
            dirs: sum.dirs - 1,
            ..sum
        }
    }

    /// Something more in a directory, and so in every directory above it.
    pub(crate) fn grow_below(&self, dir: InodeId, more: DirStats) -> Growth {
        let mut growth = Growth::default();
        for above in self.self_and_above(dir) {
            growth.0.insert(above, more);
        }
        growth
    }

    /// Something more in one directory, counted already for those above it.
    pub(crate) fn grow_alone(&self, dir: InodeId, more: DirStats) -> Growth {
        Growth(BTreeMap::from([(dir, more)]))
    }

    /// As [`Self::grow_below`], less the directories that hold `from` too: for a move.
    pub(crate) fn grow_by_move(&self, from: InodeId, to: InodeId, more: DirStats) -> Growth {
        let mut growth = self.grow_below(to, more);
        for common in self.self_and_above(from) {
            growth.0.remove(&common);
        }
        growth
    }

    /// A file grows, in each directory above one of its names. Each name is judged for itself, as
    /// MooseFS does, even if two of them are below the same directory.
    pub(crate) fn grow_file(&self, file: InodeId, more: DirStats) -> Growth {
        let mut growth = Growth::default();
        for (dir, _) in self.links(file) {
            growth.0.extend(self.grow_below(dir, more).0);
        }
        growth
    }

    /// After a command: soft limits that are passed now, and those that are no longer.
    pub(crate) fn update_soft_limits(&mut self, now: WallTime) {
        let inodes: Vec<InodeId> = self.nodes.keys().copied().collect();
        for inode in inodes {
            let Some(quota) = self.node(inode).quota else {
                continue;
            };
            let passed = exceeds(&quota.soft, self.below(inode));
            let since = &mut self
                .node_mut(inode)
                .quota
                .as_mut()
                .expect("seen above")
                .over_soft_since;
            if !passed {
                *since = None;
            } else if since.is_none() {
                *since = Some(now);
            }
        }
    }

    /// A directory's quota as it is told; without one the limits are empty.
    pub(crate) fn quota_state(&self, inode: InodeId, shown_as: InodeId) -> QuotaState {
        let quota = self.node(inode).quota.unwrap_or(Quota {
            soft: QuotaLimits::default(),
            hard: QuotaLimits::default(),
            grace_seconds: 0,
            over_soft_since: None,
        });
        QuotaState {
            inode: shown_as,
            soft: quota.soft,
            hard: quota.hard,
            grace_seconds: quota.grace_seconds,
            over_soft_since: quota.over_soft_since,
            used: self.below(inode),
        }
    }
}

/// Whether something that grows would pass its limit.
fn over(limits: &QuotaLimits, used: DirStats, more: DirStats) -> bool {
    pairs(limits, used)
        .into_iter()
        .zip(pairs(limits, more))
        .any(|((limit, used), (_, more))| more > 0 && limit.is_some_and(|l| used + more > l))
}

/// Whether something is past its limit already.
fn exceeds(limits: &QuotaLimits, used: DirStats) -> bool {
    pairs(limits, used)
        .into_iter()
        .any(|(limit, used)| limit.is_some_and(|l| used > l))
}

fn pairs(limits: &QuotaLimits, stats: DirStats) -> [(Option<i128>, i128); 4] {
    [
        (limits.inodes.map(i128::from), stats.inodes),
        (limits.length.map(i128::from), stats.length),
        (limits.size.map(i128::from), stats.size),
        (limits.real_size.map(i128::from), stats.real_size),
    ]
}
