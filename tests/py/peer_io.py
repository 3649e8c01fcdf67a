#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random system calls on two file systems at once, by several users, compared call by call: results and errors have to be the same, and
from time to time everything that can be seen of both trees. The second one is the judge. The seed repeats a run.

    peer_io.py FOLDER JUDGE_FOLDER SECONDS [SEED [CALLS]]
"""

import ctypes
import errno
import fcntl
import os
import pickle
import random
import stat
import struct
import sys
import time
from typing import Any, BinaryIO

from mounts import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

USERS = {"root": (0, 0, [0]), "ann": (1001, 2001, [2001, 3001]), "bob": (1002, 2002, [2002, 3001]), "eve": (1003, 2003, [2003])}
UIDS, GIDS = (0, 1001, 1002, 1003), (0, 2001, 2002, 3001)
# Whose privileges count when somebody else uses a descriptor is answered in different ways.
OF_THE_OPENER = ("read", "pread", "write", "pwrite", "pwritev", "ftruncate", "fallocate", "copy")
OLD_S = 1_000_000_000  # times before this are only there when they were set
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_APPEND_FL = 0x80086601, 0x40086602, 0x20
ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


class Calls:
    """The system calls, with paths as they are behind chroot(), and open files by numbers of our own."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}
        self.owners: dict[int, str] = {}
        self.who = ""

    def fd(self, number: int) -> int:
        if number not in self.fds:
            raise OSError(errno.EBADF, "not open")
        return self.fds[number]

    def open(self, number: int, path: str, flags: int, mode: int) -> None:
        fd = os.open(path, flags, mode)
        if stat.S_ISDIR(os.fstat(fd).st_mode):  # a mount does not keep them when their names are removed
            os.close(fd)
            return
        if number in self.fds:
            os.close(self.fds[number])
        self.fds[number], self.owners[number] = fd, self.who

    def open_append_only(self, path: str, flags: int, data: bytes) -> int | None:
        """The same, and a write, of a file to which data is only added meanwhile."""
        who = os.geteuid()
        os.seteuid(0)
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        fd = os.open(path, os.O_RDONLY)
        old = fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=q", struct.unpack("=q", old)[0] | FS_APPEND_FL))
        other = -1
        try:
            os.seteuid(who)
            other = os.open(path, flags, 0o666)
            return os.write(other, data) if flags & os.O_ACCMODE else None
        finally:
            os.seteuid(0)
            if other >= 0:
                os.close(other)
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, old)
            os.close(fd)

    def close(self, number: int) -> None:
        os.close(self.fd(number))
        del self.fds[number]

    def read(self, number: int, count: int) -> bytes:
        return os.read(self.fd(number), count)

    def pread(self, number: int, count: int, offset: int) -> bytes:
        return os.pread(self.fd(number), count, offset)

    def write(self, number: int, data: bytes) -> int:
        return os.write(self.fd(number), data)

    def pwrite(self, number: int, data: bytes, offset: int) -> int:
        return os.pwrite(self.fd(number), data, offset)

    def pwritev(self, number: int, data: list[bytes], offset: int) -> int:
        return os.pwritev(self.fd(number), data, offset)

    def seek(self, number: int, offset: int, whence: int) -> int:
        return os.lseek(self.fd(number), offset, whence)

    def ftruncate(self, number: int, size: int) -> None:
        os.ftruncate(self.fd(number), size)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def fallocate(self, number: int, mode: int, offset: int, length: int) -> None:
        fallocate(self.fd(number), mode, offset, length)

    def copy(self, target: int, source: int, count: int, from_offset: int, to_offset: int) -> int:
        return os.copy_file_range(self.fd(source), self.fd(target), count, from_offset, to_offset)

    def fsync(self, number: int) -> None:
        os.fsync(self.fd(number))

    def fchmod(self, number: int, mode: int) -> None:
        os.fchmod(self.fd(number), mode)

    def fchown(self, number: int, uid: int, gid: int) -> None:
        os.fchown(self.fd(number), uid, gid)

    def fstat(self, number: int) -> tuple[Any, ...]:
        return shown(os.fstat(self.fd(number)))

    def stat(self, path: str) -> tuple[Any, ...]:
        return shown(os.stat(path))

    def lstat(self, path: str) -> tuple[Any, ...]:
        return shown(os.lstat(path))

    def access(self, path: str, mode: int) -> bool:
        return os.access(path, mode, effective_ids=True)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mknod(self, path: str, mode: int, device: int) -> None:
        os.mknod(path, mode, device)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, path)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def link(self, path: str, new: str, follow: bool) -> None:
        os.link(path, new, follow_symlinks=follow)

    def rename(self, old: str, new: str, flags: int) -> None:
        if _libc.renameat2(-100, old.encode(), -100, new.encode(), flags) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        os.chown(path, uid, gid, follow_symlinks=follow)

    def utime(self, path: str, times: tuple[int, int] | None, follow: bool) -> None:
        os.utime(path, ns=times, follow_symlinks=follow) if times else os.utime(path, follow_symlinks=follow)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def setxattr(self, path: str, name: str, value: bytes, flags: int, follow: bool) -> None:
        os.setxattr(path, name, value, flags, follow_symlinks=follow)

    def getxattr(self, path: str, name: str, follow: bool) -> bytes:
        return os.getxattr(path, name, follow_symlinks=follow)

    def listxattr(self, path: str, follow: bool) -> list[str]:
        return sorted(os.listxattr(path, follow_symlinks=follow))

    def removexattr(self, path: str, name: str, follow: bool) -> None:
        os.removexattr(path, name, follow_symlinks=follow)

    def umask(self, mask: int) -> None:
        os.umask(mask)

    def everything(self) -> dict[str, Any]:
        """All that can be seen of the tree."""
        found: dict[str, Any] = {}
        links: dict[int, list[str]] = {}
        self._below("/", found, links)
        found["names of one file"] = sorted(sorted(names) for names in links.values())
        return found

    def _below(self, path: str, found: dict[str, Any], links: dict[int, list[str]]) -> None:
        for name in sorted(os.listdir(path)):
            one = os.path.join(path, name)
            st = os.lstat(one)
            details: list[Any] = [shown(st), {x: os.getxattr(one, x, follow_symlinks=False) for x in sorted(os.listxattr(one, follow_symlinks=False))}]
            if stat.S_ISLNK(st.st_mode):
                details.append(os.readlink(one))
            elif stat.S_ISREG(st.st_mode):
                with open(one, "rb") as file:
                    details.append(file.read())
            found[one] = details
            if stat.S_ISDIR(st.st_mode):
                self._below(one, found, links)
            else:
                links.setdefault(st.st_ino, []).append(one)


def shown(st: os.stat_result) -> tuple[Any, ...]:
    """What two file systems must agree on. A time that was not set is only known to be new."""
    size = st.st_size if not stat.S_ISDIR(st.st_mode) else 0
    time_ns = st.st_mtime_ns if st.st_mtime_ns // 10**9 < OLD_S else "new"
    if stat.S_ISFIFO(st.st_mode):  # written by the kernel alone
        time_ns = ""
    return oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, size, st.st_rdev, time_ns


class Worker:
    """A process confined to one of the file systems, which does what it is told as whom it is told."""

    def __init__(self, root: str) -> None:
        ask_read, ask_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(ask_write)
                os.close(answer_read)
                serve(root, os.fdopen(ask_read, "rb"), os.fdopen(answer_write, "wb"))
                status = 0
            finally:
                os._exit(status)
        os.close(ask_read)
        os.close(answer_write)
        self.to, self.back = os.fdopen(ask_write, "wb"), os.fdopen(answer_read, "rb")

    def ask(self, who: str, call: str, args: tuple[Any, ...]) -> None:
        pickle.dump((who, call, args), self.to)
        self.to.flush()

    def answer(self) -> Any:
        return pickle.load(self.back)

    def end(self) -> None:
        pickle.dump(None, self.to)  # another worker may have this end of the pipe, too
        self.to.close()
        self.back.close()
        os.waitpid(self.pid, 0)


def serve(root: str, asked: BinaryIO, answers: BinaryIO) -> None:
    os.chroot(root)
    os.chdir("/")
    os.umask(0)
    calls = Calls()
    while True:
        told = pickle.load(asked)
        if told is None:
            return
        who, call, args = told
        if call in OF_THE_OPENER:
            who = calls.owners.get(args[0], who)
        uid, gid, groups = USERS[who]
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        try:
            calls.who = who
            answer = ("ok", getattr(calls, call)(*args))
        except OSError as error:
            answer = ("error", errno.errorcode.get(error.errno or 0, str(error.errno)))
        finally:
            os.seteuid(0)
            os.setegid(0)
        pickle.dump(answer, answers)
        answers.flush()


def acl(rng: random.Random) -> bytes:
    """Mostly sound."""
    entries = [(0x01, rng.randrange(8), 0xFFFFFFFF)]
    named = [(0x02, rng.randrange(8), uid) for uid in UIDS[1:] if rng.random() < 0.3]
    named_groups = [(0x08, rng.randrange(8), gid) for gid in GIDS[1:] if rng.random() < 0.3]
    entries += named + [(0x04, rng.randrange(8) | 1, 0xFFFFFFFF)] + named_groups
    if named or named_groups or rng.random() < 0.3:
        entries.append((0x10, rng.randrange(8) | 1, 0xFFFFFFFF))
    entries.append((0x20, rng.randrange(8), 0xFFFFFFFF))
    if rng.random() < 0.05:
        rng.shuffle(entries)
    if rng.random() < 0.05:
        entries.pop(rng.randrange(len(entries)))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


class Script:
    """Makes up calls. What comes of them it learns from time to time only, but it uses few names, so that many of them hit something."""

    NAMES = ("a", "b", "c", "d", "e", "f")
    XATTRS = ("user.one", "user.two", "trusted.one", "security.one", "user.", "other.one")

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.known: list[str] = []
        self.has_acls = seed % 3 != 0

    def path(self) -> str:
        rng = self.rng
        if self.known and rng.random() < 0.5:
            return rng.choice(self.known)
        if rng.random() < 0.01:
            return "/" + rng.choice(("n" * 255, "n" * 256, "a/" * 2100 + "a", "a/.", "a/..", "..", ".", "a/", "b//c", ""))
        return "/" + "/".join(rng.choice(self.NAMES) for _ in range(rng.choice((1, 1, 1, 2, 2, 2, 3, 4)))) + ("/" if rng.random() < 0.02 else "")

    def number(self) -> int:
        return self.rng.randrange(6)

    def mode(self) -> int:
        rng = self.rng
        mode = rng.choice((0o777, 0o666, 0o755, 0o644, 0o600, 0o700, rng.randrange(0o1000), rng.randrange(0o10000)))
        if mode & 0o2000:  # what writing does to it if it is not for who executes has changed with kernels
            mode |= 0o010
        # An ACL that nobody is left by its mask counts here, as acl(5) says, and not at all in the kernel.
        return mode | 0o010 if self.has_acls else mode

    def offset(self) -> int:
        rng = self.rng
        return rng.choice((0, 1, 100, 2047, 2048, 2049, 4095, 4096, 65535, 65536, rng.randrange(3000), rng.randrange(200_000)))

    def data(self) -> bytes:
        rng = self.rng
        return rng.choice((b"", b"x", bytes(4096), rng.randbytes(10), rng.randbytes(2048), rng.randbytes(rng.randrange(9000)), rng.randbytes(70_000)))

    def next(self) -> tuple[str, str, tuple[Any, ...]]:
        rng = self.rng
        who = rng.choice(("root", "root", "ann", "ann", "bob", "eve"))
        call = rng.choices(tuple(self.WEIGHTS), tuple(self.WEIGHTS.values()))[0]
        return who, call, getattr(self, "call_" + call, lambda: (self.path(),))()

    WEIGHTS = {
        "open": 14, "open_append_only": 3, "close": 4, "read": 3, "pread": 3, "write": 6, "pwrite": 6, "pwritev": 1, "seek": 3, "ftruncate": 2, "truncate": 3,
        "fallocate": 3, "copy": 2, "fsync": 1, "fchmod": 2, "fchown": 2, "fstat": 3, "stat": 4, "lstat": 6, "access": 4, "mkdir": 9,
        "rmdir": 3, "unlink": 7, "mknod": 3, "symlink": 3, "readlink": 1, "link": 6, "rename": 12, "chmod": 7, "chown": 6, "utime": 4,
        "listdir": 3, "setxattr": 8, "getxattr": 3, "listxattr": 2, "removexattr": 3, "umask": 1,
    }  # fmt: skip

    def call_open(self) -> tuple[Any, ...]:
        rng = self.rng
        flags = rng.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR)) | os.O_NONBLOCK
        for flag, chance in ((os.O_CREAT, 0.6), (os.O_EXCL, 0.1), (os.O_TRUNC, 0.15), (os.O_APPEND, 0.15), (os.O_NOFOLLOW, 0.1),
                             (os.O_DIRECTORY, 0.05), (os.O_NOATIME, 0.05)):  # fmt: skip
            flags |= flag if rng.random() < chance else 0
        if flags & os.O_CREAT and flags & os.O_DIRECTORY:  # kernels differ
            flags &= ~os.O_DIRECTORY
        return self.number(), self.path(), flags, self.mode() & 0o7777

    def call_open_append_only(self) -> tuple[Any, ...]:
        path, flags = self.call_open()[1:3]
        return path, flags | (os.O_APPEND if self.rng.random() < 0.5 else 0), self.data()

    def call_close(self) -> tuple[Any, ...]:
        return (self.number(),)

    call_fsync = call_fstat = call_close

    def call_read(self) -> tuple[Any, ...]:
        return self.number(), self.rng.choice((0, 1, 4096, 100_000))

    def call_pread(self) -> tuple[Any, ...]:
        return self.number(), self.rng.choice((0, 1, 4096, 100_000)), self.offset()

    def call_write(self) -> tuple[Any, ...]:
        return self.number(), self.data()

    def call_pwrite(self) -> tuple[Any, ...]:
        return self.number(), self.data(), self.offset()

    def call_pwritev(self) -> tuple[Any, ...]:
        return self.number(), [self.data() for _ in range(self.rng.randrange(1, 4))], self.offset()

    def call_seek(self) -> tuple[Any, ...]:
        return self.number(), self.offset(), self.rng.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END))

    def call_ftruncate(self) -> tuple[Any, ...]:
        return self.number(), self.offset()

    def call_truncate(self) -> tuple[Any, ...]:
        return self.path(), self.offset()

    def call_fallocate(self) -> tuple[Any, ...]:
        modes = (0, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, FALLOC_ZERO_RANGE, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE)
        return self.number(), self.rng.choice(modes), self.offset(), self.offset()

    def call_copy(self) -> tuple[Any, ...]:  # the first is written to
        return self.number(), self.number(), self.offset(), self.offset(), self.offset()

    def call_fchmod(self) -> tuple[Any, ...]:
        return self.number(), self.mode()

    def call_fchown(self) -> tuple[Any, ...]:
        return self.number(), self.rng.choice((-1, *UIDS)), self.rng.choice((-1, *GIDS))

    def call_access(self) -> tuple[Any, ...]:
        return self.path(), self.rng.randrange(8)

    def call_mkdir(self) -> tuple[Any, ...]:
        return self.path(), self.mode()

    call_chmod = call_mkdir

    def call_mknod(self) -> tuple[Any, ...]:
        kind = self.rng.choice((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK))
        device = os.makedev(self.rng.choice((1, 259, 4095)), self.rng.choice((3, 255, 70_000)))
        return self.path(), kind | self.mode(), device if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0

    def call_symlink(self) -> tuple[Any, ...]:
        rng = self.rng
        target = rng.choice((self.path(), self.path()[1:], "../" + self.path()[1:], "s" * 4095, "s" * 2100, ""))
        return target, self.path()

    def call_link(self) -> tuple[Any, ...]:
        return self.path(), self.path(), self.rng.random() < 0.3

    def call_rename(self) -> tuple[Any, ...]:
        return self.path(), self.path(), self.rng.choice((0, 0, 0, 1, 2, 2, 3))

    def call_chown(self) -> tuple[Any, ...]:
        return self.path(), self.rng.choice((-1, *UIDS)), self.rng.choice((-1, *GIDS)), self.rng.random() < 0.7

    def call_utime(self) -> tuple[Any, ...]:
        rng = self.rng
        times = (rng.randrange(10**18), rng.choice((0, 1, 999_999_999, rng.randrange(10**18), -rng.randrange(10**18))))
        return self.path(), times if rng.random() < 0.7 else None, rng.random() < 0.7

    def call_setxattr(self) -> tuple[Any, ...]:
        rng = self.rng
        if self.has_acls and rng.random() < 0.5:
            return self.path(), rng.choice((ACL_ACCESS, ACL_ACCESS, ACL_DEFAULT)), acl(rng), 0, rng.random() < 0.8
        value = rng.choice((b"", b"v", rng.randbytes(rng.randrange(300))))
        return self.path(), rng.choice(self.XATTRS), value, rng.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE)), rng.random() < 0.7

    def call_getxattr(self) -> tuple[Any, ...]:
        return self.path(), self.rng.choice((ACL_ACCESS, ACL_DEFAULT, *self.XATTRS)), self.rng.random() < 0.7

    call_removexattr = call_getxattr

    def call_listxattr(self) -> tuple[Any, ...]:
        return self.path(), self.rng.random() < 0.7

    def call_umask(self) -> tuple[Any, ...]:
        return (self.rng.choice((0, 0, 0o22, 0o67, 0o27)),)


def brief(call: tuple[str, str, tuple[Any, ...]]) -> str:
    who, name, args = call
    return f"{who}: {name}({', '.join(repr(a)[:60] for a in args)})"


def differences(mine: Any, judge: Any) -> str:
    if not isinstance(judge, dict) or not isinstance(mine, dict):
        return f"here: {repr(mine)[:600]}\n  judge: {repr(judge)[:600]}"
    return "\n".join(f"{key}:\n  here:  {repr(mine.get(key))[:600]}\n  judge: {repr(judge.get(key))[:600]}"
                     for key in sorted({*mine, *judge}) if mine.get(key) != judge.get(key))


def run(folder: str, judge_folder: str, seconds: float, seed: int, calls_max: int = 1 << 60, look_every: int = 200) -> int:
    """How many calls were made. AssertionError when the two disagree."""
    script, history = Script(seed), []
    workers = [Worker(folder), Worker(judge_folder)]
    deadline, count = time.monotonic() + seconds, 0

    def both(call: tuple[str, str, tuple[Any, ...]]) -> Any:
        for worker in workers:
            worker.ask(*call)
        mine, judge = (worker.answer() for worker in workers)
        if mine != judge:
            told = "\n".join(brief(one) + " -> " + repr(answer)[:80] for one, answer in history[-40:])
            raise AssertionError(f"seed {seed}, call {count}: {brief(call)}\n{differences(mine[1], judge[1])}\nbefore:\n{told}")
        return judge

    try:
        while time.monotonic() < deadline and count < calls_max:
            call = script.next()
            history.append((call, both(call)))
            count += 1
            if count % look_every == 0:
                script.known = [path for path in both(("root", "everything", ()))[1] if path.startswith("/")]
        both(("root", "everything", ()))
    finally:
        for worker in workers:
            worker.end()
    return count


if __name__ == "__main__":
    chosen = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
    print(f"seed {chosen}: {run(sys.argv[1], sys.argv[2], float(sys.argv[3]), chosen, int(sys.argv[5]) if len(sys.argv) > 5 else 1 << 60)} calls")
