//! An `OpenID` provider on loopback: its metadata, and its keys.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::forge::{Forge, key_set};

/// What it answers.
struct Documents {
    metadata: Value,
    keys: String,
    asked: usize,
}

/// The provider.
pub(crate) struct Provider {
    pub url: String,
    documents: Arc<Mutex<Documents>>,
    task: JoinSet<()>,
}

type Shared = State<Arc<Mutex<Documents>>>;

impl Provider {
    pub(crate) async fn start(keys: &[&Forge]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let documents = Arc::new(Mutex::new(Documents { metadata, keys: key_set(keys), asked: 0 }));
        let keys = async |State(documents): Shared| {
            let mut documents = documents.lock().unwrap();
            documents.asked += 1;
            documents.keys.clone()
        };
        let metadata = async |State(documents): Shared| Json(documents.lock().unwrap().metadata.clone());
        let router = Router::new().route("/.well-known/openid-configuration", get(metadata)).route("/keys", get(keys));
        let router = router.with_state(Arc::clone(&documents));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, documents, task }
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[&Forge]) {
        self.documents.lock().unwrap().keys = key_set(keys);
    }

    pub(crate) fn publish_text(&self, keys: &str) {
        keys.clone_into(&mut self.documents.lock().unwrap().keys);
    }

    pub(crate) fn name(&self, issuer: &str) {
        self.documents.lock().unwrap().metadata["issuer"] = issuer.into();
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.documents.lock().unwrap().asked
    }

    /// Answers nobody any more.
    pub(crate) async fn stop(&mut self) {
        self.task.shutdown().await;
    }
}
