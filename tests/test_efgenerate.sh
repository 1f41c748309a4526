#!/bin/sh
# efgenerate as its users meet it, on a decoder that is written here: what follows what is known.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"

# ---- a decoder: V 12, D 12, blocks that add nothing, logits = 8 next[id] + 4 z[0] other[id] ----
#
# A token's embedding is one-hot, and the projection has an 8 where a token follows another: [CLS] the cat
# sat, the end. cond has z[0] in column 0, [PAD]'s, whose row of the projection likes "dog" as z[0] says.

printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' the cat sat dog '##s' , big a >vocab.txt
u64() { awk -v "v=$1" 'BEGIN { for (; i < 8; i++) { printf "\\%03o", v % 256; v = int(v / 256) } }'; }
cat >decoder.awk <<'AWK'
function number(v) { # as four bytes; those that the model has
    printf v == 0 ? "\\000\\000\\000\\000" : v == 1 ? "\\000\\000\\200\\077" : \
           v == 8 ? "\\000\\000\\000\\101" : "\\000\\000\\200\\100"
}
BEGIN {
    after[2] = 4; after[4] = 5; after[5] = 6; after[6] = 3; after[7] = 6; after[10] = 5; after[11] = 10; after[3] = 3
    for (i = 0; i < 144; i++) number(int(i / 12) == i % 12)         # embedding
    for (i = 0; i < 12; i++) number(0)                              # blocks.0.conv1.bias, then conv1
    for (i = 0; i < 288; i++) number(0)
    for (i = 0; i < 12; i++) number(0)                              # conv2.bias, conv2
    for (i = 0; i < 144; i++) number(0)
    for (i = 0; i < 12; i++) number(0)                              # norm.bias
    for (i = 0; i < 12; i++) number(1)                              # norm.weight
    for (i = 0; i < 12; i++) number(0)                              # cond.bias
    for (i = 0; i < 24; i++) number(i == 0)                         # cond.weight [12,2]
    for (i = 0; i < 12; i++) number(0)                              # out.bias
    for (i = 0; i < 144; i++) number(int(i / 12) == after[i % 12] && after[i % 12] ? 8 : i == 84 ? 4 : 0) # out
}
AWK
tensor() { # NAME SHAPE: the next in the file
    count=$(echo "$2" | awk -F, '{ n = 1; for (i = 1; i <= NF; i++) n *= $i; print 4 * n }')
    printf ', "%s": {"dtype": "F32", "shape": [%s], "data_offsets": [%d, %d]}' "$1" "$2" "$at" $((at + count))
    at=$((at + count))
}
header() { # CONFIG [VOCABULARY]
    at=0
    printf '{"__metadata__": {"format": "pt", "config": "%s"}' "$(echo "$1" | sed "s/'/\\\\\"/g")"
    tensor embedding.weight 12,12
    tensor blocks.0.conv1.bias 12
    tensor blocks.0.conv1.weight 12,12,2
    tensor blocks.0.conv2.bias 12
    tensor blocks.0.conv2.weight 12,12,1
    tensor blocks.0.norm.bias 12
    tensor blocks.0.norm.weight 12
    tensor cond.bias 12
    tensor cond.weight 12,2
    tensor out.bias 12
    tensor out.weight 12,12
    [ $# -lt 2 ] || printf ', "tokenizer.vocab": {"dtype": "U8", "shape": [%d], "data_offsets": [%d, %d]}' \
        "$(wc -c <"$2")" "$at" $((at + $(wc -c <"$2")))
    printf '}'
}
decoder() { # KIND [VOCABULARY]: the file
    kind=$1
    shift
    header "{'kind': '$kind', 'vocab': 12, 'width': 12, 'hidden': 12, 'taps': 2, 'vector': 2, 'blocks': 1, \
'dilations': [1], 'length': 6, 'eps': 1e-5, 'tanh': false}" "$@" >head.json
    # shellcheck disable=SC2059 # the formats are the data
    { printf "$(u64 "$(wc -c <head.json)")"; cat head.json; printf "$(awk -f decoder.awk)"; [ $# -eq 0 ] || cat "$@"; }
}
decoder decoder >d.safetensors
decoder decoder vocab.txt >own.safetensors
printf '{"target": [0, 0]}\n{"target": [3, 0]}\n{"target": [0, 5]}\n' >z.jsonl
generate="efgenerate --checkpoint d.safetensors --vocab vocab.txt"

# ---- usage ----

expect 0 'Usage: efgenerate' efgenerate --help
check '--help: silent on stderr' [ ! -s err ]
expect 0 '^efgenerate [0-9].*OpenCL.*CLBlast.*hwloc' efgenerate --version
expect 2 'unknown option --no-such-option' efgenerate --no-such-option
expect 2 '--checkpoint is needed' efgenerate --vectors z.jsonl
expect 2 'either --vectors or --data' $generate
expect 2 'either --vectors or --data' $generate --vectors z.jsonl --data z.jsonl
expect 2 '--tensor: there are no --vectors' $generate --data z.jsonl --tensor x
expect 2 '--json has the ids' $generate --vectors z.jsonl --json --ids
expect 2 '--max-tokens 0: must be at least 1' $generate --vectors z.jsonl --max-tokens 0
expect 2 '--temperature -1: must be at least 0' $generate --vectors z.jsonl --temperature -1
expect 2 'no device' $generate --vectors z.jsonl --device no-such-device

# ---- texts ----

lines() { [ "$(cat out)" = "$1" ] || { cat out; false; }; }

expect 0 'the cat sat' $generate --vectors z.jsonl
check 'a line for each vector' lines 'the cat sat
dog dog dog dog dog dog
the cat sat'
check 'silent on stderr' [ ! -s err ]
expect 0 . $generate --vectors z.jsonl --batch 2
check 'batches are not seen' lines 'the cat sat
dog dog dog dog dog dog
the cat sat'
expect 0 . $generate --vectors z.jsonl --prompt 'A big'
check 'a prompt' lines 'a big cat sat
a big dog dog dog dog dog dog
a big cat sat'
expect 0 . $generate --vectors z.jsonl --ids --max-tokens 3
check 'ids' lines '2 4 5 6
2 7 7 7
2 4 5 6'
expect 0 . $generate --vectors z.jsonl --ids --max-tokens 4
check 'ids with an end' lines '2 4 5 6 3
2 7 7 7 7
2 4 5 6 3'
expect 0 . $generate --vectors z.jsonl --json --max-tokens 4
check 'JSON' lines '{"index":0,"text":"the cat sat","ids":[2,4,5,6,3],"ended":true}
{"index":1,"text":"dog dog dog dog","ids":[2,7,7,7,7],"ended":false}
{"index":2,"text":"the cat sat","ids":[2,4,5,6,3],"ended":true}'

# ---- other files ----

expect 0 . efgenerate --checkpoint own.safetensors --vectors z.jsonl --max-tokens 4
cp out own
expect 0 . $generate --vectors z.jsonl --max-tokens 4
check "the checkpoint's own vocabulary" same out own
expect 0 . $generate --vocab own.safetensors --vectors z.jsonl --max-tokens 4
check "another checkpoint's vocabulary" same out own

run efdata convert z.jsonl z.efb # refused: there are neither texts nor ids
sed 's/{/{"text": "x", "input_ids": [2, 3], /' z.jsonl >samples.jsonl
expect 0 . efdata convert samples.jsonl samples.efb
for file in samples.jsonl samples.efb; do
    expect 0 . $generate --data $file
    check "--data $file" lines 'the cat sat
dog dog dog dog dog dog
the cat sat'
done

# ---- draws ----

draw="$generate --vectors z.jsonl --top-k 4 --temperature 5 --max-tokens 20"
expect 0 . $draw
cp out first
expect 0 . $draw --batch 1
check 'a draw repeats, whatever the batch' same out first
expect 0 . $draw --seed 2
check 'another seed' eval '! same out first'
expect 0 . $generate --vectors z.jsonl --top-k 4 --temperature 0
check 'temperature 0: the likeliest' lines 'the cat sat
dog dog dog dog dog dog
the cat sat'

# ---- what is refused ----

decoder encoder >e.safetensors
head -c 900 d.safetensors >cut.safetensors
head -n 3 vocab.txt >short.txt
{ cat vocab.txt; echo more; } >long.txt
printf '{"target": [0, 0, 0]}\n' >wide.jsonl
printf '{"target": [0, 0]}\n{"target": [1]}\n' >ragged.jsonl
expect 3 'missing.safetensors: ' efgenerate --checkpoint missing.safetensors --vocab vocab.txt --vectors z.jsonl
expect 3 'e.safetensors: its model is of the kind encoder' \
    efgenerate --checkpoint e.safetensors --vocab vocab.txt --vectors z.jsonl
expect 3 'cut.safetensors: ' efgenerate --checkpoint cut.safetensors --vocab vocab.txt --vectors z.jsonl
expect 3 'd.safetensors: .*vocabulary' efgenerate --checkpoint d.safetensors --vectors z.jsonl
expect 3 'missing.txt: ' efgenerate --checkpoint d.safetensors --vocab missing.txt --vectors z.jsonl
expect 3 'short.txt: ' efgenerate --checkpoint d.safetensors --vocab short.txt --vectors z.jsonl
expect 3 'long.txt: has 13 tokens, the model of d.safetensors 12' \
    efgenerate --checkpoint d.safetensors --vocab long.txt --vectors z.jsonl
sed 's/^a$/an/' vocab.txt >other.txt
expect 3 'other.txt: id 11 is "an", in the vocabulary of own.safetensors "a"' \
    efgenerate --checkpoint own.safetensors --vocab other.txt --vectors z.jsonl
expect 3 'missing.npy: ' $generate --vectors missing.npy
expect 3 'wide.jsonl: its vectors have 3 values, those of d.safetensors 2' $generate --vectors wide.jsonl
expect 3 'ragged.jsonl:2: ' $generate --vectors ragged.jsonl
expect 3 'missing.efb: ' $generate --data missing.efb
if [ -w /dev/full ]; then
    checked=$((checked + 1))
    "$build/efgenerate" --checkpoint d.safetensors --vocab vocab.txt --vectors z.jsonl >/dev/full 2>err
    [ $? -eq 1 ] || fail 'a full disk'
fi

# ---- interrupts ----

awk 'BEGIN { for (i = 0; i < 50000; i++) print "{\"target\": [3, 0]}" }' >long.jsonl
interrupt $generate --vectors long.jsonl --batch 1
check 'what was written before is whole' awk '$0 != "dog dog dog dog dog dog" { exit 1 }' out

finish
