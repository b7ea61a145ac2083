//! TLS of a listener.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serde::{Deserialize, Serialize};

use super::{
    error::TlsError,
    files::{certificates, client_names, mismatch, no_authorities, private_key, roots},
    provider::install_provider,
    shown::{Expiry, SvidExpiry},
    source::{WORKLOAD_API, twice},
};
use crate::{
    client_names::{ClientNames, admitting},
    config::{
        Invalid,
        bound::{self, DAY, Time},
    },
    reload::{INTERVAL, Reloading},
    workload_api::{self, Source},
};

/// Certificate and key of a listener: from files, or from the Workload API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own certificate first. Default: none.
    #[serde(default, deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key. Default: none.
    #[serde(default, deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// In the place of files: the socket of a SPIFFE Workload API, `unix:///PATH`, or `SPIFFE_ENDPOINT_SOCKET`, which is the variable
    /// that has it. It gives the certificate, its key, and the authorities of clients, and renews them. Default: none.
    #[serde(default, deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub workload_api: Option<String>,
    /// PEM file with the authorities of client certificates. When set, a client with one of another authority, or out of its time,
    /// is refused. Default: none.
    #[serde(default, deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client has to show a certificate of these authorities (`required`), or may come without one (`optional`). Default:
    /// `required`.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// A file that names the clients that are let in, of all whose certificates are good: one on a line, `spiffe://TRUST_DOMAIN/PATH`, the
    /// same with `/*` at its end for all below it, or `dns:NAME`; one name (subjectAltName) of a certificate has to be there. Default: none, and then
    /// all are.
    #[serde(default, deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub client_names_file: Option<PathBuf>,
    /// How often at most the files are looked at for changes, 1ms to 24h. Default 1s.
    #[serde(default = "reload_interval", with = "Time::<1, DAY>")]
    pub reload_interval: Duration,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// It has to.
    #[default]
    Required,
    /// It may; one that it shows has to be good.
    Optional,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            workload_api: None,
            client_ca_file: None,
            client_certificate: ClientCertificate::default(),
            client_names_file: None,
            reload_interval: reload_interval(),
        }
    }
}

impl TlsConfig {
    /// Which of the files can't be used.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        install_provider();
        if let Some(address) = &self.workload_api {
            let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
            twice(files.into_iter().any(Option::is_some))?;
            self.check_clients()?;
            return Source::at(address).map(drop).map_err(|error| Invalid::of(WORKLOAD_API, error));
        }
        let given = self.key_file.as_ref().map_or("cert_file", |_| "key_file");
        self.identity().map_err(|error| match error {
            TlsError::HalfIdentity => Invalid::of(given, error),
            _ => error.about(&[]),
        })?;
        self.check_clients()?;
        let files = [("cert_file", self.cert_file.as_ref()), ("client_ca_file", self.client_ca_file.as_ref())];
        server_from_files(self, None).map(drop).map_err(|error| error.about(&files))
    }

    /// What is said of clients, where none is asked for a certificate.
    fn check_clients(&self) -> Result<(), Invalid> {
        let said = [
            ("client_certificate", self.client_certificate == ClientCertificate::Optional),
            ("client_names_file", self.client_names_file.is_some()),
        ];
        if let Some((key, _)) = said.into_iter().find(|(_, is_said)| *is_said && !self.knows_clients()) {
            let problem = "no client is asked for a certificate without authorities that could vouch for it";
            return Err(Invalid::new(key, problem, "name them in `client_ca_file`, or leave the key out"));
        }
        self.client_names_file
            .as_deref()
            .map_or(Ok(()), |file| client_names(file).map(drop))
            .map_err(|error| error.about(&[]))
    }

    /// Who is let in, where there is a list; it is followed by itself, so that one that can't be read holds up no certificate.
    fn names(&self) -> Result<Option<Arc<Reloading<ClientNames>>>, TlsError> {
        let followed = |file: &PathBuf| {
            let (read, files) = (file.clone(), vec![file.clone()]);
            Reloading::new(NAMES, files, self.reload_interval, move || client_names(&read))
        };
        self.client_names_file.as_ref().map(followed).transpose()
    }

    /// Whether there are authorities that clients are verified with.
    pub fn knows_clients(&self) -> bool {
        self.client_ca_file.is_some() || self.workload_api.is_some()
    }

    fn identity(&self) -> Result<(&Path, &Path), TlsError> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok((cert, key)),
            (None, None) => Err(TlsError::NoIdentity),
            _ => Err(TlsError::HalfIdentity),
        }
    }
}

fn reload_interval() -> Duration {
    INTERVAL
}

/// A listener's TLS, following its files.
pub(crate) fn server(config: &TlsConfig) -> Result<Arc<Reloading<ServerConfig>>, TlsError> {
    install_provider();
    let (config, names) = (config.clone(), config.names()?);
    if let Some(address) = &config.workload_api {
        return server_of_workload(address, config.client_certificate, names);
    }
    let files = [&config.cert_file, &config.key_file, &config.client_ca_file];
    let files = files.into_iter().flatten().cloned().collect();
    let expiry = Expiry::gauge();
    Reloading::new(SERVER, files, config.reload_interval, move || {
        let server = server_from_files(&config, names.as_ref())?;
        config.cert_file.iter().for_each(|file| expiry.show(file));
        Ok::<_, TlsError>(server)
    })
}

const SERVER: &str = "server_tls";
const NAMES: &str = "client_names";

/// The verifier, which lets in those alone that are listed, where there is a list.
fn admitting_listed(
    names: Option<&Arc<Reloading<ClientNames>>>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Arc<dyn ClientCertVerifier> {
    match names {
        Some(names) => admitting(Arc::clone(names), verifier),
        None => verifier,
    }
}

fn server_of_workload(
    address: &str,
    certificate: ClientCertificate,
    names: Option<Arc<Reloading<ClientNames>>>,
) -> Result<Arc<Reloading<ServerConfig>>, TlsError> {
    let (source, expiry) = (Source::at(address)?, SvidExpiry::gauge());
    let (name, changes) = (PathBuf::from(source.address()), source.versions());
    Reloading::following(SERVER, name, changes, move || {
        let svid = source.svid()?;
        let verifier = workload_api::client_verifier(&svid, certificate == ClientCertificate::Required)?;
        let mut server = workload_api::server(&svid, admitting_listed(names.as_ref(), verifier));
        server.alpn_protocols = server_protocols();
        verify_each_time(&mut server);
        expiry.show(svid.expiry());
        Ok::<_, TlsError>(server)
    })
}

fn server_protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The certificate of a session that is resumed is not verified again, so that one that has ended would come in.
fn verify_each_time(server: &mut ServerConfig) {
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
}

fn server_from_files(
    config: &TlsConfig,
    names: Option<&Arc<Reloading<ClientNames>>>,
) -> Result<ServerConfig, TlsError> {
    let (cert_file, key_file) = config.identity()?;
    let (chain, key) = (certificates(cert_file)?, private_key(key_file)?);
    let builder = match &config.client_ca_file {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(file)?));
            let verifier = match config.client_certificate {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| no_authorities(file, &error))?;
            ServerConfig::builder().with_client_cert_verifier(admitting_listed(names, verifier))
        }
    };
    let server = builder.with_single_cert(chain, key);
    let mut server = server.map_err(|error| mismatch(cert_file, key_file, error))?;
    server.alpn_protocols = server_protocols();
    if config.knows_clients() {
        verify_each_time(&mut server);
    }
    Ok(server)
}
