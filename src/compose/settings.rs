//! What a service sets: its command's flags, its environment, image and model, in the words of a config.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::argv::{Part, argv, parts};
use super::load::{LoadRequest, Loader};
use super::overlay::engine_start;
use super::{Service, paths};
use crate::domain::{Diagnostics, FlagValue, Settings};

/// The settings that the service's own command, environment and image make. Of a repeated flag the last counts, as argparse
/// has it. The model is the first word that belongs to no flag and is no program, or `--model`.
#[must_use]
pub fn settings_of(service: &Service) -> Settings {
    let words = argv(service);
    let mut settings =
        Settings { image: service.image.clone(), env: service.environment.clone(), ..Settings::default() };
    let mut positional = None;
    let (start, _) = engine_start(&words, service.entrypoint.is_some());
    for part in parts(&words) {
        match part {
            Part::Word(i) => {
                let word = &words[i];
                let program = word.rsplit('/').next().unwrap_or(word);
                let is_program = i < start || ["vllm", "serve", "python", "python3"].contains(&program);
                if !is_program && positional.is_none() {
                    positional = Some(word.clone());
                }
            }
            Part::Flag { name, negated, start, length } => {
                let inline = words[start].split_once('=').map(|(_, value)| value.to_owned());
                let mut values: Vec<String> =
                    inline.into_iter().chain(words[start + 1..start + length].iter().cloned()).collect();
                let value = match (negated, values.len()) {
                    (true, _) => FlagValue::Off,
                    (false, 0) => FlagValue::On,
                    (false, 1) => FlagValue::Value(values.remove(0)),
                    (false, _) => FlagValue::Many(values),
                };
                settings.flags.insert(name, value);
            }
        }
    }
    let flag = settings.flags.get(&crate::domain::FlagName::new("model")).map(ToString::to_string);
    settings.model = flag.or(positional);
    settings
}

/// The variables that compose files are interpolated with: the process's environment, over the env files, or over the
/// project folder's `.env` when none is named.
///
/// # Errors
/// An env file that cannot be read or understood.
pub fn variables(
    request: &LoadRequest,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<BTreeMap<String, String>, Diagnostics> {
    let first_dir = request.files.first().and_then(|f| paths::absolute(f, &request.cwd).parent().map(Path::to_owned));
    let asked = request.project_directory.as_ref().map(|d| paths::absolute(d, &request.cwd));
    let project_dir: PathBuf = asked.or(first_dir).unwrap_or_else(|| request.cwd.clone());
    Loader::new(read, request.home.as_deref(), project_dir).environment(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FlagName;

    fn service(words: &[&str]) -> Service {
        Service { command: Some(words.iter().map(|w| (*w).to_owned()).collect()), ..Service::default() }
    }

    #[test]
    fn a_command_gives_its_flags_in_a_configs_words() {
        let words =
            ["vllm", "serve", "/models/m", "--max_model_len=2048", "--no-enable-prefix-caching", "--enforce-eager"];
        let settings = settings_of(&service(&words));
        assert_eq!(settings.model.as_deref(), Some("/models/m"));
        let flag = |name: &str| settings.flags.get(&FlagName::new(name)).cloned();
        assert_eq!(flag("max-model-len"), Some(FlagValue::Value("2048".into())));
        assert_eq!(flag("enable-prefix-caching"), Some(FlagValue::Off));
        assert_eq!(flag("enforce-eager"), Some(FlagValue::On));
    }

    #[test]
    fn the_model_of_a_simulated_engine_is_found_behind_a_program_of_any_name() {
        for program in ["vgrid", "/tmp/copy-of-it"] {
            assert_eq!(settings_of(&service(&[program, "sim", "m", "--seed", "1"])).model.as_deref(), Some("m"));
        }
    }

    #[test]
    fn the_model_flag_wins_over_a_word_and_the_last_of_a_repeated_flag_counts() {
        let settings = settings_of(&service(&["--model", "a/b", "--seed", "1", "--seed", "2"]));
        assert_eq!(settings.model.as_deref(), Some("a/b"));
        assert_eq!(settings.flags.get(&FlagName::new("seed")), Some(&FlagValue::Value("2".into())));
    }

    #[test]
    fn the_environment_wins_over_env_files_and_the_later_file_over_the_earlier() {
        let request = LoadRequest {
            env_files: vec!["/e/a.env".into(), "/e/b.env".into()],
            environment: BTreeMap::from([("A".to_owned(), "process".to_owned())]),
            cwd: "/".into(),
            ..LoadRequest::default()
        };
        let read =
            |path: &Path| Ok(if path.ends_with("a.env") { "A=1\nB=1\nC=1\n".to_owned() } else { "B=2\n".to_owned() });
        let found = variables(&request, &read).unwrap();
        let get = |name: &str| found.get(name).map(String::as_str);
        assert_eq!((get("A"), get("B"), get("C")), (Some("process"), Some("2"), Some("1")));
    }
}
