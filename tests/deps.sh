#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# See that the Debian packages of the given classes (build, run, test; see tests/packages) are installed.
# As root it installs what is missing; anybody else is told the one command to run. Needs only sh and dpkg.
set -eu

list=$(dirname "$0")/packages
[ $# -gt 0 ] || set -- build run test

wanted=
for class; do
	wanted="$wanted $(sed -n "s/^$class //p" "$list")"
done

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "deps: this is not Debian; make sure that the counterparts of these are installed:$wanted" >&2
	exit 0
fi

missing=
for package in $wanted; do
	status=$(dpkg-query -W -f '${db:Status-Status} ' "$package" 2>/dev/null || true)
	case " $status" in
	*" installed "*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: packages are missing. Run this, then try again:" >&2
	echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi

echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
	"$@" </dev/null >"$log" 2>&1 || {
		cat "$log" >&2
		echo "deps: failed: $*" >&2
		exit 1
	}
}
run apt-get update -q
# shellcheck disable=SC2086
run apt-get install -y -q --no-install-recommends $missing
