//! Rate limits that gateways share through a Redis nobody here wrote.

use accord_fabric::redis::{Redis, START};
use accord_fabric::{Fabric, Part, READER, Server, http::HttpCall};
use accord_test_certificates::{Authority, Identity};
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use http::Method;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};
use toml::{Table, Value};

const PATH: &str = "/v1/products";
const HOUR: Duration = Duration::from_hours(1);

/// The section of a gateway that counts there. Waiting is long, so that a loaded machine is not taken for a server that hangs.
fn section(redis: &Redis) -> Table {
    let url = redis.url();
    toml::toml! { shared_limits = { url = url, password = "secret", timeout = "5s" } }
}

/// A fabric whose gateway has these settings; a list of products may be read six times an hour.
pub(crate) async fn fabric(settings: Table) -> Result<Fabric> {
    let overlay = "tests/outside/shared_limits.toml";
    Fabric::builder()?.overlay(overlay).settings(Part::Gateway, settings).start().await
}

/// Waits until a gateway knows whether it is connected.
pub(crate) async fn connected(gateway: &mut Server, is_up: bool) -> Result<()> {
    let up = f64::from(u8::from(is_up));
    gateway.await_metric("accord_gateway_shared_limits_up", &[], |value| (value - up).abs() < 0.5).await?;
    Ok(())
}

/// The status of a call, and what it says is left.
pub(crate) async fn read(gateway: SocketAddr, token: &str) -> Result<(u16, Option<String>)> {
    // Long, so that a loaded machine takes nothing for late but what waits for a server that hangs.
    let call = HttpCall::new(gateway, Method::GET, PATH).token(token).header("request-timeout", "10");
    let answer = call.send().await?;
    Ok((answer.status.as_u16(), answer.header("ratelimit").map(str::to_owned)))
}

#[tokio::test]
async fn rate_limit_that_two_gateways_share_holds_for_both_together() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut fabric = fabric(section(&redis)).await?;
    let mut other = fabric.another(Part::Gateway)?;
    other.wait_serving().await?;
    connected(&mut fabric.gateway, true).await?;
    connected(&mut other, true).await?;
    let token = fabric.token(READER).await?;
    let both = [fabric.gateway.listen, other.listen];

    assert_eq!(read(both[0], &token).await?, (200, Some("\"principal\";r=5".to_owned())));
    assert_eq!(read(both[1], &token).await?, (200, Some("\"principal\";r=4".to_owned())));
    let answers = try_join_all((0..20).map(|call| read(both[call % 2], &token))).await?;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 4, "{answers:?}");
    let refused = HttpCall::new(both[1], Method::GET, PATH).token(&token).send().await?;
    let wait: u64 = refused.header("retry-after").context("when to come back")?.parse()?;
    assert!(refused.status == 429 && (1..=600).contains(&wait), "{wait}");
    fabric.stop().await
}

#[tokio::test]
async fn keys_of_shared_limits_end_when_all_is_given_back() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut fabric = fabric(section(&redis)).await?;
    connected(&mut fabric.gateway, true).await?;
    read(fabric.gateway.listen, &fabric.token(READER).await?).await?;
    let keys = redis.ask(&["KEYS", "*catalog.v1.ProductService/ListProducts*"]).await?;
    let key = keys.trim();
    assert_eq!(key.lines().count(), 1, "{keys}");
    assert!(
        key.starts_with("accord:{catalog.v1.ProductService/ListProducts}:principal:6/3600000ms/6:principal:"),
        "{key}"
    );
    let left: u64 = redis.ask(&["TTL", key]).await?.trim().parse()?;
    assert!((590..=600).contains(&left), "one call of six in an hour uses up ten minutes: {left}");
    fabric.stop().await
}

#[tokio::test]
async fn gateway_counts_alone_and_says_so_while_the_shared_server_is_down() -> Result<()> {
    let mut redis = Redis::plain().await?;
    let mut fabric = fabric(section(&redis)).await?;
    connected(&mut fabric.gateway, true).await?;
    let (token, gateway) = (fabric.token(READER).await?, fabric.gateway.listen);
    assert_eq!(read(gateway, &token).await?, (200, Some("\"principal\";r=5".to_owned())));

    redis.process.kill()?;
    connected(&mut fabric.gateway, false).await?;
    // What it let through before counts on: there is no second burst.
    for left in (0..5).rev() {
        assert_eq!(read(gateway, &token).await?, (200, Some(format!("\"principal\";r={left};local"))));
    }
    let refused = fabric.get(PATH).token(&token).send().await?;
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("this gateway counts alone"), "{}", refused.text());
    let alone = [("outcome", "disconnected")];
    assert!(fabric.gateway.metric("accord_gateway_shared_limits_calls_total", &alone).await? >= 6.0);
    assert!(fabric.gateway.process.log().contains("rate limits are counted by this gateway alone"));

    redis.process.restart()?;
    redis.wait_listening().await?;
    connected(&mut fabric.gateway, true).await?;
    assert_eq!(read(gateway, &token).await?, (200, Some("\"principal\";r=5".to_owned())), "the server kept nothing");
    fabric.stop().await
}

#[tokio::test]
async fn shared_server_that_hangs_is_left_alone_until_it_answers_again() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut settings = section(&redis);
    settings["shared_limits"]["timeout"] = "1s".into();
    let mut fabric = fabric(settings).await?;
    connected(&mut fabric.gateway, true).await?;
    let (token, gateway) = (fabric.token(READER).await?, fabric.gateway.listen);

    redis.process.pause()?;
    for left in ["r=5", "r=4", "r=3"] {
        assert_eq!(read(gateway, &token).await?, (200, Some(format!("\"principal\";{left};local"))));
    }
    connected(&mut fabric.gateway, false).await?;
    assert_eq!(read(gateway, &token).await?, (200, Some("\"principal\";r=2;local".to_owned())));
    let late = fabric.gateway.metric("accord_gateway_shared_limits_calls_total", &[("outcome", "timeout")]).await?;
    assert!((late - 3.0).abs() < 0.5, "three calls waited, and no more: {late}");

    redis.process.resume()?;
    connected(&mut fabric.gateway, true).await?;
    let (status, left) = read(gateway, &token).await?;
    assert!(status == 200 && left.as_deref().is_some_and(|left| !left.contains("local")), "{left:?}");
    fabric.stop().await
}

/// What a server by TLS has in its directory: `ca.pem`, its own certificate and key, and those of clients: of that authority, the same
/// after its end, and of nobody it knows.
fn write_certificates(directory: &Path) -> Result<()> {
    let (authority, names) = (Authority::named("authority"), ["localhost"]);
    fs::write(directory.join("ca.pem"), authority.pem())?;
    for (identity, cert, key) in [
        (authority.issue(&names), "cert.pem", "key.pem"),
        (authority.issue(&names), "client.pem", "client.key"),
        (authority.issue_until(&names, SystemTime::now() - HOUR), "ended.pem", "ended.key"),
        (Identity::self_signed(&names), "stranger.pem", "stranger.key"),
    ] {
        identity.write(&directory.join(cert), &directory.join(key));
    }
    fs::write(directory.join("password"), "secret\n")?;
    Ok(())
}

/// A server by TLS, which asks its clients for certificates or not.
async fn tls_server(clients: &str) -> Result<Redis> {
    Redis::start("--port 0 --tls-port", |directory| {
        write_certificates(directory.path())?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let flags = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let clients = ["--tls-auth-clients", clients];
        Ok(flags.into_iter().chain(clients).map(str::to_owned).collect())
    })
    .await
}

/// The section for it, with these files of its directory.
fn tls_section(redis: &Redis, files: &[(&str, &str)]) -> Table {
    let url = format!("rediss://localhost:{}", redis.port);
    let file = |name: &str| Value::from(redis.directory.path().join(name).display().to_string());
    let (password, tls) = (file("password"), files.iter().map(|(key, name)| ((*key).to_owned(), file(name))));
    let tls = Value::Table(tls.collect());
    toml::toml! { shared_limits = { url = url, password_file = password, timeout = "5s", tls = tls } }
}

#[tokio::test]
async fn shared_server_is_called_by_tls_and_its_certificate_is_verified() -> Result<()> {
    let redis = tls_server("no").await?;
    let mut fabric = fabric(tls_section(&redis, &[("ca_file", "ca.pem")])).await?;
    connected(&mut fabric.gateway, true).await?;
    let token = fabric.token(READER).await?;
    assert_eq!(read(fabric.gateway.listen, &token).await?, (200, Some("\"principal\";r=5".to_owned())));

    let mut wary = fabric.another_with(Part::Gateway, tls_section(&redis, &[("ca_file", "stranger.pem")]))?;
    wary.wait_serving().await?;
    let cause = "no trusted authority vouches for its certificate (invalid peer certificate";
    told(&wary, cause, "name the authority that signed it in `tls.ca_file`").await?;
    assert_eq!(read(wary.listen, &token).await?, (200, Some("\"principal\";r=5;local".to_owned())));
    fabric.stop().await
}

/// Waits until the log has this cause with this remedy.
async fn told(gateway: &Server, cause: &str, remedy: &str) -> Result<()> {
    gateway.process.await_log(START, |log| log.contains(cause)).await?;
    let log = gateway.process.log();
    assert!(log.contains(&format!("in `shared_limits`: {remedy}")), "{log}");
    Ok(())
}

#[tokio::test]
async fn shared_server_that_refuses_the_gateways_certificate_is_told_with_the_remedy() -> Result<()> {
    let redis = tls_server("yes").await?;
    let ca = ("ca_file", "ca.pem");
    let mut fabric = fabric(tls_section(&redis, &[ca])).await?;
    let remedy = "give `tls.cert_file` and `tls.key_file`";
    told(&fabric.gateway, "it accepts no caller without a certificate", remedy).await?;

    let ended = tls_section(&redis, &[ca, ("cert_file", "ended.pem"), ("key_file", "ended.key")]);
    let ended = fabric.another_with(Part::Gateway, ended)?;
    let cause = "it says that the caller's certificate is not valid at this time";
    told(&ended, cause, "renew `tls.cert_file`").await?;

    let good = tls_section(&redis, &[ca, ("cert_file", "client.pem"), ("key_file", "client.key")]);
    connected(&mut fabric.another_with(Part::Gateway, good)?, true).await?;
    fabric.stop().await
}

#[tokio::test]
async fn password_file_of_the_shared_server_is_read_again_for_the_next_connection() -> Result<()> {
    let redis = Redis::plain().await?;
    let (url, file) = (redis.url(), redis.directory.path().join("password"));
    fs::write(&file, "secret\n")?;
    let path = file.display().to_string();
    let mut fabric =
        fabric(toml::toml! { shared_limits = { url = url, password_file = path, timeout = "5s" } }).await?;
    connected(&mut fabric.gateway, true).await?;
    redis.ask(&["CONFIG", "SET", "requirepass", "x7-changed"]).await?;
    fs::write(&file, "x7-changed\n")?;
    redis.ask_as("x7-changed", &["CLIENT", "KILL", "TYPE", "normal"]).await?;
    let connections = |log: &str| log.matches("rate limits are shared").count();
    fabric.gateway.process.await_log(START, |log| connections(log) == 2).await?;
    connected(&mut fabric.gateway, true).await?;
    let log = fabric.gateway.process.log();
    assert!(!log.contains("WRONGPASS") && !log.contains("x7-changed"), "{log}");
    fabric.stop().await
}

#[tokio::test]
async fn wrong_password_of_the_shared_server_is_said_and_not_shown() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut settings = section(&redis);
    settings["shared_limits"]["password"] = "another-one".into();
    let fabric = fabric(settings).await?;
    let (status, left) = read(fabric.gateway.listen, &fabric.token(READER).await?).await?;
    assert_eq!((status, left.as_deref()), (200, Some("\"principal\";r=5;local")));
    fabric.gateway.process.await_log(START, |log| log.contains("WRONGPASS")).await?;
    assert!(!fabric.gateway.process.log().contains("another-one"));
    fabric.stop().await
}
