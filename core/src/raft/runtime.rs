//! What openraft believes to be its asynchronous runtime: time, tasks and channels on the
//! machine's own executor.
//!
//! Every channel is first in, first out, and wakes its waiters in a fixed order. No thread is ever
//! started and no clock is read.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

use openraft::async_runtime::watch::{RecvError, SendError as WatchSendError};
use openraft_rt::{
    AsyncRuntime, Instant as RtInstant, Mpsc, MpscReceiver, MpscSender, MpscWeakSender,
    Mutex as RtMutex, Oneshot, OneshotSender, SendError, TryRecvError, Watch, WatchReceiver,
    WatchSender,
};

use super::executor::{Shared, TimerKey};
use crate::time::{Duration, Instant};

fn locked<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no task panics while it holds a channel")
}

/// The runtime's name; it has no state of its own.
#[derive(Debug)]
pub(super) struct Runtime;

/// An instant as openraft computes with it.
///
/// Shifted upwards, so that subtracting a lease from an early instant does not run into the
/// beginning of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

const MOMENT_SHIFT: u64 = 1 << 60;

impl Moment {
    pub(super) fn of(instant: Instant) -> Self {
        Self(instant.0.saturating_add(MOMENT_SHIFT))
    }

    pub(super) fn instant(self) -> Instant {
        Instant(self.0.saturating_sub(MOMENT_SHIFT))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, rhs: Duration) {
        *self = *self - rhs;
    }
}

impl Sub<Self> for Moment {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(rhs.0))
    }
}

impl RtInstant for Moment {
    fn now() -> Self {
        Self::of(Shared::current().now())
    }
}

/// Waits for an instant. Dropping it disarms the timer.
pub(super) struct Sleep {
    deadline: Instant,
    shared: Arc<Shared>,
    key: Option<TimerKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.now() >= self.deadline {
            if let Some(key) = self.key.take() {
                self.shared.disarm(key);
            }
            return Poll::Ready(());
        }
        let key = self.shared.arm(self.key, self.deadline, cx.waker());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.disarm(key);
        }
    }
}

/// The time was up first.
#[derive(Debug)]
pub(super) struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time is up")
    }
}

/// A future with an end.
pub(super) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// The task ended without a result: its machine is being dropped.
#[derive(Debug)]
pub(super) struct Cancelled;

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the other end is gone")
    }
}

impl std::error::Error for Cancelled {}

/// The machine's random stream, as openraft draws from it.
pub(super) struct Draw(Arc<Shared>);

impl rand_core_10::TryRng for Draw {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.0.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.draw())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in into.chunks_mut(8) {
            let bytes = self.0.draw().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = Cancelled;
    type JoinHandle<T: openraft::OptionalSend + 'static> = OneReceiver<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + openraft::OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Draw;
    type Mpsc = Queue;
    type Watch = Watched;
    type Oneshot = One;
    type Mutex<T: openraft::OptionalSend + 'static> = Lock<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + openraft::OptionalSend + 'static,
        T::Output: openraft::OptionalSend + 'static,
    {
        let (tx, rx) = one();
        Shared::current().spawn(Box::pin(async move {
            let output = future.await;
            // Nobody has to wait for a task.
            let _ = tx.send(output);
        }));
        rx
    }

    fn sleep(duration: Duration) -> Sleep {
        Self::sleep_until(Moment::now() + duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        Sleep {
            deadline: deadline.instant(),
            shared: Shared::current(),
            key: None,
        }
    }

    fn timeout<R, F: Future<Output = R> + openraft::OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        Self::timeout_at(Moment::now() + duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + openraft::OptionalSend>(
        deadline: Moment,
        future: F,
    ) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: Self::sleep_until(deadline),
        }
    }

    fn is_panic(_: &Cancelled) -> bool {
        // A panic is a bug and goes through the step to the driver.
        false
    }

    fn thread_rng() -> Draw {
        Draw(Shared::current())
    }

    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, _future: F) -> T
    where
        F: Future<Output = T>,
    {
        unreachable!("the machine's executor never blocks; openraft calls this in its tests only")
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // The provided method starts a thread.
        Ok(work())
    }
}

// ---- oneshot ----------------------------------------------------------------------------------

/// One value, once.
pub(super) struct One;

struct OneState<T> {
    value: Option<T>,
    sender_gone: bool,
    receiver_gone: bool,
    waker: Option<Waker>,
}

/// Sends the value.
pub(super) struct OneSender<T>(Arc<StdMutex<OneState<T>>>);

/// Waits for the value.
pub(super) struct OneReceiver<T>(Arc<StdMutex<OneState<T>>>);

/// A new pair.
pub(super) fn one<T>() -> (OneSender<T>, OneReceiver<T>) {
    let state = Arc::new(StdMutex::new(OneState {
        value: None,
        sender_gone: false,
        receiver_gone: false,
        waker: None,
    }));
    (OneSender(Arc::clone(&state)), OneReceiver(state))
}

impl<T> OneSender<T> {
    /// Delivers; gives the value back when nobody waits any more.
    pub(super) fn send(self, value: T) -> Result<(), T> {
        let mut state = locked(&self.0);
        if state.receiver_gone {
            return Err(value);
        }
        state.value = Some(value);
        Ok(())
        // The destructor wakes the receiver.
    }
}

impl<T> Drop for OneSender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = locked(&self.0);
            state.sender_gone = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for OneReceiver<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = locked(&self.0);
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if state.sender_gone {
            return Poll::Ready(Err(Cancelled));
        }
        let old = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for OneReceiver<T> {
    fn drop(&mut self) {
        let (value, waker) = {
            let mut state = locked(&self.0);
            state.receiver_gone = true;
            (state.value.take(), state.waker.take())
        };
        drop(value);
        drop(waker);
    }
}

impl<T: Send> OneshotSender<T> for OneSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        Self::send(self, value)
    }
}

impl Oneshot for One {
    type Sender<T: openraft::OptionalSend> = OneSender<T>;
    type Receiver<T: openraft::OptionalSend> = OneReceiver<T>;
    type ReceiverError = Cancelled;

    fn channel<T: openraft::OptionalSend>() -> (OneSender<T>, OneReceiver<T>) {
        one()
    }
}

// ---- mpsc -------------------------------------------------------------------------------------

/// Many senders, one receiver, bounded.
pub(super) struct Queue;

struct QueueState<T> {
    items: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
    /// Senders that found no room, oldest first. All are woken when there is room again.
    waiting: VecDeque<Waker>,
}

pub(super) struct QueueSender<T>(Arc<StdMutex<QueueState<T>>>);
pub(super) struct QueueWeakSender<T>(Arc<StdMutex<QueueState<T>>>);
pub(super) struct QueueReceiver<T>(Arc<StdMutex<QueueState<T>>>);

impl Mpsc for Queue {
    type Sender<T: openraft::OptionalSend> = QueueSender<T>;
    type Receiver<T: openraft::OptionalSend> = QueueReceiver<T>;
    type WeakSender<T: openraft::OptionalSend> = QueueWeakSender<T>;

    fn channel<T: openraft::OptionalSend>(capacity: usize) -> (QueueSender<T>, QueueReceiver<T>) {
        let state = Arc::new(StdMutex::new(QueueState {
            items: VecDeque::new(),
            capacity: capacity.max(1),
            senders: 1,
            receiver_gone: false,
            receiver: None,
            waiting: VecDeque::new(),
        }));
        (QueueSender(Arc::clone(&state)), QueueReceiver(state))
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        locked(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for QueueSender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = locked(&self.0);
            state.senders -= 1;
            if state.senders == 0 {
                state.receiver.take()
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send> MpscSender<Queue, T> for QueueSender<T> {
    fn send(&self, message: T) -> impl Future<Output = Result<(), SendError<T>>> + Send {
        let mut message = Some(message);
        let state = Arc::clone(&self.0);
        poll_fn(move |cx| {
            let mut queue = locked(&state);
            if queue.receiver_gone {
                return Poll::Ready(Err(SendError(
                    message.take().expect("a finished send is not polled again"),
                )));
            }
            if queue.items.len() >= queue.capacity {
                queue.waiting.push_back(cx.waker().clone());
                return Poll::Pending;
            }
            let message = message.take().expect("a finished send is not polled again");
            queue.items.push_back(message);
            let waker = queue.receiver.take();
            drop(queue);
            if let Some(waker) = waker {
                waker.wake();
            }
            Poll::Ready(Ok(()))
        })
    }

    fn downgrade(&self) -> QueueWeakSender<T> {
        QueueWeakSender(Arc::clone(&self.0))
    }
}

impl<T> Clone for QueueWeakSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send> MpscWeakSender<Queue, T> for QueueWeakSender<T> {
    fn upgrade(&self) -> Option<QueueSender<T>> {
        let mut state = locked(&self.0);
        if state.senders == 0 {
            return None;
        }
        state.senders += 1;
        drop(state);
        Some(QueueSender(Arc::clone(&self.0)))
    }
}

impl<T> QueueReceiver<T> {
    fn take(&self, state: &mut QueueState<T>) -> Option<(T, VecDeque<Waker>)> {
        let item = state.items.pop_front()?;
        Some((item, std::mem::take(&mut state.waiting)))
    }
}

impl<T: Send> MpscReceiver<T> for QueueReceiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + Send {
        let this = &*self;
        poll_fn(move |cx| {
            let mut state = locked(&this.0);
            if let Some((item, waiting)) = this.take(&mut state) {
                drop(state);
                waiting.into_iter().for_each(Waker::wake);
                return Poll::Ready(Some(item));
            }
            if state.senders == 0 {
                return Poll::Ready(None);
            }
            let old = state.receiver.replace(cx.waker().clone());
            drop(state);
            drop(old);
            Poll::Pending
        })
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut state = locked(&self.0);
        if let Some((item, waiting)) = self.take(&mut state) {
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
            return Ok(item);
        }
        if state.senders == 0 {
            Err(TryRecvError::Disconnected)
        } else {
            Err(TryRecvError::Empty)
        }
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        let (items, waiting, waker) = {
            let mut state = locked(&self.0);
            state.receiver_gone = true;
            (
                std::mem::take(&mut state.items),
                std::mem::take(&mut state.waiting),
                state.receiver.take(),
            )
        };
        drop(items);
        drop(waker);
        waiting.into_iter().for_each(Waker::wake);
    }
}

// ---- watch ------------------------------------------------------------------------------------

/// The latest of a series of values, and who waits for the next.
pub(super) struct Watched;

struct WatchState<T> {
    value: RwLock<T>,
    meta: StdMutex<WatchMeta>,
}

struct WatchMeta {
    version: u64,
    senders: usize,
    receivers: usize,
    next_receiver: u64,
    /// At most one waiter for each receiver, woken in the order in which receivers were made.
    waiting: BTreeMap<u64, Waker>,
}

pub(super) struct WatchedSender<T>(Arc<WatchState<T>>);

pub(super) struct WatchedReceiver<T> {
    state: Arc<WatchState<T>>,
    id: u64,
    seen: u64,
}

impl<T> WatchState<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value
            .read()
            .expect("no task panics while it holds a watched value")
    }

    fn receiver(self: &Arc<Self>, seen: Option<u64>) -> WatchedReceiver<T> {
        let mut meta = locked(&self.meta);
        meta.receivers += 1;
        let id = meta.next_receiver;
        meta.next_receiver += 1;
        let seen = seen.unwrap_or(meta.version);
        drop(meta);
        WatchedReceiver {
            state: Arc::clone(self),
            id,
            seen,
        }
    }

    fn changed(&self) {
        let waiting = {
            let mut meta = locked(&self.meta);
            meta.version += 1;
            std::mem::take(&mut meta.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl Watch for Watched {
    type Sender<T: openraft::OptionalSend + openraft::OptionalSync> = WatchedSender<T>;
    type Receiver<T: openraft::OptionalSend + openraft::OptionalSync> = WatchedReceiver<T>;
    type Ref<'a, T: openraft::OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: openraft::OptionalSend + openraft::OptionalSync>(
        first: T,
    ) -> (WatchedSender<T>, WatchedReceiver<T>) {
        let state = Arc::new(WatchState {
            value: RwLock::new(first),
            meta: StdMutex::new(WatchMeta {
                version: 0,
                senders: 1,
                receivers: 0,
                next_receiver: 0,
                waiting: BTreeMap::new(),
            }),
        });
        let receiver = state.receiver(None);
        (WatchedSender(state), receiver)
    }
}

impl<T> Clone for WatchedSender<T> {
    fn clone(&self) -> Self {
        locked(&self.0.meta).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for WatchedSender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut meta = locked(&self.0.meta);
            meta.senders -= 1;
            if meta.senders == 0 {
                std::mem::take(&mut meta.waiting)
            } else {
                BTreeMap::new()
            }
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T: Send + Sync> WatchSender<Watched, T> for WatchedSender<T> {
    fn send(&self, value: T) -> Result<(), WatchSendError<T>> {
        if locked(&self.0.meta).receivers == 0 {
            return Err(WatchSendError(value));
        }
        let old = {
            let mut slot = self
                .0
                .value
                .write()
                .expect("no task panics while it holds a watched value");
            std::mem::replace(&mut *slot, value)
        };
        drop(old);
        self.0.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = {
            let mut slot = self
                .0
                .value
                .write()
                .expect("no task panics while it holds a watched value");
            modify(&mut slot)
        };
        if modified {
            self.0.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> WatchedReceiver<T> {
        self.0.receiver(None)
    }
}

impl<T> Clone for WatchedReceiver<T> {
    fn clone(&self) -> Self {
        self.state.receiver(Some(self.seen))
    }
}

impl<T> Drop for WatchedReceiver<T> {
    fn drop(&mut self) {
        let waker = {
            let mut meta = locked(&self.state.meta);
            meta.receivers -= 1;
            meta.waiting.remove(&self.id)
        };
        drop(waker);
    }
}

impl<T: Send + Sync> WatchReceiver<Watched, T> for WatchedReceiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let (state, id, seen) = (&self.state, self.id, self.seen);
        let version = poll_fn(|cx| {
            let mut meta = locked(&state.meta);
            if meta.version != seen {
                return Poll::Ready(Some(meta.version));
            }
            if meta.senders == 0 {
                return Poll::Ready(None);
            }
            let old = meta.waiting.insert(id, cx.waker().clone());
            drop(meta);
            drop(old);
            Poll::Pending
        })
        .await;
        match version {
            Some(version) => {
                self.seen = version;
                Ok(())
            }
            None => Err(RecvError(())),
        }
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.state.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.seen = locked(&self.state.meta).version;
        self.state.read()
    }
}

// ---- mutex ------------------------------------------------------------------------------------

/// A lock that waits without blocking.
pub(super) struct Lock<T>(futures_util::lock::Mutex<T>);

impl<T: Send + 'static> RtMutex<T> for Lock<T> {
    type Guard<'a> = futures_util::lock::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(futures_util::lock::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + Send {
        self.0.lock()
    }
}
