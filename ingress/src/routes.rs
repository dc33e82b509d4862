//! The table of routes.

use chrono::NaiveDate;
use entity::invoice::{InvoiceState, PaymentState};
use entity::order::OrderState;
use entity::request::RequestStatus;
use schemas::invoice::{CreditNoteRequest, InvoiceAsk, PaymentRequest, VoidRequest};
use schemas::order::OrderRequest;
use schemas::values::ExternalRef;
use uuid::Uuid;
use warp::http::Method;

use crate::accept::Accepted;
use crate::credentials::Scope;
use crate::oauth::{client_routes, metadata, token};
use crate::route::{Content, Route};
use crate::schema::States;
use crate::{
    accounts, api_keys, audit_entries, credit_notes, docs, endings, health, invoice_items,
    invoices, offerings, orders, people, place_order, request_invoice, requests, resources,
    staff_billing, statements, tickets,
};

pub(crate) const KEY: &str = "Idempotency-Key";
pub(crate) const PREFER: &str = "wait=N waits up to N seconds (at most 20) for a change.";

/// Every route of the API.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = of_accounts();
    routes.extend(tickets::routes());
    routes.extend(people::routes());
    routes
}

/// The routes of everything but tickets and people.
fn of_accounts() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/orders", "placeOrder", place_order::place)
            .about("Orders resources.")
            .scope(Scope::OrdersWrite)
            .header::<ExternalRef>(
                "Idempotency-Key",
                "Makes the request repeatable: the same key is the same order.",
            )
            .body::<OrderRequest>()
            .json::<Accepted>(
                202,
                "The order is accepted and has one effect, whatever happens. Repeated with the same \
                 key it has the header Idempotency-Replayed.",
            ),
        Route::new(Method::GET, "/v1/orders", "listOrders", orders::list)
            .about("Lists the orders of the account, newest first.")
            .scope(Scope::OrdersRead)
            .query::<States<OrderState>>("status", "Only those in this state.")
            .paged::<orders::OrderItem>("A page of orders."),
        Route::new(Method::GET, "/v1/orders/{id}", "getOrder", orders::get)
            .about("Shows an order, how far each step is, and everything that happened to it.")
            .scope(Scope::OrdersRead)
            .header::<String>("Prefer", PREFER)
            .json::<orders::OrderDetails>(200, "The order."),
        Route::new(Method::POST, "/v1/orders/{id}/cancellations", "cancelOrder", endings::cancel)
            .about(
                "Takes an order back, before or while its resources are created. Nothing of it stays, \
                 and nothing is charged.",
            )
            .scope(Scope::OrdersWrite)
            .body::<endings::Ending>()
            .json::<Accepted>(202, "It is taken back; asked for again it is the same request.")
            .conflict("The order is completed or rejected."),
        Route::new(Method::GET, "/v1/requests", "listRequests", requests::list)
            .about("Lists what was asked for about orders, resources and invoices, newest first.")
            .query::<States<RequestStatus>>("status", "Only those of which this became.")
            .query::<Uuid>("subject_id", "Only those about this order, resource or invoice.")
            .paged::<requests::RequestItem>("A page of requests."),
        Route::new(Method::GET, "/v1/requests/{id}", "getRequest", requests::get)
            .about("Shows what became of a request: a cancellation, a termination.")
            .header::<String>("Prefer", PREFER)
            .json::<requests::RequestItem>(200, "The request."),
        Route::new(Method::GET, "/v1/offerings", "listOfferings", offerings::list)
            .about("Lists what can be ordered, at the prices in the currency of the account.")
            .json::<offerings::Offerings>(200, "Every offering."),
        Route::new(Method::GET, "/v1/resources", "listResources", resources::list)
            .about("Lists the resources of the account, newest first.")
            .scope(Scope::ResourcesRead)
            .paged::<resources::ResourceItem>("A page of resources."),
        Route::new(Method::GET, "/v1/resources/{id}", "getResource", resources::get)
            .about("Shows a resource.")
            .scope(Scope::ResourcesRead)
            .json::<resources::ResourceItem>(200, "The resource."),
        Route::new(
            Method::POST,
            "/v1/resources/{id}/terminations",
            "terminateResource",
            endings::terminate,
        )
        .about(
            "Gives a resource up. It is deleted with everything on it, and billed until the \
             provider has deleted it.",
        )
        .scope(Scope::ResourcesWrite)
        .body::<endings::Ending>()
        .json::<Accepted>(202, "It will be deleted; asked for again it is the same request.")
        .conflict("The resource is still being created."),
        Route::new(Method::POST, "/v1/invoices", "requestInvoice", request_invoice::request)
            .about(
                "Asks for an invoice for everything up to now that is not invoiced yet: months in \
                 proportion, and what the meters of the resources have counted. No time is invoiced twice.",
            )
            .scope(Scope::InvoicesWrite)
            .header::<ExternalRef>(KEY, "Makes the request repeatable: the same key is the same request.")
            .body::<InvoiceAsk>()
            .json::<Accepted>(
                202,
                "The request is accepted; it shows the invoice that it makes, or that there is nothing to \
                 invoice.",
            ),
        Route::new(Method::GET, "/v1/invoices", "listInvoices", invoices::list)
            .about("Lists the issued invoices of the account, newest first.")
            .scope(Scope::InvoicesRead)
            .query::<States<InvoiceState>>("status", "Only those in this state.")
            .query::<States<PaymentState>>("payment", "Only those paid like this.")
            .query::<Uuid>("order_id", "Only those for this order.")
            .query::<NaiveDate>("issued_from", "Only those issued on this day or later.")
            .query::<NaiveDate>("issued_until", "Only those issued on this day or before.")
            .paged::<invoice_items::InvoiceItem>("A page of invoices; all of them as CSV, if that is accepted.")
            .answer(200, "", Content::Media("text/csv")),
        Route::new(Method::GET, "/v1/invoices/{id}", "getInvoice", invoices::get)
            .about("Shows an invoice with its lines, and where its mails are.")
            .scope(Scope::InvoicesRead)
            .json::<invoice_items::InvoiceDetails>(200, "The invoice."),
        Route::new(Method::GET, "/v1/invoices/{id}/pdf", "getInvoicePdf", invoices::pdf)
            .about("Downloads the PDF of an invoice, byte for byte as it was mailed.")
            .scope(Scope::InvoicesRead)
            .answer(200, "The PDF.", Content::Media("application/pdf"))
            .conflict("The PDF is being made."),
        Route::new(Method::GET, "/v1/credit-notes", "listCreditNotes", credit_notes::list)
            .about("Lists the credit notes of the account, newest first.")
            .scope(Scope::InvoicesRead)
            .query::<Uuid>("invoice_id", "Only those that correct this invoice.")
            .paged::<credit_notes::CreditNoteItem>("A page of credit notes."),
        Route::new(Method::GET, "/v1/credit-notes/{id}", "getCreditNote", credit_notes::get)
            .about("Shows a credit note with its lines, and where its mails are.")
            .scope(Scope::InvoicesRead)
            .json::<credit_notes::CreditNoteDetails>(200, "The credit note."),
        Route::new(Method::GET, "/v1/credit-notes/{id}/pdf", "getCreditNotePdf", credit_notes::pdf)
            .about("Downloads the PDF of a credit note, byte for byte as it was mailed.")
            .scope(Scope::InvoicesRead)
            .answer(200, "The PDF.", Content::Media("application/pdf"))
            .conflict("The PDF is being made."),
        Route::new(Method::GET, "/v1/staff/invoices", "listAllInvoices", staff_billing::list)
            .about("Lists the invoices of every account, newest first.")
            .scope(Scope::StaffBilling)
            .query::<staff_billing::Number>("number", "Only the one with this number.")
            .query::<Uuid>("account_id", "Only those of this account.")
            .query::<States<PaymentState>>("payment", "Only those paid like this.")
            .paged::<invoice_items::InvoiceItem>("A page of invoices."),
        Route::new(Method::GET, "/v1/staff/invoices/{id}", "getAnyInvoice", staff_billing::get)
            .about("Shows an invoice with its lines, payments and credit notes.")
            .scope(Scope::StaffBilling)
            .json::<invoice_items::InvoiceDetails>(200, "The invoice."),
        Route::new(
            Method::POST,
            "/v1/staff/invoices/{id}/credit-notes",
            "creditInvoice",
            staff_billing::credit,
        )
        .about(
            "Takes an invoice back, or a part of it, at its rates of tax; never more than is left. The \
             credit note is rendered and mailed like an invoice.",
        )
        .scope(Scope::StaffBilling)
        .header::<ExternalRef>(KEY, "Makes the request repeatable: the same key is the same credit note.")
        .body::<CreditNoteRequest>()
        .json::<Accepted>(202, "It is accepted; the request shows what becomes of it."),
        Route::new(
            Method::POST,
            "/v1/staff/invoices/{id}/payments",
            "recordPayment",
            staff_billing::pay,
        )
        .about("Records money that has come, or was given back. The same reference again is the same payment.")
        .scope(Scope::StaffBilling)
        .header::<ExternalRef>(KEY, "Makes the request repeatable: the same key is the same payment.")
        .body::<PaymentRequest>()
        .json::<Accepted>(202, "It is accepted; the request shows what becomes of it."),
        Route::new(
            Method::POST,
            "/v1/staff/invoices/{id}/voidings",
            "voidInvoice",
            staff_billing::void,
        )
        .about(
            "Withdraws an invoice that has not left the house: it was neither mailed nor downloaded. Any \
             other is corrected by a credit note.",
        )
        .scope(Scope::StaffBilling)
        .header::<ExternalRef>(KEY, "Makes the request repeatable.")
        .body::<VoidRequest>()
        .json::<Accepted>(202, "It is accepted; the request shows what becomes of it."),
        Route::new(Method::GET, "/v1/staff/requests/{id}", "getAnyRequest", staff_billing::request)
            .about("Shows what became of a request about an invoice of any account.")
            .scope(Scope::StaffBilling)
            .json::<requests::RequestItem>(200, "The request."),
        Route::new(Method::GET, "/v1/statements", "listStatements", statements::list)
            .about("Shows what was invoiced and paid, with the balance after each.")
            .scope(Scope::InvoicesRead)
            .query::<NaiveDate>("from", "From this day.")
            .query::<NaiveDate>("until", "Until this day.")
            .json::<statements::Statements>(200, "A statement for each currency."),
        Route::new(Method::GET, "/v1/accounts", "listAccounts", accounts::list)
            .about("Lists the accounts that the credential acts for.")
            .scope(Scope::AccountRead)
            .json::<accounts::Accounts>(200, "The accounts."),
        Route::new(Method::GET, "/v1/accounts/{id}", "getAccount", accounts::get)
            .about("Shows an account.")
            .scope(Scope::AccountRead)
            .json::<accounts::AccountItem>(200, "The account."),
        Route::new(Method::PATCH, "/v1/accounts/{id}", "changeAccount", accounts::change)
            .about("Changes an account; what is not mentioned stays (RFC 7396).")
            .scope(Scope::AccountWrite)
            .header::<String>("If-Match", "Changes only what has this ETag.")
            .body::<accounts::AccountPatch>()
            .json::<accounts::AccountItem>(200, "The account as it is now."),
        Route::new(Method::GET, "/v1/audit-entries", "listAuditEntries", audit_entries::list)
            .about("Lists who changed what about the account, newest first.")
            .scope(Scope::AccountRead)
            .query::<String>("subject", "Only changes of the thing with this id.")
            .paged::<audit_entries::EntryItem>("A page of changes."),
        Route::new(Method::GET, "/v1/api-keys", "listApiKeys", api_keys::list)
            .about("Lists the API keys of the account, newest first, without their secrets.")
            .scope(Scope::KeysRead)
            .paged::<api_keys::KeyItem>("A page of keys."),
        Route::new(Method::POST, "/v1/api-keys", "createApiKey", api_keys::create)
            .about("Creates an API key that may do no more than the one that creates it.")
            .scope(Scope::KeysWrite)
            .body::<api_keys::KeyRequest>()
            .json::<api_keys::CreatedKey>(201, "The key, for the only time.")
            .conflict("The account has as many keys as it may have."),
        Route::new(Method::GET, "/v1/api-keys/{key_id}", "getApiKey", api_keys::get)
            .about("Shows an API key, without its secret.")
            .scope(Scope::KeysRead)
            .json::<api_keys::KeyItem>(200, "The key."),
        Route::new(Method::DELETE, "/v1/api-keys/{key_id}", "revokeApiKey", api_keys::revoke)
            .about("Revokes an API key. It stops working everywhere within five seconds.")
            .scope(Scope::KeysWrite)
            .answer(204, "It is revoked.", Content::Empty),
        Route::new(Method::POST, "/v1/api-keys/{key_id}/rotations", "rotateApiKey", api_keys::rotate)
            .about("Creates a key that may do the same; the old one goes on working for a while.")
            .scope(Scope::KeysWrite)
            .body::<api_keys::Rotation>()
            .json::<api_keys::CreatedKey>(201, "The new key, for the only time.")
            .conflict("The key does not work any more, or there are too many."),
        Route::new(Method::GET, "/v1/oauth-clients", "listOAuthClients", client_routes::list)
            .about("Lists the OAuth clients of the account, newest first, without their secrets.")
            .scope(Scope::KeysRead)
            .paged::<client_routes::ClientItem>("A page of clients."),
        Route::new(Method::POST, "/v1/oauth-clients", "createOAuthClient", client_routes::create)
            .about("Creates an OAuth client that may do no more than the credential that creates it.")
            .scope(Scope::KeysWrite)
            .body::<client_routes::ClientRequest>()
            .json::<client_routes::CreatedClient>(201, "The client, with its secret for the only time.")
            .conflict("The account has as many clients as it may have."),
        Route::new(Method::GET, "/v1/oauth-clients/{id}", "getOAuthClient", client_routes::get)
            .about("Shows an OAuth client, without its secret.")
            .scope(Scope::KeysRead)
            .json::<client_routes::ClientItem>(200, "The client."),
        Route::new(Method::DELETE, "/v1/oauth-clients/{id}", "revokeOAuthClient", client_routes::revoke)
            .about("Revokes an OAuth client. It and its tokens stop working everywhere within five seconds.")
            .scope(Scope::KeysWrite)
            .answer(204, "It is revoked.", Content::Empty),
        Route::new(
            Method::POST,
            "/v1/oauth-clients/{id}/rotations",
            "rotateOAuthClientSecret",
            client_routes::rotate,
        )
            .about("Gives an OAuth client a new secret; the old one goes on working for a while.")
            .scope(Scope::KeysWrite)
            .body::<client_routes::SecretRotation>()
            .json::<client_routes::CreatedClient>(201, "The client, with its new secret for the only time.")
            .conflict("The client does not work any more."),
        Route::new(Method::POST, "/oauth2/token", "issueToken", token::issue)
            .about("Issues an access token to an OAuth client (RFC 6749, RFC 9068).")
            .public()
            .form::<token::TokenRequest>()
            .json::<token::TokenResponse>(200, "The token.")
            .json::<token::OAuthError>(400, "The request is wrong (RFC 6749 §5.2).")
            .json::<token::OAuthError>(401, "The client is not known, or its secret is wrong.")
            .answer(429, "There were too many requests, or wrong secrets.", Content::Problem)
            .answer(503, "The client cannot be checked at the moment.", Content::Problem),
        Route::new(Method::GET, "/.well-known/jwks.json", "getJwks", metadata::jwks)
            .about("The public keys of the access tokens that are issued here (RFC 7517).")
            .public()
            .json::<metadata::JwkSet>(200, "The keys.")
            .answer(503, "The keys cannot be read at the moment.", Content::Problem),
        Route::new(
            Method::GET,
            "/.well-known/oauth-authorization-server",
            "getAuthorizationServer",
            metadata::server,
        )
            .about("What the authorization server can do, and where (RFC 8414).")
            .public()
            .json::<metadata::ServerMetadata>(200, "The metadata."),
        Route::new(Method::GET, "/healthz", "alive", health::alive)
            .about("Answers while the process lives.")
            .public()
            .json::<health::Alive>(200, "It lives."),
        Route::new(Method::GET, "/readyz", "ready", health::ready)
            .about("Says whether requests can be taken in, and what does not work.")
            .public()
            .json::<health::Readiness>(200, "Requests are taken in.")
            .json::<health::Readiness>(503, "Nothing can be taken in."),
        Route::new(Method::GET, "/openapi.json", "openapi", docs::openapi)
            .about("This document.")
            .public()
            .json::<serde_json::Value>(200, "The OpenAPI document."),
        Route::new(Method::GET, "/asyncapi.json", "asyncapi", docs::asyncapi)
            .about("The AsyncAPI document of what partner systems publish and read.")
            .public()
            .json::<serde_json::Value>(200, "The AsyncAPI document."),
        Route::new(Method::GET, "/schemas/{kind}", "getSchema", docs::schema)
            .about("The JSON Schema of a kind of message.")
            .public()
            .json::<serde_json::Value>(200, "The JSON Schema."),
        Route::new(Method::GET, "/docs", "docs", docs::page)
            .about("This API for people.")
            .public()
            .answer(200, "A page.", Content::Media("text/html")),
        Route::new(Method::GET, "/docs/style.css", "docsStyle", docs::style)
            .about("The looks of the page.")
            .public()
            .answer(200, "A style sheet.", Content::Media("text/css")),
        Route::new(Method::GET, "/problems/{name}", "getProblemType", docs::problem)
            .about("What a kind of problem means.")
            .public()
            .answer(200, "A page.", Content::Media("text/html")),
    ]
}
