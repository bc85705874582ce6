//! Failures on request: what `--sim-fail=KIND[:N]` can ask for.

use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FaultKind {
    /// CUDA out of memory while the weights are loaded; exit 1.
    OomLoad,
    /// CUDA out of memory while graphs are captured; exit 1.
    OomGraphCapture,
    /// CUDA out of memory in the middle of serving: the engine dies, the server ends with exit 0.
    OomServing,
    /// CUDA out of memory as soon as N requests run at once: it starts, and it does not fit.
    OomBusy,
    /// The boot stops moving after the first shard of weights.
    HangStart,
    /// The engine makes no more tokens; `/health` still says 200.
    HangServing,
    /// The engine core disappears; the server ends with exit 0.
    EngineDeath,
    /// The process is killed (SIGKILL, exit 137), without a last word.
    Killed,
    /// The process eats memory until the kernel kills it (only under a cgroup limit; else like `killed`).
    HostOom,
    /// An error event in the middle of a stream that began with 200, then `[DONE]`.
    ErrorEvent,
    /// The connection is cut in the middle of a stream.
    StreamCut,
    /// Events are split at random bytes, also inside UTF-8 sequences.
    Fragment,
    /// The same words over and over.
    Degenerate,
    /// The response's first byte is late by N ms.
    SlowFirstByte,
    /// `usage` is never sent.
    NoUsage,
    /// The stream ends without `[DONE]`.
    MissingDone,
    /// A streamed tool call loses the end of its arguments.
    ToolStreamDiffers,
    /// Tool calls arrive as the model's own markup in the content.
    MarkupLeak,
    /// Contents begin with a `<think>` that is never closed.
    UnclosedThink,
    /// Answers are cut in the middle, as by their token limit.
    Truncate,
    /// Requests are refused (400 and 500 by turns), and the body repeats again and again what must not be shown: the request's
    /// `Authorization` header and the server's own environment.
    EchoSecrets,
}

impl FaultKind {
    /// Every kind, with its spelling and its default N.
    pub(super) const ALL: &'static [(Self, &'static str, u64)] = &[
        (Self::OomLoad, "oom_load", 0),
        (Self::OomGraphCapture, "oom_graph_capture", 0),
        (Self::OomServing, "oom_serving", 2),
        (Self::OomBusy, "oom_busy", 4),
        (Self::HangStart, "hang_start", 0),
        (Self::HangServing, "hang_serving", 2),
        (Self::EngineDeath, "engine_death", 2),
        (Self::Killed, "killed", 2),
        (Self::HostOom, "host_oom", 2),
        (Self::ErrorEvent, "error_event", 0),
        (Self::StreamCut, "stream_cut", 0),
        (Self::Fragment, "fragment", 0),
        (Self::Degenerate, "degenerate", 0),
        (Self::SlowFirstByte, "slow_first_byte", 2_000),
        (Self::NoUsage, "no_usage", 0),
        (Self::MissingDone, "missing_done", 0),
        (Self::ToolStreamDiffers, "tool_stream_differs", 0),
        (Self::MarkupLeak, "markup_leak", 0),
        (Self::UnclosedThink, "unclosed_think", 0),
        (Self::Truncate, "truncate", 0),
        (Self::EchoSecrets, "echo_secrets", 0),
    ];
}

/// A failure on request. For kinds that strike while serving, the first `n` generation requests are served well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) n: u64,
}

impl Fault {
    /// Whether this fault is of `kind` and strikes the generation request with this number (from 0).
    pub(super) fn strikes(fault: Option<Fault>, kind: FaultKind, request: u64) -> bool {
        fault.is_some_and(|f| f.kind == kind && (kind == FaultKind::SlowFirstByte || request >= f.n))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, n) = match text.split_once(':') {
            Some((name, n)) => (name, Some(n)),
            None => (text, None),
        };
        let spelt = name.replace('-', "_");
        let Some((kind, _, default)) = FaultKind::ALL.iter().find(|(_, spelling, _)| *spelling == spelt) else {
            let all: Vec<&str> = FaultKind::ALL.iter().map(|(_, spelling, _)| *spelling).collect();
            return Err(format!("invalid choice: '{name}' (choose from {})", all.join(", ")));
        };
        let n = match n {
            None => *default,
            Some(n) => n.parse().map_err(|_| format!("invalid int value: '{n}'"))?,
        };
        Ok(Self { kind: *kind, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_its_kind_and_number_and_names_the_allowed_kinds() {
        assert_eq!("oom_serving:7".parse(), Ok(Fault { kind: FaultKind::OomServing, n: 7 }));
        assert_eq!("hang-start".parse(), Ok(Fault { kind: FaultKind::HangStart, n: 0 }));
        assert!("oom".parse::<Fault>().unwrap_err().contains("oom_graph_capture"));
        assert!("fragment:x".parse::<Fault>().unwrap_err().contains("int"));
    }

    #[test]
    fn the_first_n_requests_are_served_well() {
        let fault = Some(Fault { kind: FaultKind::StreamCut, n: 2 });
        assert!(!Fault::strikes(fault, FaultKind::StreamCut, 1));
        assert!(Fault::strikes(fault, FaultKind::StreamCut, 2));
        assert!(!Fault::strikes(fault, FaultKind::ErrorEvent, 2));
    }
}
