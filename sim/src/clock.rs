//! A node's own clocks, bent away from the world's time: offset, rate, jumps, standing still.
//!
//! The monotonic clock is a straight line that bends at every change; the wall clock is another.
//! Neither knows why it bends: the schedule decides.

use std::time::Duration;

use mfsha_core::rng::Rng;
use mfsha_core::time::Instant;

use crate::options::ClockOptions;
use crate::time::SimTime;

/// What wall clocks show when a run begins, in microseconds: 2026-01-01.
const WALL_EPOCH_US: u64 = 1_767_225_600_000_000;

const MILLION: i128 = 1_000_000;

/// Both clocks of one node.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Where the present straight line begins, in the world's time.
    from: SimTime,
    /// The monotonic clock there, nanoseconds.
    monotonic: u64,
    /// The wall clock there, nanoseconds since 1970.
    wall: u64,
    /// How much faster than the world, parts of a million.
    ppm: i32,
    /// The rate that faults end in.
    own_ppm: i32,
    /// The monotonic clock stands still; the wall clock never does.
    stopped: bool,
}

impl Clock {
    /// A clock that begins somewhere and runs at a rate of its own.
    #[must_use]
    pub fn draw(options: &ClockOptions, rng: &mut Rng) -> Self {
        let drift = u64::from(options.drift_max_ppm);
        let own_ppm = rng.between(0, 2 * drift) as i64 - drift as i64;
        let offset_ms = rng.between(0, 2 * options.wall_offset_max_ms);
        let wall_us = WALL_EPOCH_US + offset_ms * 1_000 - options.wall_offset_max_ms * 1_000;
        Self {
            from: SimTime::ZERO,
            // Machines were started at different times.
            monotonic: rng.between(1, 1_000_000) * 1_000_000,
            wall: wall_us * 1_000,
            ppm: own_ppm as i32,
            own_ppm: own_ppm as i32,
            stopped: false,
        }
    }

    /// What the monotonic clock shows.
    #[must_use]
    pub fn monotonic(&self, now: SimTime) -> Instant {
        Instant(self.monotonic + if self.stopped { 0 } else { self.bent(now) })
    }

    /// What the wall clock shows, microseconds since 1970.
    #[must_use]
    pub fn wall_us(&self, now: SimTime) -> u64 {
        (self.wall + self.bent(now)) / 1_000
    }

    /// The first moment at which the monotonic clock shows `deadline` or more, if it runs on as it
    /// does; `None` while it stands still short of it. Never before `now`.
    #[must_use]
    pub fn when(&self, now: SimTime, deadline: Instant) -> Option<SimTime> {
        let here = self.monotonic(now);
        if deadline <= here {
            return Some(now);
        }
        if self.stopped {
            return None;
        }
        let own = i128::from(deadline.0 - here.0);
        let rate = MILLION + i128::from(self.ppm);
        // Rounded up and one more, for the rounding down inside `bent`.
        let world = (own * MILLION + rate - 1) / rate + 1;
        Some(now + Duration::from_nanos(u64::try_from(world).unwrap_or(u64::MAX)))
    }

    /// From now both clocks run this much faster than the world.
    pub fn set_rate(&mut self, now: SimTime, ppm: i32) {
        self.bend(now);
        self.ppm = ppm.clamp(-500_000, 500_000);
    }

    /// From now both clocks run at the node's own rate again.
    pub fn reset_rate(&mut self, now: SimTime) {
        self.set_rate(now, self.own_ppm);
    }

    /// The wall clock jumps.
    pub fn jump_wall(&mut self, now: SimTime, by_ms: i64) {
        self.bend(now);
        self.wall = self.wall.saturating_add_signed(by_ms * 1_000_000);
    }

    /// The monotonic clock jumps ahead.
    pub fn jump_monotonic(&mut self, now: SimTime, by_ms: u64) {
        self.bend(now);
        self.monotonic += by_ms * 1_000_000;
    }

    /// The monotonic clock stands still until [`Clock::resume`].
    pub fn stop(&mut self, now: SimTime) {
        self.bend(now);
        self.stopped = true;
    }

    /// The monotonic clock runs again from where it stood.
    pub fn resume(&mut self, now: SimTime) {
        self.bend(now);
        self.stopped = false;
    }

    fn bend(&mut self, now: SimTime) {
        let passed = self.bent(now);
        self.wall += passed;
        if !self.stopped {
            self.monotonic += passed;
        }
        self.from = now;
    }

    /// Nanoseconds that pass here from the last bend to `now`.
    fn bent(&self, now: SimTime) -> u64 {
        let world = i128::from(now.0.saturating_sub(self.from.0));
        (world * (MILLION + i128::from(self.ppm)) / MILLION) as u64
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    fn clock(seed: u64) -> Clock {
        let options = ClockOptions {
            drift_max_ppm: 500,
            wall_offset_max_ms: 5_000,
        };
        Clock::draw(&options, &mut Seed::from_u64(seed).rng())
    }

    #[test]
    fn monotonic_never_runs_back_and_deadlines_are_met_as_early_as_can_be() {
        for seed in 0..50 {
            let mut rng = Seed::from_u64(seed).child("test").rng();
            let mut clock = clock(seed);
            let mut now = SimTime::ZERO;
            let mut shown = clock.monotonic(now);
            for _ in 0..100 {
                match rng.below(6) {
                    0 => clock.set_rate(now, rng.between(0, 1_000) as i32 - 500),
                    1 => clock.reset_rate(now),
                    2 => clock.jump_wall(now, rng.between(0, 20_000) as i64 - 10_000),
                    3 => clock.jump_monotonic(now, rng.below(1_000)),
                    4 => clock.stop(now),
                    _ => clock.resume(now),
                }
                let deadline = clock.monotonic(now) + Duration::from_nanos(rng.below(1 << 32));
                if let Some(when) = clock.when(now, deadline) {
                    assert!(clock.monotonic(when) >= deadline);
                    assert!(when == now || clock.monotonic(SimTime(when.0 - 3)) < deadline);
                }
                now = now + Duration::from_nanos(rng.below(1 << 30));
                assert!(clock.monotonic(now) >= shown);
                shown = clock.monotonic(now);
            }
        }
    }

    #[test]
    fn a_stopped_clock_reaches_nothing() {
        let mut clock = clock(1);
        let now = SimTime(1_000);
        clock.stop(now);
        let later = clock.monotonic(now) + Duration::from_nanos(1);
        assert_eq!(clock.when(now, later), None);
        let wall = clock.wall_us(now);
        assert!(clock.wall_us(now + Duration::from_secs(1)) > wall);
        clock.resume(now + Duration::from_secs(1));
        assert!(clock.when(now + Duration::from_secs(1), later).is_some());
    }
}
