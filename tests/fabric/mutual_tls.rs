//! Mutual TLS between all binaries, from files that a test may replace: who shows a certificate, whom it names, and whom each lets in,
//! as the component `mtls` of `deploy/kubernetes` has it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use accord_test_certificates::{Authority, Identity, roots};
use anyhow::Result;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use tempfile::TempDir;
use toml::{Table, Value, toml};

use crate::{
    Builder, Part,
    certificates::{MountedSecret, provider},
};

/// Who shows a certificate.
pub const PARTS: [Part; 4] = [Part::Auth, Part::Cache, Part::Catalog, Part::Gateway];

/// Who serves others over TLS.
pub const SERVERS: [Part; 3] = [Part::Auth, Part::Cache, Part::Catalog];

/// Who calls a part: nobody else has a name that it lets in. At the gateway it is who calls its internal listener.
pub fn clients(part: Part) -> &'static [Part] {
    match part {
        Part::Auth => &[Part::Gateway, Part::Cache, Part::Catalog],
        Part::Cache => &[Part::Gateway],
        Part::Catalog => &[Part::Gateway, Part::Cache],
        _ => &[Part::Catalog],
    }
}

/// A moment after any test.
pub fn later() -> SystemTime {
    SystemTime::now() + Duration::from_hours(24)
}

/// What each binary has mounted.
pub struct Certificates {
    secrets: BTreeMap<Part, MountedSecret>,
    /// What each shows.
    pub shown: BTreeMap<Part, Identity>,
    _directory: TempDir,
}

impl Certificates {
    /// All signed by this authority, which all trust.
    pub fn issued_by(authority: &Authority) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let secrets =
            PARTS.map(|part| MountedSecret::in_directory(directory.path().join(part.name())).map(|it| (part, it)));
        let secrets = secrets.into_iter().collect::<Result<_>>()?;
        let mut certificates = Self { secrets, shown: BTreeMap::new(), _directory: directory };
        certificates.issue(authority)?;
        certificates.trust(&authority.pem())?;
        for (part, secret) in &mut certificates.secrets {
            let names: Vec<_> = clients(*part).iter().map(|part| format!("dns:{}\n", part.name())).collect();
            secret.replace(&[("clients", &names.concat())])?;
        }
        Ok(certificates)
    }

    /// All get a new certificate, signed by this authority.
    pub fn issue(&mut self, authority: &Authority) -> Result<()> {
        for (part, secret) in &mut self.secrets {
            // By its name as a client, and those by which it is called.
            let names = [part.name(), "localhost", "127.0.0.1", &part.service_record()];
            let identity = authority.issue_until(&names, later());
            secret.replace(&[("tls.crt", &identity.certificate), ("tls.key", &identity.key)])?;
            self.shown.insert(*part, identity);
        }
        Ok(())
    }

    /// All trust these authorities, as PEM.
    pub fn trust(&mut self, authorities: &str) -> Result<()> {
        self.secrets.values_mut().try_for_each(|secret| secret.replace(&[("ca.crt", authorities)]))
    }

    fn files(&self, part: Part) -> [String; 4] {
        ["ca.crt", "tls.crt", "tls.key", "clients"].map(|name| self.secrets[&part].file(name).display().to_string())
    }

    /// How a part shows itself to those it calls, and whom it trusts.
    fn client(&self, part: Part) -> Table {
        let [ca, cert, key, _] = self.files(part);
        toml! {
            ca_file = ca
            cert_file = cert
            key_file = key
        }
    }

    /// Whom a part lets in who calls it: those of the authority, and of the names that are listed.
    fn admitting(&self, part: Part) -> Table {
        let [ca, cert, key, clients] = self.files(part);
        toml! {
            cert_file = cert
            key_file = key
            client_ca_file = ca
            client_names_file = clients
        }
    }

    /// How a part shows itself to clients that need no certificate.
    pub(crate) fn public(&self, part: Part) -> Table {
        let [_, cert, key, _] = self.files(part);
        toml! {
            cert_file = cert
            key_file = key
        }
    }

    /// What a client needs that trusts these authorities, as PEM, and shows what a part shows.
    pub(crate) fn client_config(&self, part: Part, authorities: &str) -> Result<ClientConfig> {
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(authorities.as_bytes()).collect::<Result<_, _>>()?;
        let shown = &self.shown[&part];
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(config
            .with_root_certificates(roots(&authorities))
            .with_client_auth_cert(vec![shown.der.clone()], shown.key_der())?)
    }
}

/// The section of an upstream that is called so.
pub fn upstream(part: Part, url: &str, tls: &Table) -> Value {
    let (name, url, tls) = (part.name(), url.to_owned(), tls.clone());
    Value::Table(toml! {
        name = name
        urls = [url]
        tls = tls
    })
}

impl Builder {
    /// All binaries call each other over TLS, with certificates on both sides; who calls the gateway from outside does not.
    pub fn mutual_tls(mut self, certificates: &Certificates) -> Self {
        let urls = BTreeMap::from(SERVERS.map(|part| (part, format!("https://{}", self.address(part)))));
        for part in PARTS {
            if part != Part::Auth {
                let (url, tls) = (urls[&Part::Auth].clone(), certificates.client(part));
                self = self.settings(part, toml! { auth = { url = url, tls = tls } });
            }
            if part != Part::Gateway {
                let tls = certificates.admitting(part);
                self = self.settings(part, toml! { listen = { tls = tls } });
            }
        }
        let (cache, tls) = (urls[&Part::Cache].clone(), certificates.client(Part::Gateway));
        let upstreams: Vec<_> = self.own_upstreams().map(|part| upstream(part, &urls[&part], &tls)).collect();
        let internal = certificates.admitting(Part::Gateway);
        self = self.settings(
            Part::Gateway,
            toml! {
                cache = { url = cache, tls = tls }
                internal = { tls = internal }
                upstream = upstreams
            },
        );
        let upstreams = vec![upstream(Part::Catalog, &urls[&Part::Catalog], &certificates.client(Part::Cache))];
        self.settings(Part::Cache, toml! { upstream = upstreams })
    }
}
