//! Fuzz target `chunkserver`; its body is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mfsha_core::moosefs::chunkserver::fuzz_chunkserver(bytes);
});
