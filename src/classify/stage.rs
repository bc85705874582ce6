//! What the engine was doing when its GPU memory ran out: told by the traceback's frames, else by the last milestone.

use super::view::LogView;
use crate::domain::{Phase, Stage};

/// Lines before the exception that may belong to its traceback.
const TRACEBACK_LINES: usize = 400;

/// Function names in frames, in order of precedence. Profiling captures graphs too, so it comes first.
const FRAMES: &[(&str, Stage)] = &[
    ("in determine_available_memory", Stage::Profile),
    ("in determine_num_available_blocks", Stage::Profile),
    ("in profile_run", Stage::Profile),
    ("in profile_cudagraph_memory", Stage::Profile),
    // The sampler and pooler are tried with as many requests as may run, which is a question of that number, not of graphs.
    ("in _dummy_sampler_run", Stage::Profile),
    ("in _dummy_pooler_run", Stage::Profile),
    ("in capture_model", Stage::GraphCapture),
    ("in _capture_cudagraphs", Stage::GraphCapture),
    ("in compile_or_warm_up_model", Stage::GraphCapture),
    ("in initialize_from_config", Stage::Profile),
    ("in initialize_kv_cache", Stage::Profile),
    ("in _allocate_kv_cache", Stage::Profile),
    ("in load_model", Stage::Weights),
    ("in initialize_model", Stage::Weights),
    ("in load_weights", Stage::Weights),
    ("in create_weights", Stage::Weights),
    ("in process_weights_after_loading", Stage::Weights),
    ("in execute_model", Stage::Runtime),
    ("in run_busy_loop", Stage::Runtime),
    ("in _process_engine_step", Stage::Runtime),
];

/// The stage of an out-of-memory error at line `at` of an attempt that had come to `phase`.
pub fn of_gpu_oom(view: &LogView<'_>, at: usize, phase: Phase) -> Stage {
    if let Some(stage) = by_frames(view, at) {
        return stage;
    }
    if view
        .lines
        .get(at)
        .is_some_and(|l| l.body().contains("warming up sampler") || l.body().contains("warming up pooler"))
    {
        return Stage::Profile;
    }
    if phase == Phase::Serving {
        return Stage::Runtime;
    }
    by_milestones(view, at)
}

/// Whether the GPU's memory ran out before the engine had put anything there: while it opened the device.
pub fn before_any_work(view: &LogView<'_>, at: usize) -> bool {
    let seen = frames(view, (0..at).rev(), at, true);
    seen.iter().any(|frame| frame.contains("in init_device"))
        && !seen.iter().any(|frame| frame.contains("in load_model"))
}

/// Looks at the frames of the traceback that ends at `at`, else of the same one printed again when the process ends.
fn by_frames(view: &LogView<'_>, at: usize) -> Option<Stage> {
    let before = frames(view, (0..at).rev(), at, true);
    let behind = frames(view, at + 1..view.lines.len(), at, false);
    let compiling = before.iter().any(|f| f.contains("_inductor"));
    let known = |frames: &[&str]| {
        let found = FRAMES.iter().find(|(name, _)| frames.iter().any(|frame| frame.contains(name)));
        found.map(|(_, stage)| *stage)
    };
    // The first compilation is a part of the profiling run.
    known(&before).or_else(|| known(&behind)).or(compiling.then_some(Stage::Profile))
}

/// The frames of one traceback of the process that wrote line `at`; of any where that line does not say.
fn frames<'v>(
    view: &'v LogView<'_>,
    lines: impl Iterator<Item = usize>,
    at: usize,
    to_its_start: bool,
) -> Vec<&'v str> {
    let process = view.process(at);
    let mut seen = Vec::new();
    for i in lines.take(TRACEBACK_LINES).filter(|i| process.is_empty() || view.process(*i) == process) {
        let body = view.lines[i].body();
        if to_its_start && body.starts_with("Traceback (most recent call last)") {
            break;
        }
        if body.contains("File \"") {
            seen.push(body);
        }
    }
    seen
}

/// Looks at what the start-up had reached before `at`.
fn by_milestones(view: &LogView<'_>, at: usize) -> Stage {
    let mut stage = Stage::Weights;
    for line in &view.lines[..at] {
        let body = line.body();
        if body.contains("Capturing CUDA graph") || body.contains("KV cache size: ") || body.contains("# GPU blocks: ")
        {
            return Stage::GraphCapture;
        }
        if body.contains("Model loading took") || body.contains("Loading model weights took") {
            stage = Stage::Profile;
        }
    }
    stage
}
