#!/bin/sh
# eftrain's configuration, modes, held-out share, early stop and picture.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"
data=$srcdir/tests/sample/sample.efb
cp "$data" data.efb
small="--width 8 --hidden 12 --dilations 1,2 --batch 16 --max-batches 4"
train="eftrain --data data.efb $small"

# ---- --dump-config ----

dump() { # OPTION...: what --dump-config prints, in FILE dumped
    expect 0 '"dataPath": ' eftrain "$@" --dump-config
    cp out dumped
}
again() { # WHAT: the dumped configuration is loaded and dumped as the same text
    expect 0 '' eftrain --config dumped --dump-config
    check "$1 loads and dumps to the same text" same dumped out
}
dump
again 'a plain configuration'
check 'what was not given is null' grep -q '"minLR": null' dumped
cp "$srcdir/tests/fuzz/corpus/config/plan" plan.json # every key of the plan
dump --config plan.json
again "the plan's configuration"
for line in '"dataPath": "data/train.jsonl"' '"batchSize": 16' '"lr": 0.0005' '"minLR": 1e-06' '"microBatch": 8' \
    '"decDilation": \[1,2,4,8\]' '"mode": "combined"' '"train": "last"' '"requireTokens": true' \
    '"loadCheckpoint": null' '"cosineDecaySteps": 1000' '"decLR": 0.0003'; do
    check "the plan's configuration gives $line" grep -q "^    $line,*\$" dumped
done
for key in $(grep -o '"[A-Za-z]*":' plan.json); do
    check "a dump has the plan's $key" grep -q "^    $key" dumped
done
dump --data 'a"b\é' --seed 1000000000000000000 --bucket off --lr 1e-30 --dilations 3,1,4 --optim adam-l2 --strict-resume \
    --ab-ratio 0.1 --val-fraction 0.07 --mode decoder --train proj
again 'a configuration of the command line'
check 'a decoder is neither A nor both' grep -q '"enableAB": null' dumped
printf '{"dataPath": "\303\251", "abRatio": -0.0}\n' >utf8
dump --config utf8
again 'a text that is not ASCII'

# ---- what comes after what ----

echo '{"lr": 0.5, "batchSize": 7, "unfreezeLastTCN": false, "enableAB": true}' >c.json
lr() { # WANT OPTION...
    want_lr=$1
    shift
    expect 0 "^    \"lr\": $want_lr,\$" eftrain "$@" --dump-config
}
lr 0.001
lr 0.5 --config c.json
lr 0.25 --lr 0.25 --config c.json
lr 0.125 --config c.json --lr 0.25 --set lr=0.125
lr 0.25 --set /lr=0.125 --config c.json --lr 0.25
expect 0 '"train": "proj"' eftrain --config c.json --dump-config
expect 0 '"unfreezeLastTCN": null' eftrain --config c.json --train all --dump-config
expect 0 '"unfreezeLastTCN": true' eftrain --set unfreezeLastTCN=on --dump-config
expect 0 '"decDilation": \[2,4\]' eftrain --set decDilation=2,4 --dump-config
expect 0 '"mode": "encoder"' eftrain --config c.json --set enableAB=false --dump-config

# ---- what is wrong with one ----

bad() { # PATTERN TEXT
    printf '%s' "$2" >bad.json
    expect 3 "bad.json$1" eftrain --config bad.json --dump-config
}
bad ':1:18: .*}' '{"batchSize": 32,}'
bad ':3:0: ' '{"lr": 1,
"epochs": 2
'
bad ':1:[0-9]*: ' ''
bad ': is an array, must be an object' '["lr"]'
bad ': /learningRate: unknown key; the nearest is ' '{"learningRate": 1}'
bad ': /batchsize: unknown key; the nearest is "batchSize"' '{"batchsize": 1}'
bad ': /batch: unknown key; the nearest is "batchSize"' '{"batch": 1}'
bad ': /a~1b~0: unknown key' '{"a/b~": 1}'
bad ': /batchSize: is a string, must be an integer' '{"batchSize": "32"}'
bad ': /batchSize: is a number, must be an integer' '{"batchSize": 1.5}'
bad ': /batchSize: 0: must be at least 1' '{"batchSize": 0}'
bad ': /batchSize: -4: not a whole number' '{"batchSize": -4}'
bad ': /lr: is true, must be a number' '{"lr": true}'
bad ': /lr: 1e+50: too large' '{"lr": 1e50}'
bad ': /enableAB: is an integer, must be true or false' '{"enableAB": 1}'
bad ': /optim: sgd: not one of adamw|adam-l2' '{"optim": "sgd"}'
bad ': /dataPath: is an object, must be a string' '{"dataPath": {}}'
bad ': /decDilation/1: is a number, must be an integer' '{"decDilation": [1, 2.5]}'
bad ': /dilations: is an integer, must be an array of integers' '{"dilations": 3}'
bad ': /mode: contradicts another key, by which it is combined' '{"mode": "decoder", "enableAB": true}'
bad ': /mode: contradicts another key, by which it is encoder' '{"enableAB": false, "mode": "decoder"}'
bad ': /unfreezeLastTCN: contradicts another key' '{"unfreezeLastTCN": true, "train": "proj"}'
bad ':.*duplicate' '{"lr": 1, "lr": 2}'
expect 3 'no.json: cannot read' eftrain --config no.json
expect 2 '--set lr: is not KEY=VALUE' eftrain --set lr
expect 2 '--set batch=8: unknown key; the nearest is "batchSize"' eftrain --set batch=8
expect 2 '--set batchSize=x: not a whole number' eftrain --set batchSize=x
expect 2 'unknown option --enableAB' eftrain --enableAB on

# ---- options that exclude or need each other ----

expect 2 '--val and --val-fraction exclude' $train --val data.efb --val-fraction 0.1
expect 2 '--patience needs --val' $train --patience 2
expect 2 '--init-optim needs --init-from' $train --init-optim data.efb
expect 2 '--min-lr is above --lr' $train --min-lr 0.1
expect 2 '--min-lr is above .*--dec-lr' $train --min-lr 0.0005 --dec-lr 0.0001 --mode combined
expect 0 'trained' $train --min-lr 0.0005 --dec-lr 0.0001
expect 2 '--loss-scale must be 0 or from 1' $train --loss-scale 0.5
expect 2 '--alpha 0 and --beta 0' $train --alpha 0 --beta 0
expect 2 '--val-fraction 1: must be at most 0.99' $train --val-fraction 1
expect 2 'pair: the last block, which is shared, has width 8, hidden 12.* hidden 16' $train --mode combined --dec-hidden 16
expect 2 '--log-json and --save are the same file' $train --save one --log-json one

# ---- modes ----

for mode in encoder decoder combined; do
    expect 0 'trained: 12 steps; held-out ' $train --mode $mode --val-fraction 0.1 --epochs 3 --warmup 2 --lr 3e-3 \
        --save $mode.safetensors --log-json $mode.log --ab-ratio 0.25
    check "$mode: the best model is beside it" [ -s $mode.best.safetensors ]
    check "$mode: it is said which epoch was the best" grep -q 'best c[eo]' out
done
count() { grep -c "$1" "$2.log"; }
check 'an encoder has A steps' [ "$(count '"kind":"A".*"mse":.*"cos":' encoder)" -eq 12 ]
check 'a decoder has B steps' [ "$(count '"kind":"B".*"ce":.*"accuracy":' decoder)" -eq 12 ]
check 'a combined run has A steps' [ "$(count '"kind":"A"' combined)" -eq 3 ]
check 'and B steps' [ "$(count '"kind":"B"' combined)" -eq 9 ]
check 'and spreads them evenly' [ "$(grep '"kind":"A"' combined.log | grep -o '"step":[0-9]*' | tr -dc '0-9\n' | tr '\n' ' ')" = '4 8 12 ' ]
check 'and has both held-out values' [ "$(count '"val_cos":.*"val_ce":' combined)" -eq 3 ]
check 'and counts its steps' grep -q '1 A steps: mean mse .* 3 B steps: mean ce' err
expect 0 'mean vector' eftexteval --data data.efb --checkpoint combined.safetensors
expect 3 'mode is encoder, .* is decoder' $train --mode decoder --resume encoder.safetensors --val-fraction 0.1
expect 3 'held-out share is 0.1, .* is 0' $train --resume encoder.safetensors
expect 3 "share of A steps is 0.25, .* is 0.5" $train --mode combined --resume combined.safetensors --val-fraction 0.1
expect 3 "decoder's number of blocks is 2, .* is 1" $train --mode combined --resume combined.safetensors --ab-ratio 0.25 \
    --val-fraction 0.1 --dec-dilations 1
expect 3 'number of batches in an epoch is 4, .* is 0' eftrain --max-batches 0 --resume encoder.safetensors --data data.efb \
    --width 8 --hidden 12 --dilations 1,2 --batch 16 --val-fraction 0.1
expect 0 'already trained: 12 steps' $train --mode combined --resume combined.safetensors --val-fraction 0.1 --epochs 3 \
    --ab-ratio 0.25 --warmup 2 --lr 3e-3 --strict-resume
expect 0 'trained: 4 steps' $train --init-from encoder.safetensors --init-optim encoder.safetensors
expect 3 'no.efop: ' $train --init-from encoder.safetensors --init-optim no.efop
expect 3 'combined.safetensors: cannot be started from: its kind is combined, this run.s is encoder' $train \
    --init-from combined.safetensors
expect 3 'kind is encoder, this run.s is decoder' $train --mode decoder --init-from encoder.safetensors
printf 'EFCK1\010\000\000\000\010\000\000\000\000\000\000\000' >short.efck
expect 3 'short.efck: is cut off' $train --init-from short.efck
expect 3 'short.efck: has an encoder.s projection' $train --mode decoder --init-from short.efck

# ---- early stop ----

expect 0 'trained: ' $train --val-fraction 0.1 --epochs 50 --patience 2 --lr 0 --weight-decay 0 --warmup 0 --save still.st
check 'a run that gets no better ends' grep -q '^trained: 12 steps' out
check 'and says why' grep -q '^eftrain: epoch 3: none of the last 2 was better: the run ends early' err
expect 0 'already trained: 12 steps' $train --val-fraction 0.1 --epochs 50 --patience 2 --lr 0 --weight-decay 0 --warmup 0 \
    --resume still.st

# ---- the picture ----

env PATH=/nonexistent "$build/"$train --plot old.svg --save none.st >out 2>err
status=$?
check 'no gnuplot: 1' [ $status -eq 1 ]
check 'no gnuplot: it is said' grep -q '^eftrain: gnuplot: No such file' err
check 'no gnuplot: before training' absent none.st
expect 2 '--plot and --data are the same file' $train --plot data.efb

# ---- a log that goes on ----

told() { sed -n 's/^{"\([a-z]\)[a-z]*":\([0-9]*\).*/\1\2/p' "$1" | tr '\n' ' '; }
run $train --save one.st
echo '{"old":1}' >more.log
run $train --epochs 2 --save two.st --log-json two.log
cat two.log >>more.log
printf '{"step":9,"ep' >>more.log # two epochs, and a line that was torn: a run that was killed later than it saved
expect 0 'trained' $train --epochs 2 --resume one.st --log-json more.log
check 'no line is lost or twice' [ "$(told more.log)" = 'o1 s1 s2 s3 s4 e1 s5 s6 s7 s8 e2 ' ]
check 'nothing of a torn line stays' [ "$(wc -l <more.log)" -eq 11 ]
sed -i '$d' two.log # the last epoch was not told, but saved
expect 0 'trained' $train --epochs 3 --resume two.st --log-json two.log
check 'what was not told before goes on' [ "$(told two.log)" = 's1 s2 s3 s4 e1 s5 s6 s7 s8 s9 s10 s11 s12 e3 ' ]
cp two.log before.log
expect 0 'already trained' $train --epochs 2 --resume two.st --log-json two.log
check 'a run with nothing left to do leaves its log' same before.log two.log
"$build/"$train --epochs 100000 --log-json busy.log >busy.out 2>busy.err &
pid=$!
for _ in $(seq 200); do [ -s busy.log ] && break || sleep 0.05; done
expect 1 'busy.log: another run is writing it' $train --log-json busy.log
kill $pid
wait $pid

# ---- outputs ----

echo '{}' >own.json
for output in save log-json plot; do
    expect 2 "--$output and --config are the same file" $train --config own.json --$output own.json
done
check 'a configuration is not written over' grep -q '^{}$' own.json
if [ -r /proc/self/status ] && bash=$(command -v bash); then # other shells may begin with no signal blocked
    mkdir bin
    cat >bin/gnuplot <<END && chmod +x bin/gnuplot
#!$bash
grep '^SigBlk\|^SigIgn' /proc/self/status >mask
echo '<svg> that is drawn </svg>'
END
    (PATH=$tmp/bin:$PATH run $train --plot masked.svg && exit "$status")
    check 'gnuplot may be any program' [ -s masked.svg ]
    check 'it has no signal blocked' grep -q '^SigBlk:[[:space:]]*0*$' mask
    check 'and SIGPIPE not ignored' grep -q '^SigIgn:.*[02468ace]...$' mask
fi
if command -v gnuplot >/dev/null; then
    expect 1 'nowhere/p.svg' $train --plot nowhere/p.svg
    mkfifo pipe.svg
    expect 1 'pipe.svg: is not a regular file' $train --plot pipe.svg
    expect 0 'trained' $train --mode combined --val-fraction 0.1 --epochs 2 --plot loss.svg
    for text in encoder decoder loss cross-entropy 'held-out cos' 'held-out ce' step; do
        check "the picture says $text" grep -q ">$text<" loss.svg
    done
    check 'nothing is left beside it' absent ./*.ef-tmp
else
    skip pictures 'gnuplot is not installed'
fi

finish
