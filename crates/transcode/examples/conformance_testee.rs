//! The testee of protobuf's conformance suite: what its runner sends on standard input is transcoded as the gateway does it,
//! and bytes that are to stay bytes are brought into the canonical form of cache keys.
//!
//! Its only argument is a descriptor set with a service whose methods take and give the messages of the suite. Each request
//! and each response stands behind its length, in four bytes, the lowest first.

use std::{
    collections::HashMap,
    env,
    error::Error,
    io::{self, ErrorKind, Read, Write},
    path::Path,
    sync::Arc,
};

use accord_contract::{Canonical, Source};
use accord_transcode::{Limits, Plan, Schema};
use prost::Message;

/// The messages of the suite are flat apart from those that are meant to be too deep.
const DEPTH: usize = 100;

/// `conformance.ConformanceRequest`, as far as it is answered.
#[derive(Clone, PartialEq, Message)]
struct ConformanceRequest {
    #[prost(oneof = "Payload", tags = "1, 2, 7, 8")]
    payload: Option<Payload>,
    #[prost(int32, tag = "3")]
    requested_output_format: i32,
    #[prost(string, tag = "4")]
    message_type: String,
    #[prost(int32, tag = "5")]
    test_category: i32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(bytes, tag = "1")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(string, tag = "7")]
    Jspb(String),
    #[prost(string, tag = "8")]
    Text(String),
}

/// `conformance.ConformanceResponse`.
#[derive(Clone, PartialEq, Message)]
struct ConformanceResponse {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    result: Option<Outcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Outcome {
    #[prost(string, tag = "1")]
    ParseError(String),
    #[prost(string, tag = "2")]
    RuntimeError(String),
    #[prost(bytes, tag = "3")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "4")]
    Json(String),
    #[prost(string, tag = "5")]
    Skipped(String),
    #[prost(string, tag = "6")]
    SerializeError(String),
}

/// `conformance.WireFormat`.
const PROTOBUF: i32 = 1;
const JSON: i32 = 2;

/// `conformance.TestCategory`.
const JSON_IGNORE_UNKNOWN_PARSING_TEST: i32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = env::args().nth(1).ok_or("usage: conformance_testee DESCRIPTORS")?;
    let testee = Testee::of(&Source::file("conformance", Path::new(&descriptors))?)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(request) = next(&mut input)? {
        let result = Some(testee.outcome(&ConformanceRequest::decode(&*request)?));
        let response = ConformanceResponse { result }.encode_to_vec();
        output.write_all(&u32::try_from(response.len())?.to_le_bytes())?;
        output.write_all(&response)?;
        output.flush()?;
    }
    Ok(())
}

/// The next request; none where the runner has no more.
fn next(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut request = Vec::new();
    input.take(u32::from_le_bytes(length).into()).read_to_end(&mut request)?;
    Ok(Some(request))
}

/// How each message of the suite is transcoded, by its name.
struct Testee {
    messages: HashMap<String, (Plan, Canonical)>,
}

impl Testee {
    fn of(source: &Source) -> Result<Self, Box<dyn Error>> {
        let schema = Arc::new(Schema::compile(&source.pool));
        let limits = Limits { depth: DEPTH, ..Limits::default() };
        let mut messages = HashMap::new();
        for method in source.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let plan = Plan::compile(&schema, &method, None, limits)?;
            messages.insert(method.input().full_name().to_owned(), (plan, Canonical::of(&method.input())));
        }
        Ok(Self { messages })
    }

    fn outcome(&self, request: &ConformanceRequest) -> Outcome {
        let Some((plan, canonical)) = self.messages.get(&request.message_type) else {
            return Outcome::Skipped(format!("{} is not in the descriptors", request.message_type));
        };
        if request.test_category == JSON_IGNORE_UNKNOWN_PARSING_TEST {
            return Outcome::Skipped("unknown fields are refused, never ignored".to_owned());
        }
        let wire = match &request.payload {
            Some(Payload::Protobuf(wire)) => canonical.form(wire).map_err(|malformed| malformed.to_string()),
            Some(Payload::Json(text)) => {
                let read = plan.request(&[], None, Some("application/json"), text.as_bytes());
                read.map_err(|violation| violation.to_string())
            }
            _ => return Outcome::Skipped("neither JSON nor the wire format".to_owned()),
        };
        match (wire, request.requested_output_format) {
            (Err(error), _) => Outcome::ParseError(error),
            (Ok(wire), PROTOBUF) => Outcome::Protobuf(wire.to_vec()),
            (Ok(wire), JSON) => json(plan, &wire),
            (Ok(_), _) => Outcome::Skipped("neither JSON nor the wire format".to_owned()),
        }
    }
}

fn json(plan: &Plan, wire: &[u8]) -> Outcome {
    let mut text = Vec::new();
    match plan.response(wire, &mut text) {
        Err(malformed) => Outcome::SerializeError(malformed.to_string()),
        Ok(_) => String::from_utf8(text).map_or_else(|error| Outcome::RuntimeError(error.to_string()), Outcome::Json),
    }
}
