//! Errors: all at once, each with its place, snippet and way out; and never a panic.

use proptest::prelude::*;

use super::*;

#[test]
fn an_unknown_key_shows_its_line_and_its_neighbour() {
    let shown = problems("axis: { max-num-seqs: [1] }\n").to_string();
    assert_eq!(
        shown,
        "error[unknown-key]: unknown key `axis` in the grid
 --> g.yaml:3:1
  |
3 | axis: { max-num-seqs: [1] }
  | ^^^^
  = help: did you mean `axes`?"
    );
}

#[test]
fn a_yaml_boolean_shows_the_three_states() {
    assert_eq!(
        problems("base:\n  flags: { enable-prefix-caching: false }\n").to_string(),
        "error[boolean-flag]: `false` is a YAML boolean, and a flag has three states
 --> g.yaml:4:35
  |
4 |   flags: { enable-prefix-caching: false }
  |                                   ^^^^^
  = help: write `off`; the states are `on`, `off` (sent as --no-enable-prefix-caching) and `default`"
    );
}

#[test]
fn a_wrong_name_inside_an_expression_is_marked_where_it_stands() {
    assert_eq!(
        problems("exclude:\n  - when: flags[\"max-num-sqs\"] > 3 and flagz[\"x\"] == \"on\"\n").to_string(),
        "error[unknown-flag]: no flag `max-num-sqs` in this grid, and vgrid knows none
 --> g.yaml:4:11
  |
4 |   - when: flags[\"max-num-sqs\"] > 3 and flagz[\"x\"] == \"on\"
  |           ^^^^^^^^^^^^^^^^^^^^
  = help: did you mean flags[\"max-num-seqs\"]?

error[unknown-name]: `flagz[\"x\"]` is unknown here
 --> g.yaml:4:40
  |
4 |   - when: flags[\"max-num-sqs\"] > 3 and flagz[\"x\"] == \"on\"
  |                                        ^^^^^^^^^^
  = help: write flags[\"name\"]"
    );
    assert_eq!(
        problems("gates:\n  - 'load.ttft_ms.p59 <= 3'\n").to_string(),
        "error[unknown-statistic]: `p59` is no statistic
 --> g.yaml:4:6
  |
4 |   - 'load.ttft_ms.p59 <= 3'
  |      ^^^^^^^^^^^^^^^^
  = help: did you mean `load.ttft_ms.p50`?"
    );
}

#[test]
fn all_errors_of_a_file_come_at_once() {
    let found = problems(
        "colour: red\nbase: { flagz: {} }\naxes: { max-num-seqs: 3, tp: [] }\nconfigs: [{ flags: { seed: true } }, { name: 'a b' }]\nsuite: fast\nseed: -1\nlimits: { startup: 20, until: 25:00, retries: x, foo: 1 }\norder: random\nobjectives: { a: best load.x }\ngates: [load.x]\nbaseline: [1]\n",
    );
    let codes: Vec<&str> = found.0.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "unknown-key",
            "unknown-key",
            "wrong-type",
            "empty-axis",
            "boolean-flag",
            "missing-key",
            "bad-name",
            "out-of-range",
            "unknown-word",
            "unknown-suite",
            "gate-not-boolean",
            "bad-objective",
            "unknown-key",
            "bad-duration",
            "bad-time",
            "wrong-type",
            "wrong-type",
        ]
    );
    assert!(found.0.iter().all(|d| d.place.is_some() && d.source_line.is_some() && d.help.is_some()), "{found}");
}

#[test]
fn what_is_missing_is_named() {
    let refused =
        |text: &str| parse(Path::new("g.yaml"), text).unwrap_err().0.into_iter().map(|d| d.message).collect::<Vec<_>>();
    assert_eq!(refused("description: x\n"), ["the grid needs `name`", "the grid needs `deployment`"]);
    assert_eq!(refused("name: a\ndeployment: {}\n"), ["`deployment` needs `compose`", "`deployment` needs `service`"]);
    assert_eq!(
        refused("name: a\ndeployment: { process: {} }\n"),
        ["`deployment.process` needs `command`", "`deployment.process` needs `port`"]
    );
    assert_eq!(
        refused("name: a\ndeployment: { process: { command: [x], port: 70000 }, service: s }\n"),
        ["`service` does not go with `process`", "`port` must be from 1 to 65535"]
    );
    assert_eq!(
        refused("name: a\ndeployment: { compose: x, process: {} }\n"),
        ["both `compose` and `process` are given"]
    );
    assert_eq!(refused("[]\n"), ["the grid must be a mapping, this is a list"]);
    assert_eq!(
        refused("name: a\ndeployment: { compose: [], service: s, after: nothing }\n"),
        ["`nothing` is no state after the sweep"]
    );
}

#[test]
fn names_are_unique_and_the_baseline_exists() {
    assert_eq!(codes("configs: [{ name: a }, { name: a }]\n"), ["duplicate-name"]);
    assert_eq!(codes("axes: { max-num-seqs: [1] }\nconfigs: [{ name: seqs1 }]\n"), ["duplicate-name"]);
    assert_eq!(codes("configs: [{ name: safe_one }]\nbaseline: save_one\n"), ["unknown-baseline"]);
    assert_eq!(help("configs: [{ name: safe_one }]\nbaseline: save_one\n"), "did you mean `safe_one`?");
}

#[test]
fn expressions_that_cannot_be_read_say_why() {
    let rule = |when: &str| {
        let found =
            problems(&format!("axes: {{ max-num-seqs: [1] }}\nexclude:\n  - when: >-\n      {when}\n")).0.remove(0);
        (found.code, found.help.unwrap_or_default())
    };
    let seqs = "flags[\"max-num-seqs\"]";
    for (when, code, way_out) in [
        (format!("{seqs} = 3"), "bad-expression", "compare with `==`"),
        (format!("{seqs} & 3"), "bad-expression", "write `and`"),
        (format!("{seqs} | int"), "bad-expression", "write `or`"),
        (format!("{seqs} > \"3"), "bad-expression", "close the quotes"),
        (format!("{seqs} =="), "bad-expression", "compare with"),
        (format!("{seqs} == \"3\""), "number-in-quotes", "without quotes"),
        (format!("{seqs} == on"), "unknown-name", "\"on\""),
        ("max_num_seqs > 3".to_owned(), "unknown-name", "write flags[\"max-num-seqs\"]"),
        ("range(3)".to_owned(), "bad-expression", "there are no functions"),
        ("env[\"X\"] == 1".to_owned(), "unknown-variable", "the grid sets no variables"),
        ("flags[\"no-enable-prefix-caching\"] == \"on\"".to_owned(), "negative-flag", "== \"off\""),
    ] {
        let (found, help) = rule(&when);
        assert_eq!(found, code, "{when}");
        assert!(help.contains(way_out), "{when}: {help}");
    }
}

#[test]
fn gates_are_checked_when_the_grid_is_read() {
    for (gate, code) in [
        ("kv_cahce.ttft_ms.p50 <= 3", "unknown-metric"),
        ("load.p50 <= 3", "unknown-metric"),
        ("1 < 2", "gate-without-metric"),
        ("load.ttft_ms.p50", "gate-not-boolean"),
        ("load.ttft_ms.p50 + 3", "gate-not-boolean"),
        ("baseline > 3", "unknown-metric"),
        ("load.ttft_ms.p50 <= on", "unknown-metric"),
    ] {
        assert_eq!(codes(&format!("gates: ['{gate}']\n")), [code], "{gate}");
    }
    assert_eq!(help("gates: [kv_cahce.ttft_ms.p50 <= 3]\n"), "did you mean `kv_cache`?");
    assert_eq!(help("objectives: { a: minimise load.x }\n"), "did you mean `minimize`?");
}

proptest! {
    #[test]
    fn any_text_after_a_good_start_is_a_grid_or_diagnostics(rest in "[a-z:\\-\\[\\]{}&*!'\"|> \n<0-9.$#,_]{0,120}") {
        let _ = parse(Path::new("g.yaml"), &text(&rest));
    }

    #[test]
    fn any_expression_is_compiled_or_refused(when in "(flags\\[\"seed\"\\]|load\\.x|baseline|[a-z0-9 .\\[\\]()<>=!&|+*/\"'é-]){0,12}") {
        let quoted = serde_json::to_string(&when).unwrap();
        if let Ok(g) = parse(Path::new("g.yaml"), &text(&format!("exclude: [{{ when: {quoted} }}]\n"))) {
            let _ = g.point_at(0);
        }
        if let Ok(g) = parse(Path::new("g.yaml"), &text(&format!("gates: [{quoted}]\n"))) {
            g.gates[0].evaluate(|_| Some(0.0), |_| None);
        }
    }

    #[test]
    fn any_value_anywhere_is_taken_or_refused(
        key in prop::sample::select(vec!["name", "deployment", "base", "axes", "exclude", "configs", "baseline", "order", "suite", "seed", "gates", "objectives", "limits"]),
        value in prop::sample::select(vec!["~", "x", "3", "-1", "1.5", "true", "[]", "{}", "[[]]", "[{}]", "{a: b}", "{a: [1]}", "[a]", "''", "{flags: 1}", "{flags: {a: {b: [~]}}}", "[{name: a, expected: 3}]", "{base: 1}", "{load: {concurrency: []}}"]),
    ) {
        let _ = parse(Path::new("g.yaml"), &format!("{key}: {value}\n"));
        let _ = parse(Path::new("g.yaml"), &text(&format!("x-a: 1\n{key}: {value}\n")));
    }
}
