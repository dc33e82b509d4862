//! A web server that nobody is to visit.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::wait::eventually;

/// How long a visitor may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// A web server on loopback that remembers its visitors.
pub(crate) struct Canary {
    pub(crate) address: SocketAddr,
    visits: Arc<Mutex<Vec<String>>>,
}

impl Canary {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let canary = Self {
            address: listener.local_addr().unwrap(),
            visits: Arc::default(),
        };
        let visits = canary.visits.clone();
        tokio::spawn(async move {
            // One after the other: who comes last is remembered last.
            while let Ok((stream, _)) = listener.accept().await {
                let visit = serve(stream).await;
                visits.lock().unwrap().push(visit);
            }
        });
        canary
    }

    /// What was asked for so far. It asks for something itself, to show that nobody is overlooked.
    pub(crate) async fn visits(&self) -> Vec<String> {
        let own = "GET /own HTTP/1.1";
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{own}\r\nHost: canary\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        eventually("the canary to see its own visit", async || {
            let mut visits = self.visits.lock().unwrap();
            (visits.last()? == own).then(|| {
                visits.pop();
                visits.clone()
            })
        })
        .await
    }
}

/// Answers that there is nothing. Returns what was asked for.
async fn serve(mut stream: TcpStream) -> String {
    let mut request = vec![0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut request)).await;
    request.truncate(read.map_or(0, Result::unwrap_or_default));
    let nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Who has gone need not be told.
    stream.write_all(nothing).await.ok();
    let request = String::from_utf8_lossy(&request).into_owned();
    request.lines().next().unwrap_or("nothing").to_owned()
}
