use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use accord_test_certificates::{Authority, roots};
use http::{Request, Response};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::url::Url;

const PATIENCE: Duration = Duration::from_secs(20);

fn pool(url: &str, trust: Option<Arc<Reloading<ClientConfig>>>) -> Arc<Pool> {
    let url = Arc::new(Url::parse(url).unwrap());
    let crate::url::Host::Address(socket) = url.host else { panic!("{url:?}") };
    let settings = Settings {
        connect_timeout: Duration::from_secs(10),
        keepalive_interval: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(5),
        max_header_bytes: 65536,
    };
    Pool::new(
        Address { socket, url },
        trust,
        settings,
        Size { usual: 1, most: 4 },
        Arc::new(ConnectWarnings::new("shop", "shop")),
    )
}

fn interval(pool: &Pool) -> Duration {
    pool.state().settings.keepalive_interval
}

#[tokio::test]
async fn keepalive_interval_is_doubled_once_for_connections_that_had_the_same() {
    let pool = pool("http://127.0.0.1:1", None);
    for (told, expected) in [(10, 20), (10, 20), (20, 40), (7200, 7200), (40, 7200)] {
        pool.double_keepalive_interval(Duration::from_secs(told));
        assert_eq!(interval(&pool), Duration::from_secs(expected));
    }
}

#[tokio::test]
async fn keepalive_interval_doubles_after_enhance_your_calm() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(&format!("http://{}", listener.local_addr().unwrap()), None);
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (_request, _respond) = connection.accept().await.unwrap().unwrap();
        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        while connection.accept().await.is_some() {}
    });
    let lease = pool.lease().await.unwrap();
    let (response, _stream) = lease.send(Request::post("http://shop/").body(()).unwrap(), true).unwrap();
    response.await.unwrap_err();
    server.await.unwrap();
    let doubled = async {
        while interval(&pool) != Duration::from_secs(20) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, doubled).await.unwrap();
}

/// A server of one certificate that answers everything, with the count of its connections.
async fn encrypted(authority: &Authority) -> (String, Arc<AtomicUsize>) {
    let own = authority.issue(&["127.0.0.1"]);
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.der.clone()], own.key_der()).unwrap();
    let (acceptor, connections) = (TlsAcceptor::from(Arc::new(config)), Arc::<AtomicUsize>::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(socket).await else { continue };
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            });
        }
    });
    (url, connections)
}

async fn call(lease: &Lease) -> Response<h2::RecvStream> {
    let (response, _stream) = lease.send(Request::post("https://shop/").body(()).unwrap(), true).unwrap();
    response.await.unwrap()
}

#[tokio::test]
async fn changed_authority_holds_for_new_connections_and_leaves_calls_on_the_old_ones() {
    accord_runtime::tls::install_provider();
    let directory = tempfile::tempdir().unwrap();
    let (file, ours, other) = (directory.path().join("ca.pem"), Authority::named("ours"), Authority::named("other"));
    fs::write(&file, ours.pem()).unwrap();
    let read = file.clone();
    let trust =
        Reloading::new("client_tls", vec![file.clone()], Duration::from_millis(1), move || -> Result<_, String> {
            let roots = roots([&CertificateDer::from_pem_file(&read).unwrap()]);
            Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
        });
    let trust = trust.unwrap();
    let mut versions = trust.versions();
    let (url, connections) = encrypted(&ours).await;
    let pool = pool(&url, Some(trust));
    let old = pool.lease().await.unwrap();
    call(&old).await;

    fs::write(&file, format!("# one more line\n{}", ours.pem())).unwrap();
    versions.changed().await.unwrap();
    let new = pool.lease().await.unwrap();
    call(&new).await;
    assert_eq!(connections.load(Ordering::Relaxed), 2);

    fs::write(&file, format!("# another authority, which did not sign\n{}", other.pem())).unwrap();
    versions.changed().await.unwrap();
    assert!(pool.lease().await.is_err());
    for lease in [old, new] {
        call(&lease).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}
