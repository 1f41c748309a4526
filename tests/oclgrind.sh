#!/bin/sh
# usage: oclgrind.sh [PROGRAM...]   from the build folder; default: $EF_OCLGRIND_TESTS
# Runs test programs at tiny sizes on Oclgrind, which sees what drivers hide: accesses out of bounds,
# data races, divergent barriers, wrong arguments to the API. Its exit status says nothing: its log must
# be empty.
set -u
skip() { echo "SKIP: $1"; exit 77; }

# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- ${EF_OCLGRIND_TESTS:-}
[ $# -gt 0 ] || skip 'no test program named'
[ -z "${EF_SANITIZE:-}" ] || skip 'Oclgrind and a sanitizer do not mix'
icd=
for file in ${EF_OCLGRIND_ICD:-} /usr/lib/oclgrind/liboclgrind-rt-icd.so \
    /usr/lib/*/oclgrind/liboclgrind-rt-icd.so /usr/local/lib/oclgrind/liboclgrind-rt-icd.so; do
    [ -z "$icd" ] && [ -e "$file" ] && icd=$file
done
[ -n "$icd" ] || skip 'Oclgrind is not installed (Debian package oclgrind)'

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OCL_ICD_VENDORS="$icd" EF_DEVICE=Oclgrind EF_TEST_SIZE=tiny
export OCLGRIND_DATA_RACES=1 OCLGRIND_CHECK_API=1
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-300}"

failed=0
for program; do
    # Every process of a test opens, and so truncates, its log: a pipe gathers them all.
    { OCLGRIND_LOG=/dev/fd/3 "./$program" 3>&1 >"$tmp/out" 2>&1; echo $? >"$tmp/status"; } | cat >"$tmp/log"
    status=$(cat "$tmp/status")
    if [ -s "$tmp/log" ] || { [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; }; then
        echo "FAIL $program: status $status; Oclgrind's log:"
        head -n 60 "$tmp/log"
        tail -n 20 "$tmp/out"
        failed=1
    else
        echo "ok $program: $(tail -n 1 "$tmp/out")"
    fi
done
exit $failed
