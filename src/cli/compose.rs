//! `vgrid compose`: one service of compose files, resolved as Docker Compose does it.

use crate::compose::{self, LoadRequest, Purpose};
use crate::domain::{Redactor, did_you_mean};

use super::args::ComposeArgs;
use super::exit::{Exit, Stop};
use super::print;

/// Prints the service.
pub(crate) fn compose(args: ComposeArgs) -> Result<Exit, Stop> {
    let request = LoadRequest {
        files: args.file,
        env_files: args.env_file,
        profiles: args.profile,
        project_name: args.project_name,
        project_directory: args.project_directory,
        service: Some(args.service.clone()),
        purpose: Purpose::Show,
        environment: std::env::vars().collect(),
        home: std::env::home_dir(),
        cwd: std::env::current_dir().map_err(|e| Stop::Fault(e.into()))?,
    };
    let project = compose::load(&request, &|path| std::fs::read_to_string(path))?;
    for warning in &project.warnings {
        print::err(format!("{warning}\n"));
    }
    let Some(service) = project.services.get(&args.service) else {
        let names: Vec<&str> = project.services.keys().map(String::as_str).collect();
        let near = did_you_mean(&args.service, names.iter().copied());
        let help = near.map_or_else(|| format!("services: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        return Err(Stop::usage(format!("the compose files have no service `{}`; {help}", args.service)));
    };
    if args.json {
        print::json(service)?;
    } else {
        print::out(format!("project {}", project.name));
        print::out(format!("image   {}", service.image.as_deref().unwrap_or("(none)")));
        let words = shell_words::join(Redactor::shown_words(&compose::argv(service)));
        print::out(format!("command {}", Redactor::new(project.secrets.iter().cloned()).apply(&words)));
        print::out("\n--json prints the whole service with real values, as Docker Compose does");
    }
    Ok(Exit::Ok)
}
