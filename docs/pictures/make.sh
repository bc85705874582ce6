#!/usr/bin/env bash
# Makes the pictures of the README anew: a small sweep on the simulated engine, its screen while it runs, `champions`, and the report.
#   bash docs/pictures/make.sh [path of vgrid]
# It needs tmux (the screen), python3 (from its colours to SVG) and chromium or chromium-headless-shell (the page), and an idle machine: else
# figures are suspect.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vgrid=$(realpath "${1:-$here/../../target/release/vgrid}")
for tool in tmux python3; do
    command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }
done
browser=$(command -v chromium || command -v chromium-headless-shell) || { echo "chromium is missing" >&2; exit 1; }
folder=$(mktemp -d)
session=vgrid-pictures-$$
trap 'tmux kill-session -t "$session" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

cat >grid.yaml <<GRID
name: qwen3-32b-awq
deployment:
  process:
    command: [$vgrid, sim, /models/qwen3-32b-awq, --port, "18799", --sim-boot-seconds=2, --sim-speed=6, --max-model-len=8192]
    port: 18799
axes:
  max-num-seqs: [4, 16, 64]
  enable-prefix-caching: [on, off]
configs:
  - { name: as_deployed, flags: { max-num-seqs: 8 } }
  - { name: too_much_memory, flags: { gpu-memory-utilization: 0.99 } }
baseline: as_deployed
suite:
  smoke: { fit: false }
  kv_cache: { prefix_tokens: [512, 2048, 4096], repeats: 6, output_tokens: 8 }
  load: { concurrency: [1, 4, 16], requests_per_user: 8, prompt_tokens: 256, output_tokens: 32 }
objectives:
  conversational: minimize kv_cache.ttft_hit_ms.p50
  throughput: maximize load.output_tokens_per_s
GRID

tmux new-session -d -s "$session" -x 140 -y 24 "$vgrid --color always run grid.yaml; tmux wait-for -S $session"
# The screen while the third config is under load.
for _ in $(seq 600); do
    screen=$(tmux capture-pane -p -t "$session")
    if grep -q '\[3/8\]\|3/8' <<<"$screen" && grep -q 'load' <<<"$screen"; then break; fi
    sleep 0.1
done
tmux capture-pane -e -p -t "$session" >run.ansi
tmux wait-for "$session" || true
"$vgrid" --color always champions >champions.ansi
for picture in run champions; do
    python3 "$here/terminal.py" "vgrid $picture" <"$picture.ansi" >"$here/$picture.svg"
done
"$vgrid" report -o report.html
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/browser" --virtual-time-budget=3000 \
    --force-device-scale-factor=1 --window-size=1180,900 --screenshot="$here/report.png" "file://$folder/report.html" 2>/dev/null
ls -l "$here"
