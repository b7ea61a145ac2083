//! The end of a process is not the end of a call.

use crate::create;
use accord_api::catalog::v1::WatchProductsRequest;
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use std::time::Duration;
use tonic::Request;

#[tokio::test]
async fn a_call_in_flight_ends_before_the_gateway_does() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let mut request = Request::new(WatchProductsRequest::default());
    request.set_timeout(Duration::from_secs(2));
    let mut stream = fabric.products(&token)?.watch_products(request).await?.into_inner();
    assert!(stream.message().await?.is_some());

    let reading = tokio::spawn(async move { stream.message().await });
    let status = fabric.gateway.process.terminate(Duration::from_secs(10)).await?;
    assert!(status.success(), "{status}");
    // Its own deadline ended it, and not the process.
    assert_eq!(reading.await?.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    Ok(())
}
