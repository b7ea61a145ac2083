//! A store's life.

use sqlx::Executor;

use super::{Place, value};

pub(crate) async fn probe_answers_until_the_store_is_closed(place: Place) {
    let pool = place.open().await;
    pool.probe().await.unwrap();
    pool.close().await;
    assert!(pool.probe().await.is_err());
}

pub(crate) async fn probe_fails_without_the_tables(place: Place) {
    let pool = place.open().await;
    place.connection().await.execute("DROP TABLE counter_steps").await.unwrap();
    assert!(pool.probe().await.is_err());
}

pub(crate) async fn committed_row_is_there_after_reopening(place: Place) {
    let pool = place.open().await;
    pool.connections().execute("UPDATE counters SET value = 7").await.unwrap();
    pool.close().await;
    assert_eq!(value(&place.open().await).await, 7);
}
