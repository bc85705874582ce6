//! The reference explains every key, in tables written from those that the reader uses; the grids that the project ships mean what they say.

use super::*;
use crate::domain::{Key, Kind, Range, ScenarioKind, ScenarioSpec, Settings, Suite};
use crate::grid::keys::Section;
use crate::grid::{CONFIG, GRID, ORDER, deployment, limits, notify, repeats, rule, settings, suite, telemetry};

const REFERENCE: &str = include_str!("../../../docs/grid.md");
const QWEN: &str = include_str!("../../../grids/qwen3-32b-awq.yaml");

/// Every section of a grid file.
const SECTIONS: &[&Section] = &[
    &GRID,
    &deployment::DEPLOYMENT,
    &deployment::PROCESS,
    &settings::BASE,
    &CONFIG,
    &rule::EXCLUDE,
    &ORDER,
    &suite::SUITE,
    &repeats::REPEATS,
    &limits::LIMITS,
    &notify::NOTIFY,
    &telemetry::TELEMETRY,
];

/// What `key` is when it is left out; `default` is what its type then holds.
fn left_out(key: &Key, default: Option<&String>) -> String {
    match default {
        Some(text) if text.parse::<f64>().is_ok() => text.clone(),
        Some(text) => format!("`{text}`"),
        None => key.absent.to_owned(),
    }
}

fn row(first: &str, key: &Key, default: &str) -> String {
    format!("| {first}`{}` | {} | {default} | {} |\n", key.name, key.takes(), key.meaning.trim())
}

fn table(section: &Section) -> String {
    let defaults = match section.name {
        "limits" => Limits::default().written(),
        "repeats" => Repeats::default().written(),
        _ => vec![None; section.keys.len()],
    };
    let rows = section.keys.iter().zip(&defaults).map(|(key, default)| row("", key, &left_out(key, default.as_ref())));
    format!("| key | value | default | meaning |\n| --- | --- | --- | --- |\n{}", rows.collect::<String>())
}

/// Every parameter of every scenario, with what the suites that ship make of it.
fn table_of_scenarios() -> String {
    let mut text = "| scenario | parameter | value | default | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let suites = [Suite::quick(), Suite::full()];
    for kind in ScenarioKind::ALL {
        let own = ScenarioSpec::of(*kind).written();
        for (at, key) in ScenarioSpec::keys(*kind).iter().enumerate() {
            let mut default = left_out(key, own[at].as_ref());
            let mut differs: Vec<(String, Vec<&str>)> = Vec::new();
            for suite in &suites {
                let Some(spec) = suite.scenarios.iter().find(|spec| spec.kind() == *kind) else { continue };
                let written = spec.written();
                if written[at] != own[at] {
                    let value = left_out(key, written[at].as_ref());
                    match differs.iter_mut().find(|(other, _)| *other == value) {
                        Some((_, names)) => names.push(&suite.name),
                        None => differs.push((value, vec![&suite.name])),
                    }
                }
            }
            for (value, names) in differs {
                default += &format!("; {value} in `{}`", names.join("` and `"));
            }
            text += &row(&format!("`{kind}` | "), key, &default);
        }
    }
    text
}

/// `document` with `table` between the marks of `name`.
fn with_table(document: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- keys of {name} -->\n"), "<!-- end of keys -->\n");
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("docs/grid.md lacks the mark {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("docs/grid.md: {begin} has no {end}"));
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_tables_of_the_reference_are_those_that_the_reader_uses() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grid.md");
    let reference = std::fs::read_to_string(FILE).unwrap();
    let mut document = reference.clone();
    for section in SECTIONS {
        document = with_table(&document, section.name, &table(section));
    }
    document = with_table(&document, "scenarios", &table_of_scenarios());
    let marks = document.matches("<!-- keys of ").count();
    assert_eq!(marks, SECTIONS.len() + 1, "docs/grid.md has marks of sections that no grid has");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, &document).unwrap();
        return;
    }
    for (written, generated) in reference.lines().zip(document.lines()) {
        assert_eq!(
            written, generated,
            "docs/grid.md differs from the tables of the reader: UPDATE_DOCS=1 cargo test --lib the_tables_of_the_reference"
        );
    }
    assert_eq!(reference.len(), document.len());
}

#[test]
fn every_section_that_the_reader_checks_is_in_the_reference() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/grid")).unwrap();
    let sources = folder.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
    let declared: usize = sources.map(|text| text.matches(": Section = ").count()).sum();
    assert_eq!(declared, SECTIONS.len());
}

/// Values that `key` takes and values that it refuses, by what the reference says of it.
fn samples(key: &Key, kind: Kind) -> (Vec<String>, Vec<String>) {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let number = match key.range {
        Range::Whole(least, most) => {
            let below = i128::from(least) - 1;
            (vec![least.to_string(), most.to_string()], vec![below.to_string(), (u128::from(most) + 1).to_string()])
        }
        Range::AboveZero(most) if most.is_finite() => {
            (vec!["0.001".to_owned(), most.to_string()], vec!["0".to_owned(), (most * 1.01).to_string()])
        }
        Range::AboveZero(_) => (texts(&["0.001", "1e6"]), texts(&["0", "-0.5", ".inf", ".nan"])),
        Range::AtLeastMs(least) => (vec![format!("{least}ms")], vec![format!("{}ms", least - 1)]),
        Range::Any => (Vec::new(), Vec::new()),
    };
    let with = |(good, bad): (Vec<String>, Vec<String>), more: &[&str], worse: &[&str]| {
        ([good, texts(more)].concat(), [bad, texts(worse)].concat())
    };
    match kind {
        Kind::Whole => with(number, &[], &["1.5", "x"]),
        Kind::WholeOrOff => with(number, &["off"], &["1.5", "on"]),
        Kind::Number => with(number, &[], &["x"]),
        Kind::Word(words) => (texts(words), texts(&["nonsense"])),
        Kind::Duration => with(number, &["1h30m"], &["20", "x"]),
        Kind::List(of) => {
            let (good, bad) = samples(key, *of);
            let list = |items: Vec<String>| items.into_iter().map(|item| format!("[{item}]")).collect::<Vec<_>>();
            with((list(good), list(bad)), &[], if key.may_be_empty { &[] } else { &["[]"] })
        }
        Kind::OneOrList(of) => {
            let (one, list) = (samples(key, *of), samples(key, Kind::List(of)));
            ([one.0, list.0].concat(), [one.1, list.1].concat())
        }
        Kind::Shape(_) => (Vec::new(), Vec::new()),
    }
}

#[test]
fn a_grid_takes_what_the_reference_allows_and_refuses_the_rest() {
    let here = |section: &str, pair: &str| match section {
        "grid" => text(&format!("{pair}\n")),
        "deployment" => format!("name: g\ndeployment: {{ compose: [c.yml], service: vllm, {pair} }}\n"),
        "deployment.process" => format!("name: g\ndeployment: {{ process: {{ command: [x], {pair} }} }}\n"),
        "notify" if pair.starts_with("pass_env") => text(&format!("notify: [{{ hook: [x], {pair} }}]\n")),
        "notify" => text(&format!("notify: [{{ url: 'http://x', {pair} }}]\n")),
        "suite" => text(&format!("suite: {{ base: quick, {pair} }}\n")),
        section => text(&format!("{section}: {{ {pair} }}\n")),
    };
    let mut places: Vec<(&Key, String, String)> = Vec::new();
    for (section, key) in SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.name, key))) {
        places.push((key, here(section, &format!("{}: %", key.name)), format!("{section}.{}", key.name)));
    }
    for kind in ScenarioKind::ALL {
        for key in ScenarioSpec::keys(*kind) {
            let line = format!("suite: [{{ {kind}: {{ {}: % }} }}]\n", key.name);
            places.push((key, text(&line), format!("{kind}.{}", key.name)));
        }
    }
    let mut tried = 0;
    for (key, template, place) in places {
        let (good, bad) = samples(key, key.kind);
        tried += good.len() + bad.len();
        for value in good {
            let read = parse(Path::new("g.yaml"), &template.replace('%', &value));
            assert!(read.is_ok(), "{place}: {value} is refused: {}", read.unwrap_err());
        }
        for value in bad {
            assert!(parse(Path::new("g.yaml"), &template.replace('%', &value)).is_err(), "{place}: {value} is taken");
        }
    }
    assert!(tried > 250, "only {tried} values were tried");
}

#[test]
fn a_default_that_the_reference_names_is_the_same_as_nothing() {
    let of = |rest: &str| {
        let g = grid(rest);
        format!("{:?} {:?} {:?} {:?}", g.deployment.after, g.order, g.seed, g.telemetry.interval)
    };
    let absent = of("");
    for line in ["order: as_written", "seed: 0", "telemetry: { interval: 1s }"] {
        assert_eq!(of(&format!("{line}\n")), absent, "{line}");
    }
    let receiver = |item: &str| {
        let notify = grid(&format!("notify: [{{ {item} }}]\n")).notify.remove(0);
        let words = match notify.channel {
            Channel::Webhook { format, retries, .. } => format!("{format} {retries}"),
            Channel::Hook { pass_env, .. } => format!("{pass_env:?}"),
        };
        (words, notify.on, notify.timeout)
    };
    let url = "url: 'http://x'";
    assert_eq!(receiver(url), receiver(&format!("{url}, format: json, retries: 2, timeout: 10s")));
    assert_eq!(receiver("hook: [x]"), receiver("hook: [x], timeout: 60s"));
    assert_eq!(grid("").deployment.after, After::Restore);
}

#[test]
fn the_example_of_the_reference_is_a_grid() {
    let start = REFERENCE.find("```yaml\n").unwrap() + 8;
    let example = &REFERENCE[start..start + REFERENCE[start..].find("```").unwrap()];
    let g = parse(Path::new("g.yaml"), example).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names(&g), ["gmu0.85_prefix-on", "gmu0.85_prefix-off", "gmu0.9_prefix-on", "gmu0.9_prefix-off"]);
    assert_eq!(lint_of(&g, &Settings::default()).0, []);
}

#[test]
fn every_finding_of_the_lint_is_in_the_reference() {
    let sources = [include_str!("../lint.rs"), include_str!("../argv.rs")];
    let mut found = 0;
    for call in sources.iter().flat_map(|source| source.split("warning(\"").chain(source.split("error(\"")).skip(1)) {
        let code = call.split('"').next().unwrap_or_default();
        if code.chars().all(|c| c.is_ascii_lowercase() || c == '-') && code.contains('-') {
            found += 1;
            assert!(REFERENCE.contains(&format!("`{code}`")), "docs/grid.md lacks the finding {code}");
        }
    }
    assert!(found > 10, "only {found} findings were found");
}

#[test]
fn the_campaigns_grid_has_sixteen_configs_and_two_pairs_that_are_identical() {
    let g = parse(Path::new("grids/qwen3-32b-awq.yaml"), QWEN).unwrap_or_else(|e| panic!("{e}"));
    let g = g.interpolated(&Variables::new()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(g.count(), 16);
    assert_eq!(g.run_order().next(), g.find("safe_conservative"));
    let points = all_points(&g);
    assert!(points.iter().all(|p| p.expected.len() == 3 && p.excluded.is_none()));
    // Every state is explicit: nothing is left to a default by being left out.
    for flag in ["enable-prefix-caching", "enable-chunked-prefill", "gpu-memory-utilization", "max-num-seqs"] {
        let name = crate::domain::FlagName::new(flag);
        assert!(points.iter().all(|p| p.config.settings.flags.contains_key(&name)), "{flag}");
    }
    let found: Vec<(String, String)> =
        lint_of(&g, &Settings::default()).0.into_iter().map(|d| (d.code, d.message)).collect();
    let identical = |a: &str, b: &str, rest: &str| {
        let line = QWEN.lines().position(|l| l.ends_with(&format!("name: {b}"))).unwrap() + 1;
        ("identical-points".to_owned(), format!("`{a}` sets exactly the same as `{b}` (line {line}){rest}"))
    };
    assert_eq!(
        found,
        [
            identical("chunked_only_high_tokens", "chunked_only_default", ", and yet other figures are expected of it"),
            identical("optimized_balanced", "combined_conservative", ""),
        ]
    );
}

#[test]
fn the_campaigns_grid_holds_the_twelve_configs_of_its_file() {
    let g = parse(Path::new("grids/qwen3-32b-awq.yaml"), QWEN).unwrap_or_else(|e| panic!("{e}"));
    let imported = import_json(include_str!("../../../tests/fixtures/grid_search_configs.json")).unwrap();
    let file = parse(Path::new("i.yaml"), &imported.yaml).unwrap();
    for point in all_points(&file) {
        let own = g.point_at(g.find(&point.config.name).unwrap()).unwrap();
        for (flag, value) in &point.config.settings.flags {
            assert_eq!(own.config.settings.flags.get(flag), Some(value), "{flag} of {}", point.config.name);
        }
        assert_eq!(own.expected, point.expected, "{}", point.config.name);
    }
}
