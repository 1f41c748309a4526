#!/bin/sh
# The command lines of the documents: indented lines of Markdown, EXAMPLES of man pages, contrib's usage. Each is run
# on small files of the names that the documents use, or is named below with the reason why it is not. A line that
# cannot end in seconds as it stands is run with options that make it smaller. Runs in the build folder, as in `make check`.
set -u
build=$(pwd)
srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd)
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT || exit 99
failed=0
ran=0

# DOCUMENT <tab> COMMAND for each command line: comments and repeated spaces away, continued lines joined.
cat >"$tmp/commands.awk" <<'AWK'
function say(line) {
    if (held != "") line = held " " line
    held = ""
    sub(/(^|[ \t]+)#[ \t].*$/, "", line)
    gsub(/[ \t]+/, " ", line)
    sub(/^ /, "", line)
    sub(/ $/, "", line)
    if (line ~ /\\$/) { held = substr(line, 1, length(line) - 1); sub(/ +$/, "", held) }
    else if (line != "") print name "\t" line
}
FNR == 1 { fenced = examples = 0; before = ""; name = substr(FILENAME, length(root) + 2) }
FILENAME ~ /\.md$/ {
    if (/^```/) fenced = !fenced
    else if (!fenced && /^    / && (before ~ /^[ \t]*$/ || before ~ /^    /)) say($0)
    before = $0
}
FILENAME ~ /\.1$/ {
    if (/^\.SH/) examples = /EXAMPLES/
    else if (examples && !/^\./) { gsub(/\\-/, "-"); gsub(/\\e/, "\\"); say($0) }
}
FILENAME ~ /\.py$/ && /^    (efdata|[a-z_]+\.py) / && !/=/ { say($0) }
AWK
for document in README.md HACKING.md src/README.md cl/README.md tune/README.md bench/README.md tests/README.md \
    man/*.1 contrib/*.py; do
    for file in "$srcdir"/$document; do
        [ -e "$file" ] && awk -v "root=$srcdir" -f "$tmp/commands.awk" "$file"
    done
done >"$tmp/commands"

# PATTERN <tab> REASON: what is not run. A pattern (of case) that matches no command is out of date and fails.
cat >"$tmp/not_run" <<'LIST'
./autogen.sh demo	it installs packages and takes two minutes; .ci/run does it
./autogen.sh check	it is what runs this
./configure && make && make install	tests/consumer.sh installs
pip install *	what is installed is up to the user
autoreconf -fi; mkdir build; cd build	make distcheck configures out of tree
../configure *	make distcheck and .ci/run configure
make *	make in make
EF_*make check	make in make
cc example.c *	tests/consumer.sh does it with what is installed
efbench [[]*	a synopsis
[[]--*	a synopsis
*python3 bench/*	it needs PyTorch
* captions/*	the captions are not in the repository
efbench *ops*	half a minute even if small; tests/test_cli.sh and tests/test_tune_export.sh do it
eftune --effort quick --budget 240	four minutes, on a GPU
eftune --jobs *	ten minutes a device; tests/test_eftune.sh tunes two at once
LIST

# smaller COMMAND: the command as it is run here.
smaller() {
    echo "$1" | sed -E \
        -e 's/^(python3 )?([a-z/]*\/)?teacher_vectors\.py .* ([^ ]+) ([^ ]+)$/cp vectors.npy \4/' \
        -e 's/(^|\/)efbench /&--model sample --batch 2 --length 5 --rounds 1 /' \
        -e 's/^efbench (.*) start$/efbench \1 launch/' \
        -e 's/^eftune$/eftune --effort quick --budget 2 --shapes few/' \
        -e 's/^eftune --shapes shapes.*$/& --effort quick --budget 2 --ops layernorm.forward/' \
        -e 's/--rounds 21/--rounds 2/' \
        -e 's/--epochs 20/--epochs 2/' \
        -e 's/--width 64 --hidden 128 --epochs 12/--width 8 --hidden 8 --epochs 1/' \
        -e 's/--init I$/--init plan/'
}

# ---- files of the names that the documents use ----

mkdir "$tmp/here" "$tmp/share" && cd "$tmp/here" || exit 99
ln -s "$srcdir/cl" ../cl
mkdir -p tests/sample && ln -s "$srcdir"/tests/sample/* tests/sample
for program in "$build"/tests/test_*; do
    [ -x "$program" ] && [ ! -d "$program" ] && ln -s "$program" tests
done
for program in "$build"/ef*; do
    [ -x "$program" ] && [ ! -d "$program" ] && ln -s "$program" .
done
sample=$srcdir/tests/sample
{
    head -n 24 "$sample/sample.jsonl" >data.jsonl && cp "$sample/vocab.txt" .
    for name in t.txt texts.txt all.txt train.txt; do head -n 24 "$sample/sample.txt" >$name; done
    for name in t.npy texts.npy all.npy train.npy vectors.npy; do cp data.jsonl $name; done # what it is the content says
    "$build/efdata" convert data.jsonl all.efb && "$build/efdata" split all.efb train.efb val.efb --count 4 &&
        cp val.efb test.efb
    echo 'conv1d.forward B1 L8 D4 H8 K3 d2' >few
    printf '4.5\ta dog runs\tthe dog runs\n1\tthe cat\ta small house\n3\ta dog\ta cat\n' >sts.tsv
    cp data.jsonl v.npy
    head -n 50 "$srcdir/tests/wordpiece/golden.jsonl" >GOLDEN
    cp "$srcdir/tests/wordpiece/vocab.txt" VOCAB
} >out 2>&1 || { cat out; exit 99; }

PATH=$build:$PATH HOME=$tmp/here XDG_DATA_HOME=$tmp/share EF_TUNE=on EF_TEST_SIZE=tiny
export PATH HOME XDG_DATA_HOME EF_TUNE EF_TEST_SIZE srcdir
unset MAKEFLAGS MFLAGS MAKELEVEL

# ---- each of them ----

# needed COMMAND: a program that not every machine has.
needed() {
    case $1 in
    *'| jq '*) echo jq ;;
    *--plot*) echo gnuplot ;;
    *) echo sh ;;
    esac
}

: >"$tmp/reasons" && : >"$tmp/done"
while IFS='	' read -r document command; do
    reason=
    while IFS='	' read -r pattern why; do
        # shellcheck disable=SC2254 # a pattern
        case $command in $pattern) reason=$why && printf '%s\n' "$pattern" >>"$tmp/reasons" && break ;; esac
    done <"$tmp/not_run"
    [ -z "$reason" ] || continue
    as_run=$(smaller "$command")
    if ! command -v "$(needed "$command")" >/dev/null; then
        echo "SKIP $command: $(needed "$command") is not installed"
        continue
    fi
    case $command in
    *eftune*) # searches are long: once is enough
        grep -qxF "$command" "$tmp/done" && continue
        printf '%s\n' "$command" >>"$tmp/done"
        ;;
    esac
    ran=$((ran + 1))
    began=$(date +%s)
    if ! timeout 60 sh -c "$as_run" >out 2>&1 </dev/null; then
        failed=$((failed + 1))
        echo "FAIL $document: $command"
        [ "$as_run" = "$command" ] || echo "    as $as_run"
        tail -n 5 out | sed 's/^/    /'
    fi
    echo "$(($(date +%s) - began)) s: $document: $as_run"
done <"$tmp/commands"
while IFS='	' read -r pattern why; do
    grep -qxF "$pattern" "$tmp/reasons" || { failed=$((failed + 1)); echo "FAIL no command is: $pattern ($why)"; }
done <"$tmp/not_run"

[ "$failed" -eq 0 ] || { echo "docs: $failed of $ran failed"; exit 1; }
echo "docs: $ran commands run"
