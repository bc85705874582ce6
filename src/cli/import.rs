//! `vgrid import`: a JSON grid becomes a YAML grid; results that others measured go into the database, marked and apart.

use std::path::Path;

use crate::domain::Diagnostics;
use crate::store::Store;
use crate::{foreign, grid};

use super::args::ImportArgs;
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// Reads the file; what is in it tells what it is.
pub(crate) fn import(args: &ImportArgs, db: &Path) -> Result<Exit, Stop> {
    let text = std::fs::read_to_string(&args.file).map_err(|e| Diagnostics::unreadable(&args.file, "the file", &e))?;
    if foreign::is_grid(&text) {
        return import_grid(args, &text);
    }
    if args.output.is_some() {
        return Err(Stop::usage("-o is for a JSON grid; results go into the database (--db)"));
    }
    let name = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let table = foreign::read(&name, &text)?;
    let mut store = Store::open(db).map_err(store_stop)?;
    let sha256 = crate::domain::sha256(&[text.as_bytes()]);
    let (id, added) = store.save_foreign(&args.file, &sha256, &table).map_err(store_stop)?;
    let stored = store.foreign_tables().map_err(store_stop)?.into_iter().find(|stored| stored.id == id);
    let Some(stored) = stored else {
        return Err(Stop::Fault(anyhow::anyhow!("the foreign table {} is not there after it was stored", id.0)));
    };
    if args.json {
        print::json(
            &serde_json::json!({ "added": added, "foreign": stored, "ranking": foreign::rank(&stored.table, None) }),
        )?;
        return Ok(Exit::Ok);
    }
    print::out(super::foreign::render(&stored, None));
    let rows = stored.table.rows.len();
    print::out(match added {
        true => {
            let stored =
                format!("{rows} rows stored as foreign results; `vgrid champions --include-foreign` shows them again");
            format!("\n{}", print::sentence(&stored, 0))
        }
        false => "\nthe same file was imported before; nothing was added".to_owned(),
    });
    Ok(Exit::Ok)
}

fn import_grid(args: &ImportArgs, text: &str) -> Result<Exit, Stop> {
    let imported = grid::import_json(text)?;
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
