//! What principals take in memory, of auth and of whoever verifies: those whose tokens have just been revoked, since these alone
//! are known by more than the store.

use std::process::Command;

use accord_fabric::Fabric;
use anyhow::Result;

use super::report::Figures;
use crate::{
    memory::resident,
    programs::{debian, succeed},
};

/// Adds as many as it is told to the store of auth, as its own command line would one at a time.
const ADD: &str = "
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], timeout=30)
with store:
    store.execute('UPDATE meta SET value = value + 1 WHERE name = ?', ('revision',))
    revision, = store.execute('SELECT value FROM meta WHERE name = ?', ('revision',)).fetchone()
    rows = ((f'principal-{number}', int(time.time()), revision) for number in range(int(sys.argv[2])))
    store.executemany('INSERT INTO principals (subject, kind, tenant, password, epoch, epoch_at, epoch_revision) '
                      'VALUES (?, \"user\", \"\", \"\", 1, ?, ?)', rows)
";
const MANY: &str = "100000";

/// Measures auth and the gateway, with many and with the fabric's own, each as it has just started.
pub(super) async fn run(fabric: &mut Fabric) -> Result<Vec<(String, Vec<Figures>)>> {
    let few = started(fabric).await?;
    let mut add = Command::new(debian("python3", "python3")?);
    add.args(["-c", ADD]).arg(fabric.directory().join("data/auth.db")).arg(MANY);
    succeed(add)?;
    let many = started(fabric).await?;
    let part = |(name, many, few): (&str, f64, f64)| {
        let figures = [("100,000 principals", many), ("3 principals", few)].map(|(row, bytes)| {
            let mut figures = Figures::new(row);
            figures.add(vec![bytes]);
            figures
        });
        (format!("principals-{name}"), figures.into())
    };
    Ok([("auth", many.0, few.0), ("gateway", many.1, few.1)].map(part).into())
}

/// Starts auth and the gateway, and says what each has in memory.
async fn started(fabric: &mut Fabric) -> Result<(f64, f64)> {
    for server in [&mut fabric.auth, &mut fabric.gateway] {
        server.process.restart()?;
        server.wait_serving().await?;
    }
    let of = |process| resident(process, "VmRSS");
    Ok((of(fabric.auth.process.id())?, of(fabric.gateway.process.id())?))
}
