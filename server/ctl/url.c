/* SPDX-License-Identifier: BSD-3-Clause */
/* Names in the paths of the admin socket, and the names that the command line takes. */
#include "server/ctl/url.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"

static int is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

static void put_encoded(FILE *out, const char *name)
{
	for (const char *p = name; *p; p++) {
		if (is_plain(*p))
			fputc(*p, out);
		else
			fprintf(out, "%%%02X", (unsigned)(unsigned char)*p);
	}
}

char *url_format(const char *format, ...)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	va_list args;

	if (!out)
		return NULL;
	va_start(args, format);
	for (const char *p = format; *p; p++) {
		if (p[0] == '%' && p[1] == 's') {
			put_encoded(out, va_arg(args, const char *));
			p++;
		} else {
			fputc(*p, out);
		}
	}
	va_end(args);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int volume_name_parse(const char *text, struct volume_name *ret)
{
	const char *slash = strchr(text, '/');
	struct volume_name name = { 0 };

	if (!slash || slash == text || !slash[1] || strchr(slash + 1, '/'))
		return err_set(-EINVAL, "'%s' is not the name of a volume: write POOL/NAME", text);
	if ((size_t)(slash - text) >= sizeof(name.pool) || strlen(slash + 1) >= sizeof(name.volume))
		return err_set(-EINVAL, "'%.40s...': the name is too long", text);
	memcpy(name.pool, text, (size_t)(slash - text));
	memcpy(name.volume, slash + 1, strlen(slash + 1));
	*ret = name;
	return 0;
}

char *path_absolute(const char *path)
{
	char *folder, *full = NULL;

	if (*path == '/')
		return strdup(path);
	folder = getcwd(NULL, 0);
	if (!folder)
		return NULL;
	if (asprintf(&full, "%s/%s", folder, path) < 0)
		full = NULL;
	free(folder);
	return full;
}
