//! `POST /v1/sign-ups`, `POST /v1/confirmations`.
//!
//! Whoever signs up chooses the password once the address is proved to be theirs, with the link that is
//! mailed there. So nobody can lay an account with a password of their own under somebody else's
//! address, and whoever signs up learns nothing about who has an account: that is mailed, too.

use entity::account::AccountKind;
use entity::membership::Role;
use entity::one_time_token::Purpose;
use schemars::JsonSchema;
use schemas::values::{CountryCode, Currency, EmailAddress, Locale, Name, TimeZone, VatId};
use sea_orm::ActiveEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::reply::Response;

use super::directory::{self, NewUser};
use super::{email_key, hash, mails, tokens, unless_taken};
use crate::State;
use crate::accounts::{NewAccount, create_account};
use crate::audit::Entry;
use crate::call::Call;
use crate::credentials::NewPassword;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::reply;
use crate::schema::States;

/// Days from issue to due date of an account that signs up. The seller may change it.
const PAYMENT_TERMS_DAYS: u16 = 14;

/// Somebody who wants an account.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct SignUpRequest {
    /// Where the link to go on is mailed; also where invoices are mailed at first.
    email: String,
    /// The person.
    name: String,
    /// The legal name of the account; without one, that of the person.
    #[serde(default)]
    account_name: Option<String>,
    #[schemars(with = "States<AccountKind>")]
    kind: String,
    /// Street and number, possibly several lines.
    street: String,
    postal_code: String,
    city: String,
    /// ISO 3166-1 alpha-2.
    country: String,
    #[serde(default)]
    vat_id: Option<String>,
    /// ISO 4217 code of the currency to be invoiced in; without one, EUR.
    #[serde(default)]
    currency: Option<String>,
    /// Language of documents and mails: `en`, `de`, `fr`.
    #[serde(default)]
    locale: Option<String>,
    /// IANA name of the zone of the billing periods; without one, UTC.
    #[serde(default)]
    time_zone: Option<String>,
}

/// A mail is on its way, whoever has the address.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Mailed {
    /// `mailed`.
    status: &'static str,
}

/// 202, the same for everybody.
pub(super) fn mailed() -> Response {
    reply::json(StatusCode::ACCEPTED, &Mailed { status: "mailed" })
}

/// What a link proves, and the password that is chosen with it.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the schema of what is read field by field")]
pub(crate) struct TokenAndPassword {
    /// What stands in the link behind `#`.
    token: String,
    /// 12 to 200 characters of any kind.
    password: String,
}

/// Who has signed up.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SignedUp {
    user_id: Uuid,
    account_id: Uuid,
}

/// What is kept until the address is proved.
#[derive(Serialize, Deserialize)]
struct SignUp {
    email: EmailAddress,
    name: Name,
    account_name: Option<Name>,
    kind: String,
    street: Name,
    postal_code: Name,
    city: Name,
    country: CountryCode,
    vat_id: Option<VatId>,
    currency: String,
    locale: String,
    time_zone: String,
}

/// Takes a sign-up in and has a link mailed.
pub(crate) async fn sign_up(call: Call) -> Result<Response, ApiError> {
    let sign_up = read(call.fields()?)?;
    if !call.state.sign_up {
        return Err(ApiError::sign_up_closed());
    }
    let limits = &call.state.limits;
    limits.mail(call.from, &email_key(&sign_up.email)).await?;
    let state = call.state.clone();
    // Beside the request: how long it takes says nothing about who is known.
    let noting = async move {
        if let Err(error) = note(&state, sign_up).await {
            tracing::warn!("cannot take a sign-up in: {error:?}");
        }
    };
    tokio::spawn(noting.in_current_span());
    Ok(mailed())
}

fn read(mut fields: Fields) -> Result<SignUp, ApiError> {
    let email = fields.required("email");
    let name = fields.required("name");
    let account_name = fields.optional("account_name");
    let kind = fields.required_one_of::<AccountKind>("kind");
    let street = fields.required("street");
    let postal_code = fields.required("postal_code");
    let city = fields.required("city");
    let country = fields.required("country");
    let vat_id = fields.optional("vat_id");
    let currency = fields.optional::<Currency>("currency");
    let locale = fields.optional::<Locale>("locale").unwrap_or_default();
    let time_zone = fields.optional::<TimeZone>("time_zone");
    let place = street.zip(postal_code).zip(city).zip(country);
    let who = email.zip(name).zip(kind);
    let sign_up = who.zip(place).map(|(((email, name), kind), place)| {
        let (((street, postal_code), city), country) = place;
        SignUp {
            email,
            name,
            account_name,
            kind: kind.to_value(),
            street,
            postal_code,
            city,
            country,
            vat_id,
            currency: currency.map_or_else(|| "EUR".to_owned(), Into::into),
            locale: locale.to_string(),
            time_zone: time_zone.map_or_else(|| "UTC".to_owned(), |zone| zone.to_string()),
        }
    });
    fields.finish(sign_up)
}

async fn note(state: &std::sync::Arc<State>, sign_up: SignUp) -> Result<(), ApiError> {
    let transaction = entity::begin(&state.db).await?;
    let known = directory::find_user(&transaction, &sign_up.email).await?;
    let token = match &known {
        Some(user) => tokens::new(Purpose::Known, Some(user)),
        None => {
            let mut token = tokens::new(Purpose::Confirm, None);
            token.email_key = email_key(&sign_up.email);
            token.email = sign_up.email.to_string();
            token.locale = sign_up.locale.clone();
            token.content = Some(json!(sign_up).to_string());
            tokens::void(&transaction, Purpose::Confirm, &token.email_key).await?;
            token
        }
    };
    tokens::insert(&transaction, &token).await?;
    let mail = mails::of_token(&transaction, &token).await?;
    transaction.commit().await?;
    mail.send(state);
    Ok(())
}

/// Creates the person and the account of a sign-up whose address is proved.
pub(crate) async fn confirm(call: Call) -> Result<Response, ApiError> {
    let (token, password) = token_and_password(call.fields()?)?;
    let token = tokens::find(&call, &token, Purpose::Confirm).await?;
    let content = token.content.as_deref().unwrap_or_default();
    let sign_up: SignUp = serde_json::from_str(content).map_err(anyhow::Error::from)?;
    let password_hash = hash(&call.state, password).await?;
    let new = account(&sign_up)?;

    let transaction = entity::begin(&call.state.db).await?;
    tokens::take(&transaction, &token).await?;
    let user = NewUser {
        email: sign_up.email,
        name: sign_up.name,
        locale: new.locale,
        password_hash,
    };
    let user = directory::create_user(&transaction, user).await;
    let user = user.map_err(|error| unless_taken(error, "You have an account already. Log in."))?;
    let shown = json!({ "name": new.name.as_str(), "country": new.country.to_string() });
    let account_id = create_account(&transaction, new).await?;
    directory::add_member(&transaction, account_id, user.id, Role::Owner).await?;
    for (action, subject, after) in [
        ("account.create", account_id, shown),
        (
            "user.create",
            user.id,
            json!({ "email": user.email, "role": "owner" }),
        ),
    ] {
        let entry = Entry {
            actor: format!("user {}", user.id),
            credential: Some(format!("link {}", token.id)),
            account_id: Some(account_id),
            action,
            subject: subject.to_string(),
            before: None,
            after: Some(after),
        };
        entry.write(&transaction).await?;
    }
    transaction.commit().await?;
    let signed_up = SignedUp {
        user_id: user.id,
        account_id,
    };
    Ok(reply::json(StatusCode::CREATED, &signed_up))
}

/// The fields of [`TokenAndPassword`].
pub(super) fn token_and_password(mut fields: Fields) -> Result<(String, NewPassword), ApiError> {
    let token = fields.required::<schemas::values::ExternalRef>("token");
    let password = fields.required("password");
    let (token, password) = fields.finish(token.zip(password))?;
    Ok((token.into(), password))
}

fn account(sign_up: &SignUp) -> anyhow::Result<NewAccount> {
    let wrong = |schemas::values::InvalidValue(reason)| anyhow::anyhow!(reason);
    let kind = AccountKind::try_from_value(&sign_up.kind)?;
    Ok(NewAccount {
        kind,
        name: sign_up
            .account_name
            .clone()
            .unwrap_or_else(|| sign_up.name.clone()),
        email: Some(sign_up.email.clone()),
        street: sign_up.street.to_string(),
        postal_code: sign_up.postal_code.to_string(),
        city: sign_up.city.to_string(),
        country: sign_up.country.clone(),
        vat_id: sign_up.vat_id.clone(),
        currency: sign_up.currency.parse().map_err(wrong)?,
        locale: sign_up.locale.parse().map_err(wrong)?,
        time_zone: sign_up.time_zone.parse().map_err(wrong)?,
        payment_terms_days: PAYMENT_TERMS_DAYS,
    })
}
