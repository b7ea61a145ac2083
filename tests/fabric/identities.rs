//! Who exists in a fabric: the binaries, and three persons as whom tests and the tour call. All are made by auth's own
//! command line, on the same store as the server.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, sync::LazyLock};

use anyhow::{Context, Result, bail};
use tokio::{process::Command, sync::Mutex};

use crate::{
    home::{self, Home, Saved},
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

/// Whose identities: the program that makes them, and the workloads.
type Makers = (PathBuf, Vec<&'static str>);

/// What auth's command line made of nothing: each fabric of a process begins with a copy of its own, since a dozen
/// commands take longer than all else that it starts.
static MADE: LazyLock<Mutex<HashMap<Makers, Saved>>> = LazyLock::new(Mutex::default);

/// Auth's command line, with the fabric's configuration.
pub(crate) struct Identities {
    program: PathBuf,
    configs: Vec<OsString>,
}

impl Identities {
    /// Makes the keys, workloads and persons that an earlier fabric in the same directory has not made. Where auth is configured as in
    /// any fabric (`is_plain`), a new directory gets a copy of what was made in another one.
    pub(crate) async fn prepare(
        home: &Home,
        program: PathBuf,
        configs: Vec<OsString>,
        parts: impl Iterator<Item = Part>,
        is_plain: bool,
    ) -> Result<Self> {
        let identities = Self { program, configs };
        home::write(&home.policies(), POLICIES)?;
        let workloads: Vec<_> = parts.filter(|part| *part != Part::Auth).map(Part::name).collect();
        if !is_plain || home.encryption_key().exists() {
            identities.make(home, &workloads).await?;
            return Ok(identities);
        }
        let (mut made, key) = (MADE.lock().await, (identities.program.clone(), workloads));
        if let Some(saved) = made.get(&key) {
            home.restore(saved)?;
        } else {
            identities.make(home, &key.1).await?;
            made.insert(key, home.save()?);
        }
        Ok(identities)
    }

    async fn make(&self, home: &Home, workloads: &[&'static str]) -> Result<()> {
        let key = home.encryption_key();
        if !key.exists() {
            self.manage(&["key", "new", &key.to_string_lossy()]).await?;
        }
        for name in workloads {
            let secret = home.secret(name).to_string_lossy().into_owned();
            let mut arguments =
                vec!["client", "add", name, "--role", WORKLOAD, "--secret-file", &secret, "--if-absent"];
            if *name == Part::Gateway.name() {
                arguments.extend(["--role", GATEWAY]);
            }
            self.manage(&arguments).await?;
        }
        for (name, roles) in PERSONS {
            self.add_person(name, roles).await?;
        }
        Ok(())
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
