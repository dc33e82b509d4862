//! Tickets and what is said in them. Mails no longer belong to an invoice alone.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        tickets(manager).await?;
        promises(manager).await?;
        // SQLite cannot let a column be null: the table is made anew.
        let columns = [
            uuid("subject_id"),
            uuid("story_id"),
            uuid_null("document_id"),
        ];
        manager
            .create_table(mails("email_delivery_new", columns))
            .await?;
        let connection = manager.get_connection();
        let copy = format!(
            "INSERT INTO email_delivery_new (subject_id, story_id, document_id, {SAME})
             SELECT invoice_id, COALESCE((SELECT order_id FROM invoice WHERE invoice.id = invoice_id), invoice_id),
                    document_id, {SAME} FROM email_delivery"
        );
        connection.execute_unprepared(&copy).await?;
        replace_mails(manager).await?;
        for index in [
            // To the same recipient for the same purpose once.
            unique(
                "email_delivery",
                &["subject_id", "template", "recipient", "purpose"],
            ),
            plain("email_delivery", &["document_id"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [uuid("invoice_id"), uuid("document_id")];
        manager
            .create_table(mails("email_delivery_new", columns))
            .await?;
        let connection = manager.get_connection();
        let copy = format!(
            "INSERT INTO email_delivery_new (invoice_id, document_id, {SAME})
             SELECT subject_id, document_id, {SAME} FROM email_delivery WHERE document_id IS NOT NULL"
        );
        connection.execute_unprepared(&copy).await?;
        replace_mails(manager).await?;
        for index in [
            unique(
                "email_delivery",
                &["document_id", "template", "recipient", "purpose"],
            ),
            plain("email_delivery", &["invoice_id"]),
        ] {
            manager.create_index(index).await?;
        }
        for column in ["answer_minutes", "resolution_minutes"] {
            let drop = Table::alter().table("plan").drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        connection
            .execute_unprepared("DROP INDEX stage_failed")
            .await?;
        drop_all(manager, &["ticket_message", "ticket_event", "ticket"]).await
    }
}

async fn tickets(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let ticket = table(
        "ticket",
        [
            uuid("id").primary_key().take(),
            uuid("account_id"),
            text_null("external_ref"),
            text("subject"),
            text("category"),
            text("priority"),
            text("status"),
            uuid_null("order_id"),
            uuid_null("resource_id"),
            uuid_null("invoice_id"),
            uuid_null("follows"),
            text_null("stage"),
            integer("stage_attempts"),
            text_null("assignee"),
            timestamp_with_time_zone("answer_due_at"),
            timestamp_with_time_zone_null("answered_at"),
            timestamp_with_time_zone("resolution_due_at"),
            timestamp_with_time_zone_null("resolved_at"),
            timestamp_with_time_zone_null("closed_at"),
            integer("version"),
            text_null("trace_id"),
            timestamp_with_time_zone("created_at"),
            timestamp_with_time_zone("updated_at"),
        ],
    )
    .foreign_key(&mut references("ticket", "account_id", "account"))
    .foreign_key(&mut references("ticket", "order_id", "order"))
    .foreign_key(&mut references("ticket", "resource_id", "resource"))
    .foreign_key(&mut references("ticket", "invoice_id", "invoice"))
    .foreign_key(&mut references("ticket", "follows", "ticket"))
    .take();
    manager.create_table(ticket).await?;

    let ticket_event = table(
        "ticket_event",
        [
            uuid("cause").primary_key().take(),
            uuid("ticket_id"),
            integer("version"),
            text("status"),
            text("author"),
            text("author_name"),
            text_null("note"),
            text_null("problem"),
            text("request_sha256"),
            timestamp_with_time_zone("at"),
        ],
    )
    .foreign_key(&mut references("ticket_event", "ticket_id", "ticket"))
    .take();
    manager.create_table(ticket_event).await?;

    let ticket_message = table(
        "ticket_message",
        [
            uuid("id").primary_key().take(),
            uuid("ticket_id"),
            integer("version"),
            text("author"),
            text("author_name"),
            boolean("internal"),
            text("body"),
            timestamp_with_time_zone("created_at"),
        ],
    )
    .foreign_key(&mut references("ticket_message", "ticket_id", "ticket"))
    .take();
    manager.create_table(ticket_message).await?;
    for index in [
        plain("ticket", &["account_id", "created_at", "id"]),
        plain("ticket", &["status", "created_at", "id"]),
        plain("ticket", &["order_id"]),
        plain("ticket", &["invoice_id"]),
        unique("ticket_event", &["ticket_id", "version"]),
        plain("ticket_message", &["ticket_id", "version"]),
    ] {
        manager.create_index(index).await?;
    }
    // What is looked for again and again is rare among the stages.
    manager
        .get_connection()
        .execute_unprepared("CREATE INDEX stage_failed ON stage (name) WHERE state = 'failed'")
        .await?;
    Ok(())
}

/// What a plan promises to whoever raises a ticket about it.
async fn promises(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in ["answer_minutes", "resolution_minutes"] {
        let add = Table::alter()
            .table("plan")
            .add_column(integer_null(column))
            .to_owned();
        manager.alter_table(add).await?;
    }
    Ok(())
}

/// The columns of a mail that stay.
const SAME: &str = "id, account_id, template, purpose, recipient, message_id, state, attempts, fence, \
    lease_until_ms, smtp_reply, last_error, sent_at, created_at, updated_at";

fn mails(name: &'static str, columns: impl IntoIterator<Item = ColumnDef>) -> TableCreateStatement {
    let same = [
        uuid("id").primary_key().take(),
        uuid("account_id"),
        text("template"),
        text("purpose"),
        text("recipient"),
        text("message_id"),
        text("state"),
        integer("attempts"),
        big_integer("fence"),
        big_integer_null("lease_until_ms"),
        text_null("smtp_reply"),
        text_null("last_error"),
        timestamp_with_time_zone_null("sent_at"),
        timestamp_with_time_zone("created_at"),
        timestamp_with_time_zone("updated_at"),
    ];
    table(name, same.into_iter().chain(columns))
        .foreign_key(&mut references(name, "document_id", "document"))
        .take()
}

async fn replace_mails(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    drop_all(manager, &["email_delivery"]).await?;
    let rename = Table::rename()
        .table("email_delivery_new", "email_delivery")
        .to_owned();
    manager.rename_table(rename).await
}
