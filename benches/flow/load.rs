//! A load generator that costs little: keep-alive connections, requests written as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::place::order;
use crate::support::client::Client;

/// How many clients place orders at once.
pub(crate) const CLIENTS: usize = 256;

/// A connection that places orders.
pub(crate) struct Connection {
    stream: TcpStream,
    head: String,
    body: String,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(client: &Client) -> Self {
        let address = client.base().strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = order().to_string();
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nIdempotency-Key: ",
            client.key(),
            body.len()
        );
        Self {
            stream,
            head,
            body,
            answer: Vec::new(),
        }
    }

    /// Places an order under a key and waits for its 202.
    pub(crate) async fn place(&mut self, key: &str) {
        assert_eq!(
            self.ask(key).await,
            202,
            "{}",
            String::from_utf8_lossy(&self.answer)
        );
    }

    /// Places an order under a key and waits for the answer: its status.
    pub(crate) async fn ask(&mut self, key: &str) -> u16 {
        let request = format!("{}{key}\r\n\r\n{}", self.head, self.body);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.unwrap();
            assert!(read > 0, "the ingress closed the connection");
            let Some(end) = self
                .answer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            else {
                continue;
            };
            let head = String::from_utf8_lossy(self.answer.get(..end).unwrap()).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            if self.answer.len() >= end + 4 + length.parse::<usize>().unwrap() {
                let status = head.split(' ').nth(1).unwrap();
                return status.parse().unwrap();
            }
        }
    }
}

/// Accepted orders per second over `duration`, by [`CLIENTS`] clients.
pub(crate) async fn accepted_per_second(client: &Client, duration: Duration) -> f64 {
    let accepted = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut connection = Connection::open(client).await;
        let accepted = accepted.clone();
        clients.spawn(async move {
            while began.elapsed() < duration {
                connection.place(&uuid::Uuid::new_v4().to_string()).await;
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    f64::from(u32::try_from(accepted.load(Ordering::Relaxed)).unwrap()) / seconds
}

/// Places `count` orders by [`CLIENTS`] clients.
pub(crate) async fn place(client: &Client, count: usize) {
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let mut connection = Connection::open(client).await;
        clients.spawn(async move {
            for _ in (first..count).step_by(CLIENTS) {
                connection.place(&uuid::Uuid::new_v4().to_string()).await;
            }
        });
    }
    clients.join_all().await;
}
