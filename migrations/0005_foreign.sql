-- Results that others measured: kept apart from what vgrid measured, with what is doubtful about them.

CREATE TABLE foreign_table (
  id              INTEGER PRIMARY KEY,
  name            TEXT NOT NULL,
  kind            TEXT NOT NULL CHECK (kind IN ('table', 'vllm_bench')),
  path            TEXT NOT NULL,
  sha256          TEXT NOT NULL UNIQUE,
  baseline        TEXT,
  objective       TEXT,
  imported_at     TEXT NOT NULL
) STRICT;

CREATE TABLE foreign_row (
  id              INTEGER PRIMARY KEY,
  table_id        INTEGER NOT NULL REFERENCES foreign_table (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  config          TEXT NOT NULL,
  estimated       INTEGER NOT NULL CHECK (estimated IN (0, 1)),
  n               INTEGER,
  settings_json   TEXT NOT NULL CHECK (json_valid(settings_json)),
  remarks_json    TEXT NOT NULL CHECK (json_valid(remarks_json)),
  UNIQUE (table_id, position)
) STRICT;

CREATE TABLE foreign_figure (
  row_id          INTEGER NOT NULL REFERENCES foreign_row (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  value           REAL NOT NULL,
  direction       TEXT CHECK (direction IN ('minimize', 'maximize')),
  PRIMARY KEY (row_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE foreign_doubt (
  id              INTEGER PRIMARY KEY,
  table_id        INTEGER NOT NULL REFERENCES foreign_table (id) ON DELETE CASCADE,
  doubt           TEXT NOT NULL,
  configs_json    TEXT NOT NULL CHECK (json_valid(configs_json)),
  explanation     TEXT NOT NULL
) STRICT;
CREATE INDEX foreign_doubt_by_table ON foreign_doubt (table_id);

CREATE VIEW foreign_results AS
SELECT t.id AS table_id, t.name AS table_name, t.kind, r.position, r.config, r.estimated, r.n, f.name AS figure, f.value, f.direction,
       (SELECT group_concat(d.doubt, ', ') FROM foreign_doubt d WHERE d.table_id = t.id AND (d.configs_json = '[]' OR EXISTS
          (SELECT 1 FROM json_each(d.configs_json) j WHERE j.value = r.config))) AS doubts
FROM foreign_table t
JOIN foreign_row r ON r.table_id = t.id
JOIN foreign_figure f ON f.row_id = r.id;
