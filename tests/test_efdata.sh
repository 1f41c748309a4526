#!/bin/sh
# efdata as its users meet it: each sub-command, each exit status, what is left behind.
set -u
. "${srcdir:-$(dirname "$0")/..}/tests/cli.sh"

member() { grep -qF "\"$1\": $2" out; } # of the one JSON object that info --json printed

# u32 NUMBER: as four bytes
u32() {
    # shellcheck disable=SC2059 # the format is the data
    printf "$(awk -v "v=$1" 'BEGIN { for (; i < 4; i++) { printf "\\%03o", v % 256; v = int(v / 256) } }')"
}

# ---- data: 40 samples of 1 to 9 ids with a text each, targets of width 4 ----

awk 'BEGIN {
    seed = 7
    for (s = 0; s < 40; s++) {
        len = 1 + s % 9; ids = mask = ""
        for (i = 0; i < len; i++) {
            seed = (seed * 1103 + 12345) % 65537
            ids = ids (i ? "," : "") 1 + seed % 99; mask = mask (i ? "," : "") (i < 8)
        }
        printf "{\"text\":\"text %d\",\"input_ids\":[%s],\"attention_mask\":[%s],\"target\":[%d.0,0.5,-0.25,1.0]}\n",
            s, ids, mask, s
    }
}' >data.jsonl
sed 's/"input_ids.*"target/"target/' data.jsonl >texts.jsonl
sed 's/.*"text":"\([^"]*\)".*/\1/' data.jsonl >texts.txt
expect 0 'data.efb: 40 samples, without their texts' efdata convert data.jsonl data.efb
check 'nothing was said on stdout' [ ! -s out ]

# ---- usage ----

expect 0 'Usage: efdata' efdata --help
expect 0 '^efdata [0-9].*OpenCL.*CLBlast.*hwloc.*jansson.*utf8proc' efdata --version
expect 2 'no sub-command' efdata
expect 2 'unknown sub-command "unpack"' efdata unpack
expect 2 'unknown option --no-such-option' efdata --no-such-option
for name in pack convert info split repair; do
    expect 0 "Usage: efdata $name " efdata $name --help
    check "$name --help: silent on stderr" [ ! -s err ]
    expect 0 '^efdata [0-9].*OpenCL' efdata $name --version
    expect 2 'unknown option --no-such-option' efdata $name --no-such-option
    expect 2 "$name: needs " efdata $name
done
expect 2 'unexpected argument "c"' efdata convert a b c
expect 2 'out: ends in neither .efb nor .jsonl: --format is needed' efdata convert data.efb out
expect 2 '--format efb3: not one of efb1|jsonl' efdata convert data.efb out --format efb3
expect 2 '--texts is needed' efdata pack out.efb
expect 2 '--vectors is needed' efdata pack out.efb --texts texts.txt
expect 2 'EFB1 holds ids and no texts: --vocab is needed' efdata pack out.efb --texts texts.txt --vectors x
expect 2 '--vocab is needed' efdata tokenize
expect 2 '--length 1: must be at least 2' efdata tokenize --vocab v --length 1
expect 2 'unexpected argument "x"' efdata tokenize x
expect 0 'Usage: efdata tokenize ' efdata tokenize --help
expect 2 'either --fraction or --count' efdata split data.efb a.efb b.efb
expect 2 'either --fraction or --count' efdata split data.efb a.efb b.efb --fraction 0.5 --count 3
expect 2 'DRAWN and an input are the same file: a.efb' efdata split data.efb a.efb a.efb --count 3
expect 2 'DRAWN and an input are the same file' efdata split data.efb a.efb data.efb --count 3
expect 2 'REST and an input are the same file' efdata split data.efb ./data.efb a.efb --count 3
expect 2 'OUT and an input are the same file' efdata convert data.efb data.efb --format jsonl
expect 2 'OUT and an input are the same file' efdata repair data.efb ./data.efb
echo text >in.txt
expect 2 'OUT and an input are the same file' efdata pack --texts in.txt --vectors x in.txt --format jsonl
"$build/efdata" pack --texts - --vectors x in.txt --format jsonl <in.txt >out 2>err
check 'an output is not what standard input comes from' [ $? -eq 2 ]
expect 2 '--fraction 2: must be at most 1' efdata split data.efb a.efb b.efb --fraction 2
expect 2 '--batch 0: must be at least 1' efdata info data.efb --batch 0
check 'wrong usage leaves no file' absent out.* a.efb b.efb
if [ -e /dev/full ]; then
    "$build/efdata" info data.efb >/dev/full 2>err
    check 'notices that stdout is full' [ $? -eq 1 ]
fi

# ---- convert ----

expect 0 'again.jsonl: 40 samples' efdata convert data.efb again.jsonl
expect 0 'again.efb: 40 samples' efdata convert again.jsonl again.efb
check 'EFB1 -> JSONL -> EFB1 gives equal bytes' same data.efb again.efb
check 'an EFB1 file has no texts' [ "$(grep -c text again.jsonl)" -eq 0 ]
expect 0 'copy: 40 samples' efdata convert data.jsonl copy --format jsonl
check 'JSONL -> JSONL keeps all' same data.jsonl copy
{
    printf EFB2 && u32 2 && u32 1 && u32 2
    u32 1 && printf a && u32 0 && u32 3 && printf '\303\251b' && u32 0
} >texts.efb2
expect 0 '2 samples' efdata convert texts.efb2 two.jsonl
printf '{"text":"a","target":[0.0]}\n{"text":"\303\251b","target":[0.0]}\n' >want
check 'EFB2 is read' same two.jsonl want
expect 3 'two.efb: sample 0: has no ids' efdata convert texts.efb2 two.efb
check 'and leaves nothing' absent two.efb*
sed '7s/,1.0\]/]/;9s/^/x/' data.jsonl >bad.jsonl
cp data.efb out.efb
expect 3 'bad.jsonl:7: "target" has 3 numbers, expected 4' efdata convert bad.jsonl out.efb
check 'what was there stays' same data.efb out.efb
expect 0 '2 bad lines are left out, the first: bad.jsonl:7: "target" has 3' efdata convert bad.jsonl out.efb --skip-bad
check '38 samples are in it' grep -q '38 samples' err
expect 3 'none.efb: cannot open' efdata convert none.efb out.efb
expect 1 'no/such' efdata convert data.efb no/such/out.efb
printf 'EFB3aaaaaaaaaaaa' >newer.efb
expect 3 'is an EFB3 file, this library reads EFB1 and EFB2' efdata convert newer.efb out.efb
(
    ulimit -f 1 # as good as a full disk
    run efdata convert data.efb full.jsonl
    exit $status
)
check 'a disk that is full is a failure at run time' [ $? -eq 1 ]
check 'and leaves nothing' absent full.jsonl*

# ---- info ----

expect 0 '^samples  *40, 40 with a text, 0 without ids' efdata info data.jsonl
expect 0 'mean 4.8, least 1, 50 % 4, 90 % 8, 95 % 9, 99 % 9, most 9' efdata info data.efb
expect 0 '' efdata info data.efb --json --batch 4
for pair in 'format:"EFB1"' 'samples:40' 'texts:0' 'without_ids:0' 'width:4' 'not_finite:0' 'p50:4' 'most:9' 'most:8' \
    'batch:4'; do
    check "info --json has $pair" member "${pair%%:*}" "${pair#*:}"
done
plain=$(sed 's/.*"plain": \([0-9.]*\).*/\1/' out)
bucketed=$(sed 's/.*"bucketed": \([0-9.]*\).*/\1/' out)
check "buckets have less padding: $plain, $bucketed" awk "BEGIN { exit !($bucketed < $plain && $plain < 1) }"
expect 0 '' efdata info texts.jsonl --json
check 'texts alone have no lengths' member lengths null
check 'and no padding' member plain null
check 'but have no ids' member without_ids 40
expect 0 '^samples  *38, .* 2 lines left out' efdata info bad.jsonl --skip-bad
{ head -c $(($(wc -c <data.efb) - 4)) data.efb && printf '\000\000\300\177'; } >nan.efb
expect 0 '1 not finite' efdata info nan.efb
expect 3 'nan.efb: sample 39: target element 3 is NaN' efdata convert nan.efb out.efb
printf '{"input_ids":[1],"target":[3,4]}\n{"input_ids":[2],"target":[4,3]}\n' >known.jsonl
expect 0 'norms 5 to 5, mean 5; 0 not finite' efdata info known.jsonl
expect 0 'cos 0.9899 with the targets' efdata info known.jsonl # 7 / (5 sqrt 2)

# ---- split ----

expect 0 'rest.jsonl: 30 samples' efdata split data.jsonl rest.jsonl drawn.jsonl --fraction 0.25 --seed 3
check 'says both' grep -q 'drawn.jsonl: 10 samples' err
check 'together they are all' sh -c 'sort rest.jsonl drawn.jsonl >a; sort data.jsonl >b; cmp -s a b'
grep -nxFf drawn.jsonl data.jsonl | cut -d: -f2- >ordered
check 'in the order of the file' same ordered drawn.jsonl
expect 0 '' efdata split data.jsonl rest2.jsonl drawn2.jsonl --count 10 --seed 3
check 'the seed says which' same drawn.jsonl drawn2.jsonl
expect 0 '' efdata split data.jsonl rest2.jsonl drawn2.jsonl --count 10 --seed 4
check 'another seed, others' sh -c '! cmp -s drawn.jsonl drawn2.jsonl'
expect 0 'r.efb: 39 samples' efdata split data.efb r.efb d.jsonl --count 1
expect 3 '40 of its 40 samples cannot be drawn: none would be left' efdata split data.efb a.efb b.efb --count 40
expect 3 '0 of its 40 samples' efdata split data.efb a.efb b.efb --fraction 0.001
expect 1 'no/such' efdata split data.efb a.efb no/such/b.efb --count 3
check 'a failed split leaves nothing' absent a.efb* b.efb*
( # as good as a disk that is full when DRAWN is written
    ulimit -f 1
    "$build/efdata" split data.efb a.jsonl b.jsonl --count 39 2>err
)
check 'an output that cannot be written: 1' [ $? -eq 1 ]
check 'and the other is not there either' absent a.jsonl* b.jsonl*

# ---- repair ----

size=$(wc -c <data.efb)
{ head -c 4 data.efb && u32 0 && tail -c +9 data.efb; } >zero.efb
expect 3 "counts 0 samples, but $((size - 12)) bytes follow: its writer did not finish; efdata repair" efdata info zero.efb
expect 0 'mended.efb: 40 samples; the header counted 0; left out: 0 unsound samples and 0 bytes' efdata repair zero.efb mended.efb
check 'a header is finished' same data.efb mended.efb
head -c $((size - 5)) data.efb >cut.efb
expect 3 'cut.efb: .*passes the end of the file; efdata repair' efdata convert cut.efb out.efb
expect 0 'mended.efb: 39 samples; the header counted 40; .*sample 39 of 40: length' efdata repair cut.efb mended.efb
expect 0 '^samples  *39,' efdata info mended.efb
expect 0 '39 samples; .* 1 unsound samples and 0 bytes .*sample 39: target element 3 is NaN' efdata repair nan.efb mended.efb
expect 3 'is no EFB file' efdata repair data.jsonl mended.efb
head -c 20 data.efb >stub.efb
expect 3 'stub.efb: has no sample to keep' efdata repair stub.efb none.efb
expect 3 'is an EFB3 file' efdata repair newer.efb none.efb
check 'and nothing is written' absent none.efb*

# ---- pack ----

sed 's/.*"target":\(.*\)}/\1/' data.jsonl >vectors.jsonl
expect 0 'packed.jsonl: 40 samples' efdata pack --texts texts.txt --vectors vectors.jsonl packed.jsonl
check 'texts and vectors are together' same texts.jsonl packed.jsonl
"$build/efdata" pack --texts - --vectors texts.jsonl packed2.jsonl <texts.txt 2>err
check 'texts from stdin, vectors from samples' same packed.jsonl packed2.jsonl
# shellcheck disable=SC2059
{
    printf '\223NUMPY\001\000' && printf '\166\000'
    printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"
    printf '\000\000\200\077\000\000\000\100'
} >two.npy
{
    header='{"v":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}'
    u32 ${#header} && u32 0 && printf %s "$header"
    printf '\000\000\200\077\000\000\000\100'
} >two.safetensors
printf 'a\r\n\303\251\n' >two.txt
printf '{"text":"a","target":[1.0]}\n{"text":"\303\251","target":[2.0]}\n' >want
for kind in npy safetensors; do
    expect 0 '2 samples' efdata pack --texts two.txt --vectors two.$kind two.jsonl
    check "vectors from $kind" same two.jsonl want
done
expect 0 '2 samples' efdata pack --texts two.txt --vectors two.safetensors --tensor v two.jsonl
expect 3 'tensor "w": is not there' efdata pack --texts two.txt --vectors two.safetensors --tensor w no.jsonl
expect 3 'two.npy: tensor "v": is asked for' efdata pack --texts two.txt --vectors two.npy --tensor v no.jsonl
expect 3 'texts.txt has more than the 2 vectors of two.npy' efdata pack --texts texts.txt --vectors two.npy no.jsonl
expect 3 'two.txt has 2 texts, vectors.jsonl has 40 vectors' efdata pack --texts two.txt --vectors vectors.jsonl no.jsonl
expect 3 'none.txt: cannot open' efdata pack --texts none.txt --vectors two.npy no.jsonl
expect 3 'none.npy: cannot open' efdata pack --texts two.txt --vectors none.npy no.jsonl
printf 'a\n\377\n' >latin.txt
expect 3 'no.jsonl: sample 1: its text is not UTF-8' efdata pack --texts latin.txt --vectors two.npy no.jsonl
check 'a failed pack leaves nothing' absent no.jsonl*

# ---- with a vocabulary: the sample's samples are its sentences and their ids ----

sample=$srcdir/tests/sample
head -n 64 "$sample/sample.txt" >sentences.txt
sed 's/.*"input_ids": \[\([^]]*\)\].*/\1/;s/,//g' "$sample/sample.jsonl" >ids.txt
"$build/efdata" tokenize --vocab "$sample/vocab.txt" <sentences.txt >out 2>err
check 'tokenize gives the ids' same out ids.txt
head -c 20000000 /dev/zero | tr '\0' x | "$build/efdata" tokenize --vocab "$sample/vocab.txt" >out 2>err
check 'a line that no reader takes is named' grep -q '^efdata: stdin:1: is longer than 16777216 bytes' err
expect 0 'whole.efb: 64 samples' efdata convert "$sample/sample.jsonl" whole.efb
sed 's/"input_ids.*"target/"target/' "$sample/sample.jsonl" >bare.jsonl
expect 3 'sample 0: has no ids' efdata convert bare.jsonl bare.efb
expect 0 'bare.efb: 64 samples' efdata convert bare.jsonl bare.efb --vocab "$sample/vocab.txt"
check 'convert --vocab gives the ids' same whole.efb bare.efb
expect 0 'packed.efb: 64 samples' efdata pack --texts sentences.txt --vectors "$sample/sample.jsonl" packed.efb \
    --vocab "$sample/vocab.txt"
check 'pack --vocab gives the ids' same whole.efb packed.efb
expect 0 'short.efb: 64 samples' efdata convert bare.jsonl short.efb --vocab "$sample/vocab.txt" --length 12
expect 0 ', most 12' efdata info short.efb
expect 3 'none.txt: cannot open' efdata convert bare.jsonl no.efb --vocab none.txt

# ---- interrupted, and out of memory ----

mkfifo pipe
"$build/efdata" pack --texts pipe --vectors two.npy out.jsonl 2>err &
pid=$!
exec 3>pipe # efdata waits for its first text from here on
sleep 0.3
kill -TERM $pid
wait $pid
check 'an interrupted command ends with 130' [ $? -eq 130 ]
exec 3>&-
check 'and says so' grep -q '^efdata: interrupted: nothing is written' err
check 'and leaves nothing' absent out.jsonl*
{ printf EFB1 && u32 1 && u32 1 && u32 40000000; } >large.efb # a hole follows, 200 MB of zeros
truncate -s 200000020 large.efb
if [ -z "${EF_SANITIZE:-}" ]; then
    (
        # shellcheck disable=SC3045 # dash and bash have it
        ulimit -v 150000
        run efdata info large.efb
        exit $status
    )
    check 'too little memory is 4' [ $? -eq 4 ]
    check 'and says so' grep -q '^efdata: large.efb: out of memory' err
fi
expect 0 '^samples  *1,' efdata info large.efb --batch 1
{ printf '{"target":[1],"text":"' && head -c 20000000 /dev/zero | tr '\0' x && printf '"}\n'; } >long.jsonl
expect 3 'long.jsonl:1: is longer than 16777216 bytes' efdata info long.jsonl
check 'no temporary file is left' absent energyflow-*

finish
