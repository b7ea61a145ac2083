//! The files of the configuration are followed while a binary serves: a change is held against what `serve` would accept, keys that may
//! change are taken over, and the others are named.

use std::{convert::Infallible, future::pending, sync::Arc};

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

/// What the configuration said when the process began, and what it said last.
struct Known {
    started: Places,
    newest: Places,
}

/// Follows the files, and reads them at once on SIGHUP.
pub(super) async fn follow<B: Binary>(
    settings: Arc<Settings<B>>,
    started: Places,
    newest: watch::Sender<Option<Arc<B::Config>>>,
) -> Infallible {
    let mut watched = WatchedFiles::of(settings.files());
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut known = Known { newest: started.clone(), started };
    loop {
        tokio::select! {
            () = hung_up(hangup.as_mut()) => watched.note(),
            () = watched.changed(INTERVAL) => {}
        }
        let reading = Arc::clone(&settings);
        // The files that it names are read as well, which takes its time.
        let read = tokio::task::spawn_blocking(move || reading.usable_with_places()).await;
        match read {
            Ok(Ok(loaded)) => known.take_over::<B>(loaded, &newest),
            Ok(Err(wrong)) => refuse(&wrong),
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

fn refuse(wrong: &[anyhow::Error]) {
    for error in wrong {
        let error = run::sentence(error);
        tracing::warn!(kind = KIND, error, "reload refused: the old files stay in use");
    }
    Reloads::counter().count(KIND, ReloadOutcome::Refused);
}

/// Whether a key is taken over while serving. What else a binary is made of at its start takes another one.
fn is_followed<B: Binary>(key: &str) -> bool {
    let is_within = |place: &str| key.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    key == LEVEL || B::RELOADED.iter().any(|place| is_within(place))
}

impl Known {
    fn take_over<B: Binary>(&mut self, loaded: Loaded<B::Config>, newest: &watch::Sender<Option<Arc<B::Config>>>) {
        let (config, places) = loaded.split();
        let changed = self.newest.differences(&places);
        self.newest = places;
        if changed.is_empty() {
            return;
        }
        let taken: Vec<_> = changed.into_iter().filter(|key| is_followed::<B>(key)).collect();
        if !taken.is_empty() {
            telemetry::set_level(&B::sections(&config).telemetry.log.level);
            newest.send_replace(Some(Arc::new(config)));
            tracing::info!(kind = KIND, keys = taken.join(", "), "configuration reloaded");
        }
        let waiting = self.started.differences(&self.newest);
        let waiting: Vec<_> = waiting.into_iter().filter(|key| !is_followed::<B>(key)).collect();
        let outcome = if waiting.is_empty() {
            ReloadOutcome::Replaced
        } else {
            let keys = waiting.join(", ");
            tracing::warn!(
                kind = KIND,
                keys,
                "these keys changed and take a restart: what they said at the start holds"
            );
            ReloadOutcome::RestartNeeded
        };
        Reloads::counter().count(KIND, outcome);
    }
}
