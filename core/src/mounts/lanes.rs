//! Numbers for requests of clients that do not number them.
//!
//! A mount names a request by the thread that waits for it, with the same name for the thread's
//! next one, and after a lost connection it sends the same bytes again. So a request is a repeat
//! when it is the first of its thread on a connection, says the same as the last one that was
//! carried out for the thread, and comes soon after it. How long after is told by two clocks that
//! may disagree, so what seems to come late is looked at more closely ([`super::doubt`]).

use std::collections::BTreeMap;

use crate::id::{Lane, RequestSeq, SessionId};
use crate::limits;
use crate::moosefs::client::MsgId;
use crate::namespace::op::{LastRequest, RequestId};
use crate::time::WallTime;

/// A mount gives a request up after 132 s at the most; what says the same later is another one, as
/// long as clocks are right.
const REPEAT_SECONDS_MAX: u32 = 180;
/// For the list of open files, which has no name of its own.
pub(super) const OPEN_FILES: Lane = Lane(limits::LANE_COUNT_MAX - 1);
/// Names of threads end here.
const THREADS_MAX: u32 = limits::LANE_COUNT_MAX - 1;

/// What a request seems to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// When that was carried out, by the clock of who led then.
    pub at: WallTime,
    /// By this node's clock that is longer ago than a mount goes on asking.
    pub late: bool,
}

/// The lanes of one connection.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Lane, Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    seq: RequestSeq,
    print: u64,
    at: WallTime,
    /// Nothing came on this lane since the connection was made.
    fresh: bool,
}

/// The lane of a client's thread; `None` for a name that no client has.
pub(super) fn lane_of(id: MsgId) -> Option<Lane> {
    (id.0 < THREADS_MAX).then_some(Lane(id.0))
}

/// A fingerprint of a packet.
pub(super) fn print_of(kind: u32, payload: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&kind.to_be_bytes());
    hasher.update(payload);
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first)
}

impl Lanes {
    /// The lanes of a session to which a client has just come, or come back.
    pub fn new(lasts: &[LastRequest]) -> Self {
        let lanes = lasts.iter().map(|last| {
            let LastRequest {
                lane,
                seq,
                print,
                at,
            } = *last;
            let fresh = true;
            (
                lane,
                Last {
                    seq,
                    print,
                    at,
                    fresh,
                },
            )
        });
        let lanes = lanes.collect();
        Self { lanes }
    }

    /// A request came that needs no name: what follows on its lane is no repeat.
    pub fn pass(&mut self, lane: Lane) {
        if let Some(last) = self.lanes.get_mut(&lane) {
            last.fresh = false;
        }
    }

    /// Names a request: as the last one when it seems to repeat it, with the next number otherwise.
    /// When it seems so, that is told beside.
    pub fn name(
        &mut self,
        (session, lane): (SessionId, Lane),
        print: u64,
        repeats: bool,
        now: WallTime,
    ) -> (RequestId, Option<Again>) {
        let fresh = false;
        let (seq, again) = match self.lanes.get(&lane) {
            Some(last) if repeats && last.fresh && last.print == print => {
                let again = Again {
                    at: last.at,
                    late: last.at.0.abs_diff(now.0) > REPEAT_SECONDS_MAX,
                };
                (last.seq, Some(again))
            }
            Some(last) => (RequestSeq(last.seq.0 + 1), None),
            None => (RequestSeq(1), None),
        };
        let at = now;
        let last = Last {
            seq,
            print,
            at,
            fresh,
        };
        self.lanes.insert(lane, last);
        let request = RequestId {
            print,
            ..RequestId::new(session, lane, seq)
        };
        (request, again)
    }

    /// Names a request that only seemed to repeat the last one.
    pub fn name_anew(&mut self, request: RequestId) -> RequestId {
        let seq = RequestSeq(request.seq.0 + 1);
        if let Some(last) = self.lanes.get_mut(&request.lane) {
            last.seq = last.seq.max(seq);
        }
        RequestId { seq, ..request }
    }

    /// Names a request again, whose number was another's: the state knows these last requests.
    /// When it seems to be one of them, that is told beside.
    pub fn rename(
        &mut self,
        request: RequestId,
        lasts: &[LastRequest],
    ) -> (RequestId, Option<Again>) {
        let last = lasts.iter().find(|last| last.lane == request.lane);
        let (seq, again) = match last {
            // It was carried out, for another connection of the same client.
            Some(last) if last.print == request.print => {
                let (at, late) = (last.at, false);
                (last.seq, Some(Again { at, late }))
            }
            Some(last) => (RequestSeq(last.seq.0 + 1).max(request.seq), None),
            None => (request.seq, None),
        };
        if let Some(last) = self.lanes.get_mut(&request.lane) {
            last.seq = last.seq.max(seq);
        }
        (RequestId { seq, ..request }, again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(3);

    fn last(lane: u32, seq: u64, print: u64, at: u32) -> LastRequest {
        LastRequest {
            lane: Lane(lane),
            seq: RequestSeq(seq),
            print,
            at: WallTime(at),
        }
    }

    fn seq(lanes: &mut Lanes, lane: u32, print: u64, now: u32) -> u64 {
        let of = (SESSION, Lane(lane));
        lanes.name(of, print, true, WallTime(now)).0.seq.0
    }

    #[test]
    fn the_same_bytes_are_a_repeat_only_at_first() {
        let lasts = [last(1, 7, 70, 1_000), last(2, 8, 80, 1_000)];
        let new = || Lanes::new(&lasts);
        assert_eq!(seq(&mut new(), 1, 70, 1_002), 7, "a repeat");
        assert_eq!(seq(&mut new(), 1, 71, 1_002), 8, "something else");
        assert_eq!(seq(&mut new(), 3, 70, 1_002), 1, "another thread");
        let mut lanes = new();
        assert_eq!(seq(&mut lanes, 1, 70, 1_002), 7);
        assert_eq!(seq(&mut lanes, 1, 70, 1_002), 8, "the thread does it again");
        let mut lanes = new();
        lanes.pass(Lane(1));
        assert_eq!(seq(&mut lanes, 1, 70, 1_002), 8, "it had its answer");
        assert_eq!(seq(&mut lanes, 2, 80, 1_002), 8, "others are not concerned");
        let of = (SESSION, Lane(1));
        assert_eq!(new().name(of, 70, false, WallTime(1_002)).0.seq.0, 8);
    }

    #[test]
    fn a_repeat_that_comes_late_or_by_a_clock_far_behind_is_told_so() {
        for (now, late) in [(1_180, false), (1_181, true), (820, false), (819, true)] {
            let mut lanes = Lanes::new(&[last(1, 7, 70, 1_000)]);
            let of = (SESSION, Lane(1));
            let (request, again) = lanes.name(of, 70, true, WallTime(now));
            assert_eq!(request.seq.0, 7);
            let at = WallTime(1_000);
            assert_eq!(again, Some(Again { at, late }), "{now}");
            assert_eq!(lanes.name_anew(request).seq.0, 8);
        }
    }

    #[test]
    fn a_request_whose_number_is_taken_gets_the_next_or_its_own_outcome() {
        let mut lanes = Lanes::new(&[last(1, 7, 70, 1_000)]);
        let of = (SESSION, Lane(1));
        let (request, _) = lanes.name(of, 71, true, WallTime(1_002));
        let (renamed, again) = lanes.rename(request, &[last(1, 8, 72, 1_003)]);
        assert_eq!((renamed.seq.0, renamed.print, again), (9, 71, None));
        let (renamed, again) = lanes.rename(request, &[last(1, 11, 71, 1_003)]);
        let (at, late) = (WallTime(1_003), false);
        assert_eq!(
            (renamed.seq.0, again),
            (11, Some(Again { at, late })),
            "another connection did it"
        );
        assert_eq!(seq(&mut lanes, 1, 73, 1_004), 12);
    }

    #[test]
    fn what_is_said_twice_has_one_print() {
        assert_eq!(print_of(400, b"ab"), print_of(400, b"ab"));
        assert_ne!(print_of(400, b"ab"), print_of(401, b"ab"));
        assert_ne!(print_of(400, b"ab"), print_of(400, b"ac"));
        assert_eq!(lane_of(MsgId(5)), Some(Lane(5)));
        assert_eq!(lane_of(MsgId(u32::MAX)), None);
        assert_eq!(lane_of(MsgId(OPEN_FILES.0)), None);
    }
}
