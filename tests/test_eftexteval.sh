#!/bin/sh
# eftexteval as its users meet it: encoders, decoders and both, texts and ids, pairs of sentences.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"

value() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" out; } # of the one JSON object
near() { awk -v "a=$1" -v "b=$2" 'BEGIN { exit !(a != "" && (a - b) ^ 2 < 1e-10) }'; }
is() { # KEY VALUE: in the JSON object, to 1e-5
    check "\"$1\" is $(value "$1"), must be $2" near "$(value "$1")" "$2"
}

# ---- data: 30 texts of 1 to 9 letters, the same as ids under a vocabulary of 20 tokens ----

printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' a b c d e f g h i j k l m n o p >vocab.txt
# data WITH: texts, ids, or both
data() {
    awk -v "with=$1" 'BEGIN {
        seed = 7
        for (s = 0; s < 30; s++) {
            len = 1 + s % 9; ids = "2"; text = ""; target = ""
            for (i = 0; i < len; i++) {
                seed = (seed * 1103 + 12345) % 65537; letter = seed % 16
                ids = ids "," 4 + letter; text = text (i ? " " : "") substr("abcdefghijklmnop", letter + 1, 1)
            }
            for (i = 0; i < 4; i++) {
                seed = (seed * 1103 + 12345) % 65537
                target = target (i ? "," : "") (seed % 9 - 4) / 4 + 0.125
            }
            printf "{"
            if (with != "ids") printf "\"text\":\"%s\",", text
            if (with != "texts") printf "\"input_ids\":[%s,3],", ids
            printf "\"target\":[%s]}\n", target
        }
    }'
}
data ids >data.jsonl
data texts >texts.jsonl
run eftrain --data data.jsonl --width 8 --hidden 12 --dilations 1,2 --batch 8 --epochs 40 --lr 0.01 \
    --vocab-size 20 --length 12 --save model.safetensors
check 'there is a model to evaluate' [ "$status" -eq 0 ]

run eftrain --data texts.jsonl --width 8 --hidden 12 --dilations 1,2 --length 12 --epochs 0 --vocab vocab.txt \
    --init-from model.safetensors --save carried.safetensors
check 'there is one that carries its vocabulary' [ "$status" -eq 0 ]

# zero_model FILE CONFIG NAME=DIM,DIM...: a checkpoint whose parameters are all 0
zero_model() {
    file=$1 config=$2
    shift 2
    printf '%s\n' "$@" | CONFIG=$(echo "$config" | sed 's/"/\\"/g') awk -F= '
        {
            bytes = 4
            for (n = split($2, dim, ","); n; n--) bytes *= dim[n]
            table = table sprintf(",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%d,%d]}",
                                  $1, $2, at, at + bytes)
            at += bytes
        }
        END {
            header = "{\"__metadata__\":{\"config\":\"" ENVIRON["CONFIG"] "\"}" table "}"
            while (length(header) % 8) header = header " "
            printf "\\%03o\\%03o\\0\\0\\0\\0\\0\\0", length(header) % 256, int(length(header) / 256) >"size"
            printf "%s", header >"header"
            print at >"bytes"
        }'
    # shellcheck disable=SC2059 # the format is the data
    { printf "$(cat size)"; cat header; head -c "$(cat bytes)" /dev/zero; } >"$file"
}
sizes='"vocab":20,"width":4,"hidden":4,"taps":3,"vector":4,"length":12,"dilations":[1],"eps":1e-5,"tanh":false'
block() { # PREFIX
    echo "$1norm.weight=4 $1norm.bias=4 $1conv1.weight=4,4,3 $1conv1.bias=4 $1conv2.weight=4,4,1 $1conv2.bias=4"
}
zero_model decoder.safetensors "{\"kind\":\"decoder\",$sizes}" embedding.weight=20,4 cond.weight=4,4 \
    cond.bias=4 $(block blocks.0.) out.weight=20,4 out.bias=20
zero_model both.safetensors \
    "{\"kind\":\"combined\",\"encoder\":{\"kind\":\"encoder\",$sizes},\"decoder\":{\"kind\":\"decoder\",$sizes}}" \
    encoder.embedding.weight=20,4 $(block encoder.blocks.0.) encoder.proj.weight=4,4 encoder.proj.bias=4 \
    decoder.embedding.weight=20,4 decoder.cond.weight=4,4 decoder.cond.bias=4 decoder.out.weight=20,4 \
    decoder.out.bias=20

# ---- usage ----

eval="eftexteval --checkpoint model.safetensors"
expect 0 'Usage: eftexteval' eftexteval -h
for option in data pairs checkpoint random-init seed vocab batch micro-batch length length-cap max-batches \
    no-recall json device; do
    check "--help has --$option" grep -q "^  --$option" out
done
expect 2 '--data or --pairs is needed' $eval
expect 2 '--checkpoint is needed' eftexteval --data data.jsonl
expect 2 '--checkpoint and --random-init exclude each other' $eval --data data.jsonl --random-init
expect 2 '--pairs with --random-init needs --vocab' eftexteval --pairs pairs.tsv --random-init
expect 2 'unknown option --no-such-option' $eval --no-such-option
for option in batch batch-size micro-batch length-cap; do
    expect 2 "--$option 0: must be at least 1" $eval --data data.jsonl --$option 0
done
for option in batch batch-size micro-batch length max-length length-cap max-batches seed; do
    expect 2 "--$option x: not a whole number" $eval --data data.jsonl --$option x
done

# ---- an encoder ----

expect 0 '^model.safetensors: encoder$' $eval --data data.jsonl
check 'recall of a constant vector is k of 30' grep -q '^mean vector .* 0.0333 0.1667 0.3333$' out
check '30 samples, the length of the model' grep -q '^30 samples of at most 12 ids, ' out
check 'nothing is said on stderr' [ ! -s err ]
run $eval --data data.jsonl --json
cos=$(value cos) mse=$(value mse) recall=$(value recall_5)
check 'one JSON object' [ "$(wc -l <out)" -eq 1 ]
check 'the kind is an encoder' grep -q '^{"kind": "encoder", ' out
check "it learned something: cos $cos, recall $recall" awk -v "c=$cos" -v "r=$recall" 'BEGIN { exit !(c > 0.3 && r > 0.2) }'
is samples 30
is length 12
run $eval --data data.jsonl --json --batch-size 7 --micro-batch 3 --max-length 12
is cos "$cos"
is mse "$mse"
is recall_5 "$recall"
run $eval --data texts.jsonl --vocab vocab.txt --json
is cos "$cos"
is mse "$mse"
run eftexteval --data texts.jsonl --checkpoint carried.safetensors --json
is cos "$cos"
run $eval --data data.jsonl --json --batch 7 --max-batches 2 --length 0 --no-recall
is samples 14
is length 11 # 3 to 11 ids and again: 95 in 100 are 14 of 14
check 'no recall is null' [ "$(value recall_1)" = null ]
run $eval --data data.jsonl --json --length 0 --length-cap 5
is length 5
run eftexteval --data data.jsonl --random-init --seed 5 --json --max-batches 1 --batch 4
first=$(value cos)
check '--random-init gives an encoder' [ "$status" -eq 0 ]
run eftexteval --data data.jsonl --random-init --seed 5 --json --max-batches 1 --batch 4
is cos "$first"
run eftexteval --data data.jsonl --random-init --seed 6 --json --max-batches 1 --batch 4
check 'another seed, another encoder' [ "$(value cos)" != "$first" ]

# ---- a decoder, and both ----

expect 0 '^decoder.safetensors: decoder$' eftexteval --data data.jsonl --checkpoint decoder.safetensors
check 'a decoder that knows nothing' grep -q '^decoder      perplexity 20, cross-entropy 2.9957, accuracy 1.0000$' out
run eftexteval --data data.jsonl --checkpoint both.safetensors --json --micro-batch 4
check 'the kind is both' grep -q '^{"kind": "combined", ' out
is cross_entropy 2.995732
is perplexity 20
is tokens 171 # one less than the ids of each sample
is cos 0
is recall_10 0
is samples 30

# ---- pairs of sentences ----

printf '5\ta b c\ta b c\n1\td\te f g\n3\ta b\tb a\n' >pairs.tsv
expect 0 '^spearman .* with the scores of 3 pairs$' $eval --pairs pairs.tsv --vocab vocab.txt
check 'and nothing else' [ "$(wc -l <out)" -eq 2 ]
expect 0 '^spearman .* with the scores of 3 pairs$' eftexteval --checkpoint carried.safetensors --pairs pairs.tsv
run $eval --pairs pairs.tsv --vocab vocab.txt --data texts.jsonl --json
is cos "$cos"
is pairs 3
check 'spearman is a correlation' awk -v "rho=$(value spearman)" 'BEGIN { exit !(rho >= -1 && rho <= 1 && rho != "") }'
run eftexteval --checkpoint both.safetensors --pairs pairs.tsv --vocab vocab.txt --json
check 'equal similarities have no correlation' [ "$(value spearman)" = null ]
expect 0 '^spearman *none: of 3 pairs all similarities' eftexteval --checkpoint both.safetensors --pairs pairs.tsv --vocab vocab.txt
printf '5\ta b c\ta b c\n1\td\n' >bad.tsv
expect 3 'bad.tsv:2: has 2 columns, must be' $eval --pairs bad.tsv --vocab vocab.txt
printf '5\ta b c\ta b c\nfive\td\te\n' >bad.tsv
expect 3 'bad.tsv:2: its score is no number' $eval --pairs bad.tsv --vocab vocab.txt
: >bad.tsv
expect 3 'bad.tsv: is empty' $eval --pairs bad.tsv --vocab vocab.txt
expect 3 'missing.tsv: ' $eval --pairs missing.tsv --vocab vocab.txt
sed 's/"target":\[/&1,/' texts.jsonl >wide.jsonl
expect 3 'missing.tsv: ' $eval --pairs missing.tsv --vocab vocab.txt --data wide.jsonl # before the data
expect 0 'with the scores of 3 pairs$' $eval --pairs pairs.tsv --vocab vocab.txt --batch 5000
expect 0 'with the scores of 3 pairs$' $eval --pairs pairs.tsv --vocab vocab.txt --batch 5000 --micro-batch 2
expect 3 'model.safetensors: has no vocabulary: --pairs needs --vocab' $eval --pairs pairs.tsv
expect 3 'decoder.safetensors: has no encoder' eftexteval --checkpoint decoder.safetensors --pairs pairs.tsv \
    --vocab vocab.txt

# ---- what does not fit ----

{ cat vocab.txt; echo q; } >larger.txt
expect 3 'larger.txt: has 21 tokens, the model of model.safetensors 20' $eval --data texts.jsonl --vocab larger.txt
expect 3 'larger.txt: has 21 tokens, .* 20' $eval --pairs pairs.tsv --vocab larger.txt
sed 's/^a$/z/' vocab.txt >other.txt
expect 3 'other.txt: id 4 is "z", in the vocabulary of carried.safetensors "a"' \
    eftexteval --data data.jsonl --checkpoint carried.safetensors --vocab other.txt
expect 0 . eftexteval --data data.jsonl --checkpoint carried.safetensors --vocab vocab.txt
expect 3 'missing.txt: ' $eval --data texts.jsonl --vocab missing.txt
expect 3 'texts.jsonl: has texts without ids, .*--vocab is needed' $eval --data texts.jsonl
sed 's/"target":\[/&1,/' data.jsonl >wide.jsonl
expect 3 'wide.jsonl: its targets have 5 values, the model.s vectors 4' $eval --data wide.jsonl
sed 's/"input_ids":\[2/"input_ids":[20/' data.jsonl >large.jsonl
expect 3 'large.jsonl.*20' $eval --data large.jsonl
printf '{"input_ids":[1],"target":[1,2,3,4]}\n' >short.jsonl
expect 3 'short.jsonl: no sample has a second id' eftexteval --data short.jsonl --checkpoint decoder.safetensors
expect 3 'data.jsonl: ' eftexteval --data data.jsonl --checkpoint data.jsonl

# ---- interrupts ----

awk '{ line[NR] = $0 } END { for (i = 0; i < 4000; i++) for (n = 1; n <= NR; n++) print line[n] }' data.jsonl >long.jsonl
awk '{ line[NR] = $0 } END { for (i = 0; i < 40000; i++) for (n = 1; n <= NR; n++) print line[n] }' pairs.tsv >long.tsv
interrupt $eval --data long.jsonl --batch 1 --no-recall
check 'nothing is printed' [ ! -s out ]
interrupt $eval --pairs long.tsv --batch 1 --vocab vocab.txt

finish
