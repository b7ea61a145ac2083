//! The command line.

use std::process::ExitCode;

use accord_runtime::{
    cli::{Binary, Finding, Metric, Newest, Report, Sections, Settings},
    config::{Invalid, Overrides},
    exit_status::ExitStatus,
    output::print_error,
    workers::Workers,
};
use clap::{Args, Subcommand};

use crate::{
    config::{Config, ContractConfig, PolicyConfig},
    declared_metrics,
    domain::{auth::Auth, encryption_key::EncryptionKey, policy::Policies},
    serve, setup,
    store::Store,
};

mod examples;
mod bootstrap;
mod principal;
mod client;
mod api_key;
mod certificate_identity;
mod device;
mod lifecycle;
mod relation;
mod role;
mod session;
mod token;
mod key;
mod policy;
mod audit;
mod copy;

/// Who the audit log names.
const ACTOR: &str = "command line";

const EXAMPLES: &str = "\
Examples:
  For development; the store and its key are made in the present directory:
    accord-auth serve --development

  The gateway, as a program that verifies tokens; its secret is written into the file:
    accord-auth client add gateway --role accord-mesh --role accord-gateway --secret-file gateway.secret --development

  Somebody who may do what policies grant to a role, and a token for an hour:
    accord-auth principal add me --role catalog-reader --development
    accord-auth token issue --subject me --development

Every key of the file can also be set by environment: ACCORD_AUTH__LISTEN__ADDRESS=0.0.0.0:8090.";

/// The binary.
pub struct AccordAuth;

/// Auth's own flags. They override the environment (`ACCORD_AUTH__STORE__URL`), which overrides the files.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// The store: `sqlite:///path/to/file.db` or `postgres://…`. Default: `sqlite://accord-auth.db`.
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// A file with the key that encrypts signing keys in the store; see `key new`.
    #[arg(long, global = true, value_name = "FILE")]
    encryption_key_file: Option<String>,
    /// A file with Cedar policies; may be given again.
    #[arg(long, global = true, value_name = "FILE")]
    policy: Vec<String>,
    /// Without an encryption key, make one beside the SQLite file. Not for production.
    #[arg(long, global = true)]
    development: bool,
}

/// What auth can do beside what every binary can.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the store, its first key and its first admin; print a token that lives 15 minutes.
    #[command(after_help = examples::BOOTSTRAP)]
    Bootstrap(bootstrap::Bootstrap),
    /// Persons and programs.
    #[command(subcommand, after_help = examples::PRINCIPAL)]
    Principal(principal::PrincipalCommand),
    /// Programs that log in with a secret.
    #[command(subcommand, after_help = examples::CLIENT)]
    Client(client::ClientCommand),
    /// Keys of scripts, which can't log in.
    #[command(subcommand, after_help = examples::API_KEY)]
    ApiKey(api_key::ApiKeyCommand),
    /// Names in certificates, by which their owners call.
    #[command(subcommand, after_help = examples::CERTIFICATE_IDENTITY)]
    CertificateIdentity(certificate_identity::CertificateIdentityCommand),
    /// Devices that ask to act for somebody.
    #[command(subcommand, after_help = examples::DEVICE)]
    Device(device::DeviceCommand),
    /// Who stands in which relation to what, as policies ask for it.
    #[command(subcommand, after_help = examples::RELATION)]
    Relation(relation::RelationCommand),
    /// What principals may do, by name.
    #[command(subcommand, after_help = examples::ROLE)]
    Role(role::RoleCommand),
    /// Logins of persons that can still be renewed.
    #[command(subcommand, after_help = examples::SESSION)]
    Session(session::SessionCommand),
    /// Access tokens.
    #[command(subcommand, after_help = examples::TOKEN)]
    Token(token::TokenCommand),
    /// The keys that sign and the key that encrypts.
    #[command(subcommand, after_help = examples::KEY)]
    Key(key::KeyCommand),
    /// Policies.
    #[command(subcommand, after_help = examples::POLICY)]
    Policy(policy::PolicyCommand),
    /// The record of privileged operations.
    #[command(subcommand, after_help = examples::AUDIT)]
    Audit(audit::AuditCommand),
    /// Write everything in the store into a file.
    #[command(after_help = examples::COPY)]
    Backup(copy::Backup),
    /// Fill an empty store, on either engine, from such a file. Every token issued before is revoked and signing keys are made anew;
    /// the encryption key must be the backup's.
    #[command(after_help = examples::COPY)]
    Restore(copy::Restore),
}

impl Binary for AccordAuth {
    const NAME: &'static str = "accord-auth";
    const ABOUT: &'static str = "Issues and verifies credentials, decides access, streams revocations.";
    const EXAMPLES: &'static str = EXAMPLES;
    const COMMAND_EXAMPLES: &'static [(&'static str, &'static str)] = &examples::OF_COMMANDS;
    const METRICS: &'static [&'static [Metric]] = &[declared_metrics::METRICS];
    type Config = Config;
    type Flags = Flags;
    type Command = Command;

    fn sections(config: &Config) -> Sections<'_> {
        Sections { listen: &config.listen, admin: &config.admin, telemetry: &config.telemetry, workers: config.workers }
    }

    fn overrides(flags: &Flags) -> anyhow::Result<Overrides> {
        let policies = (!flags.policy.is_empty()).then(|| flags.policy.clone());
        Ok(Overrides::default()
            .set_option("store.url", "--store", flags.store.clone())
            .set_option("keys.encryption_key_file", "--encryption-key-file", flags.encryption_key_file.clone())
            .set_option("policy.files", "--policy", policies))
    }

    fn complete(flags: &Flags, mut config: Config) -> anyhow::Result<Config> {
        if flags.store.is_some() && config.store.mark_file.take().is_some() {
            // It is of the store that the configuration names, and would be held against another one.
            print_error(format_args!(
                "`store.mark_file` is left out: it belongs to `store.url`, and --store names a store in its place"
            ));
        }
        if flags.development {
            setup::development_key(&mut config)?;
        }
        Ok(config)
    }

    fn unusable(config: &Config) -> Vec<Invalid> {
        setup::unusable(config)
    }

    async fn inspect(config: Config) -> Report {
        match Policies::load(&config.policy, &config.upstream) {
            Ok(policies) => {
                Report::of(policies.warnings().into_iter().map(Finding::warning), "the configuration is good")
            }
            Err(error) => Report::refused([error.to_string()]),
        }
    }

    async fn serve(config: Config, _: Newest<Config>, workers: &Workers) -> anyhow::Result<()> {
        serve::serve(config, workers).await
    }

    async fn execute(command: Command, settings: &Settings<Self>) -> anyhow::Result<ExitCode> {
        let context = Context(settings);
        match command {
            Command::Bootstrap(command) => command.run(&context).await,
            Command::Principal(command) => command.run(&context).await,
            Command::Client(command) => command.run(&context).await,
            Command::ApiKey(command) => command.run(&context).await,
            Command::CertificateIdentity(command) => command.run(&context).await,
            Command::Device(command) => command.run(&context).await,
            Command::Relation(command) => command.run(&context).await,
            Command::Role(command) => command.run(&context).await,
            Command::Session(command) => command.run(&context).await,
            Command::Token(command) => command.run(&context).await,
            Command::Key(command) => return command.run(&context).await,
            Command::Policy(command) => return command.run(&context),
            Command::Audit(command) => return command.run(&context).await,
            Command::Backup(backup) => backup.run(&context).await,
            Command::Restore(restore) => restore.run(&context).await,
        }?;
        Ok(ExitStatus::Success.into())
    }
}

/// Where a command works: on the store, or on all of auth, that the settings name.
struct Context<'a>(&'a Settings<AccordAuth>);

impl Context<'_> {
    /// For what only makes sense where a store is.
    fn existing(&self) -> anyhow::Result<Config> {
        self.0.load_where(setup::expect_store)
    }

    /// What the configuration says of policies. Nothing else of it is needed, so that they can be checked before the rest is
    /// there.
    fn configured_policies(&self) -> anyhow::Result<(PolicyConfig, Vec<ContractConfig>)> {
        let config = self.0.load()?;
        Ok((config.policy, config.upstream))
    }

    /// Warns of roles that no policy names: a slip would otherwise show only as calls that are denied. Where policies can't be
    /// read, as before they are deployed, that is a warning as well.
    fn warn_of_unknown_roles(&self, roles: &[String]) -> anyhow::Result<()> {
        let config = self.0.load()?;
        let policies = match Policies::load(&config.policy, &config.upstream) {
            Ok(policies) => policies,
            Err(error) => {
                eprintln!("warning: the roles are not compared with the policies: {error}");
                return Ok(());
            }
        };
        for role in roles.iter().filter(|role| !policies.names_role(role)) {
            eprintln!("warning: no policy names the role `{role}`, so it grants nothing; see `--policy`");
        }
        Ok(())
    }

    async fn auth(&self) -> anyhow::Result<Auth> {
        Auth::open(&self.0.load()?).await
    }

    async fn existing_auth(&self) -> anyhow::Result<Auth> {
        Auth::open(&self.existing()?).await
    }

    /// The same, and how to name it to whom may have meant another one.
    async fn named_store(&self) -> anyhow::Result<(Store, String)> {
        let config = self.0.load()?;
        let place = setup::store_place(&config);
        Ok((setup::store(&config).await?, place))
    }

    /// The same with the key that opens what is sealed.
    async fn store_and_key(&self) -> anyhow::Result<(Store, String, EncryptionKey)> {
        let config = self.0.load()?;
        let (place, encryption_key) = (setup::store_place(&config), setup::encryption_key(&config.keys)?);
        Ok((setup::store(&config).await?, place, encryption_key))
    }

    async fn existing_store(&self) -> anyhow::Result<Store> {
        setup::store(&self.existing()?).await
    }
}

#[cfg(test)]
mod tests {
    use accord_runtime::cli::{self, accepted_extremes, keeps_default_addresses};

    use super::*;

    /// What can't be left out.
    const LEAST: &str = "[keys]\nencryption_key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'\n";

    #[test]
    fn command_line_is_consistent() {
        cli::command_line::<AccordAuth>().debug_assert();
    }

    #[test]
    fn commands_have_examples_that_can_be_typed_and_show_as_json() {
        assert_eq!(cli::shell_habits::<AccordAuth>(), [""; 0]);
    }

    #[test]
    fn extreme_value_of_each_key_is_refused_with_its_place_or_served() {
        let directory = tempfile::tempdir().unwrap();
        let texts = [
            "store.mark_file",
            "tokens.issuer",
            "tokens.audience",
            "issuer[].name",
            "issuer[].audience",
            "issuer[].subject_claim",
            "issuer[].tenant",
            "issuer[].groups_claim",
            "kubernetes.audience",
            "kubernetes.issuer",
            "kubernetes.url",
            "kubernetes.token_file",
            "kubernetes.ca_file",
            "policy.object[].permission",
            "upstream[].name",
            "ext_authz.actor",
        ];
        let descriptors = directory.path().join("catalog.binpb");
        std::fs::write(&descriptors, accord_api::FILE_DESCRIPTOR_SET).unwrap();
        let upstream = format!("[[upstream]]\nname = 'catalog'\ndescriptors = '{}'\n", descriptors.display());
        let issuer = "[[issuer]]\nname = 'corp'\nissuer = 'https://corp.example'\naudience = 'accord'\n";
        let object = "[[policy.object]]\nname = 'Product'\nrelations = ['owner']\n";
        // Without TLS, so that there is no file with authorities to be read.
        let kubernetes = "[kubernetes]\nurl = 'http://127.0.0.1:8001'\n";
        let least = format!("{LEAST}{kubernetes}{upstream}{issuer}{object}");
        let accepted = accepted_extremes::<AccordAuth>(directory.path(), &least, &texts, |_| {}).unwrap();
        // Whatever else is accepted has no bound: give the new key one.
        let listeners = ["listen.proxy_protocol = true", "admin.proxy_protocol = true"];
        let files = ["policy.files = []", "policy.shadow_files = []", "policy.overlays = []"];
        let proxies = ["ext_authz.listen.proxy_protocol = true"];
        let (tokens, roles) = (["tokens.refresh_reuse_interval = \"0s\""], ["issuer[].roles = {}"]);
        let (clients, groups) = (["clients.secret_files = {}"], ["policy.object[].groups = true"]);
        let expected = [&listeners[..], &tokens, &clients, &roles, &files, &groups, &proxies].concat();
        assert_eq!(accepted, expected);
    }

    #[test]
    fn section_with_one_key_set_keeps_the_default_address() {
        let directory = tempfile::tempdir().unwrap();
        assert!(keeps_default_addresses::<AccordAuth>(directory.path()).unwrap());
    }
}
