//! `vgrid report`: one page about a sweep.

use std::path::{Path, PathBuf};

use crate::domain::SweepId;
use crate::report::{self, ReportModel};
use crate::store::Store;

use super::args::{ReportArgs, ReportFormat};
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// Writes the report.
pub(crate) fn report(args: &ReportArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?;
    let model = ReportModel::of(&store, sweep.id).map_err(store_stop)?;
    let (text, file) = match args.format {
        ReportFormat::Html => (report::html(&model)?, Some(PathBuf::from(format!("vgrid-sweep-{}.html", sweep.id)))),
        ReportFormat::Md => (report::markdown(&model), None),
        ReportFormat::Csv => (report::csv(&model).map_err(|e| Stop::Fault(e.into()))?, None),
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&model).map_err(|e| Stop::Fault(e.into()))?;
            (format!("{text}\n"), None)
        }
    };
    let file = args.output.clone().or(file).filter(|file| file != Path::new("-"));
    match file {
        None => print::bytes(text.as_bytes()),
        Some(file) => {
            write(&file, &text).map_err(|e| Stop::usage(format!("cannot write {}: {e}", file.display())))?;
            print::err(format!("the report of sweep {} is in {}", sweep.id, file.display()));
        }
    }
    Ok(Exit::Ok)
}

/// Writes beside the file and renames, so that half a report never bears its name.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, text)?;
    std::fs::rename(&part, file).inspect_err(|_| {
        // What could not be put in its place is of no use; that it is still there is no second error.
        let _ = std::fs::remove_file(&part);
    })
}
