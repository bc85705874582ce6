//! Whose memory it was: other processes that PyTorch's out-of-memory message names.

use super::view::LogView;
use crate::domain::scan_numbers;

/// Whether another process holds a good part of the GPU whose memory ran out.
///
/// PyTorch lists every process on the device and calls its own `this process`. Inside a container it cannot tell its own
/// entry; then the smallest entry that can hold what PyTorch itself allocated is taken for its own.
pub fn others_hold_memory(view: &LogView<'_>, at: usize) -> bool {
    let Some(text) = view.lines.get(at).map(|l| l.body()) else { return false };
    let mut held: Vec<f64> = Vec::new();
    for (i, _) in text.match_indices("Process ") {
        let found = scan_numbers(&text[i..], "Process {pid} has {held_gib} GiB memory in use");
        if let Some((_, gib)) = found.as_ref().and_then(|n| n.get(1))
            && !others_counted(&text[..i], &text[i..])
        {
            held.push(*gib);
        }
    }
    let number = |template: &str| scan_numbers(text, template).and_then(|n| n.first().map(|(_, v)| *v));
    if number("this process has {own_gib} GiB").is_none() {
        let own = number("Of the allocated memory {own_gib} GiB").unwrap_or(0.0);
        let ours = held.iter().copied().filter(|gib| *gib >= own).min_by(f64::total_cmp);
        if let Some(at) = ours.and_then(|gib| held.iter().position(|h| *h == gib)) {
            held.swap_remove(at);
        }
    }
    let total = number("total capacity of {total_gib} GiB").unwrap_or(f64::INFINITY);
    held.iter().sum::<f64>() > 1.0_f64.max(0.05 * total)
}

/// Whether this very entry stood before (a message may be quoted twice on one line).
fn others_counted(before: &str, entry: &str) -> bool {
    let end = entry.find(" memory in use").unwrap_or(entry.len());
    before.contains(&entry[..end])
}
