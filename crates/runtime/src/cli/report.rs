//! What `check` has to say, for people or for programs.

use std::{fmt, process::ExitCode};

use serde::Serialize;

use super::OutputFlag;
use crate::{exit_status::ExitStatus, output::print};

/// Everything that was found, and what it comes to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    good: bool,
    findings: Vec<Finding>,
    summary: String,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What and where it is, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can be served, but was hardly meant.
    Warning,
    /// It can't be served.
    Error,
}

impl Report {
    /// Nothing was found, and this is what there is.
    pub fn good(summary: impl Into<String>) -> Self {
        Self::of(Vec::new(), summary)
    }

    /// Errors, each said by one of these messages.
    pub fn refused(messages: impl IntoIterator<Item = String>) -> Self {
        Self::of(messages.into_iter().map(Finding::error), "")
    }

    /// What was found, and what there is if nothing of it is an error.
    pub fn of(findings: impl IntoIterator<Item = Finding>, summary: impl Into<String>) -> Self {
        let findings: Vec<_> = findings.into_iter().collect();
        let good = findings.iter().all(|finding| finding.severity != Severity::Error);
        // The last line is the last error, where it is seen.
        let summary = if good { summary.into() } else { String::new() };
        Self { good, findings, summary }
    }

    /// The same, with warnings that count as errors.
    #[must_use]
    pub fn strict(self) -> Self {
        Self::of(self.findings.into_iter().map(|finding| Finding::error(finding.message)), self.summary)
    }

    /// Whether none of it is an error.
    pub fn is_good(&self) -> bool {
        self.good
    }

    /// Prints it for people, and says with which status a process ends that has nothing else to do.
    pub fn print(&self) -> anyhow::Result<ExitCode> {
        print(self)?;
        Ok(self.status())
    }

    /// The same, for whom the flag says.
    pub fn print_as(&self, flag: OutputFlag) -> anyhow::Result<ExitCode> {
        print(self.written(flag.is_json()))?;
        Ok(self.status())
    }

    fn status(&self) -> ExitCode {
        ExitStatus::of(self.good).into()
    }

    fn written(&self, as_json: bool) -> String {
        match serde_json::to_string(self) {
            Ok(json) if as_json => json + "\n",
            _ => self.to_string(),
        }
    }
}

impl Finding {
    /// An error.
    pub fn error(message: String) -> Self {
        Self { severity: Severity::Error, message }
    }

    /// A warning.
    pub fn warning(message: String) -> Self {
        Self { severity: Severity::Warning, message }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { severity, message } in &self.findings {
            let severity = if *severity == Severity::Error { "error" } else { "warning" };
            writeln!(formatter, "{severity}: {message}")?;
        }
        if self.summary.is_empty() { Ok(()) } else { writeln!(formatter, "{}", self.summary) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> [Finding; 2] {
        [Finding::warning("a; b".to_owned()), Finding::error("c".to_owned())]
    }

    #[test]
    fn report_with_an_error_does_not_say_what_there_is() {
        let report = Report::of(findings(), "can be enforced");
        assert!(!report.is_good());
        assert_eq!(report.written(false), "warning: a; b\nerror: c\n");
    }

    #[test]
    fn report_with_warnings_alone_is_good() {
        let report = Report::of([findings()[0].clone()], "can be enforced");
        assert!(report.is_good());
        assert_eq!(report.written(false), "warning: a; b\ncan be enforced\n");
    }

    #[test]
    fn report_for_programs_is_one_object() {
        let json: serde_json::Value = serde_json::from_str(&Report::of(findings(), "x").written(true)).unwrap();
        assert_eq!(json["good"], false);
        assert_eq!(json["findings"][1]["severity"], "error");
        assert_eq!(json["findings"][0]["message"], "a; b");
    }
}
