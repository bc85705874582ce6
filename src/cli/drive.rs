//! Carries out long work while drawing its events and listening to signals: Ctrl-C once ends cleanly, twice at once.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::domain::Event;
use crate::ui::Screen;

use super::exit::{Exit, Stop};
use super::print;

/// The signals that ask for an end: Ctrl-C, `kill`, a closed terminal.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Stop> {
        let open = |kind| signal(kind).map_err(|e| Stop::Fault(e.into()));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hang_up: open(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

/// What is said when a signal comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    /// At the first: what ends now.
    first: &'static str,
    /// At the second: what was left undone.
    second: &'static str,
}

impl Farewell {
    /// Of a command that has displaced what served.
    pub(crate) const SWEEP: Self = Self {
        first: "ending the trial and putting back what served before",
        second: "stopped at once; the same command again, or `vgrid restore`, puts things right",
    };

    /// Of one that only asks a server.
    pub(crate) const BENCH: Self = Self {
        first: "ending the scenario; what was measured is stored",
        second: "stopped at once; the scenarios that had ended are stored",
    };
}

/// Awaits `work`, shows its events, and cancels it on the first signal. A second signal gives up at once.
///
/// # Errors
/// [`Exit::Interrupted`] on the second signal; what is left is finished by the next start or by `vgrid restore`.
pub(crate) async fn drive<T>(
    work: impl Future<Output = T>,
    mut events: UnboundedReceiver<Event>,
    cancel: &CancellationToken,
    farewell: Farewell,
) -> Result<T, Stop> {
    let mut screen = Screen::for_this_terminal(|line| print::sentence(line, 0));
    let mut signals = Signals::listen()?;
    let mut work = std::pin::pin!(work);
    let mut asked = false;
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => screen.tell(&event),
            done = &mut work => break done,
            name = signals.next() => {
                if asked {
                    return Err(Stop::Said(Exit::Interrupted, farewell.second.to_owned()));
                }
                asked = true;
                cancel.cancel();
                screen.tell(&Event::Warning {
                    text: format!("{name}: {}; once more stops at once", farewell.first),
                });
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        screen.tell(&event);
    }
    Ok(result)
}
