//! The examples in the help of commands.

use clap::Command;

use super::{Binary, command_line};

/// Names of commands that show something, and so take `--output`.
const SHOWING: [&str; 11] =
    ["list", "show", "links", "status", "check", "print", "verify", "explain", "stats", "diff", "metrics"];

/// The same line of help for the commands that every binary has.
pub(super) fn of_common(name: &str, line: Command) -> Command {
    let short = name.strip_prefix("accord-").unwrap_or(name);
    let print = format!("{name} config print --config {short}.toml --output json");
    let common = [
        ("serve", format!("{name} serve --config {short}.toml --listen :8443")),
        ("check", format!("{name} check --config {short}.toml --output json")),
        ("config", print.clone()),
        ("config print", print),
        ("metrics", format!("{name} metrics --output json")),
        ("completions", format!("{name} completions bash >/etc/bash_completion.d/{name}")),
    ];
    common.iter().fold(line, |line, (path, examples)| with(line, path, examples))
}

/// The examples of a binary's own commands below the first level, which have theirs where they are declared.
pub(super) fn of_own<B: Binary>(line: Command) -> Command {
    B::COMMAND_EXAMPLES.iter().fold(line, |line, (path, examples)| with(line, path, examples))
}

/// Lines at the end of the help of one command. Of a command that is not there they are left to [`shell_habits`], which says so.
fn with(line: Command, path: &str, examples: &str) -> Command {
    let (first, rest) = path.split_once(' ').unwrap_or((path, ""));
    if line.find_subcommand(first).is_none() {
        return line;
    }
    line.mut_subcommand(first, |command| {
        if rest.is_empty() {
            let indented: Vec<_> = examples.lines().map(|example| format!("  {example}")).collect();
            command.after_help(format!("Examples:\n{}", indented.join("\n")))
        } else {
            with(command, rest, examples)
        }
    })
}

/// What is wrong with a binary's commands as far as help and output go: commands without an example of their own, examples that
/// can't be typed, and commands that show something and take no `--output`. For tests.
pub fn shell_habits<B: Binary>() -> Vec<String> {
    let line = command_line::<B>();
    let mut wrong = example_habits(&line, B::NAME);
    let commands = commands(&line);
    let is_flag = |argument: &clap::Arg| argument.get_long() == Some("output");
    for (path, command) in &commands {
        if SHOWING.contains(&command.get_name()) && !command.get_arguments().any(is_flag) {
            wrong.push(format!("`{path}` has no --output"));
        }
    }
    let is_there = |path: &str| commands.iter().any(|(known, _)| known == path);
    let unknown = B::COMMAND_EXAMPLES.iter().filter(|(path, _)| !is_there(path));
    wrong.extend(unknown.map(|(path, _)| format!("there is no `{path}`, which has examples")));
    wrong
}

/// Commands whose help has no example of the command itself, and examples that the command line refuses. `name` is how each begins.
/// For tests.
pub fn example_habits(line: &Command, name: &str) -> Vec<String> {
    let mut line = line.clone();
    line.build();
    let begins = |example: &str, words: &str| {
        example.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let mut wrong = Vec::new();
    let mut examples = Vec::new();
    let own_help = [(String::new(), &line)];
    for (path, command) in own_help.into_iter().chain(commands(&line)) {
        let own: Vec<_> = command.get_after_help().map(|help| lines(&help.to_string())).unwrap_or_default();
        let own: Vec<_> = own.into_iter().filter(|example| begins(example, name)).collect();
        if !own.iter().any(|example| begins(example, format!("{name} {path}").trim_end())) {
            wrong.push(format!("the help of `{path}` has no example of it"));
        }
        examples.extend(own);
    }
    wrong.extend(examples.iter().filter_map(|example| refusal(line.clone(), name, example)));
    wrong
}

/// All commands, each with the words that lead to it; but for `help`, which every level has.
fn commands(line: &Command) -> Vec<(String, &Command)> {
    let mut found: Vec<(String, &Command)> = Vec::new();
    let mut left = vec![(String::new(), line)];
    while let Some((path, command)) = left.pop() {
        let own = command.get_subcommands().filter(|own| own.get_name() != "help");
        let own = own.map(|own| (format!("{path} {}", own.get_name()).trim_start().to_owned(), own));
        let own: Vec<_> = own.collect();
        found.extend(own.iter().cloned());
        left.extend(own);
    }
    found
}

/// The lines of a help text, where a backslash joins two.
fn lines(help: &str) -> Vec<String> {
    help.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect()
}

/// What the command line has against an example, which begins with `name`, of whatever words that is.
fn refusal(line: Command, name: &str, example: &str) -> Option<String> {
    let typed = example.split(['>', '|', '#']).next().unwrap_or_default();
    let words = typed.strip_prefix(name).unwrap_or_default().split_whitespace();
    let refused = line.try_get_matches_from([name].into_iter().chain(words)).err();
    refused.map(|error| format!("`{example}` is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with a command of two levels, and what its help says.
    fn line(help: &'static str) -> Command {
        let rotate = Command::new("rotate").arg(clap::Arg::new("file").long("file")).after_help(help);
        let key = Command::new("key").subcommand(rotate).after_help("Examples:\n  tool key rotate");
        Command::new("tool").subcommand(key).after_help("Examples:\n  tool key rotate")
    }

    #[test]
    fn command_below_the_first_level_without_an_example_of_its_own_is_told() {
        assert_eq!(example_habits(&line("Examples:\n  tool key rotate --file a"), "tool"), [""; 0]);
        let told = example_habits(&line("Examples:\n  tool key"), "tool");
        assert!(told.iter().any(|told| told == "the help of `key rotate` has no example of it"), "{told:?}");
    }

    #[test]
    fn example_below_the_first_level_that_can_not_be_typed_is_told() {
        let told = example_habits(&line("Examples:\n  tool key rotate --fiel a"), "tool");
        assert!(told[0].contains("`tool key rotate --fiel a` is refused"), "{told:?}");
    }

    #[test]
    fn examples_are_put_at_the_command_that_their_path_leads_to() {
        let line = with(line("none"), "key rotate", "tool key rotate --file b");
        assert_eq!(example_habits(&line, "tool"), [""; 0]);
        let text = commands(&line)[1].1.get_after_help().map(ToString::to_string);
        assert_eq!(text.as_deref(), Some("Examples:\n  tool key rotate --file b"));
    }
}
