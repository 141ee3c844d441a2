//! Bugs put in on purpose.
