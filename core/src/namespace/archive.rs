//! The archive flag of chunks: whether their copies follow the archive list of their class.

use super::change;
use super::chunk;
use super::class;
use super::error::FsError;
use super::key::Key;
use super::op::{Answer, Caller, NodeKind, Reply};
use super::record::{Chunk, Inode, Record};
use super::txn::{Res, Txn};
use super::walk::Walk;
use super::who::Who;
use crate::id::InodeId;
use crate::limits;

/// ARCHCTL set or clear, for all chunks of a file or of the files of a subtree. A chunk that
/// several slots share is looked at once for each.
///
/// # Errors
/// After the session's: `NoEnt`; `Invalid` for more nodes or chunks than one command may touch.
pub fn set(txn: &mut Txn<'_>, caller: &Caller, inode: InodeId, archived: bool) -> Res<Reply> {
    let who = Who::enter(txn, caller, &[], true)?;
    let (top, _) = who.node(txn, inode, false)?;
    let mut walk = Walk::new(top, true);
    let (mut changed, mut unchanged, mut refused) = (0_u64, 0_u64, 0);
    while let Some((ino, node)) = walk.next(txn)? {
        if node.kind() != NodeKind::File {
            continue;
        }
        if !change::is_owner(&who, &node) {
            refused += 1;
            continue;
        }
        let seen = usize::try_from(changed + unchanged).unwrap_or(usize::MAX);
        let room = limits::RECURSION_MAX.saturating_sub(seen);
        let (set, left) = mark(txn, (ino, 0, u32::MAX), room, archived)?;
        changed += set;
        unchanged += left;
    }
    Ok(Reply::Changed64 {
        changed,
        unchanged,
        refused,
    })
}

/// Archives chunks of a file that has not changed for as long as its class says, in the slots
/// `[from, to)`.
///
/// # Errors
/// `NoEnt` when there is no such file; `Invalid` for more chunks than one command may touch.
pub fn age(txn: &mut Txn<'_>, inode: InodeId, (from, to): (u32, u32)) -> Res<Reply> {
    let file: Inode = txn.get(&Key::Inode(inode))?.ok_or(FsError::NoEnt)?;
    if file.is_gone() || file.kind() != NodeKind::File {
        return Err(FsError::NoEnt.into());
    }
    let class = class::get(txn, file.class.value())?;
    let due = class.archives(file.ctime.value(), txn.now());
    let (changed, unchanged) = match due {
        true => mark(txn, (inode, from, to), limits::RECURSION_MAX, true)?,
        false => (0, 0),
    };
    let refused = 0;
    Ok(Reply::Changed64 {
        changed,
        unchanged,
        refused,
    })
}

/// Sets or clears the flag of chunks of a file, at most so many; gives how many changed and how
/// many did not.
fn mark(
    txn: &mut Txn<'_>,
    (inode, from, to): (InodeId, u32, u32),
    max: usize,
    archived: bool,
) -> Res<(u64, u64)> {
    let slots = chunk::slots(txn, inode, from, to, max + 1)?;
    if slots.len() > max {
        return Err(FsError::Invalid.into());
    }
    let (mut changed, mut unchanged) = (0, 0);
    for (_, chunk) in slots {
        if chunk::get(txn, chunk)?.archived.value() == archived {
            unchanged += 1;
            continue;
        }
        chunk::change(txn, chunk, |old, stamp| Chunk {
            archived: old.archived.write(stamp, archived),
            ..Chunk::default()
        })?;
        changed += 1;
    }
    Ok((changed, unchanged))
}

/// ARCHCTL get. A file without chunks is neither archived nor not.
///
/// # Errors
/// After the session's: `NoEnt`; `Invalid` for a subtree that is too large.
pub fn get(txn: &Txn<'_>, caller: &Caller, inode: InodeId) -> Res<Answer> {
    let who = Who::enter(txn, caller, &[], false)?;
    let (top, _) = who.node(txn, inode, false)?;
    let mut walk = Walk::new(top, true);
    let (mut archived, mut not) = (0_u64, 0_u64);
    let (mut files, mut partial, mut files_not) = (0, 0, 0);
    while let Some((ino, node)) = walk.next(txn)? {
        if node.kind() != NodeKind::File {
            continue;
        }
        let (mut mine, mut mine_not) = (0, 0);
        for (_, chunk) in chunk::slots(txn, ino, 0, u32::MAX, usize::MAX)? {
            if chunk::get(txn, chunk)?.archived.value() {
                mine += 1;
            } else {
                mine_not += 1;
            }
        }
        match (mine > 0, mine_not > 0) {
            (true, true) => partial += 1,
            (true, false) => files += 1,
            (false, true) => files_not += 1,
            (false, false) => {}
        }
        archived += mine;
        not += mine_not;
    }
    Ok(Answer::Archive {
        archived,
        not,
        files,
        partial,
        files_not,
    })
}

#[cfg(test)]
mod tests {
    use super::super::op::{ClassMode, Op, Query, SetAttr, SetMode, StorageClass};
    use super::super::testing::{Bed, ROOT, root, somebody, user};
    use super::*;

    fn set_op(caller: &Caller, inode: InodeId, archived: bool) -> Op {
        Op::SetArchived {
            caller: caller.clone(),
            inode,
            archived,
        }
    }

    fn counts(changed: u64, unchanged: u64, refused: u32) -> Reply {
        Reply::Changed64 {
            changed,
            unchanged,
            refused,
        }
    }

    #[test]
    fn flags_are_set_and_counted_below_a_directory_and_a_write_clears_them() {
        let mut bed = Bed::new();
        let dir = bed.dir(&root(), ROOT, "d");
        let mine = bed.file(&somebody(5), ROOT, "mine");
        let file = bed.file(&root(), dir, "f");
        bed.file(&root(), dir, "empty");
        for index in 0..3 {
            bed.add_chunk(file, index, 10);
        }
        bed.add_chunk(mine, 0, 10);
        let five = somebody(5);
        assert_eq!(bed.ok(set_op(&five, ROOT, true)), counts(1, 0, 2));
        assert_eq!(bed.ok(set_op(&root(), ROOT, true)), counts(3, 1, 0));
        let written = Op::WriteChunk {
            caller: root(),
            inode: file,
            index: 1,
            go_on: false,
            chunk_moved: false,
            may_touch_times: false,
        };
        bed.ok(written);
        let get = |inode| Query::GetArchived {
            caller: root(),
            inode,
        };
        let answer = |archived, not, files, partial, files_not| Answer::Archive {
            archived,
            not,
            files,
            partial,
            files_not,
        };
        assert_eq!(bed.ask(get(ROOT)), Ok(answer(3, 1, 1, 1, 0)));
        bed.ok(set_op(&root(), file, false));
        assert_eq!(bed.ask(get(dir)), Ok(answer(0, 3, 0, 0, 1)));
        assert_eq!(bed.ask(get(InodeId(9_999))), Err(FsError::NoEnt));
        let reader = bed.session_with(|params| params.flags.read_only = true);
        bed.refused(vec![
            (FsError::ReadOnly, set_op(&user(reader, 0), file, true)),
            (FsError::NoEnt, set_op(&root(), InodeId(9_999), true)),
        ]);
    }

    #[test]
    fn a_file_is_archived_when_it_has_not_changed_for_as_long_as_its_class_says() {
        let mut bed = Bed::new();
        let goals = vec![[0; 4]; 2];
        let class = StorageClass {
            name: b"cold".to_vec(),
            admin_only: false,
            mode: ClassMode::Std,
            archive_delay_days: 2,
            create: goals.clone(),
            keep: goals.clone(),
            archive: vec![[0; 4]],
        };
        let session = bed.session_with(|_| ());
        bed.ok(Op::CreateClass { session, class });
        let file = bed.file(&root(), ROOT, "f");
        for index in 0..3 {
            bed.add_chunk(file, index, 10);
        }
        let aged = |from, to| Op::ArchiveAged {
            inode: file,
            from,
            to,
        };
        // A plain goal archives nothing.
        bed.now += 100 * 86_400;
        assert_eq!(bed.ok(aged(0, u32::MAX)), counts(0, 0, 0));
        let cold = match bed.ask(Query::ListClasses) {
            Ok(Answer::Classes(all)) => all.into_iter().find(|(_, it)| it.name == b"cold"),
            other => panic!("{other:?}"),
        };
        bed.ok(Op::SetSclass {
            caller: root(),
            inode: file,
            class: cold.expect("it was made").0,
            only: None,
            mode: SetMode::Set,
            recursive: false,
        });
        // That changed the file; two days later to the second it is not due yet.
        bed.now += 2 * 86_400;
        assert_eq!(bed.ok(aged(0, u32::MAX)), counts(0, 0, 0));
        bed.now += 1;
        assert_eq!(bed.ok(aged(1, 2)), counts(1, 0, 0));
        assert_eq!(bed.ok(aged(0, u32::MAX)), counts(2, 1, 0));
        // A change of the file makes it young again.
        bed.ok(Op::SetAttr {
            caller: root(),
            inode: file,
            opened: false,
            set: SetAttr {
                mode: Some(0o600),
                ..SetAttr::default()
            },
        });
        bed.ok(set_op(&root(), file, false));
        assert_eq!(bed.ok(aged(0, u32::MAX)), counts(0, 0, 0));
        bed.refused(vec![
            (FsError::NoEnt, with_inode(aged(0, 1), ROOT)),
            (FsError::NoEnt, with_inode(aged(0, 1), InodeId(9_999))),
        ]);
    }

    fn with_inode(op: Op, other: InodeId) -> Op {
        match op {
            Op::ArchiveAged { from, to, .. } => Op::ArchiveAged {
                inode: other,
                from,
                to,
            },
            op => op,
        }
    }
}
