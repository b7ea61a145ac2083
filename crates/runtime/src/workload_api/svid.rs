//! An X.509-SVID and the authorities of its peers, as an agent hands them out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use accord_api::spiffe::{X509svid, X509svidResponse};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::error::Problem;
use crate::{
    client_identity::{ClientIdentity, IdentityName, trust_domain},
    tls::expiry,
};

/// The authorities of each trust domain: those of one vouch for nobody of another.
pub(super) type Bundles = BTreeMap<String, Arc<RootCertStore>>;

/// Who this process is, and by whom its peers are known. It has a key, and so it is never shown.
pub(crate) struct Svid {
    id: ClientIdentity,
    certified: CertifiedKey,
    bundles: Bundles,
    ends: SystemTime,
}

impl Svid {
    /// The first one of an answer, which is the one that is meant where one can be used.
    pub(super) fn read(answer: X509svidResponse) -> Result<Self, Problem> {
        let X509svidResponse { svids, federated_bundles, .. } = answer;
        let first = svids.into_iter().next().ok_or_else(|| Problem::unusable("it has no X.509-SVID"))?;
        let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, .. } = first;
        let chain = certificates(&x509_svid)?;
        let id = identity(&spiffe_id, chain.first())?;
        let ends = chain.iter().filter_map(|it| expiry::not_after(it)).min();
        let ends = ends.ok_or_else(|| Problem::unusable("its certificate does not say when it ends"))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(x509_svid_key));
        let certified = CertifiedKey::from_der(chain, key, &default_provider());
        let certified = certified.map_err(|error| Problem::unusable(format!("certificate and key: {error}")))?;
        // The one that the agent names for the workload's own trust domain is the last word about it.
        let own = (trust_domain(id.as_str()).unwrap_or_default().to_owned(), bundle);
        let bundles = federated_bundles.into_iter().chain([own]).map(|(domain, bundle)| authorities(&domain, &bundle));
        Ok(Self { id, certified, bundles: bundles.collect::<Result<_, _>>()?, ends })
    }

    /// The SPIFFE id.
    pub(super) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The certificate with its chain, and its key.
    pub(super) fn certified(&self) -> CertifiedKey {
        self.certified.clone()
    }

    pub(super) fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    /// How much longer it is valid.
    pub(super) fn life(&self) -> Duration {
        self.ends.duration_since(SystemTime::now()).unwrap_or_default()
    }

    pub(super) fn ends_text(&self) -> String {
        humantime::format_rfc3339_seconds(self.ends).to_string()
    }

    /// Its SPIFFE id, and when it ends.
    pub(crate) fn expiry(&self) -> (&str, SystemTime) {
        (self.id(), self.ends)
    }
}

/// The SPIFFE id, where the answer and its certificate say the same.
fn identity(said: &str, certificate: Option<&CertificateDer<'_>>) -> Result<ClientIdentity, Problem> {
    let certificate = certificate.ok_or_else(|| Problem::unusable("its X.509-SVID has no certificate"))?;
    let id = ClientIdentity::of(certificate, IdentityName::SpiffeId);
    let id = id.map_err(|why| Problem::unusable(format!("the certificate is no X.509-SVID: {why}")))?;
    if id.as_str() == said {
        Ok(id)
    } else {
        Err(Problem::unusable(format!("the certificate is that of {}, and not that of {said:.200}", id.as_str())))
    }
}

fn authorities(domain: &str, bundle: &[u8]) -> Result<(String, Arc<RootCertStore>), Problem> {
    let domain = domain.strip_prefix("spiffe://").unwrap_or(domain).to_owned();
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        let unusable = |error| Problem::unusable(format!("an authority of {domain}: {error}"));
        roots.add(authority).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(Problem::unusable(format!("the trust domain {domain} has no authorities")));
    }
    Ok((domain, Arc::new(roots)))
}

/// Certificates that stand one after the other.
fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (_, _, rest) = expiry::element(der).ok_or_else(|| Problem::unusable("its certificates are not in DER"))?;
        let (certificate, rest) = der.split_at(der.len() - rest.len());
        found.push(CertificateDer::from(certificate.to_vec()));
        der = rest;
    }
    Ok(found)
}
