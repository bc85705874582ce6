//! `import` of results that others measured, and `champions --include-foreign`.

use super::common::Scene;

/// The table that the book shows.
fn campaign() -> &'static str {
    let book = include_str!("../../docs/import.md");
    book.split("```csv\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn a_foreign_table_is_stored_apart_shown_with_its_doubts_and_imported_once() {
    let scene = Scene::new();
    scene.write("campaign.csv", campaign());
    let mut done = scene.run(["import", "campaign.csv"]).ok();
    done = done.says(&[
        "FOREIGN",
        "not measured by vgrid",
        "chunked_only_safe leads by acceleration",
        "+102.5",
        "no champion",
    ]);
    for doubt in [
        "estimated",
        "ttft_is_e2e",
        "single_sample",
        "throughput_inconsistent",
        "same_engine",
        "memory_contradicted",
        "criterion_failed",
    ] {
        done = done.says(&[doubt]);
    }
    scene.run(["import", "campaign.csv"]).ok().says(&["nothing was added"]);
    assert_eq!(scene.count("SELECT count(*) FROM foreign_table"), 1);
    assert_eq!(
        scene.count(
            "SELECT count(*) FROM foreign_results WHERE config = 'chunked_only_safe' AND doubts LIKE '%same_engine%'"
        ),
        6
    );
    assert_eq!(scene.count("SELECT count(*) FROM results"), 0, "no view of measured results has them");
    // Without a sweep there is nothing to rank, unless one asks for the foreign ones.
    scene.run(["champions"]).code(1);
    scene.run(["champions", "--include-foreign"]).ok().says(&["chunked_only_safe leads"]);
    let json = scene.run(["champions", "--include-foreign", "--by", "ttft_miss_ms", "--json"]).ok().json();
    assert_eq!(json["foreign"][0]["ranking"]["lines"][0]["config"], "chunked_only_safe");
    assert_eq!(json["foreign"][0]["ranking"]["lines"][1]["config"], "aggressive_cache");
}

#[test]
fn foreign_results_stand_behind_a_sweeps_own_rankings_and_only_when_asked_for() {
    let scene = Scene::new();
    scene.grid(&[], "configs: [{ name: a }]\nsuite: [smoke]\nobjectives: { worth: maximize smoke.passed }\n");
    scene.sweep(&[]).ok();
    scene.write("t.json", r#"[{"name": "theirs", "ttft_ms": 1.0}]"#);
    scene.run(["import", "t.json"]).ok();
    let plain = scene.run(["champions"]).ok().stdout;
    assert!(!plain.contains("theirs"), "{plain}");
    let both = scene.run(["champions", "--include-foreign"]).ok().stdout;
    assert!(both.starts_with(plain.trim_end()) && both.contains("theirs"), "{both}");
    // A figure of theirs asks for their ranking only by it; the sweep's own answer stays.
    let by_theirs = scene.run(["champions", "--include-foreign", "--by", "ttft_ms"]).ok().stdout;
    assert!(by_theirs.starts_with(plain.trim_end()) && by_theirs.contains("theirs"), "{by_theirs}");
}

#[test]
fn a_file_that_is_no_result_file_is_refused_with_the_way_out() {
    let scene = Scene::new();
    scene.write("x.csv", "name,ttft_mis_ms\na,1\n");
    scene.run(["import", "x.csv"]).code(1).says(&["did you mean `ttft_miss_ms`?"]);
    scene.write("y.json", "{\"x\": 1}");
    scene.run(["import", "y.json"]).code(1).says(&["neither `configs`", "docs/import.md"]);
    scene.write("t.json", r#"[{"name": "theirs", "ttft_ms": 1.0}]"#);
    scene.run(["import", "t.json", "-o", "z.yaml"]).code(1).says(&["-o is for a JSON grid"]);
    assert!(!scene.db().exists(), "nothing was stored");
}
