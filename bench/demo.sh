#!/bin/sh
# make demo: an encoder learns the sample's teacher and is tried on text that it has never seen; what
# waiting once a batch is worth is measured. All that is written goes to BUILD/demo.
set -eu
srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd)
cd "${builddir:-$srcdir}"
sample=$srcdir/tests/sample
mkdir -p demo
started=$(date +%s)

say() { printf '\n%s\n' "$*"; }

# The log as a table: step, loss; the end of an epoch stands where its last step does.
table() {
    awk -v "want=$1" '
        function value(key) {
            if (!match($0, "\"" key "\":[^,}]*")) return ""
            return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
        }
        /"step":/ { step = value("step"); if (want == "steps") print step, value("loss") }
        /"val_cos":/ && want == "epochs" { print step, value("val_cos") }
    ' demo/log.jsonl
}

# draw TERMINAL FILE
draw() {
    gnuplot 2>demo/gnuplot.log <<PLOT
set terminal $1
set output "demo/$2"
set title "The sample: 1,000 sentences to train on, 200 held out"
set xlabel "step"
set ylabel "training loss"
set ytics nomirror
set y2label "held-out cosine"
set y2range [0:1]
set y2tics
set grid
set key center right
plot "demo/steps.txt" with lines lc rgb "#1f77b4" title "loss", \
     "demo/epochs.txt" axes x1y2 with linespoints pt 7 lc rgb "#d62728" title "cosine"
PLOT
    [ -s "demo/$2" ]
}

say "Tuning the convolutions of the demo's model for this device, at most 40 seconds:"
for op in forward dx dw; do
    echo "conv1d.$op B32 L18 D64 H128 K5 d2"
done >demo/shapes
./eftune --effort quick --db demo/tuned --shapes demo/shapes

# Milliseconds of a training step with the database that is named.
step() {
    EF_TUNE=$1 ./efbench --json --model sample --batch 32 --length 18 encoder |
        sed -n 's|.*encoder.step.*"ms": \([0-9.]*\).*|\1|p'
}
if ./eftune --db demo/tuned --show | grep -q 'times as fast'; then
    say "A training step with what was found: $(step "$PWD/demo/tuned") ms; without: $(step off) ms."
else
    say 'In this time nothing was found that is surely faster than the built-in choices.'
fi
EF_TUNE=$PWD/demo/tuned
export EF_TUNE

say 'Training on 1,000 sentences (the first run on a machine also compiles the kernels):'
./eftrain --data "$sample/sample.efb" --val "$sample/sample-test.efb" --width 64 --hidden 128 \
    --epochs 12 --batch 32 --lr 1e-3 --bucket off \
    --save demo/model.safetensors --log-json demo/log.jsonl

say '200 held-out sentences: the encoder, and the mean of their vectors for comparison:'
./eftexteval --data "$sample/sample-test.efb" --checkpoint demo/model.safetensors

say 'Waiting once a step against waiting after every operation:'
./efbench deferral

table steps >demo/steps.txt
table epochs >demo/epochs.txt
if draw 'pngcairo size 900,500' loss.png; then
    say "The loss curve: $PWD/demo/loss.png"
elif draw 'svg size 900,500' loss.svg; then
    say "The loss curve: $PWD/demo/loss.svg"
else
    say "No picture (gnuplot: $(head -n 1 demo/gnuplot.log)); its numbers: $PWD/demo/steps.txt"
fi
echo "The model: $PWD/demo/model.safetensors"
echo "The demo took $(($(date +%s) - started)) seconds."
