//! Fuzz target `journal`; its body is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mfsha_linearizability::journal::fuzz_journal(bytes));
