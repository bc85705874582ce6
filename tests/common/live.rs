//! A vgrid that runs: its lines as they come, signals to it, its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Done, PATIENCE, signal};

/// What came on standard error so far.
#[derive(Default)]
struct Lines {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A running command.
pub struct Live {
    child: Child,
    lines: Arc<Lines>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
}

impl Live {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Lines::default());
        let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let heard = Arc::clone(&lines);
        let stderr = std::thread::spawn(move || {
            for line in BufReader::new(err).lines() {
                heard.lines.lock().unwrap().0.push(line.unwrap());
                heard.more.notify_all();
            }
            heard.lines.lock().unwrap().1 = true;
            heard.more.notify_all();
        });
        Self { child, lines, stdout: Some(stdout), stderr: Some(stderr) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the first line on standard error that has `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let found = self.wait(|lines| lines.iter().any(|l| l.contains(text)));
        assert!(found, "it never said {text:?}:\n{}", self.said());
    }

    /// Waits until standard error has `count` lines; false when it ended before.
    pub fn wait_for_lines(&self, count: usize) -> bool {
        self.wait(|lines| lines.len() >= count)
    }

    fn wait(&self, holds: impl Fn(&[String]) -> bool) -> bool {
        let began = Instant::now();
        let mut guard = self.lines.lines.lock().unwrap();
        loop {
            if holds(&guard.0) {
                return true;
            }
            if guard.1 || began.elapsed() > PATIENCE {
                return false;
            }
            guard = self.lines.more.wait_timeout(guard, Duration::from_secs(1)).unwrap().0;
        }
    }

    /// What it said on standard error so far.
    pub fn said(&self) -> String {
        self.lines.lines.lock().unwrap().0.join("\n")
    }

    /// Waits for the end; one that does not come is a failure.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it did not end within {PATIENCE:?}:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let stdout = self.stdout.take().unwrap().join().unwrap();
        self.stderr.take().unwrap().join().unwrap();
        Done::of(Output { status, stdout, stderr: format!("{}\n", self.said()).into_bytes() })
    }

    /// Kills it, and waits until it is dead; what it had said.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said()
    }
}

impl Drop for Live {
    /// A test that fails leaves no vgrid behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
