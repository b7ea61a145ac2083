//! The examples in the help of commands.

use clap::Command;

use super::{Binary, command_line};

/// Names of commands that show something, and so take `--output`.
const SHOWING: [&str; 10] = ["list", "show", "links", "status", "check", "print", "verify", "explain", "stats", "diff"];

/// The same line of help for the commands that every binary has.
pub(super) fn of_common(name: &str, line: Command) -> Command {
    let short = name.strip_prefix("accord-").unwrap_or(name);
    let with = |command: &'static str, examples: String| {
        move |line: Command| line.mut_subcommand(command, |known| known.after_help(format!("Examples:\n{examples}")))
    };
    let serve = with("serve", format!("  {name} serve --config {short}.toml --listen :8443"));
    let check = with("check", format!("  {name} check --config {short}.toml --output json"));
    let config = with("config", format!("  {name} config print --config {short}.toml --output json"));
    let completions = with("completions", format!("  {name} completions bash >/etc/bash_completion.d/{name}"));
    completions(config(check(serve(line))))
}

/// What is wrong with a binary's commands as far as help and output go: commands without examples, examples that can't be
/// typed, and commands that show something and take no `--output`. For tests.
pub fn shell_habits<B: Binary>() -> Vec<String> {
    let mut line = command_line::<B>();
    line.build();
    let mut wrong = Vec::new();
    for command in line.get_subcommands().filter(|command| command.get_name() != "help") {
        if command.get_after_help().is_none() {
            wrong.push(format!("`{}` has no examples", command.get_name()));
        }
    }
    let helps = [&line].into_iter().chain(line.get_subcommands()).filter_map(Command::get_after_help);
    let helps: Vec<_> = helps.map(ToString::to_string).collect();
    for help in helps {
        let examples = lines(&help).into_iter().filter(|example| example.starts_with(&format!("{} ", B::NAME)));
        wrong.extend(examples.filter_map(|example| refusal(line.clone(), &example)));
    }
    let mut left: Vec<_> = line.get_subcommands().map(|command| (command.get_name().to_owned(), command)).collect();
    while let Some((name, command)) = left.pop() {
        let own = command.get_subcommands().filter(|own| own.get_name() != "help" && command.get_name() != "help");
        left.extend(own.map(|own| (format!("{name} {}", own.get_name()), own)));
        let is_flag = |argument: &clap::Arg| argument.get_long() == Some("output");
        if SHOWING.contains(&command.get_name()) && !command.get_arguments().any(is_flag) {
            wrong.push(format!("`{name}` has no --output"));
        }
    }
    wrong
}

/// The lines of a help text, where a backslash joins two.
fn lines(help: &str) -> Vec<String> {
    help.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect()
}

fn refusal(line: Command, example: &str) -> Option<String> {
    let typed = example.split('>').next().unwrap_or_default();
    let refused = line.try_get_matches_from(typed.split_whitespace()).err();
    refused.map(|error| format!("`{example}` is refused: {error}"))
}
