//! Tools of operators among the clients: they do not register, and ask what they like.

use std::collections::BTreeMap;

use super::Effect;
use super::machine::{Mounts, Purpose};
use crate::id::{LogIndex, SessionId};
use crate::machine::Outbox;
use crate::monitoring::{Came, Scene, Step, Task};
use crate::moosefs::connection::RequestNo;
use crate::moosefs::monitor::FromMonitor;
use crate::moosefs::version::Version;
use crate::native::request::{ClientId, Consistency, NodeError, ResponseBody};

/// A question of a tool on its way.
pub(super) struct Monitored {
    request: RequestNo,
    task: Task,
}

impl Mounts {
    pub(super) fn on_monitor(
        &mut self,
        client: ClientId,
        request: RequestNo,
        asked: FromMonitor,
        out: &mut Outbox<Effect>,
    ) {
        let (task, step) = Task::begin(asked, &self.scene(false));
        let asked = Box::new(Monitored { request, task });
        self.monitor_on(client, asked, step, out);
    }

    /// With the sessions that are connected here, when they are asked for.
    fn scene(&mut self, with_sessions: bool) -> Scene<'_> {
        let asked = if with_sessions { usize::MAX } else { 0 };
        let sessions: Vec<(SessionId, Option<ClientId>, usize)> = self
            .sessions
            .iter()
            .take(asked)
            .map(|(session, clients)| (*session, clients.first().copied(), clients.len()))
            .collect();
        let mut connected = BTreeMap::new();
        for (session, client, count) in sessions {
            let member = client.and_then(|client| self.member(client));
            let version = member.map_or(Version(0), |member| member.client.version);
            connected.insert(session, (version, u8::try_from(count).unwrap_or(u8::MAX)));
        }
        Scene {
            wall_us: self.wall_us,
            exports: &self.exports,
            metaid: self.options.metaid,
            process: &self.process,
            connected,
            counted: &mut self.counted,
            sustain_seconds: self.options.sustain_seconds,
        }
    }

    fn monitor_on(
        &mut self,
        client: ClientId,
        asked: Box<Monitored>,
        step: Step,
        out: &mut Outbox<Effect>,
    ) {
        match step {
            Step::Inspect(what) => {
                let call = self.new_call(client, Purpose::Monitor(asked));
                out.push(Effect::Inspect { client, call, what });
            }
            Step::Ask(query) => {
                let not_before = LogIndex(0);
                let consistency = Consistency::Fast { not_before };
                self.ask_as(client, consistency, query, Purpose::Monitor(asked), out);
            }
            Step::Do(op) => self.write_unnamed(client, op, Purpose::Monitor(asked), out),
            Step::Tell(told) => {
                let packet = told.encode(asked.task.id());
                self.done(client, asked.request, Some(packet));
            }
            Step::Refuse(reason) => self.drop_connection(client, reason),
        }
    }

    pub(super) fn on_monitor_answer(
        &mut self,
        client: ClientId,
        mut asked: Box<Monitored>,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let came = match result {
            Ok(ResponseBody::Inspected(seen)) => Came::Inspected(seen),
            Ok(ResponseBody::Read { result, .. }) => Came::Answer(result),
            Ok(ResponseBody::Written { outcome, .. }) => Came::Outcome(outcome.result),
            Ok(other) => unreachable!("{other:?} was not asked for"),
            Err(error) => return self.drop_connection(client, error.to_string()),
        };
        let with_sessions = asked.task.is_of_sessions();
        let step = asked.task.go_on(&mut self.scene(with_sessions), came);
        self.monitor_on(client, asked, step, out);
    }
}
