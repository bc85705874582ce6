//! `vgrid diagnose`: explains a vLLM log or a container outside a sweep.

use std::io::Read;
use std::path::Path;

use owo_colors::OwoColorize;

use crate::classify::{self, Diagnosis};
use crate::domain::reading::number;
use crate::domain::{Phase, Redactor};
use crate::launch::DockerLauncher;

use super::args::DiagnoseArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Prints what went wrong, what shows it and what to do.
pub(crate) async fn diagnose(args: &DiagnoseArgs) -> Result<Exit, Stop> {
    let phase = args.phase.as_deref().map(phase_of).transpose()?;
    let state = args.state.as_deref().map(read_state).transpose()?;
    let (log, found_state) = read_log(&args.log).await?;
    // The log of somebody else: what in it is secret only the log itself can say.
    let redactor = Redactor::of_text(&log);
    let log = redactor.apply(&log);
    let diagnosis = Diagnosis::from(&classify::diagnose(&log, state.as_ref().or(found_state.as_ref()), phase));
    if args.json {
        print::json(&diagnosis)?;
        return Ok(Exit::Ok);
    }
    let stage = diagnosis.stage.map(|s| format!(", stage {s}")).unwrap_or_default();
    print::out(format!("{} in phase {}{stage}", diagnosis.cause.bold(), diagnosis.phase));
    for line in &diagnosis.evidence {
        print::out(print::sentence(line.trim(), 2));
    }
    let numbers = diagnosis.numbers.iter().map(|(name, value)| format!("{name} = {}", number(*value)));
    let numbers: Vec<String> = numbers.collect();
    if !numbers.is_empty() {
        print::out(print::sentence(&numbers.join(", "), 2));
    }
    print::out(print::sentence(&format!("{} {}", "->".cyan(), diagnosis.remedy), 0));
    if diagnosis.transient {
        print::out("the same config may succeed when tried again");
    }
    Ok(Exit::Ok)
}

fn phase_of(text: &str) -> Result<Phase, Stop> {
    text.parse().map_err(|e: String| Stop::usage(format!("--phase: {e}")))
}

/// `docker inspect`'s list, its object, or `.State` alone: the part with the state.
fn read_state(path: &Path) -> Result<serde_json::Value, Stop> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Stop::usage(format!("cannot read the state {}: {e}", path.display())))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| Stop::usage(format!("{} is no JSON ({e}); write it with `docker inspect`", path.display())))?;
    Ok(match value {
        serde_json::Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        other => other,
    })
}

/// The log's text; for a container its log and its state.
async fn read_log(what: &str) -> Result<(String, Option<serde_json::Value>), Stop> {
    if what == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|e| Stop::usage(format!("cannot read standard input: {e}")))?;
        return Ok((String::from_utf8_lossy(&bytes).into_owned(), None));
    }
    let path = Path::new(what);
    if path.exists() {
        let bytes = std::fs::read(path).map_err(|e| Stop::usage(format!("cannot read the log {what}: {e}")))?;
        return Ok((String::from_utf8_lossy(&bytes).into_owned(), None));
    }
    // No container has such a name.
    if what.contains(['/', '\\']) || what.ends_with(".log") {
        return Err(Stop::usage(format!("there is no file {what}")));
    }
    let docker = DockerLauncher::connect().await.map_err(|e| {
        Stop::usage(format!("there is no file {what}, and no Docker daemon to ask for a container of that name: {e}"))
    })?;
    let (log, inspect) = docker
        .log_and_inspect(what)
        .await
        .map_err(|e| Stop::usage(format!("there is neither a file nor a container {what}: {e}")))?;
    Ok((log, Some(inspect)))
}
