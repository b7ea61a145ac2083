//! Policies in force, and roles, as administrators see them.

use accord_api::accord::auth::v1::{
    GetPolicyRequest, GetPolicyResponse, ListPoliciesRequest, ListPoliciesResponse, ListRoleHoldersRequest,
    ListRoleHoldersResponse, ListRolesRequest, ListRolesResponse, Policy as WirePolicy, Role,
};
use tonic::Status;

use super::Administration;
use crate::{
    domain::{
        admin::{AdminError, KnownRole, RolePlace},
        denial::Denial,
        policy::{ListedPolicy, Policies},
    },
    service::page::{Page, UNKNOWN_TOKEN},
    store::StoreError,
};

impl Administration {
    pub(super) async fn roles(&self, actor: &str, request: ListRolesRequest) -> Result<ListRolesResponse, Status> {
        let page = Page::of(request.page_size, &request.page_token)?;
        let (admin, named) = (self.admin(actor), self.0.policies.get().roles());
        let mut place = RolePlace::parse(&page.after).ok_or(UNKNOWN_TOKEN)?;
        let mut read = admin.roles_after(&place, &named).await?;
        // Those that nobody holds follow on the same page.
        if let Some(last) =
            read.last().filter(|last| last.holders > 0 && read.len() <= page.size() && read.len() < Page::MOST)
        {
            place = RolePlace { named: Some(String::new()), ..RolePlace::after(last) };
            read.extend(admin.roles_after(&place, &named).await?);
        }
        let (roles, next_page_token) = page.cut(read, |role| RolePlace::after(role).write());
        let role = |KnownRole { role, holders, policies }| Role { role, holders, policy_ids: policies };
        Ok(ListRolesResponse { roles: roles.into_iter().map(role).collect(), next_page_token })
    }

    pub(super) async fn holders(&self, request: ListRoleHoldersRequest) -> Result<ListRoleHoldersResponse, Status> {
        let ListRoleHoldersRequest { role, page_size, page_token } = request;
        let page = Page::of(page_size, &page_token)?;
        let read = self.0.store.role_holders_after(&role, &page.after).await?;
        let (subjects, next_page_token) = page.cut(read, Clone::clone);
        Ok(ListRoleHoldersResponse { subjects, next_page_token })
    }

    pub(super) async fn list(&self, request: &ListPoliciesRequest) -> Result<ListPoliciesResponse, Denial> {
        let page = Page::of(request.page_size, &request.page_token)?;
        let policies = self.0.policies.get();
        let read = policies.listed().iter().filter(|policy| policy.id > page.after).map(known);
        let (policies_read, next_page_token) =
            page.cut(read.take(Page::MOST).collect(), |policy| policy.policy_id.clone());
        let policy_hash = self.decision_set(&policies).await?;
        Ok(ListPoliciesResponse { policies: policies_read, next_page_token, policy_hash })
    }

    pub(super) async fn policy(&self, request: &GetPolicyRequest) -> Result<GetPolicyResponse, AdminError> {
        let policies = self.0.policies.get();
        let found = policies.listed().iter().find(|policy| policy.id == request.policy_id);
        let found = found.ok_or_else(|| AdminError::UnknownPolicy(request.policy_id.clone()))?;
        let policy = Some(WirePolicy { text: found.text.clone(), ..known(found) });
        Ok(GetPolicyResponse { policy, policy_hash: self.decision_set(&policies).await? })
    }

    /// As decisions name it.
    async fn decision_set(&self, policies: &Policies) -> Result<String, StoreError> {
        Ok(self.0.state.current().await?.decision_set(&policies.hash).to_string())
    }
}

/// A policy as lists have it.
fn known(policy: &ListedPolicy) -> WirePolicy {
    let ListedPolicy { id, origin, is_shadow, .. } = policy;
    WirePolicy { policy_id: id.clone(), origin: origin.clone(), shadow: *is_shadow, text: String::new() }
}
