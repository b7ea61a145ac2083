//! The files of the configuration are followed while a binary serves: a change is held against what `serve` would accept, keys that may
//! change are taken over, and the others are named.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{Binary, Settings};
use crate::{
    config::{Loaded, Places},
    reload::{INTERVAL, ReloadOutcome, Reloads, WatchedFiles},
    run, telemetry,
};

/// The key that every binary takes over while serving.
const LEVEL: &str = "telemetry.log.level";

const KIND: &str = "configuration";

/// What the configuration said when the process began, what holds of it, and what was offered to the binary since.
struct Known<C> {
    started: Places,
    held: Places,
    offered: Option<Arc<Change<C>>>,
}

/// A configuration whose files changed, to be taken over as a whole or not at all.
pub struct Change<C> {
    /// What it says. Of that, what is not taken over while serving holds from the next start.
    pub config: Arc<C>,
    places: Places,
    level: String,
    /// The keys that changed and are taken over.
    followed: Vec<String>,
    /// Those that changed since the start and are not.
    waiting: Vec<String>,
    is_taken: AtomicBool,
}

/// Follows the files, and reads them at once on SIGHUP.
pub(super) async fn follow<B: Binary>(
    settings: Arc<Settings<B>>,
    started: Places,
    newest: watch::Sender<Option<Arc<Change<B::Config>>>>,
) -> Infallible {
    let mut watched = WatchedFiles::of(settings.files());
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut known = Known { held: started.clone(), started, offered: None };
    loop {
        tokio::select! {
            () = hung_up(hangup.as_mut()) => watched.note(),
            () = watched.changed(INTERVAL) => {}
        }
        let reading = Arc::clone(&settings);
        // The files that it names are read as well, which takes its time.
        let read = tokio::task::spawn_blocking(move || reading.usable_with_places()).await;
        match read {
            Ok(Ok(loaded)) => known.offer::<B>(loaded, &newest),
            Ok(Err(wrong)) => refuse(wrong.iter().map(run::sentence)),
            Err(_) => tracing::error!("the configuration could not be read again: what was read at the start goes on"),
        }
    }
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => pending().await,
    }
}

fn refuse(reasons: impl IntoIterator<Item = String>) {
    for error in reasons {
        tracing::warn!(kind = KIND, error, "reload refused: the old files stay in use");
    }
    Reloads::counter().count(KIND, ReloadOutcome::Refused);
}

/// Whether a key is one of these, or of their sections.
fn is_within(places: &[&str], key: &str) -> bool {
    let is_in = |place: &&str| key.strip_prefix(*place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    places.iter().any(is_in)
}

impl<C> Known<C> {
    /// Takes over what every binary does, and offers the rest to this one.
    fn offer<B: Binary<Config = C>>(&mut self, loaded: Loaded<C>, newest: &watch::Sender<Option<Arc<Change<C>>>>) {
        let (config, places) = loaded.split();
        if let Some(taken) = self.offered.take_if(|offered| offered.is_taken.load(Ordering::Relaxed)) {
            self.held.clone_from(&taken.places);
        }
        let last = self.offered.as_ref().map_or(&self.held, |offered| &offered.places);
        if last.differences(&places).is_empty() {
            return;
        }
        // What else a binary is made of at its start takes another one.
        let is_followed = |key: &String| key == LEVEL || is_within(B::RELOADED, key);
        let keys = self.held.differences(&places).into_iter();
        let change = Arc::new(Change {
            level: B::sections(&config).telemetry.log.level.clone(),
            config: Arc::new(config),
            followed: keys.filter(is_followed).collect(),
            waiting: self.started.differences(&places).into_iter().filter(|key| !is_followed(key)).collect(),
            places,
            is_taken: AtomicBool::new(false),
        });
        // Where an earlier one is still offered, the binary has to hear that it no longer is.
        let is_its_own = change.followed.iter().any(|key| key != LEVEL) || self.offered.is_some();
        self.offered = Some(Arc::clone(&change));
        if is_its_own {
            newest.send_replace(Some(change));
        } else {
            change.taken();
        }
    }
}

impl<C> Change<C> {
    /// It holds from now on.
    pub fn taken(&self) {
        self.is_taken.store(true, Ordering::Relaxed);
        telemetry::set_level(&self.level);
        if !self.followed.is_empty() {
            tracing::info!(kind = KIND, keys = self.followed.join(", "), "configuration reloaded");
        }
        let outcome = if self.waiting.is_empty() {
            ReloadOutcome::Replaced
        } else {
            let keys = self.waiting.join(", ");
            tracing::warn!(
                kind = KIND,
                keys,
                "these keys changed and take a restart: what they said at the start holds"
            );
            ReloadOutcome::RestartNeeded
        };
        Reloads::counter().count(KIND, outcome);
    }

    /// It can't be taken over for these reasons, and nothing of it holds.
    pub fn refused(&self, reasons: impl IntoIterator<Item = String>) {
        refuse(reasons);
    }
}
