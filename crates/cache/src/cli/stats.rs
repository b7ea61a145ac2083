//! `accord-cache stats`: what a cache holds and does, as a table that is drawn anew.

mod scrape;
mod table;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use accord_runtime::cli::OutputFlag;
use accord_runtime::exit_status::ExitStatus;
use accord_runtime::output::print;
use clap::Args;
use http::Uri;
use tokio::time::{self, MissedTickBehavior};

use self::scrape::Scrape;
use self::table::Table;

/// What `accord-cache stats` can be asked.
#[derive(Debug, Args)]
pub struct Stats {
    /// The admin port of a cache.
    #[arg(default_value = "http://127.0.0.1:8101", value_name = "URL")]
    url: Uri,
    /// How long each table counts, 100ms to 1h.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
    /// End after this many tables. Default: never, but at Ctrl-C.
    #[arg(long, value_name = "TABLES")]
    count: Option<u64>,
    #[command(flatten)]
    output: OutputFlag,
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(1);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&interval) { Ok(interval) } else { Err("it must be 100ms to 1h".to_owned()) }
}

impl Stats {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let is_live = stdout().is_terminal() && !self.output.is_json();
        let (mut before, mut since) = (Scrape::of(&self.url).await?, Instant::now());
        let mut looks = time::interval(self.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        let mut drawn = 0;
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            looks.tick().await;
            let (now, at) = (Scrape::of(&self.url).await?, Instant::now());
            let table = Table::between(&before, &now, at - since);
            if self.output.is_json() {
                self.output.print(&table)?;
                (before, since) = (now, at);
                continue;
            }
            let table = table.to_string();
            if is_live && drawn > 0 {
                // Back to where the last one began, and away with it.
                print(format_args!("\x1b[{drawn}A\x1b[J"))?;
            }
            print(&table)?;
            (before, since, drawn) = (now, at, table.lines().count());
        }
        Ok(ExitStatus::Success.into())
    }
}
