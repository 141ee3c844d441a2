//! A queue from many threads to one that sleeps while it is empty.
//!
//! The standard library's channel wakes its receiver while it holds a lock that the receiver takes
//! next: on a busy machine the receiver runs at once, finds the lock taken and sleeps a second
//! time. Here the lock is free before anybody is woken, and who is awake is not woken.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The receiver is gone; what was to be sent was dropped.
#[derive(Debug)]
pub(crate) struct Closed;

/// Why there is nothing to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// Not yet, within the time.
    Yet,
    /// And never: every sender is gone.
    Ever,
}

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    /// The receiver sleeps, and nobody has woken it yet.
    sleeps: bool,
    /// The receiver is gone.
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_if(&self, sleeps: bool) {
        if sleeps {
            self.wake.notify_one();
        }
    }
}

/// The sending end; clones send to the same receiver.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The receiving end. Dropping it drops what was not received.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// A new mailbox. It has no bound: who sends has one.
pub(crate) fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            senders: 1,
            sleeps: false,
            closed: false,
        }),
        wake: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts an item at the end. Never blocks for long.
    ///
    /// # Errors
    /// [`Closed`].
    pub(crate) fn send(&self, item: T) -> Result<(), Closed> {
        let mut state = self.0.state();
        if state.closed {
            drop(state);
            drop(item);
            return Err(Closed);
        }
        state.items.push_back(item);
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        self.0.wake_if(sleeps);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        let last = state.senders == 0;
        let sleeps = last && std::mem::take(&mut state.sleeps);
        drop(state);
        self.0.wake_if(sleeps);
    }
}

impl<T> Receiver<T> {
    /// The oldest item, as soon as there is one; `None` when every sender is gone.
    pub(crate) fn receive(&self) -> Option<T> {
        self.wait(None).ok()
    }

    /// As [`Self::receive`], for at most so long.
    ///
    /// # Errors
    /// [`Nothing`].
    pub(crate) fn receive_within(&self, time: Duration) -> Result<T, Nothing> {
        // A time beyond the end of the clock has no end.
        self.wait(Instant::now().checked_add(time))
    }

    /// The oldest item, if there is one.
    pub(crate) fn receive_now(&self) -> Option<T> {
        self.0.state().items.pop_front()
    }

    fn wait(&self, end: Option<Instant>) -> Result<T, Nothing> {
        let mut state = self.0.state();
        loop {
            if let Some(item) = state.items.pop_front() {
                state.sleeps = false;
                return Ok(item);
            }
            if state.senders == 0 {
                return Err(Nothing::Ever);
            }
            state.sleeps = true;
            let Some(end) = end else {
                let waited = self.0.wake.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.sleeps = false;
                return Err(Nothing::Yet);
            }
            let waited = self.0.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        let items = std::mem::take(&mut state.items);
        drop(state);
        // Whoever waits for what is in them may want to send again.
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_thread_sends_comes_in_its_order() {
        let (sender, receiver) = mailbox();
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..1_000_u64 {
                        sender.send((thread, number)).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        while let Some((thread, number)) = receiver.receive() {
            let expected = &mut next[usize::try_from(thread).unwrap()];
            assert_eq!(number, *expected, "of thread {thread}");
            *expected += 1;
        }
        assert_eq!(next, [1_000; 4]);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn an_empty_one_says_whether_anything_can_come() {
        let (sender, receiver) = mailbox::<u8>();
        assert_eq!(receiver.receive_now(), None);
        let nothing = receiver.receive_within(Duration::ZERO);
        assert_eq!(nothing, Err(Nothing::Yet));
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(receiver.receive_within(Duration::MAX), Ok(1));
        let nothing = receiver.receive_within(Duration::MAX);
        assert_eq!(nothing, Err(Nothing::Ever));
        assert_eq!(receiver.receive(), None);
    }

    #[test]
    fn the_last_sender_that_goes_wakes_whoever_waits() {
        let (sender, receiver) = mailbox::<u8>();
        let waits = std::thread::spawn(move || receiver.receive());
        drop(sender);
        assert_eq!(waits.join().unwrap(), None);
    }

    #[test]
    fn what_was_not_received_goes_with_the_receiver() {
        let (sender, receiver) = mailbox();
        let item = Arc::new(());
        sender.send(Arc::clone(&item)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(sender.send(Arc::clone(&item)).is_err());
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
