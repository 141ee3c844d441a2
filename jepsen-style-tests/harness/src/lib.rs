//! Breaks a real cluster of mfsha processes from outside and judges what it promised.
//!
//! | module | what lives there |
//! |---|---|
//! | [`lab`] | hosts as network namespaces that can be cut off and slowed down |
//! | [`door`], [`authority`] | how clients speak to nodes; certificates, for a run with TLS |
//! | [`process`], [`cluster`] | a daemon on each host; what is known of them from outside |
//! | [`plan`] | what a seed makes of a run: which fault, on whom, for how long |
//! | [`nemesis`] | carries a fault out, sees whether it had its effect, undoes it |
//! | [`layout`], [`step`] | what a round works on, and what writers ask |
//! | [`caller`], [`wire`], [`workload`], [`keeper`] | who asks |
//! | [`journal`], [`recording`], [`clock`] | what is written down |
//! | [`verdict`] | the judges |
//! | [`stalls`] | how long clients stood still |
//! | [`run`] | a run from its begin to its end |
//! | [`stand_in`] | a poor man's cluster, to test all of this without a daemon |
//!
//! The tested nodes are black boxes: nothing here looks into their directories or memory, and what
//! is judged was told to clients.
#![forbid(unsafe_code)]

pub mod authority;
pub mod caller;
pub mod clock;
pub mod cluster;
pub mod door;
pub mod journal;
pub mod keeper;
pub mod lab;
pub mod layout;
pub mod nemesis;
pub mod plan;
pub mod process;
pub mod recording;
pub mod run;
pub mod stalls;
pub mod stand_in;
pub mod step;
pub mod verdict;
pub mod wire;
pub mod workload;
