-- `paired_quality` asks for the baseline of each result: without an index it looked at every trial of the sweep each time, which took
-- a minute at 10,000 trials.
CREATE INDEX trial_baseline ON trial (sweep_id) WHERE is_baseline = 1;
