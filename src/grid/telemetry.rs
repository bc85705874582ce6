//! What is sampled beside a trial, how often, and where the GPUs' figures come from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::Section;
use super::limits;
use super::reader::{Reader, Spanned, present};
use crate::domain::{Key, Kind};
use crate::yaml::Node;

/// The shortest interval: below it the looking would be part of what is seen.
const SHORTEST: Duration = Duration::from_millis(100);

/// The sampling of telemetry.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Whether anything is sampled; default yes.
    pub on: bool,
    /// Between two samples; default 1 s, at least 100 ms.
    pub interval: Duration,
    /// Where a DCGM exporter answers, without the trailing `/metrics`; default none.
    pub dcgm: Option<Spanned<String>>,
    /// The file of NVML's library; default the driver's own.
    pub nvml_library: Option<Spanned<PathBuf>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { on: true, interval: Duration::from_secs(1), dcgm: None, nvml_library: None }
    }
}

/// The keys of `telemetry`.
pub(super) const TELEMETRY: Section = Section::new(
    "telemetry",
    "`telemetry`",
    &[
        Key::new("interval", Kind::Duration, "`1s`", "Between two samples.").least_ms(SHORTEST.as_millis() as u64),
        Key::new(
            "dcgm",
            Kind::Shape("URL"),
            "none",
            "A DCGM exporter, e.g. `http://127.0.0.1:9400`: the GPUs' figures come from it alone. It tells no processes, so nobody else on a GPU is noticed.",
        ),
        Key::new("nvml_library", Kind::Shape("path or file name"), "the driver's own", "The file of NVML's library."),
    ],
);

/// Reads `telemetry`: a mapping, or `off`.
pub(super) fn read(reader: &mut Reader, node: &Node, folder: &Path) -> Telemetry {
    let mut telemetry = Telemetry::default();
    if node.str() == Some("off") {
        telemetry.on = false;
        return telemetry;
    }
    if node.map().is_none() {
        reader.wrong_type(node, "`telemetry`", "a mapping or off", "e.g. telemetry: { interval: 2s }");
        return telemetry;
    }
    reader.check_keys(node, &TELEMETRY);
    if let Some(value) = present(node, "interval") {
        limits::duration(reader, value, "`telemetry.interval`", &mut telemetry.interval);
        if telemetry.interval < SHORTEST {
            let error = value.span.error("out-of-range", "`telemetry.interval` is below 100ms");
            reader.error(error.help("write at least 100ms: more often, the looking would be part of what is seen"));
        }
    }
    if let Some(url) = present(node, "dcgm").and_then(|value| reader.text(value, "`telemetry.dcgm`")) {
        let text = url.value.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
        if !text.starts_with("http://") && !text.starts_with("https://") {
            let error = url.span.error("bad-url", "`telemetry.dcgm` must begin with http:// or https://");
            reader.error(error.help("e.g. http://127.0.0.1:9400"));
        }
        telemetry.dcgm = Some(Spanned::new(text, url.span));
    }
    if let Some(file) = present(node, "nvml_library").and_then(|value| reader.text(value, "`telemetry.nvml_library`")) {
        // A name without a folder is looked for by the system's loader.
        let path = if file.value.contains('/') { folder.join(&file.value) } else { PathBuf::from(&file.value) };
        telemetry.nvml_library = Some(Spanned::new(path, file.span));
    }
    telemetry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::parse;

    fn read(text: &str) -> Result<Telemetry, String> {
        let head = "name: t\ndeployment: { process: { command: [a], port: 1 } }\n";
        let grid = parse(Path::new("grids/g.yaml"), &format!("{head}telemetry: {text}\n"));
        grid.map(|grid| grid.telemetry).map_err(|found| found.to_string())
    }

    #[test]
    fn the_telemetry_has_defaults_can_be_off_and_names_its_sources() {
        let grid = read("{}").unwrap();
        assert!(grid.on && grid.interval == Duration::from_secs(1) && grid.dcgm.is_none());
        assert!(!read("off").unwrap().on);
        let given =
            read("{ interval: 250ms, dcgm: \"http://gpu:9400/metrics\", nvml_library: ../lib/nvml.so }").unwrap();
        assert_eq!(given.interval, Duration::from_millis(250));
        assert_eq!(given.dcgm.unwrap().value, "http://gpu:9400");
        assert_eq!(given.nvml_library.unwrap().value, Path::new("grids/../lib/nvml.so"));
        assert_eq!(read("{ nvml_library: libnvml.so }").unwrap().nvml_library.unwrap().value, Path::new("libnvml.so"));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_with_its_way_out() {
        for (text, expected) in [
            ("{ interval: 10ms }", "at least 100ms"),
            ("{ intervall: 1s }", "interval"),
            ("{ dcgm: \"gpu:9400\" }", "http://127.0.0.1:9400"),
            ("on", "a mapping or off"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
