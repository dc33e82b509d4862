//! A TCP proxy that can be closed and opened again.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of a server.
pub(crate) struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy, open, in front of `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.clone();
                if !*state.borrow() {
                    // Refused: the connection is closed at once.
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let mut client = client;
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open }
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    /// Takes connections again.
    pub(crate) fn reopen(&self) {
        self.open.send_replace(true);
    }
}
