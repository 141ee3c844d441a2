//! What can be broken, as values: a schedule is a list of these.
//!
//! A fault says when it ends by itself, so that one can be taken out of a schedule without
//! leaving its other half behind. Seats and clients are named by number; a number that a smaller
//! cluster does not have is taken modulo its size.

use serde::{Deserialize, Serialize};

use crate::place::Seat;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "`for_ms` is how long it lasts; each variant says the rest"
)]
pub enum Fault {
    /// The cluster falls into two halves. One bit per seat says which; clients stay with all.
    Partition { side: u8, for_ms: u64 },
    /// Messages from one half to the other are lost; the other direction works.
    OneWayPartition { side: u8, for_ms: u64 },
    /// Two halves that see each other only through one seat.
    Bridge { seat: Seat, side: u8, for_ms: u64 },
    /// One client sees only the seats whose bit is set.
    ClientPartition {
        client: u16,
        reachable: u8,
        for_ms: u64,
    },
    /// Messages from one seat to another take longer.
    SlowLink {
        from: Seat,
        to: Seat,
        extra_ms: u64,
        for_ms: u64,
    },
    /// Messages from one seat to another are held, and delivered when it is over.
    Clog { from: Seat, to: Seat, for_ms: u64 },
    /// Seats are clogged one after the other and released one after the other in another order.
    SwizzleClog {
        clog: Vec<Seat>,
        release: Vec<Seat>,
        step_ms: u64,
    },
    /// Messages everywhere are lost more often, in parts of a million.
    LossBurst { ppm: u32, for_ms: u64 },
    /// Messages everywhere are doubled more often, in parts of a million.
    DuplicateBurst { ppm: u32, for_ms: u64 },
    /// Messages everywhere overtake each other more often, in parts of a million.
    ReorderBurst { ppm: u32, for_ms: u64 },
    /// Bits of what streams carry are flipped on the way, in parts of a million of the pieces.
    CorruptBurst { ppm: u32, for_ms: u64 },
    /// The connection of two seats is reset: both hear of it, what is on the way is lost, also
    /// when half of it has arrived.
    Reset { a: Seat, b: Seat },
    /// The process ends and starts again. What the operating system holds survives.
    Kill { seat: Seat, down_ms: u64 },
    /// The machine loses power: what was not flushed is lost, torn or reordered.
    PowerLoss { seat: Seat, down_ms: u64 },
    /// All machines lose power at once and come back one after the other.
    PowerLossAll { down_ms: u64, step_ms: u64 },
    /// The process stands still; messages wait. With `clock_stops`, so does its monotonic clock,
    /// as in a virtual machine that is moved.
    Pause {
        seat: Seat,
        clock_stops: bool,
        for_ms: u64,
    },
    /// The disk is gone for ever. The seat comes back empty, under a new id, which takes the old
    /// one's place in the membership.
    LoseDisk { seat: Seat, down_ms: u64 },
    /// Whatever the disk makes durable, flushes, checkpoints and identities, takes so many times
    /// longer.
    SlowDisk {
        seat: Seat,
        factor: u32,
        for_ms: u64,
    },
    /// No space is left on the disk.
    FullDisk { seat: Seat, for_ms: u64 },
    /// The next flush fails; the node has to stop, and starts again after so long.
    FailFlush { seat: Seat, down_ms: u64 },
    /// The next write to the disk, or making or renaming of a file, fails; a part of it may be
    /// there all the same. If the node stops, it starts again after so long.
    FailWrite { seat: Seat, down_ms: u64 },
    /// Some reads come back with a flipped bit, in parts of a thousand; the disk itself is whole.
    BitFlipOnRead {
        seat: Seat,
        permille: u32,
        for_ms: u64,
    },
    /// Some reads fail, in parts of a thousand; trying again may help.
    ReadErrors {
        seat: Seat,
        permille: u32,
        for_ms: u64,
    },
    /// Some writes go to another place of the same file, in parts of a thousand.
    Misdirect {
        seat: Seat,
        permille: u32,
        for_ms: u64,
    },
    /// A stored sector of the log changes for ever.
    RotLog { seat: Seat, draw: u64 },
    /// A value of the last checkpoint changes for ever.
    RotState { seat: Seat, draw: u64 },
    /// The next checkpoint fails; the node has to stop, and starts again after so long.
    FailCheckpoint { seat: Seat, down_ms: u64 },
    /// The wall clock jumps.
    WallJump { seat: Seat, by_ms: i64 },
    /// The monotonic clock jumps ahead. Breaks leases, so only where none is trusted.
    MonotonicJump { seat: Seat, by_ms: u64 },
    /// Both clocks run fast or slow, in parts of a million.
    ClockRate { seat: Seat, ppm: i32, for_ms: u64 },
    /// Leadership is to move to the node of this seat. Not a fault, but as hard on the protocol.
    TransferLeader { to: Seat },
    /// The voter of this seat is made a learner, and a voter again afterwards.
    CycleMember { seat: Seat, for_ms: u64 },
    /// All voters but that of this seat, and those of seats whose bit is set, are made learners, and
    /// voters again afterwards: the cluster shrinks and grows.
    Shrink { seat: Seat, keep: u8, for_ms: u64 },
    /// A chunkserver dies, and starts again with its disk.
    ServerCrash { server: u8, down_ms: u64 },
    /// A chunkserver is stopped by its operator: it tells its node that it means to come back, ends
    /// what it is doing for it, and starts again later.
    ServerStop { server: u8, down_ms: u64 },
    /// Of mounts and of other chunkservers, a chunkserver sees only those whose bit is set; with
    /// `one_way` it hears the others, and is not heard by them.
    DataCut {
        server: u8,
        mounts: u8,
        servers: u8,
        one_way: bool,
        for_ms: u64,
    },
    /// A chunkserver sees only the seats whose bit is set.
    ServerCut {
        server: u8,
        reachable: u8,
        for_ms: u64,
    },
}

/// Kinds of faults, for options, coverage and lanes in a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the variant of `Fault` with its name")]
pub enum FaultKind {
    Partition,
    OneWayPartition,
    Bridge,
    ClientPartition,
    SlowLink,
    Clog,
    SwizzleClog,
    LossBurst,
    DuplicateBurst,
    ReorderBurst,
    CorruptBurst,
    Reset,
    Kill,
    PowerLoss,
    PowerLossAll,
    Pause,
    LoseDisk,
    SlowDisk,
    FullDisk,
    FailFlush,
    FailWrite,
    BitFlipOnRead,
    ReadErrors,
    Misdirect,
    RotLog,
    RotState,
    FailCheckpoint,
    WallJump,
    MonotonicJump,
    ClockRate,
    TransferLeader,
    CycleMember,
    Shrink,
    ServerCrash,
    ServerCut,
    ServerStop,
    DataCut,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 37] = [
        Self::Partition,
        Self::OneWayPartition,
        Self::Bridge,
        Self::ClientPartition,
        Self::SlowLink,
        Self::Clog,
        Self::SwizzleClog,
        Self::LossBurst,
        Self::DuplicateBurst,
        Self::ReorderBurst,
        Self::CorruptBurst,
        Self::Reset,
        Self::Kill,
        Self::PowerLoss,
        Self::PowerLossAll,
        Self::Pause,
        Self::LoseDisk,
        Self::SlowDisk,
        Self::FullDisk,
        Self::FailFlush,
        Self::FailWrite,
        Self::BitFlipOnRead,
        Self::ReadErrors,
        Self::Misdirect,
        Self::RotLog,
        Self::RotState,
        Self::FailCheckpoint,
        Self::WallJump,
        Self::MonotonicJump,
        Self::ClockRate,
        Self::TransferLeader,
        Self::CycleMember,
        Self::Shrink,
        Self::ServerCrash,
        Self::ServerCut,
        Self::ServerStop,
        Self::DataCut,
    ];

    /// Those that need no chunkservers: all but the last four.
    pub const OF_NODES: [Self; 33] = *Self::ALL.first_chunk().expect("there are more");

    /// The name used in options and reports: `one-way-partition`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWayPartition => "one-way-partition",
            Self::Bridge => "bridge",
            Self::ClientPartition => "client-partition",
            Self::SlowLink => "slow-link",
            Self::Clog => "clog",
            Self::SwizzleClog => "swizzle-clog",
            Self::LossBurst => "loss-burst",
            Self::DuplicateBurst => "duplicate-burst",
            Self::ReorderBurst => "reorder-burst",
            Self::CorruptBurst => "corrupt-burst",
            Self::Reset => "reset",
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::PowerLossAll => "power-loss-all",
            Self::Pause => "pause",
            Self::LoseDisk => "lose-disk",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::FailFlush => "fail-flush",
            Self::FailWrite => "fail-write",
            Self::BitFlipOnRead => "bit-flip-on-read",
            Self::ReadErrors => "read-errors",
            Self::Misdirect => "misdirect",
            Self::RotLog => "rot-log",
            Self::RotState => "rot-state",
            Self::FailCheckpoint => "fail-checkpoint",
            Self::WallJump => "wall-jump",
            Self::MonotonicJump => "monotonic-jump",
            Self::ClockRate => "clock-rate",
            Self::TransferLeader => "transfer-leader",
            Self::CycleMember => "cycle-member",
            Self::Shrink => "shrink",
            Self::ServerCrash => "server-crash",
            Self::ServerCut => "server-cut",
            Self::ServerStop => "server-stop",
            Self::DataCut => "data-cut",
        }
    }
}

impl Fault {
    /// Which kind this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Partition { .. } => FaultKind::Partition,
            Self::OneWayPartition { .. } => FaultKind::OneWayPartition,
            Self::Bridge { .. } => FaultKind::Bridge,
            Self::ClientPartition { .. } => FaultKind::ClientPartition,
            Self::SlowLink { .. } => FaultKind::SlowLink,
            Self::Clog { .. } => FaultKind::Clog,
            Self::SwizzleClog { .. } => FaultKind::SwizzleClog,
            Self::LossBurst { .. } => FaultKind::LossBurst,
            Self::DuplicateBurst { .. } => FaultKind::DuplicateBurst,
            Self::ReorderBurst { .. } => FaultKind::ReorderBurst,
            Self::CorruptBurst { .. } => FaultKind::CorruptBurst,
            Self::Reset { .. } => FaultKind::Reset,
            Self::Kill { .. } => FaultKind::Kill,
            Self::PowerLoss { .. } => FaultKind::PowerLoss,
            Self::PowerLossAll { .. } => FaultKind::PowerLossAll,
            Self::Pause { .. } => FaultKind::Pause,
            Self::LoseDisk { .. } => FaultKind::LoseDisk,
            Self::SlowDisk { .. } => FaultKind::SlowDisk,
            Self::FullDisk { .. } => FaultKind::FullDisk,
            Self::FailFlush { .. } => FaultKind::FailFlush,
            Self::FailWrite { .. } => FaultKind::FailWrite,
            Self::BitFlipOnRead { .. } => FaultKind::BitFlipOnRead,
            Self::ReadErrors { .. } => FaultKind::ReadErrors,
            Self::Misdirect { .. } => FaultKind::Misdirect,
            Self::RotLog { .. } => FaultKind::RotLog,
            Self::RotState { .. } => FaultKind::RotState,
            Self::FailCheckpoint { .. } => FaultKind::FailCheckpoint,
            Self::WallJump { .. } => FaultKind::WallJump,
            Self::MonotonicJump { .. } => FaultKind::MonotonicJump,
            Self::ClockRate { .. } => FaultKind::ClockRate,
            Self::TransferLeader { .. } => FaultKind::TransferLeader,
            Self::CycleMember { .. } => FaultKind::CycleMember,
            Self::Shrink { .. } => FaultKind::Shrink,
            Self::ServerCrash { .. } => FaultKind::ServerCrash,
            Self::ServerCut { .. } => FaultKind::ServerCut,
            Self::ServerStop { .. } => FaultKind::ServerStop,
            Self::DataCut { .. } => FaultKind::DataCut,
        }
    }

    /// The seat that suffers most, when there is one.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        match *self {
            Self::Bridge { seat, .. }
            | Self::Kill { seat, .. }
            | Self::PowerLoss { seat, .. }
            | Self::Pause { seat, .. }
            | Self::LoseDisk { seat, .. }
            | Self::SlowDisk { seat, .. }
            | Self::FullDisk { seat, .. }
            | Self::FailFlush { seat, .. }
            | Self::FailWrite { seat, .. }
            | Self::BitFlipOnRead { seat, .. }
            | Self::ReadErrors { seat, .. }
            | Self::Misdirect { seat, .. }
            | Self::RotLog { seat, .. }
            | Self::RotState { seat, .. }
            | Self::FailCheckpoint { seat, .. }
            | Self::WallJump { seat, .. }
            | Self::MonotonicJump { seat, .. }
            | Self::ClockRate { seat, .. }
            | Self::CycleMember { seat, .. }
            | Self::Shrink { seat, .. } => Some(seat),
            Self::SlowLink { from, .. } | Self::Clog { from, .. } => Some(from),
            Self::Reset { a, .. } => Some(a),
            Self::TransferLeader { to } => Some(to),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_named_as_it_is_written() {
        for (at, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            let written = serde_json::to_string(&kind).unwrap();
            assert_eq!(written, format!("\"{}\"", kind.name()));
        }
    }
}
