//! Whose memory it was: other processes that PyTorch's out-of-memory message names.

use super::view::LogView;
use crate::domain::scan_numbers;

/// Whether another process holds a good part of the GPU whose memory ran out.
///
/// Inside a container PyTorch cannot tell its own entry of the driver's list, so an entry counts as another's only
/// beside `this process has`, or where it is far from what PyTorch itself allocated.
pub fn others_hold_memory(view: &LogView<'_>, at: usize) -> bool {
    let Some(text) = view.lines.get(at).map(|l| l.body()) else { return false };
    let mut others = 0.0;
    for (i, _) in text.match_indices("Process ") {
        let found = scan_numbers(&text[i..], "Process {pid} has {held_gib} GiB memory in use");
        if let Some((_, held)) = found.as_ref().and_then(|n| n.get(1))
            && !others_counted(&text[..i], &text[i..])
        {
            others += held;
        }
    }
    let number = |template: &str| scan_numbers(text, template).and_then(|n| n.first().map(|(_, v)| *v));
    let total = number("total capacity of {total_gib} GiB").unwrap_or(f64::INFINITY);
    if number("this process has {own_gib} GiB").is_none() {
        let own = number("Of the allocated memory {own_gib} GiB").unwrap_or(0.0);
        others -= own;
    }
    others > 1.0_f64.max(0.05 * total)
}

/// Whether this very entry stood before (a message may be quoted twice on one line).
fn others_counted(before: &str, entry: &str) -> bool {
    let end = entry.find(" memory in use").unwrap_or(entry.len());
    before.contains(&entry[..end])
}
