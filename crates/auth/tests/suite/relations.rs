//! Relations: registered by services, asked for by policies.

use accord_api::accord::{
    auth::v1::{
        CheckRequest, CheckResponse, ExchangeRequest, ExplainRequest, ListRelationsRequest, ListRelationsResponse,
        ObjectVersion, Relation, WriteRelationsRequest, WriteRelationsResponse,
        access_service_client::AccessServiceClient, relation_service_client::RelationServiceClient,
    },
    fault::v1::Reason,
};
use accord_auth::config::{Config, ObjectConfig};
use accord_mesh::Question;
use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{Kind, Refusal};
use std::sync::Arc;
use tonic::Status;

use super::{verifier::ready_client, *};

const OWNED: &str = r#"
    permit(principal, action == Accord::Action::"catalog.products.write", resource is Accord::Product)
    when { principal in resource.owner };
    permit(principal in Accord::Group::"sales", action == Accord::Action::"catalog.products.read", resource);
    permit(principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.list", resource);
    permit(principal == Accord::Service::"gateway", action == Accord::Action::"catalog.relate", resource);
    permit(principal in Accord::Role::"relater", action == Accord::Action::"catalog.relate", resource);"#;

/// An auth with products that have owners, and groups that have members; the gateway registers both.
async fn start(database: &Database) -> Server {
    let policy = database.directory.path().join("relations.cedar");
    std::fs::write(&policy, OWNED).unwrap();
    let declared = |name: &str, relations: &[&str], groups| ObjectConfig {
        name: name.to_owned(),
        relations: relations.iter().map(ToString::to_string).collect(),
        groups,
        permission: Some("catalog.relate".to_owned()),
    };
    let server = Server::start(database, |config: &mut Config| {
        config.policy.files.push(policy);
        config.policy.object =
            vec![declared("Product", &["owner", "viewer"], false), declared("Group", &["member"], true)];
    })
    .await;
    let bob = principal("bob", Kind::User, &[]);
    admin(&server.auth.store).add_principal(&bob, None).await.unwrap();
    server
}

fn relation(text: &str) -> Relation {
    let (subject, rest) = text.split_once(" is ").unwrap();
    let (relation, object) = rest.split_once(" of ").unwrap();
    Relation { object: object.to_owned(), relation: relation.to_owned(), subject: subject.to_owned() }
}

fn adds(texts: &[&str]) -> WriteRelationsRequest {
    WriteRelationsRequest { add: texts.iter().map(|text| relation(text)).collect(), ..Default::default() }
}

fn removes(texts: &[&str]) -> WriteRelationsRequest {
    WriteRelationsRequest { remove: texts.iter().map(|text| relation(text)).collect(), ..Default::default() }
}

async fn write(server: &Server, request: WriteRelationsRequest) -> Result<WriteRelationsResponse, Status> {
    let request = authorized(request, &server.mesh_token().await);
    let written = RelationServiceClient::new(server.channel.clone()).write_relations(request).await?;
    Ok(written.into_inner())
}

async fn list(server: &Server, request: ListRelationsRequest) -> Result<ListRelationsResponse, Status> {
    let request = authorized(request, &server.mesh_token().await);
    let listed = RelationServiceClient::new(server.channel.clone()).list_relations(request).await?;
    Ok(listed.into_inner())
}

/// Whether somebody may write this product.
async fn check(server: &Server, subject: &str, resource: &str) -> Result<CheckResponse, Status> {
    let check = CheckRequest {
        token: server.token_of(subject).await,
        permission: "catalog.products.write".to_owned(),
        resource: resource.to_owned(),
        ..CheckRequest::default()
    };
    let check = authorized(check, &server.mesh_token().await);
    Ok(AccessServiceClient::new(server.channel.clone()).check(check).await?.into_inner())
}

async fn may_write(server: &Server, subject: &str, resource: &str) -> bool {
    check(server, subject, resource).await.unwrap().allowed
}

pub(crate) async fn owner_may_what_policies_grant_to_owners_of_that_object_alone(database: Database) {
    let server = start(&database).await;
    write(&server, adds(&["User/bob is owner of Product/42", "User/ada is viewer of Product/42"])).await.unwrap();
    assert!(may_write(&server, "bob", "Product/42").await);
    assert!(!may_write(&server, "bob", "Product/43").await);
    assert!(!may_write(&server, "ada", "Product/42").await, "a viewer");
    assert_eq!(refused(check(&server, "bob", "Nothing/1").await), Reason::FieldInvalid);
}

pub(crate) async fn member_of_a_group_in_a_group_is_in_both(database: Database) {
    let server = start(&database).await;
    let groups = ["User/bob is member of Group/berlin", "Group/berlin#member is member of Group/sales"];
    write(&server, adds(&groups)).await.unwrap();
    write(&server, adds(&["Group/sales#member is owner of Product/42"])).await.unwrap();
    assert!(may_write(&server, "bob", "Product/42").await);
    // A circle changes nothing.
    write(&server, adds(&["Group/sales#member is member of Group/berlin"])).await.unwrap();
    assert!(may_write(&server, "bob", "Product/42").await);
    write(&server, removes(&["User/bob is member of Group/berlin"])).await.unwrap();
    assert!(!may_write(&server, "bob", "Product/42").await);
}

/// A verifier that decides about one principal.
struct Verifier<'a> {
    client: MeshClient,
    server: &'a Server,
    token: String,
}

impl<'a> Verifier<'a> {
    async fn of(server: &'a Server, subject: &str) -> Self {
        let client = ready_client(server).await;
        Self { client, server, token: server.token_of(subject).await }
    }

    async fn decide(&self, question: &Question<'_>) -> Result<Arc<accord_mesh::Decision>, Refusal> {
        let verified = self.client.verify(&self.token).unwrap();
        let deadline = Deadline::after(Duration::from_secs(5));
        self.client.decide(&self.token, &verified, question, deadline, &RequestId::new()).await
    }

    /// Until it knows of the newest relations.
    async fn follows(&self) {
        // What is revoked later is known later.
        let token = self.server.token_of("root").await;
        admin(&self.server.auth.store).revoke_subject("root").await.unwrap();
        eventually("the verifier knows of the change", || self.client.verify(&token).is_err()).await;
    }
}

pub(crate) async fn removed_relation_ends_decisions_that_verifiers_remember(database: Database) {
    let server = start(&database).await;
    write(&server, adds(&["User/bob is member of Group/sales"])).await.unwrap();
    let verifier = Verifier::of(&server, "bob").await;
    let first = verifier.decide(&READ).await.unwrap();
    assert_eq!(verifier.decide(&READ).await.unwrap().passport, first.passport, "it is remembered");
    write(&server, removes(&["User/bob is member of Group/sales"])).await.unwrap();
    verifier.follows().await;
    assert_eq!(verifier.decide(&READ).await.unwrap_err(), Refusal::PermissionMissing);
    write(&server, adds(&["User/bob is member of Group/sales"])).await.unwrap();
    verifier.follows().await;
    assert!(verifier.decide(&READ).await.is_ok());
}

pub(crate) async fn verifier_decides_about_each_object_and_remembers_each_decision(database: Database) {
    let server = start(&database).await;
    write(&server, adds(&["User/bob is owner of Product/42"])).await.unwrap();
    let verifier = Verifier::of(&server, "bob").await;
    let about = |resource| Question { permission: "catalog.products.write", resource, ..READ };
    let first = verifier.decide(&about("Product/42")).await.unwrap();
    assert_eq!(verifier.decide(&about("Product/43")).await.unwrap_err(), Refusal::PermissionMissing);
    assert_eq!(verifier.decide(&about("")).await.unwrap_err(), Refusal::PermissionMissing);
    assert_eq!(verifier.decide(&about("Product/42")).await.unwrap().passport, first.passport, "it is remembered");
    for resource in ["Nothing/1", "Product/a b", "Product/42#owner", "Product"] {
        assert_eq!(verifier.decide(&about(resource)).await.unwrap_err(), Refusal::ResourceMissing, "{resource}");
    }
}

pub(crate) async fn decision_that_looks_at_no_relation_outlives_their_changes(database: Database) {
    let server = start(&database).await;
    let verifier = Verifier::of(&server, "ada").await;
    let list = Question { permission: "catalog.products.list", ..READ };
    let first = verifier.decide(&list).await.unwrap();
    write(&server, adds(&["User/bob is member of Group/sales"])).await.unwrap();
    verifier.follows().await;
    assert_eq!(verifier.decide(&list).await.unwrap().passport, first.passport);
}

pub(crate) async fn explanation_names_the_relations_that_were_looked_at(database: Database) {
    let server = start(&database).await;
    let relations =
        ["User/bob is member of Group/sales", "User/bob is owner of Product/42", "User/bob is owner of Product/7"];
    write(&server, adds(&relations)).await.unwrap();
    let explain = ExplainRequest {
        subject: "bob".to_owned(),
        permission: "catalog.products.write".to_owned(),
        resource: "Product/42".to_owned(),
        ..ExplainRequest::default()
    };
    let explain = authorized(explain, &server.mesh_token().await);
    let explained = AccessServiceClient::new(server.channel.clone()).explain(explain).await.unwrap().into_inner();
    assert_eq!(
        (explained.allowed, explained.relations),
        (true, vec!["Group/sales#member".to_owned(), "Product/42#owner".to_owned()])
    );
}

pub(crate) async fn somebody_in_more_groups_than_are_looked_at_is_denied(database: Database) {
    let server = start(&database).await;
    write(&server, adds(&["User/bob is owner of Product/42"])).await.unwrap();
    let groups: Vec<_> = (0..1001).map(|number| format!("User/bob is member of Group/{number}")).collect();
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    for batch in groups[..999].chunks(500) {
        write(&server, adds(batch)).await.unwrap();
    }
    assert!(may_write(&server, "bob", "Product/42").await);
    write(&server, adds(&groups[999..])).await.unwrap();
    assert!(!may_write(&server, "bob", "Product/42").await);
}

pub(crate) async fn name_that_is_given_again_inherits_no_relation(database: Database) {
    let server = start(&database).await;
    write(&server, adds(&["User/bob is owner of Product/42"])).await.unwrap();
    admin(&server.auth.store).remove("bob").await.unwrap();
    admin(&server.auth.store).add_principal(&principal("bob", Kind::User, &[]), None).await.unwrap();
    assert!(!may_write(&server, "bob", "Product/42").await);
}

pub(crate) async fn relations_written_again_change_nothing(database: Database) {
    let server = start(&database).await;
    let owner = ["User/bob is owner of Product/42"];
    assert_eq!(write(&server, adds(&owner)).await.unwrap().changed, 1);
    assert_eq!(write(&server, adds(&owner)).await.unwrap(), WriteRelationsResponse::default());
    assert_eq!(write(&server, removes(&owner)).await.unwrap().changed, 1);
    assert_eq!(write(&server, removes(&owner)).await.unwrap(), WriteRelationsResponse::default());
    let (log, _) = server.auth.store.audit_log().await.unwrap();
    let of_relations = log.iter().filter(|entry| entry.action.starts_with("relation."));
    let recorded: Vec<_> = of_relations.map(|entry| (&*entry.actor, &*entry.action, &*entry.target)).collect();
    let target = "Product/42#owner User/bob";
    assert_eq!(recorded, [("gateway", "relation.add", target), ("gateway", "relation.remove", target)]);
}

pub(crate) async fn relations_of_an_object_that_somebody_else_changed_are_not_written(database: Database) {
    let server = start(&database).await;
    let at = |version, request| {
        let expected_versions = vec![ObjectVersion { object: "Product/42".to_owned(), version }];
        WriteRelationsRequest { expected_versions, ..request }
    };
    let first = write(&server, at(0, adds(&["User/bob is owner of Product/42"]))).await.unwrap().version;
    let again = adds(&["User/ada is owner of Product/42"]);
    assert_eq!(refused(write(&server, at(0, again.clone())).await), Reason::VersionConflict);
    let which =
        ListRelationsRequest { r#type: "Product".to_owned(), object: "Product/42".to_owned(), ..Default::default() };
    assert_eq!(list(&server, which.clone()).await.unwrap().version, first);
    let second = write(&server, at(first, again)).await.unwrap().version;
    assert!(second > first);
    let none = removes(&["User/ada is owner of Product/42", "User/bob is owner of Product/42"]);
    write(&server, at(second, none)).await.unwrap();
    assert_eq!(list(&server, which).await.unwrap().version, 0);
}

pub(crate) async fn relations_that_can_not_be_are_refused_and_none_is_written(database: Database) {
    let server = start(&database).await;
    for wrong in [
        "User/bob is owner of Order/1",
        "User/bob is keeper of Product/42",
        "User/bob is owner of Product/",
        "User/bob is owner of Product/4#2",
        "bob is owner of Product/42",
        "User/ is owner of Product/42",
        "Role/admin is owner of Product/42",
        "Product/7#viewer is owner of Product/42",
        "Group/sales is owner of Product/42",
        "Group/sales#owner is owner of Product/42",
    ] {
        let written = write(&server, adds(&["User/ada is owner of Product/42", wrong])).await;
        assert_eq!(refused(written), Reason::FieldInvalid, "{wrong}");
    }
    let many = adds(&vec!["User/bob is owner of Product/42"; 501]);
    assert_eq!(refused(write(&server, many).await), Reason::FieldInvalid);
    assert!(!may_write(&server, "ada", "Product/42").await);
}

pub(crate) async fn relations_are_written_and_listed_with_the_permission_of_their_type_alone(database: Database) {
    let server = start(&database).await;
    let ada = server.token_of("ada").await;
    let mut relations = RelationServiceClient::new(server.channel.clone());
    let request = adds(&["User/ada is owner of Product/42"]);
    assert_eq!(refused(relations.write_relations(authorized(request, &ada)).await), Reason::PermissionMissing);
    let which = ListRelationsRequest { r#type: "Product".to_owned(), ..Default::default() };
    assert_eq!(refused(relations.list_relations(authorized(which, &ada)).await), Reason::PermissionMissing);
    assert!(!may_write(&server, "ada", "Product/42").await);
}

pub(crate) async fn changes_that_are_none_are_refused_before_they_are_remembered(database: Database) {
    let server = start(&database).await;
    let stranger = server.token_of("ada").await;
    let none = WriteRelationsRequest { idempotency_key: "k1".to_owned(), ..Default::default() };
    let mut relations = RelationServiceClient::new(server.channel.clone());
    assert_eq!(refused(relations.write_relations(authorized(none, &stranger)).await), Reason::FieldInvalid);
    assert!(server.auth.store.admin_request("ada", "k1").await.unwrap().is_none());
}

pub(crate) async fn pages_of_relations_name_each_once_in_order(database: Database) {
    let server = start(&database).await;
    let texts: Vec<_> = (0..5).map(|number| format!("User/bob is owner of Product/{number}")).collect();
    write(&server, adds(&texts.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    write(&server, adds(&["User/ada is owner of Product/0", "User/bob is member of Group/sales"])).await.unwrap();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRelationsRequest {
            r#type: "Product".to_owned(),
            subject: "User/bob".to_owned(),
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = list(&server, request).await.unwrap();
        listed.extend(page.relations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, texts.iter().map(|text| relation(text)).collect::<Vec<_>>());
    let wrong =
        ListRelationsRequest { r#type: "Product".to_owned(), page_token: "YQ".to_owned(), ..Default::default() };
    assert_eq!(refused(list(&server, wrong).await), Reason::FieldInvalid);
}

pub(crate) async fn changes_repeated_with_their_idempotency_key_happen_once(database: Database) {
    let server = start(&database).await;
    let idempotent = |request| WriteRelationsRequest { idempotency_key: "k1".to_owned(), ..request };
    let first = write(&server, idempotent(adds(&["User/bob is owner of Product/42"]))).await.unwrap();
    write(&server, removes(&["User/bob is owner of Product/42"])).await.unwrap();
    assert_eq!(write(&server, idempotent(adds(&["User/bob is owner of Product/42"]))).await.unwrap(), first);
    assert!(!may_write(&server, "bob", "Product/42").await, "somebody took it away since");
    let other = write(&server, idempotent(adds(&["User/ada is owner of Product/42"]))).await;
    assert_eq!(refused(other), Reason::IdempotencyKeyReused);
}

pub(crate) async fn changes_refused_with_an_idempotency_key_can_be_made_with_it_later(database: Database) {
    let server = start(&database).await;
    let mut request = WriteRelationsRequest {
        expected_versions: vec![ObjectVersion { object: "Product/42".to_owned(), version: 7 }],
        idempotency_key: "k1".to_owned(),
        ..adds(&["User/bob is owner of Product/42"])
    };
    assert_eq!(refused(write(&server, request.clone()).await), Reason::VersionConflict);
    request.expected_versions.clear();
    assert_eq!(write(&server, request).await.unwrap().changed, 1);
}

pub(crate) async fn relations_are_written_through_the_gateway_in_the_name_of_its_caller(database: Database) {
    let server = start(&database).await;
    for (subject, may) in [("carol", true), ("ada", false)] {
        if may {
            let carol = principal(subject, Kind::User, &["relater"]);
            admin(&server.auth.store).add_principal(&carol, None).await.unwrap();
        }
        let subject_token = server.token_of(subject).await;
        let exchange = ExchangeRequest { subject_token, audience: "auth".to_owned(), ..ExchangeRequest::default() };
        let exchange = authorized(exchange, &server.mesh_token().await);
        let passport = server.tokens().exchange(exchange).await.unwrap().into_inner().passport;
        let mut request = Request::new(adds(&["User/bob is owner of Product/42"]));
        request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
        let written = RelationServiceClient::new(server.channel.clone()).write_relations(request).await;
        if may {
            assert_eq!(written.unwrap().into_inner().changed, 1);
        } else {
            assert_eq!(refused(written), Reason::PermissionMissing, "the gateway's own right does not count");
        }
    }
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert!(entries.iter().any(|entry| entry.action == "relation.add" && entry.actor == "carol"));
}
