//! The migrations, for PostgreSQL and SQLite alike. They never import the entities: an old
//! migration must not change when an entity does.
//!
//! Decimal numbers and JSON are text columns: SQLite has no decimal type but floating point, and
//! frozen content must come back byte for byte.

#![expect(
    elided_lifetimes_in_paths,
    reason = "async_trait needs the signatures of the trait to the letter"
)]

use sea_orm_migration::prelude::*;

mod m20261122_000001_accounts;
mod m20261122_000002_catalog;
mod m20261122_000003_orders;
mod m20261122_000004_invoices;
mod m20261122_000005_operations;
mod m20261122_000006_reconciliation;
mod m20261123_000007_publishers;
mod m20261123_000008_credentials;
mod m20261123_000009_payments;
mod m20261123_000010_tickets;
mod m20261123_000011_lines;
mod m20261123_000012_endings;
mod m20261123_000013_oauth;
mod m20261123_000014_people;
mod m20261123_000015_credit_notes;
mod m20261123_000016_settlement;
mod m20261123_000017_reminders;
mod m20261123_000018_attachments;
mod m20261123_000019_provider_credentials;
mod m20261123_000020_billed_periods;

/// Every migration, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_accounts::Migration),
            Box::new(m20261122_000002_catalog::Migration),
            Box::new(m20261122_000003_orders::Migration),
            Box::new(m20261122_000004_invoices::Migration),
            Box::new(m20261122_000005_operations::Migration),
            Box::new(m20261122_000006_reconciliation::Migration),
            Box::new(m20261123_000007_publishers::Migration),
            Box::new(m20261123_000008_credentials::Migration),
            Box::new(m20261123_000009_payments::Migration),
            Box::new(m20261123_000010_tickets::Migration),
            Box::new(m20261123_000011_lines::Migration),
            Box::new(m20261123_000012_endings::Migration),
            Box::new(m20261123_000013_oauth::Migration),
            Box::new(m20261123_000014_people::Migration),
            Box::new(m20261123_000015_credit_notes::Migration),
            Box::new(m20261123_000016_settlement::Migration),
            Box::new(m20261123_000017_reminders::Migration),
            Box::new(m20261123_000018_attachments::Migration),
            Box::new(m20261123_000019_provider_credentials::Migration),
            Box::new(m20261123_000020_billed_periods::Migration),
        ]
    }
}

/// A table with these columns, to be extended with keys.
fn table(name: &'static str, columns: impl IntoIterator<Item = ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    for column in columns {
        table.col(column);
    }
    table
}

/// A unique index over these columns.
fn unique(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = plain(table, columns);
    index.unique();
    index
}

/// An index over these columns.
fn plain(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index
        .name(format!("{table}_{}", columns.join("_")))
        .table(table);
    for column in columns {
        index.col(*column);
    }
    index
}

/// A foreign key from `column` of `table` to the id of `target`.
fn references(
    table: &'static str,
    column: &'static str,
    target: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_{column}_fk"))
        .from(table, column)
        .to(target, "id")
        .to_owned()
}

/// Drops these tables, in this order.
async fn drop_all(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager
            .drop_table(Table::drop().table(*table).to_owned())
            .await?;
    }
    Ok(())
}
