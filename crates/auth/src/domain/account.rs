//! What persons do about their own accounts: passwords and second factors.

use std::net::IpAddr;

use accord_token::verify;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    api_key::OTHER_KEY, auth::Auth, client::hash_client_secret, denial::Denial, login::PersonProof, password, totp,
};
use crate::store::principals::is_name;

/// What stands for itself in an address (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A second factor that waits to be confirmed.
pub struct Enrolled {
    /// The secret in base32.
    pub secret: String,
    /// The same as an address that apps read.
    pub uri: String,
}

/// What lets a password be set.
enum Instead<'a> {
    /// The one so far, by its hash.
    Of(&'a str),
    /// A code of an administrator's, by its hash.
    ByCode(&'a str),
}

impl Auth {
    /// Another password for whoever proves who they are. Every login of theirs ends.
    pub async fn change_password(
        &self,
        proof: PersonProof,
        new_password: String,
        address: IpAddr,
    ) -> Result<(), Denial> {
        check_length(&new_password)?;
        let proven = self.prove(proof, address).await?;
        self.set_password(&proven.name, new_password, &Instead::Of(&proven.password_hash), address).await
    }

    /// Another password for whoever brings the code that an administrator has made.
    pub async fn reset_password(
        &self,
        proof: PersonProof,
        new_password: String,
        address: IpAddr,
    ) -> Result<(), Denial> {
        check_length(&new_password)?;
        let PersonProof { name, password: code, totp_code } = proof;
        if !is_name(&name) {
            return Err(Denial::Credential);
        }
        // Nobody guesses its 256 bits, and a try costs nothing: it is not counted, so that nobody locks the person out by it.
        let hash = hash_client_secret(&code);
        let known = self.store.reset_code(&name, verify::now()).await?.unwrap_or_default();
        verify_slices_are_equal(known.as_bytes(), hash.as_bytes()).map_err(|_| Denial::Credential)?;
        self.throttled(&name, address, self.prove_second_factor(&name, &totp_code)).await?;
        self.set_password(&name, new_password, &Instead::ByCode(&hash), address).await
    }

    async fn set_password(
        &self,
        name: &str,
        password: String,
        instead: &Instead<'_>,
        address: IpAddr,
    ) -> Result<(), Denial> {
        self.active(name).await?;
        // Hashing is shared fairly like checking is.
        let _admission = self.passwords.admit(address)?;
        let hashed = self.passwords.hash(password).await?;
        let mut tx = self.store.begin().await?;
        let (is_set, action) = match instead {
            Instead::Of(former) => (tx.replace_password(name, former, &hashed).await?, "password.change"),
            Instead::ByCode(hash) => {
                let is_used = tx.use_reset_code(name, hash).await?;
                tx.set_password(name, &hashed).await?;
                (is_used, "password.reset")
            }
        };
        if !is_set {
            return Err(Denial::Credential);
        }
        let revision = tx.next_revision().await?;
        tx.raise_epoch(name, verify::now(), revision).await?;
        tx.audit(verify::now(), name, action, name).await?;
        tx.commit().await?;
        // Read at once, so that verifiers learn of it at once.
        self.state.current().await?;
        Ok(())
    }

    /// A new second factor; none is asked for before it is confirmed. It takes the password, so that nobody locks a person out of
    /// their account who has no more than a token of theirs.
    pub async fn enroll_second_factor(
        &self,
        subject: &str,
        password: String,
        address: IpAddr,
    ) -> Result<Enrolled, Denial> {
        let proof = PersonProof { name: subject.to_owned(), password, totp_code: String::new() };
        match self.prove(proof, address).await {
            Err(Denial::SecondFactorMissing) => return Err(Denial::SecondFactorPresent),
            proven => proven?,
        };
        let secret = totp::generate()?;
        let mut tx = self.store.begin().await?;
        let encrypted = self.encryption_key.encrypt(&encrypted_name(subject), &secret)?;
        if !tx.enroll_second_factor(subject, &encrypted).await? {
            return Err(Denial::SecondFactorPresent);
        }
        tx.audit(verify::now(), subject, "second_factor.enroll", subject).await?;
        tx.commit().await?;
        let secret = totp::base32(&secret);
        let [label, issuer] = [subject, &*self.tokens.issuer].map(|text| utf8_percent_encode(text, UNRESERVED));
        let uri = format!("otpauth://totp/{label}?secret={secret}&issuer={issuer}");
        Ok(Enrolled { secret, uri })
    }

    /// From now on a login takes a code, of which this is the first.
    pub async fn confirm_second_factor(&self, subject: &str, code: &str, address: IpAddr) -> Result<(), Denial> {
        let confirming = self.use_code(subject, code, "second_factor.confirm", false);
        self.throttled(&codes_of(subject), address, confirming).await
    }

    /// Logins take no code any more.
    pub async fn remove_second_factor(&self, subject: &str, code: &str, address: IpAddr) -> Result<(), Denial> {
        let removing = self.use_code(subject, code, "second_factor.remove", true);
        self.throttled(&codes_of(subject), address, removing).await
    }

    /// Whether the code is one of the person's second factor, where they have confirmed one.
    pub(super) async fn prove_second_factor(&self, name: &str, code: &str) -> Result<(), Denial> {
        match self.store.second_factor(name).await? {
            Some(factor) if factor.is_confirmed && code.is_empty() => Err(Denial::SecondFactorMissing),
            Some(factor) if factor.is_confirmed => self.use_code(name, code, "second_factor.use", false).await,
            _ => Ok(()),
        }
    }

    async fn use_code(&self, subject: &str, code: &str, action: &str, is_last: bool) -> Result<(), Denial> {
        let factor = self.store.second_factor(subject).await?.ok_or(Denial::Credential)?;
        let secret = self.encryption_key.decrypt(&encrypted_name(subject), &factor.secret).map_err(|_| {
            // Whose it is, is nobody's business in a log.
            self.refused_logins.write(|| tracing::error!("a second factor can't be checked: {OTHER_KEY}"));
            Denial::Key
        })?;
        let now = verify::now();
        let step = totp::step_of(&secret, code, factor.last_step, now).ok_or(Denial::Credential)?;
        let mut tx = self.store.begin().await?;
        if !tx.use_second_factor(subject, &factor.secret, step).await? {
            // Somebody was faster with the same code, or another secret took its place.
            return Err(Denial::Credential);
        }
        if is_last {
            tx.remove_second_factor(subject).await?;
        }
        tx.audit(now, subject, action, subject).await?;
        Ok(tx.commit().await?)
    }
}

/// Under which name tries of codes are counted that come with a token: their successes say nothing of who knows the password.
fn codes_of(subject: &str) -> String {
    format!("{subject} (codes)")
}

/// Under which name it is encrypted: a secret that was moved to another person's row is good for nothing.
pub(super) fn encrypted_name(subject: &str) -> String {
    format!("totp/{subject}")
}

fn check_length(password: &str) -> Result<(), Denial> {
    if password::LENGTH.contains(&password.len()) {
        Ok(())
    } else {
        Err(Denial::Field("new_password", "must have 8 to 1024 bytes"))
    }
}
