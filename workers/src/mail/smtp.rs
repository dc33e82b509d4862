//! SMTP (RFC 5321) over lettre's connection, driven step by step so that a commit fits in before
//! the body.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use super::MailError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a server may take to answer one command. All before the body stays below the lease of
/// the handler.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a server may take to answer to the body (RFC 5321 §4.5.3.2.6).
const BODY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a connection is kept for the next mail.
const KEEP: Duration = Duration::from_secs(15);

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Not at all: for a relay on the same host.
    None,
    /// After `STARTTLS`, or not used.
    StartTls,
    /// From the beginning.
    Implicit,
}

impl Security {
    pub(super) fn of(url: &Url) -> Result<Self, String> {
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let asked = url
            .query_pairs()
            .find(|(name, _)| name == "tls")
            .map(|(_, value)| value.into_owned());
        match (url.scheme(), asked.as_deref()) {
            ("smtps", None | Some("required")) => Ok(Self::Implicit),
            ("smtp", Some("required")) => Ok(Self::StartTls),
            ("smtp", Some("none")) => Ok(Self::None),
            ("smtp", None) if loopback => Ok(Self::None),
            ("smtp", None) => Ok(Self::StartTls),
            _ => Err("tls must be required or, with smtp://, none".to_owned()),
        }
    }
}

/// A mail server, with a connection kept warm.
pub(crate) struct Smtp {
    host: String,
    port: u16,
    security: Security,
    tls: TlsParameters,
    credentials: Option<Credentials>,
    hello: ClientId,
    idle: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
}

/// A mail whose body the server waits for.
pub(crate) struct Transaction<'a> {
    smtp: &'a Smtp,
    connection: AsyncSmtpConnection,
}

impl Smtp {
    pub(super) fn new(url: &Url) -> anyhow::Result<Self> {
        let security = Security::of(url).map_err(anyhow::Error::msg)?;
        let host = url.host_str().context("the mail URL names no host")?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let credentials = url
            .password()
            .map(|password| Credentials::new(decoded(url.username()), decoded(password)));
        let mut tls = TlsParameters::builder(host.clone());
        if let Some((_, path)) = url.query_pairs().find(|(name, _)| name == "ca") {
            let pem = std::fs::read(path.as_ref())
                .with_context(|| format!("read the certificate {path}"))?;
            tls = tls
                .add_root_certificate(Certificate::from_pem(&pem).context("read the certificate")?);
        }
        Ok(Self {
            port: url.port().unwrap_or(match security {
                Security::Implicit => 465,
                Security::StartTls => 587,
                Security::None => 25,
            }),
            host,
            security,
            tls: tls.build().context("set up TLS")?,
            credentials,
            hello: ClientId::Domain("customer-flow".to_owned()),
            idle: Mutex::default(),
        })
    }

    pub(super) async fn begin(&self, envelope: &Envelope) -> Result<Transaction<'_>, MailError> {
        // A kept connection may have been closed meanwhile. Then nothing of the mail has left.
        if let Some(mut connection) = self.kept()
            && matches!(start(&mut connection, envelope).await, Ok(()))
        {
            return Ok(Transaction {
                smtp: self,
                connection,
            });
        }
        let mut connection = self.connect().await?;
        start(&mut connection, envelope).await?;
        Ok(Transaction {
            smtp: self,
            connection,
        })
    }

    fn kept(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < KEEP);
        idle.pop().map(|(_, connection)| connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, MailError> {
        let connecting = async {
            let address = (self.host.as_str(), self.port);
            if self.security == Security::Implicit {
                let (timeout, tls) = (Some(CONNECT_TIMEOUT), Some(self.tls.clone()));
                return AsyncSmtpConnection::connect_tokio1(
                    address,
                    timeout,
                    &self.hello,
                    tls,
                    None,
                )
                .await
                .map_err(|error| described(&error));
            }
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| error.to_string())?;
            // The body and the dot behind it are two writes: the second one must not wait for the
            // delayed acknowledgement of the first, which takes 40 ms.
            stream
                .set_nodelay(true)
                .map_err(|error| error.to_string())?;
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello)
                .await
                .map_err(|error| described(&error))
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let mut connection = connected
            .unwrap_or_else(|_| Err(format!("no answer within {CONNECT_TIMEOUT:?}")))
            .map_err(|error| MailError::Later(format!("connect: {error}")))?;
        if self.security == Security::StartTls {
            let upgrade = connection.starttls(self.tls.clone(), &self.hello);
            answered("STARTTLS", CONNECT_TIMEOUT, upgrade).await?;
        }
        if let Some(credentials) = &self.credentials {
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials);
            // Wrong credentials are our mistake, not the mail's: it waits until they are mended.
            answered("AUTH", COMMAND_TIMEOUT, login)
                .await
                .map_err(|error| MailError::Later(format!("log in: {error}")))?;
        }
        Ok(connection)
    }
}

/// Sender, recipients and `DATA`.
async fn start(connection: &mut AsyncSmtpConnection, envelope: &Envelope) -> Result<(), MailError> {
    let mut parameters = vec![];
    let ascii = |address: &lettre::Address| AsRef::<str>::as_ref(address).is_ascii();
    if !envelope.from().into_iter().chain(envelope.to()).all(ascii) {
        if !connection
            .server_info()
            .supports_feature(Extension::SmtpUtfEight)
        {
            let reason = "the mail server does not take addresses that are not ASCII (SMTPUTF8)";
            return Err(MailError::Refused(reason.to_owned()));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let mail = connection.command(Mail::new(envelope.from().cloned(), parameters));
    answered("MAIL", COMMAND_TIMEOUT, mail).await?;
    for recipient in envelope.to() {
        let rcpt = connection.command(Rcpt::new(recipient.clone(), vec![]));
        answered("RCPT", COMMAND_TIMEOUT, rcpt).await?;
    }
    answered("DATA", COMMAND_TIMEOUT, connection.command(Data)).await?;
    Ok(())
}

impl Transaction<'_> {
    pub(super) async fn finish(mut self, body: &[u8]) -> Result<String, MailError> {
        let response = match timeout(BODY_TIMEOUT, self.connection.message(body)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_transient() => {
                return Err(MailError::Later(described(&error)));
            }
            Ok(Err(error)) if error.is_permanent() => {
                return Err(MailError::Refused(described(&error)));
            }
            Ok(Err(error)) => {
                return Err(MailError::Ambiguous(format!(
                    "no answer to the body: {}",
                    described(&error)
                )));
            }
            Err(_) => {
                return Err(MailError::Ambiguous(format!(
                    "no answer to the body within {BODY_TIMEOUT:?}"
                )));
            }
        };
        let mut idle = self
            .smtp
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.push((Instant::now(), self.connection));
        Ok(reply(&response))
    }
}

/// Awaits an answer to something that comes before the body.
async fn answered<T>(
    what: &str,
    limit: Duration,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, MailError> {
    match timeout(limit, step).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_permanent() => {
            Err(MailError::Refused(format!("{what}: {}", described(&error))))
        }
        Ok(Err(error)) => Err(MailError::Later(format!("{what}: {}", described(&error)))),
        Err(_) => Err(MailError::Later(format!(
            "{what}: no answer within {limit:?}"
        ))),
    }
}

fn described(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn reply(response: &Response) -> String {
    let lines: Vec<_> = response.message().collect();
    format!("{} {}", response.code(), lines.join(" "))
}
