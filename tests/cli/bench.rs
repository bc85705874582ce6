//! `vgrid bench` against servers that are up: vLLM's like, and one that has nothing but chat completions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::common::{Live, Scene};

const SUITE: &str = "- smoke: { long_prompt_tokens: 100, output_tokens: 4 }\n\
                     - load: { concurrency: [2], rates: [20], duration_s: 0.5, prompt_tokens: 32, output_tokens: 4 }\n";

/// A simulated engine on the scene's port, listening.
fn engine(scene: &Scene) -> (Live, String) {
    let port = scene.port.to_string();
    let sim = scene.start(&["sim", "m", "--port", &port, "--sim-speed=20", "--sim-boot-seconds=0"]);
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
