//! Readers at gateways, who may leave before they have their answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::gateway::Gateway;
use super::scheduler::{Rng, Scheduler};
use super::sessions::Session;
use crate::ConsistencyRequirement;

/// Those that may leave; of more, the first stay for their answer.
const MOST: usize = 30;

/// The readers of a run, in the order in which they came.
#[derive(Default)]
pub(super) struct Readers(VecDeque<u64>);

impl Readers {
    /// One more asks a gateway, as one of several may.
    pub(super) fn read(
        &mut self,
        scheduler: &mut Scheduler,
        (rng, session): (&Rng, &Session),
        gateway: Arc<Gateway>,
    ) -> &'static str {
        let object = object(rng);
        let consistency = match rng.below(20) {
            0 => ConsistencyRequirement::Strong,
            1 => ConsistencyRequirement::MaxStaleness(Duration::from_millis(rng.below(300))),
            _ => ConsistencyRequirement::MinimizeLatency,
        };
        let session = session.sometimes();
        self.0.push_back(scheduler.add(Box::pin(async move {
            gateway.read_in(object, consistency, session).await;
        })));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
        "read"
    }

    /// A reader leaves, whether it has its answer or not.
    pub(super) fn leave(&mut self, scheduler: &mut Scheduler) -> &'static str {
        if let Some(reader) = self.0.pop_front() {
            scheduler.cancel(reader);
        }
        "a reader leaves"
    }
}

/// What is asked for or written: mostly the same.
pub(super) fn object(rng: &Rng) -> u8 {
    [0, 0, 0, 0, 1, 2][usize::try_from(rng.below(6)).expect("a small number")]
}
