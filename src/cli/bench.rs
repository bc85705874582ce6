//! `vgrid bench`: the suite against a server that is already up; no container is touched.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Target};
use crate::cases::CaseSet;
use crate::domain::reading::{duration, number};
use crate::domain::{Redactor, ScenarioResult, ScenarioSpec, Suite, Verdict};
use crate::engine::Observation;
use crate::grid;

use super::args::BenchArgs;
use super::exit::{Exit, Stop};
use super::{drive, figures, print};

/// Variables that may hold the server's API key.
const KEY_VARIABLES: [&str; 2] = ["VLLM_API_KEY", "OPENAI_API_KEY"];

/// How often a long scenario says where it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Runs the suite and prints its figures.
pub(crate) async fn bench(args: BenchArgs) -> Result<Exit, Stop> {
    let (suite, cases) = suite_of(&args.suite)?;
    let client = client_of(&args).await?;
    let cancel = CancellationToken::new();
    let (_sender, events) = tokio::sync::mpsc::unbounded_channel();
    let work = async {
        let observation = Observation::of_server(&client, &args.url);
        let (mut results, mut error) = (Vec::new(), None);
        for spec in &suite.scenarios {
            print::err(format!("{} ...", spec.kind()));
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let mut context = bench::Context::new(suite.seed, nonce, cancel.child_token());
            context.cases = cases.clone();
            match observed(&observation, &client, spec, &context).await {
                Ok(result) => results.push(result),
                Err(early) => {
                    error = Some(early);
                    break;
                }
            }
        }
        let (_, problems) = observation.end().await;
        for problem in problems {
            print::err(format!("telemetry: {problem}"));
        }
        (results, error)
    };
    let (mut results, error) = drive::drive(work, events, &cancel, drive::Farewell::BENCH).await?;
    let ended = error.map(|error| ended_by(error, &mut results));
    if args.json {
        let error = ended.as_ref().map(|(_, sentence)| sentence);
        print::json(
            &serde_json::json!({ "model": client.model(), "suite": suite, "results": results, "error": error }),
        )?;
    } else if !results.is_empty() {
        print::out(results.iter().map(render).collect::<Vec<_>>().join("\n\n"));
    }
    match ended {
        Some((exit, sentence)) => Err(Stop::Said(exit, sentence)),
        None if results.iter().any(|r| r.validity.verdict == Verdict::Invalid) => Ok(Exit::SomeFailed),
        None => Ok(Exit::Ok),
    }
}

/// The exit code and the sentence of an early end; what the broken-off scenario had measured is kept, as invalid.
fn ended_by(error: BenchError, results: &mut Vec<ScenarioResult>) -> (Exit, String) {
    let sentence = error.to_string();
    let exit = match error {
        BenchError::Cancelled { partial } => {
            results.extend((!partial.requests.is_empty()).then_some(*partial));
            Exit::Interrupted
        }
        BenchError::ServerUnusable { partial, .. } => {
            let exit = if results.is_empty() { Exit::NothingMeasured } else { Exit::SomeFailed };
            results.push(*partial);
            exit
        }
        BenchError::Setup { .. } => Exit::Usage,
        BenchError::Internal(_) => Exit::Internal,
    };
    (exit, sentence)
}

/// One scenario, with what the machine and the engine did meanwhile.
async fn observed(
    observation: &Observation,
    client: &Client,
    spec: &ScenarioSpec,
    context: &bench::Context,
) -> Result<ScenarioResult, BenchError> {
    let mut progress = context.progress.subscribe();
    let mut run = std::pin::pin!(bench::run_scenario(client, spec, context));
    let _ = observation.samples(); // what came before the scenario is not its own
    let mut told = Instant::now();
    let mut result = loop {
        tokio::select! {
            biased;
            ended = &mut run => break ended?,
            Ok(()) = progress.changed() => {
                let now = *progress.borrow_and_update();
                observation.doing(spec.kind(), now.activity);
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    print::err(format!("{}: {}", spec.kind(), position(now)));
                }
            }
        }
    };
    let _ = observation.judge(&mut result);
    Ok(result)
}

fn position(now: bench::Progress) -> String {
    let total = now.requests_total.map(|total| format!(" of {total}")).unwrap_or_default();
    let rate = now.output_tokens_per_s.map(|rate| format!(", {} tokens/s", number(rate))).unwrap_or_default();
    format!("{}{total} requests{rate}", now.requests_done)
}

/// The suite and the data of its scenarios.
fn suite_of(name: &str) -> Result<(Suite, CaseSet), Stop> {
    match name {
        "quick" => Ok((Suite::quick(), CaseSet::shipped())),
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

async fn client_of(args: &BenchArgs) -> Result<Client, Stop> {
    let key = KEY_VARIABLES.iter().find_map(|name| std::env::var(name).ok()).filter(|key| !key.is_empty());
    let mut target = Target::new(&args.url, args.model.clone().unwrap_or_default());
    target.redactor = Redactor::new(key.clone());
    target.api_key = key.map(bench::ApiKey::new);
    let setup = |e: BenchError| Stop::usage(e.to_string());
    let client = Client::new(&target).await.map_err(setup)?;
    let listed = client.models().await;
    if let Some(model) = &args.model {
        return match listed {
            // a gateway may serve what it does not list: the server's own answer decides
            Ok((models, _)) if !models.contains(model) => match client.answers().await {
                Ok(()) => Ok(client),
                Err(why) => Err(Stop::usage(format!(
                    "{} does not serve `{model}`: {why}; it lists {}",
                    args.url,
                    models.join(", ")
                ))),
            },
            Err(bench::CallError::NoConnection(why)) => {
                Err(Stop::usage(format!("{} cannot be reached: {why}", args.url)))
            }
            Ok(_) | Err(_) => Ok(client),
        };
    }
    let (models, _) = listed.map_err(|e| {
        Stop::usage(format!("{} does not list its models: {e}; is it an OpenAI-compatible server?", args.url))
    })?;
    let Some(first) = models.into_iter().next() else {
        return Err(Stop::usage(format!("{} serves no model", args.url)));
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
