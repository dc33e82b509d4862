//! Invoices, their documents and the mails that carry them. What is issued cannot be changed, not
//! even by a query of our own: triggers refuse it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::{drop_all, plain, references, table, unique};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The columns of an issued invoice that never change.
const FROZEN: [&str; 15] = [
    "id",
    "account_id",
    "order_id",
    "issuer_id",
    "year",
    "sequence",
    "number",
    "currency",
    "net_minor",
    "tax_minor",
    "total_minor",
    "issued_at",
    "issue_date",
    "due_date",
    "content",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let invoice = table(
            "invoice",
            [
                uuid("id").primary_key().take(),
                uuid("account_id"),
                uuid_null("order_id").unique_key().take(),
                uuid("issuer_id"),
                text("state"),
                text("payment"),
                integer_null("year"),
                big_integer_null("sequence"),
                text_null("number"),
                text("currency"),
                big_integer("net_minor"),
                big_integer("tax_minor"),
                big_integer("total_minor"),
                timestamp_with_time_zone_null("issued_at"),
                date_null("issue_date"),
                date_null("due_date"),
                text("content"),
                text_null("trace_id"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .foreign_key(&mut references("invoice", "account_id", "account"))
        .foreign_key(&mut references("invoice", "order_id", "order"))
        .foreign_key(&mut references("invoice", "issuer_id", "issuer"))
        .check(Expr::cust("state = 'draft' OR (number IS NOT NULL AND sequence IS NOT NULL AND year IS NOT NULL AND issued_at IS NOT NULL)"))
        .take();
        manager.create_table(invoice).await?;
        manager
            .create_index(unique("invoice", &["issuer_id", "year", "sequence"]))
            .await?;
        manager
            .create_index(unique("invoice", &["issuer_id", "number"]))
            .await?;
        manager
            .create_index(plain("invoice", &["account_id", "created_at", "id"]))
            .await?;

        let invoice_line = table(
            "invoice_line",
            [
                uuid("invoice_id"),
                integer("position"),
                text("description"),
                text("quantity"),
                text("unit"),
                text("unit_price"),
                big_integer("net_minor"),
                text("tax_category"),
                text("tax_rate"),
                timestamp_with_time_zone_null("period_start"),
                timestamp_with_time_zone_null("period_end"),
            ],
        )
        .primary_key(Index::create().col("invoice_id").col("position"))
        .foreign_key(&mut references("invoice_line", "invoice_id", "invoice"))
        .take();
        manager.create_table(invoice_line).await?;

        let document = table(
            "document",
            [
                uuid("id").primary_key().take(),
                uuid("invoice_id"),
                text("kind"),
                text("media_type"),
                blob("bytes"),
                text("sha256"),
                integer("pages"),
                text("template_version"),
                text("renderer_version"),
                timestamp_with_time_zone("created_at"),
            ],
        )
        .foreign_key(&mut references("document", "invoice_id", "invoice"))
        .take();
        manager.create_table(document).await?;
        manager
            .create_index(unique("document", &["invoice_id", "kind"]))
            .await?;

        let email_delivery = table(
            "email_delivery",
            [
                uuid("id").primary_key().take(),
                uuid("document_id"),
                uuid("invoice_id"),
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
            ],
        )
        .foreign_key(&mut references("email_delivery", "document_id", "document"))
        .take();
        manager.create_table(email_delivery).await?;
        // The same document goes to the same recipient for the same purpose once.
        let once = unique(
            "email_delivery",
            &["document_id", "template", "recipient", "purpose"],
        );
        manager.create_index(once).await?;
        manager
            .create_index(plain("email_delivery", &["invoice_id"]))
            .await?;

        let connection = manager.get_connection();
        for statement in triggers(manager.get_database_backend()) {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(
            manager,
            &["email_delivery", "document", "invoice_line", "invoice"],
        )
        .await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            let connection = manager.get_connection();
            for function in [
                "refuse_invoice_change",
                "refuse_invoice_line_change",
                "refuse_change",
            ] {
                connection
                    .execute_unprepared(&format!("DROP FUNCTION {function}()"))
                    .await?;
            }
        }
        Ok(())
    }
}

fn triggers(backend: DbBackend) -> Vec<String> {
    let changed = |same: &str| {
        FROZEN
            .map(|column| format!("NEW.{column} {same} OLD.{column}"))
            .join(" OR ")
    };
    match backend {
        DbBackend::Postgres => vec![
            format!(
                "CREATE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                   IF OLD.state = 'draft' THEN
                     IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                     RETURN NEW;
                   END IF;
                   IF TG_OP = 'DELETE' OR NEW.state = 'draft' OR {} THEN
                     RAISE EXCEPTION 'invoice % is issued and cannot be changed', OLD.number
                       USING ERRCODE = 'integrity_constraint_violation';
                   END IF;
                   RETURN NEW;
                 END $$",
                changed("IS DISTINCT FROM")
            ),
            "CREATE TRIGGER invoice_issued BEFORE UPDATE OR DELETE ON invoice
             FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change()"
                .to_owned(),
            "CREATE FUNCTION refuse_invoice_line_change() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE
               changed uuid := CASE WHEN TG_OP = 'INSERT' THEN NEW.invoice_id ELSE OLD.invoice_id END;
             BEGIN
               IF EXISTS (SELECT 1 FROM invoice WHERE id = changed AND state <> 'draft') THEN
                 RAISE EXCEPTION 'the invoice of this line is issued and cannot be changed'
                   USING ERRCODE = 'integrity_constraint_violation';
               END IF;
               IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
               RETURN NEW;
             END $$"
                .to_owned(),
            "CREATE TRIGGER invoice_line_issued BEFORE INSERT OR UPDATE OR DELETE ON invoice_line
             FOR EACH ROW EXECUTE FUNCTION refuse_invoice_line_change()"
                .to_owned(),
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
               RAISE EXCEPTION '% is kept as it is', TG_TABLE_NAME
                 USING ERRCODE = 'integrity_constraint_violation';
             END $$"
                .to_owned(),
            "CREATE TRIGGER document_kept BEFORE UPDATE OR DELETE ON document
             FOR EACH ROW EXECUTE FUNCTION refuse_change()"
                .to_owned(),
            "CREATE TRIGGER invoice_kept BEFORE TRUNCATE ON invoice EXECUTE FUNCTION refuse_change()".to_owned(),
            "CREATE TRIGGER invoice_line_kept BEFORE TRUNCATE ON invoice_line EXECUTE FUNCTION refuse_change()"
                .to_owned(),
            "CREATE TRIGGER document_kept_whole BEFORE TRUNCATE ON document EXECUTE FUNCTION refuse_change()"
                .to_owned(),
        ],
        _ => {
            let line = |event: &str, row: &str| {
                format!(
                    "CREATE TRIGGER invoice_line_issued_{event} BEFORE {event} ON invoice_line
                     WHEN EXISTS (SELECT 1 FROM invoice WHERE id = {row}.invoice_id AND state <> 'draft')
                     BEGIN SELECT RAISE(ABORT, 'the invoice of this line is issued and cannot be changed'); END"
                )
            };
            let document = |event: &str| {
                format!(
                    "CREATE TRIGGER document_kept_{event} BEFORE {event} ON document
                     BEGIN SELECT RAISE(ABORT, 'a document is kept as it is'); END"
                )
            };
            vec![
                format!(
                    "CREATE TRIGGER invoice_issued_update BEFORE UPDATE ON invoice
                     WHEN OLD.state <> 'draft' AND (NEW.state = 'draft' OR {})
                     BEGIN SELECT RAISE(ABORT, 'an issued invoice cannot be changed'); END",
                    changed("IS NOT")
                ),
                "CREATE TRIGGER invoice_issued_delete BEFORE DELETE ON invoice
                 WHEN OLD.state <> 'draft'
                 BEGIN SELECT RAISE(ABORT, 'an issued invoice cannot be changed'); END"
                    .to_owned(),
                line("INSERT", "NEW"),
                line("UPDATE", "OLD"),
                line("DELETE", "OLD"),
                document("UPDATE"),
                document("DELETE"),
            ]
        }
    }
}
