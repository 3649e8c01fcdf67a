/* SPDX-License-Identifier: BSD-3-Clause */
/* Walks the YAML document along the schema, and keeps the line of whatever is wrong. */
#include "server/conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "server/audit/audit.h"
#include "server/conf/schema.h"
#include "server/conf/value.h"

#define CONF_FILE_BYTES_MAX (4u << 20)

struct conf_string {
	struct conf_string *next;
	char text[];
};

struct conf_walk {
	struct conf *conf;
	yaml_document_t doc;
	char dir[VFS_PATH_MAX]; /* of the configuration file, without a slash at the end */
};

static size_t node_line(const yaml_node_t *n)
{
	return n->start_mark.line + 1;
}

#define complain(w, n, fmt, ...) err_set(-EINVAL, "%s:%zu: " fmt, (w)->conf->file, node_line(n), ##__VA_ARGS__)

static const char *keep_string(struct conf *c, const char *prefix, const char *text)
{
	size_t prefix_len = strlen(prefix), len = strlen(text);
	struct conf_string *s = malloc(sizeof(*s) + prefix_len + len + 1);

	if (!s) {
		err_set(-ENOMEM, "keep the configuration's strings");
		return NULL;
	}
	memcpy(s->text, prefix, prefix_len);
	memcpy(s->text + prefix_len, text, len + 1);
	s->next = c->strings;
	c->strings = s;
	return s->text;
}

static bool node_is_empty(const yaml_node_t *n)
{
	return n->type == YAML_SCALAR_NODE && n->data.scalar.length == 0 &&
	       n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* The text of a scalar, or NULL with a complaint. */
static const char *node_text(struct conf_walk *w, const yaml_node_t *n, const char *key)
{
	const char *text;

	if (n->type != YAML_SCALAR_NODE) {
		complain(w, n, "'%s' must be a single value", key);
		return NULL;
	}
	text = (const char *)n->data.scalar.value;
	if (strlen(text) != n->data.scalar.length) {
		complain(w, n, "'%s' holds a zero byte", key);
		return NULL;
	}
	return text;
}

static int check_length(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, const char *text)
{
	size_t len = strlen(text);

	if (len == 0 && f->min > 0)
		return complain(w, n, "'%s' is empty", f->key);
	if (len < f->min || len > f->max)
		return complain(w, n, "'%s' must have %llu to %llu bytes", f->key, (unsigned long long)f->min,
		                (unsigned long long)f->max);
	return 0;
}

/* A copy of @text in *ret, made absolute when it is a path. */
static int read_string(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, const char *text,
                       enum conf_type type, const char **ret)
{
	char host[256], prefix[VFS_PATH_MAX + 1] = "";
	uint16_t port;

	if (*text == '\0')
		return complain(w, n, "'%s' is empty", f->key);
	if (type == CONF_ADDRESS && value_parse_address(text, host, sizeof(host), &port) < 0)
		return complain(w, n, "'%s': '%s' is not an address like 0.0.0.0:10809 or [::]:10809", f->key, text);
	if (*text != '/' && (type == CONF_PATH || (type == CONF_PROGRAM && strchr(text, '/'))))
		snprintf(prefix, sizeof(prefix), "%s/", w->dir);
	if (type == CONF_PATH && strlen(prefix) + strlen(text) >= VFS_PATH_MAX)
		return complain(w, n, "'%s': the path is too long", f->key);
	*ret = keep_string(w->conf, prefix, text);
	return *ret ? 0 : -ENOMEM;
}

static int check_range(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, uint64_t value)
{
	if (value >= f->min && value <= f->max)
		return 0;
	if (f->type == CONF_MODE)
		return complain(w, n, "'%s' must be between 0%llo and 0%llo", f->key, (unsigned long long)f->min,
		                (unsigned long long)f->max);
	return complain(w, n, "'%s' must be between %llu and %llu", f->key, (unsigned long long)f->min,
	                (unsigned long long)f->max);
}

static int read_number(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, const char *text,
                       void *base)
{
	uint64_t value = 0;
	int rc;

	if (f->type == CONF_SIZE)
		rc = value_parse_size(text, &value);
	else
		rc = f->type == CONF_MODE ? value_parse_octal(text, &value) : value_parse_uint(text, &value);
	if (rc < 0)
		return complain(w, n, "'%s': '%s' is not a %s", f->key, text,
		                f->type == CONF_SIZE   ? "size like 64M"
		                : f->type == CONF_MODE ? "file mode like 0660"
		                                       : "number");
	rc = check_range(w, n, f, value);
	if (rc < 0)
		return rc;
	if (f->type == CONF_SIZE)
		*(uint64_t *)base = value;
	else
		*(unsigned *)base = (unsigned)value;
	return 0;
}

static int read_scalar(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, char *base)
{
	const char *text = node_text(w, n, f->key);
	void *to = base + f->offset;
	int rc;

	if (!text)
		return -EINVAL;
	switch (f->type) {
	case CONF_SIZE:
	case CONF_UINT:
	case CONF_MODE:
		return read_number(w, n, f, text, to);
	case CONF_BOOL:
		if (value_parse_bool(text, to) < 0)
			return complain(w, n, "'%s' must be true or false", f->key);
		return 0;
	case CONF_LOG_LEVEL:
		if (value_parse_log_level(text, to) < 0)
			return complain(w, n, "'%s' must be error, warning, notice, info or debug", f->key);
		return 0;
	case CONF_SQUASH:
		if (value_parse_squash(text, to) < 0)
			return complain(w, n, "'%s' must be none, root or all", f->key);
		return 0;
	default:
		rc = check_length(w, n, f, text);
		if (rc < 0)
			return rc;
		if (f->type != CONF_TEXT)
			return read_string(w, n, f, text, f->type, to);
		memcpy(to, text, strlen(text) + 1);
		return 0;
	}
}

static int read_mapping(struct conf_walk *w, yaml_node_t *n, const char *what, const struct conf_field *fields,
                        char *base);

/* One entry of a list of single values. */
static int read_item(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, char *to)
{
	const char *text = node_text(w, n, f->key);
	int class;

	if (!text)
		return -EINVAL;
	switch (f->type) {
	case CONF_NETWORKS:
		if (value_parse_network(text, (struct export_network *)(void *)to) < 0)
			return complain(w, n, "'%s': '%s' is not a network like 192.0.2.0/24 or 2001:db8::/32", f->key,
			                text);
		return 0;
	case CONF_AUDIT_CLASSES:
		class = audit_class_parse(text);
		if (class < 0)
			return complain(w, n, "'%s': there is no class '%s'", f->key, text);
		*(unsigned *)(void *)to |= 1u << class;
		return 0;
	case CONF_TEXTS:
		if (!text[0] || strlen(text) >= f->item_bytes)
			return complain(w, n, "'%s': '%s' is not of 1 to %zu bytes", f->key, text, f->item_bytes - 1);
		memcpy(to, text, strlen(text) + 1);
		return 0;
	default:
		return read_string(w, n, f, text, f->type == CONF_PATHS ? CONF_PATH : CONF_ADDRESS,
		                   (const char **)(void *)to);
	}
}

/* From one entry's place to the next. */
static size_t item_size(const struct conf_field *f)
{
	switch (f->type) {
	case CONF_NETWORKS:
		return sizeof(struct export_network);
	case CONF_AUDIT_CLASSES:
		return 0;
	case CONF_TEXTS:
		return f->item_bytes;
	default:
		return sizeof(const char *);
	}
}

static int read_items(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, char *base)
{
	size_t item_bytes = item_size(f);
	unsigned *count = (unsigned *)(void *)(base + f->count_offset);
	unsigned i = 0;

	if (n->type != YAML_SEQUENCE_NODE)
		return complain(w, n, "'%s' must be a list", f->key);
	for (yaml_node_item_t *item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
		const yaml_node_t *child = yaml_document_get_node(&w->doc, *item);
		int rc;

		if (i == f->max)
			return complain(w, child, "'%s' has more than %llu entries", f->key,
			                (unsigned long long)f->max);
		rc = read_item(w, child, f, base + f->offset + i++ * item_bytes);
		if (rc < 0)
			return rc;
	}
	if (i < f->min)
		return complain(w, n, "'%s' needs at least %llu entries", f->key, (unsigned long long)f->min);
	*count = i;
	return 0;
}

static int read_list(struct conf_walk *w, const yaml_node_t *n, const struct conf_field *f, char *base)
{
	char **to = (char **)(void *)(base + f->offset);
	unsigned *count = (unsigned *)(void *)(base + f->count_offset);
	size_t total;

	if (n->type != YAML_SEQUENCE_NODE)
		return complain(w, n, "'%s' must be a list", f->key);
	total = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
	if (total > f->max)
		return complain(w, n, "'%s' has more than %llu entries", f->key, (unsigned long long)f->max);
	if (total == 0)
		return 0;
	*to = calloc(total, f->item_bytes);
	if (!*to)
		return err_set(-ENOMEM, "keep %zu entries of '%s'", total, f->key);
	for (size_t i = 0; i < total; i++) {
		yaml_node_t *child = yaml_document_get_node(&w->doc, n->data.sequence.items.start[i]);
		int rc = read_mapping(w, child, f->key, f->fields, *to + i * f->item_bytes);

		if (rc < 0)
			return rc;
	}
	*count = (unsigned)total;
	return 0;
}

static int read_value(struct conf_walk *w, yaml_node_t *n, const struct conf_field *f, char *base)
{
	switch (f->type) {
	case CONF_SECTION:
		return node_is_empty(n) ? 0 : read_mapping(w, n, f->key, f->fields, base);
	case CONF_LIST:
		return node_is_empty(n) ? 0 : read_list(w, n, f, base);
	case CONF_NETWORKS:
	case CONF_AUDIT_CLASSES:
	case CONF_TEXTS:
	case CONF_PATHS:
	case CONF_ADDRESSES:
		return read_items(w, n, f, base);
	default:
		return read_scalar(w, n, f, base);
	}
}

static int read_mapping(struct conf_walk *w, yaml_node_t *n, const char *what, const struct conf_field *fields,
                        char *base)
{
	uint64_t seen = 0;

	if (n->type != YAML_MAPPING_NODE)
		return complain(w, n, "'%s' must hold keys and values", what);
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = yaml_document_get_node(&w->doc, p->key);
		const char *name = node_text(w, key, "a key");
		unsigned i = 0;
		int rc;

		if (!name)
			return -EINVAL;
		while (fields[i].key && strcmp(fields[i].key, name) != 0)
			i++;
		if (!fields[i].key)
			return complain(w, key, "unknown key '%s'", name);
		if (seen & UINT64_C(1) << i)
			return complain(w, key, "key '%s' is there twice", name);
		seen |= UINT64_C(1) << i;
		rc = read_value(w, yaml_document_get_node(&w->doc, p->value), &fields[i], base);
		if (rc < 0)
			return rc;
	}
	for (unsigned i = 0; fields[i].key; i++) {
		if (fields[i].required && !(seen & UINT64_C(1) << i))
			return complain(w, n, "'%s': key '%s' is missing", what, fields[i].key);
	}
	return 0;
}

/* The value node of @key in the top mapping, or the top itself: where to point at for a conflict between keys. */
static const yaml_node_t *top_value(struct conf_walk *w, const char *key)
{
	yaml_node_t *top = yaml_document_get_root_node(&w->doc);

	for (yaml_node_pair_t *p = top->data.mapping.pairs.start; p < top->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);

		if (strcmp((const char *)k->data.scalar.value, key) == 0)
			return yaml_document_get_node(&w->doc, p->value);
	}
	return top;
}

static const yaml_node_t *list_item(struct conf_walk *w, const char *key, size_t i)
{
	return yaml_document_get_node(&w->doc, top_value(w, key)->data.sequence.items.start[i]);
}

static int check_exports(struct conf_walk *w)
{
	struct conf *c = w->conf;

	for (unsigned i = 0; i < c->export_count; i++) {
		char text[ERR_TEXT_MAX];

		if (export_check(&c->exports[i]) < 0) {
			err_text(err_get(), 0, 0, text, sizeof(text));
			return complain(w, list_item(w, "exports", i), "%s", text);
		}
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(c->exports[i].name, c->exports[j].name) == 0)
				return complain(w, list_item(w, "exports", i), "export '%s' is there twice",
				                c->exports[i].name);
			if (c->exports[i].is_default && c->exports[j].is_default)
				return complain(w, list_item(w, "exports", i), "export '%s' is the default already",
				                c->exports[j].name);
		}
	}
	return 0;
}

static int check_pools(struct conf_walk *w)
{
	struct conf *c = w->conf;

	for (unsigned i = 0; i < c->pool_count; i++) {
		if (strchr(c->pools[i].name, '/'))
			return complain(w, list_item(w, "pools", i), "pool '%s': a name has no '/'", c->pools[i].name);
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(c->pools[i].name, c->pools[j].name) == 0)
				return complain(w, list_item(w, "pools", i), "pool '%s' is there twice",
				                c->pools[i].name);
		}
	}
	return 0;
}

#define RPC_CONNECTIONS_BESIDE_NBD 960u /* by default */

/* Each NBD connection has one of RPC, and all of them are one user's, who may have three quarters. */
static int check_connections(struct conf_walk *w)
{
	struct conf *c = w->conf;
	unsigned least = c->nbd.max_connections + (c->nbd.max_connections + 2) / 3;

	if (!c->rpc.max_connections)
		c->rpc.max_connections = (unsigned)max_u64(c->nbd.max_connections + RPC_CONNECTIONS_BESIDE_NBD, least);
	if (c->rpc.max_connections < least)
		return complain(w, top_value(w, "rpc"),
		                "'max_connections' of rpc must be %u at least, as nbd's (%u) are three quarters of "
		                "them at most",
		                least, c->nbd.max_connections);
	return 0;
}

/* What depends on more than one key. */
static int check_whole(struct conf_walk *w)
{
	struct conf *c = w->conf;
	int rc;

	if (c->memory.dirty_max_bytes == 0)
		c->memory.dirty_max_bytes = c->memory.cache_bytes / 4;
	if (c->memory.dirty_max_bytes > c->memory.cache_bytes / 2)
		return complain(w, top_value(w, "memory"), "'dirty_max' must be at most half of 'cache'");
	if (!c->admin.socket)
		c->admin.socket = keep_string(c, c->run_dir, "/admin.sock");
	if (!c->rpc.socket)
		c->rpc.socket = keep_string(c, c->run_dir, "/rpc.sock");
	if (!c->admin.socket || !c->rpc.socket)
		return -ENOMEM;
	if (!c->audit.class_count)
		c->audit.classes = AUDIT_DEFAULT;
	if (c->rpc.tls_listen_count && !c->rpc.tls_certificates)
		return complain(w, top_value(w, "rpc"), "'tls' needs a folder of 'certificates'");
	rc = check_connections(w);
	if (rc == 0)
		rc = check_pools(w);
	return rc < 0 ? rc : check_exports(w);
}

static int walk(struct conf_walk *w)
{
	yaml_node_t *top = yaml_document_get_root_node(&w->doc);
	int rc;

	if (!top)
		return err_set(-EINVAL, "%s:1: the file is empty", w->conf->file);
	rc = read_mapping(w, top, "the file", conf_schema, (char *)w->conf);
	return rc < 0 ? rc : check_whole(w);
}

static int file_dir(const char *path, char *ret, size_t len)
{
	char *real = realpath(path, NULL);
	char *slash;

	/* A text that is in no file has relative paths taken from where we are. */
	if (!real)
		real = realpath(".", NULL);
	else if ((slash = strrchr(real, '/')))
		*slash = '\0';
	if (!real || strlen(real) >= len) {
		free(real);
		return err_set(-ENAMETOOLONG, "%s: cannot tell which folder the file is in", path);
	}
	memcpy(ret, real, strlen(real) + 1);
	free(real);
	return 0;
}

int conf_parse(const char *path, const char *text, size_t len, struct conf **ret)
{
	struct conf *c = calloc(1, sizeof(*c));
	struct conf_walk w = { .conf = c };
	yaml_parser_t parser;
	int rc;

	if (!c)
		return err_set(-ENOMEM, "%s", path);
	conf_defaults(c);
	c->file = keep_string(c, "", path);
	rc = c->file ? file_dir(path, w.dir, sizeof(w.dir)) : -ENOMEM;
	if (rc < 0)
		goto out;
	if (!yaml_parser_initialize(&parser)) {
		rc = err_set(-ENOMEM, "%s", path);
		goto out;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (yaml_parser_load(&parser, &w.doc)) {
		rc = walk(&w);
		yaml_document_delete(&w.doc);
	} else {
		rc = err_set(-EINVAL, "%s:%zu: %s", path, parser.problem_mark.line + 1,
		             parser.problem ? parser.problem : "not YAML");
	}
	yaml_parser_delete(&parser);
out:
	if (rc < 0)
		conf_free(c);
	else
		*ret = c;
	return rc;
}

int conf_load(const char *path, struct conf **ret)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t len;
	int rc;

	if (!f)
		return err_set(-errno, "%s: cannot be opened", path);
	text = malloc(CONF_FILE_BYTES_MAX);
	if (!text) {
		rc = err_set(-ENOMEM, "%s", path);
		goto out;
	}
	len = fread(text, 1, CONF_FILE_BYTES_MAX, f);
	if (ferror(f))
		rc = err_set(-EIO, "%s: cannot be read", path);
	else if (len == CONF_FILE_BYTES_MAX)
		rc = err_set(-EINVAL, "%s: larger than %u bytes", path, CONF_FILE_BYTES_MAX - 1);
	else
		rc = conf_parse(path, text, len, ret);
out:
	free(text);
	fclose(f);
	return rc;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (struct conf_string *s = c->strings; s;) {
		struct conf_string *next = s->next;

		free(s);
		s = next;
	}
	free(c->pools);
	free(c->exports);
	free(c);
}
