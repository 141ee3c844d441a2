//! One connection to one node, with many calls on it.
//!
//! Two tasks move bytes; a call puts its record into a queue of bounded length and waits for the
//! answer that carries its name. When bytes make no sense or stop, every call on the connection
//! hears it, and whoever holds the connection makes another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mfsha_core::codec;
use mfsha_core::native::admin::{AdminCall, AdminReply, AdminRequest};
use mfsha_core::native::request::{CallId, Request, RequestBody, Response};
use mfsha_core::native::{
    ClientHello, HELLO_BYTES_MAX, HelloReply, Refusal, TO_CLIENT_BYTES_MAX, ToClient, ToNode,
    Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::dial::Stream;
use crate::explain::explain;
use crate::record::Records;

/// Records that may wait to be written.
const QUEUE_LENGTH: usize = 32;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The node's machines.
    Node(RequestBody),
    /// The process.
    Admin(AdminRequest),
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes stopped, or make no sense.
    #[error("{0}")]
    Io(String),
    /// The node does not want this client.
    #[error(transparent)]
    Refused(Refusal),
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The node cannot have heard it.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The node may have heard it.
    #[error("the connection ended: {0}")]
    Cut(String),
    /// The request is too large for any node; it was not sent.
    #[error("too large")]
    TooLarge(codec::TooLarge),
}

/// One connection. Clones are the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    out: mpsc::Sender<Vec<u8>>,
    calls: Semaphore,
    next: AtomicU64,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What the reading task and the calls share.
#[derive(Default)]
struct Shared(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    calls: BTreeMap<CallId, oneshot::Sender<ToClient>>,
    /// Why the connection ended.
    ended: Option<String>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing comes any more: every call hears it when its sender is dropped.
    fn end(&self, reason: &str) {
        let mut waiting = self.lock();
        waiting.ended.get_or_insert_with(|| reason.to_owned());
        waiting.calls.clear();
    }

    fn reason(&self) -> Option<String> {
        self.lock().ended.clone()
    }
}

/// Takes a call off the list however its future ends.
struct Listed<'a>(&'a Shared, CallId);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.lock().calls.remove(&self.1);
    }
}

impl Link {
    /// Says hello on a fresh stream.
    ///
    /// # Errors
    /// [`OpenError`]. The caller bounds the time.
    pub async fn open(
        mut stream: Box<dyn Stream>,
        hello: &ClientHello,
        calls_max: usize,
    ) -> Result<(Self, Welcome), OpenError> {
        let io = |error: std::io::Error| OpenError::Io(explain(&error));
        stream.write_all(&hello.to_bytes()).await.map_err(io)?;
        stream.flush().await.map_err(io)?;
        let mut records = Records::new(HELLO_BYTES_MAX);
        let record = record_of_node(&mut stream, &mut records)
            .await
            .map_err(OpenError::Io)?;
        let reply =
            HelloReply::from_bytes(&record).map_err(|error| OpenError::Io(error.to_string()))?;
        let welcome = match reply {
            HelloReply::Welcome(welcome) => welcome,
            HelloReply::Refused(refusal) => return Err(OpenError::Refused(refusal)),
        };
        let (oldest, newest) = hello.protocol;
        if !(oldest..=newest).contains(&welcome.protocol) {
            let text = format!("the node chose protocol {}", welcome.protocol);
            return Err(OpenError::Io(text));
        }
        let shared = Arc::new(Shared::default());
        let (out, queue) = mpsc::channel(QUEUE_LENGTH);
        let (read, write) = tokio::io::split(stream);
        let reader = tokio::spawn(read_all(read, records, Arc::clone(&shared)));
        let writer = tokio::spawn(write_all(write, queue, Arc::clone(&shared)));
        let link = Self(Arc::new(Inner {
            shared,
            out,
            calls: Semaphore::new(calls_max),
            next: AtomicU64::new(1),
            tasks: [reader.abort_handle(), writer.abort_handle()],
        }));
        Ok((link, welcome))
    }

    /// Whether calls can still be made.
    pub fn is_open(&self) -> bool {
        self.0.shared.lock().ended.is_none()
    }

    /// Whether both are one connection.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Asks, and waits for the answer without a bound: the caller has one. Dropping the future
    /// forgets the answer, not the request.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, ask: &Ask) -> Result<ToClient, CallError> {
        let inner = &*self.0;
        let permit = inner.calls.acquire().await;
        let _permit = permit.map_err(|_| CallError::NotSent("no more calls".to_owned()))?;
        let call = CallId(inner.next.fetch_add(1, Ordering::Relaxed));
        let record = to_node(call, ask)
            .to_bounded_bytes()
            .map_err(CallError::TooLarge)?;
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = inner.shared.lock();
            if let Some(reason) = &waiting.ended {
                return Err(CallError::NotSent(reason.clone()));
            }
            waiting.calls.insert(call, tell);
        }
        let _listed = Listed(&inner.shared, call);
        if inner.out.send(record).await.is_err() {
            let reason = inner.shared.reason().unwrap_or_default();
            return Err(CallError::NotSent(reason));
        }
        told.await.map_err(|_| {
            let reason = inner.shared.reason();
            CallError::Cut(reason.unwrap_or_else(|| "closed".to_owned()))
        })
    }
}

fn to_node(call: CallId, ask: &Ask) -> ToNode {
    match ask.clone() {
        Ask::Node(body) => ToNode::Request(Request { call, body }),
        Ask::Admin(request) => ToNode::Admin(AdminCall { call, request }),
    }
}

/// The next record of a node, which is not expected to close by itself.
async fn record_of_node(
    stream: &mut (impl AsyncRead + Unpin),
    records: &mut Records,
) -> Result<Vec<u8>, String> {
    match records.next(stream).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err("the node closed the connection".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn read_all(mut stream: impl AsyncRead + Unpin, mut records: Records, shared: Arc<Shared>) {
    records.set_payload_bytes_max(TO_CLIENT_BYTES_MAX);
    loop {
        let message = match record_of_node(&mut stream, &mut records).await {
            Ok(record) => ToClient::from_bytes(&record).map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        match message {
            Ok(message) => {
                let (ToClient::Response(Response { call, .. })
                | ToClient::Admin(AdminReply { call, .. })) = &message;
                let tell = shared.lock().calls.remove(call);
                // Answers to calls that nobody waits for any more come too.
                if let Some(tell) = tell {
                    let _ = tell.send(message);
                }
            }
            Err(reason) => return shared.end(&reason),
        }
    }
}

async fn write_all(
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(record) = queue.recv().await {
        let mut result = stream.write_all(&record).await;
        if result.is_ok() && queue.is_empty() {
            result = stream.flush().await;
        }
        if let Err(error) = result {
            return shared.end(&explain(&error));
        }
    }
}
