"""`mfsexports.cfg`: what a mount may do, and what becomes of it when the file is read again."""

import contextlib
import errno
import hashlib
import os
import signal

from moosefs_lab import LabError
from moosefs_lab.daemons import EXPORTS
from moosefs_lab.network import address

from .harness import as_user, opened, read, test
from .names import make_empty


def write_exports(t, text):
    """Gives all nodes other exports, and lets them read the file."""
    for host in t.lab.hosts("n"):
        path = t.lab.path(host, "mfsexports.cfg")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".new", path)
    for host in t.lab.hosts("n"):
        os.kill(t.lab.processes.require(host), signal.SIGHUP)


@contextlib.contextmanager
def exports(t, lines, more=""):
    """Nodes with these lines for directories below that of the test, and more; afterwards as they were."""
    own = more + "".join(f"* /{t.directory}/{line}\n" for line in lines)
    # Without alldirs, so that directories below have the lines of their own.
    write_exports(t, EXPORTS.replace("alldirs,", "") + own)
    try:
        yield
    finally:
        write_exports(t, EXPORTS)


@contextlib.contextmanager
def mounted(t, name, options=""):
    """A directory of the test as a mount of its own, at the host of the first mount."""
    path = f"{t.scratch}/{name.replace('/', '-')}"
    words = ",".join(filter(None, [f"mfssubfolder=/{t.directory}/{name}", options]))
    with t.lab.locked():
        t.lab.mounts.add(1, path, words)
    try:
        yield path
    finally:
        with t.lab.locked():
            t.lab.mounts.remove(path)


def refused(wanted, act):
    """Whether something fails with this error."""
    try:
        act()
    except OSError as error:
        return error.errno == wanted
    return False


def cannot_mount(t, name, options=""):
    """Whether a directory cannot be mounted."""
    try:
        with mounted(t, name, options):
            return False
    except LabError:
        return True


@test("exports", data=False)
def exports_options(t):
    """mfsexports.cfg: ro, sub-folders, password, mapall, umask, goals, trash times, forbidden commands"""
    names = ["ro", "pw", "all", "umask", "limits", "none"]
    for name in names:
        os.mkdir(f"{t.a}/{name}")
        os.chmod(f"{t.a}/{name}", 0o777)
        make_empty(f"{t.a}/{name}/file")
    lines = [
        "ro ro,maproot=0:0",
        "pw rw,maproot=0:0,password=sesame",
        "all rw,mapall=1234:2345",
        "umask rw,maproot=0:0,umask=0027",
        "limits rw,maproot=0:0,admin,mingoal=2,maxgoal=3,mintrashtime=1h,maxtrashtime=2d",
        "none rw,maproot=0:0,disable=unlink:mkdir",
    ]
    with exports(t, lines):
        t.until("the mounts that were there go on", lambda: set(os.listdir(t.b)) == set(names), 90)
        with mounted(t, "ro") as path:
            t.equal(os.listdir(path), ["file"], "a sub-folder is a root")
            t.check(refused(errno.EROFS, lambda: os.mkdir(f"{path}/x")), "ro: nothing is made")
            t.check(refused(errno.EROFS, lambda: os.unlink(f"{path}/file")), "ro: nothing is removed")
        t.check(cannot_mount(t, "pw"), "no password: it cannot be mounted")
        t.check(cannot_mount(t, "pw", "mfspassword=wrong"), "a wrong password: it cannot be mounted")
        with mounted(t, "pw", "mfspassword=sesame") as path:
            make_empty(f"{path}/let-in")
        with mounted(t, "all") as path:
            make_empty(f"{path}/mapped")
            t.spoil(lambda: os.chown(f"{t.a}/all/mapped", 0, 0))
            found = os.stat(f"{t.b}/all/mapped")
            t.equal((found.st_uid, found.st_gid), (1234, 2345), "mapall: who made it")
            t.check(refused(errno.EPERM, lambda: os.chown(f"{path}/file", 1, 1)), "mapall: root is nobody")
        with mounted(t, "umask") as path:
            os.close(os.open(f"{path}/masked", os.O_CREAT, 0o666))
            t.equal(oct(os.stat(f"{path}/masked").st_mode & 0o777), oct(0o640), "umask")
        with mounted(t, "limits") as path:
            for goal, code in [("1", 1), ("2", 0), ("3", 0), ("4", 1)]:
                t.tool("mfssetgoal", goal, f"{path}/file", code=code, cwd="/")
            for hours, code in [("600", 1), ("7200", 0), ("200000", 1)]:
                t.tool("mfssettrashtime", hours, f"{path}/file", code=code, cwd="/")
        with mounted(t, "none") as path:
            t.check(refused(errno.EPERM, lambda: os.unlink(f"{path}/file")), "disable=unlink")
            t.check(refused(errno.EPERM, lambda: os.mkdir(f"{path}/x")), "disable=mkdir")
            os.rename(f"{path}/file", f"{path}/moved")
    t.until("all is as it was", lambda: os.path.isdir(f"{t.a}/none"), 90)


@test("exports-who", data=False, quick=True)
def exports_who(t):
    """mfsexports.cfg: who may mount what, and as whom: md5pass, maproot, minversion, addresses, alldirs, disable"""
    names = ["md5", "root", "old", "new", "here", "there", "plain", "every", "cut"]
    for name in names:
        os.makedirs(f"{t.a}/{name}/below")
        os.chmod(f"{t.a}/{name}", 0o777)
        make_empty(f"{t.a}/{name}/file")
        os.chmod(f"{t.a}/{name}/file", 0o600)
    here, digits = address("u1"), hashlib.md5(b"sesame", usedforsecurity=False).hexdigest()
    lines = [
        f"md5 rw,maproot=0:0,md5pass={digits}",
        "root rw,maproot=1234:2345",
        "old rw,maproot=0:0,minversion=3.0.50",
        "new rw,maproot=0:0,minversion=4.0.0",
        "plain rw,maproot=0:0",
        "every rw,alldirs,maproot=0:0,disable=chmod:symlink:create:rename:link:setlength:setxattr",
        "cut rw,maproot=0:0,disable=truncate",
    ]
    own = f"{here} /{t.directory}/here rw,maproot=0:0\n{address('u2')} /{t.directory}/there rw,maproot=0:0\n"
    with exports(t, lines, own):
        t.until("the mounts that were there go on", lambda: set(os.listdir(t.b)) == set(names), 90)
        t.check(cannot_mount(t, "md5", "mfspassword=wrong"), "md5pass: a wrong password")
        with mounted(t, "md5", "mfspassword=sesame") as path:
            make_empty(f"{path}/let-in")
        with mounted(t, "root") as path:
            t.check(refused(errno.EACCES, lambda: os.close(os.open(f"{path}/file", os.O_RDONLY))), "maproot: a stranger")
            make_empty(f"{path}/made")
            found = os.stat(f"{t.b}/root/made")
            t.equal((found.st_uid, found.st_gid), (1234, 2345), "maproot: who made it")
            t.check(refused(errno.EPERM, lambda: os.chown(f"{path}/made", 0, 0)), "maproot: it gives nothing away")
            t.equal(as_user(77, lambda: make_empty(f"{path}/other")), None, "maproot: another user makes a file")
            t.equal(os.stat(f"{t.b}/root/other").st_uid, 77, "maproot: another user stays itself")
            t.equal(as_user(77, lambda: os.unlink(f"{path}/made")), None, "maproot: it is its directory, too")
        with mounted(t, "old") as path:
            make_empty(f"{path}/old-enough")
        t.check(cannot_mount(t, "new"), "minversion: a client that is too old")
        with mounted(t, "here") as path:
            make_empty(f"{path}/from-here")
        t.check(cannot_mount(t, "there"), "an address that is another's")
        with mounted(t, "plain") as path:
            make_empty(f"{path}/itself")
        t.check(cannot_mount(t, "plain/below"), "without alldirs: a directory below")
        with mounted(t, "every/below") as path:
            t.equal(os.listdir(path), [], "alldirs: a directory below")
        with mounted(t, "every") as path:
            acts = {
                "chmod": lambda: os.chmod(f"{path}/file", 0o640),
                "symlink": lambda: os.symlink("file", f"{path}/symlink"),
                "create": lambda: make_empty(f"{path}/created"),
                "rename": lambda: os.rename(f"{path}/file", f"{path}/renamed"),
                "link": lambda: os.link(f"{path}/file", f"{path}/linked"),
                "setlength": lambda: os.truncate(f"{path}/file", 5),
                "setxattr": lambda: os.setxattr(f"{path}/file", "user.x", b"y"),
            }
            for name, act in acts.items():
                t.check(refused(errno.EPERM, act), f"disable={name}")
            os.mkdir(f"{path}/allowed")
            if t.has_data:
                with opened(f"{path}/file", os.O_WRONLY | os.O_APPEND) as file:
                    os.write(file, b"added")
                    os.fsync(file)
                t.equal(read(f"{t.b}/every/file"), b"added", "disable=setlength: what is appended")
        with mounted(t, "cut") as path:
            os.truncate(f"{path}/file", 5)
            t.check(refused(errno.EPERM, lambda: os.truncate(f"{path}/file", 2)), "disable=truncate: shorter")
            os.truncate(f"{path}/file", 5)
            t.equal(os.stat(f"{t.b}/cut/file").st_size, 5, "disable=truncate: the length")
        t.spoil(lambda: make_empty(f"{t.a}/every/created"))
        t.equal(sorted(os.listdir(f"{t.b}/every")), ["allowed", "below", "file"], "what was left of all that")
    t.until("all is as it was", lambda: os.path.isdir(f"{t.a}/every"), 90)


@test("exports-reload", data=False)
def exports_reload(t):
    """SIGHUP: mounts whose export has changed get its new values, and keep their open files"""
    os.mkdir(f"{t.a}/sub")
    with exports(t, ["sub rw,maproot=0:0"]), mounted(t, "sub") as path:
        with open(f"{path}/open", "wb", buffering=0) as file:
            make_empty(f"{path}/before")
            own = "* /" + t.directory + "/sub ro,maproot=0:0\n"
            write_exports(t, EXPORTS.replace("alldirs,", "") + own)
            t.until("it is read-only now", lambda: refused(errno.EROFS, lambda: make_empty(f"{path}/x")), 90)
            t.check(sorted(os.listdir(path))[:2] == ["before", "open"], "what is there can be seen")
            write_exports(t, EXPORTS.replace("alldirs,", "") + own.replace(" ro,", " rw,"))
            t.until("it can be written again", lambda: not fails(lambda: make_empty(f"{path}/after")), 90)
            # mfsmaster removes it twice when the mount asks again on its new connection.
            with contextlib.suppress(*([FileNotFoundError] if t.lab.settings.baseline else [])):
                os.unlink(f"{path}/open")
            t.spoil(lambda: os.unlink(f"{t.a}/sub/before"))
            # mfsmaster may have ended the session, and what it had open with it.
            if not t.lab.settings.baseline:
                t.check(os.fstat(file.fileno()).st_nlink == 0, "the open file is there without its name")
        t.check(os.path.exists(f"{t.b}/sub/before"), "what was made before is there")


def fails(act):
    """Whether something fails."""
    try:
        act()
    except OSError:
        return True
    return False
