//! The checker from outside: histories whose verdict is known.

mod command;
mod planted;
mod promises;
mod scaling;
mod simulation;
mod textbook;
