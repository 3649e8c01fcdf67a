/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wfsd: the composition root. Builds every part and joins them, in order; waits for signals; takes all apart again. It
 * is the only server file that knows which file systems there are.
 */
#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "core/base/budget.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_lease.h"
#include "server/admin/admin.h"
#include "server/admin/status.h"
#include "server/conf/conf.h"
#include "server/conf/state.h"
#include "protocol/tls/tls.h"
#include "server/audit/audit.h"
#include "server/endpoints.h"
#include "server/export/export.h"
#include "server/jobs/log_sink.h"
#include "server/jobs/process_metrics.h"
#include "server/jobs/stop_guard.h"
#include "server/jobs/watchdog.h"
#include "server/loop/loop.h"
#include "server/loop/workers.h"
#include "server/mount/mount.h"
#include "server/nbd/nbd.h"
#include "server/lock_store.h"
#include "server/options.h"
#include "server/peers.h"
#include "server/rpc/rpc_server.h"
#include "server/startup.h"

#define ERROR_TEXT_MAX 1024
#define ADMIN_GOODBYE_NS SYNC_NS_PER_S

struct daemon {
	struct conf *conf; /* as at the start; a reload changes exports and the log level only */
	struct sync_mutex reload_lock;
	struct state *state;
	struct endpoints *endpoints;
	struct daemon_status *status;
	struct metrics *metrics;
	struct audit *audit; /* NULL: none */
	struct budget *budget;
	struct loop_set *loops;
	struct workers *workers;
	struct vfs *vfs;
	struct export_table *exports;
	struct mount_table *mounts;
	struct cache *cache;
	struct wfs3 *wfs3;
	struct rpc_server *rpc;
	struct rpc_lock_store lock_store; /* in the state */
	struct nbd *nbd;
	struct peers peers;
	struct admin *admin;
	struct watchdog *watchdog;
	bool process_metrics;
};

static void log_failure(const char *what, int code)
{
	char text[ERROR_TEXT_MAX];

	log_error("wfsd", "%s error=\"%s\"", what, err_text(err_get(), code, 0, text, sizeof(text)));
}

static void rpc_refused(const char *peer, int rc)
{
	log_limited(LOG_LEVEL_WARNING, "rpc", "connection refused peer=%s error=\"%s\"", peer, strerror(-rc));
}

static void accept_rpc(void *ctx, int fd, const char *peer)
{
	int rc = rpc_server_accept(ctx, fd);

	if (rc < 0)
		rpc_refused(peer, rc);
}

static void accept_rpc_tls(void *ctx, int fd, const char *peer)
{
	int rc = rpc_server_accept_tls(ctx, fd);

	if (rc < 0)
		rpc_refused(peer, rc);
}

/* Certificates as they are now, for connections from now on. */
static int load_certificates(struct rpc_server *rpc, const struct conf *c)
{
	struct tls_context *tls;
	int rc;

	if (!c->rpc.tls_certificates)
		return 0;
	rc = tls_server_context(c->rpc.tls_certificates, c->rpc.tls_anybody, &tls);
	if (rc < 0)
		return rc;
	rpc_server_set_tls(rpc, tls);
	tls_context_unref(tls);
	return 0;
}

static bool has_open_file(void *ctx, pid_t pid)
{
	return rpc_server_has_open_file(ctx, pid);
}

static int daemon_reload(void *ctx)
{
	struct daemon *d = ctx;
	struct conf *fresh;
	int rc;

	sync_mutex_lock(&d->reload_lock);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(sync_now_ns() / 1000));
	rc = conf_load(d->conf->file, &fresh);
	if (rc == 0) {
		rc = load_certificates(d->rpc, fresh);
		if (rc == 0 && d->audit)
			rc = audit_reopen(d->audit);
		if (rc == 0)
			rc = export_set_static(d->exports, fresh->exports, fresh->export_count);
		if (rc == 0) {
			log_set_level((enum log_level)fresh->log_level);
			log_notice("wfsd", "configuration reloaded exports=%u", fresh->export_count);
		}
		conf_free(fresh);
	}
	sd_notify(0, "READY=1");
	sync_mutex_unlock(&d->reload_lock);
	return rc < 0 ? err_add(rc, "the configuration was not reloaded") : 0;
}

static int out_of_memory(const char *what)
{
	return err_set(-ENOMEM, "set up %s", what);
}

static int build_mounts(struct daemon *d)
{
	const struct mount_config mounts = {
		.vfs = d->vfs,
		.cache = d->cache,
		.budget = d->budget,
		.metrics = d->metrics,
	};

	d->mounts = mount_table_new(&mounts);
	return d->mounts ? 0 : out_of_memory("the table of mounts");
}

static int build_core(struct daemon *d)
{
	const struct conf *c = d->conf;
	struct cache_config cache = {
		.min_bytes = c->memory.cache_bytes / 4,
		.dirty_max_bytes = c->memory.dirty_max_bytes,
		.dirty_background_bytes = c->memory.dirty_max_bytes / 2,
		.writeback_age_ms = c->memory.writeback_age_ms,
		.writeback_threads = c->memory.writeback_threads,
		.readahead_max_bytes = c->memory.readahead_bytes,
		.stock_bytes = c->memory.cache_bytes / 8,
	};
	struct wfs3_config wfs3 = {
		.node_cache_min_bytes = c->memory.cache_bytes / 16,
		.txg_age_ms = c->memory.commit_age_ms,
		.scrub_rate_bytes = c->scrub.rate_bytes,
		.resilver_rate_bytes = c->mirror.fill_rate_bytes,
		.scrub_interval_s = c->scrub.interval_days * UINT64_C(86400),
		.tx_limits = { .bytes_max = c->transactions.max_bytes,
		               .ops_max = c->transactions.max_operations,
		               .count_max = c->transactions.max_running,
		               .age_max_ms = c->transactions.max_age_s * 1000 },
	};
	int rc;

	d->metrics = metrics_new();
	d->budget = d->metrics ? budget_new(c->memory.cache_bytes) : NULL;
	d->vfs = d->budget ? vfs_new() : NULL;
	d->exports = d->vfs ? export_table_new(d->vfs) : NULL;
	if (!d->exports)
		return out_of_memory("the core");
	rc = process_metrics_register(d->metrics, d->budget);
	if (rc < 0)
		return rc;
	d->process_metrics = true;
	rc = vfs_register_metrics(d->vfs, d->metrics);
	if (rc < 0)
		return rc;
	cache.budget = d->budget;
	rc = cache_new(&cache, &d->cache);
	rc = rc ? rc : cache_register_metrics(d->cache, d->metrics);
	if (rc < 0)
		return rc;
	wfs3.vfs = d->vfs;
	wfs3.cache = d->cache;
	wfs3.budget = d->budget;
	wfs3.metrics = d->metrics;
	rc = wfs3_new(&wfs3, &d->wfs3);
	return rc < 0 ? rc : build_mounts(d);
}

/* Half of the threads of a lane can wait for leases to come back. */
static unsigned lease_waiters(const struct conf *c)
{
	unsigned least = c->threads.read < c->threads.write ? c->threads.read : c->threads.write;

	return least / 2;
}

static int build_threads(struct daemon *d)
{
	const struct conf *c = d->conf;
	struct workers_config workers = {
		.threads = {
			[WORKER_LANE_READ] = c->threads.read,
			[WORKER_LANE_WRITE] = c->threads.write,
			[WORKER_LANE_ADMIN] = c->threads.admin,
			[WORKER_LANE_REMOTE] = c->threads.read,
		},
		.thread_done = blk_thread_done,
	};
	int rc = loop_set_new(c->threads.loops, &d->loops);

	if (rc == 0)
		rc = loop_set_register_metrics(d->loops, d->metrics);
	if (rc == 0)
		rc = workers_new(&workers, &d->workers);
	if (rc == 0)
		rc = workers_register_metrics(d->workers, d->metrics);
	vfs_set_lease_waiters(d->vfs, lease_waiters(c));
	return rc < 0 ? rc : watchdog_new(d->loops, d->workers, &d->watchdog);
}

static int build_rpc(struct daemon *d)
{
	uint64_t boots[STATE_BOOTS_MAX];
	uint8_t secret[STATE_SECRET_BYTES];
	struct rpc_server_config rpc = {
		.loops = d->loops,
		.workers = d->workers,
		.vfs = d->vfs,
		.exports = d->exports,
		.budget = d->budget,
		.metrics = d->metrics,
		.audit = d->audit,
		.server_name = "wfsd " WFSD_VERSION,
		.clean_boots = boots,
		.clean_boot_count = state_get_clean_boots(d->state, boots, STATE_BOOTS_MAX),
		.secret = secret,
		.connections_max = d->conf->rpc.max_connections,
		.lease_max_s = d->conf->rpc.lease_max_s,
		.lock_store = &d->lock_store,
		.grace_s = d->conf->rpc.grace_s,
	};
	int rc = state_get_secret(d->state, secret);

	lock_store_init(&d->lock_store, d->state);
	if (rc < 0)
		return rc;
	rc = rpc_server_new(&rpc, &d->rpc);
	return rc < 0 ? rc : load_certificates(d->rpc, d->conf);
}

static int build_audit(struct daemon *d)
{
	const struct conf *c = d->conf;
	struct audit_config audit = { .path = c->audit.file,
		                      .classes = c->audit.classes,
		                      .queue_max = c->audit.queue_max,
		                      .metrics = d->metrics };

	return c->audit.file ? audit_new(&audit, &d->audit) : 0;
}

static int build_front_ends(struct daemon *d)
{
	const struct conf *c = d->conf;
	struct loop *first = loop_set_get(d->loops, 0);
	struct nbd_config nbd = {
		.loop = first,
		.accept_rpc = accept_rpc,
		.has_open_file = has_open_file,
		.run_dir = c->run_dir,
		.nbdkit = c->nbd.nbdkit,
		.plugin = c->nbd.plugin,
		.user = c->nbd.user,
		.group = c->nbd.user_group,
		.max_connections = c->nbd.max_connections,
		.handshake_timeout_ms = c->nbd.handshake_timeout_ms,
		.memory_max_bytes = c->nbd.memory_max_bytes,
		.metrics = d->metrics,
	};
	struct admin_config admin = {
		.loop = first,
		.workers = d->workers,
		.pools = wfs3_pool_admin(d->wfs3),
		.exports = d->exports,
		.mounts = d->mounts,
		.state = d->state,
		.status = d->status,
		.budget = d->budget,
		.metrics = d->metrics,
		.audit = d->audit,
		.version = WFSD_VERSION,
		.reload = daemon_reload,
		.reload_ctx = d,
	};
	int rc = build_rpc(d);

	if (rc < 0)
		return rc;
	nbd.rpc_ctx = d->rpc;
	rc = nbd_new(&nbd, &d->nbd);
	if (rc < 0)
		return rc;
	d->peers = (struct peers){ .nbd = d->nbd, .rpc = d->rpc };
	admin.peers = peers_for_admin(&d->peers);
	return admin_new(&admin, &d->admin);
}

/* A folder that systemd, or somebody, has made already is fine. */
static int make_dir(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_set(-errno, "%s: cannot be created", path);
	return 0;
}

static int daemon_build(struct daemon *d)
{
	int rc = make_dir(d->conf->run_dir);

	if (rc == 0)
		rc = state_open(d->conf->state_dir, &d->state);
	if (rc == 0)
		rc = endpoints_open(d->conf, &d->endpoints);
	if (rc < 0)
		return rc;
	d->status = daemon_status_new();
	if (!d->status)
		return out_of_memory("the daemon's status");
	rc = build_core(d);
	if (rc == 0)
		rc = build_threads(d);
	if (rc == 0)
		rc = build_audit(d);
	return rc < 0 ? rc : build_front_ends(d);
}

/* Administration first, so that a long import can be watched; clients when their exports are there. */
static int daemon_start(struct daemon *d)
{
	struct pool_admin pools = wfs3_pool_admin(d->wfs3);
	struct loop *first = loop_set_get(d->loops, 0);
	int rc = endpoints_start(d->endpoints, ENDPOINT_ADMIN, first, admin_accept, d->admin);

	if (rc == 0)
		rc = endpoints_start(d->endpoints, ENDPOINT_METRICS, first, admin_accept_metrics, d->admin);
	if (rc < 0)
		return rc;
	sd_notify(0, "STATUS=importing pools");
	startup_pools(&pools, d->conf, d->state, d->status);
	startup_mounts(d->mounts, d->state, d->status);
	rc = startup_exports(d->exports, d->conf, d->state, d->status);
	if (rc == 0)
		rc = endpoints_start(d->endpoints, ENDPOINT_RPC, first, accept_rpc, d->rpc);
	if (rc == 0)
		rc = endpoints_start(d->endpoints, ENDPOINT_RPC_TLS, first, accept_rpc_tls, d->rpc);
	if (rc == 0)
		rc = endpoints_start(d->endpoints, ENDPOINT_NBD, first, nbd_accept, d->nbd);
	if (rc < 0)
		return rc;
	daemon_status_set(d->status, DAEMON_RUNNING);
	sd_notify(0, "READY=1\nSTATUS=running");
	log_notice("wfsd", "running version=%s pid=%d admin=%s", WFSD_VERSION, (int)getpid(), d->conf->admin.socket);
	return 0;
}

/* Until we are told to stop. */
static void daemon_wait(struct daemon *d, const sigset_t *signals)
{
	for (;;) {
		int number;
		int rc;

		if (sigwait(signals, &number) != 0)
			continue;
		if (number != SIGHUP) {
			log_notice("wfsd", "stopping signal=%s", number == SIGINT ? "INT" : "TERM");
			return;
		}
		rc = daemon_reload(d);
		if (rc < 0)
			log_failure("reload refused", rc);
	}
}

/* End what clients use; from here on only the pools are left. */
static void stop_front_ends(struct daemon *d, struct stop_guard *guard)
{
	if (d->endpoints) {
		endpoints_stop(d->endpoints, ENDPOINT_NBD);
		endpoints_stop(d->endpoints, ENDPOINT_RPC_TLS);
		endpoints_stop(d->endpoints, ENDPOINT_RPC);
	}
	stop_guard_phase(guard, "ending NBD connections");
	if (d->nbd)
		nbd_stop(d->nbd);
	stop_guard_phase(guard, "ending RPC connections");
	if (d->rpc)
		rpc_server_stop(d->rpc);
	stop_guard_phase(guard, "finishing administration");
	if (d->admin)
		admin_stop(d->admin, ADMIN_GOODBYE_NS);
	if (d->endpoints)
		endpoints_free(d->endpoints);
	if (d->watchdog)
		watchdog_stop(d->watchdog);
}

/* What is mounted may stand on files in pools. */
static int unmount_all(struct daemon *d, struct stop_guard *guard)
{
	int rc = 0;

	stop_guard_phase(guard, "unmounting");
	if (d->mounts)
		rc = mount_table_stop(d->mounts);
	if (rc < 0)
		log_failure("not unmounted cleanly", rc);
	return rc;
}

static int commit_pools(struct daemon *d, struct stop_guard *guard)
{
	struct pool_admin pools;
	int rc, pools_rc = 0;

	stop_guard_phase(guard, "finishing jobs");
	workers_free(d->workers);
	rc = unmount_all(d, guard);
	stop_guard_phase(guard, "committing pools");
	if (d->wfs3) {
		pools = wfs3_pool_admin(d->wfs3);
		pools_rc = shutdown_pools(&pools);
	}
	rc = rc < 0 ? rc : pools_rc;
	if (rc == 0 && d->rpc && daemon_status_get(d->status) == DAEMON_STOPPING &&
	    state_put_clean_boot(d->state, rpc_server_boot_id(d->rpc)) < 0)
		log_failure("the clean end is not recorded", -EIO);
	return rc;
}

static void daemon_free(struct daemon *d)
{
	nbd_free(d->nbd);
	rpc_server_free(d->rpc);
	loop_set_free(d->loops);
	admin_free(d->admin);
	watchdog_free(d->watchdog);
	mount_table_free(d->mounts);
	if (d->wfs3)
		wfs3_free(d->wfs3);
	if (d->cache)
		cache_free(d->cache);
	export_table_free(d->exports);
	if (d->vfs)
		vfs_free(d->vfs);
	if (d->process_metrics)
		process_metrics_unregister(d->metrics, d->budget);
	if (d->budget)
		budget_free(d->budget);
	audit_free(d->audit);
	if (d->metrics)
		metrics_free(d->metrics);
	daemon_status_free(d->status);
	state_close(d->state);
	conf_free(d->conf);
	sync_mutex_done(&d->reload_lock);
}

static int daemon_stop(struct daemon *d)
{
	struct stop_guard *guard = stop_guard_new();
	bool was_running = d->status && daemon_status_get(d->status) == DAEMON_STOPPING;
	int rc;

	sd_notify(0, "STOPPING=1");
	stop_front_ends(d, guard);
	rc = commit_pools(d, guard);
	stop_guard_phase(guard, "taking apart");
	daemon_free(d);
	blk_thread_done();
	stop_guard_free(guard);
	if (was_running)
		log_notice("wfsd", "stopped clean=%s", rc == 0 ? "yes" : "no");
	return rc;
}

/* Descriptors 0 to 2 exist, so that no socket of ours becomes one of them; many others may. */
static void prepare_process(sigset_t *ret_signals)
{
	struct rlimit limit;
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	/* All threads inherit this; the main thread waits for them. */
	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGTERM);
	sigaddset(ret_signals, SIGINT);
	sigaddset(ret_signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, ret_signals, NULL);
}

static int daemon_run(struct daemon *d, const sigset_t *signals)
{
	int rc = daemon_build(d);
	int stop_rc;

	if (rc == 0)
		rc = daemon_start(d);
	if (rc == 0)
		daemon_wait(d, signals);
	else
		log_failure("cannot start", rc);
	if (rc == 0)
		daemon_status_set(d->status, DAEMON_STOPPING);
	stop_rc = daemon_stop(d);
	return rc < 0 || stop_rc < 0 ? DAEMON_EXIT_FAILED : DAEMON_EXIT_OK;
}

/*
 * Memory that was freed must not stay with the process, which lives within a budget: large buffers are mapped and
 * unmapped (glibc otherwise raises that threshold to 32 MiB by itself), and threads share a few arenas.
 */
static void tune_malloc(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 128 << 10);
	(void)mallopt(M_ARENA_MAX, 2);
}

int main(int argc, char **argv)
{
	struct daemon d = { 0 };
	struct options options;
	char text[ERROR_TEXT_MAX];
	sigset_t signals;
	int exit_code, rc;

	tune_malloc();
	if (argc > 1 && strcmp(argv[1], NBD_CHILD_ARG) == 0)
		return nbd_child_main(argc, argv);
	if (!options_parse(argc, argv, &options, &exit_code))
		return exit_code;
	rc = conf_load(options.config, &d.conf);
	if (rc < 0) {
		fprintf(stderr, "wfsd: %s\n", err_text(err_get(), rc, 0, text, sizeof(text)));
		return DAEMON_EXIT_USAGE;
	}
	if (options.check) {
		printf("%s: ok\n", options.config);
		conf_free(d.conf);
		return DAEMON_EXIT_OK;
	}
	prepare_process(&signals);
	log_sink_install();
	log_set_level((enum log_level)d.conf->log_level);
	sync_mutex_init(&d.reload_lock, SYNC_RANK_SERVER, "reload");
	return daemon_run(&d, &signals);
}
