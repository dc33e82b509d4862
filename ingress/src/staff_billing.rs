//! The accounting side of invoices, of every account: `GET /v1/staff/invoices`,
//! `GET /v1/staff/invoices/{id}`, and what is done to them.

use std::str::FromStr;

use broker::Outgoing;
use entity::invoice::{self, InvoiceKind, InvoiceState, PaymentState};
use entity::request;
use schemars::JsonSchema;
use schemas::invoice::{
    CreditLine, CreditNoteRequest, InvoiceAction, InvoiceHandle, PaymentRequest, VoidRequest,
};
use schemas::ticket::sha256_of;
use schemas::values::{InvalidValue, Name};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::Value;
use uuid::Uuid;
use warp::reply::Response;

use crate::accept::{self, Asked};
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::invoices::{details, items};
use crate::page::{Page, PageRequest};
use crate::reply;
use crate::requests;

/// The most lines that one credit note names.
const MAX_LINES: usize = 200;

/// The number of an invoice.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(crate) struct Number(String);

impl FromStr for Number {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (1..=64).contains(&text.len()) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidValue("must be 1 to 64 characters".to_owned())),
        }
    }
}

/// Lists invoices.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    use invoice::Column;
    let mut query = call.query();
    let page = PageRequest::read(&mut query);
    let number = query.optional::<Number>("number");
    let account = query.id("account_id");
    let payment: Option<PaymentState> = query.one_of("payment");
    let page = query.finish(page)?;
    let mut rows = invoice::Entity::find()
        .filter(Column::Kind.eq(InvoiceKind::Invoice))
        .filter(Column::State.ne(InvoiceState::Draft));
    if let Some(Number(number)) = number {
        rows = rows.filter(Column::Number.eq(number));
    }
    if let Some(account) = account {
        rows = rows.filter(Column::AccountId.eq(account));
    }
    if let Some(payment) = payment {
        rows = rows.filter(Column::Payment.eq(payment));
    }
    let rows = page.of(rows, Column::CreatedAt, Column::Id);
    let rows = rows.all(&call.state.db).await?;
    let items = items(&call.state.db, &rows).await?;
    Ok(reply::ok(&Page::new(
        rows,
        page,
        |row| (row.created_at, row.id),
        items,
    )))
}

/// Shows one invoice.
pub(crate) async fn get(call: Call) -> Result<Response, ApiError> {
    let invoice = find(&call).await?;
    Ok(reply::ok(&details(&call.state.db, invoice).await?))
}

/// Accepts a credit note.
pub(crate) async fn credit(call: Call) -> Result<Response, ApiError> {
    let invoice = find(&call).await?;
    let mut fields = call.fields()?;
    let reason = fields.required("reason");
    let lines = lines(&mut fields);
    let request = reason.map(|reason| CreditNoteRequest { reason, lines });
    let request = fields.finish(request)?;
    act(&call, &invoice, InvoiceAction::Credit(request)).await
}

/// Accepts a payment.
pub(crate) async fn pay(call: Call) -> Result<Response, ApiError> {
    let invoice = find(&call).await?;
    let mut fields = call.fields()?;
    let amount = fields.required("amount");
    let received_on = fields.required_day("received_on");
    let reference = fields.required("reference");
    let note = fields.optional("note");
    let request = (|| {
        Some(PaymentRequest {
            amount: amount?,
            received_on: received_on?,
            reference: reference?,
            note,
        })
    })();
    let request = fields.finish(request)?;
    act(&call, &invoice, InvoiceAction::Pay(request)).await
}

/// Accepts that an invoice is withdrawn.
pub(crate) async fn void(call: Call) -> Result<Response, ApiError> {
    let invoice = find(&call).await?;
    let mut fields = call.fields()?;
    let reason: Option<Name> = fields.required("reason");
    let request = fields.finish(reason.map(|reason| VoidRequest { reason }))?;
    act(&call, &invoice, InvoiceAction::Void(request)).await
}

/// Shows what became of a request about any account.
pub(crate) async fn request(call: Call) -> Result<Response, ApiError> {
    let id = call.id("request")?;
    let found = request::Entity::find_by_id(id).one(&call.state.db).await?;
    if let Some(row) = found {
        return Ok(reply::ok(&requests::item(&row)));
    }
    let accepted = call.state.accepted.find(id, call.account()?).await;
    let at = accepted.ok_or_else(|| ApiError::not_found("request"))?;
    Ok(reply::ok(&requests::early(id, at)))
}

async fn act(
    call: &Call,
    invoice: &invoice::Model,
    action: InvoiceAction,
) -> Result<Response, ApiError> {
    let by = call.caller()?.name.parse();
    let by = by.map_err(|_| ApiError::conflict("The API key has a name that nobody can have."))?;
    let key = accept::key(call, None)?;
    let action_id = match &key {
        Some(key) => Uuid::new_v5(&invoice.id, format!("action/{key}").as_bytes()),
        None => Uuid::now_v7(),
    };
    let asked = Asked {
        id: action_id,
        keyed: key.is_some(),
        sha256: sha256_of(&action),
        location: format!("/v1/staff/requests/{action_id}"),
        stored: &call.state.requests,
    };
    let invoice_id = invoice.id;
    accept::accept(call, asked, |at| {
        let handle = InvoiceHandle {
            action_id,
            invoice_id,
            by,
            at,
            action,
        };
        Outgoing::new(action_id, invoice_id, &handle)
    })
    .await
}

async fn find(call: &Call) -> Result<invoice::Model, ApiError> {
    let found = invoice::Entity::find_by_id(call.id("invoice")?)
        .filter(invoice::Column::Kind.eq(InvoiceKind::Invoice))
        .filter(invoice::Column::State.ne(InvoiceState::Draft))
        .one(&call.state.db)
        .await?;
    found.ok_or_else(|| ApiError::not_found("invoice"))
}

/// What is credited of which line; wrong ones are told.
fn lines(fields: &mut Fields) -> Vec<CreditLine> {
    let given = match fields.take("lines") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(given)) if (1..=MAX_LINES).contains(&given.len()) => given,
        Some(_) => {
            let reason = format!("must be a list of 1 to {MAX_LINES} objects, if it is there");
            fields.wrong("lines", reason);
            return Vec::new();
        }
    };
    let mut lines = Vec::new();
    for (index, line) in given.into_iter().enumerate() {
        match serde_json::from_value::<CreditLine>(line) {
            Ok(line) => lines.push(line),
            Err(_) => {
                let reason = "must be an object with position, a whole number, and net, a decimal \
                              number in a string with at most 4 decimal places";
                fields.wrong(format!("lines[{index}]"), reason);
            }
        }
    }
    lines
}
