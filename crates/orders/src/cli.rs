//! The command line.

use std::process::ExitCode;

use accord_mesh::config::MeshFlags;
use accord_runtime::{
    cli::{Binary, Metric, Newest, NoCommand, Sections, Settings},
    config::{Invalid, Overrides},
    workers::Workers,
};
use clap::Args;

use crate::{config::Config, serve};

const EXAMPLES: &str = "\
Examples:
  Behind a gateway whose internal listener is at its default; the store is made in the present directory:
    accord-orders serve --client-id orders --client-secret-file orders.secret

Every key of the file can also be set by environment: ACCORD_ORDERS__LISTEN__ADDRESS=0.0.0.0:9010.";

/// The binary.
pub(crate) struct AccordOrders;

/// The service's own flags. They win over the environment, which wins over the files.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    mesh: MeshFlags,
    /// Where the gateway's internal listener is. Default: <http://127.0.0.1:8082>.
    #[arg(long, global = true, value_name = "URL")]
    gateway: Option<String>,
    /// SQLite file with the orders. Default: orders.db.
    #[arg(long, global = true, value_name = "FILE")]
    store: Option<String>,
}

impl Binary for AccordOrders {
    const NAME: &'static str = "accord-orders";
    const ABOUT: &'static str = "Baskets and orders behind a gRPC API, for products of the catalog.";
    const EXAMPLES: &'static str = EXAMPLES;
    const METRICS: &'static [&'static [Metric]] =
        &[accord_mesh::declared_metrics::METRICS, accord_mesh::declared_metrics::UPSTREAM_METRICS];
    type Config = Config;
    type Flags = Flags;
    type Command = NoCommand;

    fn sections(config: &Config) -> Sections<'_> {
        Sections { listen: &config.listen, admin: &config.admin, telemetry: &config.telemetry, workers: config.workers }
    }

    fn overrides(flags: &Flags) -> anyhow::Result<Overrides> {
        let overrides = flags.mesh.override_keys(Overrides::default());
        let overrides = overrides.set_option("gateway.endpoint", "--gateway", flags.gateway.clone());
        Ok(overrides.set_option("store", "--store", flags.store.clone()))
    }

    fn unusable(config: &Config) -> Vec<Invalid> {
        config.unusable()
    }

    async fn serve(config: Config, _: Newest<Config>, workers: &Workers) -> anyhow::Result<()> {
        serve::serve(config, workers).await
    }

    async fn execute(command: NoCommand, _: &Settings<Self>) -> anyhow::Result<ExitCode> {
        match command {}
    }
}

#[cfg(test)]
mod tests {
    use accord_runtime::cli::{self, accepted_extremes, keeps_default_addresses, shell_habits};

    use super::*;

    /// What can't be left out.
    const LEAST: &str = "[auth]\nclient_id = 'orders'\nclient_secret = 'secret'\n";

    #[test]
    fn command_line_is_consistent() {
        cli::command_line::<AccordOrders>().debug_assert();
    }

    #[test]
    fn extreme_value_of_each_key_is_refused_with_its_place_or_served() {
        let directory = tempfile::tempdir().unwrap();
        let texts = ["store", "auth.client_id", "auth.client_secret", "auth.issuer", "auth.audience"];
        let accepted = accepted_extremes::<AccordOrders>(directory.path(), LEAST, &texts, |_| {}).unwrap();
        // Whatever else is accepted has no bound: give the new key one.
        assert_eq!(accepted, ["listen.proxy_protocol = true", "admin.proxy_protocol = true"]);
    }

    #[test]
    fn commands_have_examples_that_can_be_typed_and_show_as_json() {
        assert_eq!(shell_habits::<AccordOrders>(), [""; 0]);
    }

    #[test]
    fn section_with_one_key_set_keeps_the_default_address() {
        let directory = tempfile::tempdir().unwrap();
        assert!(keeps_default_addresses::<AccordOrders>(directory.path()).unwrap());
    }
}
