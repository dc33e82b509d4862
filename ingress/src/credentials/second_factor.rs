//! The second factor: codes that change with time (TOTP, RFC 6238), and recovery codes.

use anyhow::Context;
use data_encoding::BASE32_NOPAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use schemas::seal::SealKey;
use totp_rs::{Builder, Totp};
use uuid::Uuid;

use super::Pepper;

/// Who issues the codes, in the list of the authenticator.
const ISSUER: &str = "Customer Flow";
/// How many recovery codes somebody gets.
const RECOVERY_CODES: usize = 10;

/// A secret that an authenticator is to be given.
pub(crate) struct Enrolment {
    /// What is stored.
    pub(crate) sealed: String,
    /// In base 32, to be typed.
    pub(crate) secret: String,
    /// The same as an `otpauth` URL, to be shown as a QR code.
    pub(crate) url: String,
}

/// Makes and checks codes. Their secrets are stored sealed with a key that follows from the pepper, and
/// bound to the person: somebody else's is not readable in their place.
pub(crate) struct SecondFactors {
    key: SealKey,
    pepper: Pepper,
}

impl SecondFactors {
    pub(crate) fn new(pepper: &Pepper) -> Self {
        Self {
            key: SealKey::new(pepper.derive("second factors")),
            pepper: pepper.clone(),
        }
    }

    /// A new secret for somebody.
    pub(crate) fn enrol(&self, user_id: Uuid, email: &str) -> anyhow::Result<Enrolment> {
        // RFC 4226 §4, R6 recommends 160 bits.
        let mut secret = [0; 20];
        OsRng.try_fill_bytes(&mut secret)?;
        let totp = Builder::new()
            .with_secret(secret)
            .with_account_name(email)
            .with_issuer(Some(ISSUER))
            .build()?;
        Ok(Enrolment {
            sealed: self.key.seal(user_id, &secret)?,
            secret: BASE32_NOPAD.encode(&secret),
            url: totp.to_url()?,
        })
    }

    /// The step that a code belongs to, if it is one of about now. The caller sees to it that no step
    /// counts twice.
    pub(crate) fn step(
        &self,
        user_id: Uuid,
        sealed: &str,
        code: &str,
    ) -> anyhow::Result<Option<i64>> {
        let secret = self.open(user_id, sealed)?;
        let totp: Totp = Builder::new().with_secret(secret).build()?;
        let now = u64::try_from(chrono::Utc::now().timestamp())?;
        let step = totp.check(code, now).map(i64::try_from);
        Ok(step.transpose()?)
    }

    /// New recovery codes, and what is stored of each: they have 80 bits, so the hash is fast.
    pub(crate) fn recovery_codes(&self) -> anyhow::Result<Vec<(String, String)>> {
        let code = || {
            let mut bytes = [0; 10];
            OsRng.try_fill_bytes(&mut bytes)?;
            let code = BASE32_NOPAD.encode(&bytes).to_lowercase();
            let hash = self.recovery_hash(&code);
            Ok((code, hash))
        };
        (0..RECOVERY_CODES).map(|_| code()).collect()
    }

    /// What is stored of a recovery code, however it is written.
    pub(crate) fn recovery_hash(&self, code: &str) -> String {
        let plain: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
        self.pepper
            .hash(&format!("recovery code {}", plain.to_lowercase()))
    }

    fn open(&self, user_id: Uuid, sealed: &str) -> anyhow::Result<Vec<u8>> {
        let opened = self.key.open(user_id, sealed);
        opened.with_context(|| {
            format!("the secret of {user_id} was sealed for somebody else, or with another pepper")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors() -> SecondFactors {
        SecondFactors::new(&Pepper::of_tests())
    }

    #[test]
    fn an_authenticator_gets_the_secret_that_is_stored_for_its_person() {
        let (factors, user) = (factors(), Uuid::now_v7());
        let enrolment = factors.enrol(user, "a@b.example").unwrap();
        let secret = BASE32_NOPAD.decode(enrolment.secret.as_bytes()).unwrap();
        assert_eq!(factors.open(user, &enrolment.sealed).unwrap(), secret);
        assert!(factors.open(Uuid::now_v7(), &enrolment.sealed).is_err());
        assert!(
            enrolment.url.contains(&enrolment.secret),
            "{}",
            enrolment.url
        );
    }

    /// RFC 6238, appendix B, shortened to six digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let totp = Builder::new().with_secret(*b"12345678901234567890");
        let totp = totp.build().unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804")] {
            assert_eq!(totp.generate(time).to_string(), code);
            assert_eq!(totp.check(code, time), Some(time / 30));
        }
    }

    #[test]
    fn a_recovery_code_is_the_same_however_it_is_written() {
        let factors = factors();
        let codes = factors.recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        let (code, hash) = &codes[0];
        assert_eq!(factors.recovery_hash(&code.to_uppercase()), *hash);
        assert_eq!(factors.recovery_hash(&format!(" {code}- ")), *hash);
        assert_ne!(factors.recovery_hash("other"), *hash);
    }
}
