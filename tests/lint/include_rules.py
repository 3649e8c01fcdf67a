# SPDX-License-Identifier: BSD-3-Clause
"""Who may include whom. The layers and their rules are the table in docs/ARCHITECTURE.md."""
import re

BASE = "core/base/"
CLIENT = "protocol/client/"
ROOT_PARTS = "server/"
VFS = "core/vfs/vfs.h"
VFS_DRIVER = ("core/vfs/vfs.h", "core/vfs/vfs_ops.h", "core/vfs/vfs_pool.h", "core/vfs/vfs_check.h", "core/vfs/node_set.h")
# What joins a protocol to the namespace. One front end never includes another.
FRONT_END = (BASE, VFS, "core/vfs/vfs_tree.h", "core/vfs/vfs_tx.h", "core/vfs/vfs_watch.h", "core/vfs/vfs_lease.h", "core/vfs/vfs_pool.h", "core/vfs/vfs_check.h", "protocol/", "server/loop/", "server/net/", "server/audit/audit.h", "server/export/", "server/conf/")

# Folder -> what it may include beside itself; the longest folder that fits counts.
RULES = {
    "core/base/": (),
    "core/blk/": (BASE,),
    "core/cache/": (BASE, "core/blk/"),
    "core/vfs/": (BASE,),
    "core/fs/": (BASE, "core/blk/", "core/cache/", *VFS_DRIVER),
    "protocol/": (BASE,),
    CLIENT: (BASE, "protocol/"),
    # Parts of the composition root that know no file system.
    ROOT_PARTS: (BASE, VFS, "core/vfs/vfs_pool.h"),
    "server/": (BASE, VFS, "core/vfs/vfs_pool.h", "server/"),
    "server/loop/": (BASE,),
    "server/net/": (BASE, "server/loop/", "server/conf/value.h"),
    "server/audit/": (BASE,),
    "server/jobs/": (BASE, VFS, "server/loop/"),
    "server/export/": (BASE, VFS, "core/vfs/vfs_tree.h"),
    "server/conf/": (BASE, VFS, "core/vfs/vfs_pool.h", "server/audit/audit.h", "server/export/", "server/mount/mount.h"),
    # What is mounted beside the pools; the kinds know one file system each.
    "server/mount/": (BASE, "core/blk/blk.h", "core/blk/hosted.h", VFS, "core/vfs/vfs_ops.h"),
    "server/rpc/": FRONT_END,
    "server/nbd/": FRONT_END,
    "server/nfs/": FRONT_END,
    # Tells how the others are doing.
    "server/admin/": (*FRONT_END, "server/mount/mount.h", "server/nbd/nbd.h", "server/rpc/rpc_server.h"),
    "server/ctl/": (BASE, CLIENT, "core/vfs/vfs_check.h", "server/admin/encode_check.h"),
    "plugins/": (CLIENT,),
}
# The composition root knows everything, as do commands that work without a daemon; tests may look anywhere.
FREE = ("server/main.c", "server/ctl/main.c", "server/ctl/fat", "server/ctl/offline", "server/ctl/wfs2", "server/mount/kind_", "tests/")
# Each file system stands alone: core/fs/wfs3 knows nothing of core/fs/fat.
SELF_DEPTH = {"core/fs/": 3, "plugins/": 2}

# System and library headers that have one home.
HOMES = (
    (re.compile(r"pthread\.h|threads\.h|semaphore\.h"), ("core/base/", "plugins/fuse/")),
    (re.compile(r"fuse_.*\.h|fuse\.h"), ("plugins/fuse/",)),
    (re.compile(r"liburing(/.*|\.h)?"), ("core/blk/",)),
    (re.compile(r"event2/.*|event\.h"), ("server/",)),
    (re.compile(r"yaml\.h"), ("server/conf/",)),
    (re.compile(r"curl/.*"), ("server/ctl/",)),
    (re.compile(r"nbdkit-.*|libnbd\.h"), ("plugins/nbdkit/",)),
    (re.compile(r"xxhash\.h|isa-l(/.*|\.h)?"), ("core/base/",)),
    (re.compile(r"systemd/.*"), ("server/",)),
    (re.compile(r"nfsc/.*"), ("core/fs/nfs/",)),
)
# Codecs are pure: no sockets there.
NO_SOCKETS = re.compile(r"sys/socket\.h|sys/un\.h|netinet/.*|arpa/.*|netdb\.h|poll\.h|sys/epoll\.h")
CODECS = ("protocol/xdr/", "protocol/rpc/")
# Threads and clocks come from core/base/sync.h.
CALLS = re.compile(r"\b(pthread_\w+|clock_gettime|gettimeofday|nanosleep|usleep|sleep|time)\s*\(")
CALLS_CHECKED = ("core/", "protocol/")
CALLS_HOME = "core/base/sync"

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def folder_of(path):
    fitting = [f for f in RULES if path.startswith(f) and (f != ROOT_PARTS or path.count("/") == 1)]
    return max(fitting, key=len) if fitting else None


def own(path, folder):
    """The folder whose files may include each other freely."""
    depth = SELF_DEPTH.get(folder)
    return "/".join(path.split("/")[:depth]) + "/" if depth else folder


def strip_comments(text):
    """Comments and string literals blanked, lines kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
    return pattern.sub(lambda m: m.group(0) if m.group(0)[0] == '"' else "\n" * m.group(0).count("\n"), text)


def check_own(path, target):
    """None, or why @path may not include @target (both from the root)."""
    if path.startswith(FREE):
        return None
    folder = folder_of(path)
    if folder is None:
        return f"{path} is in no folder of the layer map"
    if target.startswith(CLIENT):
        # Below libwfs nobody knows of it, though its folder lies in protocol/.
        allowed = path.startswith(CLIENT) or CLIENT in RULES[folder]
    else:
        allowed = target.startswith((own(path, folder), *RULES[folder]))
    if allowed:
        return None
    return f"{folder} may not include {target}"


def check_system(path, target):
    if path.startswith("tests/"):
        return None
    for pattern, homes in HOMES:
        if pattern.fullmatch(target) and not path.startswith(homes):
            return f"<{target}> is used in {', '.join(homes)} only"
    if path.startswith(CODECS) and NO_SOCKETS.fullmatch(target):
        return f"codecs have no sockets, but this includes <{target}>"
    return None


def check(root, path, text):
    problems = []
    text = strip_comments(text)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match and match.group(1) == '"':
            target = match.group(2)
            why = check_own(path, target) if (root / target).exists() else f"no such file from the root: {target}"
        elif match:
            why = check_system(path, match.group(2))
        else:
            call = CALLS.search(re.sub(r'"(?:\\.|[^"\\])*"', '""', line))
            banned = call and path.startswith(CALLS_CHECKED) and not path.startswith(CALLS_HOME)
            why = f"{call.group(1)}(): threads and clocks come from core/base/sync.h" if banned else None
        if why:
            problems.append(f"{path}:{number}: {why}")
    return problems
