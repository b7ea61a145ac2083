//! Calls of the upstream through the gateway, beside peers that make the same call.

use std::{net::SocketAddr, sync::Arc};

use accord_fabric::{Builder, EDITOR, Fabric, Part, metrics};
use anyhow::{Context, Result, ensure};
use toml::toml;

use super::{
    checks::Checks,
    load::{self, Protocol, Request, Tool},
    peers::Peers,
    probe::{self, Answer},
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::{Measured, Stage},
};

/// Answers that are looked at, before and after.
const SAMPLE: u32 = 3;
/// Answers that are asked for until so many of them came from where they should.
const MOST_ASKED: u32 = 100;

/// What is called, and what is done before.
#[derive(Clone, Copy)]
pub(super) struct Service {
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether it is spoken over TLS.
    pub is_encrypted: bool,
    /// What is done before.
    pub checks: Checks,
    /// The method of bench.v1.BenchService.
    pub method: &'static str,
    /// Its binding; the body is sent to it where there is one.
    pub path: &'static str,
    /// How long the text of the item is that is sent; none where an item is asked for.
    pub text: Option<u32>,
    /// What `cache-status` has to say, where the cache is asked; its processor time counts then.
    pub cache_status: Option<&'static str>,
    /// Peers that do the same or less.
    pub peers: &'static [&'static str],
    /// Floors beside it.
    pub floors: &'static [&'static str],
}

/// One that answers.
struct Server<'a> {
    name: &'static str,
    address: SocketAddr,
    request: Request,
    processes: Vec<u32>,
    /// Where it is ours.
    fabric: Option<&'a Fabric>,
}

/// Measures a case.
pub(super) async fn run(
    service: &Service,
    stage: &Stage,
    peers: &Peers,
    tool: &Tool,
    amount: Amount,
) -> Result<Vec<Figures>> {
    let encrypted = if service.is_encrypted { Some([encrypted(stage).await?]) } else { None };
    let fabrics = encrypted.as_ref().map_or(stage.fabrics.as_slice(), <[_; 1]>::as_slice);
    let servers = service.servers(stage, fabrics, peers);
    let before = service.counted(&servers).await?;
    let asked = service.check(&servers).await?;
    let subject = |server: &Server<'_>| {
        let (address, request) = (server.address, server.request.clone());
        Subject {
            name: server.name.to_owned(),
            processes: server.processes.clone(),
            per_request: 1,
            send: Box::new(move |count| tool.send(address, &request, count)),
        }
    };
    let subjects: Vec<_> = servers.iter().map(subject).collect();
    let figures = rounds::interleaved(&subjects, amount)?;
    let asked_again = service.check(&servers).await?;
    let sent = subjects.first().map_or(0, |subject| amount.in_all(subject));
    let asked = asked.into_iter().zip(asked_again).map(|(before, after)| f64::from(sent + before + after));
    for ((before, after), sent) in before.into_iter().zip(service.counted(&servers).await?).zip(asked) {
        let in_metrics = after - before;
        ensure!((in_metrics - sent).abs() < 0.5, "{sent} requests were sent, the gateway counts {in_metrics} with OK");
    }
    drop(servers);
    for (_, fabric, _) in encrypted.into_iter().flatten() {
        fabric.stop().await?;
    }
    Ok(figures)
}

/// One more fabric, whose gateway has a certificate.
async fn encrypted(stage: &Stage) -> Result<Measured> {
    let (cert, key) = (stage.certificate.cert_file.clone(), stage.certificate.key_file.clone());
    let listen = toml! {
        [listen.tls]
        cert_file = cert
        key_file = key
    };
    let with_tls = |builder: Builder| builder.settings(Part::Gateway, listen);
    let fabric = stage.another(&stage.descriptors, &[stage.cores.tested], with_tls).await?;
    let token = fabric.token(EDITOR).await?;
    Ok(("Accord", fabric, token))
}

impl Service {
    /// The request, by whoever holds this token.
    pub(super) fn request(&self, token: &str) -> Request {
        let token = (self.checks != Checks::None).then(|| token.to_owned());
        let own_path = || format!("/{}", self.full_method());
        let message = || self.text.map_or_else(|| GET_OAK_DESK.to_vec(), item);
        let (path, body) = match self.protocol {
            Protocol::Grpc | Protocol::GrpcWeb => (own_path(), Some(load::framed(&message()))),
            Protocol::Connect => (own_path(), Some(message())),
            Protocol::Http1 | Protocol::Http2 => {
                (self.path.to_owned(), self.text.map(|length| item_as_json(length).into_bytes()))
            }
        };
        Request { protocol: self.protocol, path, token, body, trusted: None }
    }

    /// The method as metrics name it.
    fn full_method(&self) -> String {
        format!("bench.v1.BenchService/{}", self.method)
    }

    fn servers<'a>(&self, stage: &'a Stage, fabrics: &'a [Measured], peers: &Peers) -> Vec<Server<'a>> {
        let trusted = || self.is_encrypted.then(|| Arc::clone(stage.certificate.trusted()));
        let request = |token: &str| Request { trusted: trusted(), ..self.request(token) };
        let ours = fabrics.iter().map(|(name, fabric, token)| {
            let cache = self.cache_status.map(|_| fabric.cache.process.id());
            let processes = [fabric.gateway.process.id()].into_iter().chain(cache).collect();
            Server { name, address: fabric.gateway.listen, request: request(token), processes, fabric: Some(fabric) }
        });
        let peers = self.peers.iter().filter_map(|name| {
            let (address, process) = peers.endpoint(name, self.protocol, self.checks, self.is_encrypted)?;
            let request = request(stage.token());
            Some(Server { name, address, request, processes: vec![process], fabric: None })
        });
        let floors = self.floors.iter().filter_map(|name| {
            let floor = stage.floors.get(name)?;
            let request = self.floor_request(name, stage.token());
            Some(Server { name, address: floor.address, request, processes: vec![floor.process.id()], fabric: None })
        });
        ours.chain(peers).chain(floors).collect()
    }

    /// The cheapest one: a GET, of JSON.
    fn floor_request(&self, name: &str, token: &str) -> Request {
        let speaks_http2 = name == "floor: hyper" && self.protocol != Protocol::Http1;
        let protocol = if speaks_http2 { Protocol::Http2 } else { Protocol::Http1 };
        Request { protocol, path: self.path.to_owned(), token: Some(token.to_owned()), body: None, trusted: None }
    }

    /// All that answer say the same, and the cache says what it did. Returns how often each of ours was asked: the first answer may
    /// be what is stored, and a lease may end at any moment.
    async fn check(&self, servers: &[Server<'_>]) -> Result<Vec<u32>> {
        let (mut first, mut asked) = (None::<Answer>, Vec::new());
        for server in servers.iter().filter(|server| !server.name.starts_with("floor")) {
            let of = || format!("an answer of {}", server.name);
            let wanted = self.cache_status.filter(|_| server.fabric.is_some());
            let (mut count, mut right) = (0, 0);
            while right < SAMPLE {
                let answer = probe::ask(server.address, &server.request).await.with_context(of)?;
                answer.ensure_ok(self.protocol).with_context(of)?;
                count += 1;
                match wanted.map(|wanted| Ok::<_, anyhow::Error>((wanted, answer.cache_status()?))).transpose()? {
                    Some((wanted, status)) if !status.starts_with(wanted) => {
                        ensure!(count < MOST_ASKED, "the cache says {status}, not {wanted}");
                    }
                    _ => right += 1,
                }
                match &first {
                    Some(first) => answer.ensure_same(first, self.protocol).with_context(of)?,
                    None => first = Some(answer),
                }
            }
            asked.extend(server.fabric.map(|_| count));
        }
        Ok(asked)
    }

    /// Calls of the method that ended with OK, as each gateway counts them.
    async fn counted(&self, servers: &[Server<'_>]) -> Result<Vec<f64>> {
        let method = self.full_method();
        let labels = [("rpc_method", &*method), ("rpc_response_status_code", "OK")];
        let mut counts = Vec::new();
        for fabric in servers.iter().filter_map(|server| server.fabric) {
            counts.push(metrics::sum(
                &fabric.gateway.metrics().await?,
                "rpc_server_call_duration_seconds_count",
                &labels,
            ));
        }
        Ok(counts)
    }
}

/// `GetItemRequest` with the id `oak-desk`.
const GET_OAK_DESK: [u8; 10] = *b"\x0a\x08oak-desk";

/// An item as a message, with so much text.
fn item(length: u32) -> Vec<u8> {
    let mut message = GET_OAK_DESK.to_vec();
    prost::encoding::string::encode(TEXT_FIELD, &text(length), &mut message);
    message
}

/// The number of `Item.text`.
const TEXT_FIELD: u32 = 8;

/// An item as JSON, with so much text.
fn item_as_json(length: u32) -> String {
    let item = r#""id":"oak-desk","title":"Oak desk","price":{"currency":"EUR","minorUnits":"45900"},"keywords":["desk","oak"]"#;
    format!(r#"{{{item},"text":"{}"}}"#, text(length))
}

fn text(length: u32) -> String {
    "A desk that is oiled by hand. ".chars().cycle().take(length as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_has_its_text_in_both_forms() {
        let json: serde_json::Value = serde_json::from_str(&item_as_json(1000)).unwrap();
        assert_eq!(json["text"].as_str().unwrap().len(), 1000);
        // Before the text stand the id, and two bytes each of tag and length.
        assert_eq!(item(1000).len(), GET_OAK_DESK.len() + 3 + 1000);
    }
}
