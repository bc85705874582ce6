//! The floor: a program that reads the same bytes from the same number of sockets and looks at none of them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::Case;
use crate::process;

/// CPU time per chunk of reading the case's streams, us: what runtime and kernel take, whatever a client does with the bytes.
pub async fn cpu_us_per_chunk(case: &Case, address: &str) -> f64 {
    let mut sockets = Vec::new();
    for _ in 0..case.streams {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        socket.set_nodelay(true).expect("a TCP socket");
        sockets.push(socket);
    }
    let sockets = read(sockets, &case.warm_up()).await;
    let before = process::times().cpu_us;
    read(sockets, case).await;
    (process::times().cpu_us - before) / (f64::from(case.streams) * f64::from(case.chunks))
}

async fn read(sockets: Vec<TcpStream>, case: &Case) -> Vec<TcpStream> {
    let mut tasks = tokio::task::JoinSet::new();
    for (index, mut socket) in (0_u32..).zip(sockets) {
        let start = case.start(index);
        let body = serde_json::json!({ "play": case.play(index) }).to_string();
        tasks.spawn(async move {
            tokio::time::sleep(start).await;
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.expect("the server reads");
            let mut buffer = vec![0; 64 << 10];
            let mut end = [0; 7];
            while end != *LAST_CHUNK {
                let n = socket.read(&mut buffer).await.expect("the server writes");
                assert!(n > 0, "the server ended early");
                let kept = n.min(end.len());
                end.rotate_left(kept);
                end[LAST_CHUNK.len() - kept..].copy_from_slice(&buffer[n - kept..n]);
            }
            socket
        });
    }
    tasks.join_all().await
}

/// The end of a body in chunks.
const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";
