//! `AccessService`: may this principal do that?

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    CheckRequest, CheckResponse, ExplainRequest, ExplainResponse, access_service_server::AccessService,
};
use tonic::{Request, Response, Status};

use super::{guard::Caller, message};
use crate::domain::auth::Auth;

/// The service.
pub(crate) struct Access(pub(crate) Arc<Auth>);

#[tonic::async_trait]
impl AccessService for Access {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let Caller { verified, state } = Caller::of(&request)?;
        let request = request.get_ref();
        let (question, actor_token) = (message::check_question(request), message::given(&request.actor_token));
        let decision = self.0.check(&request.token, actor_token, &question, &verified, &state).await?;
        Ok(Response::new(message::checked(decision)))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let request = request.get_ref();
        let explanation = self.0.explain(&request.subject, &message::explain_question(request)).await?;
        Ok(Response::new(message::explained(explanation)))
    }
}
