//! The grid file as a whole: sections in their order, and what must agree between them.

use std::collections::HashMap;
use std::path::Path;

use super::axes::Axis;
use super::keys::SEEDS;
use super::points::{self, settings_of};
use super::reader::{Reader, present};
use super::settings::{Assignment, Target};
use super::suite::SuiteRef;
use super::{
    CONFIG, GRID, Grid, Limits, NamedConfig, ORDER, Order, axes, deployment, gate, limits, notify, repeats, rule,
    settings, suite, telemetry, use_case,
};
use crate::domain::{Diagnostics, Suite, did_you_mean};
use crate::yaml::{self, Node};

/// A product of this many points is a mistake: at a minute each it would take 19 centuries.
const MOST_POINTS: usize = 1_000_000_000;

/// Longest name of a grid or config, characters: names become parts of file names.
const LONGEST_NAME: usize = 128;

/// Reads a grid. `file` is only used for messages and as the start of relative paths.
///
/// # Errors
/// Everything wrong with the text, each with file, line, column, snippet and the way out.
pub fn parse(file: &Path, text: &str) -> Result<Grid, Diagnostics> {
    let root = yaml::parse(file, text)?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::default();
    let grid = read(&mut reader, &root, file, folder);
    let (mut grid, warnings) = reader.finish(grid)?;
    grid.warnings = warnings;
    Ok(grid)
}

fn read(reader: &mut Reader, root: &Node, file: &Path, folder: &Path) -> Option<Grid> {
    reader.check_keys(root, &GRID);
    root.map()?;
    let name = reader.required(root, "name", "the grid", "give it a name: name: my-model");
    let name = name.and_then(|node| name_of(reader, node, "the grid's name"));
    let description = present(root, "description").and_then(|node| reader.text(node, "`description`"));
    let help = "deployment: { compose: [compose.yml], service: vllm }";
    let deployment = reader.required(root, "deployment", "the grid", help);
    let deployment = deployment.and_then(|node| deployment::read(reader, node, folder));
    let base = present(root, "base").map(|node| settings::base(reader, node)).unwrap_or_default();
    let axes = present(root, "axes").map(|node| axes::read(reader, node)).unwrap_or_default();
    let configs = present(root, "configs").map(|node| configs(reader, node)).unwrap_or_default();
    let targets = targets(&base, &axes, &configs);
    let exclude = present(root, "exclude").map(|node| rule::read(reader, node, &targets)).unwrap_or_default();
    let seed = present(root, "seed").and_then(|node| reader.whole(node, "`seed`", SEEDS)).unwrap_or(0);
    let order = present(root, "order").map_or(Some(Order::AsWritten), |node| order(reader, node, seed));
    let suite = match present(root, "suite") {
        Some(node) => suite::read(reader, node, folder, seed),
        None => Some(SuiteRef::Inline(Suite { seed, ..Suite::quick() })),
    };
    let use_cases = present(root, "use_cases").map(|node| use_case::read(reader, node)).unwrap_or_default();
    let gates = present(root, "gates").map(|node| gate::read_gates(reader, node)).unwrap_or_default();
    let objectives = present(root, "objectives").map(|node| gate::read_objectives(reader, node)).unwrap_or_default();
    let (objectives, objective_spans): (Vec<_>, Vec<_>) = objectives.into_iter().unzip();
    let limits = present(root, "limits").map_or_else(Limits::default, |node| limits::read(reader, node));
    let notify = present(root, "notify").map(|node| notify::read(reader, node)).unwrap_or_default();
    let has_objectives = !objectives.is_empty() || use_cases.iter().any(use_case::UseCase::has_objectives);
    let repeats =
        present(root, "repeats").map_or_else(|| repeats::default(has_objectives), |node| repeats::read(reader, node));
    let telemetry = present(root, "telemetry").map(|node| telemetry::read(reader, node, folder)).unwrap_or_default();
    check_size(reader, root, &axes)?;
    check_names(reader, &axes, &configs);
    let baseline = present(root, "baseline").and_then(|node| baseline(reader, node, &axes, &configs));
    // Only now may the first missing section end the reading: everything was looked at.
    let suite = suite?;
    Some(Grid {
        name: name?,
        description: description.map(|text| text.value),
        file: file.to_owned(),
        deployment: deployment?,
        base_settings: settings_of(&base),
        base,
        axes,
        exclude,
        configs,
        baseline,
        order: order?,
        suite,
        seed,
        use_cases,
        gates,
        objectives,
        repeats,
        limits,
        notify,
        telemetry,
        warnings: Diagnostics::default(),
        objective_spans,
    })
}

fn name_of(reader: &mut Reader, node: &Node, what: &str) -> Option<String> {
    let text = reader.text(node, what)?.value;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let ok = text.chars().all(allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !ok || text.len() > LONGEST_NAME {
        let error = node.span.error("bad-name", format!("`{text}` cannot be {what}"));
        let help = format!("letters, digits, `_`, `-` and `.`, first a letter or digit, at most {LONGEST_NAME}");
        reader.error(error.help(help));
        return None;
    }
    Some(text)
}

fn configs(reader: &mut Reader, node: &Node) -> Vec<NamedConfig> {
    let help = "e.g. configs: [{ name: safe, flags: { max-num-seqs: 32 } }]";
    let what = CONFIG.what;
    let mut configs = Vec::new();
    for item in reader.items(node, "`configs`", help) {
        reader.check_keys(item, &CONFIG);
        let settings = settings::assignments(reader, item, what);
        let expected = present(item, "expected").map(|node| gate::read_expected(reader, node)).unwrap_or_default();
        let description = present(item, "description").and_then(|node| reader.text(node, "`description`"));
        let name = reader.required(item, "name", what, "every config of `configs` has a name of its own");
        let Some(node) = name else { continue };
        let Some(name) = name_of(reader, node, "a config's name") else { continue };
        let description = description.map(|text| text.value);
        configs.push(NamedConfig { name, span: node.span.clone(), settings, expected, description });
    }
    configs
}

/// Everything that the grid sets anywhere.
fn targets(base: &[Assignment], axes: &[Axis], configs: &[NamedConfig]) -> Vec<Target> {
    let assigned = base.iter().chain(configs.iter().flat_map(|config| &config.settings));
    let mut targets: Vec<Target> = assigned.map(|a| a.setting.target()).collect();
    targets.extend(axes.iter().map(|axis| axis.target.clone()));
    targets.sort();
    targets.dedup();
    targets
}

fn order(reader: &mut Reader, node: &Node, seed: u64) -> Option<Order> {
    if node.map().is_some() {
        reader.check_keys(node, &ORDER);
        let own = reader.required(node, "shuffled", "`order`", "write order: { shuffled: 7 }")?;
        return reader.whole(own, "the order's seed", SEEDS).map(|seed| Order::Shuffled { seed });
    }
    reader.choice(node, "order", &[("as_written", Order::AsWritten), ("shuffled", Order::Shuffled { seed })])
}

fn check_size(reader: &mut Reader, root: &Node, axes: &[Axis]) -> Option<()> {
    let size = axes.iter().try_fold(1_usize, |size, axis| size.checked_mul(axis.values.len()));
    if size.is_some_and(|size| size <= MOST_POINTS) {
        return Some(());
    }
    let place = root.get("axes").map_or(&root.span, |node| &node.span);
    let error = place.error("too-many-points", format!("the axes make more than {MOST_POINTS} points"));
    reader.error(error.help("take values or axes away"));
    None
}

fn check_names(reader: &mut Reader, axes: &[Axis], configs: &[NamedConfig]) {
    let mut taken: HashMap<&str, &NamedConfig> = HashMap::new();
    for config in configs {
        if let Some(first) = taken.get(config.name.as_str()) {
            let line = first.span.place().line;
            let message = format!("the name `{}` is already taken on line {line}", config.name);
            reader.error(config.span.error("duplicate-name", message).help("give every config a name of its own"));
        } else if let Some(index) = points::find_in_product(axes, configs, &config.name) {
            let message = format!("the name `{}` is the name of point {index} of the axes", config.name);
            reader.error(config.span.error("duplicate-name", message).help("give the config another name"));
        }
        taken.entry(&config.name).or_insert(config);
    }
}

fn baseline(reader: &mut Reader, node: &Node, axes: &[Axis], configs: &[NamedConfig]) -> Option<String> {
    let text = reader.text(node, "`baseline`")?.value;
    if points::find(axes, configs, &text).is_some() {
        return Some(text);
    }
    let names = || configs.iter().map(|config| config.name.as_str());
    let help = match did_you_mean(&text, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if configs.is_empty() => "name a point of the axes as `vgrid plan` shows it".to_owned(),
        None => format!("named configs: {}", names().collect::<Vec<_>>().join(", ")),
    };
    reader.error(node.span.error("unknown-baseline", format!("the grid has no point `{text}`")).help(help));
    None
}
