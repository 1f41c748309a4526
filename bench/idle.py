#!/usr/bin/env python3
"""How much of the time the device was idle, from a trace (EF_TRACE), and what the host did meanwhile.

From the first command of the first batch that counts to the end of the last. Gaps between commands are dealt out
by the host's lanes: it waited, it enqueued, or neither: it was between batches, for example waiting for a loader.
"""
import argparse
import json

ENQUEUE, WAIT, DEVICE, READBACK, LOADER = range(1, 6)


def spans(path):
    """The events of a trace, also of one that has no end."""
    with open(path) as file:
        for line in file:
            line = line.strip().strip("[],")
            if line:
                event = json.loads(line)
                if event["ph"] == "X":
                    yield event


def union(events):
    """Intervals of some events, merged."""
    merged = []
    for start, end in sorted((e["ts"], e["ts"] + e["dur"]) for e in events):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


def length(intervals):
    return sum(end - start for start, end in intervals)


def common(a, b):
    """What two lists of merged intervals share."""
    shared, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        start, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < end:
            shared.append([start, end])
        i, j = (i + 1, j) if a[i][1] < b[j][1] else (i, j + 1)
    return shared


def measure(path, label, skip):
    events = list(spans(path))
    chosen = [e for e in events if e["args"].get("batch", "").startswith(label)]
    epochs = sorted({e["args"]["epoch"] for e in chosen})[skip:]
    if not epochs:
        raise SystemExit(f"{path}: no batch after {skip} has a label that starts with '{label}'")
    kept = set(epochs)
    device = [e for e in chosen if e["args"]["epoch"] in kept and e["tid"] in (DEVICE, READBACK)]
    first, last = min(e["ts"] for e in device), max(e["ts"] + e["dur"] for e in device)
    busy = common(union(e for e in events if e["tid"] in (DEVICE, READBACK)), [[first, last]])
    edges = [first] + [edge for interval in busy for edge in interval] + [last]
    gaps = [[a, b] for a, b in zip(edges[::2], edges[1::2]) if a < b]
    lane = {tid: union(e for e in events if e["tid"] == tid) for tid in (ENQUEUE, WAIT, LOADER)}
    waited, enqueued = length(common(gaps, lane[WAIT])), length(common(gaps, lane[ENQUEUE]))
    time = last - first
    return dict(batches=len(epochs), seconds=round(time / 1e6, 3), idle=round(1 - length(busy) / time, 5),
                idle_ms=round((time - length(busy)) / len(epochs) / 1e3, 4),
                waiting=round(waited / time, 5), enqueuing=round(enqueued / time, 5),
                between=round((length(gaps) - waited - enqueued) / time, 5),
                loading=round(length(common(lane[LOADER], [[first, last]])) / time, 5))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("trace")
    a.add_argument("--label", default="step", help="of the batches that count, or how it starts (default: step)")
    a.add_argument("--skip", type=int, default=10, help="batches at the start, which compile (default: 10)")
    a.add_argument("--json", action="store_true")
    given = a.parse_args()
    found = measure(given.trace, given.label, given.skip)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['batches']} batches in {found['seconds']} s: device idle {found['idle']:.2%}, "
          f"{found['idle_ms']} ms a batch\nmeanwhile the host waited {found['waiting']:.2%}, enqueued "
          f"{found['enqueuing']:.2%}, neither {found['between']:.2%}; the loader was busy {found['loading']:.2%}")


if __name__ == "__main__":
    main()
