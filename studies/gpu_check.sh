#!/bin/sh
# The static and the served quickstart on one GPU, power included, in at most nine minutes.
#
#     PYTHON=python3 sh studies/gpu_check.sh FOLDER
#
# PYTHON is an interpreter that imports sweepwise and vLLM. FOLDER gets check.log, and for each study its storage (.db),
# its measurements (.csv) and its page (.html). The exit status is the number of studies that have no measurement.
# STATIC_S, SERVED_S: seconds of accelerator time that each study may spend.
set -eu
out=${1:?usage: sh studies/gpu_check.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
studies=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
PYTHONPATH=$(dirname "$studies")${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$studies/models" "$work"
cd "$work"

say() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }
sweepwise() { "$PYTHON" -m planner.cli "$@"; }

facts() {
    say machine
    nvidia-smi -L || echo "no nvidia-smi"
    nvidia-smi --query-gpu=driver_version,power.draw,power.limit --format=csv || true
    sweepwise doctor || true
}

# run_study NAME COST LIMIT: the study until COST seconds are spent, stopped with its results after LIMIT seconds.
# Its end without a goal reached is no failure of the check; no measurement is.
run_study() {
    say "$1"
    sed "s/^stop:.*/stop: {cost: ${2}s}/" "$studies/$1.yaml" >"$1.yaml"
    "$PYTHON" - "$1.yaml" "$3" <<'END' || echo "ended with an error"
import subprocess, sys
from runners.power import PowerMeter

command = ["timeout", "-s", "INT", "-k", "20", sys.argv[2], sys.executable, "-m", "planner.cli", "run", sys.argv[1]]
with PowerMeter(1) as meter:
    code = subprocess.run(command).returncode
print(f"exit status {code}; power of the whole run, engine starts included: {meter.reading()}", flush=True)
END
    sweepwise status "$1.yaml" --runs || true
    sweepwise export "$1.yaml" -o "$out/$1.csv" || true
    sweepwise report "$1.yaml" -o "$out/$1.html" --no-baselines --quiet || true
    cp ./*.db "$out" || true
}

# columns NAME: median of each metric of the study's table that is of time or power; fails if there is no row.
columns() {
    say "$1: medians over its rows"
    "$PYTHON" - "$out/$1.csv" <<'END'
import sys
import pandas

table = pandas.read_csv(sys.argv[1])
names = [name for name in table if name.endswith(("_w", "_j")) or name in ("ttft_ms", "tpot_ms", "output_throughput")]
print(table[names].median().to_string())
if not [name for name in names if name.endswith("_w")]:
    print("no power: this machine cannot tell, or this runner does not ask")
sys.exit(table.empty)
END
}

check() {
    began=$(date +%s)
    facts
    run_study quickstart "${STATIC_S:-90}" "$((${STATIC_S:-90} + 110))"
    run_study serve_quickstart "${SERVED_S:-150}" "$((${SERVED_S:-150} + 110))"
    failed=0
    columns quickstart || failed=$((failed + 1))
    columns serve_quickstart || failed=$((failed + 1))
    say "end: $failed studies without a measurement"
    echo "$failed" >failed
}

check 2>&1 | tee "$out/check.log"
exit "$(cat failed 2>/dev/null || echo 2)"
