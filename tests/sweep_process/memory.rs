//! The kernel kills vgrid itself for memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::{Live, Scene, wait_until};
use super::{SUITE, configs};

/// What vgrid and its engine may take together, bytes; far more than they need.
const LIMIT: &str = "500000000";

/// A control group with a limit on memory; it is taken away with the value.
struct Group {
    folder: PathBuf,
    /// The file that counts the kernel's kills.
    kills: &'static str,
}

impl Group {
    /// None where it cannot be made: not root, a container, or no memory controller.
    fn make() -> Option<Self> {
        let name = format!("vgrid-test-{}", std::process::id());
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"),
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
        ];
        places.into_iter().find_map(|(root, limit, kills)| {
            let folder = Path::new(root).join(&name);
            std::fs::create_dir(&folder).ok()?;
            let group = Self { folder, kills };
            // A new group without the controller has no such file, and none can be made.
            std::fs::OpenOptions::new().write(true).open(group.folder.join(limit)).ok()?;
            std::fs::write(group.folder.join(limit), LIMIT).ok()?;
            Some(group)
        })
    }

    /// The command, in the group from its first moment.
    fn command(&self, program: &Command) -> Command {
        let mut command = Command::new("sh");
        let join = format!("echo $$ > '{}/cgroup.procs' && exec \"$0\" \"$@\"", self.folder.display());
        command.args(["-c", &join]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        command
    }

    fn oom_kills(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(self.kills)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let members = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status().ok();
        }
        // A group whose last member is ending is busy for a moment.
        for _ in 0..500 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_vgrid_that_the_kernel_kills_for_memory_loses_nothing_and_the_same_command_goes_on() {
    let scene = Scene::new();
    let Some(group) = Group::make() else {
        println!("skipped: a control group with a limit on memory cannot be made here");
        return;
    };
    scene.grid(&["--sim-speed=5"], &format!("{}{SUITE}", configs(3)));
    let sweep = Live::start(group.command(&scene.vgrid(["run", "grid.yaml"])));
    sweep.wait_for("c2: smoke done");
    let before = scene.results();
    // Whoever takes the memory: the kernel chooses vgrid.
    std::fs::write(format!("/proc/{}/oom_score_adj", sweep.pid()), "1000").unwrap();
    let mut hog = Command::new("tail");
    // A line without an end, which it keeps.
    hog.arg("/dev/zero");
    let mut hog = group.command(&hog).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the kernel kills vgrid", || group.oom_kills() > 0);
    let done = sweep.finish();
    hog.kill().unwrap();
    hog.wait().unwrap();
    assert_eq!(done.code, None, "a signal ended it, not vgrid itself:\n{}", done.stderr);

    assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "interrupted");
    assert!(before.len() >= 3);
    scene.sweep(&[]).ok();
    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured"]);
    let after = scene.results();
    assert_eq!((after.len(), &after[..before.len()]), (6, &before[..]));
    scene.assert_no_sim_is_left();
}
