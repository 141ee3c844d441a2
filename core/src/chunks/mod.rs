//! Chunks on chunkservers: where their copies are, and what is done with them.
//!
//! ```text
//!  chunkserver -> face -> Relay ==news==> ChunkMap on every node
//!  chunkserver <- face <- Relay <==tasks== Keeper of the leader
//! ```
//!
//! What a chunk should be is in the replicated state. Here is where its copies are, which is told
//! by chunkservers alone, and who brings the two together.
//!
//! | module | what lives there |
//! |---|---|
//! | [`report`] | what a node hears of a chunkserver that is connected to it |
//! | [`order`] | what a chunkserver has to do |
//! | [`channel`] | items from one node to another, each once and in order |
//! | [`talk`] | what nodes say to each other of chunkservers |
//! | `repair` | chunks without a usable copy, as a person wants them repaired |
//! | [`relay`] | the chunkservers that are connected to this node |
//! | [`map`] | where copies are |
//! | [`sound`] | which versions of copies hold what a chunk holds |
//! | [`placement`] | which chunkservers take the copies of a chunk |
//! | [`keeper`] | all of it on one node, and what the leader does with it |
//! | `leading` | the books of a leader: orders that are under way |
//! | [`jobs`] | what is done for writers |
//! | `doubt` | what a state that may be older than its chunkservers leaves out |
//! | `upkeep` | what is done so that every chunk has its copies |
//! | `urgent` | of those, the most endangered first |
//! | `balance` | which copies move to emptier chunkservers |
//! | [`census`] | what the upkeep saw and did, for people |

mod balance;
pub mod census;
pub mod channel;
mod doubt;
pub mod jobs;
pub mod keeper;
mod leading;
pub mod map;
pub mod order;
pub mod placement;
pub mod relay;
mod repair;
pub mod report;
pub mod sound;
pub mod talk;
#[cfg(all(test, feature = "raft"))]
mod tests;
mod upkeep;
mod urgent;

pub use census::Census;
pub use keeper::{ChunkAnswer, ChunkWish, Keeper, Located, Options, Refusal, Repairs};
pub use order::{Order, OrderKind};
pub use report::{Address, ConnId, Copy, Joined, Report, Space};
pub use talk::Talk;
