//! TLS of a client.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use super::{
    error::TlsError,
    files::{certificates, mismatch, private_key, roots, system_roots},
    provider::install_provider,
    shown::{Expiry, SvidExpiry},
    source::{WORKLOAD_API, twice},
};
use crate::{
    client_identity::ClientIdentity,
    config::{
        Invalid,
        bound::{self},
    },
    reload::{INTERVAL, Reloading},
    workload_api::{self, Source},
};

const CLIENT: &str = "client_tls";

/// What a client trusts, and who it is: the section `tls` of every section that says how somebody is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// PEM file with the authorities that servers are verified against. Default: the system's.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate chain that is shown to servers that ask for one. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// In the place of files: the socket of a SPIFFE Workload API, `unix:///PATH`, or `SPIFFE_ENDPOINT_SOCKET`, which is the variable
    /// that has it. It gives the certificate, its key, and the authorities of servers, and renews them. Default: none.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub workload_api: Option<String>,
    /// With `workload_api`, the SPIFFE ids of which a server has to have one. Default: none, and then its certificate has to have the
    /// name under which it is called as a DNS name or an IP address.
    #[serde(deserialize_with = "bound::texts", skip_serializing_if = "Vec::is_empty")]
    pub server_spiffe_ids: Vec<String>,
}

impl ClientTlsConfig {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a server can be verified with these files, or with what the system trusts where there is none: better known
    /// before the first connection asks.
    pub fn check(&self) -> Result<(), Invalid> {
        let files = [("ca_file", self.ca_file.as_ref()), ("cert_file", self.cert_file.as_ref())];
        install_provider();
        if let Some(address) = &self.workload_api {
            return Source::at(address).map(drop).map_err(|error| Invalid::of(WORKLOAD_API, error));
        }
        self.client().map(drop).map_err(|error| error.about(&files))
    }

    /// Whether a certificate has its key, and what it is from is given once.
    pub fn contradiction(&self) -> Option<Invalid> {
        if let Some(address) = &self.workload_api {
            let files = [&self.ca_file, &self.cert_file, &self.key_file];
            let twice = twice(files.into_iter().any(Option::is_some)).err();
            let no_address = || Some(Invalid::of(WORKLOAD_API, workload_api::check_address(address).err()?));
            return twice.or_else(no_address).or_else(|| self.no_spiffe_id());
        }
        if !self.server_spiffe_ids.is_empty() {
            let problem = "a server is known by its SPIFFE id where `workload_api` is given";
            return Some(Invalid::new("server_spiffe_ids", problem, "give that, or leave the key out"));
        }
        let half = if self.cert_file.is_some() { "cert_file" } else { "key_file" };
        self.identity().err().map(|error| Invalid::of(half, error))
    }

    /// An id that no certificate could have.
    fn no_spiffe_id(&self) -> Option<Invalid> {
        let is_id = |id: &String| id.starts_with("spiffe://") && ClientIdentity::parse(id).is_some();
        let (index, id) = self.server_spiffe_ids.iter().enumerate().find(|(_, id)| !is_id(id))?;
        let problem = format!("`{id:.200}` is no SPIFFE id of a workload");
        Some(Invalid::new(format!("server_spiffe_ids.{index}"), problem, "write it like spiffe://TRUST_DOMAIN/PATH"))
    }

    /// A client's TLS, following what it is from.
    pub fn load(&self) -> Result<Arc<Reloading<ClientConfig>>, TlsError> {
        install_provider();
        if let Some(address) = &self.workload_api {
            return self.client_of_workload(address);
        }
        let files = self.clone();
        let watched = [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().cloned().collect();
        let expiry = Expiry::gauge();
        Reloading::new(CLIENT, watched, INTERVAL, move || {
            let client = files.client()?;
            files.cert_file.iter().for_each(|file| expiry.show(file));
            Ok::<_, TlsError>(client)
        })
    }

    fn client_of_workload(&self, address: &str) -> Result<Arc<Reloading<ClientConfig>>, TlsError> {
        let (source, expiry) = (Source::at(address)?, SvidExpiry::gauge());
        let (name, changes) = (PathBuf::from(source.address()), source.versions());
        let servers = self.server_spiffe_ids.clone();
        Reloading::following(CLIENT, name, changes, move || {
            let svid = source.svid()?;
            let mut client = workload_api::client(&svid, &servers);
            client.alpn_protocols = client_protocols();
            expiry.show(svid.expiry());
            Ok::<_, TlsError>(client)
        })
    }

    /// The certificate and its key.
    pub(crate) fn identity(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(TlsError::HalfIdentity),
        }
    }

    fn client(&self) -> Result<ClientConfig, TlsError> {
        let identity = self.identity()?;
        let trusted = self.ca_file.as_deref().map_or_else(system_roots, roots)?;
        let builder = ClientConfig::builder().with_root_certificates(trusted);
        let mut client = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let client = builder.with_client_auth_cert(certificates(cert)?, private_key(key)?);
                client.map_err(|error| mismatch(cert, key, error))?
            }
        };
        client.alpn_protocols = client_protocols();
        Ok(client)
    }
}

fn client_protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec()]
}
