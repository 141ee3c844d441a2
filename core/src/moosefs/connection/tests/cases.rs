//! One rule a test.

use super::super::*;
use super::{done, packet, written};
use crate::machine::{Machine, Outbox};
use crate::time::Instant;

const GETATTR: u32 = 408;
const REGISTER: u32 = 400;
const CLIENT_NOP: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const SERVER_NOP: [u8; 8] = [0; 8];

const REGISTERED: Standing = Standing::Registered { silence_max: None };

fn ms(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// A connection and its clock. Everything that is handed over is in the socket at once, unless
/// `deaf`.
struct Rig {
    connection: Connection,
    now: Instant,
    deaf: bool,
}

impl Rig {
    fn new(options: Options) -> Self {
        Self {
            connection: Connection::new(options, Instant::ZERO),
            now: Instant::ZERO,
            deaf: false,
        }
    }

    /// A client that has registered at the start.
    fn registered(options: Options) -> Self {
        let mut rig = Self::new(options);
        let effects = rig.bytes(&packet(REGISTER, b"please"));
        let [request] = requests(&effects)[..] else {
            panic!("one packet: {effects:?}");
        };
        let reply = Reply::Packet(packet(401, &[0]));
        rig.give(Input::Done {
            request,
            reply,
            standing: REGISTERED,
        });
        assert!(rig.connection.is_registered());
        rig
    }

    fn give(&mut self, input: Input) -> Vec<Effect> {
        let mut todo = vec![input];
        let mut effects = Vec::new();
        while let Some(input) = todo.pop() {
            let mut out = Outbox::new();
            self.connection.step(self.now, input, &mut out);
            self.connection.check();
            for effect in out.drain() {
                if let Effect::Write { bytes } = &effect
                    && !self.deaf
                {
                    let bytes = bytes.len();
                    todo.push(Input::Written { bytes });
                }
                effects.push(effect);
            }
        }
        effects
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<Effect> {
        self.give(Input::Bytes(bytes.to_vec()))
    }

    fn push(&mut self, packet: Vec<u8>) -> Vec<Effect> {
        let standing = Standing::Same;
        self.give(Input::Push { packet, standing })
    }

    /// Lets time pass; ticks exactly at each deadline.
    fn pass_until(&mut self, until: Instant) -> Vec<(Instant, Effect)> {
        let mut effects = Vec::new();
        while let Some(at) = self.connection.deadline().filter(|at| *at <= until) {
            self.now = at;
            let news = self.give(Input::Tick);
            assert!(!news.is_empty(), "a deadline is there for something");
            effects.extend(news.into_iter().map(|effect| (at, effect)));
        }
        self.now = until;
        effects
    }
}

fn requests(effects: &[Effect]) -> Vec<RequestNo> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Packet { request, .. } => Some(*request),
        _ => None,
    });
    requests.collect()
}

fn close(reason: Closed) -> Effect {
    Effect::Close { reason }
}

/// Bytes that were written, and when.
fn writes(effects: &[(Instant, Effect)]) -> Vec<(Instant, Vec<u8>)> {
    let writes = effects.iter().filter_map(|(at, effect)| match effect {
        Effect::Write { bytes } => Some((*at, bytes.clone())),
        _ => None,
    });
    writes.collect()
}

#[test]
fn a_registered_client_gets_a_sign_of_life_each_second_while_its_request_is_worked_on() {
    let mut rig = Rig::registered(Options::client());
    rig.bytes(&packet(GETATTR, b"1"));
    let mut signs = Vec::new();
    for second in 1..=30 {
        rig.bytes(&CLIENT_NOP);
        signs.extend(writes(&rig.pass_until(ms(second * 1_000))));
    }
    let expected = (1..=30).map(|s| (ms(s * 1_000), CLIENT_NOP.to_vec()));
    assert_eq!(signs, expected.collect::<Vec<_>>());
}

#[test]
fn output_puts_the_sign_of_life_off() {
    let mut rig = Rig::registered(Options::client());
    rig.pass_until(ms(999));
    assert_eq!(
        written(&rig.push(packet(706, &[0; 4]))),
        packet(706, &[0; 4])
    );
    let signs = writes(&rig.pass_until(ms(1_999)));
    assert_eq!(signs, [(ms(1_999), CLIENT_NOP.to_vec())]);
}

#[test]
fn an_unregistered_client_is_left_in_peace_at_first() {
    let mut rig = Rig::new(Options::client());
    let signs = writes(&rig.pass_until(ms(9_999)));
    assert_eq!(signs, [(ms(5_000), CLIENT_NOP.to_vec())]);
}

#[test]
fn a_chunkserver_gets_no_sign_of_life_before_its_answer() {
    let mut rig = Rig::new(Options::chunkserver());
    assert_eq!(rig.pass_until(ms(9_000)), []);
    let effects = rig.bytes(&packet(100, &[60; 55]));
    // The owner takes its time, which is not the server's fault.
    assert_eq!(rig.pass_until(ms(60_000)), []);
    let silence_max = Some(Duration::from_secs(6));
    let answer = rig.give(Input::Done {
        request: requests(&effects)[0],
        reply: Reply::Packet(packet(104, &[0; 17])),
        standing: Standing::Registered { silence_max },
    });
    assert_eq!(written(&answer), packet(104, &[0; 17]));
    let passed = rig.pass_until(ms(66_000));
    let silent = Closed::Silent(Duration::from_secs(6));
    assert_eq!(
        passed,
        [
            (
                ms(62_000),
                Effect::Write {
                    bytes: SERVER_NOP.to_vec()
                }
            ),
            (
                ms(64_000),
                Effect::Write {
                    bytes: SERVER_NOP.to_vec()
                }
            ),
            (ms(66_000), close(silent)),
        ]
    );
}

#[test]
fn a_chunkserver_that_is_told_to_wait_gets_signs_of_life_and_is_registered_later() {
    let mut rig = Rig::new(Options::chunkserver());
    let effects = rig.bytes(&packet(100, &[60; 55]));
    let silence_max = Some(Duration::from_secs(3));
    rig.give(Input::Done {
        request: requests(&effects)[0],
        reply: Reply::Packet(packet(104, &[2; 7])),
        standing: Standing::Waiting { silence_max },
    });
    for second in 1..=20 {
        let signs = writes(&rig.pass_until(ms(second * 1_000)));
        assert_eq!(signs, [(ms(second * 1_000), SERVER_NOP.to_vec())]);
        rig.bytes(&SERVER_NOP);
    }
    assert!(!rig.connection.is_registered());
    let (kind, length) = (101, 40);
    let early = Closed::NotRegistered { kind, length };
    let standing = Standing::Registered { silence_max };
    let packet_ok = packet(104, &[0; 17]);
    let registered = Input::Push {
        packet: packet_ok.clone(),
        standing,
    };
    assert_eq!(written(&rig.give(registered)), packet_ok);
    assert_eq!(requests(&rig.bytes(&packet(101, &[0; 40]))).len(), 1);
    let mut other = Rig::new(Options::chunkserver());
    assert_eq!(other.bytes(&packet(101, &[0; 40])), [close(early)]);
}

#[test]
fn a_silent_client_is_closed_after_ten_seconds_and_not_before() {
    let mut rig = Rig::registered(Options::client());
    rig.pass_until(ms(2_500));
    rig.bytes(&CLIENT_NOP[..5]);
    let passed = rig.pass_until(ms(12_499));
    assert!(
        !passed
            .iter()
            .any(|(_, e)| matches!(e, Effect::Close { .. }))
    );
    let silent = close(Closed::Silent(Duration::from_secs(10)));
    let passed = rig.pass_until(ms(12_500));
    assert_eq!(passed.last(), Some(&(ms(12_500), silent)));
    assert_eq!(rig.bytes(&CLIENT_NOP), [], "nothing follows");
}

#[test]
fn who_never_registers_is_closed_whatever_trickles_in() {
    let mut rig = Rig::new(Options::client());
    let register = packet(REGISTER, &[1; 100]);
    let mut closed = None;
    for (at, byte) in register.iter().enumerate() {
        let at = ms(at as u64 * 1_000 + 1);
        let passed = rig.pass_until(at);
        closed = closed.or(passed
            .into_iter()
            .find(|(_, e)| matches!(e, Effect::Close { .. })));
        rig.bytes(&CLIENT_NOP[..0]);
        rig.bytes(&[*byte]);
    }
    let never = close(Closed::NeverRegistered(Duration::from_secs(10)));
    assert_eq!(closed, Some((ms(10_000), never.clone())));

    let mut rig = Rig::new(Options::client());
    for second in 1..10 {
        rig.pass_until(ms(second * 1_000));
        assert_eq!(rig.bytes(&CLIENT_NOP), []);
    }
    assert_eq!(rig.pass_until(ms(10_000)), [(ms(10_000), never)]);
}

#[test]
fn monitoring_goes_on_without_a_registration_while_it_asks() {
    let mut rig = Rig::new(Options::client());
    for second in (4..100).step_by(4) {
        assert_eq!(rig.pass_until(ms(second * 1_000)), [], "{second}");
        let effects = rig.bytes(&packet(510, &[]));
        let reply = Reply::Packet(packet(511, &[0; 149]));
        rig.give(done(requests(&effects)[0], reply));
    }
    let passed = rig.pass_until(ms(106_000));
    let never = close(Closed::NeverRegistered(Duration::from_secs(10)));
    assert_eq!(passed.last(), Some(&(ms(106_000), never)));
}

#[test]
fn only_some_packets_come_before_a_registration() {
    for (options, allowed) in [
        (Options::client(), vec![10, 80, 400]),
        (Options::chunkserver(), vec![10, 80, 100]),
    ] {
        let client = options.side == Side::Client;
        for kind in 3..800 {
            let mut rig = Rig::new(options.clone());
            let effects = rig.bytes(&packet(kind, b"abc"));
            let info = client && (500..=546).contains(&kind);
            if allowed.contains(&kind) || info {
                assert_eq!(requests(&effects), [RequestNo(1)], "{kind}");
            } else {
                let early = Closed::NotRegistered { kind, length: 3 };
                assert_eq!(effects, [close(early)], "{kind}");
            }
        }
    }
}

#[test]
fn what_follows_a_registration_waits_for_its_answer() {
    let mut rig = Rig::new(Options::client());
    let both = [packet(REGISTER, b"please"), packet(GETATTR, b"1")].concat();
    let effects = rig.bytes(&both);
    let [
        Effect::Packet { request, .. },
        Effect::Reading { on: false },
    ] = effects[..]
    else {
        panic!("the registration alone: {effects:?}");
    };
    let reply = Reply::Packet(packet(401, &[0; 49]));
    let effects = rig.give(Input::Done {
        request,
        reply,
        standing: REGISTERED,
    });
    let next = Packet {
        kind: GETATTR,
        payload: b"1".to_vec(),
    };
    assert!(effects.contains(&Effect::Packet {
        request: RequestNo(2),
        packet: next
    }));
    assert!(effects.contains(&Effect::Reading { on: true }));
}

#[test]
fn wrong_lengths_and_too_long_packets_end_a_connection() {
    for (kind, length) in [(0, 1), (0, 5), (0, 12), (1, 0), (1, 13), (2, 20)] {
        let mut rig = Rig::registered(Options::client());
        let effects = rig.bytes(&packet(kind, &vec![0; length]));
        assert_eq!(effects, [close(Closed::WrongLength { kind, length })]);
    }
    for (kind, length) in [(0, 0), (0, 4), (1, 12), (1, 16), (2, 12), (2, 16)] {
        let mut rig = Rig::registered(Options::client());
        assert_eq!(rig.bytes(&packet(kind, &vec![0; length])), [], "{kind}");
    }
    // A chunkserver was told to do something, and does not: that is for the owner.
    for (kind, heard) in [(0, 0), (1, 1), (2, 1)] {
        let payload = vec![0; 12 * heard];
        let mut rig = Rig::new(Options::chunkserver());
        rig.give(Input::Push {
            packet: packet(104, &[0]),
            standing: REGISTERED,
        });
        assert_eq!(rig.bytes(&packet(kind, &payload)).len(), heard, "{kind}");
        let mut rig = Rig::new(Options::chunkserver());
        assert_eq!(rig.bytes(&packet(kind, &payload)), [], "{kind}");
    }
    let header = |length: u32| [GETATTR.to_be_bytes(), length.to_be_bytes()].concat();
    let mut rig = Rig::registered(Options::client());
    assert_eq!(rig.bytes(&header(50_000_000)), []);
    let mut rig = Rig::registered(Options::client());
    let error = TooLong {
        kind: GETATTR,
        length: 50_000_001,
        limit: 50_000_000,
    };
    let effects = rig.bytes(&header(50_000_001));
    assert_eq!(effects, [close(Closed::TooLong(error))]);
    let mut rig = Rig::new(Options::client());
    let effects = rig.bytes(&header((1 << 20) + 1));
    assert!(matches!(
        effects[..],
        [Effect::Close {
            reason: Closed::TooLong(TooLong {
                limit: 1_048_576,
                ..
            })
        }]
    ));
}

#[test]
fn too_many_requests_stop_the_reading_and_none_is_lost() {
    let mut options = Options::client();
    options.requests_max = 3;
    let mut rig = Rig::registered(options);
    let stream: Vec<u8> = (0..10).flat_map(|n| packet(GETATTR, &[n])).collect();
    let effects = rig.bytes(&stream);
    let first = requests(&effects);
    assert_eq!(first.len(), 3);
    assert_eq!(effects.last(), Some(&Effect::Reading { on: false }));
    // While it is not listened to, it is not silent.
    let passed = rig.pass_until(ms(60_000));
    assert!(
        passed
            .iter()
            .all(|(_, e)| matches!(e, Effect::Write { .. }))
    );
    let mut open: std::collections::VecDeque<_> = first.into();
    let mut seen = 3;
    let mut last = Vec::new();
    // In whatever order they are answered.
    while let Some(request) = open.pop_back() {
        last = rig.give(done(request, Reply::None));
        let news = requests(&last);
        seen += news.len();
        open.extend(news);
        assert!(rig.connection.requests() <= 3);
        if rig.connection.requests() < 3 {
            break;
        }
    }
    assert_eq!(seen, 10);
    assert_eq!(last, [Effect::Reading { on: true }]);
}

#[test]
fn many_bytes_of_requests_stop_the_reading() {
    let mut options = Options::chunkserver();
    options.request_bytes_max = 1_000;
    let mut rig = Rig::registered_chunkserver(options);
    let effects = rig.bytes(&packet(107, &[0; 12 * 100]));
    assert_eq!(effects.last(), Some(&Effect::Reading { on: false }));
    let effects = rig.give(done(requests(&effects)[0], Reply::None));
    assert_eq!(effects, [Effect::Reading { on: true }]);
}

impl Rig {
    fn registered_chunkserver(options: Options) -> Self {
        let mut rig = Self::new(options);
        let effects = rig.bytes(&packet(100, &[60; 55]));
        rig.give(Input::Done {
            request: requests(&effects)[0],
            reply: Reply::Packet(packet(104, &[0; 17])),
            standing: REGISTERED,
        });
        rig
    }
}

#[test]
fn replies_that_are_not_taken_stop_the_reading_until_half_is() {
    let mut options = Options::client();
    options.output_bytes_max = 1_000;
    options.handed_bytes_max = 100;
    let mut rig = Rig::registered(options);
    rig.deaf = true;
    let stream: Vec<u8> = (0..4).flat_map(|n| packet(GETATTR, &[n])).collect();
    let open = requests(&rig.bytes(&stream));
    let reply = |_| Reply::Packet(packet(409, &[0; 292]));
    let mut effects = Vec::new();
    for request in open {
        effects = rig.give(done(request, reply(request)));
    }
    assert_eq!(effects, [Effect::Reading { on: false }]);
    assert_eq!(rig.connection.held_bytes(), 1_200);
    let mut on_at = None;
    for round in 1..=12 {
        let effects = rig.give(Input::Written { bytes: 100 });
        if effects.contains(&Effect::Reading { on: true }) {
            on_at = on_at.or(Some(round));
        }
    }
    assert_eq!(on_at, Some(7), "when 500 bytes are left");
    assert_eq!(rig.connection.held_bytes(), 0);
}

#[test]
fn who_reads_nothing_is_closed_though_it_speaks() {
    let mut rig = Rig::registered(Options::client());
    rig.deaf = true;
    rig.push(packet(706, &[0; 4]));
    for second in 1..10 {
        assert_eq!(rig.pass_until(ms(second * 1_000)), []);
        rig.bytes(&CLIENT_NOP);
        // More to say does not give it more time.
        rig.push(packet(706, &[0; 4]));
    }
    let reason = Closed::NotReading(Duration::from_secs(10));
    assert_eq!(rig.pass_until(ms(10_000)), [(ms(10_000), close(reason))]);
}

#[test]
fn who_reads_slowly_is_kept_until_too_much_waits() {
    let mut options = Options::client();
    options.output_bytes_max = 100;
    options.output_bytes_limit = 200;
    options.handed_bytes_max = 50;
    let mut rig = Rig::registered(options);
    rig.deaf = true;
    for second in 1..40 {
        rig.pass_until(ms(second * 1_000));
        rig.push(packet(706, &[0; 4]));
        rig.push(packet(706, &[0; 4]));
        let waits = rig.connection.held_bytes();
        // A sign of life at first, and each second two pushes more and one less.
        assert_eq!(waits, 24 + 12 * second as usize);
        if waits > 200 - 24 {
            let effects = rig.push(packet(703, &[0; 16]));
            let reason = Closed::TooFarBehind {
                bytes: waits as u64 + 24,
                limit: 200,
            };
            return assert_eq!(effects, [close(reason)]);
        }
        rig.give(Input::Written { bytes: 12 });
    }
    panic!("it was never too far behind");
}

#[test]
fn a_long_reply_is_asked_for_in_parts_and_nothing_gets_in_between() {
    let mut options = Options::client();
    options.handed_bytes_max = 1_000;
    let mut rig = Rig::registered(options);
    let open = requests(&rig.bytes(&[packet(428, b"d"), packet(GETATTR, b"1")].concat()));
    let whole: Vec<u8> = packet(429, &(0..5_000).map(|n| n as u8).collect::<Vec<_>>());
    let packet_bytes = whole.len() as u64;
    let effects = rig.give(done(open[0], Reply::InParts { packet_bytes }));
    let request = open[0];
    let wanted = |bytes_left| Effect::PartWanted {
        request,
        bytes_left,
    };
    assert_eq!(effects, [wanted(packet_bytes)]);
    let other = packet(409, &[0; 40]);
    assert_eq!(rig.give(done(open[1], Reply::Packet(other.clone()))), []);
    let mut said = Vec::new();
    let mut left = packet_bytes;
    for part in whole.chunks(1_700) {
        // A second passes before each part, and no sign of life cuts the packet.
        rig.bytes(&CLIENT_NOP);
        let later = rig.now + Duration::from_secs(1);
        assert_eq!(rig.pass_until(later), []);
        let bytes = part.to_vec();
        let effects = rig.give(Input::Part { request, bytes });
        let pieces = effects.iter().filter_map(|effect| match effect {
            Effect::Write { bytes } => Some(bytes.len()),
            _ => None,
        });
        assert!(pieces.clone().all(|bytes| bytes <= 1_000));
        said.extend(written(&effects));
        left -= part.len() as u64;
        assert_eq!(effects.contains(&wanted(left)), left > 0);
    }
    assert_eq!(said, [whole, other].concat());
}

#[test]
fn what_was_said_is_written_before_the_end() {
    let mut options = Options::client();
    options.handed_bytes_max = 10;
    let mut rig = Rig::registered(options);
    rig.deaf = true;
    let open = requests(&rig.bytes(&packet(REGISTER, b"close")));
    let reply = packet(401, &[0]);
    let mut said = written(&rig.give(done(open[0], Reply::Packet(reply.clone()))));
    said.extend(written(&rig.give(Input::Finish)));
    assert_eq!(rig.bytes(&packet(GETATTR, b"1")), [], "nothing is heard");
    while said.len() < reply.len() {
        let effects = rig.give(Input::Written { bytes: 3 });
        said.extend(written(&effects));
    }
    assert_eq!(said, reply);
    let effects = rig.give(Input::Written { bytes: 9 - 3 * 3 });
    assert_eq!(effects, [], "not all of it is in the socket");
    let left = rig.connection.held_bytes();
    let effects = rig.give(Input::Written { bytes: left });
    assert_eq!(effects, [close(Closed::Finished)]);
}

#[test]
fn a_finished_connection_does_not_linger_for_ever() {
    let mut options = Options::client();
    options.linger_max = Duration::from_secs(2);
    let mut rig = Rig::registered(options);
    rig.deaf = true;
    rig.push(packet(706, &[0; 4]));
    rig.give(Input::Finish);
    let reason = Closed::Lingered(Duration::from_secs(2));
    assert_eq!(rig.pass_until(ms(9_000)), [(ms(2_000), close(reason))]);
}

#[test]
fn the_owner_and_the_other_side_end_it_at_once() {
    let mut rig = Rig::registered(Options::client());
    rig.bytes(&packet(GETATTR, b"1"));
    let reason = "packet 408 ends too early".to_owned();
    let effects = rig.give(Input::Drop {
        reason: reason.clone(),
    });
    assert_eq!(effects, [close(Closed::Dropped(reason))]);
    // The owner may still be busy with it.
    assert_eq!(rig.give(done(RequestNo(2), Reply::None)), []);
    let mut rig = Rig::new(Options::client());
    let reason = "connection reset".to_owned();
    let effects = rig.give(Input::Ended {
        reason: reason.clone(),
    });
    assert_eq!(effects, [close(Closed::Ended(reason))]);
}

#[test]
fn a_process_that_was_paused_blames_nobody() {
    let mut rig = Rig::registered(Options::client());
    rig.pass_until(ms(1_500));
    rig.bytes(&CLIENT_NOP);
    rig.now = ms(100_000);
    let effects = rig.give(Input::Tick);
    assert_eq!(written(&effects), CLIENT_NOP);
    let passed = rig.pass_until(ms(200_000));
    let silent = close(Closed::Silent(Duration::from_secs(10)));
    // 98 s after the deadline at 2 s, the rest of its patience goes on.
    assert_eq!(passed.last(), Some(&(ms(109_500), silent)));
}

#[test]
#[should_panic(expected = "the owner finishes what it has, once")]
fn a_packet_is_finished_once() {
    let mut rig = Rig::registered(Options::client());
    let open = requests(&rig.bytes(&packet(GETATTR, b"1")));
    rig.give(done(open[0], Reply::None));
    rig.give(done(open[0], Reply::None));
}
