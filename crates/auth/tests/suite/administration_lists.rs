//! What administrators list: roles and who holds them, policies in force, logins.

use std::collections::BTreeSet;

use accord_api::accord::auth::v1::{
    AddClientRequest, ExplainRequest, GetPolicyRequest, ListClientKeysRequest, ListPoliciesRequest,
    ListRoleHoldersRequest, ListRolesRequest, ListSessionsRequest, Role, RotateClientRequest,
    access_service_client::AccessServiceClient,
};

use super::{admin_service::Administrator, *};

/// All roles, so many on a page.
async fn roles(root: &mut Administrator, page_size: i32) -> Vec<Role> {
    let (mut roles, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = root.ask(ListRolesRequest { page_size, page_token });
        let page = root.service.list_roles(request).await.unwrap().into_inner();
        assert!(page.roles.len() <= usize::try_from(page_size).unwrap());
        roles.extend(page.roles);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return roles;
        }
    }
}

pub(crate) async fn roles_are_listed_with_their_holders_and_the_policies_that_name_them(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let admin = admin(&server.auth.store);
    admin.add_principal(&principal("bob", Kind::User, &["catalog-reader", "nothing"]), None).await.unwrap();
    let all = roles(&mut root, 500).await;
    let of = |name: &str| all.iter().find(|role| role.role == name).unwrap();
    assert_eq!(of("catalog-reader").holders, 2);
    assert!(of("catalog-reader").policy_ids[0].ends_with("catalog.cedar#1"), "{all:?}");
    assert_eq!((of("nothing").holders, of("nothing").policy_ids.len()), (1, 0), "it grants nothing");
    assert_eq!((of("accord-gateway").holders, &*of("accord-gateway").policy_ids), (0, &["accord-gateway".into()][..]));
    for page_size in [1, 2, 3] {
        assert_eq!(roles(&mut root, page_size).await, all, "in pages of {page_size}");
    }
}

pub(crate) async fn pages_of_holders_of_a_role_name_each_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for number in 0..5 {
        let person = principal(&format!("person-{number}"), Kind::User, &["reader"]);
        admin(&server.auth.store).add_principal(&person, None).await.unwrap();
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRoleHoldersRequest { role: "reader".to_owned(), page_size: 2, page_token };
        let request = root.ask(request);
        let page = root.service.list_role_holders(request).await.unwrap().into_inner();
        names.extend(page.subjects);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, (0..5).map(|number| format!("person-{number}")).collect::<Vec<_>>());
}

pub(crate) async fn policies_in_force_are_listed_with_where_they_come_from(database: Database) {
    let tried = database.directory.path().join("tried.cedar");
    std::fs::write(&tried, "@id(\"tried\") forbid(principal, action, resource);").unwrap();
    let server = Server::start(&database, |config| config.policy.shadow_files = vec![tried.clone()]).await;
    let mut root = Administrator::of(&server).await;
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    let hash = loop {
        let request = root.ask(ListPoliciesRequest { page_size: 2, page_token });
        let page = root.service.list_policies(request).await.unwrap().into_inner();
        listed.extend(page.policies);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.policy_hash;
        }
    };
    let ids: BTreeSet<_> = listed.iter().map(|policy| &policy.policy_id).collect();
    assert_eq!(ids.len(), listed.len(), "each once");
    let of = |id: &str| listed.iter().find(|policy| policy.policy_id.ends_with(id)).unwrap();
    assert_eq!((&*of("accord-mesh").origin, of("accord-mesh").shadow), ("built-in", false));
    assert!(of("catalog.cedar#1").origin.ends_with("catalog.cedar"));
    assert_eq!((of("tried").shadow, &*of("tried").text), (true, ""));

    let request = root.ask(GetPolicyRequest { policy_id: "tried".to_owned() });
    let shown = root.service.get_policy(request).await.unwrap().into_inner();
    assert!(shown.policy.unwrap().text.contains("forbid") && shown.policy_hash == hash);
    let request = root.ask(GetPolicyRequest { policy_id: "another".to_owned() });
    assert_eq!(refused(root.service.get_policy(request).await), Reason::SubjectUnknown);
}

pub(crate) async fn policies_and_decisions_name_one_new_set_after_a_key_is_retired(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let request = root.ask(ListPoliciesRequest::default());
    let first = root.service.list_policies(request).await.unwrap().into_inner().policy_hash;
    let kid = server.auth.state.current().await.unwrap().published[0].kid.clone();
    server.auth.retire_key(&admin(&server.auth.store), &kid).await.unwrap();
    // Decisions from before brought passports of that key, and are made anew: they are of another set.
    let mut root = Administrator::of(&server).await;
    let request = root.ask(ListPoliciesRequest::default());
    let listed = root.service.list_policies(request).await.unwrap().into_inner().policy_hash;
    let mesh = server.mesh_token().await;
    let question = ExplainRequest {
        subject: "ada".to_owned(),
        permission: "catalog.products.read".to_owned(),
        ..ExplainRequest::default()
    };
    let explained = AccessServiceClient::new(server.channel.clone())
        .explain(authorized(question, &mesh))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(listed, first);
    assert_eq!(explained.policy_hash, listed);
}

pub(crate) async fn pages_of_sessions_name_each_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for _ in 0..5 {
        server.log_in("ada", PASSWORD).await.unwrap();
    }
    let (mut sessions, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSessionsRequest { subject: "ada".to_owned(), page_size: 2, page_token };
        let request = root.ask(request);
        let page = root.service.list_sessions(request).await.unwrap().into_inner();
        assert!(page.sessions.len() <= 2);
        sessions.extend(page.sessions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let ids: BTreeSet<_> = sessions.iter().map(|session| &session.session).collect();
    assert_eq!((sessions.len(), ids.len()), (5, 5));
    let ends: Vec<_> = sessions.iter().map(|session| session.expire_time.unwrap().seconds).collect();
    assert!(ends.is_sorted_by(|one, other| one >= other), "newest first: {ends:?}");
    let request = ListSessionsRequest { subject: "ada".to_owned(), page_token: "eHg".to_owned(), page_size: 2 };
    let request = root.ask(request);
    assert_eq!(refused(root.service.list_sessions(request).await), Reason::FieldInvalid);
}

pub(crate) async fn secret_of_a_client_is_rotated_at_its_expected_version_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let request = root.ask(AddClientRequest { client_id: "orders".to_owned(), ..AddClientRequest::default() });
    root.service.add_client(request).await.unwrap();
    let request = root.ask(ListClientKeysRequest { client_id: "orders".to_owned() });
    let seen = root.service.list_client_keys(request).await.unwrap().into_inner().version;
    let rotate = |expected_version: u64| RotateClientRequest {
        client_id: "orders".to_owned(),
        expected_version,
        ..RotateClientRequest::default()
    };
    let request = root.ask(rotate(seen));
    let rotated = root.service.rotate_client(request).await.unwrap().into_inner();
    assert!(rotated.version > seen);
    let request = root.ask(rotate(seen));
    assert_eq!(refused(root.service.rotate_client(request).await), Reason::VersionConflict, "somebody was faster");
    assert!(server.log_in_client("orders", &rotated.client_secret).await.is_ok());
    let request = root.ask(rotate(rotated.version));
    assert!(root.service.rotate_client(request).await.is_ok());
}
