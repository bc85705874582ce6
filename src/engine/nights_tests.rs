//! Simulated nights: the simulator's scheduler in virtual time, the real order of starts, the real figures, intervals and ranking.
//! How often is a false winner named, and a true one found?

use std::collections::BTreeMap;

use crate::bench::replayed::{hit_metrics, load_metrics};
use crate::domain::{ConfigKey, Direction, MetricPath, Objective, Repeats, ScenarioSpec, Start, Suite, Verdict};
use crate::rank::{
    self, Answer, Candidate, ConfigStarts, Ranking, StartFigure, controls, figure_over_starts, start_noise,
};
use crate::resume::{self, AttemptHistory, PastOutcome, PlanItem, ResultKey, RetryPolicy, TrialHistory};
use crate::sim::virtual_start::VirtualStart;

/// What is sent to one start: pairs of miss and hit, then users at once.
#[derive(Clone, Copy)]
struct Size {
    pairs: usize,
    prefix_tokens: usize,
    users: usize,
    requests_per_user: usize,
    prompt_tokens: usize,
    output_tokens: usize,
}

impl Size {
    /// A part of the suite `quick`, for tests that have no minutes.
    const SMALL: Self =
        Self { pairs: 5, prefix_tokens: 1_024, users: 4, requests_per_user: 5, prompt_tokens: 256, output_tokens: 32 };

    /// The suite `quick` as it is shipped, its highest load alone: the headline of the throughput.
    fn quick() -> Self {
        let mut size = Self::SMALL;
        for spec in Suite::quick().scenarios {
            match spec {
                ScenarioSpec::KvCache(spec) => {
                    (size.pairs, size.prefix_tokens) =
                        (spec.repeats as usize, *spec.prefix_tokens.iter().max().unwrap() as usize);
                }
                ScenarioSpec::Load(spec) => {
                    size.users = *spec.concurrency.iter().max().unwrap() as usize;
                    size.requests_per_user = spec.requests_per_user as usize;
                    size.prompt_tokens = spec.prompt_tokens.0[0] as usize;
                    size.output_tokens = spec.output_tokens as usize;
                }
                _ => {}
            }
        }
        size
    }
}

/// What one simulated night is like.
#[derive(Clone, Copy)]
struct Setting {
    size: Size,
    configs: usize,
    /// Relative standard deviation of a start's speed.
    start_noise: f64,
    /// How much faster the last config is, as a share.
    better: f64,
    /// How much slower the machine becomes from the first start to the last, as a share.
    drift: f64,
    repeats: Repeats,
}

/// Minutes of virtual time from start to start.
const MINUTES: f64 = 10.0;

/// The figures of one start.
fn one_start(size: Size, speed: f64, start_noise: f64, seed: u64) -> Vec<crate::domain::Metric> {
    let flags = format!("m --max-model-len 4096 --sim-speed {speed}");
    let mut engine = VirtualStart::new(&flags, start_noise, seed);
    let hit_ms = |engine: &mut VirtualStart| {
        let prefix = engine.prompt(size.prefix_tokens);
        let pair = engine.closed_loop(vec![vec![prefix; 2]], 1);
        pair[0][1].token_ms[0] - pair[0][1].sent_ms
    };
    let hits: Vec<f64> = (0..size.pairs).map(|_| hit_ms(&mut engine)).collect();
    let of_user = |engine: &mut VirtualStart| {
        (0..size.requests_per_user).map(|_| engine.prompt(size.prompt_tokens)).collect::<Vec<_>>()
    };
    let prompts = (0..size.users).map(|_| of_user(&mut engine)).collect();
    let users = engine.closed_loop(prompts, size.output_tokens);
    let users: Vec<Vec<_>> =
        users.into_iter().map(|u| u.into_iter().map(|r| (r.sent_ms, r.token_ms)).collect()).collect();
    let mut metrics = load_metrics(&users, 1);
    metrics.extend(hit_metrics(&hits, 1));
    metrics
}

fn objectives() -> Vec<Objective> {
    let objective = |name: &str, direction, metric: &str| Objective {
        name: name.to_owned(),
        direction,
        metric: metric.parse().unwrap(),
    };
    vec![
        objective("throughput", Direction::Maximize, "load.output_tokens_per_s"),
        objective("hit", Direction::Minimize, "kv_cache.ttft_hit_ms.p50"),
    ]
}

/// Carries a night out as the sweep does, and ranks it; with the number of its starts.
fn night(setting: Setting, seed: u64) -> (Vec<Ranking>, u64) {
    let Setting { size, configs, start_noise, better, drift, repeats } = setting;
    let item = |i: usize| PlanItem {
        name: format!("c{i:02}"),
        key: ConfigKey(format!("k{i}")),
        scenarios: vec![ResultKey(format!("r{i}"))],
        skip: None,
    };
    let items: Vec<PlanItem> = (0..configs).map(item).collect();
    let mut history: Vec<TrialHistory> =
        items.iter().map(|p| TrialHistory { key: p.key.clone(), attempts: vec![], skip: None }).collect();
    let mut starts: Vec<Vec<(Start, f64, Vec<crate::domain::Metric>)>> = vec![Vec::new(); configs];
    let mut finalists: Option<Vec<usize>> = None;
    let whole = configs * repeats.starts as usize + resume::further_starts(repeats, configs, true);
    let mut made = 0_u64;
    loop {
        let plan = resume::Plan { items: &items, baseline: Some(0), repeats, finalists: finalists.as_deref() };
        let todos = resume::outstanding(&plan, &history, &RetryPolicy::default());
        if todos.is_empty() {
            if finalists.is_some() || repeats.finalists == 0 {
                return (ranked(&starts), made);
            }
            let chosen = rank::finalists(&ranked(&starts), repeats.finalists as usize);
            finalists = Some(chosen.into_iter().map(|trial| trial as usize).collect());
            continue;
        }
        for todo in todos {
            let slower = 1.0 - drift * made as f64 / whole as f64;
            let speed = slower * if todo.item + 1 == configs { 1.0 + better } else { 1.0 };
            let metrics = one_start(size, speed, start_noise, seed.wrapping_mul(1_000).wrapping_add(made));
            starts[todo.item].push((todo.start, 60.0 * MINUTES * made as f64, metrics));
            let finished = vec![items[todo.item].scenarios[0].at(todo.start)];
            let outcome = Some(PastOutcome::Measured);
            let attempt = AttemptHistory { start: todo.start, outcome, finished, died_in: None };
            history[todo.item].attempts.push(attempt);
            made += 1;
        }
    }
}

fn ranked(starts: &[Vec<(Start, f64, Vec<crate::domain::Metric>)>]) -> Vec<Ranking> {
    let mut by_path: BTreeMap<MetricPath, Vec<ConfigStarts>> = BTreeMap::new();
    for (i, starts) in starts.iter().enumerate() {
        let mut own: BTreeMap<MetricPath, Vec<StartFigure>> = BTreeMap::new();
        for (_, at_s, metrics) in starts {
            for metric in metrics {
                let figure = StartFigure { at_s: *at_s, metric: metric.clone(), verdict: Verdict::Valid };
                own.entry(metric.path.clone()).or_default().push(figure);
            }
        }
        for (path, starts) in own {
            by_path.entry(path).or_default().push(ConfigStarts { trial_id: i as i64, is_baseline: i == 0, starts });
        }
    }
    let mut figures: BTreeMap<i64, Vec<rank::Figure>> = BTreeMap::new();
    for configs in by_path.values() {
        let (noise, controls) = (start_noise(configs), controls(configs));
        for config in configs {
            figures.entry(config.trial_id).or_default().extend(figure_over_starts(config, &controls, noise));
        }
    }
    let candidate = |(trial_id, figures): (i64, Vec<rank::Figure>)| Candidate {
        trial_id,
        name: format!("c{trial_id:02}"),
        gates: vec![],
        figures,
    };
    let candidates: Vec<Candidate> = figures.into_iter().map(candidate).collect();
    rank::rank_all(&candidates, &objectives(), Some("c00"))
}

/// What came of many nights of one setting, by objective.
struct Tally {
    nights: usize,
    /// Starts of all nights.
    starts: u64,
    /// Nights that named a champion.
    named: [usize; 2],
    /// Nights that named the last config, which is better where any is.
    found: [usize; 2],
    /// Nights that said of a config that it is behind.
    behind: [usize; 2],
    /// Nights that said that the baseline moved.
    moved: [usize; 2],
}

fn nights(setting: Setting, nights: usize) -> Tally {
    let mut tally = Tally { nights, starts: 0, named: [0; 2], found: [0; 2], behind: [0; 2], moved: [0; 2] };
    for seed in 0..nights as u64 {
        let (rankings, starts) = night(setting, seed + 1);
        tally.starts += starts;
        for (i, ranking) in rankings.iter().enumerate() {
            if let Answer::Champion { trial_id, .. } = ranking.answer {
                tally.named[i] += 1;
                tally.found[i] += usize::from(trial_id + 1 == setting.configs as i64);
            }
            tally.behind[i] += usize::from(ranking.rows.iter().any(|r| r.standing == rank::Standing::Behind));
            tally.moved[i] += usize::from(ranking.noise.moved);
        }
    }
    tally
}

fn setting(configs: usize, start_noise: f64) -> Setting {
    let repeats = Repeats { finalist_starts: 1, ..Repeats::default() };
    Setting { size: Size::SMALL, configs, start_noise, better: 0.0, drift: 0.0, repeats }
}

#[test]
fn two_identical_configs_rarely_have_a_winner_and_a_true_one_is_found() {
    let same = nights(setting(2, 0.01), 60);
    // 5 % of 60 is 3; the limit lies three standard deviations of a binomial above it.
    assert!(same.behind.iter().all(|wrong| *wrong <= 8), "{:?} of 60 nights named a winner", same.behind);
    let better = nights(Setting { better: 0.1, ..setting(2, 0.01) }, 20);
    assert!(better.found[0] >= 14, "{:?} of 20 nights found the better one", better.found);
}

#[test]
fn twelve_identical_configs_rarely_have_a_winner() {
    let same = nights(setting(12, 0.01), 16);
    assert!(same.behind.iter().all(|wrong| *wrong <= 3), "{:?} of 16 nights named a winner", same.behind);
}

#[test]
fn a_machine_that_slows_down_by_a_third_makes_no_winner_of_the_config_that_ran_first() {
    let drifting = nights(Setting { drift: 0.33, ..setting(2, 0.01) }, 20);
    assert!(drifting.moved.iter().all(|moved| *moved >= 18), "{:?} of 20 nights saw it", drifting.moved);
    assert!(drifting.behind.iter().all(|wrong| *wrong <= 4), "{:?} of 20 nights named a winner", drifting.behind);
}

/// The table of docs/statistics.md: `benches/nights.sh`.
#[test]
#[ignore = "minutes: benches/nights.sh runs it"]
fn table_of_nights() {
    let count = std::env::var("VGRID_NIGHTS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    println!(
        "{count} nights a line; shares in percent, of throughput and of the time to the first token of a cache hit"
    );
    println!("configs  start s.d.  better  drift  repeats    starts  named         found         behind        moved");
    let plain = Repeats::default();
    let two = Repeats { starts: 2, ..plain };
    let lines = [
        ("default", plain, 0.0, 0.0),
        ("default", plain, 0.1, 0.0),
        ("starts: 2", two, 0.0, 0.0),
        ("starts: 2", two, 0.1, 0.0),
        ("off", Repeats::OFF, 0.0, 0.0),
        ("off", Repeats::OFF, 0.1, 0.0),
        ("default", plain, 0.0, 0.3),
        ("default", plain, 0.1, 0.3),
    ];
    let only = std::env::var("VGRID_NIGHTS_OF").unwrap_or_default();
    for (name, repeats, better, drift) in lines.into_iter().filter(|line| line.0.starts_with(&only)) {
        // What starts do on a quiet machine, and, without a difference, what is beyond it.
        let quiet = [(2, 0.01), (12, 0.01), (2, 0.02), (12, 0.02)];
        let beyond = [(2, 0.05), (12, 0.05), (2, 0.1), (12, 0.1)];
        let beyond = beyond.into_iter().filter(|_| better == 0.0 && drift == 0.0);
        for (configs, start_noise) in quiet.into_iter().chain(beyond) {
            let t = nights(Setting { size: Size::quick(), configs, start_noise, better, drift, repeats }, count);
            let percent = |n: [usize; 2]| n.map(|n| format!("{:5.1}", 100.0 * n as f64 / t.nights as f64)).join(" ");
            println!(
                "{configs:7}  {start_noise:10}  {better:6}  {drift:5}  {name:9}  {:6.1}  {}   {}   {}   {}",
                t.starts as f64 / t.nights as f64,
                percent(t.named),
                percent(t.found),
                percent(t.behind),
                percent(t.moved)
            );
        }
    }
}
