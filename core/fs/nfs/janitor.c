/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What nobody waits for: writing files that were closed, removing those that were deleted while they were open, and
 * trying whether a server that did not answer is back.
 */
#include <nfsc/libnfs-raw-nfs.h>

#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/nfs/nfs_priv.h"

void nfs_janitor_add(struct nfs_node *n)
{
	if (n->job)
		return;
	n->job = true;
	cds_list_add_tail(&n->job_link, &n->im->jobs);
	sync_cond_signal(&n->im->janitor_cond);
}

/* The table_lock is held, and given up meanwhile; the node stays because it is pinned. */
static void work(struct nfs_import *im, struct nfs_node *n) SYNC_REQUIRES(im->table_lock)
{
	bool remove = n->idle && n->remove_name;

	n->pins++;
	sync_mutex_unlock(&im->table_lock);
	/* What fails stays dirty, and is tried again by the cache. */
	if (remove)
		nfs_remove_temporary(n);
	else if (n->data)
		(void)cache_flush(n->data, 0, UINT64_MAX);
	sync_mutex_lock(&im->table_lock);
	n->pins--;
}

#define PROBE_NS SYNC_NS_PER_S

void nfs_janitor_down(void *im)
{
	struct nfs_import *i = im;

	sync_mutex_lock(&i->table_lock);
	i->is_down = true;
	sync_cond_signal(&i->janitor_cond);
	sync_mutex_unlock(&i->table_lock);
}

/* The table_lock is held, and given up meanwhile. */
static void probe(struct nfs_import *im) SYNC_REQUIRES(im->table_lock)
{
	GETATTR3args args = { .object = nfs_handle_arg(&im->root_fh) };
	struct nfs_call c = { .proc = NFS_GETATTR, .args = &args, .probe = true };
	struct nfs_net_stats s;

	sync_mutex_unlock(&im->table_lock);
	(void)nfs_call_run(im->net, &c);
	err_clear();
	sync_mutex_lock(&im->table_lock);
	nfs_net_get_stats(im->net, &s);
	im->is_down = s.down;
}

static void thread_main(void *arg)
{
	struct nfs_import *im = arg;
	uint64_t probe_ns = 0;

	sync_mutex_lock(&im->table_lock);
	while (!im->janitor_stop) {
		struct nfs_node *n;

		if (im->is_down && sync_now_ns() >= probe_ns) {
			probe(im);
			probe_ns = sync_now_ns() + PROBE_NS;
			continue;
		}
		if (cds_list_empty(&im->jobs)) {
			if (im->is_down)
				(void)sync_cond_wait_until(&im->janitor_cond, &im->table_lock, probe_ns);
			else
				sync_cond_wait(&im->janitor_cond, &im->table_lock);
			continue;
		}
		n = cds_list_entry(im->jobs.next, struct nfs_node, job_link);
		cds_list_del(&n->job_link);
		n->job = false;
		work(im, n);
	}
	sync_mutex_unlock(&im->table_lock);
}

int nfs_janitor_start(struct nfs_import *im)
{
	int rc = sync_thread_start(&im->janitor, "nfs-janitor", thread_main, im);

	im->janitor_started = rc == 0;
	return rc;
}

void nfs_janitor_stop(struct nfs_import *im)
{
	if (!im->janitor_started)
		return;
	sync_mutex_lock(&im->table_lock);
	im->janitor_stop = true;
	sync_cond_broadcast(&im->janitor_cond);
	sync_mutex_unlock(&im->table_lock);
	sync_thread_join(&im->janitor);
}
