//! The log of one attempt: both streams in one file, secrets taken out, and readers of its lines that never slow the writer.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::domain::Redactor;

/// A line without an end is handed out when it has grown to this many bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// At most this much is read at once; the rest comes with the next call.
const READ_AT_ONCE: u64 = 1024 * 1024;

/// How much has been written, and whether it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LogState {
    bytes: u64,
    ended: bool,
    problem: Option<String>,
}

/// The writing end; owned by the task that follows the server's output.
pub(super) struct LogWriter {
    file: File,
    state: watch::Sender<LogState>,
    redactor: Redactor,
    pending: Vec<u8>,
    received: u64,
}

/// Handle on a log: where it is, how far it is, and readers.
#[derive(Clone, Debug)]
pub struct AttemptLog {
    pub(super) path: PathBuf,
    start: u64,
    state: watch::Receiver<LogState>,
}

/// Opens the file for appending, with its folder made if absent. vLLM prints its arguments, an API key among them; `redactor` takes
/// such secrets out before anything is written.
pub(super) fn open(path: &Path, redactor: Redactor) -> std::io::Result<(LogWriter, AttemptLog)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    let start = file.metadata()?.len();
    let (sender, state) = watch::channel(LogState { bytes: start, ..LogState::default() });
    Ok((
        LogWriter { file, state: sender, redactor, pending: Vec::new(), received: 0 },
        AttemptLog { path: path.to_path_buf(), start, state },
    ))
}

impl LogWriter {
    /// Takes what the server printed. Whole lines (a progress bar's `\r` ends one too) are written at once and unbuffered, so that
    /// they survive the death of vgrid; a part of a line waits for its end, because a secret could stand across the cut.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
        let end = self.pending.iter().rposition(|byte| *byte == b'\n' || *byte == b'\r').map(|last| last + 1);
        // Between two words, so that no secret stands across the cut either.
        let too_long = (self.pending.len() >= LONGEST_LINE).then(|| {
            self.pending.iter().rposition(u8::is_ascii_whitespace).map_or(self.pending.len(), |space| space + 1)
        });
        if let Some(end) = end.or(too_long) {
            let rest = self.pending.split_off(end);
            let whole = std::mem::replace(&mut self.pending, rest);
            self.put(&whole);
        }
    }

    /// Writes, secrets replaced. A full disk is remembered and told, and never stops the server from being watched.
    fn put(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let clean = match self.redactor.apply(&text) {
            std::borrow::Cow::Borrowed(_) => std::borrow::Cow::Borrowed(bytes),
            std::borrow::Cow::Owned(redacted) => std::borrow::Cow::Owned(redacted.into_bytes()),
        };
        let result = self.file.write_all(&clean);
        self.state.send_modify(|state| match &result {
            Ok(()) => state.bytes += clean.len() as u64,
            Err(error) => {
                state.problem.get_or_insert_with(|| error.to_string());
            }
        });
    }

    /// Bytes that the server has printed so far, secrets and unfinished lines counted.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.put(&rest);
        }
        self.state.send_modify(|state| state.ended = true);
    }
}

impl AttemptLog {
    /// Why the log could not be written, e.g. a full disk.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.state.borrow().problem.clone()
    }

    /// A reader of this attempt's lines, from its first one. It reads the file at its own pace, so nothing is lost and the
    /// writer never waits.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader {
            path: self.path.clone(),
            file: None,
            offset: self.start,
            pending: Vec::new(),
            state: self.state.clone(),
        }
    }

    /// Waits until the follower has written all there is and ended.
    pub(super) async fn ended(&self) {
        let mut state = self.state.clone();
        // An error means that the writer is gone, which is the end as well.
        state.wait_for(|state| state.ended).await.ok();
    }
}

/// Reads the lines of a log while it grows.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    pending: Vec<u8>,
    state: watch::Receiver<LogState>,
}

impl LogReader {
    /// The next lines, as soon as bytes arrive; empty when only a part of a line came. `None` after the end. Lines end at `\n`
    /// or `\r` (progress bars). Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<String>> {
        let seen = self.offset;
        let state = match self.state.wait_for(|state| state.bytes > seen || state.ended).await {
            Ok(state) => state.clone(),
            Err(_) => LogState { bytes: seen, ended: true, problem: None },
        };
        if state.bytes > seen {
            return Some(self.read_lines());
        }
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { None } else { Some(vec![String::from_utf8_lossy(&rest).into_owned()]) }
    }

    fn read_lines(&mut self) -> Vec<String> {
        if let Err(error) = self.read_chunk() {
            // The file was taken away under us; the log is then unreadable, which ends the reading.
            self.offset = u64::MAX;
            return vec![format!("vgrid: cannot read {}: {error}", self.path.display())];
        }
        let mut lines = Vec::new();
        let mut from = 0;
        for (i, byte) in self.pending.iter().enumerate() {
            if *byte == b'\n' || *byte == b'\r' || i - from >= LONGEST_LINE {
                let line = String::from_utf8_lossy(&self.pending[from..i]).into_owned();
                if !line.is_empty() {
                    lines.push(line);
                }
                from = if i - from >= LONGEST_LINE && *byte != b'\n' && *byte != b'\r' { i } else { i + 1 };
            }
        }
        self.pending.drain(..from);
        lines
    }

    fn read_chunk(&mut self) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(self.offset))?;
                none.insert(file)
            }
        };
        let read = file.take(READ_AT_ONCE).read_to_end(&mut self.pending)?;
        if read == 0 {
            return Err(std::io::Error::other("it became shorter"));
        }
        self.offset += read as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_get_every_line_whole_however_the_bytes_come() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, log) = open(&dir.path().join("deep/er/1.log"), Redactor::default()).unwrap();
        let mut reader = log.reader();
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(lines) = reader.next().await {
                all.extend(lines);
            }
            all
        });
        for piece in ["one\ntw", "o\n10%\r", "20%\rdone\nno end", " \u{e9}"] {
            writer.write(piece.as_bytes());
            tokio::task::yield_now().await;
        }
        drop(writer);
        assert_eq!(task.await.unwrap(), ["one", "two", "10%", "20%", "done", "no end \u{e9}"]);
        log.ended().await;
        assert_eq!(log.state.borrow().bytes, std::fs::metadata(&log.path).unwrap().len());
    }

    #[tokio::test]
    async fn a_second_attempt_appends_and_its_reader_starts_at_its_own_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        std::fs::write(&path, "old\n").unwrap();
        let (mut writer, log) = open(&path, Redactor::default()).unwrap();
        writer.write(b"new\n");
        assert_eq!(log.reader().next().await, Some(vec!["new".to_owned()]));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    #[tokio::test]
    async fn a_line_without_an_end_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, log) = open(&dir.path().join("1.log"), Redactor::default()).unwrap();
        writer.write(&vec![b'x'; LONGEST_LINE * 2 + 10]);
        let lines = log.reader().next().await.unwrap();
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE]);
    }

    #[tokio::test]
    async fn a_secret_at_the_cut_of_an_endless_line_is_not_written_in_two_halves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        let (mut writer, _log) = open(&path, Redactor::new(["sk-secret".to_owned()])).unwrap();
        writer.write(&[vec![b'x'; LONGEST_LINE - 4], b" sk-".to_vec()].concat());
        writer.write(b"secret and more\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("x *** and more\n"), "{}", &text[LONGEST_LINE - 8..]);
    }

    #[tokio::test]
    async fn a_secret_never_reaches_the_file_however_the_bytes_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        let (mut writer, log) = open(&path, Redactor::new(["sk-secret".to_owned()])).unwrap();
        let pieces = ["args: {'api_key': ['sk-", "secret']}\n10%\r", "bad \u{fffd} sk-sec", "ret at the end"];
        for piece in pieces {
            writer.write(piece.as_bytes());
        }
        assert_eq!(writer.received(), pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        drop(writer);
        log.ended().await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "args: {'api_key': ['***']}\n10%\rbad \u{fffd} *** at the end");
        assert_eq!(log.state.borrow().bytes, text.len() as u64);
    }
}
