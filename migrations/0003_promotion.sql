-- Promotions: what `vgrid promote` wrote and put into production, and what it needs to undo that.

CREATE TABLE promotion (
  id              INTEGER PRIMARY KEY,
  deployment      TEXT NOT NULL,
  trial_id        INTEGER REFERENCES trial (id) ON DELETE SET NULL,
  config          TEXT NOT NULL,
  config_key      TEXT NOT NULL,
  state           TEXT NOT NULL CHECK (state IN ('written', 'applying', 'promoted', 'rolled_back', 'failed')),
  detail          TEXT,
  files_json      TEXT NOT NULL CHECK (json_valid(files_json)),
  serving_json    TEXT NOT NULL CHECK (json_valid(serving_json)),
  checklist_json  TEXT NOT NULL CHECK (json_valid(checklist_json)),
  began_at        TEXT NOT NULL,
  settled_at      TEXT
) STRICT;
CREATE INDEX promotion_by_deployment ON promotion (deployment, id);
