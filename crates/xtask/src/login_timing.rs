//! `cargo xtask login-timing`: whether a login tells by the time that it takes that there is nobody of its name.
//!
//! Names that are there, each with a wrong password, and names that nobody has are tried in turns, and the times are compared by their
//! ranks (Mann and Whitney, 1947), which a few answers that were late for another reason don't move. The tests of auth count the work;
//! this measures it, so that a machine with other work on it may find a difference where there is none.

use std::time::{Duration, Instant};

use accord_api::accord::{
    auth::v1::{
        AddPrincipalRequest, IssueRequest, PasswordGrant, Principal, admin_service_client::AdminServiceClient,
        issue_request::Grant, token_service_client::TokenServiceClient,
    },
    policy::v1::PrincipalKind,
};
use accord_fabric::{Fabric, binaries};
use anyhow::{Context, Result, ensure};
use tonic::{Code, Request, transport::Channel};

use crate::say::{note, say};

/// What `cargo xtask login-timing` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Logins of each kind
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(40..=40_000))]
    logins: u32,
}

/// Wrong passwords that a name is tried with: fewer than are throttled.
const TRIES: u32 = 4;

/// Logins before it is measured.
const WARM_UP: u32 = 20;

/// From which score on the times differ, as tools for timing leaks have it (Reparaz, Balasch and Verbauwhede, "Dude, is my code constant
/// time?", 2017): of times that are alike one in 100,000 comparisons comes so far.
const MOST: f64 = 4.5;

const ADMINISTRATOR: &str = "operator";

/// Measures, and fails where the times differ.
pub(crate) fn run(args: &Args) -> Result<()> {
    note("Building (the first time takes minutes) ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> Result<()> {
    let fabric = Fabric::start().await?;
    note(format!("Adding {} people ...", args.logins.div_ceil(TRIES)));
    add_people(&fabric, args.logins.div_ceil(TRIES)).await?;
    let mut tokens = TokenServiceClient::new(fabric.auth.channel()?);
    for number in 0..WARM_UP {
        refused(&mut tokens, &format!("warm-up-{number:05}")).await?;
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..args.logins {
        let names = [format!("person-{:05}", number / TRIES), format!("nobody-{:05}", number / TRIES)];
        // Each kind comes first as often as the other.
        let first = usize::from(number % 2 == 0);
        for kind in [first, 1 - first] {
            let took = refused(&mut tokens, &names[kind]).await?;
            if kind == 0 { known.push(took) } else { unknown.push(took) }
        }
    }
    fabric.stop().await?;
    report(known, unknown)
}

fn report(known: Vec<Duration>, unknown: Vec<Duration>) -> Result<()> {
    let score = rank_score(&known, &unknown);
    let medians = [median(known), median(unknown)].map(|median| median.as_secs_f64() * 1e3);
    say(format!("wrong password  {:8.3} ms in the median", medians[0]))?;
    say(format!("unknown name    {:8.3} ms in the median", medians[1]))?;
    say(format!("score of ranks  {score:8.2}, alike between -{MOST} and {MOST}"))?;
    ensure!(score.abs() < MOST, "the time of a login tells whether there is somebody of its name");
    Ok(())
}

async fn add_people(fabric: &Fabric, count: u32) -> Result<()> {
    fabric.manage(&["principal", "add", ADMINISTRATOR, "--role", "accord-admin"]).await?;
    let bearer = format!("Bearer {}", fabric.token(ADMINISTRATOR).await?).parse()?;
    let mut admin = AdminServiceClient::with_interceptor(fabric.auth.channel()?, move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", std::clone::Clone::clone(&bearer));
        Ok(request)
    });
    for number in 0..count {
        let (subject, kind) = (format!("person-{number:05}"), PrincipalKind::User.into());
        let principal = Some(Principal { subject, kind, ..Principal::default() });
        let password = "the right password".to_owned();
        admin.add_principal(AddPrincipalRequest { principal, password, ..AddPrincipalRequest::default() }).await?;
    }
    Ok(())
}

/// How long it takes to be refused.
async fn refused(tokens: &mut TokenServiceClient<Channel>, name: &str) -> Result<Duration> {
    let password = "the wrong password".to_owned();
    let grant = Grant::Password(PasswordGrant { name: name.to_owned(), password, ..PasswordGrant::default() });
    let began = Instant::now();
    let answer = tokens.issue(IssueRequest { grant: Some(grant) }).await;
    let took = began.elapsed();
    let code = answer.err().map(|status| status.code());
    ensure!(code == Some(Code::Unauthenticated), "the login of {name} was answered with {code:?}");
    Ok(took)
}

/// How far the first times lie above the second ones by their ranks, in standard deviations; equal ones share theirs.
fn rank_score(first: &[Duration], second: &[Duration]) -> f64 {
    let mut wins = 0.0;
    for one in first {
        for other in second {
            wins += match one.cmp(other) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let [first, second] = [first.len(), second.len()].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    let deviation = (first * second * (first + second + 1.0) / 12.0).sqrt();
    (wins - first * second / 2.0) / deviation
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times from one on, that many milliseconds apart.
    fn times(from: u64, step: usize) -> Vec<Duration> {
        (from..from + 1000).step_by(step).map(Duration::from_millis).collect()
    }

    #[test]
    fn times_that_are_alike_score_nothing() {
        assert!(rank_score(&times(1000, 10), &times(1000, 10)).abs() < 1e-9);
        assert!(rank_score(&times(1005, 10), &times(1000, 10)).abs() < MOST);
    }

    #[test]
    fn slower_times_score_above_the_bound_even_with_a_few_that_were_late() {
        let mut slower = times(1400, 10);
        assert!(rank_score(&slower, &times(1000, 10)) > MOST);
        assert!(rank_score(&times(1000, 10), &slower) < -MOST);
        slower.extend([Duration::from_mins(1); 3]);
        assert!(rank_score(&slower, &times(1000, 10)) > MOST);
    }
}
