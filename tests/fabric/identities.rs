//! Who exists in a fabric: the binaries, and three persons as whom tests and the tour call. All are made by auth's own
//! command line, on the same store as the server.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{
    home::{self, Home},
    process::forget_settings,
    settings::Part,
};

/// May read and write products, order them, and keep values in the namespace `carts`.
pub const EDITOR: &str = "editor";
/// May read products, and order them.
pub const READER: &str = "reader";
/// Is known, and may do nothing.
pub const STRANGER: &str = "stranger";

/// What auth is told to grant to each role.
const POLICIES: &str = include_str!("policies.cedar");

/// The role of everybody who verifies tokens.
const WORKLOAD: &str = "accord-mesh";

/// The role of whoever is believed about its callers.
const GATEWAY: &str = "accord-gateway";

const PERSONS: [(&str, &[&str]); 3] =
    [(EDITOR, &["catalog-reader", "catalog-writer", "cart-writer"]), (READER, &["catalog-reader"]), (STRANGER, &[])];

/// Auth's command line, with the fabric's configuration.
pub(crate) struct Identities {
    program: PathBuf,
    configs: Vec<OsString>,
}

impl Identities {
    /// Makes the keys, workloads and persons that an earlier fabric in the same directory has not made.
    pub(crate) async fn prepare(
        home: &Home,
        program: PathBuf,
        configs: Vec<OsString>,
        parts: impl Iterator<Item = Part>,
    ) -> Result<Self> {
        let identities = Self { program, configs };
        home::write(&home.policies(), POLICIES)?;
        let key = home.encryption_key();
        if !key.exists() {
            identities.manage(&["key", "new", &key.to_string_lossy()]).await?;
        }
        for part in parts.filter(|part| *part != Part::Auth) {
            let (name, secret) = (part.name(), home.secret(part.name()));
            let secret = secret.to_string_lossy();
            let mut arguments =
                vec!["client", "add", name, "--role", WORKLOAD, "--secret-file", &secret, "--if-absent"];
            if part == Part::Gateway {
                arguments.extend(["--role", GATEWAY]);
            }
            identities.manage(&arguments).await?;
        }
        for (name, roles) in PERSONS {
            identities.add_person(name, roles).await?;
        }
        Ok(identities)
    }

    /// Adds a person with these roles, or gives them to the one of this name that an earlier fabric has added.
    pub(crate) async fn add_person(&self, name: &str, roles: &[&str]) -> Result<()> {
        let mut arguments = vec!["principal", "add", name, "--if-absent"];
        arguments.extend(roles.iter().flat_map(|role| ["--role", role]));
        if self.manage(&arguments).await?.contains("exists") {
            for role in roles {
                self.manage(&["role", "grant", name, role]).await?;
            }
        }
        Ok(())
    }

    /// An access token that outlives any test and any working day.
    pub(crate) async fn token(&self, subject: &str) -> Result<String> {
        self.manage(&["token", "issue", "--subject", subject, "--lifetime", "24h"]).await
    }

    /// Runs one of auth's subcommands, and returns what it prints.
    pub(crate) async fn manage(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(&self.configs).kill_on_drop(true);
        forget_settings(command.as_std_mut());
        let output = command.output().await.with_context(|| format!("can't run {}", self.program.display()))?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr);
            bail!("accord-auth {} failed: {}", arguments.join(" "), problem.trim().trim_start_matches("error: "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
