//! Building another state beside the present one, on a thread of its own.
//!
//! The new environment is not flushed while it is built: until a checkpoint has made it durable,
//! a crash returns to the old one and removes it.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use mfsha_core::store::{StoreError, WriteBatch};

use super::base::{Environment, fault, io_fault};
use super::directory;

/// Batches that may wait for the thread; the next one waits at the caller.
const WAITING_MAX: usize = 8;
/// A transaction ends when it holds this many bytes of keys and values: what is not committed
/// takes memory.
const TRANSACTION_BYTES: usize = 32 << 20;

enum Message {
    Batch(WriteBatch),
    Finish,
}

/// A state that is being built.
pub(super) struct Building {
    /// `None` when nobody wants the state any more.
    messages: Option<SyncSender<Message>>,
    /// Invariant: full until the end was awaited.
    thread: Option<JoinHandle<Result<Option<Environment>, StoreError>>>,
}

impl Building {
    /// Begins with an empty environment of this number.
    pub fn begin(store: &Path, generation: u64, map_bytes: usize) -> Result<Self, StoreError> {
        let path = directory::environment_path(store, generation);
        fs::create_dir(&path).map_err(|error| io_fault(&error))?;
        let (sender, messages) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("state-restore".into())
            .spawn(move || {
                let built = build(&path, generation, map_bytes, &messages);
                if !matches!(built, Ok(Some(_))) {
                    remove(&path);
                }
                built
            })
            .map_err(|error| io_fault(&error))?;
        Ok(Self {
            messages: Some(sender),
            thread: Some(thread),
        })
    }

    /// Adds a batch; waits while too many wait already.
    pub fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let messages = self.messages.as_ref().expect("full until abandoned");
        match messages.send(Message::Batch(batch)) {
            Ok(()) => Ok(()),
            // It ended early, so it has failed.
            Err(_) => Err(self.join().err().unwrap_or_else(ended)),
        }
    }

    /// Waits until everything is in the environment.
    pub fn finish(mut self) -> Result<Environment, StoreError> {
        if let Some(messages) = &self.messages {
            // When it has ended early, joining tells why.
            let _ = messages.send(Message::Finish);
        }
        self.join()?.ok_or_else(ended)
    }

    fn join(&mut self) -> Result<Option<Environment>, StoreError> {
        self.messages = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(ended()),
        }
    }

    /// Ends it without waiting for that. Dropping waits.
    pub fn abandon(&mut self) {
        self.messages = None;
    }

    /// Whether dropping would not wait.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

fn ended() -> StoreError {
    StoreError::Io {
        reason: "the state that was being built is gone".to_owned(),
    }
}

/// Takes batches until the end; `None` when nobody wants the state any more.
fn build(
    path: &Path,
    generation: u64,
    map_bytes: usize,
    messages: &Receiver<Message>,
) -> Result<Option<Environment>, StoreError> {
    let environment = Environment::open(path, generation, map_bytes, true).map_err(fault)?;
    loop {
        let mut writing = environment.write()?;
        let mut bytes = 0;
        while bytes < TRANSACTION_BYTES {
            match messages.recv() {
                Ok(Message::Batch(batch)) => {
                    for (key, value) in &batch.changes {
                        writing.change(key, value.as_deref())?;
                        bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    }
                }
                Ok(Message::Finish) => {
                    writing.commit()?;
                    return Ok(Some(environment));
                }
                Err(_) => return Ok(None),
            }
        }
        writing.commit()?;
    }
}

fn remove(path: &Path) {
    // What cannot be removed now is removed at the next start.
    let _ = fs::remove_dir_all(path);
}
