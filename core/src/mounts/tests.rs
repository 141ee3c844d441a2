//! Packets of simulated clients in, packets for them out, over one tree that two nodes share.

mod caches;
mod locks;
mod monitors;
mod requests;
mod rig;
mod session;
mod torture;
