//! The stories of auth, each in a database of its own on the PostgreSQL at `ACCORD_TEST_POSTGRES_URL`.

mod suite;

use sqlx::{AssertSqlSafe, Connection, Executor};
use suite::Place;

async fn place() -> Place {
    let server = std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names the server");
    let name = format!("accord_{}", uuid::Uuid::new_v4().simple());
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server).await.unwrap();
    // The name is made here, of letters and digits.
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (before, _) = server.rsplit_once('/').expect("the URL ends with a database's name");
    Place { url: format!("{before}/{name}"), directory: tempfile::tempdir().unwrap() }
}

suite::stories!();
