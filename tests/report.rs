//! The report in a real browser: no error, tables that sort and filter, charts with names, both themes readable, no sideways scrolling on a phone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Scene;
use serde_json::Value;

/// Debian's names of the browser.
const BROWSERS: &[&str] = &["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// The browser; an absent one is an error where `VGRID_REQUIRE_BROWSER=1`, else it is said.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = BROWSERS
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|p| p.exists());
    if found.is_none() {
        let demanded = std::env::var("VGRID_REQUIRE_BROWSER").as_deref() == Ok("1");
        assert!(!demanded, "no browser of {BROWSERS:?} and VGRID_REQUIRE_BROWSER=1");
        println!("skipped: no browser of {BROWSERS:?}");
    }
    found
}

/// A sweep of six configs, one of which fails, on the simulated engine.
fn swept() -> Scene {
    let scene = Scene::new();
    scene.grid(
        &["--sim-speed=30"],
        "axes: { max-num-seqs: [2, 8], enable-prefix-caching: [on, off] }\n\
         configs:\n  - { name: plain, expected: { load.output_tokens_per_s: 1 } }\n  - { name: broken, flags: { kv-cache-dtype: fp9 } }\n\
         baseline: plain\n\
         suite:\n  kv_cache: { prefix_tokens: [256, 1024], repeats: 5, output_tokens: 4 }\n  load: { concurrency: [1, 8], requests_per_user: 5, prompt_tokens: 64, output_tokens: 16 }\n\
         objectives: { throughput: maximize load.output_tokens_per_s, many_users: minimize load.c8.ttft_ms.p50 }\nrepeats: off\n",
    );
    scene.sweep(&[]).code(2);
    scene
}

/// What a script finds in the page after it was opened at this size: the JSON that it leaves in the element `probe`.
fn probe(browser: &Path, scene: &Scene, page: &str, script: &str, width: u32, dark: bool) -> Value {
    // The first script sees every error of the page's own; the second runs when all is there.
    let first = "<script>window.errors=[];addEventListener('error',e=>errors.push(String(e.message)));\
                 for(const k of ['error','warn'])console[k]=(...a)=>errors.push(a.join(' '));\
                 addEventListener('securitypolicyviolation',e=>errors.push('blocked '+e.blockedURI));</script>";
    let last = format!(
        "<pre id=probe></pre><script>document.getElementById('probe').textContent=JSON.stringify((()=>{{{script}}})());</script>"
    );
    let page = page.replacen("<head>", &format!("<head>{first}"), 1).replacen("</body>", &format!("{last}</body>"), 1);
    let file = scene.write("probed.html", &page);
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]);
    command
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", scene.folder().join("b").display()));
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let output = command.arg(format!("file://{}", file.display())).stdin(Stdio::null()).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let found = dom.split("<pre id=\"probe\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let Some(found) = found else { panic!("no probe in {dom}\n{}", String::from_utf8_lossy(&output.stderr)) };
    let text = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

const LOOK: &str = r##"
    const rows = () => [...document.querySelectorAll('#config-table tbody tr')];
    const names = () => rows().filter(r => !r.hidden).map(r => r.cells[0].textContent.trim());
    const values = (column) => rows().map(r => r.cells[column].dataset.v);
    const heads = [...document.querySelectorAll('#config-table thead th')];
    const out = { errors: window.errors };
    heads[2].querySelector('button').click();
    out.falling = values(2); out.way = heads[2].getAttribute('aria-sort');
    heads[2].querySelector('button').click();
    out.rising = values(2); out.other_way = heads[2].getAttribute('aria-sort');
    const form = document.getElementById('filters');
    form.elements.text.value = 'plain'; form.dispatchEvent(new Event('input'));
    out.searched = names(); out.count = document.getElementById('count').textContent;
    form.elements.text.value = ''; form.elements.state.value = 'failed'; form.dispatchEvent(new Event('input'));
    out.failed = names();
    out.charts = [...document.querySelectorAll('svg.chart[role=img]')].map(s => ({
        id: s.closest('figure') ? s.closest('figure').id : 'strip',
        named: !!s.getAttribute('aria-label') || s.getAttribute('aria-labelledby').split(' ').every(id => (document.getElementById(id) || {}).textContent),
        marks: s.querySelectorAll('circle, polyline, rect').length,
    }));
    const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    out.twice = ids.filter((id, i) => ids.indexOf(id) !== i);
    out.dead = [...document.querySelectorAll('a[href^="#"]')].filter(a => !document.getElementById(a.getAttribute('href').slice(1))).length;
    out.unnamed = [...document.querySelectorAll('button, input, select, a')]
        .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).length;
    const light = (c) => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
    const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };
    const contrast = () => [...document.querySelectorAll('h1, p, .tag, .sub, td, th, .gain, .sentence, .caption, .legend li')]
        .filter(e => e.checkVisibility && e.checkVisibility()).map(e => {
            const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
            return (a + .05) / (b + .05); }).reduce((x, y) => Math.min(x, y), 21);
    form.reset();
    out.page = getComputedStyle(document.body).backgroundColor;
    out.contrast = contrast();
    document.getElementById('theme').click();
    out.other_page = getComputedStyle(document.body).backgroundColor;
    out.other_contrast = contrast();
    document.querySelectorAll('details').forEach(d => { d.open = true; });
    out.width = document.documentElement.scrollWidth; out.window = innerWidth;
    return out;
"##;

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().filter_map(|v| v.as_str().unwrap().parse().ok()).collect()
}

#[test]
fn the_page_works_in_a_browser_at_both_sizes_and_in_both_themes() {
    let Some(browser) = browser() else { return };
    let scene = swept();
    scene.run(["report", "-o", "report.html"]).ok().says(&["report.html"]);
    let page = std::fs::read_to_string(scene.folder().join("report.html")).unwrap();
    for (width, dark) in [(1280, false), (390, false), (390, true)] {
        let found = probe(&browser, &scene, &page, LOOK, width, dark);
        assert_eq!(found["errors"], serde_json::json!([]), "at {width}");

        let (falling, rising) = (numbers(&found["falling"]), numbers(&found["rising"]));
        assert!(falling.len() == 5 && falling.is_sorted_by(|a, b| a >= b), "{falling:?}");
        assert!(rising.is_sorted() && rising.len() == 5, "{rising:?}");
        assert_eq!(found["rising"][5], "", "what was not measured stays last");
        assert_eq!((&found["way"], &found["other_way"]), (&"descending".into(), &"ascending".into()));
        assert_eq!(found["searched"], serde_json::json!(["plain baseline"]));
        assert_eq!(found["count"], "1 of 6 configs");
        assert_eq!(found["failed"], serde_json::json!(["broken"]));

        let charts = found["charts"].as_array().unwrap();
        for id in ["load-throughput-figure", "prompt-size-figure", "night-figure", "effects-throughput-figure", "strip"]
        {
            assert!(charts.iter().any(|c| c["id"] == id), "{id} in {charts:?}");
        }
        for chart in charts {
            assert!(chart["named"] == true && chart["marks"].as_u64() > Some(1), "{chart}");
        }
        assert_eq!(
            (&found["twice"], &found["dead"], &found["unnamed"]),
            (&serde_json::json!([]), &0.into(), &0.into())
        );

        let contrast = |key: &str| found[key].as_f64().unwrap();
        assert!(contrast("contrast") >= 4.5, "{} at {width}, dark: {dark}", contrast("contrast"));
        assert!(contrast("other_contrast") >= 4.5, "{} at {width}, other theme", contrast("other_contrast"));
        assert_ne!(found["page"], found["other_page"], "the button switches the theme");
        assert!(found["width"].as_f64() <= found["window"].as_f64(), "sideways at {width}: {}", found["width"]);
    }
}

#[test]
fn every_format_is_written_and_the_comparison_names_what_differs() {
    let scene = swept();
    let model = scene.run(["report", "--format", "json"]).ok().json();
    assert_eq!(model["sweep"]["measured"], 5);
    assert_eq!(model["failures"][0]["configs"][0][0], "broken");
    let seqs = model["effects"][0]["effects"].as_array().unwrap().iter().find(|e| e["axis"] == "max-num-seqs").unwrap();
    assert!(seqs["pairs"].as_u64() >= Some(2), "{seqs}");
    scene.run(["report", "--format", "md"]).ok().says(&["# scene", "## Failures", "## Limitations"]);
    let sheet = scene.run(["report", "--format", "csv"]).ok();
    assert_eq!(sheet.stdout.lines().count(), 7, "{}", sheet.stdout);
    scene.run(["report", "-o", "no/such/folder/r.html"]).code(1).says(&["cannot write no/such/folder/r.html"]);
    scene.run(["report", "7"]).code(1).says(&["there is no sweep 7"]);

    let seqs = scene.run(["effects"]).ok();
    seqs.says(&[
        "throughput (maximize load.output_tokens_per_s)",
        "max-num-seqs",
        "pairs of configs that differ in this setting alone",
    ]);
    let seqs = scene.run(["effects", "--by", "load.c8.ttft_ms.p50", "--json"]).ok().json();
    let effect =
        seqs["effects"][0]["effects"].as_array().unwrap().iter().find(|e| e["axis"] == "max-num-seqs").unwrap();
    assert!(effect["difference"].as_f64() < Some(0.0) && effect["pairs"].as_u64() >= Some(2), "{effect}");
    scene.run(["effects", "--by", "stability.requests_per_s"]).code(1).says(&["no config has a figure of this metric"]);
    let (rate, latency) = ("load.output_tokens_per_s", "load.c8.ttft_ms.p50");
    scene.run(["pareto", rate, latency]).ok().says(&["on the Pareto front", "maximize load.output_tokens_per_s"]);
    let points = scene.run(["pareto", rate, latency, "kv_cache.ttft_hit_ms.p50", "--json"]).ok().json();
    let points = points["points"].as_array().unwrap();
    let on_front = points.iter().filter(|p| p["on_front"] == true).count();
    assert!(points.len() == 5 && (1..=5).contains(&on_front) && points[0]["on_front"] == true, "{points:?}");
    scene.run(["pareto", rate]).code(1);

    let two = scene.run(["compare", "seqs2_prefix-on", "seqs8_prefix-on"]).ok();
    two.says(&["max-num-seqs  2  8", "c8.ttft_ms.p50", "better", "more figures with --all"]);
    let json = scene.run(["compare", "seqs2_prefix-on", "seqs8_prefix-off", "broken", "--json"]).ok().json();
    let warnings = json["warnings"].to_string();
    assert!(warnings.contains("settings differ") && warnings.contains("broken is not measured"), "{warnings}");
    let line = json["figures"].as_array().unwrap().iter().find(|f| f["metric"] == "load.c8.ttft_ms.p50").unwrap();
    assert_eq!((&line["values"][1]["against_first"]["better"], &line["values"][2]), (&true.into(), &Value::Null));
    scene.run(["compare", "plain"]).code(1).says(&["2"]);
    scene.run(["compare", "plain", "plain"]).code(1).says(&["named twice"]);
    scene.run(["compare", "plain", "9:plain"]).code(1).says(&["there is no sweep 9"]);
}
