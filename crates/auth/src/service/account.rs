//! `AccountService`: what people do about their own accounts.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ApproveDeviceRequest, ApproveDeviceResponse, ChangePasswordRequest, ChangePasswordResponse, ClaimDeviceRequest,
    ClaimDeviceResponse, ConfirmSecondFactorRequest, ConfirmSecondFactorResponse, DenyDeviceRequest,
    DenyDeviceResponse, EndOwnSessionRequest, EndOwnSessionResponse, EnrollSecondFactorRequest,
    EnrollSecondFactorResponse, ListOwnDevicesRequest, ListOwnDevicesResponse, ListOwnSessionsRequest,
    ListOwnSessionsResponse, OwnSession, RemoveSecondFactorRequest, RemoveSecondFactorResponse, ResetPasswordRequest,
    ResetPasswordResponse, account_service_server::AccountService,
};
use accord_token::verify;
use tonic::{Request, Response, Status};

use super::{
    guard::{Caller, peer_address},
    message::{device, seconds},
};
use crate::domain::{
    admin::{Admin, SessionPlace},
    auth::Auth,
    login::PersonProof,
};

/// The service.
pub(crate) struct Accounts(pub(crate) Arc<Auth>);

/// Whose account it is.
fn person<T>(request: &Request<T>) -> Result<String, Status> {
    Ok(Caller::of(request)?.verified.claims.sub.clone())
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let (address, request) = (peer_address(&request), request.into_inner());
        let ChangePasswordRequest { name, password, totp_code, new_password } = request;
        self.0.change_password(PersonProof { name, password, totp_code }, new_password, address).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let (address, request) = (peer_address(&request), request.into_inner());
        let ResetPasswordRequest { name, reset_code, totp_code, new_password } = request;
        let proof = PersonProof { name, password: reset_code, totp_code };
        self.0.reset_password(proof, new_password, address).await?;
        Ok(Response::new(ResetPasswordResponse {}))
    }

    async fn enroll_second_factor(
        &self,
        request: Request<EnrollSecondFactorRequest>,
    ) -> Result<Response<EnrollSecondFactorResponse>, Status> {
        let (person, address) = (person(&request)?, peer_address(&request));
        let enrolled = self.0.enroll_second_factor(&person, request.into_inner().password, address).await?;
        Ok(Response::new(EnrollSecondFactorResponse { secret: enrolled.secret, uri: enrolled.uri }))
    }

    async fn confirm_second_factor(
        &self,
        request: Request<ConfirmSecondFactorRequest>,
    ) -> Result<Response<ConfirmSecondFactorResponse>, Status> {
        let (person, address) = (person(&request)?, peer_address(&request));
        self.0.confirm_second_factor(&person, &request.get_ref().totp_code, address).await?;
        Ok(Response::new(ConfirmSecondFactorResponse {}))
    }

    async fn remove_second_factor(
        &self,
        request: Request<RemoveSecondFactorRequest>,
    ) -> Result<Response<RemoveSecondFactorResponse>, Status> {
        let (person, address) = (person(&request)?, peer_address(&request));
        self.0.remove_second_factor(&person, &request.get_ref().totp_code, address).await?;
        Ok(Response::new(RemoveSecondFactorResponse {}))
    }

    async fn list_own_sessions(
        &self,
        request: Request<ListOwnSessionsRequest>,
    ) -> Result<Response<ListOwnSessionsResponse>, Status> {
        let person = person(&request)?;
        let families = Admin::new(&self.0.store, &person).sessions_after(&person, &SessionPlace::first()).await?;
        let sessions = families.into_iter().map(|family| OwnSession {
            session: family.id,
            renewed: (family.rotated_at > 0).then(|| seconds(family.rotated_at / 1000)),
            expire_time: Some(seconds(family.expires_at)),
        });
        Ok(Response::new(ListOwnSessionsResponse { sessions: sessions.collect() }))
    }

    async fn end_own_session(
        &self,
        request: Request<EndOwnSessionRequest>,
    ) -> Result<Response<EndOwnSessionResponse>, Status> {
        let person = person(&request)?;
        Admin::new(&self.0.store, &person).end_session_of(Some(&person), &request.get_ref().session).await?;
        self.0.state.current().await?;
        Ok(Response::new(EndOwnSessionResponse {}))
    }
    async fn claim_device(
        &self,
        request: Request<ClaimDeviceRequest>,
    ) -> Result<Response<ClaimDeviceResponse>, Status> {
        let (person, address) = (person(&request)?, peer_address(&request));
        let claimed = self.0.claim_device_by_token(&request.get_ref().user_code, &person, address).await?;
        Ok(Response::new(ClaimDeviceResponse { device: Some(device(claimed)) }))
    }

    async fn list_own_devices(
        &self,
        request: Request<ListOwnDevicesRequest>,
    ) -> Result<Response<ListOwnDevicesResponse>, Status> {
        let person = person(&request)?;
        let read = self.0.store.open_codes_after("", Some(&person), verify::now()).await?;
        Ok(Response::new(ListOwnDevicesResponse { devices: read.into_iter().map(device).collect() }))
    }

    async fn approve_device(
        &self,
        request: Request<ApproveDeviceRequest>,
    ) -> Result<Response<ApproveDeviceResponse>, Status> {
        let (name, address) = (person(&request)?, peer_address(&request));
        let ApproveDeviceRequest { user_code, password, totp_code } = request.into_inner();
        let approved = self.0.approve_device(&user_code, PersonProof { name, password, totp_code }, address).await?;
        Ok(Response::new(ApproveDeviceResponse { device: Some(device(approved)) }))
    }

    async fn deny_device(&self, request: Request<DenyDeviceRequest>) -> Result<Response<DenyDeviceResponse>, Status> {
        let (person, address) = (person(&request)?, peer_address(&request));
        self.0.deny_device(&request.get_ref().user_code, &person, address).await?;
        Ok(Response::new(DenyDeviceResponse {}))
    }
}
