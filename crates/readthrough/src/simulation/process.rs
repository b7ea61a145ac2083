//! Processes: each has a clock of its own rate, may be paused at any point, and may end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::scheduler::{Rng, Simulated, give_way};
use crate::{Moment, World};

/// How a process reads the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ClockKind {
    /// It goes on whatever happens, and is read when it is asked for.
    #[default]
    Boot,
    /// It stands while the process is paused.
    Stopping,
    /// It is read every few milliseconds, while the process runs.
    Cached,
}

/// One life of a process: what it takes for the world.
#[derive(Clone)]
pub(super) struct Process {
    world: Simulated,
    kind: ClockKind,
    /// Thousandths of the true rate.
    rate: u64,
    state: Arc<Mutex<State>>,
    meanwhile: Arc<Mutex<Option<(u32, Meanwhile)>>>,
}

/// How often a process looks whether it is time.
const POLL: Duration = Duration::from_micros(300);

type Meanwhile = Box<dyn FnOnce() + Send>;

struct State {
    is_alive: bool,
    paused_until: Moment,
    /// How long it was paused so far.
    paused: u64,
    cached: Moment,
}

/// The rate of a clock: true, or one percent off.
pub(super) fn rate(rng: &Rng) -> u64 {
    [990, 1_000, 1_010][usize::try_from(rng.below(3)).expect("a small number")]
}

impl Process {
    pub(super) fn start(world: &Simulated, kind: ClockKind, rate: u64) -> Self {
        let state = State { is_alive: true, paused_until: Moment::default(), paused: 0, cached: world.now() };
        Self { world: world.clone(), kind, rate, state: Arc::new(Mutex::new(state)), meanwhile: Arc::default() }
    }

    /// Lets others go first. Nothing where the process has ended; not before its pause is over.
    pub(super) async fn turn(&self) -> Option<()> {
        loop {
            give_way(1).await;
            let paused_until = {
                let state = self.state.lock().unwrap();
                if !state.is_alive {
                    return None;
                }
                state.paused_until
            };
            if paused_until <= self.world.now() {
                return Some(());
            }
            self.world.sleep_until(paused_until).await;
        }
    }

    pub(super) fn end(&self) {
        self.state.lock().unwrap().is_alive = false;
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state.lock().unwrap().is_alive
    }

    pub(super) fn pause(&self, time: Duration) {
        let (mut state, now) = (self.state.lock().unwrap(), self.world.now());
        if state.paused_until <= now {
            state.paused_until = now.after(time);
            state.paused += now.after(time).0 - now.0;
        }
    }

    /// The same as an operation of a run.
    pub(super) fn paused(&self, milliseconds: u64, what: &'static str) -> &'static str {
        self.pause(Duration::from_millis(milliseconds));
        what
    }

    /// Reads the clock every few milliseconds, for those who use what was read.
    pub(super) async fn tick(self) -> Option<()> {
        loop {
            self.turn().await?;
            let now = self.world.now();
            self.state.lock().unwrap().cached = now;
            after(&self.world, now, Duration::from_millis(5)).await;
        }
    }

    /// Waits by the process's own clock, which goes on.
    pub(super) async fn wait(&self, time: Duration) -> Option<()> {
        let until = self.own(self.world.now()).after(time);
        while self.own(self.world.now()) < until {
            self.turn().await?;
            after(&self.world, self.world.now(), POLL).await;
        }
        Some(())
    }

    /// Waits for something that may come at any time.
    pub(super) async fn poll(&self) -> Option<()> {
        after(&self.world, self.world.now(), POLL).await;
        self.turn().await
    }

    /// What happens the next time but so many that the clock is looked at.
    pub(super) fn at_look(&self, skipped: u32, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some((skipped, Box::new(meanwhile)));
    }

    /// What has not happened yet will not.
    pub(super) fn at_no_look(&self) {
        *self.meanwhile.lock().unwrap() = None;
    }

    /// The true moment, whatever the process's clock shows.
    pub(super) fn true_now(&self) -> Moment {
        self.world.now()
    }

    /// A true moment, as the process's clock shows it.
    fn own(&self, at: Moment) -> Moment {
        Moment(at.0 / 1_000 * self.rate)
    }

    fn happen(&self) {
        let mut waiting = self.meanwhile.lock().unwrap();
        match waiting.take() {
            Some((0, meanwhile)) => {
                drop(waiting);
                meanwhile();
            }
            Some((skipped, meanwhile)) => *waiting = Some((skipped - 1, meanwhile)),
            None => {}
        }
    }
}

impl World for Process {
    fn now(&self) -> Moment {
        self.happen();
        let (state, now) = (self.state.lock().unwrap(), self.world.now());
        let seen = match self.kind {
            ClockKind::Boot => now,
            ClockKind::Stopping => {
                let rest = state.paused_until.since(now);
                now.before(Duration::from_nanos(state.paused).saturating_sub(rest))
            }
            ClockKind::Cached => state.cached,
        };
        self.own(seen)
    }

    fn random(&self) -> f64 {
        self.world.random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(task);
    }
}

/// Waits until true time has passed since then.
pub(super) async fn after(world: &Simulated, since: Moment, time: Duration) {
    world.sleep_until(since.after(time)).await;
}

/// What carries messages: late now and then, and not always to the end.
#[derive(Clone)]
pub(super) struct Network {
    pub world: Simulated,
    /// Everything arrives at once.
    pub is_calm: bool,
}

impl Network {
    /// Carries a message; nothing where it gets lost.
    pub(super) async fn carry(&self) -> Option<()> {
        self.carry_within(10, 10).await
    }

    /// The same between machines of one room, where one in so many is as late.
    pub(super) async fn carry_near(&self) -> Option<()> {
        self.carry_within(2, 40).await
    }

    async fn carry_within(&self, milliseconds: u64, one_in: u64) -> Option<()> {
        if self.is_calm {
            return Some(());
        }
        let (rng, now) = (&self.world.rng, self.world.now());
        let longest = if rng.below(one_in) == 0 { 300 } else { milliseconds };
        let time = Duration::from_micros(rng.below(longest * 1_000));
        after(&self.world, now, time).await;
        (rng.below(20) > 0).then_some(())
    }
}
