//! Use cases: gates and objectives that vgrid ships by name, in the grid's own spelling; what the grid writes itself wins.

use std::path::Path;

use super::Grid;
use super::gate::{self, Gate};
use super::reader::{Reader, Spanned, present};
use crate::domain::{MetricPath, Objective, Suite, did_you_mean};
use crate::yaml::{self, Node, Span};

const SHIPPED: &str = include_str!("use_cases.yaml");

/// A use case that a grid names.
#[derive(Debug)]
pub struct UseCase {
    /// Its name, where the grid writes it.
    pub(super) name: Spanned<String>,
    pub(super) gates: Vec<Gate>,
    pub(super) objectives: Vec<(Objective, Span)>,
}

impl UseCase {
    pub(super) fn has_objectives(&self) -> bool {
        !self.objectives.is_empty()
    }
}

/// Reads `use_cases`: a name or a list of names.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<UseCase> {
    let shipped = match yaml::parse(Path::new("use_cases.yaml (shipped with vgrid)"), SHIPPED) {
        Ok(shipped) => shipped,
        Err(errors) => {
            errors.0.into_iter().for_each(|error| reader.error(error));
            return Vec::new();
        }
    };
    let mut found: Vec<UseCase> = Vec::new();
    for name in reader.texts(node, "a use case") {
        if found.iter().any(|case| case.name.value == name.value) {
            continue;
        }
        match shipped.get(&name.value) {
            Some(case) => {
                let gates = present(case, "gates").map(|node| gate::read_gates(reader, node)).unwrap_or_default();
                let objectives = present(case, "objectives").map(|node| gate::read_objectives(reader, node));
                found.push(UseCase { name, gates, objectives: objectives.unwrap_or_default() });
            }
            None => {
                let all: Vec<&str> = shipped.map().into_iter().flatten().filter_map(|(key, _)| key.text()).collect();
                let near = did_you_mean(&name.value, all.iter().copied());
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                let error = name.span.error("unknown-use-case", format!("vgrid has no use case `{}`", name.value));
                reader.error(error.help(format!("{near}Allowed: {}", all.join(", "))));
            }
        }
    }
    found
}

impl Grid {
    /// Puts the gates and objectives of the grid's use cases behind its own, as far as the suite measures them; what is left out is a
    /// warning. A gate over the same figure and an objective of the same name in the grid replace those of a use case.
    pub fn take_use_cases(&mut self, suite: &Suite) {
        let measured = |path: &MetricPath| suite.scenarios.iter().any(|spec| spec.kind() == path.scenario);
        let own: Vec<MetricPath> = self.gates.iter().flat_map(Gate::metrics).map(|m| m.path.clone()).collect();
        for case in std::mem::take(&mut self.use_cases) {
            let mut left_out = Vec::new();
            for gate in case.gates {
                let replaced = gate.metrics().iter().any(|m| own.contains(&m.path));
                if replaced || self.gates.iter().any(|g| g.text() == gate.text()) {
                    continue;
                }
                match gate.metrics().iter().all(|m| measured(&m.path)) {
                    true => self.gates.push(gate),
                    false => left_out.push(format!("gate {}", gate.text())),
                }
            }
            for (objective, span) in case.objectives {
                if self.objectives.iter().any(|o| o.name == objective.name) {
                    continue;
                }
                if measured(&objective.metric) {
                    self.objectives.push(objective);
                    self.objective_spans.push(span);
                } else {
                    left_out.push(format!("objective {}", objective.name));
                }
            }
            if !left_out.is_empty() {
                let message = format!(
                    "the suite `{}` does not measure all that the use case `{}` asks for",
                    suite.name, case.name.value
                );
                let warning = case.name.span.warning("use-case-not-measured", message);
                let help = format!("left out: {}; `suite: full` measures everything", left_out.join(", "));
                self.warnings.push(warning.help(help));
            }
        }
    }
}
