//! Benchmarks of mfsha; see `benches/`. There is nothing here.
