//! A Docker daemon of a test's own, which it may stop, kill and start again without harm to any other container of the machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::{await_that, engine_answers};

/// Where the daemon of this test process listens; the machine's own daemon when there is none.
pub(super) static HOST: OnceLock<String> = OnceLock::new();

/// One test at a time has it.
static TURN: Mutex<()> = Mutex::new(());

/// A running daemon with folders, socket and address pool of its own; taken away with everything in it when it is dropped.
pub struct Daemon {
    _turn: MutexGuard<'static, ()>,
    folder: PathBuf,
    dockerd: Option<Child>,
}

impl Daemon {
    /// Starts one; `None` (said aloud) where that is not possible: not root, or no `dockerd`; and where nobody allows it: a second
    /// daemon makes docker0 anew, which cuts off the containers of the machine's own daemon that are on it.
    pub fn start() -> Option<Self> {
        if std::env::var_os("VGRID_SECOND_DAEMON").is_none() {
            println!("SKIPPED: a second Docker daemon makes docker0 anew; VGRID_SECOND_DAEMON=1 allows it");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("vgrid-dockerd-{}", std::process::id()));
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
        let installed = Command::new("dockerd").arg("--version").output().is_ok_and(|version| version.status.success());
        if !is_root || !installed {
            println!("SKIPPED: a daemon of the test's own needs root and dockerd");
            return None;
        }
        std::fs::create_dir_all(&folder).unwrap();
        // No rule of the firewall: its proxies alone make a container's port reachable here.
        let config = serde_json::json!({
            "data-root": folder.join("data"), "exec-root": folder.join("exec"), "pidfile": folder.join("docker.pid"),
            "iptables": false, "ip6tables": false, "ip-masq": false, "storage-driver": "vfs", "mtu": 1400,
            "default-address-pools": [{ "base": "10.213.0.0/16", "size": 24 }],
        });
        std::fs::write(folder.join("daemon.json"), config.to_string()).unwrap();
        HOST.get_or_init(|| format!("unix://{}", folder.join("docker.sock").display()));
        let mut daemon = Self { _turn: turn, folder, dockerd: None };
        daemon.up();
        Some(daemon)
    }

    /// Starts it again, and waits until it answers.
    pub fn up(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let dockerd = Command::new("dockerd")
            .arg("--config-file")
            .arg(self.folder.join("daemon.json"))
            .args(["--host", HOST.get().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.dockerd = Some(dockerd);
        await_that("the test's own daemon answers", || engine_answers().then_some(()));
    }

    /// Ends it by a signal by name, and waits until it is gone. `TERM` also ends its containers, `KILL` leaves them running.
    pub fn down(&mut self, signal: &str) {
        let Some(mut dockerd) = self.dockerd.take() else { return };
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(dockerd.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "signal {signal} was not sent");
        dockerd.wait().unwrap();
        if signal == "KILL" {
            // Else the next one believes that it runs.
            std::fs::remove_file(self.folder.join("docker.pid")).ok();
        }
    }

    /// Ends it, leaves it away for so long, and starts it again.
    pub fn restart(&mut self, signal: &str, away: Duration) {
        self.down(signal);
        std::thread::sleep(away);
        self.up();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.dockerd.is_none() && !std::thread::panicking() {
            self.up();
        }
        let shell = |script: &str| {
            Command::new("sh").args(["-c", script]).arg(&self.folder).env("DOCKER_HOST", HOST.get().unwrap()).status()
        };
        shell("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1").ok();
        shell("docker network ls --quiet --filter type=custom | xargs --no-run-if-empty docker network rm >/dev/null 2>&1").ok();
        if let Some(mut dockerd) = self.dockerd.take() {
            Command::new("kill").arg(dockerd.id().to_string()).status().ok();
            dockerd.wait().ok();
        }
        // Where dockerd was killed, its containerd may be left.
        shell("pid=$(cat \"$0\"/exec/containerd/containerd.pid 2>/dev/null) && kill \"$pid\" 2>/dev/null").ok();
        shell("grep -o \"$0/[^ ]*\" /proc/self/mounts | sort -r | xargs --no-run-if-empty umount --lazy").ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
