//! What is wrong with a contract, and the way out.

use std::fmt;

/// One thing that is wrong with a contract. Displayed on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: `pkg.Service/Method`, a service, a proto file, or a place in an overlay (`FILE:LINE`).
    pub subject: String,
    /// Which option, such as `cache.ttl`.
    pub option: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it refuses the contract.
    pub severity: Severity,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth reading; the contract is served.
    Warning,
    /// The contract is refused.
    Error,
}

/// Whether a contract with these findings must not be served.
pub fn refused(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

impl Finding {
    pub(crate) fn error(
        subject: impl Into<String>,
        option: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            option: option.into(),
            problem: problem.into(),
            remedy: remedy.into(),
            severity: Severity::Error,
        }
    }

    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let line = format!("{severity}: {}: {}: {}; {}", self.subject, self.option, self.problem, self.remedy);
        // Texts from a descriptor may hold anything; a finding stays on its line.
        for character in line.chars() {
            match character {
                control if control.is_control() => write!(formatter, "{}", control.escape_default())?,
                plain => write!(formatter, "{plain}")?,
            }
        }
        Ok(())
    }
}
