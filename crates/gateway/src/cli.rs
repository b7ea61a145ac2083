//! The command line: what a stranger sees first, and the subcommands that need no running gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use accord_runtime::config::{self, ConfigError, Overrides};
use accord_upstream::Upstream;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, PREFIX, UpstreamConfig};
use crate::explain;
use crate::serve;
use crate::table::{Built, MethodTable, Pending, Refused, Sources};

const EXAMPLES: &str = "\
Examples:
  The gateway's own identity, made once beside auth:
    accord-auth client add gateway --role accord-mesh --secret-file gateway.secret

  One service that has server reflection, behind a door on port 8080:
    accord-gateway serve --client-id gateway --client-secret-file gateway.secret \\
        --upstream catalog=http://127.0.0.1:9000

  Two endpoints of a service, its descriptor set, and policies for it from an overlay; the rest from a file:
    accord-gateway serve --config gateway.toml --upstream shop=http://10.0.0.7:9000 \\
        --upstream shop=http://10.0.0.8:9000 --descriptors shop.binpb --overlay shop.toml

  Hold a contract against the gateway in a pipeline, with no server running:
    accord-gateway check --upstream shop=http://shop:9000 --descriptors shop.binpb

  What holds for one method, and which file says so:
    accord-gateway explain --config gateway.toml catalog.v1.ProductService/GetProduct

Every key of the file can also be set by environment: ACCORD_GATEWAY__LISTEN__ADDRESS=0.0.0.0:8080.";

/// The one door to gRPC services: JSON and gRPC in, with the contract of each method enforced.
#[derive(Debug, Parser)]
#[command(name = "accord-gateway", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until a signal to stop.
    #[command(after_help = EXAMPLES)]
    Serve(Flags),
    /// Hold the configuration and the contract against each other; one line per finding, exit status 1 on errors.
    Check(Flags),
    /// Show the policy that holds for a method, and which layer each of its fields comes from.
    Explain {
        /// The method, `pkg.Service/Method`.
        method: String,
        /// Where the contract is.
        #[command(flatten)]
        flags: Flags,
    },
    /// The configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what holds after file, environment and flags, with secrets as ***.
    Print(Flags),
}

/// Settings that all subcommands take. They win over the environment, which wins over the file.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Configuration file (TOML). Repeatable; a later one is stronger, and lists such as `[[upstream]]` are joined. Without it,
    /// the files of the variable `ACCORD_GATEWAY_CONFIG`, separated by `:`.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Address of the public door. Default: 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the internal port: metrics, health, explain. Default: 127.0.0.1:8081.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where auth is. Default: `http://127.0.0.1:8090`.
    #[arg(long, value_name = "URL")]
    auth: Option<String>,
    /// The name under which the gateway logs in to auth.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the secret that goes with the name.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<String>,
    /// Where the cache is. Without one, every read goes to its upstream.
    #[arg(long, value_name = "URL")]
    cache: Option<String>,
    /// A service behind the door. Repeat it for more services, or with the same name for more endpoints of one.
    /// Takes the place of all configured ones.
    #[arg(long, value_name = "NAME=URL")]
    upstream: Vec<String>,
    /// Descriptor set of a service, instead of its server reflection. With one service the name can be left out.
    #[arg(long, value_name = "[NAME=]FILE")]
    descriptors: Vec<String>,
    /// File with policies for protos one does not own. Repeatable; a later one is stronger.
    #[arg(long, value_name = "FILE")]
    overlay: Vec<String>,
}

/// A flag that can't be understood.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// `--upstream` without a name or a URL.
    #[error(transparent)]
    Upstream(#[from] accord_upstream::ConfigError),
    /// `--descriptors FILE` while there are several upstreams, or none.
    #[error(
        "--descriptors {file} does not say whose it is: write --descriptors NAME={file}, NAME being one of {names}"
    )]
    Whose {
        /// The value as given.
        file: String,
        /// The upstreams there are.
        names: String,
    },
    /// A name that no upstream has.
    #[error("--descriptors {given} names the upstream {name}, which is not there; there is {names}")]
    Nobody {
        /// The value as given.
        given: String,
        /// The name in it.
        name: String,
        /// The upstreams there are.
        names: String,
    },
    /// Two descriptor sets for one upstream.
    #[error("--descriptors names the upstream {0} twice; join the two sets into one file")]
    Twice(String),
    /// File, environment and flags together are not a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Flags {
    /// The configuration that holds: flags over environment over file over defaults.
    pub fn load(&self) -> Result<Config, FlagError> {
        let files = config::files(PREFIX, self.config.clone());
        let base = Config::load(&files, || self.overrides())?;
        let upstream = self.upstreams(base.upstream.clone())?;
        Ok(Config { upstream, ..base })
    }

    fn overrides(&self) -> Overrides {
        let overlays = (!self.overlay.is_empty()).then(|| self.overlay.clone());
        Overrides::default()
            .set_option("listen.address", "--listen", self.listen.clone())
            .set_option("admin.address", "--admin", self.admin.clone())
            .set_option("auth.url", "--auth", self.auth.clone())
            .set_option("auth.client_id", "--client-id", self.client_id.clone())
            .set_option("auth.client_secret_file", "--client-secret-file", self.client_secret_file.clone())
            .set_option("cache.url", "--cache", self.cache.clone())
            .set_option("contract.overlays", "--overlay", overlays)
    }

    /// Upstreams given by flags stand in place of the configured ones; descriptor sets are added to what there is.
    fn upstreams(&self, configured: Vec<UpstreamConfig>) -> Result<Vec<UpstreamConfig>, FlagError> {
        let mut upstreams =
            if self.upstream.is_empty() { configured } else { accord_upstream::config::from_flags(&self.upstream)? };
        self.give_descriptors(&mut upstreams)?;
        Ok(upstreams)
    }

    fn give_descriptors(&self, upstreams: &mut [UpstreamConfig]) -> Result<(), FlagError> {
        let mut given_to = Vec::new();
        for given in &self.descriptors {
            let (index, file) = whose(given, upstreams)?;
            if given_to.contains(&index) {
                return Err(FlagError::Twice(upstreams[index].name.clone()));
            }
            given_to.push(index);
            upstreams[index].descriptors = Some(file.to_path_buf());
        }
        Ok(())
    }
}

/// Which upstream a descriptor set belongs to, and its file.
fn whose<'a>(given: &'a str, upstreams: &[UpstreamConfig]) -> Result<(usize, &'a Path), FlagError> {
    let names = || match upstreams {
        [] => "none (add --upstream NAME=URL)".to_owned(),
        some => some.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", "),
    };
    match (named(given), upstreams) {
        (Some((name, file)), _) => {
            let index = upstreams.iter().position(|upstream| upstream.name == name);
            let nobody = || FlagError::Nobody { given: given.to_owned(), name: name.to_owned(), names: names() };
            Ok((index.ok_or_else(nobody)?, Path::new(file)))
        }
        (None, [_only]) => Ok((0, Path::new(given))),
        (None, _) => Err(FlagError::Whose { file: given.to_owned(), names: names() }),
    }
}

/// `NAME=REST`, both not empty.
fn named(given: &str) -> Option<(&str, &str)> {
    given.split_once('=').filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
}

/// Prints the effective configuration.
pub fn print_config(config: &Config) -> ExitCode {
    print!("{}", config::print(config));
    ExitCode::SUCCESS
}

/// Prints every finding about the contract, one per line. Fails where one of them is an error.
pub async fn check(config: &Config) -> ExitCode {
    if let Err(error) = serve::check(config) {
        return refuse(&Refused::one(format!("error: {error:#}")));
    }
    let built = match build(config).await {
        Ok(built) => built,
        Err(refused) => return refuse(&refused),
    };
    built.warnings.iter().for_each(|warning| println!("{warning}"));
    for Pending { upstream, why } in &built.pending {
        println!("error: upstream {upstream}: not checked: {why}");
    }
    if config.upstream.is_empty() {
        println!("error: there is no upstream, and so no contract: add one with --upstream NAME=URL");
    }
    println!("can be enforced: methods: {}, upstreams: {}", built.contract.methods().len(), built.pools.len());
    // A pipeline must not take what was not looked at for good.
    if built.pending.is_empty() && !built.pools.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the effective policy of one method. Fails where there is no such method.
pub async fn explain(config: &Config, method: &str) -> ExitCode {
    let built = match build(config).await {
        Ok(built) => built,
        Err(refused) => return refuse(&refused),
    };
    if let Some(method) = built.contract.method(method) {
        print!("{}", explain::text(method));
        return ExitCode::SUCCESS;
    }
    for Pending { upstream, why } in &built.pending {
        eprintln!("error: upstream {upstream}: its methods are not known: {why}");
    }
    eprintln!("error: {}", explain::unknown(&built.contract, &[], method));
    ExitCode::FAILURE
}

fn refuse(refused: &Refused) -> ExitCode {
    refused.reasons().iter().for_each(|reason| println!("{reason}"));
    ExitCode::FAILURE
}

async fn build(config: &Config) -> Result<Built, Refused> {
    let upstreams = Upstream::all(&config.upstream).map_err(|error| Refused::one(format!("error: {error}")))?;
    let built = Sources::gather(config, &upstreams).await?.build()?;
    // Built for its findings alone: some only show when every method is compiled for serving.
    MethodTable::new(&built, &upstreams, None)?;
    Ok(built)
}

#[cfg(test)]
mod tests;
