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
  For development, without passports; the store is made in the present directory:
    accord-catalog serve --listen 127.0.0.1:9000

Every key of the file can also be set by environment: ACCORD_CATALOG__LISTEN__ADDRESS=0.0.0.0:9000.";

/// The binary.
pub(crate) struct AccordCatalog;

/// The catalog's own flags. They win over the environment, which wins over the files. Without `--auth`, and without a
/// section `auth`, calls need no passport.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    mesh: MeshFlags,
    /// SQLite file with the products. Default: catalog.db.
    #[arg(long, global = true, value_name = "FILE")]
    store: Option<String>,
}

impl Binary for AccordCatalog {
    const NAME: &'static str = "accord-catalog";
    const ABOUT: &'static str = "A small product catalog behind a gRPC API.";
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
    const LEAST: &str = "[auth]\nclient_id = 'catalog'\nclient_secret = 'secret'\n";

    #[test]
    fn command_line_is_consistent() {
        cli::command_line::<AccordCatalog>().debug_assert();
    }

    #[test]
    fn extreme_value_of_each_key_is_refused_with_its_place_or_served() {
        let directory = tempfile::tempdir().unwrap();
        let texts = ["store", "auth.client_id", "auth.client_secret", "auth.issuer", "auth.audience"];
        let accepted = accepted_extremes::<AccordCatalog>(directory.path(), LEAST, &texts, |_| {}).unwrap();
        // Whatever else is accepted has no bound: give the new key one.
        assert_eq!(accepted, ["listen.proxy_protocol = true", "admin.proxy_protocol = true"]);
    }

    #[test]
    fn commands_have_examples_that_can_be_typed_and_show_as_json() {
        assert_eq!(shell_habits::<AccordCatalog>(), [""; 0]);
    }

    #[test]
    fn section_with_one_key_set_keeps_the_default_address() {
        let directory = tempfile::tempdir().unwrap();
        assert!(keeps_default_addresses::<AccordCatalog>(directory.path()).unwrap());
    }
}
