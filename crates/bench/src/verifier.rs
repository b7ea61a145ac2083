//! A verifier and nothing else: the mesh's client, as every binary has it, verifies tokens and asks auth what they permit.

use std::{cell::Cell, path::PathBuf, rc::Rc, time::Duration, time::Instant};

use accord_mesh::{MeshClient, MeshConfig, Question};
use accord_runtime::{deadline::Deadline, request::RequestId, shutdown::Shutdown};
use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use tokio::task::{self, JoinSet};

use crate::turns::{self, microseconds};

/// Questions that are asked at a time, where nothing is remembered.
const AT_ONCE: u32 = 64;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who verifies, and what.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Where auth is
    #[arg(long)]
    auth: String,
    /// The name under which it logs in
    #[arg(long)]
    client_id: String,
    /// A file with the secret that goes with the name
    #[arg(long)]
    client_secret_file: PathBuf,
    /// A file with tokens, one a line, which take turns
    #[arg(long)]
    tokens: PathBuf,
    /// The method that is asked about; without one tokens are verified and nothing else
    #[arg(long)]
    method: Option<String>,
    /// Remember neither signatures nor decisions, as far as so few tokens could be remembered
    #[arg(long)]
    forgetful: bool,
}

struct Verifier {
    mesh: MeshClient,
    tokens: Vec<String>,
    method: Option<String>,
    next: Cell<usize>,
    left: Cell<u64>,
}

/// Verifies as often as each line of standard input says.
pub(crate) async fn run(args: Args) -> Result<()> {
    let tokens = std::fs::read_to_string(&args.tokens).context("the tokens can't be read")?;
    let tokens: Vec<_> = tokens.lines().map(str::to_owned).collect();
    ensure!(!tokens.is_empty(), "there are no tokens");
    let mut config = MeshConfig {
        url: args.auth,
        client_id: args.client_id,
        client_secret_file: Some(args.client_secret_file),
        ..MeshConfig::default()
    };
    if args.forgetful {
        (config.signature_memory, config.decision_memory) = (1, 1);
    }
    let mesh = MeshClient::join(&config, Shutdown::new(Duration::ZERO))?;
    mesh.readiness().wait_for(|is_ready| *is_ready).await?;
    let (method, next, left) = (args.method, Cell::new(0), Cell::new(0));
    let verifier = Rc::new(Verifier { mesh, tokens, method, next, left });
    let turn = async |count| {
        verifier.left.set(count);
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            tasks.spawn_local(Rc::clone(&verifier).verify_in_turn());
        }
        let mut all = Vec::new();
        while let Some(times) = tasks.join_next().await {
            all.extend(times??);
        }
        Ok(all)
    };
    task::LocalSet::new().run_until(turns::serve(turn)).await
}

impl Verifier {
    async fn verify_in_turn(self: Rc<Self>) -> Result<Vec<u64>> {
        let mut times = Vec::new();
        while let Some(fewer) = self.left.get().checked_sub(1) {
            self.left.set(fewer);
            let begun = Instant::now();
            self.verify().await?;
            times.push(microseconds(begun.elapsed()));
        }
        Ok(times)
    }

    async fn verify(&self) -> Result<()> {
        let number = self.next.replace(self.next.get() + 1);
        let token = &self.tokens[number % self.tokens.len()];
        let verified = self.mesh.verify(token)?;
        let Some(method) = &self.method else { return Ok(()) };
        let question = Question {
            method,
            permission: "",
            audience: "bench",
            resource: "",
            address: None,
            protocol: "grpc",
            actor: None,
        };
        let deadline = Deadline::after(TIMEOUT);
        let decision = self.mesh.decide(token, &verified, &question, deadline, &RequestId::new()).await?;
        ensure!(decision.passport.is_some(), "auth gives no passport");
        Ok(())
    }
}
