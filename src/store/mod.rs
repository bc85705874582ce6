//! `runs.db`: migrations, one writer, readers.
