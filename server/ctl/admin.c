/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the daemon: HTTP over its admin socket, by libcurl. */
#include "server/ctl/admin.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/ctl/progress.h"

#define CONNECT_TIMEOUT_MS 5000L
#define ANSWER_TIMEOUT_MS 30000L
#define ANSWER_BYTES_MAX (64u << 20)

struct answer {
	char *text; /* NUL-terminated */
	size_t len;
	long http_status;
	bool too_large;
};

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
	struct answer *a = arg;
	size_t len = size * count;
	char *text;

	if (len > ANSWER_BYTES_MAX - a->len) {
		a->too_large = true;
		return 0;
	}
	text = realloc(a->text, a->len + len + 1);
	if (!text)
		return 0;
	memcpy(text + a->len, data, len);
	a->text = text;
	a->len += len;
	text[a->len] = '\0';
	return len;
}

static int on_progress(void *arg, curl_off_t d, curl_off_t dn, curl_off_t u, curl_off_t un)
{
	(void)d, (void)dn, (void)u, (void)un;
	progress_tick(arg);
	return 0;
}

static enum ctl_status transport_error(const struct admin *a, CURL *curl, CURLcode code, const char *detail)
{
	long os_error = 0;

	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
	if (code == CURLE_COULDNT_CONNECT) {
		const char *why = os_error == EACCES ? "you may not use its admin socket" : "is it running?";

		fprintf(stderr, "wfs: cannot reach the daemon at %s: %s (%s)\n", a->socket,
		        os_error ? strerror((int)os_error) : "no connection", why);
	} else if (code == CURLE_OPERATION_TIMEDOUT) {
		fprintf(stderr, "wfs: the daemon at %s does not answer\n", a->socket);
	} else {
		fprintf(stderr, "wfs: talking to the daemon at %s: %s\n", a->socket,
		        *detail ? detail : curl_easy_strerror(code));
	}
	return CTL_UNREACHABLE;
}

/* Send and receive. CTL_OK with any HTTP status. */
static enum ctl_status exchange(const struct admin *a, const char *method, const char *path, const char *body,
                                const char *doing, struct answer *ret)
{
	char detail[CURL_ERROR_SIZE] = "";
	enum ctl_status status = CTL_FAILED;
	struct curl_slist *headers = NULL;
	struct progress progress;
	char *url = NULL;
	CURL *curl;
	CURLcode code;

	progress_init(&progress, doing);
	curl = curl_easy_init();
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!curl || !headers || asprintf(&url, "http://wfsd%s", path) < 0) {
		fprintf(stderr, "wfs: out of memory\n");
		goto out;
	}
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, a->socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, doing ? 0L : ANSWER_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &progress);
	if (body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	}
	code = curl_easy_perform(curl);
	progress_done(&progress);
	if (code == CURLE_OK) {
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->http_status);
		status = CTL_OK;
	} else if (ret->too_large) {
		fprintf(stderr, "wfs: the daemon's answer is too large\n");
	} else {
		status = transport_error(a, curl, code, detail);
	}
out:
	free(url);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return status;
}

/* Tell what the daemon's error object says. */
static void print_error(const struct admin *a, const struct answer *answer)
{
	json_t *root = json_loads(answer->text ? answer->text : "", 0, NULL);
	const char *message = json_string_value(json_object_get(json_object_get(root, "error"), "message"));

	if (message)
		fprintf(stderr, "wfs: %s\n", message);
	else
		fprintf(stderr, "wfs: the daemon answered with HTTP status %ld\n", answer->http_status);
	if (a->json && message) {
		json_dumpf(root, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(root);
}

enum ctl_status admin_request(const struct admin *a, const char *method, const char *path, json_t *body,
                              const char *doing, json_t **ret)
{
	struct answer answer = { 0 };
	enum ctl_status status;
	json_error_t problem;
	json_t *root = NULL;
	char *text = NULL;

	if (body) {
		text = json_dumps(body, JSON_COMPACT);
		json_decref(body);
		if (!text) {
			fprintf(stderr, "wfs: a name is not valid UTF-8\n");
			return CTL_USAGE;
		}
	}
	status = exchange(a, method, path, text ? text : (strcmp(method, "POST") == 0 ? "{}" : NULL), doing, &answer);
	if (status != CTL_OK)
		goto out;
	if (answer.http_status / 100 != 2) {
		print_error(a, &answer);
		status = CTL_FAILED;
		goto out;
	}
	root = json_loads(answer.text ? answer.text : "", 0, &problem);
	if (!root) {
		fprintf(stderr, "wfs: the daemon's answer is not JSON: %s\n", problem.text);
		status = CTL_FAILED;
	} else if (ret) {
		*ret = root;
		root = NULL;
	}
out:
	json_decref(root);
	free(text);
	free(answer.text);
	return status;
}

enum ctl_status admin_get_text(const struct admin *a, const char *path, char **ret_text)
{
	struct answer answer = { 0 };
	enum ctl_status status = exchange(a, "GET", path, NULL, NULL, &answer);

	if (status == CTL_OK && answer.http_status != 200) {
		print_error(a, &answer);
		status = CTL_FAILED;
	}
	if (status == CTL_OK && answer.text)
		*ret_text = answer.text;
	else if (status == CTL_OK)
		*ret_text = strdup("");
	else
		free(answer.text);
	return status;
}
