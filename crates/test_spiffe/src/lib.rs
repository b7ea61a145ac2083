//! A SPIFFE Workload API on a Unix socket that hands out what a test says, and the trust domains whose X.509-SVIDs it hands out.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use accord_api::spiffe::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use accord_api::spiffe::{X509svid, X509svidRequest, X509svidResponse};
use accord_test_certificates::Authority;
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// An authority and the trust domain that it stands for.
#[derive(Debug)]
pub struct TrustDomain {
    name: String,
    authority: Authority,
}

/// A certificate with a SPIFFE id, and its key.
#[derive(Clone, Debug)]
pub struct Svid {
    /// The SPIFFE id.
    pub id: String,
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The key, PKCS #8 in DER.
    pub key: Vec<u8>,
}

impl TrustDomain {
    /// A trust domain with an authority of its own.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), authority: Authority::named(name) }
    }

    /// An X.509-SVID of the workload with this path, until this moment, with these DNS names beside.
    pub fn issue(&self, path: &str, ends: SystemTime, names: &[&str]) -> Svid {
        self.issue_as(&format!("spiffe://{}{path}", self.name), ends, names)
    }

    /// One that says what it has no right to say.
    pub fn issue_as(&self, id: &str, ends: SystemTime, names: &[&str]) -> Svid {
        let issued = self.authority.issue_until(&[names, &[id]].concat(), ends);
        Svid { id: id.to_owned(), certificate: issued.der.to_vec(), key: issued.key_der().secret_der().to_vec() }
    }

    /// Its authority's certificate in DER.
    pub fn bundle(&self) -> Vec<u8> {
        self.authority.der().to_vec()
    }

    /// What an agent hands out to the workload that this is the X.509-SVID of, where peers are of this trust domain and of those.
    pub fn answer(&self, svid: &Svid, federated: &[&Self]) -> X509svidResponse {
        let svid = X509svid {
            spiffe_id: svid.id.clone(),
            x509_svid: svid.certificate.clone(),
            x509_svid_key: svid.key.clone(),
            bundle: self.bundle(),
            hint: String::new(),
        };
        let federated_bundles =
            federated.iter().map(|domain| (format!("spiffe://{}", domain.name), domain.bundle())).collect();
        X509svidResponse { svids: vec![svid], crl: Vec::new(), federated_bundles }
    }
}

/// What the agent says to whoever asks, and then, whenever that changes.
pub type Answer = Result<X509svidResponse, Status>;

/// What an agent says whose server knows nothing of a workload.
pub fn unregistered() -> Answer {
    Err(Status::new(Code::PermissionDenied, "no identity issued"))
}

/// The agent. It runs in a thread of its own, and ends when it is dropped.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    answers: watch::Sender<Answer>,
    asked: watch::Sender<usize>,
    running: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// One that listens at this path.
    ///
    /// # Panics
    /// Where it can't.
    pub fn start(path: &Path, answer: Answer) -> Self {
        let (answers, asked, running) = (watch::Sender::new(answer), watch::Sender::new(0), CancellationToken::new());
        let (path, cancelled) = (path.to_owned(), running.clone());
        let service = Service { answers: answers.clone(), asked: asked.clone() };
        let (ready, listens) = mpsc::channel();
        let socket = path.clone();
        let serve = move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(cancelled.run_until_cancelled(async {
                let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a socket"));
                ready.send(()).expect("who waits for it");
                let service = SpiffeWorkloadApiServer::new(service);
                Server::builder().add_service(service).serve_with_incoming(incoming).await.expect("serves");
            }));
        };
        let thread = thread::spawn(serve);
        listens.recv().expect("the agent listens");
        Self { path, answers, asked, running, thread: Some(thread) }
    }

    /// Where it listens, as configurations say it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Says this from now on, to those as well who asked before.
    pub fn say(&self, answer: Answer) {
        let _ = self.answers.send_replace(answer);
    }

    /// Waits until it has been asked once more than so many times.
    pub async fn asked_after(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let _ = asked.wait_for(|asked| *asked > times).await;
    }

    /// How many times it has been asked.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.cancel();
        self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
    }
}

struct Service {
    answers: watch::Sender<Answer>,
    asked: watch::Sender<usize>,
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        // As the standard has agents do (SPIFFE Workload Endpoint, section 5).
        if request.metadata().get("workload.spiffe.io").is_none_or(|said| said != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        self.asked.send_modify(|asked| *asked += 1);
        Ok(Response::new(Box::pin(WatchStream::new(self.answers.subscribe()))))
    }
}
