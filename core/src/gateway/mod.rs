//! What MooseFS's clients ask, as questions and commands of the namespace; what the namespace
//! says, as replies.
//!
//! Pure, like both sides of it. A [`Task`] is one request on its way: it says which [`Step`] comes
//! next and is told what came of it. Which node answers, how a command gets into the log, how it
//! takes effect once, where chunks are: that is decided elsewhere.
//!
//! | module | what lives there |
//! |---|---|
//! | [`task`] | one request on its way |
//! | `begin` | a request as its first step |
//! | `finish` | what came, as a reply |
//! | `listing` | the names of a directory |
//! | [`cache`] | what a client may keep of a file |
//! | `convert` | values of the wire as values of the namespace, and back |
//! | [`status`] | refusals as statuses |
//! | [`session`] | what a client is told of its session, says of its files, and hears of others |
//! | `chunk` | what needs chunkservers |

mod begin;
pub mod cache;
mod chunk;
pub(crate) mod convert;
mod finish;
mod listing;
pub mod session;
pub mod status;
pub mod task;
#[cfg(test)]
mod tests;

pub use session::Client;
pub use task::{Came, LockWait, Step, Task, World};
