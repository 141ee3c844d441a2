//! Transports over simulated streams, under seeds.
//!
//! The laws are in `world.rs`: what is delivered is exactly what was sent, in order and once, to
//! whom it was sent; never from a node that has lost its disk; never while the peer is not up;
//! at most one cluster; `Transport::check` after every step.
//!
//! Each was shown to fail, by hand, with these mistakes:
//!
//! MISTAKES

mod formation;
mod refusals;
mod torture;
mod world;
