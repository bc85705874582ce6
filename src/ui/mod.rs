//! Progress bars on a terminal, plain lines in a pipe: both drawn from events alone.

mod bars;
mod lines;
mod sentence;

use std::io::IsTerminal;

use crate::domain::Event;

/// Where the events of a sweep are shown.
pub(crate) enum Screen {
    /// Bars for the sweep and the trial, on a terminal.
    Bars(bars::Bars),
    /// One plain line per event, in a pipe or a file.
    Lines(lines::Lines),
}

impl Screen {
    /// Bars when standard error is a terminal that can draw them, else lines. `wrap` breaks a sentence between words where the terminal ends.
    pub(crate) fn for_this_terminal(wrap: fn(&str) -> String) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if std::io::stderr().is_terminal() && !dumb {
            Self::Bars(bars::Bars::new(wrap))
        } else {
            Self::Lines(lines::Lines::new())
        }
    }

    /// Shows one event.
    pub(crate) fn tell(&mut self, event: &Event) {
        match self {
            Self::Bars(bars) => bars.tell(event),
            Self::Lines(lines) => lines.tell(event),
        }
    }
}
