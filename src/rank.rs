//! Gates, objectives, ties: which config is best, and whether the numbers support it.
