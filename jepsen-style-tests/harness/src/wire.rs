//! A plain connection to one chosen node: one question at a time, nothing repeated.
//!
//! The native client library looks for the right node by itself; what has to be asked of a certain
//! node (its status, what it would read) goes this way, and writers can go it too, so that the
//! library is not the only thing between the verdict and the cluster.

use std::fmt;
use std::time::Duration;

use mfsha_client::dial::Stream;
use mfsha_core::codec::{DecodeError, SEAL_BYTES};
use mfsha_core::id::NodeId;
use mfsha_core::limits;
use mfsha_core::native::request::{
    CallId, NodeError, NodeStatus, Request, RequestBody, ResponseBody,
};
use mfsha_core::native::{
    ClientHello, HelloReply, PROTOCOL_NEWEST, PROTOCOL_OLDEST, ToClient, ToNode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::door::Door;

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WireError {
    /// There was no connection: the question did not leave.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The connection broke, or time was over: the question may have arrived.
    #[error("no answer: {0}")]
    Lost(String),
}

/// A connection that has been welcomed.
pub struct Connection {
    stream: Box<dyn Stream>,
    node: NodeId,
    next_call: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`WireError::NotSent`].
    pub async fn open(door: &Door, patience: Duration) -> Result<Self, WireError> {
        let not_sent = |reason: String| WireError::NotSent(format!("{door}: {reason}"));
        match timeout(patience, hello(door)).await {
            Ok(opened) => opened.map_err(not_sent),
            Err(_) => Err(not_sent("no welcome in time".to_owned())),
        }
    }

    /// The node at the other end.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks, and waits for the answer. After an error the connection is of no more use.
    ///
    /// # Errors
    /// [`WireError::Lost`].
    pub async fn ask(
        &mut self,
        body: RequestBody,
        patience: Duration,
    ) -> Result<Result<ResponseBody, NodeError>, WireError> {
        match timeout(patience, self.exchange(body)).await {
            Ok(answered) => answered.map_err(WireError::Lost),
            Err(_) => Err(WireError::Lost(format!("{} is silent", self.node))),
        }
    }

    async fn exchange(
        &mut self,
        body: RequestBody,
    ) -> Result<Result<ResponseBody, NodeError>, String> {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let request = ToNode::Request(Request { call, body });
        let sent = self.stream.write_all(&request.to_bytes()).await;
        sent.map_err(|error| error.to_string())?;
        loop {
            let bytes = record(&mut self.stream).await?;
            let said = ToClient::from_bytes(&bytes).map_err(|error| error.to_string())?;
            if let ToClient::Response(response) = said
                && response.call == call
            {
                return Ok(response.result);
            }
        }
    }
}

async fn hello(door: &Door) -> Result<Connection, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = door.open().await?;
    let hello = ClientHello {
        protocol: (PROTOCOL_OLDEST, PROTOCOL_NEWEST),
        token: Vec::new(),
        cluster: None,
        program: concat!("mfsha-jepsen ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    stream.write_all(&hello.to_bytes()).await.map_err(text)?;
    let bytes = record(&mut stream).await?;
    match HelloReply::from_bytes(&bytes).map_err(|error| error.to_string())? {
        HelloReply::Welcome(welcome) => Ok(Connection {
            stream,
            node: welcome.node,
            next_call: 1,
        }),
        HelloReply::Refused(refusal) => Err(refusal.to_string()),
    }
}

/// One whole sealed record.
async fn record(stream: &mut Box<dyn Stream>) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; SEAL_BYTES];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(|error| error.to_string())?;
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if length > limits::RECORD_BYTES_MAX {
        let limit = limits::RECORD_BYTES_MAX;
        return Err(DecodeError::TooLong { length, limit }.to_string());
    }
    bytes.resize(SEAL_BYTES + length, 0);
    stream
        .read_exact(&mut bytes[SEAL_BYTES..])
        .await
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// How one node says it stands; `None` when it does not answer in time.
pub async fn status(door: &Door, patience: Duration) -> Option<NodeStatus> {
    let asked = async {
        let mut connection = Connection::open(door, patience).await.ok()?;
        match connection
            .ask(RequestBody::Status, patience)
            .await
            .ok()?
            .ok()?
        {
            ResponseBody::Status(status) => Some(status),
            _ => None,
        }
    };
    timeout(patience, asked).await.ok().flatten()
}
