"""What holds deployment files, rules and pages against the binaries: one module for each concern."""
