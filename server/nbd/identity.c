/* SPDX-License-Identifier: BSD-3-Clause */
/* As whom nbdkit runs, and where its plugin is. */
#include "server/nbd/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"

#define NOBODY_ID 65534
#define PLUGIN_FILE "nbdkit-wfs-plugin.so"

bool nbd_find_identity(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid)
{
	const struct passwd *pw;
	const struct group *gr;

	if (geteuid() != 0)
		return false;
	pw = getpwnam(user);
	if (!pw) {
		log_warning("nbd", "user does not exist, nobody is used user=%s", user);
		pw = getpwnam("nobody");
	}
	*ret_uid = pw ? pw->pw_uid : NOBODY_ID;
	*ret_gid = pw ? pw->pw_gid : NOBODY_ID;
	if (group) {
		gr = getgrnam(group);
		if (gr)
			*ret_gid = gr->gr_gid;
		else
			log_warning("nbd", "group does not exist, the user's own is used group=%s", group);
	}
	return true;
}

int nbd_find_plugin(const char *path, int *ret_fd)
{
	char beside[PATH_MAX];
	ssize_t len;
	char *slash;

	*ret_fd = -1;
	if (path) {
		/* A bare name is nbdkit's to find. */
		if (!strchr(path, '/'))
			return 0;
		*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
		return *ret_fd < 0 ? err_set(-errno, "nbdkit plugin %s", path) : 0;
	}
	len = readlink("/proc/self/exe", beside, sizeof(beside) - sizeof(PLUGIN_FILE));
	if (len <= 0)
		return 0;
	beside[len] = '\0';
	slash = strrchr(beside, '/');
	if (!slash)
		return 0;
	memcpy(slash + 1, PLUGIN_FILE, sizeof(PLUGIN_FILE));
	*ret_fd = open(beside, O_RDONLY | O_CLOEXEC);
	return 0;
}
