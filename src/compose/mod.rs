//! Compose files + environment -> one typed service; overlay of a config on it; the difference of argv.

mod service;

pub use service::*;
