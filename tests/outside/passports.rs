//! Passports, verified by services in languages of their own with the keys that auth publishes, as the guide shows.

use crate::tool;
use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, ExchangeRequest, IssueRequest, issue_request::Grant,
    token_service_client::TokenServiceClient,
};
use accord_fabric::{EDITOR, Fabric, Part, binaries::workspace};
use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::Full;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::Ipv4Addr,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, interval, timeout},
};
use tonic::Request;

/// The issuer that auth's tokens name where nothing else is configured.
const ISSUER: &str = "https://accord.local";

/// How long a program may take to answer: `go run` builds it first.
const ANSWER: Duration = Duration::from_mins(3);

/// How often a program that reads keys by its own clock is asked whether it has.
const LOOKS: Duration = Duration::from_millis(100);

/// A passport of the editor for the catalog, as the gateway gets it, and the editor's access token.
async fn passport(fabric: &Fabric) -> Result<(String, String)> {
    let token = fabric.token(EDITOR).await?;
    let mut tokens = TokenServiceClient::new(fabric.auth.channel()?);
    let grant = Grant::ClientCredentials(ClientCredentialsGrant {
        client_id: "gateway".to_owned(),
        client_secret: std::fs::read_to_string(fabric.secret(Part::Gateway))?.trim().to_owned(),
        ..ClientCredentialsGrant::default()
    });
    let gateway = tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().access_token;
    let mut exchange = Request::new(ExchangeRequest {
        subject_token: token.clone(),
        audience: "catalog".to_owned(),
        ..ExchangeRequest::default()
    });
    exchange.metadata_mut().insert("authorization", format!("Bearer {gateway}").parse()?);
    Ok((tokens.exchange(exchange).await?.into_inner().passport, token))
}

/// A program that verifies passports.
struct Verifier {
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Verifier {
    fn start(program: &[&str], jwks: &str, issuer: &str, service: &str) -> Result<Self> {
        let (name, arguments) = program.split_first().context("a program")?;
        let mut command = Command::new(name);
        command.args(arguments).args([jwks, issuer, service]).kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("its input")?;
        let answers = BufReader::new(process.stdout.take().context("its output")?).lines();
        Ok(Self { input, answers, _process: process })
    }

    async fn verify(&mut self, passport: &str) -> Result<String> {
        self.input.write_all(format!("{passport}\n").as_bytes()).await?;
        timeout(ANSWER, self.answers.next_line()).await??.context("it ended")
    }

    async fn accepts(&mut self, case: &str, passport: &str) -> Result<()> {
        let answer = self.verify(passport).await?;
        ensure!(answer == format!("{EDITOR} gateway"), "{case}: {answer}");
        Ok(())
    }

    async fn refuses(&mut self, case: &str, passport: &str) -> Result<()> {
        let answer = self.verify(passport).await?;
        ensure!(answer.starts_with("refused: "), "{case}: {answer}");
        Ok(())
    }
}

/// Holds a program to what it has to accept and to refuse of auth's, which signs with this algorithm.
async fn hold(program: &[&str], algorithm: &str) -> Result<()> {
    let algorithm = algorithm.to_owned();
    let settings = toml::toml! {
        keys = { algorithm = algorithm }
    };
    let fabric = Fabric::builder()?.settings(Part::Auth, settings).start().await?;
    let (passport, token) = passport(&fabric).await?;
    let jwks = format!("{}/.well-known/jwks.json", fabric.auth.url());
    let (head, signature) = passport.rsplit_once('.').unwrap_or_default();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);

    let mut verifier = Verifier::start(program, &jwks, ISSUER, "catalog")?;
    verifier.accepts("its own", &passport).await?;
    verifier.refuses("a forged signature", &forged).await?;
    verifier.refuses("no token", "x").await?;
    verifier.refuses("an access token", &token).await?;
    fabric.stop().await
}

/// What a passport says of itself, where it is not as a verifier wants it.
struct Says<'a> {
    issuer: &'a str,
    audience: &'a str,
    ends_in: i64,
}

/// A key of an issuer that signs what auth would not.
enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Key {
    fn ed25519() -> Result<Self> {
        Ok(Self::Ed25519(Ed25519KeyPair::generate()?))
    }

    fn p256() -> Result<Self> {
        Ok(Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?))
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                let [x, y] = [text(&point[1..33]), text(&point[33..])];
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig"})
            }
        }
    }

    /// A passport for the catalog that ends so many seconds from now.
    fn passport(&self, kid: &str, ends_in: i64) -> Result<String> {
        self.sign(kid, &Says { issuer: ISSUER, audience: "catalog", ends_in })
    }

    fn sign(&self, kid: &str, says: &Says<'_>) -> Result<String> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let algorithm = if matches!(self, Self::Ed25519(_)) { "EdDSA" } else { "ES256" };
        let header = json!({"alg": algorithm, "kid": kid, "typ": "accord-passport+jwt"});
        let claims = json!({
            "iss": says.issuer, "sub": EDITOR, "aud": says.audience, "jti": "one", "act": {"sub": "gateway"},
            "exp": now + says.ends_in, "iat": now - 60, "nbf": now - 60,
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes())?.as_ref().to_vec(),
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// An issuer's published keys, which may become others, and where they are read.
async fn publish(keys: Arc<Mutex<Vec<Value>>>) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/jwks.json", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keys = Arc::clone(&keys);
            let service = service_fn(move |_| {
                let document = json!({"keys": *keys.lock().unwrap_or_else(PoisonError::into_inner)}).to_string();
                let answer = Response::builder().header("content-type", "application/json");
                async move { Ok::<_, Infallible>(answer.body(Full::new(bytes::Bytes::from(document))).unwrap_or_default()) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(url)
}

/// Holds a program to the end of passports, and to keys that come while it runs.
async fn hold_through_rotation(program: &[&str]) -> Result<()> {
    let (first, second, never) = (Key::ed25519()?, Key::p256()?, Key::ed25519()?);
    let keys = Arc::new(Mutex::new(vec![first.jwk("first")]));
    let mut verifier = Verifier::start(program, &publish(Arc::clone(&keys)).await?, ISSUER, "catalog")?;
    verifier.accepts("a good one", &first.passport("first", 60)?).await?;
    verifier.refuses("one that has ended", &first.passport("first", -11)?).await?;
    verifier.accepts("one that has ended by a clock that is ahead", &first.passport("first", -5)?).await?;
    for (case, issuer, audience) in
        [("for another service", ISSUER, "orders"), ("of another issuer", "https://elsewhere", "catalog")]
    {
        verifier.refuses(case, &first.sign("first", &Says { issuer, audience, ends_in: 60 })?).await?;
    }
    keys.lock().unwrap_or_else(PoisonError::into_inner).push(second.jwk("second"));
    let rotated = second.passport("second", 300)?;
    // It asks again for keys, though not at once where it has just read them, and tells nobody when it may.
    let (end, mut looks) = (Instant::now() + ANSWER, interval(LOOKS));
    while verifier.verify(&rotated).await?.starts_with("refused: ") {
        ensure!(Instant::now() < end, "it never reads keys that came later");
        looks.tick().await;
    }
    verifier.accepts("by the key before", &first.passport("first", 60)?).await?;
    verifier.refuses("by a key that is not published", &never.passport("third", 60)?).await?;
    verifier.refuses("by another key of the name", &never.passport("first", 60)?).await?;
    verifier.refuses("with the name of a key of another kind", &first.passport("second", 60)?).await
}

async fn hold_wholly(program: &str, arguments: &[&str]) -> Result<()> {
    let program = &[&[program][..], arguments].concat();
    hold(program, "EdDSA").await?;
    hold(program, "ES256").await?;
    hold_through_rotation(program).await
}

fn file(name: &str) -> String {
    workspace().join("tests/clients/passports").join(name).display().to_string()
}

#[tokio::test]
async fn passport_is_verified_in_python() -> Result<()> {
    hold_wholly(&tool("ACCORD_TEST_PYTHON")?, &[&file("verify.py")]).await
}

#[tokio::test]
async fn passport_is_verified_in_node() -> Result<()> {
    hold_wholly("node", &[&file("verify.cjs")]).await
}

#[tokio::test]
async fn passport_is_verified_in_go() -> Result<()> {
    hold_wholly("go", &["run", &file("verify.go")]).await
}
