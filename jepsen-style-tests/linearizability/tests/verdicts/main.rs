//! The checker from outside: histories whose verdict is known.

mod command;
mod planted;
mod scaling;
mod simulation;
mod textbook;
