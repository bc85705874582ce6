//! Values: three states, numbers, lists, JSON, variables.

use super::*;
use crate::domain::{FlagName, FlagValue, Repeats};

fn flag(value: &str) -> FlagValue {
    flag_of("some-flag", value)
}

fn flag_of(name: &str, value: &str) -> FlagValue {
    let g = grid(&format!("base:\n  flags:\n    {name}: {value}\n"));
    g.point_at(0).unwrap().config.settings.flags[&FlagName::new(name)].clone()
}

#[test]
fn a_flag_has_three_states_and_null_is_the_default() {
    assert_eq!(flag_of("enable-prefix-caching", "on"), FlagValue::On);
    assert_eq!(flag_of("enable_prefix_caching", "off"), FlagValue::Off);
    assert_eq!(flag_of("enable-prefix-caching", "default"), FlagValue::Default);
    assert_eq!(flag_of("enable-prefix-caching", "null"), FlagValue::Default);
    assert_eq!(flag_of("max-num-seqs", ""), FlagValue::Default);
}

#[test]
fn numbers_have_their_shortest_text_and_quoted_texts_stay() {
    for (written, text) in [
        ("0.90", "0.9"),
        ("1.0", "1"),
        ("0x10", "16"),
        ("1e-3", "0.001"),
        ("-1", "-1"),
        ("'0.90'", "0.90"),
        ("99999999999999999999999", "99999999999999999999999"),
        ("131072", "131072"),
        (".5", "0.5"),
        ("a b", "a b"),
    ] {
        assert_eq!(flag(written), FlagValue::Value(text.into()), "{written}");
    }
}

#[test]
fn mappings_become_json_with_sorted_keys_and_lists_become_several_values() {
    let json = FlagValue::Value(r#"{"factor":4.0,"rope_type":"yarn"}"#.into());
    assert_eq!(flag_of("rope-scaling", "{ rope_type: yarn, factor: 4.0 }"), json);
    assert_eq!(flag_of("rope-scaling", r#"'{ "rope_type": "yarn", "factor": 4.0 }'"#), json);
    assert_eq!(
        flag_of("compilation-config", "{ b: [1, true, null], a: { d: 1, c: on-x } }"),
        FlagValue::Value(r#"{"a":{"c":"on-x","d":1},"b":[1,true,null]}"#.into())
    );
    assert_eq!(flag_of("served-model-name", "[a, 2]"), FlagValue::Many(vec!["a".into(), "2".into()]));
    assert_eq!(flag_of("served-model-name", "a"), FlagValue::Many(vec!["a".into()]));
    assert_eq!(flag("[a, b]"), FlagValue::Many(vec!["a".into(), "b".into()]));
}

#[test]
fn a_word_in_json_that_looks_like_a_boolean_is_pointed_out() {
    let g = grid("base: { flags: { hf-overrides: { x: on } } }\n");
    assert_eq!(g.warnings.0[0].code, "word-in-json");
}

#[test]
fn wrong_values_name_what_would_be_right() {
    for (flags, code, way_out) in [
        ("enable-prefix-caching: true", "boolean-flag", "write `on`"),
        ("enable-prefix-caching: false", "boolean-flag", "write `off`"),
        ("some-flag: true", "boolean-flag", "write `on`"),
        ("enable-prefix-caching: 'true'", "toggle-with-value", "write `on`"),
        ("enable-prefix-caching: 0", "toggle-with-value", "write `off`"),
        ("enable-prefix-caching: [on, off]", "wrong-type", "write one of the three states"),
        ("max-num-seqs: on", "value-needed", "write the value"),
        ("max-num-seqs: [1, 2]", "wrong-type", "make it an axis"),
        ("max-num-seqs: ''", "empty-value", "`default` to leave the flag out"),
        ("served-model-name: []", "empty-value", "`default` to leave the flag out"),
        ("served-model-name: [a, true]", "wrong-type", "put it in quotes"),
        ("rope-scaling: '{rope_type:yarn}'", "invalid-json", "write it as a YAML mapping"),
        ("no-enable-prefix-caching: on", "negative-flag", "write `enable-prefix-caching: off`"),
        ("model: m", "not-a-flag", "stand beside `flags`"),
        ("env.X: m", "not-a-flag", "stand beside `flags`"),
        ("'max num seqs': 3", "bad-flag-name", "the name as on vLLM's command line"),
    ] {
        let rest = format!("base: {{ flags: {{ {flags} }} }}\n");
        assert_eq!(codes(&rest), [code], "{flags}");
        assert!(help(&rest).contains(way_out), "{flags}: {}", help(&rest));
    }
}

#[test]
fn variables_of_the_environment_hold_text_and_nothing_unclear() {
    let g = grid("base: { env: { A: 8, B: 0.90, C: 'on', D: null, E: default, F: 'default', G: '' } }\n");
    let env = g.point_at(0).unwrap().config.settings.env;
    let get = |name: &str| env[name].clone();
    assert_eq!((get("A"), get("B"), get("C")), (Some("8".into()), Some("0.90".into()), Some("on".into())));
    assert_eq!((get("D"), get("E")), (None, None));
    assert_eq!((get("F"), get("G")), (Some("default".into()), Some(String::new())));
    assert_eq!(codes("base: { env: { A: on } }\n"), ["unclear-env-value"]);
    assert_eq!(codes("base: { env: { A: true } }\n"), ["unclear-env-value"]);
    assert_eq!(codes("base: { env: { 'A B': 1 } }\n"), ["bad-env-name"]);
    assert_eq!(codes("base: { env: { A: [1] } }\n"), ["wrong-type"]);
}

#[test]
fn repeats_are_off_or_a_mapping_over_the_defaults_and_a_grid_with_objectives_has_the_defaults() {
    let repeats = |text: &str| grid(text).repeats;
    assert_eq!(repeats(""), Repeats::OFF);
    assert_eq!(repeats("objectives: { o: maximize smoke.passed }\n"), Repeats::default());
    assert_eq!(repeats("objectives: { o: maximize smoke.passed }\nrepeats: off\n"), Repeats::OFF);
    assert_eq!(repeats("repeats: off\n"), Repeats::OFF);
    assert_eq!(repeats("repeats: {}\n"), Repeats::default());
    let wanted = Repeats { starts: 3, controls_every: 0, finalists: 0, finalist_starts: 2 };
    let written = "repeats: { starts: 3, controls_every: off, finalists: off, finalist_starts: 2 }\n";
    assert_eq!(repeats(written), wanted);
    assert_eq!(codes("repeats: { starts: 0 }\n"), ["out-of-range"]);
    assert_eq!(codes("repeats: { controls_every: 0 }\n"), ["out-of-range"]);
    assert_eq!(codes("repeats: { final: 2 }\n"), ["unknown-key"]);
    assert_eq!(codes("repeats: on\n"), ["unknown-word"]);
}

#[test]
fn two_spellings_of_one_flag_are_one_setting() {
    assert_eq!(codes("base: { flags: { tp: 2, tensor_parallel_size: 2 } }\n"), ["duplicate-setting"]);
    assert_eq!(codes("axes: { tp: [1], tensor-parallel-size: [2] }\n"), ["duplicate-axis"]);
    assert_eq!(codes("axes: { max-model-len: [1.0, 1] }\n"), ["duplicate-value"]);
}

fn with(rest: &str, pairs: &[(&str, &str)]) -> Result<Grid, Diagnostics> {
    grid(rest).interpolated(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

#[test]
fn variables_are_put_in_everywhere_and_the_names_of_points_do_not_change() {
    let rest = "base: { flags: { chat-template: '${DIR}/t.jinja' }, model: '${M:-small}', env: { K: 'a$$b' } }\naxes: { image: ['${I}'] }\n";
    let g = with(rest, &[("DIR", "/srv"), ("I", "vllm:2")]).unwrap();
    let point = g.point_at(0).unwrap();
    assert_eq!(point.config.settings.flags[&FlagName::new("chat-template")], FlagValue::Value("/srv/t.jinja".into()));
    assert_eq!(point.config.settings.model.as_deref(), Some("small"));
    assert_eq!(point.config.settings.env["K"].as_deref(), Some("a$b"));
    assert_eq!(point.config.settings.image.as_deref(), Some("vllm:2"));
    assert_eq!(point.config.name, "image-I");
}

#[test]
fn an_unset_or_empty_variable_is_an_error_with_its_place() {
    let rest = "base:\n  flags:\n    api-key: ${VLLM_KEY}\n    seed: ${EMPTY}\n    port: $PORT\n    tokenizer: ${bad name}\n    revision: '${x'\n";
    let found = with(rest, &[("VLLM_KEYS", "x"), ("EMPTY", "")]).unwrap_err();
    let all: Vec<(usize, &str, &str)> = found
        .0
        .iter()
        .map(|d| (d.place.as_ref().unwrap().line, d.message.as_str(), d.help.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        all,
        [
            (5, "the variable `VLLM_KEY` is not set", "did you mean `VLLM_KEYS`?"),
            (
                6,
                "the variable `EMPTY` is empty",
                "set EMPTY in the environment or in an env file, or write ${EMPTY:-default}"
            ),
            (7, "`$PORT` is not replaced here: a variable stands in braces", "write ${PORT}, or $$ for a dollar sign"),
            (8, "`${bad name}` names no variable", "write ${NAME} or ${NAME:-default}"),
            (9, "`${` has no closing `}`", "write ${NAME}, or $$ for a dollar sign"),
        ]
    );
}

#[test]
fn a_value_that_is_wrong_once_its_variable_is_in_is_found() {
    let rest = "base: { flags: { rope-scaling: '{\"a\": ${X}}' } }\n";
    assert_eq!(
        with(rest, &[("X", "1")]).unwrap().point_at(0).unwrap().config.settings.flags[&FlagName::new("rope-scaling")],
        FlagValue::Value("{\"a\":1}".into())
    );
    assert_eq!(with(rest, &[("X", "{")]).unwrap_err().0[0].code, "invalid-json");
}

#[test]
fn a_process_deployment_keeps_its_words_and_takes_variables() {
    let text = "name: p\ndeployment: { process: { command: [vllm, serve, '${MODEL}', --port, 8000, ''], env: { A: 1 }, port: 8000 }, env_files: [../.env] }\n";
    let g = parse(Path::new("grids/p.yaml"), text).unwrap();
    let g = g.interpolated(&[("MODEL".to_owned(), "/m".to_owned())].into()).unwrap();
    let DeploymentKind::Process(process) = &g.deployment.kind else { panic!("{:?}", g.deployment) };
    let words: Vec<&str> = process.command.iter().map(|w| w.value.as_str()).collect();
    assert_eq!(words, ["vllm", "serve", "/m", "--port", "8000", ""]);
    assert_eq!((process.port, process.env[0].0.as_str(), process.env[0].1.value.as_str()), (8000, "A", "1"));
    assert_eq!(g.deployment.env_files[0].value, Path::new("grids/../.env"));
    assert_eq!(g.deployment.after, After::Restore);
}
