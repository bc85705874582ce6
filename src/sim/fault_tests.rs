//! What clients and operators see of each fault, and of starts that fail.

use std::time::Duration;

use serde_json::json;

use super::in_process::spawn;
use super::test_client::{Reply, get, post};

/// A server with this fault, and its answer to a streamed request of 8 tokens.
async fn streamed(fault: &str) -> Reply {
    let server = spawn(&["m", "--sim-speed=20", &format!("--sim-fail={fault}")]).await.unwrap();
    let body = json!({"prompt": "go", "max_tokens": 8, "ignore_eos": true, "stream": true,
        "stream_options": {"include_usage": true}});
    post(server.address(), "/v1/completions", &body).await
}

#[tokio::test]
async fn an_error_event_comes_in_the_middle_of_a_good_status() {
    let reply = streamed("error_event").await;
    assert_eq!(reply.status, 200);
    let events = reply.events();
    assert_eq!(events.len(), 5);
    assert_eq!(events[4]["error"]["code"], 500);
    assert!(reply.has_done(), "[DONE] is no proof of success");
}

#[tokio::test]
async fn a_cut_stream_ends_without_its_end() {
    let reply = streamed("stream_cut").await;
    assert!(!reply.complete && !reply.has_done());
    assert_eq!(reply.events().len(), 4);
}

#[tokio::test]
async fn fragments_are_small_and_together_they_are_the_whole() {
    let reply = streamed("fragment").await;
    assert!(reply.complete && reply.has_done());
    assert_eq!(reply.events().len(), 9);
    assert!(reply.chunks.iter().all(|n| *n <= 23), "{:?}", reply.chunks);
}

#[tokio::test]
async fn usage_and_done_can_be_left_out() {
    let reply = streamed("no_usage").await;
    assert!(reply.events().iter().all(|e| e.get("usage").is_none()));
    assert!(reply.has_done());
    let reply = streamed("missing_done").await;
    assert!(reply.complete && !reply.has_done());
}

#[tokio::test]
async fn the_first_byte_can_be_late() {
    let started = std::time::Instant::now();
    let reply = streamed("slow_first_byte:150").await;
    assert!(reply.first.unwrap() - started >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_dying_engine_fails_what_is_in_flight_and_the_server_ends_with_code_0() {
    for fault in ["engine_death:1", "oom_serving:1"] {
        let server = spawn(&["m", "--sim-speed=5", &format!("--sim-fail={fault}")]).await.unwrap();
        let at = server.address();
        let good = post(at, "/v1/completions", &json!({"prompt": "go", "max_tokens": 4})).await;
        assert_eq!(good.status, 200, "the first request is served well");
        let stream = json!({"prompt": "go", "max_tokens": 400, "ignore_eos": true, "stream": true});
        let whole = json!({"prompt": "go", "max_tokens": 400, "ignore_eos": true});
        let (stream, whole) = tokio::join!(post(at, "/v1/completions", &stream), post(at, "/v1/completions", &whole));
        assert_eq!((stream.status, whole.status), (200, 500));
        assert!(stream.text().contains("EngineCore encountered an issue"));
        assert!(stream.has_done());
        let log = server.console.clone();
        assert_eq!(server.wait().await, 0);
        let log = log.lines().join("\n");
        assert!(log.contains("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."));
        assert_eq!(log.contains("torch.OutOfMemoryError: CUDA out of memory"), fault.starts_with("oom"));
        assert!(!log.contains("shutdown triggered"), "nobody asked for this end");
    }
}

#[tokio::test]
async fn a_hanging_engine_looks_healthy_and_gives_no_token() {
    let server = spawn(&["m", "--sim-speed=20", "--sim-fail=hang_serving:0"]).await.unwrap();
    let at = server.address();
    let body = json!({"prompt": "go", "max_tokens": 400, "ignore_eos": true});
    let asked = tokio::time::timeout(Duration::from_millis(300), post(at, "/v1/completions", &body)).await;
    assert!(asked.is_err());
    assert_eq!(get(at, "/health").await.status, 200);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_killed_server_has_exit_code_137_and_no_last_words() {
    let server = spawn(&["m", "--sim-speed=20", "--sim-fail=killed:0"]).await.unwrap();
    let log = server.console.clone();
    let body = json!({"prompt": "go", "max_tokens": 400, "ignore_eos": true});
    let at = server.address();
    let asked = tokio::time::timeout(Duration::from_millis(300), post(at, "/v1/completions", &body));
    let (asked, code) = tokio::join!(asked, server.wait());
    assert!(asked.is_err(), "no answer");
    assert_eq!(code, 137);
    assert!(!log.lines().join("\n").contains("Shutting down"));
}

#[tokio::test]
async fn degenerate_text_repeats_itself() {
    let server = spawn(&["m", "--sim-speed=50", "--sim-fail=degenerate"]).await.unwrap();
    let reply = post(server.address(), "/v1/completions", &json!({"prompt": "go", "max_tokens": 40})).await.json();
    assert!(reply["choices"][0]["text"].as_str().unwrap().matches("the").count() > 15, "{reply}");
}

#[tokio::test]
async fn failed_starts_have_vllms_exit_codes() {
    for (flags, code, word) in [
        (vec!["m", "--enable-chunky-prefill"], 2, "unrecognized arguments: --enable-chunky-prefill"),
        (vec!["m", "--max-model-len", "banana"], 2, "invalid human_readable_int_or_auto value: 'banana'"),
        (vec!["m", "--gpu-memory-utilization", "0.8"], 1, "estimated maximum model length is 22608"),
        (vec!["m", "--gpu-memory-utilization", "0.97"], 1, "CUDA error: out of memory"),
        (vec!["m", "--enable-auto-tool-choice", "--tool-call-parser", "x"], 1, "invalid tool call parser: x"),
    ] {
        let (exit, log) = spawn(&flags).await.unwrap_err();
        assert_eq!(exit, code, "{flags:?}");
        assert!(log.contains(word), "{log}");
    }
    let (_, log) = spawn(&["m", "--gpu-memory-utilization", "0.8"]).await.unwrap_err();
    assert!(
        log.ends_with("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    );
}

#[tokio::test]
async fn an_orderly_stop_says_so_and_ends_with_code_0() {
    let server = spawn(&["m", "--sim-speed=5"]).await.unwrap();
    let log = server.console.clone();
    let body = json!({"prompt": "go", "max_tokens": 3000, "ignore_eos": true, "stream": true});
    let at = server.address();
    let asking = tokio::spawn(async move { post(at, "/v1/completions", &body).await });
    while server.truth().first().is_none_or(|t| t.token_ms.is_empty()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stop().await, 0);
    assert!(!asking.await.unwrap().events().is_empty());
    let log = log.lines().join("\n");
    let (asked, gone) =
        (log.find("shutdown triggered").unwrap(), log.find("INFO:     Finished server process").unwrap());
    assert!(asked < gone);
}

/// The command of the shipped deployment, as words.
fn quickstart_command() -> Vec<String> {
    let text = include_str!("../../compose/quickstart.yml");
    let (_, rest) = text.split_once("command: >-\n").unwrap();
    let (command, _) = rest.split_once("    ports:").unwrap();
    command.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_shipped_quickstart_starts_and_its_two_bad_configs_fail_for_memory() {
    let start = async |more: &[&str]| {
        let command = quickstart_command();
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.extend(more);
        words.push("--sim-boot-seconds=0");
        spawn(&words).await.map(|running| running.url())
    };
    assert!(start(&[]).await.is_ok());
    for seqs in ["4", "32"] {
        for caching in ["--enable-prefix-caching", "--no-enable-prefix-caching"] {
            for chunked in ["--enable-chunked-prefill", "--no-enable-chunked-prefill"] {
                start(&["--max-num-seqs", seqs, caching, chunked]).await.unwrap();
            }
        }
    }
    start(&["--kv-cache-dtype", "fp8", "--max-num-seqs", "32"]).await.unwrap();
    let (code, log) = start(&["--gpu-memory-utilization", "0.7", "--max-num-seqs", "32"]).await.unwrap_err();
    assert_eq!(code, 1);
    assert!(log.contains("(1.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.61 GiB)"));
    let (code, log) = start(&["--gpu-memory-utilization", "0.98", "--max-num-seqs", "32"]).await.unwrap_err();
    assert_eq!(code, 1);
    assert!(log.contains("torch.AcceleratorError: CUDA error: out of memory"));
}
