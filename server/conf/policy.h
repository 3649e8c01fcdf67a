/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An export's policy as JSON, for requests, answers and the state file: an object with the keys that an export has in
 * the configuration file (auth_sys, squash, anon_uid, anon_gid, clients, tls, certificate_names); a key that is missing
 * means the default.
 */
#ifndef WFSD_SERVER_CONF_POLICY_H
#define WFSD_SERVER_CONF_POLICY_H

#include <jansson.h>

#include "server/export/export.h"

/* A new object; NULL: no memory. */
json_t *policy_encode(const struct export_policy *policy);
/* 0; -EINVAL names the key, *ret then is not changed. */
int policy_decode(const json_t *object, struct export_policy *ret);

#endif
