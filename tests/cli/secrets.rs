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

/// Fails when a file of the folder or below has a planted key in its bytes. `runs.db-wal` is among them.
fn search(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, found);
            continue;
        }
        if ["grid.yaml", "keys.env"].iter().any(|own| path.ends_with(own)) {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let has = |key: &&&str| bytes.windows(key.len()).any(|w| w == key.as_bytes());
        found.extend(PLANTED.iter().filter(has).map(|key| format!("{key} in {}", path.display())));
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
        let shown = |key: &&&str| done.stdout.contains(**key) || done.stderr.contains(**key);
        found.extend(PLANTED.iter().filter(shown).map(|key| format!("{key} printed by {args:?}")));
    }
    search(scene.folder(), &mut found);
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
