//! Join-semilattices.
