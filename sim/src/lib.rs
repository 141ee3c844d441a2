//! A seeded world that breaks mfsha's nodes and judges what they promise.
//!
//! One `u64` fixes everything: the cluster, its limits, the workload, the faults, every latency.
//! The same seed gives the same events, in another process and on another machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`schedule`], [`generator`], [`fault`] | what a seed draws: options, and explicit lists of faults and operations |
//! | [`world`], [`seat`], [`node`], [`task`], [`real`] | the event loop, the machine room of a node, and the door to it |
//! | [`net`], [`stream`], [`transport`], [`clock`], [`store`] | what is faked |
//! | [`nemesis`], [`atlas`] | who breaks things, and what must not be broken |
//! | [`workload`], [`fleet`] | who asks, and who keeps chunks |
//! | [`event`], [`check`], [`coverage`], [`trace`], [`html`] | what happened, who judges it, what was reached, how it is told |
//! | [`plan`], [`verdict`], [`child`], [`runner`], [`shrink`], [`regression`] | a run as a value, what came of it, a process for it, many seeds, smaller failures, failures kept |
//! | [`ideal`] | the fast tier: the tree alone over an ideal log |
//!
//! **Invariant:** nothing here draws from a clock, a thread or the system's randomness while a run
//! is under way; madsim makes such a call fail or repeat.
#![forbid(unsafe_code)]

pub mod atlas;
pub mod bugs;
pub mod check;
pub mod child;
pub mod clock;
pub mod coverage;
pub mod crash_points;
pub mod data;
mod deed;
pub mod disk;
pub mod draw;
pub mod event;
mod face;
pub mod fault;
pub mod fleet;
pub mod generator;
pub mod heal;
pub mod html;
pub mod ideal;
mod line;
pub mod mounts;
pub mod nemesis;
pub mod net;
pub mod node;
pub mod options;
pub mod place;
pub mod plan;
pub mod real;
pub mod regression;
pub mod runner;
pub mod schedule;
pub mod seat;
pub mod shrink;
pub mod store;
pub mod stream;
pub mod task;
pub mod time;
#[cfg(test)]
mod toy;
pub mod trace;
pub mod transport;
pub mod verdict;
mod view;
pub mod workload;
pub mod world;
