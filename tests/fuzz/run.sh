#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Run one fuzzer: "tests/fuzz/run.sh PROGRAM FOLDER OPTION...". New inputs go to FOLDER, which is made; the kept corpus and the
# dictionary of the fuzzer are used when there are any. What makes it fail is left in build/fuzz.
set -eu
program=$1
folder=$2
shift 2
name=${program##*/}
here=$(dirname "$0")
mkdir -p "$folder" build/fuzz
case $name in
# Lists of edits, messages, requests: what stands far behind is never looked at.
pool_fuzz | rpc_server_fuzz | compound_fuzz | client_fuzz | admin_fuzz | fat_fuzz) longest=600 ;;
*) longest=4200 ;;
esac
[ ! -f "$here/$name.dict" ] || set -- "$@" "-dict=$here/$name.dict"
[ ! -d "$here/corpus/$name" ] || set -- "$@" "$here/corpus/$name"
exec "$program" -len_control=0 -max_len=$longest -timeout=60 -artifact_prefix=build/fuzz/"$name"- "$folder" "$@"
