//! `vgrid check`: validates everything, touches nothing.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::engine::{self, Finding, FindingKind, Images, Planner, SimImage};

use super::args::CheckArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Prints what is right and what is wrong.
pub(crate) async fn check(args: CheckArgs, db: &Path) -> Result<Exit, Stop> {
    let planner = match Planner::load(&args.grid) {
        Ok(planner) => planner,
        Err(diagnostics) if args.json => {
            print::json(&serde_json::json!({ "ok": false, "diagnostics": diagnostics, "findings": [] }))?;
            return Ok(Exit::Usage);
        }
        Err(diagnostics) => return Err(diagnostics.into()),
    };
    let findings = if args.files_only {
        Vec::new()
    } else {
        engine::inspect(&planner, db, SimImage::Leave, &Images::new()).await.findings
    };
    let ready = findings.iter().all(|f| f.kind != FindingKind::Failed);
    if args.json {
        let warnings = &planner.warnings;
        print::json(&serde_json::json!({ "ok": ready, "diagnostics": warnings, "findings": findings }))?;
    } else {
        for warning in &planner.warnings {
            print::err(format!("{warning}\n"));
        }
        let mut all = files(&planner);
        all.extend(findings);
        print::out(lines(&all.iter().collect::<Vec<_>>()));
        if !ready {
            print::out("\nThe grid and its files are right; this machine is not ready to run them.");
        }
    }
    Ok(if ready { Exit::Ok } else { Exit::Preflight })
}

/// What was read.
fn files(planner: &Planner) -> Vec<Finding> {
    let ok =
        |check: &str, message: String| Finding { check: check.to_owned(), kind: FindingKind::Ok, message, help: None };
    let grid = &planner.grid;
    let rules = if grid.exclude.is_empty() { "" } else { " before its rules" };
    let (configs, scenarios) = (grid.count(), planner.suite.scenarios.len());
    let mut read = vec![ok("grid", format!("{}: {configs} configs{rules}, {scenarios} scenarios", grid.name))];
    if !planner.is_process() {
        let files = planner.project.config_files.len();
        let plural = if files == 1 { "" } else { "s" };
        read.push(ok("compose", format!("{files} file{plural}, service {}", planner.service_name)));
    }
    read
}

/// Findings as lines.
pub(crate) fn lines(findings: &[&Finding]) -> String {
    let indent = findings.iter().map(|f| f.check.chars().count()).max().unwrap_or(0) + 1;
    let line = |f: &&Finding| {
        let kind = match f.kind {
            FindingKind::Ok => "ok".green().to_string(),
            FindingKind::Warning => "warning".yellow().to_string(),
            FindingKind::Failed => "FAILED".red().bold().to_string(),
        };
        let message = print::wrapped(&format!("{kind} {}", f.message), indent);
        let help = f.help.as_ref().map(|help| print::wrapped(&format!("-> {help}"), indent + 2));
        let help = help.map(|help| format!("\n{help}")).unwrap_or_default();
        format!("{:<indent$}{}{help}", f.check, message.trim_start())
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}
