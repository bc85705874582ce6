//! The command line as clap sees it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Finds the best way to serve one model with vLLM, overnight, and proves it.
#[derive(Debug, Parser)]
#[command(name = "vgrid", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The database [default: ./runs.db]
    #[arg(long, global = true, env = "VGRID_DB", value_name = "FILE", hide_env_values = true)]
    pub(crate) db: Option<PathBuf>,

    /// When to use colours and bars
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: clap::ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all measured, or the command did what it was asked
  1  wrong usage, grid or compose file
  2  the sweep finished, some trials failed; a promotion did not hold and was rolled back
  3  nothing was measured
  4  the machine is not ready (preflight)
  70 a fault of vgrid itself or of its database
  130 interrupted; what was measured is kept";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented starter grid from a compose file and service
    Init(InitArgs),
    /// Validate grid, compose files, images, mounts, ports and restore target; touch nothing
    Check(CheckArgs),
    /// Print the configs in the order they would run, with what each changes; touch nothing
    Plan(PlanArgs),
    /// Run the sweep of a grid, or continue the interrupted one
    Run(RunArgs),
    /// Continue a sweep from the database alone
    Resume(ResumeArgs),
    /// What is running, done, failed, left; best so far
    Status(SweepArgs),
    /// Ranking, champions, gains against the baseline, ties
    Champions(ChampionsArgs),
    /// What each setting does by itself, with interval, and which settings depend on each other
    Effects(EffectsArgs),
    /// The configs that nothing beats in two or three figures at once
    Pareto(ParetoArgs),
    /// Configs side by side: what differs in what really runs, each figure, and whether the difference is real
    Compare(CompareArgs),
    /// Everything about one trial
    Show(TrialArgs),
    /// The engine's log of one trial
    Logs(LogsArgs),
    /// Explain a vLLM log or a container: what went wrong, and what to do
    Diagnose(DiagnoseArgs),
    /// Run the suite against a server that is already up and store it; no container is touched
    Bench(BenchArgs),
    /// Print one service of compose files, resolved as Docker Compose does it
    Compose(ComposeArgs),
    /// Write a trial's exact settings as a compose override, with a checklist; --apply puts it into production
    Promote(PromoteArgs),
    /// Undo the last promotion: what served before, and the files that were overwritten
    Rollback(RollbackArgs),
    /// Turn a JSON grid into a YAML grid, or store foreign results (marked, ranked apart)
    Import(ImportArgs),
    /// Write a sweep's tables and views as CSV or JSON lines, for pandas, DuckDB or a spreadsheet
    Export(ExportArgs),
    /// One page about a sweep: verdict, charts, effects, failures, limitations
    Report(ReportArgs),
    /// Put back what served before an interrupted sweep, and verify it
    Restore(RestoreArgs),
    /// Remove leftover trial containers that carry vgrid's labels, and nothing else
    Clean(CleanArgs),
    /// The simulated engine: an OpenAI-compatible server that behaves like vLLM
    #[command(disable_help_flag = true)]
    Sim(SimArgs),
    /// Shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The manual pages, in troff
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// A compose file; repeat to merge in order [default: the one that Compose would take here]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// An env file instead of `.env`; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// A profile to enable; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// The service that runs vLLM [default: the only one that looks like it]
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Write the grid here [default: grid.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The grid
    pub(crate) grid: PathBuf,
    /// Check the grid and its files only, not this machine
    #[arg(long)]
    pub(crate) files_only: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The grid
    pub(crate) grid: PathBuf,
    /// Show at most this many configs; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) limit: usize,
    /// Print JSON, one config a line after the head line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The grid
    pub(crate) grid: PathBuf,
    /// Start a new sweep even if one of this grid is unfinished or finished
    #[arg(long)]
    pub(crate) new: bool,
    /// Run only these configs, by name (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Run at most this many trials now
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
    /// Check and plan, start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Measure configs that resolve to the same engine each, instead of once
    #[arg(long)]
    pub(crate) measure_twins: bool,
    /// Measure also configs that a failure of another one says will fail
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// At the end measure K of the configs that were skipped so, and warn if one serves
    #[arg(long, value_name = "K", conflicts_with = "no_prune")]
    pub(crate) verify_pruned: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The sweep's number [default: the newest unfinished one of a grid]
    pub(crate) sweep: Option<i64>,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
}

/// By when a run must be over.
#[derive(Debug, Args)]
pub(crate) struct TimeArgs {
    /// Be over by this local time: the trial that runs is ended, and what served before serves again
    #[arg(long, value_name = "HH:MM")]
    pub(crate) until: Option<String>,
    /// Be over after this time by the clock on the wall, e.g. 8h, likewise
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) budget: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The sweep's number [default: the newest of a grid]
    pub(crate) sweep: Option<i64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChampionsArgs {
    /// The sweep's number [default: the newest of a grid]
    pub(crate) sweep: Option<i64>,
    /// Also show imported foreign results, behind the sweep's own rankings
    #[arg(long)]
    pub(crate) include_foreign: bool,
    /// Who is best by each usual criterion instead of the grid's objectives: TTFT miss and hit, acceleration, TTFC, decode,
    /// throughput, goodput, memory, start-up time
    #[arg(long, conflicts_with = "by")]
    pub(crate) criteria: bool,
    /// Rank by this metric instead of the grid's objectives, e.g. `kv_cache.ttft_hit_ms.p50`, `ready_s` or
    /// `maximize load.output_tokens_per_s`
    #[arg(long, value_name = "METRIC")]
    pub(crate) by: Option<String>,
    /// Show every config, not the first 50 of each ranking
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EffectsArgs {
    /// The sweep's number [default: the newest of a grid]
    pub(crate) sweep: Option<i64>,
    /// Look at this metric instead of the grid's objectives, e.g. `load.c8.ttft_ms.p50`
    #[arg(long, value_name = "METRIC")]
    pub(crate) by: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParetoArgs {
    /// Two or three metrics, each with or without `minimize` or `maximize` before it: "maximize load.output_tokens_per_s"
    #[arg(required = true, num_args = 2..=3, value_name = "METRIC")]
    pub(crate) metrics: Vec<String>,
    /// Look in this sweep [default: the newest of a grid]
    #[arg(long, value_name = "N")]
    pub(crate) sweep: Option<i64>,
    /// Show the configs that are not on the front, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The trials: names, keys or numbers; SWEEP:NAME looks in another sweep. The first is what the others are compared with
    #[arg(required = true, num_args = 2.., value_name = "TRIAL")]
    pub(crate) trials: Vec<String>,
    /// Look in this sweep [default: the newest of a grid]
    #[arg(long, value_name = "N")]
    pub(crate) sweep: Option<i64>,
    /// Show every figure, not only medians, 95th percentiles and rates
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrialArgs {
    /// The trial: its number, its config's name, or the start of its key
    pub(crate) trial: String,
    /// Look in this sweep [default: the newest of a grid]
    #[arg(long, value_name = "N")]
    pub(crate) sweep: Option<i64>,
    /// Print every figure, start, fact, counter and the telemetry, not only the telling ones
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The trial: its number, its config's name, or the start of its key
    pub(crate) trial: String,
    /// Look in this sweep [default: the newest of a grid]
    #[arg(long, value_name = "N")]
    pub(crate) sweep: Option<i64>,
    /// Which attempt [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// Print only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Print JSON: the path and the lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseArgs {
    /// A log file, `-` for standard input, or a container's name or id
    pub(crate) log: String,
    /// The container's state, as `docker inspect` prints it (the whole object, its list, or `.State`)
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// How far the engine had come [default: read from the log]
    #[arg(long, value_name = "startup|serving")]
    pub(crate) phase: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The server, e.g. http://127.0.0.1:8000
    pub(crate) url: String,
    /// quick, full, or a suite file
    #[arg(long, default_value = "quick")]
    pub(crate) suite: String,
    /// The model's id [default: the first that the server lists]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    /// A compose file; repeat to merge in order
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// An env file instead of `.env`; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// A profile to enable; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// Folder that relative paths start from [default: the first file's]
    #[arg(long, value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// The project's name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// The service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: String,
    /// Print JSON in the schema of `docker compose config --format json`
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The trial: its number, its config's name, or the start of its key
    pub(crate) trial: String,
    /// Look in this sweep [default: the newest of a grid]
    #[arg(long, value_name = "N")]
    pub(crate) sweep: Option<i64>,
    /// Write the override here [default: champion.yml beside compose.yml, NAME.champion.yml beside NAME.yml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Also set the variables that the compose files interpolate in this env file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Recreate the service's container with these settings, verify it, and roll back by itself if it does not hold
    #[arg(long)]
    pub(crate) apply: bool,
    /// Go on although a point of the checklist failed
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the checklist and the files, write nothing
    #[arg(long, conflicts_with = "apply")]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The JSON grid, a table of results (CSV, JSON), or a result file of `vllm bench`
    pub(crate) file: PathBuf,
    /// Write the YAML grid here [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print JSON: the grid's text and the findings
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The sweep's number [default: the newest of a grid]
    pub(crate) sweep: Option<i64>,
    /// The folder to write to, one file a table; `-` writes one table to standard output [default: vgrid-sweep-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// The format
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub(crate) format: ExportFormat,
    /// Only this table or view of docs/schema.md (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
    /// Print JSON: the files and their rows
    #[arg(long)]
    pub(crate) json: bool,
}

/// What other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// Comma-separated values with a header line; a cell that was not measured is empty
    Csv,
    /// One JSON object a line; what was not measured is null
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The sweep's number [default: the newest of a grid]
    pub(crate) sweep: Option<i64>,
    /// The format
    #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
    pub(crate) format: ReportFormat,
    /// The file to write; `-` is standard output [default: vgrid-sweep-N.html; standard output for the other formats]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// One file that any browser opens, with charts; it loads nothing
    Html,
    /// Verdict and tables, for a wiki or a merge request
    Md,
    /// The table of configs, one line each, for a spreadsheet
    Csv,
    /// Everything that the page shows, as data
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Say what would be removed, remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// vLLM's own flags, and `--sim-*`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command whose page is printed [default: that of vgrid itself]
    pub(crate) command: Option<String>,
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) to: Option<PathBuf>,
}
