/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS 1.3 (RFC 8446) on a connected stream socket, for both ends of the wfs protocol; GnuTLS does the work.
 *
 * Certificates come from a folder of PEM files with the names that qemu, libvirt and nbdkit use, too:
 *
 *   ca-cert.pem       who signs the other side's certificates
 *   server-cert.pem   server-key.pem    of a server
 *   client-cert.pem   client-key.pem    of a client; both or neither
 *
 * All calls return at once, whatever the socket's mode: -EAGAIN tells that the socket must become readable or writable
 * first (tls_wants_write()).
 *
 * Threads: a context is used by any number. A session is used by one, except that one thread may receive while another
 * sends, after the handshake.
 */
#ifndef WFSD_PROTOCOL_TLS_H
#define WFSD_PROTOCOL_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tls_context;
struct tls;

/*
 * Read the folder @dir. Server: with @anybody, clients need no certificate (but one that they have must be good), and
 * the CA may be missing. Client: the CA may be missing, then the system's ones are trusted. 0; -ENOENT, -EACCES, -EIO;
 * -EINVAL: not what should be in the file. Blocks. The result has one reference.
 */
int tls_server_context(const char *dir, bool anybody, struct tls_context **ret);
int tls_client_context(const char *dir, struct tls_context **ret);
void tls_context_ref(struct tls_context *x);
void tls_context_unref(struct tls_context *x); /* NULL is fine */

/* A session over @fd, which stays the caller's and must outlive it. @host: a client's, whom the certificate must name.
 * 0 or -ENOMEM. */
int tls_new(struct tls_context *x, int fd, const char *host, struct tls **ret);
void tls_free(struct tls *t); /* NULL is fine */

/* 0: done. -EAGAIN; -EACCES: a certificate is missing or not good; -EPROTO; -ECONNRESET. */
int tls_handshake(struct tls *t);
/* After -EAGAIN of a handshake: it waits for room in the socket, not for bytes. */
bool tls_wants_write(const struct tls *t);

/* At most @len bytes: their number, 0 at the end of the stream. -EAGAIN, -ECONNRESET, -EACCES (the other side refuses
 * our certificate). */
ssize_t tls_receive(struct tls *t, void *buf, size_t len);
/* Bytes have been received from the socket that tls_receive() has not given out: the socket will not tell of them. */
bool tls_has_received(const struct tls *t);
/*
 * Bytes taken of the @count pieces, from their start; they may still have to be sent (tls_has_unsent()), by another
 * call when the socket has room, with or without more. -EAGAIN: none was taken. -ECONNRESET.
 */
ssize_t tls_send(struct tls *t, const struct iovec *iov, int count);
bool tls_has_unsent(const struct tls *t);

/* The names in the other side's verified certificate: its DNS names and e-mail addresses, or without any of these its
 * common name. NULL: no more. */
const char *tls_peer_name(const struct tls *t, unsigned i);

#endif
