//! A node as a task of madsim: one input in, its consequences out.
//!
//! Killing a node is killing its madsim node, which drops the task and with it the machine. The
//! world and the task take turns over a door of one place in each direction; no other task is
//! ready meanwhile, so madsim's random choice among ready tasks changes nothing here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};

use mfsha_core::id::NodeId;
use mfsha_core::machine::Outbox;
use mfsha_core::node::request::NodeStatus;
use mfsha_core::node::{Effect, Input};
use mfsha_core::raft;
use mfsha_core::time::Instant;
use mfsha_core::wal::record::LogId;

use crate::check::LogImage;
use crate::event::AppliedEntry;
use crate::node::SimNode;

/// What a step came to.
#[derive(Debug)]
pub struct Stepped {
    /// What the node asks for, in order.
    pub effects: Vec<Effect>,
    /// What it applied, in order.
    pub applied: Vec<AppliedEntry>,
    /// When it wants a tick.
    pub deadline: Option<Instant>,
    /// What it shows afterwards.
    pub raft: Option<raft::Status>,
    /// How it stands, as it tells clients.
    pub status: NodeStatus,
    /// Whether a peer's state is arriving.
    pub receives_state: bool,
    /// Last durable log entry, when it can tell.
    pub durable: Option<LogId>,
    /// Metadata version.
    pub version: u64,
}

enum Order {
    Step(Box<(Instant, Input)>),
    Look,
    ShowLog,
}

enum Answer {
    Stepped(Box<Stepped>),
    Log(LogImage),
    Panicked(String),
}

#[derive(Default)]
struct Door {
    order: Option<Order>,
    answer: Option<Answer>,
    /// The machine has been dropped.
    gone: bool,
    node: Option<Waker>,
    world: Option<Waker>,
}

/// A running node.
pub struct NodeTask {
    door: Rc<RefCell<Door>>,
    machine_room: madsim::task::NodeId,
}

impl NodeTask {
    /// Lets a node run.
    #[must_use]
    pub fn spawn<N: SimNode>(name: NodeId, node: N) -> Self {
        let door = Rc::new(RefCell::new(Door::default()));
        // madsim starts a node's first task from a closure that may be called again for a restart
        // and must be Send; ours is called once, on this thread, and takes the node from here.
        STARTING.with_borrow_mut(|starting| {
            assert!(starting.is_none(), "one node starts at a time");
            *starting = Some(Box::pin(serve(node, Rc::clone(&door))));
        });
        let handle = madsim::runtime::Handle::current()
            .create_node()
            .name(name.to_string())
            .init(|| {
                STARTING.with_borrow_mut(|starting| {
                    starting
                        .take()
                        .expect("a node starts once, and never again")
                })
            })
            .build();
        Self {
            door,
            machine_room: handle.id(),
        }
    }

    /// Hands in one input.
    ///
    /// # Errors
    /// The node panicked, with what message; it must be killed.
    pub async fn step(&self, now: Instant, input: Input) -> Result<Stepped, String> {
        self.stepped(Order::Step(Box::new((now, input)))).await
    }

    /// What it shows and wants, without an input.
    ///
    /// # Errors
    /// As [`NodeTask::step`].
    pub async fn look(&self) -> Result<Stepped, String> {
        self.stepped(Order::Look).await
    }

    /// Its present log.
    ///
    /// # Errors
    /// As [`NodeTask::step`].
    pub async fn log(&self) -> Result<LogImage, String> {
        match self.ask(Order::ShowLog).await {
            Answer::Log(log) => Ok(log),
            Answer::Panicked(message) => Err(message),
            Answer::Stepped(_) => unreachable!("a log was asked for"),
        }
    }

    /// Ends the task; when this returns the machine has been dropped.
    pub async fn kill(self) {
        madsim::runtime::Handle::current().kill(self.machine_room);
        poll_fn(|context| {
            let mut door = self.door.borrow_mut();
            if door.gone {
                return Poll::Ready(());
            }
            door.world = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn stepped(&self, order: Order) -> Result<Stepped, String> {
        match self.ask(order).await {
            Answer::Stepped(stepped) => Ok(*stepped),
            Answer::Panicked(message) => Err(message),
            Answer::Log(_) => unreachable!("a step was asked for"),
        }
    }

    async fn ask(&self, order: Order) -> Answer {
        {
            let mut door = self.door.borrow_mut();
            door.order = Some(order);
            if let Some(waker) = door.node.take() {
                waker.wake();
            }
        }
        poll_fn(|context| {
            let mut door = self.door.borrow_mut();
            match door.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    door.world = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

type Life = std::pin::Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static STARTING: RefCell<Option<Life>> = const { RefCell::new(None) };
}

/// Says at the door that the machine is gone, when the task is dropped.
struct Leaving(Rc<RefCell<Door>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut door = self.0.borrow_mut();
        door.gone = true;
        if let Some(waker) = door.world.take() {
            waker.wake();
        }
    }
}

async fn serve<N: SimNode>(node: N, door: Rc<RefCell<Door>>) {
    // Dropped last, after the node: locals are dropped in reverse order.
    let leaving = Leaving(door);
    let mut node = node;
    loop {
        let order = poll_fn(|context| {
            let mut door = leaving.0.borrow_mut();
            match door.order.take() {
                Some(order) => Poll::Ready(order),
                None => {
                    door.node = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        let answer = catch_unwind(AssertUnwindSafe(|| obey(&mut node, order)));
        let panicked = answer.is_err();
        answer_at(
            &leaving.0,
            answer.unwrap_or_else(|panic| Answer::Panicked(panic_text(&*panic))),
        );
        if panicked {
            // Its state is undefined now: it is never stepped again, and waits to be killed.
            return std::future::pending().await;
        }
    }
}

fn answer_at(door: &RefCell<Door>, answer: Answer) {
    let mut door = door.borrow_mut();
    door.answer = Some(answer);
    if let Some(waker) = door.world.take() {
        waker.wake();
    }
}

fn obey<N: SimNode>(node: &mut N, order: Order) -> Answer {
    let mut outbox = Outbox::new();
    match order {
        Order::Step(step) => {
            let (now, input) = *step;
            node.step(now, input, &mut outbox);
            node.check();
        }
        Order::Look => node.check(),
        Order::ShowLog => return Answer::Log(node.log()),
    }
    let effects = outbox.drain().collect();
    let (raft, status) = node.shows();
    Answer::Stepped(Box::new(Stepped {
        effects,
        applied: node.take_applied(),
        deadline: node.deadline(),
        raft,
        status,
        receives_state: node.receives_state(),
        durable: node.durable(),
        version: node.version(),
    }))
}

/// What a panic said, and where, as far as the hook of [`watch_panics`] saw it.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    let place = LAST_PANIC_AT.with_borrow_mut(Option::take);
    match place {
        Some(place) => format!("{message} (at {place})"),
        None => message.to_owned(),
    }
}

thread_local! {
    static LAST_PANIC_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now the place of a panic is remembered for its report, beside what the hook before does.
pub fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(location) = info.location() {
            LAST_PANIC_AT.with_borrow_mut(|at| *at = Some(location.to_string()));
        }
        before(info);
    }));
}
