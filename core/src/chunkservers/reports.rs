//! What a chunkserver says, in the words of [`crate::chunks`].

use crate::chunks::{Copy, Report, Space};
use crate::id::ChunkId;
use crate::moosefs::chunkserver::{
    ChunkCopy, List, Load, REGISTER_COPIES_MAX, RemovalSpace, SpaceReport, Strain,
};

/// Entries that are handed on at once, however long a packet is.
const PORTION_MAX: usize = REGISTER_COPIES_MAX;

/// Copies that it has.
pub(super) fn found(copies: List<'_, ChunkCopy>) -> impl Iterator<Item = Report> {
    let portions = copies.parts(PORTION_MAX);
    portions.map(|portion| Report::Found(portion.iter().map(copy_of).collect()))
}

/// Copies that are no longer there.
pub(super) fn lost(chunks: List<'_, ChunkId>) -> impl Iterator<Item = Report> {
    let portions = chunks.parts(PORTION_MAX);
    portions.map(|portion| Report::Lost(portion.iter().collect()))
}

/// Copies that are bad.
pub(super) fn damaged(chunks: List<'_, ChunkId>) -> impl Iterator<Item = Report> {
    let portions = chunks.parts(PORTION_MAX);
    portions.map(|portion| Report::Damaged(portion.iter().collect()))
}

/// How busy it is.
pub(super) fn load(load: Load) -> Report {
    let Load { jobs, strain } = load;
    let overloaded = match strain {
        Some(Strain::Overloaded | Strain::Rebalance | Strain::Graceful) => true,
        None | Some(Strain::Default | Strain::Ok | Strain::Other(_)) => false,
    };
    Report::Load { jobs, overloaded }
}

/// Its space, as all but old chunkservers say it.
pub(super) fn space(space: RemovalSpace) -> Space {
    let RemovalSpace { regular, to_remove } = space;
    Space {
        used: regular.used,
        total: regular.total,
        chunks: regular.chunks,
        removal_used: to_remove.used,
        removal_total: to_remove.total,
        removal_chunks: to_remove.chunks,
    }
}

/// Its space now; what an old chunkserver leaves out is as before.
pub(super) fn space_after(before: Space, report: SpaceReport) -> Space {
    match report {
        SpaceReport::Used { used, total } => Space {
            used,
            total,
            ..before
        },
        SpaceReport::WithRemoval {
            used,
            total,
            to_remove_used,
            to_remove_total,
        } => Space {
            used,
            total,
            removal_used: to_remove_used,
            removal_total: to_remove_total,
            ..before
        },
        SpaceReport::Full(full) => space(full),
    }
}

fn copy_of(copy: ChunkCopy) -> Copy {
    let ChunkCopy {
        chunk,
        version,
        to_remove,
    } = copy;
    Copy {
        chunk,
        version,
        to_remove,
    }
}
