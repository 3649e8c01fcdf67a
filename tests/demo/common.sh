# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh disable=SC2154
# What demo.sh and run.sh share: a place for sockets, and waiting for the daemon. Sourced; the caller sets $wfs.

# Print a folder for sockets: $1 when its path is short enough for a socket's, else one in /tmp.
socket_folder() {
	if [ "${#1}" -le 80 ]; then
		mkdir -p "$1"
		echo "$1"
	else
		mktemp -d /tmp/wfsd.XXXXXX
	fi
}

# ready PID SECONDS: wait until the daemon says that it is ready; fails when it ended or time is over.
ready() {
	deadline=$(($(date +%s) + $2))
	# While it starts it answers, too, but its pools are not there yet.
	until "$wfs" --json status 2>/dev/null | grep -q '"state": "running"'; do
		kill -0 "$1" 2>/dev/null && [ "$(date +%s)" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# gone PID SECONDS: wait until a process has ended.
gone() {
	deadline=$(($(date +%s) + $2))
	while kill -0 "$1" 2>/dev/null; do
		[ "$(date +%s)" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}
