//! Writing SVG text: elements with escaped attributes, numbers short.

use std::fmt::Write;

use crate::domain::reading::shorten_middle;

/// SVG text that grows.
pub(super) struct Svg {
    out: String,
}

impl Svg {
    /// The head of a picture of `width` x `height` units with the name and description that assistive software reads.
    pub(super) fn new(id: &str, width: f64, height: f64, title: &str, description: &str) -> Self {
        let id = escaped(id);
        let mut out = String::with_capacity(4096);
        let _ = write!(
            out,
            "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" viewBox=\"0 0 {} {}\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            short(width),
            short(height),
            escaped(title),
            escaped(description)
        );
        Self { out }
    }

    /// The head of a small picture of which a sentence says everything.
    pub(super) fn small(width: f64, height: f64, name: &str) -> Self {
        let mut out = String::with_capacity(512);
        let (width, height, name) = (short(width), short(height), escaped(name));
        let _ =
            write!(out, "<svg class=\"chart\" role=\"img\" aria-label=\"{name}\" viewBox=\"0 0 {width} {height}\">");
        Self { out }
    }

    /// The head of a small picture that says nothing to those who do not see it.
    pub(super) fn decoration(width: f64, height: f64) -> Self {
        let (width, height) = (short(width), short(height));
        Self { out: format!("<svg class=\"chart\" aria-hidden=\"true\" viewBox=\"0 0 {width} {height}\">") }
    }

    /// A line.
    pub(super) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let (x1, y1, x2, y2) = (short(x1), short(y1), short(x2), short(y2));
        let _ = write!(self.out, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }

    /// A path through these points.
    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)], note: Option<&str>) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{} {} ", short(*x), short(*y));
        }
        let _ = write!(self.out, "<polyline class=\"{class}\" points=\"{}\"", path.trim_end());
        self.close("polyline", note);
    }

    /// A filled outline through these points.
    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{} {}", short(*x), short(*y))).collect();
        let _ = write!(self.out, "<polygon class=\"{class}\" points=\"{}\"/>", path.join(" "));
    }

    /// A dot.
    pub(super) fn circle(&mut self, class: &str, x: f64, y: f64, radius: f64, note: Option<&str>) {
        let _ = write!(
            self.out,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"",
            short(x),
            short(y),
            short(radius)
        );
        self.close("circle", note);
    }

    /// A rectangle.
    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), note: Option<&str>) {
        let (x, y, width, height) = (short(x), short(y), short(width), short(height));
        let _ = write!(self.out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.close("rect", note);
    }

    /// A text; `anchor` is `start`, `middle` or `end`.
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let (x, y) = (short(x), short(y));
        let text = escaped(text);
        let _ = write!(self.out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    /// A text of at most `width` characters, cut in its middle; the whole of it is its tooltip.
    pub(super) fn name(&mut self, x: f64, y: f64, text: &str, width: usize) {
        let (x, y, cut, text) = (short(x), short(y), escaped(&shorten_middle(text, width)), escaped(text));
        let _ = write!(self.out, "<text class=\"name\" x=\"{x}\" y=\"{y}\"><title>{text}</title>{cut}</text>");
    }

    fn close(&mut self, element: &str, note: Option<&str>) {
        match note {
            Some(note) => {
                let _ = write!(self.out, "><title>{}</title></{element}>", escaped(note));
            }
            None => self.out.push_str("/>"),
        }
    }

    /// The whole picture.
    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// A coordinate with one decimal; a tenth of a unit is less than a pixel.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text for an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped_and_numbers_short() {
        let mut svg = Svg::new("a\"b", 10.0, 20.0, "<t>", "&d");
        svg.circle("dot", 1.25, -0.01, 3.0, Some("</title><script>"));
        svg.text("label", 0.0, 1.0, "start", "<b>");
        let text = svg.finish();
        assert!(text.contains("cx=\"1.2\" cy=\"0\" r=\"3\""), "{text}");
        assert!(text.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
        assert!(!text.contains("<script") && !text.contains("<b>") && text.contains("id=\"a&quot;b-t\""));
    }
}
