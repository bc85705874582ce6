//! Scenarios and the streaming client.

mod answers;
mod assembly;
mod canary;
mod chat;
mod client;
mod clock;
mod context;
mod conversation;
mod delta;
mod endpoint;
mod error;
mod figures;
mod fit;
mod headline;
mod kv_cache;
mod load;
mod long_context;
mod profile;
mod prompt;
mod reasoning;
mod run;
mod selfcheck;
mod sender;
mod smoke;
mod sse;
mod stability;
mod stamped;
mod standstill;
mod stream;
mod target;
mod tool_calling;
mod usual;
mod validity;
mod visits;
mod window;
mod wire;

#[cfg(test)]
mod answers_tests;
#[cfg(test)]
mod assembly_tests;
#[cfg(test)]
mod over_time_tests;
#[cfg(test)]
mod profile_tests;
#[cfg(test)]
pub(crate) mod replayed;
#[cfg(test)]
mod scenario_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod testserver;
#[cfg(test)]
mod truth_tests;

pub use assembly::said_by_stream;
pub use chat::{AnswerLength, ChatParts, ChatRequest, Delivery, Keep, Reply, Slot, Timeouts};
pub use client::{CallError, Client};
pub use clock::RunClock;
pub use context::{Activity, Context, Progress};
pub use error::{BenchError, Unusable};
pub use headline::headline;
pub use run::{data_sha256_of, run_scenario};
pub use target::{ApiKey, Target, secrets_in, shown_address};
