//! `mfsha check-metadata`: reads a `metadata.mfs` to its end, and says what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mfsha_core::moosefs::flags;
use mfsha_core::moosefs::metadata::item::Content;
use mfsha_core::moosefs::metadata::{Damage, Item, Parser, Source};
use mfsha_core::native::ClusterId;

use crate::progress::Progress;

/// A file as a source.
pub struct FileSource(File);

impl FileSource {
    /// From its beginning, or wherever it stands.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }
}

impl Source for FileSource {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| error.to_string()),
            }
        }
    }
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be opened.
    #[error("{0}")]
    Unopened(std::io::Error),
    /// It is damaged, or no such file.
    #[error("{0}")]
    Damaged(#[from] Damage),
}

/// What a file holds, in numbers.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    /// Metadata version.
    pub version: u64,
    /// The cluster, as chunkservers and mounts know it.
    pub metaid: u64,
    /// There are no metadata yet.
    pub is_new: bool,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Records by what they are.
    pub records: BTreeMap<&'static str, u64>,
    /// Bytes of all files.
    pub file_bytes: u64,
}

impl Contents {
    fn count(&mut self, what: &'static str) {
        *self.records.entry(what).or_default() += 1;
    }

    fn note(&mut self, item: &Item) {
        match item {
            Item::New => self.is_new = true,
            Item::Head { version, metaid } => {
                (self.version, self.metaid) = (*version, *metaid);
            }
            Item::Section(..) | Item::End => {}
            Item::Session(_) => self.count("sessions"),
            Item::Class(_) => self.count("storage classes"),
            Item::Node(node) => {
                if let Content::File { length, .. } = &node.content {
                    self.file_bytes = self.file_bytes.saturating_add(*length);
                }
                self.count(match node.kind {
                    flags::node::DIRECTORY => "directories",
                    flags::node::FILE => "files",
                    flags::node::SYMLINK => "symbolic links",
                    flags::node::TRASH => "files in the trash",
                    flags::node::SUSTAINED => "sustained files",
                    _ => "devices, pipes and sockets",
                });
            }
            Item::Edge(_) => self.count("names"),
            Item::Free(..) => self.count("freed inodes"),
            Item::Quota(_) => self.count("quotas"),
            Item::Xattr(..) => self.count("extended attributes"),
            Item::Acl(_) => self.count("lists of access"),
            Item::Open(..) => self.count("open files"),
            Item::Flock(_) => self.count("locks of files"),
            Item::PosixLock(_) => self.count("locks of bytes"),
            Item::Chunkserver(_) => self.count("chunkservers"),
            Item::Chunk(_) => self.count("chunks"),
        }
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        if self.is_new {
            return "whole: a new file, without metadata\n".to_owned();
        }
        let mut text = format!(
            "whole: {} bytes, metadata version {}, metaid {:016X}\n",
            self.bytes, self.version, self.metaid
        );
        for (what, count) in &self.records {
            text += &format!("{count:>14} {what}\n");
        }
        text += &format!("{:>14} bytes in all files\n", self.file_bytes);
        text
    }
}

/// Reads a file to its end.
///
/// # Errors
/// [`Unusable`], with the place of what is wrong.
pub fn read(path: &Path) -> Result<Contents, Unusable> {
    let file = File::open(path).map_err(Unusable::Unopened)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut parser = Parser::new(FileSource(file));
    let mut contents = Contents::default();
    let mut progress = Progress::new("reading");
    let read = loop {
        match parser.next_item() {
            Ok(Some(item)) => contents.note(&item),
            Ok(None) => break Ok(()),
            Err(damage) => break Err(damage),
        }
        progress.note(parser.position(), length);
    };
    drop(progress);
    read?;
    contents.bytes = parser.position();
    Ok(contents)
}

/// The number by which parts of MooseFS know a cluster that brought none along: the same on every
/// node, and not 0.
#[must_use]
pub fn metaid(cluster: ClusterId) -> u64 {
    let hash = blake3::derive_key("mfsha 2026 metaid", cluster.to_string().as_bytes());
    let (first, _) = hash.split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_or_refused_with_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.mfs");
        std::fs::write(&path, b"MFSM NEW").unwrap();
        let contents = read(&path).unwrap();
        assert!(contents.is_new && contents.bytes == 8);
        assert!(contents.to_text().contains("a new file"));
        std::fs::write(&path, b"MFSM 2.0\0\0").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("ends at byte 10"), "{error}");
        let error = read(&directory.path().join("none")).unwrap_err();
        assert!(matches!(error, Unusable::Unopened(_)));
    }

    #[test]
    fn what_the_real_master_wrote_is_counted() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../core/src/moosefs/metadata/testdata/written-by-3.0.117.mfs"
        );
        let contents = read(Path::new(path)).unwrap();
        assert_eq!(contents.records["chunkservers"], 3);
        assert_eq!(contents.records["sessions"], 2);
        assert_eq!(contents.records["files in the trash"], 1);
        assert_eq!(contents.records["sustained files"], 1);
        let text = contents.to_text();
        assert!(text.contains("2 sessions"), "{text}");
    }
}
