#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The appliance in the foreground, everything under one folder: "run.sh BUILD_FOLDER FOLDER". The first start makes a
# pool on a file with one exported volume; later starts find it again. Ends with Ctrl-C.
set -eu

bin=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
# shellcheck source=tests/demo/common.sh
. "$(dirname "$0")/common.sh"

pool_size=${POOL_SIZE:-4G}
volume_size=${VOLUME_SIZE:-2G}
port=${NBD_PORT:-10809}
sockets=$(socket_folder "$folder/run")
mkdir -p "$folder/state"
pid=
export WFSD_ADMIN="$sockets/admin.sock"
wfs="$bin/wfs"

# shellcheck disable=SC2317
clean_up() {
	status=$?
	trap - EXIT
	trap '' INT TERM
	if [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null || true
		gone "$pid" 10 || kill -9 "$pid" 2>/dev/null || true
		wait "$pid" || status=$?
	fi
	[ "$sockets" = "$folder/run" ] || rm -rf "$sockets"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 0' INT TERM

cat >"$folder/wfsd.yaml" <<EOF
# Written by "make run" at every start.
state_dir: $folder/state
run_dir: $sockets
admin:
  socket: $sockets/admin.sock
rpc:
  socket: $sockets/rpc.sock
nbd:
  listen: [ "127.0.0.1:$port" ]
  socket: $sockets/nbd.sock
EOF

# In its own session, so that Ctrl-C reaches only this script, which ends the daemon properly.
setsid "$bin/wfsd" --config "$folder/wfsd.yaml" </dev/null &
pid=$!
ready "$pid" 60 || {
	echo "run: the daemon does not get ready" >&2
	exit 1
}
# Is there nothing but the titles in what "wfs LIST list" prints?
none() {
	[ "$("$wfs" "$1" list | wc -l)" -le 1 ]
}
[ -e "$folder/tank.img" ] || "$wfs" pool create tank "$folder/tank.img" --size "$pool_size"
! none volume || "$wfs" volume create tank/vm1 "$volume_size"
! none export || "$wfs" export add tank/vm1 --default --description "made by make run"

cat <<EOF

wfsd runs; Ctrl-C ends it. The volume tank/vm1 is exported as "vm1". To attach it:

    nbdinfo nbd://localhost:$port/vm1
    nbd-client -N vm1 localhost $port /dev/nbd0        (as root; then mkfs.ext4 /dev/nbd0)
    qemu-system-x86_64 -drive file=nbd://localhost:$port/vm1,format=raw
    nbdcopy disk.img nbd://localhost:$port/vm1

and to look after it:

    export WFSD_ADMIN=$WFSD_ADMIN WFS_SERVER=unix:$sockets/rpc.sock
    $wfs status
    $wfs stats --watch
    curl --unix-socket \$WFSD_ADMIN http://wfsd/metrics

Files, too:

    $wfs fs create tank/home && $wfs export add tank/home
    $wfs put /etc/hosts home && $wfs ls --long home

EOF
status=0
wait "$pid" || status=$?
pid=
exit "$status"
