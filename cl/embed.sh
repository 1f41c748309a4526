#!/bin/sh
# usage: embed.sh FILE.cl... > kernels.c
# Turns each kernel file into an array of its lines; src/actor/kernels.h declares the table.
# Lines, not one literal per file: ISO C promises no more than 4095 characters in a literal.
set -eu
export LC_ALL=C

printf '%s\n' '/* Made by cl/embed.sh from the .cl files: do not edit. */' '#include "actor/kernels.h"'
for file; do
    [ -s "$file" ] || { echo "embed.sh: $file is missing or empty" >&2; exit 1; }
    printf '\nstatic const char *const ef__cl_%s[] = {\n' "$(basename "$file" .cl)"
    # The escaped question mark keeps trigraphs out.
    sed 's/[\\"?]/\\&/g; s/^/    "/; s/$/\\n",/' "$file"
    echo '};'
done

printf '\n#define ENTRY(name) {#name, ef__cl_##name, sizeof ef__cl_##name / sizeof *ef__cl_##name}\n'
printf 'const ef__kernel_source ef__kernel_sources[] = {\n'
for file; do
    printf '    ENTRY(%s),\n' "$(basename "$file" .cl)"
done
printf '};\nconst size_t ef__kernel_source_count = %d;\n' $#
