//! What is masked, and what stays.

use proptest::prelude::*;

use super::*;

#[test]
fn every_occurrence_is_replaced_and_the_longer_secret_goes_first() {
    let r = Redactor::new(["abcd".to_owned(), "abcd-efgh".to_owned(), "x".to_owned()]);
    assert_eq!(r.apply("key=abcd-efgh, other=abcd x"), "key=***, other=*** x");
    assert!(matches!(r.apply("nothing here"), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_secret_that_an_error_body_quotes_is_found_in_its_json_spelling() {
    let r = Redactor::new(["se\"cr\\et".to_owned()]).with(["more\n1".to_owned()]);
    let body = serde_json::json!({"error": "bad key se\"cr\\et and more\n1"}).to_string();
    assert_eq!(r.apply(&body), r#"{"error":"bad key *** and ***"}"#);
}

#[test]
fn a_foreign_text_shows_its_own_secrets_and_ordinary_words_stay() {
    let text = "vllm serve --api-key my-own-key-1 --port 8000\nHF_TOKEN=plainvalue99 x\nargs: Namespace(api_key='sk-namespace-22', tokenizer='m')\n\
                {'api_key': ['listed-key-3']}\nAuthorization: Bearer abc.def-456\nsaw hf_AbCdEfGhIjKlMnOp\n\
                error: argument --api-key: expected one argument\nin hf_raise_for_status, eos_token='</sentence>'\n\
                error: unrecognized arguments: --max-num-batched-tokens 8192\nset HF_TOKEN or log in; api_key=None\n";
    let shown = Redactor::of_text(text).apply(text).into_owned();
    for secret in ["my-own-key-1", "plainvalue99", "sk-namespace-22", "abc.def-456", "hf_AbCd"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    for kept in [
        "--port 8000",
        "tokenizer='m'",
        "--max-num-batched-tokens 8192",
        "set HF_TOKEN or log in",
        "api_key=None",
        "expected one argument",
    ] {
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    assert_eq!(format!("{:?}", Redactor::new(["abcd".to_owned()])), "Redactor(1 secrets)");
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_password_in_an_address_is_masked_and_the_rest_of_it_stays() {
    for (value, shown) in [
        ("http://u:pw@h:3128", "http://u:***@h:3128"),
        ("redis://:p@ss@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://:a/b@h", "redis://:***@h"),
        ("https://0123456789abcdef0123@sentry.example/4", "https://***@sentry.example/4"),
        ("http://a:8000,http://u:k1@b:8000", "http://a:8000,http://u:***@b:8000"),
        ("postgresql+psycopg://u:${PW}@h/db", "postgresql+psycopg://u:${PW}@h/db"),
        ("http://host:8000/v1/users/me@example.org", "http://host:8000/v1/users/me@example.org"),
        ("ssh://git@github.com/o/r", "ssh://git@github.com/o/r"),
        ("tcp://127.0.0.1:29500", "tcp://127.0.0.1:29500"),
    ] {
        assert_eq!(Redactor::shown("ANY", value), shown);
        assert_eq!(Redactor::default().apply(value), shown);
    }
}

#[test]
fn secrets_within_json_headers_and_command_lines_are_masked_where_they_stand() {
    for (value, shown) in [
        (r#"{"password":"a","top_k":1}"#, r#"{"password":"***","top_k":1}"#),
        (
            r#"{"a":{"apiKey": "k\"x", "tokens":["t"]},"auth":"b"}"#,
            r#"{"a":{"apiKey": "***", "tokens":["t"]},"auth":"***"}"#,
        ),
        (r#"{"api_keys": ["a", "b"], "n": 2}"#, r#"{"api_keys": ["***", "***"], "n": 2}"#),
        (r#"{"password": 1234, "eos_token": "</s>"}"#, r#"{"password": ***, "eos_token": "</s>"}"#),
        (r#"{\"token\": \"t\"}"#, r#"{\"token\": \"***\"}"#),
        ("api-key=k1,authorization=Basic eHg6eXk=", "api-key=***,authorization=Basic ***"),
        ("Authorization: Bearer t", "Authorization: Bearer ***"),
        ("X-Api-Key: k", "X-Api-Key: ***"),
        (
            "DB_PASS=p1 exec vllm serve m --hf-token t1 --port 1",
            "DB_PASS=*** exec vllm serve m --hf-token *** --port 1",
        ),
        ("http://h/cb?token=t&sig=1", "http://h/cb?token=***&sig=1"),
        ("vllm serve --api-key $VLLM_API_KEY", "vllm serve --api-key $VLLM_API_KEY"),
    ] {
        assert_eq!(Redactor::shown("ANY", value), shown);
    }
}

#[test]
fn a_secret_by_name_is_masked_whole_however_short() {
    assert_eq!(Redactor::shown("DB_PASS", "k7"), "***");
    assert_eq!(Redactor::shown("--no-such-secret", "1"), "***");
    assert_eq!(Redactor::shown("HF_TOKEN", ""), "");
    let line = words(&[
        "vllm",
        "serve",
        "m",
        "--api-key",
        "k7",
        "k8",
        "--my-token=t",
        "--max-num-seqs",
        "8",
        "--override-generation-config",
        r#"{"password":"p"}"#,
    ]);
    let shown = words(&[
        "vllm",
        "serve",
        "m",
        "--api-key",
        "***",
        "***",
        "--my-token=***",
        "--max-num-seqs",
        "8",
        "--override-generation-config",
        r#"{"password":"***"}"#,
    ]);
    assert_eq!(Redactor::shown_words(&line), shown);
    assert_eq!(Redactor::secrets_in_words(&line), ["k7", "k8", "t", "p"]);
}

#[test]
fn a_grid_s_text_keeps_its_shape_and_the_names_of_variables() {
    let grid = "deployment:
  env_files: keys.env
  process:
    command: [vllm, serve, m, --api-key, k7, \"--my-token=t1\"]
    env: { VLLM_API_KEY: a1, DSN: \"redis://:b1@h\", HF_TOKEN: \"${HF}\", PROXY: http://u:c1@h }
    # api-key: of no use
axes:
  api-key:
    - d1
    - d2
  max-num-batched-tokens: [2048, 4096]
base:
  flags: { api-key: default, override-generation-config: { password: e1, top_k: 1 } }
  env:
    PGPASS: f1   # the database's
    TEXT: |
      a: b
notify: [{ url: \"${URL}\" }]
";
    let shown = Redactor::default().apply_to_config(grid).into_owned();
    for secret in ["k7", "t1", "a1", "b1", "c1", "d1", "d2", "e1", "f1"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    for kept in [
        "--api-key, ***, \"--my-token=***\"]",
        "VLLM_API_KEY: ***, DSN: \"***\", HF_TOKEN: \"${HF}\", PROXY: http://u:***@h }",
        "    - ***\n    - ***\n  max-num-batched-tokens: [2048, 4096]",
        "{ api-key: default, override-generation-config: { password: ***, top_k: 1 } }",
        "PGPASS: ***   # the database's\n    TEXT: |\n      a: b\n",
    ] {
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
    assert_eq!(Redactor::default().apply_to_config(&shown), shown, "what is masked stays as it is");
}

#[test]
fn tokens_of_known_shapes_and_private_keys_are_masked_anywhere() {
    let tokens = [
        "hf_AbCdEfGhIjKlMnOpQr",
        "sk-proj-0123456789abcdef",
        "ghp_0123456789abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-1234567890-abc",
        "nvapi-0123456789abcdefgh",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.SflKxwRJSMeKKF2QT4",
    ];
    for token in tokens {
        assert_eq!(Redactor::default().apply(&format!("saw {token}, then")), "saw ***, then");
    }
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----";
    assert_eq!(Redactor::shown("ANY", pem), "-----BEGIN RSA PRIVATE KEY-----***\n-----END RSA PRIVATE KEY-----");
}

#[test]
fn nothing_useful_of_an_engine_s_log_is_masked() {
    let log = "(APIServer pid=1) INFO 11-30 01:02:03 [utils.py:233] non-default args: {'model_tag': 'Qwen/Qwen3-0.6B', 'port': 8000, 'api_server_count': 1, 'max_num_batched_tokens': 8192, 'long_prefill_token_threshold': 2048}
INFO [core.py:77] Initializing a V1 LLM engine (v0.32.0) with config: model='m', tokenizer='m', skip_tokenizer_init=False, tokenizer_mode=auto, revision=None, kv_cache_dtype=auto, compilation_config={'pass_config': {'fuse_norm_quant': True}, 'cudagraph_mode': 2}
INFO [gpu_worker.py:276] Available KV cache memory: 4.21 GiB
INFO [kv_cache_utils.py:864] GPU KV cache size: 36,784 tokens
WARNING [tokenizer.py:1] Special tokens: {'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'additional_special_tokens': ['<a>']}
ERROR [core.py:700] KeyError: 'layers.0.self_attn.k_proj.weight', key=cache_key, kv_key=3
  File \"hub.py\", line 12, in get
    token = os.environ.get(\"HF_TOKEN\")
    return client(token=token, api_key=self.api_key)
OSError: You are trying to access a gated repo. Pass a token with `hf auth login` or set HF_TOKEN to a valid one.
error: argument --api-key: expected one argument; usage: vllm serve [--api-key API_KEY [API_KEY ...]] [--ssl-keyfile SSL_KEYFILE]
INFO: 127.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 401 Unauthorized: missing Bearer token, basic auth is off
Using the --api-key argument or VLLM_API_KEY. Bearer authentication is required.
docker run -e \"HF_TOKEN=\", \"-e\", \"A=1\"; api_key='
tcp://127.0.0.1:35671 http://0.0.0.0:8000/v1 file:///models/m@main nccl.key: abc
";
    let shown = Redactor::default().apply(log).into_owned();
    let differ: Vec<_> = log.lines().zip(shown.lines()).filter(|(was, is)| was != is).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn a_line_of_a_file_is_blotted_at_its_length() {
    assert_eq!(blotted("env: { DB_PASS: secret, A: 1 }"), "env: { DB_PASS: ******, A: 1 }");
}

/// A secret that stands in no word of the texts below.
fn secret() -> impl Strategy<Value = String> {
    "[A-Z0-9]{2}[A-Za-z0-9!_~%+-]{6,40}Z9"
}

/// Texts in which a secret's own surroundings give it away.
fn shown_by_its_place(secret: &str) -> Vec<String> {
    let json = serde_json::json!({ "a": [{ "password": secret }], "n": 1 });
    vec![
        format!("connecting to redis://:{secret}@cache:6379/0 now"),
        format!("proxy=http://user:{secret}@proxy:3128"),
        format!("Authorization: Bearer {secret}"),
        format!("{{'authorization': 'Basic {secret}', 'x': 1}}"),
        format!("Namespace(model='m', api_key=['{secret}'], port=1)"),
        format!("env DB_PASS={secret} started"),
        format!("exec vllm serve m --api-key {secret} --port 8000"),
        format!("['serve', '--hf-token', '{secret}', '--port', '1']"),
        format!("error: unrecognized arguments: --no-such-secret {secret}"),
        json.to_string(),
        serde_json::Value::from(json.to_string()).to_string(),
    ]
}

proptest! {
    #[test]
    fn a_known_secret_is_in_no_text_that_was_redacted(
        secret in "\\PC{4,40}",
        before in "\\PC{0,40}",
        after in "\\PC{0,40}",
    ) {
        prop_assume!(secret.trim().len() >= 4 && !secret.contains('*') && !is_nothing(secret.trim()));
        prop_assume!(!NO_SECRETS.contains(&secret.trim().to_lowercase().as_str()));
        let redactor = Redactor::new([secret.clone()]);
        let text = format!("{before}{secret}{after}{secret}");
        prop_assert!(!redactor.apply(&text).contains(&secret));
        prop_assert!(!redactor.apply_to_config(&text).contains(&secret));
        let json = serde_json::json!({ "error": text }).to_string();
        prop_assert!(!redactor.apply(&json).contains(&secret));
    }

    #[test]
    fn an_unknown_secret_is_masked_where_its_surroundings_give_it_away(secret in secret()) {
        for text in shown_by_its_place(&secret) {
            for shown in [Redactor::default().apply(&text), Redactor::shown("ANY", &text)] {
                prop_assert!(!shown.contains(&secret), "{}", shown);
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_fault_and_once_is_enough(text in "([a-zA-Z_]{0,6}(api_key|HF_TOKEN|--api-key|password|://|Bearer |[=:@\"'\\\\{}\\[\\](), \n$-]|é)){0,12}") {
        for reading in [Reading::Text, Reading::Value, Reading::Config] {
            let once = masked(&text, &places(&text, reading)).into_owned();
            prop_assert!(once.len() <= text.len() + 3 * text.len());
        }
        prop_assert!(blotted(&text).len() <= 4 * text.len());
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        prop_assert_eq!(Redactor::shown_words(&words).len(), words.len());
    }
}
