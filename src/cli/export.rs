//! `vgrid export`: a sweep's tables and views as CSV or JSON lines.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::domain::{SweepId, did_you_mean};
use crate::store::{Store, StoreError, TableReader};

use super::args::{ExportArgs, ExportFormat};
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// One written file.
#[derive(Serialize)]
struct Written {
    table: String,
    file: PathBuf,
    rows: u64,
}

/// Why writing stopped.
enum Failed {
    Read(StoreError),
    Write(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes the files, or one table to standard output.
pub(crate) fn export(args: &ExportArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?.id;
    let tables = chosen(store.exportable().map_err(store_stop)?, &args.table)?;
    let _moment = store.snapshot().map_err(store_stop)?;
    if args.to.as_deref() == Some(Path::new("-")) {
        return to_standard_output(args, &tables, sweep);
    }
    let folder = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("vgrid-sweep-{sweep}")));
    std::fs::create_dir_all(&folder)
        .map_err(|e| Stop::usage(format!("cannot make the folder {}: {e}", folder.display())))?;
    let mut files = Vec::new();
    for table in &tables {
        files.push(to_file(&folder, args.format, table, sweep)?);
    }
    if args.json {
        print::json(&serde_json::json!({ "sweep": sweep, "folder": folder, "files": files }))?;
        return Ok(Exit::Ok);
    }
    for file in &files {
        print::out(format!("{:>9} rows  {}", file.rows, file.file.display()));
    }
    print::out(format!("sweep {sweep} is in {}; docs/schema.md explains every column", folder.display()));
    Ok(Exit::Ok)
}

/// The largest table, which `requests` holds with names beside each row: it is written only when it is named.
const REPEATED: &str = "request";

/// The tables of these names, in the schema's order; all but [`REPEATED`] without names.
fn chosen<'s>(tables: Vec<TableReader<'s>>, wanted: &[String]) -> Result<Vec<TableReader<'s>>, Stop> {
    let names: Vec<String> = tables.iter().map(|t| t.name.clone()).collect();
    if let Some(unknown) = wanted.iter().find(|w| !names.contains(w)) {
        let near = did_you_mean(unknown, names.iter().map(String::as_str));
        let hint = near.map_or_else(|| format!("there are {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        return Err(Stop::usage(format!("no table or view is called `{unknown}`; {hint}")));
    }
    let asked = |name: &String| if wanted.is_empty() { name != REPEATED } else { wanted.contains(name) };
    Ok(tables.into_iter().filter(|t| asked(&t.name)).collect())
}

fn to_standard_output(args: &ExportArgs, tables: &[TableReader<'_>], sweep: SweepId) -> Result<Exit, Stop> {
    let [table] = tables else {
        return Err(Stop::usage("standard output takes one table: name it, e.g. --table metrics --to -"));
    };
    match write(io::stdout().lock(), args.format, table, sweep) {
        Ok(_) => Ok(Exit::Ok),
        Err(Failed::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(failed) => Err(stop(failed, "standard output")),
    }
}

fn to_file(folder: &Path, format: ExportFormat, table: &TableReader<'_>, sweep: SweepId) -> Result<Written, Stop> {
    let extension = match format {
        ExportFormat::Csv => "csv",
        ExportFormat::Jsonl => "jsonl",
    };
    let file = folder.join(format!("{}.{extension}", table.name));
    match super::file::whole(&file, |to| write(to, format, table, sweep)) {
        Ok(rows) => Ok(Written { table: table.name.clone(), file, rows }),
        Err(failed) => Err(stop(failed, &file.display().to_string())),
    }
}

fn stop(failed: Failed, place: &str) -> Stop {
    match failed {
        Failed::Read(error) => store_stop(error),
        Failed::Write(error) => Stop::usage(format!("cannot write {place}: {error}")),
    }
}

fn write(to: impl Write, format: ExportFormat, table: &TableReader<'_>, sweep: SweepId) -> Result<u64, Failed> {
    let mut to = BufWriter::new(to);
    let rows = match format {
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(&mut to);
            csv.write_record(&table.columns).map_err(io::Error::from)?;
            let rows = table.rows(sweep, |values| {
                Ok::<_, Failed>(csv.write_record(values.iter().map(cell)).map_err(io::Error::from)?)
            })?;
            csv.flush()?;
            drop(csv);
            rows
        }
        ExportFormat::Jsonl => table.rows(sweep, |values| {
            let object: serde_json::Map<String, Value> = table.columns.iter().cloned().zip(values).collect();
            serde_json::to_writer(&mut to, &object).map_err(io::Error::from)?;
            Ok::<_, Failed>(to.write_all(b"\n")?)
        })?,
    };
    to.flush()?;
    Ok(rows)
}

/// A value as text: nothing for what was not measured, structures as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
