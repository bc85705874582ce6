//! `vgrid bench`: the suite against a server that is already up; no container is touched.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Target};
use crate::cases::CaseSet;
use crate::domain::reading::{duration, number};
use crate::domain::{Redactor, ScenarioKind, ScenarioResult, ScenarioSpec, Suite, Verdict};
use crate::engine::{BenchPlan, BenchRun, EngineError, Stopped, StoppedBy};
use crate::grid;

use super::args::BenchArgs;
use super::exit::{Exit, Stop};
use super::run::engine_stop;
use super::{drive, figures, print};

/// Variables that may hold the server's API key.
const KEY_VARIABLES: [&str; 2] = ["VLLM_API_KEY", "OPENAI_API_KEY"];

/// How often a long scenario says where it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Runs the suite; each scenario is stored and printed when it ends.
pub(crate) async fn bench(args: BenchArgs, db: &Path) -> Result<Exit, Stop> {
    let (suite, cases) = suite_of(&args.suite)?;
    let target = target_of(&args);
    let client = client_of(&args, target.clone()).await?;
    let (url, suite_name) = (args.url.as_str(), args.suite.as_str());
    let redactor = target.redactor;
    let plan = BenchPlan { client: &client, url, suite_name, suite: &suite, cases: &cases, redactor };
    let run = BenchRun::begin(db, plan).await.map_err(engine_stop)?;
    let (sweep, trial) = (run.ids().0, run.ids().1.0);
    print::err(format!("each scenario is stored in {} when it ends: sweep {sweep}, trial {trial}", db.display()));
    let cancel = CancellationToken::new();
    let (_sender, events) = tokio::sync::mpsc::unbounded_channel();
    let work = all_scenarios(run, &suite, &cancel, !args.json);
    let (results, stopped) = drive::drive(work, events, &cancel, drive::Farewell::BENCH).await?.map_err(engine_stop)?;
    if args.json {
        print::json(&serde_json::json!({
            "database": db,
            "sweep": sweep,
            "trial_id": trial,
            "model": client.model(),
            "suite": suite,
            "results": results,
            "error": stopped.as_ref().map(|s| &s.sentence),
        }))?;
    } else {
        print::out(format!("stored in {} as trial {trial}, sweep {sweep}", db.display()));
        print::out(format!(
            "`vgrid show {trial}`, `vgrid compare {trial} OTHER`, `vgrid report {sweep}`, `vgrid export {sweep}` read it"
        ));
    }
    match stopped {
        Some(stopped) => Err(Stop::Said(exit_of(stopped.why, &results), stopped.sentence)),
        None if results.iter().any(|r| r.validity.verdict == Verdict::Invalid) => Ok(Exit::SomeFailed),
        None => Ok(Exit::Ok),
    }
}

/// Runs the scenarios one after the other, until one finds out that there is no use in going on.
async fn all_scenarios(
    mut run: BenchRun<'_>,
    suite: &Suite,
    cancel: &CancellationToken,
    print_each: bool,
) -> Result<(Vec<ScenarioResult>, Option<Stopped>), EngineError> {
    let (mut results, mut stopped) = (Vec::new(), None);
    for spec in &suite.scenarios {
        print::err(format!("{} ...", spec.kind()));
        let ended = run.scenario(spec, cancel, teller(spec.kind())).await?;
        if let Some(result) = ended.result {
            if print_each {
                print::out(format!("{}\n", render(&result)));
            }
            results.push(result);
        }
        stopped = ended.stopped;
        if stopped.is_some() {
            break;
        }
    }
    for problem in run.end(stopped.as_ref()).await? {
        print::err(format!("telemetry: {problem}"));
    }
    Ok((results, stopped))
}

/// Says now and then where a scenario is.
fn teller(kind: ScenarioKind) -> impl FnMut(bench::Progress) {
    let mut told = Instant::now();
    move |now| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            print::err(format!("{kind}: {}", position(now)));
        }
    }
}

/// The exit code of an early end; the last result is that of the scenario that was broken off.
fn exit_of(why: StoppedBy, results: &[ScenarioResult]) -> Exit {
    match why {
        StoppedBy::Signal => Exit::Interrupted,
        StoppedBy::Server(_) if results.len() < 2 => Exit::NothingMeasured,
        StoppedBy::Server(_) => Exit::SomeFailed,
        StoppedBy::Fault => Exit::Internal,
    }
}

fn position(now: bench::Progress) -> String {
    let total = now.requests_total.map(|total| format!(" of {total}")).unwrap_or_default();
    let rate = now.output_tokens_per_s.map(|rate| format!(", {} tokens/s", number(rate))).unwrap_or_default();
    format!("{}{total} requests{rate}", now.requests_done)
}

/// The suite and the data of its scenarios.
fn suite_of(name: &str) -> Result<(Suite, CaseSet), Stop> {
    match name {
        "quick" => {
            let mut suite = Suite::quick();
            for spec in &mut suite.scenarios {
                if let ScenarioSpec::Smoke(smoke) = spec {
                    // It may be serving somebody: its cache is not filled unasked.
                    smoke.fit = None;
                }
            }
            Ok((suite, CaseSet::shipped()))
        }
        "full" => Ok((Suite::full(), CaseSet::shipped())),
        file => {
            let path = Path::new(file);
            let text = std::fs::read_to_string(path).map_err(|e| {
                Stop::usage(format!("--suite: `{file}` is neither quick nor full nor a readable file: {e}"))
            })?;
            let mut suite = grid::parse_suite(path, &text, 0)?;
            grid::read_traces(&mut suite, path, |trace| std::fs::read_to_string(trace))?;
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            let cases = CaseSet::load(&suite, folder, &|path| std::fs::read_to_string(path))?;
            Ok((suite, cases))
        }
    }
}

/// Whom to ask. What is secret in the address and the environment is known to the redactor.
fn target_of(args: &BenchArgs) -> Target {
    let key = KEY_VARIABLES.iter().find_map(|name| std::env::var(name).ok()).filter(|key| !key.is_empty());
    let mut target = Target::new(&args.url, args.model.clone().unwrap_or_default());
    target.redactor = Redactor::new(key.iter().cloned().chain(bench::secrets_in(&args.url)));
    target.api_key = key.map(bench::ApiKey::new);
    target
}

async fn client_of(args: &BenchArgs, mut target: Target) -> Result<Client, Stop> {
    let server = bench::shown_address(&args.url);
    let setup = |e: BenchError| Stop::usage(e.to_string());
    let client = Client::new(&target).await.map_err(setup)?;
    let listed = client.models().await;
    if let Some(model) = &args.model {
        return match listed {
            // a gateway may serve what it does not list: the server's own answer decides
            Ok((models, _)) if !models.contains(model) => match client.answers().await {
                Ok(()) => Ok(client),
                Err(why) => Err(Stop::usage(format!(
                    "{server} does not serve `{model}`: {why}; it lists {}",
                    models.join(", ")
                ))),
            },
            Err(bench::CallError::NoConnection(why)) => Err(Stop::usage(format!("{server} cannot be reached: {why}"))),
            Ok(_) | Err(_) => Ok(client),
        };
    }
    let (models, _) = listed.map_err(|e| {
        Stop::usage(format!("{server} does not list its models: {e}; is it an OpenAI-compatible server?"))
    })?;
    let Some(first) = models.into_iter().next() else {
        return Err(Stop::usage(format!("{server} serves no model")));
    };
    target.model = first;
    Client::new(&target).await.map_err(setup)
}

fn render(result: &ScenarioResult) -> String {
    let mut out = vec![format!(
        "{}: {} in {}, {} requests",
        result.spec.kind(),
        result.validity.verdict,
        duration(result.elapsed_s),
        result.requests.len()
    )];
    for (reason, why) in &result.validity.reasons {
        out.push(format!("  {reason}: {why}"));
    }
    if !result.metrics.is_empty() {
        out.extend(figures::table(&result.metrics));
    }
    out.extend(super::show::case_lines(&result.cases));
    out.join("\n")
}
