//! Compose files and environment -> one typed service; overlay of a config on it; diff of command lines.

mod argv;
mod blank;
mod canonical;
mod consistency;
mod decode;
mod decode_json;
mod decode_parts;
mod dotenv;
mod env_text;
mod extends;
mod hash;
mod identity;
mod include;
mod interpolate;
mod load;
#[cfg(test)]
mod load_tests;
mod merge;
mod normalize;
#[cfg(test)]
mod oracle;
mod overlay;
mod paths;
mod port;
mod schema;
mod schema_file;
mod schema_rules;
mod service;
mod service_parts;
mod settings;
mod shellwords;
mod template;
mod tree;
mod units;
mod volume;
mod write;

pub use argv::{argv, argv_diff};
pub use env_text::set_in_env_file;
pub use hash::{ComposeRelease, config_hash};
pub use identity::{fixed_identity, varying_identity};
pub use load::{LoadRequest, Purpose, load};
pub use overlay::overlay;
pub use service::*;
pub use settings::{settings_of, variables};
pub use write::{Override, SecretNames, literal, reference, variable_names};
