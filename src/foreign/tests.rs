//! The campaign's table and vLLM's result files: the order, the gains as printed, and the doubts that they deserve.

use super::*;
use crate::domain::FlagValue;

/// The table as the book shows it: what it says there is what is read.
fn campaign() -> ForeignTable {
    let book = include_str!("../../docs/import.md");
    let csv = book.split("```csv\n").nth(1).unwrap().split("```").next().unwrap();
    read("t", csv).unwrap()
}

fn order(table: &ForeignTable, by: &str) -> Vec<String> {
    rank(table, Some(by)).unwrap().lines.into_iter().map(|line| line.config).collect()
}

#[test]
fn the_campaigns_table_leads_with_chunked_only_safe_by_the_printed_gains() {
    let table = campaign();
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
    let table = campaign();
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
    assert!(ranking.lines.iter().all(|l| l.gain_percent.is_none()), "nobody said what to compare with");
    let one = read("one", &run(8, 1.0, 0).to_string()).unwrap();
    assert_eq!(one.rows[0].figure("p99_ttft_ms"), Some(190.0));
    assert!(is_grid("{\"configs\": []}") && !is_grid("[]"));
}

#[test]
fn the_summary_that_a_sweep_of_vllm_bench_writes_as_csv_is_read_like_its_json() {
    // As pandas writes it: an index without a name, True and False, empty cells, lists as quoted text.
    let csv = ",date,model_id,label,request_rate,max_concurrency,duration,completed,failed,request_throughput,output_throughput,\
               median_ttft_ms,ttfts,run_number,max_num_seqs,enable_prefix_caching,burstiness\n\
               0,20261124-1,m,,inf,,12.5,10,0,0.8,160.0,110.0,\"[0.1, 0.2]\",0,32,True,1.0\n\
               1,20261124-2,m,,inf,,12.5,10,0,0.8,120.0,,\"[0.1, 0.2]\",0,32,False,1.0\n";
    let table = read("summary", csv).unwrap();
    assert_eq!(table.kind, ForeignKind::VllmBench);
    let [first, second] = table.rows.as_slice() else { panic!("{:?}", table.rows) };
    let prefix = crate::domain::FlagName::new("enable-prefix-caching");
    assert_eq!((&first.settings.flags[&prefix], &second.settings.flags[&prefix]), (&FlagValue::On, &FlagValue::Off));
    assert_eq!((first.figure("median_ttft_ms"), second.figure("median_ttft_ms")), (Some(110.0), None));
    assert_eq!(first.figure("output_throughput"), Some(160.0));
    assert!(first.config.contains("enable_prefix_caching=true") && first.config.ends_with("#0"), "{}", first.config);
    assert!(!first.remarks.contains_key("ttfts") && !first.remarks.contains_key(""), "{:?}", first.remarks);
}
