//! The pepper: a secret of the installation that is mixed into the hashes of API keys and passwords and
//! is not in the database. Whoever reads the database, or writes to it, has no key that works. Other
//! keys of the installation follow from it.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use data_encoding::HEXLOWER;
use entity::{api_key, setting};
use hmac::{Hmac, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use schemas::link::LinkKey;
use schemas::seal::SealKey;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DatabaseConnection, EntityTrait, Set};
use sha2::{Digest, Sha256};

/// The row of [`setting`] that tells one pepper from another.
const SETTING: &str = "pepper_fingerprint";

/// The pepper of this installation.
#[derive(Clone)]
pub struct Pepper([u8; 32]);

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper(…)")
    }
}

impl Pepper {
    /// Reads the pepper from its file, which is made for a database that has none yet.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds another pepper than that of the database.
    pub async fn open(path: &Path, db: &DatabaseConnection) -> anyhow::Result<Self> {
        let known = setting::Entity::find_by_id(SETTING).one(db).await;
        match (read(path)?, known) {
            (Some(pepper), Ok(Some(known))) => {
                ensure!(
                    known.value == pepper.fingerprint(),
                    "the pepper in {} is not that of this database; set PEPPER_FILE to the file \
                     that the other processes use",
                    path.display()
                );
                Ok(pepper)
            }
            (Some(pepper), Ok(None)) => pepper.adopt(db).await,
            // Away at the moment: everybody else checks it too.
            (Some(pepper), Err(_)) => Ok(pepper),
            (None, Ok(Some(_))) => bail!(
                "there is no pepper in {}, but this database has one; set PEPPER_FILE to the file \
                 that the other processes use",
                path.display()
            ),
            (None, Ok(None)) => make(path)?.adopt(db).await,
            (None, Err(error)) => Err(error).context("find out whether this database has a pepper"),
        }
    }

    /// What is stored of a secret, in hex: HMAC-SHA-256 (RFC 2104) of its SHA-256.
    pub(crate) fn hash(&self, secret: &str) -> String {
        HEXLOWER.encode(&self.mix(&Sha256::digest(secret)))
    }

    /// A key of 256 bits for one purpose: HMAC-SHA-256 with the pepper as a pseudorandom function of its
    /// name (NIST SP 800-108).
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        self.mix(format!("derive: {purpose}").as_bytes())
    }

    /// The key that the secrets in the links of mails follow from.
    pub fn link_key(&self) -> LinkKey {
        LinkKey::new(self.derive("links"))
    }

    /// The key that seals our credentials at providers.
    pub fn provider_key(&self) -> SealKey {
        SealKey::new(self.derive("credentials at providers"))
    }

    /// A hash of texts, in hex: with it a row counts, and nobody makes it who has the database alone.
    pub(crate) fn seal(&self, texts: &[&str]) -> String {
        let mut all = b"seal:".to_vec();
        for text in texts {
            // Each with its length, so that no two lists of texts look alike.
            all.extend((text.len() as u64).to_be_bytes());
            all.extend(text.as_bytes());
        }
        HEXLOWER.encode(&self.mix(&all))
    }

    /// Makes it the pepper of a database that has none, for the keys that there are too.
    async fn adopt(self, db: &DatabaseConnection) -> anyhow::Result<Self> {
        let transaction = entity::begin(db).await?;
        let own = self.fingerprint();
        let row = setting::ActiveModel {
            name: Set(SETTING.to_owned()),
            value: Set(own.clone()),
        };
        let once = OnConflict::column(setting::Column::Name)
            .do_nothing()
            .to_owned();
        let insert = setting::Entity::insert(row).on_conflict(once);
        let inserted = insert.exec_without_returning(&transaction).await?;
        if inserted == 0 {
            let known = setting::Entity::find_by_id(SETTING)
                .one(&transaction)
                .await?;
            ensure!(
                known.is_some_and(|known| known.value == own),
                "another process has made another pepper for this database at the same time; set \
                 PEPPER_FILE to one file for all processes"
            );
            return Ok(self);
        }
        self.rehash(&transaction).await?;
        transaction.commit().await?;
        Ok(self)
    }

    /// Keys that are older than the pepper are stored by their SHA-256.
    async fn rehash(&self, db: &impl ConnectionTrait) -> anyhow::Result<()> {
        for key in api_key::Entity::find().all(db).await? {
            let digest = HEXLOWER.decode(key.secret_hash.as_bytes())?;
            let mut key = api_key::ActiveModel::from(key);
            key.secret_hash = Set(HEXLOWER.encode(&self.mix(&digest)));
            key.update(db).await?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.mix(b"fingerprint"))
    }

    fn mix(&self, bytes: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("takes keys of every length");
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

/// The pepper in a file. Nothing if there is no file.
fn read(path: &Path) -> anyhow::Result<Option<Pepper>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("read the pepper in {}", path.display())),
    };
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    let bytes =
        bytes.with_context(|| format!("{} is no pepper: 64 hexadecimal digits", path.display()))?;
    Ok(Some(Pepper(bytes)))
}

/// A new pepper in a file that only the owner can read. If somebody else makes it at the same time,
/// theirs.
fn make(path: &Path) -> anyhow::Result<Pepper> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", HEXLOWER.encode(&bytes))?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error.error)
            }
            _ => Ok(()),
        }
    };
    write().with_context(|| format!("write a pepper to {}", path.display()))?;
    read(path)?.with_context(|| format!("{} is gone again", path.display()))
}

#[cfg(test)]
impl Pepper {
    /// One that is no secret.
    pub(super) fn of_tests() -> Self {
        Self([7; 32])
    }
}
