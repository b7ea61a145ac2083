//! Keys of clients, as administrators change them over the network.

use accord_api::accord::{
    auth::v1::{
        AddClientKeyRequest, AddClientRequest, ListClientKeysRequest, ListClientKeysResponse, RemoveClientKeyRequest,
        RotateClientKeysRequest,
    },
    fault::v1::Reason,
};
use accord_auth::domain::admin::{MAX_CLIENT_KEYS, read_client_keys};
use accord_token::Kind;

use super::{
    Database, Server, admin,
    admin_service::Administrator,
    client_keys::{good, is_refused, show, with_mill},
    forge::{Forge, key_set},
    principal, refused,
};

/// The keys of `mill` as an administrator sees them.
async fn listed(root: &mut Administrator) -> ListClientKeysResponse {
    let request = root.ask(ListClientKeysRequest { client_id: "mill".to_owned() });
    root.service.list_client_keys(request).await.unwrap().into_inner()
}

fn names(listed: &ListClientKeysResponse) -> Vec<&str> {
    listed.keys.iter().map(|key| &*key.key_id).collect()
}

fn add_key(key: &Forge, version: u64) -> AddClientKeyRequest {
    AddClientKeyRequest {
        client_id: "mill".to_owned(),
        jwk: key.jwk.to_string(),
        expected_version: version,
        idempotency_key: String::new(),
    }
}

fn remove_key(key_id: &str, version: u64) -> RemoveClientKeyRequest {
    RemoveClientKeyRequest {
        client_id: "mill".to_owned(),
        key_id: key_id.to_owned(),
        expected_version: version,
        idempotency_key: String::new(),
    }
}

fn rotate_keys(keys: &[&Forge], version: u64) -> RotateClientKeysRequest {
    RotateClientKeysRequest {
        client_id: "mill".to_owned(),
        jwks: key_set(keys),
        expected_version: version,
        ..RotateClientKeysRequest::default()
    }
}

pub(crate) async fn client_is_added_with_keys_that_change_over_the_network(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let (first, second, third) = (Forge::ed25519("first"), Forge::p256("second"), Forge::ed25519("third"));
    let jwks = key_set(&[&first]);
    let add = AddClientRequest { client_id: "mill".to_owned(), jwks, ..AddClientRequest::default() };
    assert_eq!(root.service.add_client(root.ask(add)).await.unwrap().into_inner().client_secret, "");
    assert_eq!(show(&server, &good(&first)).await.status, 200);

    let added = root.service.add_client_key(root.ask(add_key(&second, 0))).await.unwrap().into_inner();
    assert_eq!(added.key.unwrap().algorithm, "ES256");
    assert_eq!(names(&listed(&mut root).await), ["first", "second"]);
    assert_eq!(show(&server, &good(&second)).await.status, 200);

    root.service.remove_client_key(root.ask(remove_key("first", 0))).await.unwrap();
    is_refused(&show(&server, &good(&first)).await);

    root.service.rotate_client_keys(root.ask(rotate_keys(&[&third], 0))).await.unwrap();
    let keys = listed(&mut root).await.keys;
    assert!(keys.iter().any(|key| key.key_id == "second" && key.expire_time.is_some()), "{keys:?}");
    assert!(keys.iter().any(|key| key.key_id == "third" && key.expire_time.is_none()), "{keys:?}");
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    for action in ["client.add", "client.key.add", "client.key.remove", "client.keys"] {
        assert!(entries.iter().any(|entry| entry.action == action && entry.actor == "root"), "{action}");
    }
}

pub(crate) async fn keys_of_another_version_than_was_seen_are_not_changed(database: Database) {
    let (server, first) = with_mill(&database).await;
    let mut root = Administrator::of(&server).await;
    let (seen, second) = (listed(&mut root).await.version, Forge::p256("second"));
    let version = root.service.add_client_key(root.ask(add_key(&second, seen))).await.unwrap().into_inner().version;
    assert!(version > seen);
    let third = Forge::ed25519("third");
    let added = root.service.add_client_key(root.ask(add_key(&third, seen))).await;
    assert_eq!(refused(added), Reason::VersionConflict);
    let removed = root.service.remove_client_key(root.ask(remove_key("first", seen))).await;
    assert_eq!(refused(removed), Reason::VersionConflict);
    let rotated = root.service.rotate_client_keys(root.ask(rotate_keys(&[&third], seen))).await;
    assert_eq!(refused(rotated), Reason::VersionConflict);
    assert_eq!(names(&listed(&mut root).await), ["first", "second"]);
    // A client that comes again under the name is not the one that was seen.
    admin(&server.auth.store).remove("mill").await.unwrap();
    let mill = principal("mill", Kind::Service, &[]);
    let keys = read_client_keys(key_set(&[&first]).as_bytes()).unwrap();
    admin(&server.auth.store).add_client_with_keys(&mill, &keys).await.unwrap();
    let removed = root.service.remove_client_key(root.ask(remove_key("first", version))).await;
    assert_eq!(refused(removed), Reason::VersionConflict);
}

pub(crate) async fn key_changes_repeated_with_their_idempotency_key_happen_once(database: Database) {
    let (server, _) = with_mill(&database).await;
    let mut root = Administrator::of(&server).await;
    let second = Forge::p256("second");
    let idempotent = AddClientKeyRequest { idempotency_key: "k1".to_owned(), ..add_key(&second, 0) };
    let first = root.service.add_client_key(root.ask(idempotent.clone())).await.unwrap().into_inner();
    let again = root.service.add_client_key(root.ask(idempotent)).await.unwrap().into_inner();
    assert_eq!(again, first);
    let idempotent = RemoveClientKeyRequest { idempotency_key: "k2".to_owned(), ..remove_key("second", 0) };
    for _ in 0..2 {
        root.service.remove_client_key(root.ask(idempotent.clone())).await.unwrap();
    }
    let unknown = root.service.remove_client_key(root.ask(remove_key("second", 0))).await;
    assert_eq!(refused(unknown), Reason::SubjectUnknown);
}

pub(crate) async fn key_over_the_network_that_no_client_can_have_is_refused(database: Database) {
    let (server, first) = with_mill(&database).await;
    let mut root = Administrator::of(&server).await;
    let mut private = Forge::ed25519("second");
    private.jwk["d"] = "c2VjcmV0".into();
    let two = format!("{},{}", Forge::ed25519("a").jwk, Forge::ed25519("b").jwk);
    let other = Forge::ed25519("first").jwk.to_string();
    for jwk in ["", "{}", "[]", &two, &other, &private.jwk.to_string()] {
        let request = AddClientKeyRequest { jwk: jwk.to_owned(), ..add_key(&first, 0) };
        assert_eq!(refused(root.service.add_client_key(root.ask(request)).await), Reason::FieldInvalid, "{jwk}");
    }
    for number in 1..MAX_CLIENT_KEYS {
        let key = Forge::ed25519(&number.to_string());
        root.service.add_client_key(root.ask(add_key(&key, 0))).await.unwrap();
    }
    let many = root.service.add_client_key(root.ask(add_key(&Forge::ed25519("many"), 0))).await;
    assert_eq!(refused(many), Reason::FieldInvalid);
}
