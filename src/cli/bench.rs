//! `vgrid bench`: the suite against a server that is already up; no container is touched.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Target};
use crate::cases::CaseSet;
use crate::domain::{Redactor, ScenarioResult, ScenarioSpec, Suite, Verdict};
use crate::engine::Observation;
use crate::grid;
use crate::ui::format::duration;

use super::args::BenchArgs;
use super::exit::{Exit, Stop};
use super::{drive, figures, print};

/// Variables that may hold the server's API key.
const KEY_VARIABLES: [&str; 2] = ["VLLM_API_KEY", "OPENAI_API_KEY"];

/// Runs the suite and prints its figures.
pub(crate) async fn bench(args: BenchArgs) -> Result<Exit, Stop> {
    let (suite, cases) = suite_of(&args.suite)?;
    let client = client_of(&args).await?;
    let cancel = CancellationToken::new();
    let (_sender, events) = tokio::sync::mpsc::unbounded_channel();
    let work = async {
        let observation = Observation::of_server(&client, &args.url);
        let mut results = Vec::new();
        for spec in &suite.scenarios {
            print::err(format!("{} ...", spec.kind()));
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let mut context = bench::Context::new(suite.seed, nonce, cancel.child_token());
            context.cases = cases.clone();
            results.push(observed(&observation, &client, spec, &context).await?);
        }
        let (_, problems) = observation.end().await;
        for problem in problems {
            print::err(format!("telemetry: {problem}"));
        }
        Ok::<Vec<ScenarioResult>, BenchError>(results)
    };
    let results = match drive::drive(work, events, &cancel).await? {
        Ok(results) => results,
        Err(BenchError::Cancelled { .. }) => return Ok(Exit::Interrupted),
        Err(error) => return Err(Stop::Said(Exit::NothingMeasured, error.to_string())),
    };
    if args.json {
        print::json(&serde_json::json!({ "model": client.model(), "suite": suite, "results": results }))?;
    } else {
        print::out(results.iter().map(render).collect::<Vec<_>>().join("\n\n"));
    }
    let invalid = results.iter().any(|r| r.validity.verdict == Verdict::Invalid);
    Ok(if invalid { Exit::SomeFailed } else { Exit::Ok })
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
    let mut result = loop {
        tokio::select! {
            biased;
            ended = &mut run => break ended?,
            Ok(()) = progress.changed() => observation.doing(spec.kind(), progress.borrow_and_update().activity),
        }
    };
    let _ = observation.judge(&mut result);
    Ok(result)
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
            let mut suite = grid::parse_suite(path, &text)?;
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
    if args.model.is_some() {
        return Ok(client);
    }
    let (models, _) = client.models().await.map_err(|e| {
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
    out.extend(figures::table(&result.metrics));
    out.extend(super::show::case_lines(&result.cases));
    out.join("\n")
}
