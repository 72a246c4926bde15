#!/bin/sh
# Benchmark: plays the lessons several times and prints the minimum, median and maximum of each figure, in milliseconds.
#
#   ./deploy/bench.sh            5 runs of each lesson on real hosts, as root
#   ./deploy/bench.sh 9 --embedded
#
# The figures compare runs on one machine; another machine gives others.
set -eu

runs=5
case "${1:-}" in
    [1-9] | [1-9][0-9]) runs=$1; shift ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT INT TERM

"$root/deploy/packages.sh" demo >&2
. "$root/deploy/target.sh"
cargo build --locked --release --manifest-path "$root/Cargo.toml" -p quorumfence-node >&2

for lesson in power-cut partition leader-dies; do
    run=1
    while [ "$run" -le "$runs" ]; do
        echo "bench: $lesson, run $run of $runs" >&2
        "$CARGO_TARGET_DIR/release/quorumfence" demo --json --lesson "$lesson" "$@" >"$results/$lesson.$run.json" 2>"$results/words" ||
            { cat "$results/words" >&2; exit 1; }
        run=$((run + 1))
    done
done

python3 - "$results" <<'PYTHON'
import json, pathlib, statistics, sys

def figures(report):
    """Finds the object that holds the figures, wherever the report keeps it."""
    if isinstance(report, dict):
        if "addedMs" in report:
            return report
        report = list(report.values())
    for part in report if isinstance(report, list) else []:
        found = figures(part)
        if found is not None:
            return found
    return None

print(f"{'LESSON':<12} {'FIGURE':<20} {'MIN':>7} {'MEDIAN':>7} {'MAX':>7}  RUNS")
for lesson in ("power-cut", "partition", "leader-dies"):
    seen = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob(f"{lesson}.*.json")):
        for name, value in (figures(json.loads(path.read_text())) or sys.exit(f"bench: no figures in {path.name}")).items():
            if isinstance(value, int):
                seen.setdefault(name, []).append(value)
    for name, values in seen.items():
        print(f"{lesson:<12} {name:<20} {min(values):>7} {statistics.median(values):>7.0f} {max(values):>7}  {len(values)}")
PYTHON
