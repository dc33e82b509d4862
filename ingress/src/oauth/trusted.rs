//! The rows of foreign issuers that are trusted and of their clients, made on the command line. They are
//! sealed with the pepper: whoever has the database alone lets nobody in.

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use entity::{foreign_client, foreign_issuer};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use url::Url;
use uuid::Uuid;

use super::fetch::is_safe;
use crate::credentials::{Pepper, Scope};

/// The longest name of a client.
pub(super) const MAX_CLIENT: usize = 256;
/// The algorithms that may be pinned. Those with a shared secret are none: the public key would be it.
pub(super) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// An issuer to be trusted, and what its access tokens must be like.
#[derive(Debug, Clone)]
pub struct NewIssuer<'a> {
    /// Its issuer identifier, to the letter as in its tokens.
    pub issuer: &'a str,
    /// What its tokens for us have as audience.
    pub audience: &'a str,
    /// The algorithms that it may sign with.
    pub algorithms: &'a [String],
    /// The `typ` of its access tokens.
    pub token_type: &'a str,
    /// The claim that names the client.
    pub client_claim: &'a str,
    /// The claim that names scopes. Without one, a client has all that it is allowed here.
    pub scope_claim: Option<&'a str>,
}

/// Trusts an issuer, or changes what its tokens must be like.
///
/// # Errors
/// When its address is not fit to be asked for keys, or an algorithm is not known.
pub async fn add_issuer(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    new: NewIssuer<'_>,
) -> anyhow::Result<()> {
    let url: Url = new.issuer.parse().context("the issuer is no URL")?;
    ensure!(
        is_safe(&url) && url.query().is_none(),
        "the issuer must be an https URL without query and fragment"
    );
    for algorithm in new.algorithms {
        if !ALGORITHMS.contains(&algorithm.as_str()) {
            bail!("{algorithm} is not one of {}", ALGORITHMS.join(", "));
        }
    }
    ensure!(!new.algorithms.is_empty(), "name an algorithm");
    let mut row = foreign_issuer::Model {
        id: new.issuer.to_owned(),
        audience: new.audience.to_owned(),
        algorithms: new.algorithms.join(" "),
        token_type: new.token_type.to_owned(),
        client_claim: new.client_claim.to_owned(),
        scope_claim: new.scope_claim.map(str::to_owned),
        seal: String::new(),
        created_at: Utc::now(),
    };
    row.seal = seal_of_issuer(pepper, &row);
    use foreign_issuer::Column;
    let changed = OnConflict::column(Column::Id)
        .update_columns([
            Column::Audience,
            Column::Algorithms,
            Column::TokenType,
            Column::ClientClaim,
            Column::ScopeClaim,
            Column::Seal,
        ])
        .to_owned();
    foreign_issuer::Entity::insert(foreign_issuer::ActiveModel::from(row))
        .on_conflict(changed)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Trusts an issuer no more, and forgets its clients. False if it was not trusted.
///
/// # Errors
/// When the database cannot be reached.
pub async fn remove_issuer(db: &impl ConnectionTrait, issuer: &str) -> Result<bool, DbErr> {
    foreign_client::Entity::delete_many()
        .filter(foreign_client::Column::IssuerId.eq(issuer))
        .exec(db)
        .await?;
    let deleted = foreign_issuer::Entity::delete_by_id(issuer)
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Lets a client of an issuer act for an account, or changes what it may do.
///
/// # Errors
/// When there is no such issuer or account.
pub async fn allow_client(
    db: &impl ConnectionTrait,
    pepper: &Pepper,
    (issuer, client): (&str, &str),
    account_id: Uuid,
    scopes: &[Scope],
) -> anyhow::Result<()> {
    ensure!(
        (1..=MAX_CLIENT).contains(&client.len()),
        "the client must have 1 to {MAX_CLIENT} bytes"
    );
    let known = foreign_issuer::Entity::find_by_id(issuer).one(db).await?;
    ensure!(
        known.is_some(),
        "the issuer {issuer} is not trusted; add it first"
    );
    let scopes: Vec<_> = scopes.iter().map(Scope::to_string).collect();
    let mut row = foreign_client::Model {
        issuer_id: issuer.to_owned(),
        client_id: client.to_owned(),
        account_id,
        scopes: scopes.join(" "),
        seal: String::new(),
        created_at: Utc::now(),
    };
    row.seal = seal_of_client(pepper, &row);
    use foreign_client::Column;
    let changed = OnConflict::columns([Column::IssuerId, Column::ClientId])
        .update_columns([Column::AccountId, Column::Scopes, Column::Seal])
        .to_owned();
    foreign_client::Entity::insert(foreign_client::ActiveModel::from(row))
        .on_conflict(changed)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Lets a client of an issuer act no more. False if it might not.
///
/// # Errors
/// When the database cannot be reached.
pub async fn deny_client(
    db: &impl ConnectionTrait,
    (issuer, client): (&str, &str),
) -> Result<bool, DbErr> {
    let id = (issuer.to_owned(), client.to_owned());
    let deleted = foreign_client::Entity::delete_by_id(id).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Every issuer that is trusted, with its clients.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list_issuers(
    db: &impl ConnectionTrait,
) -> Result<Vec<(foreign_issuer::Model, Vec<foreign_client::Model>)>, DbErr> {
    let issuers = foreign_issuer::Entity::find().order_by_asc(foreign_issuer::Column::Id);
    let clients = foreign_client::Entity::find().order_by_asc(foreign_client::Column::ClientId);
    let clients = clients.all(db).await?;
    let with_clients = |issuer: foreign_issuer::Model| {
        let own = clients
            .iter()
            .filter(|client| client.issuer_id == issuer.id);
        let own = own.cloned().collect();
        (issuer, own)
    };
    Ok(issuers
        .all(db)
        .await?
        .into_iter()
        .map(with_clients)
        .collect())
}

/// With which a row counts.
pub(super) fn seal_of_issuer(pepper: &Pepper, row: &foreign_issuer::Model) -> String {
    // Which is missing and which is empty are two things.
    let scopes = row.scope_claim.as_deref();
    pepper.seal(&[
        "foreign_issuer",
        &row.id,
        &row.audience,
        &row.algorithms,
        &row.token_type,
        &row.client_claim,
        scopes.map_or("none", |_| "some"),
        scopes.unwrap_or_default(),
    ])
}

/// With which a row counts.
pub(super) fn seal_of_client(pepper: &Pepper, row: &foreign_client::Model) -> String {
    pepper.seal(&[
        "foreign_client",
        &row.issuer_id,
        &row.client_id,
        &row.account_id.to_string(),
        &row.scopes,
    ])
}
