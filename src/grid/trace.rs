//! Traces: JSON lines of the user's own requests, read when the plan is made. `docs/traces.md` is the reference.

use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::domain::{
    Diagnostic, Diagnostics, Place, ScenarioSpec, Suite, TracePrompt, TraceRequest, did_you_mean, short_sha256,
};

/// Keys of a line.
const KEYS: &[&str] = &["messages", "prompt", "prompt_tokens", "output_tokens", "arrival_s"];

/// More findings than this say nothing new.
const MAX_FINDINGS: usize = 20;

/// The longest prompt or answer that a line may ask for, tokens.
const MAX_TOKENS: u64 = 10_000_000;

/// Arrivals later than a week are no load.
const MAX_ARRIVAL_S: f64 = 604_800.0;

/// Puts the content of every trace that the suite names into it. Paths start at the folder of `file`, where the suite stands.
///
/// # Errors
/// A trace that cannot be read, or the lines of it that are wrong, each with its place.
pub fn read_traces(
    suite: &mut Suite,
    file: &Path,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<(), Diagnostics> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    for spec in &mut suite.scenarios {
        if let ScenarioSpec::Load(load) = spec
            && let Some(trace) = &mut load.trace
        {
            let path = folder.join(&trace.path);
            let text = read(&path).map_err(|e| Diagnostics::unreadable(&path, "the trace", &e))?;
            trace.requests = parse(&path, &text)?.into();
            trace.sha256 = short_sha256(&[text.as_bytes()]);
            if !trace.has_arrivals() && load.concurrency.is_empty() {
                let message = format!("{} has no `arrival_s`, and `concurrency` is empty", path.display());
                let error = Diagnostic::error("contradiction", message);
                return Err(Diagnostics(vec![error.help("write `concurrency`, e.g. concurrency: [1, 8]")]));
            }
        }
    }
    Ok(())
}

/// Reads the lines of a trace. With arrivals, they are put in order and counted from the first.
fn parse(file: &Path, text: &str) -> Result<Vec<TraceRequest>, Diagnostics> {
    let mut lines = Lines { file, text, found: Diagnostics::default() };
    let mut requests: Vec<(usize, TraceRequest)> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if let Some(request) = lines.request(at + 1, line) {
            requests.push((at + 1, request));
        }
        if lines.found.0.len() >= MAX_FINDINGS {
            return Err(lines.found);
        }
    }
    if let Some((number, _)) = requests.iter().find(|(_, r)| r.arrival_s.is_some() != requests[0].1.arrival_s.is_some())
    {
        let message = format!("`arrival_s` stands on some lines only: line {} and line {number} differ", requests[0].0);
        lines.add(*number, "arrival_s", "mixed-arrivals", message, "write it on every line or on none");
    }
    if requests.is_empty() && lines.found.0.is_empty() {
        let message = format!("{} has no line", file.display());
        lines.found.push(Diagnostic::error("empty-trace", message).help("write one JSON object per line"));
    }
    if !lines.found.0.is_empty() {
        return Err(lines.found);
    }
    let mut requests: Vec<TraceRequest> = requests.into_iter().map(|(_, request)| request).collect();
    requests.sort_by(|a, b| a.arrival_s.unwrap_or(0.0).total_cmp(&b.arrival_s.unwrap_or(0.0)));
    let first = requests[0].arrival_s.unwrap_or(0.0);
    for request in &mut requests {
        request.arrival_s = request.arrival_s.map(|at| at - first);
    }
    Ok(requests)
}

/// What was found in the lines.
struct Lines<'a> {
    file: &'a Path,
    text: &'a str,
    found: Diagnostics,
}

impl Lines<'_> {
    fn add(&mut self, line: usize, key: &str, code: &str, message: String, help: &str) {
        let source = self.text.lines().nth(line - 1).unwrap_or_default();
        let quoted = format!("\"{key}\"");
        let (column, length) = match source.find(&quoted).filter(|_| !key.is_empty()) {
            Some(at) => (source[..at].chars().count() + 1, quoted.chars().count()),
            None => (1, 0),
        };
        let place = Place { file: self.file.to_owned(), line, column, length };
        self.found.push(Diagnostic::error(code, message).at(place, self.text).help(help));
    }

    fn request(&mut self, line: usize, text: &str) -> Option<TraceRequest> {
        let object = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => {
                self.add(line, "", "wrong-type", "a line must be a JSON object".to_owned(), "{\"prompt\": \"...\"}");
                return None;
            }
            Err(error) => {
                let message = format!("the line is no JSON: {error}");
                self.add(line, "", "invalid-json", message, "write one JSON object per line");
                return None;
            }
        };
        let before = self.found.0.len();
        for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let help = match did_you_mean(key, KEYS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("keys allowed here: {}", KEYS.join(", ")),
            };
            self.add(line, key, "unknown-key", format!("unknown key `{key}` in a line of a trace"), &help);
        }
        let output_tokens = self.tokens(line, &object, "output_tokens");
        let arrival_s = self.arrival(line, &object);
        let prompt = self.prompt(line, &object, output_tokens);
        (self.found.0.len() == before).then_some(TraceRequest { prompt: prompt?, output_tokens, arrival_s })
    }

    fn prompt(&mut self, line: usize, object: &Map<String, Value>, output: Option<u32>) -> Option<TracePrompt> {
        let given: Vec<&str> = KEYS[..3].iter().copied().filter(|key| object.contains_key(*key)).collect();
        let [key] = given.as_slice() else {
            let message = match given.as_slice() {
                [] => "a line needs `messages`, `prompt` or `prompt_tokens`".to_owned(),
                several => format!("a line has `{}`", several.join("` and `")),
            };
            self.add(line, given.last().unwrap_or(&""), "one-prompt", message, "write exactly one of the three");
            return None;
        };
        match (*key, &object[*key]) {
            ("messages", Value::Array(messages)) if !messages.is_empty() && messages.iter().all(is_message) => {
                Some(TracePrompt::Messages(messages.clone()))
            }
            ("prompt", Value::String(text)) if !text.is_empty() => {
                Some(TracePrompt::Messages(vec![serde_json::json!({"role": "user", "content": text})]))
            }
            ("prompt_tokens", _) => {
                let tokens = self.tokens(line, object, "prompt_tokens");
                if output.is_none() && !object.contains_key("output_tokens") {
                    let message = "`prompt_tokens` needs `output_tokens`".to_owned();
                    self.add(line, key, "missing-key", message, "write both lengths");
                }
                tokens.map(TracePrompt::Tokens)
            }
            ("messages", _) => {
                let message = "`messages` must be a list of objects with `role` and `content`".to_owned();
                self.add(line, key, "wrong-type", message, "[{\"role\": \"user\", \"content\": \"...\"}]");
                None
            }
            (_, _) => {
                self.add(
                    line,
                    key,
                    "wrong-type",
                    "`prompt` must be a text that is not empty".to_owned(),
                    "\"prompt\": \"...\"",
                );
                None
            }
        }
    }

    fn tokens(&mut self, line: usize, object: &Map<String, Value>, key: &str) -> Option<u32> {
        let value = object.get(key)?;
        let tokens = value.as_u64().filter(|n| (1..=MAX_TOKENS).contains(n)).and_then(|n| u32::try_from(n).ok());
        if tokens.is_none() {
            let message = format!("`{key}` must be a whole number of tokens above 0, this is {value}");
            self.add(line, key, "out-of-range", message, "write e.g. 128");
        }
        tokens
    }

    fn arrival(&mut self, line: usize, object: &Map<String, Value>) -> Option<f64> {
        let value = object.get("arrival_s")?;
        let at = value.as_f64().filter(|s| (0.0..=MAX_ARRIVAL_S).contains(s));
        if at.is_none() {
            let message = format!("`arrival_s` must be seconds from 0 to {MAX_ARRIVAL_S}, this is {value}");
            self.add(line, "arrival_s", "out-of-range", message, "write e.g. 1.25");
        }
        at
    }
}

fn is_message(value: &Value) -> bool {
    let content = value.get("content").or_else(|| value.get("tool_calls"));
    value.get("role").is_some_and(Value::is_string) && content.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<TraceRequest>, String> {
        parse(Path::new("day.jsonl"), text).map_err(|found| found.to_string())
    }

    #[test]
    fn lines_of_every_form_are_read() {
        let requests = read(
            "{\"prompt\": \"hi\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"yo\"}], \"output_tokens\": 9}\n\
             {\"prompt_tokens\": 512, \"output_tokens\": 64}\n",
        )
        .unwrap();
        assert_eq!(requests.len(), 3);
        assert_eq!(
            requests[0].prompt,
            TracePrompt::Messages(vec![serde_json::json!({"role": "user", "content": "hi"})])
        );
        assert_eq!((requests[0].output_tokens, requests[1].output_tokens), (None, Some(9)));
        assert_eq!((&requests[2].prompt, requests[2].output_tokens), (&TracePrompt::Tokens(512), Some(64)));
    }

    #[test]
    fn arrivals_are_put_in_order_and_counted_from_the_first() {
        let requests =
            read("{\"prompt\": \"b\", \"arrival_s\": 12.5}\n{\"prompt\": \"a\", \"arrival_s\": 10}\n").unwrap();
        let times: Vec<Option<f64>> = requests.iter().map(|r| r.arrival_s).collect();
        assert_eq!(times, [Some(0.0), Some(2.5)]);
        assert!(matches!(&requests[0].prompt, TracePrompt::Messages(m) if m[0]["content"] == "a"));
    }

    #[test]
    fn a_wrong_line_names_file_line_key_and_what_is_allowed() {
        let good = "{\"prompt\": \"x\"}\n";
        let cases = [
            ("{\"promt\": \"x\"}", "did you mean `prompt`?"),
            ("{\"prompt\": \"x\", \"stop\": 1}", "keys allowed here: messages, prompt, prompt_tokens"),
            ("{\"prompt\": \"\"}", "must be a text"),
            ("{\"prompt_tokens\": 5}", "needs `output_tokens`"),
            ("{\"prompt_tokens\": 0, \"output_tokens\": 1}", "above 0, this is 0"),
            ("{\"prompt\": \"x\", \"output_tokens\": 1.5}", "this is 1.5"),
            ("{\"prompt\": \"x\", \"arrival_s\": -1}", "this is -1"),
            ("{\"prompt\": \"x\", \"arrival_s\": 1}", "on some lines only: line 1 and line 2"),
            ("{\"prompt\": \"x\", \"prompt_tokens\": 1, \"output_tokens\": 1}", "has `prompt` and `prompt_tokens`"),
            ("{\"output_tokens\": 1}", "needs `messages`, `prompt` or `prompt_tokens`"),
            ("{\"messages\": [{\"content\": \"x\"}]}", "objects with `role` and `content`"),
            ("[1]", "must be a JSON object"),
            ("{\"prompt\": ", "is no JSON"),
        ];
        for (line, expected) in cases {
            let error = read(&format!("{good}{line}\n")).unwrap_err();
            assert!(error.contains("day.jsonl:2:") && error.contains(expected), "{line}: {error}");
        }
        assert!(read("\n").unwrap_err().contains("has no line"));
        assert!(read(&"x\n".repeat(500)).unwrap_err().len() < 20_000);
    }

    #[test]
    fn a_suite_s_trace_is_read_from_the_folder_of_its_file_and_hashed() {
        let text = "load: { trace: day.jsonl }\n";
        let file = Path::new("suites/night.yaml");
        let mut suite = super::super::parse_suite(file, text, 0).unwrap();
        let read = |path: &Path| {
            assert_eq!(path, Path::new("suites/day.jsonl"));
            Ok("{\"prompt\": \"x\"}\n".to_owned())
        };
        read_traces(&mut suite, file, read).unwrap();
        let ScenarioSpec::Load(load) = &suite.scenarios[0] else { panic!("{suite:?}") };
        let trace = load.trace.as_ref().unwrap();
        assert_eq!((trace.requests.len(), trace.sha256.len()), (1, 16));
        let missing = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let error = read_traces(&mut suite, file, missing).unwrap_err().to_string();
        assert!(error.contains("day.jsonl"), "{error}");
    }
}
