//! The data that ship with vgrid, files that are wrong, and judgements that are easy to get wrong.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::domain::{CanarySpec, ReasoningSpec, ToolCallingSpec};

fn errors<T>(result: Result<T, Diagnostics>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_shipped_data_are_large_enough_and_half_french() {
    let set = CaseSet::shipped();
    assert!(set.tools.cases.len() >= 24 && set.tasks.tasks.len() >= 20 && set.canaries.canaries.len() >= 12);
    for category in ToolCategory::ALL {
        let cases: Vec<_> = set.tools.cases.iter().filter(|case| case.category == *category).collect();
        assert!(cases.len() >= 4, "{category}");
        assert_eq!(cases.iter().filter(|case| case.language == "fr").count() * 2, cases.len(), "{category}");
    }
    assert_eq!(set.tasks.tasks.iter().filter(|task| task.language == "fr").count() * 2, set.tasks.tasks.len());
    assert_eq!(set.canaries.canaries.iter().filter(|c| c.language == "fr").count(), 6);
    assert!(set.tasks.tasks.iter().all(|task| task.prompt.contains("\n\n")), "every language has its instruction");
}

#[test]
fn every_shipped_case_is_passed_by_its_own_expected_answer() {
    let set = CaseSet::shipped();
    for case in &set.tools.cases {
        for step in &case.steps {
            let made: Vec<MadeCall> = step
                .calls
                .iter()
                .rev()
                .map(|call| MadeCall { name: call.name.clone(), arguments: call.sample().to_string() })
                .collect();
            let findings = judge_step(&set.tools, &case.tools, step, &made);
            assert_eq!(findings.problem, None, "{}", case.id);
            assert!(findings.arguments_match && findings.valid_schema == made.len(), "{}", case.id);
        }
    }
    for task in &set.tasks.tasks {
        for text in
            ["Answer: {}", "So:\n\n**Réponse :** {}.", "réponse: $\\boxed{{}}$", "**Answer:**\n{}", "the answer is {}"]
        {
            let text = text.replace("{}", &task.right_answer());
            assert!(task.judge(&text).0, "{}: {text}: {:?}", task.id, task.judge(&text));
        }
        for text in ["Answer: 31415", "", "Answer: none of them", "<think>Answer: {}"] {
            assert!(!task.judge(&text.replace("{}", &task.right_answer())).0, "{}: {text}", task.id);
        }
    }
}

#[test]
fn a_short_run_asks_every_category_in_both_languages() {
    let set = CaseSet::shipped();
    let picked = set.tools.pick(Some(2));
    assert_eq!(picked.len(), 2 * ToolCategory::ALL.len());
    for pair in picked.chunks(2) {
        assert_eq!(pair[0].category, pair[1].category);
        assert_ne!(pair[0].language, pair[1].language);
    }
    assert_eq!(set.tools.pick(None).len(), set.tools.cases.len());
    let french = set.tasks.pick(Some(6)).iter().filter(|task| task.language == "fr").count();
    assert_eq!(french, 3);
    assert_eq!(set.canaries.pick(Some(100)).len(), set.canaries.canaries.len());
}

fn task(answer: &str, language: &str) -> Task {
    let text = format!(
        r#"{{"vgrid_data": "reasoning", "tasks": [{{"id": "t", "language": "{language}", "category": "test", "question": "q", {answer}}}]}}"#
    );
    TaskFile::parse(Path::new("t.json"), &text).unwrap_or_else(|e| panic!("{e}")).tasks.remove(0)
}

#[test]
fn numbers_are_read_as_people_of_the_language_write_them() {
    let cases = [
        ("en", 1234.5, "Answer: 1,234.5"),
        ("en", 1234.0, "Answer: 1,234 euros"),
        ("en", 1.234, "Answer: 1.234"),
        ("fr", 1234.5, "Réponse : 1 234,5 €"),
        ("fr", 1234.5, "Réponse : 1\u{202f}234,50"),
        ("fr", 1234.0, "Réponse : 1.234"),
        ("fr", 19.5, "Réponse : 19,5"),
        ("fr", 19.5, "Réponse : 19.50 €"),
        ("en", -3.0, "Answer: -3"),
        ("en", 24.0, "Answer: 12 * 2 = 24"),
        ("en", 24.0, "first 12, then\n24 apples"),
        ("en", 1_000_000.0, "Answer: 1,000,000"),
    ];
    for (language, number, text) in cases {
        let task = task(&format!("\"number\": {number}"), language);
        assert!(task.judge(text).0, "{language} {number}: {text} gave {:?}", task.judge(text));
    }
    for (number, text) in
        [(5, "Answer: 15"), (5, "Answer: -5"), (5, "Answer: 5.5"), (12, "Answer: 1 2"), (2, "2 + 2\nAnswer: 4")]
    {
        assert!(!task(&format!("\"number\": {number}"), "en").judge(text).0, "{number}: {text}");
    }
}

#[test]
fn a_text_answer_may_be_followed_by_a_remark_and_not_by_another_answer() {
    let task = task(r#""answers": ["Ben"]"#, "en");
    for text in
        ["Answer: Ben", "Answer: **ben**.", "Answer: Ben (he lied)", "Ben", "Ben is out.\n\nAnswer: Ben, because"]
    {
        assert!(task.judge(text).0, "{text}");
    }
    for text in ["Answer: Benjamin", "Answer: Ben or Carl", "Answer: Anna\n", "Ben\nAnswer: Carl", "It was not Ben"] {
        assert!(!task.judge(text).0, "{text}");
    }
}

#[test]
fn canaries_die_of_nonsense_wrong_sums_and_silence() {
    let set = CaseSet::shipped();
    let canary = |id: &str| set.canaries.canaries.iter().find(|c| c.id == id).unwrap();
    for text in ["42", "17 + 25 = 42.", "The result is 42"] {
        assert_eq!(canary("en-sum").problem(text), None, "{text}");
    }
    for text in ["43", "", "<think>42", "forty-two", "42 !!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"] {
        assert!(canary("en-sum").problem(text).is_some(), "{text}");
    }
    assert_eq!(canary("fr-seasons").problem("Printemps, Été, Automne, Hiver."), None);
    assert!(canary("fr-seasons").problem("Printemps, été, hiver.").unwrap().why.contains("automne"));
    assert!(canary("en-prose").problem("Light helps ships.").unwrap().why.contains("3 words"));
    assert!(canary("en-prose").problem(&"light helps ships and ".repeat(20)).unwrap().is_degenerate);
}

fn two_weathers() -> (CaseSet, ToolCase) {
    let set = CaseSet::shipped();
    let case = set.tools.cases.iter().find(|case| case.id == "en-parallel-weather").unwrap().clone();
    (set, case)
}

fn made(name: &str, arguments: &str) -> MadeCall {
    MadeCall { name: name.to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn the_judgement_of_calls_says_what_is_wrong_first() {
    let (set, case) = two_weathers();
    let judge = |calls: &[MadeCall]| judge_step(&set.tools, &case.tools, &case.steps[0], calls);
    let oslo = made("get_weather", r#"{"city": "oslo", "unit": "celsius"}"#);
    let right = judge(&[made("get_weather", r#"{"unit":"celsius","city":"Madrid, Spain"}"#), oslo.clone()]);
    assert!(right.right_tools && right.arguments_match && right.problem.is_none(), "{right:?}");
    assert_eq!((right.calls, right.valid_json, right.valid_schema), (2, 2, 2));

    let one = judge(std::slice::from_ref(&oslo));
    assert!(!one.right_tools && one.problem.unwrap().contains("expected get_weather, get_weather"));
    let twice = judge(&[oslo.clone(), oslo.clone()]);
    assert!(twice.right_tools && !twice.arguments_match, "each call counts once: {twice:?}");
    let broken = judge(&[oslo.clone(), made("get_weather", r#"{"city": "Madrid""#)]);
    assert_eq!((broken.valid_json, broken.arguments_match), (1, false));
    assert!(broken.problem.unwrap().contains("no JSON object"));
    let kelvin = judge(&[oslo.clone(), made("get_weather", r#"{"city": "Madrid", "unit": "kelvin"}"#)]);
    assert_eq!((kelvin.valid_json, kelvin.valid_schema), (2, 1));
    assert!(kelvin.problem.unwrap().contains("`unit` must be one of"));
    let foreign = judge(&[oslo, made("convert_currency", "{}")]);
    assert!(foreign.problem.unwrap().contains("was not offered"));
    assert!(judge(&[]).problem.unwrap().contains("no call"));
}

#[test]
fn calls_are_the_same_whatever_the_white_space_of_their_json() {
    let a = [made("f", r#"{"x": 1, "y": [2]}"#)];
    assert!(same_calls(&a, &[made("f", r#"{"y":[2.0],"x":1}"#)]));
    for other in
        [vec![], vec![made("g", r#"{"x": 1, "y": [2]}"#)], vec![made("f", r#"{"x": 1}"#)], vec![made("f", "{")]]
    {
        assert!(!same_calls(&a, &other), "{other:?}");
    }
    assert!(same_calls(&[made("f", "")], &[made("f", "{}")]), "no arguments are an empty object");
}

#[test]
fn expected_values_compare_texts_loosely_and_everything_else_strictly() {
    let expected = Expected::of(&json!({"a": {"$one_of": ["X", 3]}, "b": [{"$contains": ["été"]}, 2]})).unwrap();
    assert_eq!(expected.difference(&json!({"a": " x ", "b": ["Un ÉTÉ", 2.0]})), None);
    assert_eq!(expected.difference(&expected.sample()), None);
    for (value, says) in [
        (json!({"a": "y", "b": ["été", 2]}), "a: expected \"X\" or 3, got \"y\""),
        (json!({"a": 3, "b": ["hiver", 2]}), "b[0]: expected a text with `été`"),
        (json!({"a": 3, "b": ["été"]}), "b: expected"),
        (json!({"a": 3}), "b: expected"),
        (json!({"a": 3, "b": ["été", 2], "c": 1}), "c: expected nothing, got 1"),
        (json!([]), "expected"),
    ] {
        let difference = expected.difference(&value).unwrap();
        assert!(difference.contains(says), "{difference}");
    }
    for wrong in
        [json!({"$any": [1]}), json!({"$one_of": []}), json!({"$one_of": [1], "x": 1}), json!({"$contains": [1]})]
    {
        assert_eq!(Expected::of(&wrong), None, "{wrong}");
    }
}

/// A small file of tool cases with one line replaced.
fn tool_file(from: &str, to: &str) -> String {
    let text = r#"{
"vgrid_data": "tool_calling",
"tools": {
"f": { "description": "d", "parameters": {
"type": "object", "properties": { "x": { "type": "integer" } }, "required": ["x"], "additionalProperties": false } }
},
"cases": [
{ "id": "a", "language": "en", "category": "single", "tools": ["f"], "user": "u",
"steps": [{ "calls": [{ "name": "f", "arguments": { "x": 1 } }] }] }
] }"#;
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

#[test]
fn a_wrong_tool_file_is_an_error_that_names_file_line_key_and_what_is_allowed() {
    let parse = |text: &str| ToolFile::parse(Path::new("own.json"), text);
    assert!(parse(&tool_file("\"a\"", "\"a\"")).is_ok());
    for (from, to, says) in [
        ("\"user\"", "\"usr\"", "own.json:8:70|unknown key `usr`|did you mean `user`"),
        ("\"single\"", "\"double\"", "own.json:8:44|`double` is not one of single, parallel, chained"),
        ("tool_calling", "reasoning", "own.json:2:15|data of `tool_calling`"),
        ("\"en\"", "\"English\"", "own.json:8:26|two small letters"),
        ("[\"f\"]", "[\"g\"]", "own.json:8:|no tool is called `g`|tools allowed here: f"),
        ("\"x\": 1", "\"x\": \"1\"", "own.json:9:|breaks the schema of `f`|`x` must be of type integer"),
        ("\"x\": 1", "\"y\": 1", "own.json:9:|lacks `x`"),
        ("\"integer\"", "\"int\"", "own.json:5:|`int` is not one of object, array, string, integer"),
        ("\"required\": [\"x\"]", "\"required\": [\"z\"]", "own.json:5:|requires `z`"),
        (
            "\"additionalProperties\": false",
            "\"pattern\": \"a\"",
            "own.json:5:|unknown key `pattern`|additionalProperties",
        ),
        ("\"single\"", "\"chained\"", "own.json:8:|chained has two or more"),
        ("\"single\"", "\"no_tool\"", "own.json:8:|no_tool has no steps"),
        ("{ \"x\": 1 }", "{ \"x\": { \"$on\": [1] } }", "own.json:9:|$one_of"),
        ("\"user\": \"u\",", "", "own.json:8:1|needs `user`"),
        ("\"user\"", "\"tool_choice\": \"none\", \"user\"", "own.json:8:|`none` is not one of auto, required, named"),
        (
            "\"user\": \"u\"",
            "\"user\": \"u\", \"answer\": { \"contains\": [\"x\"] }",
            "own.json:9:|1 calls and 0 results",
        ),
    ] {
        let text = errors(parse(&tool_file(from, to)));
        for part in says.split('|') {
            assert!(text.contains(part), "{from} -> {to}: no {part:?} in {text}");
        }
    }
}

#[test]
fn a_case_may_force_a_call_or_one_of_a_named_tool_and_leaves_the_final_text_free() {
    let with = |choice: &str| tool_file("\"user\"", &format!("\"tool_choice\": \"{choice}\", \"user\""));
    let choices = |text: &str| {
        let file = ToolFile::parse(Path::new("own.json"), text).unwrap();
        (file.cases[0].choice_in(0), file.cases[0].choice_in(1))
    };
    assert_eq!(choices(&tool_file("\"a\"", "\"a\"")), (None, None));
    assert_eq!(choices(&with("required")), (Some(json!("required")), None));
    let named = json!({ "type": "function", "function": { "name": "f" } });
    assert_eq!(choices(&with("named")), (Some(named), None));
    let call = "{ \"name\": \"f\", \"arguments\": { \"x\": 1 } }";
    let two = with("named").replace(call, &format!("{call}, {call}"));
    let says = errors(ToolFile::parse(Path::new("own.json"), &two));
    assert!(says.contains("own.json:8:") && says.contains("exactly one call"), "{says}");
}

#[test]
fn a_task_in_a_language_without_instruction_is_an_error_unless_no_language_has_one() {
    let task = r#"{"id": "a", "language": "fr", "category": "logic", "question": "q", "number": 1}"#;
    let file = |instructions: &str| {
        let text = format!("{{\"vgrid_data\": \"reasoning\",{instructions} \"tasks\": [\n{task}]}}");
        TaskFile::parse(Path::new("own.json"), &text)
    };
    let told = errors(file(r#" "instructions": {"en": "End with Answer: ..."},"#));
    assert!(told.contains("own.json:2") && told.contains("none in `fr`") && told.contains("score is 0"), "{told}");
    assert_eq!(file("").unwrap().tasks[0].prompt, "q");
}

#[test]
fn wrong_tasks_and_canaries_are_errors_with_their_place() {
    let task = |rest: &str| {
        let text = format!(
            "{{\"vgrid_data\": \"reasoning\", \"tasks\": [\n{{\"id\": \"a\", \"language\": \"en\", {rest} }}\n]}}"
        );
        errors(TaskFile::parse(Path::new("own.json"), &text))
    };
    let both = task(r#""category": "logic", "question": "q", "number": 1, "answers": ["1"]"#);
    assert!(both.contains("own.json:2:1") && both.contains("either `number` or `answers`"), "{both}");
    assert!(task(r#""category": "p50", "question": "q", "number": 1"#).contains("`p50` is no category"));
    assert!(task(r#""category": "logic", "question": "q", "number": "1""#).contains("a number, without quotes"));
    let twice = "{\"vgrid_data\": \"canary\", \"canaries\": [\n{\"id\": \"a\", \"language\": \"en\", \"prompt\": \"p\"},\n{\"id\": \"a\", \"language\": \"en\", \"prompt\": \"p\"}]}";
    let twice = errors(CanaryFile::parse(Path::new("own.json"), twice));
    assert!(twice.contains("own.json:3:8") && twice.contains("there twice"), "{twice}");
    assert!(errors(CanaryFile::parse(Path::new("own.json"), "{\"canaries\": [}")).contains("own.json:1"));
}

#[test]
fn a_suite_s_own_data_replace_the_shipped_ones_and_change_the_hash() {
    let own = r#"{"vgrid_data": "canary", "canaries": [{"id": "a", "language": "de", "prompt": "Was ist 1 + 1?", "number": 2}]}"#;
    let spec = ScenarioSpec::Canary(CanarySpec { data: Some("../data/own.json".into()), ..Default::default() });
    let suite = |spec: &ScenarioSpec| Suite { name: "s".into(), seed: 0, scenarios: vec![spec.clone()] };
    let read = |path: &Path| {
        assert_eq!(path, PathBuf::from("grids/../data/own.json"), "relative to the file that names it");
        Ok(own.to_owned())
    };
    let set = CaseSet::load(&suite(&spec), Path::new("grids"), &read).unwrap();
    assert_eq!(set.canaries.canaries[0].language, "de");
    let shipped = CaseSet::shipped();
    assert_ne!(set.sha256_for(&spec), shipped.sha256_for(&spec));
    for other in
        [ScenarioSpec::Reasoning(ReasoningSpec::default()), ScenarioSpec::ToolCalling(ToolCallingSpec::default())]
    {
        assert_eq!(set.sha256_for(&other), shipped.sha256_for(&other));
        assert!(shipped.sha256_for(&other).is_some());
    }
    let gone = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let error = errors(CaseSet::load(&suite(&spec), Path::new("grids"), &gone));
    assert!(error.contains("grids/../data/own.json") && error.contains("the data of canary"), "{error}");
}
