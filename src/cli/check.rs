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
        let name = &planner.grid.name;
        print::out(format!(
            "grid     {} {name}: {} configs, {} scenarios",
            "ok".green(),
            planner.grid.count(),
            planner.suite.scenarios.len()
        ));
        let files = planner.project.config_files.len();
        let plural = if files == 1 { "" } else { "s" };
        print::out(format!("compose  {} {files} file{plural}, service {}", "ok".green(), planner.service_name));
        print::out(lines(&findings.iter().collect::<Vec<_>>()));
        if !ready {
            print::out("\nThe grid and its files are right; this machine is not ready to run them.");
        }
    }
    Ok(if ready { Exit::Ok } else { Exit::Preflight })
}

/// Findings as lines.
pub(crate) fn lines(findings: &[&Finding]) -> String {
    let line = |f: &&Finding| {
        let kind = match f.kind {
            FindingKind::Ok => "ok".green().to_string(),
            FindingKind::Warning => "warning".yellow().to_string(),
            FindingKind::Failed => "FAILED".red().bold().to_string(),
        };
        let help = f.help.as_ref().map(|h| format!("\n           -> {h}")).unwrap_or_default();
        format!("{:<8} {kind} {}{help}", f.check, f.message)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}
