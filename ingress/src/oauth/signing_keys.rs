//! The keys that sign access tokens: ES256 (RFC 7518 §3.4), which every client library knows.
//!
//! Private keys are encrypted in the database under the pepper, and public keys are taken from them
//! when they are opened: whoever has the database alone neither reads a key nor slips one in.

use std::sync::Arc;

use anyhow::{Context, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64;
use entity::signing_key;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    ExprTrait, QueryFilter, QueryOrder, Set,
};

use super::remembered::Remembered;
use crate::credentials::Pepper;
use crate::error::ApiError;

/// What the key is for that encrypts private keys.
const PURPOSE: &str = "signing keys, AES-256-GCM";
/// How much longer than its last token a retired key is published: another ingress learns a moment
/// later that it is retired.
const MARGIN: TimeDelta = TimeDelta::seconds(5);

/// A rotation as it was done.
#[derive(Debug)]
pub struct Rotated {
    /// The new key, published from now on.
    pub kid: String,
    /// When it begins to sign, and the old one stops.
    pub active_from: DateTime<Utc>,
}

/// Publishes a new key, which signs after `publish_for` in place of the present one.
///
/// # Errors
/// When a new key is published already and does not sign yet, or the database cannot be reached.
pub async fn rotate_signing_key(
    db: &DatabaseConnection,
    pepper: &Pepper,
    publish_for: TimeDelta,
) -> anyhow::Result<Rotated> {
    let transaction = entity::begin(db).await?;
    let newest = newest(&transaction).await?;
    if let Some(newest) = &newest
        && newest.active_from > Utc::now()
    {
        bail!(
            "the key {} is published already and signs from {} on",
            newest.id,
            newest.active_from
        );
    }
    let active_from = match newest {
        Some(_) => Utc::now() + publish_for,
        None => Utc::now(),
    };
    let generation = newest.as_ref().map_or(1, |newest| newest.generation + 1);
    let row = new_key(pepper, generation, active_from)?;
    let kid = row.id.clone().unwrap();
    if let Some(newest) = newest {
        let mut retired = signing_key::ActiveModel::from(newest);
        retired.retired_at = Set(Some(active_from));
        retired.update(&transaction).await?;
    }
    // A rotation at the same time has the same generation, and one of the two fails.
    signing_key::Entity::insert(row)
        .exec_without_returning(&transaction)
        .await
        .context("store the new key")?;
    transaction.commit().await?;
    Ok(Rotated { kid, active_from })
}

/// Takes a key back at once: nothing that it has signed counts any more. Another signs from now on.
///
/// # Errors
/// When there is no such key, or the database cannot be reached.
pub async fn withdraw_signing_key(
    db: &DatabaseConnection,
    pepper: &Pepper,
    kid: &str,
) -> anyhow::Result<()> {
    let transaction = entity::begin(db).await?;
    let keys = list_signing_keys(&transaction).await?;
    let now = Utc::now();
    let Some(key) = keys.iter().find(|key| key.id == kid) else {
        bail!("there is no key {kid}");
    };
    let mut withdrawn = signing_key::ActiveModel::from(key.clone());
    withdrawn.retired_at = Set(Some(DateTime::UNIX_EPOCH));
    withdrawn.update(&transaction).await?;
    // One that was to follow it signs at once.
    let successor = keys
        .iter()
        .find(|key| key.id != kid && key.retired_at.is_none_or(|at| now < at));
    match successor {
        Some(next) => {
            let active_from = Ord::min(next.active_from, now);
            let mut next = signing_key::ActiveModel::from(next.clone());
            next.active_from = Set(active_from);
            next.retired_at = Set(None);
            next.update(&transaction).await?;
        }
        None => {
            let generation = keys.iter().map(|key| key.generation).max().unwrap_or(0) + 1;
            let row = new_key(pepper, generation, now)?;
            signing_key::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Every key that there ever was, newest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list_signing_keys(
    db: &impl ConnectionTrait,
) -> Result<Vec<signing_key::Model>, DbErr> {
    signing_key::Entity::find()
        .order_by_desc(signing_key::Column::Generation)
        .all(db)
        .await
}

async fn newest(db: &impl ConnectionTrait) -> Result<Option<signing_key::Model>, DbErr> {
    signing_key::Entity::find()
        .order_by_desc(signing_key::Column::Generation)
        .one(db)
        .await
}

fn new_key(
    pepper: &Pepper,
    generation: i32,
    active_from: DateTime<Utc>,
) -> anyhow::Result<signing_key::ActiveModel> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let private = pair.to_pkcs8v1()?;
    let jwk = public_jwk(private.as_ref())?;
    let kid = jwk.common.key_id.clone().context("it has an id")?;
    Ok(signing_key::ActiveModel {
        generation: Set(generation),
        algorithm: Set("ES256".to_owned()),
        public_key: Set(serde_json::to_string(&jwk)?),
        private_key: Set(seal(pepper, &kid, private.as_ref())?),
        active_from: Set(active_from),
        retired_at: Set(None),
        created_at: Set(Utc::now()),
        id: Set(kid),
    })
}

/// The public part of a private key, under its thumbprint as id (RFC 7638).
fn public_jwk(private: &[u8]) -> anyhow::Result<Jwk> {
    let key = EncodingKey::from_ec_der(private);
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
    jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256)?);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}

fn cipher(pepper: &Pepper) -> anyhow::Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, &pepper.derive(PURPOSE))?;
    Ok(LessSafeKey::new(key))
}

/// Encrypts a private key for its id: nonce, text and tag, in base64.
fn seal(pepper: &Pepper, kid: &str, private: &[u8]) -> anyhow::Result<String> {
    let mut nonce = [0; NONCE_LEN];
    OsRng.try_fill_bytes(&mut nonce)?;
    let mut text = private.to_vec();
    cipher(pepper)?.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(kid.as_bytes()),
        &mut text,
    )?;
    Ok(BASE64.encode(&[&nonce[..], &text].concat()))
}

/// What [`seal`] has encrypted, if it was for this id and nobody has changed it.
fn open(pepper: &Pepper, kid: &str, sealed: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = BASE64.decode(sealed.as_bytes())?;
    let (nonce, text) = bytes
        .split_first_chunk_mut::<NONCE_LEN>()
        .context("it is too short")?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let private = cipher(pepper)?.open_in_place(nonce, Aad::from(kid.as_bytes()), text)?;
    Ok(private.to_vec())
}

/// A key, opened.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) jwk: Jwk,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
    active_from: DateTime<Utc>,
    retired_at: Option<DateTime<Utc>>,
}

impl Key {
    fn open(pepper: &Pepper, row: &signing_key::Model) -> anyhow::Result<Self> {
        let private = open(pepper, &row.id, &row.private_key)?;
        let jwk = public_jwk(&private)?;
        Ok(Self {
            verifies: DecodingKey::from_jwk(&jwk)?,
            signs: EncodingKey::from_ec_der(&private),
            kid: row.id.clone(),
            active_from: row.active_from,
            retired_at: row.retired_at,
            jwk,
        })
    }

    /// Whether it signs at the moment.
    fn is_active(&self) -> bool {
        let now = Utc::now();
        self.active_from <= now && self.retired_at.is_none_or(|at| now < at)
    }
}

/// The signing keys, as this process remembers them.
pub(super) struct SigningKeys {
    db: DatabaseConnection,
    pepper: Pepper,
    /// How long a token lives, and so a retired key.
    lifetime: TimeDelta,
    keys: Remembered<(), Vec<Key>>,
}

/// The keys that are published at the moment.
pub(super) struct Published {
    keys: Arc<Vec<Key>>,
    lifetime: TimeDelta,
}

impl Published {
    /// Each of them: those that sign, that will, and that did so lately.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        let since = Utc::now() - self.lifetime - MARGIN;
        let counts = move |key: &&Key| key.retired_at.is_none_or(|at| since < at);
        self.keys.iter().filter(counts)
    }

    /// The one with this id.
    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.iter().find(|key| key.kid == kid)
    }

    /// The one that signs.
    pub(super) fn active(&self) -> Option<&Key> {
        self.iter().find(|key| key.is_active())
    }
}

impl SigningKeys {
    pub(super) fn new(db: DatabaseConnection, pepper: Pepper, lifetime: TimeDelta) -> Self {
        Self {
            db,
            pepper,
            lifetime,
            keys: Remembered::new(),
        }
    }

    /// The keys that are published. The first one is made if there is none.
    ///
    /// # Errors
    /// 503 when they are not known yet and cannot be read.
    pub(super) async fn published(&self) -> Result<Published, ApiError> {
        Ok(Published {
            keys: self.keys.get((), self.read()).await?,
            lifetime: self.lifetime,
        })
    }

    async fn read(&self) -> anyhow::Result<Vec<Key>> {
        let mut rows = self.rows().await?;
        if rows.is_empty() {
            self.make_first().await?;
            rows = self.rows().await?;
        }
        let open = |row: &signing_key::Model| match Key::open(&self.pepper, row) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(kid = row.id, "a signing key cannot be opened: {error:#}");
                None
            }
        };
        Ok(rows.iter().filter_map(open).collect())
    }

    async fn rows(&self) -> Result<Vec<signing_key::Model>, DbErr> {
        let since = Utc::now() - self.lifetime - MARGIN;
        let retired = signing_key::Column::RetiredAt;
        signing_key::Entity::find()
            .filter(retired.is_null().or(retired.gt(since)))
            .order_by_desc(signing_key::Column::Generation)
            .all(&self.db)
            .await
    }

    /// Makes the first key, unless another process does so at the same time.
    async fn make_first(&self) -> anyhow::Result<()> {
        let row = new_key(&self.pepper, 1, Utc::now())?;
        let once = OnConflict::column(signing_key::Column::Generation)
            .do_nothing()
            .to_owned();
        let insert = signing_key::Entity::insert(row).on_conflict(once);
        insert.exec_without_returning(&self.db).await?;
        Ok(())
    }
}
