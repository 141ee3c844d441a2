//! `mfsha-admin export-metadata`: the state as a file that `mfsmaster` starts from.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfsha_client::Client;
use mfsha_core::native::admin::{ExportPart, ExportPiece};
use serde_json::json;

use super::output::{Failure, Output};
use crate::metadata;
use crate::progress::Progress;

/// Writes the file: beside its place first, so that a whole one is there or none.
pub async fn export(client: &Client, file: &Path, output: &mut Output) -> Result<(), Failure> {
    if file.symlink_metadata().is_ok() {
        let text = format!("{} is there already: name a new file", file.display());
        return Err(Failure::usage(text));
    }
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = write(client, &unfinished, output).await;
    let finished = written.and_then(|()| finish(&unfinished, file));
    let contents = finished.inspect_err(|_| {
        // Why it was not finished is what matters.
        let _ = fs::remove_file(&unfinished);
    })?;
    let shown = format!("{}: {}", file.display(), contents.to_text().trim_end());
    let told = json!({ "file": file.display().to_string(), "contents": contents });
    output.show(&shown, &told);
    Ok(())
}

async fn write(client: &Client, path: &Path, output: &Output) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!(
            "{}: {error}; name a file elsewhere",
            path.display()
        ))
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o640);
    let mut kept = options.open(path).map_err(failed)?;
    let export = getrandom::u64()
        .map_err(|error| Failure::usage(format!("the system has no randomness: {error}")))?;
    let mut progress = (!output.json).then(|| Progress::new("exporting"));
    let mut keep = |part: ExportPart| -> Result<(), String> {
        if let Some(progress) = &mut progress {
            progress.step(part.nodes.0, part.nodes.1);
        }
        for piece in part.pieces {
            match piece {
                ExportPiece::Append(bytes) => kept.write_all(&bytes),
                ExportPiece::Patch { at, bytes } => kept.write_all_at(&bytes, at),
            }
            .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    };
    client.admin().export(export, &mut keep).await?;
    kept.sync_all().map_err(failed)
}

/// Reads what was written to its end, and gives it its name.
fn finish(unfinished: &Path, file: &Path) -> Result<metadata::Contents, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::refused(format!("{}: {error}", unfinished.display()))
    };
    let contents = metadata::read(unfinished).map_err(|error| failed(&error))?;
    fs::rename(unfinished, file).map_err(|error| failed(&error))?;
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flushed = File::open(parent).and_then(|directory| directory.sync_all());
    flushed.map_err(|error| failed(&error))?;
    Ok(contents)
}
