#!/bin/sh
# efembed as its users meet it: from texts over training to vectors, each format, each exit status.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"

# ---- a model that was trained on texts, and one that does not carry its vocabulary ----

sample=$srcdir/tests/sample
head -n 200 "$sample/sample.txt" >texts.txt
head -n 40 "$sample/sample.jsonl" | sed 's/, "input_ids.*/, "target": [0.5, -1, 0.25, 1]}/' >data.jsonl
small="--data data.jsonl --width 8 --hidden 12 --dilations 1,2 --length 64 --batch 8"
expect 3 'a vocabulary is needed .--vocab.' eftrain $small
expect 2 'vocab.txt: its vocabulary has 266 tokens, the model is to have 200' \
    eftrain $small --vocab "$sample/vocab.txt" --vocab-size 200
expect 0 'trained: 5 steps' eftrain $small --vocab "$sample/vocab.txt" --save m.safetensors
expect 0 'trained: 0 steps' eftrain --data "$sample/sample.efb" --width 8 --epochs 0 --save bare.safetensors
sed 's/the/then/' "$sample/vocab.txt" | awk '!seen[$0]++' >other.txt
expect 3 'other.txt: id 237 is "then", in the vocabulary of m.safetensors "the"' \
    eftrain $small --vocab other.txt --resume m.safetensors --epochs 2
expect 0 'trained: 10 steps' eftrain $small --resume m.safetensors --epochs 2 --save m.safetensors
embed="efembed --checkpoint m.safetensors"

# ---- usage ----

expect 0 'Usage: efembed' efembed --help
check 'efembed --help: silent on stderr' [ ! -s err ]
expect 0 '^efembed [0-9].*OpenCL.*CLBlast.*hwloc' efembed --version
expect 2 '--no-such-option' $embed --no-such-option
expect 2 '--checkpoint is needed' efembed texts.txt
expect 2 'unexpected argument "two"' $embed texts.txt two
expect 2 '--batch 0: must be at least 1' $embed texts.txt --batch 0
expect 2 '--length 1: must be at least 2' $embed texts.txt --length 1
expect 2 '--format csv: not one of' $embed texts.txt --format csv
expect 2 'needs --output' $embed texts.txt --format npy
cp m.safetensors kept
expect 2 '--output and --checkpoint are the same file' $embed texts.txt --output m.safetensors
expect 2 '--output and the texts are the same file' $embed texts.txt --output texts.txt
cp texts.txt given.txt
"$build/"$embed --output given.txt <given.txt >out 2>err
check 'an output is not what standard input comes from' [ $? -eq 2 ]
check 'the checkpoint is as it was' same kept m.safetensors
expect 2 'no-such-device' $embed texts.txt --device no-such-device

# ---- vectors ----

expect 0 '^-\{0,1\}[0-9]' $embed texts.txt
check 'a line for each text' [ "$(wc -l <out)" -eq 200 ]
check 'of four numbers' [ "$(awk '{ print NF }' out | sort -u)" -eq 4 ]
check 'and nothing else is said' [ ! -s err ]
mv out whole
sed -n 117p texts.txt >one
expect 0 . $embed one
sed -n 117p whole >want
near() { # the numbers of two files, 1e-5 apart at most
    paste -d ' ' "$1" "$2" | awk '{ for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); if (d > 1e-5 || d < -1e-5) exit 1 } }'
}
check 'a text alone has the vector that it has among others' near out want
for batch in 1 7; do
    expect 0 . $embed texts.txt --batch $batch
    check "in batches of $batch they are the same" near out whole
done
"$build"/$embed <texts.txt >out 2>err
check 'standard input is the default' near out whole
"$build"/$embed - <texts.txt >out 2>err
check 'and -' near out whole
expect 0 'v.npy: 200 vectors of 4 values' $embed texts.txt --output v.npy
check 'with --output nothing goes to stdout' [ ! -s out ]
expect 0 . $embed texts.txt --output v.safetensors
expect 0 . $embed texts.txt --output v.jsonl
expect 0 . $embed texts.txt --output v --format npy
check 'the suffix says the format' same v v.npy
for kind in npy safetensors jsonl; do
    expect 0 '200 samples' efdata pack $kind.jsonl --texts texts.txt --vectors v.$kind
    check "$kind is read back as the same" same $kind.jsonl npy.jsonl
done
expect 0 . $embed texts.txt --normalize
check 'normalized vectors have norm 1' \
    awk '{ s = 0; for (i = 1; i <= NF; i++) s += $i * $i; if (s < 0.99999 || s > 1.00001) exit 1 }' out
expect 0 'texts have more ids and are cut' $embed texts.txt --length 3
check 'a cut text is not as the whole one' sh -c '! cmp -s out whole'

# ---- hostile texts ----

printf 'one\r\n\n\n[UNK] \377 two\nlast' >odd.txt
expect 0 . $embed odd.txt --format jsonl
check 'an empty line is a text and the last one needs no newline' [ "$(wc -l <out)" -eq 5 ]
check 'and what is not UTF-8 is counted' grep -q '^efembed: 1 of 5 texts are not UTF-8' err
printf '{"text":"one",\n{"text":"",\n{"text":"",\n{"text":"[UNK] \357\277\275 two",\n{"text":"last",\n' >want
cut -d, -f1 out | sed 's/$/,/' >got
check 'texts come back as they were, without their line ends' same got want
: >empty
expect 0 . $embed empty --output empty.npy
check 'no texts give no vectors' [ "$(wc -c <empty.npy)" -eq 256 ]
"$build"/$embed <empty >out 2>err
check 'on stdout neither' [ ! -s out ]
head -c 16777217 /dev/zero | tr '\0' x >long
expect 3 'long:1: is longer than 16777216 bytes' $embed long
expect 3 'missing: cannot read' $embed missing
expect 3 'is a folder' $embed .

# ---- vocabularies ----

expect 3 'bare.safetensors: carries no vocabulary.*--vocab' efembed --checkpoint bare.safetensors texts.txt
expect 0 . efembed --checkpoint bare.safetensors --vocab "$sample/vocab.txt" one
mv out want
expect 0 . efembed --checkpoint bare.safetensors --vocab m.safetensors one
check 'the vocabulary of another checkpoint will do' same out want
expect 0 . $embed --vocab "$sample/vocab.txt" one
expect 3 'other.txt: id 237 is "then", in the vocabulary of m.safetensors "the"' $embed --vocab other.txt one
{ cat "$sample/vocab.txt" && echo more; } >larger.txt
expect 3 'the vocabulary has 267 tokens, the model has 266' \
    efembed --checkpoint bare.safetensors --vocab larger.txt one
expect 3 'texts.txt: none of its 200 lines is' efembed --checkpoint bare.safetensors --vocab texts.txt one
expect 3 'missing.safetensors: ' efembed --checkpoint missing.safetensors one
head -c 300 m.safetensors >cut.safetensors
expect 3 'cut.safetensors: ' efembed --checkpoint cut.safetensors one
expect 3 'texts.txt' efembed --checkpoint texts.txt one --vocab "$sample/vocab.txt"

# ---- outputs that cannot be written, pipes, interrupts ----

expect 1 'none/v.npy\|none' $embed texts.txt --output none/v.npy
if [ -e /dev/full ]; then
    "$build"/$embed texts.txt >/dev/full 2>err
    check 'a disk that is full is a failure at run time' [ $? -eq 1 ]
    check 'and says so' grep -q '^efembed: stdout: cannot write' err
fi
mkfifo pipe
"$build"/$embed pipe --format jsonl >out 2>err &
pid=$!
exec 9>pipe
echo 'the first' >&9
tries=0
until [ -s out ] || [ $tries -ge 300 ]; do sleep 0.1 && tries=$((tries + 1)); done
check 'a pipe that pauses gets its answer' grep -q '^{"text":"the first"' out
echo 'the second' >&9
exec 9>&-
wait $pid
check 'and ends well' [ $? -eq 0 ]
check 'with both' [ "$(wc -l <out)" -eq 2 ]
"$build"/$embed pipe --output kept.npy >out 2>err &
pid=$!
exec 9>pipe
echo 'the first' >&9
tries=0
until ls kept.npy* >/dev/null 2>&1 || [ $tries -ge 300 ]; do sleep 0.1 && tries=$((tries + 1)); done
kill -TERM $pid
wait $pid
check 'SIGTERM ends with 130' [ $? -eq 130 ]
exec 9>&-
check 'and says what became of the output' grep -q '^efembed: interrupted: nothing is written' err
check 'nothing of it is left' absent kept.npy*

finish
