//! The call that a thread works for: log lines carry its ids, and calls to the next hop its trace.
//!
//! It is entered whenever something of the call is polled, by swapping a pointer; a call that is not sampled costs no more than that.

use std::{
    cell::RefCell,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tonic::Status;
use tracing::{Span, span::Entered};

use crate::call_record::{CallRecord, CallTrace};

thread_local! {
    static CURRENT: RefCell<Option<CallRecord>> = const { RefCell::new(None) };
}

/// Looks at the record of the call that this thread works for, if it works for one.
pub(crate) fn with<T>(look: impl FnOnce(&CallRecord) -> T) -> Option<T> {
    let seen = CURRENT.try_with(|current| current.try_borrow().ok()?.as_ref().map(look));
    seen.ok().flatten()
}

/// Notes how the call ended that this thread works for, where its answer says that in its body alone.
pub fn note_status(status: &Status) {
    with(|record| record.set_status(status));
}

/// A call, as far as what is done for it has to know it: its record, and where it is sampled, its current span.
#[derive(Clone, Debug)]
pub struct CurrentCall {
    record: Option<CallRecord>,
    span: Span,
}

impl CurrentCall {
    /// No call.
    pub fn none() -> Self {
        Self { record: None, span: Span::none() }
    }

    /// The call that this thread works for.
    pub fn get() -> Self {
        let record = with(CallRecord::clone);
        let is_unsampled = record.as_ref().and_then(CallRecord::trace).is_some_and(CallTrace::is_unsampled);
        Self { record, span: if is_unsampled { Span::none() } else { Span::current() } }
    }

    pub(crate) fn new(record: CallRecord, span: Span) -> Self {
        Self { record: Some(record), span }
    }

    pub(crate) fn record(&self) -> Option<&CallRecord> {
        self.record.as_ref()
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The same call in a span within its own.
    #[must_use]
    pub fn child(mut self, open: impl FnOnce() -> Span) -> Self {
        let span = {
            let _entered = self.enter();
            open()
        };
        if !span.is_none() {
            self.span = span;
        }
        self
    }

    /// Does the work for this call, on whatever thread it is polled and dropped.
    pub fn instrument<F>(self, work: F) -> InCall<F> {
        InCall { work: Some(work), call: self }
    }

    /// Works for this call until the guard is dropped.
    pub(crate) fn enter(&mut self) -> Guard<'_> {
        swap(&mut self.record);
        Guard { record: &mut self.record, _span: self.span.enter() }
    }
}

fn swap(record: &mut Option<CallRecord>) {
    let _ = CURRENT.try_with(|current| {
        if let Ok(mut current) = current.try_borrow_mut() {
            mem::swap(&mut *current, record);
        }
    });
}

/// While it lives, this thread works for a call.
pub(crate) struct Guard<'a> {
    record: &'a mut Option<CallRecord>,
    _span: Entered<'a>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        swap(self.record);
    }
}

pin_project! {
    /// Work for a call.
    pub struct InCall<F> {
        #[pin]
        work: Option<F>,
        call: CurrentCall,
    }

    impl<F> PinnedDrop for InCall<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.call.enter();
            this.work.set(None);
        }
    }
}

impl<F: Future> Future for InCall<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.call.enter();
        // It is there until it is dropped.
        this.work.as_pin_mut().map_or(Poll::Pending, |work| work.poll(context))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{request_id::RequestId, trace};

    fn call() -> CurrentCall {
        let record = CallRecord::begun(RequestId::new(), trace::begin(&HeaderMap::new(), None));
        CurrentCall::new(record, Span::none())
    }

    fn current_id() -> Option<String> {
        with(|record| record.request_id().map(ToString::to_string)).flatten()
    }

    #[tokio::test]
    async fn work_for_a_call_sees_its_record_and_nothing_after_it_does() {
        let call = call();
        let id = call.record().and_then(CallRecord::request_id).unwrap().to_string();
        assert_eq!(call.instrument(async { current_id() }).await, Some(id));
        assert_eq!(current_id(), None);
    }

    #[tokio::test]
    async fn work_for_another_call_within_ends_where_it_began() {
        let (outer, inner) = (call(), call());
        let nested = async {
            let before = current_id();
            let within = inner.instrument(async { current_id() }).await;
            (before.clone(), within, current_id() == before)
        };
        let (before, within, is_outer_again) = outer.instrument(nested).await;
        assert!(before != within && within.is_some() && is_outer_again);
    }

    #[tokio::test]
    async fn spawned_work_goes_on_for_its_call() {
        let inner = async {
            let id = current_id();
            (id, tokio::spawn(CurrentCall::get().instrument(async { current_id() })).await.unwrap())
        };
        let (id, spawned) = call().instrument(inner).await;
        assert!(id.is_some() && id == spawned);
    }

    #[test]
    fn work_that_is_dropped_is_dropped_in_its_call() {
        struct Dropped<'a>(&'a mut Option<String>);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                *self.0 = current_id();
            }
        }
        let mut seen = None;
        drop(call().instrument(Dropped(&mut seen)));
        assert!(seen.is_some());
    }
}
