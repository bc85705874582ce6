//! Who is measured again on a fresh start before a champion is named.

use super::{Ranking, Standing};

/// Trials of the leader of each objective and of those tied with it, best first, the objectives taking turns, each trial once, at
/// most `most`. An objective by which fewer than two configs rank, or nobody leads, sends nobody: there, nobody was beaten.
#[must_use]
pub fn finalists(rankings: &[Ranking], most: usize) -> Vec<i64> {
    let lists: Vec<Vec<i64>> = rankings.iter().map(in_question).collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let mut chosen: Vec<i64> = Vec::new();
    for place in 0..longest {
        for list in &lists {
            if let Some(trial) = list.get(place).filter(|t| !chosen.contains(t)) {
                chosen.push(*trial);
            }
        }
    }
    chosen.truncate(most);
    chosen
}

fn in_question(ranking: &Ranking) -> Vec<i64> {
    if ranking.leader().is_none() || ranking.rows.iter().filter(|r| r.standing.ranks()).count() < 2 {
        return Vec::new();
    }
    let first = |r: &&super::Row| matches!(r.standing, Standing::Leader | Standing::Tied);
    ranking.rows.iter().filter(first).map(|r| r.trial_id).collect()
}
