//! Messages to a real HTTP server that answers, refuses, fails or sleeps, and to real commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::webhook::{Tries, post};
use super::{Best, Message, hook};
use crate::domain::SweepId;
use crate::grid::{Happening, WebhookFormat};

const PATH: &str = "/services/T000/B000/aVeryLongTokenThatOpensTheDoor";

fn message() -> Message {
    Message {
        happening: Happening::End,
        title: "vgrid: sweep 3 of qwen is complete".into(),
        text: "7 measured – 1 failed".into(),
        sweep: SweepId(3),
        grid: "qwen".into(),
        database: "/tmp/runs.db".into(),
        ended: Some("complete".into()),
        measured: 7,
        failed: 1,
        skipped: 0,
        left: 0,
        elapsed_s: 12.5,
        best: Some(Best {
            name: "c2".into(),
            metric: "load.output_tokens_per_s".into(),
            value: 812.0,
            gain_percent: Some(4.5),
        }),
        restored: Some(true),
        error: None,
    }
}

/// What a request said: the head's lines, the body.
type Request = (Vec<String>, String);

/// A server that gives these answers, one connection each; 0 is no answer at all. The requests come through the channel.
fn server(answers: &'static [u16]) -> (String, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for status in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_lowercase());
            }
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            sender.send((head, String::from_utf8(body).unwrap())).ok();
            if *status == 0 {
                silent.push(reader);
                continue;
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.into_inner().write_all(answer.as_bytes()).ok();
        }
        // These connections stay open until the tests are over.
        std::mem::forget(silent);
    });
    (url, requests)
}

fn tries(retries: u32) -> Tries {
    Tries { timeout: Duration::from_secs(20), retries, first_pause: Duration::from_millis(1) }
}

#[tokio::test]
async fn a_generic_webhook_gets_the_whole_message_as_json() {
    let (url, requests) = server(&[200]);
    post(&url, WebhookFormat::Json, &message(), tries(0)).await.unwrap();
    let (head, body) = requests.recv().unwrap();
    assert_eq!(head[0], format!("post {} http/1.1", PATH.to_lowercase()));
    assert!(head.contains(&"content-type: application/json".to_owned()));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["happening"], "end");
    assert_eq!((&body["sweep"], &body["measured"], &body["restored"]), (&3.into(), &7.into(), &true.into()));
    assert_eq!(body["best"]["gain_percent"], 4.5);
}

#[tokio::test]
async fn ntfy_gets_the_text_with_title_and_priority_in_headers_and_slack_gets_one_text() {
    let (url, requests) = server(&[200, 200, 200]);
    let breaker = Message { happening: Happening::Breaker, ..message() };
    post(&url, WebhookFormat::Ntfy, &breaker, tries(0)).await.unwrap();
    let head = requests.recv().unwrap().0;
    assert!(head.contains(&"priority: high".to_owned()), "{head:?}");
    let urgent = Message { happening: Happening::RestoreFailed, title: "vgrid: produção".into(), ..message() };
    post(&url, WebhookFormat::Ntfy, &urgent, tries(0)).await.unwrap();
    let (head, body) = requests.recv().unwrap();
    assert_eq!(body, "7 measured – 1 failed");
    for line in ["title: vgrid: produ??o", "priority: urgent"] {
        assert!(head.contains(&line.to_owned()), "{head:?}");
    }
    post(&url, WebhookFormat::Slack, &message(), tries(0)).await.unwrap();
    let body: Value = serde_json::from_str(&requests.recv().unwrap().1).unwrap();
    let whole = serde_json::json!({ "text": "*vgrid: sweep 3 of qwen is complete*\n7 measured – 1 failed" });
    assert_eq!(body, whole);
}

#[tokio::test]
async fn a_server_that_fails_is_tried_again_and_one_that_refuses_the_message_is_not() {
    let (url, requests) = server(&[500, 503, 200]);
    post(&url, WebhookFormat::Json, &message(), tries(2)).await.unwrap();
    assert_eq!(requests.iter().count(), 3);

    let (url, requests) = server(&[500, 502]);
    let why = post(&url, WebhookFormat::Json, &message(), tries(1)).await.unwrap_err();
    assert_eq!(why, "the json webhook: HTTP status 502 (tried 2 times)");
    assert_eq!(requests.iter().count(), 2);

    let (url, requests) = server(&[404]);
    let why = post(&url, WebhookFormat::Json, &message(), tries(5)).await.unwrap_err();
    assert_eq!(why, "the json webhook: HTTP status 404 (tried once)");
    assert_eq!(requests.iter().count(), 1);
}

#[tokio::test]
async fn nobody_there_and_nobody_who_answers_are_told_without_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = format!("http://{free}{PATH}");
    let why = post(&refused, WebhookFormat::Json, &message(), tries(1)).await.unwrap_err();
    assert!(why.contains("tried 2 times"), "{why}");
    assert!(!why.contains("aVeryLongToken"), "{why}");

    let (url, requests) = server(&[0]);
    let patience = Duration::from_millis(200);
    let why = post(&url, WebhookFormat::Json, &message(), Tries { timeout: patience, ..tries(0) }).await.unwrap_err();
    assert!(requests.recv().is_ok(), "the message had come");
    assert!(why.contains("no answer in time") && !why.contains("aVeryLongToken"), "{why}");
}

async fn run(script: &str, patience: Duration) -> Result<(), String> {
    hook::run(&["/bin/sh", "-c", script], &[], &message(), patience).await
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_hook_gets_the_message_on_its_input_and_in_variables() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = format!(
        "cat > '{0}'; echo \"$VGRID_HAPPENING $VGRID_SWEEP $VGRID_BEST $VGRID_RESTORED\" >> '{0}.env'",
        out.display()
    );
    run(&script, PATIENCE).await.unwrap();
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(json, serde_json::to_value(message()).unwrap());
    assert_eq!(std::fs::read_to_string(out.with_extension("env")).unwrap(), "end 3 c2 true\n");
}

#[tokio::test]
async fn a_hook_that_fails_says_why_and_one_that_reads_nothing_is_fine() {
    run("exit 0", PATIENCE).await.unwrap();
    let why = run("echo first >&2; echo 'no route to pager' >&2; exit 3", PATIENCE).await.unwrap_err();
    assert!(why.contains("exit status: 3") && why.ends_with(": no route to pager"), "{why}");
    let why = hook::run(&["/no/such/program"], &[], &message(), PATIENCE).await.unwrap_err();
    assert!(why.contains("/no/such/program") && why.contains("No such file"), "{why}");
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let began = Instant::now();
    let script = format!("sleep 600 & echo $! > '{}'; wait", pid.display());
    let why = run(&script, Duration::from_millis(500)).await.unwrap_err();
    assert!(why.contains("did not end within 0.5 s"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(60));
    let child = std::fs::read_to_string(&pid).unwrap();
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    while !gone() {
        assert!(began.elapsed() < Duration::from_secs(60), "its child {child} lives");
        std::thread::yield_now();
    }
    assert!(!Path::new("/proc").join(child.trim()).join("exe").exists());
}
