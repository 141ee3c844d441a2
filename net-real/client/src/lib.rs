//! Native client library of mfsha.
