//! Fuzz target `native`; its body is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mfsha_core::native::fuzz_native(bytes));
