/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS: certificates and keys, from files. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "protocol/tls/internal.h"

static int file_path(char path[PATH_MAX], const char *dir, const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(-ENAMETOOLONG, "%s/%s", dir, name);
	return 0;
}

/* 1: it is there; 0: it is not. */
static int has_file(const char *path)
{
	if (access(path, R_OK) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_set(-errno, "%s: %s", path, strerror(errno));
}

static int load_ca(struct tls_context *x, const char *dir, bool *ret_loaded)
{
	char path[PATH_MAX];
	int count, err = file_path(path, dir, "ca-cert.pem");

	if (!err)
		err = has_file(path);
	*ret_loaded = err > 0;
	if (err <= 0)
		return err;
	count = gnutls_certificate_set_x509_trust_file(x->cred, path, GNUTLS_X509_FMT_PEM);
	if (count < 0)
		return err_set(-EINVAL, "%s: %s", path, gnutls_strerror(count));
	if (!count)
		return err_set(-EINVAL, "%s: no certificate in it", path);
	return 0;
}

/* *ret_loaded: they are there. */
static int load_own(struct tls_context *x, const char *dir, const char *who, bool *ret_loaded)
{
	char cert[PATH_MAX], key[PATH_MAX], name[32];
	int err, has_cert, has_key;

	snprintf(name, sizeof(name), "%s-cert.pem", who);
	err = file_path(cert, dir, name);
	if (err)
		return err;
	snprintf(name, sizeof(name), "%s-key.pem", who);
	err = file_path(key, dir, name);
	if (err)
		return err;
	has_cert = has_file(cert);
	has_key = has_file(key);
	if (has_cert < 0 || has_key < 0)
		return has_cert < 0 ? has_cert : has_key;
	*ret_loaded = has_cert && has_key;
	if (has_cert != has_key)
		return err_set(-ENOENT, "%s: missing", has_cert ? key : cert);
	if (!has_cert)
		return 0;
	err = gnutls_certificate_set_x509_key_file(x->cred, cert, key, GNUTLS_X509_FMT_PEM);
	return err < 0 ? err_set(-EINVAL, "%s, %s: %s", cert, key, gnutls_strerror(err)) : 0;
}

static int context_new(struct tls_context **ret)
{
	struct tls_context *x = calloc(1, sizeof(*x));

	if (!x)
		return err_set(-ENOMEM, "no memory for TLS");
	x->refs = 1;
	if (gnutls_certificate_allocate_credentials(&x->cred) < 0) {
		free(x);
		return err_set(-ENOMEM, "no memory for TLS");
	}
	/* No versions but 1.3, whatever the system's policy allows. */
	if (gnutls_priority_init(&x->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL) < 0) {
		tls_context_unref(x);
		return err_set(-EOPNOTSUPP, "this system's policy has no TLS 1.3");
	}
	*ret = x;
	return 0;
}

int tls_server_context(const char *dir, bool anybody, struct tls_context **ret)
{
	bool has_ca, has_own;
	struct tls_context *x;
	int err = context_new(&x);

	if (err)
		return err;
	x->server = true;
	x->anybody = anybody;
	err = load_ca(x, dir, &has_ca);
	if (!err)
		err = load_own(x, dir, "server", &has_own);
	if (!err && !has_own)
		err = err_set(-ENOENT, "%s: no server-cert.pem in it", dir);
	if (!err && !has_ca && !anybody)
		err = err_set(-ENOENT, "%s: no ca-cert.pem in it, which would tell good clients", dir);
	if (err)
		tls_context_unref(x);
	else
		*ret = x;
	return err;
}

int tls_client_context(const char *dir, struct tls_context **ret)
{
	bool has_ca = false, has_own;
	struct tls_context *x;
	int err = context_new(&x);

	if (err)
		return err;
	if (dir)
		err = load_ca(x, dir, &has_ca);
	if (!err && dir)
		err = load_own(x, dir, "client", &has_own);
	if (!err && !has_ca && gnutls_certificate_set_x509_system_trust(x->cred) < 0)
		err = err_set(-ENOENT, "no ca-cert.pem, and the system trusts nobody");
	if (err)
		tls_context_unref(x);
	else
		*ret = x;
	return err;
}

void tls_context_ref(struct tls_context *x)
{
	__atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
}

void tls_context_unref(struct tls_context *x)
{
	if (!x || __atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (x->priority)
		gnutls_priority_deinit(x->priority);
	gnutls_certificate_free_credentials(x->cred);
	free(x);
}
