//! Whose memory it was: other processes that PyTorch's out-of-memory message names.

use super::view::LogView;
use crate::domain::scan_numbers;

/// A process on the GPU, as PyTorch's message names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holder {
    /// Its number on the host.
    pub pid: f64,
    /// What it holds, GiB.
    pub gib: f64,
}

/// The other process that holds most of the GPU whose memory ran out at line `at`, where others hold a good part of it.
///
/// PyTorch lists every process on the device and calls its own `this process`. Inside a container it cannot tell its own
/// entry; then the smallest entry that can hold what PyTorch itself allocated is taken for its own.
pub fn other_holder(view: &LogView<'_>, at: usize) -> Option<Holder> {
    let text = view.lines.get(at)?.body();
    let mut held: Vec<Holder> = Vec::new();
    for (i, name) in text.match_indices("Process ") {
        // `VllmWorkerProcess while processing ...` names none.
        if !text[i + name.len()..].starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let found = scan_numbers(&text[i..], "Process {pid} has {held_gib} GiB memory in use").unwrap_or_default();
        if let [(_, pid), (_, gib)] = found[..]
            && !others_counted(&text[..i], &text[i..])
        {
            held.push(Holder { pid, gib });
        }
    }
    let number = |template: &str| scan_numbers(text, template).and_then(|n| n.first().map(|(_, v)| *v));
    if number("this process has {own_gib} GiB").is_none() {
        let own = number("Of the allocated memory {own_gib} GiB").unwrap_or(0.0);
        let able = (0..held.len()).filter(|i| held[*i].gib >= own);
        if let Some(ours) = able.min_by(|a, b| held[*a].gib.total_cmp(&held[*b].gib)) {
            held.swap_remove(ours);
        }
    }
    let total = number("total capacity of {total_gib} GiB").unwrap_or(f64::INFINITY);
    let others: f64 = held.iter().map(|holder| holder.gib).sum();
    let most = held.into_iter().max_by(|a, b| a.gib.total_cmp(&b.gib));
    most.filter(|_| others > 1.0_f64.max(0.05 * total))
}

/// Whether this very entry stood before (a message may be quoted twice on one line).
fn others_counted(before: &str, entry: &str) -> bool {
    let end = entry.find(" memory in use").unwrap_or(entry.len());
    before.contains(&entry[..end])
}
