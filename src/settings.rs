//! The options that several subcommands share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerUrl, Publisher};
use ingress::credentials::Pepper;
use ingress::oauth::{JwksTiming, OAuthSettings};
use ingress::{CacheUrl, RequestLimits};
use ipnet::IpNet;
use schemas::values::{EmailAddress, InvalidValue};
use sea_orm::DatabaseConnection;
use url::Url;
use workers::{Links, MailUrl, RendererKind};

/// Where the database is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Database {
    /// Where the database is: postgres://… or sqlite: and the path of a file.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite:./data/flow.db"
    )]
    pub(crate) database_url: String,
}

impl Database {
    pub(crate) async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        crate::database::connect(&self.database_url).await
    }
}

/// What API keys are hashed with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PepperFile {
    /// The file with the pepper of the API keys, the same for every process. It is made for a
    /// database that has none yet.
    #[arg(long, env = "PEPPER_FILE", default_value = "data/pepper")]
    pub(crate) pepper_file: PathBuf,
}

impl PepperFile {
    pub(crate) async fn open(&self, db: &DatabaseConnection) -> anyhow::Result<Pepper> {
        Pepper::open(&self.pepper_file, db).await
    }

    /// The pepper, if there is one.
    pub(crate) async fn open_if_there(
        &self,
        db: &DatabaseConnection,
    ) -> anyhow::Result<Option<Pepper>> {
        match self.pepper_file.exists() {
            true => Ok(Some(self.open(db).await?)),
            false => Ok(None),
        }
    }
}

/// Where the broker is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BrokerArgs {
    /// Where the broker is: amqp://…, amqps://…, or embedded: and the path of a file.
    #[arg(
        long,
        env = "BROKER_URL",
        hide_env_values = true,
        default_value = "embedded:./data/queue.db"
    )]
    pub(crate) broker_url: BrokerUrl,
    /// Multiplies the delays of the retry ladder. For tests and trials.
    #[arg(long, env = "RETRY_SCALE", default_value_t = 1.0, hide = true)]
    pub(crate) retry_scale: f64,
}

impl BrokerArgs {
    pub(crate) async fn open(&self, name: &str) -> anyhow::Result<Broker> {
        Broker::open(&self.broker_url, name, self.retry_scale).await
    }
}

/// What worker pools need beside database and broker.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Work {
    /// Where mail goes: smtp://…, smtps://…, or file: and the path of a folder.
    #[arg(
        long,
        env = "MAIL_URL",
        hide_env_values = true,
        default_value = "file:./data/mail"
    )]
    pub(crate) mail_url: MailUrl,
    /// The engine that makes PDFs: typst or wkhtmltopdf.
    #[arg(long, env = "RENDERER", default_value = "typst")]
    pub(crate) renderer: RendererKind,
    /// How many documents are rendered at once; unset, as many as there are cores.
    #[arg(long, env = "RENDERERS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) renderers: Option<u16>,
    /// Where the simulated provider listens.
    #[arg(
        long,
        env = "SIMULATED_PROVIDER_URL",
        default_value = "http://127.0.0.1:8090"
    )]
    pub(crate) simulated_provider_url: Url,
    /// Where a second simulated provider listens: to try what two clouds do to each other. Unset:
    /// where the first one does.
    #[arg(long, env = "SIMULATED_PROVIDER_2_URL")]
    pub(crate) simulated_provider_2_url: Option<Url>,
    /// How many seconds something may stand still before the reconciler sends its step again.
    #[arg(long, env = "RECONCILE_AFTER", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) reconcile_after: u64,
    /// Where mails about tickets go for the support. Unset: tickets are seen in the lists alone.
    #[arg(long, env = "SUPPORT_EMAIL", value_parser = mail_address)]
    pub(crate) support_email: Option<EmailAddress>,
    /// How many days after the due date an invoice is reminded of, level by level: 3,14,28. Empty: never.
    #[arg(long, env = "REMINDER_DAYS", default_value = REMINDER_DAYS, value_parser = days)]
    pub(crate) reminder_days: ReminderDays,
    /// Where people reach the API and its pages: links in mails lead there.
    #[arg(long, env = "PUBLIC_URL", default_value = PUBLIC_URL, value_parser = public_url)]
    pub(crate) public_url: Url,
    /// The broker users that may ask for any account: those of the ingresses. Without any,
    /// the user of the broker URL.
    #[arg(long, env = "TRUSTED_PUBLISHERS", value_delimiter = ',')]
    pub(crate) trusted_publishers: Vec<String>,
}

impl Work {
    /// What the pools work with; the pool `email` needs the pepper, and so does `provider` if there is a
    /// credential.
    pub(crate) fn settings(
        &self,
        db: DatabaseConnection,
        broker: &Broker,
        pepper: Option<&Pepper>,
    ) -> workers::Settings {
        let mut trusted_publishers = self.trusted_publishers.clone();
        if trusted_publishers.is_empty() {
            trusted_publishers.push(broker.own_user().to_owned());
        }
        workers::Settings {
            db,
            broker: broker.clone(),
            publisher: broker.publisher(),
            renderer: self.renderer,
            renderers: self.renderers,
            mail: self.mail_url.clone(),
            simulated_provider: self.simulated_provider_url.clone(),
            simulated_provider_2: self
                .simulated_provider_2_url
                .as_ref()
                .unwrap_or(&self.simulated_provider_url)
                .clone(),
            support: self.support_email.as_ref().map(ToString::to_string),
            provider_key: pepper.map(|pepper| Arc::new(pepper.provider_key())),
            links: pepper.map(|pepper| Links {
                key: pepper.link_key(),
                public_url: self.public_url.clone(),
            }),
            reminder_days: self.reminder_days.0.clone(),
            trusted_publishers,
            reconcile_after: Duration::from_secs(self.reconcile_after),
            concurrency: None,
        }
    }
}

const LISTEN: &str = "127.0.0.1:8080";
const PUBLIC_URL: &str = "http://127.0.0.1:8080";
/// When an invoice is reminded of, without any option.
pub(crate) const REMINDER_DAYS: &str = "3,14,28";

/// Days after the due date, growing.
#[derive(Debug, Clone)]
pub(crate) struct ReminderDays(pub(crate) Vec<u32>);

/// Reads days that grow.
pub(crate) fn days(text: &str) -> Result<ReminderDays, String> {
    let wrong = |_| "must be days that grow: 3,14,28".to_owned();
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let days: Vec<u32> = words
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let grows = days.windows(2).all(|pair| pair[0] < pair[1]);
    let fits = days.len() <= 9 && days.iter().all(|days| *days <= 3650);
    match grows && fits {
        true => Ok(ReminderDays(days)),
        false => Err("must be days that grow: 3,14,28".to_owned()),
    }
}

const KEY_RATE: u32 = 500;
const ACCOUNT_RATE: u32 = 1000;

/// How the HTTP API is served.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Http {
    /// The address to listen on.
    #[arg(long, env = "LISTEN", default_value = LISTEN)]
    pub(crate) listen: String,
    /// Origins whose web pages may call the API, as in `https://shop.example`. Without any, none but its own.
    #[arg(long = "cors-origin", env = "CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub(crate) cors_origins: Vec<String>,
    /// The balancers in front, as networks: whom a request comes from is what they say in
    /// X-Forwarded-For. Without any, whoever connects.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// What several ingresses share: memory: for each by itself, or redis://…, rediss://…
    #[arg(
        long,
        env = "CACHE_URL",
        hide_env_values = true,
        default_value = "memory:"
    )]
    pub(crate) cache_url: CacheUrl,
    /// How many requests a second there may be with one key.
    #[arg(long, env = "KEY_RATE", default_value_t = KEY_RATE,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) key_rate: u32,
    /// How many requests a second there may be for one account.
    #[arg(long, env = "ACCOUNT_RATE", default_value_t = ACCOUNT_RATE,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) account_rate: u32,
    /// Where the API and its pages are for those who use them: https, or http on loopback for trials.
    /// It is the issuer of access tokens and the same for every ingress; cookies are secure with https, and
    /// pages of other origins change nothing. Unset: where this one listens.
    #[arg(long, env = "PUBLIC_URL", value_parser = public_url)]
    pub(crate) public_url: Option<Url>,
    /// Whether strangers may sign up: open or closed.
    #[arg(long, env = "SIGN_UP", default_value = "open")]
    pub(crate) sign_up: SignUp,
    #[command(flatten)]
    pub(crate) oauth: OAuth,
}

/// How access tokens are issued and checked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OAuth {
    /// How many seconds an access token works.
    #[arg(long, env = "ACCESS_TOKEN_SECONDS", default_value_t = ACCESS_TOKEN_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) access_token_seconds: u32,
    /// After how many seconds the keys of foreign issuers are fetched again.
    #[arg(long, env = "ISSUER_KEYS_MAX_AGE", default_value_t = KEYS_MAX_AGE)]
    pub(crate) issuer_keys_max_age: u32,
    /// How many seconds lie at least between two times, whatever tokens name.
    #[arg(long, env = "ISSUER_KEYS_MIN_INTERVAL", default_value_t = KEYS_MIN_INTERVAL)]
    pub(crate) issuer_keys_min_interval: u32,
    /// How many seconds the keys of a foreign issuer are used that cannot be asked.
    #[arg(long, env = "ISSUER_KEYS_MAX_STALE", default_value_t = KEYS_MAX_STALE)]
    pub(crate) issuer_keys_max_stale: u32,
}

const ACCESS_TOKEN_SECONDS: u32 = 600;
const KEYS_MAX_AGE: u32 = 300;
const KEYS_MIN_INTERVAL: u32 = 30;
const KEYS_MAX_STALE: u32 = 24 * 3600;

/// As without any option.
impl Default for OAuth {
    fn default() -> Self {
        Self {
            access_token_seconds: ACCESS_TOKEN_SECONDS,
            issuer_keys_max_age: KEYS_MAX_AGE,
            issuer_keys_min_interval: KEYS_MIN_INTERVAL,
            issuer_keys_max_stale: KEYS_MAX_STALE,
        }
    }
}

impl OAuth {
    fn settings(self) -> OAuthSettings {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        OAuthSettings {
            lifetime: seconds(self.access_token_seconds),
            jwks: JwksTiming {
                max_age: seconds(self.issuer_keys_max_age),
                min_interval: seconds(self.issuer_keys_min_interval),
                max_stale: seconds(self.issuer_keys_max_stale),
            },
        }
    }
}

/// Who gets an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SignUp {
    /// Whoever proves an address.
    Open,
    /// Whom the seller creates one for, and whom its owners invite.
    Closed,
}

/// As without any option.
impl Default for Http {
    fn default() -> Self {
        Self {
            listen: LISTEN.to_owned(),
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            cache_url: CacheUrl::Memory,
            key_rate: KEY_RATE,
            account_rate: ACCOUNT_RATE,
            oauth: OAuth::default(),
            public_url: None,
            sign_up: SignUp::Open,
        }
    }
}

impl Http {
    /// How the API is served, with what it works with.
    pub(crate) fn settings(
        self,
        db: DatabaseConnection,
        publisher: Publisher,
        pepper: Pepper,
    ) -> ingress::Settings {
        ingress::Settings {
            db,
            publisher,
            pepper,
            cache: self.cache_url,
            limits: RequestLimits {
                key: self.key_rate,
                account: self.account_rate,
            },
            oauth: self.oauth.settings(),
            proxies: self.trusted_proxies,
            cors_origins: self.cors_origins,
            public_url: self.public_url,
            sign_up: self.sign_up == SignUp::Open,
        }
    }
}

/// Reads a mail address.
pub(crate) fn mail_address(text: &str) -> Result<EmailAddress, String> {
    text.parse().map_err(|InvalidValue(reason)| reason)
}

/// Reads the address that people use: https, or http on loopback.
fn public_url(text: &str) -> Result<Url, String> {
    let wrong = || "must be https://…, or http:// on loopback".to_owned();
    let url: Url = text.parse().map_err(|_| wrong())?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(wrong()),
    };
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match url.scheme() {
        "https" if bare => Ok(url),
        "http" if bare && loopback => Ok(url),
        _ => Err(wrong()),
    }
}

/// The origin that a URL names, as browsers write it (RFC 6454 §6.2).
fn origin(text: &str) -> Result<String, String> {
    let wrong = || "must be an origin: https://shop.example".to_owned();
    let url: Url = text.parse().map_err(|_| wrong())?;
    let origin = url.origin();
    let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    match origin.is_tuple() && bare {
        true => Ok(origin.ascii_serialization()),
        false => Err(wrong()),
    }
}

/// Where the files of an embedded system lie.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(pub(crate) PathBuf);

impl DataFolder {
    pub(crate) fn database_url(&self) -> String {
        format!("sqlite:{}", self.0.join("flow.db").display())
    }

    pub(crate) fn broker_url(&self) -> BrokerUrl {
        BrokerUrl::Embedded(self.0.join("queue.db"))
    }

    pub(crate) fn pepper(&self) -> PathBuf {
        self.0.join("pepper")
    }

    pub(crate) fn mail(&self) -> PathBuf {
        self.0.join("mail")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("provider.jsonl")
    }
}
