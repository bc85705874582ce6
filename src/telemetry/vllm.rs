//! The engine's own series, out of its `/metrics`.

use crate::prometheus::Scrape;

use super::series::{Reading, Series, Source};

/// Series that are summed over engines and labels.
const SUMMED: &[Series] = &[
    Series::Running,
    Series::Waiting,
    Series::Preemptions,
    Series::PrefixQueries,
    Series::PrefixHits,
    Series::DraftTokens,
    Series::AcceptedTokens,
];

/// What older engines call the share of the KV cache in use.
const OLD_KV_CACHE_USAGE: &str = "vllm:gpu_cache_usage_perc";

/// The readings of one answer of `/metrics`; what the engine does not show is left out.
#[must_use]
pub fn readings(text: &str) -> Vec<Reading> {
    let scrape = Scrape::parse(text);
    let largest = |name: &str| {
        let values = scrape.samples.iter().filter(|s| s.name == name).map(|s| s.value);
        values.filter(|v| v.is_finite()).reduce(f64::max)
    };
    let usage = largest(Series::KvCacheUsage.as_str()).or_else(|| largest(OLD_KV_CACHE_USAGE));
    let summed = SUMMED.iter().map(|series| (*series, scrape.sum(series.as_str())));
    let all = summed.chain([(Series::KvCacheUsage, usage)]);
    all.filter_map(|(series, value)| Reading::of(Source::Engine, series, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(readings: &[Reading], series: Series) -> Option<f64> {
        readings.iter().find(|r| r.series == series).map(|r| r.value)
    }

    #[test]
    fn several_engines_are_summed_and_the_fullest_cache_counts() {
        let text = "vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 2\n\
                    vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.5\n";
        let readings = readings(text);
        assert_eq!(value(&readings, Series::Running), Some(5.0));
        assert_eq!(value(&readings, Series::KvCacheUsage), Some(0.5));
        assert_eq!(value(&readings, Series::DraftTokens), None);
        assert_eq!(readings.len(), 2);
    }

    #[test]
    fn an_older_engine_and_one_that_shows_nothing_are_read_as_they_are() {
        assert_eq!(value(&readings("vllm:gpu_cache_usage_perc 0.1\n"), Series::KvCacheUsage), Some(0.1));
        assert_eq!(readings("<html>not found</html>"), []);
    }
}
