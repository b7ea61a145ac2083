//! The gateway's console, and somebody who may see it.

use std::path::PathBuf;

use accord_fabric::Fabric;
use anyhow::Result;

use crate::say::say;

/// The administrator of a fabric on this machine.
pub(crate) const NAME: &str = "admin";

/// Adds the administrator that an earlier `up` has not added, and returns the file with the password, made for development.
pub(crate) async fn add_administrator(fabric: &Fabric) -> Result<PathBuf> {
    let file = fabric.directory().join("console-password");
    let path = file.display().to_string();
    if !file.exists() {
        fabric.manage(&["key", "new", &path]).await?;
    }
    let add = ["principal", "add", NAME, "--role", "accord-admin", "--password-file", &path, "--if-absent"];
    fabric.manage(&add).await?;
    Ok(file)
}

/// Prints where it is and how one signs in.
pub(super) async fn print(fabric: &Fabric) -> Result<()> {
    let password = super::from_here(&add_administrator(fabric).await?);
    say(format_args!(
        "  {:8} http://{}/console/   as {NAME}, with the password in {password}\n",
        "console", fabric.gateway.admin
    ))
}
