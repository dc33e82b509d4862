//! Mail: what it says ([`message`], [`ticket`], [`person`]), and how it leaves ([`smtp`] or [`folder`]).
//!
//! Sending has two halves with a commit between them. Up to the answer to `DATA` nothing is
//! accepted and everything may be repeated. Once the body goes out only the answer tells whether
//! the mail was taken; without one it is *ambiguous* and is not sent again by itself.

mod folder;
pub(crate) mod message;
pub(crate) mod person;
mod smtp;
pub(crate) mod ticket;

use std::path::PathBuf;
use std::str::FromStr;

use lettre::address::Envelope;
use url::Url;

use folder::Folder;
use smtp::{Smtp, Transaction};

/// Where mail goes: `smtp://…`, `smtps://…`, or `file:` and a folder.
///
/// `smtp://user:password@host:587?tls=required&ca=/path/ca.pem`. `tls` is `required` (STARTTLS, the
/// default), `none` (the default on loopback) or, with `smtps://`, implicit. `ca` names a
/// certificate to trust beside those of the system.
#[derive(Clone, PartialEq, Eq)]
pub enum MailUrl {
    /// A mail server.
    Smtp(Url),
    /// One `.eml` file for each mail.
    Folder(PathBuf),
}

impl FromStr for MailUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("file:") {
            if path.is_empty() {
                return Err("file: needs the path of a folder, as in file:./data/mail".to_owned());
            }
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if !["smtp", "smtps"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err("must begin with smtp://, smtps:// or file:".to_owned());
        }
        smtp::Security::of(&url)?;
        Ok(Self::Smtp(url))
    }
}

/// Never shows the password.
impl std::fmt::Display for MailUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file:{}", path.display()),
            Self::Smtp(url) => {
                let mut url = url.clone();
                if url.password().is_some() {
                    url.set_password(Some("***")).ok();
                }
                url.fmt(f)
            }
        }
    }
}

impl std::fmt::Debug for MailUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MailError {
    /// It was not accepted, and may be later.
    #[error("{0}")]
    Later(String),
    /// It was refused for good.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have been accepted.
    #[error("{0}")]
    Ambiguous(String),
}

/// The way out.
pub(crate) enum Mailer {
    Smtp(Box<Smtp>),
    Folder(Folder),
    #[cfg(test)]
    Fake(std::sync::Arc<crate::simulation::Post>),
}

/// A mail of which only the body is missing.
pub(crate) enum Begun<'a> {
    Smtp(Box<Transaction<'a>>),
    Folder(&'a Folder, String),
    #[cfg(test)]
    Fake(crate::simulation::Letter<'a>),
}

impl Mailer {
    /// # Errors
    /// When the folder cannot be made, or the certificate to trust cannot be read.
    pub(crate) fn new(url: &MailUrl) -> anyhow::Result<Self> {
        Ok(match url {
            MailUrl::Smtp(url) => Self::Smtp(Box::new(Smtp::new(url)?)),
            MailUrl::Folder(path) => Self::Folder(Folder::new(path)?),
        })
    }

    /// Everything before the body: connection, sender, recipient, `DATA`. `message_id` names the mail.
    pub(crate) async fn begin(
        &self,
        envelope: &Envelope,
        message_id: &str,
    ) -> Result<Begun<'_>, MailError> {
        match self {
            Self::Smtp(smtp) => smtp
                .begin(envelope)
                .await
                .map(|begun| Begun::Smtp(Box::new(begun))),
            Self::Folder(folder) => Ok(Begun::Folder(folder, message_id.to_owned())),
            #[cfg(test)]
            Self::Fake(post) => post.begin(message_id).await.map(Begun::Fake),
        }
    }

    /// Whether an earlier mail of this name was accepted after all, if that can be told.
    pub(crate) fn was_accepted(&self, message_id: &str) -> Option<bool> {
        match self {
            Self::Smtp(_) => None,
            Self::Folder(folder) => Some(folder.has(message_id)),
            #[cfg(test)]
            Self::Fake(post) => post.was_accepted(message_id),
        }
    }
}

impl Begun<'_> {
    /// Sends the body; returns the server's answer.
    pub(crate) async fn finish(self, body: &[u8]) -> Result<String, MailError> {
        match self {
            Self::Smtp(transaction) => transaction.finish(body).await,
            Self::Folder(folder, message_id) => folder.write(&message_id, body),
            #[cfg(test)]
            Self::Fake(letter) => letter.finish(body).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_way_and_never_show_the_password() {
        let url: MailUrl = "smtp://me:s3cret@mail.example:587".parse().unwrap();
        assert_eq!(url.to_string(), "smtp://me:***@mail.example:587");
        assert_eq!("file:./mail".parse(), Ok(MailUrl::Folder("./mail".into())));
        for bad in ["", "file:", "http://x", "smtp:", "smtp://host?tls=perhaps"] {
            assert!(bad.parse::<MailUrl>().is_err(), "{bad:?}");
        }
    }
}
