//! Who exists in a fabric: the binaries themselves, and three clients that tests and the tour call as.

use std::{fs, process::Command};

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, issue_request::Grant, token_service_client::TokenServiceClient,
};
use anyhow::{Context, Result, bail};

use crate::{
    binaries,
    home::{self, Home},
    server::Server,
    settings::Part,
};

/// May read and write products.
pub const EDITOR: &str = "editor";
/// May read products.
pub const READER: &str = "reader";
/// Is known, and may do nothing.
pub const STRANGER: &str = "stranger";

/// What auth is told to grant to each role.
const POLICIES: &str = include_str!("policies.cedar");

/// Every client with its roles.
const CLIENTS: [(&str, &[&str]); 6] = [
    ("gateway", &["gateway"]),
    ("cache", &["verifier"]),
    ("catalog", &["verifier"]),
    (EDITOR, &["reader", "writer"]),
    (READER, &["reader"]),
    (STRANGER, &[]),
];

/// The clients of a fabric and their secrets.
pub struct Identities {
    secrets: Vec<(String, String)>,
}

impl Identities {
    /// Creates those that an earlier fabric in the same directory has not created.
    pub fn prepare(home: &Home) -> Result<Self> {
        home::write(&home.config("policies").with_extension("cedar"), POLICIES)?;
        let mut secrets = Vec::new();
        for (id, roles) in CLIENTS {
            secrets.push((id.to_owned(), secret(home, id, roles)?));
        }
        Ok(Self { secrets })
    }

    /// An access token for one of the clients.
    pub async fn token(&self, auth: &Server, id: &str) -> Result<String> {
        let (client_id, client_secret) =
            self.secrets.iter().find(|(known, _)| known == id).cloned().with_context(|| format!("no client {id}"))?;
        let grant = Grant::ClientCredentials(ClientCredentialsGrant { client_id, client_secret });
        let answer = TokenServiceClient::new(auth.channel()?).issue(IssueRequest { grant: Some(grant) }).await?;
        Ok(answer.into_inner().access_token)
    }
}

/// The client's secret; a client without one is created first.
fn secret(home: &Home, id: &str, roles: &[&str]) -> Result<String> {
    let file = home.secret(id);
    if let Ok(secret) = fs::read_to_string(&file) {
        return Ok(secret.trim().to_owned());
    }
    let mut arguments = vec!["client", "create", id];
    arguments.extend(roles.iter().flat_map(|role| ["--role", role]));
    let secret = auth(home, &arguments)?.trim().to_owned();
    // Written last: where this fails, the next fabric does not take the client for created.
    home::write(&file, &secret)?;
    Ok(secret)
}

/// Runs a subcommand of auth on the fabric's store, and returns what it prints.
fn auth(home: &Home, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binaries::path("accord-auth")?)
        .args(arguments)
        .arg("--config")
        .arg(home.config(Part::Auth.name()))
        .output()
        .context("can't run accord-auth")?;
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr);
        bail!("accord-auth {} failed: {}", arguments.join(" "), problem.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
