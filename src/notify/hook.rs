//! One command, with the message on standard input and in its environment, and a deadline.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::message::Message;
use crate::domain::Redactor;

/// Of what it writes on standard error so much is kept, bytes.
const KEPT: usize = 2000;

/// How long its last words are waited for when it has ended.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// What a hook gets of vgrid's own environment: what programs need to find each other, their user, the screen, the agent of keys and the way
/// to the network. The keys of the deployment stand in that environment, too, and are none of a hook's business.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "PWD",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The part of an environment that a hook gets: the usual variables and those that its `pass_env` names. A usual one that holds a password (a
/// proxy's address) is not among them.
fn passed(
    environment: impl Iterator<Item = (OsString, OsString)>,
    also: &[String],
) -> impl Iterator<Item = (OsString, OsString)> {
    environment.filter(move |(name, value)| {
        let Some(name) = name.to_str() else { return false };
        let usual = PASSED.contains(&name) || name.starts_with("LC_");
        let secret = || value.to_str().is_none_or(|value| !Redactor::secrets_in(name, value).is_empty());
        also.iter().any(|own| own == name) || (usual && !secret())
    })
}

/// Runs the command to its end; when its time is over, its whole process group is killed. `pass_env` names what it gets of vgrid's
/// environment beside the usual variables.
///
/// # Errors
/// Why it did not do its work, as the end of the sentence `it was not told to ...`.
pub(super) async fn run(
    words: &[&str],
    pass_env: &[String],
    message: &Message,
    timeout: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Err("a hook without a program".to_owned()) };
    let fail = |why: String| format!("the hook {program}: {why}");
    let json = serde_json::to_vec(message).map_err(|error| fail(error.to_string()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(passed(std::env::vars_os(), pass_env))
        .envs(message.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fail(error.to_string()))?;
    let group = child.id();
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A hook that does not read has all it wants.
            let _ = stdin.write_all(&json).await;
        }
    };
    let work = async {
        let mut exit = std::pin::pin!(async { tokio::join!(give, child.wait()).1 });
        let mut said = std::pin::pin!(last_words(stderr));
        tokio::select! {
            // What it left running in the background may hold the stream for ever.
            status = &mut exit => (tokio::time::timeout(AFTER_EXIT, said).await.unwrap_or_default(), status),
            said = &mut said => (said, exit.await),
        }
    };
    let ended = tokio::time::timeout(timeout, work).await;
    match ended {
        Ok((_, Ok(status))) if status.success() => Ok(()),
        Ok((said, Ok(status))) => {
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            Err(fail(format!("it ended with {status}{said}")))
        }
        Ok((_, Err(error))) => Err(fail(error.to_string())),
        Err(_) => {
            kill_group(group);
            // Reaps it; it was killed.
            let _ = child.wait().await;
            Err(fail(format!("it did not end within {} s and was killed", timeout.as_secs_f64())))
        }
    }
}

/// The last line of what is written, all of which is read.
async fn last_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn kill_group(leader: Option<u32>) {
    let pid = leader.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A group that is gone is what is wanted.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_gets_the_usual_variables_and_those_that_it_asks_for_and_no_key_of_the_deployment() {
        let own = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("HTTPS_PROXY", "http://u:pw@h:1"),
            ("HTTP_PROXY", "http://h:1"),
            ("VLLM_API_KEY", "k"),
            ("VGRID_TEST_KEY", "k"),
            ("ANYTHING", "k"),
            ("SLACK_TOKEN", "t"),
        ];
        let environment = own.map(|(name, value)| (OsString::from(name), OsString::from(value))).into_iter();
        let got: Vec<OsString> = passed(environment, &["SLACK_TOKEN".to_owned()]).map(|(name, _)| name).collect();
        assert_eq!(got, ["PATH", "LC_ALL", "HTTP_PROXY", "SLACK_TOKEN"]);
    }
}
