-- What became of each case of the scenarios that judge answers, so that configs can be compared case by case.

CREATE TABLE case_outcome (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  case_id         TEXT NOT NULL,
  category        TEXT NOT NULL,
  language        TEXT NOT NULL,
  repeat          INTEGER NOT NULL,
  delivery        TEXT NOT NULL CHECK (delivery IN ('streamed', 'whole')),
  result          TEXT NOT NULL CHECK (result IN ('passed', 'wrong', 'truncated', 'failed')),
  expected        TEXT NOT NULL,
  got             TEXT NOT NULL,
  request_position INTEGER NOT NULL,
  passed          INTEGER GENERATED ALWAYS AS (result = 'passed') VIRTUAL,
  PRIMARY KEY (scenario_result_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX case_outcome_by_case ON case_outcome (scenario_result_id, case_id);

-- A case passes when it passes every time and in every delivery. It is left out where a request of it failed on either side.
CREATE VIEW paired_quality AS
SELECT
  sweep_id,
  trial_id,
  config,
  scenario,
  baseline,
  baseline_trial_id,
  count(*) FILTER (WHERE NOT failed) AS cases,
  count(*) FILTER (WHERE NOT failed AND passed AND baseline_passed) AS both_passed,
  count(*) FILTER (WHERE NOT failed AND baseline_passed AND NOT passed) AS only_baseline,
  count(*) FILTER (WHERE NOT failed AND passed AND NOT baseline_passed) AS only_config,
  count(*) FILTER (WHERE NOT failed AND NOT passed AND NOT baseline_passed) AS neither,
  count(*) FILTER (WHERE failed) AS left_out
FROM (
  SELECT
    t.sweep_id, t.id AS trial_id, t.name AS config, r.scenario, b.name AS baseline, b.id AS baseline_trial_id, c.case_id,
    min(c.passed) AS passed,
    (SELECT min(d.passed) FROM case_outcome d WHERE d.scenario_result_id = q.id AND d.case_id = c.case_id) AS baseline_passed,
    max(c.result = 'failed') OR
      (SELECT max(d.result = 'failed') FROM case_outcome d WHERE d.scenario_result_id = q.id AND d.case_id = c.case_id) AS failed
  FROM trial t
  JOIN scenario_result r ON r.id = (
    SELECT max(n.id) FROM scenario_result n WHERE n.trial_id = t.id AND n.scenario = r.scenario AND n.verdict <> 'invalid')
    AND r.trial_id = t.id
  JOIN trial b ON b.id = (
    SELECT max(x.id) FROM trial x WHERE x.sweep_id = t.sweep_id AND x.is_baseline = 1
      AND EXISTS (SELECT 1 FROM scenario_result y WHERE y.trial_id = x.id AND y.scenario = r.scenario AND y.verdict <> 'invalid'))
  JOIN scenario_result q ON q.id = (
    SELECT max(n.id) FROM scenario_result n WHERE n.trial_id = b.id AND n.scenario = r.scenario AND n.verdict <> 'invalid')
    AND q.data_sha256 = r.data_sha256
  JOIN case_outcome c ON c.scenario_result_id = r.id
  WHERE EXISTS (SELECT 1 FROM case_outcome d WHERE d.scenario_result_id = q.id AND d.case_id = c.case_id)
  GROUP BY t.id, r.id, c.case_id)
GROUP BY trial_id, scenario;
