//! What people decide about devices: on the page, by gRPC and on the command line.
//!
//! Invariant: a device acts for nobody who has not proven, for this decision, to be that person. A token is no such proof: it ends, and
//! what a device gets by an approval is renewed. It is enough to look at who asks, and to deny it.

use std::net::IpAddr;

use accord_token::verify;

use super::normalized;
use crate::{
    domain::{
        auth::Auth,
        client::hash_client_secret,
        denial::Denial,
        encryption_key::generate_secret,
        login::{PersonProof, outcome},
    },
    store::device_codes::{Decision, DeviceCode},
};

pub(in crate::domain) const NO_SUCH_DEVICE: Denial =
    Denial::Field("user_code", "is not one that waits to be approved; type it as the device shows it");

/// What a person decides about.
pub(crate) struct DeviceRequest {
    /// The device, claimed by whoever decides.
    pub code: DeviceCode,
    /// What the decision is made with, once.
    pub ticket: String,
}

/// Whoever claims a device, as of a moment: what ends their logins afterwards ends the approval as well.
struct Claimant {
    name: String,
    epoch: u64,
    global_epoch: u64,
}

impl Auth {
    /// What somebody who proves who they are is asked to decide about.
    pub(crate) async fn claim_device(
        &self,
        typed: &str,
        proof: PersonProof,
        address: IpAddr,
    ) -> Result<DeviceRequest, Denial> {
        let claimed = async {
            let global_epoch = self.state.current().await?.revocations.global_epoch;
            let proven = self.prove(proof, address).await?;
            self.claim(typed, Claimant { name: proven.name, epoch: proven.epoch, global_epoch }, address).await
        };
        self.count_refusal(claimed.await)
    }

    /// The same for somebody with a token. Without a proof the ticket stays here.
    pub(crate) async fn claim_device_by_token(
        &self,
        typed: &str,
        person: &str,
        address: IpAddr,
    ) -> Result<DeviceCode, Denial> {
        let claimed = async {
            let global_epoch = self.state.current().await?.revocations.global_epoch;
            let principal = self.active(person).await?;
            let claimant = Claimant { name: principal.subject, epoch: principal.epoch, global_epoch };
            self.claim(typed, claimant, address).await
        };
        Ok(self.count_refusal(claimed.await)?.code)
    }

    /// Lets a device act for somebody who proves who they are.
    pub(crate) async fn approve_device(
        &self,
        typed: &str,
        proof: PersonProof,
        address: IpAddr,
    ) -> Result<DeviceCode, Denial> {
        let DeviceRequest { code, ticket } = self.claim_device(typed, proof, address).await?;
        self.decide_device(&ticket, true).await?;
        Ok(DeviceCode { decision: Decision::Approved, ..code })
    }

    /// Gives a device nothing: one that waits, or that this person has approved.
    pub(crate) async fn deny_device(&self, typed: &str, person: &str, address: IpAddr) -> Result<(), Denial> {
        let denied = async {
            let is_theirs = |code: &DeviceCode| code.decision == Decision::Pending || code.subject == person;
            let found = async { Ok(self.store.open_code(&normalized(typed), verify::now()).await?.filter(is_theirs)) };
            let code = self.guessed(person, address, found).await?;
            let mut tx = self.store.begin().await?;
            let client = tx.close_device_code(&code.user_code, Some(person), verify::now()).await?;
            let client = client.ok_or(NO_SUCH_DEVICE)?;
            tx.audit(verify::now(), person, DENY, &format!("{person} {client}")).await?;
            Ok(tx.commit().await?)
        };
        self.count_refusal(denied.await)
    }

    /// Lets the device act for whoever has this ticket, or not.
    pub(crate) async fn decide_device(&self, ticket: &str, approves: bool) -> Result<(), Denial> {
        let ended = || Denial::Field("user_code", "was decided about, or has ended");
        let (ticket, now) = (hash_client_secret(ticket), verify::now());
        // Whoever has no ticket waits for no turn of the writers.
        if !self.store.has_ticket(&ticket, now).await? {
            return Err(ended());
        }
        let (decision, action) = if approves { (Decision::Approved, APPROVE) } else { (Decision::Denied, DENY) };
        let mut tx = self.store.begin().await?;
        let (subject, client) = tx.decide_device_code(&ticket, decision, now).await?.ok_or_else(ended)?;
        tx.audit(now, &subject, action, &format!("{subject} {client}")).await?;
        Ok(tx.commit().await?)
    }

    async fn claim(&self, typed: &str, claimant: Claimant, address: IpAddr) -> Result<DeviceRequest, Denial> {
        let found = async {
            let found = self.store.open_code(&normalized(typed), verify::now()).await?;
            Ok(found.filter(|code| code.decision == Decision::Pending && self.is_device_client(&code.client)))
        };
        let code = self.guessed(&claimant.name, address, found).await?;
        let Claimant { name: subject, epoch, global_epoch } = claimant;
        let code = DeviceCode { subject, epoch, global_epoch, ..code };
        let ticket = generate_secret()?;
        let mut tx = self.store.begin().await?;
        if !tx.claim_device_code(&code, &hash_client_secret(&ticket)).await? {
            return Err(NO_SUCH_DEVICE);
        }
        tx.commit().await?;
        Ok(DeviceRequest { code, ticket })
    }

    /// A guess at a user code, which counts where there is none.
    async fn guessed(
        &self,
        name: &str,
        address: IpAddr,
        found: impl Future<Output = Result<Option<DeviceCode>, Denial>>,
    ) -> Result<DeviceCode, Denial> {
        let account = format!("{name} (device codes)");
        self.throttle.count_attempt(&account, address).map_err(Denial::Throttled)?;
        let found = found.await;
        if !matches!(found, Ok(None)) {
            // Not reset: whoever has a code of their own would get guesses by it.
            self.throttle.cancel_attempt(&account, address);
        }
        found?.ok_or(NO_SUCH_DEVICE)
    }

    fn count_refusal<T>(&self, tried: Result<T, Denial>) -> Result<T, Denial> {
        tried.inspect_err(|denial| self.metrics.login(outcome(denial)))
    }
}

/// What the audit log calls them.
const APPROVE: &str = "device.approve";
pub(in crate::domain) const DENY: &str = "device.deny";
