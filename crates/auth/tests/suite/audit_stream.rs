//! The audit log as a stream.

use accord_api::accord::auth::v1::{AuditEntry, WatchAuditEntriesRequest, WatchAuditEntriesResponse};
use tonic::Streaming;

use super::{admin_service::Administrator, *};

/// More than are open at once.
const STREAMS: usize = 16;

async fn watch(root: &mut Administrator, after: i64) -> Result<Streaming<WatchAuditEntriesResponse>, Status> {
    let request = root.ask(WatchAuditEntriesRequest { after });
    root.service.watch_audit_entries(request).await.map(tonic::Response::into_inner)
}

/// What comes next; the test fails where that takes longer than any bound in these tests.
async fn next(stream: &mut Streaming<WatchAuditEntriesResponse>) -> Result<Vec<AuditEntry>, Status> {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("nothing came");
    next.map(|page| page.expect("it does not end by itself").entries)
}

pub(crate) async fn stream_of_the_audit_log_goes_on_after_an_entry_and_brings_new_ones(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let (known, _) = server.auth.store.audit_log().await.unwrap();
    let mut stream = watch(&mut root, known[0].seq).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(
        first.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        (2..=known.last().unwrap().seq).collect::<Vec<_>>()
    );
    // Another process writes it.
    let store = Store::open(&database.url).await.unwrap();
    admin(&store).revoke_subject("ada").await.unwrap();
    let new = next(&mut stream).await.unwrap();
    assert_eq!((new.len(), &*new[0].action, &new[0].previous), (1, "subject.revoke", &first.last().unwrap().hash));

    // Whoever lost the stream goes on where it was, without a gap and without a row twice.
    drop(stream);
    admin(&store).revoke_subject("ada").await.unwrap();
    let mut again = watch(&mut root, new[0].seq).await.unwrap();
    assert_eq!(next(&mut again).await.unwrap()[0].previous, new[0].hash);
}

pub(crate) async fn stream_of_a_long_audit_log_brings_every_entry_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for _ in 0..600 {
        admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    }
    let mut root = Administrator::of(&server).await;
    let mut stream = watch(&mut root, 0).await.unwrap();
    let mut last = 0;
    while last < 600 {
        let page = next(&mut stream).await.unwrap();
        assert!(page.len() <= 500);
        for entry in page {
            assert_eq!(entry.seq, last + 1);
            last = entry.seq;
        }
    }
}

pub(crate) async fn stream_of_the_audit_log_ends_with_the_token_that_opened_it(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let mut stream = watch(&mut root, 0).await.unwrap();
    next(&mut stream).await.unwrap();
    admin(&server.auth.store).revoke_subject("root").await.unwrap();
    // What the revocation wrote into the log may still be told.
    let mut answer = next(&mut stream).await;
    if answer.is_ok() {
        answer = next(&mut stream).await;
    }
    assert_eq!(refused(answer), Reason::TokenRevoked);
}

pub(crate) async fn stream_of_the_audit_log_ends_unavailable_where_auth_stops(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let mut stream = watch(&mut root, 0).await.unwrap();
    let seen = next(&mut stream).await.unwrap();
    let stopping = tokio::spawn(server.stop());
    let ended = next(&mut stream).await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Unavailable);
    stopping.await.unwrap();
    assert!(seen.last().is_some_and(|entry| entry.seq > 0));
}

pub(crate) async fn streams_of_the_audit_log_are_bounded(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(watch(&mut root, 0).await.unwrap());
    }
    assert_eq!(refused(watch(&mut root, 0).await), Reason::Overloaded);
    drop(open);
    let free = async { while watch(&mut root, 0).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), free).await.expect("a place is free once its reader has gone");
    assert_eq!(refused(watch(&mut root, -1).await), Reason::FieldInvalid);
}

pub(crate) async fn reader_of_the_audit_log_that_is_ahead_of_it_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let (known, _) = server.auth.store.audit_log().await.unwrap();
    let newest = known.last().unwrap().seq;
    // It has read a store that this one is older than, whose next entries would be others.
    assert_eq!(refused(watch(&mut root, newest + 1).await), Reason::FieldInvalid);
    let mut stream = watch(&mut root, newest).await.unwrap();
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap()[0].seq, newest + 1);
}

pub(crate) async fn person_without_the_role_reads_no_stream_of_the_audit_log(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut service = Administrator::of(&server).await.service;
    let request = authorized(WatchAuditEntriesRequest::default(), &server.token_of("ada").await);
    assert_eq!(refused(service.watch_audit_entries(request).await), Reason::PermissionMissing);
}
