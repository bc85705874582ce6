//! `vgrid init`: a commented starter grid from compose files.

use std::path::PathBuf;

use crate::engine::init::{self, Source};

use super::args::InitArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Writes the grid; overwrites nothing unless told to.
pub(crate) fn init(args: InitArgs) -> Result<Exit, Stop> {
    let mut files = args.file;
    if files.is_empty() {
        files = init::default_files(&PathBuf::from("."));
    }
    if files.is_empty() {
        return Err(Stop::usage("there is no compose file here; name yours with -f"));
    }
    let output = args.output.unwrap_or_else(|| PathBuf::from("grid.yaml"));
    if output.symlink_metadata().is_ok() && !args.force {
        return Err(Stop::usage(format!(
            "{} is there already; --force overwrites it, -o names another",
            output.display()
        )));
    }
    let source = Source { files, env_files: args.env_file, profiles: args.profile, service: args.service };
    let starter = init::starter(&source, &output)?;
    std::fs::write(&output, &starter.text)
        .map_err(|e| Stop::usage(format!("cannot write {}: {e}", output.display())))?;
    if args.json {
        print::json(&serde_json::json!({ "output": output, "grid": starter }))?;
        return Ok(Exit::Ok);
    }
    let (shown, service) = (output.display(), &starter.service);
    print::out(format!("wrote {shown}: {} configs of service {service}", starter.configs));
    if !starter.unset.is_empty() {
        let names = starter.unset.join(", ");
        print::out(format!("first: set {names} in the environment or in an env file, for the compose files need it"));
    }
    print::out(format!("now:  vgrid check {shown}"));
    Ok(Exit::Ok)
}
