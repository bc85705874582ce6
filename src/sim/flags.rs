//! The command line of `vllm serve` as argparse reads it: known flags, their kinds, and vLLM's error messages.

use serde_json::Value as Json;

use crate::domain::{FlagKind, FlagName, known_flag};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// `--x` or `--no-x`.
    Toggle,
    /// `--x`.
    Switch,
    Int,
    /// An integer that may be written `32k` or `1.5G` (capital: powers of 1024).
    HumanInt,
    /// The same, or `auto`.
    HumanIntOrAuto,
    Float,
    Text,
    Choice(&'static [&'static str]),
    /// One or more words.
    Many,
    Json,
}

/// A flag's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Many(Vec<String>),
    Json(Json),
}

impl Value {
    /// As Python prints it.
    pub(super) fn python(&self) -> String {
        match self {
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Int(n) => n.to_string(),
            Self::Float(x) => python_float(*x),
            Self::Text(text) => python_str(text),
            Self::Many(items) => {
                let items: Vec<String> = items.iter().map(|i| python_str(i)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Json(json) => python_json(json),
        }
    }
}

/// `repr` of a Python float.
pub(super) fn python_float(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e16 { format!("{x:.1}") } else { x.to_string() }
}

/// `str(round(x, 2))` in Python: how vLLM prints GiB.
pub(super) fn gib(x: f64) -> String {
    python_float((x * 100.0).round() / 100.0)
}

fn python_str(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

fn python_json(json: &Json) -> String {
    match json {
        Json::Null => "None".to_owned(),
        Json::Bool(b) => Value::Bool(*b).python(),
        Json::Number(n) => n.to_string(),
        Json::String(s) => python_str(s),
        Json::Array(items) => format!("[{}]", items.iter().map(python_json).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let items: Vec<String> =
                map.iter().map(|(k, v)| format!("{}: {}", python_str(k), python_json(v))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// What makes a start end before it begins: text for stderr and exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UsageError(pub(super) String);

/// argparse's complaint about one argument.
fn bad(flag: &str, what: &str) -> UsageError {
    UsageError(format!("usage: vllm serve [model_tag] [options]\nvllm serve: error: argument {flag}: {what}"))
}

fn unrecognized(words: &[String]) -> UsageError {
    UsageError(format!(
        "usage: vllm [-h] [-v]\n            {{chat,complete,serve,launch,bench,collect-env,download-kernels,preload,run-batch,snapshot}}\n            ...\nvllm: error: unrecognized arguments: {}",
        words.join(" ")
    ))
}

const KV_DTYPES: &[&str] = &["auto", "bfloat16", "fp8", "fp8_ds_mla", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "float16"];
const DTYPES: &[&str] = &["auto", "bfloat16", "float", "float16", "float32", "half"];

/// The flags of vLLM 0.32 that the simulated engine accepts: name, aliases, kind. Those that the model does not use are
/// accepted, checked for their form, and shown in the log.
const FLAGS: &[(&str, &[&str], Kind)] = &[
    ("model", &[], Kind::Text),
    ("served-model-name", &[], Kind::Many),
    ("host", &[], Kind::Text),
    ("port", &[], Kind::Int),
    ("uvicorn-log-level", &[], Kind::Choice(&["critical", "debug", "error", "info", "trace", "warning"])),
    ("disable-uvicorn-access-log", &[], Kind::Toggle),
    ("disable-fastapi-docs", &[], Kind::Toggle),
    ("allowed-origins", &[], Kind::Json),
    ("root-path", &[], Kind::Text),
    ("api-key", &[], Kind::Many),
    ("chat-template", &[], Kind::Text),
    ("chat-template-content-format", &[], Kind::Choice(&["auto", "openai", "string"])),
    ("response-role", &[], Kind::Text),
    ("return-tokens-as-token-ids", &[], Kind::Toggle),
    ("enable-auto-tool-choice", &[], Kind::Toggle),
    ("tool-call-parser", &[], Kind::Text),
    ("tool-parser-plugin", &[], Kind::Text),
    ("reasoning-parser", &[], Kind::Text),
    ("enable-log-requests", &[], Kind::Toggle),
    ("enable-log-outputs", &[], Kind::Toggle),
    ("max-log-len", &[], Kind::Int),
    ("enable-prompt-tokens-details", &[], Kind::Toggle),
    ("enable-server-load-tracking", &[], Kind::Toggle),
    ("enable-force-include-usage", &[], Kind::Toggle),
    ("enable-request-id-headers", &[], Kind::Toggle),
    ("enable-tokenizer-info-endpoint", &[], Kind::Toggle),
    ("gpu-memory-utilization", &[], Kind::Float),
    ("enable-prefix-caching", &[], Kind::Toggle),
    ("enable-chunked-prefill", &[], Kind::Toggle),
    ("enforce-eager", &[], Kind::Toggle),
    ("async-scheduling", &[], Kind::Toggle),
    ("enable-expert-parallel", &["ep"], Kind::Toggle),
    ("trust-remote-code", &[], Kind::Toggle),
    ("disable-log-stats", &[], Kind::Toggle),
    ("disable-custom-all-reduce", &[], Kind::Toggle),
    ("calculate-kv-scales", &[], Kind::Toggle),
    ("disable-sliding-window", &[], Kind::Toggle),
    ("disable-cascade-attn", &[], Kind::Toggle),
    ("disable-hybrid-kv-cache-manager", &[], Kind::Toggle),
    ("enable-sleep-mode", &[], Kind::Toggle),
    ("skip-tokenizer-init", &[], Kind::Toggle),
    ("language-model-only", &[], Kind::Toggle),
    ("max-model-len", &[], Kind::HumanIntOrAuto),
    ("max-num-seqs", &[], Kind::HumanInt),
    ("max-num-batched-tokens", &[], Kind::HumanInt),
    ("max-num-partial-prefills", &[], Kind::Int),
    ("max-long-partial-prefills", &[], Kind::Int),
    ("long-prefill-token-threshold", &[], Kind::Int),
    ("max-logprobs", &[], Kind::Int),
    ("max-seq-len-to-capture", &[], Kind::Int),
    ("stream-interval", &[], Kind::Int),
    ("block-size", &[], Kind::Int),
    ("num-gpu-blocks-override", &[], Kind::Int),
    ("kv-cache-dtype", &[], Kind::Choice(KV_DTYPES)),
    ("kv-cache-memory-bytes", &["kv-cache-memory"], Kind::HumanInt),
    ("dtype", &[], Kind::Choice(DTYPES)),
    ("quantization", &["q"], Kind::Text),
    ("tensor-parallel-size", &["tp"], Kind::Int),
    ("pipeline-parallel-size", &["pp"], Kind::Int),
    ("data-parallel-size", &["dp"], Kind::Int),
    ("swap-space", &[], Kind::Float),
    ("cpu-offload-gb", &[], Kind::Float),
    ("seed", &[], Kind::Int),
    ("revision", &[], Kind::Text),
    ("code-revision", &[], Kind::Text),
    ("tokenizer", &[], Kind::Text),
    ("tokenizer-mode", &[], Kind::Text),
    ("tokenizer-revision", &[], Kind::Text),
    ("hf-config-path", &[], Kind::Text),
    ("download-dir", &[], Kind::Text),
    ("load-format", &[], Kind::Text),
    ("config-format", &[], Kind::Text),
    ("safetensors-load-strategy", &[], Kind::Text),
    ("generation-config", &[], Kind::Text),
    ("runner", &[], Kind::Choice(&["auto", "draft", "generate", "pooling"])),
    ("distributed-executor-backend", &[], Kind::Text),
    ("attention-backend", &[], Kind::Text),
    ("scheduling-policy", &[], Kind::Choice(&["fcfs", "priority"])),
    ("prefix-caching-hash-algo", &[], Kind::Choice(&["sha256", "sha256_cbor", "xxhash", "xxhash_cbor"])),
    ("performance-mode", &[], Kind::Choice(&["balanced", "interactivity", "throughput"])),
    ("optimization-level", &["O"], Kind::Text),
    ("speculative-config", &["sc"], Kind::Json),
    ("compilation-config", &["cc"], Kind::Json),
    ("kernel-config", &[], Kind::Json),
    ("structured-outputs-config", &[], Kind::Json),
    ("hf-overrides", &[], Kind::Json),
    ("rope-scaling", &[], Kind::Json),
    ("rope-theta", &[], Kind::Float),
    ("override-generation-config", &[], Kind::Json),
    ("default-chat-template-kwargs", &[], Kind::Json),
    ("model-loader-extra-config", &[], Kind::Json),
    ("limit-mm-per-prompt", &[], Kind::Json),
    ("kv-transfer-config", &[], Kind::Json),
    ("sim-gpu-memory-gib", &[], Kind::Float),
    ("sim-gpu-used-gib", &[], Kind::Float),
    ("sim-gpus", &[], Kind::Int),
    ("sim-model-weights-gib", &[], Kind::Float),
    ("sim-kv-kib-per-token", &[], Kind::Float),
    ("sim-derived-max-model-len", &[], Kind::HumanInt),
    ("sim-bandwidth-gib-s", &[], Kind::Float),
    ("sim-prefill-tokens-per-s", &[], Kind::Float),
    ("sim-step-overhead-ms", &[], Kind::Float),
    ("sim-first-request-ms", &[], Kind::Float),
    ("sim-noise", &[], Kind::Float),
    ("sim-start-noise", &[], Kind::Float),
    ("sim-seed", &[], Kind::Int),
    ("sim-speed", &[], Kind::Float),
    ("sim-boot-seconds", &[], Kind::Float),
    ("sim-quality", &[], Kind::Float),
    ("sim-fail", &[], Kind::Text),
    ("sim-fail-while", &[], Kind::Text),
    ("sim-truth-requests", &[], Kind::Int),
];

/// The flags of a command line, each with its last value, in the order of the table; and the positional model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) model_tag: Option<String>,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Parsed {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

/// Reads a command line as `vllm serve` does.
pub(super) fn parse(words: Vec<String>) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed::default();
    let mut unknown = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if !is_flag(&word) {
            match parsed.model_tag {
                None => parsed.model_tag = Some(word),
                Some(_) => unknown.push(word),
            }
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        let plain = name.trim_start_matches('-').replace('_', "-");
        let Some((canonical, kind, negated)) = find(&plain) else {
            unknown.push(word);
            continue;
        };
        let mut values: Vec<String> = inline.iter().cloned().collect();
        let takes = match kind {
            Kind::Toggle | Kind::Switch => 0,
            Kind::Many => usize::MAX,
            Kind::Int
            | Kind::HumanInt
            | Kind::HumanIntOrAuto
            | Kind::Float
            | Kind::Text
            | Kind::Choice(_)
            | Kind::Json => 1,
        };
        while values.len() < takes && inline.is_none() && words.peek().is_some_and(|w| !is_flag(w)) {
            values.extend(words.next());
        }
        let value = read(&display(canonical, kind), kind, &values, negated)?;
        match parsed.values.iter_mut().find(|(n, _)| *n == canonical) {
            Some((_, slot)) => *slot = value,
            None => parsed.values.push((canonical, value)),
        }
    }
    if !unknown.is_empty() {
        return Err(unrecognized(&unknown));
    }
    let place = |name: &str| FLAGS.iter().position(|(n, _, _)| *n == name);
    parsed.values.sort_by_key(|(name, _)| place(name));
    Ok(parsed)
}

/// A word that argparse takes for a flag: a dash in front, and no negative number.
fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err()
}

/// The canonical name, kind, and whether it is the negative form.
fn find(plain: &str) -> Option<(&'static str, Kind, bool)> {
    let exact = FLAGS.iter().find(|(name, aliases, _)| *name == plain || aliases.contains(&plain));
    if let Some((name, _, kind)) = exact {
        return Some((name, *kind, false));
    }
    let negative = plain.strip_prefix("no-").and_then(|positive| {
        FLAGS.iter().find(|(name, _, kind)| *name == positive && *kind == Kind::Toggle).map(|(n, _, k)| (*n, *k, true))
    });
    negative.or_else(|| without_effect(plain))
}

/// A flag of vLLM that the simulation takes and has no model for.
fn without_effect(plain: &str) -> Option<(&'static str, Kind, bool)> {
    let (name, negated) = FlagName::parse_negated(plain);
    let known = known_flag(name.as_str())?;
    let kind = match known.kind {
        FlagKind::Toggle => Kind::Toggle,
        FlagKind::Switch => Kind::Switch,
        FlagKind::Value => Kind::Text,
        FlagKind::Many => Kind::Many,
        FlagKind::Json => Kind::Json,
    };
    Some((known.name, kind, negated))
}

/// The argument as argparse names it in an error.
fn display(name: &str, kind: Kind) -> String {
    let aliases = FLAGS.iter().find(|(n, _, _)| *n == name).map_or(&[][..], |(_, aliases, _)| *aliases);
    let mut text = format!("--{name}");
    if kind == Kind::Toggle {
        text.push_str(&format!("/--no-{name}"));
    }
    for alias in aliases {
        text.push_str(&format!("/-{alias}"));
    }
    text
}

fn read(flag: &str, kind: Kind, values: &[String], negated: bool) -> Result<Value, UsageError> {
    let one = || values.first().map(String::as_str).ok_or_else(|| bad(flag, "expected one argument"));
    match kind {
        Kind::Toggle | Kind::Switch => match values.first() {
            Some(value) => Err(bad(flag, &format!("ignored explicit argument '{value}'"))),
            None => Ok(Value::Bool(!negated)),
        },
        Kind::Int => {
            let text = one()?;
            text.parse().map(Value::Int).map_err(|_| bad(flag, &format!("invalid int value: '{text}'")))
        }
        Kind::HumanInt => {
            let text = one()?;
            human_int(text)
                .map(Value::Int)
                .ok_or_else(|| bad(flag, &format!("invalid human_readable_int value: '{text}'")))
        }
        Kind::HumanIntOrAuto => match one()? {
            "auto" | "-1" => Ok(Value::Int(-1)),
            text => human_int(text)
                .map(Value::Int)
                .ok_or_else(|| bad(flag, &format!("invalid human_readable_int_or_auto value: '{text}'"))),
        },
        Kind::Float => {
            let text = one()?;
            text.parse().map(Value::Float).map_err(|_| bad(flag, &format!("invalid float value: '{text}'")))
        }
        Kind::Text => one().map(|text| Value::Text(text.to_owned())),
        Kind::Choice(allowed) => {
            let text = one()?;
            if allowed.contains(&text) {
                return Ok(Value::Text(text.to_owned()));
            }
            let quoted: Vec<String> = allowed.iter().map(|a| format!("'{a}'")).collect();
            Err(bad(flag, &format!("invalid choice: '{text}' (choose from {})", quoted.join(", "))))
        }
        Kind::Many => match values {
            [] => Err(bad(flag, "expected at least one argument")),
            some => Ok(Value::Many(some.to_vec())),
        },
        Kind::Json => {
            let text = one()?;
            serde_json::from_str(text).map(Value::Json).map_err(|_| {
                bad(flag, &format!("Value {text} cannot be converted to <function loads at 0x7f0000000000>."))
            })
        }
    }
}

/// `4096`, `32k` (thousands), `32K` (1024s), `1.5G`.
fn human_int(text: &str) -> Option<i64> {
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    let unit = text.chars().last()?;
    let power = match unit.to_ascii_lowercase() {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        _ => return None,
    };
    let base: f64 = if unit.is_ascii_lowercase() { 1_000.0 } else { 1_024.0 };
    let number: f64 = text[..text.len() - 1].parse().ok()?;
    Some((number * base.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Parsed, String> {
        parse(text.split_whitespace().map(str::to_owned).collect()).map_err(|UsageError(e)| e)
    }

    #[test]
    fn every_spelling_of_a_flag_is_read() {
        let parsed =
            parse_text("m --max_model_len 32k --gpu-memory-utilization=0.9 --no_enable_prefix_caching -tp 2").unwrap();
        assert_eq!(parsed.model_tag.as_deref(), Some("m"));
        assert_eq!(parsed.get("max-model-len"), Some(&Value::Int(32_000)));
        assert_eq!(parsed.get("gpu-memory-utilization"), Some(&Value::Float(0.9)));
        assert_eq!(parsed.get("enable-prefix-caching"), Some(&Value::Bool(false)));
        assert_eq!(parsed.get("tensor-parallel-size"), Some(&Value::Int(2)));
        assert_eq!(
            parse_text("--served-model-name a b --port 1").unwrap().get("served-model-name"),
            Some(&Value::Many(vec!["a".into(), "b".into()]))
        );
    }

    #[test]
    fn an_unknown_flag_is_an_error_in_argparse_words() {
        let error = parse_text("m --enable-chunky-prefill --port 1").unwrap_err();
        assert!(error.ends_with("vllm: error: unrecognized arguments: --enable-chunky-prefill"), "{error}");
    }

    #[test]
    fn a_toggle_takes_no_value() {
        let error = parse_text("m --enable-chunked-prefill true").unwrap_err();
        assert!(error.ends_with("vllm: error: unrecognized arguments: true"), "{error}");
        let error = parse_text("m --enable-chunked-prefill=true").unwrap_err();
        assert!(error.contains("ignored explicit argument 'true'"), "{error}");
    }

    #[test]
    fn bad_values_are_errors_in_argparse_words() {
        let error = parse_text("m --max-model-len banana").unwrap_err();
        assert!(
            error.ends_with("argument --max-model-len: invalid human_readable_int_or_auto value: 'banana'"),
            "{error}"
        );
        assert!(
            parse_text("m --kv-cache-dtype fp3")
                .unwrap_err()
                .contains("argument --kv-cache-dtype: invalid choice: 'fp3'")
        );
        assert!(
            parse_text("m --speculative-config {bad").unwrap_err().contains("--speculative-config/-sc: Value {bad")
        );
        assert!(parse_text("m --port").unwrap_err().contains("expected one argument"));
        assert!(parse_text("m --api-key --port 1").unwrap_err().contains("expected at least one argument"));
    }

    #[test]
    fn every_flag_that_vgrid_knows_is_accepted() {
        for known in crate::domain::KNOWN_FLAGS {
            assert!(find(known.name).is_some(), "{}", known.name);
        }
    }

    #[test]
    fn python_spelling_of_values_is_pythons() {
        assert_eq!(gib(93.0), "93.0");
        assert_eq!(gib(54.336), "54.34");
        assert_eq!(Value::Text("it's".into()).python(), "'it\\'s'");
        assert_eq!(Value::Json(serde_json::json!({"a": [true, null]})).python(), "{'a': [True, None]}");
    }
}
