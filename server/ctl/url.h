/* SPDX-License-Identifier: BSD-3-Clause */
/* Names in the paths of the admin socket, and the names that the command line takes. Any thread. */
#ifndef WFSD_SERVER_CTL_URL_H
#define WFSD_SERVER_CTL_URL_H

#include <stddef.h>

/*
 * Build a path from @format, in which each "%s" is a name that is percent-encoded (everything but letters, digits and
 * "-._~"): url_format("/v1/pools/%s", "a b") is "/v1/pools/a%20b". Malloc'ed, caller frees; NULL when memory is short.
 */
char *url_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct volume_name {
	char pool[256];
	char volume[256];
};

/* Split "POOL/NAME". 0; -EINVAL (with context) when it has not exactly these two parts. */
int volume_name_parse(const char *text, struct volume_name *ret);

/* Make @path absolute against the current folder (the daemon has another one). Malloc'ed; NULL when that fails. */
char *path_absolute(const char *path);

#endif
