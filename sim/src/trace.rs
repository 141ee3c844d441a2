//! What happened, as a hash, as text, and as the last events before the end.
//!
//! The hash covers every event: when, what, and all that it carries. Two runs with one hash did
//! the same; where two runs of one seed differ, determinism is lost and nothing else counts.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write as _};

use mfsha_core::codec;

use crate::event::{AppliedPayload, Event, FaultStage};
use crate::place::Place;
use crate::time::SimTime;

/// Events kept for the report of a failure.
const RING_LENGTH: usize = 400;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    count: u64,
    /// The last events, or all when the run is told.
    events: VecDeque<(SimTime, Event)>,
    whole: bool,
    /// Where each event is written to as it happens.
    told: Option<BufWriter<File>>,
}

impl Trace {
    /// A trace that keeps all events, or the last alone.
    #[must_use]
    pub fn new(whole: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new_derive_key("mfsha 2026 trace"),
            count: 0,
            events: VecDeque::new(),
            whole,
            told: None,
        }
    }

    /// The same, which writes every event to this file as it happens: a line that begins with the
    /// first half of the hash of the event and its time.
    #[must_use]
    pub fn telling(mut self, file: Option<File>) -> Self {
        self.told = file.map(BufWriter::new);
        self
    }

    /// Takes an event in.
    pub fn record(&mut self, now: SimTime, event: Event) {
        self.hasher.update(&now.0.to_le_bytes());
        absorb(&mut self.hasher, &event);
        if let Some(told) = &mut self.told {
            let line = told_line(now, &event);
            // A file that takes no more ends early, and the comparison says so.
            if told.write_all(line.as_bytes()).is_err() {
                self.told = None;
            }
        }
        self.count += 1;
        if !self.whole && self.events.len() == RING_LENGTH {
            self.events.pop_front();
        }
        self.events.push_back((now, event));
    }

    /// Events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of all events so far, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// The events that were kept.
    #[must_use]
    pub fn events(&self) -> &VecDeque<(SimTime, Event)> {
        &self.events
    }
}

fn told_line(now: SimTime, event: &Event) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&now.0.to_le_bytes());
    absorb(&mut hasher, event);
    let hash = first_half(hasher.finalize());
    let words = line(now, event).replace('\n', "\\n");
    format!("{hash:016x} {words}\n")
}

/// Where two runs that were told become different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// How many events are the same.
    pub same: u64,
    /// The next line of each; `None` where there is none.
    pub next: [Option<String>; 2],
}

/// Where two runs become different ones; `None` when they do not.
///
/// # Errors
/// What was told of one of them cannot be read.
pub fn parting(one: impl BufRead, two: impl BufRead) -> io::Result<Option<Parting>> {
    let (mut one, mut two) = (one.lines(), two.lines());
    let mut same = 0;
    loop {
        let next = [one.next().transpose()?, two.next().transpose()?];
        if next[0] != next[1] {
            return Ok(Some(Parting { same, next }));
        }
        if next[0].is_none() {
            return Ok(None);
        }
        same += 1;
    }
}

/// The first half of the hash of some bytes.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> u64 {
    first_half(blake3::hash(bytes))
}

fn first_half(hash: blake3::Hash) -> u64 {
    let first: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash is longer");
    u64::from_le_bytes(first)
}

/// An event as one aligned line: when, where, what.
#[must_use]
pub fn line(now: SimTime, event: &Event) -> String {
    let place = place(event).map_or_else(String::new, |place| place.to_string());
    format!("{now:>14} {place:<8} {}", words(event))
}

/// Where an event belongs in a drawing; `None` for the world.
#[must_use]
pub fn place(event: &Event) -> Option<Place> {
    match event {
        Event::PhaseBegins { .. }
        | Event::CoreLeads { .. }
        | Event::CoreServes { .. }
        | Event::DetectionJudged
        | Event::CoreLate { .. } => None,
        Event::Fault { fault, .. } => fault.seat().map(Place::Seat),
        Event::NodeStarted { seat, .. }
        | Event::NodeStopped { seat, .. }
        | Event::NodePaused { seat, .. }
        | Event::NodeResumed { seat, .. }
        | Event::NodeReplaced { seat, .. }
        | Event::Corrupted { seat, .. }
        | Event::PeerLost { seat, .. }
        | Event::TransportStarted { seat, .. }
        | Event::IdentityStored { seat, .. }
        | Event::StreamOpened { from: seat, .. }
        | Event::StreamClosed { seat, .. }
        | Event::StreamBroken { seat, .. }
        | Event::PeerUp { seat, .. }
        | Event::Handed { seat, .. }
        | Event::Received { seat, .. }
        | Event::Nonsense { seat, .. }
        | Event::FlushStarted { seat, .. }
        | Event::FlushEnded { seat, .. }
        | Event::CheckpointStarted { seat, .. }
        | Event::CheckpointEnded { seat, .. }
        | Event::DiskCrashed { seat, .. }
        | Event::RoleChanged { seat, .. }
        | Event::Applied { seat, .. }
        | Event::SnapshotInstalled { seat, .. }
        | Event::Report { seat, .. }
        | Event::ChunkOrdered { seat, .. }
        | Event::SpaceTold { seat, .. }
        | Event::Noticed { seat, .. } => Some(Place::Seat(*seat)),
        Event::Sent { from, .. } => Some(*from),
        Event::Delivered { to, .. } | Event::Lost { to, .. } => Some(*to),
        Event::Invoked { client, .. }
        | Event::Attempted { client, .. }
        | Event::Refused { client, .. }
        | Event::Returned { client, .. }
        | Event::GaveUp { client, .. } => Some(Place::Client(*client)),
        Event::ServerStarted { server }
        | Event::ServerSaidThatItStops { server }
        | Event::ServerStopped { server }
        | Event::ServerJoined { server, .. }
        | Event::ServerLeft { server, .. }
        | Event::ChunkDone { server, .. }
        | Event::CopyChanged { server, .. } => Some(Place::Chunkserver(*server)),
        Event::MountRegistered { mount, .. }
        | Event::MountConnected { mount, .. }
        | Event::MountLeft { mount, .. }
        | Event::MountTold { mount, .. }
        | Event::MountLocked { mount, .. }
        | Event::DataSaid { mount, .. }
        | Event::ChainBroke { mount, .. }
        | Event::FetchRefused { mount, .. } => Some(Place::Mount(*mount)),
        Event::FileSaid { .. } | Event::ReadBegan { .. } | Event::ReadEnded { .. } => None,
    }
}

/// An event in words, without its time.
#[must_use]
pub fn words(event: &Event) -> String {
    match event {
        Event::PhaseBegins { phase, core } => format!("phase      {phase:?} core {core:?}"),
        Event::Fault {
            entry,
            fault,
            stage,
        } => match stage {
            FaultStage::Begins => format!("FAULT      #{entry} {fault:?}"),
            FaultStage::Ends => format!("fault ends #{entry} {}", fault.kind().name()),
            FaultStage::Skipped(why) => {
                format!("fault skip #{entry} {}: {why}", fault.kind().name())
            }
        },
        Event::NodeStarted {
            node,
            life,
            applied,
            ..
        } => format!("START      {node} life {life} applied {applied}"),
        Event::NodeStopped { node, reason, .. } => format!("STOP       {node} {reason:?}"),
        Event::NodePaused { node, .. } => format!("pause      {node}"),
        Event::NodeResumed { node, .. } => format!("resume     {node}"),
        Event::NodeReplaced { old, new, .. } => format!("replaced   {old} by {new}"),
        Event::Sent {
            message,
            to,
            bytes,
            hash,
            ..
        } => format!("send       m{} -> {to} {bytes} B {hash:016x}", message.0),
        Event::Delivered { message, from, .. } => format!("deliver    m{} <- {from}", message.0),
        Event::Lost {
            message,
            from,
            reason,
            ..
        } => format!("lose       m{} <- {from} {reason:?}", message.0),
        Event::Corrupted { message, from, .. } => {
            format!(
                "corrupted  m{} <- {from}: a bit was flipped on the way",
                message.0
            )
        }
        Event::PeerLost { peer, .. } => format!("peer lost  {peer}"),
        Event::PeerUp { peer, .. } => format!("peer up    {peer}"),
        Event::TransportStarted { node, life, .. } => format!("dials      {node} life {life}"),
        Event::IdentityStored { ok, formed, .. } => {
            let formed = if *formed { "formed" } else { "not formed" };
            format!("identity   {formed} {}", well(*ok))
        }
        Event::StreamOpened { stream, to, .. } => format!("stream     c{} -> {to}", stream.0),
        Event::StreamClosed { stream, reason, .. } => format!("close      c{} {reason}", stream.0),
        Event::StreamBroken {
            stream,
            how,
            torn_bytes,
            ..
        } => match torn_bytes {
            0 => format!("break      c{} {how:?}", stream.0),
            bytes => format!(
                "TEAR       c{} {how:?} after {bytes} B of a frame",
                stream.0
            ),
        },
        Event::Handed {
            to, bytes, hash, ..
        } => format!("hand       -> {to} {bytes} B {hash:016x}"),
        Event::Received {
            from, bytes, hash, ..
        } => format!("receive    <- {from} {bytes} B {hash:016x}"),
        Event::Nonsense { node, .. } => format!("NONSENSE   came to {node}"),
        Event::FlushStarted { flush, .. } => format!("flush      f{flush}"),
        Event::FlushEnded { flush, ok, .. } => format!("flushed    f{flush} {}", well(*ok)),
        Event::CheckpointStarted { checkpoint, .. } => format!("checkpoint k{checkpoint}"),
        Event::CheckpointEnded { checkpoint, ok, .. } => {
            format!("checkpt'd  k{checkpoint} {}", well(*ok))
        }
        Event::DiskCrashed { summary, .. } => format!("disk       {summary}"),
        Event::RoleChanged {
            node,
            role,
            term,
            leader,
            ..
        } => format!("role       {node} {role:?} {term} leader {leader:?}"),
        Event::Applied { node, entry, .. } => format!(
            "apply      {node} {:?} v{} {}",
            entry.id,
            entry.version,
            payload_words(&entry.payload)
        ),
        Event::SnapshotInstalled { node, applied, .. } => {
            format!("installed  {node} snapshot up to {applied}")
        }
        Event::Report { node, message, .. } => format!("report     {node} {message}"),
        Event::Invoked { call, body, .. } => format!("invoke     #{} {body:?}", call.0),
        Event::Attempted {
            call,
            node,
            attempt,
            ..
        } => format!("ask        #{} {node} attempt {attempt}", call.0),
        Event::Refused {
            call, node, error, ..
        } => format!("refused    #{} {node} {error:?}", call.0),
        Event::Returned {
            call, node, result, ..
        } => format!("return     #{} {node} {result:?}", call.0),
        Event::GaveUp { call, .. } => format!("gave up    #{}", call.0),
        Event::ServerStarted { .. } => "START      chunkserver".into(),
        Event::ServerSaidThatItStops { .. } => "says that it stops".into(),
        Event::ServerStopped { .. } => "STOP       chunkserver".into(),
        Event::ServerJoined {
            seat,
            csid,
            registration,
            ..
        } => format!("joined     {seat} as {csid} registration {registration}"),
        Event::ServerLeft { seat, why, .. } => format!("left       {seat} {why:?}"),
        Event::ChunkOrdered {
            server,
            term,
            order,
            ..
        } => format!("order      cs{server} {term} {order:?}"),
        Event::ChunkDone {
            term, order, done, ..
        } => format!(
            "order {} {term} {order:?}",
            if *done { "done" } else { "FAIL" }
        ),
        Event::CopyChanged { chunk, copy, .. } => format!("copy       {chunk} {copy:?}"),
        Event::SpaceTold {
            total,
            free,
            servers,
            ..
        } => format!("space      {free} of {total} on {servers}"),
        Event::FileSaid { file, fact } => format!("file       {file} {fact:?}"),
        Event::ReadBegan { read, file } => format!("read       #{read} of file {file}"),
        Event::ReadEnded {
            read,
            file,
            content,
            from,
        } => format!("read ends  #{read} of file {file}: {content:?} from {from:?}"),
        Event::MountRegistered {
            session, status, ..
        } => format!("registered {session:?} status {status}"),
        Event::MountConnected { seat, .. } => format!("connects   {seat}"),
        Event::MountLeft { seat, .. } => format!("lost       {seat}"),
        Event::MountTold {
            thread,
            call,
            wrong,
            ..
        } => match wrong {
            None => format!("told       thread {thread} {call}"),
            Some((_, what)) => format!("WRONG      thread {thread} {call}: {what}"),
        },
        Event::MountLocked { held, .. } => match held {
            true => "locks      what all want".into(),
            false => "unlocks    what all want".into(),
        },
        Event::DataSaid { thread, fact, .. } => format!("data       thread {thread} {fact:?}"),
        Event::ChainBroke {
            server,
            chunk,
            version,
            why,
            some,
            ..
        } => format!("chain torn {chunk} version {version} at cs{server} {why:?}, some: {some}"),
        Event::FetchRefused {
            server,
            chunk,
            version,
            why,
            ..
        } => format!("not read   {chunk} version {version} at cs{server} {why:?}"),
        Event::Noticed { index, notices, .. } => format!("notice     {index} {notices:?}"),
        Event::DetectionJudged => "only detection is judged: the run ends here".to_owned(),
        Event::CoreLeads { after } => format!("core has a leader after {after:?}"),
        Event::CoreServes { after } => format!("core serves after {after:?}"),
        Event::CoreLate { what } => format!("CORE LATE  {what}"),
    }
}

fn well(ok: bool) -> &'static str {
    if ok { "ok" } else { "FAILED" }
}

fn payload_words(payload: &AppliedPayload) -> String {
    match payload {
        AppliedPayload::Blank => "blank".into(),
        AppliedPayload::Command { command, outcome } => {
            format!("{:?} -> {:?}", command.op, outcome.result)
        }
        AppliedPayload::Membership(membership) => format!("{membership:?}"),
    }
}

/// Feeds an event into the hash. What carries user data goes in as its encoding, which is quicker
/// than words; the rest goes in as Rust writes it.
fn absorb(hasher: &mut blake3::Hasher, event: &Event) {
    let mut into = Absorber(hasher);
    let written = match event {
        Event::Applied {
            seat,
            node,
            life,
            entry,
        } => {
            let head = write!(
                into,
                "applied{seat}{node}{life}{:?}{}",
                entry.id, entry.version
            );
            match &entry.payload {
                AppliedPayload::Command { command, outcome } => {
                    into.bytes(&codec::encode(&**command));
                    into.bytes(&codec::encode(&**outcome));
                }
                AppliedPayload::Blank => into.bytes(b"blank"),
                AppliedPayload::Membership(membership) => into.bytes(&codec::encode(membership)),
            }
            head
        }
        Event::Invoked { call, client, body } => {
            let head = write!(into, "invoked{}{client}", call.0);
            into.bytes(&codec::encode(body));
            head
        }
        Event::Returned {
            call,
            client,
            node,
            attempt,
            result,
        } => {
            let head = write!(into, "returned{}{client}{node}{attempt}", call.0);
            into.bytes(&codec::encode(result));
            head
        }
        Event::Sent {
            message,
            from,
            to,
            bytes,
            hash,
        } => {
            into.bytes(&message.0.to_le_bytes());
            into.bytes(&from.number().to_le_bytes());
            into.bytes(&to.number().to_le_bytes());
            into.bytes(&(*bytes as u64).to_le_bytes());
            into.bytes(&hash.to_le_bytes());
            Ok(())
        }
        Event::Delivered { message, .. } => {
            into.bytes(&message.0.to_le_bytes());
            Ok(())
        }
        Event::Handed {
            seat,
            node,
            to,
            bulk,
            bytes,
            hash,
        } => {
            into.bytes(&[1, seat.0, u8::from(*bulk)]);
            for number in [node.0, to.0, *bytes as u64, *hash] {
                into.bytes(&number.to_le_bytes());
            }
            Ok(())
        }
        Event::Received {
            seat,
            node,
            from,
            bytes,
            hash,
        } => {
            into.bytes(&[2, seat.0]);
            for number in [node.0, from.0, *bytes as u64, *hash] {
                into.bytes(&number.to_le_bytes());
            }
            Ok(())
        }
        other => write!(into, "{other:?}"),
    };
    written.expect("a hash takes everything");
}

struct Absorber<'a>(&'a mut blake3::Hasher);

impl Absorber<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

impl fmt::Write for Absorber<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;

    use super::*;
    use crate::place::Seat;

    fn paused(seat: u8) -> Event {
        Event::NodePaused {
            seat: Seat(seat),
            node: NodeId(1),
        }
    }

    #[test]
    fn the_hash_knows_time_content_and_order() {
        let hash = |events: &[(u64, u8)]| {
            let mut trace = Trace::new(false);
            for (at, seat) in events {
                trace.record(SimTime(*at), paused(*seat));
            }
            trace.hash()
        };
        let base = hash(&[(1, 0), (2, 1)]);
        assert_eq!(base, hash(&[(1, 0), (2, 1)]));
        assert_ne!(base, hash(&[(1, 1), (2, 0)]));
        assert_ne!(base, hash(&[(1, 0), (3, 1)]));
        assert_ne!(base, hash(&[(1, 0)]));
    }

    #[test]
    fn two_runs_part_at_the_first_event_that_is_another() {
        let told = |events: &[(u64, u8)]| {
            let lines = events
                .iter()
                .map(|(at, seat)| told_line(SimTime(*at), &paused(*seat)));
            lines.collect::<String>()
        };
        let parts = |one: &str, two: &str| parting(one.as_bytes(), two.as_bytes()).unwrap();
        let base = told(&[(1, 0), (2, 1), (3, 2)]);
        assert_eq!(parts(&base, &base), None);
        for other in [told(&[(1, 0), (2, 2), (3, 2)]), told(&[(1, 0), (4, 1)])] {
            let parting = parts(&base, &other).expect("the second is another");
            assert_eq!(parting.same, 1);
            let [one, two] = parting.next.map(|line| line.expect("both go on"));
            assert!(one.contains("seat1"), "{one}");
            assert_ne!(one, two);
        }
        let ends = parts(&base, &told(&[(1, 0), (2, 1)])).expect("the second ends");
        assert_eq!((ends.same, &ends.next[1]), (2, &None));
    }

    #[test]
    fn what_no_words_tell_is_told_by_its_hash() {
        let up = |amid_snapshot| Event::PeerUp {
            seat: Seat(0),
            peer: NodeId(1),
            amid_snapshot,
        };
        assert_eq!(line(SimTime(1), &up(true)), line(SimTime(1), &up(false)));
        let told = |amid| told_line(SimTime(1), &up(amid));
        assert_ne!(told(true), told(false));
    }

    #[test]
    fn the_ring_forgets_but_the_hash_does_not() {
        let (mut ring, mut whole) = (Trace::new(false), Trace::new(true));
        for at in 0..1_000 {
            ring.record(SimTime(at), paused(0));
            whole.record(SimTime(at), paused(0));
        }
        assert_eq!(ring.hash(), whole.hash());
        assert_eq!(ring.events().len(), RING_LENGTH);
        assert_eq!(whole.events().len(), 1_000);
        assert_eq!(ring.count(), 1_000);
    }
}
