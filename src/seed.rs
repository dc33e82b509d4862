//! `flow seed`: an example to begin with.

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use entity::account::AccountKind;
use entity::price::Charge;
use entity::{account, issuer, offering, plan, price, provider_account, tax_rate};
use ingress::accounts::{NewAccount, create_account};
use ingress::credentials::{NewKey, Pepper, Scope, create_key};
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, PaginatorTrait, QueryOrder, Set};
use uuid::Uuid;

use crate::settings::{Database, PepperFile};

/// Options of `flow seed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pepper: PepperFile,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let pepper = args.pepper.open(&db).await?;
    match seed(&db, &pepper).await? {
        Some(seeded) => println!("account {}\napi key {}", seeded.account_id, seeded.api_key),
        None => println!("there is an issuer already; nothing is changed"),
    }
    Ok(())
}

/// What the example created.
#[derive(Debug, Clone)]
pub(crate) struct Seeded {
    pub(crate) account_id: Uuid,
    /// The key, for the only time.
    pub(crate) api_key: String,
}

/// The standard VAT rates of the member states, as of November 2026
/// (<https://taxation-customs.ec.europa.eu>, "VAT rates applied in the Member States"). An example
/// to begin with; the operator keeps the table.
const STANDARD_RATES: [(&str, &str); 27] = [
    ("AT", "20"),
    ("BE", "21"),
    ("BG", "20"),
    ("CY", "19"),
    ("CZ", "21"),
    ("DE", "19"),
    ("DK", "25"),
    ("EE", "24"),
    ("ES", "21"),
    ("FI", "25.5"),
    ("FR", "20"),
    ("GR", "24"),
    ("HR", "25"),
    ("HU", "27"),
    ("IE", "23"),
    ("IT", "22"),
    ("LT", "21"),
    ("LU", "17"),
    ("LV", "21"),
    ("MT", "18"),
    ("NL", "21"),
    ("PL", "23"),
    ("PT", "23"),
    ("RO", "21"),
    ("SE", "25"),
    ("SI", "22"),
    ("SK", "23"),
];
/// Reduced rates, for the handbook of the managed plan.
const REDUCED_RATES: [(&str, &str); 3] = [("AT", "10"), ("DE", "7"), ("FR", "5.5")];

/// Amounts in the currencies that the example is sold in.
type Amounts = [(&'static str, &'static str); 3];

/// Code, name, type at the simulated provider, and price a month.
const PLANS: [(&str, &str, &str, Amounts); 3] = [
    (
        "s",
        "S: 2 cores, 4 GiB",
        "sim-s",
        [("EUR", "9.90"), ("JPY", "1480"), ("KWD", "3.345")],
    ),
    (
        "m",
        "M: 4 cores, 8 GiB",
        "sim-m",
        [("EUR", "18.90"), ("JPY", "2830"), ("KWD", "6.390")],
    ),
    (
        "l",
        "L: 8 cores, 16 GiB",
        "sim-l",
        [("EUR", "36.90"), ("JPY", "5520"), ("KWD", "12.475")],
    ),
];
const SETUP: Amounts = [("EUR", "5.00"), ("JPY", "750"), ("KWD", "1.690")];

/// Creates the example, unless there is an issuer already.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn seed(
    db: &DatabaseConnection,
    pepper: &Pepper,
) -> anyhow::Result<Option<Seeded>> {
    if issuer::Entity::find().count(db).await? > 0 {
        return Ok(None);
    }
    let transaction = entity::begin(db).await?;
    seed_issuer(&transaction)
        .await
        .context("create the issuer")?;
    seed_catalog(&transaction)
        .await
        .context("create the catalogue")?;
    let account_id = create_account(&transaction, example_account()?)
        .await
        .context("create the account")?;
    let api_key = key(&transaction, pepper, account_id).await?;
    transaction.commit().await?;
    Ok(Some(Seeded {
        account_id,
        api_key,
    }))
}

/// Creates another key for the first account.
///
/// # Errors
/// When there is no account, or the database cannot be reached.
pub(crate) async fn another_key(
    db: &DatabaseConnection,
    pepper: &Pepper,
) -> anyhow::Result<String> {
    let first = account::Entity::find()
        .order_by_asc(account::Column::CreatedAt)
        .one(db)
        .await?;
    key(db, pepper, first.context("there is no account")?.id).await
}

async fn key(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    account_id: Uuid,
) -> anyhow::Result<String> {
    let new = NewKey {
        account_id,
        name: "example",
        scopes: &Scope::of_customers(),
        expires_at: None,
        networks: &[],
        created_by: "seed",
    };
    create_key(db, pepper, new)
        .await
        .context("create the API key")
}

fn example_account() -> anyhow::Result<NewAccount> {
    Ok(NewAccount {
        kind: AccountKind::Business,
        name: "Musterwerk GmbH".parse()?,
        email: Some("buchhaltung@musterwerk.example".parse()?),
        street: "Lindenallee 7".to_owned(),
        postal_code: "50667".to_owned(),
        city: "Köln".to_owned(),
        country: "DE".parse()?,
        vat_id: Some("DE811907980".parse()?),
        currency: "EUR".parse()?,
        locale: "de".parse()?,
        time_zone: "Europe/Berlin".parse()?,
        payment_terms_days: 14,
    })
}

async fn seed_issuer(db: &impl ConnectionTrait) -> anyhow::Result<()> {
    let row = issuer::ActiveModel {
        id: Set(Uuid::now_v7()),
        name: Set("Nimbus Cloud Services GmbH".to_owned()),
        street: Set("Hafenstraße 12".to_owned()),
        postal_code: Set("20457".to_owned()),
        city: Set("Hamburg".to_owned()),
        country: Set("DE".to_owned()),
        vat_id: Set(Some("DE123456789".to_owned())),
        registration: Set("Amtsgericht Hamburg HRB 123456".to_owned()),
        email: Set("billing@nimbus.example".to_owned()),
        phone: Set("+49 40 1234567".to_owned()),
        website: Set("nimbus.example".to_owned()),
        bank_name: Set("Hanseatische Bank".to_owned()),
        iban: Set("DE02 1203 0000 0000 2020 51".to_owned()),
        bic: Set("BYLADEM1001".to_owned()),
        time_zone: Set("Europe/Berlin".to_owned()),
        invoice_prefix: Set("INV-".to_owned()),
        credit_note_prefix: Set("CN-".to_owned()),
        tax_exempt: Set(false),
        logo_png: Set(Some(
            include_bytes!("../workers/templates/invoice/example-logo.png").to_vec(),
        )),
    };
    issuer::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    let from = NaiveDate::from_ymd_opt(2026, 1, 1).context("a date")?;
    let rate = |class: &str, (country, rate): (&str, &str)| tax_rate::ActiveModel {
        id: Set(Uuid::now_v7()),
        country: Set(country.to_owned()),
        tax_class: Set(class.to_owned()),
        rate: Set(rate.to_owned()),
        valid_from: Set(from),
        valid_until: Set(None),
    };
    let standard = STANDARD_RATES.map(|row| rate("standard", row));
    let reduced = REDUCED_RATES.map(|row| rate("reduced", row));
    tax_rate::Entity::insert_many(standard.into_iter().chain(reduced))
        .exec_without_returning(db)
        .await?;
    Ok(())
}

async fn seed_catalog(db: &impl ConnectionTrait) -> anyhow::Result<()> {
    let provider = Uuid::now_v7();
    let row = provider_account::ActiveModel {
        id: Set(provider),
        provider: Set("simulated".to_owned()),
        name: Set("The simulated provider".to_owned()),
        active: Set(true),
        ..Default::default()
    };
    provider_account::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    let servers = seed_offering(
        db,
        provider,
        "cloud-server",
        "Cloud server",
        "A virtual server, ready in seconds.",
    )
    .await?;
    for (code, name, sku, prices) in PLANS {
        let plan = seed_plan(db, servers, (code, name, sku), None).await?;
        for (currency, amount) in SETUP {
            let setup = ("setup", "Setup", Charge::OneOff, "standard");
            seed_price(db, plan, setup, currency, amount).await?;
        }
        for (currency, amount) in prices {
            let text = format!("Cloud server {}", code.to_uppercase());
            seed_price(
                db,
                plan,
                ("server", &text, Charge::Monthly, "standard"),
                currency,
                amount,
            )
            .await?;
        }
    }
    let managed = "A virtual server that we keep up to date, with a printed handbook.";
    let managed = seed_offering(db, provider, "managed-server", "Managed server", managed).await?;
    let standard = ("standard", "Standard: 4 cores, 8 GiB", "sim-m");
    // Tickets about it are answered within an hour and solved within eight.
    let plan = seed_plan(db, managed, standard, Some((60, 8 * 60))).await?;
    let handbook = ("handbook", "Handbook, printed", Charge::OneOff, "reduced");
    seed_price(db, plan, handbook, "EUR", "24.90").await?;
    let server = ("server", "Managed server", Charge::Monthly, "standard");
    seed_price(db, plan, server, "EUR", "79.00").await?;
    let traffic = ("traffic", "Traffic", Charge::Usage, "standard");
    seed_price(db, plan, traffic, "EUR", "0.02").await
}

async fn seed_offering(
    db: &impl ConnectionTrait,
    provider: Uuid,
    code: &str,
    name: &str,
    description: &str,
) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    let row = offering::ActiveModel {
        id: Set(id),
        code: Set(code.to_owned()),
        name: Set(name.to_owned()),
        description: Set(description.to_owned()),
        provider_account_id: Set(provider),
        regions: Set("eu-central eu-north".to_owned()),
        active: Set(true),
    };
    offering::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(id)
}

async fn seed_plan(
    db: &impl ConnectionTrait,
    offering_id: Uuid,
    (code, name, sku): (&str, &str, &str),
    promise: Option<(i32, i32)>,
) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    let (answer, resolution) = promise.unzip();
    let row = plan::ActiveModel {
        id: Set(id),
        offering_id: Set(offering_id),
        code: Set(code.to_owned()),
        name: Set(name.to_owned()),
        sku: Set(sku.to_owned()),
        active: Set(true),
        answer_minutes: Set(answer),
        resolution_minutes: Set(resolution),
    };
    plan::Entity::insert(row).exec_without_returning(db).await?;
    Ok(id)
}

async fn seed_price(
    db: &impl ConnectionTrait,
    plan_id: Uuid,
    (component, description, charge, tax_class): (&str, &str, Charge, &str),
    currency: &str,
    unit_price: &str,
) -> anyhow::Result<()> {
    let row = price::ActiveModel {
        id: Set(Uuid::now_v7()),
        plan_id: Set(plan_id),
        component: Set(component.to_owned()),
        description: Set(description.to_owned()),
        charge: Set(charge),
        currency: Set(currency.to_owned()),
        unit_price: Set(unit_price.to_owned()),
        tax_class: Set(tax_class.to_owned()),
        valid_from: Set(DateTime::<Utc>::UNIX_EPOCH),
    };
    price::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
