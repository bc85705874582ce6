//! The campaign's table and vLLM's result files: the order, the gains as printed, and the doubts that they deserve.

use super::*;

const CAMPAIGN: &str = "\
# name: campaign
# baseline: safe_conservative
# objective: acceleration
# ttft_is: e2e
# max_tokens: 50
# gpu_total_mib: 24564
# criteria: ttft_miss_ms <= 2193.6; ttft_hit_ms <= 1124.9; acceleration >= 1.5
name,gpu,chunk,prefix,seqs,ttft_miss_ms,ttft_hit_ms,acceleration,tokens_per_s_miss,tokens_per_s_hit,vram_mib
chunked_only_safe,0.85,T,F,32,2928.82,908.67,3.22,34,110,18400
safe_conservative,0.85,F,F,32,3150.0,1981.25,1.59,32,50,18400
optimized_balanced*,0.90,T,T,32,3200,2200,1.45,31,45,19500
aggressive_cache*,0.95,T,T,48,3100,2100,1.48,32,48,21500
";

fn order(table: &ForeignTable, by: &str) -> Vec<String> {
    rank(table, Some(by)).unwrap().lines.into_iter().map(|line| line.config).collect()
}

#[test]
fn the_campaigns_table_leads_with_chunked_only_safe_by_the_printed_gains() {
    let table = read("t", CAMPAIGN).unwrap();
    let ranking = rank(&table, None).unwrap();
    assert_eq!(ranking.figure, "acceleration");
    let first = &ranking.lines[0];
    assert_eq!((first.config.as_str(), first.place), ("chunked_only_safe", 1));
    let rounded = |percent: f64| (percent * 10.0).round() / 10.0;
    assert_eq!(first.gain_percent.map(rounded), Some(102.5));
    let other = |name: &str| first.other_gains_percent.iter().find(|(n, _)| n == name).map(|(_, g)| rounded(*g));
    assert_eq!(
        (other("ttft_miss_ms"), other("ttft_hit_ms"), other("tokens_per_s_hit")),
        (Some(7.0), Some(54.1), Some(120.0))
    );
    assert_eq!(
        order(&table, "acceleration"),
        ["chunked_only_safe", "safe_conservative", "aggressive_cache", "optimized_balanced"]
    );
    assert_eq!(
        order(&table, "ttft_hit_ms"),
        ["chunked_only_safe", "safe_conservative", "aggressive_cache", "optimized_balanced"]
    );
    assert_eq!(
        order(&table, "ttft_miss_ms"),
        ["chunked_only_safe", "aggressive_cache", "safe_conservative", "optimized_balanced"]
    );
}

#[test]
fn the_campaigns_table_is_doubted_for_what_it_says_itself() {
    let table = read("t", CAMPAIGN).unwrap();
    let of = |doubt: Doubt| table.doubts.iter().filter(|d| d.doubt == doubt).collect::<Vec<_>>();
    assert_eq!(of(Doubt::Estimated)[0].configs, ["optimized_balanced", "aggressive_cache"]);
    assert_eq!(of(Doubt::TtftIsE2e).len(), 1);
    assert_eq!(of(Doubt::SingleSample)[0].configs, ["chunked_only_safe", "safe_conservative"]);
    assert!(of(Doubt::ThroughputInconsistent)[0].text.contains("110 tokens/s over 908.67 ms are 100 tokens"));
    assert_eq!(of(Doubt::SameEngine)[0].configs, ["chunked_only_safe", "safe_conservative"]);
    assert!(of(Doubt::MemoryContradicted)[0].text.contains("20879 MiB"), "{:?}", of(Doubt::MemoryContradicted));
    assert!(of(Doubt::CriterionFailed)[0].text.contains("no config meets the criterion ttft_miss_ms <= 2193.6"));
}

#[test]
fn the_same_table_as_json_is_the_same_table() {
    let json = serde_json::json!({
        "name": "campaign", "baseline": "a", "n": 5, "off_means": "no_flag",
        "rows": [
            {"name": "a", "enable-prefix-caching": false, "ttft_ms": 10, "n": null},
            {"name": "b", "prefix": true, "ttft_ms": 8.5, "remark": "at night"},
        ],
    });
    let table = read("t", &json.to_string()).unwrap();
    assert_eq!(
        table.rows[0].settings.flags[&crate::domain::FlagName::new("enable-prefix-caching")],
        crate::domain::FlagValue::Off
    );
    assert_eq!(table.rows[1].n, Some(5));
    assert_eq!(table.doubts, []);
    assert_eq!(rank(&table, None).unwrap().lines[0].gain_percent.map(f64::round), Some(15.0));
}

#[test]
fn what_cannot_be_understood_is_named_with_the_way_out() {
    let says = |text: &str, words: &[&str]| {
        let error = read("t", text).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    says("name,ttft_mis_ms\na,1\n", &["row 1", "`ttft_mis_ms`", "did you mean `ttft_miss_ms`"]);
    says("name,ttft_ms\na,fast\n", &["row 1", "`fast`", "not a number"]);
    says("# baselin: a\nname,ttft_ms\na,1\n", &["`baselin`", "did you mean `baseline`"]);
    says("# baseline: z\nname,ttft_ms\na,1\n", &["no row `z`"]);
    says("# criteria: ttft_ms is small\nname,ttft_ms\na,1\n", &["is no criterion"]);
    says("{\"x\": 1}", &["neither `configs`", "nor `rows`"]);
    says("{", &["no valid JSON"]);
}

#[test]
fn result_files_of_vllm_bench_are_read_with_what_they_say_of_failed_requests() {
    let run = |seqs: u32, throughput: f64, failed: u32| {
        serde_json::json!({
            "date": "20261124-070000", "endpoint_type": "openai-chat", "label": null, "model_id": "m", "tokenizer_id": "m",
            "num_prompts": 100, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16, "duration": 12.5,
            "completed": 100 - failed, "failed": failed, "total_input_tokens": 1000, "total_output_tokens": 2000,
            "request_throughput": 8.0, "request_goodput": null, "output_throughput": throughput,
            "total_token_throughput": 2.0 * throughput, "ttfts": [0.1, 0.2], "errors": ["", ""],
            "mean_ttft_ms": 120.0, "median_ttft_ms": 110.0, "std_ttft_ms": 9.0, "p99_ttft_ms": 190.0, "max_num_seqs": seqs,
        })
    };
    let table = read("sweep", &serde_json::json!([run(32, 160.0, 0), run(64, 240.0, 3)]).to_string()).unwrap();
    assert_eq!(table.kind, ForeignKind::VllmBench);
    let ranking = rank(&table, None).unwrap();
    assert_eq!((ranking.figure.as_str(), ranking.lines[0].value), ("output_throughput", 240.0));
    assert!(ranking.lines[0].config.contains("max_num_seqs=64"), "{}", ranking.lines[0].config);
    let failed = table.doubts.iter().find(|d| d.doubt == Doubt::RequestsFailed).unwrap();
    assert!(failed.text.contains("3 of 100 requests failed"), "{}", failed.text);
    assert_eq!(rank(&table, Some("std_ttft_ms")), None, "a spread is no objective");
    let one = read("one", &run(8, 1.0, 0).to_string()).unwrap();
    assert_eq!(one.rows[0].figure("p99_ttft_ms"), Some(190.0));
    assert!(is_grid("{\"configs\": []}") && !is_grid("[]"));
}
