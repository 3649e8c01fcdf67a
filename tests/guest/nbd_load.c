/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One NBD client that writes, flushes, reads back and compares, and for which every error is the end:
 *	nbd_load URI FOLDER
 * While it runs it keeps the number of its operations in FOLDER/count; when FOLDER/stop appears it reads everything
 *once more. Built by the test that uses it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#define BLOCK 4096u
#define BLOCKS_AT_ONCE 16u
#define FLUSH_EVERY 32u
#define COUNT_EVERY 64u

struct load {
	struct nbd_handle *nbd;
	const char *folder;
	uint64_t blocks;
	uint32_t *versions; /* of each block; 0: never written */
	uint64_t random;
	uint64_t operations;
};

static uint64_t next_random(struct load *l)
{
	/* Marsaglia, "Xorshift RNGs" (2003). */
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

static void fill(uint8_t *buf, uint64_t block, uint32_t version)
{
	uint64_t words[2] = { block, version };

	memset(buf, 0, BLOCK);
	for (size_t at = 0; version && at < BLOCK; at += sizeof(words))
		memcpy(buf + at, words, sizeof(words));
}

static int failed(const char *doing, uint64_t block)
{
	fprintf(stderr, "nbd_load: %s at block %" PRIu64 ": %s\n", doing, block, nbd_get_error());
	return -1;
}

static int write_some(struct load *l, uint64_t first, unsigned count)
{
	static uint8_t buf[BLOCKS_AT_ONCE * BLOCK];

	for (unsigned i = 0; i < count; i++)
		fill(buf + i * BLOCK, first + i, ++l->versions[first + i]);
	return nbd_pwrite(l->nbd, buf, count * BLOCK, first * BLOCK, 0) ? failed("write", first) : 0;
}

static int verify_some(struct load *l, uint64_t first, unsigned count)
{
	static uint8_t buf[BLOCKS_AT_ONCE * BLOCK], wanted[BLOCK];

	if (nbd_pread(l->nbd, buf, count * BLOCK, first * BLOCK, 0))
		return failed("read", first);
	for (unsigned i = 0; i < count; i++) {
		fill(wanted, first + i, l->versions[first + i]);
		if (memcmp(buf + i * BLOCK, wanted, BLOCK)) {
			fprintf(stderr, "nbd_load: block %" PRIu64 " does not hold version %u\n", first + i,
			        l->versions[first + i]);
			return -1;
		}
	}
	return 0;
}

static int tell_count(struct load *l)
{
	char path[256], temporary[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/count", l->folder);
	snprintf(temporary, sizeof(temporary), "%s/count.new", l->folder);
	out = fopen(temporary, "w");
	if (!out || fprintf(out, "%" PRIu64 "\n", l->operations) < 0 || fclose(out) || rename(temporary, path)) {
		perror("nbd_load: count");
		return -1;
	}
	return 0;
}

static int step(struct load *l)
{
	unsigned count = 1 + (unsigned)(next_random(l) % BLOCKS_AT_ONCE);
	uint64_t first = next_random(l) % (l->blocks - count);
	int rc = next_random(l) % 4 ? write_some(l, first, count) : verify_some(l, first, count);

	if (!rc && next_random(l) % FLUSH_EVERY == 0 && nbd_flush(l->nbd, 0))
		rc = failed("flush", first);
	if (!rc && ++l->operations % COUNT_EVERY == 0)
		rc = tell_count(l);
	return rc;
}

static int verify_all(struct load *l)
{
	int rc = nbd_flush(l->nbd, 0) ? failed("flush", 0) : 0;

	for (uint64_t at = 0; at < l->blocks && !rc; at += BLOCKS_AT_ONCE)
		rc = verify_some(l, at, l->blocks - at < BLOCKS_AT_ONCE ? (unsigned)(l->blocks - at) : BLOCKS_AT_ONCE);
	return rc;
}

int main(int argc, char **argv)
{
	struct load l = { .random = 88172645463325252u };
	char stop[256];
	int rc = 0;

	if (argc != 3)
		return 2;
	l.folder = argv[2];
	snprintf(stop, sizeof(stop), "%s/stop", l.folder);
	l.nbd = nbd_create();
	if (!l.nbd || nbd_connect_uri(l.nbd, argv[1]))
		return failed("connect", 0) ? 1 : 0;
	l.blocks = (uint64_t)nbd_get_size(l.nbd) / BLOCK;
	l.versions = calloc(l.blocks, sizeof(*l.versions));
	if (!l.versions)
		return 1;
	while (!rc && access(stop, F_OK))
		rc = step(&l);
	if (!rc)
		rc = verify_all(&l);
	if (!rc)
		printf("%" PRIu64 " operations\n", l.operations);
	free(l.versions);
	nbd_close(l.nbd);
	return rc ? 1 : 0;
}
