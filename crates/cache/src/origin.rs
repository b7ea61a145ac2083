//! Loads from upstreams: one unary call, its bytes taken as they are, under the passport and within the time of the read
//! that started it.

mod channels;
mod raw;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Failure, Loaded, Origin, Tag};
use accord_runtime::{deadline, deadline::Deadline, fault, request, request::RequestId, tls::ClientFiles};
use accord_token::PASSPORT_HEADER;
use accord_wire::Template;
use bytes::Bytes;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use channels::{Channels, Lane};

/// How origins are called: the section `[origin]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OriginConfig {
    /// Longest time of one load, whatever its reader allows. Default: `10s`.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Largest answer taken, in bytes; a larger one is the origin's failure. Default: 4194304.
    pub max_answer_bytes: usize,
    /// Most endpoints with an open connection; the longest unused is closed for a new one. Default: 256.
    pub max_channels: usize,
    /// What `https://` endpoints are verified against, and what the cache shows to them: the section `[origin.tls]`.
    pub tls: ClientFiles,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_answer_bytes: 4 * 1024 * 1024,
            max_channels: 256,
            tls: ClientFiles::default(),
        }
    }
}

/// What one load needs.
#[derive(Clone, Debug)]
pub struct Call {
    /// The origin's endpoints.
    pub endpoints: Arc<[String]>,
    /// `/pkg.Service/Method`.
    pub path: PathAndQuery,
    /// The request message in wire form.
    pub request: Bytes,
    /// The passport under which it runs.
    pub passport: Option<AsciiMetadataValue>,
    /// When its reader leaves.
    pub deadline: Deadline,
    /// The id of the read.
    pub id: RequestId,
    /// The tags to read from the answer.
    pub answer_tags: Arc<[Template]>,
    /// The span of the read.
    pub span: Span,
}

/// Upstreams over gRPC.
#[derive(Debug)]
pub struct Upstreams {
    config: OriginConfig,
    channels: Channels,
}

impl Upstreams {
    /// Connects when first used.
    pub fn new(config: OriginConfig) -> Self {
        Self { channels: Channels::new(config.max_channels, config.tls.clone()), config }
    }

    async fn call(&self, call: &Call) -> Result<Bytes, Status> {
        let deadline = call.deadline.min(Deadline::after(self.config.timeout));
        let first = self.channels.choose(&call.endpoints, None).ok_or_else(unreachable)?;
        match self.attempt(call, &first, deadline).await {
            // A read may be repeated. It is, once, where the connection failed and not the origin: it may have been closed
            // just as the call went out.
            Err(status) if is_transport(&status) => {
                let other = self.channels.choose(&call.endpoints, Some(&first)).ok_or_else(unreachable)?;
                let again = self.attempt(call, &other, deadline).await;
                again.map_err(|status| if is_transport(&status) { unreachable() } else { status })
            }
            answer => answer,
        }
    }

    async fn attempt(&self, call: &Call, lane: &Lane, deadline: Deadline) -> Result<Bytes, Status> {
        let mut request = request::outbound(call.request.clone(), deadline, &call.id);
        if let Some(passport) = &call.passport {
            request.metadata_mut().insert(PASSPORT_HEADER, passport.clone());
        }
        let client = tonic::client::Grpc::new(lane.channel());
        let mut client = client.max_decoding_message_size(self.config.max_answer_bytes);
        let answer = async {
            client.ready().await.map_err(|error| Status::from_error(error.into()))?;
            client.unary(request, call.path.clone(), raw::RawCodec).await
        };
        match tokio::time::timeout_at(deadline.at(), answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(without_timer(status)),
            Err(_) => Err(Deadline::exceeded()),
        }
    }
}

impl Origin for Upstreams {
    type Call = Call;

    async fn load(&self, call: Call) -> Loaded {
        let span = tracing::info_span!(parent: &call.span, "load", otel.kind = "client", rpc.method = %call.path);
        match self.call(&call).instrument(span).await {
            Ok(answer) => Loaded { tags: tags(&call.answer_tags, &answer), ..Ok(answer).into() },
            Err(status) => {
                // An error tells no tag. That matters where it says something about the data, and not only about the origin.
                let tags = (call.answer_tags.is_empty() || !is_about_data(status.code())).then(Vec::new);
                Loaded { tags, ..Err(failure(&status)).into() }
            }
        }
    }
}

fn tags(templates: &[Template], answer: &[u8]) -> Option<Vec<Tag>> {
    let names = templates.iter().filter_map(|template| template.expand(&[], Some(answer)).transpose());
    let tags = names.map(|name| name.map(|name| Tag::named(&name))).collect::<Result<_, _>>();
    tags.inspect_err(|error| tracing::warn!(%error, "an answer's tags can't be read: it is not stored")).ok()
}

fn failure(status: &Status) -> Failure {
    Failure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}

fn is_about_data(code: Code) -> bool {
    !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::ResourceExhausted)
}

/// Statuses that came over the wire have no cause in this process.
fn is_transport(status: &Status) -> bool {
    status.source().is_some() && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
}

/// The channel's own timer may go off first: the answer is to be the same.
fn without_timer(status: Status) -> Status {
    if deadline::is_channel_timer(&status) { Deadline::exceeded() } else { status }
}

fn unreachable() -> Status {
    fault::status(Reason::UpstreamUnavailable, "the upstream can't be reached")
}

#[cfg(test)]
mod tests {
    use tonic::TimeoutExpired;

    use super::*;

    #[test]
    fn a_timer_of_the_channel_is_a_deadline_and_no_broken_connection() {
        let status = without_timer(Status::from_error(Box::new(TimeoutExpired(()))));
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(!is_transport(&status));
        assert_eq!(without_timer(Status::cancelled("by the origin")).code(), Code::Cancelled);
    }
}
