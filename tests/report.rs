//! The report in a real browser: no error, tables that sort and filter, charts with names, both themes readable, no sideways scrolling on a phone,
//! nothing cut off or left out on paper.
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

use common::{Scene, run};
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

/// A sweep of six configs, one of which fails, on the simulated engine; each is started once.
fn swept() -> Scene {
    swept_with("off")
}

/// The leader is measured on a second start.
const ONE_FINALIST: &str = "{ controls_every: off, finalists: 1, finalist_starts: 1 }";

/// The same with these `repeats`.
fn swept_with(repeats: &str) -> Scene {
    let scene = Scene::new();
    let body = "axes: { max-num-seqs: [2, 8], enable-prefix-caching: [on, off] }\n\
         configs:\n  - { name: plain, expected: { load.output_tokens_per_s: 1 } }\n  - { name: broken, flags: { kv-cache-dtype: fp9 } }\n\
         baseline: plain\n\
         suite:\n  kv_cache: { prefix_tokens: [256, 1024], repeats: 5, output_tokens: 4 }\n  load: { concurrency: [1, 8], requests_per_user: 5, prompt_tokens: 64, output_tokens: 16 }\n\
         gates: [load.c8.ttft_ms.p50 <= 60000]\n\
         objectives: { throughput: maximize load.output_tokens_per_s, many_users: minimize load.c8.ttft_ms.p50 }\n\
         repeats: ";
    scene.grid(&["--sim-speed=30"], &format!("{body}{repeats}\n"));
    scene.sweep(&[]).code(2);
    scene
}

/// The same with what a sweep in containers has: digests of images, and generated names of many axes.
fn swept_in_containers() -> Scene {
    let scene = swept_with(ONE_FINALIST);
    let database = rusqlite::Connection::open(scene.db()).unwrap();
    let digest = "sha256:5f0c6f4b9a3d2e1f".to_owned() + &"0123456789abcdef".repeat(3);
    let name = "'gmu0.85_' || name || '_chunked-on_kv-auto'";
    let sql = format!(
        "UPDATE trial SET image_digest = '{digest}'; UPDATE trial SET name = {name} WHERE name LIKE 'seqs%';
         UPDATE sweep SET images_json = '{{\"registry.example.com/vllm-openai:v0.11.0\":\"{digest}\"}}'"
    );
    database.execute_batch(&sql).unwrap();
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
    out.hypothesis = document.querySelector('#expectations tbody tr').textContent;
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
    const charts = [...document.querySelectorAll('figure svg.chart')];
    out.smallest = Math.min(...charts.flatMap(s => [...s.querySelectorAll('text')].map(t =>
        parseFloat(getComputedStyle(t).fontSize) * s.getBoundingClientRect().width / s.viewBox.baseVal.width)));
    const over = (a, b, by) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > by && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > by;
    out.collisions = charts.flatMap(s => {
        const texts = [...s.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
        const struck = [...s.querySelectorAll('line.zero, line.grid, .dot')].map(e => e.getBoundingClientRect());
        const names = s.closest('#effects') ? [...s.querySelectorAll('.name')].map(e => [e.textContent, e.getBoundingClientRect()]) : [];
        const frame = s.getBoundingClientRect();
        return texts.flatMap(([a, x], i) => texts.slice(i + 1).filter(([, y]) => over(x, y, 3)).map(([b]) => `${a} on ${b}`))
            .concat(names.filter(([, x]) => struck.some(y => over({ left: x.left, right: x.right, top: x.top + 3, bottom: x.bottom - 3 },
                { left: y.left - 1, right: y.right + 1, top: y.top, bottom: y.bottom }, 0))).map(([a]) => `a line through ${a}`))
            .concat(texts.filter(([, x]) => x.left < frame.left - 2 || x.right > frame.right + 2).map(([a]) => `${a} is cut off`));
    });
    out.keys = [...document.querySelectorAll('table.key')].map(t => [...t.querySelectorAll('tbody th')].map(e => e.textContent));
    out.torn = [...document.querySelectorAll('.gates li')].filter(e => e.querySelector('code').getBoundingClientRect().bottom < e.querySelector('.tag').getBoundingClientRect().top).length;
    out.width = document.documentElement.scrollWidth; out.window = innerWidth;
    return out;
"##;

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().filter_map(|v| v.as_str().unwrap().parse().ok()).collect()
}

#[test]
fn the_page_works_in_a_browser_at_both_sizes_and_in_both_themes() {
    let Some(browser) = browser() else { return };
    let scene = swept_in_containers();
    scene.run(["report", "-o", "report.html"]).ok().says(&["report.html"]);
    let page = std::fs::read_to_string(scene.folder().join("report.html")).unwrap();
    for (width, dark) in [(1280, false), (390, false), (390, true)] {
        let found = probe(&browser, &scene, &page, LOOK, width, dark);
        assert_eq!(found["errors"], serde_json::json!([]), "at {width}");
        let hypothesis = found["hypothesis"].as_str().unwrap();
        assert!(
            hypothesis.starts_with("plain") && hypothesis.contains("1 tokens/s"),
            "beside what was measured: {hypothesis}"
        );

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
        assert!(found["smallest"].as_f64() >= Some(11.0), "texts of charts at {width}: {}", found["smallest"]);
        assert_eq!(found["collisions"], serde_json::json!([]), "at {width}");
        assert_eq!(found["torn"], 0, "gates whose verdict stands on another line, at {width}");
        let key = found["keys"][0].as_array().unwrap();
        assert!(!key.is_empty() && key.iter().all(|name| !name.as_str().unwrap().contains('…')), "{key:?}");
        assert!(found["width"].as_f64() <= found["window"].as_f64(), "sideways at {width}: {}", found["width"]);
    }
}

/// Makes the screen what the printer sees: the rules for print hold, those for screens do not.
const PRINTED: &str = r##"
    for (const rule of [...document.styleSheets].flatMap(s => [...s.cssRules]).filter(r => r instanceof CSSMediaRule))
        rule.media.mediaText = rule.media.mediaText === 'print' ? 'all' : 'not all';
    dispatchEvent(new Event('beforeprint'));
    const smallest = (what) => Math.min(...[...document.querySelectorAll(what)].filter(e => e.checkVisibility()).map(e => parseFloat(getComputedStyle(e).fontSize)));
    return {
        errors: window.errors, closed: document.querySelectorAll('details:not([open])').length,
        names: smallest('#config-table tbody th'), figures: smallest('#config-table td.num > span'), intervals: smallest('#config-table td .sub'),
        wide: [...document.querySelectorAll('table, pre, svg, p')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth).map(e => e.textContent.slice(0, 60)),
    };
"##;

#[test]
fn on_paper_nothing_is_cut_off_closed_or_too_small() {
    let Some(browser) = browser() else { return };
    let scene = swept_in_containers();
    scene.run(["report", "-o", "report.html"]).ok();
    let page = std::fs::read_to_string(scene.folder().join("report.html")).unwrap();
    // A4 across without its margins, in CSS pixels.
    let found = probe(&browser, &scene, &page, PRINTED, 1032, false);
    assert_eq!(found["errors"], serde_json::json!([]));
    assert_eq!((&found["closed"], &found["wide"]), (&0.into(), &serde_json::json!([])));
    let size = |what: &str| found[what].as_f64().unwrap();
    assert!(size("names") >= 9.0 && size("figures") >= 9.0 && size("intervals") >= 8.0, "{found}");
    assert!(size("intervals") <= size("figures"), "{found}");

    let mut command = Command::new(&browser);
    command.current_dir(scene.folder()).args(["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]);
    command.arg(format!("--user-data-dir={}", scene.folder().join("b").display()));
    let printed = command.args(["--print-to-pdf=report.pdf", "report.html"]).stdin(Stdio::null()).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let Ok(words) = Command::new("pdftotext").current_dir(scene.folder()).args(["-bbox", "report.pdf", "-"]).output()
    else {
        println!("skipped: what is on the paper, there is no pdftotext");
        return;
    };
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    let number = |line: &str, name: &str| -> f64 {
        line.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap().parse().unwrap()
    };
    let mut page_width = 0.0;
    for line in words.lines() {
        if line.contains("<page ") {
            page_width = number(line, "width");
        } else if line.contains("<word ") {
            assert!(number(line, "xMax") <= page_width, "cut off: {line}");
        }
    }
    for word in [">Command<", ">Attempt<", ">sha256:5f0c6f4b9a3d2e1f"] {
        assert!(words.contains(word), "{word} of the sections of single configs is printed");
    }
}

/// The query of `docs/schema.md` that the document introduces with these words.
fn documented_query(words: &str) -> String {
    let text = std::fs::read_to_string(common::root().join("docs/schema.md")).unwrap();
    let after = text.split_once(words).unwrap().1;
    after.split("```sql\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

#[test]
fn the_documented_front_of_three_metrics_is_the_one_that_vgrid_prints() {
    let scene = swept_with(ONE_FINALIST);
    let query = documented_query("The front of three metrics");
    let metrics = ["kv_cache.ttft_miss_ms.p50", "kv_cache.ttft_hit_ms.p50", "load.output_tokens_per_s"];
    let starts = "SELECT max(starts) FROM trial_figure WHERE path = 'load.output_tokens_per_s'";
    assert_eq!(scene.count(starts), 2, "one config is a mean over two starts");
    let printed = || -> Vec<String> {
        let found = scene.run(["pareto", metrics[0], metrics[1], metrics[2], "--json"]).ok().json();
        let on_front = found["points"].as_array().unwrap().iter().filter(|p| p["on_front"] == true);
        on_front.map(|p| p["name"].as_str().unwrap().to_owned()).collect()
    };
    let before = printed();
    assert_eq!(scene.sql(&query), before);
    // The first of the front fails a gate: another front.
    let sql = "UPDATE gate_result SET passed = 0 WHERE trial_id = (SELECT id FROM trial WHERE name = ?1)";
    rusqlite::Connection::open(scene.db()).unwrap().execute(sql, [&before[0]]).unwrap();
    let after = printed();
    assert!(!after.contains(&before[0]));
    assert_eq!(scene.sql(&query), after);
}

#[test]
fn every_format_is_written_and_the_comparison_names_what_differs() {
    let scene = swept();
    let model = scene.run(["report", "--format", "json"]).ok().json();
    assert_eq!(model["sweep"]["measured"], 5);
    assert_eq!(model["failures"][0]["configs"][0][0], "broken");
    let [expected] = &model["expectations"].as_array().unwrap()[..] else { panic!("one hypothesis: {model}") };
    assert_eq!((&expected["config"], &expected["metric"]), (&"plain".into(), &"load.output_tokens_per_s".into()));
    assert!(
        expected["measured"]["value"].as_f64() > Some(1.0) && expected["off_percent"].as_f64() > Some(0.0),
        "{expected}"
    );
    let seqs = model["effects"][0]["effects"].as_array().unwrap().iter().find(|e| e["axis"] == "max-num-seqs").unwrap();
    assert!(seqs["pairs"].as_u64() >= Some(2), "{seqs}");
    scene.run(["report", "--format", "md"]).ok().says(&[
        "# scene",
        "## Failures",
        "## Expected against measured",
        "## Limitations",
    ]);
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
    scene
        .run(["effects", "--by", "stability.requests_per_s"])
        .code(1)
        .says(&["has a figure of stability.requests_per_s", "the scenario stability was not measured"]);
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

#[test]
fn no_line_of_a_command_is_wider_than_80_columns_however_long_the_names() {
    let scene = swept_in_containers();
    let (rate, latency, hit) = ("load.output_tokens_per_s", "load.c8.ttft_ms.p50", "kv_cache.ttft_hit_ms.p50");
    let (long, other) = ("gmu0.85_seqs2_prefix-on_chunked-on_kv-auto", "gmu0.85_seqs8_prefix-on_chunked-on_kv-auto");
    let commands: [&[&str]; 8] = [
        &["champions"],
        &["champions", "--criteria"],
        &["status"],
        &["effects"],
        &["pareto", rate, latency, "--all"],
        &["pareto", rate, latency, hit, "--all"],
        &["compare", long, other],
        &["plan", "grid.yaml"],
    ];
    for args in commands {
        let mut command = scene.vgrid(args);
        command.env("COLUMNS", "80");
        let shown = run(command).ok().stdout;
        let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{args:?}: {wide:#?}");
        let named = args[0] == "effects" || args[0] == "plan" || shown.contains(long);
        assert!(named, "a name that is called by must stand in one piece in {args:?}: {shown}");
    }
}
