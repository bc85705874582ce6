//! A vgrid that runs as a process of its own: its lines, its end, signals to it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// The lines printed so far, and whether more may come.
#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

/// A running vgrid; killed when it is dropped.
pub struct Vgrid {
    child: Child,
    printed: Arc<(Mutex<Printed>, Condvar)>,
    stderr: Option<JoinHandle<()>>,
    stdout: Option<JoinHandle<String>>,
}

/// What a vgrid that has ended left.
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything that it printed to standard output.
    pub stdout: String,
    /// The lines that it printed to standard error.
    pub lines: Vec<String>,
}

impl Ended {
    /// Standard error as one text.
    pub fn stderr(&self) -> String {
        self.lines.join("\n")
    }

    /// Panics with everything that was printed unless the exit code is this one.
    pub fn expect_code(self, code: i32) -> Self {
        let (stderr, stdout) = (self.stderr(), &self.stdout);
        assert_eq!(self.code, Some(code), "unexpected exit code; stderr:\n{stderr}\nstdout:\n{stdout}");
        self
    }

    /// Whether a line of standard error holds all of these.
    pub fn says(&self, parts: &[&str]) -> bool {
        self.lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

impl Vgrid {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vgrid starts");
        let printed = Arc::new((Mutex::new(Printed::default()), Condvar::new()));
        let shared = Arc::clone(&printed);
        let errors = child.stderr.take().expect("it is piped");
        let stderr = std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        let mut output = child.stdout.take().expect("it is piped");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).ok();
            text
        });
        Self { child, printed, stderr: Some(stderr), stdout: Some(stdout) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed a line that holds all of these; the line.
    pub fn await_line(&self, parts: &[&str]) -> String {
        let found = self.wait_for(PATIENCE, |lines| {
            lines.iter().find(|line| parts.iter().all(|part| line.contains(part))).cloned()
        });
        found.unwrap_or_else(|| panic!("vgrid printed no line with {parts:?}, but:\n{}", self.lines().join("\n")))
    }

    /// Waits until it has printed so many lines; false when it ended before.
    pub fn await_lines(&self, count: usize) -> bool {
        self.wait_for(PATIENCE, |lines| (lines.len() >= count).then_some(())).is_some()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.printed.0.lock().unwrap().lines.clone()
    }

    fn wait_for<T>(&self, limit: Duration, look: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let until = Instant::now() + limit;
        let mut printed = self.printed.0.lock().unwrap();
        loop {
            let found = look(&printed.lines);
            let left = until.saturating_duration_since(Instant::now());
            if found.is_some() || printed.ended || left.is_zero() {
                return found;
            }
            printed = self.printed.1.wait_timeout(printed, left).unwrap().0;
        }
    }

    /// Sends a signal by name: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "signal {name} was not sent");
    }

    /// Ends it at once, as a power cut would; what it had printed. The second value tells whether it was still running.
    pub fn kill(mut self) -> (Ended, bool) {
        let was_running = self.child.try_wait().expect("it is our child").is_none();
        self.child.kill().ok();
        let status = self.child.wait().expect("it is our child");
        (self.collect(status), was_running)
    }

    /// Waits for its end.
    pub fn end(self) -> Ended {
        self.end_within(PATIENCE * 2)
    }

    /// Waits for its end, for so long.
    pub fn end_within(mut self, limit: Duration) -> Ended {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return self.collect(status);
            }
            assert!(Instant::now() < until, "vgrid does not end; it printed:\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn collect(&mut self, status: ExitStatus) -> Ended {
        self.stderr.take().expect("collected once").join().ok();
        let stdout = self.stdout.take().expect("collected once").join().unwrap_or_default();
        Ended { code: status.code(), stdout, lines: self.lines() }
    }
}

impl Drop for Vgrid {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
