//! What nodes say to each other of chunkservers.
//!
//! The node that a chunkserver is connected to, its relay, tells every node what it hears of it;
//! the leader tells relays what chunkservers have to do. Both are runs of a [`super::channel`].

use serde::{Deserialize, Serialize};

use super::channel::{Batch, Heard};
use super::order::Order;
use super::report::{ConnId, Report};
use crate::id::Term;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Talk {
    /// From a relay: what it heard. Runs are named by its life and a number.
    News(Batch<News>),
    /// How much of that has arrived.
    NewsHeard(Heard),
    /// From the leader: what is to be done. Runs are named by its term and a number.
    Tasks(Batch<Task>),
    /// How much of that has arrived.
    TasksHeard(Heard),
}

/// Something a relay heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// From which connection of its.
    pub conn: ConnId,
    /// What.
    pub what: What,
}

/// What was heard.
///
/// The first of a run is [`What::Begun`]: a relay without chunkservers has nothing else to say, and
/// what was heard of it before is void all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A run begins; of no connection.
    Begun,
    /// The chunkserver said something; how an order ended is [`What::Ended`].
    Said(Report),
    /// An order has ended.
    Ended {
        /// Which.
        tag: Tag,
        /// What was to be done.
        order: Order,
        /// 0 when it succeeded; otherwise the copy is bad or gone.
        status: u8,
    },
    /// No order of an earlier run of tasks is under way at this chunkserver, nor will be; how each
    /// ended was told before this.
    Fenced(Run),
}

/// Names a run of tasks: the term of its leader, and its number there. A leader begins another run
/// when it does not know any more what came of its orders; orders of the one before are void then.
pub type Run = (Term, u64);

/// Names an order: the term of the leader that gave it, and its number there.
pub type Tag = (Term, u64);

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Nothing of an earlier run may be done any more. The first of each.
    Fence,
    /// An order, for a chunkserver that is connected to the relay.
    Order {
        /// Life of the relay in which the connection was made.
        life: u64,
        /// The chunkserver's connection.
        conn: ConnId,
        /// Number of the order.
        number: u64,
        /// What is to be done.
        order: Order,
    },
}
