//! One question in two languages: as the judges read it (paths and registers), and as the cluster
//! is asked it (inodes and names); and answers the other way round.

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::limits::READDIR_PAGE_MAX;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{self, Attr, Caller, NodeKind, Op, Query, Reply, XattrMode};
use mfsha_linearizability::models::{Errno, Kind, NamespaceCall, NamespaceReply, Path};

use crate::journal::{Call, RegisterAction, Seen};

/// Name of the attribute that serves as a register.
const REGISTER: &[u8] = b"user.register";

/// A directory or file whose number is known and which is never removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: String,
    /// Its number.
    pub inode: InodeId,
}

impl Place {
    /// Path of a name in it.
    #[must_use]
    pub fn child(&self, name: &str) -> String {
        if self.path == "/" {
            format!("/{name}")
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

/// What the cluster is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Make a file.
    Create(InodeId, String),
    /// Make a directory.
    Mkdir(InodeId, String),
    /// Remove a file.
    Unlink(InodeId, String),
    /// Remove a directory.
    Rmdir(InodeId, String),
    /// Rename: from and to.
    Rename(InodeId, String, InodeId, String),
    /// Another name for a file.
    Link(InodeId, InodeId, String),
    /// What has this name?
    Lookup(InodeId, String),
    /// Attributes.
    GetAttr(InodeId),
    /// All names, with attributes.
    ReadDir(InodeId),
    /// Change a register.
    SetRegister(InodeId, i64, XattrMode),
    /// Read a register.
    GetRegister(InodeId),
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For the judges.
    pub call: Call,
    /// For the cluster.
    pub want: Want,
}

fn path(text: &str) -> Path {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .expect("the workload's names are plain")
}

impl Step {
    fn tree(call: NamespaceCall, want: Want) -> Self {
        Self {
            call: Call::Tree(call),
            want,
        }
    }

    /// Makes a file.
    #[must_use]
    pub fn create(dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Create {
            path: path(&dir.child(name)),
            mode: None,
        };
        Self::tree(call, Want::Create(dir.inode, name.to_owned()))
    }

    /// Makes a directory.
    #[must_use]
    pub fn mkdir(dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Mkdir {
            path: path(&dir.child(name)),
            mode: None,
        };
        Self::tree(call, Want::Mkdir(dir.inode, name.to_owned()))
    }

    /// Removes a file.
    #[must_use]
    pub fn unlink(dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Unlink {
            path: path(&dir.child(name)),
        };
        Self::tree(call, Want::Unlink(dir.inode, name.to_owned()))
    }

    /// Removes a directory.
    #[must_use]
    pub fn rmdir(dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Rmdir {
            path: path(&dir.child(name)),
        };
        Self::tree(call, Want::Rmdir(dir.inode, name.to_owned()))
    }

    /// Renames a file, or a directory.
    #[must_use]
    pub fn rename(from: &Place, old: &str, to: &Place, new: &str) -> Self {
        let call = NamespaceCall::Rename {
            from: path(&from.child(old)),
            to: path(&to.child(new)),
        };
        Self::tree(
            call,
            Want::Rename(from.inode, old.to_owned(), to.inode, new.to_owned()),
        )
    }

    /// Gives a file another name.
    #[must_use]
    pub fn link(file: &Place, dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Link {
            from: path(&file.path),
            to: path(&dir.child(name)),
        };
        Self::tree(call, Want::Link(file.inode, dir.inode, name.to_owned()))
    }

    /// Looks a name up.
    #[must_use]
    pub fn lookup(dir: &Place, name: &str) -> Self {
        let call = NamespaceCall::Lookup {
            path: path(&dir.child(name)),
        };
        Self::tree(call, Want::Lookup(dir.inode, name.to_owned()))
    }

    /// Looks at a file.
    #[must_use]
    pub fn getattr(file: &Place) -> Self {
        let call = NamespaceCall::Getattr {
            path: path(&file.path),
        };
        Self::tree(call, Want::GetAttr(file.inode))
    }

    /// Lists a directory.
    #[must_use]
    pub fn readdir(dir: &Place) -> Self {
        let call = NamespaceCall::Readdir {
            path: path(&dir.path),
        };
        Self::tree(call, Want::ReadDir(dir.inode))
    }

    /// Asks a register.
    #[must_use]
    pub fn register(file: &Place, action: RegisterAction) -> Self {
        let set = |value, mode| Want::SetRegister(file.inode, value, mode);
        let want = match action {
            RegisterAction::Set(value) => set(value, XattrMode::CreateOrReplace),
            RegisterAction::Create(value) => set(value, XattrMode::Create),
            RegisterAction::Replace(value) => set(value, XattrMode::Replace),
            RegisterAction::Remove => set(0, XattrMode::Remove),
            RegisterAction::Read => Want::GetRegister(file.inode),
        };
        Self {
            call: Call::Register {
                key: file.path.clone(),
                action,
            },
            want,
        }
    }
}

fn root(session: SessionId) -> Caller {
    Caller {
        session,
        uid: 0,
        gids: vec![0],
    }
}

impl Want {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        use Want as W;
        matches!(
            self,
            W::Lookup(..) | W::GetAttr(_) | W::ReadDir(_) | W::GetRegister(_)
        )
    }

    /// As a command, in a session's name.
    ///
    /// # Panics
    /// When it is a read.
    #[must_use]
    pub fn to_op(&self, session: SessionId) -> Op {
        let caller = root(session);
        let bytes = |name: &String| name.clone().into_bytes();
        match self {
            Self::Create(parent, name) => Op::Create {
                caller,
                parent: *parent,
                name: bytes(name),
                kind: NodeKind::File,
                mode: 0o644,
                umask: 0,
                rdev: 0,
                open: false,
            },
            Self::Mkdir(parent, name) => Op::Mkdir {
                caller,
                parent: *parent,
                name: bytes(name),
                mode: 0o755,
                umask: 0,
                copy_setgid: false,
            },
            Self::Unlink(parent, name) => Op::Unlink {
                caller,
                parent: *parent,
                name: bytes(name),
            },
            Self::Rmdir(parent, name) => Op::Rmdir {
                caller,
                parent: *parent,
                name: bytes(name),
            },
            Self::Rename(src_parent, src_name, dst_parent, dst_name) => Op::Rename {
                caller,
                src_parent: *src_parent,
                src_name: bytes(src_name),
                dst_parent: *dst_parent,
                dst_name: bytes(dst_name),
            },
            Self::Link(inode, parent, name) => Op::Link {
                caller,
                inode: *inode,
                parent: *parent,
                name: bytes(name),
            },
            Self::SetRegister(inode, value, mode) => Op::SetXattr {
                caller,
                inode: *inode,
                opened: false,
                name: REGISTER.to_vec(),
                value: value.to_string().into_bytes(),
                mode: *mode,
            },
            Self::Lookup(..) | Self::GetAttr(_) | Self::ReadDir(_) | Self::GetRegister(_) => {
                panic!("a read is no command")
            }
        }
    }

    /// As a query, in a session's name.
    ///
    /// # Panics
    /// When it is no read.
    #[must_use]
    pub fn to_query(&self, session: SessionId) -> Query {
        let caller = root(session);
        match self {
            Self::Lookup(parent, name) => Query::Lookup {
                caller,
                parent: *parent,
                name: name.clone().into_bytes(),
            },
            Self::GetAttr(inode) => Query::GetAttr {
                caller,
                inode: *inode,
                opened: false,
            },
            Self::ReadDir(inode) => Query::ReadDir {
                caller,
                inode: *inode,
                attrs: true,
                after: Vec::new(),
                max: READDIR_PAGE_MAX,
            },
            Self::GetRegister(inode) => Query::GetXattr {
                caller,
                inode: *inode,
                opened: false,
                name: REGISTER.to_vec(),
            },
            _ => panic!("a command is no read"),
        }
    }
}

fn errno(error: FsError) -> Option<Errno> {
    Some(match error {
        FsError::Perm => Errno::Eperm,
        FsError::NoEnt | FsError::NoEntNoCache => Errno::Enoent,
        FsError::Exist => Errno::Eexist,
        FsError::NotDir => Errno::Enotdir,
        FsError::Invalid => Errno::Einval,
        FsError::NotEmpty => Errno::Enotempty,
        _ => return None,
    })
}

fn kind(kind: NodeKind) -> Option<Kind> {
    match kind {
        NodeKind::File => Some(Kind::File),
        NodeKind::Directory => Some(Kind::Directory),
        NodeKind::Symlink => Some(Kind::Symlink),
        _ => None,
    }
}

fn shown(inode: InodeId, attr: &Attr) -> NamespaceReply {
    NamespaceReply {
        inode: Some(u64::from(inode.0)),
        kind: kind(attr.kind),
        links: Some(u64::from(attr.nlink)),
        ..NamespaceReply::default()
    }
}

/// What a change was answered, for the judges.
#[must_use]
pub fn seen_of_reply(want: &Want, result: &Result<Reply, FsError>) -> Seen {
    if let Want::SetRegister(..) = want {
        return match result {
            Ok(_) => Seen::Done,
            Err(FsError::Exist) => Seen::Present,
            Err(FsError::NoAttr) => Seen::Absent,
            Err(error) => Seen::Odd(format!("{error:?}")),
        };
    }
    match (want, result) {
        (_, Err(error)) => refused(*error),
        (Want::Create(..) | Want::Mkdir(..), Ok(Reply::Node { inode, attr })) => {
            Seen::Tree(shown(*inode, attr))
        }
        (Want::Link(..), Ok(Reply::Node { inode, attr })) => Seen::Tree(shown(*inode, attr)),
        (Want::Rename(..), Ok(Reply::Node { .. }))
        | (Want::Unlink(..) | Want::Rmdir(..), Ok(Reply::Removed { .. })) => {
            Seen::Tree(NamespaceReply::default())
        }
        (_, Ok(reply)) => Seen::Odd(format!("{reply:?}")),
    }
}

fn refused(error: FsError) -> Seen {
    match errno(error) {
        Some(errno) => Seen::Tree(NamespaceReply {
            error: Some(errno),
            ..NamespaceReply::default()
        }),
        None => Seen::Odd(format!("{error:?}")),
    }
}

/// What a read was answered, for the judges.
#[must_use]
pub fn seen_of_answer(want: &Want, result: &Result<op::Answer, FsError>) -> Seen {
    match (want, result) {
        (Want::GetRegister(_), Ok(op::Answer::Bytes(bytes))) => {
            match std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
            {
                Some(value) => Seen::Held(value),
                None => Seen::Odd(format!("register holds {bytes:?}")),
            }
        }
        (Want::GetRegister(_), Err(FsError::NoAttr)) => Seen::Held(0),
        (_, Err(error)) => refused(*error),
        (Want::Lookup(..), Ok(op::Answer::Looked { inode, attr, .. })) => {
            Seen::Tree(shown(*inode, attr))
        }
        (Want::GetAttr(inode), Ok(op::Answer::Attr(attr))) => Seen::Tree(shown(*inode, attr)),
        (
            Want::ReadDir(_),
            Ok(op::Answer::Entries {
                entries,
                done: true,
            }),
        ) => {
            let names = entries
                .iter()
                .map(|entry| String::from_utf8_lossy(&entry.name));
            let names = names.filter(|name| name != "." && name != "..");
            Seen::Tree(NamespaceReply {
                names: Some(names.map(std::borrow::Cow::into_owned).collect()),
                ..NamespaceReply::default()
            })
        }
        (_, Ok(answer)) => Seen::Odd(format!("{answer:?}").chars().take(200).collect()),
    }
}
