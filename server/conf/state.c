/* SPDX-License-Identifier: BSD-3-Clause */
/* The state file: one JSON document, changed by copy, written atomically. */
#include "server/conf/policy.h"
#include "server/conf/state.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/vfs/vfs_pool.h"

#define STATE_VERSION 1
#define STATE_FILE "state.json"
#define STATE_TEMP "state.json.new"
#define SECRET_FILE "secret"
#define SECRET_TEMP "secret.new"
#define HOLDER_DIGITS (2 * STATE_LOCK_HOLDER_BYTES)
#define BOOT_DIGITS 16 /* hexadecimal, since JSON's numbers do not hold 64 bits everywhere */

struct state {
	char *dir;
	int dir_fd;
	int lock_fd;
	struct sync_mutex lock;
	json_t *root SYNC_GUARDED_BY(lock);
};

static bool is_text(const json_t *v, size_t len_max)
{
	return json_is_string(v) && json_string_length(v) <= len_max &&
	       strlen(json_string_value(v)) == json_string_length(v);
}

static bool is_pool(const json_t *v)
{
	const json_t *devices = json_object_get(v, "devices");
	const json_t *device;
	size_t i;

	if (!is_text(json_object_get(v, "name"), POOL_NAME_MAX) || !json_is_array(devices) ||
	    json_array_size(devices) < 1 || json_array_size(devices) > POOL_DEVICES_MAX)
		return false;
	json_array_foreach (devices, i, device) {
		if (!is_text(device, VFS_PATH_MAX - 1))
			return false;
	}
	return json_is_boolean(json_object_get(v, "read_only"));
}

static bool is_export(const json_t *v)
{
	struct export_policy policy;

	return is_text(json_object_get(v, "name"), EXPORT_NAME_MAX) &&
	       is_text(json_object_get(v, "path"), VFS_PATH_MAX - 1) &&
	       is_text(json_object_get(v, "description"), EXPORT_DESCRIPTION_MAX) &&
	       json_is_boolean(json_object_get(v, "read_only")) && json_is_boolean(json_object_get(v, "default")) &&
	       (!json_object_get(v, "policy") || policy_decode(json_object_get(v, "policy"), &policy) == 0);
}

static bool is_id(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= UINT32_MAX;
}

static bool is_mount(const json_t *v)
{
	return is_text(json_object_get(v, "kind"), MOUNT_KIND_MAX) &&
	       is_text(json_object_get(v, "source"), MOUNT_SOURCE_MAX - 1) &&
	       is_text(json_object_get(v, "path"), VFS_PATH_MAX - 1) &&
	       json_is_boolean(json_object_get(v, "read_only")) && is_id(json_object_get(v, "uid")) &&
	       is_id(json_object_get(v, "gid")) && is_id(json_object_get(v, "umask"));
}

static bool is_drive(const json_t *v)
{
	const json_t *letter = json_object_get(v, "letter");

	return is_text(letter, 1) && json_string_value(letter)[0] >= 'A' && json_string_value(letter)[0] <= 'Z' &&
	       is_text(json_object_get(v, "path"), VFS_PATH_MAX - 1);
}

static bool is_boot(const json_t *v)
{
	return is_text(v, BOOT_DIGITS) && strspn(json_string_value(v), "0123456789abcdef") == BOOT_DIGITS;
}

static bool is_lock_holder(const json_t *v)
{
	return is_text(v, HOLDER_DIGITS) && strspn(json_string_value(v), "0123456789abcdef") == HOLDER_DIGITS;
}

static int check_list(const char *dir, const json_t *root, const char *key, bool (*check)(const json_t *v))
{
	const json_t *list = json_object_get(root, key);
	const json_t *v;
	size_t i;

	if (!json_is_array(list))
		return err_set(-EBADMSG, "%s/" STATE_FILE ": '%s' is not a list", dir, key);
	json_array_foreach (list, i, v) {
		if (!check(v))
			return err_set(-EBADMSG, "%s/" STATE_FILE ": entry %zu of '%s' is damaged", dir, i + 1, key);
	}
	return 0;
}

/* Files of earlier versions lack some lists. */
static int check_newer_list(const char *dir, json_t *root, const char *key, bool (*check)(const json_t *v))
{
	if (!json_object_get(root, key) && json_object_set_new(root, key, json_array()) < 0)
		return err_set(-ENOMEM, "%s/" STATE_FILE, dir);
	return check_list(dir, root, key, check);
}

static int state_check(const char *dir, json_t *root)
{
	const json_t *version = json_object_get(root, "version");
	int rc;

	if (!json_is_integer(version) || json_integer_value(version) != STATE_VERSION)
		return err_set(-EBADMSG, "%s/" STATE_FILE ": not a state file of version %d", dir, STATE_VERSION);
	rc = check_list(dir, root, "pools", is_pool);
	if (rc == 0)
		rc = check_newer_list(dir, root, "mounts", is_mount);
	if (rc == 0)
		rc = check_newer_list(dir, root, "drives", is_drive);
	if (rc == 0)
		rc = check_newer_list(dir, root, "lock_holders", is_lock_holder);
	if (rc == 0)
		rc = check_list(dir, root, "exports", is_export);
	return rc < 0 ? rc : check_list(dir, root, "clean_boots", is_boot);
}

static int state_load(struct state *s) SYNC_NO_ANALYSIS
{
	int fd = openat(s->dir_fd, STATE_FILE, O_RDONLY | O_CLOEXEC);
	json_error_t error;

	if (fd < 0 && errno == ENOENT) {
		s->root = json_pack("{s:i, s:[], s:[], s:[], s:[], s:[], s:[]}", "version", STATE_VERSION, "pools",
		                    "mounts", "drives", "exports", "clean_boots", "lock_holders");
		return s->root ? 0 : err_set(-ENOMEM, "%s/" STATE_FILE, s->dir);
	}
	if (fd < 0)
		return err_set(-errno, "%s/" STATE_FILE ": cannot be opened", s->dir);
	s->root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
	close(fd);
	if (!s->root)
		return err_set(-EBADMSG, "%s/" STATE_FILE ":%d: %s", s->dir, error.line, error.text);
	return state_check(s->dir, s->root);
}

static int state_lock(struct state *s)
{
	s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_set(-errno, "%s/lock: cannot be opened", s->dir);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(errno == EWOULDBLOCK ? -EBUSY : -errno, "%s: the state folder is in use by another wfsd",
		               s->dir);
	return 0;
}

int state_open(const char *dir, struct state **ret)
{
	struct state *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(-ENOMEM, "open state folder %s", dir);
	s->dir_fd = s->lock_fd = -1;
	sync_mutex_init(&s->lock, SYNC_RANK_SERVER, "state");
	s->dir = strdup(dir);
	if (!s->dir) {
		rc = err_set(-ENOMEM, "open state folder %s", dir);
		goto out;
	}
	if (mkdir(dir, 0750) < 0 && errno != EEXIST) {
		rc = err_set(-errno, "%s: cannot be created", dir);
		goto out;
	}
	s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0) {
		rc = err_set(-errno, "%s: cannot be opened", dir);
		goto out;
	}
	rc = state_lock(s);
	if (rc == 0)
		rc = state_load(s);
out:
	if (rc < 0)
		state_close(s);
	else
		*ret = s;
	return rc;
}

void state_close(struct state *s)
{
	if (!s)
		return;
	json_decref(s->root);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	sync_mutex_done(&s->lock);
	free(s->dir);
	free(s);
}

void state_each_pool(struct state *s, void (*fn)(void *ctx, const struct state_pool *pool), void *ctx)
{
	const json_t *v, *device;
	size_t i, j;

	sync_mutex_lock(&s->lock);
	json_array_foreach (json_object_get(s->root, "pools"), i, v) {
		const char *devices[POOL_DEVICES_MAX];
		struct state_pool pool = {
			.name = json_string_value(json_object_get(v, "name")),
			.devices = devices,
			.read_only = json_is_true(json_object_get(v, "read_only")),
		};

		json_array_foreach (json_object_get(v, "devices"), j, device)
			devices[pool.device_count++] = json_string_value(device);
		fn(ctx, &pool);
	}
	sync_mutex_unlock(&s->lock);
}

static void copy_text(char *to, size_t len, const json_t *v, const char *key)
{
	snprintf(to, len, "%s", json_string_value(json_object_get(v, key)));
}

static uint32_t get_id(const json_t *v, const char *key)
{
	return (uint32_t)json_integer_value(json_object_get(v, key));
}

void state_each_mount(struct state *s, void (*fn)(void *ctx, const struct mount_spec *spec), void *ctx)
{
	const json_t *v;
	size_t i;

	sync_mutex_lock(&s->lock);
	json_array_foreach (json_object_get(s->root, "mounts"), i, v) {
		struct mount_spec spec = {
			.read_only = json_is_true(json_object_get(v, "read_only")),
			.uid = get_id(v, "uid"),
			.gid = get_id(v, "gid"),
			.umask = get_id(v, "umask"),
		};

		copy_text(spec.kind, sizeof(spec.kind), v, "kind");
		copy_text(spec.source, sizeof(spec.source), v, "source");
		copy_text(spec.path, sizeof(spec.path), v, "path");
		fn(ctx, &spec);
	}
	sync_mutex_unlock(&s->lock);
}

void state_each_drive(struct state *s, void (*fn)(void *ctx, char letter, const char *path), void *ctx)
{
	const json_t *v;
	size_t i;

	sync_mutex_lock(&s->lock);
	json_array_foreach (json_object_get(s->root, "drives"), i, v)
		fn(ctx, json_string_value(json_object_get(v, "letter"))[0],
		   json_string_value(json_object_get(v, "path")));
	sync_mutex_unlock(&s->lock);
}

void state_each_export(struct state *s, void (*fn)(void *ctx, const struct export_info *info), void *ctx)
{
	const json_t *v;
	size_t i;

	sync_mutex_lock(&s->lock);
	json_array_foreach (json_object_get(s->root, "exports"), i, v) {
		struct export_info info = { 0 };

		copy_text(info.name, sizeof(info.name), v, "name");
		copy_text(info.path, sizeof(info.path), v, "path");
		copy_text(info.description, sizeof(info.description), v, "description");
		info.read_only = json_is_true(json_object_get(v, "read_only"));
		info.is_default = json_is_true(json_object_get(v, "default"));
		/* It was checked; files of earlier versions have none. */
		if (json_object_get(v, "policy"))
			(void)policy_decode(json_object_get(v, "policy"), &info.policy);
		fn(ctx, &info);
	}
	sync_mutex_unlock(&s->lock);
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int state_write(struct state *s, const json_t *root)
{
	char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
	int fd = -1, rc;

	if (!text)
		return err_set(-ENOMEM, "%s/" STATE_FILE, s->dir);
	fd = openat(s->dir_fd, STATE_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = write_all(fd, text, strlen(text));
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0 && renameat(s->dir_fd, STATE_TEMP, s->dir_fd, STATE_FILE) < 0)
		rc = -errno;
	if (rc == 0 && fsync(s->dir_fd) < 0)
		rc = -errno;
out:
	if (fd >= 0)
		close(fd);
	free(text);
	return rc < 0 ? err_set(rc, "%s/" STATE_FILE ": cannot be written", s->dir) : 0;
}

/* Take the entry that has this name (or whatever @id_key says) out of the list; false when there is none. */
static bool list_drop(json_t *root, const char *key, const char *id_key, const char *name)
{
	json_t *list = json_object_get(root, key);
	const json_t *v;
	size_t i;

	json_array_foreach (list, i, v) {
		if (strcmp(json_string_value(json_object_get(v, id_key)), name) == 0) {
			json_array_remove(list, i);
			return true;
		}
	}
	return false;
}

/* Write @root (taken over) and make it the current document, when @rc is 0. */
static int state_replace(struct state *s, json_t *root, int rc) SYNC_REQUIRES(s->lock)
{
	if (rc == 0)
		rc = state_write(s, root);
	if (rc == 0) {
		json_t *old = s->root;

		s->root = root;
		root = old;
	}
	json_decref(root);
	return rc;
}

static int out_of_memory(const struct state *s)
{
	return err_set(-ENOMEM, "%s/" STATE_FILE, s->dir);
}

/* Replace the entry @name of the list @key by @entry (its reference is taken; NULL: only drop). */
static int state_change(struct state *s, const char *key, const char *id_key, const char *name, json_t *entry)
{
	json_t *root;
	bool had;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	root = json_deep_copy(s->root);
	had = root && list_drop(root, key, id_key, name);
	if (!root || (entry && json_array_append(json_object_get(root, key), entry) < 0))
		rc = out_of_memory(s);
	if (rc == 0 && !had && !entry)
		json_decref(root);
	else
		rc = state_replace(s, root, rc);
	sync_mutex_unlock(&s->lock);
	json_decref(entry);
	return rc;
}

int state_put_pool(struct state *s, const struct state_pool *pool)
{
	json_t *devices = json_array();
	json_t *entry;

	for (unsigned i = 0; i < pool->device_count; i++)
		json_array_append_new(devices, json_string(pool->devices[i]));
	/* Also fails when a path is not UTF-8. */
	entry = json_array_size(devices) == pool->device_count
	                ? json_pack("{s:s, s:O, s:b}", "name", pool->name, "devices", devices, "read_only",
	                            pool->read_only)
	                : NULL;
	json_decref(devices);
	if (!entry)
		return err_set(-EINVAL, "pool '%s': its name and paths must be UTF-8", pool->name);
	return state_change(s, "pools", "name", pool->name, entry);
}

int state_put_mount(struct state *s, const struct mount_spec *spec)
{
	json_t *entry = json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "kind", spec->kind, "source", spec->source,
	                          "path", spec->path, "read_only", (int)spec->read_only, "uid", (json_int_t)spec->uid,
	                          "gid", (json_int_t)spec->gid, "umask", (json_int_t)spec->umask);

	if (!entry)
		return err_set(-EINVAL, "mount at %s: its source and path must be UTF-8", spec->path);
	return state_change(s, "mounts", "path", spec->path, entry);
}

int state_put_drive(struct state *s, char letter, const char *path)
{
	char id[] = { letter, '\0' };
	json_t *entry = json_pack("{s:s, s:s}", "letter", id, "path", path);

	if (!entry)
		return err_set(-EINVAL, "drive %c: its path must be UTF-8", letter);
	return state_change(s, "drives", "letter", id, entry);
}

int state_put_export(struct state *s, const struct export_info *info)
{
	json_t *entry = json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "name", info->name, "path", info->path,
	                          "description", info->description, "read_only", info->read_only, "default",
	                          info->is_default, "policy", policy_encode(&info->policy));

	if (!entry)
		return err_set(-EINVAL, "export '%s': its name, path and description must be UTF-8", info->name);
	return state_change(s, "exports", "name", info->name, entry);
}

int state_drop_pool(struct state *s, const char *name)
{
	return state_change(s, "pools", "name", name, NULL);
}

int state_drop_mount(struct state *s, const char *path)
{
	return state_change(s, "mounts", "path", path, NULL);
}

int state_drop_drive(struct state *s, char letter)
{
	char id[] = { letter, '\0' };

	return state_change(s, "drives", "letter", id, NULL);
}

int state_drop_export(struct state *s, const char *name)
{
	return state_change(s, "exports", "name", name, NULL);
}

size_t state_get_clean_boots(struct state *s, uint64_t *ret, size_t max)
{
	const json_t *list, *v;
	size_t i, count = 0;

	sync_mutex_lock(&s->lock);
	list = json_object_get(s->root, "clean_boots");
	json_array_foreach (list, i, v) {
		if (count < max)
			ret[count++] = strtoull(json_string_value(v), NULL, 16);
	}
	sync_mutex_unlock(&s->lock);
	return count;
}

int state_put_clean_boot(struct state *s, uint64_t boot_id)
{
	char digits[BOOT_DIGITS + 1];
	json_t *root, *list;
	int rc = 0;

	snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)boot_id);
	sync_mutex_lock(&s->lock);
	root = json_deep_copy(s->root);
	list = json_object_get(root, "clean_boots");
	if (!root || json_array_insert_new(list, 0, json_string(digits)) < 0)
		rc = out_of_memory(s);
	while (json_array_size(list) > STATE_BOOTS_MAX)
		json_array_remove(list, json_array_size(list) - 1);
	rc = state_replace(s, root, rc);
	sync_mutex_unlock(&s->lock);
	return rc;
}

void state_each_lock_holder(struct state *s, void (*fn)(void *ctx, const uint8_t *key), void *ctx)
{
	const json_t *list, *v;
	size_t i;

	sync_mutex_lock(&s->lock);
	list = json_object_get(s->root, "lock_holders");
	json_array_foreach (list, i, v) {
		const char *digits = json_string_value(v);
		uint8_t key[STATE_LOCK_HOLDER_BYTES];

		for (unsigned k = 0; k < STATE_LOCK_HOLDER_BYTES; k++) {
			char two[3] = { digits[2 * k], digits[2 * k + 1], '\0' };

			key[k] = (uint8_t)strtoul(two, NULL, 16);
		}
		fn(ctx, key);
	}
	sync_mutex_unlock(&s->lock);
}

int state_put_lock_holders(struct state *s, const uint8_t *keys, unsigned count)
{
	json_t *root, *list = json_array();
	int rc = 0;

	for (unsigned i = 0; list && i < count && !rc; i++) {
		char digits[HOLDER_DIGITS + 1];

		for (unsigned k = 0; k < STATE_LOCK_HOLDER_BYTES; k++)
			snprintf(digits + 2 * k, 3, "%02x", keys[i * STATE_LOCK_HOLDER_BYTES + k]);
		rc = json_array_append_new(list, json_string(digits));
	}
	sync_mutex_lock(&s->lock);
	root = json_deep_copy(s->root);
	if (!root || !list || rc || json_object_set(root, "lock_holders", list) < 0)
		rc = out_of_memory(s);
	json_decref(list);
	rc = state_replace(s, root, rc);
	sync_mutex_unlock(&s->lock);
	return rc;
}

static int make_secret(struct state *s, uint8_t *secret)
{
	int fd = openat(s->dir_fd, SECRET_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0)
		return -errno;
	if (getrandom(secret, STATE_SECRET_BYTES, 0) != (ssize_t)STATE_SECRET_BYTES)
		rc = -EIO;
	if (rc == 0)
		rc = write_all(fd, (const char *)secret, STATE_SECRET_BYTES);
	if (rc == 0 &&
	    (fsync(fd) < 0 || renameat(s->dir_fd, SECRET_TEMP, s->dir_fd, SECRET_FILE) < 0 || fsync(s->dir_fd) < 0))
		rc = -errno;
	close(fd);
	return rc;
}

int state_get_secret(struct state *s, uint8_t ret[STATE_SECRET_BYTES])
{
	uint8_t secret[STATE_SECRET_BYTES + 1];
	int fd = openat(s->dir_fd, SECRET_FILE, O_RDONLY | O_CLOEXEC), rc = 0;
	ssize_t n = STATE_SECRET_BYTES;

	if (fd >= 0) {
		n = read(fd, secret, sizeof(secret));
		rc = n < 0 ? -errno : 0;
		close(fd);
	} else {
		rc = errno == ENOENT ? make_secret(s, secret) : -errno;
	}
	if (rc < 0)
		return err_set(rc, "%s/" SECRET_FILE, s->dir);
	if (n != (ssize_t)STATE_SECRET_BYTES)
		return err_set(-EBADMSG, "%s/" SECRET_FILE ": not a secret of %u bytes", s->dir, STATE_SECRET_BYTES);
	memcpy(ret, secret, STATE_SECRET_BYTES);
	return 0;
}
