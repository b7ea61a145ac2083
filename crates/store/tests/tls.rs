//! What is said of a PostgreSQL server with which TLS does not come to stand, by a server that goes no further than that.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use accord_store::{Connections, Location, Migrations, Pool};
use accord_test_certificates::{Authority, roots};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, server::WebPkiClientVerifier};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

static NOTES: Migrations =
    Migrations { table: "note_steps", lock: 22, steps: &[&["CREATE TABLE notes (text TEXT NOT NULL)"]] };
const CONNECTIONS: Connections = Connections { sqlite: 1, postgres: 1 };
const HOUR: Duration = Duration::from_hours(1);

/// A server with a certificate for this name until then, and the files of a client that trusts who signed it.
struct Server {
    authority: Authority,
    port: u16,
    directory: TempDir,
}

impl Server {
    async fn start(name: &str, ends: SystemTime, asks_for_certificates: bool) -> Self {
        let (authority, directory) = (Authority::named("ours"), tempfile::tempdir().unwrap());
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let own = authority.issue_until(&[name], ends);
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let roots = roots([authority.der()]);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let builder = if asks_for_certificates {
            builder.with_client_cert_verifier(clients)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(vec![own.der.clone()], own.key_der()).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                // SSLRequest (PostgreSQL, message formats), which is answered with a yes.
                socket.read_exact(&mut [0; 8]).await.unwrap();
                socket.write_all(b"S").await.unwrap();
                // How it ends is the client's to say.
                let _ = acceptor.accept(socket).await;
            }
        });
        Self { authority, port, directory }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What is said by a client with these parameters.
    async fn refused(&self, parameters: &str) -> String {
        let ca = self.file("ca.pem");
        let url = format!("postgres://127.0.0.1:{}/notes?sslmode=verify-full&sslrootcert={ca}{parameters}", self.port);
        Pool::open(&Location::parse(&url).unwrap(), CONNECTIONS, &NOTES).await.unwrap_err().to_string()
    }
}

fn says(text: &str, cause: &str, remedy: &str) {
    assert!(text.starts_with("the database server can't be used (") && text.contains(cause), "{text}");
    assert!(text.ends_with(remedy), "{text}");
}

const SERVERS: &str =
    "its certificate has to be in its time, for the host in the URL, and of an authority in `sslrootcert`";
const CLIENTS: &str =
    "where it asks for a certificate, `sslcert` has to be in its time, and of an authority that it trusts";

#[tokio::test]
async fn server_whose_certificate_is_not_good_is_told_with_the_remedy() {
    let now = SystemTime::now();
    for (name, ends, cause) in [
        ("127.0.0.1", now - HOUR, "certificate expired"),
        ("postgresql.stores", now + HOUR, "certificate not valid for name"),
    ] {
        let server = Server::start(name, ends, false).await;
        says(&server.refused("").await, cause, SERVERS);
    }
    let server = Server::start("127.0.0.1", now + HOUR, false).await;
    fs::write(Path::new(&server.file("ca.pem")), Authority::named("theirs").pem()).unwrap();
    says(&server.refused("").await, "UnknownIssuer", SERVERS);
}

#[tokio::test]
async fn server_that_refuses_the_certificate_of_its_client_is_told_with_the_remedy() {
    let server = Server::start("127.0.0.1", SystemTime::now() + HOUR, true).await;
    says(&server.refused("").await, "CertificateRequired", CLIENTS);
    let (cert, key) = (server.file("tls.crt"), server.file("tls.key"));
    server.authority.issue_until(&["accord"], SystemTime::now() - HOUR).write(Path::new(&cert), Path::new(&key));
    let shown = format!("&sslcert={cert}&sslkey={key}");
    says(&server.refused(&shown).await, "CertificateExpired", CLIENTS);
}
