//! `vgrid promote` and `vgrid rollback`: a measured config into production, and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use owo_colors::OwoColorize;
use tokio_util::sync::CancellationToken;

use crate::domain::SweepId;
use crate::domain::reading::duration;
use crate::engine::promote::{self, Applied, Prepared, RolledBack, Written};
use crate::engine::{Hold, Planner, Teller, deployment_identity};
use crate::launch::DockerLauncher;
use crate::store::{Promotion, Store};

use super::args::{PromoteArgs, RollbackArgs};
use super::exit::{Exit, Stop};
use super::run::{engine_stop, registered, store_stop};
use super::{check, drive, print};

/// Patience with the daemon when files alone are written.
const DAEMON_PATIENCE: Duration = Duration::from_secs(5);

/// Writes the override, and with `--apply` puts it into production.
pub(crate) async fn promote(args: PromoteArgs, db: &Path) -> Result<Exit, Stop> {
    let mut store = Store::open(db).map_err(store_stop)?;
    let trial = store.find_trial(args.sweep.map(SweepId), &args.trial).map_err(store_stop)?;
    let row = store.sweep(Some(store.trial(trial).map_err(store_stop)?.sweep)).map_err(store_stop)?;
    let planner = registered(&store, &row)?;
    let docker = if planner.is_process() { None } else { docker(args.apply).await? };
    let output = args.output.as_deref();
    let prepared = promote::prepare(planner, &store, trial, docker.as_ref(), output).await.map_err(engine_stop)?;
    if !args.json {
        tell(&prepared);
    }
    if prepared.failures().next().is_some() && !args.force {
        if args.json {
            print::json(&described(&prepared, &serde_json::Value::Null))?;
        }
        return Err(Stop::usage(
            "a point of the checklist failed, so nothing was written; --force writes it all the same",
        ));
    }
    let env_file = args.env_file.as_deref();
    if args.dry_run {
        let changes = prepared.changes(env_file).map_err(engine_stop)?;
        if args.json {
            print::json(&described(&prepared, &serde_json::json!({ "text": prepared.text })))?;
        } else {
            for (change, text) in changes {
                let path = change.path.display();
                if change.path == prepared.output {
                    print::out(format!("\nwould write {path}:\n\n{}", text.trim_end()));
                } else {
                    // The rest of an env file is not for the screen: it may hold secrets.
                    print::out(format!("\nwould set in {path}: {}", settings(&prepared)));
                }
            }
        }
        return Ok(Exit::Ok);
    }
    let Some(docker) = docker.filter(|_| args.apply) else {
        let written = promote::write(&prepared, &mut store, env_file).map_err(engine_stop)?;
        if args.json {
            print::json(&described(&prepared, &written))?;
        } else {
            tell_written(&prepared, &written, env_file);
        }
        return Ok(Exit::Ok);
    };
    let hold = Hold::take(db, &deployment_identity(&prepared.planner), Some(&docker)).map_err(store_stop)?;
    refuse_open_work(&store, hold.in_database().deployment())?;
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let (teller, cancel) = (Teller::new(sender), CancellationToken::new());
    let work = promote::apply(&prepared, env_file, &docker, &mut store, None, (&teller, &cancel));
    let applied = drive::drive(work, events, &cancel, drive::Farewell::SWEEP).await?.map_err(engine_stop)?;
    if args.json {
        print::json(&described(&prepared, &applied))?;
    } else {
        tell_applied(&prepared, &applied);
    }
    Ok(match applied {
        Applied::Promoted { .. } => Exit::Ok,
        Applied::RolledBack { .. } if cancel.is_cancelled() => Exit::Interrupted,
        Applied::RolledBack { .. } => Exit::SomeFailed,
    })
}

/// Undoes the last promotion that is not undone.
pub(crate) async fn rollback(args: RollbackArgs, db: &Path) -> Result<Exit, Stop> {
    let mut store = Store::open(db).map_err(store_stop)?;
    let Some(promotion) = store.last_promotion().map_err(store_stop)? else {
        return Err(Stop::usage(format!("{} holds no promotion to undo", db.display())));
    };
    let docker = if promote::needs_docker(&promotion) { docker(true).await? } else { None };
    let hold = Hold::take(db, &promotion.deployment, docker.as_ref()).map_err(store_stop)?;
    if !store.open_restorations(Some(hold.in_database().deployment())).map_err(store_stop)?.is_empty() {
        return Err(Stop::preflight(
            "a sweep was interrupted and has taken production aside; run `vgrid restore` first",
        ));
    }
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let teller = Teller::new(sender);
    let planner = planner_of(&store, &promotion);
    let work = promote::roll_back(docker.as_ref(), &mut store, &promotion, planner.as_ref(), "asked for", &teller);
    let done =
        drive::drive(work, events, &CancellationToken::new(), drive::Farewell::SWEEP).await?.map_err(engine_stop)?;
    if args.json {
        print::json(&done)?;
    } else {
        tell_rolled_back(&done);
        if !promote::needs_docker(&promotion) {
            print::out(
                "it wrote files alone; a container that Compose started from them still runs: `up -d` with your own files replaces it",
            );
        }
    }
    Ok(Exit::Ok)
}

/// The plan that a promotion comes from, where it can still be read: it knows the secrets of what served before.
pub(crate) fn planner_of(store: &Store, promotion: &Promotion) -> Option<Planner> {
    let sweep = store.trial(promotion.trial?).ok()?.sweep;
    registered(store, &store.sweep(Some(sweep)).ok()?).ok()
}

/// Connects to Docker; where it is only needed to look up the image, its absence is no error.
async fn docker(required: bool) -> Result<Option<DockerLauncher>, Stop> {
    if required {
        return DockerLauncher::connect().await.map(Some).map_err(|e| Stop::preflight(e.to_string()));
    }
    let connected = tokio::time::timeout(DAEMON_PATIENCE, DockerLauncher::connect()).await;
    Ok(connected.ok().and_then(Result::ok))
}

fn refuse_open_work(store: &Store, deployment: &str) -> Result<(), Stop> {
    if !store.open_restorations(Some(deployment)).map_err(store_stop)?.is_empty() {
        return Err(Stop::preflight(
            "a sweep was interrupted and has taken production aside; run `vgrid restore` first",
        ));
    }
    if let Some(open) = store.open_promotions(Some(deployment)).map_err(store_stop)?.first() {
        let text = format!("the promotion of {} was cut short; run `vgrid rollback` first", open.config);
        return Err(Stop::preflight(text));
    }
    Ok(())
}

fn described(prepared: &Prepared, result: &impl serde::Serialize) -> serde_json::Value {
    serde_json::json!({
        "trial": prepared.report.trial,
        "changes": prepared.changes,
        "checklist": prepared.checklist,
        "output": prepared.output,
        "env": prepared.env,
        "usage": prepared.usage,
        "result": result,
    })
}

fn tell(prepared: &Prepared) {
    let trial = &prepared.report.trial;
    print::out(format!(
        "{} (trial {} of sweep {}, {})",
        trial.name.bold(),
        trial.trial_id.0,
        trial.sweep,
        prepared.sweep.grid_name
    ));
    let changes = if prepared.changes.is_empty() { "nothing on the command line" } else { &prepared.changes };
    print::out(print::sentence(&format!("changes against what the compose files deploy: {changes}"), 0));
    print::out("");
    print::out(check::lines(&prepared.checklist.iter().collect::<Vec<_>>()));
}

fn tell_files(files: &[promote::FileChange]) {
    for file in files {
        let backup = file.backup.as_ref().map(|b| format!("; what it held is in {}", b.display())).unwrap_or_default();
        print::out(format!("wrote {}{backup}", file.path.display()));
    }
}

fn tell_written(prepared: &Prepared, written: &Written, env_file: Option<&Path>) {
    print::out("");
    if written.files.is_empty() {
        print::out(format!("{} holds these settings already", prepared.output.display()));
    }
    tell_files(&written.files);
    match (prepared.env.keys.is_empty(), env_file) {
        (true, _) => {}
        (false, Some(path)) => print::out(format!("set in {}: {}", path.display(), settings(prepared))),
        (false, None) => {
            let how =
                if prepared.env.suffice { "would do the same without the override" } else { "would do a part of it" };
            print::out(format!("in an env file, {} {how} (--env-file FILE writes it)", settings(prepared)));
        }
    }
    let shadowed: Vec<&str> =
        prepared.env.keys.iter().filter(|k| k.in_process_environment).map(|k| k.name.as_str()).collect();
    if !shadowed.is_empty() {
        print::out(format!("{} is set in this shell's environment, which wins over env files", shadowed.join(", ")));
    }
    print::out(format!("\nnow:  {}\nor:   vgrid promote {} --apply", prepared.usage, prepared.report.trial.name));
    print::out("undo: vgrid rollback");
}

/// `SEQS=32 NOTE=plain`: what an env file would say.
fn settings(prepared: &Prepared) -> String {
    let keys = prepared.env.keys.iter().map(|key| format!("{}={}", key.name, key.value));
    keys.collect::<Vec<_>>().join(" ")
}

fn tell_applied(prepared: &Prepared, applied: &Applied) {
    print::out("");
    match applied {
        Applied::Promoted { container, model, ready_s, canary, files, .. } => {
            print::out(check::lines(&[canary]));
            tell_files(files);
            let serves = format!(
                "{} serves as {model} in container {container}, verified: a completion and the settings that the \
                 engine read back; ready after {}",
                prepared.report.trial.name.green(),
                duration(*ready_s)
            );
            print::out(print::sentence(&serves, 0));
            print::out(format!("Compose manages it as before:\n  {}\nundo: vgrid rollback", prepared.usage));
        }
        Applied::RolledBack { why, rolled_back } => {
            let why = format!("{} was rolled back: {why}", prepared.report.trial.name.red());
            print::out(print::sentence(&why, 0));
            tell_rolled_back(rolled_back);
        }
    }
}

fn tell_rolled_back(done: &RolledBack) {
    let list = |files: &[PathBuf]| files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
    print::out(format!("promotion {} of {} is undone", done.promotion.id.0, done.promotion.config));
    if !done.serving.is_empty() {
        print::out(format!("serves again: {}", done.serving.join(", ")));
    }
    if !done.files.is_empty() {
        let gone = |file: &PathBuf| if file.exists() { "" } else { " (removed)" };
        let files: Vec<String> = done.files.iter().map(|f| format!("{}{}", f.display(), gone(f))).collect();
        print::out(format!("files as before the promotion: {}", files.join(", ")));
    }
    if !done.left_alone.is_empty() {
        print::out(format!("left alone, changed since: {}", list(&done.left_alone)));
    }
}
