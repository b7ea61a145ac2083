//! How processes end: one table of exit statuses for the commands of every binary.

use std::process::ExitCode;

use crate::config::ConfigError;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// What was asked for is done, and what was looked at is good.
    Success = 0,
    /// It failed, or what was looked at is not good.
    Failure = 1,
    /// The command line can't be understood, or what it names to be compared can't be read. clap's own status.
    Usage = 2,
    /// The configuration is refused, so that another start ends the same: `EX_CONFIG` of sysexits.h.
    Configuration = 78,
}

impl ExitStatus {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Success, Self::Failure, Self::Usage, Self::Configuration];

    /// Of what was looked at: whether it is good.
    pub fn of(is_good: bool) -> Self {
        if is_good { Self::Success } else { Self::Failure }
    }

    /// Of a command that failed so.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        let is_of_configuration = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<RefusedConfig>());
        if is_of_configuration { Self::Configuration } else { Self::Failure }
    }

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// Everything for which a configuration is refused, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\nerror: "))]
pub(crate) struct RefusedConfig(pub(crate) Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_the_guide_has_each_status_and_no_other() {
        let page = include_str!("../../../deploy/guide/commands.md");
        let section = page.split("## Exit statuses\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        let status = |line: &str| line.strip_prefix("| ")?.split(" |").next()?.parse::<u8>().ok();
        let documented: Vec<_> = section.lines().filter_map(status).collect();
        assert_eq!(documented, ExitStatus::ALL.map(ExitStatus::code));
    }

    #[test]
    fn refused_configuration_is_told_from_other_failures_under_any_context() {
        let refused = anyhow::Error::from(RefusedConfig(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(refused.to_string(), "a\nerror: b");
        assert_eq!(ExitStatus::of_error(&refused.context("can't start")), ExitStatus::Configuration);
        assert_eq!(ExitStatus::of_error(&anyhow::anyhow!("no store")), ExitStatus::Failure);
    }
}
