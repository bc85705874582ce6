//! A Docker daemon of a test's own, which it may stop, kill and start again without harm to any other container of the machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::{await_that, engine_answers, there_or_skipped};

/// Where the daemon of this test process listens; the machine's own daemon when there is none.
pub(super) static HOST: OnceLock<String> = OnceLock::new();

/// The network interface of its containers.
const BRIDGE: &str = "vgrid-test0";

/// One test at a time has it.
static TURN: Mutex<()> = Mutex::new(());

/// A running daemon with folders, socket and address pool of its own; taken away with everything in it when it is dropped.
pub struct Daemon {
    _turn: MutexGuard<'static, ()>,
    folder: PathBuf,
    dockerd: Option<Child>,
    docker0: Option<String>,
}

impl Daemon {
    /// Starts one; `None` where that is not possible: not root, or no `dockerd`.
    pub fn start() -> Option<Self> {
        Self::start_with("vfs")
    }

    /// As [`Self::start`], with this storage driver: `vfs` works everywhere, and copies the whole image for each container.
    pub fn start_with(storage: &str) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("vgrid-dockerd-{}", std::process::id()));
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
        let possible = is_root && shell("dockerd --version >/dev/null && ip -Version >/dev/null");
        if !there_or_skipped(
            possible,
            "VGRID_REQUIRE_DOCKER",
            "dockerd and ip, or not root: no daemon of the test's own",
        ) {
            return None;
        }
        // A bridge of its own, made before: a daemon without one takes docker0, which is the machine's own daemon's.
        shell(&format!("ip link delete {BRIDGE} 2>/dev/null"));
        let made = shell(&format!(
            "ip link add {BRIDGE} type bridge && ip address add 10.213.0.1/24 dev {BRIDGE} && ip link set {BRIDGE} up"
        ));
        assert!(made, "the bridge {BRIDGE} was not made");
        std::fs::create_dir_all(&folder).unwrap();
        // No address pools: a daemon that has some and starts again removes docker0. No rule of the firewall: its proxies alone make a
        // container's port reachable here.
        let config = serde_json::json!({
            "data-root": folder.join("data"), "exec-root": folder.join("exec"), "pidfile": folder.join("docker.pid"),
            "bridge": BRIDGE, "iptables": false, "ip6tables": false, "ip-masq": false, "storage-driver": storage, "mtu": 1400,
        });
        std::fs::write(folder.join("daemon.json"), config.to_string()).unwrap();
        HOST.get_or_init(|| format!("unix://{}", folder.join("docker.sock").display()));
        let mut daemon = Self { _turn: turn, folder, dockerd: None, docker0: default_bridge() };
        daemon.up();
        Some(daemon)
    }

    /// Gives it an image that the machine's own daemon has.
    pub fn load(&self, image: &str) {
        let script = "docker save \"$0\" | DOCKER_HOST=\"$1\" docker load";
        let loaded = Command::new("sh").args(["-c", script, image, HOST.get().unwrap()]).status();
        assert!(loaded.is_ok_and(|status| status.success()), "{image} was not loaded");
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
        let in_folder = |script: &str| {
            Command::new("sh").args(["-c", script]).arg(&self.folder).env("DOCKER_HOST", HOST.get().unwrap()).status()
        };
        in_folder("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1").ok();
        in_folder("docker network ls --quiet --filter type=custom | xargs --no-run-if-empty docker network rm >/dev/null 2>&1").ok();
        if let Some(mut dockerd) = self.dockerd.take() {
            Command::new("kill").arg(dockerd.id().to_string()).status().ok();
            dockerd.wait().ok();
        }
        // Where dockerd was killed, its containerd may be left.
        in_folder("pid=$(cat \"$0\"/exec/containerd/containerd.pid 2>/dev/null) && kill \"$pid\" 2>/dev/null").ok();
        in_folder("grep -o \"$0/[^ ]*\" /proc/self/mounts | sort -r | xargs --no-run-if-empty umount --lazy").ok();
        std::fs::remove_dir_all(&self.folder).ok();
        shell(&format!("ip link delete {BRIDGE}"));
        if !std::thread::panicking() {
            assert_eq!(default_bridge(), self.docker0, "the machine's own docker0 is as it was");
        }
    }
}

/// Whether the script succeeds.
fn shell(script: &str) -> bool {
    Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The kernel's number of the machine's default bridge: one that was made anew has another.
fn default_bridge() -> Option<String> {
    std::fs::read_to_string("/sys/class/net/docker0/ifindex").ok()
}
