-- Several starts of a config: why each was made. What was there before were first starts.

ALTER TABLE attempt ADD COLUMN purpose TEXT NOT NULL DEFAULT 'trial' CHECK (purpose IN ('trial', 'repeat', 'control', 'finalist'));
ALTER TABLE attempt ADD COLUMN start_number INTEGER NOT NULL DEFAULT 1 CHECK (start_number >= 1);

-- Starts that this run set out to make; more when finalists are chosen.
ALTER TABLE sweep_run ADD COLUMN starts_planned INTEGER;

-- The configs that were chosen, once everything else was measured, to be measured again. A row without a trial says that none was.
CREATE TABLE finalist (
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  trial_id        INTEGER REFERENCES trial (id) ON DELETE CASCADE,
  chosen_at       TEXT NOT NULL,
  PRIMARY KEY (sweep_id, position)
) STRICT, WITHOUT ROWID;
