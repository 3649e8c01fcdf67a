/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths through a small namespace: two file trees, one mounted within the other, with symbolic links that lead up, out,
 * in circles and through drive letters. Bytes as they come, or bytes that stand for the names that are there. A walk
 * that is confined, by a root or by a drive letter, must not come out of that; every walk ends, with an error that is
 * documented, and the same way twice.
 */
#include "tests/unit/core/vfs/tree_fixture.h"

#include "core/base/assert.h"
#include "core/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Where an object is: that is its group. */
#define OUTSIDE 1u
#define JAIL 2u
#define MOUNTED 3u

#define PATH_BYTES_MAX (4 * VFS_PATH_MAX)

struct thing {
	const char *path;
	enum vfs_type type;
	uint32_t where;
	const char *target;
};

static const struct thing things[] = {
	{ "/t/secret", VFS_TYPE_DIR, OUTSIDE, NULL },
	{ "/t/secret/file", VFS_TYPE_FILE, OUTSIDE, NULL },
	{ "/t/a", VFS_TYPE_DIR, OUTSIDE, NULL },
	{ "/t/up", VFS_TYPE_SYMLINK, OUTSIDE, "../.." },
	{ "/t/in", VFS_TYPE_SYMLINK, OUTSIDE, "jail/m/x" },
	{ "/t/jail", VFS_TYPE_DIR, JAIL, NULL },
	{ "/t/jail/a", VFS_TYPE_DIR, JAIL, NULL },
	{ "/t/jail/a/b", VFS_TYPE_DIR, JAIL, NULL },
	{ "/t/jail/a/b/f", VFS_TYPE_FILE, JAIL, NULL },
	{ "/t/jail/A", VFS_TYPE_FILE, JAIL, NULL },
	{ "/t/jail/C:", VFS_TYPE_DIR, JAIL, NULL },
	{ "/t/jail/C:/x\\y", VFS_TYPE_FILE, JAIL, NULL },
	{ "/t/jail/\xff\xfe", VFS_TYPE_FILE, JAIL, NULL },
	{ "/t/jail/shut", VFS_TYPE_DIR, JAIL, NULL },
	{ "/t/jail/shut/f", VFS_TYPE_FILE, JAIL, NULL },
	{ "/t/jail/up", VFS_TYPE_SYMLINK, JAIL, "../../.." },
	{ "/t/jail/out", VFS_TYPE_SYMLINK, JAIL, "/t/secret" },
	{ "/t/jail/abs", VFS_TYPE_SYMLINK, JAIL, "/a/../../../secret/file" },
	{ "/t/jail/drive", VFS_TYPE_SYMLINK, JAIL, "C:\\secret" },
	{ "/t/jail/self", VFS_TYPE_SYMLINK, JAIL, "self" },
	{ "/t/jail/loop", VFS_TYPE_SYMLINK, JAIL, "a/loop" },
	{ "/t/jail/a/loop", VFS_TYPE_SYMLINK, JAIL, "../loop/x" },
	{ "/t/jail/deep", VFS_TYPE_SYMLINK, JAIL, "a/b/../b/../b/.." },
	{ "/t/jail/m", VFS_TYPE_DIR, JAIL, NULL },
	/* Over that directory: the other tree. */
	{ "/t/jail/m/x", VFS_TYPE_DIR, MOUNTED, NULL },
	{ "/t/jail/m/x/f", VFS_TYPE_FILE, MOUNTED, NULL },
	{ "/t/jail/m/up", VFS_TYPE_SYMLINK, MOUNTED, "../../secret" },
	{ "/t/jail/m/abs", VFS_TYPE_SYMLINK, MOUNTED, "/" },
	{ "/t/jail/m/x/around", VFS_TYPE_SYMLINK, MOUNTED, "../../m/x/../../up" },
};

/* What one byte of an input stands for. */
static const char *const words[] = {
	"/",  "..",     ".",    "a",    "b",        "f",    "A",     "C:",   "c:\\",   "J:",     "j:/",
	"\\", "x",      "m",    "up",   "out",      "abs",  "self",  "loop", "deep",   "t",      "jail",
	"in", "secret", "file", "shut", "\xff\xfe", "x\\y", "drive", "//",   "around", "/../..", "\n",
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static struct tree_env *env;
static struct treefs other;
static struct vfs_handle *places[4]; /* as root or base: the top of a tree, a directory in it, ... */

static void mark(const char *path, uint32_t where)
{
	struct vfs_set_attr attr = { .valid = VFS_SET_GID, .gid = where };
	struct vfs_handle *h = must_walk(env, path);

	always(vfs_set_attr(h, ROOT, &attr, NULL) == 0);
	vfs_close(h);
}

static void begin(void)
{
	void *state = NULL;

	always(tree_setup(&state) == 0);
	env = state;
	mark("/t", OUTSIDE);
	treefs_init(&other);
	for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++) {
		const struct thing *t = &things[i];

		vfs_close(make_as(env, ROOT, t->path, t->type, strstr(t->path, "shut") ? 0700 : 0755, t->target));
		mark(t->path, t->where);
		if (!strcmp(t->path, "/t/jail/m")) {
			always(vfs_mount(env->vfs, t->path, &other.root->node, false) == 0);
			mark(t->path, MOUNTED);
		}
	}
	always(vfs_set_drive(env->vfs, "/t", 'C') == 0 && vfs_set_drive(env->vfs, "/t/jail/m", 'J') == 0);
	places[0] = must_walk(env, "/t/jail");
	places[1] = must_walk(env, "/t/jail/a/b");
	places[2] = must_walk(env, "/t/jail/m");
	places[3] = must_walk(env, "/t/jail/m/x");
}

static void end(void)
{
	void *state = env;

	for (unsigned i = 0; i < 4; i++)
		vfs_close(places[i]);
	/* Whatever a walk forgot to give back makes this fail. */
	always(vfs_unmount(env->vfs, "/t/jail/m", false) == 0);
	treefs_done(&other);
	always(tree_teardown(&state) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level((enum log_level)0);
	begin();
	always(atexit(end) == 0);
	return 0;
}

static bool is_documented(int rc)
{
	return !rc || rc == -ENOENT || rc == -ENOTDIR || rc == -EACCES || rc == -ELOOP || rc == -ENAMETOOLONG ||
	       rc == -EINVAL;
}

/* The names of the directories above some of the places would lead out of these: that is refused. */
static int walk(struct vfs_handle *root, struct vfs_handle *base, const char *path, unsigned flags, uint32_t uid,
                struct vfs_stat *ret)
{
	const struct vfs_cred cred = { .uid = uid, .gid = uid };
	struct vfs_handle *h;
	int rc = vfs_walk(env->vfs, &cred, root, base, path, flags, &h);

	*ret = (struct vfs_stat){ 0 };
	if (!rc) {
		always(vfs_stat(h, ret) == 0);
		vfs_close(h);
	}
	return rc;
}

static void check(struct vfs_handle *root, struct vfs_handle *base, const char *path, unsigned flags, uint32_t uid)
{
	bool on_j = !root && !base && (path[0] | 0x20) == 'j' && path[1] == ':';
	struct vfs_stat st, again;
	int rc = walk(root, base, path, flags, uid, &st);

	always(is_documented(rc));
	always(walk(root, base, path, flags, uid, &again) == rc && again.object == st.object && again.gid == st.gid);
	if (rc)
		return;
	/* The VFS's own top is of nobody: whoever is confined does not see that either. */
	if (root == places[0])
		always(st.gid == JAIL || st.gid == MOUNTED);
	if (root == places[2] || on_j)
		always(st.gid == MOUNTED);
	if (!(flags & VFS_WALK_FOLLOW))
		return;
	always(st.type != VFS_TYPE_SYMLINK);
}

/* One name, which may hold any bytes: it is found exactly as it is, or not at all. */
static void check_name(struct vfs_handle *dir, const uint8_t *name, size_t len)
{
	struct vfs_handle *h;
	int rc = vfs_lookup(dir, ROOT, (const char *)name, len, &h);

	always(is_documented(rc));
	if (!rc) {
		always(len && len <= VFS_NAME_MAX && !memchr(name, 0, len) && !memchr(name, '/', len));
		vfs_close(h);
	}
}

static size_t spell(char *path, const uint8_t *data, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < size; i++) {
		const char *word = words[data[i] % WORDS];
		size_t n = strlen(word), times = data[i] >= 250 ? 64 : 1;

		for (size_t k = 0; k < times && len + n < PATH_BYTES_MAX; k++) {
			memcpy(path + len, word, n);
			len += n;
		}
	}
	path[len] = 0;
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char path[PATH_BYTES_MAX + 1];
	static const unsigned bases[4][2] = { { 0, 0 }, { 0, 1 }, { 2, 2 }, { 2, 3 } };
	unsigned how = size ? data[0] : 0, flags = how & 1 ? VFS_WALK_FOLLOW : 0;
	const unsigned *at = bases[how >> 1 & 3];
	uint32_t uid = how & 8 ? 1000 : 0;
	struct vfs_stat st;
	int rc;

	if (!size || size > PATH_BYTES_MAX)
		return 0;
	data++;
	size--;
	check_name(places[at[1]], data, size);
	if (how & 16) {
		spell(path, data, size);
	} else {
		memcpy(path, data, size);
		path[size] = 0;
	}
	check(places[at[0]], places[at[1]], path, flags, uid);
	check(places[at[0]], NULL, path, flags, uid);
	check(NULL, places[at[1]], path, flags, uid);
	check(NULL, NULL, path, flags, uid);
	rc = vfs_stat_path(env->vfs, path, &st);
	always(is_documented(rc));
	return 0;
}
