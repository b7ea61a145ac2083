//! Reading an upstream's descriptors from its own server reflection, v1 first and v1alpha after it.
//!
//! Both versions have the same messages under another package, so one reader speaks both. What an upstream may answer
//! is bounded: it is another party's program.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error as _;
use std::time::Duration;

use accord_contract::{Source, SourceError};
use accord_runtime::deadline::Deadline;
use accord_runtime::fault;
use accord_runtime::request::{self, RequestId};
use accord_upstream::{Client, ConnectCause, ConnectError};
use accord_wire::{Occurrence, Value, occurrences};
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// Longest time that all requests together may take.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most files that an upstream may have.
const MAX_FILES: usize = 2_000;
/// Most bytes that all its files together may have.
const MAX_BYTES: usize = 32 << 20;
/// Largest single response in bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Services that every gRPC server may carry and that the gateway responses itself.
const OWN: [&str; 3] = ["grpc.reflection.", "grpc.health.", "grpc.channelz."];

/// What an upstream says it serves. Equal if the bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    /// The files, linked, of an upstream that is not named yet.
    pub source: Source,
    /// The full names of the services that it listed, in order. The files may declare more.
    pub services: Vec<String>,
}

impl Descriptors {
    /// From an encoded `FileDescriptorSet` and the names of the services in it that are served.
    pub(crate) fn linked(encoded: &[u8], services: Vec<String>) -> Result<Self, ReflectError> {
        let source = Source::descriptor_set("", "reflection", encoded)?;
        match services.iter().find(|service| source.pool.get_service_by_name(service).is_none()) {
            Some(absent) => Err(ReflectError::Missing(absent.clone())),
            None => Ok(Self { source: source.only(services.clone()), services }),
        }
    }
}

impl PartialEq for Descriptors {
    fn eq(&self, other: &Self) -> bool {
        self.services == other.services && self.source.encoded == other.source.encoded
    }
}

/// Why an upstream's descriptors could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReflectError {
    /// It can't be connected to.
    #[error("{cause}; {}, or give its descriptor set with `--descriptors NAME=FILE`", remedy.remedy())]
    NoConnection {
        /// Why, with what the system said.
        cause: String,
        /// Of which kind that is.
        remedy: ConnectCause,
    },
    /// It is there, and gives no answer or a broken one.
    #[error(
        "it does not answer ({0}); see why in its own log, or give its descriptor set with `--descriptors NAME=FILE`"
    )]
    Unreachable(String),
    /// It has no server reflection.
    #[error("it has no server reflection; give its descriptor set with `--descriptors NAME=FILE`")]
    Unsupported,
    /// It is too slow.
    #[error("it took longer than {} s to send its descriptors", TOTAL_TIMEOUT.as_secs())]
    Slow,
    /// It sends more than the bounds allow.
    #[error("its descriptors are more than {MAX_FILES} files or {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// It does not know something that it refers to.
    #[error("it does not know {0}, which it refers to")]
    Missing(String),
    /// What it sends is not valid.
    #[error("its descriptors are not valid: {0}")]
    Malformed(String),
    /// What it sends can't be used.
    #[error(transparent)]
    Unusable(#[from] SourceError),
}

/// Reads everything that the server at the other end of `client` serves.
pub(crate) async fn read(client: &Client) -> Result<Descriptors, ReflectError> {
    let reading = async {
        match read_version(client, V1).await {
            Err(ReflectError::Unsupported) => read_version(client, V1ALPHA).await,
            read => read,
        }
    };
    tokio::time::timeout(TOTAL_TIMEOUT, reading).await.map_err(|_elapsed| ReflectError::Slow)?
}

async fn read_version(client: &Client, path: &'static str) -> Result<Descriptors, ReflectError> {
    let mut reflection = ReflectionClient { client, path, open: None };
    let services = reflection.services().await?;
    let mut files = Files::default();
    for service in &services {
        match reflection.ask(MessageRequest::FileContainingSymbol(service.clone())).await? {
            Described::Files(bytes) => files.add(bytes)?,
            Described::Unknown => return Err(ReflectError::Missing(service.clone())),
            Described::Services(_) => return Err(unexpected_response()),
        }
    }
    while let Some((name, import)) = files.wanted() {
        match reflection.ask(MessageRequest::FileByFilename(name.clone())).await? {
            Described::Files(bytes) => files.add(bytes)?,
            // Some servers leave out the well-known files that every client has.
            Described::Unknown => match well_known(&name) {
                Some(bytes) => files.add(vec![bytes])?,
                // Compilers need not keep what only options are read with.
                None if import == Import::ForOptions => {}
                None => return Err(ReflectError::Missing(name)),
            },
            Described::Services(_) => return Err(unexpected_response()),
        }
    }
    files.link(services)
}

/// One reflection stream: requests and responses in turn.
struct ReflectionClient<'a> {
    client: &'a Client,
    path: &'static str,
    open: Option<Stream>,
}

struct Stream {
    requests: mpsc::Sender<ServerReflectionRequest>,
    responses: Streaming<ServerReflectionResponse>,
}

enum Described {
    Services(Vec<String>),
    Files(Vec<Vec<u8>>),
    Unknown,
}

impl ReflectionClient<'_> {
    async fn services(&mut self) -> Result<Vec<String>, ReflectError> {
        let Described::Services(mut services) = self.ask(MessageRequest::ListServices("*".to_owned())).await? else {
            return Err(unexpected_response());
        };
        services.retain(|service| !OWN.iter().any(|own| service.starts_with(own)));
        services.sort();
        services.dedup();
        Ok(services)
    }

    async fn ask(&mut self, request: MessageRequest) -> Result<Described, ReflectError> {
        let request = self::request(request);
        let mut stream = match self.open.take() {
            Some(stream) => {
                stream.requests.send(request).await.map_err(|_closed| stream_ended())?;
                stream
            }
            None => Stream::open(self.client, self.path, request).await?,
        };
        match stream.responses.message().await {
            Ok(answer) => {
                self.open = Some(stream);
                parse(answer.ok_or_else(stream_ended)?)
            }
            // Some servers end the stream over a name they don't know, instead of saying so and going on.
            Err(status) if status.code() == Code::NotFound => Ok(Described::Unknown),
            Err(status) => Err(refused(&status)),
        }
    }
}

impl Stream {
    async fn open(client: &Client, path: &'static str, first: ServerReflectionRequest) -> Result<Self, ReflectError> {
        let (requests, receiver) = mpsc::channel(1);
        // Sent before the stream is opened: a server may answer nothing, not even a head, before the first request.
        requests.send(first).await.map_err(|_closed| stream_ended())?;
        let mut client = Grpc::new(client.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        let request =
            request::outbound(ReceiverStream::new(receiver), Deadline::after(TOTAL_TIMEOUT), &RequestId::new());
        let opened = client.streaming(request, PathAndQuery::from_static(path), codec).await;
        Ok(Self { requests, responses: opened.map_err(|status| refused(&status))?.into_inner() })
    }
}

fn parse(answer: ServerReflectionResponse) -> Result<Described, ReflectError> {
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(Described::Services(list.service.into_iter().map(|service| service.name).collect()))
        }
        Some(MessageResponse::FileDescriptorResponse(files)) => Ok(Described::Files(files.file_descriptor_proto)),
        Some(MessageResponse::ErrorResponse(error)) if error.error_code == Code::NotFound as i32 => {
            Ok(Described::Unknown)
        }
        Some(MessageResponse::ErrorResponse(error)) => Err(ReflectError::Malformed(error.error_message)),
        Some(MessageResponse::AllExtensionNumbersResponse(_)) | None => Err(unexpected_response()),
    }
}

fn unexpected_response() -> ReflectError {
    ReflectError::Malformed("it answered another request".to_owned())
}

fn request(request: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(request) }
}

fn stream_ended() -> ReflectError {
    ReflectError::Unreachable("it ended the stream".to_owned())
}

fn refused(status: &Status) -> ReflectError {
    match status.code() {
        Code::Unimplemented => ReflectError::Unsupported,
        // tonic says so of an answer above the bound.
        Code::OutOfRange => ReflectError::TooLarge,
        _ => match status.source().and_then(|source| source.downcast_ref::<ConnectError>()) {
            Some(failure) => ReflectError::NoConnection { cause: failure.to_string(), remedy: failure.cause },
            None => ReflectError::Unreachable(fault::cause(status)),
        },
    }
}

/// The files read so far, as the bytes that came: decoding them would lose the options that policies are.
#[derive(Default)]
struct Files {
    read: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    imports: VecDeque<(String, Import)>,
    requested: BTreeSet<String>,
}

/// What a file is imported for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Import {
    /// Its types.
    ForTypes,
    /// Its options alone (edition 2024).
    ForOptions,
}

/// `google.protobuf.FileDescriptorProto.option_dependency`.
const OPTION_DEPENDENCY: u32 = 15;

impl Files {
    fn add(&mut self, files: Vec<Vec<u8>>) -> Result<(), ReflectError> {
        for bytes in files {
            let file = FileDescriptorProto::decode(bytes.as_slice())
                .map_err(|error| ReflectError::Malformed(error.to_string()))?;
            if self.read.contains_key(file.name()) {
                continue;
            }
            self.bytes += bytes.len();
            if self.bytes > MAX_BYTES || self.read.len() == MAX_FILES {
                return Err(ReflectError::TooLarge);
            }
            let name = file.name().to_owned();
            self.imports.extend(file.dependency.into_iter().map(|import| (import, Import::ForTypes)));
            self.imports.extend(option_dependencies(&bytes).map(|import| (import, Import::ForOptions)));
            self.read.insert(name, bytes);
        }
        Ok(())
    }

    /// The next import that was not read yet. Each is requested for once.
    fn wanted(&mut self) -> Option<(String, Import)> {
        while let Some((name, import)) = self.imports.pop_front() {
            if !self.read.contains_key(&name) && self.requested.insert(name.clone()) {
                return Some((name, import));
            }
        }
        None
    }

    fn link(self, services: Vec<String>) -> Result<Descriptors, ReflectError> {
        let mut encoded = Vec::with_capacity(self.bytes + self.read.len() * 8);
        for bytes in self.read.values() {
            prost::encoding::bytes::encode(1, bytes, &mut encoded);
        }
        Descriptors::linked(&encoded, services)
    }
}

fn option_dependencies(file: &[u8]) -> impl Iterator<Item = String> {
    occurrences(file).filter_map(|occurrence| match occurrence {
        Ok(Occurrence { number: OPTION_DEPENDENCY, value: Value::Bytes(name), .. }) => {
            String::from_utf8(name.to_vec()).ok()
        }
        _ => None,
    })
}

fn well_known(name: &str) -> Option<Vec<u8>> {
    let own = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).ok()?;
    own.get_file_by_name(name)
        .or_else(|| DescriptorPool::global().get_file_by_name(name))
        .map(|file| file.encode_to_vec())
}

#[cfg(test)]
mod tests;
