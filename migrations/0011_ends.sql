-- When a run must be over, and why it ended. What the GPUs held before the first trial, so that a continued sweep knows it.

ALTER TABLE sweep_run ADD COLUMN deadline_at TEXT;
ALTER TABLE sweep_run ADD COLUMN deadline_by TEXT;
ALTER TABLE sweep_run ADD COLUMN why TEXT;

CREATE TABLE gpu_baseline (
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  boot_id         TEXT NOT NULL,
  gpu             TEXT NOT NULL,
  in_use_bytes    REAL NOT NULL,
  noted_at        TEXT NOT NULL,
  PRIMARY KEY (sweep_id, boot_id, gpu)
) STRICT, WITHOUT ROWID;

DROP VIEW sweeps;
CREATE VIEW sweeps AS
SELECT
  w.id AS sweep_id,
  w.uuid,
  w.grid_name,
  w.grid_path,
  w.deployment,
  w.baseline,
  CASE
    WHEN r.id IS NULL THEN 'pending'
    WHEN r.ended IS NULL THEN 'running'
    WHEN r.ended = 'complete' THEN 'finished'
    WHEN r.ended = 'incomplete' THEN 'stopped'
    ELSE 'interrupted'
  END AS state,
  r.why,
  w.created_at AS started_at,
  r.ended_at,
  r.deadline_at,
  (SELECT count(*) FROM sweep_run x WHERE x.sweep_id = w.id) AS runs,
  (SELECT count(*) FROM trial t WHERE t.sweep_id = w.id) AS trials,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'measured') AS measured,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'failed') AS failed,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'skipped') AS skipped,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state IN ('pending', 'running', 'interrupted')) AS remaining,
  w.kind
FROM sweep w
LEFT JOIN sweep_run r ON r.id = (SELECT max(x.id) FROM sweep_run x WHERE x.sweep_id = w.id);
