//! What stands before the message of a log line: who wrote it, when, how loud, in which file; and what containers, clouds and launchers add.

use super::LogLevel;

/// Where the message begins, and the level that its prefix names.
pub(super) fn prefix(text: &str) -> (usize, LogLevel) {
    let mut at = 0;
    let mut level = LogLevel::Plain;
    // A line has a handful of prefixes at most: container, time, process, rank, logger.
    for _ in 0..6 {
        let rest = &text[at..];
        if let Some(len) = cloud_prefix(rest) {
            at += len;
            continue;
        }
        if let Some((len, found)) = logger_prefix(rest).or_else(|| native_prefix(rest)) {
            return (at + len, found);
        }
        let step = process_prefix(rest)
            .or_else(|| container_prefix(rest))
            .or_else(|| time_prefix(rest))
            .or_else(|| syslog_prefix(rest))
            .or_else(|| wrapper_prefix(rest))
            .or_else(|| collector_prefix(rest));
        match step {
            Some(len) => at += len,
            None => break,
        }
    }
    if let Some((len, found)) = bare_level(&text[at..]).or_else(|| nccl_info(&text[at..])) {
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

/// `2026-11-24T02:38:13.605835428Z `, as `docker logs --timestamps` writes it, also in brackets.
fn time_prefix(text: &str) -> Option<usize> {
    let end = text.find(' ')?;
    let stamp = text.as_bytes()[..end].strip_prefix(b"[").unwrap_or(&text.as_bytes()[..end]);
    let shaped = stamp.len() >= 19
        && stamp[4] == b'-'
        && stamp[7] == b'-'
        && stamp[10] == b'T'
        && stamp[13] == b':'
        && stamp[..4].iter().all(u8::is_ascii_digit);
    shaped.then_some(end + 1)
}

/// `INFO 2026-11-24T02:38:13.6Z [resource.labels.containerName: vllm-0] `: what a cloud's log viewer puts before each line. Its
/// level is the collector's own.
fn cloud_prefix(text: &str) -> Option<usize> {
    let (name, rest) = text.split_once(' ')?;
    LEVELS.iter().find(|(level, _)| *level == name)?;
    let mut at = name.len() + 1 + time_prefix(rest)?;
    if text[at..].starts_with("[resource.") {
        at += text[at..].find("] ")? + 2;
    }
    Some(at)
}

/// `2026-11-24 02:38:13.605 [Error] (Process) `: a program that starts the server and passes on its lines. Only before a prefix
/// of the server's own: elsewhere the level is the line's.
fn wrapper_prefix(text: &str) -> Option<usize> {
    let (date, rest) = text.split_once(' ')?;
    let dated = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let (_, message) = rest.split_once("] ").filter(|_| dated)?;
    let message = message.strip_prefix("(Process) ").unwrap_or(message);
    let own = process_prefix(message).is_some() || logger_prefix(message).is_some();
    own.then_some(text.len() - message.len())
}

/// The words for a level.
pub(super) const LEVELS: [(&str, LogLevel); 7] = [
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
    let dated = bytes.len() > 6 && bytes[0].is_ascii_digit() && bytes.iter().take(11).any(|b| *b == b'-');
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
pub(super) fn is_tag(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(file, line)| file.contains('.') && !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()))
}

/// `host:12:34 [0] NCCL INFO `: what NCCL tells when asked to.
fn nccl_info(text: &str) -> Option<(usize, LogLevel)> {
    const MARK: &str = " NCCL INFO ";
    let at = text.find(MARK).filter(|at| *at < 100)?;
    Some((at + MARK.len(), LogLevel::Info))
}

/// `INFO:     ` of uvicorn, `ERROR:root:` of Python's logging, `2025-12-22 14:23:27,556 - INFO - `,
/// `[2025-12-22 14:23:27,556] [INFO] [MainThread] >>> `.
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
    if bytes.len() > 24 && bytes[0] == b'[' && bytes[1].is_ascii_digit() && bytes[5] == b'-' {
        let (_, rest) = text.split_once("] [")?;
        let (name, mut rest) = rest.split_once(']')?;
        let (_, level) = LEVELS.iter().find(|(level, _)| *level == name)?;
        while let Some((_, behind)) = rest.strip_prefix(" [").and_then(|inner| inner.split_once(']')) {
            rest = behind;
        }
        rest = rest.trim_start().trim_start_matches(">>> ");
        return Some((text.len() - rest.len(), *level));
    }
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
