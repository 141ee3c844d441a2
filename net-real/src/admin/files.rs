//! The tree, as root sees it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use mfsha_client::Client;
use mfsha_client::tree::{NewNode, Node, Place, Tree, Truncated};
use mfsha_core::id::InodeId;
use mfsha_core::limits;
use mfsha_core::namespace::op::{Attr, Entry, NodeKind, SetAttr, SetTime, XattrMode};
use mfsha_core::time::WallTime;
use serde_json::{Value, json};

use super::args::{Fs, SetTimeArg, Xattr};
use super::output::{Failure, Output, pairs, put_bytes, readable, table};
use super::session;

/// Nodes that `tree` shows at most: its answer is held in memory.
const TREE_NODES_MAX: usize = 1_000_000;

/// Carries out one command, and ends the session in whose name that was done.
pub async fn fs(client: &Client, command: Fs, output: &mut Output) -> Result<(), Failure> {
    let result = run(&client.tree(), command, output).await;
    session::end(client, result, output).await
}

async fn run(tree: &Tree, command: Fs, output: &mut Output) -> Result<(), Failure> {
    match command {
        Fs::Ls { path } => ls(tree, &path, output).await,
        Fs::Stat { path } => {
            let node = resolve(tree, &path, false).await?;
            show_node(output, &path, &node);
            Ok(())
        }
        Fs::Tree { path, depth } => show_tree(tree, &path, depth, output).await,
        Fs::Mkdir { path, mode } => {
            let place = place(tree, &path).await?;
            let made = tree.mkdir(place, mode, 0).await;
            show_made(output, &path, made)
        }
        Fs::Create { path, mode } => {
            let new = NewNode {
                kind: NodeKind::File,
                mode,
                umask: 0,
                rdev: 0,
            };
            let place = place(tree, &path).await?;
            let made = tree.create(place, new).await;
            show_made(output, &path, made)
        }
        Fs::Ln {
            target,
            path,
            symbolic,
        } => {
            let at = place(tree, &path).await?;
            let made = if symbolic {
                tree.symlink(at, target.as_bytes()).await
            } else {
                let node = resolve(tree, &target, false).await?;
                tree.link(node.inode, at).await
            };
            show_made(output, &path, made)
        }
        Fs::Mv { from, to } => {
            let (source, target) = (place(tree, &from).await?, place(tree, &to).await?);
            let moved = tree.rename(source, target).await;
            show_made(output, &to, moved)
        }
        Fs::Rm { path } => {
            let at = place(tree, &path).await?;
            show_removed(output, &path, tree.unlink(at).await)
        }
        Fs::Rmdir { path } => {
            let at = place(tree, &path).await?;
            show_removed(output, &path, tree.rmdir(at).await)
        }
        Fs::Readlink { path } => {
            let node = resolve(tree, &path, false).await?;
            let target = tree.readlink(node.inode).await.map_err(about(&path))?;
            let mut value = json!({});
            put_bytes(&mut value, "target", &target);
            output.show(&readable(&target), &value);
            Ok(())
        }
        Fs::Setattr {
            path,
            mode,
            uid,
            gid,
            atime,
            mtime,
        } => {
            let node = resolve(tree, &path, true).await?;
            let set = SetAttr {
                mode,
                uid,
                gid,
                atime: set_time(atime),
                mtime: set_time(mtime),
                ..SetAttr::default()
            };
            let attr = tree.setattr(node.inode, set).await.map_err(about(&path))?;
            let inode = node.inode;
            show_node(output, &path, &Node { inode, attr });
            Ok(())
        }
        Fs::Truncate { path, length } => truncate(tree, &path, length, output).await,
        Fs::Xattr(command) => xattr(tree, command, output).await,
        Fs::Statfs => {
            let sums = tree.statfs().await?;
            let text = pairs(&[
                ("nodes", sums.inodes.to_string()),
                ("bytes in the trash", sums.trash.to_string()),
                ("bytes sustained", sums.sustained.to_string()),
            ]);
            let value = json!({
                "inodes": sums.inodes,
                "trash_bytes": sums.trash,
                "sustained_bytes": sums.sustained,
            });
            output.show(&text, &value);
            Ok(())
        }
    }
}

/// Puts the path in front of what is wrong with it.
fn about(path: &OsString) -> impl FnOnce(mfsha_client::Error) -> Failure {
    let name = readable(path.as_bytes());
    move |error| Failure::from(error).about(&name)
}

async fn resolve(tree: &Tree, path: &OsString, follow: bool) -> Result<Node, Failure> {
    let node = tree.resolve(path.as_bytes(), follow).await;
    node.map_err(about(path))
}

async fn place(tree: &Tree, path: &OsString) -> Result<Place, Failure> {
    tree.place(path.as_bytes()).await.map_err(about(path))
}

fn set_time(time: Option<SetTimeArg>) -> SetTime {
    match time {
        None => SetTime::Keep,
        Some(SetTimeArg::Now) => SetTime::Now,
        Some(SetTimeArg::At(seconds)) => SetTime::At(WallTime(seconds)),
    }
}

fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::BlockDevice => "block device",
        NodeKind::CharDevice => "character device",
        NodeKind::Socket => "socket",
    }
}

fn attr_json(inode: InodeId, attr: &Attr) -> Value {
    json!({
        "inode": inode.0,
        "kind": kind_name(attr.kind),
        "mode": attr.mode,
        "uid": attr.uid,
        "gid": attr.gid,
        "nlink": attr.nlink,
        "length": attr.length,
        "rdev": attr.rdev,
        "atime": attr.atime.0,
        "mtime": attr.mtime.0,
        "ctime": attr.ctime.0,
    })
}

fn show_node(output: &mut Output, path: &OsString, node: &Node) {
    let attr = &node.attr;
    let text = pairs(&[
        ("path", readable(path.as_bytes())),
        ("inode", node.inode.0.to_string()),
        ("kind", kind_name(attr.kind).to_owned()),
        ("mode", format!("{:04o}", attr.mode)),
        ("uid", attr.uid.to_string()),
        ("gid", attr.gid.to_string()),
        ("links", attr.nlink.to_string()),
        ("length", attr.length.to_string()),
        ("atime", attr.atime.0.to_string()),
        ("mtime", attr.mtime.0.to_string()),
        ("ctime", attr.ctime.0.to_string()),
    ]);
    let mut value = attr_json(node.inode, attr);
    put_bytes(&mut value, "path", path.as_bytes());
    output.show(&text, &value);
}

/// A change that gives a node says little to people.
fn show_made(
    output: &mut Output,
    path: &OsString,
    made: Result<Node, mfsha_client::Error>,
) -> Result<(), Failure> {
    let node = made.map_err(about(path))?;
    let mut value = attr_json(node.inode, &node.attr);
    put_bytes(&mut value, "path", path.as_bytes());
    let text = format!(
        "{} is {} {}",
        readable(path.as_bytes()),
        kind_name(node.attr.kind),
        node.inode.0
    );
    output.show(&text, &value);
    Ok(())
}

fn show_removed(
    output: &mut Output,
    path: &OsString,
    removed: Result<InodeId, mfsha_client::Error>,
) -> Result<(), Failure> {
    let inode = removed.map_err(about(path))?;
    let mut value = json!({ "inode": inode.0 });
    put_bytes(&mut value, "path", path.as_bytes());
    let text = format!("{} is gone", readable(path.as_bytes()));
    output.show(&text, &value);
    Ok(())
}

async fn ls(tree: &Tree, path: &OsString, output: &mut Output) -> Result<(), Failure> {
    let dir = resolve(tree, path, true).await?;
    let entries = tree.readdir(dir.inode).await.map_err(about(path))?;
    let rows = entries.iter().map(|entry| {
        let of = |value: &dyn Fn(&Attr) -> String| entry.attr.as_ref().map_or("-".into(), value);
        [
            entry.inode.0.to_string(),
            kind_name(entry.kind).to_owned(),
            of(&|attr| format!("{:04o}", attr.mode)),
            of(&|attr| attr.nlink.to_string()),
            of(&|attr| attr.uid.to_string()),
            of(&|attr| attr.gid.to_string()),
            of(&|attr| attr.length.to_string()),
            of(&|attr| attr.mtime.0.to_string()),
            readable(&entry.name),
        ]
    });
    let header = [
        "INODE", "KIND", "MODE", "LINKS", "UID", "GID", "LENGTH", "MTIME", "NAME",
    ];
    let text = table(header, rows.collect());
    let entries: Vec<Value> = entries.iter().map(entry_json).collect();
    let mut value = json!({ "inode": dir.inode.0, "entries": entries });
    put_bytes(&mut value, "path", path.as_bytes());
    output.show(&text, &value);
    Ok(())
}

fn entry_json(entry: &Entry) -> Value {
    let mut value = match &entry.attr {
        Some(attr) => attr_json(entry.inode, attr),
        None => json!({ "inode": entry.inode.0, "kind": kind_name(entry.kind) }),
    };
    put_bytes(&mut value, "name", &entry.name);
    value
}

/// Shows a directory in order, without recursion: what is still to be shown is a stack.
async fn show_tree(
    tree: &Tree,
    path: &OsString,
    depth: u32,
    output: &mut Output,
) -> Result<(), Failure> {
    let top = resolve(tree, path, true).await?;
    let mut text = format!("{}\n", readable(path.as_bytes()));
    let mut values = Vec::new();
    let mut todo: Vec<(usize, Entry)> = Vec::new();
    push_children(tree, top.inode, 1, &mut todo)
        .await
        .map_err(about(path))?;
    while let Some((level, entry)) = todo.pop() {
        if values.len() >= TREE_NODES_MAX {
            return Err(Failure::refused(format!(
                "there are more than {TREE_NODES_MAX} nodes; choose a directory, or --depth"
            )));
        }
        let mark = if entry.kind == NodeKind::Directory {
            "/"
        } else {
            ""
        };
        let indent = "  ".repeat(level);
        let _ = writeln!(text, "{indent}{}{mark}", readable(&entry.name));
        let mut value = entry_json(&entry);
        value["depth"] = json!(level);
        values.push(value);
        if entry.kind == NodeKind::Directory && level < depth as usize {
            match push_children(tree, entry.inode, level + 1, &mut todo).await {
                // It was there a moment ago.
                Err(mfsha_client::Error::Fs(mfsha_core::namespace::error::FsError::NoEnt)) => {}
                other => other.map_err(about(path))?,
            }
        }
    }
    let mut value = json!({ "inode": top.inode.0, "entries": values });
    put_bytes(&mut value, "path", path.as_bytes());
    output.show(&text, &value);
    Ok(())
}

async fn push_children(
    tree: &Tree,
    dir: InodeId,
    level: usize,
    todo: &mut Vec<(usize, Entry)>,
) -> Result<(), mfsha_client::Error> {
    let entries = tree.readdir(dir).await?;
    todo.extend(entries.into_iter().rev().map(|entry| (level, entry)));
    Ok(())
}

async fn truncate(
    tree: &Tree,
    path: &OsString,
    length: u64,
    output: &mut Output,
) -> Result<(), Failure> {
    let node = resolve(tree, path, true).await?;
    let name = readable(path.as_bytes());
    let within = |index: u64| {
        let text = "the new end lies within a chunk that only a client with chunkservers can cut";
        Failure::refused(format!("{name}: {text}: chunk {index}"))
    };
    let index = length / limits::CHUNK_BYTES;
    if length < node.attr.length && !length.is_multiple_of(limits::CHUNK_BYTES) {
        let at = u32::try_from(index).unwrap_or(u32::MAX);
        let chunk = tree.chunk_at(node.inode, at).await.map_err(about(path))?;
        if chunk.is_some() {
            return Err(within(index));
        }
    }
    match tree
        .truncate(node.inode, length)
        .await
        .map_err(about(path))?
    {
        Truncated::Done {
            previous_length,
            attr,
        } => {
            let text = format!("{name} has {} bytes, before {previous_length}", attr.length);
            let mut value = attr_json(node.inode, &attr);
            value["previous_length"] = json!(previous_length);
            put_bytes(&mut value, "path", path.as_bytes());
            output.show(&text, &value);
            Ok(())
        }
        // The chunk was written a moment ago; it stays locked for up to two minutes.
        Truncated::ChunkToCut { index, .. } => Err(within(u64::from(index))),
    }
}

async fn xattr(tree: &Tree, command: Xattr, output: &mut Output) -> Result<(), Failure> {
    match command {
        Xattr::Get { path, name } => {
            let node = resolve(tree, &path, true).await?;
            let got = tree.get_xattr(node.inode, name.as_bytes()).await;
            let bytes = got.map_err(about(&path))?;
            let mut value = json!({});
            put_bytes(&mut value, "name", name.as_bytes());
            put_bytes(&mut value, "value", &bytes);
            output.show(&readable(&bytes), &value);
        }
        Xattr::List { path } => {
            let node = resolve(tree, &path, true).await?;
            let names = tree.list_xattrs(node.inode).await.map_err(about(&path))?;
            let lines: Vec<String> = names.iter().map(|name| readable(name)).collect();
            let values = names.iter().map(|name| {
                let mut value = json!({});
                put_bytes(&mut value, "name", name);
                value
            });
            let value = json!({ "xattrs": values.collect::<Vec<Value>>() });
            output.show(&lines.join("\n"), &value);
        }
        Xattr::Set { path, name, value } => {
            let value = value.as_bytes();
            let mode = XattrMode::CreateOrReplace;
            change_xattr(tree, &path, &name, value, mode, output).await?;
        }
        Xattr::Rm { path, name } => {
            change_xattr(tree, &path, &name, b"", XattrMode::Remove, output).await?;
        }
    }
    Ok(())
}

async fn change_xattr(
    tree: &Tree,
    path: &OsString,
    name: &OsString,
    value: &[u8],
    mode: XattrMode,
    output: &mut Output,
) -> Result<(), Failure> {
    let node = resolve(tree, path, true).await?;
    let name = name.as_bytes();
    let set = tree.set_xattr(node.inode, name, value, mode).await;
    set.map_err(about(path))?;
    let what = match mode {
        XattrMode::Remove => "is gone from",
        _ => "is set on",
    };
    let text = format!("{} {what} {}", readable(name), readable(path.as_bytes()));
    let mut json = json!({ "inode": node.inode.0 });
    put_bytes(&mut json, "name", name);
    output.show(&text, &json);
    Ok(())
}
