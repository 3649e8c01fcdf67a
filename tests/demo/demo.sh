#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# From nothing to a file system on a volume over NBD and to files in a tree, checked and restarted:
# "demo.sh BUILD_FOLDER SCRATCH_FOLDER".
# Ends with "demo: ok". Leaves nothing behind; when a step fails, the daemon's log is shown.
set -eu

bin=$(realpath "$1")
mkdir -p "$2"
scratch=$(realpath "$2")
# shellcheck source=tests/demo/common.sh
. "$(dirname "$0")/common.sh"
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8

rm -rf "${scratch:?}"/*
sockets=$(socket_folder "$scratch/run")
log=$scratch/wfsd.log
mountpoint=$scratch/nbd
image=$scratch/doc.ext4
pid=
fuse_pid=
export WFSD_ADMIN="$sockets/admin.sock"
export WFS_SERVER="unix:$sockets/rpc.sock"
wfs="$bin/wfs"
uri="nbd+unix:///docs?socket=$sockets/nbd.sock"
step_started=

now_ms() {
	echo $(($(date +%s%N) / 1000000))
}

step_done() {
	[ -z "$step_started" ] || echo "  ($(($(now_ms) - step_started)) ms)"
	step_started=
}

step() {
	step_done
	printf 'demo: %s' "$*"
	step_started=$(now_ms)
}

fail() {
	echo
	echo "demo: failed: $*" >&2
	exit 1
}

detach() {
	[ -n "$fuse_pid" ] || return 0
	fusermount3 -u "$mountpoint" 2>/dev/null || umount "$mountpoint" 2>/dev/null || kill "$fuse_pid" 2>/dev/null || true
	gone "$fuse_pid" 5 || kill -9 "$fuse_pid" 2>/dev/null || true
	wait "$fuse_pid" 2>/dev/null || true
	fuse_pid=
}

# shellcheck disable=SC2317
clean_up() {
	status=$?
	trap - EXIT
	detach
	if [ -n "$pid" ]; then
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	if [ "$status" != 0 ] && [ -f "$log" ]; then
		echo "demo: the daemon's log:" >&2
		tail -n 100 "$log" >&2
	fi
	rm -rf "$scratch" "$sockets"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

start_daemon() {
	"$bin/wfsd" --config "$scratch/wfsd.yaml" >>"$log" 2>&1 </dev/null &
	pid=$!
	ready "$pid" 20 || fail "the daemon does not get ready"
}

stop_daemon() {
	kill -TERM "$pid"
	gone "$pid" 10 || fail "the daemon does not end"
	status=0
	wait "$pid" || status=$?
	pid=
	[ "$status" = 0 ] || fail "the daemon ended with status $status"
}

# The volume, read over NBD, must be the image byte for byte.
compare() {
	nbdcopy "$uri" "$scratch/back" || fail "reading over NBD"
	cmp "$image" "$scratch/back" || fail "what came back is not what was written"
	rm -f "$scratch/back"
}

# Attach the export as a file; false where there is no FUSE.
attach() {
	mkdir -p "$mountpoint"
	[ -w /dev/fuse ] || return 1
	nbdfuse --readonly "$mountpoint" "$uri" >>"$log" 2>&1 </dev/null &
	fuse_pid=$!
	deadline=$(($(date +%s) + 10))
	until [ -f "$mountpoint/nbd" ]; do
		if ! kill -0 "$fuse_pid" 2>/dev/null || [ "$(date +%s)" -ge "$deadline" ]; then
			detach
			return 1
		fi
		sleep 0.05
	done
}

check_file_system() {
	if attach; then
		e2fsck -fn "$mountpoint/nbd" >"$scratch/e2fsck.out" 2>&1 ||
			fail "e2fsck over NBD: $(cat "$scratch/e2fsck.out")"
		detach
	else
		printf ' (no FUSE here: on a copy fetched over NBD)'
		nbdcopy "$uri" "$scratch/copy" || fail "reading over NBD"
		e2fsck -fn "$scratch/copy" >"$scratch/e2fsck.out" 2>&1 || fail "e2fsck: $(cat "$scratch/e2fsck.out")"
		rm -f "$scratch/copy"
	fi
}

step "make an ext4 image of this machine's /usr/share/doc"
source=/usr/share/doc
[ -d "$source" ] || source=/usr/share
doc_kib=$(du -sk --apparent-size "$source" | cut -f1)
doc_files=$(find "$source" | wc -l)
# Every file takes at least a block of 4 KiB; some more for inodes and the journal.
image_mib=$(((doc_kib + 6 * doc_files) / 1024 + 96))
mke2fs -q -F -t ext4 -b 4096 -N $((doc_files + 4096)) -d "$source" "$image" "${image_mib}M" >"$scratch/mke2fs.out" 2>&1 ||
	fail "mke2fs: $(cat "$scratch/mke2fs.out")"
printf ' (%d files, %d MiB)' "$doc_files" "$image_mib"

step "start wfsd"
cat >"$scratch/wfsd.yaml" <<EOF
state_dir: $scratch/state
run_dir: $sockets
memory:
  cache: 128M
admin:
  socket: $sockets/admin.sock
rpc:
  socket: $sockets/rpc.sock
nbd:
  socket: $sockets/nbd.sock
EOF
mkdir -p "$scratch/state"
start_daemon

step "create a pool on a file, a volume in it, and an export of it"
echo
"$wfs" pool create tank "$scratch/tank.img" --size $((2 * image_mib + 512))M || fail "pool create"
"$wfs" volume create tank/docs "${image_mib}M" || fail "volume create"
"$wfs" export add tank/docs --description "the documents of this machine" || fail "export add"
nbdinfo --list "nbd+unix:///?socket=$sockets/nbd.sock" >"$scratch/list" 2>&1 || fail "nbdinfo: $(cat "$scratch/list")"
grep -q 'docs' "$scratch/list" || fail "nbdinfo does not list the export: $(cat "$scratch/list")"

step "copy the image in over NBD (nbdcopy)"
nbdcopy --flush "$image" "$uri" || fail "writing over NBD"

step "read it back and compare"
compare

step "check the file system over NBD (e2fsck -fn)"
check_file_system

# The first folders, up to some hundred files: the whole is in the image.
step "make a tree of files beside the volume, and send some folders there"
mkdir "$scratch/files"
for folder in "$source"/*/; do
	cp -RP "$folder" "$scratch/files/"
	[ "$(find "$scratch/files" -type f | wc -l)" -lt 500 ] || break
done
echo
"$wfs" fs create tank/files || fail "fs create"
"$wfs" export add tank/files || fail "export add"
"$wfs" put "$scratch/files" files || fail "sending files"

step "stop the daemon and start it again"
stop_daemon
start_daemon

step "compare again"
compare

step "fetch the files, and compare them"
"$wfs" get files/files "$scratch/fetched" || fail "fetching files"
diff -r --no-dereference "$scratch/files" "$scratch/fetched" || fail "the files are not what they were"
printf ' (%d files)' "$(find "$scratch/fetched" -type f | wc -l)"

step "ask the daemon how it is doing"
echo
"$wfs" status || fail "wfs status"
echo
curl -sS --fail --unix-socket "$WFSD_ADMIN" http://wfsd/metrics >"$scratch/metrics" || fail "metrics"
grep -q '^wfsd_' "$scratch/metrics" || fail "there are no metrics"
"$wfs" stats || fail "wfs stats"
echo
grep -E '^wfsd_[a-z_]+_total[ {]' "$scratch/metrics" | grep -v ' 0$' | head -n 12
echo "($(grep -vc '^#' "$scratch/metrics") samples at /metrics in all)"

step "shut down"
stop_daemon
step_done
echo "demo: ok"
