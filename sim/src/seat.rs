//! The machine room of one node: its disk, its store, its clocks, and the process, when it runs.

use std::collections::VecDeque;
use std::time::Duration;

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::rng::{Rng, Seed};
use mfsha_core::time::Instant;

use crate::check::NodeView;
use crate::clock::Clock;
use crate::disk::{DiskFaults, SimDisk};
use crate::options::Options;
use crate::place::Seat;
use crate::store::SimStore;
use crate::task::NodeTask;
use crate::time::SimTime;
use crate::transport::PeerDoor;
use crate::world::Waiting;

/// One seat and what is in it.
pub struct SeatState {
    /// Which.
    pub seat: Seat,
    /// Whose seat it is now, running or not.
    pub node: NodeId,
    /// Whose place its node takes, until the cluster has admitted it.
    pub replaces: Option<NodeId>,
    /// Starts in this seat so far, of whichever node: no two lives here have one number.
    pub life: u32,
    /// Its clocks.
    pub clock: Clock,
    /// Its disk.
    pub disk: SimDisk,
    /// Its state store.
    pub store: SimStore,
    /// Its connections with others, in runs over streams.
    pub door: PeerDoor,
    /// The node in the process.
    pub running: Option<NodeTask>,
    /// It stands still.
    pub paused: bool,
    /// What came while it stood still.
    pub(crate) inbox: VecDeque<Waiting>,
    /// What it shows since its last step.
    pub view: Option<NodeView>,
    /// Highest index that was seen applied in this life.
    pub applied: LogIndex,
    /// When it wants a tick.
    pub deadline: Option<Instant>,
    /// Counts changes of the deadline, so that old wake-ups are known as such.
    pub wakes: u64,
    /// When the last flush that was begun ends.
    pub flush_end: SimTime,
    /// How many times slower its disk is.
    pub slow: u32,
    /// When the last of the faults that slow it ends.
    pub slow_until: SimTime,
    /// The next flush that ends will have failed; the node starts again after so many
    /// milliseconds.
    pub fail_flush: Option<u64>,
    /// What reads and writes suffer.
    pub faults: DiskFaults,
    /// Writes that had failed when its process was started.
    pub write_errors: u64,
    /// After a stop of its own the node starts again after so many milliseconds.
    pub restart_ms: u64,
    /// When its node, which refused to start, will be started once more.
    pub retry_at: SimTime,
    /// Latencies and fates of its disk.
    pub rng: Rng,
}

impl SeatState {
    /// An empty machine room.
    #[must_use]
    pub fn new(seat: Seat, node: NodeId, seed: &Seed, options: &Options) -> Self {
        let seed = seed.child("seat").index(seat.0.into());
        Self {
            seat,
            node,
            replaces: None,
            life: 0,
            clock: Clock::draw(&options.clock, &mut seed.child("clock").rng()),
            disk: SimDisk::new(options.disk.capacity_bytes, seed.child("disk").rng())
                .tearing_pages(options.disk.pages_tear),
            store: match options.node.store_bytes_max {
                0 => SimStore::new(),
                bytes_max => SimStore::bounded(bytes_max),
            },
            door: PeerDoor::default(),
            running: None,
            paused: false,
            inbox: VecDeque::new(),
            view: None,
            applied: LogIndex(0),
            deadline: None,
            wakes: 0,
            flush_end: SimTime::ZERO,
            slow: 1,
            slow_until: SimTime::ZERO,
            fail_flush: None,
            faults: DiskFaults::default(),
            write_errors: 0,
            restart_ms: 500,
            retry_at: SimTime::ZERO,
            rng: seed.child("fates").rng(),
        }
    }

    /// When the disk has done what takes it so many nanoseconds: while it is slow it does a part of
    /// the work only, and the rest at its own pace.
    #[must_use]
    pub fn done_at(&self, now: SimTime, nanos: u64) -> SimTime {
        let slow = u64::from(self.slow);
        let left = self.slow_until.0.saturating_sub(now.0) / slow;
        let done_slowly = nanos.min(left);
        now + Duration::from_nanos(done_slowly * slow + (nanos - done_slowly))
    }

    /// Nothing is slow, full or about to fail any more. What has rotted stays so.
    pub fn heal(&mut self, now: SimTime, options: &Options) {
        self.clock.reset_rate(now);
        self.clock.resume(now);
        self.slow = 1;
        self.slow_until = now;
        self.fail_flush = None;
        self.faults = DiskFaults::default();
        self.disk.heal();
        self.disk.set_capacity_bytes(options.disk.capacity_bytes);
        self.store.heal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_slow_for_as_long_as_the_fault_lasts() {
        let seed = Seed::from_u64(1);
        let options = Options::draw(&seed);
        let mut state = SeatState::new(Seat(0), NodeId(1), &seed, &options);
        let now = SimTime(1_000);
        assert_eq!(state.done_at(now, 50), SimTime(1_050));
        state.slow = 10;
        state.slow_until = SimTime(1_300);
        assert_eq!(state.done_at(now, 20), SimTime(1_200));
        assert_eq!(state.done_at(now, 30), SimTime(1_300));
        // 30 of it in 300, and 70 afterwards.
        assert_eq!(state.done_at(now, 100), SimTime(1_370));
        state.heal(now, &options);
        assert_eq!(state.done_at(now, 100), SimTime(1_100));
    }
}
