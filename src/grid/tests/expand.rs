//! Expansion: how many points, in which order, under which names.

use proptest::prelude::*;

use super::*;
use crate::domain::{FlagName, FlagValue};

#[test]
fn the_product_runs_with_the_last_axis_fastest_and_named_configs_follow() {
    let g = grid(
        "axes:\n  gpu-memory-utilization: [0.85, 0.90]\n  enable-chunked-prefill: [on, off, default]\nconfigs:\n  - { name: mine, flags: { max-num-seqs: 4 } }\n",
    );
    assert_eq!(g.count(), 7);
    assert_eq!(
        names(&g),
        [
            "gmu0.85_chunked-on",
            "gmu0.85_chunked-off",
            "gmu0.85_chunked-default",
            "gmu0.9_chunked-on",
            "gmu0.9_chunked-off",
            "gmu0.9_chunked-default",
            "mine"
        ]
    );
    let point = g.point_at(4).unwrap();
    assert_eq!(point.config.settings.flags[&FlagName::new("gpu-memory-utilization")], FlagValue::Value("0.9".into()));
    assert_eq!(point.config.settings.flags[&FlagName::new("enable-chunked-prefill")], FlagValue::Off);
    assert_eq!(
        point.config.axis_values,
        [
            ("gpu-memory-utilization".to_owned(), "0.9".to_owned()),
            ("enable-chunked-prefill".to_owned(), "off".to_owned())
        ]
    );
    assert_eq!(g.point_at(6).unwrap().config.axis_values, []);
    assert!(g.point_at(7).is_err());
}

#[test]
fn a_grid_without_axes_and_configs_is_one_point_called_base() {
    let g = grid("base: { flags: { max-num-seqs: 8 } }\n");
    assert_eq!(names(&g), ["base"]);
    assert_eq!(g.find("base"), Some(0));
    assert_eq!(names(&grid("configs: [{ name: only }]\n")), ["only"]);
}

#[test]
fn axes_replace_base_and_named_configs_ignore_axes() {
    let g = grid(
        "base: { flags: { max-num-seqs: 8, tp: 2 }, env: { A: x }, image: i:1 }\naxes: { max_num_seqs: [16], image: [default, i:2], env.A: [default, y] }\nconfigs: [{ name: n, model: m }]\n",
    );
    let points = all_points(&g);
    let seqs = |i: usize| points[i].config.settings.flags[&FlagName::new("max-num-seqs")].to_string();
    assert_eq!((seqs(0), seqs(4)), ("16".into(), "8".into()));
    assert_eq!(points[0].config.settings.image, None, "default takes the base's image away");
    assert_eq!(points[0].config.settings.env["A"], None, "default takes the variable away");
    assert_eq!(points[3].config.settings.image.as_deref(), Some("i:2"));
    assert_eq!(points[3].config.settings.env["A"].as_deref(), Some("y"));
    assert_eq!(points[4].config.settings.model.as_deref(), Some("m"));
    assert_eq!(points[4].config.settings.image.as_deref(), Some("i:1"));
}

#[test]
fn names_are_short_and_stay_unique_when_values_look_alike() {
    let g = grid("axes: { image: [a/vllm:1, b/vllm:1], env.VLLM_ATTENTION_BACKEND: [FLASH_ATTN], model: [org/m-1] }\n");
    assert_eq!(
        names(&g),
        [
            "image-vllm-1-v1_attention-backend-FLASH-ATTN_model-m-1",
            "image-vllm-1-v2_attention-backend-FLASH-ATTN_model-m-1"
        ]
    );
    let g = grid("axes: { x: [a, 'a!', a-v2, -1, 1, 'é'] }\n");
    assert_eq!(names(&g), ["x-a-v1", "x-a-v2", "x-a-v2x", "x-minus1", "x1", "x-x"]);
}

#[test]
fn two_axes_with_one_short_name_keep_their_long_ones() {
    let g = grid("axes: { prefix: [1], enable-prefix-caching: [on] }\n");
    assert_eq!(names(&g), ["prefix1_enable-prefix-caching-on"]);
}

#[test]
fn names_never_show_a_secret() {
    let g = grid("axes: { api-key: [hunter2, '${KEY}'] }\n");
    let points = all_points(&g);
    assert_eq!(names(&g), ["api-key-v1", "api-key-v2"]);
    assert_eq!(points[0].config.axis_values, [("api-key".to_owned(), "api-key-v1".to_owned())]);
}

#[test]
fn rules_take_points_out_and_say_why() {
    let g = grid(
        "axes: { gpu-memory-utilization: [0.85, 0.95], enable-prefix-caching: [on, off] }\nexclude:\n  - when: flags[\"enable-prefix-caching\"] == \"on\" && flags[\"gpu-memory-utilization\"] > 0.92\n    because: leaves no room for the desktop on GPU 0\n",
    );
    let out: Vec<Option<String>> = all_points(&g).into_iter().map(|p| p.excluded.map(|e| e.because)).collect();
    assert_eq!(out, [None, None, Some("leaves no room for the desktop on GPU 0".to_owned()), None]);
}

#[test]
fn a_rule_over_the_name_is_asked_at_every_point() {
    let g = grid(
        "axes: { max-num-seqs: [1, 2], seed: [1, 2] }\nexclude:\n  - when: name == \"seqs1_seed2\" or (flags[\"seed\"] == 1 and model == \"default\" and flags[\"max-num-seqs\"] == 2)\n",
    );
    let kept: Vec<String> =
        all_points(&g).into_iter().filter(|p| p.excluded.is_none()).map(|p| p.config.name).collect();
    assert_eq!(kept, ["seqs1_seed1", "seqs2_seed2"]);
}

#[test]
fn rules_see_environment_image_model_and_name_and_all_operators() {
    let held = |when: &str| {
        let g = grid(&format!(
            "base: {{ env: {{ A: '3' }}, image: i:1, model: m, flags: {{ max-num-seqs: 8, kv-cache-dtype: fp8 }} }}\nexclude: [{{ when: '{when}' }}]\n"
        ));
        g.point_at(0).map(|p| p.excluded.is_some()).map_err(|d| d.0[0].message.clone())
    };
    for when in [
        r#"env["A"] == 3 and image == "i:1" and model == "m" and name == "base""#,
        r#"flags["max-num-seqs"] * 2 >= 16"#,
        r#"!(flags["max_num_seqs"] < 8) && flags.seed == "default""#,
        r#"flags["kv-cache-dtype"] in ["fp8", "auto"] || 1 > 2"#,
        r#"flags["kv-cache-dtype"] > "aaa""#,
        r#"(4 <= flags["max-num-seqs"]) and not false"#,
    ] {
        assert_eq!(held(when), Ok(true), "{when}");
    }
    assert_eq!(held(r#"flags["max-num-seqs"] != 8"#), Ok(false));
    for when in [r#"flags["kv-cache-dtype"] > 3"#, r#"flags["max-num-seqs"]"#, r#"flags["seed"] <= 3"#] {
        assert!(held(when).unwrap_err().contains("cannot be decided for the point `base`"), "{when}");
    }
}

#[test]
fn the_baseline_runs_first_and_the_rest_as_the_order_says() {
    let axes = "axes: { max-num-seqs: [1, 2, 3, 4] }\nconfigs: [{ name: n }]\nbaseline: n\n";
    assert_eq!(grid(axes).run_order().collect::<Vec<_>>(), [4, 0, 1, 2, 3]);
    assert_eq!(grid("axes: { max-num-seqs: [1, 2, 3] }\nbaseline: seqs2\n").run_order().collect::<Vec<_>>(), [1, 0, 2]);
    assert_eq!(grid("axes: { max-num-seqs: [1, 2, 3] }\n").run_order().collect::<Vec<_>>(), [0, 1, 2]);
    let shuffled = |order: &str| grid(&format!("{axes}{order}")).run_order().collect::<Vec<_>>();
    let mixed = shuffled("order: { shuffled: 3 }\n");
    assert_eq!(mixed[0], 4);
    let mut sorted = mixed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3, 4]);
    assert_eq!(shuffled("order: shuffled\nseed: 3\n"), mixed, "without a seed of its own the grid's counts");
}

#[test]
fn a_billion_points_are_counted_and_reached_without_being_made() {
    let values: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let values = values.join(", ");
    let g = grid(&format!("axes: {{ a: [{values}], b: [{values}], c: [{values}] }}\n"));
    assert_eq!(g.count(), 1_000_000_000);
    assert_eq!(g.point_at(999_999_999).unwrap().config.name, "a999_b999_c999");
    assert_eq!(g.point_at(1_000_001).unwrap().config.name, "a1_b0_c1");
    assert_eq!(g.find("a1_b0_c1"), Some(1_000_001));
    assert_eq!(
        codes(&format!("axes: {{ a: [{values}], b: [{values}], c: [{values}], d: [1, 2] }}\n")),
        ["too-many-points"]
    );
}

proptest! {
    #[test]
    fn every_point_has_its_own_index_and_name_and_can_be_found_again(sizes in prop::collection::vec(1_usize..5, 0..5), named in 0_usize..4) {
        let mut rest = String::from("axes:\n");
        for (i, size) in sizes.iter().enumerate() {
            let values: Vec<String> = (0..*size).map(|v| format!("{v}.50")).collect();
            rest.push_str(&format!("  axis-{}: [{}]\n", ["q", "r", "s", "t", "u"][i], values.join(", ")));
        }
        rest.push_str("configs:\n");
        (0..named).for_each(|i| rest.push_str(&format!("  - {{ name: n{i} }}\n")));
        let g = grid(&rest);
        let product = if sizes.is_empty() { usize::from(named == 0) } else { sizes.iter().product() };
        prop_assert_eq!(g.count(), product + named);
        let points = all_points(&g);
        prop_assert_eq!(points.len(), g.count());
        let mut names: Vec<&str> = points.iter().map(|p| p.config.name.as_str()).collect();
        for (index, point) in points.iter().enumerate() {
            prop_assert_eq!(point.index, index);
            prop_assert_eq!(g.find(&point.config.name), Some(index));
        }
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), points.len());
        let mut order: Vec<usize> = g.run_order().collect();
        order.sort_unstable();
        prop_assert_eq!(order, (0..g.count()).collect::<Vec<_>>());
    }
}

#[test]
fn a_hundred_thousand_points_are_read_made_checked_and_linted() {
    let list = |n: usize| (0..n).map(|i| (i + 1).to_string()).collect::<Vec<_>>().join(", ");
    let rest = format!(
        "objectives: {{ a: minimize load.ttft_ms.p50 }}\nbase: {{ flags: {{ max-model-len: 131072, kv-cache-dtype: fp8, tensor-parallel-size: 2 }} }}\naxes:\n  gpu-memory-utilization: [{}]\n  enable-chunked-prefill: [on, off]\n  enable-prefix-caching: [on, off]\n  max-num-seqs: [{}]\n  max-num-batched-tokens: [{}]\n  tool-call-parser: [hermes, qwen3_xml]\nexclude:\n  - when: flags[\"enable-prefix-caching\"] == \"on\" && flags[\"gpu-memory-utilization\"] > 0.92\n  - when: flags[\"max-num-seqs\"] > 40 and flags[\"max-num-batched-tokens\"] < 5\nconfigs: [{{ name: mine, flags: {{ max-num-seqs: 7 }} }}]\n",
        (0..25).map(|i| format!("0.{}", 70 + i)).collect::<Vec<_>>().join(", "),
        list(50),
        list(10),
    );
    let g = grid(&rest);
    let kept = g.points_in_run_order().filter(|p| p.as_ref().is_ok_and(|p| p.excluded.is_none())).count();
    let found = lint_of(&g, &crate::domain::Settings::default());
    assert_eq!(g.count(), 100_001);
    assert!(kept > 0 && kept < g.count(), "{kept} left by the rules");
    assert!(!found.has_errors(), "{found}");
}
