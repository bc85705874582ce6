//! The reference explains every key.
