//! The corpus and the rules' robustness.

mod corpus;
mod field;
mod messages;
mod noise;
mod shapes;
mod variations;
mod wordings;

/// The API server's first line.
const BANNER: &str = "(APIServer pid=7) INFO 03-04 05:06:07 [api_server.py:1896] vLLM API server version 0.11.0\n";
/// What the API server says of an engine that did not start, whatever the reason.
const NOT_STARTED: &str = "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";

/// `line` as the engine core of a newer version writes it.
fn by_engine(line: &str) -> String {
    line.lines().map(|l| format!("(EngineCore_DP0 pid=31) ERROR 03-04 05:06:09 [core.py:708] {l}\n")).collect()
}
