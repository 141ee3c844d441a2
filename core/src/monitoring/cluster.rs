//! The master, chunkservers and loops over chunks, as the wire has them.

use super::task::Scene;
use crate::chunks::census::{AtGoal, Census, Deed, Done, Lack, Matrix as Counted, Missing};
use crate::membership::Role;
use crate::moosefs::fields::Blob;
use crate::moosefs::monitor::chunks::{
    COUNTS, ChunkLoop, FileLoop, Matrices, Matrix, MissingChunk,
};
use crate::moosefs::monitor::cluster::{
    ChunkserverListed, Info, MasterState, MasterStates, Memory, Module,
};
use crate::moosefs::version::Version;
use crate::native::admin::ChunkserverStatus;
use crate::native::inspect::Overview;
use crate::time::WallTime;

/// Copies are still being counted: shown as chunkservers that are connecting.
const COUNTING: u8 = 2;
/// Chunks that are named in words.
const NAMED_MAX: usize = 100;

/// As many as the wire has room for.
pub(super) fn short(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

fn bytes(count: i128) -> u64 {
    u64::try_from(count.max(0)).unwrap_or(u64::MAX)
}

pub(super) fn info(scene: &Scene<'_>, seen: &Overview, census: Option<&Census>) -> Info {
    let state = match seen.role {
        Role::Leader => MasterState::Leader,
        Role::Candidate => MasterState::Elect,
        Role::Follower | Role::Learner => MasterState::Follower,
    };
    let count = |of: fn(&Census) -> u64| census.map_or(0, of);
    let (trash_files, sustained_files) =
        (count(|it| it.trash_files), count(|it| it.sustained_files));
    let detached = trash_files.saturating_add(sustained_files);
    let with = |sum: i128| short(bytes(sum).saturating_add(detached));
    let process = scene.process;
    let (total, free) = seen.space;
    Info {
        version: Version::OURS.0,
        memory: process.memory,
        system_time: process.system_time,
        user_time: process.user_time,
        total,
        available: free,
        free,
        trash_bytes: seen.trash_bytes,
        trash_files: short(trash_files),
        sustained_bytes: seen.sustained_bytes,
        sustained_files: short(sustained_files),
        nodes: with(seen.tree.inodes),
        dirs: short(bytes(seen.tree.dirs)),
        files: with(seen.tree.files),
        chunks: short(count(|it| it.chunks)),
        copies: short(count(|it| it.copies)),
        copies_staying: short(count(|it| it.copies - it.copies_to_remove)),
        stored_at: process.stored_at,
        stored_ms: process.stored_ms,
        store_status: process.store_failed.into(),
        states: MasterStates::stable(state),
        leader_ip: 0,
        state_changed: seen.role_since,
        metadata_version: seen.version,
        exports_checksum: scene.exports.checksum(),
        now_us: scene.wall_us,
        changed_at: scene.now().0,
    }
}

pub(super) fn module(scene: &Scene<'_>) -> Module {
    Module {
        kind: 1,
        version: Version::OURS.0,
        number: 0,
        metaid: scene.metaid,
        leader_ip: 0,
        leader_port: 0,
    }
}

/// Nothing here is kept in tables of its own, so there is nothing to tell of them.
pub(super) fn memory() -> Memory {
    Memory { uses: [(0, 0); 11] }
}

pub(super) fn chunkserver(status: &ChunkserverStatus, now: WallTime) -> ChunkserverListed {
    let heard = status.heard.filter(|heard| heard.reachable);
    let version = heard.map_or(0, |heard| heard.version).to_be_bytes();
    let space = heard.map(|heard| heard.space).unwrap_or_default();
    let maintained = status.info.maintenance_until >= now && status.info.maintenance_until.0 > 0;
    ChunkserverListed {
        flags: u8::from(heard.is_none()) | u8::from(maintained) << 1,
        version: [version[1], version[2], version[3]],
        ip: status.info.address.ip.into(),
        port: status.info.address.port,
        csid: status.info.csid.0,
        used: space.used,
        total: space.total,
        chunks: space.chunks,
        removal_used: space.removal_used,
        removal_total: space.removal_total,
        removal_chunks: space.removal_chunks,
        errors: heard.map_or(0, |heard| heard.disk_errors),
        load: heard.map_or(0, |heard| heard.jobs),
        grace: 0,
        labels: heard.map_or(0, |heard| heard.labels),
        removal: match space {
            space if space.removal_chunks > 0 => 1,
            space if space.removal_total > 0 => 2,
            _ => 0,
        },
    }
}

fn wire_matrix(counted: &Counted) -> Matrix {
    let mut rows = [[0; COUNTS]; COUNTS];
    for (row, counted) in rows.iter_mut().zip(&counted.0) {
        *row = counted.map(short);
    }
    Matrix(Box::new(rows))
}

pub(super) fn matrices(census: Option<&Census>, which: Option<u8>) -> Matrices {
    let none = Census::default();
    let (counted, progress) = (
        census.unwrap_or(&none),
        if census.is_some() { 0 } else { COUNTING },
    );
    let (all, regular) = (wire_matrix(&counted.all), wire_matrix(&counted.regular));
    match which {
        Some(0) => Matrices::One(all),
        Some(_) => Matrices::One(regular),
        None => Matrices::Both {
            progress,
            all,
            regular,
        },
    }
}

pub(super) fn file_loop(census: Option<&Census>, long: bool) -> FileLoop {
    let none = Census::default();
    let census = census.unwrap_or(&none);
    let [tree, trash, sustained] = census.files_missing;
    FileLoop {
        began: census.began,
        ended: census.ended,
        files: short(census.files),
        files_under: short(census.files_under),
        files_missing: short(if long { tree } else { tree + trash + sustained }),
        detached_missing: long.then(|| [short(trash), short(sustained)]),
        chunks: short(census.chunks),
        chunks_under: short(census.chunks_under),
        chunks_missing: short(census.chunks_missing),
        message: Blob(in_words(census)),
    }
}

fn in_words(census: &Census) -> Vec<u8> {
    let mut text = String::new();
    for missing in census.missing.iter().take(NAMED_MAX) {
        let Missing {
            chunk,
            inode,
            index,
            lack,
        } = missing;
        let lack = match lack {
            Lack::NoCopy => "no copy",
            Lack::Damaged => "bad copies alone",
            Lack::WrongVersion => "copies of other versions alone",
        };
        text += &format!(
            "chunk {:016X} (inode {}, index {index}): {lack}\n",
            chunk.0, inode.0
        );
    }
    let named = census.missing.len().min(NAMED_MAX) as u64;
    if census.chunks_missing > named {
        text += &format!("and {} more\n", census.chunks_missing - named);
    }
    let newer = census.newer_versions.saturating_add(census.newer_chunks);
    if newer > 0 {
        text += &format!("{newer} copies are newer than these metadata; see the master's log\n");
    }
    text.into_bytes()
}

pub(super) fn chunk_loop(census: Option<&Census>) -> ChunkLoop {
    let none = Census::default();
    let census = census.unwrap_or(&none);
    let deed = |deed| -> (u32, u32) {
        let Done { done, put_off } = census.deeds.get(&deed).copied().unwrap_or_default();
        (short(done), short(put_off))
    };
    ChunkLoop {
        began: census.began,
        ended: census.ended,
        invalid: deed(Deed::DeleteInvalid),
        unused: deed(Deed::DeleteUnused),
        leaving: (0, 0),
        over_goal: deed(Deed::DeleteOverGoal),
        under_goal: deed(Deed::CopyUnderGoal),
        wrong_labels: deed(Deed::CopyWrongLabels),
        rebalanced: deed(Deed::Rebalance).0,
        labels_unmatched: 0,
        locked_unused: 0,
        locked_used: short(census.locked),
    }
}

pub(super) fn missing(census: Option<&Census>, typed: bool) -> Vec<MissingChunk> {
    let missing = census.map_or(&[][..], |census| &census.missing);
    let told = missing.iter().map(|it| MissingChunk {
        chunk: it.chunk,
        inode: it.inode,
        index: it.index,
        kind: typed.then_some(match it.lack {
            Lack::NoCopy => 0,
            Lack::Damaged => 1,
            Lack::WrongVersion => 2,
        }),
    });
    told.collect()
}

/// Chunks of a class below, at and above their goal: kept and archived of each.
pub(super) fn at_goal(kept: AtGoal, archived: AtGoal) -> [u64; 6] {
    [
        kept.under,
        archived.under,
        kept.exact,
        archived.exact,
        kept.over,
        archived.over,
    ]
}
