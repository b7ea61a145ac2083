//! The command line that every binary has: `serve`, `check`, `config print`, `metrics`, `completions`, and `--config`.
//!
//! `check` and `serve` begin with the same steps, so that neither accepts what the other refuses; only ports, and what is at
//! the other end of the network, are left to `serve`.

mod examples;
mod extremes;
mod follow;
mod metrics;
mod output;
mod report;

use std::{
    ffi::OsString,
    future::{Future, ready},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use tokio::sync::watch;

use crate::{
    config::{self, Configuration, Invalid, Loaded, Overrides},
    exit_status::{ExitStatus, RefusedConfig},
    listen::ListenConfig,
    output::print,
    run,
    telemetry::TelemetryConfig,
    workers::Workers,
};

pub use accord_metric::Metric;
pub use examples::{example_habits, shell_habits};
pub use extremes::{accepted_extremes, keeps_default_addresses};
pub use follow::Change;
pub use output::{List, OutputFlag};
pub use report::{Finding, Report, Severity};

/// The newest change of the configuration's files; none before the first. Whoever follows it takes each over, or refuses it.
pub type Newest<C> = watch::Receiver<Option<Arc<Change<C>>>>;

/// What differs between binaries.
pub trait Binary: Sized + 'static {
    /// Its name, such as `accord-gateway`.
    const NAME: &'static str;
    /// What it is, in one sentence.
    const ABOUT: &'static str;
    /// What `--help` ends with.
    const EXAMPLES: &'static str;
    /// What `--help` of commands below the first level ends with: each by its path, such as `key rotate`, with lines that can be
    /// typed.
    const COMMAND_EXAMPLES: &'static [(&'static str, &'static str)] = &[];
    /// Sections, or single keys, that it takes over while it serves, beside those of every binary.
    const RELOADED: &'static [&'static str] = &[];
    /// The metrics that it may show beside those of every binary, by the crates that declare them.
    const METRICS: &'static [&'static [Metric]] = &[];
    /// Its configuration.
    type Config: Configuration + Send + Sync;
    /// Its flags beside those of every binary; each is `global`.
    type Flags: Args + Send + Sync;
    /// Its commands beside those of every binary.
    type Command: Subcommand;

    /// The sections that every binary has.
    fn sections(config: &Self::Config) -> Sections<'_>;

    /// The values that its flags give to keys.
    fn overrides(flags: &Self::Flags) -> anyhow::Result<Overrides>;

    /// What its flags say that is no value of a key.
    fn complete(_: &Self::Flags, config: Self::Config) -> anyhow::Result<Self::Config> {
        Ok(config)
    }

    /// What of the files that its own sections name can't be used, or is missing. Opens no port and no connection.
    fn unusable(config: &Self::Config) -> Vec<Invalid>;

    /// What else `check` has to say of a configuration in which nothing is wrong so far.
    fn inspect(_: Self::Config) -> impl Future<Output = Report> {
        ready(Report::good("the configuration is good"))
    }

    /// Serves until a signal to stop, callers on these workers. Where it reloads anything, it takes over or refuses what `newest`
    /// says.
    fn serve(
        config: Self::Config,
        newest: Newest<Self::Config>,
        workers: &Workers,
    ) -> impl Future<Output = anyhow::Result<()>>;

    /// Executes one of its own commands.
    fn execute(command: Self::Command, settings: &Settings<Self>) -> impl Future<Output = anyhow::Result<ExitCode>>;
}

/// The sections that every binary has.
pub struct Sections<'a> {
    /// Where it serves.
    pub listen: &'a ListenConfig,
    /// Where it shows how it is.
    pub admin: &'a ListenConfig,
    /// Logs, metrics and traces.
    pub telemetry: &'a TelemetryConfig,
    /// How many workers serve its callers; 0 for one on each core.
    pub workers: usize,
}

impl Sections<'_> {
    fn unusable(&self) -> impl Iterator<Item = Invalid> {
        let listen = self.listen.unusable().map(|invalid| invalid.under("listen"));
        let admin = self.admin.unusable().map(|invalid| invalid.under("admin"));
        let telemetry = self.telemetry.unusable().map(|invalid| invalid.under("telemetry"));
        [listen, admin, telemetry].into_iter().flatten()
    }
}

/// The commands of a binary that has none of its own.
#[derive(Clone, Copy, Debug)]
pub enum NoCommand {}

impl FromArgMatches for NoCommand {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Err(clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        match *self {}
    }
}

impl Subcommand for NoCommand {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_: &str) -> bool {
        false
    }
}

/// The whole command line.
#[derive(Debug, Parser)]
struct Cli<F: Args, C: Subcommand> {
    #[command(flatten)]
    frame: Frame,
    #[command(flatten)]
    flags: F,
    #[command(subcommand)]
    command: Commands<C>,
}

/// The flags of every binary.
#[derive(Debug, Args)]
struct Frame {
    /// Configuration file (TOML); `config print` shows its keys. Repeatable: a later one is stronger, and lists of sections
    /// are joined.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Address to serve on, as HOST:PORT, or :PORT for all interfaces.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the admin port: metrics, health and what else is for operators.
    #[arg(long, global = true, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// The commands of every binary, and its own.
#[derive(Debug, Subcommand)]
enum Commands<C: Subcommand> {
    /// Serve until SIGTERM or SIGINT, then drain.
    Serve,
    /// Say whether `serve` would accept the configuration and the files that it names, one line per finding; exit status 1 on
    /// errors. Not looked at: the network, ports, what is in a store.
    Check(OutputFlag),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List the metrics that `/metrics` may show: names, kinds, what they tell, and labels with their values where they are known.
    Metrics(OutputFlag),
    /// Print completions for a shell.
    Completions {
        /// Which.
        shell: Shell,
    },
    #[command(flatten)]
    Own(C),
}

/// What can be done with a configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// Print what holds after defaults, files, environment and flags, with secrets as ***: as TOML, or with `--output json` as JSON.
    Print(OutputFlag),
}

/// What was given on the command line for the configuration.
pub struct Settings<B: Binary> {
    frame: Frame,
    /// The binary's own flags.
    pub flags: B::Flags,
}

impl<B: Binary> Settings<B> {
    /// What these arguments say, the binary's name first.
    pub fn parse_from<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        let (settings, _) = parsed::<B>(arguments.into_iter().map(OsString::from))?;
        Ok(settings)
    }

    /// The configuration that holds: flags over environment over files over defaults.
    pub fn load(&self) -> anyhow::Result<B::Config> {
        self.load_where(|_| Ok(()))
    }

    /// The same, where what files, environment and flags say stands a test before anything is done about it.
    pub fn load_where(&self, test: impl FnOnce(&B::Config) -> anyhow::Result<()>) -> anyhow::Result<B::Config> {
        let loaded = self.read(test)?;
        match contradictions::<B>(&loaded.config).into_iter().next() {
            Some(invalid) => Err(loaded.refuse(invalid).into()),
            None => Ok(loaded.config),
        }
    }

    fn read(&self, test: impl FnOnce(&B::Config) -> anyhow::Result<()>) -> anyhow::Result<Loaded<B::Config>> {
        let Frame { listen, admin, .. } = &self.frame;
        let overrides = B::overrides(&self.flags)?.set_option("listen.address", "--listen", listen.clone()).set_option(
            "admin.address",
            "--admin",
            admin.clone(),
        );
        let loaded: Loaded<B::Config> = config::load(&self.files(), overrides)?;
        test(&loaded.config)?;
        loaded.try_map(|config| B::complete(&self.flags, config))
    }

    /// The files of the configuration.
    fn files(&self) -> Vec<PathBuf> {
        config::files(B::Config::PREFIX, self.frame.config.clone())
    }

    /// The configuration, if it can be served as far as files can say, or everything that is wrong with it.
    pub fn usable(&self) -> Result<B::Config, Vec<anyhow::Error>> {
        self.usable_with_places().map(|loaded| loaded.config)
    }

    fn usable_with_places(&self) -> Result<Loaded<B::Config>, Vec<anyhow::Error>> {
        let loaded = self.read(|_| Ok(())).map_err(|error| vec![error])?;
        let mut wrong = contradictions::<B>(&loaded.config);
        if wrong.is_empty() {
            wrong.extend(B::sections(&loaded.config).unusable().chain(B::unusable(&loaded.config)));
        }
        if wrong.is_empty() {
            return Ok(loaded);
        }
        Err(wrong.into_iter().map(|invalid| loaded.refuse(invalid).into()).collect())
    }

    async fn check(&self) -> Report {
        match self.usable() {
            Ok(config) => B::inspect(config).await,
            Err(wrong) => Report::refused(wrong.iter().map(run::sentence)),
        }
    }
}

fn contradictions<B: Binary>(config: &B::Config) -> Vec<Invalid> {
    let Sections { listen, admin, .. } = B::sections(config);
    listen.contradictions(admin).into_iter().chain(config.contradictions()).collect()
}

/// The command line as clap knows it, with the binary's own addresses in the help.
pub fn command_line<B: Binary>() -> Command {
    let defaults = toml::Table::try_from(B::Config::default()).unwrap_or_default();
    let with_default = |flag: &str, argument: clap::Arg| {
        let default = defaults.get(flag).and_then(|section| section.get("address")).and_then(toml::Value::as_str);
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        argument.help(format!("{help}. Default: {}", default.unwrap_or("none")))
    };
    examples::of_common(B::NAME, examples::of_own::<B>(Cli::<B::Flags, B::Command>::command()))
        .name(B::NAME)
        .bin_name(B::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(B::ABOUT)
        .after_help(B::EXAMPLES)
        .mut_arg("listen", |argument| with_default("listen", argument))
        .mut_arg("admin", |argument| with_default("admin", argument))
}

async fn serve<B: Binary>(loaded: Loaded<B::Config>, settings: Settings<B>) -> anyhow::Result<ExitCode> {
    let (config, places) = loaded.split();
    let workers = Workers::start(B::sections(&config).workers)
        .context("the threads that serve can't be started; lower `workers`, or allow the process more of them")?;
    let (sender, newest) = watch::channel(None);
    let served = tokio::select! {
        served = B::serve(config, newest, &workers) => served,
        never = follow::follow(Arc::new(settings), places, sender) => match never {},
    };
    workers.stop().await;
    served.map(|()| ExitStatus::Success.into())
}

/// Runs a binary: its `main` is this.
pub fn main<B: Binary>() -> ExitCode {
    let (settings, command) = parsed::<B>(std::env::args_os()).unwrap_or_else(|error| error.exit());
    run::run(|| execute(command, settings))
}

fn parsed<B: Binary>(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed<B>, clap::Error> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut line = command_line::<B>();
    let matches = line.try_get_matches_from_mut(&arguments)?;
    if let Some(flag) = scattered(&line, &matches, &arguments) {
        let problem = format!("--{flag} stands before and after the command: write all of them on one side");
        return Err(line.error(ErrorKind::ArgumentConflict, problem));
    }
    let Cli { frame, flags, command } = Cli::<B::Flags, B::Command>::from_arg_matches(&matches)?;
    Ok((Settings { frame, flags }, command))
}

/// A global flag that stands on both sides of the command: clap would keep what is after it alone.
fn scattered(line: &Command, matches: &ArgMatches, arguments: &[OsString]) -> Option<String> {
    let flags = || arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
    let mut long = line.get_arguments().filter_map(|argument| Some((argument.get_id(), argument.get_long()?)));
    let lost = long.find(|(id, long)| {
        let given = flags().take_while(|flag| !flag.is_empty()).filter(|flag| flag.split('=').next() == Some(long));
        let kept = matches.try_get_raw(id.as_str()).ok().flatten().map_or(0, Iterator::count);
        kept > 0 && given.count() > kept
    });
    lost.map(|(_, long)| long.to_owned())
}

type Parsed<B> = (Settings<B>, Commands<<B as Binary>::Command>);

async fn execute<B: Binary>(command: Commands<B::Command>, settings: Settings<B>) -> anyhow::Result<ExitCode> {
    match command {
        Commands::Serve => match settings.usable_with_places() {
            Ok(loaded) => serve::<B>(loaded, settings).await,
            Err(wrong) => Err(RefusedConfig(wrong.iter().map(run::sentence).collect()).into()),
        },
        Commands::Check(flag) => settings.check().await.print_as(flag),
        Commands::Config(ConfigCommand::Print(flag)) => {
            flag.print(&config::Printed(settings.load()?))?;
            Ok(ExitStatus::Success.into())
        }
        Commands::Metrics(flag) => {
            metrics::list::<B>(flag)?;
            Ok(ExitStatus::Success.into())
        }
        Commands::Completions { shell } => {
            // Generated first: clap panics where it can't write.
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut command_line::<B>(), B::NAME, &mut completions);
            print(String::from_utf8_lossy(&completions))?;
            Ok(ExitStatus::Success.into())
        }
        Commands::Own(command) => B::execute(command, &settings).await,
    }
}
