//! The namespace for programs: by path, and by inode.
//!
//! Paths are bytes with slashes, from the root of the client's session; a leading slash, double
//! ones and "." make no difference. Symbolic links on the way are followed, the last part only
//! where a method says so. A path is resolved by one read a part, so a tree that is changed
//! meanwhile may show parts of both; what is changed in the end is named by inode and name.

use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, Attr, Caller, ChunkInfo, Entry, Name, NodeKind, Op, Query, Reply, SetAttr,
    TruncateMode, XattrMode,
};

use crate::Client;
use crate::error::{Error, Fail, shortened};
use crate::read::Freshness;

/// Symbolic links that one path may lead through.
const LINKS_MAX: u32 = 40;
/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 65_536;
/// Entries that are asked for at once.
const PAGE: u32 = 1_000;

/// The tree as one user sees it.
#[derive(Clone)]
pub struct Tree {
    client: Client,
    uid: u32,
    gids: Vec<u32>,
    freshness: Freshness,
}

/// A node and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which.
    pub inode: InodeId,
    /// As the session sees it.
    pub attr: Attr,
}

/// A name in a directory, there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub parent: InodeId,
    /// The name.
    pub name: Name,
}

/// What a truncate came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truncated {
    /// The file has its new length.
    Done {
        /// Length before, bytes.
        previous_length: u64,
        /// Attributes now.
        attr: Attr,
    },
    /// The new end lies within a chunk: chunkservers have to cut it, then `Op::TruncateEnd`
    /// follows. The chunk is locked until then, or for two minutes.
    ChunkToCut {
        /// Position in the file.
        index: u32,
        /// The chunk.
        chunk: ChunkId,
        /// Bytes that stay.
        bytes: u32,
    },
}

/// Sums of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes in the trash.
    pub trash: u64,
    /// Bytes of files without a name that are open.
    pub sustained: u64,
    /// Nodes.
    pub inodes: u32,
}

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Type: neither directory nor symlink.
    pub kind: NodeKind,
    /// Permission bits, 07777.
    pub mode: u16,
    /// Bits that are taken away from them.
    pub umask: u16,
    /// Device number, of a device.
    pub rdev: u32,
}

impl Client {
    /// The tree as root sees it.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree_as(0, vec![0])
    }

    /// The tree as a user sees it; the effective group first. No groups: `Invalid` for every call.
    #[must_use]
    pub fn tree_as(&self, uid: u32, gids: Vec<u32>) -> Tree {
        Tree {
            client: self.clone(),
            uid,
            gids,
            freshness: Freshness::Strict,
        }
    }
}

/// The answer is of another kind than the question.
fn unexpected<T>(answer: &impl std::fmt::Debug) -> Result<T, Error> {
    Err(Error::NotDone(Fail::Unexpected {
        answer: shortened(answer),
    }))
}

impl Tree {
    /// The same tree, read as fresh as this.
    #[must_use]
    pub fn with_freshness(&self, freshness: Freshness) -> Self {
        Self {
            freshness,
            ..self.clone()
        }
    }

    async fn read(&self, query: impl Fn(Caller) -> Query + Send + Sync) -> Result<Answer, Error> {
        let query = |session| query(self.caller(session));
        self.client.read(self.freshness, query).await
    }

    async fn write(
        &self,
        op: impl Fn(Caller) -> Op + Send + Sync + 'static,
    ) -> Result<Reply, Error> {
        let this = (self.uid, self.gids.clone());
        let op = move |session| {
            let (uid, gids) = this.clone();
            op(Caller { session, uid, gids })
        };
        self.client.write(op).await
    }

    fn caller(&self, session: SessionId) -> Caller {
        Caller {
            session,
            uid: self.uid,
            gids: self.gids.clone(),
        }
    }

    /// The node of a name.
    ///
    /// # Errors
    /// [`Error`], as for everything here.
    pub async fn lookup(&self, parent: InodeId, name: &[u8]) -> Result<Node, Error> {
        let answer = self
            .read(|caller| Query::Lookup {
                caller,
                parent,
                name: name.to_vec(),
            })
            .await?;
        match answer {
            Answer::Looked { inode, attr, .. } => Ok(Node { inode, attr }),
            other => unexpected(&other),
        }
    }

    /// The node of a path. `follow`: when it is a symbolic link, what that leads to.
    ///
    /// # Errors
    /// `Invalid` when more than 40 links are on the way, or the path is longer than 65,536 bytes.
    pub async fn resolve(&self, path: &[u8], follow: bool) -> Result<Node, Error> {
        let mut todo: Vec<Name> = Vec::new();
        push_parts(&mut todo, path)?;
        let mut at = self.root().await?;
        let mut links = 0;
        while let Some(part) = todo.pop() {
            let next = self.lookup(at.inode, &part).await?;
            if next.attr.kind == NodeKind::Symlink && (follow || !todo.is_empty()) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::Fs(FsError::Invalid));
                }
                let target = self.readlink(next.inode).await?;
                push_parts(&mut todo, &target)?;
                if target.starts_with(b"/") {
                    at = self.root().await?;
                }
                continue;
            }
            at = next;
        }
        Ok(at)
    }

    async fn root(&self) -> Result<Node, Error> {
        let attr = self.getattr(InodeId::ROOT).await?;
        let inode = InodeId::ROOT;
        Ok(Node { inode, attr })
    }

    /// Directory and name of a path whose last part need not be there.
    ///
    /// # Errors
    /// `Invalid` for the root, and for paths that end in "." or "..".
    pub async fn place(&self, path: &[u8]) -> Result<Place, Error> {
        let end = path
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |at| at + 1);
        let path = &path[..end];
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        if matches!(name, b"" | b"." | b"..") {
            return Err(Error::Fs(FsError::Invalid));
        }
        let parent = self.resolve(above, true).await?.inode;
        let name = name.to_vec();
        Ok(Place { parent, name })
    }

    /// Attributes of a node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn getattr(&self, inode: InodeId) -> Result<Attr, Error> {
        let answer = self
            .read(|caller| Query::GetAttr {
                caller,
                inode,
                opened: false,
            })
            .await?;
        match answer {
            Answer::Attr(attr) => Ok(attr),
            other => unexpected(&other),
        }
    }

    /// One page of a directory, in order of name after `after`; true when it ends there. "." and
    /// ".." come first, after the empty name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn readdir_page(
        &self,
        inode: InodeId,
        after: &[u8],
        max: u32,
    ) -> Result<(Vec<Entry>, bool), Error> {
        let answer = self
            .read(|caller| Query::ReadDir {
                caller,
                inode,
                attrs: true,
                after: after.to_vec(),
                max: max.min(limits::READDIR_PAGE_MAX),
            })
            .await?;
        match answer {
            Answer::Entries { entries, done } => Ok((entries, done)),
            other => unexpected(&other),
        }
    }

    /// All entries of a directory with their attributes, without "." and "..". It is held in
    /// memory; [`Self::readdir_page`] is for directories that are too large for that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn readdir(&self, inode: InodeId) -> Result<Vec<Entry>, Error> {
        let mut out = Vec::new();
        let mut after = Vec::new();
        loop {
            let (entries, done) = self.readdir_page(inode, &after, PAGE).await?;
            let last = entries.last().map(|entry| entry.name.clone());
            out.extend(entries.into_iter().filter(is_real));
            match last {
                Some(last) if !done => after = last,
                _ => return Ok(out),
            }
        }
    }

    /// A new file, device, pipe or socket.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create(&self, at: Place, new: NewNode) -> Result<Node, Error> {
        let op = move |caller| Op::Create {
            caller,
            parent: at.parent,
            name: at.name.clone(),
            kind: new.kind,
            mode: new.mode,
            umask: new.umask,
            rdev: new.rdev,
            open: false,
        };
        node(self.write(op).await?)
    }

    /// A new directory.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mkdir(&self, at: Place, mode: u16, umask: u16) -> Result<Node, Error> {
        let op = move |caller| Op::Mkdir {
            caller,
            parent: at.parent,
            name: at.name.clone(),
            mode,
            umask,
            copy_setgid: true,
        };
        node(self.write(op).await?)
    }

    /// A new symbolic link.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn symlink(&self, at: Place, target: &[u8]) -> Result<Node, Error> {
        let target = target.to_vec();
        let op = move |caller| Op::Symlink {
            caller,
            parent: at.parent,
            name: at.name.clone(),
            target: target.clone(),
        };
        node(self.write(op).await?)
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub async fn readlink(&self, inode: InodeId) -> Result<Vec<u8>, Error> {
        bytes(
            self.read(|caller| Query::ReadLink { caller, inode })
                .await?,
        )
    }

    /// Another name for a node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn link(&self, inode: InodeId, at: Place) -> Result<Node, Error> {
        let op = move |caller| Op::Link {
            caller,
            inode,
            parent: at.parent,
            name: at.name.clone(),
        };
        node(self.write(op).await?)
    }

    /// Takes the name of anything but a directory away.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unlink(&self, at: Place) -> Result<InodeId, Error> {
        let op = move |caller| Op::Unlink {
            caller,
            parent: at.parent,
            name: at.name.clone(),
        };
        removed(self.write(op).await?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rmdir(&self, at: Place) -> Result<InodeId, Error> {
        let op = move |caller| Op::Rmdir {
            caller,
            parent: at.parent,
            name: at.name.clone(),
        };
        removed(self.write(op).await?)
    }

    /// Gives a node another name, in place of what has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rename(&self, from: Place, to: Place) -> Result<Node, Error> {
        let op = move |caller| Op::Rename {
            caller,
            src_parent: from.parent,
            src_name: from.name.clone(),
            dst_parent: to.parent,
            dst_name: to.name.clone(),
        };
        node(self.write(op).await?)
    }

    /// Sets attributes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn setattr(&self, inode: InodeId, set: SetAttr) -> Result<Attr, Error> {
        let op = move |caller| Op::SetAttr {
            caller,
            inode,
            opened: false,
            set: set.clone(),
        };
        match self.write(op).await? {
            Reply::Attr(attr) => Ok(attr),
            other => unexpected(&other),
        }
    }

    /// The chunk at a position of a file; `None` for a hole and behind the end.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chunk_at(&self, inode: InodeId, index: u32) -> Result<Option<ChunkInfo>, Error> {
        let answer = self
            .read(|caller| Query::ListChunks {
                caller,
                inode,
                from: index,
                max: 1,
            })
            .await?;
        match answer {
            Answer::Chunks { chunks, .. } => Ok(chunks
                .into_iter()
                .find(|info| info.index == index && info.chunk != ChunkId::HOLE)),
            other => unexpected(&other),
        }
    }

    /// Sets a file's length.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn truncate(&self, inode: InodeId, length: u64) -> Result<Truncated, Error> {
        let op = move |caller| Op::Truncate {
            caller,
            inode,
            length,
            mode: TruncateMode::Path,
        };
        match self.write(op).await? {
            Reply::Truncated {
                previous_length,
                attr,
            } => Ok(Truncated::Done {
                previous_length,
                attr,
            }),
            Reply::TruncateChunk {
                index,
                chunk,
                bytes,
                ..
            } => Ok(Truncated::ChunkToCut {
                index,
                chunk,
                bytes,
            }),
            other => unexpected(&other),
        }
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `NoAttr`.
    pub async fn get_xattr(&self, inode: InodeId, name: &[u8]) -> Result<Vec<u8>, Error> {
        let query = |caller| Query::GetXattr {
            caller,
            inode,
            opened: false,
            name: name.to_vec(),
        };
        bytes(self.read(query).await?)
    }

    /// Names of the extended attributes, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_xattrs(&self, inode: InodeId) -> Result<Vec<Vec<u8>>, Error> {
        let query = |caller| Query::ListXattr {
            caller,
            inode,
            opened: false,
        };
        let list = bytes(self.read(query).await?)?;
        let names = list.split(|byte| *byte == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// Sets an extended attribute, or with [`XattrMode::Remove`] takes it away.
    ///
    /// # Errors
    /// `Exist` and `NoAttr` by mode, `Range` for a value of more than 65,536 bytes.
    pub async fn set_xattr(
        &self,
        inode: InodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), Error> {
        let (name, value) = (name.to_vec(), value.to_vec());
        let op = move |caller| Op::SetXattr {
            caller,
            inode,
            opened: false,
            name: name.clone(),
            value: value.clone(),
            mode,
        };
        match self.write(op).await? {
            Reply::Done => Ok(()),
            other => unexpected(&other),
        }
    }

    /// Sums of the file system, as far as the metadata knows them: space belongs to chunkservers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn statfs(&self) -> Result<StatFs, Error> {
        let query = |caller| Query::StatFs {
            caller,
            total: 0,
            free: 0,
        };
        match self.read(query).await? {
            Answer::StatFs {
                trash,
                sustained,
                inodes,
                ..
            } => Ok(StatFs {
                trash,
                sustained,
                inodes,
            }),
            other => unexpected(&other),
        }
    }
}

/// Puts the parts of a path on a stack, the first on top.
fn push_parts(todo: &mut Vec<Name>, path: &[u8]) -> Result<(), Error> {
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::Fs(FsError::Invalid));
    }
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
    todo.extend(parts.rev().map(<[u8]>::to_vec));
    Ok(())
}

fn is_real(entry: &Entry) -> bool {
    !matches!(entry.name.as_slice(), b"." | b"..")
}

fn node(reply: Reply) -> Result<Node, Error> {
    match reply {
        Reply::Node { inode, attr } => Ok(Node { inode, attr }),
        other => unexpected(&other),
    }
}

fn removed(reply: Reply) -> Result<InodeId, Error> {
    match reply {
        Reply::Removed { inode } => Ok(inode),
        other => unexpected(&other),
    }
}

fn bytes(answer: Answer) -> Result<Vec<u8>, Error> {
    match answer {
        Answer::Bytes(bytes) => Ok(bytes),
        other => unexpected(&other),
    }
}
