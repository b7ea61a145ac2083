//! The memory budget: how many bytes the gateway has in memory for calls, of which every caller has a fair share.
//!
//! Counted is what grows with what callers and upstreams send: the bodies of requests that have to be read whole, answers until
//! their last byte is on its way, and what waits in the windows of calls that are passed on as they come. Where a caller has its
//! share, its next call is refused with OVERLOADED, however much is free for others.

use crate::declared_metrics::MEMORY_HELD;
use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::MethodKind;
use accord_runtime::{
    fair_share::{FairShare, Held, Holder, Shed},
    telemetry,
};
use accord_upstream::{Caller, STREAM_WINDOW};
use bytes::Bytes;
use opentelemetry::KeyValue;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The bytes that may be in memory.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<Kinds>);

/// What they are held for.
struct Kinds {
    requests: FairShare,
    responses: FairShare,
}

impl MemoryBudget {
    /// A budget of so many bytes, of which one caller alone gets a share in percent.
    pub(crate) fn new(bytes: u64, max_share: u64) -> Self {
        let requests = FairShare::new(bytes, max_share).observed("memory");
        let responses = requests.kind();
        observe([("request", &requests), ("response", &responses)]);
        Self(Arc::new(Kinds { requests, responses }))
    }

    /// Another budget, while calls hold bytes.
    pub(crate) fn resize(&self, bytes: u64, max_share: u64) {
        self.0.requests.resize(bytes, max_share);
    }
}

fn observe(kinds: [(&'static str, &FairShare); 2]) {
    let kinds = kinds.map(|(kind, budget)| (KeyValue::new("kind", kind), Arc::downgrade(budget.held())));
    MEMORY_HELD.observe(&telemetry::meter(), move |gauge| {
        for (kind, held) in &kinds {
            if let Some(held) = held.upgrade() {
                gauge.observe(held.load(Ordering::Relaxed), std::slice::from_ref(kind));
            }
        }
    });
}

/// The memory of one call.
#[derive(Clone)]
pub(crate) struct CallMemory {
    budget: MemoryBudget,
    holder: Holder,
}

impl CallMemory {
    /// What this holder may have of the budget.
    pub(crate) fn new(budget: &MemoryBudget, holder: Holder) -> Self {
        Self { budget: budget.clone(), holder }
    }

    /// As the crate `upstream` takes it, which holds what it reads of answers.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller { holder: self.holder, memory: Some(&self.budget.0.responses) }
    }

    /// A request that is about to be read.
    pub(crate) fn request(&self) -> Held {
        self.budget.0.requests.nothing(Some(self.holder))
    }

    /// An answer that is about to be written, or was read by other means than a call of `upstream`.
    pub(crate) fn response(&self, bytes: usize) -> Result<Held, Fault> {
        self.budget.0.responses.hold(Some(self.holder), bytes as u64, 0).map_err(shed)
    }

    /// What waits in the windows of a call that is passed on as it comes, where its caller or the upstream reads slowly. A call
    /// that streams both ways may fill both.
    pub(crate) fn windows(&self, kind: MethodKind) -> Result<Held, Fault> {
        let windows = match kind {
            MethodKind::Unary | MethodKind::ServerStreaming => 1,
            MethodKind::ClientStreaming | MethodKind::BidiStreaming => 2,
        };
        self.response(windows * STREAM_WINDOW as usize)
    }
}

/// Bytes, and the proof that they are counted.
pub(crate) struct HeldBytes {
    /// The bytes.
    pub bytes: Bytes,
    _held: Held,
}

impl HeldBytes {
    /// Bytes that are held.
    pub(crate) fn new(bytes: Bytes, held: Held) -> Self {
        Self { bytes, _held: held }
    }
}

/// Why a call ends that would take more than its caller may hold.
pub(crate) fn shed(shed: Shed) -> Fault {
    let message = match shed {
        Shed::Full => "the gateway has as many bytes in memory as it may (`limits.max_memory`); try again shortly",
        Shed::Share => {
            "this caller has as many bytes in the gateway's memory as it may (`limits.max_share`); read the answers, end the \
             requests that have begun, or try again shortly"
        }
    };
    Fault::retry(Component::Gateway, Reason::Overloaded, message, Duration::from_secs(1))
}
