//! A config laid over a service: image, environment, model and flags replaced, everything else byte for byte as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::argv::{Part, parts};
use super::service::Service;
use crate::domain::{Diagnostic, FlagKind, FlagName, FlagValue, Settings, known_flag};

/// Which list of the service a word stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Entrypoint,
    Command,
}

/// A command line under change.
struct Line {
    words: Vec<String>,
    homes: Vec<Home>,
    /// Where the engine's own arguments begin.
    start: usize,
    /// Whether a positional model may stand at `start`.
    serves: bool,
}

/// Words that an option is known to take as a switch's value, right or wrong.
pub(super) fn is_boolean_word(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "true" | "false" | "on" | "off" | "yes" | "no" | "0" | "1")
}

/// The service as the config wants it. A flag is replaced where it stood, in whatever spelling; a new one is appended.
///
/// # Errors
/// When flags or the model are to change inside a shell script, or a flag that takes a value is switched off.
pub fn overlay(service: &Service, settings: &Settings) -> Result<Service, Diagnostic> {
    let mut result = service.clone();
    if let Some(image) = &settings.image {
        result.image = Some(image.clone());
    }
    for (name, value) in &settings.env {
        match value {
            Some(value) => {
                result.environment.insert(name.clone(), Some(value.clone()));
            }
            None => {
                result.environment.remove(name);
            }
        }
    }
    let mut flags = settings.flags.clone();
    let model_flag = flags.remove(&FlagName::new("model"));
    let model = settings.model.clone().map(FlagValue::Value).or(model_flag);
    if flags.is_empty() && model.is_none() {
        return Ok(result);
    }
    let mut line = Line::of(service);
    line.refuse_script(&flags)?;
    if let Some(model) = &model {
        line.set_model(model)?;
    }
    line.set_flags(&flags)?;
    line.store(&mut result);
    Ok(result)
}

impl Line {
    fn of(service: &Service) -> Self {
        let entrypoint = service.entrypoint.clone().unwrap_or_default();
        let command = service.command.clone().unwrap_or_default();
        let mut homes = vec![Home::Entrypoint; entrypoint.len()];
        homes.resize(entrypoint.len() + command.len(), Home::Command);
        let words: Vec<String> = entrypoint.into_iter().chain(command).collect();
        let (start, serves) = engine_start(&words, service.entrypoint.is_some());
        Self { words, homes, start, serves }
    }

    fn store(self, service: &mut Service) {
        let of = |home: Home| -> Vec<String> {
            self.words.iter().zip(&self.homes).filter(|(_, h)| **h == home).map(|(w, _)| w.clone()).collect()
        };
        let (entrypoint, command) = (of(Home::Entrypoint), of(Home::Command));
        if service.entrypoint.is_some() {
            service.entrypoint = Some(entrypoint);
        }
        if service.command.is_some() || !command.is_empty() {
            service.command = Some(command);
        }
    }

    /// Where new words at the end go.
    fn last_home(&self) -> Home {
        match self.homes.last() {
            Some(home) => *home,
            None => Home::Command,
        }
    }

    fn refuse_script(&self, flags: &BTreeMap<FlagName, FlagValue>) -> Result<(), Diagnostic> {
        let Some(first) = self.words.first() else { return Ok(()) };
        let program = first.rsplit('/').next().unwrap_or(first);
        if !["sh", "bash", "dash", "ash", "zsh", "ksh"].contains(&program) {
            return Ok(());
        }
        let options = self.words[1..].iter().take_while(|w| w.starts_with('-'));
        let inline = options.clone().any(|o| !o.starts_with("--") && o.ends_with('c'));
        let after = 1 + options.count();
        let handed_on = self.words[after..].iter().any(|w| w.starts_with("--"));
        if !inline && handed_on {
            return Ok(());
        }
        let names: Vec<String> = flags.keys().map(ToString::to_string).collect();
        let what = if names.is_empty() { "model".to_owned() } else { names.join(", ") };
        Err(Diagnostic::error(
            "flags-in-script",
            format!("{what} cannot be set: the command is a shell script, and vgrid does not edit scripts"),
        )
        .help(
            "let the script read a variable (`--max-num-seqs $${MAX_NUM_SEQS}`) and sweep `env.MAX_NUM_SEQS`, or write the \
             command as a list of words",
        ))
    }

    /// The parts of the engine's own arguments, with word numbers of the whole line.
    fn parts(&self) -> Vec<Part> {
        parts(&self.words[self.start..])
            .into_iter()
            .map(|part| match part {
                Part::Word(i) => Part::Word(i + self.start),
                Part::Flag { name, negated, start, length } => {
                    Part::Flag { name, negated, start: start + self.start, length }
                }
            })
            .collect()
    }

    /// Puts `words` in place of `length` words from `at` on.
    fn splice(&mut self, at: usize, length: usize, words: Vec<String>) {
        let home = self.homes.get(at).copied().unwrap_or_else(|| self.last_home());
        self.homes.splice(at..at + length, std::iter::repeat_n(home, words.len()));
        self.words.splice(at..at + length, words);
    }

    fn set_model(&mut self, model: &FlagValue) -> Result<(), Diagnostic> {
        let name = FlagName::new("model");
        let has_flag = self.parts().iter().any(|p| matches!(p, Part::Flag { name: n, .. } if *n == name));
        let positional = self.parts().iter().find_map(|p| if let Part::Word(i) = p { Some(*i) } else { None });
        let FlagValue::Value(model_name) = model else {
            return Err(Diagnostic::error("bad-model", format!("`{model}` is no model")).help("name a model"));
        };
        match positional {
            _ if has_flag => self.set_flag(&name, model),
            Some(at) if self.serves => {
                self.splice(at, 1, vec![model_name.clone()]);
                Ok(())
            }
            None if self.serves && self.start > 0 => {
                let home = self.homes[self.start - 1];
                self.words.insert(self.start, model_name.clone());
                self.homes.insert(self.start, home);
                Ok(())
            }
            _ => self.set_flag(&name, model),
        }
    }

    fn set_flag(&mut self, name: &FlagName, value: &FlagValue) -> Result<(), Diagnostic> {
        self.set_flags(&BTreeMap::from([(name.clone(), value.clone())]))
    }

    /// Writes the line anew in one pass: a flag is replaced where it first stood, its repetitions go, new ones are appended.
    fn set_flags(&mut self, flags: &BTreeMap<FlagName, FlagValue>) -> Result<(), Diagnostic> {
        let mut words = self.words[..self.start].to_vec();
        let mut homes = self.homes[..self.start].to_vec();
        let mut done: BTreeSet<FlagName> = BTreeSet::new();
        for part in self.parts() {
            match part {
                Part::Word(i) => {
                    words.push(self.words[i].clone());
                    homes.push(self.homes[i]);
                }
                Part::Flag { name, start, length, .. } => match flags.get(&name) {
                    None => {
                        words.extend_from_slice(&self.words[start..start + length]);
                        homes.extend_from_slice(&self.homes[start..start + length]);
                    }
                    Some(_) if done.contains(&name) => {}
                    Some(value) => {
                        words.extend(spell(&name, value, self.words[start].contains('='))?);
                        homes.resize(words.len(), self.homes[start]);
                        done.insert(name);
                    }
                },
            }
        }
        let home = homes.last().copied().unwrap_or_else(|| self.last_home());
        for (name, value) in flags.iter().filter(|(name, _)| !done.contains(*name)) {
            words.extend(spell(name, value, false)?);
        }
        homes.resize(words.len(), home);
        self.words = words;
        self.homes = homes;
        Ok(())
    }
}

/// Where the engine's arguments begin, and whether a positional model may stand there.
pub(super) fn engine_start(words: &[String], entrypoint_known: bool) -> (usize, bool) {
    for (i, word) in words.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| words[b].rsplit('/').next().unwrap_or_default());
        let program = match (word.as_str(), before) {
            ("serve", Some("vllm")) => true,
            // The simulated engine, whatever its file is called.
            ("sim", Some(_)) if i == 1 => true,
            // The image's entrypoint is `vllm`.
            ("serve", None) => !entrypoint_known,
            _ => false,
        };
        if program {
            return (i + 1, true);
        }
        if word.contains("vllm.entrypoints") || word.ends_with("api_server.py") {
            return (i + 1, false);
        }
    }
    (0, !entrypoint_known)
}

/// The words of a flag with this value.
fn spell(name: &FlagName, value: &FlagValue, inline: bool) -> Result<Vec<String>, Diagnostic> {
    let kind = known_flag(name.as_str()).map(|k| k.kind);
    Ok(match (value, kind) {
        (FlagValue::Default, _) | (FlagValue::Off, Some(FlagKind::Switch)) => Vec::new(),
        (FlagValue::On, _) => vec![format!("--{name}")],
        (FlagValue::Off, Some(FlagKind::Value | FlagKind::Many | FlagKind::Json)) => {
            return Err(Diagnostic::error("flag-takes-a-value", format!("`{name}` takes a value and cannot be off"))
                .help("write `default` to leave it out"));
        }
        (FlagValue::Off, Some(FlagKind::Toggle) | None) => vec![format!("--no-{name}")],
        (FlagValue::Value(v), _) => {
            let reads_as_flag = v.starts_with('-') && v.parse::<f64>().is_err();
            if inline || reads_as_flag { vec![format!("--{name}={v}")] } else { vec![format!("--{name}"), v.clone()] }
        }
        (FlagValue::Many(values), _) => std::iter::once(format!("--{name}")).chain(values.iter().cloned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        shell_words::split(line).unwrap()
    }

    fn service(entrypoint: Option<&str>, command: Option<&str>) -> Service {
        Service { entrypoint: entrypoint.map(words), command: command.map(words), ..Service::default() }
    }

    fn flags(entries: &[(&str, &str)]) -> Settings {
        let flags = entries.iter().map(|(n, v)| (FlagName::new(n), FlagValue::from_text(v))).collect();
        Settings { flags, ..Settings::default() }
    }

    fn command(line: &str, entries: &[(&str, &str)]) -> String {
        overlay(&service(None, Some(line)), &flags(entries)).unwrap().command.unwrap().join(" ")
    }

    #[test]
    fn a_flag_is_replaced_where_it_stood_in_every_spelling() {
        for (line, expected) in [
            ("serve m --max-num-seqs 8 --x 1", "serve m --max-num-seqs 32 --x 1"),
            ("serve m --max-num-seqs=8 --x 1", "serve m --max-num-seqs=32 --x 1"),
            ("serve m --max_num_seqs 8 --x 1", "serve m --max-num-seqs 32 --x 1"),
            ("serve m --max-num-seqs 8 --x 1 --max_num_seqs=9", "serve m --max-num-seqs 32 --x 1"),
            ("serve m --x 1", "serve m --x 1 --max-num-seqs 32"),
        ] {
            assert_eq!(command(line, &[("max-num-seqs", "32")]), expected);
        }
        assert_eq!(command("serve m -tp 2", &[("tensor-parallel-size", "4")]), "serve m --tensor-parallel-size 4");
    }

    #[test]
    fn a_toggle_has_three_states() {
        for line in
            ["m --enable-prefix-caching --x", "m --no-enable-prefix-caching --x", "m --enable_prefix_caching true --x"]
        {
            assert_eq!(command(line, &[("enable-prefix-caching", "on")]), "m --enable-prefix-caching --x");
            assert_eq!(command(line, &[("enable-prefix-caching", "off")]), "m --no-enable-prefix-caching --x");
            assert_eq!(command(line, &[("enable-prefix-caching", "default")]), "m --x");
        }
        assert!(overlay(&service(None, Some("m")), &flags(&[("dtype", "off")])).is_err());
    }

    #[test]
    fn the_model_is_replaced_where_it_stands() {
        for (line, expected) in [
            ("serve old --x 1", "serve new --x 1"),
            ("--model old --x 1", "--model new --x 1"),
            ("--x 1", "--x 1 --model new"),
            ("serve --x 1", "serve new --x 1"),
            ("serve --enforce-eager old", "serve --enforce-eager new"),
            ("old --x 1", "new --x 1"),
            (
                "python3 -m vllm.entrypoints.openai.api_server --x 1",
                "python3 -m vllm.entrypoints.openai.api_server --x 1 --model new",
            ),
        ] {
            let settings = Settings { model: Some("new".into()), ..Settings::default() };
            let result = overlay(&service(None, Some(line)), &settings).unwrap();
            assert_eq!(result.command.unwrap().join(" "), expected);
        }
    }

    #[test]
    fn the_simulated_engine_is_known_by_its_subcommand_and_not_by_its_file_s_name() {
        let settings = Settings { model: Some("new".into()), ..Settings::default() };
        for program in ["vgrid", "/opt/vgrid", "/opt/vgrid-of-yesterday"] {
            let result = overlay(&service(None, Some(&format!("{program} sim old --x 1"))), &settings).unwrap();
            assert_eq!(result.command.unwrap().join(" "), format!("{program} sim new --x 1"));
        }
        assert_eq!(engine_start(&words("sim --x 1"), false), (0, true), "a model may be called so");
    }

    #[test]
    fn the_command_may_stand_in_the_entrypoint() {
        let settings = flags(&[("max-num-seqs", "32"), ("dtype", "half")]);
        let result = overlay(&service(Some("vllm serve m --max-num-seqs 8"), None), &settings).unwrap();
        assert_eq!(result.entrypoint, Some(words("vllm serve m --max-num-seqs 32 --dtype half")));
        assert_eq!(result.command, None);
        let result = overlay(&service(Some("vllm serve"), Some("m --max-num-seqs 8")), &settings).unwrap();
        assert_eq!(result.command, Some(words("m --max-num-seqs 32 --dtype half")));
        let result = overlay(&service(None, None), &settings).unwrap();
        assert_eq!(result.command, Some(words("--dtype half --max-num-seqs 32")));
    }

    #[test]
    fn flags_inside_a_script_are_refused_and_variables_are_not() {
        let script = service(Some("/bin/sh -c"), Some("'exec vllm serve m --max-num-seqs $N'"));
        let error = overlay(&script, &flags(&[("max-num-seqs", "32")])).unwrap_err();
        assert_eq!(error.code, "flags-in-script");
        assert!(overlay(&service(None, Some("bash /x.sh")), &flags(&[("dtype", "half")])).is_err());
        assert!(overlay(&service(None, Some("bash /x.sh --dtype auto")), &flags(&[("dtype", "half")])).is_ok());
        let settings = Settings { env: BTreeMap::from([("N".into(), Some("32".into()))]), ..Settings::default() };
        assert_eq!(overlay(&script, &settings).unwrap().environment["N"].as_deref(), Some("32"));
    }

    #[test]
    fn values_keep_their_bytes() {
        let json = r#"{"method": "mtp", "num_speculative_tokens": 3}"#;
        let result = overlay(&service(None, Some("m")), &flags(&[("speculative-config", json)])).unwrap();
        assert_eq!(result.command.unwrap(), ["m", "--speculative-config", json]);
        assert_eq!(command("m --mystery a b --x", &[("mystery", "-c")]), "m --mystery=-c --x");
        assert_eq!(command("m", &[("mystery", "-1")]), "m --mystery -1");
    }

    proptest::proptest! {
        #[test]
        fn what_the_config_does_not_name_stays(
            rest in proptest::collection::vec("--[a-m]{3,8}(=[0-9]{1,3})?", 0..6), value in "[0-9]{1,4}"
        ) {
            let line = Service { command: Some(rest.clone()), ..Service::default() };
            let result = overlay(&line, &flags(&[("zzz", value.as_str())])).unwrap();
            let mut expected = rest;
            expected.extend(["--zzz".to_owned(), value]);
            proptest::prop_assert_eq!(result.command, Some(expected));
        }

        #[test]
        fn laying_the_same_config_over_twice_changes_nothing_more(
            parts in proptest::collection::vec("--[a-c](=[0-9]| [0-9]| -1)?", 0..8)
        ) {
            let line = parts.iter().flat_map(|p| words(p)).collect();
            let line = Service { command: Some(line), ..Service::default() };
            let settings = flags(&[("a", "7"), ("b", "on"), ("c", "default")]);
            let once = overlay(&line, &settings).unwrap();
            proptest::prop_assert_eq!(overlay(&once, &settings).unwrap(), once);
        }
    }
}
