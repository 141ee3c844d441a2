//! Whole processes of `mfsha`: what an operator sees of them.

#[path = "../support/mod.rs"]
mod support;

mod chunkservers;
mod corruption;
mod import;
mod leadership;
mod lifecycle;
mod sessions;
mod settings;
mod tls;
mod tools;
