/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file: a YAML document with a fixed set of keys, every value checked.
 *
 * config/wfsd.yaml describes every key. Relative paths are taken from the folder of the configuration file. Loaded with
 * libyaml, whose nodes carry their line, so that every complaint names "FILE:LINE".
 */
#ifndef WFSD_SERVER_CONF_CONF_H
#define WFSD_SERVER_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vfs/vfs_pool.h"
#include "server/export/export.h"

#define CONF_LISTEN_MAX 16
#define CONF_POOLS_MAX 64
#define CONF_EXPORTS_MAX 4096

/* Strings belong to the struct conf that holds them. */
struct conf_pool {
	const char *name;
	const char *devices[POOL_DEVICES_MAX];
	unsigned device_count;
};

struct conf {
	const char *file;
	const char *state_dir;
	const char *run_dir;
	int log_level; /* enum log_level */

	struct {
		uint64_t cache_bytes; /* the whole budget */
		uint64_t dirty_max_bytes;
		uint64_t readahead_bytes;
		unsigned writeback_age_ms;
		unsigned writeback_threads;
		unsigned commit_age_ms; /* of a transaction group */
	} memory;
	struct {
		unsigned loops, read, write, admin; /* loops: 0 is one per processor */
	} threads;
	struct {
		uint64_t rate_bytes; /* per second */
		unsigned interval_days; /* 0: only by command */
	} scrub;
	struct {
		size_t max_bytes; /* of one */
		unsigned max_operations;
		unsigned max_running; /* in a pool */
		unsigned max_age_s;
	} transactions;
	struct {
		uint64_t fill_rate_bytes; /* per second */
	} mirror;
	struct {
		const char *socket;
		unsigned mode;
		const char *group; /* NULL: the daemon's */
	} admin;
	struct {
		const char *listen; /* NULL: no TCP address */
	} metrics;
	struct {
		const char *file; /* NULL: none */
		unsigned classes, class_count; /* bits by enum audit_class */
		unsigned queue_max;
	} audit;
	struct {
		const char *socket; /* NULL: none */
		unsigned mode;
		const char *group;
		const char *listen[CONF_LISTEN_MAX];
		unsigned listen_count;
		unsigned max_connections; /* NBD's are among them */
		unsigned lease_max_s;
		unsigned grace_s;
		const char *tls_listen[CONF_LISTEN_MAX];
		unsigned tls_listen_count;
		const char *tls_certificates; /* a folder; NULL: none */
		bool tls_anybody; /* clients need no certificate */
	} rpc;
	struct {
		const char *listen[CONF_LISTEN_MAX];
		unsigned listen_count;
		const char *socket; /* NULL: none */
		unsigned mode;
		const char *group;
		unsigned max_connections;
		unsigned handshake_timeout_ms;
		const char *user; /* of nbdkit processes, when the daemon is root */
		const char *user_group;
		const char *nbdkit;
		const char *plugin; /* NULL: beside the daemon's program file, else nbdkit's own folder */
		uint64_t memory_max_bytes; /* address space of one nbdkit */
	} nbd;

	struct conf_pool *pools;
	unsigned pool_count;
	struct export_info *exports;
	unsigned export_count;

	struct conf_string *strings; /* private */
};

/*
 * Load and check @path. 0; -EINVAL with "FILE:LINE: what is wrong" as err text; -ENOENT, -EACCES, ... when it cannot be
 * read; -ENOMEM. Blocks.
 */
int conf_load(const char *path, struct conf **ret);
/* The same from memory; @path is used in messages and for relative paths. */
int conf_parse(const char *path, const char *text, size_t len, struct conf **ret);
void conf_free(struct conf *c); /* NULL is fine */

#endif
