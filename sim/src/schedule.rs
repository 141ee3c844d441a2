//! What a run will do, decided before it begins: a list of faults and a list of operations.
//!
//! Every entry has its time and its own draw, so that entries can be taken out without moving any
//! other. That is what lets a failure be made small.

use std::time::Duration;

use mfsha_core::rng::{Rng, Seed};
use serde::{Deserialize, Serialize};

use crate::draw;
use crate::fault::{Fault, FaultKind};
use crate::options::Options;
use crate::place::Seat;
use crate::time::SimTime;

/// A planned fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEntry {
    /// Its number in the whole schedule of the seed.
    pub number: u32,
    /// When it begins.
    pub at: SimTime,
    /// What.
    pub fault: Fault,
}

/// A planned operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationEntry {
    /// Its number in the whole schedule of the seed.
    pub number: u32,
    /// When the client wants it; it waits for what its lane is doing.
    pub at: SimTime,
    /// Which client.
    pub client: u16,
    /// Which of its threads.
    pub lane: u8,
    /// Of which kind, as the generator names it.
    pub kind: String,
    /// Decides everything else about it.
    pub draw: u64,
}

/// The lists of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// In order of time.
    pub faults: Vec<FaultEntry>,
    /// In order of time.
    pub operations: Vec<OperationEntry>,
}

/// Numbers of the entries that stay when a schedule is made smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Faults.
    pub faults: Vec<u32>,
    /// Operations.
    pub operations: Vec<u32>,
}

impl Schedule {
    /// Draws the schedule of a seed under these options.
    #[must_use]
    pub fn draw(seed: &Seed, options: &Options) -> Self {
        Self {
            faults: draw_faults(&seed.child("schedule faults"), options),
            operations: draw_operations(&seed.child("schedule operations"), options),
        }
    }

    /// Takes out everything that is not kept.
    #[must_use]
    pub fn keep(mut self, kept: &Kept) -> Self {
        self.faults
            .retain(|entry| kept.faults.contains(&entry.number));
        self.operations
            .retain(|entry| kept.operations.contains(&entry.number));
        self
    }

    /// The numbers of all entries.
    #[must_use]
    pub fn numbers(&self) -> Kept {
        Kept {
            faults: self.faults.iter().map(|entry| entry.number).collect(),
            operations: self.operations.iter().map(|entry| entry.number).collect(),
        }
    }
}

fn draw_operations(seed: &Seed, options: &Options) -> Vec<OperationEntry> {
    let kinds: Vec<(&String, u32)> = options
        .workload
        .weights
        .keys()
        .map(|kind| (kind, options.operation_weight(kind)))
        .collect();
    let mean = options.workload.mean_ms * 1_000_000;
    let mut entries = Vec::new();
    for client in 0..options.clients {
        let mut rng = seed.index(client.into()).rng();
        let mut at = SimTime::ZERO + Duration::from_nanos(draw::exponential(&mut rng, mean));
        while at.0 < options.safety_ms * 1_000_000 {
            let Some(kind) = draw::weighted(&mut rng, kinds.iter().map(|(_, weight)| *weight))
            else {
                return Vec::new();
            };
            entries.push(OperationEntry {
                number: 0,
                at,
                client,
                lane: rng.below(options.lanes.into()) as u8,
                kind: kinds[kind].0.clone(),
                draw: rng.next_u64() >> 1,
            });
            at = at + Duration::from_nanos(draw::exponential(&mut rng, mean).max(1));
        }
    }
    entries.sort_by_key(|entry| (entry.at, entry.client));
    for (number, entry) in entries.iter_mut().enumerate() {
        entry.number = number as u32;
    }
    entries
}

fn draw_faults(seed: &Seed, options: &Options) -> Vec<FaultEntry> {
    let mut entries = Vec::new();
    if options.faults.mean_ms == 0 {
        return entries;
    }
    let mut times = seed.child("times").rng();
    let mean = options.faults.mean_ms * 1_000_000;
    let mut at = SimTime::ZERO;
    loop {
        at = at + Duration::from_nanos(draw::exponential(&mut times, mean).max(1_000_000));
        if at.0 >= options.safety_ms * 1_000_000 {
            return entries;
        }
        let number = entries.len() as u32;
        let mut rng = seed.index(number.into()).rng();
        let weights = FaultKind::ALL.map(|kind| options.fault_weight(kind));
        let Some(kind) = draw::weighted(&mut rng, weights.iter().copied()) else {
            return entries;
        };
        entries.push(FaultEntry {
            number,
            at,
            fault: draw_fault(FaultKind::ALL[kind], options, &mut rng),
        });
    }
}

fn draw_fault(kind: FaultKind, options: &Options, rng: &mut Rng) -> Fault {
    let seats = options.nodes;
    let seat = Seat(rng.below(seats.into()) as u8);
    let other = match seats {
        1 => seat,
        _ => Seat((seat.0 + 1 + rng.below(u64::from(seats) - 1) as u8) % seats),
    };
    // Two halves, both with somebody in them where there are two at all.
    let side = rng.between(1, (1u64 << seats).saturating_sub(2).max(1)) as u8;
    let for_ms = 1 + rng.below(options.faults.longest_ms);
    let down_ms = 1 + draw::exponential(rng, options.faults.longest_ms / 4);
    let drift = i64::from(options.clock.drift_max_ppm);
    let leases = options.workload.read_lease > 0;
    // Without leases nothing depends on the rate of clocks, so they may run wild.
    let drift = if leases { drift } else { 100_000 };
    match kind {
        FaultKind::Partition => Fault::Partition { side, for_ms },
        FaultKind::OneWayPartition => Fault::OneWayPartition { side, for_ms },
        FaultKind::Bridge => Fault::Bridge { seat, side, for_ms },
        FaultKind::ClientPartition => Fault::ClientPartition {
            client: rng.below(options.clients.into()) as u16,
            reachable: side,
            for_ms,
        },
        FaultKind::SlowLink => Fault::SlowLink {
            from: seat,
            to: other,
            extra_ms: rng.between(1, 300),
            for_ms,
        },
        FaultKind::Clog => Fault::Clog {
            from: seat,
            to: other,
            for_ms,
        },
        FaultKind::SwizzleClog => {
            let mut clog: Vec<Seat> = (0..seats).map(Seat).collect();
            rng.shuffle(&mut clog);
            clog.truncate(rng.between(1, seats.into()) as usize);
            let mut release = clog.clone();
            rng.shuffle(&mut release);
            Fault::SwizzleClog {
                clog,
                release,
                step_ms: 1 + for_ms / (2 * u64::from(seats)),
            }
        }
        FaultKind::LossBurst => Fault::LossBurst {
            ppm: rng.between(10_000, 500_000) as u32,
            for_ms,
        },
        FaultKind::DuplicateBurst => Fault::DuplicateBurst {
            ppm: rng.between(10_000, 500_000) as u32,
            for_ms,
        },
        FaultKind::ReorderBurst => Fault::ReorderBurst {
            ppm: rng.between(10_000, 500_000) as u32,
            for_ms,
        },
        FaultKind::CorruptBurst => Fault::CorruptBurst {
            ppm: rng.between(100, 50_000) as u32,
            for_ms,
        },
        FaultKind::Reset => Fault::Reset { a: seat, b: other },
        FaultKind::Kill => Fault::Kill { seat, down_ms },
        FaultKind::PowerLoss => Fault::PowerLoss { seat, down_ms },
        FaultKind::PowerLossAll => Fault::PowerLossAll {
            down_ms,
            step_ms: rng.below(200),
        },
        FaultKind::Pause => Fault::Pause {
            seat,
            clock_stops: !leases && rng.chance(1, 2),
            for_ms,
        },
        FaultKind::LoseDisk => Fault::LoseDisk { seat, down_ms },
        FaultKind::SlowDisk => Fault::SlowDisk {
            seat,
            factor: rng.between(2, 1_000) as u32,
            for_ms,
        },
        FaultKind::FullDisk => Fault::FullDisk { seat, for_ms },
        FaultKind::FailFlush => Fault::FailFlush { seat, down_ms },
        FaultKind::FailWrite => Fault::FailWrite { seat, down_ms },
        FaultKind::BitFlipOnRead => Fault::BitFlipOnRead {
            seat,
            permille: rng.between(1, 200) as u32,
            for_ms,
        },
        FaultKind::ReadErrors => Fault::ReadErrors {
            seat,
            permille: rng.between(1, 200) as u32,
            for_ms,
        },
        FaultKind::Misdirect => Fault::Misdirect {
            seat,
            permille: rng.between(1, 50) as u32,
            for_ms,
        },
        FaultKind::RotLog => Fault::RotLog {
            seat,
            draw: rng.next_u64() >> 1,
        },
        FaultKind::RotState => Fault::RotState {
            seat,
            draw: rng.next_u64() >> 1,
        },
        FaultKind::FailCheckpoint => Fault::FailCheckpoint { seat, down_ms },
        FaultKind::WallJump => Fault::WallJump {
            seat,
            by_ms: rng.between(0, 200_000) as i64 - 100_000,
        },
        FaultKind::MonotonicJump => Fault::MonotonicJump {
            seat,
            by_ms: rng.between(1, 10_000),
        },
        FaultKind::ClockRate => Fault::ClockRate {
            seat,
            ppm: (rng.below(2 * drift as u64 + 1) as i64 - drift) as i32,
            for_ms,
        },
        FaultKind::TransferLeader => Fault::TransferLeader { to: seat },
        FaultKind::CycleMember => Fault::CycleMember { seat, for_ms },
        FaultKind::Shrink => Fault::Shrink {
            seat,
            keep: side & !(1 << other.0),
            for_ms,
        },
        FaultKind::ServerCrash => Fault::ServerCrash {
            server: rng.below(u64::from(options.chunkservers.max(1))) as u8,
            down_ms,
        },
        FaultKind::ServerStop => Fault::ServerStop {
            server: rng.below(u64::from(options.chunkservers.max(1))) as u8,
            down_ms,
        },
        FaultKind::DataCut => Fault::DataCut {
            server: rng.below(u64::from(options.chunkservers.max(1))) as u8,
            mounts: rng.below(256) as u8,
            servers: rng.below(256) as u8,
            one_way: rng.chance(1, 2),
            for_ms,
        },
        FaultKind::ServerCut => Fault::ServerCut {
            server: rng.below(u64::from(options.chunkservers.max(1))) as u8,
            reachable: if rng.chance(1, 2) { side } else { 0 },
            for_ms,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> (Options, Schedule) {
        let seed = Seed::from_u64(seed);
        let options = Options::draw(&seed);
        let schedule = Schedule::draw(&seed, &options);
        (options, schedule)
    }

    #[test]
    fn entries_are_in_order_within_the_safety_phase_and_name_seats_that_exist() {
        for seed in 0..100 {
            let (options, schedule) = drawn(seed);
            assert!(schedule.faults.is_sorted_by_key(|entry| entry.at));
            assert!(schedule.operations.is_sorted_by_key(|entry| entry.at));
            assert!(!schedule.operations.is_empty());
            for entry in &schedule.faults {
                assert!(entry.at.0 < options.safety_ms * 1_000_000);
                assert!(entry.fault.seat().is_none_or(|seat| seat.0 < options.nodes));
                assert!(options.fault_weight(entry.fault.kind()) > 0);
            }
            for entry in &schedule.operations {
                assert!(entry.client < options.clients && entry.lane < options.lanes);
            }
        }
    }

    #[test]
    fn what_is_kept_is_as_it_was() {
        let (_, schedule) = drawn(3);
        let mut kept = schedule.numbers();
        assert_eq!(schedule.clone().keep(&kept), schedule);
        kept.operations.truncate(2);
        kept.faults.clear();
        let smaller = schedule.clone().keep(&kept);
        assert_eq!(smaller.operations, schedule.operations[..2]);
        assert!(smaller.faults.is_empty());
    }

    #[test]
    fn faults_of_every_kind_are_drawn_and_can_be_written_down() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            for entry in drawn(seed).1.faults {
                let text = toml::to_string(&entry).unwrap();
                assert_eq!(toml::from_str::<FaultEntry>(&text).unwrap(), entry);
                seen.insert(entry.fault.kind());
            }
        }
        assert_eq!(seen.len(), FaultKind::ALL.len());
    }
}
