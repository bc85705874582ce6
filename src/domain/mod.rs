//! The vocabulary: words that every floor above speaks, with no I/O and no async.

mod config;
mod diagnostic;
pub(crate) mod engine_log;
mod event;
mod flag;
mod hash;
mod key;
mod load_spec;
mod metric;
mod objective;
mod outcome;
mod quality;
pub(crate) mod reading;
mod redact;
mod request;
mod resolved;
mod scenario;
mod start;
mod suite;
mod template;
pub(crate) mod text_enum;
mod trace;

pub use config::{Config, ConfigKey, Settings, SweepId, TrialRef};
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity, did_you_mean};
pub use engine_log::{LogLevel, LogLine, count_lines, last_boot, log_lines};
pub use event::{BootMilestone, Event, FailedIn, TrialProgress};
pub use flag::{FlagKind, FlagName, FlagValue, KNOWN_FLAGS, known_flag};
pub use hash::{sha256, short_sha256};
pub(crate) use key::keyed;
pub use key::{Held, Key, Kind, Range};
#[cfg(test)]
pub use load_spec::Lengths;
pub use load_spec::LoadSpec;
pub use metric::{Metric, MetricPath, MetricPathError, Unit, Validity, ValidityReason, Verdict};
pub(crate) use metric::{STATISTICS, point_number};
pub use objective::{Direction, Objective};
pub use outcome::{Cause, Evidence, ExitFacts, Failure, Outcome, Phase, SkipReason, Stage};
pub use quality::{CanarySpec, CaseDelivery, CaseOutcome, CaseResult, ReasoningSpec, Thinking, ToolCallingSpec};
pub use redact::{Redactor, is_flag, secret_words};
pub use request::{CounterDelta, PointWindow, RequestRecord, ScenarioResult};
pub use resolved::{Fact, FactSource, Mismatch, ResolvedConfig};
pub use scenario::{RequestEnd, Role, ScenarioKind, TokenKind};
pub use start::{Purpose, Repeats, Start};
pub use suite::{
    ConversationSpec, KvCacheSpec, Language, LongContextSpec, ProfileSpec, ScenarioSpec, SmokeSpec, StabilitySpec,
    Suite,
};
pub use template::{NamedNumber, leading_number, scan_numbers};
pub(crate) use text_enum::text_enum;
#[cfg(test)]
pub use trace::Trace;
pub use trace::{TracePrompt, TraceRequest};
