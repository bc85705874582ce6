//! Whether tokens come: signs of a hang in the engine's own reports.

use super::evidence::of_line;
use super::milestone::milestone;
use super::view::LogView;
use crate::domain::{Cause, Evidence, scan_numbers};

/// Requests run or wait and no token comes, or workers wait for each other, until the log's end.
pub fn signs(view: &LogView<'_>) -> Option<(Cause, Option<Evidence>)> {
    let (mut idle_reports, mut waits) = (0, 0);
    let mut last = None;
    for line in view.lines.iter().rev() {
        let body = line.body();
        if body.contains("No available shared memory broadcast block found") {
            waits += 1;
            last = last.or(Some(line));
        } else if body.contains("Avg generation throughput: ") {
            let stuck = body.contains("Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 tokens/s")
                && has_requests(body);
            if !stuck {
                break;
            }
            idle_reports += 1;
            last = last.or(Some(line));
        } else if (body.contains("\"POST /v1/") && body.ends_with("200 OK")) || milestone(&line.text).is_some() {
            break;
        }
    }
    let ready = view.ready_at.is_some();
    // vLLM reports every 10 s and the wait every 60 s; a long prefill or compile stays below a few of them.
    let cause = match (ready, idle_reports, waits) {
        (true, 6.., _) | (true, _, 3..) => Cause::Hung,
        (false, _, 10..) => Cause::Stalled,
        _ => return None,
    };
    Some((cause, last.map(of_line)))
}

/// Whether a report counts requests, running or waiting, in V1's words or V0's.
fn has_requests(report: &str) -> bool {
    let counts = ["Running: {count} reqs", "Waiting: {count} reqs", "Pending: {count} reqs"];
    counts.iter().filter_map(|c| scan_numbers(report, c)).flatten().any(|(_, count)| count > 0.0)
}

/// Whether tokens came behind line `i`: then what stands there cost a request, not the engine.
pub fn served_after(view: &LogView<'_>, i: usize) -> bool {
    view.lines[i + 1..].iter().any(|l| {
        let body = l.body();
        let tokens = scan_numbers(body, "Avg generation throughput: {rate} tokens/s");
        tokens.is_some_and(|t| t.first().is_some_and(|(_, rate)| *rate > 0.0))
            || (body.contains("\"POST /v1/") && body.ends_with("200 OK"))
    })
}

/// Whether the engine went on with its work between line `i` and line `end`: more tokens and answers than what was under way at `i` explains.
pub fn served_on(view: &LogView<'_>, i: usize, end: usize) -> bool {
    let (mut reports, mut answers) = (0, 0);
    for line in view.lines.iter().take(end).skip(i + 1) {
        let body = line.body();
        let tokens = scan_numbers(body, "Avg generation throughput: {rate} tokens/s");
        reports += usize::from(tokens.is_some_and(|t| t.first().is_some_and(|(_, rate)| *rate > 0.0)));
        answers += usize::from(body.contains("\"POST /v1/") && body.ends_with("200 OK"));
    }
    // One report looks back over ten seconds; a few answers may have been finished already.
    reports > 1 || answers > 8
}
