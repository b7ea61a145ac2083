//! Principals and their logins, as administrators add, see and end them.

use accord_api::accord::auth::v1::{
    AddPrincipalRequest, AddPrincipalResponse, CreateResetCodeRequest, CreateResetCodeResponse, ListSessionsRequest,
    ListSessionsResponse, ManagedPrincipal, SetStandingRequest, Standing as WireStanding,
};
use accord_token::Kind;
use prost::Message as _;
use tonic::Status;

use super::{Administration, version};
use crate::{
    domain::{admin::SessionPlace, denial::Denial},
    service::{
        message::{self, seconds, session},
        page::{Page, UNKNOWN_TOKEN},
    },
    store::principals::{Principal, Standing},
};

impl Administration {
    pub(super) async fn add(&self, actor: &str, request: AddPrincipalRequest) -> Result<AddPrincipalResponse, Status> {
        let once = self.once(&request.idempotency_key, "AddPrincipal", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        let principal = message::new_principal(request.principal.unwrap_or_default())?;
        if !admin.was_done().await? {
            let hashed = match request.password {
                password if password.is_empty() => String::new(),
                _ if principal.kind == Kind::Service => {
                    return Err(Denial::Field("password", "is for persons; add a program as a client").into());
                }
                password => self.0.hashed(password).await?,
            };
            admin.add_hashed(&principal, &hashed).await?;
        }
        let principal = self.managed(&admin, &principal.subject).await?;
        Ok(AddPrincipalResponse { principal })
    }

    pub(super) async fn stand(&self, actor: &str, request: SetStandingRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "SetStanding", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        if admin.was_done().await? {
            return Ok(());
        }
        match request.standing() {
            WireStanding::Active => admin.enable(&request.subject).await?,
            WireStanding::Disabled => admin.disable(&request.subject).await?,
            WireStanding::Removed => admin.remove(&request.subject).await?,
            WireStanding::Unspecified => return Err(Denial::Field("standing", "must be given").into()),
        }
        self.announce().await
    }

    pub(super) async fn reset_code(
        &self,
        actor: &str,
        request: CreateResetCodeRequest,
    ) -> Result<CreateResetCodeResponse, Status> {
        let once = self.once(&request.idempotency_key, "CreateResetCode", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        let (reset_code, is_done) = self.secret(&admin, once.as_ref()).await?;
        let expires_at = if is_done { None } else { Some(admin.add_reset_code(&request.subject, &reset_code).await?) };
        Ok(CreateResetCodeResponse { reset_code, expire_time: expires_at.map(seconds) })
    }

    pub(super) async fn sessions(
        &self,
        actor: &str,
        request: ListSessionsRequest,
    ) -> Result<ListSessionsResponse, Status> {
        let page = Page::of(request.page_size, &request.page_token)?;
        let place = SessionPlace::parse(&page.after).ok_or(UNKNOWN_TOKEN)?;
        let read = self.admin(actor).sessions_after(&request.subject, &place).await?;
        let (families, next_page_token) = page.cut(read, |family| SessionPlace::after(family).write());
        let sessions = families.into_iter().map(session).collect();
        Ok(ListSessionsResponse { sessions, next_page_token })
    }
}

/// A principal as administrators know it.
pub(super) fn managed(principal: Principal) -> ManagedPrincipal {
    let standing = match principal.standing {
        Standing::Active => WireStanding::Active,
        Standing::Disabled => WireStanding::Disabled,
        Standing::Removed => WireStanding::Removed,
    };
    let version = principal.version();
    ManagedPrincipal { principal: Some(message::known_principal(principal)), standing: standing.into(), version }
}
