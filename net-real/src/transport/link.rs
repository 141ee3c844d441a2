//! One connection to a peer: a task that reads, a task that writes.

use std::time::Duration;

use mfsha_core::transport::{ConnId, Input};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Stream;
use super::pump::Happening;
use crate::tls;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// How long what was written may take to leave, once the connection is to be closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// The pump's end of a connection. Dropping it closes the connection, after what was written.
pub(super) struct Link {
    /// Bounded by what the machine hands over.
    writes: mpsc::UnboundedSender<Vec<u8>>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        let writer = self.writer.clone();
        // The writer ends by itself once it has written everything, unless the other side takes
        // nothing more.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(FAREWELL).await;
                    writer.abort();
                });
            }
            Err(_) => writer.abort(),
        }
    }
}

impl Link {
    pub fn new(conn: ConnId, stream: Stream, happenings: &mpsc::Sender<Happening>) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (writes, todo) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(conn, read, happenings.clone())).abort_handle();
        let writer = write_all(conn, write, todo, happenings.clone());
        let writer = tokio::spawn(writer).abort_handle();
        Self {
            writes,
            reader,
            writer,
        }
    }

    pub fn write(&self, bytes: Vec<u8>) {
        // A writer that has ended has told so, or is about to.
        let _ = self.writes.send(bytes);
    }
}

async fn read_all(conn: ConnId, mut stream: ReadHalf<Stream>, happenings: mpsc::Sender<Happening>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let input = match stream.read(&mut buffer).await {
            Ok(0) => Input::Closed {
                conn,
                reason: "closed by the other side".into(),
            },
            Ok(count) => Input::Bytes {
                conn,
                bytes: buffer[..count].to_vec(),
            },
            Err(error) => Input::Closed {
                conn,
                reason: tls::explain(&error),
            },
        };
        let ended = matches!(input, Input::Closed { .. });
        if happenings.send(Happening::Input(input)).await.is_err() || ended {
            return;
        }
    }
}

async fn write_all(
    conn: ConnId,
    mut stream: WriteHalf<Stream>,
    mut todo: mpsc::UnboundedReceiver<Vec<u8>>,
    happenings: mpsc::Sender<Happening>,
) {
    while let Some(bytes) = todo.recv().await {
        let last = todo.is_empty();
        if let Err(error) = write_one(conn, &mut stream, &bytes, last, &happenings).await {
            let reason = tls::explain(&error);
            // A pump that has ended closes everything.
            let _ = happenings
                .send(Happening::Input(Input::Closed { conn, reason }))
                .await;
            return;
        }
    }
    // Whether the other side hears the farewell is its own affair.
    let _ = stream.shutdown().await;
}

async fn write_one(
    conn: ConnId,
    stream: &mut WriteHalf<Stream>,
    bytes: &[u8],
    last: bool,
    happenings: &mpsc::Sender<Happening>,
) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = stream.write(rest).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        rest = &rest[count..];
        let sent = Input::Sent { conn, bytes: count };
        // A pump that has ended closes everything.
        let _ = happenings.send(Happening::Input(sent)).await;
    }
    if last {
        stream.flush().await?;
    }
    Ok(())
}
