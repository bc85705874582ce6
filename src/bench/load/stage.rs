//! The points of the load scenario, in the order in which they are measured.

use crate::domain::{LoadSpec, TracePrompt};

use super::open;

/// One point: what is sent there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    /// Its name in a metric's path.
    pub(super) point: String,
    /// What is sent.
    pub(super) shape: Shape,
    /// Tokens of each prompt; 0 where the trace says.
    pub(super) prompt_tokens: u32,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Closed loop of so many users.
    Users(u32),
    /// Closed loop of so many users who hold conversations.
    Conversations(u32),
    /// Open loop at so many requests per second.
    Rate(f64),
    /// Open loop at this share of what the closed loop reached at the same prompt length: a [`Shape::Rate`] once that is measured.
    Share(f64),
    /// The trace's lines in a closed loop of so many users.
    TraceUsers(u32),
    /// The trace's lines when they arrive.
    TraceArrivals,
}

/// All points of the parameters.
pub(super) fn stages(spec: &LoadSpec) -> Vec<Stage> {
    let users = sorted(&spec.concurrency);
    if let Some(trace) = &spec.trace {
        let stage = |point: String, shape| Stage { point, shape, prompt_tokens: 0 };
        return if trace.has_arrivals() {
            vec![stage("trace".to_owned(), Shape::TraceArrivals)]
        } else {
            users.into_iter().map(|n| stage(format!("c{n}"), Shape::TraceUsers(n))).collect()
        };
    }
    let ascending = |numbers: &[f64]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable_by(f64::total_cmp);
        numbers.dedup();
        numbers
    };
    let (rates, shares) = (ascending(&spec.rates), ascending(&spec.rate_shares));
    let lengths = spec.prompt_tokens.0.as_slice();
    let mut stages = Vec::new();
    for prompt_tokens in lengths {
        let mut add = |point: String, shape| {
            let point = if lengths.len() > 1 { format!("{point}_p{prompt_tokens}") } else { point };
            stages.push(Stage { point, shape, prompt_tokens: *prompt_tokens });
        };
        for n in &users {
            add(format!("c{n}"), Shape::Users(*n));
        }
        for n in users.iter().filter(|_| spec.turns_per_user.is_some()) {
            add(format!("u{n}"), Shape::Conversations(*n));
        }
        for rate in &rates {
            add(format!("r{}", rate.to_string().replace('.', "_")), Shape::Rate(*rate));
        }
        for share in &shares {
            let percent = (share * 1_000.0).round() / 10.0;
            add(format!("s{}", percent.to_string().replace('.', "_")), Shape::Share(*share));
        }
    }
    stages
}

fn sorted(numbers: &[u32]) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.iter().copied().filter(|n| *n > 0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl Stage {
    /// Requests that it sends; 0 where that is not known yet.
    pub(super) fn requests(&self, spec: &LoadSpec) -> usize {
        match self.shape {
            Shape::Users(users) => users as usize * spec.requests_per_user as usize,
            Shape::Conversations(users) => users as usize * conversations(spec) * turns(spec),
            Shape::Rate(rate) => open::count(rate, spec.duration_s),
            Shape::Share(_) => 0,
            Shape::TraceUsers(_) | Shape::TraceArrivals => spec.trace.as_ref().map_or(0, |t| t.requests.len()),
        }
    }

    /// Tokens of the longest prompt with its answer, as far as they are known before anything is counted.
    pub(super) fn longest(&self, spec: &LoadSpec) -> u32 {
        let pair = self.prompt_tokens.saturating_add(spec.output_tokens);
        match self.shape {
            Shape::Users(_) | Shape::Rate(_) | Shape::Share(_) => pair,
            Shape::Conversations(_) => {
                let later = spec.turn_tokens.saturating_add(spec.output_tokens);
                pair.saturating_add(later.saturating_mul(turns(spec) as u32 - 1))
            }
            Shape::TraceUsers(_) | Shape::TraceArrivals => {
                let lines = spec.trace.iter().flat_map(|t| t.requests.iter());
                let length = |prompt: &TracePrompt| match prompt {
                    TracePrompt::Tokens(tokens) => *tokens,
                    TracePrompt::Messages(_) => 0,
                };
                let of = |line: &crate::domain::TraceRequest| {
                    length(&line.prompt).saturating_add(line.output_tokens.unwrap_or(spec.output_tokens))
                };
                lines.map(of).max().unwrap_or(0)
            }
        }
    }

    /// Whether requests arrive whatever becomes of the ones before them.
    pub(super) const fn is_open(&self) -> bool {
        match self.shape {
            Shape::Rate(_) | Shape::Share(_) | Shape::TraceArrivals => true,
            Shape::Users(_) | Shape::Conversations(_) | Shape::TraceUsers(_) => false,
        }
    }
}

/// Turns of a conversation.
pub(super) fn turns(spec: &LoadSpec) -> usize {
    spec.turns_per_user.unwrap_or(1).max(1) as usize
}

/// Conversations of each user: whole ones, until it has sent `requests_per_user` requests.
pub(super) fn conversations(spec: &LoadSpec) -> usize {
    (spec.requests_per_user as usize).div_ceil(turns(spec)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Lengths;

    fn points(spec: &LoadSpec) -> Vec<String> {
        stages(spec).into_iter().map(|s| s.point).collect()
    }

    #[test]
    fn every_kind_of_load_has_points_of_its_own_and_lengths_are_named_where_there_are_several() {
        let spec = LoadSpec { concurrency: vec![8, 1, 8], rates: vec![2.0, 0.5], ..LoadSpec::default() };
        assert_eq!(points(&spec), ["c1", "c8", "r0_5", "r2"]);
        let spec = LoadSpec { turns_per_user: Some(3), rates: vec![], concurrency: vec![2], ..spec };
        assert_eq!(points(&spec), ["c2", "u2"]);
        let shares = LoadSpec { rate_shares: vec![0.9, 0.5, 0.125], turns_per_user: None, ..spec.clone() };
        assert_eq!(points(&shares), ["c2", "s12_5", "s50", "s90"]);
        let spec = LoadSpec { prompt_tokens: Lengths(vec![256, 1_024]), rates: vec![1.5], ..spec };
        assert_eq!(points(&spec), ["c2_p256", "u2_p256", "r1_5_p256", "c2_p1024", "u2_p1024", "r1_5_p1024"]);
    }

    #[test]
    fn a_stage_knows_how_much_it_sends_and_how_long_its_longest_prompt_grows() {
        let spec = LoadSpec { concurrency: vec![2], turns_per_user: Some(3), ..LoadSpec::default() };
        let all = stages(&spec);
        assert_eq!((all[0].requests(&spec), all[0].longest(&spec)), (16, 640));
        assert_eq!((all[1].requests(&spec), all[1].longest(&spec)), (2 * 3 * 3, 640 + 2 * (64 + 128)));
    }
}
