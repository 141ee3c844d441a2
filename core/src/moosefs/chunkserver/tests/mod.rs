//! Packets of a real cluster, packets of every kind at random, cut and bent ones.

mod captured;
mod random;
