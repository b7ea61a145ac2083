//! The service's own access token: one for all calls, gotten anew before it ends.

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, issue_request::Grant, token_service_client::TokenServiceClient,
};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tonic::{Request, Status, metadata::AsciiMetadataValue, transport::Channel};

pub(crate) struct AccessToken {
    auth: TokenServiceClient<Channel>,
    client_id: String,
    request: IssueRequest,
    held: Mutex<Option<Held>>,
}

struct Held {
    bearer: AsciiMetadataValue,
    renews: Instant,
    ends: Instant,
}

impl AccessToken {
    pub(crate) fn new(auth: Channel, client_id: &str, client_secret: &str) -> Self {
        let (client_id, client_secret) = (client_id.to_owned(), client_secret.to_owned());
        let grant =
            ClientCredentialsGrant { client_id: client_id.clone(), client_secret, ..ClientCredentialsGrant::default() };
        let request = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
        Self { auth: TokenServiceClient::new(auth), client_id, request, held: Mutex::default() }
    }

    /// `Bearer` and the token. All who wait for one share a login.
    pub(crate) async fn bearer(&self) -> Result<AsciiMetadataValue, Status> {
        let mut held = self.held.lock().await;
        let asked = Instant::now();
        if held.as_ref().is_none_or(|held| asked >= held.renews) {
            match self.issue(asked).await {
                Ok(issued) => *held = Some(issued),
                // While auth is down, the token is good for the last third of its life.
                Err(failure) if held.as_ref().is_none_or(|held| Instant::now() >= held.ends) => {
                    return Err(self.unavailable(&failure));
                }
                Err(_) => {}
            }
        }
        held.as_ref().map(|held| held.bearer.clone()).ok_or_else(|| Status::internal("no token is held"))
    }

    /// The service's own fault, which is not to look like one of its caller's credential.
    fn unavailable(&self, failure: &Status) -> Status {
        let (id, code) = (&self.client_id, failure.code());
        Status::unavailable(format!("this service could not log in to auth as `{id}`: {code:?}"))
    }

    async fn issue(&self, asked: Instant) -> Result<Held, Status> {
        let mut request = Request::new(self.request.clone());
        request.set_timeout(Duration::from_secs(5));
        let issued = self.auth.clone().issue(request).await?.into_inner();
        let life = issued.expires_in.and_then(|life| Duration::try_from(life).ok()).unwrap_or_default();
        let bearer = format!("Bearer {}", issued.access_token);
        let bearer = bearer.parse().map_err(|_| Status::internal("auth's token can't stand in a header"))?;
        Ok(Held { bearer, renews: asked + life * 2 / 3, ends: asked + life })
    }
}
