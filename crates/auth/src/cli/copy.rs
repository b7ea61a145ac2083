//! `accord-auth backup` and `accord-auth restore`.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use accord_runtime::{
    output::print,
    progress::{Progress, Unit},
};
use anyhow::Context as _;
use clap::Args;

use super::Context;

/// What `backup` takes.
#[derive(Debug, Args)]
pub struct Backup {
    /// A new file. It is as secret as the store itself.
    file: PathBuf,
}

/// What `restore` takes.
#[derive(Debug, Args)]
pub struct Restore {
    /// What `backup` has written.
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let name = self.file.display();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let file = file.with_context(|| format!("{name} can't be made; a file that exists is never replaced"))?;
        let progress = Progress::begin("backup", Unit::Items("rows")).of(store.count_rows().await?);
        let mut output = BufWriter::new(progress.writing(&file));
        let written = store.backup(&mut output).await;
        drop(output);
        drop(progress);
        let rows = written.with_context(|| format!("{name} is not complete; remove it"))?;
        file.sync_all()?;
        print(format_args!("good: {rows} rows in {name}\n"))
    }
}

impl Restore {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let name = self.file.display();
        let file = File::open(&self.file).with_context(|| format!("{name} can't be read"))?;
        let (store, place, encryption_key) = context.store_and_key().await?;
        let opens = |kid: &str, private: &str| encryption_key.decrypt(kid, private).is_ok();
        let progress = Progress::begin("restore", Unit::Bytes).of(file.metadata()?.len());
        let restored = store.restore(BufReader::new(progress.reading(file)), opens).await;
        drop(progress);
        let rows = restored.with_context(|| format!("nothing of {name} was restored"))?;
        print(format_args!(
            "good: {rows} rows in {place}; every token is revoked, signing keys are made anew, and the encryption key is the one of the \
             backup\n"
        ))
    }
}
