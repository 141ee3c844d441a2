//! What the process takes of its machine, as tools of operators are told.

use std::fs;
use std::time::{Duration, Instant};

use mfsha_core::monitoring::Process;
use mfsha_core::time::WallTime;

/// How often it is looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Ticks of the system's clock a second, in which it counts the time of processors: the same on
/// all of Linux.
const TICKS: u64 = 100;
/// Tenths of a microsecond in a tick.
const UNITS: u64 = 10_000_000 / TICKS;

/// See the module's documentation.
pub(super) struct Watch {
    process: Process,
    last: Option<(Instant, [u64; 2])>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            process: Process::default(),
            last: None,
        }
    }

    /// The state was stored, or could not be.
    pub(super) fn stored(&mut self, at: WallTime, took: Duration, good: bool) {
        self.process.store_failed = !good;
        if good {
            self.process.stored_at = at;
            self.process.stored_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        }
    }

    /// How the process stands now.
    pub(super) fn look(&mut self) -> Process {
        if let Some(memory) = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(memory)
        {
            self.process.memory = memory;
        }
        if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().and_then(ticks) {
            let now = Instant::now();
            if let Some((at, before)) = self.last.replace((now, ticks)) {
                let passed = now.duration_since(at).as_micros().max(1);
                let a_second = |now: u64, before: u64| {
                    let took = u128::from(now.saturating_sub(before) * UNITS);
                    u64::try_from(took * 1_000_000 / passed).unwrap_or(u64::MAX)
                };
                self.process.user_time = a_second(ticks[0], before[0]);
                self.process.system_time = a_second(ticks[1], before[1]);
            }
        }
        self.process
    }
}

/// Memory in use, bytes, from `/proc/self/status`.
fn memory(status: String) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1_024)
}

/// Ticks outside and within the system, from `/proc/self/stat`. The name of the program, which may
/// hold anything, is in brackets.
fn ticks(stat: String) -> Option<[u64; 2]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some([user, system])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_understood() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14".to_owned();
        assert_eq!(ticks(stat), Some([11, 12]));
        assert_eq!(ticks(String::new()), None);
        let status = "Name:\tx\nVmRSS:\t    1234 kB\n".to_owned();
        assert_eq!(memory(status), Some(1_234 * 1_024));
        assert_eq!(memory("Name:\tx\n".to_owned()), None);
    }

    #[test]
    fn this_process_takes_something() {
        let mut watch = Watch::new();
        assert!(watch.look().memory > 0);
        watch.stored(WallTime(9), Duration::from_millis(70), true);
        watch.stored(WallTime(12), Duration::from_millis(80), false);
        let process = watch.look();
        assert_eq!((process.stored_at, process.stored_ms), (WallTime(9), 70));
        assert!(process.store_failed);
    }
}
