//! What we prove at a provider with that it is us, as it is at the moment: another one counts within
//! seconds, without a restart.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use schemas::seal::SealKey;
use sea_orm::DatabaseConnection;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ProviderError;
use crate::store::provider_accounts;

/// How often it is looked up.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a call waits until it is known for the first time.
const FIRST: Duration = Duration::from_secs(10);

/// What is known of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    NotYet,
    None,
    /// The header that carries it, marked as one that is shown nowhere.
    Bearer(HeaderValue),
    /// Why it cannot be used, fit for the customer.
    Unusable(&'static str),
}

/// The credential at one provider.
#[derive(Debug, Clone)]
pub(crate) struct Credential(watch::Receiver<Known>);

impl Credential {
    /// Looks the credential at a provider up until nobody asks any more.
    pub(crate) fn keep(
        db: DatabaseConnection,
        key: Option<Arc<SealKey>>,
        provider: &'static str,
    ) -> Self {
        let (known, credential) = watch::channel(Known::NotYet);
        tokio::spawn(async move {
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = known.closed() => return,
                }
                match look(&db, key.as_deref(), provider).await {
                    Ok(now) => {
                        if let Known::Unusable(why) = now
                            && *known.borrow() != now
                        {
                            tracing::error!(
                                provider,
                                "{why}: set PEPPER_FILE, or flow provider set-credential"
                            );
                        }
                        known.send_replace(now);
                    }
                    // The one that was known goes on.
                    Err(error) => {
                        tracing::warn!("cannot look up the credential at {provider}: {error}")
                    }
                }
            }
        });
        Self(credential)
    }

    /// The value of `Authorization`, if there is a credential.
    ///
    /// # Errors
    /// [`ProviderError::Denied`] when there is one that cannot be used, or none is known yet.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, ProviderError> {
        let mut known = self.0.clone();
        let known = timeout(
            FIRST,
            known.wait_for(|known| !matches!(known, Known::NotYet)),
        );
        match known.await {
            Ok(Ok(known)) => match &*known {
                Known::Bearer(header) => Ok(Some(header.clone())),
                Known::Unusable(why) => Err(ProviderError::Denied(why)),
                Known::None | Known::NotYet => Ok(None),
            },
            _ => Err(ProviderError::Denied("our credential is not known yet")),
        }
    }
}

async fn look(
    db: &DatabaseConnection,
    key: Option<&SealKey>,
    provider: &str,
) -> Result<Known, sea_orm::DbErr> {
    let Some(account) = provider_accounts::with_credential(db, provider).await? else {
        return Ok(Known::None);
    };
    let Some(key) = key else {
        return Ok(Known::Unusable(
            "our credential cannot be opened without the pepper",
        ));
    };
    let sealed = account.credential.as_deref().unwrap_or_default();
    let secret = key.open(account.id, sealed);
    let header = secret.and_then(|secret| {
        let bearer = [b"Bearer ", secret.as_slice()].concat();
        HeaderValue::from_bytes(&bearer).ok()
    });
    Ok(match header {
        Some(mut header) => {
            header.set_sensitive(true);
            Known::Bearer(header)
        }
        None => {
            Known::Unusable("our credential was sealed for another account, or with another pepper")
        }
    })
}
