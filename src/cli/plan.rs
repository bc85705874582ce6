//! `vgrid plan`: the configs in the order they would run; touches nothing.

use std::collections::HashMap;
use std::time::Duration;

use owo_colors::OwoColorize;

use crate::compose;
use crate::domain::reading::shorten;
use crate::domain::{Diagnostics, Repeats};
use crate::engine::{PlannedConfig, Planner};
use crate::launch::DockerLauncher;
use crate::resume;

use super::args::PlanArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Patience with the daemon for image ids; the plan does not need it.
const DAEMON_PATIENCE: Duration = Duration::from_secs(2);

/// Prints the plan.
pub(crate) async fn plan(args: PlanArgs) -> Result<Exit, Stop> {
    let planner = Planner::load(&args.grid)?;
    let image_ids = pinned(&planner).await;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    if args.json {
        print_json(&planner, &image_ids, limit)?;
    } else {
        for warning in &planner.warnings {
            print::err(format!("{warning}\n"));
        }
        print_table(&planner, &image_ids, limit)?;
    }
    Ok(Exit::Ok)
}

/// The ids of the images that are there; keys are those of a run on this machine where they are known.
async fn pinned(planner: &Planner) -> HashMap<String, String> {
    let look = async {
        let mut ids = HashMap::new();
        if let Ok(docker) = DockerLauncher::connect().await {
            for reference in planner.images() {
                if let Ok(image) = docker.image_info(&reference).await {
                    ids.insert(reference, image.id);
                }
            }
        }
        ids
    };
    if planner.is_process() {
        HashMap::new()
    } else {
        tokio::time::timeout(DAEMON_PATIENCE, look).await.unwrap_or_default()
    }
}

/// How many configs of each kind a plan has, counted while it streams by.
#[derive(Default, serde::Serialize)]
struct Counts {
    configs: usize,
    to_run: usize,
    skipped: usize,
    baseline_runs: bool,
}

impl Counts {
    fn count(&mut self, planned: &PlannedConfig) {
        self.configs += 1;
        if planned.skip.is_some() {
            self.skipped += 1;
        } else {
            self.to_run += 1;
            self.baseline_runs |= planned.is_baseline;
        }
    }

    /// The starts beside the first of each config, in words; `None` when there are none.
    fn further(&self, repeats: Repeats) -> Option<String> {
        let further = resume::further_starts(repeats, self.to_run, self.baseline_runs);
        let plural = if further == 1 { "" } else { "s" };
        (further > 0).then(|| format!("about {further} start{plural} more: repeats, controls, finalists"))
    }
}

/// What a config changes against the baseline's command line, secrets hidden.
fn diff(planner: &Planner, baseline: &[String], planned: &PlannedConfig) -> String {
    let text = compose::argv_diff(baseline, &planned.argv).to_string();
    planner.redactor.apply(&text).into_owned()
}

fn print_json(planner: &Planner, image_ids: &HashMap<String, String>, limit: usize) -> Result<(), Stop> {
    let head = serde_json::json!({
        "grid": planner.grid.name,
        "description": planner.grid.description,
        "configs": planner.grid.count(),
        "baseline": planner.baseline_name(),
        "images": image_ids,
        "suite": planner.suite,
        "repeats": planner.grid.repeats,
        "diagnostics": planner.warnings,
    });
    print::json_line(&head)?;
    let mut baseline: Option<Vec<String>> = None;
    for planned in planner.configs(image_ids).take(limit) {
        let planned = planned?;
        let baseline = baseline.get_or_insert_with(|| planned.argv.clone());
        let argv = planner.shown_words(&planned.argv);
        print::json_line(&serde_json::json!({
            "name": planned.config.name,
            "description": planned.description,
            "key": planned.key,
            "baseline": planned.is_baseline,
            "axis_values": planned.config.axis_values,
            "argv": argv,
            "argv_diff": diff(planner, baseline, &planned),
            "skip": planned.skip.as_ref().map(|(reason, why)| serde_json::json!({ "reason": reason, "why": why })),
            "expected": planned.expected,
        }))?;
    }
    Ok(())
}

/// The fewest columns in which changes can be read beside the config's name.
const CHANGES: usize = 36;

/// A row per config; where the names leave little room, the changes stand under them.
fn table(rows: Vec<[String; 4]>) -> String {
    let header = ["#", "config", "key", "changes against the baseline"];
    let names: Vec<Vec<String>> =
        rows.iter().map(|[number, name, key, _]| vec![number.clone(), name.clone(), key.clone()]).collect();
    if print::width() < print::width_of_rows(&names) + CHANGES {
        let around: Vec<[String; 2]> = rows.iter().map(|[.., what]| [String::new(), print::wrapped(what, 5)]).collect();
        return print::rows_within(&header[..3], names, &around);
    }
    let mut table = print::table(&header);
    table.add_rows(rows);
    print::keep_whole(&mut table, 1);
    print::text_of(&table)
}

/// Prints the first `limit` configs as a table, and the counts over all of them.
pub(crate) fn print_table(planner: &Planner, image_ids: &HashMap<String, String>, limit: usize) -> Result<(), Stop> {
    let mut counts = Counts::default();
    let mut baseline: Option<Vec<String>> = None;
    let deployed = compose::argv(&planner.service);
    let mut rows: Vec<[String; 4]> = Vec::new();
    for planned in planner.configs(image_ids) {
        let planned = planned.map_err(|d: Diagnostics| d)?;
        counts.count(&planned);
        if counts.configs > limit {
            continue;
        }
        let baseline = baseline.get_or_insert_with(|| planned.argv.clone());
        let what = match &planned.skip {
            Some((reason, why)) => format!("skipped ({reason}): {why}").dimmed().to_string(),
            None if planned.is_baseline => {
                let as_deployed = compose::argv_diff(&deployed, &planned.argv).is_empty();
                if as_deployed { "the baseline, as deployed" } else { "the baseline" }.to_owned()
            }
            None => diff(planner, baseline, &planned),
        };
        let key = planned.key.0.get(..8).unwrap_or_default().to_owned();
        rows.push([counts.configs.to_string(), shorten(&planned.config.name, 60), key, what]);
    }
    print::out(table(rows));
    if counts.configs > limit {
        print::out(format!("... and {} more (--limit 0 shows all)", counts.configs - limit));
    }
    let scenarios: Vec<&str> = planner.suite.scenarios.iter().map(|s| s.kind().as_str()).collect();
    print::out("");
    let counted = format!(
        "{}: {} configs, {} to run, {} skipped by rules; suite {}: {}",
        planner.grid.name,
        counts.configs,
        counts.to_run,
        counts.skipped,
        planner.suite.name,
        scenarios.join(", ")
    );
    print::out(print::sentence(&counted, 0));
    if let Some(further) = counts.further(planner.grid.repeats) {
        print::out(further);
    }
    Ok(())
}
