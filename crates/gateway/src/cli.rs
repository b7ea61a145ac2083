//! The command line: what a stranger sees first, and the subcommands that need no running gateway.

mod diff;

use std::path::PathBuf;
use std::process::ExitCode;

use accord_mesh::config::MeshFlags;
use accord_runtime::cli::{Binary, Finding, Metric, Newest, OutputFlag, Report, Sections, Settings};
use accord_runtime::config::{Invalid, Overrides};
use accord_runtime::exit_status::ExitStatus;
use accord_runtime::output::{print, print_error};
use accord_runtime::progress::{Progress, Unit};
use accord_runtime::workers::Workers;
use accord_upstream::Upstream;
use accord_upstream::config as upstream;
use clap::{Args, Subcommand};

use self::diff::DiffArguments;
use crate::config::{Config, UpstreamConfig};
use crate::declared_metrics;
use crate::explain::{self, Explanation};
use crate::inspect::openapi;
use crate::live;
use crate::serve;
use crate::table::{Built, MethodTable, Pending, Refused, Sources};

const EXAMPLES: &str = "\
Examples:
  The gateway's own identity, made once beside auth:
    accord-auth client add gateway --role accord-mesh --role accord-gateway --secret-file gateway.secret

  One service that has server reflection, behind a gateway on port 8080, with a cache:
    accord-gateway serve --client-id gateway --client-secret-file gateway.secret \\
        --upstream catalog=http://127.0.0.1:9000 --cache http://127.0.0.1:8100

  Two endpoints of a service, its descriptor set, and policies for it from an overlay; the rest from a file:
    accord-gateway serve --config gateway.toml --upstream shop=http://10.0.0.7:9000 \\
        --upstream shop=http://10.0.0.8:9000 --descriptors shop.binpb --overlay shop.toml

  Two services of one descriptor set, each at an upstream of its own:
    accord-gateway serve --config gateway.toml --upstream cart=http://cart:9000 --upstream ads=http://ads:9000 \\
        --descriptors cart=demo.binpb --descriptors ads=demo.binpb \\
        --services cart=demo.v1.CartService --services ads=demo.v1.AdService

  Hold a contract against the gateway in a pipeline, with no server running:
    accord-gateway contract check --upstream shop=http://shop:9000 --descriptors shop.binpb

  What holds for one method, and which file says so:
    accord-gateway explain --config gateway.toml catalog.v1.ProductService/GetProduct

  What the change of a contract breaks, and what it loosens:
    accord-gateway diff released.binpb shop.binpb --overlay shop.toml

  What callers may do with JSON, for the generators of their clients:
    accord-gateway openapi --upstream shop=http://shop:9000 --descriptors shop.binpb

Every key of the file can also be set by environment: ACCORD_GATEWAY__LISTEN__ADDRESS=0.0.0.0:8080.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
    accord-gateway explain catalog.v1.ProductService/GetProduct --config gateway.toml
    accord-gateway explain catalog.v1.ProductService/GetProduct --config gateway.toml --output json";

const OPENAPI_EXAMPLES: &str = "\
Examples:
    accord-gateway openapi --upstream shop=http://shop:9000 --descriptors shop.binpb >shop.openapi.json";

const DIFF_EXAMPLES: &str = "\
Examples:
  What a pipeline asks before a release:
    accord-gateway diff released.binpb shop.binpb --overlay shop.toml --fail-on breaks --output json";

const CONTRACT_EXAMPLES: &str = "\
Examples:
    accord-gateway contract check --upstream shop=http://shop:9000 --descriptors shop.binpb --strict --output json";

const OF_COMMANDS: [(&str, &str); 1] = [(
    "contract check",
    "accord-gateway contract check --upstream shop=http://shop:9000 --descriptors shop.binpb --strict --output json",
)];

/// The binary.
pub struct AccordGateway;

/// What the gateway can do beside what every binary can.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the policy that holds for a method, and which layer each of its fields comes from.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// The method, `pkg.Service/Method`.
        method: String,
        /// How it is written.
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Print what callers may do with JSON as an `OpenAPI` 3.1 document, as `/openapi.json` has it. Needs no identity of the
    /// gateway and no secret.
    #[command(after_help = OPENAPI_EXAMPLES)]
    Openapi,
    /// Say what the change of a contract breaks and what it loosens, one line per change; exit status 1 where one does, 2 where a
    /// contract can't be read. Needs no identity of the gateway and no secret.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArguments),
    /// The contract.
    #[command(subcommand, after_help = CONTRACT_EXAMPLES)]
    Contract(ContractCommand),
}

/// What can be done with the contract.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ContractCommand {
    /// Say whether the contract can be enforced, one line per finding; exit status 1 on errors. Unlike `check` it needs no
    /// identity of the gateway and no secret, so that a pipeline can ask.
    Check {
        /// How findings are written.
        #[command(flatten)]
        output: OutputFlag,
        /// Count warnings as errors, such as bindings that are not served.
        #[arg(long)]
        strict: bool,
    },
}

/// The gateway's own flags. They win over the environment, which wins over the files.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Address of the internal listener, by which services call each other. Without it there is none.
    #[arg(long, global = true, value_name = "ADDRESS")]
    internal: Option<String>,
    #[command(flatten)]
    mesh: MeshFlags,
    /// Where the cache is. Without one, every read goes to its upstream.
    #[arg(long, global = true, value_name = "URL")]
    cache: Option<String>,
    /// A service behind the gateway. Repeat it for more services, or with the same name for more endpoints of one.
    /// Takes the place of all configured ones.
    #[arg(long, global = true, value_name = "NAME=URL")]
    upstream: Vec<String>,
    /// Descriptor set of a service, instead of its server reflection. With one service the name can be left out.
    #[arg(long, global = true, value_name = "[NAME=]FILE")]
    descriptors: Vec<String>,
    /// Services that an upstream serves, where its descriptors have more. Repeatable. With one upstream the name can be left
    /// out.
    #[arg(long, global = true, value_name = "[NAME=]SERVICE[,SERVICE...]")]
    services: Vec<String>,
    /// File with policies for protos one does not own. Repeatable; a later one is stronger.
    #[arg(long, global = true, value_name = "FILE")]
    overlay: Vec<String>,
}

impl Binary for AccordGateway {
    const NAME: &'static str = "accord-gateway";
    const ABOUT: &'static str =
        "The API gateway of the mesh: JSON and gRPC in, with the contract of each method enforced.";
    const EXAMPLES: &'static str = EXAMPLES;
    const COMMAND_EXAMPLES: &'static [(&'static str, &'static str)] = &OF_COMMANDS;
    const RELOADED: &'static [&'static str] = &live::RELOADED;
    const METRICS: &'static [&'static [Metric]] = &[
        accord_mesh::declared_metrics::METRICS,
        accord_upstream::declared_metrics::METRICS,
        accord_readthrough::declared_metrics::near::METRICS,
        declared_metrics::METRICS,
    ];
    type Config = Config;
    type Flags = Flags;
    type Command = Command;

    fn sections(config: &Config) -> Sections<'_> {
        Sections { listen: &config.listen, admin: &config.admin, telemetry: &config.telemetry, workers: config.workers }
    }

    fn overrides(flags: &Flags) -> anyhow::Result<Overrides> {
        let overlays = (!flags.overlay.is_empty()).then(|| flags.overlay.clone());
        let overrides = flags.mesh.override_keys(Overrides::default());
        Ok(overrides
            .set_option("internal.address", "--internal", flags.internal.clone())
            .set_option("cache.url", "--cache", flags.cache.clone())
            .set_option("contract.overlays", "--overlay", overlays)
            .set_option("upstream", "--upstream", upstream::from_flags(&flags.upstream)?))
    }

    fn complete(flags: &Flags, mut config: Config) -> anyhow::Result<Config> {
        flags.give_descriptors(&mut config.upstream)?;
        flags.give_services(&mut config.upstream)?;
        Ok(config)
    }

    fn unusable(config: &Config) -> Vec<Invalid> {
        config.unusable()
    }

    async fn inspect(config: Config) -> Report {
        contract(&config).await
    }

    async fn serve(config: Config, newest: Newest<Config>, workers: &Workers) -> anyhow::Result<()> {
        serve::serve(config, newest, workers).await
    }

    async fn execute(command: Command, settings: &Settings<Self>) -> anyhow::Result<ExitCode> {
        let config = settings.load()?;
        match command {
            Command::Explain { method, output } => explain(&config, method.trim_start_matches('/'), output).await,
            Command::Openapi => openapi(&config).await,
            Command::Diff(arguments) => diff::run(arguments, &config).await,
            Command::Contract(ContractCommand::Check { output, strict }) => {
                let report = contract(&config).await;
                if strict { report.strict() } else { report }.print_as(output)
            }
        }
    }
}

/// A flag that can't be understood.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// `--descriptors FILE` or `--services SERVICE` while there are several upstreams.
    #[error("{flag} {given} does not say whose it is: write {flag} NAME={given}, NAME being one of {names}")]
    Whose {
        /// The flag.
        flag: &'static str,
        /// The value as given.
        given: String,
        /// The upstreams there are.
        names: String,
    },
    /// One of them while there is no upstream.
    #[error(
        "{flag} {given} is for an upstream, and there is none; add --upstream NAME=URL, which `contract check` does not \
         call where there are descriptors"
    )]
    NoUpstream {
        /// The flag.
        flag: &'static str,
        /// The value as given.
        given: String,
    },
    /// A name that no upstream has.
    #[error("{flag} {given} names the upstream {name}, which is not there; there is {names}")]
    Nobody {
        /// The flag.
        flag: &'static str,
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
}

impl Flags {
    /// Descriptor sets are added to the upstreams that there are.
    fn give_descriptors(&self, upstreams: &mut [UpstreamConfig]) -> Result<(), FlagError> {
        let mut given_to = Vec::new();
        for given in &self.descriptors {
            let (index, file) = whose("--descriptors", given, upstreams)?;
            if given_to.contains(&index) {
                return Err(FlagError::Twice(upstreams[index].name.clone()));
            }
            given_to.push(index);
            upstreams[index].descriptors = Some(PathBuf::from(file));
        }
        Ok(())
    }

    /// What is named by flags takes the place of what the upstream has in a file.
    fn give_services(&self, upstreams: &mut [UpstreamConfig]) -> Result<(), FlagError> {
        let mut given_to = Vec::new();
        for given in &self.services {
            let (index, services) = whose("--services", given, upstreams)?;
            if !given_to.contains(&index) {
                upstreams[index].services.clear();
                given_to.push(index);
            }
            let services = services.split(',').map(str::trim).filter(|service| !service.is_empty());
            upstreams[index].services.extend(services.map(str::to_owned));
        }
        Ok(())
    }
}

/// Which upstream the value of a flag belongs to, and the value without its name.
fn whose<'a>(flag: &'static str, given: &'a str, upstreams: &[UpstreamConfig]) -> Result<(usize, &'a str), FlagError> {
    let names = || upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", ");
    match (named(given), upstreams) {
        (_, []) => Err(FlagError::NoUpstream { flag, given: given.to_owned() }),
        (Some((name, value)), _) => {
            let index = upstreams.iter().position(|upstream| upstream.name == name);
            let nobody = || FlagError::Nobody { flag, given: given.to_owned(), name: name.to_owned(), names: names() };
            Ok((index.ok_or_else(nobody)?, value))
        }
        (None, [_only]) => Ok((0, given)),
        (None, _) => Err(FlagError::Whose { flag, given: given.to_owned(), names: names() }),
    }
}

/// `NAME=REST`, both not empty.
fn named(given: &str) -> Option<(&str, &str)> {
    given.split_once('=').filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
}

/// Everything that is found in the contract.
async fn contract(config: &Config) -> Report {
    let (built, _) = match build(config).await {
        Ok(built) => built,
        Err(refused) => return Report::of(refused.reasons().iter().map(|line| finding(line)), ""),
    };
    let mut findings: Vec<_> = built.warnings.iter().map(|line| finding(line)).collect();
    // A pipeline must not take what was not looked at for good.
    let unknown =
        |pending: &Pending| Finding::error(format!("upstream {}: not checked: {}", pending.upstream, pending.why));
    findings.extend(built.pending.iter().map(unknown));
    if config.upstream.is_empty() {
        findings.push(Finding::error(explain::NO_UPSTREAM.to_owned()));
    }
    let (methods, upstreams) = (built.contract.methods().len(), built.sources.len());
    Report::of(findings, format!("can be enforced: methods: {methods}, upstreams: {upstreams}"))
}

/// A line about the contract, which begins with how bad it is.
fn finding(line: &str) -> Finding {
    match line.strip_prefix("warning: ") {
        Some(message) => Finding::warning(message.to_owned()),
        None => Finding::error(line.trim_start_matches("error: ").to_owned()),
    }
}

/// Prints the effective policy of one method. Fails where there is no such method.
async fn explain(config: &Config, method: &str, output: OutputFlag) -> anyhow::Result<ExitCode> {
    let (built, table) = match build(config).await {
        Ok(built) => built,
        Err(refused) => return Report::of(refused.reasons().iter().map(|line| finding(line)), "").print_as(output),
    };
    if let Some(method) = built.contract.method(method) {
        output.print(&Explanation::of(method, &table))?;
        return Ok(ExitStatus::Success.into());
    }
    for Pending { upstream, why } in &built.pending {
        print_error(format_args!("error: upstream {upstream}: its methods are not known: {why}"));
    }
    let message = match &config.upstream[..] {
        [] => explain::NO_UPSTREAM.to_owned(),
        _ => explain::unknown(&built.contract, &[], method),
    };
    print_error(format_args!("error: {message}"));
    Ok(ExitStatus::Failure.into())
}

/// Prints the document of what may be called. Fails where something of it is not known.
async fn openapi(config: &Config) -> anyhow::Result<ExitCode> {
    let (built, table) = match build(config).await {
        Ok(built) => built,
        Err(refused) => return Report::of(refused.reasons().iter().map(|line| finding(line)), "").print(),
    };
    if let Some(problem) = incomplete(config, &built.pending) {
        print_error(format_args!("error: {problem}"));
        return Ok(ExitStatus::Failure.into());
    }
    let writing = Progress::begin("writing the document", Unit::Time);
    let document = format!("{:#}\n", openapi::document(&table, &config.openapi.title, config.identifies_clients()));
    drop(writing);
    print(document)?;
    Ok(ExitStatus::Success.into())
}

/// What of a contract is not known.
fn incomplete(config: &Config, pending: &[Pending]) -> Option<String> {
    if config.upstream.is_empty() {
        return Some(explain::NO_UPSTREAM.to_owned());
    }
    pending.first().map(|Pending { upstream, why }| format!("upstream {upstream}: its methods are not known: {why}"))
}

/// Everything that can be known of the contract without serving it, and the table that would be served.
async fn build(config: &Config) -> Result<(Built, MethodTable), Refused> {
    // Reading and compiling some thousand methods takes seconds.
    let _reading = Progress::begin("reading the contract", Unit::Time);
    let upstreams =
        Upstream::all(&config.upstream, &config.discovery).map_err(|error| Refused::one(format!("error: {error}")))?;
    let mut built = Sources::gather(config, &upstreams).await?.build()?;
    // Some findings only show when every method is compiled for serving.
    let table = MethodTable::new(&built, &upstreams, None)?;
    built.warnings.extend(table.warnings());
    Ok((built, table))
}

#[cfg(test)]
mod tests;
