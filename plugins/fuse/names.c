/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which names a directory does not have. The kernel looks each name up before it creates a file; in a directory that
 * this mount has made, and has changed alone since, that need not be asked for.
 *
 * The directory's change counter tells: it is as many higher as there were changes, so that an answer which is one
 * higher than the last one means that nobody else changed it. Without such an answer what is known is believed for as
 * long as the kernel believes in names that do not exist. Names are known by a hash; one that is removed stays, as a
 * hash too many only means that the server is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "plugins/fuse/mount.h"

#define NAMES_MIN 64u
#define NAMES_MAX (1u << 20) /* of a directory; a bigger one is asked about */
#define NS_PER_S UINT64_C(1000000000)

struct names {
	uint64_t change; /* of the directory, when they were these */
	uint64_t until_ns;
	size_t count, size; /* a power of two */
	uint64_t *hashes; /* 0: free */
};

void names_free(struct names *k)
{
	if (k)
		free(k->hashes);
	free(k);
}

/* FNV-1a; never 0. */
static uint64_t hash_of(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	while (*name)
		h = (h ^ (unsigned char)*name++) * UINT64_C(0x100000001b3);
	return h ? h : 1;
}

static uint64_t *place_of(const struct names *k, uint64_t hash)
{
	size_t at = (size_t)(hash ^ hash >> 32) & (k->size - 1);

	while (k->hashes[at] && k->hashes[at] != hash)
		at = (at + 1) & (k->size - 1);
	return &k->hashes[at];
}

static bool grow(struct names *k)
{
	struct names bigger = { .size = k->size ? 2 * k->size : NAMES_MIN };

	if (bigger.size > NAMES_MAX)
		return false;
	bigger.hashes = calloc(bigger.size, sizeof(bigger.hashes[0]));
	if (!bigger.hashes)
		return false;
	for (size_t i = 0; i < k->size; i++)
		if (k->hashes[i])
			*place_of(&bigger, k->hashes[i]) = k->hashes[i];
	free(k->hashes);
	k->hashes = bigger.hashes;
	k->size = bigger.size;
	return true;
}

static bool add(struct names *k, uint64_t hash)
{
	uint64_t *at;

	if (2 * k->count >= k->size && !grow(k))
		return false;
	at = place_of(k, hash);
	k->count += *at == 0;
	*at = hash;
	return true;
}

static void believe(struct mount *m, struct names *k, uint64_t change)
{
	k->change = change;
	k->until_ns = node_now_ns() + (uint64_t)(m->options->negative_timeout_s * 1e9);
}

void names_begin(struct mount *m, struct node *dir, const struct wfs_attr *attr)
{
	struct names *k;

	if (!attr->exact_names || attr->size_bytes)
		return;
	k = calloc(1, sizeof(*k));
	if (!k || !grow(k)) {
		names_free(k);
		return;
	}
	believe(m, k, attr->change);
	pthread_mutex_lock(&m->small_lock);
	names_free(dir->names);
	dir->names = k;
	pthread_mutex_unlock(&m->small_lock);
}

void names_changed(struct mount *m, struct node *dir, const char *added, const struct wfs_attr *attr)
{
	struct names *k;
	bool ours;

	pthread_mutex_lock(&m->small_lock);
	k = dir->names;
	ours = k && attr && (attr->change == k->change + 1 || (!added && attr->change == k->change));
	if (ours && (!added || add(k, hash_of(added)))) {
		believe(m, k, attr->change);
	} else {
		names_free(k);
		dir->names = NULL;
	}
	pthread_mutex_unlock(&m->small_lock);
}

bool names_lack(struct mount *m, struct node *dir, const char *name, double *ret_timeout_s)
{
	uint64_t now = node_now_ns();
	bool lack;

	/* That is another error. */
	if (strlen(name) > WFS_NAME_BYTES_MAX)
		return false;
	pthread_mutex_lock(&m->small_lock);
	lack = dir->names && now < dir->names->until_ns && !*place_of(dir->names, hash_of(name));
	if (lack)
		*ret_timeout_s = (double)(dir->names->until_ns - now) / NS_PER_S;
	pthread_mutex_unlock(&m->small_lock);
	return lack;
}

bool names_are_old(struct mount *m, struct node *dir)
{
	bool old;

	pthread_mutex_lock(&m->small_lock);
	old = dir->names && node_now_ns() >= dir->names->until_ns;
	pthread_mutex_unlock(&m->small_lock);
	return old;
}

void names_renew(struct mount *m, struct node *dir, const struct wfs_attr *attr)
{
	pthread_mutex_lock(&m->small_lock);
	if (dir->names && dir->names->change == attr->change)
		believe(m, dir->names, attr->change);
	pthread_mutex_unlock(&m->small_lock);
}
