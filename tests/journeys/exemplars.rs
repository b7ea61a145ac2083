//! Exemplars: the durations of calls name sampled traces, for scrapers that ask for `OpenMetrics`.

use accord_fabric::{Fabric, READER, http::HttpCall};
use anyhow::{Result, ensure};
use http::Method;

const SAMPLED: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Nobody listens there. Which calls are sampled does not depend on that.
const COLLECTOR: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn durations_name_sampled_traces_alone_and_to_scrapers_of_openmetrics_alone() -> Result<()> {
    let fabric = Fabric::builder()?.otlp(COLLECTOR).start().await?;
    let token = fabric.token(READER).await?;
    for (trace, flags) in [(SAMPLED, "01"), (UNSAMPLED, "00")] {
        let parent = format!("00-{trace}-b7ad6b7169203331-{flags}");
        fabric.get("/v1/products/none").token(&token).header("traceparent", &parent).send().await?;
    }
    let scraped = async |accept: &str| {
        let answer =
            HttpCall::new(fabric.gateway.admin, Method::GET, "/metrics").header("accept", accept).send().await?;
        anyhow::Ok((answer.header("content-type").unwrap_or_default().to_owned(), answer.text()))
    };
    let (kind, text) = scraped("application/openmetrics-text").await?;
    ensure!(kind.starts_with("application/openmetrics-text; version=1.0.0") && text.ends_with("# EOF\n"), "{kind}");
    let exemplar = format!("# {{trace_id=\"{SAMPLED}\"");
    let named: Vec<_> = text.lines().filter(|line| line.contains(&exemplar)).collect();
    ensure!(!named.is_empty() && !text.contains(UNSAMPLED), "{named:?}");
    let is_duration = |line: &&str| line.starts_with("rpc_server_call_duration_seconds_bucket{");
    ensure!(named.iter().all(is_duration), "{named:?}");
    let (kind, text) = scraped("text/plain").await?;
    ensure!(kind.starts_with("text/plain") && !text.contains("trace_id"), "{kind}");
    fabric.stop().await
}
