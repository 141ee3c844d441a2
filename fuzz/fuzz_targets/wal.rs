//! Fuzz target `wal`; its body is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mfsha_core::wal::fuzz::fuzz_recovery(bytes));
