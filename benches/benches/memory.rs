//! Bytes of memory per inode, printed: no time is measured. A million files, or as many as
//! `MFSHA_BENCH_FILES` says.

use mfsha_benches::memory::measure;

fn main() {
    // Flags are those of the benches that are run with it. Without this one it is run as a test.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::var("MFSHA_BENCH_FILES").ok();
    let files = match wanted {
        Some(number) => match number.parse() {
            Ok(files) => files,
            Err(error) => {
                eprintln!("MFSHA_BENCH_FILES is a number of files, not {number:?}: {error}");
                std::process::exit(64);
            }
        },
        None if is_bench => 1_000_000,
        None => 1_000,
    };
    for figures in measure(files) {
        println!(
            "memory/{}: {} of them, {} keys, {} bytes of keys and values a file, {} bytes of \
             memory a file",
            figures.what, figures.files, figures.keys, figures.stored_bytes, figures.process_bytes
        );
    }
}
