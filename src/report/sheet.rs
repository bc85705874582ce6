//! The table of configs as CSV: one line per config, for a spreadsheet.

use super::model::ReportModel;

/// The table of configs as CSV with a header. What was not measured is an empty cell.
///
/// # Errors
/// The text cannot be written.
pub fn csv(model: &ReportModel) -> csv::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = ["position", "config", "trial_id", "state", "is_baseline"].map(str::to_owned).into();
    header.extend(model.axes.iter().map(|a| a.name.clone()));
    for column in &model.columns {
        let metric = &column.metric;
        let parts = ["", ".ci_low", ".ci_high", ".n", ".gain_percent", ".standing", ".verdict"];
        header.extend(parts.iter().map(|part| format!("{metric}{part}")));
    }
    header.extend(["ready_s", "why"].map(str::to_owned));
    writer.write_record(&header)?;
    for line in &model.configs {
        let mut record = vec![
            line.position.to_string(),
            line.name.clone(),
            line.trial_id.to_string(),
            line.state.to_string(),
            u8::from(line.is_baseline).to_string(),
        ];
        record.extend(line.settings.iter().map(|v| v.clone().unwrap_or_default()));
        for figure in &line.figures {
            let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
            match figure {
                Some(f) => record.extend([
                    f.value.to_string(),
                    number(f.ci_low),
                    number(f.ci_high),
                    f.n.to_string(),
                    number(f.gain_percent),
                    f.standing.to_string(),
                    f.verdict.to_string(),
                ]),
                None => record.extend(std::iter::repeat_n(String::new(), 7)),
            }
        }
        record.extend([line.ready_s.map(|s| s.to_string()).unwrap_or_default(), line.why.clone().unwrap_or_default()]);
        writer.write_record(&record)?;
    }
    let bytes = writer.into_inner().map_err(|e| e.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
