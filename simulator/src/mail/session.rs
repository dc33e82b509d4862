//! One connection of a mail client.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::Utc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Accepted, State};

/// The largest mail that is taken.
const MAX_SIZE: usize = 32 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session<'a> {
    stream: BufStream<Box<dyn Stream>>,
    state: &'a State,
    encrypted: bool,
    authenticated: bool,
}

pub(super) async fn run(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: &State,
) -> anyhow::Result<()> {
    let implicit = state.settings.tls.as_ref().is_some_and(|tls| tls.implicit);
    let stream: Box<dyn Stream> = match &acceptor {
        Some(acceptor) if implicit => Box::new(acceptor.accept(stream).await?),
        _ => Box::new(stream),
    };
    let mut session = Session {
        stream: BufStream::new(stream),
        state,
        encrypted: implicit,
        authenticated: false,
    };
    session.greet().await?;
    while let Some(line) = session.line().await? {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" | "HELO" => session.hello(acceptor.is_some()).await?,
            "STARTTLS" if acceptor.is_some() && !session.encrypted => {
                session.say("220 2.0.0 go ahead").await?;
                let acceptor = acceptor.as_ref().context("no certificate")?;
                let plain = session.stream.into_inner();
                let stream: Box<dyn Stream> = Box::new(acceptor.accept(plain).await?);
                session = Session {
                    stream: BufStream::new(stream),
                    state,
                    encrypted: true,
                    authenticated: false,
                };
            }
            "AUTH" => session.authenticate(&line).await?,
            "MAIL" => session.mail(&line).await?,
            "RSET" | "NOOP" => session.say("250 2.0.0 ok").await?,
            "QUIT" => {
                session.say("221 2.0.0 bye").await?;
                return Ok(());
            }
            _ => session.say("502 5.5.1 not implemented").await?,
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn line(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Answers with the fault for this place, or with `otherwise`. False when it was the fault.
    async fn reply(&mut self, at: &str, otherwise: &str) -> anyhow::Result<bool> {
        let Some(fault) = self.state.fault(at) else {
            self.say(otherwise).await?;
            return Ok(true);
        };
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        match fault.reply {
            Some(reply) => self.say(&reply).await?,
            None => bail!("hung up at {at}"),
        }
        Ok(false)
    }

    async fn greet(&mut self) -> anyhow::Result<()> {
        if !self.reply("connect", "220 mail.simulator ESMTP").await? {
            bail!("refused at connect");
        }
        Ok(())
    }

    async fn hello(&mut self, tls: bool) -> anyhow::Result<()> {
        let mut lines = vec![
            "mail.simulator",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "SIZE 33554432",
        ];
        if tls && !self.encrypted {
            lines.push("STARTTLS");
        }
        if self.state.settings.auth.is_some() {
            lines.push("AUTH PLAIN");
        }
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            let separator = if index == last { ' ' } else { '-' };
            self.stream
                .write_all(format!("250{separator}{line}\r\n").as_bytes())
                .await?;
        }
        self.stream.flush().await?;
        Ok(())
    }

    /// `AUTH PLAIN <base64 of NUL user NUL password>` (RFC 4616).
    async fn authenticate(&mut self, line: &str) -> anyhow::Result<()> {
        let given = line.split_whitespace().nth(2).unwrap_or_default();
        let decoded = data_encoding::BASE64
            .decode(given.as_bytes())
            .unwrap_or_default();
        let wanted = self.state.settings.auth.as_ref();
        self.authenticated = wanted.is_some_and(|(user, password)| {
            decoded == format!("\0{user}\0{password}").into_bytes()
        });
        let reply = if self.authenticated {
            "235 2.7.0 welcome"
        } else {
            "535 5.7.8 wrong credentials"
        };
        self.say(reply).await
    }

    /// From `MAIL FROM` to the answer behind the last line of the body.
    async fn mail(&mut self, line: &str) -> anyhow::Result<()> {
        if self.state.settings.auth.is_some() && !self.authenticated {
            return self.say("530 5.7.0 authentication required").await;
        }
        let from = address(line);
        if !self.reply("mail", "250 2.1.0 ok").await? {
            return Ok(());
        }
        let mut to = Vec::new();
        loop {
            let Some(line) = self.line().await? else {
                bail!("left before the data")
            };
            let upper = line.to_ascii_uppercase();
            if upper.starts_with("RCPT") {
                if self.reply("rcpt", "250 2.1.5 ok").await? {
                    to.push(address(&line));
                }
            } else if upper.starts_with("DATA") && !to.is_empty() {
                if !self.reply("data", "354 go ahead").await? {
                    return Ok(());
                }
                break;
            } else if upper.starts_with("QUIT") {
                return self.say("221 2.0.0 bye").await;
            } else {
                return self.say("250 2.0.0 ok").await;
            }
        }
        let body = self.body().await?;
        let fault = self.state.fault("body");
        if let Some(fault) = &fault {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        }
        if fault.as_ref().is_none_or(|fault| fault.keep) {
            self.keep(from, to, &body)?;
        }
        match fault {
            None => self.say("250 2.0.0 queued").await,
            Some(fault) => match fault.reply {
                Some(reply) => self.say(&reply).await,
                None => bail!("hung up behind the body"),
            },
        }
    }

    async fn body(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let start = body.len();
            if self.stream.read_until(b'\n', &mut body).await? == 0 {
                bail!("left in the middle of the body");
            }
            if start > 0 && self.state.fault("middle").is_some() {
                bail!("hung up in the middle of the body");
            }
            let line = body.get(start..).unwrap_or_default();
            if line == b".\r\n" {
                body.truncate(start);
                return Ok(body);
            }
            // Dot-stuffing (RFC 5321 §4.5.2).
            if line.starts_with(b".") {
                body.remove(start);
            }
            if body.len() > MAX_SIZE {
                bail!("the mail is too large");
            }
        }
    }

    fn keep(&self, from: String, to: Vec<String>, body: &[u8]) -> anyhow::Result<()> {
        let text = String::from_utf8_lossy(body);
        let message_id = text
            .lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix("Message-ID:"))
            .unwrap_or_default();
        let message_id = message_id.trim().to_owned();
        let file = match &self.state.settings.folder {
            None => None,
            Some(folder) => {
                let path = folder.join(format!("{}.eml", uuid::Uuid::now_v7()));
                std::fs::write(&path, body)?;
                Some(path)
            }
        };
        let (size, encrypted) = (body.len(), self.encrypted);
        self.state.ledger.append(Accepted {
            from,
            to,
            message_id,
            size,
            file,
            encrypted,
            at: Utc::now(),
        })
    }
}

/// The address between `<` and `>`.
fn address(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner
        .map(|(address, _)| address.to_owned())
        .unwrap_or_default()
}
