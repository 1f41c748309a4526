#!/bin/sh
# What eftune and efbench hand out: T4 results, Kernel Tuner caches, pictures. First of books written here,
# so that every outcome is among them, then of a small real run. Runs in the build folder.
set -u
build=$(pwd)
srcdir=$(cd "${srcdir:-$(dirname "$0")/..}" && pwd)
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT || exit 99
cd "$tmp" || exit 99
failed=0
checked=0

skip() { echo "SKIP $1: $2"; }

# expect STATUS PATTERN COMMAND...: that exit status, and the pattern, if any, in what it prints.
expect() {
    want=$1 pattern=$2
    shift 2
    checked=$((checked + 1))
    "$@" >out 2>err
    status=$?
    if [ $status -ne "$want" ] || { [ -n "$pattern" ] && ! grep -q -e "$pattern" out err; }; then
        failed=$((failed + 1))
        echo "FAIL $*: exit status $status, not $want, or nowhere \"$pattern\""
        sed 's/^/    /' err
    fi
}

eftune="$build/eftune"
efbench="$build/efbench"
command -v python3 >/dev/null || { skip all 'python3 is not installed'; exit 77; }

# ---- books with every outcome, of a device whose name has to be quoted ----

format=$(sed -n 's/^#define EF__TUNE_FORMAT "\(.*\)"/\1/p' "$srcdir/src/op/tuned.h")
cat >x.eftune <<BOOK
{"format":"$format","library":"0.1","key":"00","device":"Bob's \"GPU\" <1>","platform":"P","version":"V","driver":"D 1","cpu":"C","units":2}
BOOK
awk '
    function line(what, choice, more) {
        printf "{\"what\":\"%s\",\"target\":\"%s\",\"choice\":\"%s\",\"at\":%.0f%s}\n", what, target, choice, at, more
    }
    function begin(choice) { line("begin", choice, "") }
    function time(choice, took, ms) { begin(choice); at += took; line("time", choice, ",\"ms\":" ms) }
    function end(choice, took, outcome) {
        begin(choice); at += took
        line("end", choice, ",\"outcome\":\"" outcome "\",\"worst\":0.5,\"text\":\"\"")
    }
    function fate(choice, text) { line("fate", choice, ",\"fate\":\"" text "\",\"ms\":1") }
    BEGIN {
        at = 1000000000000
        target = "conv1d.forward B2 L8"
        print "{\"identity\":\"0\"}"
        line("default", "direct", ",\"floor_ms\":0.5")
        time("toom2 rows 16, vectors 2", 100, 2.5); time("toom2 rows 16, vectors 2", 10, 1.5)
        time("toom2 rows 16, vectors 2", 15, 2); end("toom2 rows 16, vectors 2", 50, "correct")
        end("panel rows 8", 70, "compile")
        time("panel rows 2", 5, 3); end("panel rows 2", 5, "correctness")
        time("direct", 20, 9)
        time("panel rows 12", 5, 4); begin("panel rows 12") # it has one more try
        time("panel rows 24", 5, 5); begin("panel rows 24"); begin("panel rows 24")
        begin("panel rows 4")
        end("panel rows 32", 1, "untried")
        end("panel rows 64", 1, "constraints")
        end("panel rows 6", 9, "timeout")
        fate("toom2 rows 16, vectors 2", "the choice")
        target = "gelu.forward H16"
        line("default", "item", ",\"floor_ms\":0")
        time("item", 1, 0.25); fate("item", "the default")
        printf "{\"what\":\"time\",\"target\":\"gelu.forward H16\",\"choice\":\"item\",\"ms"
    }' >x.eftune.journal

cat >check.py <<'PY'
"""check.py FOLDER [books]: the files of --export in FOLDER/t4 and FOLDER/kt; books: those written by the test."""
import json, re, sys
from pathlib import Path

folder = Path(sys.argv[1])
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
OUTCOMES = {"timeout", "compile", "runtime", "correctness", "constraints", "correct"}

def number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)

def check_t4(t4):
    assert t4["schema_version"] == "1.0.0" and t4["metadata"]["timeunit"] == "milliseconds"
    for name in ("compute_api", "platform", "device", "autotuner", "autotuner_version", "timestamp", "target"):
        assert isinstance(t4["metadata"][name], str), name
    assert t4["results"]
    for r in t4["results"]:
        good = r["invalidity"] == "correct"
        assert r["invalidity"] in OUTCOMES and r["correctness"] in (0, 1) and r["objectives"] == ["time"]
        assert STAMP.match(r["timestamp"]) and isinstance(r["configuration"]["variant"], str)
        assert all(isinstance(v, int) for k, v in r["configuration"].items() if k != "variant")
        assert all(number(r["times"][k]) and r["times"][k] >= 0
                   for k in ("compilation_time", "compilation", "benchmark", "validation"))
        assert all(number(t) and t > 0 for t in r["times"]["runtimes"])
        assert good == bool(r["times"]["runtimes"]) == bool(r["measurements"]) and (good or not r["correctness"])
        for m in r["measurements"]:
            assert m["name"] == "time" and number(m["value"]) and m["unit"] == "ms"

def check_metadata(m):
    assert m["schema_version"] == "1.0.0"
    m = m["metadata"]
    assert isinstance(m["hardware"]["hardware_description"], list)
    assert isinstance(m["hardware"]["operating_system"], str) and isinstance(m["operating_system"], str)
    assert isinstance(m["environment"]["device_query"], dict)
    assert all(isinstance(r, str) and "==" in r for r in m["environment"]["requirements"])

def check_cache(data):
    assert data.endswith(b"}}\n}"), data[-20:]
    text = data.decode()
    c = json.loads(text)
    more = json.loads(text[:-3] + ',\n"more": {}}\n}')  # how Kernel Tuner goes on with a cache
    assert len(more["cache"]) == len(c["cache"]) + 1 == text.count("\n")
    names = c["tune_params_keys"]
    assert names == list(c["tune_params"]) and names[0] == "variant" and c["objective"] == "time"
    assert isinstance(c["device_name"], str) and isinstance(c["kernel_name"], str)
    assert all(isinstance(n, int) and n > 0 for n in c["problem_size"])
    for key, e in c["cache"].items():
        assert key == ",".join(str(e[n]) for n in names)
        assert all(e[n] in c["tune_params"][n] for n in names)
        assert all(number(e[n]) and e[n] >= 0 for n in ("compile_time", "verification_time", "benchmark_time"))
        assert ("time" in e) != ("__error__" in e) and ("time" in e) == bool(e["times"]) and STAMP.match(e["timestamp"])
    return c

def read_by_kernel_tuner(path, cache):
    from kernel_tuner import util
    from kernel_tuner.interface import tune_cache
    longer = folder / "longer.json"  # it goes on with a copy, and reads that
    longer.write_bytes(path.read_bytes())
    util.read_cache(longer, open_cache=True)
    util.store_cache("more", {"time": 1.0}, longer, {})
    util.close_cache(longer)
    assert len(util.read_cache(longer, open_cache=False)["cache"]) == len(cache["cache"]) + 1
    good = [e["time"] for e in cache["cache"].values() if "time" in e]
    if not good:
        return
    results, _ = tune_cache(str(path), quiet=True)
    assert sorted(r["time"] for r in results if "__error__" not in r) == sorted(good)
    results, _ = tune_cache(str(path), quiet=True, strategy="random_sample", strategy_options={"time_limit": 9})
    assert results

t4 = {p.name: json.loads(p.read_text()) for p in sorted((folder / "t4").iterdir())}
check_metadata(t4.pop("metadata_T4.json"))
for results in t4.values():
    check_t4(results)
kt = {p: check_cache(p.read_bytes()) for p in sorted((folder / "kt").iterdir())}
assert [p.name.replace("_cache", "_T4") for p in kt] == list(t4)

if "books" in sys.argv:
    conv = t4["conv1d.forward_B2_L8_T4.json"]
    assert conv["metadata"]["device"] == "Bob's \"GPU\" <1>"
    got = [(list(r["configuration"].values()), r["invalidity"], r["correctness"]) for r in conv["results"]]
    assert got == [(["direct"], "correct", 0), (["toom2", 16, 2], "correct", 1), (["panel", 8], "compile", 0),
                   (["panel", 2], "correctness", 0), (["panel", 12], "correct", 0), (["panel", 24], "runtime", 0),
                   (["panel", 4], "runtime", 0), (["panel", 64], "constraints", 0),
                   (["panel", 6], "timeout", 0)], got
    first = conv["results"][1]
    assert first["times"] == {"compilation_time": 100, "compilation": 100, "benchmark": 25, "validation": 50,
                              "runtimes": [2.5, 1.5, 2]}, first
    assert first["measurements"][0]["value"] == 2 and first["timestamp"] == "2001-09-09T01:46:40Z"
    assert conv["results"][2]["times"]["compilation"] == 70
    cache = kt[folder / "kt" / "conv1d.forward_B2_L8_cache.json"]
    assert cache["problem_size"] == [2, 8] and cache["kernel_name"] == "conv1d.forward"
    assert cache["tune_params"] == {"variant": ["direct", "toom2", "panel"], "rows": [0, 2, 4, 6, 8, 12, 16, 24, 64],
                                    "vectors": [0, 2]}, cache["tune_params"]
    assert {k: e.get("__error__") for k, e in cache["cache"].items()} == {
        "toom2,16,2": None, "panel,8,0": "CompilationFailedConfig", "panel,2,0": "RuntimeFailedConfig",
        "direct,0,0": None, "panel,12,0": None, "panel,24,0": "RuntimeFailedConfig",
        "panel,4,0": "RuntimeFailedConfig", "panel,64,0": "InvalidConfig",
        "panel,6,0": "RuntimeFailedConfig"}
    assert cache["cache"]["toom2,16,2"]["time"] == 2

try:
    import kernel_tuner
except ImportError:
    print("SKIP kernel_tuner: python3 has no module of that name (pip install kernel_tuner)")
else:
    import jsonschema
    from kernel_tuner import file_utils
    for p in (folder / "t4").iterdir():
        kind = "metadata" if p.name == "metadata_T4.json" else "results"
        jsonschema.validate(json.loads(p.read_text()), file_utils.output_file_schema(kind)[1])
    for path, cache in kt.items():
        read_by_kernel_tuner(path, cache)
    print("read by kernel_tuner")
print("checked", len(t4), "targets")
PY

cat >picture.py <<'PY'
"""picture.py FILE.svg TEXT...: it parses, and the texts are in it."""
import sys
import xml.etree.ElementTree as tree

texts = ["".join(t.itertext()) for t in tree.parse(sys.argv[1]).getroot().iter("{http://www.w3.org/2000/svg}text")]
missing = [t for t in sys.argv[2:] if t not in texts]
assert not missing, (missing, texts)
print("drawn")
PY

expect 0 '' "$eftune" --db x.eftune --export t4 x
mkdir both && mv x both/t4
mkdir both/kt && echo old >both/kt/gelu.forward_H16_cache.json
expect 0 '' "$eftune" --export kt both/kt --db x.eftune
expect 0 'panel rows 12  *the run ended while it was tried: once more it may be$' "$eftune" --why conv1d.forward --db x.eftune
expect 0 'panel rows 24  *the run ended while it was tried$' "$eftune" --why conv1d.forward --db x.eftune
expect 0 'checked 2 targets' python3 check.py both books
grep kernel_tuner out

# ---- what cannot be written or read ----

expect 2 'needs a folder' "$eftune" --db x.eftune --export t4
expect 2 'not one of t4|kt' "$eftune" --db x.eftune --export xml y
expect 2 'unexpected argument "z"' "$eftune" --db x.eftune --export t4 y z
expect 2 'unexpected argument "y"' "$eftune" --db x.eftune y
expect 3 'none.eftune: .*No such file' "$eftune" --db none.eftune --export t4 y
expect 1 'no/such: No such file' "$eftune" --db x.eftune --export t4 no/such
expect 1 'x.eftune' "$eftune" --db x.eftune --export t4 x.eftune
[ ! -e y ] || { echo 'FAIL a folder is left'; failed=$((failed + 1)); }
head -n 1 x.eftune >new.eftune
expect 3 'new.eftune.journal: No such file' "$eftune" --db new.eftune --plot new.svg
head -n 1 x.eftune.journal >new.eftune.journal
expect 3 'nothing was tried yet' "$eftune" --db new.eftune --plot new.svg
expect 2 '.--plot: draws ops' "$efbench" --plot new.svg launch
echo old >old.svg
expect 1 '^eftune: gnuplot: No such file' env PATH=/nonexistent "$eftune" --db x.eftune --plot old.svg
mkdir bin && printf '#!/bin/sh\necho half\necho "line 7: wrong" >&2\nexit 1\n' >bin/gnuplot && chmod +x bin/gnuplot
expect 1 '^eftune: gnuplot: line 7: wrong' env PATH="$tmp/bin:$PATH" "$eftune" --db x.eftune --plot old.svg
expect 0 '^old$' cat old.svg
[ ! -e new.svg ] || { echo 'FAIL a picture is left'; failed=$((failed + 1)); }

# ---- pictures ----

if command -v gnuplot >/dev/null; then
    expect 0 '' "$eftune" --db x.eftune --plot old.svg
    expect 0 drawn python3 picture.py old.svg "Bob's \"GPU\" <1>" \
        'conv1d.forward B2 L8: 9 tried, 6 failed' choice default 'floor 0.5 ms' 'gelu.forward H16: 1 tried, 0 failed' \
        'default, kept'
else
    skip pictures 'gnuplot is not installed'
fi

# ---- a real run ----

printf 'gelu.forward H4096\nlayernorm.forward B64 D32\n' >shapes
"$eftune" --shapes shapes --budget 5 --db real.eftune >out 2>err
case $? in
0)
    expect 0 '' "$eftune" --db real.eftune --export t4 t4
    expect 0 '' "$eftune" --db real.eftune --export kt kt
    expect 0 'checked [12] targets' python3 check.py .
    expect 0 '"floor_ms":[0-9.e-]*[1-9]' cat real.eftune.journal
    if command -v gnuplot >/dev/null; then
        expect 0 '' "$eftune" --db real.eftune --plot real.svg
        expect 0 drawn python3 picture.py real.svg
        expect 0 gelu.forward "$efbench" --model sample --batch 1 --length 8 --rounds 1 --plot roof.svg ops
        expect 0 drawn python3 picture.py roof.svg 'gelu.forward B1 L8 H128'
    fi
    ;;
4) skip 'a real run' "$(cat err)" ;;
*) echo "FAIL eftune: $(cat err)"; failed=$((failed + 1)) ;;
esac

[ "$failed" -eq 0 ] || { echo "tune_export: $failed of $checked checks failed"; exit 1; }
echo "tune_export: $checked checks passed"
