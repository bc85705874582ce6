//! The tasks beside a running container: its log into a file, the news of its death, kills for memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptions, LogsOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::ExitFacts;

use super::docker::DockerLauncher;
use super::log::LogWriter;
use super::running::Marks;

/// Between two tries to get a broken stream back, e.g. while the daemon restarts.
const AGAIN: Duration = Duration::from_millis(250);

/// Follows both streams into the log until the container has ended or the task is cancelled. After a broken connection it goes on
/// where it was: Docker's log is read from its beginning again and the part that was written is skipped.
pub(super) async fn follow_log(docker: Docker, id: String, mut writer: LogWriter, cancel: CancellationToken) {
    loop {
        let options =
            LogsOptions { follow: true, stdout: true, stderr: true, tail: "all".to_owned(), ..LogsOptions::default() };
        let mut stream = Box::pin(docker.logs(&id, Some(options)));
        let mut skip = writer.received();
        loop {
            let piece = tokio::select! {
                () = cancel.cancelled() => return,
                piece = stream.next() => piece,
            };
            let Some(Ok(piece)) = piece else { break };
            let bytes: &[u8] = piece.as_ref();
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= known as u64;
            if known < bytes.len() {
                writer.write(&bytes[known..]);
            }
        }
        // The stream ends with the container, or with the connection.
        match docker.inspect_container(&id, None).await {
            Ok(inspect) if super::docker::is_running(&inspect) => {}
            Ok(_) | Err(bollard::errors::Error::DockerResponseServerError { .. }) => return,
            Err(_) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Waits for the container's end by Docker's own wait call and tells it at once, then again with a fresh look at the state, which
/// Docker answers only when it has taken the network down. A lost connection is not a death: it asks again until the daemon
/// answers.
pub(super) async fn watch_for_death(
    launcher: DockerLauncher,
    id: String,
    tell: watch::Sender<Option<ExitFacts>>,
    marks: Arc<Marks>,
    cancel: CancellationToken,
) {
    loop {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut wait = Box::pin(launcher.connection.streams.wait_container(&id, Some(options)));
        let answer = tokio::select! {
            () = cancel.cancelled() => return,
            answer = wait.next() => answer,
        };
        // bollard reports every exit code but 0 as an error; it is an exit, not a failure of the API.
        let waited_code = match &answer {
            Some(Ok(response)) => Some(response.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Some(*code),
            Some(Err(_)) | None => None,
        };
        if let Some(code) = waited_code {
            tell.send_replace(Some(ExitFacts {
                status: Some("exited".to_owned()),
                exit_code: Some(code),
                oom_killed: marks.oom_seen.load(Ordering::Relaxed).then_some(true),
                error: None,
                asked_to_stop: marks.asked_to_stop.load(Ordering::Relaxed),
            }));
        }
        match launcher.exit_facts(&id, &marks).await {
            Ok(facts) if waited_code.is_some() || has_ended(&facts) => {
                let exit_code = facts.exit_code.or(waited_code);
                tell.send_replace(Some(ExitFacts { exit_code, ..facts }));
                return;
            }
            Ok(_) | Err(_) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn has_ended(facts: &ExitFacts) -> bool {
    facts.status.as_deref().is_some_and(|status| ["exited", "dead", "removing", "removed"].contains(&status))
}

/// Notes what Docker says happened to the container and we did not ask for: the kernel's kills for memory (a worker's death does not
/// always end the container), and the deeds of strangers. Docker does not tell who they are.
pub(super) async fn watch_events(docker: Docker, id: String, marks: Arc<Marks>, cancel: CancellationToken) {
    loop {
        let filters = HashMap::from([
            ("container".to_owned(), vec![id.clone()]),
            ("type".to_owned(), vec!["container".to_owned()]),
        ]);
        let mut events =
            Box::pin(docker.events(Some(EventsOptions { filters: Some(filters), ..EventsOptions::default() })));
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => note(&event, &marks),
                Some(Err(_)) | None => break,
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn note(event: &EventMessage, marks: &Marks) {
    let action = event.action.as_deref().unwrap_or_default();
    if action == "oom" {
        marks.oom_seen.store(true, Ordering::Relaxed);
        return;
    }
    let stopping_ns = marks.stopping_ns.load(Ordering::Relaxed);
    if is_ours(action, event.time_nano, stopping_ns) {
        return;
    }
    let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
    let signal = attributes.and_then(|all| all.get("signal")).map(String::as_str).unwrap_or_default();
    let Some(deed) = deed(action, signal) else { return };
    let at =
        event.time.and_then(|s| jiff::Timestamp::from_second(s).ok()).map(|t| format!(" at {t}")).unwrap_or_default();
    if let Ok(mut deeds) = marks.deeds.lock() {
        deeds.push(format!("{deed}{at}"));
    }
}

/// From our own stop on a kill, a stop and a removal are ours; a start never is. News that came late of what was done before is not.
fn is_ours(action: &str, at_ns: Option<i64>, stopping_ns: i64) -> bool {
    let may_be = ["kill", "stop", "destroy"].contains(&action);
    may_be && stopping_ns != 0 && at_ns.is_none_or(|at| at >= stopping_ns)
}

/// What somebody did to the container, by the event's name; None for what it does by itself and for health checks.
fn deed(action: &str, signal: &str) -> Option<String> {
    Some(match action {
        "kill" => format!("sent it signal {signal}"),
        "stop" => "stopped it".to_owned(),
        "restart" => "restarted it".to_owned(),
        "start" => "started it again".to_owned(),
        "pause" => "paused it".to_owned(),
        "unpause" => "let it go on".to_owned(),
        "destroy" => "removed it".to_owned(),
        "update" => "changed its limits".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn what_our_own_stop_does_is_no_deed_of_a_stranger_also_when_the_server_was_dead_before() {
        assert!(!is_ours("kill", Some(5), 0), "we have not begun");
        assert!(is_ours("kill", Some(7), 6) && is_ours("stop", Some(7), 6) && is_ours("destroy", None, 6));
        assert!(!is_ours("kill", Some(5), 6), "told late, done before");
        assert!(!is_ours("start", Some(7), 6) && !is_ours("restart", Some(7), 6), "we only stop");
    }
}
