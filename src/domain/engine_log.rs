//! A line of an engine's log without what surrounds it: colours, process prefixes, time stamps and file tags.

use std::borrow::Cow;

use itertools::Either;

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

    /// Who wrote it: `(EngineCore_DP0 pid=12)`, `[rank0]`; empty where the line does not say.
    #[must_use]
    pub fn process(&self) -> &str {
        let head = self.head();
        let named = head.match_indices('(').find_map(|(at, _)| {
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

/// `raw` without ANSI escape sequences, NUL and other control bytes except tab.
#[must_use]
pub fn clean(raw: &str) -> Cow<'_, str> {
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

/// Where the message begins, and the level that its prefix names.
fn prefix(text: &str) -> (usize, LogLevel) {
    let mut at = 0;
    let mut level = LogLevel::Plain;
    // A line has a handful of prefixes at most: container, time, process, rank, logger.
    for _ in 0..6 {
        let rest = &text[at..];
        if let Some((len, found)) = logger_prefix(rest).or_else(|| native_prefix(rest)) {
            return (at + len, found);
        }
        let step = process_prefix(rest)
            .or_else(|| container_prefix(rest))
            .or_else(|| time_prefix(rest))
            .or_else(|| syslog_prefix(rest))
            .or_else(|| collector_prefix(rest));
        match step {
            Some(len) => at += len,
            None => break,
        }
    }
    if let Some((len, found)) = bare_level(&text[at..]) {
        at += len;
        level = found;
    }
    (at, level)
}

/// `(EngineCore_DP0 pid=12) `, `(RayWorkerWrapper pid=3, ip=10.0.0.1) `, `[rank0]: `, and what a launcher adds (`[1,0]<stderr>:`).
fn process_prefix(text: &str) -> Option<usize> {
    if text.starts_with('(') {
        let end = text.find(')')?;
        return text[..end].contains("pid=").then(|| skip_one_space(text, end + 1));
    }
    let inner = text.strip_prefix("[rank")?;
    let end = inner.find("]:")?;
    inner[..end].bytes().all(|b| b.is_ascii_digit()).then(|| skip_one_space(text, "[rank".len() + end + 2))
}

fn skip_one_space(text: &str, at: usize) -> usize {
    if text[at..].starts_with(' ') { at + 1 } else { at }
}

/// Compose's `vllm-1  | `.
fn container_prefix(text: &str) -> Option<usize> {
    let bar = text.find('|')?;
    let name = text[..bar].strip_suffix(' ')?.trim_end();
    let plausible = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    plausible.then(|| skip_one_space(text, bar + 1))
}

/// Kubernetes' `[pod/vllm-0/vllm] ` and `stdout F `, and what is left of a colour whose escape byte was lost on the way (`[1;36m`).
fn collector_prefix(text: &str) -> Option<usize> {
    for stream in ["stdout F ", "stderr F "] {
        if text.starts_with(stream) {
            return Some(stream.len());
        }
    }
    if text.starts_with("[pod/") {
        return text.find("] ").map(|end| end + 2);
    }
    let inner = text.strip_prefix('[')?;
    let end = inner.find('m')?;
    let shaped = end <= 8 && inner[..end].bytes().all(|b| b.is_ascii_digit() || b == b';');
    shaped.then(|| skip_one_space(text, end + 2))
}

/// `Aug 17 18:42:18 host vllm[8052]: `, as the system's journal writes it.
fn syslog_prefix(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let dated = bytes.len() > 16
        && bytes[..3].iter().all(u8::is_ascii_alphabetic)
        && bytes[3] == b' '
        && bytes[9] == b':'
        && bytes[12] == b':'
        && bytes[15] == b' ';
    if !dated {
        return None;
    }
    let rest = text.get(16..)?;
    let end = rest.find("]: ")?;
    let name = &rest[..end];
    (name.len() <= 120 && name.split_whitespace().count() == 2 && name.contains('[')).then_some(16 + end + 3)
}

/// `2026-11-24T02:38:13.605835428Z `, as `docker logs --timestamps` writes it.
fn time_prefix(text: &str) -> Option<usize> {
    let end = text.find(' ')?;
    let stamp = &text.as_bytes()[..end];
    let shaped = stamp.len() >= 19
        && stamp[4] == b'-'
        && stamp[7] == b'-'
        && stamp[10] == b'T'
        && stamp[13] == b':'
        && stamp[..4].iter().all(u8::is_ascii_digit);
    shaped.then_some(end + 1)
}

const LEVELS: [(&str, LogLevel); 7] = [
    ("INFO", LogLevel::Info),
    ("WARNING", LogLevel::Warning),
    ("WARN", LogLevel::Warning),
    ("ERROR", LogLevel::Error),
    ("CRITICAL", LogLevel::Error),
    ("FATAL", LogLevel::Error),
    ("DEBUG", LogLevel::Debug),
];

/// vLLM's own `ERROR 11-24 02:43:03 [core.py:1510] ` and `ERROR 04-18 14:47:42 engine.py:389] `.
fn logger_prefix(text: &str) -> Option<(usize, LogLevel)> {
    let (name, level) = LEVELS.iter().find(|(n, _)| text.starts_with(n) && text[n.len()..].starts_with(' '))?;
    let date = text[name.len()..].trim_start();
    let bytes = date.as_bytes();
    // `MM-DD HH:MM:SS`, or with a year in front.
    let dated = bytes.len() > 6 && bytes[0].is_ascii_digit() && date[..bytes.len().min(11)].contains('-');
    if !dated {
        return None;
    }
    let date_at = text.len() - date.len();
    // The file tag ends with `:NN] `; it stands within the first words.
    let window_end = text.len().min(date_at + 160);
    let window = text.get(date_at..window_end).or_else(|| text.get(date_at..))?;
    let close = window.find(']')?;
    let tagged =
        window[..close].bytes().next_back().is_some_and(|b| b.is_ascii_digit()) && window[..close].contains(':');
    tagged.then(|| (skip_one_space(text, date_at + close + 1), *level))
}

/// What PyTorch's native code writes: `[W701 12:00:10.123 socket.cpp:697] `, older `[W socket.cpp:464] `, and glog's
/// `W0701 12:00:25.000000 99 torch/_inductor/utils.py:1250] `.
fn native_prefix(text: &str) -> Option<(usize, LogLevel)> {
    let inner = text.strip_prefix('[').unwrap_or(text);
    let level = match inner.bytes().next()? {
        b'I' => LogLevel::Info,
        b'W' => LogLevel::Warning,
        b'E' | b'F' => LogLevel::Error,
        _ => return None,
    };
    let (stamp, rest) = inner[1..].split_once(' ')?;
    let dated = matches!(stamp.len(), 3 | 4) && rest.starts_with(|c: char| c.is_ascii_digit());
    let undated = stamp.is_empty() && inner.len() < text.len();
    if !stamp.bytes().all(|b| b.is_ascii_digit()) || !(dated || undated) {
        return None;
    }
    let close = rest.find(']').filter(|at| *at < 160)?;
    is_tag(&rest[..close]).then(|| (skip_one_space(text, text.len() - rest.len() + close + 1), level))
}

/// Whether `text` ends as a file tag does: `core.py:1510`.
fn is_tag(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(file, line)| file.contains('.') && !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()))
}

/// `INFO:     ` of uvicorn, `ERROR:root:` of Python's logging, `2025-12-22 14:23:27,556 - INFO - `.
fn bare_level(text: &str) -> Option<(usize, LogLevel)> {
    for (name, level) in LEVELS {
        if let Some(rest) = text.strip_prefix(name)
            && rest.starts_with(':')
        {
            let body = rest[1..].trim_start();
            return Some((text.len() - body.len(), level));
        }
    }
    let bytes = text.as_bytes();
    if bytes.len() > 24 && bytes[0].is_ascii_digit() && bytes[4] == b'-' {
        let head = text.get(..text.len().min(120)).unwrap_or(text);
        for (name, level) in LEVELS {
            for (open, close) in [(" - ", " - "), ("[", "]"), (" ", " ")] {
                let mark = format!("{open}{name}{close}");
                if let Some(at) = head.find(&mark) {
                    return Some((at + mark.len(), level));
                }
            }
        }
    }
    None
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
            ("boom", LogLevel::Plain),
        ];
        for (raw, level) in cases {
            assert_eq!(body(raw), ("boom".to_owned(), level), "{raw}");
        }
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
