//! Numbers of a real campaign on two GPUs (2025 and 2026), and what may be concluded from them.

use super::*;
use crate::domain::Direction;

fn metric(path: &str, value: f64, half: Option<f64>, n: u64) -> Metric {
    Metric {
        path: path.parse().unwrap(),
        value,
        unit: "ms".into(),
        n,
        failed_n: 0,
        ci_low: half.map(|h| value - h),
        ci_high: half.map(|h| value + h),
    }
}

fn objective(direction: Direction, path: &str) -> Objective {
    Objective { name: "o".into(), direction, metric: path.parse().unwrap() }
}

const HIT: &str = "kv_cache.ttft_hit_ms.p50";
const MISS: &str = "kv_cache.ttft_miss_ms.p50";
const RATIO: &str = "kv_cache.acceleration_ratio";

/// Name, MISS, HIT of the three configs that were measured, in ms.
const GRID: [(&str, f64, f64); 3] = [
    ("prefix_only_safe", 2_654.70, 895.95),
    ("chunked_only_safe", 2_928.82, 908.67),
    ("combined_conservative", 2_677.03, 895.47),
];

/// With these half-widths as shares of the figures, and n samples each.
fn measured(half: Option<f64>, n: u64) -> Vec<Candidate> {
    let candidate = |(i, (name, miss, hit)): (usize, &(&str, f64, f64))| Candidate {
        trial_id: i as i64,
        name: (*name).to_owned(),
        gates: vec![],
        figures: [(MISS, *miss), (HIT, *hit), (RATIO, miss / hit)]
            .into_iter()
            .map(|(path, value)| Figure::of_one_start(metric(path, value, half.map(|h| h * value), n), Verdict::Valid))
            .collect(),
    };
    GRID.iter().enumerate().map(candidate).collect()
}

fn order(ranking: &Ranking) -> Vec<&str> {
    ranking.rows.iter().map(|r| r.name.split('_').next().unwrap_or_default()).collect()
}

#[test]
fn the_winner_flips_with_the_metric_and_one_sample_of_each_makes_nobody_champion() {
    let field = measured(None, 1);
    let by = |direction, path| rank(&field, &objective(direction, path), None);
    let (ratio, hit, miss) =
        (by(Direction::Maximize, RATIO), by(Direction::Minimize, HIT), by(Direction::Minimize, MISS));
    assert_eq!(order(&ratio), ["chunked", "combined", "prefix"]);
    assert_eq!(order(&hit), ["combined", "prefix", "chunked"]);
    assert_eq!(order(&miss), ["prefix", "combined", "chunked"]);
    for ranking in [ratio, hit, miss] {
        assert!(matches!(ranking.answer, Answer::Tied { .. }), "{}", ranking.sentence);
    }
}

#[test]
fn with_the_spread_that_the_campaign_measured_later_the_three_are_tied() {
    // Standard deviation of five hits: 139 to 155 ms around 2,397 ms; n = 5.
    let half = 1.96 * 147.0 / 2_397.0 / 5.0_f64.sqrt();
    let ranking = rank(&measured(Some(half), 5), &objective(Direction::Minimize, HIT), None);
    assert!(matches!(&ranking.answer, Answer::Tied { names, .. } if names.len() == 3), "{}", ranking.sentence);
}

fn start(minute: f64, value: f64) -> StartFigure {
    StartFigure { at_s: 60.0 * minute, metric: metric(HIT, value, None, 1), verdict: Verdict::Valid }
}

fn config(trial_id: i64, is_baseline: bool, starts: &[(f64, f64)]) -> ConfigStarts {
    let starts = starts.iter().map(|(minute, value)| start(*minute, *value)).collect();
    ConfigStarts { trial_id, is_baseline, starts }
}

fn night(configs: &[ConfigStarts]) -> Ranking {
    let (noise, controls) = (start_noise(configs), controls(configs));
    let candidate = |c: &ConfigStarts| Candidate {
        trial_id: c.trial_id,
        name: format!("c{}", c.trial_id),
        gates: vec![],
        figures: figure_over_starts(c, &controls, noise).into_iter().collect(),
    };
    let candidates: Vec<Candidate> = configs.iter().map(candidate).collect();
    rank(&candidates, &objective(Direction::Maximize, HIT), Some("c0"))
}

#[test]
fn a_stack_that_gave_462_and_then_844_tokens_a_second_allows_no_verdict_across_the_night() {
    // The same stack first and last; two others, one beside each.
    let ranking = night(&[
        config(0, true, &[(0.0, 462.0), (60.0, 844.0)]),
        config(1, false, &[(5.0, 470.0)]),
        config(2, false, &[(55.0, 830.0)]),
    ]);
    assert!(ranking.noise.moved);
    assert!((ranking.noise.change_percent.unwrap() - 82.7).abs() < 0.1);
    assert!(matches!(ranking.answer, Answer::Tied { .. }), "{}", ranking.sentence);
    assert!(ranking.rows.iter().all(|r| r.gain_is_real != Some(true)));
    let gain = |name: &str| ranking.rows.iter().find(|r| r.name == name).and_then(|r| r.gain_percent).unwrap();
    assert!(
        gain("c2").abs() < 5.0,
        "+77 % against the first start, {:.1} % against the controls around it",
        gain("c2")
    );
    let sentence = ranking.drift.unwrap();
    assert!(sentence.starts_with("the baseline moved by +82.7 %"), "{sentence}");
}

#[test]
fn pairs_that_run_side_by_side_give_a_verdict_although_the_machine_moved() {
    // A-B, a pause, A-B, A: tokens/s of sixteen users, then of one.
    for (a, b, paired) in
        [([683.0, 872.0, 870.0], [119.0, 138.0], [5.7, 6.3]), ([58.3, 101.7, 101.7], [25.0, 42.0], [2.33, 2.42])]
    {
        let baseline = config(0, true, &[(0.0, a[0]), (60.0, a[1]), (63.0, a[2])]);
        let ranking = night(&[baseline.clone(), config(1, false, &[(1.5, b[0]), (61.5, b[1])])]);
        assert!(ranking.noise.moved, "{:?}", ranking.noise);
        assert_eq!((ranking.rows[0].name.as_str(), ranking.rows[1].standing), ("c0", Standing::Behind), "{ranking:?}");
        for (minute, value, wanted) in [(1.5, b[0], paired[0]), (61.5, b[1], paired[1])] {
            let one = config(1, false, &[(minute, value)]);
            let share = figure_over_starts(&one, &baseline.starts, StartNoise::default()).unwrap().relative.unwrap();
            assert!((1.0 / share / wanted - 1.0).abs() < 0.03, "{:.2} times, {wanted} by hand", 1.0 / share);
        }
    }
}

#[test]
fn a_baseline_within_five_percent_has_not_moved_and_its_spread_widens_every_interval() {
    let steady = config(0, true, &[(0.0, 100.0), (30.0, 102.0), (60.0, 98.0)]);
    let ranking = night(&[steady, config(1, false, &[(10.0, 105.0)]), config(2, false, &[(20.0, 200.0)])]);
    let noise = ranking.noise;
    assert!(!noise.moved && noise.degrees == 2 && noise.controls == 3);
    assert!((noise.start_percent().unwrap() - 2.0).abs() < 1e-9, "{noise:?}");
    assert!(matches!(&ranking.answer, Answer::Champion { name, .. } if name == "c2"), "{}", ranking.sentence);
    let row = ranking.rows.iter().find(|r| r.name == "c1").unwrap();
    // 2 % on two degrees with 3 % on three are 2.646 %; t(0.975; 5) = 2.571.
    assert!((row.ci_high.unwrap() - 105.0 - 2.571 * 0.026_46 * 105.0).abs() < 0.01, "{row:?}");
    assert_eq!(row.gain_is_real, Some(false));
}

#[test]
fn the_noise_between_starts_is_what_the_noise_within_them_does_not_explain() {
    let with_interval = |minute: f64, value: f64| StartFigure {
        metric: metric(HIT, value, Some(1.959_963_985 * 2.0 * (0.9_f64).sqrt()), 10),
        ..start(minute, value)
    };
    let starts = vec![with_interval(0.0, 99.0), with_interval(1.0, 101.0)];
    let noise = start_noise(&[ConfigStarts { trial_id: 0, is_baseline: true, starts }]);
    // S^2 is 2 / 10,000, the variance within (2 %)^2: nothing is left for the starts.
    assert!((noise.within_variance - 4e-4).abs() < 1e-6, "{noise:?}");
    assert_eq!((noise.start_variance, noise.degrees), (0.0, 1));
}

/// Cache hits around 10 ms that are noisy in relative terms, on two starts, and a config without a cache, whose 58 ms are not.
#[test]
fn the_noise_of_small_figures_does_not_widen_one_many_times_as_large() {
    let hit = |minute: f64, value: f64, half: f64| StartFigure {
        metric: metric(HIT, value, Some(half), 6),
        ..start(minute, value)
    };
    let cached =
        ConfigStarts { trial_id: 0, is_baseline: true, starts: vec![hit(0.0, 10.0, 4.0), hit(60.0, 10.2, 4.0)] };
    let uncached = ConfigStarts { trial_id: 1, is_baseline: false, starts: vec![hit(30.0, 58.0, 2.0)] };
    let ranking = night(&[cached, uncached]);
    assert_eq!(ranking.rows[1].standing, Standing::Behind, "{}", ranking.sentence);
    let row = ranking.rows.iter().find(|r| r.name == "c1").unwrap();
    // Within the start as the other starts say, in ms, and 3 % between starts: sqrt(4^2 * 6 / 5 + (1.96 * 0.03 * 58)^2) and the factor of t.
    let half = row.ci_high.unwrap() - 58.0;
    assert!((5.6..8.5).contains(&half), "{half}");
}

#[test]
fn the_same_cases_asked_on_three_starts_are_not_three_times_as_many() {
    let share = |path: &str, minute: f64| {
        let metric = Metric { unit: "ratio".into(), ..metric(path, 0.8, Some(0.1), 40) };
        StartFigure { metric, ..start(minute, 0.8) }
    };
    let half_of = |path: &str| {
        let starts = (0..3).map(|i| share(path, f64::from(i))).collect();
        let config = ConfigStarts { trial_id: 0, is_baseline: false, starts };
        let figure = figure_over_starts(&config, &[], StartNoise::default()).unwrap();
        figure.metric.ci_high.unwrap() - figure.metric.value
    };
    assert!((half_of("reasoning.score") - 0.1).abs() < 1e-12);
    assert!((half_of("tool_calling.well_formed_rate") - 0.1).abs() < 1e-12);
    // Requests of a load are others on each start.
    assert!((half_of("load.transport_success_rate") - 0.1 / 3.0_f64.sqrt()).abs() < 1e-12);
}

/// Four configs of which two answer five times as slowly, the baseline started this often.
fn prefix_caching(controls: &[f64]) -> Ranking {
    let with_interval = |minute: f64, value: f64| StartFigure {
        metric: metric(HIT, value, Some(0.02 * value), 20),
        ..start(minute, value)
    };
    let one = |trial_id, value| ConfigStarts { trial_id, is_baseline: false, starts: vec![with_interval(5.0, value)] };
    let baseline = controls.iter().zip([0.0, 60.0]).map(|(value, minute)| with_interval(minute, *value)).collect();
    let configs =
        [ConfigStarts { trial_id: 0, is_baseline: true, starts: baseline }, one(1, 12.4), one(2, 56.0), one(3, 12.6)];
    let (noise, controls) = (start_noise(&configs), super::controls(&configs));
    let candidate = |c: &ConfigStarts| Candidate {
        trial_id: c.trial_id,
        name: format!("c{}", c.trial_id),
        gates: vec![],
        figures: figure_over_starts(c, &controls, noise).into_iter().collect(),
    };
    let candidates: Vec<Candidate> = configs.iter().map(candidate).collect();
    rank(&candidates, &objective(Direction::Minimize, HIT), Some("c0"))
}

#[test]
fn one_repeated_start_takes_no_verdict_away() {
    for controls in [&[55.8][..], &[55.8, 56.4], &[55.8, 58.0]] {
        let ranking = prefix_caching(controls);
        let standings: Vec<_> = ranking.rows.iter().map(|r| (r.name.as_str(), r.standing)).collect();
        assert_eq!(standings[..2], [("c1", Standing::Leader), ("c3", Standing::Tied)]);
        assert_eq!(standings[2].1, Standing::Behind, "{controls:?}");
        assert_eq!(standings[3].1, Standing::Behind, "{controls:?}");
        assert_eq!(ranking.rows[0].gain_is_real, Some(true), "{controls:?}");
        let row = &ranking.rows[0];
        let half = row.ci_high.unwrap() / row.value.unwrap() - 1.0;
        assert!(half < 0.12, "{controls:?}: {half:.3}");
    }
}

#[test]
fn what_starts_were_measured_to_differ_by_is_never_narrowed_and_said_where_it_is_more_than_assumed() {
    let noise = start_noise(&[config(0, true, &[(0.0, 100.0)]), config(1, false, &[(5.0, 90.0), (30.0, 110.0)])]);
    let (variance, degrees) = noise.between_starts();
    assert_eq!((variance, degrees), (noise.start_variance, 4.0));
    assert!((noise.start_percent().unwrap() - 14.14).abs() < 0.01, "{noise:?}");
    assert!(noise.start_sentence(true).contains("err more often"), "{}", noise.start_sentence(true));
    // Two starts that happen to agree do not prove that all do.
    let lucky = start_noise(&[config(1, false, &[(5.0, 100.0), (30.0, 100.0)])]);
    assert!((lucky.between_starts().0 - 0.75 * 0.03 * 0.03).abs() < 1e-12, "{lucky:?}");
}

#[test]
fn three_starts_of_a_figure_of_zero_are_not_called_one() {
    let ranking = night(&[config(0, true, &[(0.0, 0.0), (30.0, 0.0), (60.0, 0.0)]), config(1, false, &[(5.0, 0.0)])]);
    let said = ranking.confidence();
    assert!(said.iter().all(|line| !line.contains("no config was started twice")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("a figure of 0 has no share")), "{said:?}");
    assert_eq!(ranking.answer, Answer::AllZero { configs: 2 });
}

proptest::proptest! {
    #[test]
    fn the_interval_of_a_share_of_cases_is_wilsons_and_within_0_and_1(
        cases in 1_u64..200, passed in proptest::collection::vec(0_u64..200, 1..4), is_cases in proptest::bool::ANY,
    ) {
        let share = |(i, passed): (usize, &u64)| {
            let value = (*passed).min(cases) as f64 / cases as f64;
            let interval = crate::stats::wilson_interval(value, cases as usize).unwrap();
            let path = if is_cases { "reasoning.score" } else { "load.transport_success_rate" };
            let metric = Metric {
                unit: "ratio".into(),
                ci_low: Some(interval.low),
                ci_high: Some(interval.high),
                ..metric(path, value, None, cases)
            };
            StartFigure { metric, ..start(i as f64, value) }
        };
        let starts: Vec<StartFigure> = passed.iter().enumerate().map(share).collect();
        let first = starts[0].metric.clone();
        let config = ConfigStarts { trial_id: 0, is_baseline: true, starts };
        let noise = start_noise(std::slice::from_ref(&config));
        let figure = figure_over_starts(&config, &config.starts, noise).unwrap();
        let (low, high) = figure.interval();
        let (low, high) = (low.unwrap(), high.unwrap());
        proptest::prop_assert!(0.0 <= low && low <= figure.metric.value && figure.metric.value <= high && high <= 1.0);
        if is_cases && passed.len() == 1 {
            proptest::prop_assert!((low - first.ci_low.unwrap()).abs() < 1e-9 && (high - first.ci_high.unwrap()).abs() < 1e-9);
        }
        if is_cases {
            // Screen, JSON and database show one interval.
            proptest::prop_assert_eq!((Some(low), Some(high)), (figure.metric.ci_low, figure.metric.ci_high));
        }
    }
}

#[test]
fn a_baseline_of_zero_has_not_moved_by_any_share() {
    let night = night(&[config(0, true, &[(0.0, 0.0), (60.0, 3.0)]), config(1, false, &[(5.0, 2.0)])]);
    assert!(!night.noise.moved, "{:?}", night.noise);
    assert!(night.rows.iter().all(|r| r.value.is_some_and(f64::is_finite)), "{night:?}");
}

#[test]
fn an_interval_of_what_cannot_be_negative_ends_at_zero() {
    let noisy = config(1, false, &[(0.0, 100.0), (30.0, 500.0)]);
    let noise = start_noise(std::slice::from_ref(&noisy));
    let figure = |path: &str| {
        let mut figure = figure_over_starts(&noisy, &[], noise).unwrap();
        figure.metric.path = path.parse().unwrap();
        figure.interval()
    };
    let (low, high) = figure("load.ttft_ms.p50");
    assert_eq!(low, Some(0.0));
    assert!(high.unwrap() > 800.0, "what was measured is never narrowed: {high:?}");
    assert!(figure("load.backlog_growth").0.unwrap() < 0.0, "a change has two sides");
}
