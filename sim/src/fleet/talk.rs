//! What a chunkserver says to its node, and what it hears: packets of MooseFS.

use std::time::Duration;

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::id::CsId;
use mfsha_core::moosefs::chunkserver::{
    Ack, ListBuf, Load, Operation, Register, Sources, SpaceReport, Strain, ToChunkserver, ToMaster,
};

use crate::event::Departure;
use crate::view::View;

use super::server::Stage;
use super::{Deed, Fleet, Moment};

/// A chunkserver gives a sign of life this often.
const BEAT: Duration = Duration::from_secs(1);
/// Copies that it names at once.
const PORTION: usize = 3;

impl Fleet {
    pub(super) fn utter<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        said: &ToMaster<'_>,
        out: &mut Vec<Deed>,
    ) {
        let bytes = said.encode().expect("a chunkserver says short things");
        self.say(view, conn, true, bytes, out);
    }

    /// Bytes arrive at a chunkserver.
    pub(super) fn on_down<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        bytes: &[u8],
        out: &mut Vec<Deed>,
    ) {
        let Some(server) = self.end_of(conn) else {
            return;
        };
        if self.links.get(&conn).is_none_or(|link| link.line.broken) {
            return;
        }
        let talk = &mut self.server(server).talk;
        talk.heard_at = view.now;
        talk.reader.push(bytes);
        loop {
            // It may have given the connection up by what it heard.
            if self.end_of(conn).is_none() {
                return;
            }
            let packet = match self.server(server).talk.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return,
                Err(error) => panic!("a face wrote nonsense: {error}"),
            };
            match ToChunkserver::parse(packet.kind, &packet.payload) {
                Ok(ToChunkserver::Nop) => {}
                Ok(ToChunkserver::Ack(ack)) => self.on_ack(view, conn, server, ack, out),
                Ok(ToChunkserver::Operation(operation)) => {
                    self.on_operation(view, conn, server, operation, out);
                }
                Ok(other) => panic!("a face said {other:?}, which nobody asked for"),
                Err(error) => panic!("a face wrote nonsense: {error}"),
            }
        }
    }

    fn on_ack<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        server: u8,
        ack: Ack,
        out: &mut Vec<Deed>,
    ) {
        let stage = self.server(server).talk.stage;
        match (stage, ack) {
            (
                Stage::Registering,
                Ack::Welcome {
                    timeout_seconds,
                    csid,
                    metaid,
                    ..
                },
            ) => {
                let silence_max = Duration::from_secs(timeout_seconds.get().into());
                self.on_welcome(view, conn, server, (csid, metaid, silence_max), out);
            }
            (Stage::Registering, Ack::Redirect { .. }) => {
                self.give_up(view.now, conn, Departure::PutOff, out);
            }
            (Stage::Naming(_), Ack::Next) => self.name_copies(view, conn, server, out),
            (stage, ack) => panic!("{ack:?} came for {stage:?}"),
        }
    }

    /// It is taken in: names what it has.
    fn on_welcome<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        server: u8,
        (csid, metaid, silence_max): (CsId, u64, Duration),
        out: &mut Vec<Deed>,
    ) {
        let it = self.server(server);
        let kept = *it.metaid.get_or_insert(metaid);
        assert_eq!(kept, metaid, "a chunkserver keeps to its cluster");
        it.csid = csid;
        it.talk.silence_max = silence_max;
        it.talk.stage = Stage::Naming(None);
        it.talk.space = it.space();
        self.beat_in(view, conn, out);
        self.name_copies(view, conn, server, out);
    }

    /// Names the next copies as they are now; behind the last those that are bad.
    fn name_copies<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        server: u8,
        out: &mut Vec<Deed>,
    ) {
        let it = self.server(server);
        let Stage::Naming(after) = it.talk.stage else {
            return;
        };
        let copies = it.copies_after(after, PORTION);
        if let Some(last) = copies.last() {
            it.talk.stage = Stage::Naming(Some(last.chunk));
            let copies: ListBuf<_> = copies.into_iter().collect();
            let said = ToMaster::Register(Register::Copies(copies.as_list()));
            return self.utter(view, conn, &said, out);
        }
        it.talk.stage = Stage::Member;
        let bad: ListBuf<_> = it.bad_chunks().collect();
        if !bad.as_list().is_empty() {
            let said = ToMaster::ChunkDamaged(bad.as_list());
            self.utter(view, conn, &said, out);
        }
        self.utter(view, conn, &ToMaster::Register(Register::End), out);
    }

    fn beat_in<T>(&self, view: &View<'_, T>, conn: ConnId, out: &mut Vec<Deed>) {
        out.push(Deed::Plan {
            at: view.now + BEAT,
            moment: Moment::Beat { conn },
        });
    }

    /// A sign of life, and what has changed; or the end, after too long a silence.
    pub(super) fn on_beat<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        out: &mut Vec<Deed>,
    ) {
        let Some(server) = self.end_of(conn) else {
            return;
        };
        let it = self.server(server);
        if view.now.since(it.talk.heard_at) > it.talk.silence_max {
            return self.give_up(view.now, conn, Departure::Silence, out);
        }
        let space = it.space();
        let jobs = it.jobs.len() as u32;
        let changed = std::mem::replace(&mut it.talk.space, space) != space;
        let load_changed = std::mem::replace(&mut it.talk.jobs, jobs) != jobs;
        self.utter(view, conn, &ToMaster::Nop, out);
        if changed {
            let space = SpaceReport::Full(space);
            self.utter(view, conn, &ToMaster::Space(space), out);
        }
        if load_changed {
            let strain = Some(Strain::Ok);
            self.utter(
                view,
                conn,
                &ToMaster::CurrentLoad(Load { jobs, strain }),
                out,
            );
        }
        self.beat_in(view, conn, out);
    }

    /// Its registration was not answered for long.
    pub(super) fn on_late<T>(&mut self, view: &View<'_, T>, conn: ConnId, out: &mut Vec<Deed>) {
        if let Some(server) = self.end_of(conn)
            && matches!(self.server(server).talk.stage, Stage::Registering)
        {
            self.give_up(view.now, conn, Departure::Late, out);
        }
    }

    /// An order has ended.
    pub(super) fn answer<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        operation: &Operation,
        done: bool,
        out: &mut Vec<Deed>,
    ) {
        let said = operation.done(u8::from(!done));
        self.utter(view, conn, &said, out);
    }
}

/// What an operation is to its node.
pub(super) fn order_of(operation: &Operation) -> Order {
    match operation {
        Operation::Create(new) => Order::Create {
            chunk: new.chunk,
            version: new.version,
        },
        Operation::Delete(at) => {
            assert_eq!(at.version, 0, "copies go whatever their version");
            Order::Delete { chunk: at.chunk }
        }
        Operation::Duplicate { new, old } => Order::Duplicate {
            chunk: new.chunk,
            version: new.version,
            from: old.chunk,
            from_version: old.version,
        },
        Operation::SetVersion { new, old_version } => Order::SetVersion {
            chunk: new.chunk,
            from: *old_version,
            to: new.version,
        },
        Operation::Replicate {
            new,
            sources: Sources::One(source),
        } => Order::Replicate {
            chunk: new.chunk,
            version: new.version,
            source: mfsha_core::chunks::Address {
                ip: source.ip,
                port: source.port,
            },
        },
        Operation::Truncate {
            new,
            length,
            old_version,
        } => Order::Truncate {
            chunk: new.chunk,
            from: *old_version,
            to: new.version,
            bytes: *length,
        },
        Operation::DupTrunc { new, old, length } => Order::DupTrunc {
            chunk: new.chunk,
            version: new.version,
            from: old.chunk,
            from_version: old.version,
            bytes: *length,
        },
        Operation::Replicate { .. } | Operation::ChunkOp(_) => {
            panic!("a node of ours never asks for {operation:?}")
        }
    }
}
