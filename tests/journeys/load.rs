//! Callers who call without pause while something changes.

use anyhow::Result;
use futures_util::future::try_join_all;
use std::{
    iter,
    sync::atomic::{AtomicBool, Ordering},
};

/// How many call at a time.
const CALLERS: usize = 4;

/// Calls without pause until `change` has come about. The first call that fails fails everything.
pub(crate) async fn under_load<F>(call: impl Fn() -> F, change: impl Future<Output = Result<()>>) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let is_over = AtomicBool::new(false);
    let caller = async || {
        while !is_over.load(Ordering::Relaxed) {
            call().await?;
        }
        anyhow::Ok(())
    };
    let callers = try_join_all(iter::repeat_with(&caller).take(CALLERS));
    let changing = async {
        change.await?;
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    tokio::try_join!(callers, changing).map(drop)
}
