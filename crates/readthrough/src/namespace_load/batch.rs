//! Batch loads (DataLoader): keys that are asked for together are loaded by one call of the origin.

use std::pin::pin;

use futures_util::future::{Either, join_all, select};

use super::{Access, Awaited, KeyAnswer, KeyLoad, Subject};
use crate::engine::Engine;
use crate::flight::FlightHandle;
use crate::key_requirement::{Asked, KeyRequirement};
use crate::limits::Overload;
use crate::namespace::Namespace;
use crate::origin::Origin;
use crate::store::Store;
use crate::wait_budget::WaitBudget;
use crate::world::{Moment, World};

/// A key whose load has started, and how it is loaded.
type Started<C> = (FlightHandle, Subject, KeyLoad<C>);

/// What one reader of a batch waits for.
type Begun = Result<(Subject, Asked, WaitBudget, Awaited), Overload>;

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Loads keys that hold nothing as [`Engine::load_key`] does, those that nobody loads yet up to `most` by one call of the
    /// origin. What becomes of each, in their order.
    pub async fn load_keys(
        &self,
        namespace: &Namespace,
        tenant: &str,
        keys: &[(&str, KeyLoad<O::Call>)],
        most: usize,
    ) -> Vec<Result<KeyAnswer, Overload>> {
        let (came, now) = (self.ask(KeyRequirement::default()), self.0.world.now());
        let mut started = Vec::new();
        let mut join_or_start = |(key, load): &(&str, KeyLoad<O::Call>)| {
            let (subject, budget) = (Subject::new(namespace, tenant, key), WaitBudget::new(now, load.wait_budget));
            let asked = Asked { required: load.required, ..came };
            let awaited = match self.join_or_start_load(&subject, load.ttl, (&asked, budget))? {
                Access::Found(found) => Awaited::Found(found),
                Access::Joined(waiter) => Awaited::Load { waiter, collapsed: true },
                Access::Follows(waiter) => Awaited::End(waiter),
                Access::Started(waiter, handle) => {
                    started.push((handle, subject.clone(), load.clone()));
                    Awaited::Load { waiter, collapsed: false }
                }
            };
            Ok((subject, asked, budget, awaited))
        };
        let begun: Vec<Begun> = keys.iter().map(&mut join_or_start).collect();
        self.run_batches(started, most);
        let answers = keys.iter().zip(begun).map(|((_, load), begun)| self.wait_for_begun(load, begun));
        let answers = join_all(answers).await;
        // Some have waited for the others.
        let end = self.0.world.now();
        let aged =
            |answer: KeyAnswer, at| KeyAnswer { found: answer.found.map(|it| it.after(end.since(at))), ..answer };
        answers.into_iter().map(|(answer, at)| answer.map(|answer| aged(answer, at))).collect()
    }

    /// What becomes of a key, and when that was.
    async fn wait_for_begun(&self, load: &KeyLoad<O::Call>, begun: Begun) -> (Result<KeyAnswer, Overload>, Moment) {
        let answer = match begun {
            Ok((subject, asked, budget, awaited)) => self.wait_for_key(&subject, load, (&asked, budget), awaited).await,
            Err(overload) => Err(overload),
        };
        (answer, self.0.world.now())
    }

    fn run_batches(&self, started: Vec<Started<O::Call>>, most: usize) {
        let mut started = started.into_iter().peekable();
        while started.peek().is_some() {
            let batch: Vec<_> = started.by_ref().take(most.max(1)).collect();
            self.0.world.spawn(run(self.clone(), batch));
        }
    }
}

/// Runs loads in a task of their own, as one: it ends early only when nobody waits for any of them any more.
async fn run<O: Origin, S: Store, W: World>(engine: Engine<O, S, W>, batch: Vec<Started<O::Call>>) {
    let Some(until) = batch.iter().map(|(handle, ..)| handle.flight.until).max() else { return };
    let calls = batch.iter().map(|(_, _, load)| load.call.clone()).collect();
    let loaded = {
        let abandoned = join_all(batch.iter().map(|(handle, ..)| handle.abandoned()));
        match select(pin!(engine.load_batch(calls, until)), pin!(abandoned)).await {
            Either::Left((loaded, _)) => loaded,
            Either::Right(_) => return,
        }
    };
    for ((handle, subject, load), loaded) in batch.into_iter().zip(loaded) {
        engine.finish_key(handle, &subject, load.ttl, loaded);
    }
}
