//! The device authorization grant (RFC 8628): a command line shows a code, and a person approves it where they can prove who they are.
//!
//! Invariants:
//! - Nobody learns whether a user code is there who has not proven who they are, and then only by few guesses.
//! - A code brings tokens once, to whoever has the device's own code, and only as long as the epochs are those of the proof.

use std::net::IpAddr;

use accord_runtime::fair_share::network_of;
use accord_token::verify;
use aws_lc_rs::rand;

use super::{
    auth::Auth,
    client::hash_client_secret,
    denial::Denial,
    encryption_key::{EncryptionError, generate_secret},
    login::IssuedTokens,
    refresh::now_millis,
};
use crate::store::{
    StoreError,
    device_codes::{Decision, DeviceCode},
};

mod decision;

pub(crate) use decision::DeviceRequest;
pub(super) use decision::{DENY, NO_SUCH_DEVICE};

/// Letters of user codes: no vowels, so that no word comes out (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Letters of a user code: 34 bits, of which each person has a few guesses.
const USER_CODE: usize = 8;

/// Tries at a user code that nobody has; among 100,000 of 20^8 a second one is hardly ever needed.
const TRIES: usize = 4;

/// What a device's interval grows by when it asks too often (section 3.5), and up to where, in milliseconds.
const INTERVAL_STEP: i64 = 5_000;
const MAX_INTERVAL: i64 = 60_000;

/// How much earlier than its interval a device may ask, in milliseconds: the network delays one request more than the next.
const POLL_TOLERANCE: i64 = 500;

/// What a device shows its person.
pub(crate) struct DeviceAuthorization {
    /// What the device itself asks with.
    pub device_code: String,
    /// What its person types.
    pub user_code: String,
}

/// Why there are no tokens (section 3.5), or no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// As for every other credential.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The configuration does not name the client.
    #[error("no such client may ask for codes; name it in `oauth.device.clients`")]
    Client,
    /// As many wait as may, of this address or of all.
    #[error("too many codes wait to be approved; try again later")]
    TooMany,
    /// Nobody has decided yet.
    #[error("the code was not approved yet")]
    Pending,
    /// It is asked too often.
    #[error("the code is asked about too often; wait for 5 s longer each time")]
    SlowDown,
    /// Its time is over.
    #[error("the code has ended; ask for another one")]
    Expired,
    /// The person said no.
    #[error("the code was not approved")]
    Refused,
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Denied(error.into())
    }
}

impl From<EncryptionError> for DeviceError {
    fn from(error: EncryptionError) -> Self {
        Self::Denied(error.into())
    }
}

impl Auth {
    /// A code for a client that asks from this address.
    pub(crate) async fn authorize_device(
        &self,
        client: &str,
        address: IpAddr,
    ) -> Result<DeviceAuthorization, DeviceError> {
        if !self.is_device_client(client) {
            return Err(DeviceError::Client);
        }
        let config = &self.oauth.device;
        let (network, now) = (network_of(address).to_string(), verify::now());
        // Before anybody has to wait for a transaction, and again in it.
        self.has_room(&network, now).await?;
        let device_code = generate_secret()?;
        let mut code = DeviceCode {
            hash: hash_client_secret(&device_code),
            user_code: String::new(),
            client: client.to_owned(),
            network,
            expires_at: now + i64::try_from(config.lifetime.as_secs()).unwrap_or(0),
            decision: Decision::Pending,
            subject: String::new(),
            epoch: 0,
            global_epoch: 0,
        };
        let interval = i64::try_from(config.interval.as_millis()).unwrap_or(MAX_INTERVAL);
        let mut tx = self.store.begin().await?;
        self.has_room(&code.network, now).await?;
        for _ in 0..TRIES {
            code.user_code = new_user_code()?;
            if tx.add_device_code(&code, interval).await? {
                tx.commit().await?;
                return Ok(DeviceAuthorization { device_code, user_code: code.user_code });
            }
        }
        Err(DeviceError::TooMany)
    }

    /// Whether the configuration names this client, now: one that is taken out gets nothing for the codes that it has.
    fn is_device_client(&self, client: &str) -> bool {
        self.oauth.device.clients.iter().any(|known| known == client)
    }

    /// One address alone ends at half of what may wait, and something is left for whoever comes next: as with
    /// [`FairShare`](accord_runtime::fair_share::FairShare), but counted in the store, for all replicas.
    async fn has_room(&self, network: &str, now: i64) -> Result<(), DeviceError> {
        let (all, own) = self.store.pending_codes(network, now).await?;
        let free = u64::try_from(self.oauth.device.max_pending).unwrap_or(u64::MAX).saturating_sub(all);
        if own < free { Ok(()) } else { Err(DeviceError::TooMany) }
    }

    /// The tokens of a device whose code was approved.
    pub(crate) async fn device_tokens(&self, client: &str, device_code: &str) -> Result<IssuedTokens, DeviceError> {
        let tokens = self.take_device_tokens(client, device_code).await;
        match &tokens {
            Ok(_) => {
                self.metrics.login("succeeded");
                self.metrics.token("access");
            }
            Err(DeviceError::Denied(Denial::Credential) | DeviceError::Refused) => self.metrics.login("refused"),
            Err(_) => {}
        }
        tokens
    }

    async fn take_device_tokens(&self, client: &str, device_code: &str) -> Result<IssuedTokens, DeviceError> {
        if !self.is_device_client(client) {
            return Err(DeviceError::Client);
        }
        let code = self.store.device_code(&hash_client_secret(device_code)).await?;
        let code = code.filter(|code| code.client == client).ok_or(Denial::Credential)?;
        if code.expires_at <= verify::now() {
            return Err(DeviceError::Expired);
        }
        match code.decision {
            Decision::Approved => {}
            Decision::Denied => return Err(DeviceError::Refused),
            Decision::Pending if self.store.poll_device_code(&code.hash, now_millis(), POLL_TOLERANCE).await? => {
                return Err(DeviceError::Pending);
            }
            Decision::Pending => {
                self.store.slow_device_down(&code.hash, INTERVAL_STEP, MAX_INTERVAL).await?;
                return Err(DeviceError::SlowDown);
            }
        }
        let new = self.new_family(&code.subject, code.epoch).await?;
        // That of the tokens, and not one of an earlier look: a revocation in between would miss them.
        if new.global_epoch() > code.global_epoch {
            return Err(Denial::Credential.into());
        }
        let mut tx = self.store.begin().await?;
        if !tx.take_device_code(&code.hash).await? {
            return Err(Denial::Credential.into());
        }
        new.write(&mut tx).await?;
        tx.commit().await?;
        Ok(self.first_tokens(new))
    }
}

/// What a person typed, as the store has it (section 6.1).
pub(super) fn normalized(typed: &str) -> String {
    let letters = typed.chars().filter(char::is_ascii_alphabetic).take(USER_CODE + 1);
    letters.map(|letter| letter.to_ascii_uppercase()).collect()
}

/// A user code as people read it.
pub(crate) fn shown(user_code: &str) -> String {
    let (first, second) = user_code.split_at_checked(USER_CODE / 2).unwrap_or((user_code, ""));
    format!("{first}-{second}")
}

/// Each letter is as likely as every other: bytes beyond the last multiple of their number are left out.
fn new_user_code() -> Result<String, EncryptionError> {
    let most = u8::MAX - u8::MAX % 20;
    let mut code = String::with_capacity(USER_CODE);
    while code.len() < USER_CODE {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| EncryptionError::Failed)?;
        let letters = bytes.iter().filter(|byte| **byte < most).map(|byte| char::from(LETTERS[usize::from(byte % 20)]));
        code.extend(letters.take(USER_CODE - code.len()));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn user_codes_are_of_all_letters_and_never_the_same() {
        let codes: HashSet<_> = (0..200).map(|_| new_user_code().unwrap()).collect();
        assert_eq!(codes.len(), 200);
        assert!(codes.iter().all(|code| code.len() == USER_CODE));
        let letters: HashSet<_> = codes.iter().flat_map(|code| code.bytes()).collect();
        assert_eq!(letters, LETTERS.iter().copied().collect());
    }

    #[test]
    fn user_code_is_read_however_it_is_typed() {
        for typed in ["WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "WDJB_MJHT"] {
            assert_eq!(normalized(typed), "WDJBMJHT", "{typed}");
        }
        assert_eq!(shown("WDJBMJHT"), "WDJB-MJHT");
    }
}
