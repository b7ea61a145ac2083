//! Who a PostgreSQL runs as: it refuses root.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::process::dying_with_us;

#[derive(Clone, Copy)]
pub(super) struct Owner {
    ids: Option<(u32, u32)>,
}

impl Owner {
    pub(super) fn fit_for_postgres() -> Result<Self> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(Self { ids: None });
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let ids = ["postgres", "nobody"].iter().find_map(|name| ids_of(&accounts, name));
        ensure!(ids.is_some(), "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody");
        Ok(Self { ids })
    }

    pub(super) fn take(self, directory: &Path) -> Result<()> {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(directory, Some(user), Some(group))?;
        }
        Ok(())
    }

    pub(super) fn command(self, program: &Path, directory: &Path) -> Command {
        let mut command = dying_with_us(program);
        command.current_dir(directory).stdin(Stdio::null());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}

fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = accounts.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    let user = fields.nth(2)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((user, group))
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn account_is_found_by_its_whole_name() {
        let accounts =
            "postgres-exporter:x:7:8::/:/bin/false\npostgres:x:114:120:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(accounts, "postgres"), Some((114, 120)));
        assert_eq!(ids_of(accounts, "nobody"), None);
    }
}
