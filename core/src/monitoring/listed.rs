//! Sessions, exports, quotas and classes, as the wire has them.

use std::collections::BTreeMap;

use super::cluster::{at_goal, short};
use super::task::Scene;
use crate::chunks::{Census, placement};
use crate::exports::{ExportPath, Record};
use crate::id::{InodeId, SessionId};
use crate::limits as bounds;
use crate::moosefs::fields::{Blob, Name};
use crate::moosefs::monitor::classes::{ClassListed, Classes, Wanted, WantedCopies};
use crate::moosefs::monitor::sessions::{
    AcquiredLock, AcquiredLocks, Amounts, ExportListed, ExportsListed, OpenFilesListed,
    QuotaListed, ResolvedPaths, Rights, SessionListed, SessionsListed,
};
use crate::moosefs::version::Version;
use crate::namespace::numbers::{class_mode_number, flags_byte};
use crate::namespace::op::{DirStats, HeldLock, LabelExpr, QuotaLimits, QuotaState, StorageClass};
use crate::native::admin::ChunkserverStatus;
use crate::native::inspect::SessionSeen;

/// Stands for the trash where a path is told.
const META_PATH: &[u8] = b".";
/// Never, where seconds are told.
const NEVER: u32 = u32::MAX;

pub(super) fn sessions(
    scene: &mut Scene<'_>,
    seen: Vec<SessionSeen>,
    roots: &BTreeMap<InodeId, Vec<u8>>,
    mode: u8,
) -> SessionsListed {
    let now = scene.now();
    let sessions = seen.into_iter().map(|it| {
        let params = it.params;
        let here = scene.connected.get(&it.session).copied();
        let expires = it.disconnected.map_or(NEVER, |since| {
            let end = since.0.saturating_add(scene.sustain_seconds);
            end.saturating_sub(now.0)
        });
        // Of one that is connected to another node, not even how often is known here.
        let elsewhere = (Version(0), u8::from(it.disconnected.is_none()));
        let (version, connections) = here.unwrap_or(elsewhere);
        let [this_hour, last_hour] = scene.counted.of(it.session, now);
        let path = match params.root {
            InodeId(0) => META_PATH.to_vec(),
            root => roots.get(&root).cloned().unwrap_or_default(),
        };
        SessionListed {
            session: it.session,
            ip: params.peer_ip,
            version: version.0,
            standing: (mode >= 2).then_some((it.open_files, connections, expires)),
            info: Blob(params.info),
            path: Blob(path),
            rights: Rights {
                flags: flags_byte(params.flags),
                umask: params.umask,
                root: [params.root_uid, params.root_gid],
                map_all: [params.map_all_uid, params.map_all_gid],
                goals: [params.goal_min, params.goal_max],
                trash: [params.trash_seconds_min, params.trash_seconds_max],
                disables: params.disables,
            },
            this_hour,
            last_hour,
        }
    });
    let sessions = sessions.collect();
    SessionsListed { mode, sessions }
}

pub(super) fn exports(records: &[Record], mode: u8) -> ExportsListed {
    let exports = records.iter().map(|record| ExportListed {
        from: record.from.into(),
        to: record.to.into(),
        path: Blob(match &record.path {
            ExportPath::Tree(path) => [b"/", path.as_slice()].concat(),
            ExportPath::Meta => META_PATH.to_vec(),
        }),
        version: record.min_version,
        extra: u8::from(record.all_dirs) | u8::from(record.password.is_some()) << 1,
        rights: Rights {
            flags: flags_byte(record.flags),
            umask: record.umask,
            root: [record.root_uid, record.root_gid],
            map_all: [record.map_all_uid, record.map_all_gid],
            goals: [record.goal_min, record.goal_max],
            trash: [record.trash_seconds_min, record.trash_seconds_max],
            disables: record.disables,
        },
    });
    let exports = exports.collect();
    ExportsListed { mode, exports }
}

pub(super) fn open_files(session: SessionId, found: Vec<(SessionId, InodeId)>) -> OpenFilesListed {
    match session {
        SessionId(0) => OpenFilesListed::All(found),
        _ => OpenFilesListed::Of(found.into_iter().map(|(_, inode)| inode).collect()),
    }
}

pub(super) fn locks(inode: InodeId, held: Vec<HeldLock>) -> AcquiredLocks {
    let lock = |held: HeldLock| AcquiredLock {
        session: held.session,
        owner: held.owner,
        pid: held.pid,
        start: held.start,
        end: held.end,
        kind: 1 + u8::from(held.exclusive),
    };
    match inode {
        InodeId(0) => AcquiredLocks::All(
            held.into_iter()
                .map(|held| (held.inode, lock(held)))
                .collect(),
        ),
        _ => AcquiredLocks::Of(held.into_iter().map(lock).collect()),
    }
}

fn limits(limits: &QuotaLimits) -> Amounts {
    Amounts {
        inodes: limits.inodes.unwrap_or(0),
        length: limits.length.unwrap_or(0),
        size: limits.size.unwrap_or(0),
        real_size: limits.real_size.unwrap_or(0),
    }
}

fn used(sums: &DirStats) -> Amounts {
    let bytes = |sum: i128| u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
    Amounts {
        inodes: short(bytes(sums.inodes)),
        length: bytes(sums.length),
        size: bytes(sums.size),
        real_size: bytes(sums.real_size),
    }
}

pub(super) fn quotas(found: Vec<(QuotaState, Vec<u8>)>, now: u32) -> Vec<QuotaListed> {
    let told = found.into_iter().map(|(state, path)| QuotaListed {
        inode: state.inode,
        path: Blob(match path.first() {
            Some(b'/') => path,
            _ => [b"/", path.as_slice()].concat(),
        }),
        grace: match state.grace_seconds {
            // What a quota has that was given none.
            bounds::QUOTA_GRACE_SECONDS => 0,
            other => other,
        },
        exceeded: state.over_soft_since.is_some().into(),
        flags: crate::gateway::convert::quota_bits(&state),
        time_to_block: state.over_soft_since.map_or(NEVER, |since| {
            since
                .0
                .saturating_add(state.grace_seconds)
                .saturating_sub(now)
        }),
        soft: limits(&state.soft),
        hard: limits(&state.hard),
        used: used(&state.used),
    });
    told.collect()
}

pub(super) fn paths(inodes: &[InodeId], found: Vec<Vec<Vec<u8>>>) -> Vec<ResolvedPaths> {
    let told = inodes
        .iter()
        .zip(found)
        .map(|(inode, paths)| ResolvedPaths {
            inode: *inode,
            paths: paths.into_iter().map(Blob).collect(),
        });
    told.collect()
}

fn wanted(exprs: &[LabelExpr], labels: &[u32]) -> WantedCopies {
    let copies = exprs.iter().map(|expr| Wanted {
        masks: *expr,
        servers: labels
            .iter()
            .filter(|labels| placement::fits(expr, **labels))
            .count()
            .try_into()
            .unwrap_or(u16::MAX),
    });
    let matched = placement::matched(exprs, labels);
    WantedCopies {
        fulfilled: match matched.iter().all(Option::is_some) {
            true => 3,
            false => 0,
        },
        copies: copies.collect(),
    }
}

pub(super) fn classes(
    found: Vec<(u8, StorageClass)>,
    servers: &[ChunkserverStatus],
    census: Option<&Census>,
) -> Classes {
    let labels: Vec<u32> = servers
        .iter()
        .filter_map(|server| server.heard.filter(|heard| heard.reachable))
        .map(|heard| heard.labels)
        .collect();
    let classes = found.into_iter().filter_map(|(id, class)| {
        let counted = census.and_then(|census| census.classes.get(&id)).copied();
        let counted = counted.unwrap_or_default();
        Some(ClassListed {
            id,
            name: Name::new(class.name).ok()?,
            files: short(counted.files),
            dirs: short(counted.dirs),
            chunks: at_goal(counted.kept, counted.archived),
            admin_only: class.admin_only.into(),
            mode: class_mode_number(class.mode),
            archive_delay: class.archive_delay_days,
            wanted: [
                wanted(&class.create, &labels),
                wanted(&class.keep, &labels),
                wanted(&class.archive, &labels),
            ],
        })
    });
    Classes {
        servers: u16::try_from(labels.len()).unwrap_or(u16::MAX),
        classes: classes.collect(),
    }
}
