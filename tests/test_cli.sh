#!/bin/sh
# The commands as their users meet them: exit status, the one line on stderr, files left behind.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"

# ---- data: 48 samples with targets of width 8, in octal escapes ----

# efb COUNT LARGEST-ID [nan|inf: the last element of the last target]
efb() {
    # shellcheck disable=SC2059 # the format is the data
    printf "$(awk -v "n=$1" -v "largest=$2" -v "last=${3-}" '
        function draw(below) { seed = (seed * 1103 + 12345) % 65537; return seed % below }
        function u32(v, i) { for (i = 0; i < 4; i++) { printf "\\%03o", v % 256; v = int(v / 256) } }
        BEGIN {
            split("000 077,200 276,200 077,000 276", real, ",") # the high bytes: 0.5 -0.25 1 -0.125
            high["nan"] = "300 177"; high["inf"] = "200 377"
            seed = 7
            printf "EFB1"; u32(n); u32(8)
            for (s = 0; s < n; s++) {
                len = 1 + draw(9); u32(len)
                for (i = 0; i < len; i++) u32(s == n - 1 && i == 0 ? largest : 1 + draw(largest - 1))
                for (i = 0; i < len; i++) printf "\\001"
                for (i = 0; i < 8; i++) {
                    bytes = last in high && s == n - 1 && i == 7 ? high[last] : real[1 + draw(4)]
                    sub(/ /, "\\", bytes)
                    printf "\\000\\000\\%s", bytes
                }
            }
        }')"
}
efb 48 19 >data.efb
efb 12 19 >val.efb
efb 12 19 nan >nan.efb
efb 12 19 inf >inf.efb
efb 40 19 >other.efb
size=$(wc -c <data.efb)
small="--width 8 --hidden 12 --dilations 1,2 --batch 8"
train="eftrain --data data.efb $small"

# ---- usage ----

for name in eftrain eftexteval efinfo efbench; do
    expect 0 "Usage: $name" $name --help
    check "$name --help: silent on stderr" [ ! -s err ]
    expect 0 "^$name [0-9].*OpenCL.*CLBlast.*hwloc" $name --version
    expect 2 '--no-such-option' $name --no-such-option
    expect 2 'unknown option -z' $name -z
    expect 2 '--device.*needs a value' $name --device
    if [ -e /dev/full ]; then
        "$build/$name" --help >/dev/full 2>err
        check "$name --help: notices that stdout is full" [ $? -eq 1 ]
    fi
done
expect 2 '--data' eftrain
expect 2 '--checkpoint' eftexteval --data data.efb
expect 2 'unexpected argument "extra"' $train extra
expect 2 '--batch x: not a whole number' $train --batch x
expect 2 '--batch 8.5: ' $train --batch 8.5
expect 2 '--batch -1: ' $train --batch -1
expect 2 '--batch 0: must be at least 1' $train --batch 0
expect 2 '--seed 18446744073709551616: ' $train --seed 18446744073709551616
expect 2 '--width 4294967296: must be at most' $train --width 4294967296
expect 2 '--lr 1e-3x: not a number' $train --lr 1e-3x
expect 2 '--lr 0,001: not a number' $train --lr 0,001
expect 2 '--lr nan: not a number' $train --lr nan
expect 2 '--lr 1e99: too large' $train --lr 1e99
expect 2 '--lr -1: must be at least 0' $train --lr -1
expect 2 '--lr : not a number' $train --lr ''
expect 2 '--dilations 1,,2: ' $train --dilations 1,,2
expect 2 '--dilations 1,0: must be at least 1' $train --dilations 1,0
expect 2 '--optim sgd: not one of adamw|adam-l2' $train --optim sgd
expect 2 '--bucket: needs a value' $train --bucket
expect 2 '--strict-resume=yes: takes no value' $train --strict-resume=yes
expect 2 '--strict-resume needs --resume' $train --strict-resume
expect 2 '--save-every needs --save' $train --save-every 5
expect 2 'exclude each other' $train --resume data.efb --init-from data.efb
expect 2 'no-such-item' efbench no-such-item
expect 2 'no device "no such device"; there are 0: ' $train --device 'no such device'

# ---- a run, and its output ----

expect 0 'trained: 18 steps' $train --val val.efb --epochs 3 --save model.safetensors --log-json log
check 'three lines for epochs on stderr' [ "$(grep -c '^epoch ./3 done: .*held-out mse' err)" -eq 3 ]
check 'nothing in a pipe but printed characters' sh -c '! LC_ALL=C grep -q "[[:cntrl:]]" out err'
check 'a log line for each step' [ "$(grep -c '"step":' log)" -eq 18 ]
check 'a log line for each epoch' [ "$(grep -c '"val_cos":[-0-9]' log)" -eq 3 ]
cp model.safetensors more.safetensors
more="$train --val val.efb --save more.safetensors --resume more.safetensors"
expect 0 'already trained: 18 steps; --epochs 3 leaves nothing to do$' $more --epochs 3 --lr 0.1
check 'and leaves the checkpoint as it was' same model.safetensors more.safetensors
expect 0 '^trained: 36 steps; held-out' $more --epochs 6
check 'three more epochs are done' [ "$(grep -c '^epoch [456]/6 done' err)" -eq 3 ]
expect 0 'already trained: 36 steps' $more --epochs 6
for key in epoch loss mse cos grad_norm lr samples_per_s skipped; do
    check "\"$key\" in each log line of a step" [ "$(grep '"step":' log | grep -c "\"$key\":")" -eq 18 ]
done
check 'the best model is saved too' [ -s model.best.safetensors ]
expect 0 'epoch 1/1 done' $train --blocks 3
check '--blocks beyond the dilations is said' grep -q 'other blocks get 1' err
expect 0 '' $train --epochs 1 --log-json -
check 'with the log on stdout nothing else is there' [ "$(grep -vc '^{.*}$' out)" -eq 0 ]
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    script -qec "$build/$train --epochs 30" /dev/null >out 2>err </dev/null
    check 'a terminal shows a bar' grep -q "$(printf '\r')epoch .* \[#*-*\] .*ETA" out
else
    skip 'bar' 'script(1) gives no terminal here'
fi
expect 0 'mean vector' eftexteval --data val.efb --checkpoint model.safetensors
for key in mse cos mean_vector_cos mean_vector_mse samples samples_per_s; do
    expect 0 "\"$key\": [0-9-]" eftexteval --data val.efb --checkpoint model.safetensors --json
done
expect 0 '^\* 0: \|^\* [0-9]' efinfo
expect 0 '"global_bytes": [1-9]' efinfo --json
check 'one device is the default' [ "$(grep -c '"default": true' out)" -eq 1 ]
expect 0 '' efinfo --device 0
check 'efinfo --device shows one' [ "$(grep -c 'work-group' out)" -eq 1 ]

# ---- efbench ----

tiny="--model sample --batch 2 --length 5 --rounds 1"
if type python3 >/dev/null 2>&1; then
    each_line='import json, sys; [json.loads(line)["verified"] for line in sys.stdin]'
    device_ms='import json, sys
for line in sys.stdin: assert 0 < json.loads(line)["device_ms"] < 1e4'
    for item in deferral launch ops encoder start; do
        run efbench --json $tiny $item
        check "efbench $item ends well" [ $status -eq 0 ]
        check "efbench --json $item prints JSON, a line each" python3 -c "$each_line" <out
        [ "$item" != ops ] || check 'ops: the device has a time' python3 -c "$device_ms" <out
    done
else
    skip 'efbench --json' 'python3 is not installed'
fi
expect 0 'deferral.step' efbench $tiny deferral
check 'efbench --model sample times no other' [ "$(grep -c D256 out)" -eq 0 ]

# ---- locale ----

german() {
    [ "$(LC_ALL=de_DE.UTF-8 locale decimal_point 2>/dev/null)" = , ] && return
    mkdir -p locale && localedef -i de_DE -f UTF-8 locale/de_DE.UTF-8 >/dev/null 2>&1
    LOCPATH=$tmp/locale && export LOCPATH
    [ "$(LC_ALL=de_DE.UTF-8 locale decimal_point 2>/dev/null)" = , ]
}
timeless() { sed -E 's/"(samples_per_s|seconds|padding)":[^,}]*,?//g' "$@"; }
if german; then
    LC_ALL=de_DE.UTF-8
    export LC_ALL
    expect 0 'trained' $train --val val.efb --epochs 3 --lr 1e-3 --save german.safetensors --log-json german
    timeless log >a && timeless german >b
    check 'the same log under de_DE.UTF-8' same a b
    expect 0 '"cos": -\{0,1\}[0-9]*\.[0-9]' eftexteval --data val.efb --checkpoint german.safetensors --json
    check 'the same model under de_DE.UTF-8' same model.safetensors german.safetensors
    unset LC_ALL
else
    skip 'de_DE.UTF-8' 'the locale is not installed and localedef cannot make it'
fi
unset LOCPATH

# ---- interrupt and resume ----

long="$train --val val.efb --epochs 400"
expect 0 'trained: 2400 steps' $long --save-every 7 --save whole.safetensors --log-json whole
# A shell's background has SIGINT ignored; who presses ^C has not.
if env --default-signal=INT true 2>/dev/null; then
    foreground='env --default-signal=INT' interrupt=INT
else
    foreground='' interrupt=TERM
    skip 'SIGINT' 'env(1) has no --default-signal; SIGTERM was tried instead'
fi
await() { # LOG: until it has some hundred steps, for ten seconds at most
    for _ in $(seq 200); do
        [ "$(cat "$1" 2>/dev/null | wc -l)" -gt 100 ] && break
        sleep 0.05
    done
}
# broken SIGNAL: the same run, which meets a signal after some hundred steps
broken() {
    rm -f part
    $foreground "$build/"$long --save-every 7 --save part.safetensors --log-json part >out 2>err &
    pid=$!
    await part
    kill "-$1" $pid
    wait $pid 2>/dev/null
    status=$?
}
broken $interrupt
check 'SIGINT ends with 130' [ $status -eq 130 ]
check 'SIGINT says how to go on' grep -q '^eftrain: interrupted; --resume part.safetensors' err
check 'SIGINT ended it early' [ "$(grep -c step part)" -lt 2400 ]
expect 0 'trained: 2400 steps' $long --save part.safetensors --log-json part --resume part.safetensors
check 'resumed with nothing to warn of' sh -c '! grep -q "results may differ" err'
timeless whole >a && timeless part >b
check 'the log of an interrupted run that was resumed is that of the whole run' same a b
check 'and so is the model' same whole.safetensors part.safetensors
(
    trap '' INT
    "$build/"$train --epochs 200 --log-json ignoring >out 2>err &
    pid=$!
    await ignoring
    kill -INT $pid
    wait $pid
)
check 'a SIGINT that was ignored when it began stays ignored' [ $? -eq 0 ]
broken KILL
check 'SIGKILL ended it early' [ "$(grep -c step part)" -lt 2400 ]
expect 0 'trained: 2400 steps' $long --save part.safetensors --log-json part --resume part.safetensors
timeless part >b
check 'a killed run that was resumed has the log of the whole run' same a b
check 'a killed run that was resumed gives the model of the whole run' \
    same whole.safetensors part.safetensors
for delay in 0.05 0.15 0.25 0.35 0.5; do # while kernels are compiled, too
    POCL_CACHE_DIR=$tmp/cold$delay "$build/"$train --epochs 100000 --save early.safetensors >out 2>err &
    pid=$!
    sleep $delay
    kill -TERM $pid
    wait $pid 2>/dev/null
    status=$?
    check "SIGTERM after $delay s ends with 130, or kills before anything was begun" \
        [ $status -eq 130 -o $status -eq 143 ]
done
check 'SIGTERM at any moment is an interruption' grep -q '^eftrain: interrupted; --resume early' err

# ---- two at a time, files that change, closed streams ----

for seed in 1 2 3; do
    "$build/"$train --epochs 5 --save-every 1 --save shared.safetensors --seed $seed >out$seed 2>err$seed &
    eval pid$seed=$!
done
for seed in 1 2 3; do
    eval wait \$pid$seed
    status=$?
    cp "err$seed" err
    check "run $seed of three that save in one file ends well, not with $status" [ $status -eq 0 ]
done
expect 0 'mean vector' eftexteval --data val.efb --checkpoint shared.safetensors
cp data.efb cut.efb
"$build/"eftrain --data cut.efb $small --epochs 100000 --log-json cut >out 2>err &
pid=$!
await cut
: >cut.efb
wait $pid
status=$?
check 'a data file that is cut off in a run ends it with 1' [ $status -eq 1 ]
check 'and is named' grep -q '^eftrain: cut.efb: was changed while in use' err
"$build/"$train --epochs 2 --log-json streams 2>&- >/dev/null
check 'what goes to a closed stderr goes nowhere else' [ "$(grep -vc '^{.*}$' streams)" -eq 0 ]
"$build/"$train --log-json streams >&- 2>err
check 'a closed stdout is noticed' [ $? -eq 1 ]
check 'and nothing of it is in the log' [ "$(grep -vc '^{.*}$' streams)" -eq 0 ]

expect 0 'trained: 2 steps' $train --batch 2147483647 --accum 2147483647 --epochs 2
expect 0 'learning rate was .*0.001.* is .*0.002.*may differ' $long --resume whole.safetensors --lr 0.002
expect 1 'learning rate' $long --resume whole.safetensors --lr 0.002 --strict-resume
expect 1 'optimiser is adamw, .* adam-l2' $long --resume whole.safetensors --optim adam-l2 --strict-resume
expect 3 'seed is 1, .* 2' $long --resume whole.safetensors --seed 2
expect 3 'whole.safetensors: .*width is 8, .* 16' $long --resume whole.safetensors --width 16
expect 3 'whole.safetensors: .*data' eftrain --data other.efb --vocab-size 20 $small --resume whole.safetensors
expect 0 'trained: 6 steps' $train --init-from whole.safetensors
expect 3 'whole.safetensors: cannot be started from: its dilation of block 1 is 2, .* 3' $train --dilations 1,3 \
    --init-from whole.safetensors

# ---- bad files ----

expect 3 'missing.efb: ' eftrain --data missing.efb
expect 3 'missing.efb: ' eftrain --data data.efb --val missing.efb
expect 3 'missing.safetensors: ' $train --resume missing.safetensors
expect 3 'missing.efb: ' eftexteval --data missing.efb --checkpoint model.safetensors
expect 3 'missing.safetensors: ' eftexteval --data val.efb --checkpoint missing.safetensors
expect 3 ': .*regular file' eftrain --data .
expect 3 'nan.efb: sample 11: .*NaN' $train --val nan.efb
expect 3 'inf.efb: sample 11: .*infinite' eftrain --data inf.efb
expect 3 'data.efb: sample 47.*19' $train --vocab-size 19
: >bad
expect 3 'bad: ' eftrain --data bad
for n in 3 11 12 15 40 $((size / 2)) $((size - 1)); do
    head -c "$n" data.efb >bad
    expect 3 'bad: ' eftexteval --data bad --checkpoint model.safetensors
done
for at in 0 4 7 8 11 12 15; do # the header and the first length, byte by byte
    cp data.efb bad
    printf '\377' | dd of=bad bs=1 seek=$at conv=notrunc 2>/dev/null
    expect 3 'bad: ' eftexteval --data bad --checkpoint model.safetensors
done
expect 3 'model.safetensors: ' eftexteval --data model.safetensors --checkpoint model.safetensors
expect 3 'val.efb: ' eftexteval --data val.efb --checkpoint val.efb
size=$(wc -c <model.safetensors)
for n in 0 7 8 100 $((size / 2)) $((size - 1)); do
    head -c "$n" model.safetensors >bad
    expect 3 'bad: ' eftexteval --data val.efb --checkpoint bad
done
for at in 0 3 7 8 9 20; do
    cp model.safetensors bad
    printf '\377' | dd of=bad bs=1 seek=$at conv=notrunc 2>/dev/null
    expect 3 'bad: ' $train --resume bad
done
sed 's/blocks.0.conv1.weight/blocks.0.conv9.weight/' model.safetensors >bad
expect 3 'bad: .*blocks.0.conv1.weight' eftexteval --data val.efb --checkpoint bad
expect 3 'bad: .*blocks.0.conv1.weight' $train --init-from bad

# ---- places that cannot be written ----

full="$train --vocab-size 40000 --save full.safetensors" # 4 MB
expect 0 'trained' $full
cp full.safetensors before
(
    ulimit -f 2000 # blocks of 512 or 1024 byte
    exec "$build/"$full
) >out 2>err
status=$?
check 'a full disk ends with 1' [ $status -eq 1 ]
check 'a full disk names the file' grep -q '^eftrain: .*full.safetensors: cannot write' err
check 'a full disk leaves the earlier checkpoint' same before full.safetensors
check 'a full disk leaves no half file' [ -z "$(find . -name '*.ef-tmp')" ]
mkdir closed && chmod 555 closed
if [ "$(id -u)" -eq 0 ]; then
    expect 1 '/proc/self/model' $train --save /proc/self/model
    skip 'read-only folder' 'root may write there; /proc/self was tried instead'
else
    expect 1 'closed/model' $train --save closed/model
fi
expect 1 'nowhere/' $train --save nowhere/model
expect 1 'nowhere/log' $train --log-json nowhere/log
if [ -e /dev/full ]; then
    run $train --log-json /dev/full
    check 'a log that cannot be written ends with 1' [ $status -eq 1 ]
    check 'and is named' grep -q '^eftrain: /dev/full: ' err
fi
{ "$build/"$train --epochs 100000 --save unread.safetensors --log-json - 2>err; echo $? >status; } | head -n 1 >out
check 'a log on a stdout that is not read any more ends with 1' [ "$(cat status)" -eq 1 ]
check 'and says so, and how to go on' grep -q '^eftrain: cannot write to stdout; --resume unread.safetensors continues' err
check 'and the steps are saved' [ -s unread.safetensors ]

# ---- a file that is read or written already is not written ----

mkdir same && cp data.efb val.efb model.safetensors same && cp data.efb same/m.best.st
cp model.safetensors same/started.best.st
ln -s data.efb same/link && ln same/val.efb same/hard
# apart FIRST SECOND OPTION...: refused as the same file, and nothing in the folder is touched
apart() {
    first=$1 second=$2
    shift 2
    find same -exec ls -id {} + | sort >a && cat same/*.efb same/*.s* >b
    expect 2 "^eftrain: $first and $second are the same file" $train "$@"
    find same -exec ls -id {} + | sort >c && cat same/*.efb same/*.s* >d
    check "$first as $second leaves all files alone" same a c
    check "$first as $second leaves their contents" same b d
}
train="eftrain $small"
apart --save --data --data same/data.efb --save same/data.efb
apart --save --data --data same/data.efb --save same/../same/link
apart --save --val --data data.efb --val same/val.efb --save same/hard
apart --save --init-from --data data.efb --init-from same/model.safetensors --save same/model.safetensors
apart "--save's best model" --data --data same/m.best.st --save same/m.st
apart "--save's best model" --init-from --data data.efb --init-from same/started.best.st --save same/started.st
apart --log-json --data --data same/data.efb --log-json same/link
apart --log-json --val --data data.efb --val same/val.efb --log-json same/hard
apart --log-json --resume --data data.efb --resume same/model.safetensors --log-json same/model.safetensors
apart --log-json --init-from --data data.efb --init-from same/model.safetensors --log-json same/model.safetensors
apart --log-json --save --data data.efb --save same/new --log-json same/../same/new
apart --log-json "--save's best model" --data data.efb --save same/new --log-json same/new.best
train="eftrain --data data.efb $small"
echo old >kept.log
expect 3 'seed is' $train --resume model.safetensors --val val.efb --seed 2 --log-json kept.log
expect 3 'sample 47' $train --vocab-size 19 --log-json kept.log
check 'a run that does not begin leaves the earlier log' [ "$(cat kept.log)" = old ]
expect 0 'trained' $train --log-json kept.log
check 'a run that begins replaces it' [ "$(grep -c '^{' kept.log)" -eq "$(wc -l <kept.log)" ]

# ---- a database that is not in force: one warning, and all goes on ----

EF_TUNE=on XDG_DATA_HOME=$tmp/share
export EF_TUNE XDG_DATA_HOME
run eftune --show # says where it is not
db=$(sed -n "s|^eftune: \($tmp/share/[^:]*\): .*|\1|p" err)
mkdir -p "$(dirname "$db")"
# warns PATTERN: so do those who run operations, once; efinfo has it in its list.
warns() {
    for line in "$train" 'eftexteval --data val.efb --checkpoint model.safetensors' \
        'efbench launch --rounds 1'; do
        expect 0 '' $line
        check "${line%% *} warns" [ "$(grep -c "^${line%% *}: .*$1" err)" -eq 1 ]
    done
    expect 0 "^    .*$1" efinfo
    expect 0 '"digest": ""' efinfo --json
}
echo notes >"$db"
warns "$db:1: not a file of"
check 'efinfo --json: too' grep -q '"error": ".*not a file of' out
rm "$db" && mkdir "$db"
warns "$db: "
rmdir "$db"
key=$(basename "$db" .eftune)
{
    echo "{\"format\": \"energyflow tune 1\", \"key\": \"$key\", \"driver\": \"\"}"
    for op in forward backward; do
        echo "{\"op\": \"gelu.$op\", \"n\": [9], \"parts\": 0, \"accuracy\": \"normal\"," \
            '"variant": "default", "knobs": {}, "source": "", "driver": "of old"}'
    done
    echo 'cut off'
} >"$db"
warns '2.* choices of another driver, of old: eftune --check'
check 'efinfo --json: counted' grep -q '"of_other_driver": 2' out
expect 0 'tuned  *0 choices, 1 broken line' efinfo
EF_TUNE=$db EF_TUNE_STALE=use
export EF_TUNE_STALE
expect 0 'trained' $train
check 'those that are to be used: no warning' [ "$(grep -c 'driver' err)" -eq 0 ]
echo notes >"$db"
expect 3 'not a file of' $train
EF_TUNE=off
unset XDG_DATA_HOME EF_TUNE_STALE

# ---- devices, kernels, memory, numbers ----

OCL_ICD_VENDORS=/nonexistent
export OCL_ICD_VENDORS
if "$build/efinfo" >/dev/null 2>&1; then
    skip 'no OpenCL device' 'this ICD loader does not read OCL_ICD_VENDORS'
else
    expect 4 'no OpenCL device' $train
    expect 4 'no OpenCL device' eftexteval --data val.efb --checkpoint model.safetensors
    expect 4 'no OpenCL device' efinfo
    expect 4 'no OpenCL device' efbench launch
fi
unset OCL_ICD_VENDORS
mkdir kernels && cp "$srcdir"/cl/*.cl kernels && chmod u+w kernels/*
echo 'this is no kernel;' >>kernels/embedding.cl
EF_CL_DIR=$tmp/kernels
export EF_CL_DIR
run $train
check 'a broken kernel ends with 4' [ $status -eq 4 ]
check 'a broken kernel is named' grep -q '^eftrain: .*does not build.*embedding.cl:[0-9]' err
unset EF_CL_DIR
expect 4 'byte' $train --width 1000000 --hidden 1000000
check 'a model that does not fit: both numbers, before training' \
    sh -c 'grep -q "[0-9].*[0-9]" err && ! grep -q "^epoch" err'
{ # one sample of 20000 ids: 0, a target of 1
    printf 'EFB1\001\000\000\000\001\000\000\000\040\116\000\000'
    head -c 80000 /dev/zero
    head -c 20000 /dev/zero | tr '\000' '\001'
    printf '\000\000\200\077'
} >long.efb
vast="eftrain --data long.efb --length 20000 --width 1 --hidden 2000000 --taps 1 --blocks 1 --dilations 1"
expect 4 'a batch of 1 x 20000 ids needs [0-9]* bytes .*; [0-9]* are available' $vast
check 'activations that do not fit: before training' sh -c '! grep -q "^epoch" err'
expect 4 'a batch of 1 x 20000 ids' $vast --train proj
expect 0 'trained: 1 steps' $vast --length 20 --hidden 2000
expect 2 'model: ' $train --width 2147483647 --hidden 2147483647 --taps 2147483647
expect 2 'model: .*too many' $train --width 2147483647 --hidden 2147483647
run $train --lr 1e38 --warmup 0 --clip 0 --epochs 10
check 'ten skipped steps in a row end with 1' [ $status -eq 1 ]
check 'and the step is named' grep -q '^eftrain: .*step [0-9]*: 10 steps in a row' err
wild="$train --val val.efb --lr 3e38 --warmup 0 --clip 0" # the parameters overflow in the first step
run $wild --epochs 1 --log-json wild.log
check 'a held-out cosine that is not finite is no failure' [ $status -eq 0 ]
check 'but a line' grep -q '^eftrain: epoch 1: the held-out cosine is not finite' err
check 'and null in the log, not the best' grep -q '"val_cos":null,"best":false' wild.log
cp model.safetensors wild.safetensors
run $wild --epochs 1 --save wild.safetensors --save-every 1
check 'a model that is not finite is not saved' [ $status -eq 1 ]
check 'and that is said' grep -q '^eftrain: wild.safetensors: is not written: .*not finite' err
check 'and the earlier one stays' same model.safetensors wild.safetensors
check 'and none is the best' [ ! -e wild.best.safetensors ]

finish
