//! The database of a world: the real schema in a file, with a small catalogue, copied for each
//! schedule.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use entity::account::{self, AccountKind};
use entity::price::{self, Charge};
use entity::{issuer, offering, plan, provider_account, tax_rate};
use migration::Migrator;
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait,
    IntoActiveModel,
};
use sea_orm_migration::MigratorTrait;
use tempfile::TempDir;
use uuid::Uuid;

/// The account that orders.
pub(super) const ACCOUNT: Uuid = Uuid::from_u128(1);
/// One that has no mail address.
pub(super) const NO_ADDRESS: Uuid = Uuid::from_u128(2);
pub(super) const RECIPIENT: &str = "billing@buyer.example";

/// A database to copy.
pub(super) struct Template {
    folder: TempDir,
}

impl Template {
    const FILE: &str = "template.db";

    /// A new database. It is gone with the folder.
    pub(super) async fn copy(&self) -> (DatabaseConnection, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow.db");
        std::fs::copy(self.folder.path().join(Self::FILE), &path).unwrap();
        (open(&path).await, folder)
    }
}

/// As `flow` opens it, with one connection, but without waiting for the disk.
async fn open(path: &Path) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite:{}?mode=rwc", path.display()));
    options
        .sqlx_logging(false)
        .max_connections(1)
        .min_connections(1)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(10));
    let db = Database::connect(options).await.unwrap();
    for pragma in [
        "foreign_keys = ON",
        "synchronous = OFF",
        "journal_mode = MEMORY",
    ] {
        db.execute_unprepared(&format!("PRAGMA {pragma}"))
            .await
            .unwrap();
    }
    db
}

/// Migrates and seeds a database.
pub(super) async fn template() -> Template {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder.path().join(Template::FILE)).await;
    Migrator::up(&db, None).await.unwrap();
    seed(&db).await;
    db.close().await.unwrap();
    Template { folder }
}

async fn insert<M, A>(db: &DatabaseConnection, row: M)
where
    M: IntoActiveModel<A>,
    A: ActiveModelTrait + Send,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    let row = row.into_active_model().reset_all();
    A::Entity::insert(row)
        .exec_without_returning(db)
        .await
        .unwrap();
}

async fn seed(db: &DatabaseConnection) {
    let id = Uuid::from_u128;
    let long_ago = DateTime::<Utc>::UNIX_EPOCH;
    for (account, email) in [(ACCOUNT, Some(RECIPIENT.to_owned())), (NO_ADDRESS, None)] {
        let account = account::Model {
            id: account,
            kind: AccountKind::Business,
            name: "Buyer GmbH".to_owned(),
            email,
            street: "Lindenallee 7".to_owned(),
            postal_code: "50667".to_owned(),
            city: "Köln".to_owned(),
            country: "DE".to_owned(),
            vat_id: None,
            currency: "EUR".to_owned(),
            locale: "de".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            payment_terms_days: 14,
            version: 1,
            active: true,
            created_at: long_ago,
        };
        insert(db, account).await;
    }
    let seller = issuer::Model {
        id: id(3),
        name: "Seller GmbH".to_owned(),
        street: "Hafenstraße 12".to_owned(),
        postal_code: "20457".to_owned(),
        city: "Hamburg".to_owned(),
        country: "DE".to_owned(),
        vat_id: Some("DE123456789".to_owned()),
        registration: "HRB 1".to_owned(),
        email: "billing@seller.example".to_owned(),
        phone: "+49 40 1".to_owned(),
        website: "seller.example".to_owned(),
        bank_name: "Bank".to_owned(),
        iban: "DE02 1203 0000 0000 2020 51".to_owned(),
        bic: "BYLADEM1001".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        invoice_prefix: "INV-".to_owned(),
        credit_note_prefix: "CN-".to_owned(),
        tax_exempt: false,
        logo_png: None,
    };
    insert(db, seller).await;
    let rate = tax_rate::Model {
        id: id(4),
        country: "DE".to_owned(),
        tax_class: "standard".to_owned(),
        rate: "19".to_owned(),
        valid_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
        valid_until: None,
    };
    insert(db, rate).await;
    let provider = provider_account::Model {
        id: id(5),
        provider: "simulated".to_owned(),
        name: "The fake".to_owned(),
        active: true,
        credential: None,
        credential_set_at: None,
    };
    insert(db, provider).await;
    let server = offering::Model {
        id: id(6),
        code: "cloud-server".to_owned(),
        name: "Cloud server".to_owned(),
        description: String::new(),
        provider_account_id: id(5),
        regions: "eu-central".to_owned(),
        active: true,
    };
    insert(db, server).await;
    let small = plan::Model {
        id: id(7),
        offering_id: id(6),
        code: "s".to_owned(),
        name: "S".to_owned(),
        sku: "sim-s".to_owned(),
        active: true,
        answer_minutes: None,
        resolution_minutes: None,
    };
    insert(db, small).await;
    let monthly = price::Model {
        id: id(8),
        plan_id: id(7),
        component: "server".to_owned(),
        description: "Cloud server S".to_owned(),
        charge: Charge::Monthly,
        currency: "EUR".to_owned(),
        unit_price: "9.90".to_owned(),
        tax_class: "standard".to_owned(),
        valid_from: long_ago,
    };
    insert(db, monthly).await;
}
