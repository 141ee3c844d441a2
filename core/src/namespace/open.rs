//! Opening files.

use super::attr::attr;
use super::error::FsError;
use super::op::{Caller, Disable, NodeKind, OpenFlags, Reply};
use super::permission::{self, APPEND_ONLY, IMMUTABLE, READ, WRITE};
use super::session;
use super::truncate;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Opens a file in the caller's session, and with `truncate` makes it empty in the same step.
///
/// After a create, or a lookup that told, permissions were judged already and are not again.
///
/// # Errors
/// `NoEnt`, `Perm` for what is no file; unless `after_create`: `Perm` for an immutable file that
/// shall be changed or an append-only one that shall be emptied, `Access`.
pub fn open(txn: &mut Txn<'_>, caller: &Caller, ino: InodeId, flags: OpenFlags) -> Res<Reply> {
    let disables: Vec<Disable> = [
        (flags.read, Disable::Read),
        (flags.write, Disable::Write),
        (flags.truncate, Disable::Truncate),
    ]
    .into_iter()
    .filter_map(|(asked, disable)| asked.then_some(disable))
    .collect();
    let changes = flags.write || flags.truncate;
    let who = Who::enter(txn, caller, &disables, changes)?;
    let (ino, mut node) = who.node(txn, ino, false)?;
    if node.kind() != NodeKind::File {
        return Err(FsError::Perm.into());
    }
    if !flags.after_create {
        let eattr = node.eattr.value();
        if changes && eattr & IMMUTABLE != 0 || flags.truncate && eattr & APPEND_ONLY != 0 {
            return Err(FsError::Perm.into());
        }
        let read = if flags.read { READ } else { 0 };
        let write = if changes { WRITE } else { 0 };
        permission::require(txn, &who, ino, &node, read | write)?;
    }
    if flags.truncate {
        node = truncate::cut(txn, ino, &node, 0)?;
    }
    session::open_file(txn, ino, who.session)?;
    Ok(Reply::Attr(attr(txn, &who, ino, &node)?))
}

#[cfg(test)]
mod tests {
    use super::super::error::FsError;
    use super::super::op::{Answer, Notice, Query};
    use super::super::record::Inode;
    use super::super::stats;
    use super::super::testing::{Bed, ROOT, chmod, create, open, root, somebody, unlink, user};
    use super::*;
    use crate::time::WallTime;

    const READS: OpenFlags = OpenFlags {
        read: true,
        write: false,
        after_create: false,
        truncate: false,
    };
    const WRITES: OpenFlags = OpenFlags {
        write: true,
        ..NOTHING
    };
    const CUTS: OpenFlags = OpenFlags {
        truncate: true,
        ..NOTHING
    };
    const NOTHING: OpenFlags = OpenFlags {
        read: false,
        ..READS
    };

    #[test]
    fn refusals_come_in_this_order() {
        let mut bed = Bed::new();
        let read_only = bed.session_with(|params| params.flags.read_only = true);
        let dir = bed.dir(&root(), ROOT, "dir");
        let fifo = bed.node(create(&root(), ROOT, "fifo", NodeKind::Fifo));
        let file = bed.file(&root(), ROOT, "file");
        bed.ok(chmod(&root(), file, 0o040));
        let nobody = somebody(5);
        bed.refused(vec![
            (
                FsError::ReadOnly,
                open(&user(read_only, 5), InodeId(999), WRITES),
            ),
            (
                FsError::ReadOnly,
                open(&user(read_only, 5), InodeId(999), CUTS),
            ),
            (
                FsError::NoEnt,
                open(&user(read_only, 5), InodeId(999), READS),
            ),
            (FsError::Perm, open(&root(), dir, READS)),
            (FsError::Perm, open(&root(), fifo, READS)),
            (FsError::Access, open(&nobody, file, READS)),
            (FsError::Access, open(&nobody, file, WRITES)),
            (FsError::Access, open(&nobody, file, CUTS)),
        ]);
        // Eattr of the file, what is asked, as whom: the refusal.
        let examples = [
            (IMMUTABLE, READS, &root(), Ok(())),
            (IMMUTABLE, WRITES, &nobody, Err(FsError::Perm)),
            (IMMUTABLE, CUTS, &nobody, Err(FsError::Perm)),
            (APPEND_ONLY, WRITES, &root(), Ok(())),
            (APPEND_ONLY, CUTS, &nobody, Err(FsError::Perm)),
            (0, NOTHING, &nobody, Ok(())),
        ];
        for (eattr, flags, caller, expected) in examples {
            bed.set_eattr(file, eattr);
            let result = bed.run(open(caller, file, flags)).map(drop);
            assert_eq!(result, expected, "{eattr:#x} {flags:?}");
        }
        // What was judged before is not judged again, but a directory never opens.
        let again = OpenFlags {
            after_create: true,
            ..WRITES
        };
        bed.set_eattr(file, IMMUTABLE);
        bed.ok(open(&nobody, file, again));
        bed.refused(vec![(FsError::Perm, open(&nobody, dir, again))]);
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let mut bed = Bed::new();
        let session = bed.session_with(|_| {});
        let file = bed.file(&root(), ROOT, "file");
        bed.change(file, |node, stamp| Inode {
            trash_hours: node.trash_hours.write(stamp, 0),
            ..Inode::default()
        });
        bed.ok(open(&user(session, 0), file, READS));
        bed.ok(unlink(&root(), ROOT, "file"));
        bed.ok(open(&user(session, 0), file, READS));
        let paths = bed.ask(Query::Paths {
            caller: root(),
            inode: file,
        });
        assert_eq!(
            paths,
            Ok(Answer::Paths(vec![b"./SUSTAINED (file)".to_vec()]))
        );
        assert_eq!(bed.attr(file).nlink, 0);
    }

    #[test]
    fn the_cluster_itself_keeps_nothing_open() {
        let mut bed = Bed::new();
        let file = bed.file(&root(), ROOT, "file");
        let before = bed.contents();
        bed.ok(open(&root(), file, READS));
        assert_eq!(bed.contents(), before);
    }

    #[test]
    fn truncation_on_open_lets_the_chunks_go() {
        let mut bed = Bed::new();
        let session = bed.session_with(|_| {});
        let before = bed.sums(ROOT);
        let file = bed.file(&root(), ROOT, "file");
        bed.set_eattr(file, super::super::permission::SNAPSHOT);
        let chunks = [
            bed.add_chunk(file, 0, 100),
            bed.add_chunk(file, 2, 3 * crate::limits::CHUNK_BYTES),
        ];
        bed.change(file, |node, stamp| Inode {
            reserved: node.reserved.write(stamp, 5_000),
            ..Inode::default()
        });
        bed.now = 2_000;
        let outcome = bed.outcome(open(&user(session, 0), file, CUTS));
        let unused = |chunk| Notice::ChunkUnused { chunk, version: 1 };
        let shorter = Notice::LengthChanged {
            inode: file,
            length: 0,
        };
        assert_eq!(
            outcome.notices,
            [unused(chunks[0]), unused(chunks[1]), shorter]
        );
        let attr = bed.attr(file);
        assert_eq!(
            (attr.length, attr.mtime, attr.ctime),
            (0, WallTime(2_000), WallTime(2_000))
        );
        assert_eq!(bed.sums(ROOT), stats::plus(&before, &stats::FILE));
        let node = bed.by_hand(|txn| txn.inode(file));
        assert_eq!((node.eattr.value(), node.reserved.value()), (0, 0));
        let answer = bed.ask(Query::ListOpenFiles { session });
        assert_eq!(answer, Ok(Answer::OpenFiles(vec![(session, file)])));
        // Once more: nothing is left to go, and nobody is told.
        assert_eq!(bed.outcome(open(&user(session, 0), file, CUTS)).notices, []);
    }
}
