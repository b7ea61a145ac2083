//! Slow loads of one method take nothing from hits and writes of another, and nobody makes the cache call an address that
//! it was not configured with.

use crate::{
    call::{CallResult, Protocol, RowCall},
    contract,
    reply::{Reply, Wait},
    upstream::{Endpoint, Upstream},
};
use accord_api::accord::{
    auth::v1::{ClientCredentialsGrant, IssueRequest, issue_request::Grant, token_service_client::TokenServiceClient},
    cache::v1::{Plan, ReadRequest, read_through_service_client::ReadThroughServiceClient},
    policy::v1::Cache,
};
use accord_fabric::{Bearer, Fabric};
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures_util::future::try_join_all;
use prost::Message;
use std::{fs, time::Duration};
use tokio::net::TcpListener;
use tonic::Code;
use tonic_types::StatusExt;

/// More than fit on one HTTP/2 connection of the cache.
const LOADS: usize = 120;

#[tokio::test]
async fn slow_loads_of_one_method_delay_neither_hits_nor_invalidations_of_another() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (mut builder, mut upstreams) = (Fabric::builder()?, Vec::new());
    for service in ["slow", "quick"] {
        let upstream = Upstream::start(&contract::package(service), &[Endpoint::Serves])?;
        builder = contract::put_behind(builder, &directory, service, "", 2, &upstream)?;
        upstreams.push(upstream);
    }
    let [slow, quick] = <[_; 2]>::try_from(upstreams).ok().context("two upstreams")?;
    let fabric = builder.start().await?;
    say(&fabric, "quick", "Cached", "hit").await?;

    slow.script(vec![Reply::text("loaded").after(Wait::Barrier); LOADS]);
    let texts: Vec<_> = (0..LOADS).map(|load| load.to_string()).collect();
    let loads = try_join_all(texts.iter().map(|text| say(&fabric, "slow", "Cached", text)));
    let beside = async {
        beside_held_loads(&fabric, &slow, &quick).await?;
        slow.release(LOADS);
        anyhow::Ok(())
    };
    let (loads, ()) = tokio::try_join!(loads, beside)?;
    ensure!(loads.iter().all(|load| load.code == Ok(Code::Ok)), "a load that was held does not end well: {loads:?}");
    fabric.stop().await
}

/// While all loads are held at the upstream, a hit and an invalidating write come and go.
async fn beside_held_loads(fabric: &Fabric, slow: &Upstream, quick: &Upstream) -> Result<()> {
    slow.until_called(LOADS).await?;
    let before = quick.called();
    let hit = say(fabric, "quick", "Cached", "hit").await?;
    ensure!(hit.code == Ok(Code::Ok) && quick.called() == before, "no hit: {hit:?}");
    let write = say(fabric, "quick", "Change", "hit").await?;
    ensure!(write.code == Ok(Code::Ok) && write.header("x-accord-invalidation").is_none(), "deferred: {write:?}");
    say(fabric, "quick", "Cached", "hit").await?;
    ensure!(quick.called() == before + 2, "the write did not invalidate");
    Ok(())
}

async fn say(fabric: &Fabric, service: &str, method: &str, text: &str) -> Result<CallResult> {
    let method = format!("{}.PathService/{method}", contract::package(service));
    let call = RowCall { method, text: text.to_owned(), headers: Vec::new(), timeout: Some(Duration::from_secs(25)) };
    call.send(fabric, Protocol::Grpc).await
}

#[tokio::test]
async fn plan_that_names_an_address_makes_the_cache_call_nothing() -> Result<()> {
    let fabric = Fabric::start().await?;
    let stranger = TcpListener::bind("127.0.0.1:0").await?;
    // Everything that a gateway may: only the upstream is the caller's own.
    let grant = ClientCredentialsGrant {
        client_id: "gateway".to_owned(),
        client_secret: secret(&fabric)?,
        ..ClientCredentialsGrant::default()
    };
    let issue = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
    let token = TokenServiceClient::new(fabric.auth.channel()?).issue(issue).await?.into_inner().access_token;
    let mut cache = ReadThroughServiceClient::with_interceptor(fabric.cache.channel()?, Bearer::new(&token)?);
    let address = stranger.local_addr()?;
    for upstream in [format!("http://{address}"), address.to_string()] {
        tokio::select! {
            biased;
            _connection = stranger.accept() => bail!("the cache connects to {upstream}"),
            // Whatever the cache does with it, it has done when it answers.
            answer = cache.read(read_from(upstream.clone())) => {
                let refusal = answer.err().with_context(|| format!("{upstream} is no upstream"))?;
                let reason = refusal.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                ensure!((refusal.code(), &*reason) == (Code::FailedPrecondition, "UPSTREAM_UNKNOWN"), "{refusal:?}");
            }
        }
    }
    fabric.stop().await
}

/// A read under a plan of its own.
fn read_from(upstream: String) -> ReadRequest {
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let plan = Plan {
        method: "quick.v1.PathService/Cached".to_owned(),
        upstream,
        cache: Some(Cache { ttl: Some(second), ..Cache::default() }),
        max_response_bytes: 1000,
        load_timeout: Some(second),
        ..Plan::default()
    };
    let plan = Bytes::from(plan.encode_to_vec());
    let plan_digest = Bytes::copy_from_slice(digest(&SHA256, &plan).as_ref());
    ReadRequest { plan_digest, plan, key: Bytes::from_static(b"any"), ..ReadRequest::default() }
}

fn secret(fabric: &Fabric) -> Result<String> {
    let path = fabric.directory().join("secret").join("gateway");
    Ok(fs::read_to_string(&path).with_context(|| format!("no secret in {}", path.display()))?.trim().to_owned())
}
