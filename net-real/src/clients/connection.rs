//! One connection of a native client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mfsha_client::record::{RecordError, Records};
use mfsha_core::codec::{self, DecodeError};
use mfsha_core::native::admin::{AdminCall, AdminReply};
use mfsha_core::native::request::{CallId, ClientId};
use mfsha_core::native::{
    ClientHello, HelloReply, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Refusal, TO_NODE_BYTES_MAX,
    ToClient, ToNode, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, info};

use super::{CALLS_PER_CLIENT_MAX, Desk, Registry};
use crate::driver::NodeHandle;
use crate::metrics::CallKind;
use crate::panics;

/// A client that takes none of its answers for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes both ways: a socket, with TLS round it or not.
pub trait ClientStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ClientStream for T {}

/// Why a connection was closed.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Cut(RecordError),
    #[error("it sent what is no record of the protocol: {0}")]
    Decode(#[from] DecodeError),
    #[error("it took none of its answers for {} s", WRITE_TIMEOUT.as_secs())]
    Slow,
    #[error("it used the name of a call for another while that was under way")]
    CallTwice,
    #[error("refused: {0}")]
    Refused(Refusal),
}

impl From<RecordError> for Closed {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Io(error) => Self::Io(error),
            RecordError::Decode(error) => Self::Decode(error),
            cut @ RecordError::Cut { .. } => Self::Cut(cut),
        }
    }
}

/// Serves a connection until it ends. `read` was read of it already: its first record, whole, and
/// perhaps more.
pub async fn serve(
    stream: impl ClientStream,
    mut read: Vec<u8>,
    from: String,
    registry: Registry,
    desk: Arc<Desk>,
) {
    let first = codec::peek(&read, TO_NODE_BYTES_MAX).ok().flatten();
    let first = first.map_or(read.len(), |header| header.record_bytes.min(read.len()));
    let rest = read.split_off(first);
    let mut records = Records::new(TO_NODE_BYTES_MAX);
    records.take(&rest);
    let (reader, writer) = tokio::io::split(stream);
    let mut writer = BufWriter::with_capacity(64 << 10, writer);
    let (welcome, program) = judge(&read, &desk);
    let (welcome, node) = match (welcome, desk.closed_because(), desk.handle().cloned()) {
        (HelloReply::Welcome(_), Some(reason), _) => {
            (HelloReply::Refused(Refusal::NotReady { reason }), None)
        }
        (welcome, _, node) => (welcome, node),
    };
    let entered = match (&welcome, node) {
        (HelloReply::Welcome(_), Some(node)) => Entered::new(&registry, node),
        _ => None,
    };
    let welcome = match (welcome, &entered) {
        (HelloReply::Welcome(_), None) => HelloReply::Refused(Refusal::NotReady {
            reason: "too many clients are connected to this node; ask another".to_owned(),
        }),
        (welcome, _) => welcome,
    };
    let said = write_all(&mut writer, &welcome.to_bytes()).await;
    let (Some((entered, answers)), Ok(())) = (entered, said) else {
        if let HelloReply::Refused(refusal) = welcome {
            info!(%from, program, reason = %Closed::Refused(refusal), "client turned away");
        }
        return;
    };
    let client = entered.client;
    debug!(%from, program, ?client, "client connected");
    let connection = Connection {
        client,
        node: entered.node.clone(),
        registry: registry.clone(),
        desk,
        places: Arc::new(Semaphore::new(CALLS_PER_CLIENT_MAX)),
        calls: Mutex::default(),
    };
    let ended = tokio::select! {
        ended = connection.read(reader, records) => ended,
        ended = connection.write(writer, answers) => ended,
    };
    drop(entered);
    match ended {
        Err(error @ Closed::Decode(_)) => info!(%from, program, reason = %error, "client cut off"),
        Err(error) => debug!(%from, program, reason = %error, "client gone"),
        Ok(()) => debug!(%from, program, "client gone"),
    }
}

/// A client that is known. However its connection ends, before its welcome or by a panic, it is
/// known no more then.
struct Entered {
    client: ClientId,
    registry: Registry,
    node: NodeHandle,
}

impl Entered {
    /// Makes it known, if there is room, and gives where its answers come.
    fn new(
        registry: &Registry,
        node: NodeHandle,
    ) -> Option<(Self, mpsc::UnboundedReceiver<ToClient>)> {
        let (client, answers) = registry.enter()?;
        let entered = Self {
            client,
            registry: registry.clone(),
            node,
        };
        Some((entered, answers))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.registry.leave(self.client);
        self.node.client_gone(self.client);
    }
}

/// The answer to a hello, and the name of the program that said it.
fn judge(hello: &[u8], desk: &Desk) -> (HelloReply, String) {
    let hello = match ClientHello::from_bytes(hello) {
        Ok(hello) => hello,
        Err(error) => {
            let reason = format!("the hello does not parse: {error}");
            return (
                HelloReply::Refused(Refusal::NotReady { reason }),
                String::new(),
            );
        }
    };
    let program: String = hello.program.chars().take(100).collect();
    let (oldest, newest) = hello.protocol;
    let protocol = newest.min(PROTOCOL_NEWEST);
    let refusal = if protocol < oldest.max(PROTOCOL_OLDEST) {
        Some(Refusal::Protocol {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
        })
    } else if !desk.token_is(&hello.token) {
        Some(Refusal::Token)
    } else if hello
        .cluster
        .is_some_and(|cluster| cluster != desk.cluster())
    {
        Some(Refusal::Cluster {
            cluster: desk.cluster(),
        })
    } else {
        None
    };
    let reply = refusal.map_or_else(
        || {
            HelloReply::Welcome(Welcome {
                protocol,
                cluster: desk.cluster(),
                node: desk.node(),
                addresses: desk.addresses(),
            })
        },
        HelloReply::Refused,
    );
    (reply, program)
}

/// A request under way; holds its two places until its answer is written.
struct Call {
    began: Instant,
    kind: CallKind,
    _places: [OwnedSemaphorePermit; 2],
}

struct Connection {
    client: ClientId,
    node: NodeHandle,
    registry: Registry,
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    calls: Mutex<BTreeMap<CallId, Call>>,
}

impl Connection {
    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut records: Records,
    ) -> Result<(), Closed> {
        while let Some(record) = records.next(&mut reader).await? {
            let asked = ToNode::from_bytes(&record)?;
            let closed = "the semaphores are never closed";
            let own = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .expect(closed);
            let all = Arc::clone(&self.registry.shared.calls);
            let all = all.acquire_owned().await.expect(closed);
            let (name, kind) = match &asked {
                ToNode::Request(request) => (request.call, CallKind::of(&request.body)),
                ToNode::Admin(call) => (call.call, CallKind::Admin),
            };
            let call = Call {
                began: Instant::now(),
                kind,
                _places: [own, all],
            };
            if self.calls().insert(name, call).is_some() {
                return Err(Closed::CallTwice);
            }
            match asked {
                ToNode::Request(request) => self.node.request(self.client, request),
                ToNode::Admin(call) => self.answer(call),
            }
        }
        Ok(())
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, BTreeMap<CallId, Call>> {
        // A panic elsewhere leaves a map of whole entries.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes answers as they come, many at a time when many wait.
    async fn write(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        mut answers: mpsc::UnboundedReceiver<ToClient>,
    ) -> Result<(), Closed> {
        let mut batch = Vec::new();
        while answers.recv_many(&mut batch, 256).await > 0 {
            let write = async {
                for answer in &batch {
                    writer.write_all(&answer.to_bytes()).await?;
                }
                writer.flush().await
            };
            tokio::time::timeout(WRITE_TIMEOUT, write)
                .await
                .map_err(|_| Closed::Slow)??;
            let mut calls = self.calls();
            for answer in batch.drain(..) {
                let (name, good) = match &answer {
                    ToClient::Response(response) => (response.call, response.result.is_ok()),
                    ToClient::Admin(reply) => (reply.call, reply.result.is_ok()),
                };
                if let Some(call) = calls.remove(&name) {
                    self.desk
                        .metrics()
                        .on_answered(call.kind, good, call.began.elapsed());
                }
            }
        }
        Ok(())
    }

    /// Answers an operator beside what else the connection does.
    fn answer(&self, call: AdminCall) {
        let (desk, registry, client) = (Arc::clone(&self.desk), self.registry.clone(), self.client);
        tokio::spawn(panics::on_its_own(async move {
            let AdminCall { call, request } = call;
            let result = desk.answer(request).await;
            if let Some(outlet) = registry.outlets().get(&client) {
                // A connection that is ending hears nothing more.
                let _ = outlet.send(ToClient::Admin(AdminReply { call, result }));
            }
        }));
    }
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Closed> {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    tokio::time::timeout(WRITE_TIMEOUT, write)
        .await
        .map_err(|_| Closed::Slow)??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;
    use mfsha_core::native::{ClientHello, ClusterId};

    use super::*;
    use crate::clients::Token;
    use crate::metrics::Metrics;

    fn desk(registry: &Registry) -> Arc<Desk> {
        let metrics = Arc::new(Metrics::new());
        let token = Token::new(b"");
        let desk = Desk::new(NodeId(1), String::new(), token, metrics, registry.clone());
        desk.open(ClusterId(7), NodeHandle::of_nobody());
        Arc::new(desk)
    }

    fn hello() -> Vec<u8> {
        let hello = ClientHello {
            protocol: (PROTOCOL_OLDEST, PROTOCOL_NEWEST),
            token: Vec::new(),
            cluster: None,
            program: "a client".into(),
        };
        hello.to_bytes()
    }

    #[tokio::test]
    async fn a_client_is_known_while_its_connection_is_served() {
        let registry = Registry::default();
        let (mut there, here) = tokio::io::duplex(64 << 10);
        let from = "somewhere".to_owned();
        let serves = serve(here, hello(), from, registry.clone(), desk(&registry));
        let serves = tokio::spawn(serves);
        let mut said = Vec::new();
        while codec::verify(&said).is_err() {
            tokio::io::AsyncReadExt::read_buf(&mut there, &mut said)
                .await
                .unwrap();
        }
        assert!(matches!(
            HelloReply::from_bytes(&said),
            Ok(HelloReply::Welcome(_))
        ));
        assert_eq!(registry.len(), 1);
        drop(there);
        serves.await.unwrap();
        assert_eq!(registry.len(), 0);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_before_its_welcome_is_not_known_for_ever() {
        let registry = Registry::default();
        let (there, here) = tokio::io::duplex(64 << 10);
        drop(there);
        let from = "somewhere".to_owned();
        serve(here, hello(), from, registry.clone(), desk(&registry)).await;
        assert_eq!(registry.len(), 0);
    }
}
