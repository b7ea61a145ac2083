//! Links, as administrators change them over the network.

use accord_api::accord::{
    auth::v1::{AddLinkRequest, Link, ListLinksRequest, RemoveLinkRequest},
    fault::v1::Reason,
};

use super::{Database, Server, admin, admin_service::Administrator, refused};

fn link(external: &str, subject: &str) -> Link {
    Link { issuer: "corp".to_owned(), external_subject: external.to_owned(), subject: subject.to_owned() }
}

fn add(external: &str, subject: &str) -> AddLinkRequest {
    AddLinkRequest { link: Some(link(external, subject)), ..AddLinkRequest::default() }
}

fn remove(external: &str, subject: &str) -> RemoveLinkRequest {
    RemoveLinkRequest { link: Some(link(external, subject)), ..RemoveLinkRequest::default() }
}

/// All links of a principal, or of all, two on a page.
async fn listed(root: &mut Administrator, subject: &str) -> Vec<Link> {
    let (mut links, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = root.ask(ListLinksRequest { page_size: 2, page_token, subject: subject.to_owned() });
        let page = root.service.list_links(request).await.unwrap().into_inner();
        links.extend(page.links);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return links;
        }
    }
}

pub(crate) async fn link_is_added_listed_and_removed_over_the_network(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.service.add_link(root.ask(add("5f2a", "ada"))).await.unwrap();
    assert_eq!(listed(&mut root, "ada").await, [link("5f2a", "ada")]);
    assert_eq!(refused(root.service.add_link(root.ask(add("5f2a", "root"))).await), Reason::SubjectExists);
    assert_eq!(refused(root.service.remove_link(root.ask(remove("5f2a", "root"))).await), Reason::SubjectUnknown);
    let token = server.token_of("ada").await;
    root.service.remove_link(root.ask(remove("5f2a", "ada"))).await.unwrap();
    assert!(!server.is_active(&token).await, "nobody knows whether it came by the link");
    assert_eq!(listed(&mut root, "").await, []);
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    for action in ["principal.link", "principal.unlink"] {
        assert!(entries.iter().any(|entry| entry.action == action && entry.actor == "root"), "{action}");
    }
}

pub(crate) async fn link_of_a_principal_that_changed_meanwhile_is_neither_added_nor_removed(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.service.add_link(root.ask(AddLinkRequest { expected_version: 1, ..add("5f2a", "ada") })).await.unwrap();
    admin(&server.auth.store).grant_role("ada", "editor").await.unwrap();
    let added = root.service.add_link(root.ask(AddLinkRequest { expected_version: 1, ..add("77b0", "ada") })).await;
    assert_eq!(refused(added), Reason::VersionConflict);
    let stale = RemoveLinkRequest { expected_version: 1, ..remove("5f2a", "ada") };
    assert_eq!(refused(root.service.remove_link(root.ask(stale)).await), Reason::VersionConflict);
    assert_eq!(listed(&mut root, "ada").await, [link("5f2a", "ada")]);
}

pub(crate) async fn link_changes_repeated_with_their_idempotency_key_happen_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let added = AddLinkRequest { idempotency_key: "k1".to_owned(), ..add("5f2a", "ada") };
    let removed = RemoveLinkRequest { idempotency_key: "k2".to_owned(), ..remove("5f2a", "ada") };
    for _ in 0..2 {
        root.service.add_link(root.ask(added.clone())).await.unwrap();
    }
    for _ in 0..2 {
        root.service.remove_link(root.ask(removed.clone())).await.unwrap();
    }
    root.service.add_link(root.ask(added)).await.unwrap();
    assert_eq!(listed(&mut root, "ada").await, [], "what was asked before it was removed");
}

pub(crate) async fn pages_of_links_name_each_once_in_order(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for (external, subject) in [("c", "ada"), ("a", "ada"), ("d", "root"), ("b", "ada"), ("e", "ada")] {
        root.service.add_link(root.ask(add(external, subject))).await.unwrap();
    }
    assert_eq!(listed(&mut root, "ada").await, ["a", "b", "c", "e"].map(|external| link(external, "ada")));
    assert_eq!(listed(&mut root, "").await.len(), 5);
    let wrong = ListLinksRequest { page_token: "YQ".to_owned(), ..ListLinksRequest::default() };
    assert_eq!(refused(root.service.list_links(root.ask(wrong)).await), Reason::FieldInvalid);
}

pub(crate) async fn link_of_nobody_and_link_without_a_name_are_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    assert_eq!(refused(root.service.add_link(root.ask(add("5f2a", "nobody"))).await), Reason::SubjectUnknown);
    assert_eq!(refused(root.service.add_link(root.ask(add("a b", "ada"))).await), Reason::FieldInvalid);
    let none = root.service.add_link(root.ask(AddLinkRequest::default())).await;
    assert_eq!(refused(none), Reason::FieldInvalid);
}
