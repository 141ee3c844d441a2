//! Packets of simulated chunkservers in, packets for them and reports for the node out, at two
//! nodes over one tree.

mod orders;
mod registration;
mod reports;
mod rig;
mod torture;
