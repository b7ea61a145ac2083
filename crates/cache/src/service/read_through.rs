//! Reads: admitted, keyed by whose they are, and answered by the engine.

use std::pin::pin;
use std::time::Duration;

use accord_api::accord::cache::v1::{
    self as api, AnswerTag, ReadRequest, ReadResponse, answer_tag, consistency, read_response::Result as Said,
    read_through_service_server::ReadThroughService,
};
use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::{Cache, CacheScope};
use accord_readthrough::{
    Answer, Audience, ConsistencyRequirement, Engine, Identity, Key, Origin, Outcome, Overload, Policy, Read, Stale,
    Store, Tag, World,
};
use accord_runtime::fault::{self, StatusBuilder};
use accord_token::PASSPORT_HEADER;
use http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status};
use tracing::Span;

use super::{duration, malformed};
use crate::answer_tag::template;
use crate::guard::{Entry, Guard, Owner, Terms};
use crate::origin::Call;

const READ: Entry = Entry { method: "accord.cache.v1.ReadThroughService/Read", permission: "accord.cache.read" };

/// What the contract says where it leaves `cache.max_bytes` out.
const MAX_BYTES: u64 = 1024 * 1024;

/// How long before the end of a reader's time an older answer stands in for one that does not come.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// Most endpoints, tags, and parts of tags that are read from the answer, of one read: far more than anybody means.
const MOST: usize = 1024;

/// Deepest field of an answer that makes a tag: as deep as decoders of protobuf go.
const DEEPEST: usize = 100;

/// The read-through service.
#[derive(Debug)]
pub struct ReadThrough<O, S, W, G> {
    /// Answers.
    pub engine: Engine<O, S, W>,
    /// Admits.
    pub guard: G,
    /// The name of this replica.
    pub node: String,
}

#[tonic::async_trait]
impl<O, S, W, G> ReadThroughService for ReadThrough<O, S, W, G>
where
    O: Origin<Call = Call>,
    S: Store,
    W: World,
    G: Guard,
{
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        let terms = Terms::of(&request)?;
        self.guard.admit(request.metadata(), READ, &terms).await?;
        let (metadata, _, asked) = request.into_parts();
        let passport = passport(&metadata)?;
        let owner = self.owner(passport.as_ref(), asked.origin.as_ref())?;
        let read = compile(asked, owner.as_ref(), passport, terms)?;
        let answer = self.answer(&read).await.map_err(overloaded)?;
        Ok(Response::new(respond(answer, self.node.clone())))
    }
}

impl<O: Origin<Call = Call>, S: Store, W: World, G: Guard> ReadThrough<O, S, W, G> {
    /// What the engine says; or, where the origin keeps the reader waiting until its wait budget is nearly spent, an older
    /// answer that the contract permits as stale-if-error. At the very end of its time no answer would reach the reader any
    /// more.
    async fn answer(&self, read: &Read<Call>) -> Result<Answer, Overload> {
        let mut reading = pin!(self.engine.read(read));
        let most = read.wait_budget.saturating_sub(LAST_MOMENT.min(read.wait_budget / 2));
        if let Ok(answer) = tokio::time::timeout(most, &mut reading).await {
            return answer;
        }
        match self.engine.stale_if_error(read) {
            Some(answer) => Ok(answer),
            None => reading.await,
        }
    }

    /// Whose answer is asked for: the passport says so, and nothing else does.
    fn owner(
        &self,
        passport: Option<&AsciiMetadataValue>,
        origin: Option<&api::Origin>,
    ) -> Result<Option<Owner>, Status> {
        let name = origin.map(|origin| origin.name.as_str()).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| malformed("`origin.name` is missing"))?;
        let Some(passport) = passport else { return Ok(None) };
        let text = passport.to_str().map_err(|_| malformed("the passport is not text"))?;
        self.guard.owner(text, name).map(Some)
    }
}

/// The one passport of a call. Of two, which one counts would be a guess.
fn passport(metadata: &MetadataMap) -> Result<Option<AsciiMetadataValue>, Status> {
    let mut passports = metadata.get_all(PASSPORT_HEADER).iter();
    let passport = passports.next().cloned();
    if passports.next().is_some() {
        return Err(fault::status(Reason::HeaderRefused, "more than one passport"));
    }
    Ok(passport.map(|mut passport| {
        passport.set_sensitive(true);
        passport
    }))
}

fn compile(
    asked: ReadRequest,
    owner: Option<&Owner>,
    passport: Option<AsciiMetadataValue>,
    terms: Terms,
) -> Result<Read<Call>, Status> {
    let declared = asked.policy.as_ref().ok_or_else(|| malformed("`policy` is missing"))?;
    let origin = asked.origin.ok_or_else(|| malformed("`origin` is missing"))?;
    bounded("origin.endpoints", origin.endpoints.len(), MOST)?;
    bounded("tags", asked.tags.len(), MOST)?;
    bounded("answer_tags", asked.answer_tags.iter().map(|tag| tag.parts.len().max(1)).sum(), MOST)?;
    bounded("answer_tags.parts.field.numbers", asked.answer_tags.iter().map(depth).max().unwrap_or(0), DEEPEST)?;
    let templates = asked.answer_tags.into_iter().map(template).collect::<Option<_>>();
    let identity = Identity {
        method: &asked.method,
        origin: &origin.name,
        tenant: owner.map_or("", |owner| &owner.tenant),
        audience: match owner {
            _ if declared.scope() == CacheScope::Shared => Audience::Shared,
            Some(owner) => Audience::Principal(&owner.subject),
            None => Audience::Anonymous,
        },
        bytes: &asked.key,
    };
    Ok(Read {
        key: Key::of(&identity),
        policy: policy(declared)?,
        tags: asked.tags.iter().map(|name| Tag::named(name)).collect(),
        consistency: requirement(asked.consistency.as_ref())?,
        wait_budget: terms.deadline.remaining(),
        call: Call {
            endpoints: origin.endpoints.into(),
            path: path(&asked.method)?,
            request: asked.request,
            passport,
            deadline: terms.deadline,
            id: terms.id,
            answer_tags: templates.ok_or_else(|| malformed("`answer_tags` name no field of an answer"))?,
            span: Span::current(),
        },
    })
}

fn bounded(field: &str, count: usize, most: usize) -> Result<(), Status> {
    if count <= most { Ok(()) } else { Err(malformed(format!("`{field}` has {count} elements, more than {most}"))) }
}

/// The longest way to a field.
fn depth(tag: &AnswerTag) -> usize {
    let field = |part: &answer_tag::Part| match &part.part {
        Some(answer_tag::part::Part::Field(path)) => path.numbers.len(),
        _ => 0,
    };
    tag.parts.iter().map(field).max().unwrap_or(0)
}

fn path(method: &str) -> Result<PathAndQuery, Status> {
    let named = method.split_once('/').filter(|(service, name)| {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
        !service.is_empty() && !name.is_empty() && plain(service) && plain(name)
    });
    let path = named.and_then(|_| PathAndQuery::try_from(format!("/{method}")).ok());
    path.ok_or_else(|| malformed("`method` is not of the form pkg.Service/Method"))
}

fn policy(declared: &Cache) -> Result<Policy, Status> {
    Ok(Policy {
        ttl: duration("policy.ttl", declared.ttl.as_ref())?,
        stale_while_revalidate: duration("policy.stale_while_revalidate", declared.stale_while_revalidate.as_ref())?,
        stale_if_error: duration("policy.stale_if_error", declared.stale_if_error.as_ref())?,
        negative_ttl: duration("policy.negative_ttl", declared.negative_ttl.as_ref())?,
        max_bytes: declared.max_bytes.unwrap_or(MAX_BYTES),
    })
}

fn requirement(consistency: Option<&api::Consistency>) -> Result<ConsistencyRequirement, Status> {
    Ok(match consistency.and_then(|consistency| consistency.wish.as_ref()) {
        None | Some(consistency::Wish::Strong(false)) => ConsistencyRequirement::MinimizeLatency,
        Some(consistency::Wish::Strong(true)) => ConsistencyRequirement::Strong,
        Some(consistency::Wish::MaxStaleness(bound)) => {
            ConsistencyRequirement::MaxStaleness(duration("consistency.max_staleness", Some(bound))?)
        }
    })
}

fn overloaded(overload: Overload) -> Status {
    let soon = Duration::from_millis(100);
    StatusBuilder::new(Reason::Overloaded, overload.to_string()).retry_after(soon).build()
}

fn respond(answer: Answer, node: String) -> ReadResponse {
    let freshness = api::Freshness {
        outcome: outcome(answer.outcome).into(),
        age: prost_types::Duration::try_from(answer.age).ok(),
        ttl: Some(remaining(answer.life, answer.age)),
        stored: answer.stored,
        collapsed: answer.collapsed,
        stale_reason: stale_reason(answer.stale).into(),
        node,
    };
    let said = match answer.load {
        Ok(message) => Said::Message(message),
        Err(failure) => Said::Failure(api::Failure {
            code: failure.code,
            message: failure.message,
            details: failure.details.into(),
        }),
    };
    ReadResponse { result: Some(said), freshness: Some(freshness) }
}

/// What is left of a life; negative where it is over.
fn remaining(life: Duration, age: Duration) -> prost_types::Duration {
    let distance = prost_types::Duration::try_from(life.abs_diff(age)).unwrap_or_default();
    if life >= age {
        return distance;
    }
    prost_types::Duration { seconds: -distance.seconds, nanos: -distance.nanos }
}

fn outcome(outcome: Outcome) -> api::Outcome {
    match outcome {
        Outcome::Hit => api::Outcome::Hit,
        Outcome::Miss => api::Outcome::UriMiss,
        Outcome::Stale => api::Outcome::Stale,
        Outcome::Request => api::Outcome::Request,
        Outcome::Bypass => api::Outcome::Bypass,
    }
}

fn stale_reason(stale: Option<Stale>) -> api::StaleReason {
    match stale {
        None => api::StaleReason::Unspecified,
        Some(Stale::Revalidating) => api::StaleReason::Revalidating,
        Some(Stale::OriginFailed) => api::StaleReason::OriginFailed,
    }
}
