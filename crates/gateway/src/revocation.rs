//! Revocation during a stream: its caller is verified once, and the stream ends when the token by which it was let in is
//! revoked, or when nobody can know any more that it is not.

use crate::{authenticate::refusal, authorize::Permit, fault::Fault};
use accord_contract::MethodKind;
use accord_mesh::MeshClient;
use accord_runtime::current_call::CurrentCall;
use accord_token::Refusal;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// Ends with a fault when the credentials of a stream are withdrawn. It never ends for a unary call, which is over soon, nor
/// for a caller without credentials.
pub(crate) struct Withdrawal(Option<oneshot::Receiver<Refusal>>);

impl Withdrawal {
    /// Watches over a call in a task of its own, so that a message of the stream costs no more than a look at a flag.
    pub(crate) fn watch(mesh: &MeshClient, permit: &Permit) -> Self {
        let credentials: Vec<_> = match permit.entry().method.kind {
            MethodKind::Unary => return Self(None),
            _ => permit.credentials().cloned().collect(),
        };
        if credentials.is_empty() {
            return Self(None);
        }
        let mesh = mesh.clone();
        let (mut sender, receiver) = oneshot::channel();
        let watch = async move {
            let refused = tokio::select! {
                refused = mesh.withdrawn(&credentials) => refused,
                () = sender.closed() => return,
            };
            // The stream may have ended in this moment.
            let _ = sender.send(refused);
        };
        tokio::spawn(CurrentCall::get().instrument(watch));
        Self(Some(receiver))
    }

    /// Does the work for as long as the credentials hold.
    pub(crate) async fn hold<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Result<T, Fault> {
        poll_fn(|context| match Pin::new(&mut *self).poll(context) {
            Poll::Ready(fault) => Poll::Ready(Err(fault)),
            Poll::Pending => work.as_mut().poll(context),
        })
        .await
    }
}

impl Future for Withdrawal {
    type Output = Fault;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fault> {
        let Some(receiver) = &mut self.0 else { return Poll::Pending };
        let Poll::Ready(refused) = Pin::new(receiver).poll(context) else { return Poll::Pending };
        self.0 = None;
        // Without a word the watch ends only with the process.
        refused.map_or(Poll::Pending, |refused| Poll::Ready(refusal(refused)))
    }
}
