//! Twins: two requests that the engine turned into the same thing.

use crate::domain::{FlagName, ResolvedConfig, Settings};
use crate::resolve;

/// Whether two running engines are the same one by their own words. Both must speak of every setting in which the requests
/// differ: where an engine is silent on what makes the difference, nothing is known and they are no twins.
pub(super) fn are_twins(a: (&Settings, &ResolvedConfig), b: (&Settings, &ResolvedConfig)) -> bool {
    let (a_settings, a_resolved) = a;
    let (b_settings, b_resolved) = b;
    if a_settings.env != b_settings.env || a_settings.image != b_settings.image {
        return false;
    }
    let spoken_of =
        |name: &FlagName| a_resolved.get(name.as_str()).is_some() && b_resolved.get(name.as_str()).is_some();
    let names = a_settings.flags.keys().chain(b_settings.flags.keys());
    let mut differing = names.filter(|name| a_settings.flags.get(name) != b_settings.flags.get(name));
    differing.all(spoken_of) && !resolve::twins(&[("a", a_resolved), ("b", b_resolved)]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fact, FactSource, FlagValue};

    fn engine(facts: &[(&str, &str)]) -> ResolvedConfig {
        let fact = |v: &str| Fact { value: v.to_owned(), source: FactSource::Log };
        let facts = facts.iter().chain(&[("max-model-len", "4096")]);
        ResolvedConfig { facts: facts.map(|(k, v)| ((*k).to_owned(), fact(v))).collect(), ..Default::default() }
    }

    fn asked(flags: &[(&str, FlagValue)]) -> Settings {
        let flags = flags.iter().map(|(k, v)| (FlagName::new(k), v.clone())).collect();
        Settings { flags, ..Settings::default() }
    }

    #[test]
    fn a_flag_left_out_and_the_same_flag_switched_on_are_twins_when_the_engine_says_so() {
        let on = engine(&[("enable-prefix-caching", "on")]);
        let explicit = asked(&[("enable-prefix-caching", FlagValue::On)]);
        assert!(are_twins((&explicit, &on), (&asked(&[]), &on)));
        let off = engine(&[("enable-prefix-caching", "off")]);
        assert!(!are_twins((&explicit, &on), (&asked(&[]), &off)));
    }

    #[test]
    fn a_difference_that_the_engine_is_silent_on_makes_no_twins() {
        let same = engine(&[("enable-prefix-caching", "on")]);
        let other = asked(&[("scheduling-policy", FlagValue::Value("priority".into()))]);
        assert!(!are_twins((&other, &same), (&asked(&[]), &same)));
    }
}
