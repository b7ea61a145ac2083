//! Auth, killed at each step of what it does, with its store on PostgreSQL: before the server gets a statement, and after the server has
//! carried it out and before auth hears of it. Up to the COMMIT nothing has happened, after it everything has; nobody was told, and who
//! asks again comes to the same end.
//!
//! A refresh and a revocation are tried with the suite; `cargo xtask crashes` tries all operations.

mod contents;
mod operations;

use self::{
    contents::{Change, Contents},
    operations::{Acknowledged, Callers, Operation, PASSWORD, PERSON, PROBER, Request},
};
use crate::auths::reason;
use accord_fabric::{
    Bearer, Fabric, Part, Server,
    postgres::{self, Side, Statement, StatementProxy},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs,
    time::{Duration, Instant},
};
use tokio::task::block_in_place;
use toml::toml;

const OPERATOR: &str = "operator";

/// Auth looks for what has expired when it starts, and then every minute.
const PURGE: Duration = Duration::from_mins(1);
/// The last that it asks then.
const END_OF_PURGE: &str = "DELETE FROM families";

/// What auth asks beside its callers, outside of transactions: the poll of the revision, what that reads where the revision is new, the
/// mark, and the settings of a new connection. Calls ask the same where they begin and end, and are not told apart by it.
const BACKGROUND_READS: [&str; 6] = [
    "SET ",
    "SELECT value FROM meta",
    "SELECT name, value FROM meta",
    "SELECT subject, epoch, epoch_revision FROM principals",
    "SELECT jti, expires_at, revision FROM revoked",
    "SELECT kid, algorithm, public, private, signs_from, signs_until, gone_at FROM keys",
];

/// Whether a statement is a step of the one call that is under way.
///
/// What goes on in auth beside calls is `maintenance`. Its purge alone writes, and is waited for in each life; the next one comes a minute
/// after, and a step that is held later than that fails the test. All else of it reads, outside of transactions, and is listed above; where
/// it reads something new, that is no step of each try, and fails the test as well. So what is in a transaction is of the call, and what is
/// not listed is too. What is listed changes nothing: who is killed there is killed between the step before and the one after.
fn is_step(statement: &Statement) -> bool {
    statement.is_in_transaction || !BACKGROUND_READS.iter().any(|start| statement.sql.starts_with(start))
}

/// A step by its verb and its table, such as `UPDATE families`.
fn name(statement: &Statement) -> String {
    let words: Vec<_> = statement.sql.split_whitespace().collect();
    let after = |word: &str| words.iter().skip_while(|is| **is != word).nth(1).copied().unwrap_or_default();
    let verb = words.first().copied().unwrap_or_default();
    match verb {
        "SELECT" if statement.sql.ends_with("FOR UPDATE") => format!("SELECT {} FOR UPDATE", after("FROM")),
        "SELECT" | "DELETE" => format!("{verb} {}", after("FROM")),
        "INSERT" => format!("INSERT {}", after("INTO")),
        "UPDATE" => format!("UPDATE {}", after("UPDATE")),
        verb => verb.to_owned(),
    }
}

/// What an operation does where nobody is killed.
struct Recorded {
    steps: Vec<String>,
    commit: usize,
    change: Change,
}

struct Auth {
    fabric: Fabric,
    database: postgres::Server,
    proxy: StatementProxy,
    server: Server,
    callers: Callers,
    acknowledged: Acknowledged,
    /// When its present life had begun, and its purge was over.
    began: Instant,
    reuse_interval: Duration,
}

impl Auth {
    async fn start(reuse_interval: Duration) -> Result<Self> {
        let programs = postgres::installed().context("PostgreSQL is installed")?;
        let database = block_in_place(|| postgres::Server::start(&programs))?;
        let proxy = StatementProxy::start(database.address(), is_step).await?;
        let mut fabric = Fabric::builder()?.start().await?;
        let (operator, secret) = add_principals(&fabric, &database.url()).await?;
        let store = format!("postgres://accord@{}/postgres?sslmode=disable", proxy.address());
        let mark = fabric.directory().join("steps.mark").display().to_string();
        let reuse = format!("{}s", reuse_interval.as_secs());
        let settings = toml! {
            store = { url = store, mark_file = mark }
            tokens = { refresh_reuse_interval = reuse }
            // No key begins or ends to sign meanwhile, which would change the store.
            keys = { publish_before_signing = "24h" }
        };
        let mut server = fabric.another_with(Part::Auth, settings)?;
        server.wait_serving().await?;
        proxy.answered(END_OF_PURGE).await?;
        let callers = Callers::new(server.channel()?, Bearer::new(&operator)?, secret);
        let (acknowledged, began) = (Acknowledged::default(), Instant::now());
        Ok(Self { fabric, database, proxy, server, callers, acknowledged, began, reuse_interval })
    }

    /// Kills auth at each step of an operation, on both sides; how often that was.
    async fn kill_at_each_step(&mut self, operation: Operation) -> Result<usize> {
        let recorded = self.record(operation).await.with_context(|| format!("{} without a kill", operation.name()))?;
        let (mut undone, mut done) = (0, 0);
        for (place, step) in recorded.steps.iter().enumerate() {
            for side in [Side::Before, Side::After] {
                let happened = self.kill_at(operation, &recorded, (place, side)).await;
                let at = || format!("{}, killed at step {} ({step}), {side:?}", operation.name(), place + 1);
                *if happened.with_context(at)? { &mut done } else { &mut undone } += 1;
            }
        }
        println!("{:16} {:5} {undone:8} {done:8}  {}", operation.name(), undone + done, recorded.steps.join(" | "));
        Ok(undone + done)
    }

    async fn record(&mut self, operation: Operation) -> Result<Recorded> {
        let request = self.acknowledged.prepare(operation, &self.callers).await?;
        let before = self.contents().await?;
        self.proxy.count_from_now(None);
        let answer = self.callers.clone().ask(request.clone()).await?;
        let steps: Vec<_> = self.proxy.counted().iter().map(name).collect();
        let commit = steps
            .iter()
            .rposition(|step| step == "COMMIT")
            .context("it was acknowledged before a COMMIT was answered")?;
        let change = before.change_to(&self.contents().await?);
        self.acknowledged.record(request, answer)?;
        self.acknowledged.verify(&self.callers).await?;
        Ok(Recorded { steps, commit, change })
    }

    /// Kills auth while a step is held, and holds it to its promises; whether what it was asked for has happened.
    async fn kill_at(&mut self, operation: Operation, recorded: &Recorded, at: (usize, Side)) -> Result<bool> {
        let request = self.acknowledged.prepare(operation, &self.callers).await?;
        let (before, asked) = (self.contents().await?, Instant::now());
        self.kill_while_held(&request, &recorded.steps, at).await?;
        self.restart().await?;
        let change = before.change_to(&self.contents().await?);
        let happened = at.0 > recorded.commit || at == (recorded.commit, Side::After);
        let (expected, nothing) = (&recorded.change, &Change::default());
        let expected = if happened { expected } else { nothing };
        ensure!(change == *expected, "it changed {change}, and was to change {expected}");
        if let Request::Revoke(_, ends) = &request {
            ensure!(self.callers.is_active(ends).await? != happened, "the token is not as the store has it");
        }
        self.acknowledged.verify(&self.callers).await?;
        self.ask_again(request, happened, asked).await?;
        self.acknowledged.verify(&self.callers).await.context("after it was asked for again")?;
        self.hold_total(operation, &before, recorded, happened).await?;
        self.fabric.manage(&["audit", "verify", "--store", &self.database.url()]).await?;
        Ok(happened)
    }

    async fn kill_while_held(&mut self, request: &Request, steps: &[String], at: (usize, Side)) -> Result<()> {
        self.proxy.count_from_now(Some(at));
        let mut call = tokio::spawn(self.callers.clone().ask(request.clone()));
        tokio::select! {
            biased;
            held = self.proxy.held() => held?,
            answer = &mut call => bail!("it was answered before: {:?}", answer?),
        }
        // Whatever auth has to say by now is here before this is.
        self.callers.hear().await?;
        ensure!(self.began.elapsed() < PURGE, "it took too long: the statement may be of the purge");
        self.server.process.kill()?;
        let answer = call.await?;
        ensure!(answer.is_err(), "it was acknowledged meanwhile: {answer:?}");
        self.proxy.ended().await?;
        let answered: Vec<_> = self.proxy.counted().iter().map(name).collect();
        let expected = &steps[..at.0 + usize::from(at.1 == Side::After)];
        ensure!(answered == expected, "the steps were {answered:?}");
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        self.proxy.count_from_now(None);
        self.server.process.restart()?;
        self.server.wait_serving().await?;
        self.proxy.answered(END_OF_PURGE).await?;
        self.began = Instant::now();
        Ok(())
    }

    /// The same request, by a caller who heard no answer.
    async fn ask_again(&mut self, request: Request, happened: bool, asked: Instant) -> Result<()> {
        let again = self.callers.clone().ask(request.clone()).await;
        if !happened || !matches!(request, Request::Refresh(_)) {
            return self.acknowledged.record(request, again.context("it can't be asked for again")?);
        }
        let repeated = self.callers.clone().ask(request.clone()).await;
        if asked.elapsed() < self.reuse_interval {
            // The successor that was lost on the way; more than one, and it would be none.
            let (again, repeated) = (again.context("the successor is lost")?, repeated?);
            ensure!(again.refresh_token() == repeated.refresh_token(), "there are two successors");
            return self.acknowledged.record(request, repeated);
        }
        ensure!(again.is_err() || !self.reuse_interval.is_zero(), "a token that was used is good again");
        // The successor was given to nobody: it is as if that had been stolen.
        let status = match repeated {
            // A machine so slow that the interval ended behind it.
            Ok(repeated) if !self.reuse_interval.is_zero() => return self.acknowledged.record(request, repeated),
            repeated => repeated.err().context("a token that was used is good again")?,
        };
        ensure!(reason(&status) == "REFRESH_REUSED", "{status:?}");
        self.acknowledged.end_login();
        Ok(())
    }

    /// That it has happened once, also where it was asked for twice.
    async fn hold_total(
        &self,
        operation: Operation,
        before: &Contents,
        recorded: &Recorded,
        happened: bool,
    ) -> Result<()> {
        let change = before.change_to(&self.contents().await?);
        let expected = match operation {
            // Each login is one of its own; that of the first has gone to nobody.
            Operation::Issue if happened => recorded.change.twice(),
            Operation::Refresh if happened => {
                ensure!(
                    change.of("families") == recorded.change.of("families"),
                    "asked for twice, it changed {change}"
                );
                return Ok(());
            }
            _ => recorded.change.clone(),
        };
        ensure!(change == expected, "asked for twice, it changed {change}, and was to change {expected}");
        Ok(())
    }

    async fn contents(&self) -> Result<Contents> {
        Contents::read(&self.database.url()).await
    }

    async fn stop(self) -> Result<()> {
        let Self { fabric, server, database, .. } = self;
        drop((server, database));
        fabric.stop().await
    }
}

/// A person, a program of the mesh's, and an administrator; the token of the last, and the secret of the program.
async fn add_principals(fabric: &Fabric, store: &str) -> Result<(String, String)> {
    let [password, secret] = ["renewals.password", "prober.secret"].map(|name| fabric.directory().join(name));
    fs::write(&password, PASSWORD)?;
    let [password, path] = [&password, &secret].map(|path| path.display().to_string());
    fabric.manage(&["principal", "add", PERSON, "--password-file", &password, "--store", store]).await?;
    let add = ["client", "add", PROBER, "--role", "accord-mesh", "--secret-file", &path, "--store", store];
    fabric.manage(&add).await?;
    fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin", "--store", store]).await?;
    let token = ["token", "issue", "--subject", OPERATOR, "--lifetime", "24h", "--store", store];
    Ok((fabric.manage(&token).await?, fs::read_to_string(secret)?.trim().to_owned()))
}

/// Kills auth at each step of these operations; how often that was.
async fn kill_at_each_step(operations: &[Operation], reuse_interval: Duration) -> Result<usize> {
    let mut auth = Auth::start(reuse_interval).await?;
    println!("refresh_reuse_interval: {reuse_interval:?}\n{:16} kills not done     done  steps", "operation");
    let mut kills = 0;
    for operation in operations {
        kills += auth.kill_at_each_step(*operation).await?;
    }
    auth.stop().await?;
    Ok(kills)
}

// The database is started while others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_killed_at_each_step_has_done_all_of_it_after_the_commit_and_nothing_before() -> Result<()> {
    if env::var_os("ACCORD_CRASH_STEPS").is_none() {
        return kill_at_each_step(&[Operation::Refresh, Operation::RevokeToken], Duration::ZERO).await.map(drop);
    }
    let strict = kill_at_each_step(&[Operation::Refresh], Duration::ZERO).await?;
    let kills = strict + kill_at_each_step(&Operation::ALL, Duration::from_secs(5)).await?;
    println!("{kills} kills, each at a step of its own");
    Ok(())
}
