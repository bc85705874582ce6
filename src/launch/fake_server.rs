//! A small server inside the test binary: what the launchers launch in their tests, as a process and in a container.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The arguments that make the test binary run the server.
pub(super) const ARGUMENTS: [&str; 5] =
    ["launch::fake_server::serves_when_it_is_asked_to", "--exact", "--ignored", "--nocapture", "--test-threads=1"];

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("FAKE_{name}")).ok()
}

fn millis(name: &str) -> Option<Duration> {
    setting(name).map(|text| Duration::from_millis(text.parse().unwrap()))
}

/// The time, as it stamps its log.
pub(super) fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// The time that its log states after `name`, as [`now_ms`].
pub(super) fn stamp(log: &str, name: &str) -> u128 {
    log.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {log}"))
        .trim()
        .parse()
        .unwrap()
}

/// Not a test: the program of the other tests. Settings: `FAKE_PORT`, `FAKE_MODEL`, `FAKE_BOOT_MS`, `FAKE_EXIT_MS` and
/// `FAKE_EXIT_CODE`, `FAKE_SILENT` (hangs at start), `FAKE_TOKENLESS` (hangs while serving), `FAKE_KEY`, `FAKE_STUBBORN` (ignores SIGTERM),
/// `FAKE_CHILD` (leaves a child process in the group), `FAKE_EAT_MIB` (takes memory), `FAKE_SAY`.
#[test]
#[ignore = "the program that other tests launch"]
fn serves_when_it_is_asked_to() {
    let Some(port) = setting("PORT") else { return };
    println!("fake server boots, pid {}", std::process::id());
    eprintln!("and says so on stderr");
    if let Some(words) = setting("SAY") {
        println!("{words}");
    }
    let _stubborn = setting("STUBBORN").map(|_| ignore_term());
    if setting("CHILD").is_some() {
        #[allow(clippy::zombie_processes)] // that it is left behind is what the test is about
        let child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        println!("child {}", child.id());
    }
    if let Some(after) = millis("EXIT_MS") {
        std::thread::sleep(after);
        println!("last words {}", now_ms());
        leave(setting("EXIT_CODE").map_or(1, |code| code.parse().unwrap()));
    }
    if let Some(mib) = setting("EAT_MIB") {
        let eaten: Vec<Vec<u8>> =
            (0..mib.parse().unwrap()).map(|n: usize| vec![u8::try_from(n % 255 + 1).unwrap(); 1 << 20]).collect();
        println!("ate {}", eaten.len());
    }
    if setting("SILENT").is_some() {
        std::thread::sleep(Duration::from_secs(600));
    }
    for step in 0..4 {
        std::thread::sleep(millis("BOOT_MS").unwrap_or_default() / 4);
        println!("Loading weights: {}%", step * 25);
    }
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    println!("READY_AT {}", now_ms());
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream));
    }
}

#[allow(clippy::exit)]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

fn ignore_term() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        while term.recv().await.is_some() {
            println!("SIGTERM ignored");
        }
    });
    runtime
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line.trim().to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok();
    let request = head.first().cloned().unwrap_or_default();
    let model = setting("MODEL").unwrap_or_else(|| "fake-model".to_owned());
    let authorised = setting("KEY")
        .is_none_or(|key| head.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {key}"))));
    let (status, text) = match request.split(' ').nth(1).unwrap_or_default() {
        "/health" => (200, String::new()),
        _ if !authorised => (401, r#"{"error":"Unauthorized"}"#.to_owned()),
        "/v1/models" => (200, format!(r#"{{"object":"list","data":[{{"id":"{model}"}}]}}"#)),
        "/v1/completions" if setting("TOKENLESS").is_some() => {
            std::thread::sleep(Duration::from_secs(600));
            (200, String::new())
        }
        "/v1/completions" => (200, r#"{"choices":[{"text":" blue"}],"usage":{"completion_tokens":1}}"#.to_owned()),
        "/die" => {
            println!("DIED_AT {}", now_ms());
            leave(7)
        }
        _ => (404, String::new()),
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len()).ok();
}
