//! The file by which a process is found again after a crash of vgrid, and the proof that it is still the same process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{LaunchError, LaunchStep};
use super::leftovers::{Leftover, Spared};
use super::process::{ProcessLauncher, end_group};
use super::procfs;
use super::spec::TrialLabels;

/// Set in the environment of every process that vgrid starts; its children inherit it.
pub(super) const TOKEN_VARIABLE: &str = "VGRID_ATTEMPT_TOKEN";

/// A leftover gets this long to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The content of a pid file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PidFile {
    /// Process id, and id of its group; `None` until it is started, and for good when vgrid dies in that moment.
    pub pid: Option<u32>,
    /// Start of the process, clock ticks since boot; `None` where the system does not say.
    pub start_ticks: Option<u64>,
    /// The value of [`TOKEN_VARIABLE`].
    pub token: String,
    /// The name given to the server.
    pub name: String,
    /// The database it belongs to.
    pub db: String,
    /// The sweep.
    pub sweep: i64,
    /// The trial.
    pub trial_id: i64,
    /// The attempt.
    pub attempt: u32,
}

impl PidFile {
    /// Announces a process that is about to be started: also one whose vgrid dies before it can say its number is found again.
    pub(super) fn announce(
        folder: &Path,
        token: &str,
        name: &str,
        labels: &TrialLabels,
    ) -> std::io::Result<(Self, PathBuf)> {
        let content = Self {
            pid: None,
            start_ticks: None,
            token: token.to_owned(),
            name: name.to_owned(),
            db: labels.db.clone(),
            sweep: labels.sweep.0,
            trial_id: labels.trial_id,
            attempt: labels.attempt,
        };
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("process-{token}.json"));
        content.write(&path)?;
        Ok((content, path))
    }

    /// Notes that it runs.
    pub(super) fn started(self, path: &Path, pid: u32) -> std::io::Result<()> {
        let start_ticks = procfs::process(pid).map(|process| process.start_ticks);
        Self { pid: Some(pid), start_ticks, ..self }.write(path)
    }

    /// Writes it, whole or not at all.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let unfinished = path.with_extension("json.new");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&unfinished, path)
    }

    /// Removes it; an absent one is fine.
    pub(super) fn remove(path: &Path) {
        std::fs::remove_file(path).ok();
    }

    /// Whether something of that very start still runs: the leader with the same start time, or a member of its group that carries
    /// the token.
    ///
    /// Its group, when it does.
    fn living_group(&self) -> Option<u32> {
        let marked = |p: &procfs::ProcessStat| procfs::has_environment(p.pid, TOKEN_VARIABLE, &self.token);
        let Some(pid) = self.pid else {
            return procfs::all_processes().into_iter().find(marked).map(|process| process.group);
        };
        let same_leader =
            procfs::process(pid).is_some_and(|p| p.state != 'Z' && Some(p.start_ticks) == self.start_ticks);
        (same_leader || procfs::group_members(pid).iter().any(marked)).then_some(pid)
    }
}

impl ProcessLauncher {
    /// Processes of trials of this database that outlived their vgrid; ended ones whose file is left are listed as not running.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn leftovers(&self, db: &str) -> Result<Vec<Leftover>, LaunchError> {
        Ok(self.files()?.into_iter().filter(|(_, file)| file.db == db).map(|(_, file)| leftover(&file)).collect())
    }

    /// Ends them, whole groups, but for the spared ones, and removes their files.
    ///
    /// # Errors
    /// The folder cannot be read; a process cannot be killed.
    pub async fn remove_leftovers(&self, db: &str, spared: Spared<'_>) -> Result<Vec<Leftover>, LaunchError> {
        let mut removed = Vec::new();
        for (path, file) in self.files()?.into_iter().filter(|(_, file)| file.db == db) {
            let leftover = leftover(&file);
            if spared(&leftover) {
                continue;
            }
            if let Some(group) = file.living_group() {
                end_group(group, GRACE).await?;
            }
            PidFile::remove(&path);
            removed.push(leftover);
        }
        Ok(removed)
    }

    fn files(&self) -> Result<Vec<(PathBuf, PidFile)>, LaunchError> {
        let entries = match std::fs::read_dir(self.state_dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let text = format!("cannot read {}: {error}", self.state_dir().display());
                return Err(LaunchError::new(LaunchStep::Inspect, text).help("check its permissions"));
            }
        };
        let paths =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        // A file that is no pid file of ours is not ours to judge.
        let read = |path: PathBuf| {
            let file = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some((path, file))
        };
        Ok(paths.filter_map(read).collect())
    }
}

fn leftover(file: &PidFile) -> Leftover {
    let group = file.living_group();
    Leftover {
        id: file.pid.or(group).map_or_else(|| file.token.clone(), |pid| format!("pid:{pid}")),
        name: file.name.clone(),
        db: file.db.clone(),
        sweep: file.sweep.to_string(),
        trial: file.trial_id.to_string(),
        attempt: file.attempt.to_string(),
        running: group.is_some(),
    }
}
