/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of protocol/tls share. */
#ifndef WFSD_PROTOCOL_TLS_INTERNAL_H
#define WFSD_PROTOCOL_TLS_INTERNAL_H

#include <stdint.h>

#include <gnutls/gnutls.h>

#include "protocol/tls/tls.h"

struct tls_context {
	unsigned refs; /* atomic */
	bool server;
	bool anybody; /* clients need no certificate */
	gnutls_certificate_credentials_t cred;
	gnutls_priority_t priority;
};

#define TLS_NAMES_MAX 8u
#define TLS_RECORD_BYTES 16384u /* RFC 8446, section 5.1 */

struct tls {
	struct tls_context *context;
	gnutls_session_t session;
	int fd;
	unsigned name_count;
	char *names[TLS_NAMES_MAX]; /* of the other side */
	size_t unsent; /* a record's contents that GnuTLS has taken and the socket has not (the sender's) */
	uint8_t record[TLS_RECORD_BYTES]; /* the sender's: small pieces become one record */
};

#endif
