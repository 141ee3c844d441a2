//! The executor that belongs to one machine: tasks, a ready queue, timers, a clock that stands
//! still and a random stream.
//!
//! It knows nothing of Raft. Nothing here runs on its own: [`Executor::run`] polls until no task
//! is ready, at the instant that it was told, and returns. Statics of the runtime find their
//! executor through a thread-local that is set only while the machine is being stepped.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Wake, Waker};

use crate::rng::{Rng, Seed};
use crate::time::Instant;

/// A task: openraft's or ours.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls in one step beyond which something spins; a step of a busy node takes a few thousand.
const POLLS_PER_STEP_MAX: u64 = 50_000_000;

thread_local! {
    /// The executor whose machine is being stepped on this thread.
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// What tasks, wakers and timers see of their executor.
pub(super) struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Instant,
    ready: VecDeque<u64>,
    spawned: Vec<(u64, Task)>,
    timers: BTreeMap<TimerKey, Waker>,
    next_task: u64,
    next_timer: u64,
    rng: Rng,
}

/// A timer's place in the table: by deadline, then by age.
pub(super) type TimerKey = (Instant, u64);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no task panics while it holds the executor's state")
    }

    /// The executor of the machine that is being stepped.
    ///
    /// # Panics
    /// Outside of a step: nothing of openraft may run there.
    pub(super) fn current() -> Arc<Self> {
        CURRENT.with(|current| {
            current
                .borrow()
                .clone()
                .expect("openraft's tasks run only inside a step of their machine")
        })
    }

    /// The instant of this step.
    pub(super) fn now(&self) -> Instant {
        self.state().now
    }

    /// 64 bits of the machine's stream.
    pub(super) fn draw(&self) -> u64 {
        self.state().rng.next_u64()
    }

    /// Hands in a task; it is polled before the step ends.
    pub(super) fn spawn(&self, task: Task) {
        let mut state = self.state();
        let id = state.next_task;
        state.next_task += 1;
        state.spawned.push((id, task));
        state.ready.push_back(id);
    }

    /// Sets or renews a timer and says under which key.
    pub(super) fn arm(&self, key: Option<TimerKey>, deadline: Instant, waker: &Waker) -> TimerKey {
        let mut state = self.state();
        let key = key.unwrap_or_else(|| {
            let number = state.next_timer;
            state.next_timer += 1;
            (deadline, number)
        });
        // The old waker is dropped after the lock is released: it may own the last reference.
        let old = state.timers.insert(key, waker.clone());
        drop(state);
        drop(old);
        key
    }

    /// Forgets a timer, so that a stale one never wakes anybody.
    pub(super) fn disarm(&self, key: TimerKey) {
        let old = self.state().timers.remove(&key);
        drop(old);
    }
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.shared.state().ready.push_back(self.id);
        }
    }
}

struct Running {
    task: Task,
    handle: Arc<TaskWaker>,
    waker: Waker,
}

/// Owns the tasks.
pub(super) struct Executor {
    shared: Arc<Shared>,
    tasks: BTreeMap<u64, Running>,
    /// When set, the next task is a random one of the ready ones instead of the oldest.
    shuffle: Option<Rng>,
}

impl Executor {
    /// An executor at `now`. With `shuffle` the order in which ready tasks run is drawn from the
    /// seed, so that a simulator sees more schedules; without, it is first in, first out.
    pub(super) fn new(seed: Seed, now: Instant, shuffle: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    now,
                    ready: VecDeque::new(),
                    spawned: Vec::new(),
                    timers: BTreeMap::new(),
                    next_task: 0,
                    next_timer: 0,
                    rng: seed.child("runtime").rng(),
                }),
            }),
            tasks: BTreeMap::new(),
            shuffle: shuffle.then(|| seed.child("schedule").rng()),
        }
    }

    /// What tasks see of this executor.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Moves the clock forward; it never runs back.
    pub(super) fn set_now(&mut self, now: Instant) {
        let mut state = self.shared.state();
        state.now = state.now.max(now);
    }

    /// The earliest timer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.shared.state();
        state.timers.first_key_value().map(|(key, _)| key.0)
    }

    /// Runs `work` with this executor as the thread's current one.
    pub(super) fn enter<T>(shared: &Arc<Shared>, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Arc<Shared>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let before = self.0.take();
                CURRENT.with(|current| *current.borrow_mut() = before);
            }
        }
        let before = CURRENT.with(|current| current.borrow_mut().replace(Arc::clone(shared)));
        let _restore = Restore(before);
        work()
    }

    /// Polls until no task is ready and no timer is due. Must be called inside [`Self::enter`].
    pub(super) fn run(&mut self) {
        let mut polls = 0_u64;
        loop {
            while let Some(id) = self.next_ready() {
                self.poll(id);
                polls += 1;
                assert!(
                    polls < POLLS_PER_STEP_MAX,
                    "consensus tasks spin without coming to rest"
                );
            }
            if !self.fire_timers() {
                return;
            }
        }
    }

    /// Number of tasks alive; a leak shows here.
    #[cfg(test)]
    pub(super) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Number of armed timers; a leak shows here.
    #[cfg(test)]
    pub(super) fn timer_count(&self) -> usize {
        self.shared.state().timers.len()
    }

    /// Drops every task. Must be called inside [`Self::enter`]: openraft's destructors may ask
    /// for the time or spawn.
    pub(super) fn clear(&mut self) {
        loop {
            let tasks = std::mem::take(&mut self.tasks);
            let (spawned, timers) = {
                let mut state = self.shared.state();
                state.ready.clear();
                (
                    std::mem::take(&mut state.spawned),
                    std::mem::take(&mut state.timers),
                )
            };
            if tasks.is_empty() && spawned.is_empty() && timers.is_empty() {
                return;
            }
        }
    }

    fn next_ready(&mut self) -> Option<u64> {
        let mut state = self.shared.state();
        for (id, task) in std::mem::take(&mut state.spawned) {
            let handle = Arc::new(TaskWaker {
                id,
                queued: AtomicBool::new(true),
                shared: Arc::clone(&self.shared),
            });
            let waker = Waker::from(Arc::clone(&handle));
            let running = Running {
                task,
                handle,
                waker,
            };
            self.tasks.insert(id, running);
        }
        match &mut self.shuffle {
            Some(rng) if state.ready.len() > 1 => {
                let at = rng.below(state.ready.len() as u64) as usize;
                state.ready.remove(at)
            }
            _ => state.ready.pop_front(),
        }
    }

    fn poll(&mut self, id: u64) {
        let Some(running) = self.tasks.get_mut(&id) else {
            return;
        };
        running.handle.queued.store(false, Ordering::Relaxed);
        let waker = running.waker.clone();
        let ready = running
            .task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        if ready {
            let done = self.tasks.remove(&id);
            drop(done);
        }
    }

    fn fire_timers(&mut self) -> bool {
        let due = {
            let mut state = self.shared.state();
            let now = state.now;
            let later = state
                .timers
                .split_off(&(Instant(now.0.saturating_add(1)), 0));
            std::mem::replace(&mut state.timers, later)
        };
        let any = !due.is_empty();
        for waker in due.into_values() {
            waker.wake();
        }
        any
    }
}
