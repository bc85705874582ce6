//! What the streaming client costs and how true its times are, against a server in a process of its own that knows the truth.
//!
//! `cargo bench --bench client` prints, per case, the client's CPU time per chunk, what that is per second and core, how wrong
//! times are, and what was lost. The client has one worker thread. Figures depend on the machine and mean nothing on a busy one;
//! `benches/peers.py` runs the same cases for another client too. `docs/client.md` explains the columns.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark is a program for developers: it prints, and a failure is a bug to see"
)]

mod arrival;
mod bare;
mod case;
mod measure;
mod process;
mod server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use case::Case;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--serve"] => server::serve(),
        ["--connect", address, case] => {
            let case = serde_json::from_str(case).expect("the case is JSON");
            println!("{}", serde_json::to_string(&measure::measure(&case, address)).expect("a row"));
        }
        ["--cases"] => Case::all().iter().for_each(|case| println!("{}", serde_json::to_string(case).expect("a case"))),
        [] => all(),
        other => panic!("unknown arguments {other:?}: write nothing, --cases, --serve, or --connect ADDRESS CASE"),
    }
}

fn all() {
    let (mut server, address) = start_server();
    println!("{}", measure::Row::HEAD);
    for case in Case::all() {
        println!("{}", measure::measure(&case, &address));
    }
    server.kill().expect("the server is ours");
    server.wait().expect("the server is ours");
}

fn start_server() -> (Child, String) {
    let exe = std::env::current_exe().expect("a running program has a path");
    let mut server = Command::new(exe).arg("--serve").stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says its address");
    (server, line.trim().to_owned())
}
