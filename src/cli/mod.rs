//! The command line: parse, call the engine, print, exit code. One file per command.

mod answers;
mod args;
mod bench;
mod champions;
mod check;
mod compare;
mod compose;
mod diagnose;
mod drive;
mod effects;
mod exit;
mod export;
mod figures;
mod file;
mod foreign;
mod import;
mod init;
mod logs;
mod pareto;
mod plan;
mod print;
mod promote;
mod report;
mod restore;
mod run;
mod show;
mod status;
mod telemetry;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tokio_util::sync::CancellationToken;

use args::{Cli, Command, ManArgs};
use exit::{Exit, Stop};

/// Runs the command that the arguments name; the process's exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.color {
        clap::ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        clap::ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
        clap::ColorChoice::Auto => {}
    }
    // Only fails when a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let db = cli.db.unwrap_or_else(|| PathBuf::from("runs.db"));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::err(format!("error: cannot start: {error}"));
            return Exit::Internal.into();
        }
    };
    let ended = runtime.block_on(dispatch(cli.command, &db));
    // Whatever a second Ctrl-C abandoned must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(stop) => {
            print::err(stop.to_string());
            stop.exit().into()
        }
    }
}

/// Help and version are no errors; wrong usage is exit code 1.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() }
}

async fn dispatch(command: Command, db: &Path) -> Result<ExitCode, Stop> {
    let exit = match command {
        Command::Init(args) => init::init(args),
        Command::Check(args) => check::check(args, db).await,
        Command::Plan(args) => plan::plan(args).await,
        Command::Run(args) => run::run(args, db).await,
        Command::Resume(args) => run::resume(args, db).await,
        Command::Status(args) => status::status(&args, db),
        Command::Champions(args) => champions::champions(&args, db),
        Command::Effects(args) => effects::effects(&args, db),
        Command::Pareto(args) => pareto::pareto(&args, db),
        Command::Compare(args) => compare::compare(&args, db),
        Command::Show(args) => show::show(&args, db),
        Command::Logs(args) => logs::logs(&args, db),
        Command::Diagnose(args) => diagnose::diagnose(&args).await,
        Command::Bench(args) => bench::bench(args, db).await,
        Command::Compose(args) => compose::compose(args),
        Command::Promote(args) => promote::promote(args, db).await,
        Command::Rollback(args) => promote::rollback(args, db).await,
        Command::Import(args) => import::import(&args, db),
        Command::Export(args) => export::export(&args, db),
        Command::Report(args) => report::report(&args, db),
        Command::Restore(args) => restore::restore(&args, db).await,
        Command::Clean(args) => restore::clean(&args, db).await,
        Command::Sim(args) => {
            let code = crate::sim::run(args.args, CancellationToken::new()).await;
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vgrid", &mut text);
            print::bytes(&text)?;
            Ok(Exit::Ok)
        }
        Command::Man(args) => manual(&args),
    }?;
    Ok(exit.into())
}

fn manual(args: &ManArgs) -> Result<Exit, Stop> {
    let mut all = Cli::command();
    if let Some(folder) = &args.to {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(all, folder));
        written.map_err(|e| Stop::usage(format!("cannot write the pages into {}: {e}", folder.display())))?;
        return Ok(Exit::Ok);
    }
    all.build();
    let page = match &args.command {
        None => all,
        Some(name) => all
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Stop::usage(format!("vgrid has no command `{name}`; `vgrid --help` lists them")))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text).map_err(|e| Stop::Fault(e.into()))?;
    print::bytes(&text)?;
    Ok(Exit::Ok)
}
