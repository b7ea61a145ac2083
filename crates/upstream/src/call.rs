//! One call, described plainly: what goes out, its deadline, what may come back, its retries.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_runtime::call_record::CallRecord;
use accord_runtime::deadline::Deadline;
use accord_runtime::fair_share::{FairShare, Held, Holder};
use accord_runtime::request::RequestId;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use tonic::{Code, Status};

use crate::adaptive_limit::TimedMethod;
use crate::budget::Budget;
use crate::failure::Failure;

/// Counts the attempts before this one; a call that carries it is retried by whoever sent it, and not here as well (gRFC A6).
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// When a failed call may be repeated; a negative value says never (gRFC A6).
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A call to an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `/pkg.Service/Method`.
    pub path: &'a PathAndQuery,
    /// The metadata that goes along, beside what every hop sets anew: deadline, request id and trace.
    pub metadata: &'a HeaderMap,
    /// By when the answer's head has to be there; for a unary call, all of the answer.
    pub deadline: Deadline,
    /// The id of the request that it is made for.
    pub id: &'a RequestId,
    /// Where attempts are counted for the access log; none where nobody keeps one.
    pub record: Option<&'a CallRecord>,
    /// The largest message of the answer in bytes.
    pub max_response_bytes: u64,
    /// How often it may be tried, where that is more than once. None for a call that brings [`PREVIOUS_ATTEMPTS`]: whoever
    /// sent it repeats it, and at two places attempts would multiply.
    pub retries: Option<&'a Retries>,
    /// On whose behalf it is made, where callers share what there is.
    pub caller: Option<Caller<'a>>,
    /// What is shed first where the upstream is overloaded.
    pub criticality: Criticality,
    /// The method, where the time to the head of its answer tells how loaded the upstream is: unary ones.
    pub timed: Option<TimedMethod>,
}

/// A caller that holds no more than its share of what there is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it is.
    pub holder: Holder,
    /// The bytes that answers may have in memory; none where nobody counts them.
    pub memory: Option<&'a FairShare>,
}

impl Call<'_> {
    pub(crate) fn holder(&self) -> Option<Holder> {
        self.caller.map(|caller| caller.holder)
    }

    /// What an answer of it has in memory: nothing yet.
    pub(crate) fn held(&self) -> Option<Held> {
        let Caller { holder, memory } = self.caller?;
        Some(memory?.nothing(Some(holder)))
    }
}

/// How often a call may be tried.
#[derive(Clone, Debug)]
pub struct Retries {
    /// Attempts in all.
    pub max_attempts: u32,
    /// The codes after which there is another.
    pub on: Arc<[Code]>,
    /// Where it is set, another attempt starts beside one that has taken this long.
    pub hedge_after: Option<Duration>,
    /// How long an attempt may take that another one may follow.
    pub attempt_timeout: Option<Duration>,
    /// What is left for repeating: shared by all calls of a method.
    pub budget: Arc<Budget>,
}

/// What a handler said to a unary call.
#[derive(Debug)]
pub struct Answer {
    /// The initial metadata.
    pub head: HeaderMap,
    /// The message, or the handler's own error.
    pub result: Result<Bytes, Status>,
    /// The trailing metadata, without the status.
    pub trailers: HeaderMap,
    /// Whether it had one block of metadata alone, which stands in `head` (gRPC over HTTP/2, "Trailers-Only").
    pub is_trailers_only: bool,
    /// Its bytes in memory, where they are counted.
    pub held: Option<Held>,
}

impl Answer {
    /// An answer without metadata.
    pub fn new(result: Result<Bytes, Status>) -> Self {
        let is_trailers_only = result.is_err();
        Self { head: HeaderMap::new(), result, trailers: HeaderMap::new(), is_trailers_only, held: None }
    }

    /// The code that the handler ended with.
    pub fn code(&self) -> Code {
        self.result.as_ref().map_or_else(Status::code, |_| Code::Ok)
    }
}

/// What came of a call, and whether an attempt before the last may have been carried out as well.
#[derive(Debug)]
pub struct Outcome {
    /// The last attempt's answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// Whether an earlier attempt ended so that the upstream may have acted on it.
    pub may_have_acted_before: bool,
}

impl Outcome {
    pub(crate) fn only(result: Result<Answer, Failure>) -> Self {
        Self { result, may_have_acted_before: false }
    }

    /// The code that the call ended with, whoever says it.
    pub fn code(&self) -> Code {
        self.result.as_ref().map_or_else(Failure::code, Answer::code)
    }
}
