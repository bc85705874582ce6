//! In which order the starts of a night follow each other: a pure function of the plan, so that continuing finds the same order.

use crate::domain::{Purpose, Repeats, Start};

use super::PlanItem;

/// What a night is to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Every config, in the order in which they run.
    pub items: &'a [PlanItem],
    /// Index of the baseline, which the controls are starts of.
    pub baseline: Option<usize>,
    /// How often configs are started.
    pub repeats: Repeats,
    /// Indices of the finalists, once they are chosen.
    pub finalists: Option<&'a [usize]>,
}

impl Plan<'_> {
    /// The baseline, when it is started again in the course of the night: there is something to compare it with.
    pub(super) fn control(&self) -> Option<usize> {
        let is_run = |i: &usize| self.items.get(*i).is_some_and(|item| item.skip.is_none());
        let others = self.items.iter().enumerate().any(|(i, item)| item.skip.is_none() && Some(i) != self.baseline);
        self.baseline.filter(is_run).filter(|_| others && self.repeats.controls_every > 0)
    }

    /// Starts of finalists that are still unknown: those that the grid asks for, while none is chosen.
    fn finalist_starts_ahead(&self) -> u32 {
        let configs = self.items.iter().filter(|item| item.skip.is_none()).count();
        // One config alone has nobody to be compared with.
        let configs = if configs > 1 { configs } else { 0 };
        self.repeats.finalists.min(u32::try_from(configs).unwrap_or(u32::MAX)) * self.repeats.finalist_starts.max(1)
    }

    /// Starts that [`super::outstanding`] cannot name yet, because the finalists are not chosen: as many as the grid allows, and
    /// the control after them.
    #[must_use]
    pub fn starts_to_come(&self) -> usize {
        if self.finalists.is_some() || self.repeats.finalists == 0 {
            return 0;
        }
        self.finalist_starts_ahead() as usize + usize::from(self.control().is_some())
    }

    /// Every start, as index and start, in the order in which they are made: pass after pass over all configs, a control after
    /// every `controls_every` starts of other configs, then the finalists round by round, the baseline first, and a last control.
    /// A control so near the end that the last one would follow within half that many starts is left out. Until the finalists are
    /// chosen the list ends before them.
    pub(super) fn schedule(&self) -> Vec<(usize, Start)> {
        let runs: Vec<usize> = (0..self.items.len()).filter(|i| self.items[*i].skip.is_none()).collect();
        let control = self.control();
        let every = self.repeats.controls_every;
        let passes = self.repeats.starts.max(1);
        let others = runs.iter().filter(|i| Some(**i) != self.baseline).count() as u64;
        let mut ahead = others * u64::from(passes) + u64::from(self.finalist_starts_ahead());
        let mut slots = Vec::new();
        let mut controls = 0;
        let mut next_control = |slots: &mut Vec<(usize, Start)>| {
            controls += 1;
            slots.extend(control.map(|item| (item, Start { purpose: Purpose::Control, number: controls })));
        };
        for pass in 1..=passes {
            let mut since = 0;
            for (at, item) in runs.iter().enumerate() {
                let start = match pass {
                    1 => Start::FIRST,
                    further => Start { purpose: Purpose::Repeat, number: further - 1 },
                };
                slots.push((*item, start));
                if Some(*item) == self.baseline {
                    since = 0;
                    continue;
                }
                since += 1;
                ahead -= 1;
                // The next pass begins with the baseline.
                let baseline_follows = at + 1 == runs.len() && pass < passes;
                if since >= every && ahead * 2 >= u64::from(every) && !baseline_follows {
                    next_control(&mut slots);
                    since = 0;
                }
            }
        }
        let finalists = match self.finalists {
            Some(chosen) => chosen,
            None if self.repeats.finalists == 0 => &[],
            None => return slots,
        };
        for number in 1..=self.repeats.finalist_starts.max(1) {
            let start = Start { purpose: Purpose::Finalist, number };
            let baseline_first = finalists.iter().filter(|i| Some(**i) == self.baseline);
            let rest = finalists.iter().filter(|i| Some(**i) != self.baseline);
            slots.extend(baseline_first.chain(rest).map(|item| (*item, start)));
        }
        next_control(&mut slots);
        slots
    }
}

/// Starts beyond the first of each config that a whole night of this many configs makes when nothing fails and as many finalists as
/// allowed are chosen. The baseline is one of them when `baseline_runs`.
#[must_use]
pub fn further_starts(repeats: Repeats, configs: usize, baseline_runs: bool) -> usize {
    let nameless = |_| PlanItem {
        name: String::new(),
        key: crate::domain::ConfigKey(String::new()),
        scenarios: Vec::new(),
        skip: None,
    };
    let items: Vec<PlanItem> = (0..configs).map(nameless).collect();
    let plan = Plan { items: &items, baseline: baseline_runs.then_some(0), repeats, finalists: None };
    plan.schedule().iter().filter(|(_, start)| start.purpose != Purpose::Trial).count() + plan.starts_to_come()
}
