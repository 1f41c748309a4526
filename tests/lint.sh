#!/bin/sh
# The rules that a compiler does not check. Each finding is one line FILE:LINE: WHAT on stdout; any finding
# fails. Rules on what was built need the build folder as the current one, as in `make check`.
set -u
export LC_ALL=C
build=$(pwd)
cd "${srcdir:-$(dirname "$0")/..}" || exit 99
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT || exit 99
found=$tmp/found
: >"$found"

skip() { echo "SKIP $1: $2"; }
list() { find src bench tune tests -name "$1" 2>/dev/null | sort; }

# rule TEXT: what comes in on stdin, one FILE:LINE a line, breaks the rule TEXT.
rule() { sed "s|\$|: $1|" | tee -a "$found"; }

# held: the files that git holds or would hold. ours: what people write among them, or in a tarball.
if git ls-files --error-unmatch configure.ac >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard | while read -r f; do [ -f "$f" ] && echo "$f"; done
else
    find . -type f | sed 's|^\./||' | grep -vE '\.(o|lo|la|log|trs)$|/\.(deps|libs)/|^tests/cache/|^cl/kernels\.c$'
fi | sort >"$tmp/held"
grep -E '^(src|cl|tune|bench|tests|man|\.ci)/|^[^/]*\.(md|ac|am|sh)$|^m4/ef\.m4$|^NEWS$' "$tmp/held" |
    grep -v '^tests/lint\.sh$' >"$tmp/ours"

# Comments and the text of strings become blanks; lines keep their numbers.
cat >"$tmp/code.awk" <<'AWK'
{
    line = $0; out = ""
    while (line != "") {
        if (inside) {
            end = index(line, "*/")
            if (!end) break
            inside = 0; line = substr(line, end + 2)
        } else if (match(line, /"([^"\\]|\\.)*"|\/\*|\/\//)) {
            token = substr(line, RSTART, 2)
            out = out substr(line, 1, RSTART - 1) (token ~ /^"/ ? "\"\"" : " ")
            line = substr(line, RSTART + RLENGTH)
            if (token == "//") break
            inside = token == "/*"
        } else {
            out = out line; line = ""
        }
    }
    print out
}
AWK

# 1. Includes point down: cmd -> train -> data, model -> op -> actor -> base.
awk '
    BEGIN {
        may["base"] = "base"
        may["actor"] = "actor base"
        may["op"] = "op actor base"
        may["model"] = "model op actor base"
        may["data"] = "data base"
        may["train"] = "train model data op actor base"
        may["cmd"] = "cmd"
    }
    /^[ \t]*#[ \t]*include[ \t]*"/ && split(FILENAME, part, "/") == 3 && part[1] == "src" {
        split($0, quoted, "\"")
        path = quoted[2]
        if (path ~ /^energyflow(_cl)?\.h$/ && part[2] != "cmd") next
        folder = path; sub(/\/.*/, "", folder)
        if (path !~ /\// || index(" " may[part[2]] " ", " " folder " ") == 0)
            print FILENAME ":" FNR
    }' $(list '*.[ch]') | rule "includes against the layers (lower folders only, as \"folder/file.h\")"
grep -nE '^ *# *include *<(CL/|clblast|hwloc|energyflow_cl)' $(list '*.[ch]' | grep ^src/cmd/) /dev/null |
    cut -d: -f1,2 | rule 'a command includes only <energyflow.h>'

# 2. OpenCL stays in the actor and in what hands CLBlast a queue.
for f in $(list '*.[ch]' | grep ^src/ | grep -vE '^src/(actor/.*|op/linear\.c|energyflow_cl\.h)$'); do
    { grep -nE 'include *["<](CL/|clblast|energyflow_cl)' "$f"
      awk -f "$tmp/code.awk" "$f" | grep -nE '(^|[^A-Za-z0-9_])(cl[A-Z][A-Za-z]*\(|cl_[a-z]|CL_[A-Z])'
    } | cut -d: -f1 | sort -nu | sed "s|^|$f:|"
done | rule 'OpenCL outside src/actor and src/op/linear.c'

# 3. Functions are at most 80 lines long, lines 100 columns.
awk '
    length > 100 { print FILENAME ":" FNR }
    ' $(list '*.[ch]') /dev/null | rule 'line longer than 100 columns'
awk '
    FNR == 1 { start = 0 }
    /^\{/ { start = FNR }
    /^\}/ && start { if (FNR - start + 1 > 80) print FILENAME ":" start; start = 0 }
    ' $(list '*.[ch]') /dev/null | rule 'function longer than 80 lines'

# 4. Nothing left behind, and no path of one machine. (This file spells both out: "ours" is without it.)
xargs -d '\n' <"$tmp/ours" grep -InE '(^|[^A-Za-z0-9_])(TODO|FIXME|XXX)([^A-Za-z0-9_]|$)' /dev/null |
    cut -d: -f1,2 | rule 'left to do'
xargs -d '\n' <"$tmp/ours" grep -InE '/(home|root|work)/|(^|[^A-Za-z0-9_])shared/' /dev/null |
    cut -d: -f1,2 | rule 'path of one machine'

# 5. Every command has its page.
for f in $(list 'ef*.c' | grep -E '^src/cmd/ef[a-z]*\.c$|^bench/efbench\.c$|^tune/eftune\.c$'); do
    [ -s "man/$(basename "$f" .c).1" ] || echo "$f:1"
done | rule 'command without a page in man/'

# 6. Format. Other versions of the tool disagree with each other, so one is the measure.
clang_format=$(command -v clang-format-14 || command -v clang-format)
if [ -n "$clang_format" ] && $clang_format --version | grep -q 'version 14\.'; then
    $clang_format --dry-run $(list '*.[ch]') 2>&1 </dev/null | grep -oE '^[^ :]+:[0-9]+' | sort -u |
        rule 'not as clang-format has it'
else
    skip clang-format 'version 14 of clang-format is not installed'
fi
if command -v shellcheck >/dev/null; then
    shellcheck -S warning -e SC2046 -f gcc $(grep -E '\.sh$|^\.ci/run$' "$tmp/ours") | sed 's/: note: /: /' |
        tee -a "$found"
else
    skip shellcheck 'shellcheck is not installed'
fi

# 7. The library exports what the headers declare, no more and no less.
library=$build/.libs/libenergyflow.so
if [ -e "$library" ]; then
    nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$tmp/exported"
    for header in src/energyflow.h src/energyflow_cl.h; do
        [ -e "$header" ] && ${CC:-cc} -E -P -Isrc -DCL_TARGET_OPENCL_VERSION=120 "$header"
    done | tr '\n' ' ' | sed 's/typedef[^;]*;//g' | grep -oE '(^|[^A-Za-z0-9_])ef_[a-z0-9_]+ *\([^*]' |
        sed 's/(.*//' | tr -cd 'a-z0-9_\n' | sort -u >"$tmp/declared"
    { comm -23 "$tmp/exported" "$tmp/declared" | sed 's|^|exported, not declared: |'
      comm -13 "$tmp/exported" "$tmp/declared" | sed 's|^|declared, not exported: |'
    } | sed 's|^|src/energyflow.h:1: |' | tee -a "$found"
else
    skip exports "no $library"
fi

# 8. No mutable state at file scope, but CLBlast's lock, and what it guards, in src/op/linear.c.
archive=$build/.libs/libef.a
if [ -n "${EF_SANITIZE:-}" ]; then
    skip state 'a sanitizer adds its own'
elif [ -e "$archive" ]; then
    objdump -t "$archive" | awk '
        / file format / { object = $1; sub(/:$/, "", object) }
        # address, flags, section <tab> size, name
        object != "linear.o" && split($0, half, "\t") == 2 && half[2] !~ /^0+ / {
            section = half[1]; sub(/.* /, "", section)
            if (section ~ /^\.(data|bss|tdata|tbss)/ && section !~ /^\.data\.rel\.ro/)
                print object ":1: mutable state: " $NF
        }
        ' | tee -a "$found"
else
    skip state "no $archive"
fi

# 9. The tarball holds what git does, and beyond that only what the Autotools make.
if ! git ls-files --error-unmatch Makefile.am >/dev/null 2>&1; then
    skip tarball 'not a git checkout'
elif ! [ -e "$build/Makefile" ]; then
    skip tarball 'nothing is configured'
else
    (unset MAKEFLAGS MFLAGS MAKELEVEL
     cd "$build" && ${MAKE:-make} -s distdir distdir="$tmp/dist") >"$tmp/log" 2>&1 ||
        { cat "$tmp/log"; echo 'Makefile.am:1: make distdir fails' | tee -a "$found"; }
    (cd "$tmp/dist" && find . -type f | sed 's|^\./||') | sort >"$tmp/packed"
    git ls-files | sort >"$tmp/tracked"
    made='^(aclocal\.m4|configure|Makefile\.in|build-aux/.*|m4/(libtool|lt.*|pkg)\.m4)$'
    comm -23 "$tmp/tracked" "$tmp/packed" | sed 's|$|:1|' | rule 'in git, not in the tarball (see Makefile.am)'
    comm -13 "$tmp/held" "$tmp/packed" | grep -vE "$made" | sed 's|$|:1|' | rule 'in the tarball, not in git'
fi

# 10. The structs of bench/energyflow.py have the members of src/energyflow.h, in their order.
tr -d '\n' <bench/energyflow.py | grep -oE 'struct\("[A-Za-z]+",[^=]*=[^)]*\)' |
    sed -E 's/c\.c_[a-z]+( \* [0-9]+)?//g; s/struct\("([A-Za-z]+)",/\1/; s/=[^,)]*[,)]/ /g' |
    while read -r name members; do
        type=ef$(printf %s "$name" | sed 's/[A-Z]/_\l&/g')
        declared=$(sed -n "/^typedef struct $type {/,/^}/p" src/energyflow.h | sed '1d;$d' | tr '\n' ' ' |
            sed -E 's|/\*[^*]*\*/||g; s/\[[^]]*\]//g; s/[a-z_0-9 ]+[ *]([a-zA-Z_0-9]+)([,;])/\1\2/g; s/[*,;]/ /g')
        # shellcheck disable=SC2086 # one space between words
        [ "$(echo $members)" = "$(echo $declared)" ] || echo "bench/energyflow.py:1: $type is: $(echo $declared)"
    done | tee -a "$found"

# 11. Of the kernel files that are one program together, no two give a macro the same name.
shared=$(sed -n '/^static const char \*const shared\[\]/,/;/p' src/actor/program.c | grep -oE '"[a-z_0-9]+"' | tr -d '"')
[ -n "$shared" ] || echo 'src/actor/program.c:1: no list of shared kernel files' | tee -a "$found"
awk '/^#define / { sub(/\(.*/, "", $2); if ($2 in first && first[$2] != FILENAME) print FILENAME ":" FNR; first[$2] = FILENAME }' \
    cl/common.cl $(for name in $shared; do echo "cl/$name.cl"; done) | rule 'a macro of another file of the same program'

# 12. The tests that tests/README.md names exist: `test_X: name` in test_X.c, `X.sh: text` in X.sh.
grep -nE '`[a-z_]+(\.sh)?: [^`]+`' tests/README.md | sed 's/:/\n/' | while read -r line && IFS= read -r text; do
    printf '%s\n' "$text" | grep -oE '`[a-z_]+(\.sh)?: [^`]+`' | tr -d '`' | while IFS= read -r named; do
        file=${named%%: *} name=${named#*: }
        case $file in
        *.sh) grep -qF -e "$name" "tests/$file" ;;
        *) grep -qE "^START_TEST\($name\)" "tests/$file.c" ;;
        esac 2>/dev/null || echo "tests/README.md:$line: there is no $named"
    done
done | tee -a "$found"

[ ! -s "$found" ] || { echo "lint: $(wc -l <"$found") findings"; exit 1; }
echo 'lint: clean'
