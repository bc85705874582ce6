//! `vgrid report`: one page about a sweep.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::domain::SweepId;
use crate::report::{self, ReportModel};
use crate::store::Store;

use super::args::{ReportArgs, ReportFormat};
use super::exit::{Exit, Stop};
use super::run::store_stop;
use super::{file, print};

/// Writes the report.
pub(crate) fn report(args: &ReportArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?;
    let model = ReportModel::of(&store, sweep.id).map_err(store_stop)?;
    let (text, place) = match args.format {
        ReportFormat::Html => (report::html(&model)?, Some(PathBuf::from(format!("vgrid-sweep-{}.html", sweep.id)))),
        ReportFormat::Md => (report::markdown(&model), None),
        ReportFormat::Csv => (report::csv(&model).map_err(|e| Stop::Fault(e.into()))?, None),
        ReportFormat::Json => {
            let text = serde_json::to_string_pretty(&model).map_err(|e| Stop::Fault(e.into()))?;
            (format!("{text}\n"), None)
        }
    };
    let place = args.output.clone().or(place).filter(|file| file != Path::new("-"));
    match place {
        None => print::bytes(text.as_bytes())?,
        Some(place) => {
            file::whole(&place, |mut to| to.write_all(text.as_bytes()))
                .map_err(|e| Stop::usage(format!("cannot write {}: {e}", place.display())))?;
            print::err(format!("the report of sweep {} is in {}", sweep.id, place.display()));
        }
    }
    Ok(Exit::Ok)
}
