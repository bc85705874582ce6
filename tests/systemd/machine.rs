//! A machine in a container: systemd, a Docker engine of its own, vgrid and its units by the words of the book.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::common_docker::{SIM_IMAGE, Scene, Service, await_that, docker, there_or_skipped, try_docker};

const IMAGE: &str = "vgrid-test-machine:local";

/// The sweep's folder on the machine; systemd has another spelling for the dash.
const FOLDER: &str = "/srv/sweeps/qwen-32b";

const SECRET: &str = "hf_planted_for_systemd";

/// A machine of a test's own; taken away when it is dropped.
pub struct Machine {
    /// The deployment, the grid and the database, in the folder that is the machine's `FOLDER`.
    pub scene: Scene,
    name: String,
    /// Production's container.
    production: String,
    /// How many lines of the journal were there when the listening began.
    heard: usize,
}

impl Machine {
    /// Boots one whose production is up; `None` (said aloud) where that is not possible.
    pub fn boot(name: &str, grid: &str) -> Option<Self> {
        let scene = Scene::new(&format!("systemd-{name}"))?;
        let there = try_docker(&["image", "inspect", IMAGE]).is_some();
        let oracle = concat!(env!("CARGO_MANIFEST_DIR"), "/target/oracle/docker-compose");
        let there = there && std::path::Path::new(oracle).exists();
        let what = format!(
            "image {IMAGE} or no target/oracle/docker-compose: bash tests/setup.sh, bash tests/machine/build.sh"
        );
        if !there_or_skipped(there, "VGRID_REQUIRE_SYSTEMD", &what) {
            return None;
        }
        scene.deploy(&Service::sim().with_flags("--sim-speed 4").with("environment: { HF_TOKEN: \"${HF_TOKEN:?}\" }"));
        scene.grid(grid);
        scene.write("vgrid.env", &format!("HF_TOKEN={SECRET}\n"));
        let mut machine = Self { name: scene.project.clone(), scene, production: String::new(), heard: 0 };
        let folder = format!("{}:{FOLDER}", machine.scene.dir.path().display());
        // All that systemd and Docker need, and not --privileged: that also asks for what a test environment may not give.
        docker(&[
            "run",
            "--detach",
            "--name",
            &machine.name,
            "--hostname",
            "machine",
            "--cap-add",
            "ALL",
            "--cap-drop",
            "SYS_RESOURCE",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
            "--security-opt",
            "systempaths=unconfined",
            "--cgroupns",
            "private",
            "--stop-signal",
            "SIGRTMIN+3",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--tmpfs",
            "/tmp",
            "--volume",
            "/var/lib/docker",
            "--volume",
            &folder,
            IMAGE,
        ]);
        machine.await_docker();
        let load = "docker save \"$0\" | docker exec --interactive \"$1\" docker load";
        let loaded = Command::new("sh").args(["-c", load, SIM_IMAGE, &machine.name]).stdout(Stdio::null()).status();
        assert!(loaded.is_ok_and(|status| status.success()), "{SIM_IMAGE} was not loaded");
        machine.sh("mkdir -p /root/bin /root/vgrid/docs /usr/local/lib/docker/cli-plugins");
        let root = env!("CARGO_MANIFEST_DIR");
        for (from, to) in [
            (env!("CARGO_BIN_EXE_vgrid"), "/root/bin/vgrid"),
            (oracle, "/usr/local/lib/docker/cli-plugins/docker-compose"),
            (&format!("{root}/docs/systemd"), "/root/vgrid/docs/systemd"),
        ] {
            docker(&["cp", from, &format!("{}:{to}", machine.name)]);
        }
        machine.sh("docker compose up --detach");
        machine.production = machine.sh("docker ps --all --quiet --no-trunc");
        machine.await_serving();
        Some(machine)
    }

    /// A script on the machine, in the sweep's folder, with the unit's name in `$unit` and the secrets that the compose file needs; what it
    /// printed. Panics when it fails.
    pub fn sh(&self, script: &str) -> String {
        let words = self.words(script);
        docker(&words.each_ref().map(String::as_str))
    }

    fn try_sh(&self, script: &str) -> Option<String> {
        let words = self.words(script);
        try_docker(&words.each_ref().map(String::as_str))
    }

    fn words(&self, script: &str) -> [String; 7] {
        let head = format!(
            "export PATH=/usr/local/bin:$PATH; set -a; . ./vgrid.env; set +a; unit=\"vgrid@$(systemd-escape --path {FOLDER}).service\"\n"
        );
        ["exec", "--workdir", FOLDER, &self.name, "bash", "-c", &format!("{head}{script}")].map(str::to_owned)
    }

    /// The commands of docs/systemd.md up to the one that enables the unit, by its own words.
    pub fn install(&self) {
        let (before, _) = book_commands();
        self.by_the_book(&before);
        let registered = self.scene.rows("SELECT count(*) FROM trials WHERE state = 'pending'");
        assert_eq!(registered, [["3"]], "the sweep is not registered");
    }

    /// The command of docs/systemd.md that enables the unit.
    pub fn enable(&mut self) {
        self.begin_to_listen();
        let (_, enable) = book_commands();
        self.by_the_book(&enable);
    }

    fn by_the_book(&self, commands: &str) {
        let head = "cd /root/vgrid; PATH=/root/bin:$PATH; sudo() { \"$@\"; }\n";
        self.sh(&format!("{head}{commands}"));
    }

    /// From now on only what is new in the journal is heard.
    pub fn begin_to_listen(&mut self) {
        self.heard = self.journal().len();
    }

    /// Every line of the unit in the journal, without the hour.
    fn journal(&self) -> Vec<String> {
        let lines = self.try_sh("journalctl --no-pager --output cat --unit \"$unit\"").unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// The lines of the journal since the listening began.
    pub fn lines(&self) -> Vec<String> {
        self.journal().split_off(self.heard)
    }

    /// Waits for a line of the journal that holds all of these.
    pub fn await_line(&self, parts: &[&str]) {
        await_that(&format!("the journal has a line with {parts:?}"), || self.said(parts).then_some(()));
    }

    /// Whether a line of the journal holds all of these.
    pub fn said(&self, parts: &[&str]) -> bool {
        self.journal().iter().skip(self.heard).any(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// Ends everything on the machine at once, and boots it.
    pub fn cut_power(&mut self) {
        self.without_power_until(Instant::now());
    }

    /// Ends everything on the machine at once, and boots it when the moment has come.
    pub fn without_power_until(&mut self, moment: Instant) {
        self.begin_to_listen();
        docker(&["kill", &self.name]);
        std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        self.start();
    }

    /// Shuts the machine down in good order.
    pub fn shut_down(&self) {
        docker(&["stop", "-t", "200", &self.name]);
    }

    /// Boots a machine that is off.
    pub fn start(&self) {
        docker(&["start", &self.name]);
        self.await_docker();
    }

    fn await_docker(&self) {
        await_that("the machine's Docker engine answers", || self.try_sh("docker version"));
    }

    /// Waits until the unit is at rest: its state and its result, as `systemctl show` has them.
    pub fn await_end(&self) -> (String, String) {
        await_that("the unit ends", || {
            let shown = self.try_sh("systemctl show \"$unit\" --property ActiveState,Result")?;
            let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            let (state, result) = (value("ActiveState=")?, value("Result=")?);
            ["inactive", "failed"].contains(&state.as_str()).then_some((state, result))
        })
    }

    /// Waits until the unit that restores has succeeded.
    pub fn await_restore_unit(&self) {
        await_that("vgrid-restore@ succeeds", || {
            let journal = self.try_sh("journalctl --no-pager --output cat --unit \"vgrid-restore@${unit#vgrid@}\"")?;
            (journal.contains("serves again, verified by a real completion") && journal.contains("Finished"))
                .then_some(())
        });
    }

    /// No container but production's, which is the very same one, and serves.
    pub fn assert_restored(&self) {
        self.await_serving();
        let all = self.sh("docker ps --all --no-trunc --format '{{.ID}} {{.Names}}'");
        assert_eq!(all, format!("{} {}-vllm-1", self.production, self.scene.project));
        let policy = self.sh("docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' $(docker ps --all --quiet)");
        assert_eq!(policy, "unless-stopped");
    }

    fn await_serving(&self) {
        let body = r#"{"model":"tiny","prompt":"a","max_tokens":2}"#;
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && printf '%s' 'POST /v1/completions HTTP/1.1\r\nHost: machine\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}' >&3 && cat <&3",
            self.scene.port,
            body.len()
        );
        await_that("production answers a completion", || {
            self.try_sh(&ask).filter(|answer| answer.contains("completion_tokens")).map(drop)
        });
    }

    /// The secret of `vgrid.env` stands in no line of the journal.
    pub fn assert_no_secret_in_the_journal(&self) {
        assert!(!self.sh("journalctl --no-pager").contains(SECRET));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.journal().join("\n"));
        }
        try_docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// The commands of docs/systemd.md before the one that enables the unit, and that one; in the folder of this test.
fn book_commands() -> (String, String) {
    let book = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/systemd.md")).unwrap();
    let block = book.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let block = block.replace("/srv/sweeps/qwen ", &format!("{FOLDER} "));
    assert!(block.contains(FOLDER), "the book has another folder");
    let (before, rest) = block.split_once("sudo systemctl enable").unwrap();
    let enable = rest.lines().next().unwrap();
    let unit = before.lines().find(|line| line.starts_with("unit=")).unwrap();
    (before.to_owned(), format!("cd {FOLDER}\n{unit}\nsudo systemctl enable{enable}"))
}
