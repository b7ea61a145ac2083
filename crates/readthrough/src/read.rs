//! The way of a read: look, join or start a load, wait, answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::entry::{Entry, Verdict};
use super::flight::{Airborne, Departure, Flight, Landing, Seat};
use super::world::Moment;
use super::{Answer, Engine, Load, Origin, Outcome, Overload, Read, Stale, Store, Wish, World, load};

/// What a look into the store found.
enum Look {
    /// An answer.
    Answer(Answer),
    /// An answer whose reload should run behind it.
    Revalidate(Answer),
    /// A load is needed, and this is why.
    Load(Outcome),
}

/// How a reader gets its load.
enum Boarding {
    /// It came in the meantime.
    Answer(Answer),
    /// It waits; `collapsed` if for another reader's load.
    Wait { seat: Seat, collapsed: bool },
    /// It loads alone.
    Alone,
}

/// Until when a reader waits, and for which loads.
#[derive(Clone, Copy)]
struct Patience {
    until: Moment,
    /// It does not join a load that ends sooner.
    least: Moment,
}

impl Patience {
    fn begin(now: Moment, time: Duration) -> Self {
        Self { until: now.after(time), least: Moment::default() }
    }

    /// How it goes on after a load that was cut for want of its starter's time; not at all where its own is over as well.
    ///
    /// From now on it joins only loads that have half of its own time left: so readers with little time can't cut it short
    /// for ever, and a crowd with a little more time each does not start a load each.
    fn after_cut(self, cut_at: Moment, now: Moment) -> Option<Self> {
        let left = self.until.since(now.max(cut_at));
        (left > load::MARGIN).then(|| Self { least: now.after(left / 2), ..self })
    }
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Answers from memory where the contract and the wish allow it, and from the origin otherwise.
    pub async fn read(&self, read: &Read<O::Call>) -> Result<Answer, Overload> {
        let answer = self.answer(read).await?;
        self.0.metrics.answered(&answer);
        Ok(answer)
    }

    /// A stored answer in the place of one that does not come: for a reader whose time is nearly over, where the contract
    /// lets it stand in for a failure of the origin. Others are then spared the wait for a while.
    pub fn stand_in(&self, read: &Read<O::Call>) -> Option<Answer> {
        let answer = self.despite_failure(read)?;
        self.spare_origin(&read.key);
        self.0.metrics.answered(&answer);
        Some(answer)
    }

    async fn answer(&self, read: &Read<O::Call>) -> Result<Answer, Overload> {
        let asked = self.0.validity.now();
        let mut patience = Patience::begin(self.0.world.now(), read.patience);
        let why = match self.look(read) {
            Look::Answer(answer) => return Ok(answer),
            Look::Revalidate(answer) => {
                self.revalidate(read, patience);
                return Ok(answer);
            }
            Look::Load(why) => why,
        };
        loop {
            let (seat, collapsed) = match self.board(read, patience)? {
                Boarding::Answer(answer) => return Ok(answer),
                Boarding::Alone => return self.load_alone(read).await,
                Boarding::Wait { seat, collapsed } => (seat, collapsed),
            };
            let Some(landing) = self.wait(seat).await else { return Ok(lost(why)) };
            let further = landing.cut_at.and_then(|cut_at| patience.after_cut(cut_at, self.0.world.now()));
            if let Some(further) = further {
                patience = further;
                continue;
            }
            // The origin may have turned away the principal whose load it was, and not this one.
            if collapsed && load::is_personal(&landing.entry.load) {
                return self.load_alone(read).await;
            }
            // An answer that was invalidated on its way is good only for those who asked before. Any later flight started
            // after this read was asked, so this happens once at most.
            if asked <= landing.asked_until || self.still_valid(&landing) {
                return Ok(self.landed(read, &landing, why, collapsed));
            }
        }
    }

    async fn wait(&self, mut seat: Seat) -> Option<Arc<Landing>> {
        let _waiting = self.0.metrics.waiting();
        seat.landing().await
    }

    fn still_valid(&self, landing: &Landing) -> bool {
        let entry = &landing.entry;
        !self.0.rules.fill_guard || (landing.tagged && self.0.validity.holds(&entry.tags, entry.epoch))
    }

    fn look(&self, read: &Read<O::Call>) -> Look {
        if read.wish == Wish::Strong {
            return Look::Load(Outcome::Request);
        }
        let Some(entry) = self.0.store.get(&read.key) else { return Look::Load(Outcome::Miss) };
        if !self.0.validity.holds(&entry.tags, entry.epoch) {
            return Look::Load(Outcome::Stale);
        }
        let now = self.0.world.now();
        let rests = entry.rests(now);
        match entry.judge(&read.policy, read.wish, now) {
            Verdict::Fresh => Look::Answer(self.hit(read, &entry, None)),
            Verdict::WhileRevalidating if !rests => Look::Revalidate(self.hit(read, &entry, Some(Stale::Revalidating))),
            // The origin failed a moment ago: asking it again for each reader would keep it down.
            Verdict::WhileRevalidating | Verdict::IfError if rests => {
                Look::Answer(self.hit(read, &entry, Some(Stale::OriginFailed)))
            }
            _ => Look::Load(Outcome::Stale),
        }
    }

    fn hit(&self, read: &Read<O::Call>, entry: &Entry, stale: Option<Stale>) -> Answer {
        Answer {
            load: entry.load.clone(),
            metadata: entry.metadata.clone(),
            outcome: Outcome::Hit,
            age: self.0.world.now().since(entry.started),
            life: entry.life(&read.policy),
            stored: false,
            collapsed: false,
            stale,
        }
    }

    /// Joins the newest load of the key, or starts one.
    fn board(&self, read: &Read<O::Call>, patience: Patience) -> Result<Boarding, Overload> {
        let (boarding, airborne) = self.find_seat(read, patience)?;
        // Tasks are spawned after the lock is released: one that dies at once takes it to free the key.
        if let Some(airborne) = airborne {
            self.spawn(read, airborne);
        }
        Ok(boarding)
    }

    fn find_seat(&self, read: &Read<O::Call>, patience: Patience) -> Result<(Boarding, Option<Airborne>), Overload> {
        let mut shard = self.0.flights.lock(&read.key);
        // A load that landed since the look stands in the store now. Under the lock there is no such gap.
        if let Look::Answer(answer) = self.look(read) {
            return Ok((Boarding::Answer(answer), None));
        }
        if read.policy.ttl.is_zero() || shard.is_uncacheable(&read.key, self.0.world.now()) {
            return Ok((Boarding::Alone, None));
        }
        if let Some(flight) = shard.newest(&read.key).filter(|flight| self.may_join(read, patience, flight)) {
            let seat = self.0.flights.join(read.key, flight)?;
            return Ok((Boarding::Wait { seat, collapsed: true }, None));
        }
        let airborne = self.0.flights.depart(&mut shard, self.departure(read, patience, false))?;
        let seat = self.0.flights.seat(read.key, &airborne.flight);
        Ok((Boarding::Wait { seat, collapsed: false }, Some(airborne)))
    }

    /// Whether a load that started earlier is new enough for this reader, and lasts long enough.
    fn may_join(&self, read: &Read<O::Call>, patience: Patience, flight: &Flight) -> bool {
        let age = self.0.world.now().since(flight.started);
        let young = match read.wish {
            Wish::Strong => return false,
            Wish::MaxStaleness(bound) => age <= bound.min(read.policy.ttl),
            Wish::Contract => age <= read.policy.ttl,
        };
        young
            && self.0.rules.shared_flights
            && flight.until >= patience.least
            && (!self.0.rules.fill_guard || self.0.validity.holds(&flight.tags, flight.epoch))
    }

    /// Reloads behind a stale answer, unless a load is under way already. At the bound of loads the answer is still good.
    fn revalidate(&self, read: &Read<O::Call>, patience: Patience) {
        let mut shard = self.0.flights.lock(&read.key);
        // One may also have landed since the look.
        if shard.newest(&read.key).is_some() || !matches!(self.look(read), Look::Revalidate(_)) {
            return;
        }
        let departed = self.0.flights.depart(&mut shard, self.departure(read, patience, true));
        drop(shard);
        if let Ok(airborne) = departed {
            self.spawn(read, airborne);
        }
    }

    fn departure(&self, read: &Read<O::Call>, patience: Patience, background: bool) -> Departure {
        Departure {
            key: read.key,
            epoch: self.0.validity.now(),
            started: self.0.world.now(),
            until: patience.until,
            tags: Arc::clone(&read.tags),
            background,
        }
    }

    fn spawn(&self, read: &Read<O::Call>, airborne: Airborne) {
        self.0.world.spawn(load::fly(self.clone(), airborne, read.policy, read.call.clone()));
    }

    /// A load that nobody shares, and whose answer is not stored.
    async fn load_alone(&self, read: &Read<O::Call>) -> Result<Answer, Overload> {
        let _slot = self.0.flights.slot()?;
        let started = self.0.world.now();
        let loaded = self.load(read.call.clone()).await;
        let age = self.0.world.now().since(started);
        Ok(answer(loaded.load, loaded.metadata, Outcome::Bypass, age, Duration::ZERO))
    }

    fn landed(&self, read: &Read<O::Call>, landing: &Landing, why: Outcome, collapsed: bool) -> Answer {
        let entry = &landing.entry;
        if let Err(failure) = &entry.load
            && load::permits_stale(failure)
            && let Some(stale) = self.despite_failure(read)
        {
            return Answer { collapsed, ..stale };
        }
        let age = self.0.world.now().since(entry.started);
        let fresh = answer(entry.load.clone(), entry.metadata.clone(), why, age, entry.life(&read.policy));
        Answer { collapsed, stored: landing.stored && !collapsed, ..fresh }
    }

    /// The stored answer, where the contract permits it when the origin fails. Never one that was invalidated.
    fn despite_failure(&self, read: &Read<O::Call>) -> Option<Answer> {
        let entry = self.0.store.get(&read.key)?;
        let stale = match entry.judge(&read.policy, read.wish, self.0.world.now()) {
            Verdict::Unusable => return None,
            Verdict::Fresh => None,
            Verdict::WhileRevalidating | Verdict::IfError => Some(Stale::OriginFailed),
        };
        self.0.validity.holds(&entry.tags, entry.epoch).then(|| self.hit(read, &entry, stale))
    }
}

fn answer(load: Load, metadata: Bytes, outcome: Outcome, age: Duration, life: Duration) -> Answer {
    Answer { load, metadata, outcome, age, life, stored: false, collapsed: false, stale: None }
}

/// The answer of a load whose task is gone: only a process that is ending leaves one like this.
fn lost(why: Outcome) -> Answer {
    answer(Err(load::defect("the load was dropped")), Bytes::new(), why, Duration::ZERO, Duration::ZERO)
}
