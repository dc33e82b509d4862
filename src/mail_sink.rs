//! `flow mail-sink`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use simulator::mail::{Settings, Tls};

use crate::{ingress, shutdown};

/// Options of `flow mail-sink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to take mail on.
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: String,
    /// The address of its HTTP control: GET /control/mails, PUT /control/faults.
    #[arg(long, default_value = "127.0.0.1:2580")]
    control: String,
    /// The folder to keep mails in; without one they are only counted.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A certificate (PEM): offers STARTTLS.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Encrypts from the beginning instead of offering STARTTLS.
    #[arg(long, requires = "tls_cert")]
    implicit_tls: bool,
    /// Takes mail only after this login, as user:password.
    #[arg(long)]
    auth: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let smtp = ingress::listen(&args.listen).await?;
    let control = ingress::listen(&args.control).await?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect)
                .context("read the certificate")?;
            let key = PrivateKeyDer::from_pem_file(key).context("read the key")?;
            let config = rustls::ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
            Some(Tls {
                config: Arc::new(config),
                implicit: args.implicit_tls,
            })
        }
        _ => None,
    };
    let auth = args
        .auth
        .as_deref()
        .map(|text| text.split_once(':').context("--auth needs user:password"));
    let auth = auth
        .transpose()?
        .map(|(user, password)| (user.to_owned(), password.to_owned()));
    tracing::info!(
        "taking mail on smtp://{}, control on http://{}",
        smtp.local_addr()?,
        control.local_addr()?
    );
    simulator::mail::serve(
        smtp,
        control,
        Settings {
            folder: args.folder,
            tls,
            auth,
        },
        shutdown,
    )
    .await
}
