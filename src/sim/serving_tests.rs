//! The API and the timing of a running server, seen by a client.

use serde_json::{Value as Json, json};

use super::args::SimArgs;
use super::in_process::{Running, spawn};
use super::model::{Memory, Speed, StepLoad};
use super::scheduler::{ChunkedPrefill, Limits, PrefixCaching, Scheduler};
use super::test_client::{get, post, post_with};

async fn server(flags: &str) -> Running {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    spawn(&flags).await.unwrap()
}

fn user(text: &str) -> Json {
    json!([{"role": "user", "content": text}])
}

/// A value of `/metrics`, summed over labels.
async fn metric(server: &Running, name: &str) -> f64 {
    let page = get(server.address(), "/metrics").await.text();
    let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
    page.lines().filter(|l| l.starts_with(&format!("{name}{{"))).filter_map(value).sum()
}

#[tokio::test]
async fn the_small_endpoints_answer_like_vllm() {
    let server = server("/models/m --served-model-name a b --max-model-len 4096 --sim-speed 50").await;
    let at = server.address();
    assert_eq!(get(at, "/health").await.status, 200);
    assert_eq!(get(at, "/version").await.json(), json!({"version": "0.32.0"}));
    let models = get(at, "/v1/models").await.json();
    assert_eq!(models["data"][1]["id"], "b");
    assert_eq!(models["data"][0]["root"], "/models/m");
    assert_eq!(models["data"][0]["max_model_len"], 4096);
    assert_eq!(models["data"][0]["owned_by"], "vllm");
    let tokens = post(at, "/tokenize", &json!({"model": "a", "prompt": "Hello, déjà vu 12345"})).await.json();
    assert_eq!(tokens["count"], json!(tokens["tokens"].as_array().unwrap().len()));
    let text = post(at, "/detokenize", &json!({"tokens": tokens["tokens"]})).await.json();
    assert_eq!(text["prompt"], "Hello, déjà vu 12345");
    assert_eq!(get(at, "/nothing").await.status, 404);
    let error = post(at, "/v1/completions", &json!({"model": "c", "prompt": "x"})).await;
    assert_eq!(error.status, 404);
    assert_eq!(error.json()["error"]["message"], "The model `c` does not exist. Valid aliases: a, b.");
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_key_is_asked_for_under_v1_only() {
    let server = server("m --api-key secret --sim-speed 50").await;
    let at = server.address();
    assert_eq!(get(at, "/health").await.status, 200);
    let refused = get(at, "/v1/models").await;
    assert_eq!((refused.status, refused.json()), (401, json!({"error": "Unauthorized"})));
    let body = json!({"prompt": "x", "max_tokens": 1});
    assert_eq!(post(at, "/v1/completions", &body).await.status, 401);
    assert_eq!(post_with(at, "/v1/completions", &body, "Authorization: Bearer secret\r\n").await.status, 200);
}

/// Everything that a chat's stream says: reasoning, content, and each call's name and arguments.
fn told(events: &[Json]) -> (String, String, Vec<(String, String)>) {
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::new());
    for delta in events.iter().map(|event| &event["choices"][0]["delta"]) {
        reasoning.push_str(delta["reasoning"].as_str().unwrap_or_default());
        content.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().unwrap() as usize;
            calls.resize(calls.len().max(at + 1), (String::new(), String::new()));
            calls[at].0.push_str(call["function"]["name"].as_str().unwrap_or_default());
            calls[at].1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
    }
    (reasoning, content, calls)
}

#[tokio::test]
async fn a_stream_interval_sends_the_first_token_at_once_then_so_many_at_a_time_and_the_rest_at_the_end() {
    let server = server("m --stream-interval 4 --sim-speed 50").await;
    let usage = json!({"include_usage": true, "continuous_usage_stats": true});
    for (tokens, expected) in [(11, vec![1, 5, 9, 11]), (9, vec![1, 5, 9]), (3, vec![1, 3]), (1, vec![1])] {
        let body = json!({"model": "m", "messages": user("Tell me"), "max_tokens": tokens, "ignore_eos": true,
            "stream": true, "stream_options": usage});
        let events = post(server.address(), "/v1/chat/completions", &body).await.events();
        let counts: Vec<u64> = events[1..events.len() - 1]
            .iter()
            .map(|event| event["usage"]["completion_tokens"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, expected);
        let truth = server.truth().pop().unwrap();
        assert_eq!((truth.token_ms.len(), truth.written_ms.len()), (tokens, expected.len()));
        // an event is written with the last of its tokens, not before
        for (written, upto) in truth.written_ms.iter().zip(&expected) {
            assert!(*written >= truth.token_ms[*upto as usize - 1]);
        }
    }
}

#[tokio::test]
async fn an_answer_says_the_same_at_every_stream_interval() {
    let mut answers = Vec::new();
    for interval in ["1", "2", "3", "7", "1000"] {
        let flags = "m --reasoning-parser qwen3 --enable-auto-tool-choice --tool-call-parser hermes --sim-speed 50";
        let server = server(&format!("{flags} --stream-interval {interval}")).await;
        let tool = json!({"type": "function", "function": {"name": "weather", "description": "the weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
        let mut asked = Vec::new();
        for tools in [json!(null), json!([tool])] {
            let body = json!({"model": "m", "messages": user("What is the weather of the city of Lyon?"),
                "tools": tools, "max_tokens": 120, "stream": true});
            asked.push(told(&post(server.address(), "/v1/chat/completions", &body).await.events()));
        }
        answers.push(asked);
    }
    assert!(answers[0].iter().all(|(reasoning, ..)| !reasoning.is_empty()), "{:?}", answers[0]);
    assert!(!answers[0][0].1.is_empty() && answers[0][1].2[0].0 == "weather", "{:?}", answers[0]);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test]
async fn a_stream_has_role_tokens_finish_usage_and_done() {
    let server = server("m --sim-speed 50").await;
    let body = json!({"model": "m", "messages": user("Tell me"), "max_tokens": 9, "ignore_eos": true, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let reply = post_with(server.address(), "/v1/chat/completions", &body, "X-Request-Id: mine\r\n").await;
    let events = reply.events();
    assert!(reply.complete && reply.has_done());
    assert_eq!(events.len(), 1 + 9 + 1, "role, tokens, usage");
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events[0]["id"], "chatcmpl-mine");
    for (i, event) in events[1..10].iter().enumerate() {
        assert_eq!(event["usage"]["completion_tokens"], i + 1);
        assert!(event["choices"][0]["delta"]["content"].is_string());
    }
    assert_eq!(events[9]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[10]["choices"], json!([]));
    let usage = &events[10]["usage"];
    assert_eq!(usage["completion_tokens"], 9);
    let count = post(server.address(), "/tokenize", &json!({"messages": user("Tell me")})).await.json();
    assert_eq!(usage["prompt_tokens"], count["count"], "/tokenize counts what the prompt costs");

    let mut whole = body.clone();
    whole["stream"] = json!(false);
    whole["stream_options"] = Json::Null;
    let message = post(server.address(), "/v1/chat/completions", &whole).await.json();
    let streamed: String =
        events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(message["choices"][0]["message"]["content"], streamed.as_str());
    assert_eq!(message["usage"]["prompt_tokens_details"], Json::Null, "as vLLM without --enable-prompt-tokens-details");
}

#[tokio::test]
async fn reasoning_comes_before_content_and_tool_calls_come_in_deltas() {
    let server =
        server("m --reasoning-parser qwen3 --enable-auto-tool-choice --tool-call-parser hermes --sim-speed 50").await;
    let at = server.address();
    let body = json!({"messages": user("What is 17 + 25?"), "stream": true, "max_tokens": 400,
        "stream_options": {"include_usage": true}});
    let events = post(at, "/v1/chat/completions", &body).await.events();
    let has = |e: &Json, key: &str| e["choices"][0]["delta"][key].as_str().is_some_and(|t| !t.is_empty());
    let first_content = events.iter().position(|e| has(e, "content")).unwrap();
    let last_reasoning = events.iter().rposition(|e| has(e, "reasoning")).unwrap();
    assert!(last_reasoning < first_content);
    let content: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, "The answer is 42.");
    let usage = &events.last().unwrap()["usage"];
    assert!(usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);

    let tools = json!([{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let mut body = json!({"messages": user("What is the weather in Paris?"), "tools": tools, "max_tokens": 400,
        "chat_template_kwargs": {"enable_thinking": false}, "stream": true});
    let events = post(at, "/v1/chat/completions", &body).await.events();
    let calls: Vec<&Json> = events.iter().filter_map(|e| e["choices"][0]["delta"].get("tool_calls")).collect();
    assert_eq!(calls[0][0]["function"]["name"], "get_weather");
    let arguments: String = calls.iter().filter_map(|c| c[0]["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"city":"Paris"}"#);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    assert!(!events.iter().any(|e| has(e, "content") || has(e, "reasoning")), "no markup leaks");
    body["stream"] = json!(false);
    let message = post(at, "/v1/chat/completions", &body).await.json();
    let call = &message["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], arguments.as_str(), "streamed = not streamed");
    assert!((metric(&server, "vllm:tool_call_parser_invocations_total").await - 2.0).abs() < 1e-9);
}

#[tokio::test]
async fn auto_tool_choice_needs_its_flags() {
    let server = server("m --sim-speed 50").await;
    let body = json!({"messages": user("x"), "tools": [{"type": "function", "function": {"name": "f"}}]});
    let reply = post(server.address(), "/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("tool choice requires --enable-auto-tool-choice"));
}

#[tokio::test]
async fn the_same_prefix_is_a_hit_in_usage_in_counters_and_in_time() {
    let flags = "m --sim-noise 0 --sim-first-request-ms 0 --sim-speed 4 --enable-prompt-tokens-details";
    let server = server(flags).await;
    let at = server.address();
    let prompt = "every word counts here ".repeat(700);
    let body = json!({"prompt": prompt, "max_tokens": 1, "stream": true, "stream_options": {"include_usage": true}});
    let mut cached = Vec::new();
    for _ in 0..5 {
        let events = post(at, "/v1/completions", &body).await.events();
        cached.push(events.last().unwrap()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap());
    }
    let truth = server.truth();
    let prompt_tokens = truth[0].prompt_tokens as u64;
    let all_but_the_end = (prompt_tokens - 1) / 16 * 16;
    assert_eq!(cached, [0, all_but_the_end, all_but_the_end, all_but_the_end, all_but_the_end]);
    assert!((metric(&server, "vllm:prefix_cache_queries_total").await - 5.0 * prompt_tokens as f64).abs() < 1e-9);
    assert!((metric(&server, "vllm:prefix_cache_hits_total").await - 4.0 * all_but_the_end as f64).abs() < 1e-9);
    let ttft = |i: usize| truth[i].token_ms[0] - truth[i].arrival_ms;
    // A step never ends early, and on a busy machine it may end late: the quickest hit is compared.
    let hit = (1..5).map(ttft).fold(f64::MAX, f64::min);
    assert!(ttft(0) > 2.0 * hit, "miss {} ms, hit {hit} ms", ttft(0));
}

#[tokio::test]
async fn without_prefix_caching_nothing_is_queried_or_hit() {
    let server = server("m --no-enable-prefix-caching --enable-prompt-tokens-details --sim-speed 50").await;
    let body = json!({"prompt": "word ".repeat(200), "max_tokens": 1});
    for _ in 0..2 {
        let reply = post(server.address(), "/v1/completions", &body).await.json();
        assert_eq!(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    }
    assert!(metric(&server, "vllm:prefix_cache_queries_total").await.abs() < 1e-9);
    let page = get(server.address(), "/metrics").await.text();
    assert!(page.contains("enable_prefix_caching=\"False\""), "{page}");
}

/// The longest step of a stream while a prompt of 12,000 tokens is computed beside it, ms by the model: no clock, no noise.
fn largest_gap_beside_a_long_prefill(chunked_prefill: ChunkedPrefill) -> f64 {
    let max_num_batched_tokens = match chunked_prefill {
        ChunkedPrefill::On => 1_024,
        ChunkedPrefill::Off => 16_384,
    };
    let args = SimArgs::parse(vec!["m".to_owned()]).unwrap();
    let speed = Speed::of(&args, &Memory::plan(&args));
    let mut scheduler = Scheduler::new(Limits {
        max_num_seqs: 8,
        max_num_batched_tokens,
        block_size: 16,
        blocks: 2_000,
        chunked_prefill,
        prefix_caching: PrefixCaching::On,
    });
    scheduler.add(1, (0..40).collect(), 8, 0);
    let first = scheduler.schedule();
    scheduler.finish(&first);
    scheduler.add(2, (1_000..13_001).collect(), 12_000, 0);
    let mut largest_ms = 0.0_f64;
    loop {
        let step = scheduler.schedule();
        if step.is_empty() {
            return largest_ms;
        }
        if scheduler.finish(&step).iter().any(|output| output.id == 1) {
            largest_ms = largest_ms.max(speed.step(&step.load).as_secs_f64() * 1e3);
        }
    }
}

#[test]
fn chunked_prefill_bounds_the_gap_that_a_long_prompt_tears_into_a_stream() {
    let chunked = largest_gap_beside_a_long_prefill(ChunkedPrefill::On);
    let whole = largest_gap_beside_a_long_prefill(ChunkedPrefill::Off);
    // 12,000 tokens at 10,000 a second, against 1,024 of them and the attention to what stands before.
    assert!(whole > 1_200.0 && chunked < 150.0, "chunked {chunked} ms, whole {whole} ms");
}

#[tokio::test]
async fn requests_wait_when_the_batch_is_full() {
    let server = server("m --max-num-seqs 2 --sim-noise 0 --sim-first-request-ms 0 --sim-speed 10").await;
    let body = json!({"prompt": "go", "max_tokens": 20, "ignore_eos": true});
    let ask = || post(server.address(), "/v1/completions", &body);
    let (_, _, _, _) = tokio::join!(ask(), ask(), ask(), ask());
    let mut truth = server.truth();
    truth.sort_by(|a, b| a.admitted_ms.partial_cmp(&b.admitted_ms).unwrap());
    assert!(truth[2].admitted_ms.unwrap() >= truth[0].end_ms.unwrap());
}

#[tokio::test]
async fn a_full_cache_throws_the_last_request_out_and_finishes_it_later() {
    // 64 blocks of 16 tokens: 1,024 tokens. Four requests grow to 300 each.
    let flags = "m --kv-cache-memory-bytes 134217728 --max-model-len 512 --no-enable-prefix-caching --sim-speed 50";
    let server = server(flags).await;
    let body = json!({"prompt": "go", "max_tokens": 298, "ignore_eos": true});
    let ask = || post(server.address(), "/v1/completions", &body);
    let replies = tokio::join!(ask(), ask(), ask(), ask());
    for reply in [replies.0, replies.1, replies.2, replies.3] {
        assert_eq!(reply.json()["usage"]["completion_tokens"], 298);
    }
    assert!(metric(&server, "vllm:num_preemptions_total").await >= 1.0);
    assert!(server.truth().iter().any(|t| t.preemptions > 0));
    assert!(metric(&server, "vllm:kv_cache_usage_perc").await.abs() < 1e-9, "all blocks are free again");
}

#[tokio::test]
async fn the_first_request_after_boot_is_slow_and_the_second_is_not() {
    let server = server("m --sim-first-request-ms 3000 --sim-speed 20 --no-enable-prefix-caching").await;
    let body = json!({"prompt": "go", "max_tokens": 1});
    for _ in 0..5 {
        post(server.address(), "/v1/completions", &body).await;
    }
    let truth = server.truth();
    let ttft = |i: usize| truth[i].token_ms[0] - truth[i].arrival_ms;
    let later = (1..5).map(ttft).fold(f64::MAX, f64::min);
    assert!(ttft(0) >= 150.0 && later < 150.0, "{} {later}", ttft(0));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let server = server("m --sim-speed 5").await;
    let body = json!({"prompt": "go", "max_tokens": 3000, "ignore_eos": true, "stream": true});
    let at = server.address();
    tokio::select! {
        _ = post(at, "/v1/completions", &body) => panic!("too fast"),
        () = async { while server.truth().first().is_none_or(|t| t.token_ms.is_empty()) { tokio::task::yield_now().await; } } => {}
    }
    while server.truth()[0].end.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.truth()[0].end.as_deref(), Some("abort"));
}

#[tokio::test]
async fn the_truth_page_agrees_with_what_the_client_saw() {
    let server = server("m --sim-speed 2").await;
    let body = json!({"prompt": "go", "max_tokens": 10, "ignore_eos": true, "stream": true});
    let reply = post(server.address(), "/v1/completions", &body).await;
    let page = get(server.address(), "/sim/truth").await.json();
    let entry = &page["requests"][0];
    assert_eq!(entry["end"], "length");
    let stamps = |key: &str| entry[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let (tokens, written) = (stamps("token_ms"), stamps("written_ms"));
    assert_eq!((tokens.len(), written.len()), (10, 10));
    assert!(tokens.iter().zip(&written).all(|(t, w)| w >= t));
    let seen_ms = (reply.last.unwrap() - reply.first.unwrap()).as_secs_f64() * 1e3;
    assert!((seen_ms - (written[9] - written[0])).abs() < 200.0, "{seen_ms} {written:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_plan_of_steps() {
    let args = SimArgs::parse(vec!["m".to_owned()]).unwrap();
    let speed = Speed::of(&args, &Memory::plan(&args));
    let load = StepLoad { decode_seqs: 3, decode_context_tokens: 900, ..StepLoad::default() };
    assert_eq!(speed.step(&load), speed.step(&load));
    // Answers follow the seed through a whole server.
    let mut texts = Vec::new();
    for seed in ["7", "7", "8"] {
        let server = spawn(&["m", "--sim-speed", "50", "--sim-seed", seed]).await.unwrap();
        let body = json!({"messages": user("Tell me about queues"), "max_tokens": 40});
        texts.push(post(server.address(), "/v1/chat/completions", &body).await.json()["choices"].clone());
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}
