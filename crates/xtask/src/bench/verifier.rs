//! What verifying a token and a decision costs whoever verifies: the mesh's client as every binary has it, in a process of its own,
//! beside a signature alone.

use std::fs;

use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;

use super::{
    authority::{self, CLIENT},
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::{Session, Varied},
};

/// Tokens that take turns where none may be remembered: so many that each has lost its place when it comes again.
const TOKENS: u32 = 4096;
const METHOD: &str = "bench.v1.BenchService/GetLimited";

/// What is asked of the verifier, and whether it has met the token before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verification {
    /// What the token permits as well, and not only what it says.
    pub is_decision: bool,
    /// Whether that was asked before.
    pub is_known: bool,
}

/// One that works, and auth where it is asked each time.
struct Working {
    name: &'static str,
    session: Session,
    auth: Option<u32>,
}

impl Working {
    fn floor(name: &'static str, work: &str, stage: &Stage, varied: &Varied) -> Result<Self> {
        Ok(Self { name, session: stage.floor_of_signatures(work, varied)?, auth: None })
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            name: self.name.to_owned(),
            processes: [self.session.process()].into_iter().chain(self.auth).collect(),
            per_request: 1,
            send: Box::new(|count| self.session.send(count)),
        }
    }
}

/// Measures the verifier, and auth with it where auth is asked each time.
pub(super) async fn run(of: Verification, stage: &Stage, varied: &Varied, amount: Amount) -> Result<Vec<Figures>> {
    let asks_auth = of.is_decision && !of.is_known;
    let mut all = Vec::new();
    for (name, fabric, _) in &stage.fabrics {
        let auth = asks_auth.then(|| fabric.auth.process.id());
        all.push(Working { name, session: of.start(fabric, stage, varied).await?, auth });
    }
    if !of.is_known {
        all.push(Working::floor("floor: verify", "verify", stage, varied)?);
    }
    if asks_auth {
        all.push(Working::floor("floor: sign", "sign", stage, varied)?);
    }
    let subjects: Vec<_> = all.iter().map(Working::subject).collect();
    rounds::interleaved(&subjects, amount)
}

impl Verification {
    async fn start(self, fabric: &Fabric, stage: &Stage, varied: &Varied) -> Result<Session> {
        let tokens =
            if self.is_known { vec![fabric.token(EDITOR).await?] } else { authority::tokens(fabric, TOKENS).await? };
        let file = fabric.directory().join("verifier-tokens");
        fs::write(&file, tokens.join("\n"))?;
        let secret = authority::secret_file(fabric);
        let (auth, file, secret) = (fabric.auth.url(), file.display().to_string(), secret.display().to_string());
        let mut arguments = vec!["verifier", "--auth", &auth, "--client-id", CLIENT, "--client-secret-file", &secret];
        arguments.extend(["--tokens", &file]);
        if self.is_decision {
            arguments.extend(["--method", METHOD]);
        }
        if !self.is_known {
            arguments.push("--forgetful");
        }
        stage.on_tested_core(async { varied.turns(&arguments) }).await
    }
}
