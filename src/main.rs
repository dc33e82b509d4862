//! Customer Flow: the order-to-invoice engine for businesses that resell cloud services.
//!
//! One binary for everything. Each subcommand is a file; what it does lives in the crates.

mod account;
mod contract;
mod database;
mod dead;
mod demo;
mod ingress;
mod issuer;
mod key;
mod mail;
mod mail_sink;
mod migrate;
mod oauth_client;
mod payment;
mod preview;
mod provider;
mod provider_simulator;
mod publisher;
mod resource;
mod run;
mod seed;
mod series;
mod settings;
mod shutdown;
mod signing_key;
mod telemetry;
mod ticket;
mod topology;
mod user;
mod worker;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

/// The order-to-invoice engine for businesses that resell cloud services.
///
/// Every option can also be set by the environment variable named beside it.
#[derive(Parser)]
#[command(name = "flow", version, about, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    telemetry: telemetry::Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything in one process. With the defaults nothing else needs to be installed.
    Run(run::Args),
    /// Places a real order in a folder of its own and shows how it becomes a mailed invoice.
    Demo(demo::Args),
    /// Serves the HTTP API.
    Ingress(ingress::Args),
    /// Runs worker pools.
    Worker(worker::Args),
    /// Brings the database to the current version.
    Migrate(migrate::Args),
    /// Creates the example issuer, tax rates and catalogue, and an account with an API key.
    Seed(seed::Args),
    /// Declares or checks exchanges and queues.
    Topology(topology::Args),
    /// Manages accounts.
    Account(account::Args),
    /// Manages API keys.
    Key(key::Args),
    /// Manages OAuth clients, which exchange their secrets for access tokens.
    OauthClient(oauth_client::Args),
    /// Manages the keys that sign access tokens.
    SigningKey(signing_key::Args),
    /// Manages foreign issuers whose access tokens are accepted.
    Issuer(issuer::Args),
    /// Manages people who act for accounts.
    User(user::Args),
    /// Manages our accounts at cloud providers.
    Provider(provider::Args),
    /// Manages partner systems that publish straight to RabbitMQ.
    Publisher(publisher::Args),
    /// Records and shows payments.
    Payment(payment::Args),
    /// Shows and handles tickets.
    Ticket(ticket::Args),
    /// Manages number series.
    Series(series::Args),
    /// Shows and decides about parked messages.
    Dead(dead::Args),
    /// Shows and decides about mails that are held.
    Mail(mail::Args),
    /// Shows where our resources and those at the providers differ.
    Resource(resource::Args),
    /// Prints or writes the published contract: OpenAPI, AsyncAPI and JSON Schemas.
    Contract(contract::Args),
    /// Renders an invoice from a JSON file, to try a template.
    Preview(preview::Args),
    /// Runs the simulated cloud provider.
    ProviderSimulator(provider_simulator::Args),
    /// Runs a mail server that keeps what it is sent, for trials and tests.
    MailSink(mail_sink::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| without_password(error).exit());
    // One cryptography for every connection.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let (service, logs) = match &cli.command {
        Command::Run(_) => ("customer-flow", telemetry::Logs::Info),
        Command::Ingress(_) => ("customer-flow-ingress", telemetry::Logs::Info),
        Command::Worker(_) => ("customer-flow-worker", telemetry::Logs::Info),
        Command::ProviderSimulator(_) | Command::MailSink(_) => {
            ("customer-flow-simulator", telemetry::Logs::Info)
        }
        _ => ("customer-flow-cli", telemetry::Logs::Quiet),
    };
    let telemetry = match telemetry::init(service, &cli.telemetry, logs) {
        Ok(telemetry) => telemetry,
        Err(error) => return failed(&error),
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Ingress(args) => ingress::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Seed(args) => seed::run(args).await,
        Command::Topology(args) => topology::run(args).await,
        Command::Account(args) => account::run(args).await,
        Command::Key(args) => key::run(args).await,
        Command::OauthClient(args) => oauth_client::run(args).await,
        Command::SigningKey(args) => signing_key::run(args).await,
        Command::Issuer(args) => issuer::run(args).await,
        Command::User(args) => user::run(args).await,
        Command::Provider(args) => provider::run(args).await,
        Command::Publisher(args) => publisher::run(args).await,
        Command::Payment(args) => payment::run(args).await,
        Command::Ticket(args) => ticket::run(args).await,
        Command::Series(args) => series::run(args).await,
        Command::Dead(args) => dead::run(args).await,
        Command::Mail(args) => mail::run(args).await,
        Command::Resource(args) => resource::run(args).await,
        Command::Contract(args) => contract::run(args),
        Command::Preview(args) => preview::run(args).await,
        Command::ProviderSimulator(args) => provider_simulator::run(args).await,
        Command::MailSink(args) => mail_sink::run(args).await,
    };
    telemetry.finish().await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The complaint about a value that cannot be read, which shows a URL without its credentials.
fn without_password(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some((scheme, rest)) = value.split_once("://")
        // A URL that cannot be read may have a password with any character in it.
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        let shown = ContextValue::String(format!("{scheme}://***@{host}"));
        error.insert(ContextKind::InvalidValue, shown);
    }
    error
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that failed"
)]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("flow: {error:#}");
    ExitCode::FAILURE
}
