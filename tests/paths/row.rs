//! One row of the table: what the upstream does, how it is called, and what comes of it on every path.

use crate::{reply::Reply, upstream::Endpoint};
use std::time::Duration;
use tonic::Code;

/// Names and values of metadata.
pub(crate) type Pairs = &'static [(&'static str, &'static str)];

/// Headers of an answer that its contract keeps where the method is cached, and of a request that go upstream from there.
/// The contract of every row declares them.
pub(crate) const KEPT: &[&str] = &["x-kept", "x-kept-bin"];
pub(crate) const VARIES: &[&str] = &["x-vary"];

/// One row.
pub(crate) struct Row {
    pub name: &'static str,
    /// What the contract says besides, as members of a policy in an overlay.
    pub policy: &'static str,
    pub endpoints: Vec<Endpoint>,
    pub script: Vec<Reply>,
    pub caller: Pairs,
    pub timeout: Option<Duration>,
    /// Connections to each endpoint. One, so that whoever shares it is hurt where somebody can be.
    pub connections: u32,
    /// How many calls are made. With more than one, what is seen is the set of what each saw.
    pub times: usize,
    /// Whether another call is in flight on the same connection meanwhile. It gets the first reply of the script.
    pub beside: bool,
    pub expected: Expected,
}

/// What every path gives. What is not said is not looked at, but the same on all of them.
#[derive(Clone)]
pub(crate) struct Expected {
    pub code: Code,
    pub message: Option<String>,
    pub details: Option<&'static [&'static str]>,
    /// Which part of the mesh says that it failed; none where the handler answered.
    pub fault: Option<&'static str>,
    /// The answer's text; the request's own unless said otherwise.
    pub text: Option<String>,
    /// The calls that the upstream sees: what each says of attempts before it, `-` where it says nothing.
    pub calls: &'static str,
    /// The caller's metadata that reaches the upstream where nothing is cached.
    pub sent: Pairs,
    /// The initial metadata of the answer where nothing is cached.
    pub head: Pairs,
    /// The trailing metadata of the answer where nothing is cached. JSON has none.
    pub trailers: Pairs,
}

impl Expected {
    fn new(code: Code) -> Self {
        Self {
            code,
            message: Some(String::new()),
            details: Some(&[]),
            fault: None,
            text: None,
            calls: "-",
            sent: &[],
            head: &[],
            trailers: &[],
        }
    }

    /// The handler's answer.
    pub(crate) fn ok() -> Self {
        Self::new(Code::Ok)
    }

    /// The handler's own error.
    pub(crate) fn error(code: Code, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::new(code) }
    }

    /// The handler's own code, with a message of the mesh.
    pub(crate) fn error_of_code(code: Code) -> Self {
        Self { message: None, ..Self::new(code) }
    }

    /// What the mesh says of an upstream that gave no answer, or none that can be used.
    pub(crate) fn upstream_fault(code: Code, details: Option<&'static [&'static str]>) -> Self {
        Self { message: None, details, fault: Some("upstream"), ..Self::new(code) }
    }

    /// The end of the caller's time.
    pub(crate) fn deadline() -> Self {
        let details: &[_] = &["ErrorInfo DEADLINE_EXCEEDED"];
        Self { message: None, details: Some(details), fault: Some("upstream"), ..Self::new(Code::DeadlineExceeded) }
    }

    pub(crate) fn details(self, details: &'static [&'static str]) -> Self {
        Self { details: Some(details), ..self }
    }

    pub(crate) fn text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    pub(crate) fn calls(self, calls: &'static str) -> Self {
        Self { calls, ..self }
    }

    pub(crate) fn sent(self, sent: Pairs) -> Self {
        Self { sent, ..self }
    }

    pub(crate) fn head(self, head: Pairs) -> Self {
        Self { head, ..self }
    }

    pub(crate) fn trailers(self, trailers: Pairs) -> Self {
        Self { trailers, ..self }
    }
}

impl Row {
    /// An upstream of one endpoint that plays this script.
    pub(crate) fn new(name: &'static str, script: impl Into<Vec<Reply>>, expected: Expected) -> Self {
        Self {
            name,
            policy: "",
            endpoints: vec![Endpoint::Serves],
            script: script.into(),
            caller: &[],
            timeout: None,
            connections: 1,
            times: 1,
            beside: false,
            expected,
        }
    }

    pub(crate) fn policy(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn endpoints(self, endpoints: &[Endpoint]) -> Self {
        Self { endpoints: endpoints.to_vec(), ..self }
    }

    pub(crate) fn caller(self, caller: Pairs) -> Self {
        Self { caller, ..self }
    }

    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    pub(crate) fn connections(self, connections: u32) -> Self {
        Self { connections, ..self }
    }

    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub(crate) fn beside(self) -> Self {
        Self { beside: true, ..self }
    }
}
