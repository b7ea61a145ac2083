//! Asks an agent, and takes over what it hands out, for as long as somebody wants it.

use std::{convert::Infallible, sync::Arc, thread, time::Duration};

use accord_api::spiffe::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, metadata::MetadataValue, transport::Endpoint};

use super::{
    Shared, Source,
    error::{Problem, WorkloadApiError},
    svid::Svid,
};
use crate::backoff::Backoff;

/// How long a connection, and the first answer on it, may take: the agent is on this node, and has both at hand.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses between attempts, and how much of them is left to chance. A workload that was registered just now is soon known.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;

/// Begins to ask.
pub(super) fn start(address: String) -> Result<Source, WorkloadApiError> {
    let (shared, asking) = (Arc::new(Shared::new(address)), CancellationToken::new());
    let (asked, ended) = (Arc::clone(&shared), asking.clone());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ask = move || _ = runtime.block_on(ended.run_until_cancelled(follow(&asked)));
    thread::Builder::new().name("workload-api".to_owned()).spawn(ask)?;
    Ok(Source { shared, _asking: asking.drop_guard() })
}

async fn follow(shared: &Shared) -> Infallible {
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE, JITTER);
    loop {
        let Err(problem) = fetch(shared, &mut backoff).await;
        shared.failed(problem);
        // An agent that is away says nothing when it is back.
        sleep(backoff.next_wait()).await;
    }
}

/// Takes over one answer after the other, until there are no more.
async fn fetch(shared: &Shared, backoff: &mut Backoff) -> Result<Infallible, Problem> {
    let unreachable = |error: tonic::transport::Error| Problem::Unreachable(innermost(&error));
    let endpoint = Endpoint::from_shared(shared.address.clone()).map_err(unreachable)?;
    let connecting = timeout(ANSWER_TIMEOUT, endpoint.connect());
    let channel = connecting.await.map_err(|_| Problem::Silent)?.map_err(unreachable)?;
    let mut request = Request::new(X509svidRequest {});
    // Without it an agent refuses: what makes requests on behalf of others can't add it (SPIFFE Workload Endpoint, section 5).
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut client = SpiffeWorkloadApiClient::new(channel);
    let answers = timeout(ANSWER_TIMEOUT, client.fetch_x509svid(request)).await;
    let mut answers = answers.map_err(|_| Problem::Silent)??.into_inner();
    let mut within = (ANSWER_TIMEOUT, Problem::Silent);
    loop {
        let answer = timeout(within.0, answers.message()).await.map_err(|_| within.1)??;
        let svid = Svid::read(answer.ok_or(Problem::Gone)?)?;
        // The next one comes before this one ends, or something is wrong that asking anew may mend.
        within = (svid.life().max(ANSWER_TIMEOUT), Problem::NotRenewed);
        shared.replace(svid);
        backoff.reset();
    }
}

/// What the system said: the errors around it say that there was one.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
