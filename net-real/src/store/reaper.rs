//! A thread that frees memory, so that the thread that applies never has to: a million entries
//! take a tenth of a second to free.

use std::any::Any;
use std::io;
use std::ops::Deref;
use std::sync::mpsc::{self, Receiver, Sender};

/// Takes what is to be freed.
#[derive(Clone, Debug)]
pub(super) struct Reaper(Sender<Message>);

#[derive(Debug)]
enum Message {
    Free(Box<dyn Any + Send>),
    /// Everything before this has been freed.
    Done(Sender<()>),
}

impl Reaper {
    /// Starts the thread. It ends when nobody can send to it any more.
    pub fn start() -> io::Result<Self> {
        let (sender, messages) = mpsc::channel();
        std::thread::Builder::new()
            .name("state-free".into())
            .spawn(move || free_all(&messages))?;
        Ok(Self(sender))
    }

    /// Frees something over there.
    pub fn free(&self, value: impl Send + 'static) {
        // Without the thread it is freed here: `send` gives it back.
        let _ = self.0.send(Message::Free(Box::new(value)));
    }

    /// Waits until everything that was sent has been freed.
    pub fn wait(&self) {
        let (sender, done) = mpsc::channel();
        if self.0.send(Message::Done(sender)).is_ok() {
            let _ = done.recv();
        }
    }
}

fn free_all(messages: &Receiver<Message>) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Free(value) => drop(value),
            Message::Done(sender) => {
                let _ = sender.send(());
            }
        }
    }
}

/// A value that is freed by the reaper, whoever lets go of it last.
#[derive(Debug)]
pub(super) struct Reaped<T: Send + 'static> {
    /// Invariant: full until dropped.
    value: Option<T>,
    reaper: Reaper,
}

impl<T: Send + 'static> Reaped<T> {
    /// Wraps a value.
    pub fn new(value: T, reaper: &Reaper) -> Self {
        Self {
            value: Some(value),
            reaper: reaper.clone(),
        }
    }
}

impl<T: Send + 'static> Deref for Reaped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("full until dropped")
    }
}

impl<T: Send + 'static> Drop for Reaped<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.reaper.free(value);
        }
    }
}
