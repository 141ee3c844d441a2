//! The machine room of one node: its disk, its store, its clocks, and the process, when it runs.

use std::collections::VecDeque;

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
            fail_flush: None,
            faults: DiskFaults::default(),
            write_errors: 0,
            restart_ms: 500,
            retry_at: SimTime::ZERO,
            rng: seed.child("fates").rng(),
        }
    }

    /// Nothing is slow, full or about to fail any more. What has rotted stays so.
    pub fn heal(&mut self, now: SimTime, options: &Options) {
        self.clock.reset_rate(now);
        self.clock.resume(now);
        self.slow = 1;
        self.fail_flush = None;
        self.faults = DiskFaults::default();
        self.disk.heal();
        self.disk.set_capacity_bytes(options.disk.capacity_bytes);
        self.store.heal();
    }
}
