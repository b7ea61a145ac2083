//! What an agent may answer that is no X.509-SVID.

use std::time::SystemTime;

use accord_test_log::Log;
use accord_test_spiffe::{Agent, Answer, TrustDomain, unregistered};
use tempfile::TempDir;

use super::*;

const PAY: &str = "/ns/shop/sa/pay";

/// Long enough for an agent of this machine to be heard, where nothing that can be waited for follows.
const HEARD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_hours(1)
}

fn agent(answer: Answer) -> (Agent, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Agent::start(&directory.path().join("agent.sock"), answer), directory)
}

fn refused(answer: Answer) -> String {
    let (agent, _directory) = agent(answer);
    let source = Source::asked(agent.address()).unwrap();
    source.first(HEARD).unwrap_err().to_string()
}

#[test]
fn workload_that_the_agent_does_not_know_is_refused_with_the_remedy() {
    let error = refused(unregistered());
    assert!(
        error.contains("no X.509-SVID of the Workload API at unix:///") && error.contains("within 500ms"),
        "{error}"
    );
    assert!(error.contains("no identity for this workload (PERMISSION_DENIED: no identity issued)"), "{error}");
    assert!(error.ends_with("; register this workload with the agent's server"), "{error}");
}

#[test]
fn agent_that_is_not_there_is_refused_with_its_address() {
    let error = Source::asked("unix:///nowhere/agent.sock".to_owned()).unwrap().first(HEARD).unwrap_err().to_string();
    assert!(error.contains("unix:///nowhere/agent.sock") && error.contains("No such file"), "{error}");
    assert!(error.ends_with("; start the agent, and give this process its socket"), "{error}");
}

#[test]
fn answer_that_is_no_svid_is_refused_with_what_is_wrong() {
    let (ours, theirs) = (TrustDomain::new("prod.example"), TrustDomain::new("other.example"));
    let (svid, other) = (ours.issue(PAY, later(), &[]), ours.issue(PAY, later(), &[]));
    let good = ours.answer(&svid, &[]);
    let changed = |change: &dyn Fn(&mut accord_api::spiffe::X509svidResponse)| {
        let mut answer = good.clone();
        change(&mut answer);
        refused(Ok(answer))
    };
    let misnamed = theirs.issue(PAY, later(), &[]).certificate;
    for (error, why) in [
        (changed(&|answer| answer.svids.clear()), "it has no X.509-SVID"),
        (changed(&|answer| answer.svids[0].x509_svid.clear()), "its X.509-SVID has no certificate"),
        (changed(&|answer| answer.svids[0].x509_svid.truncate(100)), "its certificates are not in DER"),
        (
            changed(&|answer| answer.svids[0].x509_svid = misnamed.clone()),
            "that of spiffe://other.example/ns/shop/sa/pay",
        ),
        (changed(&|answer| answer.svids[0].x509_svid = ours.bundle()), "is no X.509-SVID"),
        (changed(&|answer| answer.svids[0].x509_svid_key.clone_from(&other.key)), "certificate and key"),
        (changed(&|answer| answer.svids[0].x509_svid_key.clear()), "certificate and key"),
        (changed(&|answer| answer.svids[0].bundle.clear()), "the trust domain prod.example has no authorities"),
    ] {
        assert!(error.contains("the agent's answer can't be used") && error.contains(why), "{why}: {error}");
        assert!(error.ends_with("; look into the agent's log"), "{error}");
    }
}

#[test]
fn workload_that_is_registered_while_it_waits_has_its_svid() {
    let (agent, _directory) = agent(unregistered());
    let source = Source::asked(agent.address()).unwrap();
    assert!(source.first(HEARD).is_err());
    let domain = TrustDomain::new("prod.example");
    agent.say(Ok(domain.answer(&domain.issue(PAY, later(), &[]), &[])));
    source.first(PATIENCE).unwrap();
    assert_eq!(source.svid().unwrap().id(), "spiffe://prod.example/ns/shop/sa/pay");
}

#[test]
fn answer_that_cannot_be_used_leaves_the_last_svid() {
    let domain = TrustDomain::new("prod.example");
    let good = Ok(domain.answer(&domain.issue(PAY, later(), &[]), &[]));
    let (agent, _directory) = agent(good);
    let source = Source::at(&agent.address()).unwrap();
    let before = source.svid().unwrap();
    let mut empty = domain.answer(&domain.issue(PAY, later(), &[]), &[]);
    empty.svids.clear();
    agent.say(Ok(empty));
    let heard = source.shared.came.wait_timeout_while(source.shared.status(), PATIENCE, |it| it.problem.is_none());
    drop(heard.unwrap());
    assert!(Arc::ptr_eq(&source.svid().unwrap(), &before));
}

#[test]
fn those_who_use_one_agent_share_what_asks_it() {
    let (agent, _directory) = agent(unregistered());
    let one = Source::asked(agent.address()).unwrap();
    assert!(Arc::ptr_eq(&one, &Source::asked(agent.address()).unwrap()));
}

#[test]
fn problem_is_logged_once_with_the_end_of_what_stays_and_no_key() {
    let log = Log::default();
    let _guard = log.start();
    let domain = TrustDomain::new("prod.example");
    let answer = domain.answer(&domain.issue(PAY, later(), &[]), &[]);
    let shared = Shared::new("unix:///agent.sock".to_owned());
    shared.replace(Svid::read(answer).unwrap());
    shared.failed(Problem::Gone);
    shared.failed(Problem::Gone);
    let text = log.text();
    assert_eq!(text.matches("the last one stays in use until it ends").count(), 1, "{text}");
    assert!(text.contains("the agent has gone") && text.contains("ends"), "{text}");
}

#[test]
fn address_that_is_none_is_refused_with_the_remedy() {
    for wrong in ["/run/agent.sock", "unix://agent.sock", "tcp://127.0.0.1:8081", "unix:", "http://agent"] {
        let error = socket(wrong).unwrap_err().to_string();
        assert!(error.contains(wrong) && error.contains("write unix:// and the path"), "{error}");
    }
    for good in ["unix:///run/agent.sock", "unix:/run/agent.sock"] {
        assert_eq!(socket(good).unwrap(), "unix:///run/agent.sock");
    }
    // No test here sets it.
    assert!(socket(VARIABLE).unwrap_err().to_string().contains("SPIFFE_ENDPOINT_SOCKET is not set"));
}
