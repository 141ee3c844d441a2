//! Requests of sessions, by kind and hour, as the node counts them that a session is connected to.

use std::collections::BTreeMap;

use crate::id::SessionId;
use crate::moosefs::client::Call;
use crate::moosefs::monitor::sessions::COUNTERS;
use crate::time::WallTime;

const HOUR: u32 = 3_600;

/// Requests by kind: STATFS, GETATTR, SETATTR, LOOKUP, MKDIR, RMDIR, SYMLINK, READLINK, MKNOD,
/// UNLINK, RENAME, LINK, READDIR, OPEN, READ, WRITE.
pub type Counters = [u32; COUNTERS];

/// Which counter a request raises.
fn counter(call: &Call) -> Option<usize> {
    Some(match call {
        Call::StatFs(_) => 0,
        Call::GetAttr(_) => 1,
        Call::SetAttr(_) | Call::Truncate(_) => 2,
        Call::Lookup(_) => 3,
        Call::Mkdir(_) => 4,
        Call::Rmdir(_) => 5,
        Call::Symlink(_) => 6,
        Call::ReadLink(_) => 7,
        Call::Mknod(_) | Call::Create(_) => 8,
        Call::Unlink(_) => 9,
        Call::Rename(_) => 10,
        Call::Link(_) => 11,
        Call::ReadDir(_) => 12,
        Call::Open(_) => 13,
        Call::ReadChunk(_) => 14,
        Call::WriteChunk(_) => 15,
        _ => return None,
    })
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Counted {
    /// The hour that is counted.
    hour: u32,
    now: BTreeMap<SessionId, Counters>,
    before: BTreeMap<SessionId, Counters>,
}

impl Counted {
    /// A session asks something.
    pub fn note(&mut self, session: SessionId, call: &Call, now: WallTime) {
        self.turn(now);
        if let Some(counter) = counter(call) {
            let counters = self.now.entry(session).or_default();
            counters[counter] = counters[counter].saturating_add(1);
        }
    }

    /// Nobody of this session is connected any more.
    pub fn forget(&mut self, session: SessionId) {
        self.now.remove(&session);
        self.before.remove(&session);
    }

    /// What a session asked in this hour, and in the one before.
    pub fn of(&mut self, session: SessionId, now: WallTime) -> [Counters; 2] {
        self.turn(now);
        [&self.now, &self.before].map(|hour| hour.get(&session).copied().unwrap_or_default())
    }

    fn turn(&mut self, now: WallTime) {
        let hour = now.0 / HOUR;
        if hour == self.hour {
            return;
        }
        let last = std::mem::take(&mut self.now);
        self.before = match hour == self.hour.wrapping_add(1) {
            true => last,
            false => BTreeMap::new(),
        };
        self.hour = hour;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moosefs::sample::Draw;

    #[test]
    fn an_hour_is_kept_for_one_more() {
        let mut counted = Counted::default();
        let one = SessionId(1);
        let statfs = Call::sample(402, &mut Draw::new(&[]));
        assert!(matches!(statfs, Call::StatFs(_)), "402 is STATFS");
        counted.note(one, &statfs, WallTime(HOUR + 5));
        counted.note(one, &statfs, WallTime(HOUR + 6));
        assert_eq!(counted.of(one, WallTime(HOUR + 9))[0][0], 2);
        let later = WallTime(2 * HOUR);
        counted.note(one, &statfs, later);
        let [now, before] = counted.of(one, later);
        assert_eq!((now[0], before[0]), (1, 2));
        let much_later = WallTime(4 * HOUR);
        assert_eq!(counted.of(one, much_later), [[0; COUNTERS]; 2]);
        counted.note(one, &statfs, much_later);
        counted.forget(one);
        assert_eq!(counted.of(one, much_later), [[0; COUNTERS]; 2]);
    }
}
