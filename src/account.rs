//! `flow account`.

use entity::account::AccountKind;
use ingress::accounts::{NewAccount, create_account};
use schemas::values::{CountryCode, Currency, EmailAddress, Locale, Name, TimeZone, VatId};

use crate::settings::Database;

/// Options of `flow account`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates an account and prints its id.
    Create(Box<Create>),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Legal name.
    #[arg(long)]
    name: Name,
    /// A private person rather than a business.
    #[arg(long)]
    person: bool,
    /// Where invoices are mailed.
    #[arg(long)]
    email: Option<EmailAddress>,
    /// Street and number.
    #[arg(long)]
    street: Name,
    /// Postal code.
    #[arg(long)]
    postal_code: Name,
    /// Town.
    #[arg(long)]
    city: Name,
    /// ISO 3166-1 alpha-2 code of the country.
    #[arg(long)]
    country: CountryCode,
    /// VAT identification number.
    #[arg(long)]
    vat_id: Option<VatId>,
    /// ISO 4217 code of the currency it is invoiced in.
    #[arg(long, default_value = "EUR")]
    currency: Currency,
    /// Language of its documents and mails: en, de, fr.
    #[arg(long, default_value = "en")]
    locale: Locale,
    /// IANA name of the time zone that its billing periods are in.
    #[arg(long, default_value = "UTC")]
    time_zone: TimeZone,
    /// Days from issue to due date.
    #[arg(long, default_value_t = 14)]
    payment_terms_days: u16,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let Action::Create(new) = args.action;
    let id = create_account(
        &db,
        NewAccount {
            kind: if new.person {
                AccountKind::Person
            } else {
                AccountKind::Business
            },
            name: new.name,
            email: new.email,
            street: new.street.into(),
            postal_code: new.postal_code.into(),
            city: new.city.into(),
            country: new.country,
            vat_id: new.vat_id,
            currency: new.currency,
            locale: new.locale,
            time_zone: new.time_zone,
            payment_terms_days: new.payment_terms_days,
        },
    )
    .await?;
    println!("{id}");
    Ok(())
}
