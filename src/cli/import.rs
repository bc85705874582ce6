//! `vgrid import`: a JSON grid becomes a YAML grid.

use crate::domain::Diagnostics;
use crate::grid;

use super::args::ImportArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Reads the JSON, writes the YAML.
pub(crate) fn import(args: &ImportArgs) -> Result<Exit, Stop> {
    let text =
        std::fs::read_to_string(&args.file).map_err(|e| Diagnostics::unreadable(&args.file, "the JSON grid", &e))?;
    let imported = grid::import_json(&text)?;
    for warning in &imported.warnings.0 {
        print::err(format!("{warning}\n"));
    }
    if let Some(path) = &args.output {
        std::fs::write(path, &imported.yaml)
            .map_err(|e| Stop::usage(format!("cannot write {}: {e}", path.display())))?;
    }
    if args.json {
        print::json(&serde_json::json!({ "grid": imported.yaml, "findings": imported.warnings }))?;
    } else if args.output.is_none() {
        print::out(&imported.yaml);
    }
    Ok(Exit::Ok)
}
