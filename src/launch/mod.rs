//! A running server: create, ready, exit, logs, stop, restore.
