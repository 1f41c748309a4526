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

# Is it PROGRAM itself, not libtool's script before it, and does it have SIGTERM blocked?
catches() { # PID PROGRAM
    case $(readlink "/proc/$1/exe") in */"$2" | */lt-"$2") grep -q '^SigBlk:.*[4-7c-f]...$' "/proc/$1/status" ;; *) false ;; esac
}

# interrupt COMMAND...: one that runs long ends with 130 and one line; its output is in out. SIGTERM comes when it
# catches signals, which is seen where there is /proc.
interrupt() {
    program=$1
    shift
    [ -r /proc/self/status ] || { skip "$program" 'interrupted: there is no /proc'; return 0; }
    "$build/$program" "$@" >out 2>err &
    pid=$!
    tries=0
    until catches $pid "$program" || [ $tries -ge 300 ]; do sleep 0.1 && tries=$((tries + 1)); done
    kill -TERM $pid
    wait $pid
    status=$?
    check "$program: SIGTERM ends with 130, not $status" [ $status -eq 130 ]
    check "$program: and says so" grep -qx "$program: interrupted" err
}

same() { cmp -s "$1" "$2"; }
absent() { # none of them; a pattern that matches nothing stands for itself
    for file; do
        [ ! -e "$file" ] || return 1
    done
}

# finish: the last command of a test.
finish() {
    echo "$checked checks, $failed failed"
    [ "$failed" -eq 0 ]
}
