//! The floor of a cached answer: hyper, a token and an answer looked up in moka, and the headers of a hit.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use moka::sync::Cache;
use tokio::{net::TcpListener, task};

use crate::{executor::LocalExecutor, item};

const ENTRIES: u64 = 1000;

/// What may be looked up.
struct Caches {
    tokens: Cache<HeaderValue, u64>,
    answers: Cache<String, Bytes>,
}

/// Serves until the process ends. Whatever is asked for first is a hit from then on.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let caches = Arc::new(Caches { tokens: Cache::new(ENTRIES), answers: Cache::new(ENTRIES) });
    let listener = TcpListener::bind(listen).await?;
    let local = task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                let _ = socket.set_nodelay(true);
                let caches = Arc::clone(&caches);
                task::spawn_local(async move {
                    let service =
                        service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&caches, &request))));
                    let mut builder = auto::Builder::new(LocalExecutor);
                    builder.http1().timer(TokioTimer::new());
                    builder.serve_connection(TokioIo::new(socket), service).await.map_err(|_closed| ())
                });
            }
        })
        .await
}

fn answer(caches: &Caches, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(token) = request.headers().get(header::AUTHORIZATION) else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    };
    let caller = caches.tokens.get(token).unwrap_or_else(|| caches.tokens.get_with(token.clone(), || 1));
    let path = request.uri().path();
    let answer = caches.answers.get(path);
    let answer = answer
        .unwrap_or_else(|| caches.answers.get_with(path.to_owned(), || Bytes::from_static(item::JSON.as_bytes())));
    let mut response = Response::new(Full::new(answer));
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("cache-status", HeaderValue::from_static("floor; hit; ttl=3599"));
    headers.insert(header::AGE, HeaderValue::from(caller));
    headers.insert("ratelimit-policy", HeaderValue::from_static("\"principal\";q=1000000;w=1"));
    headers.insert("ratelimit", HeaderValue::from_static("\"principal\";r=999999"));
    headers.insert("x-request-id", HeaderValue::from_static("01a22510-9a80-723a-bf3b-29a4f951728f"));
    response
}
