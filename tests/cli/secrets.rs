//! A planted key is never seen outside of the engine, whatever happens in a sweep.

use std::path::Path;

use super::common::Scene;

/// Every way in which a grid can get a secret.
const PLANTED: [&str; 6] = [
    "sk-of-the-processs-env-1a2b3c",
    "hf-from-an-env-file-4d5e6f",
    "sk-flag-from-an-env-file-7g8h9i",
    "sk-literal-flag-of-a-config-0j1k2l",
    "sk-variable-of-a-config-3m4n5o",
    "sk-from-the-environment-6p7q8r",
];

fn grid(scene: &Scene) -> String {
    let [process, _, _, literal, variable, _] = PLANTED;
    let env = format!("    env: {{ VLLM_API_KEY: {process}, HF_TOKEN: \"${{HF}}\" }}\n  env_files: keys.env\n");
    format!(
        "{}{env}configs:
  - name: plain
  - name: key-by-variable-in-a-flag
    flags: {{ api-key: \"${{FLAG_KEY}}\" }}
  - name: key-by-flag
    flags: {{ api-key: {literal}, max-num-seqs: 8 }}
  - name: key-by-variable
    env: {{ VLLM_API_KEY: {variable} }}
    flags: {{ max-num-seqs: 9 }}
  - name: key-from-the-environment
    flags: {{ api-key: \"${{VGRID_TEST_KEY}}\", max-num-seqs: 10 }}
  - name: fails
    flags: {{ api-key: \"${{FLAG_KEY}}\", tool-call-parser: hermess, enable-auto-tool-choice: on }}
suite: [smoke]
objectives: {{ worth: maximize smoke.passed }}
repeats: off
",
        scene.head(&[])
    )
}

/// Enough of a key to be of use to a thief: a text that is cut in the middle of one shows it too.
fn told_by(key: &str) -> &str {
    &key[..12]
}

/// Finds the planted keys in the bytes of all files of the folder and below. `runs.db-wal` is among them.
fn search(folder: &Path, planted: &[&str], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, planted, found);
            continue;
        }
        if ["grid.yaml", "keys.env"].iter().any(|own| path.ends_with(own)) {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let has = |key: &&&str| bytes.windows(12).any(|w| w == told_by(key).as_bytes());
        found.extend(planted.iter().filter(has).map(|key| format!("{key} in {}", path.display())));
    }
}

#[test]
fn no_key_is_ever_printed_or_stored_and_the_engine_gets_it() {
    let scene = Scene::new();
    scene.write("grid.yaml", &grid(&scene));
    scene.write("keys.env", &format!("HF={}\nFLAG_KEY={}\n", PLANTED[1], PLANTED[2]));
    let commands: &[(&[&str], i32)] = &[
        (&["check", "grid.yaml"], 0),
        (&["check", "grid.yaml", "--json"], 0),
        (&["plan", "grid.yaml"], 0),
        (&["plan", "grid.yaml", "--json"], 0),
        (&["run", "grid.yaml", "--limit", "3"], 0),
        // From the database alone, in which no key stands.
        (&["resume"], 2),
        (&["status"], 0),
        (&["status", "--json"], 0),
        (&["champions"], 0),
        (&["champions", "--json"], 0),
        (&["show", "key-by-flag"], 0),
        (&["show", "key-by-flag", "--json"], 0),
        (&["show", "key-by-variable", "--json"], 0),
        (&["show", "fails"], 0),
        (&["show", "fails", "--json"], 0),
        (&["logs", "key-by-variable-in-a-flag"], 0),
        (&["logs", "fails"], 0),
        (&["run", "grid.yaml"], 2),
        (&["export", "--to", "as-csv"], 0),
        (&["export", "--format", "jsonl", "--to", "as-jsonl"], 0),
        (&["report", "-o", "report.html"], 0),
        (&["report", "--format", "md"], 0),
        (&["report", "--format", "csv"], 0),
        (&["report", "--format", "json"], 0),
        (&["compare", "plain", "key-by-flag", "key-by-variable", "fails", "--all"], 0),
        (&["compare", "plain", "key-from-the-environment", "--json"], 0),
    ];
    let mut found = Vec::new();
    for (args, code) in commands {
        let mut command = scene.vgrid(*args);
        command.env("VGRID_TEST_KEY", PLANTED[5]);
        let done = super::run(command).code(*code);
        let shown = |key: &&&str| format!("{}{}", done.stdout, done.stderr).contains(told_by(key));
        found.extend(PLANTED.iter().filter(shown).map(|key| format!("{key} printed by {args:?}")));
    }
    search(scene.folder(), &PLANTED, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // With a wrong key the engine refuses every request: a measured config is the proof that the right one arrived.
    assert_eq!(
        scene.states(),
        [
            "plain: measured",
            "key-by-variable-in-a-flag: measured",
            "key-by-flag: measured",
            "key-by-variable: measured",
            "key-from-the-environment: measured",
            "fails: failed (bad_argument)",
        ]
    );
}

#[test]
fn no_key_is_shown_when_the_engine_repeats_it_in_the_bodies_of_its_errors() {
    // Long, so that a cut falls into one; and one of them stands in JSON otherwise than it is.
    let long = |start: &str| format!("{start}{}", "0123456789abcdef".repeat(8));
    let planted = ["sk-of-every-request", "hf-in-an-error-\"body\"", "password-of-a-database"].map(long);
    let planted: [&str; 3] = std::array::from_fn(|i| planted[i].as_str());
    let [key, token, password] = planted;
    let scene = Scene::new();
    let env = format!("    env: {{ VLLM_API_KEY: {key}, HF_TOKEN: '{token}', DB_PASSWORD: {password} }}\n");
    let body = "notify: [{ hook: [sh, -c, 'cat > told.json'] }]
configs:
  - { name: at-once, flags: { sim-fail: echo_secrets } }
  - { name: at-its-second-request, flags: { sim-fail: \"echo_secrets:1\" } }
  - { name: in-smoke, flags: { sim-fail: \"echo_secrets:3\" } }
  - { name: in-a-load, flags: { sim-fail: \"echo_secrets:12\" } }
suite:
  - smoke
  - load: { concurrency: [2], requests_per_user: 6, prompt_tokens: 64, output_tokens: 8 }
limits: { retries: 0, startup: 10s, identical_failures: 10 }
repeats: off
";
    scene.write("grid.yaml", &format!("{}{env}{body}", scene.head(&[])));
    let mut found = Vec::new();
    let mut said = String::new();
    let sweep: &[&str] = &["run", "grid.yaml"];
    let names = ["at-once", "at-its-second-request", "in-smoke", "in-a-load"];
    let readers = names.iter().flat_map(|name| [vec!["show", name], vec!["show", name, "--json"], vec!["logs", name]]);
    let others: [&[&str]; 8] = [
        &["status", "--json"],
        &["champions", "--json"],
        &["report", "-o", "report.html"],
        &["report", "--format", "md"],
        &["report", "--format", "json"],
        &["export", "--to", "as-csv"],
        &["export", "--format", "jsonl", "--to", "as-jsonl"],
        &["promote", "in-a-load", "--dry-run", "--force"],
    ];
    for args in std::iter::once(sweep.to_vec()).chain(readers).chain(others.map(<[&str]>::to_vec)) {
        let done = scene.run(&args);
        let all = format!("{}{}", done.stdout, done.stderr);
        let shown = planted.iter().filter(|key| all.contains(told_by(key)));
        found.extend(shown.map(|key| format!("{key} printed by {args:?}")));
        said.push_str(&all);
    }
    search(scene.folder(), &planted, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The bodies did arrive, and are told without the keys.
    assert_eq!(scene.count("SELECT count(*) FROM failures WHERE evidence LIKE '%DB_PASSWORD=***%'"), 3, "{said}");
    let kept = "SELECT count(*) FROM request WHERE error LIKE '%HF_TOKEN=***%Bearer ***%'";
    assert!(scene.count(kept) > 0, "{said}");
    assert!(said.contains("HF_TOKEN=***"), "{said}");
}

/// What a name, an address, a header or JSON gives away, and where it is planted below.
const BY_THEIR_PLACE: [&str; 16] = [
    "Pw1-of-a-proxys-address",
    "Tok2-of-an-authorization",
    "Pw3-of-db-pass-variable",
    "Au4-of-lmcache-auth-var",
    "Pw5-of-a-cache-address-dsn",
    "Ph6-of-a-passphrase-var",
    "Pg7-of-pgpass-variable",
    "Wk8-of-wandb-key-variable",
    "Ba9-of-otlp-headers-var",
    "Ef10-of-an-env-files-cache",
    "Js11-in-the-json-of-a-flag",
    "Ax12-in-the-json-of-an-axis",
    "Uk13-of-an-unknown-flag",
    "Wh14-of-a-webhooks-address",
    "Hk15-in-the-words-of-a-hook",
    "En16-of-the-process-itself",
];

fn by_their_place(scene: &Scene) -> String {
    let [proxy, auth, db, lmcache, dsn, phrase, pgpass, wandb, otlp, _, json, axis, unknown, webhook, hook, _] =
        BY_THEIR_PLACE;
    format!(
        "{}    env:
      HTTPS_PROXY: http://u:{proxy}@127.0.0.1:1
      AUTHORIZATION: Bearer {auth}
      DB_PASS: {db}
      LMCACHE_AUTH: {lmcache}
      CACHE_DSN: \"redis://:{dsn}@h:6379/0\"
      KEY_PASSPHRASE: {phrase}
      PGPASS: {pgpass}
      WANDB_KEY: {wandb}
      OTEL_EXPORTER_OTLP_HEADERS: \"authorization=Basic {otlp}\"
      CACHE_URL: \"redis://:${{CACHE_PW}}@h\"
      SHORT_PASS: kQ7
  env_files: keys.env
notify:
  - {{ url: \"http://127.0.0.1:1/hooks/{webhook}\", retries: 0, timeout: 2s }}
  - {{ hook: [sh, -c, 'env > hook.env; cat > told.json; exit 3', x, --hook-token, {hook}] }}
axes:
  override-generation-config: [{{ password: {axis}, top_k: 1 }}, {{ password: {axis}, top_k: 2 }}]
configs:
  - name: json
    flags: {{ override-generation-config: {{ password: {json} }} }}
  - name: short
    flags: {{ api-key: kQ7, max-num-seqs: 7 }}
  - name: unknown
    flags: {{ no-such-secret: {unknown} }}
  - name: echoes
    flags: {{ sim-fail: \"echo_secrets:1\" }}
suite: [smoke]
objectives: {{ worth: maximize smoke.passed }}
limits: {{ retries: 0, startup: 20s, identical_failures: 10 }}
repeats: off
",
        scene.head(&[])
    )
}

#[test]
fn what_its_place_gives_away_is_hidden_in_every_output_and_so_are_short_keys() {
    let scene = Scene::new();
    scene.write("grid.yaml", &by_their_place(&scene));
    scene.write("keys.env", &format!("CACHE_PW={}\n", BY_THEIR_PLACE[9]));
    let mut found = Vec::new();
    let mut look = |args: &[&str]| {
        let mut command = scene.vgrid(args);
        command.env("VGRID_OTHER_PASSWORD", BY_THEIR_PLACE[15]);
        let done = super::run(command);
        let all = format!("{}{}", done.stdout, done.stderr);
        let shown = BY_THEIR_PLACE.iter().copied().filter(|key| all.contains(told_by(key)));
        let short = std::iter::once("kQ7").filter(|key| all.contains(key));
        found.extend(shown.chain(short).map(|key| format!("{key} printed by {args:?}:\n{all}")));
        done
    };
    for args in [&["check", "grid.yaml"][..], &["plan", "grid.yaml"], &["plan", "grid.yaml", "--json"]] {
        look(args);
    }
    look(&["run", "grid.yaml"]).code(2);
    for name in ["json", "short", "unknown", "echoes"] {
        for args in [&["show", name][..], &["show", name, "--json"], &["logs", name]] {
            look(args);
        }
    }
    for args in [
        &["resume"][..],
        &["status"],
        &["status", "--json"],
        &["champions"],
        &["champions", "--json"],
        &["compare", "json", "short", "--all"],
        &["report", "-o", "report.html"],
        &["report", "--format", "md"],
        &["report", "--format", "json"],
        &["report", "--format", "csv"],
        &["export", "--to", "as-csv"],
        &["export", "--format", "jsonl", "--to", "as-jsonl"],
        &["promote", "json", "--dry-run", "--force"],
    ] {
        look(args);
    }
    search(scene.folder(), &BY_THEIR_PLACE, &mut found);
    let stored = "SELECT count(*) FROM trial t JOIN sweep s ON s.id = t.sweep_id WHERE t.argv_json LIKE '%kQ7%' OR s.grid_text LIKE '%kQ7%'";
    if scene.count(stored) > 0 {
        found.push("the short key is stored".to_owned());
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The engine got the key, and what is no secret is there to be read.
    let states = scene.states();
    for measured in ["json: measured", "short: measured"] {
        assert!(states.iter().any(|state| state == measured), "{states:?}");
    }
    let facts = scene.sql("SELECT grid_text FROM sweep");
    assert!(facts[0].contains("HTTPS_PROXY: http://u:***@127.0.0.1:1"), "{}", facts[0]);
    let hook = std::fs::read_to_string(scene.folder().join("hook.env")).unwrap();
    assert!(hook.contains("PATH=") && hook.contains("VGRID_HAPPENING=end"), "{hook}");
    assert!(!hook.contains("VGRID_OTHER_PASSWORD"), "{hook}");
}

#[test]
fn compose_files_and_lines_with_a_fault_are_shown_without_their_secrets() {
    let scene = Scene::new();
    let planted =
        ["Cw1-in-an-address-of-env", "Cj2-in-a-json-flags-value", "Cd3-of-the-db-pass-word", "Ck4-of-an-api-key-flag"];
    let [address, json, db, key] = planted;
    let compose = format!(
        "name: p
services:
  vllm:
    image: vllm/vllm-openai:v0.10
    command: [--model, m, --api-key, \"${{K}}\", --override-generation-config, '{{\"password\":\"{json}\"}}']
    environment:
      HTTPS_PROXY: http://u:{address}@h:1
      DB_PASS: {db}
"
    );
    scene.write("compose.yml", &compose);
    scene.write(
        "grid.yaml",
        "name: g\ndeployment: { compose: compose.yml, service: vllm }\naxes: { max-num-seqs: [1, 2] }\nsuite: quick\n",
    );
    scene.write("bad.yaml", &format!("name: g\ndeployment: {{ compose: compose.yml, service: vllm }}\nbase: {{ flags: {{ api-key: {key}, enforce-eager: true }} }}\n"));
    let twice = format!(
        "name: g\ndeployment: {{ compose: compose.yml, service: vllm }}\naxes: {{ api-key: [{key}, {key}] }}\n"
    );
    scene.write("twice.yaml", &twice);
    for args in [
        &["plan", "grid.yaml"][..],
        &["plan", "grid.yaml", "--json"],
        &["check", "grid.yaml", "--files-only"],
        &["check", "bad.yaml", "--files-only"],
        &["check", "twice.yaml", "--files-only"],
        &["check", "bad.yaml", "--files-only", "--json"],
        &["init", "-o", "made.yaml"],
        &["compose", "-f", "compose.yml", "--service", "vllm"],
    ] {
        let mut command = scene.vgrid(args);
        command.env("K", key);
        let done = super::run(command);
        let all = format!("{}{}", done.stdout, done.stderr);
        for secret in planted {
            assert!(!all.contains(told_by(secret)), "{secret} printed by {args:?}:\n{all}");
        }
    }
    let made = std::fs::read_to_string(scene.folder().join("made.yaml")).unwrap();
    assert!(planted.iter().all(|secret| !made.contains(told_by(secret))), "{made}");
}

#[test]
fn a_run_of_bench_stores_neither_the_key_nor_what_the_address_holds() {
    let scene = Scene::new();
    scene.write("night.yaml", "smoke: { long_prompt_tokens: 100, output_tokens: 4 }\n");
    let port = scene.port.to_string();
    let flags = ["sim", "m", "--port", &port, "--sim-speed=20", "--sim-boot-seconds=0", "--sim-fail=echo_secrets:1"];
    let sim = scene.start(&flags);
    sim.wait_for("Application startup complete");
    let url = format!("http://me:pass-of-the-address-5e6f@127.0.0.1:{port}/?token=query-of-the-address");
    let planted = [
        "sk-of-the-bench-1a2b3c4d",
        "pass-of-the-address-5e6f",
        "bWU6cGFzcy1vZi10aGUtYWRkcmVzcy01ZTZm",
        "query-of-the-address",
    ];
    for key in [Some(planted[0]), None] {
        let mut command = scene.vgrid(["bench", &url, "--suite", "night.yaml"]);
        command.env_remove("OPENAI_API_KEY").env_remove("VLLM_API_KEY").envs(key.map(|key| ("VLLM_API_KEY", key)));
        let done = super::run(command).code(2);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(planted.iter().all(|secret| !said.contains(told_by(secret))), "{said}");
    }
    assert!(scene.count("SELECT count(*) FROM request WHERE error LIKE '%***%'") >= 2, "the server did repeat them");
    assert_eq!(scene.sql("SELECT DISTINCT grid_name FROM sweep"), [format!("http://127.0.0.1:{port}")]);
    let mut found = Vec::new();
    search(scene.folder(), &planted, &mut found);
    assert!(found.is_empty(), "{found:?}");
    sim.kill();
}
