//! One call, generated and driven through every protocol: it reaches the upstream as the same request of the same principal, under
//! the same decision, and comes back with the same status, details and messages.

use crate::{
    api_keys::ApiKey,
    protocols::comparable,
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{
    EDITOR, Fabric, READER,
    web::{WebAnswer, WebProtocol},
    websocket::{Format, WebSocketCall},
};
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use prost::Message;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Calls, each of which goes through every protocol that its method has.
const CASES: u32 = 24;

/// One call and its reply.
#[derive(Clone, Debug)]
struct Case {
    method: &'static str,
    text: String,
    metadata: BTreeMap<&'static str, String>,
    caller: Caller,
    replied: Vec<String>,
    code: i32,
    message: String,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Nobody,
    Editor,
    Reader,
    Forged,
    ApiKey,
    ApiKeyAsToken,
    ForgedApiKey,
}

const CALLERS: [Caller; 7] = [
    Caller::Nobody,
    Caller::Editor,
    Caller::Reader,
    Caller::Forged,
    Caller::ApiKey,
    Caller::ApiKeyAsToken,
    Caller::ForgedApiKey,
];

/// The header by which a call proves whose it is.
type Credential = Option<(&'static str, String)>;

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Grpc,
    Web(WebProtocol),
    ConnectGet,
    Json,
    JsonBinding,
    Socket(Format),
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: Code,
    message: String,
    reason: String,
    texts: Vec<String>,
    /// What reached the upstream: whose call, its metadata, its body.
    received: Option<(String, Vec<String>, Vec<u8>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let text = || vec(any::<char>(), 0..40).prop_map(String::from_iter);
    let value = prop_oneof![Just(String::new()), "[!-~]{1,30}", "[!-~]( ?[!-~]){0,20}"];
    let metadata = vec((select(&["x-market", "x-note", "echo-tag", "user-hint"][..]), value), 0..4);
    let method = select(&["Say", "Change", "Recall", "Compute", "Recite", "Gather"][..]);
    let caller = select(&CALLERS[..]);
    let code = prop_oneof![2 => Just(0), 3 => 1..=16];
    let reply = (vec(text(), 0..3), code, text(), option::of("[A-Z][A-Z_]{0,20}"));
    (method, text(), metadata, caller, reply).prop_map(
        |(method, text, metadata, caller, (mut replied, code, message, reason))| {
            // Whatever answers once, answers once.
            replied.truncate(if method == "Recite" { 3 } else { 1 });
            if method != "Recite" && code == 0 && replied.is_empty() {
                replied.push(String::new());
            }
            let metadata = metadata.into_iter().collect();
            Case { method, text, metadata, caller, replied, code, message, reason }
        },
    )
}

impl Case {
    fn ways(&self) -> Vec<Way> {
        let sockets = [Way::Socket(Format::Json), Way::Socket(Format::Proto)];
        let web = match self.method {
            "Recite" | "Gather" => WebProtocol::STREAMS,
            _ => WebProtocol::UNARY,
        };
        let mut ways: Vec<_> = [Way::Json].into_iter().chain(web.map(Way::Web)).chain(sockets).collect();
        if self.method == "Recall" {
            ways.push(Way::ConnectGet);
            // A segment of a path is something, is no step, and has nothing that nobody sees.
            let is_segment = !["", ".", ".."].contains(&&*self.text) && !self.text.contains(char::is_control);
            ways.extend(is_segment.then_some(Way::JsonBinding));
        }
        ways
    }

    fn reply(&self) -> Reply {
        let status = match &self.reason {
            Some(reason) if self.code != 0 => {
                let details = ErrorDetails::with_error_info(reason, "shop", [("a".to_owned(), "b".to_owned())]);
                Status::with_error_details(Code::from_i32(self.code), &self.message, details)
            }
            _ => Status::new(Code::from_i32(self.code), if self.code == 0 { "" } else { &self.message }),
        };
        // An error of a call that answers once has no message before it.
        let is_said = self.code == 0 || self.method == "Recite";
        let replied = self.replied.iter().filter(|_| is_said);
        replied.fold(Reply::unfinished(), |reply, text| reply.message(&word(text))).status(&status)
    }

    fn headers(&self, credential: &Credential) -> Vec<(&'static str, String)> {
        let own = self.metadata.iter().map(|(name, value)| (*name, value.clone()));
        // Whether a reader finds what another one has left is not the question here.
        let cache = (self.method == "Recall").then(|| ("cache-control", "no-store".to_owned()));
        own.chain(cache).chain(credential.clone()).collect()
    }
}

/// The gateway, what is behind it, and who calls.
struct Stage {
    echo: ScriptedUpstream,
    fabric: Fabric,
    editor: String,
    reader: String,
    api_key: String,
}

impl Stage {
    async fn begin() -> Result<Self> {
        let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
        let (editor, reader) = (fabric.token(EDITOR).await?, fabric.token(READER).await?);
        let api_key = ApiKey::add(&fabric, EDITOR).await?.text;
        Ok(Self { echo, fabric, editor, reader, api_key })
    }

    async fn outcome(&self, case: &Case, way: Way) -> Result<Outcome> {
        self.echo.script([case.reply()]);
        let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
        let credential = match case.caller {
            Caller::Nobody => None,
            Caller::Editor => bearer(&self.editor),
            Caller::Reader => bearer(&self.reader),
            Caller::Forged => bearer("forged"),
            Caller::ApiKey => Some(("x-api-key", self.api_key.clone())),
            Caller::ApiKeyAsToken => bearer(&self.api_key),
            Caller::ForgedApiKey => Some(("x-api-key", "ak_0123456789abcdef_forged".to_owned())),
        };
        let mut outcome = match way {
            Way::Grpc => self.grpc(case, &credential).await,
            Way::Web(protocol) => self.web(case, protocol, &credential).await,
            Way::ConnectGet | Way::Json | Way::JsonBinding => self.json(case, way, &credential).await,
            Way::Socket(format) => self.socket(case, format, &credential).await,
        }?;
        let mut received = self.echo.take_received();
        ensure!(received.len() < 2, "{way:?} called the upstream {} times", received.len());
        let shown =
            |call: &ReceivedCall| call.headers.contains_key("x-api-key") || format!("{call:?}").contains(&self.api_key);
        ensure!(!received.iter().any(shown), "{way:?} shows the API key to the upstream");
        outcome.received = received.pop().map(|call| {
            let (lines, body) = comparable(&call);
            let passport = call.headers.get("x-accord-passport").and_then(|it| subject(it.to_str().ok()?));
            (passport.unwrap_or_default(), lines, body)
        });
        Ok(outcome)
    }

    async fn grpc(&self, case: &Case, credential: &Credential) -> Result<Outcome> {
        let call = GrpcCall::new(&self.fabric, case.method, &case.text);
        let headers = case.headers(credential).into_iter();
        let answer = headers.fold(call, |call, (name, value)| call.header(name, &value)).send().await?;
        let (code, reason) = answer.refusal();
        let message = answer.status().message().to_owned();
        Ok(Outcome { code, message, reason, texts: texts(answer.body)?, received: None })
    }

    async fn web(&self, case: &Case, protocol: WebProtocol, credential: &Credential) -> Result<Outcome> {
        let call = self.fabric.call(Method::POST, &format!("/echo.v1.EchoService/{}", case.method));
        let call = protocol.call(call, &[&case.text]);
        let headers = case.headers(credential).into_iter();
        let answer = protocol.send(headers.fold(call, |call, (name, value)| call.header(name, &value))).await?;
        Ok(web_outcome(answer))
    }

    async fn json(&self, case: &Case, way: Way, credential: &Credential) -> Result<Outcome> {
        let own = format!("/echo.v1.EchoService/{}", case.method);
        let body = json!({ "text": case.text }).to_string();
        let call = match way {
            Way::ConnectGet => {
                let message = escaped(&body);
                self.fabric.get(&format!("{own}?connect=v1&encoding=json&message={message}"))
            }
            Way::JsonBinding => self.fabric.get(&format!("/v1/words/{}", escaped(&case.text))),
            // Said to be JSON, it would be Connect.
            _ => self.fabric.call(Method::POST, &own).body("text/plain", body),
        };
        let headers = case.headers(credential).into_iter();
        let answer = headers.fold(call, |call, (name, value)| call.header(name, &value)).send().await?;
        if way == Way::ConnectGet {
            return Ok(web_outcome(WebProtocol::ConnectJson.read(&answer)?));
        }
        let lines: Vec<Value> =
            serde_json::Deserializer::from_slice(&answer.body).into_iter().collect::<Result<_, _>>()?;
        json_outcome(&lines)
    }

    async fn socket(&self, case: &Case, format: Format, credential: &Credential) -> Result<Outcome> {
        let path = format!("/echo.v1.EchoService/{}", case.method);
        let call = WebSocketCall::new(self.fabric.gateway.listen, &path, format);
        let headers = case.headers(credential).into_iter();
        let call = headers.map(Ok).try_fold(call, |call, header: Result<_>| {
            let (name, value) = header?;
            call.header(name, &value)
        })?;
        let answer = call.send(&[&case.text]).await?;
        let reason = answer.reason().to_owned();
        Ok(Outcome { code: answer.code, message: answer.message, reason, texts: answer.texts, received: None })
    }

    /// Fails where a protocol sees something else than gRPC.
    async fn hold(&self, case: &Case) -> Result<()> {
        let grpc = self.outcome(case, Way::Grpc).await.context("gRPC")?;
        for way in case.ways() {
            let seen = self.outcome(case, way).await.with_context(|| format!("{way:?}"))?;
            ensure!(seen == grpc, "{way:?}: {seen:#?}\ngRPC: {grpc:#?}");
        }
        Ok(())
    }
}

fn web_outcome(answer: WebAnswer) -> Outcome {
    let reason = if answer.details.is_empty() { String::new() } else { answer.reason() };
    Outcome { code: answer.code, message: answer.message, reason, texts: answer.texts, received: None }
}

/// Of all JSON of an answer: messages, or an error, which a stream has in its last line.
fn json_outcome(lines: &[Value]) -> Result<Outcome> {
    let mut outcome =
        Outcome { code: Code::Ok, message: String::new(), reason: String::new(), texts: Vec::new(), received: None };
    for line in lines {
        let error = line.get("@error").or((!line["code"].is_null()).then_some(line));
        let Some(error) = error else {
            outcome.texts.push(line["text"].as_str().unwrap_or_default().to_owned());
            continue;
        };
        outcome.code = Code::from_i32(error["code"].as_i64().context("a code")?.try_into()?);
        error["message"].as_str().unwrap_or_default().clone_into(&mut outcome.message);
        error["details"][0]["reason"].as_str().unwrap_or_default().clone_into(&mut outcome.reason);
    }
    Ok(outcome)
}

/// The texts of a body of gRPC's frames.
fn texts(mut frames: Bytes) -> Result<Vec<String>> {
    #[derive(Clone, PartialEq, Message)]
    struct Word {
        #[prost(string, tag = "1")]
        text: String,
    }
    let mut texts = Vec::new();
    while let Some(&[_, a, b, c, d]) = frames.first_chunk() {
        let message = frames.split_to(5 + u32::from_be_bytes([a, b, c, d]) as usize).split_off(5);
        texts.push(Word::decode(message)?.text);
    }
    Ok(texts)
}

/// Whom a passport names.
fn subject(passport: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(passport.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["sub"].as_str()?.to_owned())
}

/// As a part of a path or a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        _ = write!(escaped, "%{byte:02X}");
        escaped
    })
}

#[test]
fn generated_call_is_the_same_in_every_protocol() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let stage = runtime.block_on(Stage::begin())?;
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let held = runner.run(&case(), |case| {
        runtime.block_on(stage.hold(&case)).map_err(|problem| TestCaseError::fail(format!("{problem:#}")))
    });
    held.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    runtime.block_on(stage.fabric.stop())
}
