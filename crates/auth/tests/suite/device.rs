//! The device authorization grant (RFC 8628): codes, the page where people approve them, and what devices are given.

use std::{
    cell::Cell,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use accord_auth::config::Config;
use serde_json::Value;
use sqlx::Connection as _;

use super::{
    Database, PASSWORD, Server, admin,
    http::{Answer, get, post},
};

const AUTHORIZATION: &str = "/oauth2/device_authorization";
const PAGE: &str = "/oauth2/device";
const CLIENT: (&str, &str) = ("client_id", "shop-cli");
const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");

fn with_device(config: &mut Config) {
    config.oauth.device.clients = vec!["shop-cli".to_owned(), "other-cli".to_owned()];
}

/// The same where devices may ask as often as they like: what is tested is not how often.
pub(super) fn impatient(config: &mut Config) {
    with_device(config);
    config.oauth.device.interval = Duration::ZERO;
}

/// What a device shows, and what it asks with.
pub(super) struct Device<'a> {
    server: &'a Server,
    pub(super) user_code: String,
    code: String,
}

impl<'a> Device<'a> {
    pub(super) async fn start(server: &'a Server) -> Self {
        let answer = post(server.address, AUTHORIZATION, &[], &[CLIENT]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { server, user_code: answer.text("user_code"), code: answer.text("device_code") }
    }

    async fn poll_as(&self, server: &Server, client: &str) -> Answer {
        let form = [GRANT, ("client_id", client), ("device_code", &self.code)];
        post(server.address, "/oauth2/token", &[], &form).await
    }

    pub(super) async fn poll(&self) -> Answer {
        self.poll_as(self.server, "shop-cli").await
    }

    /// What the page answers somebody who proves who they are.
    pub(super) async fn prove(&self, name: &str, password: &str) -> Answer {
        prove(self.server, &self.user_code, name, password).await
    }

    pub(super) async fn decide(&self, ticket: &str, decision: &str) -> Answer {
        post(self.server.address, PAGE, &[], &[("ticket", ticket), ("decision", decision)]).await
    }
}

async fn prove(server: &Server, user_code: &str, name: &str, password: &str) -> Answer {
    let form = [("user_code", user_code), ("name", name), ("password", password)];
    post(server.address, PAGE, &[], &form).await
}

/// What stands in the page, good for one decision.
pub(super) fn ticket(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{page:?}");
    let (_, rest) = page.body.split_once("name=\"ticket\" value=\"").unwrap_or_else(|| panic!("no ticket: {page:?}"));
    rest.split('"').next().unwrap().to_owned()
}

pub(super) fn error(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

pub(crate) async fn device_gets_tokens_once_its_person_has_allowed_it(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
    let page = device.prove("ada", PASSWORD).await;
    assert!(page.body.contains("<b>shop-cli</b> wants to act for you") && page.body.contains("127.0.0.1"), "{page:?}");
    let asked = format!("Does your device show <b>{}</b>?", device.user_code);
    assert!(page.body.contains("logged in as <b>ada</b>") && page.body.contains(&asked), "{page:?}");
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"), "nobody has decided");
    assert_eq!(device.decide(&ticket(&page), "allow").await.status, 200);
    let given = device.poll().await;
    assert!(server.is_active(&given.text("access_token")).await);
    let refreshed = [("grant_type", "refresh_token"), ("refresh_token", &*given.text("refresh_token"))];
    assert_eq!(post(server.address, "/oauth2/token", &[], &refreshed).await.status, 200);
    assert_eq!(device.poll().await.error(), error(400, "invalid_grant"), "it is good once");
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert!(entries.iter().any(|entry| entry.action == "device.approve" && entry.target == "ada shop-cli"));
}

pub(crate) async fn device_whose_person_denies_it_gets_nothing(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    let ticket = ticket(&device.prove("ada", PASSWORD).await);
    assert_eq!(device.decide(&ticket, "deny").await.status, 200);
    assert_eq!(device.poll().await.error(), error(400, "access_denied"));
    assert_eq!(device.decide(&ticket, "allow").await.status, 400, "a ticket is good once");
    assert_eq!(device.poll().await.error(), error(400, "access_denied"));
}

pub(crate) async fn device_code_is_its_clients_alone_at_every_replica(database: Database) {
    let [server, replica] = Server::replicas(&database, impatient).await;
    let device = Device::start(&server).await;
    let ticket = ticket(&device.prove("ada", PASSWORD).await);
    assert_eq!(device.decide(&ticket, "allow").await.status, 200);
    assert_eq!(device.poll_as(&replica, "other-cli").await.error(), error(400, "invalid_grant"));
    let answers = futures_util::future::join_all((0..8).map(|_| device.poll_as(&replica, "shop-cli"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

pub(crate) async fn client_that_is_configured_no_more_gets_nothing_for_its_codes(database: Database) {
    let is_first = Cell::new(true);
    let [server, replica] = Server::replicas(&database, |config| {
        impatient(config);
        if !is_first.replace(false) {
            config.oauth.device.clients = vec!["other-cli".to_owned()];
        }
    })
    .await;
    let device = Device::start(&server).await;
    let refused = prove(&replica, &device.user_code, "ada", PASSWORD).await;
    assert!(refused.status == 400 && refused.body.contains("is not one that waits"), "{refused:?}");
    let ticket = ticket(&device.prove("ada", PASSWORD).await);
    assert_eq!(device.decide(&ticket, "allow").await.status, 200);
    assert_eq!(device.poll_as(&replica, "shop-cli").await.error(), error(400, "unauthorized_client"));
    assert_eq!(device.poll().await.status, 200);
}

pub(crate) async fn decision_without_its_ticket_waits_for_no_other_change(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    device.prove("ada", PASSWORD).await;
    let other = server.auth.store.begin().await.unwrap();
    let form = [("user_code", &*device.user_code), ("ticket", "a guess"), ("decision", "allow")];
    assert_eq!(post(server.address, PAGE, &[], &form).await.status, 400);
    drop(other);
}

pub(crate) async fn device_that_asks_too_often_is_told_to_slow_down(database: Database) {
    let server = Server::start(&database, |config| {
        with_device(config);
        config.oauth.device.interval = Duration::from_mins(1);
    })
    .await;
    let device = Device::start(&server).await;
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
    assert_eq!(device.poll().await.error(), error(400, "slow_down"));
    assert_eq!(device.poll().await.error(), error(400, "slow_down"));
}

/// As if the device had last been answered this long ago.
async fn answered_before(database: &Database, ago: Duration) {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().checked_sub(ago).unwrap();
    let moved = sqlx::query("UPDATE device_codes SET polled_at = $1").bind(i64::try_from(at.as_millis()).unwrap());
    assert_eq!(moved.execute(&mut connection).await.unwrap().rows_affected(), 1);
}

pub(crate) async fn interval_of_a_device_that_asks_too_often_grows(database: Database) {
    let server = Server::start(&database, |config| {
        with_device(config);
        config.oauth.device.interval = Duration::from_secs(30);
    })
    .await;
    let device = Device::start(&server).await;
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
    answered_before(&database, Duration::from_secs(31)).await;
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
    for _ in 0..2 {
        assert_eq!(device.poll().await.error(), error(400, "slow_down"));
    }
    answered_before(&database, Duration::from_secs(31)).await;
    assert_eq!(device.poll().await.error(), error(400, "slow_down"), "30 s are no longer enough");
    answered_before(&database, Duration::from_secs(46)).await;
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
}

pub(crate) async fn interval_that_is_told_is_no_shorter_than_the_one_that_is_kept(database: Database) {
    let server = Server::start(&database, |config| {
        with_device(config);
        config.oauth.device.interval = Duration::from_millis(1_500);
    })
    .await;
    let answer = post(server.address, AUTHORIZATION, &[], &[CLIENT]).await;
    assert_eq!(answer.json()["interval"], 2);
}

pub(crate) async fn device_code_that_has_ended_is_expired_and_not_approved(database: Database) {
    let server = Server::start(&database, |config| {
        impatient(config);
        config.oauth.device.lifetime = Duration::ZERO;
    })
    .await;
    let device = Device::start(&server).await;
    assert_eq!(device.poll().await.error(), error(400, "expired_token"));
    assert_eq!(device.prove("ada", PASSWORD).await.status, 400);
    server.auth.store.purge_device_codes(i64::MAX).await.unwrap();
    assert_eq!(device.poll().await.error(), error(400, "invalid_grant"));
}

pub(crate) async fn user_code_is_told_from_a_wrong_one_to_nobody_without_the_password(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    let (right, wrong) = (device.prove("ada", "a guess").await, prove(&server, "BCDF-GHJK", "ada", "a guess").await);
    assert_eq!((right.status, wrong.status), (401, 401));
    assert_eq!(right.body.replace(&device.user_code, ""), wrong.body.replace("BCDF-GHJK", ""));
}

pub(crate) async fn guesses_of_user_codes_are_throttled_and_right_ones_bring_no_more(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    // Counted without a password to check, which on a busy machine takes longer than the first wait lasts.
    let home: IpAddr = [127, 0, 0, 1].into();
    for _ in 0..4 {
        server.auth.throttle.count_attempt("ada (device codes)", home).unwrap();
    }
    ticket(&device.prove("ada", PASSWORD).await);
    assert_eq!(prove(&server, "BCDF-GHJK", "ada", PASSWORD).await.status, 400);
    assert!(server.auth.throttle.count_attempt("ada (device codes)", home).is_err(), "nor did the right one help");
    assert!(server.log_in("ada", PASSWORD).await.is_ok(), "logins are counted apart");
}

pub(crate) async fn approval_falls_with_the_logins_of_its_person(database: Database) {
    let server = Server::start(&database, impatient).await;
    for revokes_everything in [false, true] {
        let device = Device::start(&server).await;
        let ticket = ticket(&device.prove("ada", PASSWORD).await);
        assert_eq!(device.decide(&ticket, "allow").await.status, 200);
        let admin = admin(&server.auth.store);
        if revokes_everything {
            admin.revoke_everything().await.unwrap();
        } else {
            admin.revoke_subject("ada").await.unwrap();
        }
        assert_eq!(device.poll().await.error(), error(400, "invalid_grant"), "{revokes_everything}");
    }
}

pub(crate) async fn one_address_gets_half_of_the_codes_that_may_wait(database: Database) {
    let server = Server::start(&database, |config| {
        impatient(config);
        config.oauth.device.max_pending = 4;
    })
    .await;
    let first = Device::start(&server).await;
    Device::start(&server).await;
    let refused = post(server.address, AUTHORIZATION, &[], &[CLIENT]).await;
    assert_eq!((refused.error(), refused.header("retry-after")), (error(429, "temporarily_unavailable"), Some("60")));
    // What is decided about waits no more.
    let ticket = ticket(&first.prove("ada", PASSWORD).await);
    assert_eq!(first.decide(&ticket, "deny").await.status, 200);
    Device::start(&server).await;
}

pub(crate) async fn client_that_is_not_configured_gets_no_code(database: Database) {
    let server = Server::start(&database, with_device).await;
    let refused = post(server.address, AUTHORIZATION, &[], &[("client_id", "nobody")]).await;
    assert_eq!(refused.error(), error(400, "unauthorized_client"));
    let scope = post(server.address, AUTHORIZATION, &[], &[CLIENT, ("scope", "catalog.products.read")]).await;
    assert_eq!(scope.error(), error(400, "invalid_scope"));
    let metadata = get(server.address, "/.well-known/oauth-authorization-server").await;
    assert!(metadata.text("device_authorization_endpoint").ends_with(AUTHORIZATION));
    let grants = metadata.json()["grant_types_supported"].clone();
    assert!(grants.as_array().unwrap().contains(&Value::from(GRANT.1)));
}

pub(crate) async fn without_configured_clients_there_is_no_device_grant(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let refused = post(server.address, AUTHORIZATION, &[], &[CLIENT]).await;
    assert_eq!(refused.error(), error(400, "unauthorized_client"));
    let metadata = get(server.address, "/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["device_authorization_endpoint"], Value::Null);
    assert_eq!(get(server.address, PAGE).await.status, 404);
    let hashed = server.auth.passwords.hashed();
    assert_eq!(prove(&server, "BCDF-GHJK", "ada", PASSWORD).await.status, 404);
    assert_eq!(server.auth.passwords.hashed(), hashed, "no password was looked at");
}

pub(crate) async fn page_is_kept_nowhere_and_shown_in_no_frame(database: Database) {
    let server = Server::start(&database, with_device).await;
    let page = get(server.address, &format!("{PAGE}?user_code=WDJB-MJHT")).await;
    assert!(page.body.contains("value=\"WDJB-MJHT\""), "{page:?}");
    assert!(page.body.contains("action=\"device\""), "the page may be below a path: {page:?}");
    for (header, value) in
        [("cache-control", "no-store"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(page.header(header), Some(value));
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

pub(crate) async fn device_is_refused_while_the_store_is_down(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    let ticket = ticket(&device.prove("ada", PASSWORD).await);
    server.auth.store.close().await;
    let again = post(server.address, AUTHORIZATION, &[], &[CLIENT]).await;
    assert_eq!(again.error(), error(503, "temporarily_unavailable"));
    assert_eq!(device.poll().await.error(), error(503, "temporarily_unavailable"));
    let page = device.prove("ada", PASSWORD).await;
    assert_eq!((page.status, page.header("retry-after")), (503, Some("1")));
    assert_eq!(device.decide(&ticket, "allow").await.status, 503);
}
