//! Who is told when a sweep ends, when its breaker trips, and when what served before does not come back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::common::Scene;
use super::{SUITE, configs};

const TOKEN: &str = "aVeryLongTokenThatOpensTheDoor";

/// A server that answers everything with 200 and keeps what it got. Its thread ends with the tests.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/services/{TOKEN}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim().to_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    length = line.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                keep.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                reader.into_inner().write_all(answer).unwrap();
            }
        });
        Self { url, got }
    }

    fn messages(&self) -> Vec<Value> {
        self.got.lock().unwrap().clone()
    }

    fn happenings(&self) -> Vec<String> {
        self.messages().iter().map(|m| m["happening"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_end_of_a_sweep_is_told_to_a_webhook_and_a_hook_with_its_figures() {
    let scene = Scene::new();
    let receiver = Receiver::start();
    scene.write(
        "tell.sh",
        "cat > message.json; echo \"$1 $VGRID_HAPPENING $VGRID_ENDED $VGRID_MEASURED $VGRID_FAILED\" > told\n",
    );
    let notify = "notify:\n  - url: \"${HOOK_URL}\"\n  - hook: [sh, tell.sh, night]\n    on: [end]\n";
    scene.grid(&[], &format!("{}{SUITE}{notify}", configs(2)));
    let mut command = scene.vgrid(["run", "grid.yaml"]);
    command.env("HOOK_URL", &receiver.url);
    super::run(command).ok();

    let messages = receiver.messages();
    assert_eq!(receiver.happenings(), ["end"]);
    let told = &messages[0];
    assert_eq!((&told["ended"], &told["measured"], &told["left"]), (&"complete".into(), &2.into(), &0.into()));
    assert_eq!((&told["restored"], &told["error"]), (&true.into(), &Value::Null));
    assert!(told["best"]["value"].as_f64().unwrap() > 0.0);
    assert!(told["text"].as_str().unwrap().starts_with("2 measured, 0 failed, 0 skipped; speed: "), "{told}");
    let read = |name: &str| std::fs::read_to_string(scene.folder().join(name)).unwrap();
    assert_eq!(read("told"), "night end complete 2 0\n");
    assert_eq!(serde_json::from_str::<Value>(&read("message.json")).unwrap(), *told);
}

#[test]
fn a_breaker_is_told_before_the_end_and_only_to_those_who_want_to_know() {
    let scene = Scene::new();
    let (all, ends) = (Receiver::start(), Receiver::start());
    let configs: String = (1..=4)
        .map(|n| format!("  - {{ name: c{n}, flags: {{ max-num-seqs: {n}, sim-fail: oom_load }} }}\n"))
        .collect();
    let notify = format!("notify:\n  - url: {}\n  - {{ url: \"{}\", on: [restore_failed, end] }}\n", all.url, ends.url);
    let limits = "limits: { identical_failures: 2, retries: 0 }\nsuite: [smoke]\n";
    scene.grid(&[], &format!("configs:\n{configs}{limits}{notify}"));
    scene.sweep(&["--no-prune"]).code(3);
    assert_eq!(all.happenings(), ["breaker", "end"]);
    assert_eq!(ends.happenings(), ["end"]);
    let breaker = &all.messages()[0];
    assert!(breaker["text"].as_str().unwrap().starts_with("2 trials in a row failed alike (gpu_oom)"), "{breaker}");
    assert!(breaker["text"].as_str().unwrap().contains("it said: "), "the line that shows it: {breaker}");
    assert_eq!((&breaker["ended"], &breaker["restored"]), (&Value::Null, &Value::Null));
    assert_eq!(all.messages()[1]["ended"], "incomplete");
}

#[test]
fn a_failed_restoration_is_told_and_so_is_the_end_that_it_makes() {
    let scene = Scene::new();
    let receiver = Receiver::start();
    scene.grid(&[], &format!("{}{SUITE}notify: [{{ url: \"{}\" }}]\n", configs(2), receiver.url));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: smoke done");
    // A journal that nobody can follow, written by hand: what it names cannot be put back.
    let db = rusqlite::Connection::open(scene.db()).unwrap();
    db.busy_timeout(super::common::PATIENCE).unwrap();
    db.execute(
        "INSERT INTO restoration (sweep_id, deployment, what, serving_json, state, noted_at)
         SELECT 1, deployment, 'container production', '[{}]', 'pending', created_at FROM sweep WHERE id = 1",
        [],
    )
    .unwrap();
    sweep.finish().code(70).says(&["container production", "could not be put back", "vgrid restore"]);

    assert_eq!(receiver.happenings(), ["restore_failed", "end"]);
    let [failed, end] = &receiver.messages()[..] else { panic!("two messages") };
    assert!(failed["error"].as_str().unwrap().contains("container production"));
    assert_eq!(
        (&failed["restored"], &end["restored"], &end["ended"]),
        (&false.into(), &false.into(), &"failed".into())
    );
    assert_eq!(scene.count("SELECT count(*) FROM event WHERE event_json LIKE '%\"restore_failed\"%'"), 1);
    assert_eq!(scene.count("SELECT count(*) FROM event WHERE event_json LIKE '%\"sweep_failed\"%'"), 1);
}

#[test]
fn who_cannot_be_told_is_a_warning_without_the_address_and_changes_no_exit_code() {
    let scene = Scene::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let notify = format!(
        "notify:\n  - {{ url: \"http://{nobody}/services/{TOKEN}\", retries: 0 }}\n  - {{ hook: [\"false\"] }}\n  - {{ url: \"${{HOOK_URL}}\", retries: 0 }}\n"
    );
    scene.grid(&[], &format!("{}{SUITE}{notify}", configs(1)));
    let run = |args: &[&str]| {
        let mut command = scene.vgrid(args);
        command.env("HOOK_URL", format!("http://{nobody}/hooks/{TOKEN}-2"));
        super::run(command)
    };
    let done = run(&["run", "grid.yaml"]).ok();
    let warned = done.stderr.matches("warning: `end` was not told to").count();
    assert_eq!(warned, 3, "{}", done.stderr);
    let mut outputs = vec![done.stdout, done.stderr];
    for args in [&["status", "--json"][..], &["plan", "grid.yaml", "--json"], &["show", "c1", "--json"], &["resume"]] {
        let done = run(args).ok();
        outputs.extend([done.stdout, done.stderr]);
    }
    assert!(!outputs.iter().any(|text| text.contains(TOKEN)), "{outputs:?}");
    let mut files = vec![scene.folder().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.ends_with("grid.yaml") {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn an_address_that_is_none_is_an_error_before_anything_starts_and_is_not_shown() {
    let scene = Scene::new();
    scene.grid(&[], &format!("suite: [smoke]\nnotify: [{{ url: \"hooks.example/{TOKEN}\" }}]\n"));
    let done = scene.sweep(&[]).code(1).says(&["bad-url", "grid.yaml:", "http"]);
    assert!(!done.stderr.contains(TOKEN), "{}", done.stderr);
    scene.grid(&[], "suite: [smoke]\nnotify: [{ url: \"http://a.example\", on: [dawn], fromat: slack }]\n");
    scene.sweep(&[]).code(1).says(&["dawn", "end, breaker, restore_failed", "did you mean `format`"]);
    assert!(!scene.db().exists());
}
