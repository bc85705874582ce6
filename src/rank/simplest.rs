//! Where numbers decide nothing, the simplest config wins.

use serde::{Deserialize, Serialize};

use super::{Answer, Ranking, Standing};

/// Of configs that are tied, those with the fewest settings of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simplest {
    /// The fewest settings.
    pub settings: usize,
    /// Those that have no more, best first.
    pub configs: Vec<String>,
}

/// The simplest of the configs that are tied for the lead; `None` where nobody is, or all are as simple. `settings_of` a trial says how many
/// settings it has of its own.
#[must_use]
pub fn simplest(ranking: &Ranking, settings_of: impl Fn(i64) -> Option<usize>) -> Option<Simplest> {
    let Answer::Tied { .. } = &ranking.answer else { return None };
    let tied = ranking.rows.iter().filter(|r| matches!(r.standing, Standing::Leader | Standing::Tied));
    let counted: Vec<(usize, &str)> = tied.filter_map(|r| Some((settings_of(r.trial_id)?, r.name.as_str()))).collect();
    let fewest = counted.iter().map(|(n, _)| *n).min()?;
    let most = counted.iter().map(|(n, _)| *n).max()?;
    let configs = counted.iter().filter(|(n, _)| *n == fewest).map(|(_, name)| (*name).to_owned()).collect();
    (most > fewest).then_some(Simplest { settings: fewest, configs })
}
