//! Sweeps that judge answers: a config that answers worse than the baseline is found out, case by case, and the data are part of a result.

use super::common::Scene;

/// A sane baseline and a config that answers a third of the cases wrongly.
fn scene() -> Scene {
    let scene = Scene::new();
    let tools = ["--enable-auto-tool-choice", "--tool-call-parser=hermes", "--sim-speed=100"];
    scene.grid(
        &tools,
        "configs:\n  - { name: sane }\n  - { name: broken, flags: { sim-quality: 0.6 } }\nbaseline: sane\n\
         suite:\n  - smoke\n  - reasoning: { output_tokens: 512 }\n  - tool_calling: { cases_per_category: 1, output_tokens: 512 }\n\
         gates:\n  - tool_calling.success_rate >= 0.95\n  - reasoning.paired_difference >= 0 or reasoning.paired_p >= 0.05\n\
         objectives: { thought: maximize reasoning.score }\n",
    );
    scene
}

#[test]
fn a_config_that_answers_worse_is_found_out_case_by_case_and_fails_its_gates() {
    let scene = scene();
    let done = scene.sweep(&[]).code(0);
    done.says(&["sane is best", "reasoning.score"]);
    let gates = scene.sql("SELECT t.name || ' ' || g.passed FROM gate_result g JOIN trial t ON t.id = g.trial_id ORDER BY t.id, g.gate_id");
    assert_eq!(gates, ["sane 1", "sane 1", "broken 0", "broken 0"]);

    let shown = scene.run(["show", "broken"]).ok();
    shown.says(&[
        "answers against sane: reasoning −",
        "worse than the baseline",
        "lost, 0 gained",
        "expected",
        "tool_calling.success_rate",
    ]);
    let champions = scene.run(["champions"]).ok();
    champions.says(&[
        "answers (against sane, case by case)",
        "  broken: reasoning −",
        "over all 2 comparisons: worse than the baseline",
    ]);
    let answers = scene.run(["champions", "--json"]).json()["answers"].clone();
    assert_eq!(answers.as_array().unwrap().len(), 2, "{answers}");
    assert!(answers[0]["p_over_all"].as_f64() >= answers[0]["exact_p"].as_f64(), "{answers}");
    scene.run(["show", "sane"]).ok().says(&["gate      tool_calling.success_rate >= 0.95: pass"]);
    let json = scene.run(["show", "broken", "--json"]).json();
    let paired = json["paired"].as_array().unwrap();
    let reasoning = paired.iter().find(|p| p["scenario"] == "reasoning").unwrap();
    assert!(reasoning["exact_p"].as_f64().unwrap() < 0.05, "{reasoning}");
    assert_eq!(reasoning["counts"]["only_other"], 0);
    let cases = json["attempt_reports"][0]["scenarios"][1]["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 24);
    let lost = scene.sql("SELECT only_baseline FROM paired_quality WHERE config = 'broken' AND scenario = 'reasoning'");
    assert_eq!(lost[0], cases.iter().filter(|c| c["result"] == "wrong").count().to_string());
}

#[test]
fn data_of_one_s_own_are_read_with_the_grid_and_a_change_is_measured_anew() {
    let scene = Scene::new();
    let own = |number: u32| {
        format!(
            r#"{{"vgrid_data": "canary", "canaries": [{{"id": "a", "language": "de", "prompt": "Was ist 1 + 1?", "number": {number}}}]}}"#
        )
    };
    scene.grid(&[], "suite:\n  - smoke\n  - canary: { data: own/canary.json, repeats: 1 }\n");
    for verb in [&["check", "grid.yaml", "--files-only"][..], &["plan", "grid.yaml"], &["run", "grid.yaml"]] {
        scene.run(verb).code(1).says(&["the data of canary", "own/canary.json"]);
    }
    std::fs::create_dir(scene.folder().join("own")).unwrap();
    scene.write("own/canary.json", &own(2).replace("\"prompt\"", "\"promt\""));
    scene.run(["check", "grid.yaml", "--files-only"]).code(1).says(&[
        "own/canary.json:1:",
        "`promt`",
        "did you mean `prompt`?",
    ]);
    scene.write("own/canary.json", &own(2));
    scene.sweep(&[]).code(0);
    assert_eq!(scene.sql("SELECT value FROM metrics WHERE path = 'canary.passed'"), ["1"]);
    scene.write("own/canary.json", &own(3));
    scene.sweep(&[]).code(0);
    assert_eq!(scene.sql("SELECT value FROM metrics WHERE path = 'canary.passed' ORDER BY trial_id"), ["1", "0"]);
    assert_eq!(scene.sql("SELECT count(DISTINCT data_sha256) FROM scenario_result WHERE scenario = 'canary'"), ["2"]);
}
