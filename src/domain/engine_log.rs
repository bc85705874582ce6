//! A line of an engine's log without what surrounds it: colours, process prefixes, time stamps and file tags.

mod prefix;

use std::borrow::Cow;

use itertools::Either;

use prefix::{LEVELS, is_tag, prefix};

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `DEBUG`.
    Debug,
    /// `INFO`, and uvicorn's access log.
    Info,
    /// `WARNING`.
    Warning,
    /// No level of its own: a traceback, a progress bar, another program's output.
    Plain,
    /// `ERROR` and `CRITICAL`.
    Error,
}

/// One line of a log, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine<'t> {
    /// Its number in the text, from 1. Pieces of a line that `\r` rewrote share one number.
    pub number: usize,
    /// The line without colours, NUL bytes and line ends; prefixes stand.
    pub text: Cow<'t, str>,
    /// Where the message begins in `text`, behind prefixes, time and file tag.
    body_at: usize,
    /// Its level.
    pub level: LogLevel,
}

impl<'t> LogLine<'t> {
    /// Reads one raw line (no `\n` or `\r` in it).
    #[must_use]
    pub fn new(number: usize, raw: &'t str) -> Self {
        let text = clean(raw);
        let (body_at, level) = prefix(&text);
        Self { number, text, body_at, level }
    }

    /// The message: what stands behind process prefix, level, time and file tag.
    #[must_use]
    pub fn body(&self) -> &str {
        let body = self.text.get(self.body_at..).unwrap_or_default();
        // Ray writes a line of many workers once and counts the others.
        body.find(" [repeated ").filter(|at| body[*at..].contains("x across cluster]")).map_or(body, |at| &body[..at])
    }

    /// Who wrote it: `(EngineCore_DP0 pid=12)`, `[rank0]`; empty where the line does not say. Where a parent passes on what its
    /// child wrote and puts its own name in front, the child.
    #[must_use]
    pub fn process(&self) -> &str {
        let head = self.head();
        let named = head.rmatch_indices('(').find_map(|(at, _)| {
            let end = at + head[at..].find(')')? + 1;
            head[at..end].contains("pid=").then(|| &head[at..end])
        });
        let ranked = || {
            let at = head.find("[rank")?;
            let end = at + head[at..].find(']')? + 1;
            Some(&head[at..end])
        };
        named.or_else(ranked).unwrap_or_default()
    }

    /// The file that logged it, with its line: `core.py:1510`; empty where the line does not say.
    #[must_use]
    pub fn tag(&self) -> &str {
        let tag = self.head().trim_end().strip_suffix(']').and_then(|head| head.rsplit(['[', ' ']).next());
        tag.filter(|t| is_tag(t)).unwrap_or_default()
    }

    /// What stands before the message.
    #[must_use]
    pub fn head(&self) -> &str {
        self.text.get(..self.body_at).unwrap_or_default()
    }
}

/// The lines of a log, cleaned; empty ones are left out. `first_number` is the number of the text's first line.
///
/// A line of JSON (a JSON log formatter, Docker's `json-file` driver) becomes the lines of its message.
pub fn log_lines(text: &str, first_number: usize) -> impl Iterator<Item = LogLine<'_>> {
    text.split('\n')
        .enumerate()
        .flat_map(move |(i, line)| {
            let number = first_number + i;
            match json_message(line) {
                Some((message, level)) => Either::Left(json_lines(number, &message, level).into_iter()),
                None => Either::Right(line.split('\r').map(move |piece| LogLine::new(number, piece))),
            }
        })
        .filter(|line| !line.text.trim().is_empty())
}

/// The lines of a JSON record's message; they carry the record's level where they name none themselves.
fn json_lines(number: usize, message: &str, level: LogLevel) -> Vec<LogLine<'static>> {
    let pieces = message.split(['\n', '\r']).map(|piece| {
        let line = LogLine::new(number, piece);
        let level = if line.level == LogLevel::Plain { level } else { line.level };
        LogLine { number, text: Cow::Owned(line.text.clone().into_owned()), body_at: line.body_at, level }
    });
    pieces.collect()
}

/// Message and level of a line that is one JSON record of a log.
fn json_message(line: &str) -> Option<(String, LogLevel)> {
    let start = line.find('{')?;
    // Compose and Docker may put their prefix before the record.
    let (record, before) = (line[start..].trim_end(), &line[..start]);
    if !record.ends_with('}')
        || before.len() > 120
        || !(before.trim().is_empty() || before.ends_with("| ") || before.ends_with("Z "))
    {
        return None;
    }
    let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(record).ok()?;
    let text = |keys: &[&str]| keys.iter().find_map(|k| record.get(*k).and_then(|v| v.as_str()));
    let mut message = text(&["log", "message", "msg", "event"])?.to_owned();
    if let Some(trace) = text(&["exc_info", "exception", "stack_trace", "traceback"]) {
        message.push('\n');
        message.push_str(trace);
    }
    let named = text(&["level", "levelname", "severity"]).map(str::to_ascii_uppercase);
    let level =
        LEVELS.iter().find(|(name, _)| named.as_deref() == Some(*name)).map_or(LogLevel::Plain, |(_, level)| *level);
    Some((message, level))
}

/// First lines of a boot: old and new API server, in the spelling of vLLM 0.6 to 0.32.
/// The banner's second row too: a log whose head was cut may begin with it.
const BANNERS: [&str; 3] = ["vLLM API server version", "█     █     █▄   ▄█", "▀▄▀ █  version "];

/// The text from the last boot's banner on, and the number of its first line; the whole text where no banner stands.
#[must_use]
pub fn last_boot(log: &str) -> (&str, usize) {
    let Some(at) = BANNERS.iter().filter_map(|b| log.rfind(b)).max() else {
        return (log, 1);
    };
    let start = log[..at].rfind('\n').map_or(0, |n| n + 1);
    (&log[start..], 1 + count_lines(&log[..start]))
}

/// Line ends in `text`.
#[must_use]
pub fn count_lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Colours whose escape byte a terminal, a pager or a copy has written out.
const WRITTEN_ESCAPES: [&str; 4] = ["ESC[", "^[[", "\\u001b[", "\\x1b["];

/// `raw` without ANSI escape sequences, NUL and other control bytes except tab.
#[must_use]
pub fn clean(raw: &str) -> Cow<'_, str> {
    without_written_escapes(without_control(raw))
}

/// `text` without colours that stand there as text.
fn without_written_escapes(text: Cow<'_, str>) -> Cow<'_, str> {
    if !WRITTEN_ESCAPES.iter().any(|mark| text.contains(mark)) {
        return text;
    }
    let mut out = text.into_owned();
    let mut from = 0;
    let next = |out: &str, from: usize| {
        WRITTEN_ESCAPES.iter().filter_map(|mark| out[from..].find(mark).map(|i| (from + i, mark.len()))).min()
    };
    while let Some((at, mark)) = next(&out, from) {
        let rest = &out.as_bytes()[at + mark..];
        let parameters = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count();
        from = at + mark;
        if rest.get(parameters) == Some(&b'm') {
            out.replace_range(at..at + mark + parameters + 1, "");
            // What now stands together may be one more.
            from = (0..=at.saturating_sub(8)).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        }
    }
    out.truncate(out.trim_end().len());
    Cow::Owned(out)
}

/// `raw` without control bytes and what they begin.
fn without_control(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|b| b < 0x20 && b != b'\t') && !raw.contains('\u{7f}') {
        return Cow::Borrowed(raw.trim_end());
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    Cow::Owned(out)
}

/// Skips the rest of an escape sequence: CSI (`[ ... letter`), OSC (`] ... BEL`), or one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            // Parameters are digits and punctuation; the first letter ends the sequence.
            while let Some(&c) = chars.peek() {
                if c.is_ascii() && !c.is_control() {
                    chars.next();
                } else {
                    return;
                }
                if ('@'..='~').contains(&c) {
                    return;
                }
            }
        }
        Some(']') => {
            for c in chars.by_ref() {
                if c == '\u{7}' || c == '\\' {
                    return;
                }
            }
        }
        Some(_) => {
            chars.next();
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(raw: &str) -> (String, LogLevel) {
        let line = LogLine::new(1, raw);
        (line.body().to_owned(), line.level)
    }

    #[test]
    fn every_known_prefix_is_taken_off() {
        let cases = [
            ("\u{1b}[1;36m(EngineCore_DP0 pid=11)\u{1b}[0;0m ERROR 07-31 16:03:52 [core.py:710] boom", LogLevel::Error),
            ("ERROR 04-18 14:47:42 engine.py:389] boom", LogLevel::Error),
            ("vllm-1  | (APIServer pid=1) ERROR 11-24 02:53:06 [async_llm.py:906] boom", LogLevel::Error),
            ("2026-11-24T02:38:13.605835428Z (Worker_TP0 pid=8) ERROR 11-24 02:53:06 [a.py:9] boom", LogLevel::Error),
            ("(RayWorkerWrapper pid=3, ip=10.0.0.1) boom", LogLevel::Plain),
            ("[rank0]: boom", LogLevel::Plain),
            ("INFO:     boom", LogLevel::Info),
            ("(APIServer pid=1) INFO:     boom", LogLevel::Info),
            ("2025-12-22 14:23:27,556 - INFO - boom", LogLevel::Info),
            ("WARNING 02-28 20:57:36 _core_ext.py:180] boom", LogLevel::Warning),
            ("[rank1]:[W701 12:00:10.1 ProcessGroupNCCL.cpp:1520] boom", LogLevel::Warning),
            ("[E1124 02:38:13.605835428 socket.cpp:1023] boom", LogLevel::Error),
            ("[W socket.cpp:464] boom", LogLevel::Warning),
            (
                "(Worker_TP0 pid=8) [rank0]:W0701 12:00:25.000000 99 torch/_inductor/utils.py:1250] boom",
                LogLevel::Warning,
            ),
            ("I0701 12:00:25.000000 99 tcp_transport.cpp:12] boom", LogLevel::Info),
            ("(APIServer pid=1) (EngineCore_DP1 pid=8) ERROR 11-24 02:53:06 [v1/a.py:9] boom", LogLevel::Error),
            (
                "INFO 2025-11-24T02:38:13.6Z [resource.labels.containerName: vllm-0] ERROR 11-24 02:38:13 [a.py:9] boom",
                LogLevel::Error,
            ),
            ("INFO 2025-11-24T02:38:13.6Z boom", LogLevel::Plain),
            (
                "2025-11-24 02:38:13.605 [Error] (Process) (Worker pid=8) WARNING 11-24 02:38:13 [a.py:9] boom",
                LogLevel::Warning,
            ),
            ("[2025-11-24T02:38:13Z] ERROR 11-24 02:38:13 [a.py:9] boom", LogLevel::Error),
            ("[2025-11-24 02:38:13,605] [WARNING] [MainThread] [vllm.worker] >>> boom", LogLevel::Warning),
            ("node7:12:34 [0] NCCL INFO boom", LogLevel::Info),
            ("ESC[1;36m(VllmWorker pid=8)ESC[0;0m ERROR 11-24 02:38:13 [a.py:9] boom", LogLevel::Error),
            ("^[[36m(LLMRayActor pid=8)^[[0m boom", LogLevel::Plain),
            ("boom", LogLevel::Plain),
        ];
        for (raw, level) in cases {
            assert_eq!(body(raw), ("boom".to_owned(), level), "{raw}");
        }
    }

    #[test]
    fn of_a_parent_and_the_child_whose_line_it_passes_on_the_child_wrote_it() {
        let line = LogLine::new(1, "(APIServer pid=1) (EngineCore_DP1 pid=8) (Worker_DP1_EP1 pid=9) boom");
        assert_eq!(line.process(), "(Worker_DP1_EP1 pid=9)");
    }

    #[test]
    fn text_that_only_looks_like_a_prefix_stays() {
        for raw in [
            "(not a process) x",
            "a b | c",
            "ERROR in the model",
            "[rankX]: y",
            "[W] x",
            "W 3",
            "E101 what",
            "[E] a.py:1] x",
            "2025-11-24 02:38:13.605 of no level",
            "[2025] [x] y",
            "ESC[ and ^[[ x",
        ] {
            assert_eq!(body(raw), (raw.to_owned(), LogLevel::Plain));
        }
    }

    #[test]
    fn the_file_that_logged_a_line_is_known_and_a_container_s_name_is_none() {
        let tags = [
            ("(EngineCore pid=11) ERROR 07-31 16:03:52 [core.py:710] boom", "core.py:710"),
            ("serving.py-1  | ERROR 04-18 14:47:42 engine.py:389] boom", "engine.py:389"),
            ("[rank1]:[W701 12:00:10.1 ProcessGroupNCCL.cpp:1520] boom", "ProcessGroupNCCL.cpp:1520"),
            ("[pod/serving-0/vllm.0] boom", ""),
            ("INFO:     boom", ""),
            ("boom", ""),
        ];
        for (raw, tag) in tags {
            assert_eq!(LogLine::new(1, raw).tag(), tag, "{raw}");
        }
    }

    #[test]
    fn rewritten_progress_lines_become_pieces_of_one_number() {
        let lines: Vec<_> = log_lines("a\n1%\r2%\r3%\n\0b\n", 1).map(|l| (l.number, l.text.into_owned())).collect();
        let expected = [(1, "a"), (2, "1%"), (2, "2%"), (2, "3%"), (3, "b")];
        assert_eq!(lines, expected.map(|(n, t)| (n, t.to_owned())));
    }

    proptest! {
        #[test]
        fn cleaning_any_text_never_panics_and_is_idempotent(raw in "\\PC*|[\u{0}-\u{7f}]{0,200}|(\u{1b}\\[[0-9;]*[a-zA-Z]|[a-z (=)|:\\]\\[-])*") {
            let once = clean(&raw).into_owned();
            prop_assert_eq!(clean(&once).into_owned(), once.clone());
            for line in log_lines(&raw, 1) {
                prop_assert!(line.text.ends_with(line.body()));
            }
        }
    }
}
