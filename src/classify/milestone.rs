//! Start-up progress out of vLLM's log lines, old and new spellings.

use crate::domain::{BootMilestone, LogLine};

use BootMilestone::{
    Banner, CapturingGraphs, Compiling, EngineInit, KvCacheSized, LoadingWeights, ServerStarting, ServerUp,
    WeightsLoaded,
};

/// Text in a line and the milestone that it shows, vLLM 0.6 to 0.32. The first that fits counts.
const SIGNS: &[(&str, BootMilestone)] = &[
    ("Application startup complete", ServerUp),
    ("Uvicorn running on", ServerUp),
    ("Starting vLLM server on", ServerStarting),
    ("Starting vLLM API server", ServerStarting),
    ("Started server process", ServerStarting),
    ("Waiting for application startup", ServerStarting),
    ("init engine (profile", ServerStarting),
    ("Graph capturing finished", CapturingGraphs),
    ("Capturing CUDA graph", CapturingGraphs),
    ("Capturing the model for CUDA graphs", CapturingGraphs),
    ("Capturing cudagraphs", CapturingGraphs),
    ("KV cache size: ", KvCacheSized),
    ("# GPU blocks: ", KvCacheSized),
    ("# cuda blocks: ", KvCacheSized),
    ("Available KV cache memory", KvCacheSized),
    ("torch.compile took", Compiling),
    ("torch.compile takes", Compiling),
    ("Compiling a graph", Compiling),
    ("Dynamo bytecode transform time", Compiling),
    ("Cache the graph", Compiling),
    ("Using cache directory", Compiling),
    ("Directly load the compiled graph", Compiling),
    ("Compilation Successfully Completed", Compiling),
    ("Autotuning process", Compiling),
    ("Model loading took", WeightsLoaded),
    ("Loading model weights took", WeightsLoaded),
    ("Loading weights took", WeightsLoaded),
    ("Loading safetensors checkpoint shards", LoadingWeights),
    ("Loading pt checkpoint shards", LoadingWeights),
    ("checkpoint shards:", LoadingWeights),
    ("Starting to load model", LoadingWeights),
    ("Time spent downloading weights", LoadingWeights),
    ("Using model weights format", LoadingWeights),
    ("engine (v", EngineInit),
    ("Waiting for init message from front-end", EngineInit),
    ("vLLM API server version", Banner),
    ("█  version ", Banner),
];

/// The milestone that one raw log line shows, with the percentage where a progress bar gives one.
///
/// A line that `\r` rewrote is judged by its last piece.
#[must_use]
pub fn milestone(line: &str) -> Option<(BootMilestone, Option<f64>)> {
    let last = line.rsplit('\r').find(|piece| !piece.trim().is_empty())?;
    let line = LogLine::new(1, last);
    let body = line.body();
    let (_, milestone) = SIGNS.iter().find(|(sign, _)| body.contains(sign))?;
    let bar = matches!(milestone, LoadingWeights | CapturingGraphs);
    Some((*milestone, if bar { percent_of(body) } else { None }))
}

/// The last `N%` of a progress bar (tqdm writes `62%|...` or `62% Completed`), 0 to 100.
#[must_use]
pub fn percent_of(text: &str) -> Option<f64> {
    let at = text.rfind("%|").or_else(|| text.rfind("% Completed"))?;
    let digits = text[..at].bytes().rev().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    text[at - digits..at].parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_and_new_lines_show_their_milestone() {
        let cases = [
            ("INFO 03-19 06:27:09 api_server.py:528] vLLM API server version 0.6.3.post1", Banner, None),
            (
                "(APIServer pid=1) INFO 11-24 02:33:01 [api_utils.py:347]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.32.0",
                Banner,
                None,
            ),
            (
                "INFO 05-26 18:53:50 [llm_engine.py:240] Initializing a V0 LLM engine (v0.8.5.post1) with config: x",
                EngineInit,
                None,
            ),
            (
                "\u{1b}[0;36m(EngineCore_DP0 pid=1)\u{1b}[0;0m Loading safetensors checkpoint shards:  75% Completed | 3/4 [00:09<00:00,  2.63s/it]",
                LoadingWeights,
                Some(75.0),
            ),
            (
                "INFO 1-1 00:00:00 [gpu_model_runner.py:3549] Model loading took 14.1062 GiB memory and 27.5 seconds",
                WeightsLoaded,
                None,
            ),
            (
                "Capturing CUDA graph shapes:   0%|          | 0/67 [00:00<?, ?it/s]\rCapturing CUDA graph shapes:  96%|█████| 64/67 [00:04<00:00]",
                CapturingGraphs,
                Some(96.0),
            ),
            ("INFO:     Application startup complete.", ServerUp, None),
        ];
        for (line, milestone_expected, percent) in cases {
            assert_eq!(milestone(line), Some((milestone_expected, percent)), "{line}");
        }
        assert_eq!(milestone("INFO 1-1 00:00:00 [x.py:1] something else"), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*|[0-9%|. \r]{0,40}") {
            if let Some((_, Some(percent))) = milestone(&line) {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
            let _ = percent_of(&line);
        }
    }
}
