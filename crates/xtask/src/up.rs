//! `cargo xtask up`: the fabric of the tests, left running on the documented ports, with the sample's records in it.

pub(crate) mod console;
mod in_use;
mod live;
mod mine;
mod pending;
mod ports;
mod records;
mod reloads;
mod stop;

pub(crate) use records::load as load_records;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use accord_fabric::{Builder, EDITOR, Fabric, Part, READER, Server, Trouble, binaries};
use anyhow::{Context, Result, anyhow, bail};

use self::{ports::Choice, stop::Stop};
use crate::{
    say::{note, say},
    tour::{self, Scene},
    workspace,
};

/// How `up` can be called.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the printed lines, show what came, stop everything, and tell by the exit status whether all was well
    #[arg(long)]
    once: bool,
    /// Put one more service behind the gateway and the cache; repeatable, with the same name for one more endpoint
    #[arg(long, value_name = "NAME=URL", value_parser = named)]
    upstream: Vec<(String, String)>,
    /// Give the gateway the descriptor set of a service that has no server reflection; repeatable
    #[arg(long, value_name = "NAME=FILE", value_parser = descriptors)]
    descriptors: Vec<(String, PathBuf)>,
    /// Give the gateway a file with policies for protos one does not own; repeatable, a later one is stronger
    #[arg(long, value_name = "FILE")]
    overlay: Vec<PathBuf>,
    /// Give auth a file with Cedar policies, which grant permissions to roles, beside those of the sample; repeatable
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Give one of the binaries a configuration file that is stronger than its own: gateway, auth, cache, catalog or orders;
    /// repeatable, a later one is stronger
    #[arg(long, value_name = "NAME=FILE", value_parser = mine::named)]
    config: Vec<(Part, PathBuf)>,
    /// Put the gateway on this port and the others as far from it as the documentation has them, or all on `free` ones
    #[arg(long, value_name = "PORT|free", default_value = "8080", hide_default_value = true, value_parser = ports)]
    ports: Choice,
    /// Where development keys, databases and logs are kept. Default: .accord, beside the README; with --ports a directory in it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Args {
    /// Whether a problem is about what a flag gave, so that no kept file is at fault.
    fn is_blamed(&self, problem: &anyhow::Error) -> bool {
        let text = format!("{problem:#}");
        let descriptors = self.descriptors.iter().map(|(_, file)| file);
        let configs = self.config.iter().map(|(_, file)| file);
        let files = self.overlay.iter().chain(&self.policy).chain(descriptors).chain(configs);
        let files = files.filter_map(|file| file.file_name()?.to_str());
        let urls = self.upstream.iter().map(|(_, url)| url.as_str());
        files.chain(urls).any(|given| text.contains(given))
    }
}

fn ports(text: &str) -> Result<Choice, String> {
    if text == "8080" { Ok(Choice::Documented) } else { text.parse() }
}

/// Where a fabric on these ports keeps its data.
fn default_data(ports: Choice) -> PathBuf {
    let data = workspace::root().join(".accord");
    ports.directory().map_or_else(|| data.clone(), |directory| data.join(directory))
}

/// A service and where it is, as a flag says it.
fn named(flag: &str) -> Result<(String, String), String> {
    let (name, url) = pair(flag, "NAME=URL, such as shop=http://127.0.0.1:50051")?;
    if [Part::Cache, Part::Catalog, Part::Orders].map(Part::name).contains(&name) {
        return Err("what `up` starts has this name: give the service another one".to_owned());
    }
    if !url.contains("://") {
        return Err(format!("its URL has no scheme: write {name}=http://{url}"));
    }
    Ok((name.to_owned(), url.to_owned()))
}

/// A service and what it serves, as a flag says it.
fn descriptors(flag: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = pair(flag, "NAME=FILE, such as shop=shop.binpb")?;
    Ok((name.to_owned(), file.into()))
}

fn pair<'a>(flag: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    let pair = flag.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.ok_or_else(|| format!("it is not of the form {form}"))
}

/// Builds, starts, shows, and stops.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { once, data, .. } = args;
    // Before the build, which takes minutes the first time and would be waited for in vain.
    if *once {
        tour::require_tools()?;
    }
    args.ports.require()?;
    let data = data.clone().unwrap_or_else(|| default_data(args.ports));
    let kept = data.exists();
    fs::create_dir_all(&data)
        .with_context(|| format!("can't make the directory {}: name another with --data", data.display()))?;
    let _in_use = in_use::take(&data)?;
    note("Building (the first time takes minutes) ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(up(args, &data, kept))
}

async fn up(args: &Args, data: &Path, kept: bool) -> Result<()> {
    let once = args.once;
    let builder = builder(args, data)?;
    let mut stop = Stop::listen()?;
    note("Starting auth, cache, catalog, orders and gateway ...");
    let (mut fabric, products) = tokio::select! {
        started = start(builder) => started
            .map_err(in_one_sentence)
            .map_err(|problem| if kept && !args.is_blamed(&problem) { or_begin_anew(&problem, data) } else { problem })?,
        // What has been started is killed when the half-made fabric is dropped.
        () = stop.asked() => bail!("stopped before everything was up"),
    };
    let shown = tokio::select! {
        shown = show(args, &mut fabric, products) => shown,
        () = stop.asked() => if once { Err(anyhow!("stopped before the tour's end")) } else { Ok(()) },
    };
    note("\nDraining ...");
    // Another Ctrl-C is impatience: the fabric is dropped, and so killed.
    let stopped = tokio::select! {
        stopped = fabric.stop() => stopped,
        () = stop.asked_again() => bail!("stopped without draining"),
    };
    shown.and(stopped).map_err(in_one_sentence)
}

/// What is to be started.
fn builder(args: &Args, data: &Path) -> Result<Builder> {
    let mut builder = args.ports.put(Fabric::builder()?.orders().kept_in(data));
    for (name, url) in &args.upstream {
        builder = builder.upstream(name, url);
    }
    for (name, file) in &args.descriptors {
        if !args.upstream.iter().any(|(upstream, _)| upstream == name) {
            bail!("--descriptors names {name}, which no --upstream does: add --upstream {name}=URL");
        }
        let file = seen_from_here("descriptors", file)?.display().to_string();
        builder = builder.upstream_settings(name, toml::toml! { descriptors = file });
    }
    for overlay in &args.overlay {
        builder = builder.overlay(seen_from_here("overlay", overlay)?);
    }
    for policy in &args.policy {
        builder = builder.policy(seen_from_here("policy", policy)?);
    }
    for (part, file) in &args.config {
        let file = seen_from_here("config", file)?;
        mine::require_no_address(&file)?;
        builder = builder.config(*part, file);
    }
    Ok(builder)
}

/// The fabric, and how many products its catalog holds.
async fn start(builder: Builder) -> Result<(Fabric, usize)> {
    let fabric = builder.start().await?;
    let token = fabric.token(EDITOR).await?;
    let products = records::load(&fabric, &token).await?;
    Ok((fabric, products))
}

/// The whole path of a file that a flag names: the binaries run elsewhere.
fn seen_from_here(flag: &str, file: &Path) -> Result<PathBuf> {
    file.canonicalize().with_context(|| format!("can't read {}: name another file with --{flag}", file.display()))
}

async fn show(args: &Args, fabric: &mut Fabric, products: usize) -> Result<()> {
    let directory = from_here(fabric.directory());
    say(format_args!("The catalog holds {products} products; keys, databases and logs are in {directory}."))?;
    print_addresses(fabric)?;
    console::print(fabric).await?;
    pending::print(fabric, &args.upstream)?;
    let scene = scene(args, fabric).await?;
    if args.once {
        return tour::run(&scene).await;
    }
    tour::print(&scene)?;
    live::follow(fabric).await
}

fn print_addresses(fabric: &Fabric) -> Result<()> {
    say("")?;
    let orders = fabric.orders.as_ref().map(|orders| (Part::Orders, orders));
    let others = [(Part::Auth, &fabric.auth), (Part::Cache, &fabric.cache), (Part::Catalog, &fabric.catalog)];
    print_address(Part::Gateway, &fabric.gateway)?;
    say(format_args!(
        "  {:8} http://{}   the gateway again, for services that call each other",
        "internal", fabric.internal
    ))?;
    others.into_iter().chain(orders).try_for_each(|(part, server)| print_address(part, server))
}

fn print_address(part: Part, Server { listen, admin, .. }: &Server) -> Result<()> {
    say(format_args!("  {:8} http://{listen}   metrics and health: http://{admin}", part.name()))
}

async fn scene(args: &Args, fabric: &Fabric) -> Result<Scene> {
    let given = args.config.iter().filter(|(part, _)| *part == Part::Gateway).map(|(_, file)| from_here(file));
    let configs: Vec<_> = [from_here(&fabric.config(Part::Gateway))].into_iter().chain(given).collect();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let words = [
        ("listen", fabric.gateway.listen.to_string()),
        ("admin", fabric.gateway.admin.to_string()),
        // A price and a product that are not there yet: without them, a write that did nothing would look like success.
        ("price", (10_000 + seconds % 80_000).to_string()),
        ("product", format!("tour-{seconds:x}")),
        ("request", format!("tour-basket-{seconds:x}")),
        ("gateway", from_here(&binaries::path("accord-gateway")?)),
        ("config", configs.join(" --config ")),
        ("logs", from_here(&fabric.logs())),
    ];
    let variables = [("TOKEN", fabric.token(EDITOR).await?), ("READER", fabric.token(READER).await?)];
    Ok(Scene { variables: variables.into(), words: words.into() })
}

/// A path as it would be typed here.
fn from_here(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// What a process complained of says why it is no use: all reasons for which it did not start, or its last complaint. Where
/// there is none, its last line tells how far it came.
fn in_one_sentence(problem: anyhow::Error) -> anyhow::Error {
    let Some(Trouble { name, what, log, last_words }) = problem.downcast_ref() else { return problem };
    let reasons: Vec<_> = last_words.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let complains = |line: &&str| [" ERROR ", " WARN "].iter().any(|mark| line.contains(mark));
    let last = || last_words.lines().rfind(complains).or_else(|| last_words.lines().last()).unwrap_or("nothing");
    let said = if reasons.is_empty() { last().to_owned() } else { reasons.join("; ").replace(":; ", ": ") };
    anyhow!("{name} {what}, having said `{said}` (in {})", from_here(log))
}

/// What an earlier `up` kept may be at fault for what this one met.
fn or_begin_anew(problem: &anyhow::Error, data: &Path) -> anyhow::Error {
    let data = from_here(data);
    anyhow!("{problem:#}; if {data} is damaged or of an older version, remove it: the next `up` makes it anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_a_process_is_its_last_error_line() {
        let told = |last_words: &str| {
            let (name, what) = ("auth".to_owned(), "has ended".to_owned());
            in_one_sentence(Trouble { name, what, log: "auth.log".into(), last_words: last_words.to_owned() }.into())
        };
        let refused = "1  INFO a: one\n2 ERROR b: not accepted\n3  INFO a: listening";
        assert_eq!(told(refused).to_string(), "auth has ended, having said `2 ERROR b: not accepted` (in auth.log)");
        assert_eq!(told("error: no key").to_string(), "auth has ended, having said `no key` (in auth.log)");
        let both = told("error: refused:\nerror: selectr: is no key\nerror: selector: is missing").to_string();
        assert!(both.contains("`refused: selectr: is no key; selector: is missing`"), "{both}");
        assert!(told("1  INFO a: one\n2  INFO a: two").to_string().contains("a: two"));
        assert!(told("").to_string().contains("nothing"));
    }

    #[test]
    fn problem_with_what_a_flag_gave_is_no_damage_of_what_is_kept() {
        let upstream = vec![("shop".to_owned(), "foo".to_owned())];
        let overlay = vec!["target/mine.toml".into()];
        let (descriptors, policy, ports) = (Vec::new(), Vec::new(), Choice::Documented);
        let config = vec![(Part::Gateway, "target/gateway.toml".into())];
        let args = Args { once: false, upstream, descriptors, overlay, policy, config, ports, data: None };
        assert!(args.is_blamed(&anyhow!("/a/mine.toml:1: selectr: is no key")));
        assert!(args.is_blamed(&anyhow!("target/gateway.toml:1:1: `limit` is no key")));
        assert!(args.is_blamed(&anyhow!("\"foo\" is not an address of a service")));
        assert!(!args.is_blamed(&anyhow!("auth.db is malformed")));
    }

    #[test]
    fn names_of_what_up_starts_are_taken() {
        for taken in ["catalog", "orders", "cache"] {
            assert!(named(&format!("{taken}=http://127.0.0.1:50051")).is_err(), "{taken}");
        }
        assert!(named("shop=http://127.0.0.1:50051").is_ok());
    }

    #[test]
    fn url_without_a_scheme_is_refused_with_what_to_write() {
        let refused = named("echo=127.0.0.1:50051").unwrap_err();
        assert_eq!(refused, "its URL has no scheme: write echo=http://127.0.0.1:50051");
    }
}
