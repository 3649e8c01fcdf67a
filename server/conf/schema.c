/* SPDX-License-Identifier: BSD-3-Clause */
/* The keys of the configuration file, their ranges and their defaults. config/wfsd.yaml explains them to people. */
#include "server/conf/schema.h"

#include "core/base/log.h"
#include "server/audit/audit.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

#define NAME_BYTES_MAX 255
#define PATH_BYTES_MAX (VFS_PATH_MAX - 1)
#define SOCKET_PATH_BYTES_MAX 107

#define AT(member) .offset = offsetof(struct conf, member)
#define COUNT(member) .count_offset = offsetof(struct conf, member)
#define END                                                                                                            \
	{                                                                                                              \
		.key = NULL                                                                                            \
	}

static const struct conf_field memory_fields[] = {
	{ .key = "cache", .type = CONF_SIZE, AT(memory.cache_bytes), .min = 16 * MIB, .max = 64 * TIB },
	{ .key = "dirty_max", .type = CONF_SIZE, AT(memory.dirty_max_bytes), .min = 4 * MIB, .max = 32 * TIB },
	{ .key = "readahead", .type = CONF_SIZE, AT(memory.readahead_bytes), .min = 0, .max = 64 * MIB },
	{ .key = "writeback_age_ms", .type = CONF_UINT, AT(memory.writeback_age_ms), .min = 10, .max = 600000 },
	{ .key = "writeback_threads", .type = CONF_UINT, AT(memory.writeback_threads), .min = 1, .max = 8 },
	{ .key = "commit_age_ms", .type = CONF_UINT, AT(memory.commit_age_ms), .min = 100, .max = 60000 },
	END,
};

static const struct conf_field scrub_fields[] = {
	{ .key = "rate", .type = CONF_SIZE, AT(scrub.rate_bytes), .min = MIB, .max = UINT64_C(1) << 40 },
	{ .key = "interval_days", .type = CONF_UINT, AT(scrub.interval_days), .min = 0, .max = 3650 },
	END,
};

static const struct conf_field transactions_fields[] = {
	{ .key = "max_bytes", .type = CONF_SIZE, AT(transactions.max_bytes), .min = 64 * KIB, .max = 64 * MIB },
	{ .key = "max_operations", .type = CONF_UINT, AT(transactions.max_operations), .min = 10, .max = 1000000 },
	{ .key = "max_running", .type = CONF_UINT, AT(transactions.max_running), .min = 1, .max = 4096 },
	{ .key = "max_age_s", .type = CONF_UINT, AT(transactions.max_age_s), .min = 1, .max = 86400 },
	END,
};

static const struct conf_field mirror_fields[] = {
	{ .key = "fill_rate", .type = CONF_SIZE, AT(mirror.fill_rate_bytes), .min = MIB, .max = UINT64_C(1) << 40 },
	END,
};

static const struct conf_field threads_fields[] = {
	{ .key = "loops", .type = CONF_UINT, AT(threads.loops), .min = 0, .max = 64 },
	{ .key = "read", .type = CONF_UINT, AT(threads.read), .min = 1, .max = 256 },
	{ .key = "write", .type = CONF_UINT, AT(threads.write), .min = 1, .max = 256 },
	{ .key = "admin", .type = CONF_UINT, AT(threads.admin), .min = 1, .max = 64 },
	END,
};

static const struct conf_field admin_fields[] = {
	{ .key = "socket", .type = CONF_PATH, AT(admin.socket), .min = 1, .max = SOCKET_PATH_BYTES_MAX },
	{ .key = "mode", .type = CONF_MODE, AT(admin.mode), .min = 0, .max = 0777 },
	{ .key = "group", .type = CONF_STRING, AT(admin.group), .min = 1, .max = NAME_BYTES_MAX },
	END,
};

static const struct conf_field audit_fields[] = {
	{ .key = "file", .type = CONF_PATH, AT(audit.file), .min = 1, .max = PATH_BYTES_MAX },
	{ .key = "classes",
	  .type = CONF_AUDIT_CLASSES,
	  AT(audit.classes),
	  COUNT(audit.class_count),
	  .min = 1,
	  .max = AUDIT_CLASSES },
	{ .key = "queue", .type = CONF_UINT, AT(audit.queue_max), .min = 16, .max = 65536 },
	END,
};

static const struct conf_field metrics_fields[] = {
	{ .key = "listen", .type = CONF_ADDRESS, AT(metrics.listen), .min = 1, .max = NAME_BYTES_MAX },
	END,
};

static const struct conf_field rpc_tls_fields[] = {
	{ .key = "listen",
	  .type = CONF_ADDRESSES,
	  AT(rpc.tls_listen),
	  COUNT(rpc.tls_listen_count),
	  .max = CONF_LISTEN_MAX },
	{ .key = "certificates", .type = CONF_PATH, AT(rpc.tls_certificates), .min = 1, .max = PATH_BYTES_MAX },
	{ .key = "anybody", .type = CONF_BOOL, AT(rpc.tls_anybody) },
	END,
};

static const struct conf_field rpc_fields[] = {
	{ .key = "socket", .type = CONF_PATH, AT(rpc.socket), .min = 1, .max = SOCKET_PATH_BYTES_MAX },
	{ .key = "mode", .type = CONF_MODE, AT(rpc.mode), .min = 0, .max = 0777 },
	{ .key = "group", .type = CONF_STRING, AT(rpc.group), .min = 1, .max = NAME_BYTES_MAX },
	{ .key = "listen", .type = CONF_ADDRESSES, AT(rpc.listen), COUNT(rpc.listen_count), .max = CONF_LISTEN_MAX },
	{ .key = "max_connections", .type = CONF_UINT, AT(rpc.max_connections), .min = 1, .max = 16384 },
	{ .key = "lease_max_s", .type = CONF_UINT, AT(rpc.lease_max_s), .min = 10, .max = 86400 },
	{ .key = "grace_s", .type = CONF_UINT, AT(rpc.grace_s), .min = 0, .max = 3600 },
	{ .key = "tls", .type = CONF_SECTION, .fields = rpc_tls_fields },
	END,
};

static const struct conf_field nbd_fields[] = {
	{ .key = "listen", .type = CONF_ADDRESSES, AT(nbd.listen), COUNT(nbd.listen_count), .max = CONF_LISTEN_MAX },
	{ .key = "socket", .type = CONF_PATH, AT(nbd.socket), .min = 1, .max = SOCKET_PATH_BYTES_MAX },
	{ .key = "mode", .type = CONF_MODE, AT(nbd.mode), .min = 0, .max = 0777 },
	{ .key = "socket_group", .type = CONF_STRING, AT(nbd.group), .min = 1, .max = NAME_BYTES_MAX },
	{ .key = "max_connections", .type = CONF_UINT, AT(nbd.max_connections), .min = 1, .max = 4096 },
	{ .key = "handshake_timeout_ms", .type = CONF_UINT, AT(nbd.handshake_timeout_ms), .min = 100, .max = 600000 },
	{ .key = "user", .type = CONF_STRING, AT(nbd.user), .min = 1, .max = NAME_BYTES_MAX },
	{ .key = "group", .type = CONF_STRING, AT(nbd.user_group), .min = 1, .max = NAME_BYTES_MAX },
	{ .key = "nbdkit", .type = CONF_PROGRAM, AT(nbd.nbdkit), .min = 1, .max = PATH_BYTES_MAX },
	{ .key = "plugin", .type = CONF_PROGRAM, AT(nbd.plugin), .min = 1, .max = PATH_BYTES_MAX },
	{ .key = "memory_max", .type = CONF_SIZE, AT(nbd.memory_max_bytes), .min = 256 * MIB, .max = TIB },
	END,
};

static const struct conf_field pool_fields[] = {
	{ .key = "name",
	  .type = CONF_STRING,
	  .offset = offsetof(struct conf_pool, name),
	  .min = 1,
	  .max = POOL_NAME_MAX,
	  .required = true },
	{ .key = "devices",
	  .type = CONF_PATHS,
	  .offset = offsetof(struct conf_pool, devices),
	  .count_offset = offsetof(struct conf_pool, device_count),
	  .min = 1,
	  .max = POOL_DEVICES_MAX,
	  .required = true },
	END,
};

static const struct conf_field export_fields[] = {
	{ .key = "name",
	  .type = CONF_TEXT,
	  .offset = offsetof(struct export_info, name),
	  .min = 1,
	  .max = EXPORT_NAME_MAX,
	  .required = true },
	{ .key = "path",
	  .type = CONF_TEXT,
	  .offset = offsetof(struct export_info, path),
	  .min = 2,
	  .max = VFS_PATH_MAX - 1,
	  .required = true },
	{ .key = "description",
	  .type = CONF_TEXT,
	  .offset = offsetof(struct export_info, description),
	  .max = EXPORT_DESCRIPTION_MAX },
	{ .key = "read_only", .type = CONF_BOOL, .offset = offsetof(struct export_info, read_only) },
	{ .key = "default", .type = CONF_BOOL, .offset = offsetof(struct export_info, is_default) },
	{ .key = "auth_sys", .type = CONF_BOOL, .offset = offsetof(struct export_info, policy.auth_sys) },
	{ .key = "squash", .type = CONF_SQUASH, .offset = offsetof(struct export_info, policy.squash) },
	/* Never root. */
	{ .key = "anon_uid",
	  .type = CONF_UINT,
	  .offset = offsetof(struct export_info, policy.anon_uid),
	  .min = 1,
	  .max = UINT32_MAX - 1 },
	{ .key = "anon_gid",
	  .type = CONF_UINT,
	  .offset = offsetof(struct export_info, policy.anon_gid),
	  .min = 1,
	  .max = UINT32_MAX - 1 },
	{ .key = "clients",
	  .type = CONF_NETWORKS,
	  .offset = offsetof(struct export_info, policy.clients),
	  .count_offset = offsetof(struct export_info, policy.client_count),
	  .min = 1,
	  .max = EXPORT_CLIENTS_MAX },
	{ .key = "tls", .type = CONF_BOOL, .offset = offsetof(struct export_info, policy.tls) },
	{ .key = "certificate_names",
	  .type = CONF_TEXTS,
	  .offset = offsetof(struct export_info, policy.tls_names),
	  .count_offset = offsetof(struct export_info, policy.tls_name_count),
	  .item_bytes = EXPORT_TLS_NAME_MAX + 1,
	  .min = 1,
	  .max = EXPORT_TLS_NAMES_MAX },
	END,
};

const struct conf_field conf_schema[] = {
	{ .key = "state_dir", .type = CONF_PATH, AT(state_dir), .min = 1, .max = PATH_BYTES_MAX },
	{ .key = "run_dir", .type = CONF_PATH, AT(run_dir), .min = 1, .max = SOCKET_PATH_BYTES_MAX },
	{ .key = "log_level", .type = CONF_LOG_LEVEL, AT(log_level) },
	{ .key = "memory", .type = CONF_SECTION, .fields = memory_fields },
	{ .key = "threads", .type = CONF_SECTION, .fields = threads_fields },
	{ .key = "scrub", .type = CONF_SECTION, .fields = scrub_fields },
	{ .key = "mirror", .type = CONF_SECTION, .fields = mirror_fields },
	{ .key = "transactions", .type = CONF_SECTION, .fields = transactions_fields },
	{ .key = "admin", .type = CONF_SECTION, .fields = admin_fields },
	{ .key = "metrics", .type = CONF_SECTION, .fields = metrics_fields },
	{ .key = "audit", .type = CONF_SECTION, .fields = audit_fields },
	{ .key = "rpc", .type = CONF_SECTION, .fields = rpc_fields },
	{ .key = "nbd", .type = CONF_SECTION, .fields = nbd_fields },
	{ .key = "pools",
	  .type = CONF_LIST,
	  AT(pools),
	  COUNT(pool_count),
	  .max = CONF_POOLS_MAX,
	  .item_bytes = sizeof(struct conf_pool),
	  .fields = pool_fields },
	{ .key = "exports",
	  .type = CONF_LIST,
	  AT(exports),
	  COUNT(export_count),
	  .max = CONF_EXPORTS_MAX,
	  .item_bytes = sizeof(struct export_info),
	  .fields = export_fields },
	END,
};

void conf_defaults(struct conf *c)
{
	c->state_dir = "/var/lib/wfsd";
	c->run_dir = "/run/wfsd";
	c->log_level = LOG_LEVEL_INFO;
	c->memory.cache_bytes = 256 * MIB;
	c->memory.readahead_bytes = MIB;
	c->memory.writeback_age_ms = 5000;
	c->memory.writeback_threads = 2;
	c->memory.commit_age_ms = 5000;
	c->scrub.rate_bytes = 64 * MIB;
	c->scrub.interval_days = 30;
	c->mirror.fill_rate_bytes = 256 * MIB;
	c->transactions.max_bytes = 8 * MIB;
	c->transactions.max_operations = 20000;
	c->transactions.max_running = 256;
	c->transactions.max_age_s = 300;
	c->threads.read = 8;
	c->threads.write = 8;
	c->threads.admin = 2;
	c->admin.mode = 0660;
	c->audit.queue_max = AUDIT_QUEUE_DEFAULT;
	c->rpc.mode = 0660;
	c->rpc.lease_max_s = 900;
	c->rpc.grace_s = 45;
	c->nbd.mode = 0660;
	c->nbd.max_connections = 64;
	c->nbd.handshake_timeout_ms = 30000;
	c->nbd.user = "nobody";
	c->nbd.nbdkit = "nbdkit";
	c->nbd.memory_max_bytes = 4 * GIB;
}
