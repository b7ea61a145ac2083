//! `RelationService`: what services register of who stands in which relation to what.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ListRelationsRequest, ListRelationsResponse, Relation as WireRelation, WriteRelationsRequest,
    WriteRelationsResponse, relation_service_server::RelationService,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{guard::Caller, page::Page};
use crate::{
    domain::{
        admin::Once,
        auth::Auth,
        denial::Denial,
        relations::{RelationChanges, WrittenRelations},
    },
    store::relations::{Relation, Which},
};

const WRITE: &str = "accord.auth.v1.RelationService/WriteRelations";
const LIST: &str = "accord.auth.v1.RelationService/ListRelations";

/// What no part of a relation has in it, so that a page can end with all three.
const BETWEEN: char = ' ';

/// The service.
pub(crate) struct Relations(pub(crate) Arc<Auth>);

#[tonic::async_trait]
impl RelationService for Relations {
    async fn write_relations(
        &self,
        request: Request<WriteRelationsRequest>,
    ) -> Result<Response<WriteRelationsResponse>, Status> {
        let (caller, request) = (Caller::of(&request)?, request.into_inner());
        let once =
            Once::new(&request.idempotency_key, "WriteRelations", &request.encode_to_vec(), &self.0.encryption_key)?;
        let wanted = RelationChanges {
            add: request.add.into_iter().map(relation).collect(),
            remove: request.remove.into_iter().map(relation).collect(),
            expected: request.expected_versions.into_iter().map(|seen| (seen.object, seen.version)).collect(),
        };
        let written = self.0.write_relations(&wanted, &caller.verified, once.as_ref(), WRITE).await?;
        let WrittenRelations { changed, version } = written;
        Ok(Response::new(WriteRelationsResponse { changed, version }))
    }

    async fn list_relations(
        &self,
        request: Request<ListRelationsRequest>,
    ) -> Result<Response<ListRelationsResponse>, Status> {
        let (caller, request) = (Caller::of(&request)?, request.into_inner());
        let page = Page::of(request.page_size, &request.page_token)?;
        let last = last(&page.after)?;
        let which = Which { object_type: &request.r#type, object: &request.object, subject: &request.subject };
        let (read, version) = self.0.relations(which, &last, &caller.verified, LIST).await?;
        let (relations, next_page_token) = page.cut(read, |relation| {
            let Relation { object, relation, subject } = relation;
            format!("{object}{BETWEEN}{relation}{BETWEEN}{subject}")
        });
        let relations = relations.into_iter().map(message).collect();
        Ok(Response::new(ListRelationsResponse { relations, next_page_token, version }))
    }
}

fn relation(relation: WireRelation) -> Relation {
    let WireRelation { object, relation, subject } = relation;
    Relation { object, relation, subject }
}

fn message(relation: Relation) -> WireRelation {
    let Relation { object, relation, subject } = relation;
    WireRelation { object, relation, subject }
}

/// The relation with which the page before ended.
fn last(after: &str) -> Result<Relation, Denial> {
    let mut parts = after.split(BETWEEN).map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let last = Relation { object: next(), relation: next(), subject: next() };
    let is_one = after.is_empty() || !last.subject.is_empty();
    if is_one { Ok(last) } else { Err(Denial::Field("page_token", "is not one that was given")) }
}
