//! Chunks on chunkservers: where their copies are, and what is done with them.
//!
//! | module | what lives there |
//! |---|---|
//! | [`report`] | what a node hears of a chunkserver that is connected to it |
//! | [`order`] | what a chunkserver has to do |

pub mod order;
pub mod report;

pub use order::{Order, OrderKind};
pub use report::{Address, ConnId, Copy, Joined, Report, Space};
