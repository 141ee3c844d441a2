//! The namespace through the client.

use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{NodeKind, SetAttr, XattrMode};

use super::client;
use crate::testing::Fake;
use crate::tree::{NewNode, Tree, Truncated};
use crate::{Client, Error, Fail};

const FILE: NewNode = NewNode {
    kind: NodeKind::File,
    mode: 0o644,
    umask: 0o022,
    rdev: 0,
};

async fn tree() -> (Fake, Client, Tree) {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let tree = client.tree();
    (fake, client, tree)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, with: FsError) {
    assert!(
        matches!(&result, Err(Error::Fs(error)) if *error == with),
        "{result:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_made_found_moved_and_taken() {
    let (_fake, _client, tree) = tree().await;
    let dir = tree.place(b"/dir").await.unwrap();
    let dir = tree.mkdir(dir, 0o755, 0).await.unwrap();
    let file = tree.place(b"dir//./file").await.unwrap();
    assert_eq!(file.parent, dir.inode);
    let made = tree.create(file.clone(), FILE).await.unwrap();
    refused(tree.create(file.clone(), FILE).await, FsError::Exist);
    let found = tree.resolve(b"/dir/../dir/file", false).await.unwrap();
    assert_eq!(found.inode, made.inode);
    let other = tree.place(b"/other").await.unwrap();
    tree.link(made.inode, other.clone()).await.unwrap();
    assert_eq!(tree.getattr(made.inode).await.unwrap().nlink, 2);
    let third = tree.place(b"/dir/third").await.unwrap();
    tree.rename(other.clone(), third.clone()).await.unwrap();
    refused(tree.resolve(b"/other", false).await, FsError::NoEnt);
    assert_eq!(tree.unlink(third).await.unwrap(), made.inode);
    let place = tree.place(b"/dir/").await.unwrap();
    refused(tree.rmdir(place.clone()).await, FsError::NotEmpty);
    tree.unlink(file).await.unwrap();
    assert_eq!(tree.rmdir(place).await.unwrap(), dir.inode);
}

#[tokio::test(start_paused = true)]
async fn links_are_followed_where_wanted_and_not_for_ever() {
    let (_fake, _client, tree) = tree().await;
    let dir = tree.place(b"/dir").await.unwrap();
    let dir = tree.mkdir(dir, 0o755, 0).await.unwrap();
    for (path, target) in [
        ("/to", "dir"),
        ("/dir/up", "../to"),
        ("/dir/top", "/dir/up"),
        ("/a", "b"),
        ("/b", "a"),
    ] {
        let place = tree.place(path.as_bytes()).await.unwrap();
        tree.symlink(place, target.as_bytes()).await.unwrap();
    }
    let link = tree.resolve(b"/to", false).await.unwrap();
    assert_eq!(tree.readlink(link.inode).await.unwrap(), b"dir");
    for path in ["/to", "/to/up", "/dir/top", "/dir/up/top/up"] {
        let found = tree.resolve(path.as_bytes(), true).await.unwrap();
        assert_eq!(found.inode, dir.inode, "{path}");
    }
    refused(tree.resolve(b"/a", true).await, FsError::Invalid);
    refused(tree.place(b"/").await, FsError::Invalid);
    refused(tree.place(b"/dir/..").await, FsError::Invalid);
    let long = vec![b'/'; 70_000];
    refused(tree.resolve(&long, true).await, FsError::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_several_pages_comes_whole() {
    let (_fake, _client, tree) = tree().await;
    for number in 0..2_345 {
        let place = crate::tree::Place {
            parent: InodeId::ROOT,
            name: format!("f{number:05}").into_bytes(),
        };
        tree.create(place, FILE).await.unwrap();
    }
    let entries = tree.readdir(InodeId::ROOT).await.unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
    let expected: Vec<_> = (0..2_345)
        .map(|number| format!("f{number:05}").into_bytes())
        .collect();
    assert_eq!(names, expected);
    assert!(entries.iter().all(|entry| entry.attr.is_some()));
}

#[tokio::test(start_paused = true)]
async fn attributes_lengths_and_extended_attributes() {
    let (_fake, client, tree) = tree().await;
    let place = tree.place(b"/file").await.unwrap();
    let inode = tree.create(place, FILE).await.unwrap().inode;
    let set = SetAttr {
        mode: Some(0o600),
        uid: Some(5),
        ..SetAttr::default()
    };
    let attr = tree.setattr(inode, set).await.unwrap();
    assert_eq!((attr.mode, attr.uid), (0o600, 5));
    let somebody = client.tree_as(6, vec![6]);
    let set = SetAttr {
        mode: Some(0o777),
        ..SetAttr::default()
    };
    refused(somebody.setattr(inode, set).await, FsError::Perm);
    match tree.truncate(inode, 1 << 40).await.unwrap() {
        Truncated::Done {
            previous_length,
            attr,
        } => assert_eq!((previous_length, attr.length), (0, 1 << 40)),
        other @ Truncated::ChunkToCut { .. } => panic!("{other:?}"),
    }
    let name = b"user.a";
    let put = |mode| tree.set_xattr(inode, name, b"value", mode);
    refused(put(XattrMode::Replace).await, FsError::NoAttr);
    put(XattrMode::Create).await.unwrap();
    refused(put(XattrMode::Create).await, FsError::Exist);
    assert_eq!(tree.get_xattr(inode, name).await.unwrap(), b"value");
    assert_eq!(tree.list_xattrs(inode).await.unwrap(), [name.to_vec()]);
    put(XattrMode::Remove).await.unwrap();
    refused(tree.get_xattr(inode, name).await, FsError::NoAttr);
    assert_eq!(tree.statfs().await.unwrap().inodes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_no_request_can_carry_is_refused_here() {
    let (fake, _client, tree) = tree().await;
    let place = tree.place(b"/file").await.unwrap();
    let inode = tree.create(place, FILE).await.unwrap().inode;
    let asked = fake.asked().len();
    for bytes in [2 << 20, 20 << 20] {
        let value = vec![0; bytes];
        let mode = XattrMode::CreateOrReplace;
        let result = tree.set_xattr(inode, b"user.a", &value, mode).await;
        assert!(
            matches!(result, Err(Error::NotDone(Fail::TooLarge { .. }))),
            "{result:?}"
        );
    }
    assert_eq!(fake.asked().len(), asked);
}
