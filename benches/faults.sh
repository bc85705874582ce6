#!/usr/bin/env bash
# Injects every fault of docs/faults.md, one after the other, and says what came of it. The table there is the list: each row names the
# test that injects its fault into the real thing.
#
#   usage: bash benches/faults.sh [PATTERN]     only rows whose test matches the pattern; all take about twenty minutes
#
# Some need root (a small file system, a control group, a daemon of their own), Docker, or the real vLLM: tests/setup.sh; those of systemd a
# machine of their own: tests/machine/build.sh. What cannot be injected here is said to be skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pattern=${1:-.}
failed=0
rows=0
# The last column: `file` `test`.
while read -r file test; do
    began=$SECONDS
    rows=$((rows + 1))
    if output=$(cargo test --locked --quiet --test "$file" -- --exact --nocapture --include-ignored "$test" 2>&1 </dev/null) && grep -q '1 passed' <<<"$output"; then
        verdict=ok
        if grep -qi '^skipped' <<<"$output"; then verdict=skipped; fi
    else
        verdict=FAILED
        failed=1
        printf '%s\n' "$output" | tail -40
    fi
    printf '%-8s %4d s  %s %s\n' "$verdict" $((SECONDS - began)) "$file" "$test"
done < <(sed -nE 's/^\|.*\| `([a-z_]+)` `([a-z0-9_:]+)` \|$/\1 \2/p' docs/faults.md | sort -u | grep -E "$pattern")
[ "$rows" -gt 0 ] || { echo "no row of docs/faults.md matches $pattern" >&2; exit 1; }
exit $failed
