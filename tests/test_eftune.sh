#!/bin/sh
# eftune as its users meet it: runs that are ended and go on, kernels that are wrong, the database that
# other commands read. Runs in the build folder, as in `make check`. A failed check prints what happened;
# the rest goes on. EF_TEST_SIZE=tiny|small|full says how often a run is killed.
set -u
build=$(pwd)
srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd)
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT || exit 99
cd "$tmp" || exit 99
failed=0
checked=0
case ${EF_TEST_SIZE:-full} in
tiny) kills=3 ;;
small) kills=5 ;;
*) kills=10 ;; # and 50 in tests/test_tune_session
esac
unset EF_DEVICE EF_CL_DIR

skip() { echo "SKIP $1: $2"; }
fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
    sed 's/^/    /' out err
}
run() { # a command of the build; its output in out and err, its exit status in $status
    name=$1
    shift
    "$build/$name" "$@" >out 2>err </dev/null
    status=$?
}

# expect STATUS PATTERN COMMAND...: that exit status, and the pattern somewhere.
expect() {
    want=$1 pattern=$2
    shift 2
    checked=$((checked + 1))
    run "$@"
    if [ "$status" -ne "$want" ]; then
        fail "$*: exit status $status, not $want"
    elif ! grep -q -e "$pattern" out err; then
        fail "$*: nowhere \"$pattern\""
    fi
}

# refused STATUS PATTERN COMMAND...: so that one line of stderr says it.
refused() {
    expect "$@"
    shift 2
    [ "$(wc -l <err)" -eq 1 ] && grep -q "^$1: " err || fail "$*: not one line \"$1: ...\""
}

check() { # check TEXT COMMAND...: the command succeeds.
    what=$1
    shift
    checked=$((checked + 1))
    "$@" || fail "$what"
}

same() { cmp -s "$1" "$2"; }
lacks() { ! grep -q "$@"; }

run efinfo --json
[ "$status" -eq 0 ] || { echo 'SKIP: no OpenCL device'; exit 77; }

# Are the lines of a file JSON, each by itself?
if command -v python3 >/dev/null; then
    parses() { python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$1" 2>>err; }
else
    parses() { ! grep -qv '^{.*}$' "$1"; }
fi

# ---- usage ----

expect 0 'Usage: eftune' eftune --help
expect 0 '^eftune [0-9]' eftune --version
refused 2 'no-such-option' eftune --no-such-option
refused 2 'unexpected argument' eftune extra
refused 2 '"nonsense" is no operation' eftune --ops nonsense
refused 2 '"nonsense" is no operation' eftune --ops gelu,nonsense
refused 2 '"gelu.sideways" is no operation' eftune --ops gelu.sideways
refused 2 '--budget x: not a number' eftune --budget x
refused 2 '--budget' eftune --budget 0
refused 2 '^eftune: --check and --show exclude' eftune --show --check
refused 2 '^eftune: --list and --show exclude' eftune --why x --show --list
refused 2 '^eftune: --show and --export exclude' eftune --show --export t4 folder
refused 2 '^eftune: --check and --shapes exclude' eftune --check --shapes one.txt
refused 2 '^eftune: --check and --fresh exclude' eftune --check --fresh
refused 2 '^eftune: --why and --jobs exclude' eftune --why gelu --jobs 2
refused 2 '--effort huge: not one of' eftune --effort huge
refused 2 'no device "no such device"' eftune --device 'no such device' --db new.db
refused 2 'not --db' eftune --jobs 1 --db new.db
refused 2 '"nonsense" is no operation' eftune --jobs 2 --ops nonsense
refused 2 'no device "no such device"' eftune --jobs 2 --device 'no such device'
refused 3 'none.txt: ' eftune --shapes none.txt
refused 3 'cannot read' eftune --shapes .
for line in 'gelu.forward' 'gelu.forward H0' 'gelu.forward B3' 'gelu.forward H5 H6' 'gelu H5' 'no.such.operation B1' \
    'layernorm.forward B99999999999 D5' 'conv1d.dx B2147483647 L2147483647 D2147483647 H5 K5 d1' \
    '{"op": "gelu.forward"}' '{"op": "gelu.forward"'; do
    printf '# a remark\n\ngelu.forward H1000 # and more\n%s\n' "$line" >bad.txt
    refused 3 'bad.txt:4: not an operation with its sizes' eftune --shapes bad.txt --db new.db
done
echo '# nothing' >empty.txt
refused 3 'empty.txt: no shapes' eftune --shapes empty.txt
echo 'gelu.forward H1000' >one.txt
refused 2 'none of the shapes is of --ops conv1d' eftune --shapes one.txt --ops conv1d
refused 2 'none of the shapes is of --ops clblast' eftune --shapes one.txt --ops clblast
refused 3 'missing.db' eftune --show --db missing.db
: >empty.db
refused 3 'empty.db:1: ' eftune --show --db empty.db
refused 3 'missing.db.journal' eftune --why gelu.forward --db missing.db
XDG_DATA_HOME=$tmp/none
export XDG_DATA_HOME
for look in --show --check '--why gelu' '--export t4 folder'; do
    refused 3 'nothing is tuned for .* yet; eftune does$' eftune $look
    check "$look: no more than that" lacks 'No such file' err
done
touch none # not a folder: whether something is tuned cannot be told
for look in --show --check '--why gelu' '--export t4 folder'; do
    refused 3 '^eftune: .*/none/energyflow.*: Not a directory$' eftune $look
done
rm none
unset XDG_DATA_HOME
for text in 'notes' '{"format": "energyflow tune 9"}' \
    '{"format": "energyflow tune 1", "key": "of another", "driver": "1"}'; do
    echo "$text" >foreign.db
    refused 3 'foreign.db:1: ' eftune --shapes one.txt --db foreign.db
    check 'a file of something else stays' [ "$(cat foreign.db)" = "$text" ]
done
echo 'dear diary' >diary.db.journal
refused 3 'diary.db.journal:1: not a journal' eftune --shapes one.txt --db diary.db
check 'what is no journal stays' [ "$(cat diary.db.journal)" = 'dear diary' ]
refused 1 '--db FILE' eftune --shapes one.txt --db /proc/none/db
refused 1 '^eftune: /proc/db.*--db FILE' eftune --shapes one.txt --db /proc/db # the folder is there
# What --why says is what the journal has: of an older one no rounds.
cat >made.db.journal <<'END'
{"identity":"i"}
{"what":"fate","target":"t","choice":"a","fate":"not surely faster","ms":1.5,"ratio":0.75,"low":0.5,"high":1.25,"rounds":15}
{"what":"fate","target":"t","choice":"b","fate":"of old","ms":2.5}
{"what":"fate","target":"t","choice":"c","fate":"fast","ms":3.5,"ratio":0.5,"low":0.5,"high":0.5,"rounds":15}
{"what":"end","target":"t","choice":"c","outcome":"runtime","worst":0.0,"text":"failed since"}
END
expect 0 "^ *1.5 ms  a  *0.750 (0.500 to 1.250) of the default's time in 15 rounds: not surely faster$" \
    eftune --why t --db made.db
check '--why of an older journal' grep -q '^ *2.5 ms  b  *of old$' out
check '--why: what failed since has no rounds' grep -q '^ *3.5 ms  c  *failed since$' out
expect 0 '"choice":"a".*"ratio":0.75,"low":0.5,"high":1.25,"rounds":15}' eftune --why t --json --db made.db
check '--why --json: rounds where there are some' [ "$(grep -c rounds out)" -eq 1 ]
mkdir folder.db
refused 1 'folder.db: ' eftune --shapes one.txt --db folder.db
check 'nothing was made on the way' [ ! -e new.db ]
OCL_ICD_VENDORS=/nonexistent
export OCL_ICD_VENDORS
run efinfo
if [ "$status" -eq 4 ]; then
    refused 4 'no OpenCL device' eftune --shapes one.txt --db new.db
    refused 4 'no OpenCL device' eftune --list
    refused 4 'no OpenCL device' eftune --jobs 2
else
    skip 'no OpenCL device' 'this ICD loader does not read OCL_ICD_VENDORS'
fi
unset OCL_ICD_VENDORS

# ---- a run, another, and looking ----

cat >shapes.txt <<'END'
masked_mean.forward B2 L16 D32
masked_mean.backward B2 L16 D32
END
quick="eftune --shapes shapes.txt --budget 120"
expect 0 '0 tuned before, 0 not finished: new/folder/db' $quick --db new/folder/db
cp new/folder/db before
expect 0 '^0 adopted, 0 default, 2 tuned before, 0 not finished' $quick --db new/folder/db
check 'the second run changes nothing' same before new/folder/db
expect 0 '^masked_mean.forward B2 L16 D32 # [0-9.]* ms: ' eftune --show --db new/folder/db
cp out shown.txt
check '--show: how many were tried' grep -q ', [0-9][0-9]* of [0-9][0-9]* tried, normal accuracy, ' out
expect 0 ' 2 tuned before' eftune --shapes shown.txt --db new/folder/db
expect 0 'the default$' eftune --why masked_mean.forward --db new/folder/db
expect 0 '^masked_mean.backward B2' eftune --why 'masked_mean.backward B2 L16 D32' --db new/folder/db
expect 0 '^masked_mean.forward B2' eftune --why masked_mean --db new/folder/db
check '--why FAMILY: all of it' [ "$(grep -c '^masked_mean' out)" -eq 2 ]
refused 2 'nothing was tried' eftune --why masked_mean.fo --db new/folder/db
refused 2 'nothing was tried' eftune --why masked --db new/folder/db
expect 0 '^ *0: ' eftune --list
for look in --list --show '--why masked_mean.forward'; do
    expect 0 '^{' eftune $look --json --db new/folder/db
    check "$look --json: lines of JSON" parses out
done
expect 0 '"adopted"' $quick --json --fresh --ops masked_mean.backward --db new/folder/db
check '--json: lines of JSON' parses out
check '--json: one of each target' [ "$(wc -l <out)" -eq 1 ]
check '--fresh keeps the others' [ "$(grep -c '"op":"masked_mean.forward"' new/folder/db)" -eq 1 ]
check 'lines of JSON' parses new/folder/db
check 'lines of JSON in the journal' sh -c 'grep . new/folder/db.journal >lines'
check 'that parse' parses lines

# A record of the other class of accuracy is none of this run's.
grep -v masked_mean.backward new/folder/db >classes.db
sed -n '2,$s/"accuracy":"normal"/"accuracy":"strict"/p' new/folder/db >>classes.db
expect 0 '^masked_mean.*, strict accuracy, ' eftune --show --db classes.db
expect 0 '^1 adopted, 0 default\|^0 adopted, 1 default' eftune --check --db classes.db
check '--check: one line of one class' [ "$(wc -l <out)" -eq 2 ]
check 'and the others stay' [ "$(grep -c '"accuracy":"strict"' classes.db)" -eq 2 ]
EF_ACCURACY=strict
export EF_ACCURACY
refused 3 'nothing is tuned for strict accuracy' eftune --check --db new/folder/db
unset EF_ACCURACY

# ---- CLBlast: a set takes too long to build for more here ----

printf 'clblast\nlinear.forward B4 D8 E8\n' >linear.txt
expect 0 '^clblast .* built-in: ' eftune --shapes linear.txt --ops clblast --budget 5 --db clblast.db
expect 0 '"choice":"built-in"' eftune --shapes linear.txt --ops clblast --budget 5 --json --db clblast.db
check '--json: lines of JSON' parses out
check 'CLBlast keeps its own parameters' lacks '"op":"clblast"' clblast.db

# ---- several devices ----

XDG_DATA_HOME=$tmp/several
POCL_DEVICES='pthread basic'
export XDG_DATA_HOME POCL_DEVICES
run eftune --list --json
sed -n 's/.*"key":"\([^"]*\)".*/\1/p' out | sort -u >keys
check 'a key of each device' [ -s keys ]
tail -1 shapes.txt >short.txt
expect 0 '^{"device":0,"target":"masked_mean.backward' eftune --jobs 2 --shapes short.txt --budget 5 --json
check 'lines of JSON' parses out
check 'one of each kind of device' [ "$(wc -l <out)" -eq "$(wc -l <keys)" ]
check 'each has a database' [ "$(find several -name '*.eftune' | wc -l)" -eq "$(wc -l <keys)" ]
unset XDG_DATA_HOME POCL_DEVICES

# ---- runs that are ended ----

echo 'gelu.forward H3000' >many.txt # it has many choices
many="--shapes many.txt --budget 300"
# A shell's background has SIGINT ignored; who presses ^C has not.
foreground=
env --default-signal=INT,HUP true 2>/dev/null && foreground='env --default-signal=INT,HUP'
start() { # eftune ARGUMENTS..., in the background; others write out and err meanwhile
    $foreground "$build/eftune" "$@" >started.out 2>started.err </dev/null &
    started=$!
}
finish() { # the status of what was started
    wait "$started" 2>/dev/null
    status=$?
}
lines() { [ -e "$1" ] && wc -l <"$1" || echo 0; }
more_lines() { # FILE COUNT: wait until it has so many more, or what was started is over
    until=$(($(lines "$1") + $2))
    for _ in $(seq 300); do
        [ "$(lines "$1")" -gt "$until" ] && return
        kill -0 "$started" 2>/dev/null || return
        sleep 0.05
    done
}
# The workers of this build, by their command lines; zombies have none.
workers() {
    for p in /proc/[0-9]*; do
        [ "$(tr '\000' ' ' 2>/dev/null <"$p/cmdline" | cut -d' ' -f1,2)" = "$build/eftune --worker" ] &&
            echo "${p#/proc/}"
    done
}
no_workers() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -z "$(workers)" ] && return
        sleep 0.1
    done
    return 1
}
# No choice that failed or ended its run is tried again, and none timed more often than a whole search
# does. The default is: every run warms it up, and it has its chance in each. What was cut short may be
# tried again, as may what was forgotten.
nothing_repeated() {
    awk '
        function field(name) {
            if (!match($0, "\"" name "\":\"[^\"]*\"")) return ""
            return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
        }
        { what = field("what"); target = field("target"); key = target " / " field("choice") }
        what == "begin" && (failed[key] || begun[key] > 1 || (begun[key] && !ran[key])) { again[key]++ }
        what == "begin" { begun[key]++ }
        what == "time" { begun[key] = 0; times[key]++; ran[key] = 1 }
        what == "late" { begun[key] = 0 }
        what == "end" { begun[key] = 0; failed[key] = field("outcome") !~ /^(correct|untried)$/ }
        what == "end" && field("outcome") == "correct" { ran[key] = 1 }
        what == "fate" && field("fate") == "the default" { is_default[key] = 1 }
        what == "forget" {
            for (k in begun)
                if (index(k, target " / ") == 1) { begun[k] = times[k] = failed[k] = ran[k] = 0 }
        }
        END {
            for (k in again) if (!is_default[k]) { print "tried again: " k; bad = 1 }
            for (k in times) if (times[k] > 13 && !is_default[k]) { print times[k] " times: " k; bad = 1 }
            exit bad
        }' "$1" >>err
}
# journal WORD...: lines of one: begin, time, late and the outcomes are of target t and choice c; forget T.
journal() {
    for word; do
        case $word in
        begin | time | late) echo "{\"what\":\"$word\",\"target\":\"t\",\"choice\":\"c\"}" ;;
        forget=*) echo "{\"what\":\"forget\",\"target\":\"${word#*=}\"}" ;;
        *) echo "{\"what\":\"end\",\"target\":\"t\",\"choice\":\"c\",\"outcome\":\"$word\"}" ;;
        esac
    done >made.journal
    nothing_repeated made.journal
}
not() { ! "$@"; }
times13=$(for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13; do echo begin time; done)
check 'cut short, it may be tried again' journal begin late begin late begin time
check 'once more if it ran, or was right' journal begin time begin begin correct begin begin
check 'not if it did not' not journal begin begin
check 'nor a third time' not journal begin time begin begin begin
check 'nor if it failed' not journal begin late begin runtime begin
# shellcheck disable=SC2086 # words
check 'nor more often than a search does' not journal $times13 begin time
check 'forgotten, it is new' journal begin runtime forget=t begin
# shellcheck disable=SC2086
check 'with all of its times' journal $times13 forget=t $times13
check 'but not if another was' not journal begin runtime forget=u begin
# What is there in one file is the beginning of another.
begins() { head -c "$(wc -c <"$1")" "$2" | cmp -s - "$1"; }

if ! [ -r /proc/self/cmdline ]; then
    skip 'runs that are ended' 'no /proc'
else
    if [ -n "$foreground" ]; then
        start $many --db cut.db
        more_lines cut.db.journal 30
        refused 1 'another eftune is at work' eftune $many --db cut.db
        refused 1 'another eftune is at work' eftune $many --fresh --db cut.db
        kill -INT "$started"
        finish
        check 'SIGINT ends with 130' [ "$status" -eq 130 ]
        check 'SIGINT says how to go on' grep -q '^eftune: interrupted; run again' started.err
        check 'SIGINT leaves no worker' no_workers
        check 'and nothing is chosen' grep -q '^gelu.*not finished: [0-9]* of [0-9]* tried; interrupted$' started.out
        start $many --fresh --db cut.db
        more_lines cut.db.journal 5
        kill -HUP "$started"
        finish
        check 'SIGHUP, too' [ "$status" -eq 130 ]
        check 'and says it' grep -q '^eftune: interrupted; run again without --fresh to go on' started.err
        check 'and a database that parses' parses cut.db
    else
        skip 'SIGINT' 'env(1) has no --default-signal'
    fi
    kill=0
    seed=$$
    while [ "$kill" -lt "$kills" ]; do
        seed=$(((seed * 1103 + 12345) % 65537))
        touch cut.db.journal
        cp cut.db.journal earlier
        start $many --db cut.db
        sleep "0.$((10 + seed % 40))"
        kill -KILL "$started" 2>/dev/null
        finish
        case $status in
        0 | 137) ;;
        *) fail "kill $kill: the run ended before with $status" && break ;;
        esac
        check "kill $kill: the journal goes on" begins earlier cut.db.journal
        [ ! -e cut.db ] || check "kill $kill: the database parses" parses cut.db
        if [ "$status" -eq 0 ]; then # it had ended before: from the beginning
            rm -f cut.db*
        else
            kill=$((kill + 1))
        fi
    done
    check 'no worker outlives its supervisor' no_workers
    start $many --db cut.db
    for _ in 1 2; do
        more_lines cut.db.journal 12
        for worker in $(workers); do kill -KILL "$worker"; done
    done
    finish
    check 'a run goes on without the workers that were killed' [ "$status" -eq 0 ]
    expect 0 '^0 adopted, 0 default, 1 tuned before, 0 not finished' eftune $many --db cut.db
    check 'in all these runs nothing was done twice' nothing_repeated cut.db.journal
    check 'nothing lies around' [ "$(find . -name 'cut.db*' | wc -l)" -eq 2 ]
fi

# ---- kernels that are wrong ----

# plant FILE.cl OLD NEW: a copy of the kernels with one line changed; sed's syntax.
plant() {
    rm -rf kernels
    mkdir kernels && cp "$srcdir"/cl/*.cl kernels && chmod u+w kernels/*
    sed -i "s|$2|$3|" "kernels/$1"
    check "$1 is changed" sh -c '! cmp -s "$1" "$2"' - "$srcdir/cl/$1" "kernels/$1"
}
# tune: a run with these kernels ends well; its database is planted.db.
tune() {
    rm -f planted.db*
    EF_CL_DIR=$tmp/kernels
    export EF_CL_DIR
    expect 0 ' 0 not finished' eftune --shapes mean.txt --budget 100 --db planted.db
    unset EF_CL_DIR
}
echo 'masked_mean.backward B5 L9 D100' >mean.txt
item='STORE(keep ? LOAD(PTR(dy), b \* D + i % D) / LOAD(PTR(count), b) : 0.0f, PTR(dx), i);'
value='(keep ? LOAD(PTR(dy), b * D + i % D) / LOAD(PTR(count), b) : 0.0f)'
origin='(PTR(mask)[0] ? LOAD(PTR(dy), 0) / LOAD(PTR(count), 0) : 0.0f)'
store="STORE($value, PTR(dx), i);"
# plant_sizes CASES: what items of each size of a group do; those that are not named are right, but slower,
# and the default so slow that any is chosen that is not given up.
plant_sizes() {
    plant masked_mean.cl "$item" "for (volatile int k = 0; k < 200; k++); switch (get_local_size(0)) { $1\
        default: for (volatile int k = 0; k < 800; k++); $store }"
    sed -i 's|VSTORE(keep|for (volatile int k = 0; k < 24000; k++) &|' kernels/masked_mean.cl
    tune
    "$build/eftune" --why masked_mean.backward --db planted.db >why 2>err
    "$build/eftune" --why masked_mean.backward --json --db planted.db >why.json 2>err
}
# rejected GROUP TEXT PATTERN: it is not right, for the pattern.
rejected() {
    cp why out
    check "$2: $3" grep -q " item group $1 .*$3" why
    check "$2: \"correctness\"" grep -q "\"choice\":\"item group $1\".*\"outcome\":\"correctness\"" why.json
}
plant_sizes "case 512: STORE(i == 1234 ? $value + 0.001f : $value, PTR(dx), i); break;\
    case 256: STORE(fabs(LOAD(PTR(dy), b * D + i % D) - 1.0f) < 0.01f ? $value + 0.01f : $value, PTR(dx), i); break;\
    case 128: $store if (i == 0) PTR(dx)[B * L * D + 5] = 1.0f; break;\
    case 64: if (i != 7) $store break;"
check 'the only item that is right is chosen' grep -q '"variant":"item","knobs":{"group":32}' planted.db
rejected 512 'one element off' 'wrong, element 1234 of dx: .* times what is allowed'
rejected 256 'a rare value' 'wrong, element'
rejected 128 'past the end' 'written outside of its tensor, element 0 of dx'
rejected 64 'not written' 'not written, element 7 of dx'
# A race: what an item gives depends, within what is allowed, on its turn, which it takes by counting in
# element 0, from a NaN on; who comes last puts that right.
plant_sizes "case 64: { const uint turn = atomic_inc((volatile __global uint *)PTR(dx)) + 1;\
        if (i > 0) STORE($value * (1.0f + 1e-6f * (turn % 16)), PTR(dx), i);\
        if (turn == B * L * D - 1) STORE($origin, PTR(dx), 0); break; }\
    case 256: $store if (i == 0) ((__global REAL *)PTR(dy))[B * D - 1] += 1.0f; break;"
check 'an item that is right is chosen' grep -q '"variant":"item","knobs":{"group":\(32\|128\|512\)}' planted.db
rejected 64 'a race' 'differs when it is run again, element 0 of dx'
rejected 256 'an input is changed' 'an input was changed, element 0 of dy'
plant masked_mean.cl "$item" "for (volatile int k = 0; k < 100; k++) $store"
tune
check 'an item that is slower is not chosen' lacks '"variant":"item"' planted.db
plant gelu.cl '^#ifdef GROUP' '#ifdef GROUP\n#if GROUP <= 128\n#error planted\n#endif'
sed -i 's|EACH_ELEMENT(i, n, forward(PTR(x), PTR(y), i, 1))|& if (GROUP == 512) *(volatile __global int *)(n >> 40) = 1;|' \
    kernels/gelu.cl
EF_CL_DIR=$tmp/kernels
export EF_CL_DIR
expect 0 ' 0 not finished' eftune --shapes one.txt --budget 150 --db planted.db
expect 0 ' item group 128.*does not build.*planted' eftune --why gelu.forward --db planted.db
check 'a crash is survived' grep -q ' item group 512.*the worker died' out
expect 0 '"outcome":"compile"' eftune --why gelu.forward --json --db planted.db
check 'all that do not build are "compile"' [ "$(grep 'group 128' out | grep -vc '"outcome":"compile"')" -eq 0 ]
check 'those that crash are "runtime"' [ "$(grep 'group 512' out | grep -vc '"outcome":"runtime"')" -eq 0 ]
cat mean.txt >two.txt
echo 'gelu.forward H1000' >>two.txt
plant masked_mean.cl '^#define BLOCK 32' '#error planted'
expect 4 'masked_mean.*does not build' eftune --shapes two.txt --budget 60 --db planted.db
check 'what does not run at all stops no other' grep -q '^gelu.forward' out
plant common.cl 'return fma(x \* s \* (e \* s),' 'return (VEC)0.01f + fma(x * s * (e * s),'
echo 'linear.dx B5 D9 E7' >dx.txt
EF_LINEAR=own
export EF_LINEAR
rm -f planted.db*
expect 4 'the default failed' eftune --shapes dx.txt --budget 100 --db planted.db
expect 0 'E7 with an epilogue: wrong, element' eftune --why linear.dx --db planted.db
unset EF_CL_DIR EF_LINEAR

# ---- the database in use ----

digest() { # COMMAND...: of the choices that it would run with
    "$@" "$build/efinfo" --json 2>err | sed -n 's/.*"digest": "\(.*\)".*/\1/p'
}
head -2 new/folder/db >other.db # one choice less
first=$(digest env EF_TUNE=new/folder/db)
second=$(digest env EF_TUNE=other.db)
check 'there is a digest' [ ${#first} -eq 64 ]
check 'and one of other choices' [ ${#second} -eq 64 ]
check 'that differs' [ "$first" != "$second" ]
check 'EF_TUNE=off: none' [ -z "$(digest env EF_TUNE=off)" ]
check 'EF_TUNE=on without any: none' [ -z "$(digest env EF_TUNE=on XDG_DATA_HOME="$tmp/none")" ]
XDG_DATA_HOME=$tmp/own
export XDG_DATA_HOME
expect 0 '0 not finished: .*/own/energyflow/tune/[0-9a-f]*.eftune' $quick --ops masked_mean.backward
check 'the own one of the user is found' [ ${#first} -eq "$(digest env EF_TUNE=on | tr -d '\n' | wc -c)" ]
expect 0 '^masked_mean' eftune --show
unset XDG_DATA_HOME

# Another driver: what is tuned anew counts, the rest when it was checked.
sed 's/"driver":"[^"]*"/"driver":"of old"/' new/folder/db >old.db
EF_TUNE=old.db
export EF_TUNE
echo 'masked_mean.forward B2 L16 D48' >more.txt
expect 0 '^    not used  *2 choices of another driver, of old: eftune --check' efinfo
expect 0 '^[01] adopted, [01] default, 0 tuned before, 0 not finished' eftune --shapes more.txt --budget 20 --db old.db
expect 0 '^    not used  *2 choices of another driver, of old: eftune --check' efinfo
check 'the new one is in force' grep -q 'tuned  *1 choice, old.db' out
expect 0 '0 not finished' eftune --check --db old.db
expect 0 'tuned  *3 choices, old.db' efinfo
check 'all are of this driver' lacks 'another driver' out
unset EF_TUNE

[ "$failed" -eq 0 ] || { echo "eftune: $failed of $checked checks failed"; exit 1; }
echo "eftune: $checked checks passed"
