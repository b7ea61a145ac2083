//! Logins with invented names and guessed passwords, each of which costs as much as a right one.

use std::hash::{BuildHasher, RandomState};

use accord_api::accord::auth::v1::{
    IssueRequest, PasswordGrant, issue_request::Grant, token_service_client::TokenServiceClient,
};
use accord_fabric::Fabric;
use anyhow::Result;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::ATTACKER;

/// So many logins under way at any time, until it is dropped.
pub(super) struct LoginFlood {
    _guessers: JoinSet<()>,
}

impl LoginFlood {
    /// Begins, all from one address.
    pub(super) async fn start(fabric: &Fabric, logins: usize) -> Result<Self> {
        let client = TokenServiceClient::new(connect(fabric, ATTACKER).await?);
        let mut guessers = JoinSet::new();
        for guesser in 0..logins {
            let mut client = client.clone();
            guessers.spawn(async move {
                let names = RandomState::new();
                for guess in 0.. {
                    let name = format!("nobody-{:x}", names.hash_one((guesser, guess)));
                    // Refused in any case: as a wrong name, or as one too many.
                    let _ = client.issue(login(&name, "a guess")).await;
                }
            });
        }
        Ok(Self { _guessers: guessers })
    }
}

/// A connection to auth from an address of this machine.
pub(super) async fn connect(fabric: &Fabric, from: std::net::IpAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(fabric.auth.url())?.tcp_nodelay(true).local_address(Some(from)).connect().await?)
}

/// A login with a password.
pub(super) fn login(name: &str, password: &str) -> IssueRequest {
    let grant = PasswordGrant { name: name.to_owned(), password: password.to_owned(), totp_code: String::new() };
    IssueRequest { grant: Some(Grant::Password(grant)) }
}
