/* SPDX-License-Identifier: BSD-3-Clause */
/* wfs-fuse: mounts an export of a wfsd that is a directory. Connect, mount, serve, unmount. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "plugins/fuse/guard.h"
#include "plugins/fuse/loop.h"
#include "plugins/fuse/small.h"
#include "plugins/fuse/wake.h"

#define BACKGROUND_MAX 64u /* requests that the kernel sends without waiting: read-ahead, write-back */

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	conn->max_write = MOUNT_IO_BYTES_MAX;
	conn->max_read = m->options->max_read;
	conn->max_readahead = MOUNT_IO_BYTES_MAX;
	conn->max_background = BACKGROUND_MAX;
	/* ACLs count in the kernel's own checks, which cached names need; the server checks again. */
	conn->want |= conn->capable & (FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_EXPORT_SUPPORT |
	                               FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS);
	/* The kernel asks for setuid and setgid to be cleared before a write, so it knows the new mode. */
	conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
	/* A listing is most often followed by a look at what was listed. */
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	/* Without these the kernel keeps locks itself. */
	if (m->options->local_locks)
		conn->want &= ~(unsigned)(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
	if (m->options->writeback)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
}

static void operations(struct fuse_lowlevel_ops *ops)
{
	*ops = (struct fuse_lowlevel_ops){ .init = on_init };
	name_ops(ops);
	attr_ops(ops);
	file_ops(ops);
	range_ops(ops);
	dir_ops(ops);
	xattr_ops(ops);
	lock_ops(ops);
}

static int failed(const char *what, int err)
{
	char text[512];

	fprintf(stderr, "wfs-fuse: %s: %s\n", what, wfs_error_text(text, sizeof(text)));
	return err;
}

static int connect_and_attach(struct mount *m)
{
	const struct options *o = m->options;
	struct wfs_options how = { .client_name = "wfs-fuse",
		                   .connections = o->connections,
		                   .timeout_ms = o->timeout_s * 1000,
		                   .no_shared_memory = o->no_shm,
		                   .durable = o->durable,
		                   .certificates = o->certificates };
	struct wfs_attr attr;
	struct wfs_fh fh;
	int err = wfs_connect(o->address, &how, &m->client);

	if (err)
		return failed(o->address, err);
	err = wfs_attach(m->client, NULL, o->export_name, &fh, &attr);
	if (err)
		return failed(o->source, err);
	m->root = node_get(&m->nodes, &attr, &fh);
	return m->root ? 0 : -ENOMEM;
}

/* "-o ..." for libfuse: what the mount is called, and what must be. Commas in names would end an option. */
static int add_mount_options(struct fuse_args *args, const struct options *o)
{
	char *text, *name = strdup(o->source);
	int err;

	if (!name)
		return -ENOMEM;
	for (char *p = name; *p; p++) {
		if (*p == ',' || *p == '\\')
			*p = '_';
	}
	err = asprintf(&text, "-ofsname=%s,subtype=wfs,default_permissions%s", name, o->read_only ? ",ro" : "");
	free(name);
	if (err < 0)
		return -ENOMEM;
	err = fuse_opt_add_arg(args, text);
	free(text);
	return err ? -ENOMEM : 0;
}

static void log_to_syslog(enum fuse_log_level level, const char *fmt, va_list ap)
{
	vsyslog((int)level, fmt, ap);
}

/* The session is mounted: leave the terminal, then work until it ends. */
static int run(struct mount *m)
{
	/* Before its path means something else: in the background the process is in another directory. */
	int fd = guard_open(m->options->dir);
	int err = fuse_daemonize(m->options->foreground || m->options->debug);
	struct wake wake;
	pid_t guard;

	if (err) {
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	guard = guard_start(fd);
	wake_init(&wake, WAKE_DEVICE, m->options->wake_usec);
	if (!m->options->foreground && !m->options->debug) {
		openlog("wfs-fuse", LOG_PID, LOG_DAEMON);
		fuse_set_log_func(log_to_syslog);
	}
	told_init(m);
	ending_hold();
	err = lock_queue_start(m);
	if (!err)
		err = close_queue_start(m);
	if (!err)
		err = events_start(m);
	if (!err)
		err = ending_begin(m);
	if (!err)
		err = loop_run(m->session, m->options->threads, &wake);
	ending_done(m);
	events_stop(m);
	close_queue_stop(m);
	lock_queue_stop(m);
	told_done(m);
	wake_done(&wake);
	guard_stop(guard);
	return err;
}

static int mount_and_run(struct mount *m, struct fuse_args *args)
{
	struct fuse_lowlevel_ops ops;
	int err = add_mount_options(args, m->options);

	if (err)
		return err;
	operations(&ops);
	m->session = fuse_session_new(args, &ops, sizeof(ops), m);
	if (!m->session)
		return -EINVAL; /* libfuse has told */
	err = fuse_session_mount(m->session, m->options->dir) ? -EIO : 0;
	if (!err) {
		err = run(m);
		fuse_session_unmount(m->session);
	}
	fuse_session_destroy(m->session);
	return err;
}

static int mount_new(const struct options *o, struct fuse_args *args)
{
	struct mount *m = calloc(1, sizeof(*m));
	pthread_rwlockattr_t attr;
	int err;

	if (!m)
		return -ENOMEM;
	m->options = o;
	m->attr_timeout_ns = (uint64_t)(o->attr_timeout_s * 1e9);
	pthread_mutex_init(&m->open_lock, NULL);
	pthread_mutex_init(&m->small_lock, NULL);
	pthread_rwlockattr_init(&attr);
	/* There are always threads that reply. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->events.lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	err = node_table_init(&m->nodes);
	if (!err) {
		small_cache_init(m);
		err = connect_and_attach(m);
		if (!err)
			err = mount_and_run(m, args);
		wfs_disconnect(m->client);
		small_cache_done(m);
		node_table_done(&m->nodes);
	}
	pthread_rwlock_destroy(&m->events.lock);
	pthread_mutex_destroy(&m->small_lock);
	pthread_mutex_destroy(&m->open_lock);
	free(m);
	return err;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct options o;
	int err = options_parse(&args, &o);

	if (!err && o.version) {
		puts("wfs-fuse " WFSD_VERSION);
	} else if (!err && o.help) {
		puts("usage: wfs-fuse [ADDRESS]/EXPORT DIR [-f] [-d] [-o OPTION,...]; see wfs-fuse(1)");
	} else if (!err) {
		err = mount_new(&o, &args);
		if (err == -ENOMEM)
			fputs("wfs-fuse: out of memory\n", stderr);
	}
	fuse_opt_free_args(&args);
	options_done(&o);
	return err ? 1 : 0;
}
