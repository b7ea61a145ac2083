//! `AccessService`: may this principal do that?

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    CheckRequest, CheckResponse, ExplainRequest, ExplainResponse, access_service_server::AccessService,
};
use accord_token::Verified;
use tonic::{Request, Response, Status};

use super::token::duration;
use crate::{auth::Auth, denial::Denial, ledger::State, message, mint, store::principals::Principal};

const CHECK: &str = "accord.auth.check";

/// The service.
pub struct Access(pub Arc<Auth>);

#[tonic::async_trait]
impl AccessService for Access {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let state = self.0.ledger.current().await?;
        let caller = self.0.guard(request.metadata(), CHECK, &state)?;
        let question = request.get_ref();
        let subject = self.0.access_token(&question.token, &state).map_err(Denial::Subject)?;
        let principal = Principal::of(&subject.claims);
        let verdict = self.0.policies.decide(&principal, &question.permission, &question.audience, &question.method);
        self.0.figures.decision(verdict.allowed);
        // Built as a denial; only what follows makes it anything else.
        let mut answer = CheckResponse {
            principal: Some(message::principal(&subject.claims)),
            policy_hash: self.0.policies.hash.to_string(),
            ..CheckResponse::default()
        };
        if verdict.allowed {
            self.allow(&mut answer, &state, &subject, &question.audience, &caller)?;
        }
        Ok(Response::new(answer))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let state = self.0.ledger.current().await?;
        self.0.guard(request.metadata(), CHECK, &state)?;
        let question = request.get_ref();
        let principal = self.0.store.principal(&question.subject).await?;
        let principal = principal.ok_or(Denial::Field("subject", "is not known"))?;
        let verdict = self.0.policies.decide(&principal, &question.permission, &question.audience, &question.method);
        Ok(Response::new(ExplainResponse {
            allowed: verdict.allowed,
            policies: verdict.policies,
            errors: verdict.errors,
            policy_hash: self.0.policies.hash.to_string(),
        }))
    }
}

impl Access {
    fn allow(
        &self,
        answer: &mut CheckResponse,
        state: &State,
        subject: &Verified,
        audience: &str,
        caller: &Verified,
    ) -> Result<(), Denial> {
        // Without an audience nobody goes further inward, and no passport is needed.
        if !audience.is_empty() {
            let passport = mint::passport(&self.0.tokens, state, subject, audience, &caller.claims.sub)?;
            self.0.figures.token("passport");
            answer.passport_expires_in = duration(passport.life);
            answer.passport = passport.token;
        }
        answer.allowed = true;
        Ok(())
    }
}
