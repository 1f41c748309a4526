# shellcheck shell=sh
# What the tests of commands share; they source it in the build folder, as in `make check`. A failed check
# prints what happened; the rest goes on. A folder of the test's own is the current one, also for temporary files.
build=$(pwd)
srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd)
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT || exit 99
cd "$tmp" || exit 99
TMPDIR=$tmp && export TMPDIR
failed=0
checked=0

skip() { echo "SKIP $1: $2"; }
fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
    sed 's/^/    /' err
}
run() { # a command of the build; its output in out and err, its exit status in $status
    program=$1
    shift
    "$build/$program" "$@" >out 2>err
    status=$?
}

# expect STATUS PATTERN COMMAND...: that exit status; the pattern, and where it failed, one line on stderr.
expect() {
    want=$1 pattern=$2
    shift 2
    checked=$((checked + 1))
    run "$@"
    if [ "$status" -ne "$want" ]; then
        fail "$*: exit status $status, not $want"
    elif [ "$want" -ne 0 ] && ! { [ "$(wc -l <err)" -eq 1 ] && grep -q "^$1: " err; }; then
        fail "$*: not one line \"$1: ...\""
    elif ! grep -q -e "$pattern" out err; then
        fail "$*: nowhere \"$pattern\""
    fi
}

# check TEXT COMMAND...: the command succeeds.
check() {
    what=$1
    shift
    checked=$((checked + 1))
    "$@" || fail "$what"
}

same() { cmp -s "$1" "$2"; }
absent() { ! ls "$@" >/dev/null 2>&1; }

# finish: the last command of a test.
finish() {
    echo "$checked checks, $failed failed"
    [ "$failed" -eq 0 ]
}
