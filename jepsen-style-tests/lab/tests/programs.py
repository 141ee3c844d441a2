"""Programs as people use them, one part at each mount."""

import os
import shutil
import sqlite3

from moosefs_lab import Unavailable, packages
from moosefs_lab.daemons import PROJECT

from .harness import Skipped, Worker, difference, flip, test, tree

# Some hundred files in folders, there with every copy of the project.
SOURCES = ["core/src", "docs", "jepsen-style-tests/harness"]


def copy_sources(t, to):
    """A tree of real files, on a local disk."""
    for source in SOURCES:
        shutil.copytree(os.path.join(PROJECT, source), os.path.join(to, source), symlinks=True)
    os.symlink("docs", os.path.join(to, "a-link"))
    return tree(to, with_times=True)


@test("tree-copy", data=True, quick=True)
def tree_copy(t):
    """cp -a of a tree of sources to one mount, compared by checksums at the other, and back"""
    original = f"{t.scratch}/tree"
    os.mkdir(original)
    wanted = copy_sources(t, original)
    t.run("cp", "-a", original, f"{t.a}/copy")
    t.spoil(lambda: flip(f"{t.a}/copy/docs/operations.md", 100))
    t.equal(difference(tree(f"{t.b}/copy", with_times=True), wanted), [], "differences at the other mount")
    t.run("cp", "-a", f"{t.b}/copy", f"{t.scratch}/back")
    t.run("diff", "-r", "--no-dereference", original, f"{t.scratch}/back")
    t.run("cp", "-a", f"{t.b}/copy", f"{t.b}/second")
    t.run("rm", "-r", f"{t.b}/copy")
    t.equal(difference(tree(f"{t.a}/second", with_times=True), wanted), [], "differences of a copy from mount to mount")
    t.say(f"{len(wanted)} entries")


@test("tar", data=True, quick=True)
def tar(t):
    """tar packs at one mount and unpacks at the other"""
    os.mkdir(f"{t.a}/tree")
    wanted = copy_sources(t, f"{t.a}/tree")
    os.link(f"{t.a}/tree/docs/admin.md", f"{t.a}/tree/another-name")
    wanted["another-name"] = wanted["docs/admin.md"]
    t.run("tar", "-C", f"{t.a}/tree", "-czf", f"{t.a}/tree.tar.gz", ".")
    os.mkdir(f"{t.b}/unpacked")
    t.run("tar", "-C", f"{t.b}/unpacked", "-xzf", f"{t.b}/tree.tar.gz")
    t.spoil(lambda: flip(f"{t.b}/unpacked/docs/admin.md"))
    t.until("it is all there", lambda: os.path.isdir(f"{t.a}/unpacked/docs"))
    t.equal(difference(tree(f"{t.a}/unpacked", with_times=True), wanted), [], "differences after packing and unpacking")
    count = os.stat(f"{t.a}/unpacked/another-name").st_nlink
    t.equal(count, 2, "names of the file that had two")


@test("git", data=True, quick=True)
def git(t):
    """git: init, commit, clone, push from the other mount, gc, fsck"""
    try:
        packages.ensure([("git", "git")])
    except Unavailable as error:
        raise Skipped(str(error)) from None
    environment = dict(os.environ, HOME=t.scratch, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=f"{t.scratch}/gitconfig")
    for key in [key for key in environment if key.startswith("GIT_") and "CONFIG" not in key]:
        del environment[key]

    def run(at, *words):
        return t.run("git", *words, cwd=at, env=environment)

    for key, value in [("user.name", "lab"), ("user.email", "lab@example.org"), ("init.defaultBranch", "main")]:
        run(t.scratch, "config", "--global", key, value)
    os.mkdir(f"{t.a}/work")
    copy_sources(t, f"{t.a}/work")
    run(f"{t.a}/work", "init", "-q")
    for number in range(5):
        with open(f"{t.a}/work/docs/new.md", "a", encoding="utf-8") as file:
            file.write(f"line {number}\n")
        run(f"{t.a}/work", "add", "-A")
        run(f"{t.a}/work", "commit", "-qm", f"commit {number}")
    run(t.a, "clone", "-q", "--bare", f"{t.a}/work", f"{t.a}/shared.git")
    run(t.b, "clone", "-q", f"{t.b}/shared.git", f"{t.b}/clone")
    run(f"{t.b}/clone", "mv", "docs/new.md", "docs/renamed.md")
    run(f"{t.b}/clone", "commit", "-qam", "from the other mount")
    run(f"{t.b}/clone", "push", "-q", "origin", "main")
    run(f"{t.a}/work", "pull", "-q", "--ff-only", f"{t.a}/shared.git", "main")
    run(f"{t.a}/shared.git", "gc", "-q")
    t.spoil(lambda: flip(f"{t.a}/work/docs/renamed.md"))
    heads = {run(at, "rev-parse", "main").strip() for at in (f"{t.b}/work", f"{t.b}/clone", f"{t.b}/shared.git")}
    t.equal(len(heads), 1, "how many different commits the three have")
    for at in (f"{t.a}/clone", f"{t.b}/work", f"{t.b}/shared.git"):
        run(at, "fsck", "--full", "--strict")
    t.equal(run(f"{t.b}/work", "status", "--porcelain"), "", "git status")
    t.equal(run(f"{t.b}/work", "log", "--format=%s").split("\n")[0], "from the other mount", "the newest commit")


def work_in_database(path, name, number):
    """Transactions that read, add and write; each has its own connection, as programs at two machines have."""
    for step in range(number):
        database = sqlite3.connect(path, timeout=120, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        (total,) = database.execute("SELECT value FROM counter").fetchone()
        database.execute("UPDATE counter SET value = ?", (total + 1,))
        database.execute("INSERT INTO entry VALUES (?, ?, ?)", (name, step, total))
        database.execute("COMMIT")
        database.close()


@test("sqlite", data=True, quick=True)
def sqlite(t):
    """sqlite: two processes at two mounts count in one database, no step is lost"""
    a, b = t.both("database")
    database = sqlite3.connect(a)
    database.execute("CREATE TABLE counter (value INTEGER)")
    database.execute("CREATE TABLE entry (name TEXT, step INTEGER, total INTEGER, UNIQUE (name, step))")
    database.execute("INSERT INTO counter VALUES (0)")
    database.commit()
    database.close()
    t.until("the database is at the other mount", lambda: os.path.exists(b))
    workers = [Worker(work_in_database, a, "a", 40), Worker(work_in_database, b, "b", 40)]
    for worker in workers:
        worker.result()
    t.spoil(lambda: work_in_database(a, "c", 1))
    for path in (a, b):
        database = sqlite3.connect(path, timeout=60)
        t.equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check says")
        t.equal(database.execute("SELECT value FROM counter").fetchone(), (80,), "the counter")
        totals = [total for (total,) in database.execute("SELECT total FROM entry ORDER BY total")]
        t.equal(totals, list(range(80)), "what each transaction saw")
        database.close()
