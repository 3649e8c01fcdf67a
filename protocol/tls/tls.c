/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS: sessions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <gnutls/x509.h>

#include "core/base/err.h"
#include "protocol/tls/internal.h"

static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t len)
{
	const struct tls *t = arg;

	return recv(t->fd, buf, len, MSG_DONTWAIT);
}

static ssize_t push(gnutls_transport_ptr_t arg, const giovec_t *iov, int count)
{
	const struct tls *t = arg;
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };

	return sendmsg(t->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int tls_new(struct tls_context *x, int fd, const char *host, struct tls **ret)
{
	struct tls *t = calloc(1, sizeof(*t));
	unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | (x->server ? GNUTLS_SERVER : GNUTLS_CLIENT);

	if (!t)
		return err_set(-ENOMEM, "no memory for a TLS session");
	t->fd = fd;
	/* Nobody resumes sessions. */
	if (gnutls_init(&t->session, flags | GNUTLS_NO_TICKETS) < 0) {
		free(t);
		return err_set(-ENOMEM, "no memory for a TLS session");
	}
	tls_context_ref(x);
	t->context = x;
	if (gnutls_priority_set(t->session, x->priority) < 0 ||
	    gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, x->cred) < 0) {
		tls_free(t);
		return err_set(-ENOMEM, "no memory for a TLS session");
	}
	if (x->server)
		gnutls_certificate_server_set_request(t->session,
		                                      x->anybody ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_REQUIRE);
	else
		gnutls_session_set_verify_cert(t->session, host, 0);
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_pull_function(t->session, pull);
	gnutls_transport_set_vec_push_function(t->session, push);
	*ret = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->name_count; i++)
		free(t->names[i]);
	gnutls_deinit(t->session);
	tls_context_unref(t->context);
	free(t);
}

/* What certificates were refused for, in words. */
static int bad_certificate(unsigned status)
{
	gnutls_datum_t text;
	int err = -EACCES;

	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
		return err_set(err, "TLS: the certificate is not good");
	err_set(err, "TLS: %s", (const char *)text.data);
	gnutls_free(text.data);
	return err;
}

/* Any failure but GNUTLS_E_AGAIN and GNUTLS_E_INTERRUPTED. */
static int session_error(struct tls *t, int rc)
{
	switch (rc) {
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		switch (gnutls_alert_get(t->session)) {
		case GNUTLS_A_CERTIFICATE_REQUIRED:
			return err_set(-EACCES, "TLS: the other side wants a certificate");
		case GNUTLS_A_BAD_CERTIFICATE:
		case GNUTLS_A_UNKNOWN_CA:
		case GNUTLS_A_CERTIFICATE_EXPIRED:
		case GNUTLS_A_CERTIFICATE_REVOKED:
		case GNUTLS_A_CERTIFICATE_UNKNOWN:
		case GNUTLS_A_ACCESS_DENIED:
			return err_set(-EACCES, "TLS: the other side refuses the certificate: %s",
			               gnutls_alert_get_name(gnutls_alert_get(t->session)));
		default:
			return err_set(-EPROTO, "TLS: the other side says: %s",
			               gnutls_alert_get_name(gnutls_alert_get(t->session)));
		}
	case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR:
		return bad_certificate(gnutls_session_get_verify_cert_status(t->session));
	case GNUTLS_E_CERTIFICATE_REQUIRED:
	case GNUTLS_E_NO_CERTIFICATE_FOUND:
		return err_set(-EACCES, "TLS: the other side has no certificate");
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PREMATURE_TERMINATION:
		return err_set(-ECONNRESET, "TLS: the connection was lost");
	default:
		return err_set(-EPROTO, "TLS: %s", gnutls_strerror(rc));
	}
}

static bool would_wait(long rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

static void keep_name(struct tls *t, const char *name, size_t len)
{
	if (t->name_count == TLS_NAMES_MAX || !len || memchr(name, '\0', len))
		return;
	t->names[t->name_count] = strndup(name, len);
	if (t->names[t->name_count])
		t->name_count++;
}

static int read_names(struct tls *t, gnutls_x509_crt_t crt)
{
	char name[256];
	size_t len = sizeof(name);
	int type = 0;

	for (unsigned i = 0; type != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE; i++, len = sizeof(name)) {
		type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &len, NULL);
		if (type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_RFC822NAME)
			keep_name(t, name, len);
		else if (type < 0 && type != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE &&
		         type != GNUTLS_E_SHORT_MEMORY_BUFFER)
			return err_set(-EACCES, "TLS: a certificate with malformed names");
	}
	len = sizeof(name);
	if (!t->name_count && gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &len) == 0)
		keep_name(t, name, len);
	return 0;
}

/* Of a certificate that was verified. */
static int learn_names(struct tls *t)
{
	unsigned count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(t->session, &count);
	gnutls_x509_crt_t crt;
	int err = 0;

	if (!list || !count)
		return 0;
	if (gnutls_x509_crt_init(&crt) < 0)
		return err_set(-ENOMEM, "no memory for a certificate");
	if (gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER) < 0)
		err = err_set(-EACCES, "TLS: a malformed certificate");
	else
		err = read_names(t, crt);
	gnutls_x509_crt_deinit(crt);
	return err;
}

/* The server's look at its client's certificate. */
static int verify_client(struct tls *t)
{
	unsigned status = 0, count = 0;

	if (!gnutls_certificate_get_peers(t->session, &count) || !count)
		return t->context->anybody ? 0 : err_set(-EACCES, "TLS: the other side has no certificate");
	if (gnutls_certificate_verify_peers2(t->session, &status) < 0)
		return err_set(-EACCES, "TLS: the certificate cannot be verified");
	return status ? bad_certificate(status) : 0;
}

int tls_handshake(struct tls *t)
{
	int rc;

	do {
		rc = gnutls_handshake(t->session);
	} while (rc < 0 && !would_wait(rc) && !gnutls_error_is_fatal(rc));
	if (would_wait(rc))
		return -EAGAIN;
	if (rc < 0) {
		int err = session_error(t, rc);

		(void)gnutls_alert_send_appropriate(t->session, rc);
		return err;
	}
	if (t->context->server) {
		rc = verify_client(t);
		if (rc) {
			(void)gnutls_alert_send(t->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
			return rc;
		}
	}
	return learn_names(t);
}

bool tls_wants_write(const struct tls *t)
{
	return gnutls_record_get_direction(t->session) == 1;
}

ssize_t tls_receive(struct tls *t, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = gnutls_record_recv(t->session, buf, len);
	} while (n < 0 && !would_wait(n) && !gnutls_error_is_fatal((int)n));
	if (n >= 0)
		return n;
	if (would_wait(n))
		return -EAGAIN;
	/* Who goes without saying so is gone all the same: records have lengths of their own. */
	return n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : session_error(t, (int)n);
}

bool tls_has_received(const struct tls *t)
{
	return gnutls_record_check_pending(t->session) > 0;
}

/* Send what GnuTLS has taken. 0, -EAGAIN, -ECONNRESET, ... */
static int send_rest(struct tls *t)
{
	while (t->unsent) {
		ssize_t n = gnutls_record_send(t->session, NULL, 0);

		if (n == GNUTLS_E_INTERRUPTED)
			continue;
		if (n == GNUTLS_E_AGAIN)
			return -EAGAIN;
		if (n < 0)
			return session_error(t, (int)n);
		t->unsent -= (size_t)n < t->unsent ? (size_t)n : t->unsent;
	}
	return 0;
}

/* One record's contents, from @skip bytes behind the start: in one piece, copied when they are not. */
static const void *next_record(struct tls *t, const struct iovec **iov, int *count, size_t *skip, size_t *ret_len)
{
	size_t len = 0;

	while (*count && *skip == (*iov)->iov_len) {
		(*iov)++;
		(*count)--;
		*skip = 0;
	}
	if (*count && ((*iov)->iov_len - *skip >= TLS_RECORD_BYTES || *count == 1)) {
		const uint8_t *p = (const uint8_t *)(*iov)->iov_base + *skip;

		len = (*iov)->iov_len - *skip;
		*ret_len = len < TLS_RECORD_BYTES ? len : TLS_RECORD_BYTES;
		*skip += *ret_len;
		return p;
	}
	while (*count && len < TLS_RECORD_BYTES) {
		size_t here = (*iov)->iov_len - *skip, room = TLS_RECORD_BYTES - len;
		size_t n = here < room ? here : room;

		memcpy(t->record + len, (const uint8_t *)(*iov)->iov_base + *skip, n);
		len += n;
		*skip += n;
		if (*skip == (*iov)->iov_len) {
			(*iov)++;
			(*count)--;
			*skip = 0;
		}
	}
	*ret_len = len;
	return t->record;
}

ssize_t tls_send(struct tls *t, const struct iovec *iov, int count)
{
	size_t skip = 0, len, taken = 0;
	int err = send_rest(t);

	while (!err) {
		const void *p = next_record(t, &iov, &count, &skip, &len);
		ssize_t n;

		if (!len)
			break;
		do {
			n = gnutls_record_send(t->session, p, len);
		} while (n == GNUTLS_E_INTERRUPTED);
		if (n < 0 && n != GNUTLS_E_AGAIN) {
			err = session_error(t, (int)n);
			break;
		}
		/* Encrypted and kept, also when the socket has no room. */
		taken += len;
		if (n == GNUTLS_E_AGAIN) {
			t->unsent = len;
			break;
		}
		if ((size_t)n != len) {
			err = err_set(-EPROTO, "TLS: records of only %zd bytes", n);
			break;
		}
	}
	if (taken)
		return (ssize_t)taken;
	return err;
}

bool tls_has_unsent(const struct tls *t)
{
	return t->unsent > 0;
}

const char *tls_peer_name(const struct tls *t, unsigned i)
{
	return i < t->name_count ? t->names[i] : NULL;
}
