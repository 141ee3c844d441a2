//! Fuzz target `monitor`; its body is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mfsha_core::moosefs::monitor::fuzz_monitor(bytes));
