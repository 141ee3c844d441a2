//! The floor under every strict write: one flush, and one round trip to a peer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Flushes of a file whose space was written before, as the log's are, each after so many bytes.
pub fn flushes(directory: &Path, bytes: usize, time: Duration) -> std::io::Result<Vec<Duration>> {
    flushes_of(&directory.join("floor"), bytes, time)
}

/// The same by three threads at once, as the nodes share this disk; all of their times.
pub fn flushes_of_three(
    directory: &Path,
    bytes: usize,
    time: Duration,
) -> std::io::Result<Vec<Duration>> {
    let threads = ["floor1", "floor2", "floor3"].map(|name| {
        let path = directory.join(name);
        std::thread::spawn(move || flushes_of(&path, bytes, time))
    });
    let mut took = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(done) => took.extend(done?),
            Err(_) => return Err(std::io::Error::other("a thread that flushes died")),
        }
    }
    Ok(took)
}

fn flushes_of(path: &Path, bytes: usize, time: Duration) -> std::io::Result<Vec<Duration>> {
    let file = File::create_new(path)?;
    file.write_all_at(&vec![0; 16 << 20], 0)?;
    file.sync_all()?;
    let batch = vec![1; bytes];
    let mut took = Vec::new();
    let end = Instant::now() + time;
    let mut at = 0;
    while Instant::now() < end {
        let began = Instant::now();
        file.write_all_at(&batch, at)?;
        file.sync_data()?;
        took.push(began.elapsed());
        at = (at + bytes as u64) % (16 << 20);
    }
    std::fs::remove_file(path)?;
    Ok(took)
}

/// Round trips of 200 bytes between two tasks.
pub async fn round_trips(time: Duration) -> std::io::Result<Vec<Duration>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; 200];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes)?;
        }
        Ok(())
    });
    let (mut stream, _): (TcpStream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut bytes = [0; 200];
    let mut took = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let began = Instant::now();
        stream.write_all(&bytes).await?;
        stream.read_exact(&mut bytes).await?;
        took.push(began.elapsed());
    }
    drop(stream);
    match echo.join() {
        Ok(done) => done?,
        Err(_) => return Err(std::io::Error::other("the echo died")),
    }
    Ok(took)
}
