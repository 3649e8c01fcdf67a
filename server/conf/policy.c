/* SPDX-License-Identifier: BSD-3-Clause */
/* An export's policy as JSON. */
#include "server/conf/policy.h"

#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "server/conf/value.h"

static const char *const squash_names[] = {
	[EXPORT_SQUASH_ROOT] = "root",
	[EXPORT_SQUASH_NONE] = "none",
	[EXPORT_SQUASH_ALL] = "all",
};

static bool put_list(json_t *o, const char *key, json_t *list)
{
	if (json_array_size(list))
		return json_object_set_new(o, key, list) == 0;
	json_decref(list);
	return true;
}

json_t *policy_encode(const struct export_policy *p)
{
	json_t *o =
	        json_pack("{s:b, s:s, s:I, s:I, s:b}", "auth_sys", (int)p->auth_sys, "squash", squash_names[p->squash],
	                  "anon_uid", (json_int_t)(p->anon_uid ? p->anon_uid : EXPORT_ANON_ID), "anon_gid",
	                  (json_int_t)(p->anon_gid ? p->anon_gid : EXPORT_ANON_ID), "tls", (int)p->tls);
	json_t *clients = json_array(), *names = json_array();
	bool good = o && clients && names;

	for (unsigned i = 0; i < p->client_count && good; i++) {
		char text[VALUE_NETWORK_TEXT_MAX];

		good = json_array_append_new(clients, json_string(value_format_network(&p->clients[i], text))) == 0;
	}
	for (unsigned i = 0; i < p->tls_name_count && good; i++)
		good = json_array_append_new(names, json_string(p->tls_names[i])) == 0;
	if (!good) {
		json_decref(clients);
		json_decref(names);
		json_decref(o);
		return NULL;
	}
	/* Each takes its list over, in any case. */
	good = put_list(o, "clients", clients);
	good = put_list(o, "certificate_names", names) && good;
	if (good)
		return o;
	json_decref(o);
	return NULL;
}

static int decode_bool(const char *key, const json_t *v, bool *ret)
{
	if (!json_is_boolean(v))
		return err_set(-EINVAL, "'%s' must be true or false", key);
	*ret = json_is_true(v);
	return 0;
}

/* Never root. */
static int decode_id(const char *key, const json_t *v, uint32_t *ret)
{
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) >= UINT32_MAX)
		return err_set(-EINVAL, "'%s' must be a number from 1 to %u", key, UINT32_MAX - 1);
	*ret = (uint32_t)json_integer_value(v);
	return 0;
}

static int decode_squash(const json_t *v, struct export_policy *p)
{
	int squash;

	if (!json_is_string(v) || value_parse_squash(json_string_value(v), &squash) < 0)
		return err_set(-EINVAL, "'squash' must be none, root or all");
	p->squash = (enum export_squash)squash;
	return 0;
}

static int decode_clients(const json_t *list, struct export_policy *p)
{
	const json_t *v;
	size_t i;

	if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > EXPORT_CLIENTS_MAX)
		return err_set(-EINVAL, "'clients' must be a list of 1 to %d networks", EXPORT_CLIENTS_MAX);
	json_array_foreach (list, i, v) {
		if (!json_is_string(v) || value_parse_network(json_string_value(v), &p->clients[i]) < 0)
			return err_set(-EINVAL,
			               "'clients': entry %zu is not a network like 192.0.2.0/24 or 2001:db8::/32",
			               i + 1);
	}
	p->client_count = (unsigned)json_array_size(list);
	return 0;
}

static int decode_names(const json_t *list, struct export_policy *p)
{
	const json_t *v;
	size_t i;

	if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > EXPORT_TLS_NAMES_MAX)
		return err_set(-EINVAL, "'certificate_names' must be a list of 1 to %d names", EXPORT_TLS_NAMES_MAX);
	json_array_foreach (list, i, v) {
		const char *name = json_string_value(v);
		size_t len = json_string_length(v);

		if (!name || !len || len > EXPORT_TLS_NAME_MAX || strlen(name) != len)
			return err_set(-EINVAL, "'certificate_names': entry %zu is not of 1 to %d bytes", i + 1,
			               EXPORT_TLS_NAME_MAX);
		memcpy(p->tls_names[i], name, len + 1);
	}
	p->tls_name_count = (unsigned)json_array_size(list);
	return 0;
}

static int decode_key(const char *key, const json_t *v, struct export_policy *p)
{
	if (strcmp(key, "auth_sys") == 0)
		return decode_bool(key, v, &p->auth_sys);
	if (strcmp(key, "tls") == 0)
		return decode_bool(key, v, &p->tls);
	if (strcmp(key, "squash") == 0)
		return decode_squash(v, p);
	if (strcmp(key, "anon_uid") == 0)
		return decode_id(key, v, &p->anon_uid);
	if (strcmp(key, "anon_gid") == 0)
		return decode_id(key, v, &p->anon_gid);
	if (strcmp(key, "clients") == 0)
		return decode_clients(v, p);
	if (strcmp(key, "certificate_names") == 0)
		return decode_names(v, p);
	return err_set(-EINVAL, "a policy has no key '%s'", key);
}

int policy_decode(const json_t *object, struct export_policy *ret)
{
	struct export_policy p = { 0 };
	const char *key;
	json_t *v;
	int err;

	if (!json_is_object(object))
		return err_set(-EINVAL, "a policy must be an object");
	json_object_foreach ((json_t *)(uintptr_t)object, key, v) {
		err = decode_key(key, v, &p);
		if (err)
			return err;
	}
	*ret = p;
	return 0;
}
