//! How a chunkserver gets in, names what it has, and leaves.

use super::{Chunkservers, Member, Registering, Server, Stage};
use crate::chunks::{Address, ConnId, Report};
use crate::chunkservers::orders::Orders;
use crate::chunkservers::registration::{Form, Registration};
use crate::chunkservers::{Effect, reports};
use crate::exports::password::{self, CHALLENGE_BYTES};
use crate::id::{CsId, Lane, RequestSeq, SessionId};
use crate::machine::Outbox;
use crate::moosefs::chunkserver::{Ack, Begin, Register, ToChunkserver};
use crate::moosefs::connection::{self, RequestNo, Standing};
use crate::moosefs::version::Version;
use crate::namespace::op::{Reply, RequestId};
use crate::native::request::{CallId, ClientId, Response, ResponseBody};

impl Chunkservers {
    pub(super) fn on_register(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        register: Register<'_>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(server) = self.servers.get_mut(&conn) else {
            return;
        };
        let (peer, ours) = (server.ip, self.options.timeout_seconds);
        match (&mut server.stage, register) {
            (Stage::New { .. }, Register::Begin(begin)) => {
                if let Some(may) = self.judge(conn, request, &begin) {
                    let registration =
                        may.and_then(|()| Registration::of_begin(&begin, peer, ours));
                    self.begin(conn, request, registration, out);
                }
            }
            (
                Stage::New { .. },
                Register::OldBegin {
                    version,
                    place,
                    timeout_seconds,
                },
            ) => {
                let timeout = timeout_seconds.try_into().unwrap_or(ours);
                let registration = match self.options.auth_code {
                    None => Registration::of_old_begin(version, place, peer, timeout),
                    Some(_) => Err("it cannot prove that it knows AUTH_CODE".to_owned()),
                };
                self.begin(conn, request, registration, out);
            }
            (Stage::New { .. }, Register::Together(_)) => {
                let reason = "it registers as chunkservers before 1.6 do, which are not served";
                self.connections.drop(conn, reason);
            }
            (Stage::Joined(member), register) if !member.listed => {
                self.on_list(conn, request, register, out);
            }
            (Stage::Joined(_), Register::Disconnect) => self.on_leaving(conn, request, out),
            (Stage::New { .. } | Stage::Joined(_), _) => {
                self.connections.drop(conn, "a registration out of turn");
            }
            (Stage::Registering(_) | Stage::PutOff, _) => {
                unreachable!("who registers is not heard until it is answered")
            }
        }
    }

    /// Whether it may register at all; `None` when it has to prove it first.
    fn judge(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        begin: &Begin,
    ) -> Option<Result<(), String>> {
        let Some(code) = &self.options.auth_code else {
            return Some(Ok(()));
        };
        let Some(Server {
            stage: Stage::New { challenge },
            ..
        }) = self.servers.get_mut(&conn)
        else {
            unreachable!("it is new");
        };
        match (challenge.take(), begin.passcode) {
            (None, None) => {
                let mut fresh = [0; CHALLENGE_BYTES];
                self.rng.fill(&mut fresh);
                *challenge = Some(fresh);
                let ack = Ack::Authenticate { challenge: fresh };
                self.done(conn, request, Some(&ToChunkserver::Ack(ack)));
                None
            }
            (Some(challenge), Some(passcode)) => {
                let right = password::is_right(&passcode, &code.passcode(&challenge));
                Some(
                    right
                        .then_some(())
                        .ok_or("its AUTH_CODE is another than the one of this node".to_owned()),
                )
            }
            (Some(_), None) => Some(Err("it does not prove that it knows AUTH_CODE".to_owned())),
            (None, Some(_)) => Some(Err("it proves what it was not asked for".to_owned())),
        }
    }

    /// Has the registration written.
    fn begin(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        registration: Result<Registration, String>,
        out: &mut Outbox<Effect>,
    ) {
        let registration = match registration {
            Ok(registration) => registration,
            Err(reason) => return self.connections.drop(conn, reason),
        };
        let Some(server) = self.servers.get_mut(&conn) else {
            return;
        };
        self.next_call += 1;
        let call = CallId(self.next_call);
        let until = self.now + self.options.register_patience;
        server.stage = Stage::Registering(Registering {
            request,
            call,
            registration,
            until,
        });
        self.registering.insert((until, conn));
        out.push(Effect::AskWrite {
            client: ClientId(conn.0),
            call,
            // Twice written is a registration that nobody uses, and a newer one.
            request: RequestId::new(SessionId(0), Lane(0), RequestSeq(0)),
            op: Box::new(registration.op()),
        });
    }

    pub(super) fn on_answered(
        &mut self,
        client: ClientId,
        response: Response,
        out: &mut Outbox<Effect>,
    ) {
        let conn = ConnId(client.0);
        let Response { call, result } = response;
        match self.servers.get(&conn).map(|server| &server.stage) {
            Some(Stage::Registering(registering)) if registering.call == call => {}
            // It was put off, or is gone.
            _ => return,
        }
        match result {
            Ok(ResponseBody::Written { outcome, .. }) => match outcome.result {
                Ok(Reply::ChunkserverRegistered { csid, registration }) => {
                    self.join(conn, csid, registration, out);
                }
                Ok(other) => unreachable!("{other:?} is no registration"),
                Err(error) => self.put_off(conn, &error.to_string(), out),
            },
            Ok(other) => unreachable!("{other:?} was not asked for"),
            Err(error) => self.put_off(conn, &error.to_string(), out),
        }
    }

    /// Ends a registration, one way or the other.
    fn end_registration(&mut self, conn: ConnId, stage: Stage) -> Registering {
        let server = self.servers.get_mut(&conn).expect("it is there");
        let Stage::Registering(registering) = std::mem::replace(&mut server.stage, stage) else {
            unreachable!("its registration is on its way");
        };
        self.registering.remove(&(registering.until, conn));
        registering
    }

    fn join(&mut self, conn: ConnId, csid: CsId, registration: u64, out: &mut Outbox<Effect>) {
        let before = self.end_registration(conn, Stage::PutOff);
        let Registering {
            request,
            registration: who,
            ..
        } = before;
        let joined = who.joined(csid, registration);
        let member = Member {
            csid,
            address: who.address(),
            version: Version(joined.version),
            form: who.form(),
            listed: false,
            space: joined.space,
            orders: Orders::default(),
        };
        let server = self.servers.get_mut(&conn).expect("it is there");
        server.stage = Stage::Joined(Box::new(member));
        self.joined += 1;
        let report = Report::Joined(joined);
        out.push(Effect::Heard { conn, report });
        let packet = who.welcome(csid, self.options.metaid);
        let packet = packet.map(|packet| packet.expect("an answer is short"));
        let silence_max = Some(who.silence_max());
        let standing = Standing::Registered { silence_max };
        self.connections.done(conn, request, packet, standing);
    }

    /// Nobody can register it now. A chunkserver whose connections end without a word takes to
    /// older forms of the registration, so it gets one: it comes again.
    pub(super) fn put_off(&mut self, conn: ConnId, why: &str, out: &mut Outbox<Effect>) {
        let Registering {
            request,
            registration,
            ..
        } = self.end_registration(conn, Stage::PutOff);
        let Address { ip, port } = registration.address();
        let message = format!("the chunkserver at {ip}:{port} has to register again later: {why}");
        out.push(Effect::Report { message });
        let leader = None;
        let told = ToChunkserver::Ack(Ack::Redirect { leader });
        self.done(conn, request, Some(&told));
        self.connections.tell(conn, connection::Input::Finish);
    }

    /// It names what it has.
    fn on_list(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        register: Register<'_>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(member) = self.member(conn) else {
            return;
        };
        let mut hear = |report| out.push(Effect::Heard { conn, report });
        let next = match (member.form, register) {
            (Form::Six, Register::Copies(copies)) => {
                reports::found(copies).for_each(hear);
                Ack::to_copies(member.version)
            }
            (Form::Five, Register::OldCopies(copies)) => {
                reports::found(copies).for_each(hear);
                None
            }
            (Form::Six, Register::End) => {
                member.listed = true;
                hear(Report::Listed);
                None
            }
            (Form::Five, Register::OldEnd(space)) => {
                member.listed = true;
                member.space = reports::space(space);
                hear(Report::Space(member.space));
                hear(Report::Listed);
                None
            }
            (_, Register::Disconnect) => return self.on_leaving(conn, request, out),
            _ => return self.connections.drop(conn, "a registration out of turn"),
        };
        self.done(conn, request, next.map(ToChunkserver::Ack).as_ref());
    }

    fn on_leaving(&mut self, conn: ConnId, request: RequestNo, out: &mut Outbox<Effect>) {
        let report = Report::Leaving;
        out.push(Effect::Heard { conn, report });
        self.done(conn, request, None);
        self.connections.tell(conn, connection::Input::Finish);
    }
}
