-- A database as large as vgrid promises to answer quickly from: one sweep of 10,000 configs, ten values of each of four flags, 7,000 of them
-- measured with 33 figures each.
-- `src/store/tests_views.rs` looks at how it is read, and times every view on it.

INSERT INTO sweep (id, uuid, grid_name, grid_path, grid_text, grid_sha256, deployment, baseline, suite_json, plan_json, images_json,
                   host_json, vgrid_version, created_at)
VALUES (1, 'u', 'ten-thousand', 'g.yaml', 'name: g', 'abc', 'local/vllm', 'c0',
        '{"name":"quick","seed":1,"scenarios":[{"scenario":"smoke"},{"scenario":"kv_cache"},{"scenario":"load"}]}', '{}', '{}', '{}', '0', '2026-01-01T00:00:00Z');
INSERT INTO sweep_run (id, sweep_id, started_at, ended_at, ended, pid, boot_id, vgrid_version)
VALUES (1, 1, '2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z', 'complete', 1, 'b', '0');
INSERT INTO objective (sweep_id, position, name, direction, metric, scenario) VALUES
  (1, 1, 'throughput', 'maximize', 'load.output_tokens_per_s', 'load'),
  (1, 2, 'conversational', 'minimize', 'kv_cache.ttft_hit_ms.p50', 'kv_cache');
INSERT INTO gate (id, sweep_id, position, expression) VALUES (1, 1, 1, 'kv_cache.ttft_miss_ms.p50 <= 4000');

CREATE TEMP TABLE number AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT i FROM n;

INSERT INTO trial (id, sweep_id, position, name, config_key, is_baseline, settings_json, argv_json, axis_values_json)
SELECT i + 1, 1, i + 1, 'c' || i, printf('%016x', i), i = 0,
       json_object('flags', json_object('max-num-seqs', cast(8 * (1 + i % 10) AS TEXT), 'max-num-batched-tokens', cast(1024 * (1 + i / 10 % 10) AS TEXT),
         'gpu-memory-utilization', printf('0.%d', 80 + i / 100 % 10), 'block-size', cast(16 * (1 + i / 1000) AS TEXT))), '[]', '[]' FROM number;

INSERT INTO attempt (id, trial_id, run_id, number, started_at, ended_at, phase, outcome, cause, remedy, ready_s, elapsed_s)
SELECT i + 1, i + 1, 1, 1,
       strftime('%Y-%m-%dT%H:%M:%fZ', '2026-01-01', '+' || (i * 240) || ' seconds'),
       strftime('%Y-%m-%dT%H:%M:%fZ', '2026-01-01', '+' || (i * 240 + 230) || ' seconds'),
       CASE WHEN i % 10 < 7 THEN 'teardown' ELSE 'startup' END,
       CASE WHEN i % 10 < 7 THEN 'measured' ELSE 'failed' END,
       CASE WHEN i % 10 < 7 THEN NULL ELSE 'gpu_oom' END,
       CASE WHEN i % 10 < 7 THEN NULL ELSE 'lower max-model-len' END,
       40.0 + i % 50, 230.0
FROM number;
INSERT INTO attempt_evidence (attempt_id, position, line_number, text)
SELECT i + 1, 1, 100, 'CUDA out of memory' FROM number WHERE i % 10 >= 7;

INSERT INTO scenario_result (id, attempt_id, trial_id, scenario, spec_json, data_sha256, result_key, started_at, elapsed_s, verdict, saved_at)
SELECT i * 3 + s.k, i + 1, i + 1, s.scenario, json_object('scenario', s.scenario), 'd', i || s.scenario, '2026-01-01T00:00:00Z', 60.0, 'valid', '2026-01-01T00:00:00Z'
FROM number, (SELECT 1 AS k, 'smoke' AS scenario UNION ALL SELECT 2, 'kv_cache' UNION ALL SELECT 3, 'load') s
WHERE i % 10 < 7;

CREATE TEMP TABLE figure_name (k INTEGER, scenario TEXT, point TEXT, name TEXT, statistic TEXT);
INSERT INTO figure_name VALUES (1, 'smoke', NULL, 'passed', NULL),
  (2, 'kv_cache', NULL, 'ttft_miss_ms', 'p50'), (2, 'kv_cache', NULL, 'ttft_hit_ms', 'p50'), (2, 'kv_cache', NULL, 'acceleration_ratio', NULL),
  (3, 'load', NULL, 'output_tokens_per_s', NULL), (3, 'load', NULL, 'requests_per_s', NULL), (3, 'load', NULL, 'tpot_ms', 'p50');
INSERT INTO figure_name SELECT 3, 'load', 'c' || i, 'ttft_ms', 'p50' FROM number WHERE i < 26;

INSERT INTO metric (scenario_result_id, path, scenario, point, name, statistic, value, unit, n, failed_n, ci_low, ci_high)
SELECT i * 3 + k, scenario || coalesce('.' || point, '') || '.' || name || coalesce('.' || statistic, ''), scenario, point, name, statistic,
       v, 'ms', 40, 0, v * 0.98, v * 1.02
FROM (SELECT i, f.*, 1000.0 + (i * 7919 + length(f.name) * 104729) % 1000 AS v FROM number, figure_name f WHERE i % 10 < 7);

INSERT INTO trial_figure (trial_id, path, value, unit, n, starts, failed_n, ci_low, ci_high, verdict)
SELECT r.trial_id, m.path, m.value, m.unit, m.n, 1, m.failed_n, m.ci_low, m.ci_high, r.verdict
FROM metric m JOIN scenario_result r ON r.id = m.scenario_result_id;

INSERT INTO gate_result (trial_id, gate_id, passed) SELECT i + 1, 1, i % 100 <> 6 FROM number WHERE i % 10 < 7;

INSERT INTO effect (sweep_id, objective, metric, direction, unit, setting, from_value, to_value, pairs, difference, real)
SELECT 1, 'throughput', 'load.output_tokens_per_s', 'maximize', 'tokens_per_s', 'max-num-seqs', '0', i, 1, 1.0, 0 FROM number WHERE i < 1000;

DROP TABLE number;
DROP TABLE figure_name;
ANALYZE;
