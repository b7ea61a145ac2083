//! The command line.

mod outbox;
mod stats;

use std::process::ExitCode;

use accord_mesh::config::MeshFlags;
use accord_runtime::cli::{Binary, Metric, Newest, Sections, Settings};
use accord_runtime::config::{Invalid, Overrides};
use accord_runtime::workers::Workers;
use accord_upstream::config as upstream;
use clap::{Args, Subcommand};

use self::outbox::OutboxCommand;
use self::stats::Stats;
use crate::config::Config;
use crate::{declared_metrics, serve, upstreams};

const EXAMPLES: &str = "\
Examples:
  The cache's own identity, made once beside auth:
    accord-auth client add cache --role accord-mesh --secret-file cache.secret

  A cache that loads from one service, under the gateway's name for it:
    accord-cache serve --client-id cache --client-secret-file cache.secret \\
        --upstream catalog=http://127.0.0.1:9000

  What it holds and does, every second:
    accord-cache stats http://127.0.0.1:8101

Every key of the file can also be set by environment: ACCORD_CACHE__LISTEN__ADDRESS=0.0.0.0:8100.";

const STATS_EXAMPLES: &str = "\
Examples:
  Once, over ten seconds, for a program:
    accord-cache stats http://127.0.0.1:8101 --interval 10s --count 1 --output json";

const OUTBOX_EXAMPLES: &str = "\
Examples:
  The SQL, for somebody who may change the database:
    accord-cache outbox install shop --config cache.toml --print

  Whether it is as configured, and how far it was read; exit status 1 where it is not:
    accord-cache outbox status --config cache.toml --output json";

const OF_COMMANDS: [(&str, &str); 3] = [
    ("outbox install", "accord-cache outbox install --config cache.toml --url postgres://owner@db/shop"),
    ("outbox uninstall", "accord-cache outbox uninstall shop --config cache.toml --url postgres://owner@db/shop"),
    ("outbox status", "accord-cache outbox status --config cache.toml --output json"),
];

/// The binary.
pub struct AccordCache;

/// The cache's own flags. They win over the environment, which wins over the files.
#[derive(Debug, Default, Args)]
pub struct Flags {
    #[command(flatten)]
    mesh: MeshFlags,
    /// Where the records of idempotency keys are: `sqlite:///path` or `postgres://…`. Default: `sqlite://accord-cache.db`.
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// A service to load from, under the gateway's name for it. Repeat it for more services, or with the same name for more
    /// endpoints of one. Takes the place of all configured ones.
    #[arg(long, global = true, value_name = "NAME=URL")]
    upstream: Vec<String>,
}

/// What the cache can do beside what every binary can.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a cache holds and does, as a table that is drawn anew until Ctrl-C.
    #[command(after_help = STATS_EXAMPLES)]
    Stats(Stats),
    /// Outboxes: triggers in databases of others, by which their changes are heard of.
    #[command(subcommand, after_help = OUTBOX_EXAMPLES)]
    Outbox(OutboxCommand),
}

impl Binary for AccordCache {
    const NAME: &'static str = "accord-cache";
    const ABOUT: &'static str = "Answers of declared reads, kept while their contracts allow; namespaces of keys; invalidations; idempotency records.";
    const EXAMPLES: &'static str = EXAMPLES;
    const COMMAND_EXAMPLES: &'static [(&'static str, &'static str)] = &OF_COMMANDS;
    const RELOADED: &'static [&'static str] = &upstreams::RELOADED;
    const METRICS: &'static [&'static [Metric]] = &[
        accord_mesh::declared_metrics::METRICS,
        accord_upstream::declared_metrics::METRICS,
        accord_readthrough::declared_metrics::METRICS,
        declared_metrics::METRICS,
    ];
    type Config = Config;
    type Flags = Flags;
    type Command = Command;

    fn sections(config: &Config) -> Sections<'_> {
        Sections { listen: &config.listen, admin: &config.admin, telemetry: &config.telemetry, workers: config.workers }
    }

    fn overrides(flags: &Flags) -> anyhow::Result<Overrides> {
        let overrides = flags.mesh.override_keys(Overrides::default());
        Ok(overrides.set_option("records.url", "--store", flags.store.clone()).set_option(
            "upstream",
            "--upstream",
            upstream::from_flags(&flags.upstream)?,
        ))
    }

    fn unusable(config: &Config) -> Vec<Invalid> {
        config.unusable()
    }

    async fn serve(config: Config, newest: Newest<Config>, workers: &Workers) -> anyhow::Result<()> {
        serve::serve(config, newest, workers).await
    }

    async fn execute(command: Command, settings: &Settings<Self>) -> anyhow::Result<ExitCode> {
        match command {
            Command::Outbox(outbox) => outbox.run(&settings.load()?).await,
            Command::Stats(stats) => stats.run().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use accord_runtime::cli::{self, accepted_extremes, keeps_default_addresses};

    use super::*;

    /// What can't be left out.
    const LEAST: &str = "[auth]\nclient_id = 'cache'\nclient_secret = 'secret'\n\
                         [[upstream]]\nname = 'shop'\nurls = ['http://127.0.0.1:1']\n\
                         [[upstream.version]]\nname = 'v2'\nurls = ['http://127.0.0.1:3']\n\
                         [[namespace]]\nname = 'carts'\nread_permission = 'r'\nwrite_permission = 'w'\n\
                         [namespace.origin]\nupstream = 'shop'\nmethod = 'shop.v1.Shop/Get'\npermission = 'p'\n\
                         [namespace.origin.batch]\nmethod = 'shop.v1.Shop/GetMany'\n\
                         [[namespace]]\nname = 'sessions'\nread_permission = 'r'\nwrite_permission = 'w'\n[namespace.records]\n\
                         [[namespace]]\nname = 'prices'\nread_permission = 'r'\nwrite_permission = 'w'\n\
                         [namespace.query]\nurl = 'postgres://db'\nsql = 'SELECT k AS key, v AS value FROM t WHERE k = ANY($1)'\n\
                         [[outbox]]\nname = 'shop'\nurl = 'postgres://db'\n\
                         [[outbox.table]]\nname = 'public.t'\ntags = ['t/{k}']\n\
                         [[outbox.table.key]]\nnamespace = 'prices'\nkey = '{k}'\n";

    /// Keys whose values are any text, or the names of files.
    const TEXTS: &[&str] = &[
        "node",
        "auth.client_id",
        "auth.client_secret",
        "auth.issuer",
        "auth.audience",
        "discovery.zone",
        "discovery.kubernetes.token_file",
        "discovery.kubernetes.ca_file",
        "upstream[].name",
        "upstream[].version[].name",
        "namespace[].name",
        "outbox[].name",
        "outbox[].schema",
        "outbox[].table[].key[].key",
        "outbox[].table[].key[].tenant",
        "second_level.username",
        "second_level.password",
        "second_level.password_file",
        "second_level.key_prefix",
        "second_level.tls.ca_file",
        "second_level.tls.cert_file",
        "second_level.tls.key_file",
        "second_level.tls.workload_api",
        // Which only the gateway reads.
        "upstream[].descriptors",
        "namespace[].read_permission",
        "namespace[].write_permission",
        "namespace[].origin.permission",
    ];

    #[test]
    fn command_line_is_consistent() {
        cli::command_line::<AccordCache>().debug_assert();
    }

    #[test]
    fn commands_have_examples_that_can_be_typed_and_show_as_json() {
        assert_eq!(cli::shell_habits::<AccordCache>(), [""; 0]);
    }

    #[test]
    fn extreme_value_of_each_key_is_refused_with_its_place_or_served() {
        let directory = tempfile::tempdir().unwrap();
        let accepted = accepted_extremes::<AccordCache>(directory.path(), LEAST, TEXTS, |_| {}).unwrap();
        // Which mean a load balancer in front, no leases, no checks, writers that notify, keys alone, no slow start, every failure, no
        // ejection for its failures, a limit that follows the answers, no share, no match, the whole answer, items by their order,
        // whole items, and none with a status.
        // Whatever else is accepted has no bound: give the new key one.
        let expected = [
            "listen.proxy_protocol = true",
            "admin.proxy_protocol = true",
            "leases.max = \"0s\"",
            "checker.share = 0",
            "outbox[].notify = true",
            "outbox[].table[].tags = []",
            "discovery.dns.servers = []",
            "upstream[].slow_start = \"0s\"",
            "upstream[].outlier_detection.failure_percentage = 0",
            "upstream[].outlier_detection.max_ejection_percent = 0",
            "upstream[].adaptive.enabled = true",
            "upstream[].version[].weight = 0",
            "upstream[].version[].match = {}",
            "namespace[].origin.value_field = 0",
            "namespace[].origin.batch.key_field = 0",
            "namespace[].origin.batch.value_field = 0",
            "namespace[].origin.batch.status_field = 0",
        ];
        assert_eq!(accepted, expected);
    }

    #[test]
    fn section_with_one_key_set_keeps_the_default_address() {
        let directory = tempfile::tempdir().unwrap();
        assert!(keeps_default_addresses::<AccordCache>(directory.path()).unwrap());
    }
}
