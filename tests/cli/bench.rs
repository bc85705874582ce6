//! `vgrid bench` against servers that are up: vLLM's like, and one that has nothing but chat completions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::common::{Live, Scene, present};

const SUITE: &str = "- smoke: { long_prompt_tokens: 100, output_tokens: 4 }\n\
                     - load: { concurrency: [2], rates: [20], duration_s: 0.5, prompt_tokens: 32, output_tokens: 4 }\n";

/// A simulated engine on the scene's port, listening.
fn engine(scene: &Scene) -> (Live, String) {
    engine_with(scene, &["--sim-speed=20"])
}

fn engine_with(scene: &Scene, flags: &[&str]) -> (Live, String) {
    let port = scene.port.to_string();
    let sim = scene.start(&[&["sim", "m", "--port", &port, "--sim-boot-seconds=0"], flags].concat());
    sim.wait_for("Application startup complete");
    (sim, format!("http://127.0.0.1:{port}"))
}

#[test]
fn a_suite_s_file_is_run_and_its_figures_are_text_or_json() {
    let scene = Scene::new();
    scene.write("night.yaml", SUITE);
    let (sim, url) = engine(&scene);
    let text = scene.run(["bench", &url, "--suite", "night.yaml"]).ok();
    text.says(&["smoke: ", "load: ", "c2.ttft_ms", "r20.ttft_from_intended_ms", "median", "95 % INTERVAL"]);
    let done = scene.run(["bench", &url, "--suite", "night.yaml", "--json"]).ok().json();
    assert_eq!((&done["model"], &done["suite"]["name"]), (&"m".into(), &"night".into()));
    assert_eq!(done["results"].as_array().unwrap().len(), 2);
    assert!(done["error"].is_null());
    let metrics = done["results"][1]["metrics"].as_array().unwrap();
    assert!(metrics.iter().any(|m| m["path"] == "load.r20.offered_requests_per_s"));
    sim.kill();
}

#[test]
fn a_trace_beside_the_suite_s_file_is_sent_and_a_wrong_line_is_named_before_anything_is() {
    let scene = Scene::new();
    scene.write("trace.yaml", "load: { trace: t.jsonl, concurrency: [1], output_tokens: 4 }\n");
    scene.write("t.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n");
    let wrong = scene.run(["bench", "http://127.0.0.1:1", "--suite", "trace.yaml", "--model", "m"]).code(1);
    wrong.says(&["t.jsonl:2:2", "unknown key `promt`", "did you mean `prompt`?"]);
    scene.write("t.jsonl", "{\"prompt\": \"a\"}\n{\"prompt_tokens\": 40, \"output_tokens\": 2}\n");
    let (sim, url) = engine(&scene);
    let done = scene.run(["bench", &url, "--suite", "trace.yaml", "--json"]).ok().json();
    let trace = &done["results"][0]["spec"]["trace"];
    assert_eq!((&trace["path"], trace["sha256"].as_str().unwrap().len()), (&"t.jsonl".into(), 16));
    let sent: Vec<u64> = done["results"][0]["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["completion_tokens"].as_u64())
        .collect();
    assert_eq!(sent, [4, 4, 2]);
    sim.kill();
}

#[test]
fn a_server_that_does_not_answer_is_wrong_usage_and_one_that_dies_leaves_what_was_measured() {
    let scene = Scene::new();
    scene.run(["bench", "http://127.0.0.1:1"]).code(1).says(&["does not list its models"]);
    scene.write("night.yaml", SUITE);
    let port = scene.port.to_string();
    let flags = ["sim", "m", "--port", &port, "--sim-speed=20", "--sim-boot-seconds=0", "--sim-fail=killed:6"];
    let sim = scene.start(&flags);
    sim.wait_for("Application startup complete");
    let done = scene.run(["bench", &format!("http://127.0.0.1:{port}"), "--suite", "night.yaml"]).code(2);
    done.says(&["smoke: ", "load: invalid", "the server became unusable"]);
    sim.kill();
}

#[test]
fn a_model_that_the_server_neither_lists_nor_answers_for_is_wrong_usage_before_anything_is_measured() {
    let scene = Scene::new();
    let (sim, url) = engine(&scene);
    let done = scene.run(["bench", &url, "--model", "nope"]).code(1);
    let done = done.says(&["does not serve `nope`", "HTTP status 404", "it lists m"]);
    assert!(!done.stdout.contains("smoke"), "{}", done.stdout);
    sim.kill();
}

/// Answers chat completions as the smallest of servers: no usage, and 404 for everything else.
fn bare_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || while answer(&socket).is_some() {});
        }
    });
    url
}

fn answer(mut socket: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line == "\r\n" {
            break;
        }
        if let Some((_, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, kind, text) = if first.contains("/chat/completions") {
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        if body["stream"] == true {
            let event = |content: &str, reason: &str| {
                format!(
                    "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}},\"finish_reason\":{reason}}}]}}\n\n"
                )
            };
            let events = event("a", "null").repeat(3) + &event("b", "\"length\"") + "data: [DONE]\n\n";
            ("200 OK", "text/event-stream", events)
        } else {
            let whole = "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}";
            ("200 OK", "application/json", whole.to_owned())
        }
    } else {
        ("404 Not Found", "application/json", "{}".to_owned())
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", text.len());
    socket.write_all(format!("{head}{text}").as_bytes()).ok()
}

#[test]
fn a_server_without_metrics_tokenizer_and_usage_is_measured_and_what_is_missing_is_said() {
    let scene = Scene::new();
    scene.write("load.yaml", "load: { concurrency: [2], rates: [20], duration_s: 0.5, output_tokens: 4 }\n");
    let url = bare_server();
    let done = scene.run(["bench", &url, "--model", "x", "--suite", "load.yaml"]).ok();
    let done = done.says(&["load: suspect", "no /tokenize", "came without usage", "c2.ttft_ms", "r20.requests_per_s"]);
    assert!(!done.stdout.contains("output_tokens_per_s"), "what is not known is no figure:\n{}", done.stdout);
}

#[test]
fn a_run_is_stored_apart_from_the_sweeps_and_every_command_that_reads_takes_it() {
    let scene = Scene::new();
    scene.grid(
        &["--sim-boot-seconds", "0.1"],
        "configs: [{ name: a }]\nsuite: [smoke]\nobjectives: { worth: maximize smoke.passed }\nrepeats: off\n",
    );
    scene.sweep(&[]).ok();
    scene.write("night.yaml", SUITE);
    let (sim, url) = engine(&scene);
    let done = scene.run(["bench", &url, "--suite", "night.yaml"]).ok();
    done.says(&["sweep 2, trial 2", "runs.db as trial 2, sweep 2", "vgrid show 2"]);
    scene.run(["bench", &url, "--suite", "night.yaml", "--json"]).ok();
    sim.kill();

    let show = scene.run(["show", "2", "--all"]).ok();
    show.says(&[
        "asked by `vgrid bench`",
        "engine_version",
        "kv_cache_tokens",
        "enable-prefix-caching",
        "c2.ttft_ms",
        "host",
    ]);
    let status = scene.run(["status", "2"]).ok();
    status.says(&["sweep 2 (`vgrid bench`) of http://127.0.0.1", "finished", "1 measured"]);
    scene.run(["compare", "2", "3"]).ok().says(&["sweep 2", "sweep 3", "c2.ttft_ms.p50"]);
    scene
        .run(["report", "2", "--format", "md"])
        .ok()
        .says(&["there is nothing to rank", "vgrid did not start this server"]);
    scene.run(["report", "2"]).ok();
    scene.run(["export", "2", "--to", "out", "--format", "jsonl"]).ok();
    let requests = std::fs::read_to_string(scene.folder().join("out/requests.jsonl")).unwrap();
    assert_eq!(
        requests.lines().count() as i64,
        scene.count(
            "SELECT count(*) FROM request WHERE scenario_result_id IN
        (SELECT id FROM scenario_result WHERE trial_id = 2)"
        )
    );
    assert!(
        scene.count(
            "SELECT count(*) FROM telemetry_sample s JOIN attempt a ON a.id = s.attempt_id WHERE a.trial_id = 2"
        ) > 0
    );
    assert!(scene.count("SELECT count(*) FROM engine_counter") > 0);

    // No command takes it for a sweep of the grid.
    let newest = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&newest["sweep"]["id"], newest["bench_runs"].as_array().unwrap().len()), (&1.into(), 2));
    scene.run(["status"]).ok().says(&["also here: 2 runs of `vgrid bench`: sweep 3"]);
    scene.run(["champions"]).ok().says(&["sweep 1 of scene"]);
    assert_eq!(scene.sql("SELECT count(*) FROM ranking WHERE sweep_id <> 1"), ["0"]);
    for refused in [&["resume", "2"] as &[&str], &["promote", "2"]] {
        scene
            .run(refused.iter().copied())
            .code(1)
            .says(&["is a run of `vgrid bench`", "nothing to continue, put back or promote"]);
    }
    scene.run(["logs", "2"]).code(1).says(&["has no log of it"]);
    scene.sweep(&[]);
    assert_eq!(scene.sql("SELECT max(id) FROM sweep"), ["3"], "the grid's finished sweep is known again");
}

#[test]
fn a_kill_loses_only_the_scenario_that_ran_and_ctrl_c_not_even_that() {
    let scene = Scene::new();
    let suite = "- smoke: { long_prompt_tokens: 100, output_tokens: 4 }\n\
                 - load: { concurrency: [], rates: [20], duration_s: 60, prompt_tokens: 32, output_tokens: 4 }\n";
    scene.write("long.yaml", suite);
    let (sim, url) = engine(&scene);
    let arguments = ["bench", &url, "--suite", "long.yaml"];
    let run = scene.start(&arguments);
    run.wait_for("load ...");
    run.kill();
    assert_eq!(scene.sql("SELECT scenario FROM scenario_result WHERE trial_id = 1"), ["smoke"]);
    scene.run(["status", "1"]).ok().says(&["interrupted"]);

    let run = scene.start(&arguments);
    run.wait_for("load: ");
    scene.run(arguments).code(4); // two at once would measure each other
    run.signal("INT");
    let done =
        run.finish().code(130).says(&["smoke: ", "load: invalid", "the scenario was cancelled", "trial 2, sweep 2"]);
    assert!(!done.stdout.is_empty());
    assert_eq!(scene.sql("SELECT scenario FROM scenario_result WHERE trial_id = 2 ORDER BY id"), ["smoke", "load"]);
    assert!(scene.count("SELECT count(*) FROM request q JOIN scenario_result r ON r.id = q.scenario_result_id WHERE r.scenario = 'load'") > 10);
    assert_eq!(
        scene.sql("SELECT outcome FROM attempt ORDER BY id"),
        ["interrupted", "interrupted"],
        "the killed one is closed"
    );
    assert_eq!(scene.sql("SELECT ended FROM sweep_run ORDER BY id"), ["crashed", "interrupted"]);
    scene.run(["resume"]).code(1);
    sim.kill();
}

#[test]
fn the_full_suite_s_smoke_knows_the_kv_cache_of_a_running_server() {
    let scene = Scene::new();
    scene.write("fit.yaml", "smoke: { fit: true, output_tokens: 4 }\n");
    let (sim, url) = engine_with(
        &scene,
        &["--sim-speed=200", "--max-model-len=2048", "--max-num-seqs=4", "--sim-gpu-memory-gib=18.5"],
    );
    let done = scene.run(["bench", &url, "--suite", "fit.yaml", "--json"]).ok().json();
    let result = &done["results"][0];
    assert_eq!(result["validity"]["verdict"], "valid", "{}", result["validity"]);
    let fit = result["metrics"].as_array().unwrap().iter().find(|m| m["path"] == "smoke.fit_requests").unwrap();
    assert!(fit["value"].as_f64().unwrap() > 1.0, "{fit}");
    sim.kill();
}

/// The rows of an exported table.
fn exported(scene: &Scene, table: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(scene.folder().join(format!("out/{table}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(row: &Value, column: &str) -> f64 {
    row[column].as_f64().unwrap_or_else(|| panic!("no {column} in {row}"))
}

/// Arrival and tokens of each chunk of a request.
fn chunks(request: &Value) -> Vec<(f64, f64)> {
    let stamps = request["chunks"].as_array().unwrap().iter().map(|c| c[0].as_f64().unwrap());
    let tokens: Vec<f64> = request["chunk_tokens"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    let chunks: Vec<(f64, f64)> = stamps.zip(tokens.iter().copied()).collect();
    assert_eq!((chunks.len(), tokens.len()), (number(request, "chunk_count") as usize, chunks.len()));
    chunks
}

#[test]
fn itl_and_throughput_come_out_of_the_stored_requests_alone() {
    let scene = Scene::new();
    let load = "load: { concurrency: [3], rates: [30], duration_s: 1, requests_per_user: 4, prompt_tokens: 32, output_tokens: 22 }\n";
    scene.write("load.yaml", load);
    let (sim, url) = engine_with(&scene, &["--sim-speed=4", "--stream-interval=4"]);
    scene.run(["bench", &url, "--suite", "load.yaml"]).ok();
    sim.kill();
    scene.run(["export", "--to", "out", "--format", "jsonl"]).ok();
    let (requests, windows, metrics) =
        (exported(&scene, "requests"), exported(&scene, "point_window"), exported(&scene, "metric"));
    let figure =
        |path: &str| number(metrics.iter().find(|m| m["path"] == path).unwrap_or_else(|| panic!("no {path}")), "value");
    let close = |what: &str, found: f64, told: f64| {
        assert!(
            (found - told).abs() <= 2e-3_f64.max(told.abs() * 1e-6),
            "{what}: {found} from the requests, {told} told"
        );
    };
    for point in ["c3", "r30"] {
        let own: Vec<&Value> = requests.iter().filter(|r| r["point"] == point).collect();
        let measured: Vec<&Value> = own.iter().copied().filter(|r| r["measured"] == 1).collect();
        assert!(measured.iter().all(|r| r["ended"] == "truncated"), "{measured:#?}");
        let mut gaps = Vec::new();
        for request in &measured {
            for pair in chunks(request).windows(2) {
                let ((before, _), (at, tokens)) = (pair[0], pair[1]);
                gaps.extend(std::iter::repeat_n((at - before) / tokens, tokens as usize));
            }
        }
        assert_eq!(gaps.len(), measured.len() * 21, "every token after the first");
        close("mean ITL", gaps.iter().sum::<f64>() / gaps.len() as f64, figure(&format!("load.{point}.itl_ms.mean")));
        close("largest ITL", gaps.iter().copied().fold(0.0, f64::max), figure(&format!("load.{point}.itl_ms.max")));
        let window = windows.iter().find(|w| w["point"] == point).unwrap();
        let (start, end) = (number(window, "start_ms"), number(window, "end_ms"));
        let inside = measured.iter().flat_map(|r| chunks(r)).filter(|(at, _)| *at > start && *at <= end);
        let tokens: f64 = inside.map(|(_, tokens)| tokens).sum();
        close("throughput", tokens * 1_000.0 / (end - start), figure(&format!("load.{point}.output_tokens_per_s")));
        if point == "c3" {
            let mut users: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
            own.iter().for_each(|r| users.entry(r["user_number"].as_u64().unwrap()).or_default().push(r));
            assert_eq!(users.values().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4]);
            let first = |user: &Vec<&Value>| number(user.iter().find(|r| r["measured"] == 1).unwrap(), "sent_ms");
            let last = |user: &Vec<&Value>| number(user.last().unwrap(), "end_ms");
            let edges =
                (users.values().map(first).fold(0.0, f64::max), users.values().map(last).fold(f64::MAX, f64::min));
            assert_eq!(edges, (start, end), "the window is where all users are at it");
        }
    }
}

#[test]
fn what_is_exported_of_a_run_is_read_by_python() {
    let python = Path::new("/usr/bin/python3");
    if !present(python, "VGRID_REQUIRE_PYTHON") {
        return;
    }
    let scene = Scene::new();
    scene.write("night.yaml", SUITE);
    let (sim, url) = engine(&scene);
    scene.run(["bench", &url, "--suite", "night.yaml"]).ok();
    sim.kill();
    for format in ["csv", "jsonl"] {
        scene.run(["export", "--to", format, "--format", format]).ok();
    }
    let script = "\
import csv, json, pathlib
csv.field_size_limit(1 << 30)
empty = lambda value: None if value == '' else value
for file in sorted(pathlib.Path('jsonl').glob('*.jsonl')):
    lines = [json.loads(line) for line in file.open(encoding='utf-8')]
    with open(f'csv/{file.stem}.csv', newline='', encoding='utf-8') as table:
        rows = list(csv.DictReader(table))
    assert len(lines) == len(rows), file
    for line, row in zip(lines, rows):
        assert list(line) == list(row), file
        for column, value in line.items():
            cell = empty(row[column])
            if isinstance(value, (list, dict)):
                cell = json.loads(cell)
            elif isinstance(value, (int, float)):
                cell = float(cell)
            assert cell == value or value == '' and cell is None, (file, column, cell, value)
    print(file.stem, len(lines))
";
    let done = Command::new(python).current_dir(scene.folder()).args(["-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    for table in ["requests", "metric", "telemetry_sample", "engine_counter", "point_window", "resolved_fact"] {
        let rows = said.lines().find_map(|line| line.strip_prefix(&format!("{table} "))).unwrap();
        assert_ne!(rows, "0", "{table}: {said}");
    }
}
