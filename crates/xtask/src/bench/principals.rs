//! What principals take in memory, of auth and of whoever verifies. The store alone knows them, but for those whose tokens have just
//! been revoked.

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
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], timeout=30)
with store:
    rows = ((f'principal-{number}',) for number in range(int(sys.argv[2])))
    store.executemany('INSERT INTO principals (subject, kind, tenant, password, epoch, epoch_at, epoch_revision) '
                      'VALUES (?, \"user\", \"\", \"\", 0, 0, 0)', rows)
";

/// Revokes every token of these.
const REVOKE: &str = "
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], timeout=30)
with store:
    store.execute('UPDATE meta SET value = value + 1 WHERE name = ?', ('revision',))
    revision, = store.execute('SELECT value FROM meta WHERE name = ?', ('revision',)).fetchone()
    store.execute('UPDATE principals SET epoch = 1, epoch_at = ?, epoch_revision = ? WHERE subject LIKE \"principal-%\"',
                  (int(time.time()), revision))
";
const MANY: &str = "100000";

/// Measures auth and the gateway, with the fabric's own, with many, and with as many that were revoked, each as it has just started.
pub(super) async fn run(fabric: &mut Fabric) -> Result<Vec<(String, Vec<Figures>)>> {
    let (mut auth, mut gateway) = (Vec::new(), Vec::new());
    for (row, change) in
        [("3 principals", None), ("100,000 principals", Some(ADD)), ("the same, revoked", Some(REVOKE))]
    {
        if let Some(change) = change {
            let mut command = Command::new(debian("python3", "python3")?);
            command.args(["-c", change]).arg(fabric.directory().join("data/auth.db")).arg(MANY);
            succeed(command)?;
        }
        for (figures, bytes) in [&mut auth, &mut gateway].into_iter().zip(started(fabric).await?) {
            let mut figure = Figures::new(row);
            figure.add(vec![bytes]);
            figures.push(figure);
        }
    }
    Ok(vec![("principals-auth".to_owned(), auth), ("principals-gateway".to_owned(), gateway)])
}

/// Starts auth and the gateway, and says what each has in memory.
async fn started(fabric: &mut Fabric) -> Result<[f64; 2]> {
    for server in [&mut fabric.auth, &mut fabric.gateway] {
        server.process.restart()?;
        server.wait_serving().await?;
    }
    let of = |process| resident(process, "VmRSS");
    Ok([of(fabric.auth.process.id())?, of(fabric.gateway.process.id())?])
}
