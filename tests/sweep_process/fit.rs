//! What starts need not fit: full length at full concurrency, before anything is measured.

use super::common::Scene;

/// An engine that runs out of memory as soon as three requests run at once; the KV cache holds eleven of full length.
fn grid(scene: &Scene, smoke: &str) {
    let load = "load: { concurrency: [2], requests_per_user: 3, prompt_tokens: 64, output_tokens: 8 }";
    let body = format!(
        "configs:\n  - {{ name: fits }}\n  - {{ name: starts, flags: {{ sim-fail: \"oom_busy:3\" }} }}\nlimits: {{ retries: 0 }}\nsuite: [{smoke}, {load}]\n"
    );
    scene.grid(&[], &body);
}

#[test]
fn a_config_that_starts_and_does_not_fit_is_found_by_the_fit_check_alone() {
    let scene = Scene::new();
    grid(&scene, "smoke");
    scene.sweep(&[]).ok();
    assert_eq!(scene.states(), ["fits: measured", "starts: measured"]);

    let scene = Scene::new();
    grid(&scene, "smoke: { fit: true }");
    scene.sweep(&[]).code(2);
    assert_eq!(scene.states(), ["fits: measured", "starts: failed (gpu_oom)"]);
    assert_eq!(scene.sql("SELECT stage || ' ' || phase FROM attempt WHERE cause = 'gpu_oom'"), ["runtime serving"]);
    let figures = "SELECT path || ' ' || value FROM metric WHERE path LIKE 'smoke.fit%' ORDER BY path";
    assert_eq!(scene.sql(figures), ["smoke.fit_prompt_tokens 3999.0", "smoke.fit_requests 11.0"]);
    assert_eq!(scene.count("SELECT count(*) FROM request WHERE role = 'fit' AND ended IN ('ok', 'truncated')"), 11);
}
