#!/usr/bin/env bash
# What vgrid adds to the engine, and how soon it notices: a real sweep of the simulated engine in real containers, watched from
# outside through Docker's own events and log times. docs/overhead.md explains the figures.
#
#   usage: bash benches/overhead.sh [TRIALS]        (default 8; needs docker and sqlite3)
#
# The program is $VGRID, else target/release/vgrid, else target/debug/vgrid. All of its containers and files are removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly trials=${1:-8}
vgrid=${VGRID:-target/release/vgrid}
[ -x "$vgrid" ] || vgrid=target/debug/vgrid
[ -x "$vgrid" ] || { echo "there is no vgrid: cargo build --release" >&2; exit 1; }
vgrid=$(realpath "$vgrid")
readonly project=vgrid-overhead-$$ port=$((23000 + $$ % 900))
dir=$(mktemp -d)
watchers=()

clean_up() {
    kill "${watchers[@]}" 2>/dev/null || true
    docker ps -aq --filter "label=com.docker.compose.project=$project" | xargs -r docker rm -fv >/dev/null
    docker network rm "${project}_default" >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap clean_up EXIT

write_deployment() {
    cat >"$dir/compose.yml" <<COMPOSE
name: $project
services:
  vllm:
    image: vgrid-sim:local
    command: >-
      sim/overhead-8b --served-model-name overhead --port 8000 --max-model-len 4096 --max-num-seqs 16
      --sim-boot-seconds 1 --sim-first-request-ms 0 --sim-speed 8
    ports: ["127.0.0.1:$port:8000"]
COMPOSE
    {
        printf 'name: %s\ndeployment: { compose: [compose.yml], service: vllm }\nconfigs:\n' "$project"
        for i in $(seq "$trials"); do printf '  - { name: c%d, flags: { max-num-seqs: %d } }\n' "$i" $((16 + i)); done
        # Two that die, in the boot and while serving.
        printf '  - { name: dies_in_boot, flags: { sim-fail: oom_load } }\n'
        printf '  - { name: dies_serving, flags: { sim-fail: "killed:9" } }\n'
        printf 'suite:\n  smoke: {}\n  kv_cache: { prefix_tokens: [1024], repeats: 10 }\n'
        printf '  load: { concurrency: [1, 16], requests_per_user: 4, prompt_tokens: 256, output_tokens: 128 }\n'
        printf 'limits: { retries: 0 }\n'
    } >"$dir/grid.yaml"
}

# Each of the project's events with its time in s, and each container's log with Docker's times.
watch_docker() {
    mkfifo "$dir/told"
    docker events --filter "label=com.docker.compose.project=$project" --filter type=container \
        --format '{{.TimeNano}} {{.Action}} {{.ID}}' >"$dir/told" &
    watchers+=($!)
    while read -r nanos action id; do
        printf '%s.%s|%s|%s\n' "${nanos::-9}" "${nanos: -9}" "${action%%:*}" "$id" >>"$dir/events"
        if [ "$action" = start ]; then docker logs --follow --timestamps "$id" >"$dir/log-$id" 2>&1 & fi
    done <"$dir/told" &
}

# Runs the sweep; its lines with the time of their arrival, and the most memory that it ever held.
sweep() {
    local pid high=
    mkfifo "$dir/stderr"
    (cd "$dir" && exec "$vgrid" run grid.yaml --db runs.db >stdout 2>stderr) &
    pid=$!
    while IFS= read -r line; do printf '%s|%s\n' "$EPOCHREALTIME" "${line//|/ }"; done <"$dir/stderr" >"$dir/lines" &
    while [ -r "/proc/$pid/status" ]; do
        high=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || true
        [ -z "$high" ] || echo "$high" >"$dir/memory"
        sleep 0.05
    done
    wait "$pid" || [ $? = 2 ] || { cat "$dir/lines" "$dir/stdout" >&2; exit 1; }
}

figures() {
    touch "$dir/started"
    for log in "$dir"/log-*; do
        awk -v id="${log##*/log-}" '/Application startup complete/ { print $1 "|" id; exit }' "$log" >>"$dir/started"
    done
    sqlite3 :memory: <<SQL
ATTACH '$dir/runs.db' AS runs;
CREATE TABLE event (at REAL, action TEXT, id TEXT);
CREATE TABLE startup (at TEXT, id TEXT);
CREATE TABLE line (at REAL, text TEXT);
.mode list
.import '$dir/events' event
.import '$dir/started' startup
.import '$dir/lines' line
CREATE TABLE trial AS
WITH t AS (
  SELECT t.name, a.id AS attempt, a.outcome, a.cause, a.elapsed_s, a.ready_s,
    (SELECT min(at) FROM event WHERE id = a.container_id AND action = 'create') AS created,
    (SELECT min(at) FROM event WHERE id = a.container_id AND action = 'start') AS started,
    (SELECT (julianday(at) - 2440587.5) * 86400 FROM startup WHERE id = a.container_id) AS served,
    (SELECT min(at) FROM event WHERE id = a.container_id AND action = 'kill') AS killed,
    (SELECT min(at) FROM event WHERE id = a.container_id AND action = 'die') AS died,
    (SELECT min(at) FROM event WHERE id = a.container_id AND action = 'destroy') AS destroyed,
    (SELECT sum(elapsed_s) FROM runs.scenario_result r WHERE r.attempt_id = a.id) AS scenarios_s,
    (SELECT (julianday(min(started_at)) - 2440587.5) * 86400 FROM runs.scenario_result r WHERE r.attempt_id = a.id) AS first_scenario,
    (SELECT min(at) FROM line WHERE text LIKE '% ' || t.name || ': starting') AS told,
    (SELECT min(at) FROM line WHERE text LIKE '% ' || t.name || ': stopping') AS stopping
  FROM runs.attempt a JOIN runs.trial t ON t.id = a.trial_id ORDER BY a.id)
SELECT *, elapsed_s - (started - created) - (served - started) - scenarios_s - (died - killed) AS added_s FROM t;

SELECT 'per trial, in s; added = whole - Docker''s start - boot - scenarios - the engine''s own end';
.mode column
.headers on
SELECT name AS trial, printf('%.2f', elapsed_s) AS whole, printf('%.2f', started - created) AS start, printf('%.2f', served - started) AS boot,
  printf('%.2f', scenarios_s) AS scenarios, printf('%.2f', died - killed) AS "end", printf('%.3f', added_s) AS added,
  printf('%.0f', (created + ready_s - served) * 1000) AS ready_ms, printf('%.0f', (first_scenario - served) * 1000) AS first_scenario_ms,
  printf('%.0f', (destroyed - died) * 1000) AS removal_ms
FROM trial WHERE outcome = 'measured';
SELECT name AS death, cause, printf('%.0f', (stopping - died) * 1000) AS noticed_ms FROM trial WHERE outcome = 'failed';
.headers off
.mode list
SELECT '';
SELECT printf('vgrid adds per trial          mean %.2f s, at most %.2f s   (target: under 1 s)', avg(added_s), max(added_s)) FROM trial WHERE outcome = 'measured';
SELECT printf('ready after "startup complete" mean %.0f ms, at most %.0f ms (target: under 200 ms)',
  avg(created + ready_s - served) * 1000, max(created + ready_s - served) * 1000) FROM trial WHERE outcome = 'measured';
SELECT printf('death noticed                 at most %.0f ms              (target: under 500 ms)', max(stopping - died) * 1000) FROM trial WHERE outcome = 'failed';
SQL
    printf 'memory of vgrid, at most      %d MiB                 (target: under 100 MB)\n' $(($(cat "$dir/memory") / 1024))
}

write_deployment
watch_docker
sweep
sleep 0.5 # the last events are on their way
echo "$($vgrid --version), $(docker version --format 'Docker {{.Server.Version}}'), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
figures
