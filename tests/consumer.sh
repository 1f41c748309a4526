#!/bin/sh
# An outside program: README's first C example, built with pkg-config against an installed tree, runs; and
# uninstalling leaves no file behind.
set -eu
readme=${srcdir:-.}/README.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
skip() { echo "SKIP: $1"; exit 77; }
# The jobs of an outer make are not ours.
unset MAKEFLAGS MFLAGS MAKELEVEL
unset DESTDIR
root=$tmp/root

[ -e Makefile ] || skip 'run from the build folder, as make check does'
[ -e "$readme" ] || skip 'no README.md'
sed -n '/^```c$/,/^```$/{/^```$/q;/^```/!p;}' "$readme" >"$tmp/example.c"
[ -s "$tmp/example.c" ] || skip 'README.md has no C example'

${MAKE:-make} -s install DESTDIR="$root" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
pc=$(find "$root" -name energyflow.pc)
[ -n "$pc" ] || { echo 'energyflow.pc was not installed'; exit 1; }

PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
includedir=$root$(pkg-config --variable=includedir energyflow)
libdir=$root$(pkg-config --variable=libdir energyflow)
flags=$(pkg-config --define-variable=includedir="$includedir" --define-variable=libdir="$libdir" \
    --cflags --libs energyflow)
# shellcheck disable=SC2086 # lists of words
${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror ${EF_SANITIZE:-} "$tmp/example.c" -o "$tmp/example" $flags

# The header for OpenCL's users needs no macro of theirs, and says nothing.
echo '#include <energyflow_cl.h>' >"$tmp/cl.c"
# shellcheck disable=SC2086
${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -fsyntax-only "$tmp/cl.c" $flags >"$tmp/log" 2>&1 || echo failed >>"$tmp/log"
[ ! -s "$tmp/log" ] || { cat "$tmp/log"; exit 1; }

status=0
(cd "$tmp" && LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout 300 ./example) || status=$?
[ $status -eq 0 ] || { echo "README's example ends with status $status"; exit 1; }

${MAKE:-make} -s uninstall DESTDIR="$root" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
left=$(find "$root" ! -type d)
[ -z "$left" ] || { echo "make uninstall leaves behind:"; echo "$left"; exit 1; }
