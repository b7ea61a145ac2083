//! A name server on loopback UDP whose records tests change while it runs.
//!
//! It is for tests alone, which fail where it panics.

#![expect(clippy::missing_panics_doc, reason = "a test that misuses it fails where it does")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers from its records; a name without any does not exist.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    errors: watch::Receiver<usize>,
    _task: JoinSet<()>,
}

type Zone = HashMap<(Name, RecordType), Reply>;

#[derive(Debug)]
enum Reply {
    Records(Vec<Record>),
    Code(ResponseCode),
    Silence,
}

impl Server {
    /// Starts one without records, on a free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::default();
        let (count, errors) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&zone), count));
        Self { address, zone, errors, _task: task }
    }

    /// Where it is asked.
    pub fn socket(&self) -> SocketAddr {
        self.address
    }

    /// The configuration that has this server alone.
    pub fn config(&self) -> ResolverConfig {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        ResolverConfig::from_name_servers(vec![NameServerConfig::new(self.address.ip(), true, vec![connection])])
    }

    /// Sets the addresses of a name; the records of the other family stay.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let data: Vec<RData> =
            addresses.iter().map(|address| address.parse::<std::net::IpAddr>().unwrap().into()).collect();
        self.records(name, data[0].record_type(), ttl, data);
    }

    /// Sets the SRV records of a name: priority, port, target.
    pub fn services(&self, name: &str, ttl: u32, services: &[(u16, u16, &str)]) {
        let data =
            services.iter().map(|(priority, port, target)| RData::SRV(SRV::new(*priority, 1, *port, fqdn(target))));
        self.records(name, RecordType::SRV, ttl, data.collect());
    }

    /// Makes a name an alias of one with an IPv4 address.
    pub fn alias(&self, name: &str, ttl: u32, target: &str, target_ttl: u32, address: Ipv4Addr) {
        let alias = Record::from_rdata(fqdn(name), ttl, RData::CNAME(CNAME(fqdn(target))));
        let record = Record::from_rdata(fqdn(target), target_ttl, RData::A(address.into()));
        self.set(name, RecordType::A, Reply::Records(vec![alias, record]));
    }

    /// Answers a question with an error.
    pub fn fail(&self, name: &str, record_type: RecordType, code: ResponseCode) {
        self.set(name, record_type, Reply::Code(code));
    }

    /// Leaves a question without an answer.
    pub fn ignore(&self, name: &str, record_type: RecordType) {
        self.set(name, record_type, Reply::Silence);
    }

    /// Makes a name exist no more.
    pub fn forget(&self, name: &str) {
        self.zone.lock().unwrap().retain(|(known, _), _| *known != fqdn(name));
    }

    /// Waits until so many more questions got an error for an answer.
    pub async fn errors(&self, count: usize) {
        let mut errors = self.errors.clone();
        let enough = *errors.borrow() + count;
        errors.wait_for(|seen| *seen >= enough).await.unwrap();
    }

    fn records(&self, name: &str, record_type: RecordType, ttl: u32, data: Vec<RData>) {
        let records = data.into_iter().map(|data| Record::from_rdata(fqdn(name), ttl, data)).collect();
        self.set(name, record_type, Reply::Records(records));
    }

    fn set(&self, name: &str, record_type: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((fqdn(name), record_type), reply);
    }
}

/// A name with all of its labels.
pub fn fqdn(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>, errors: watch::Sender<usize>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let reply = reply(&zone.lock().unwrap(), question.metadata.id, &question.queries[0]);
        if let Some(reply) = reply {
            errors.send_modify(|count| *count += usize::from(reply.metadata.response_code != ResponseCode::NoError));
            socket.send_to(&reply.to_vec().unwrap(), peer).await.unwrap();
        }
    }
}

fn reply(zone: &Zone, id: u16, query: &Query) -> Option<Message> {
    let mut message = Message::response(id, OpCode::Query);
    message.add_query(query.clone());
    match zone.get(&(query.name().clone(), query.query_type())) {
        Some(Reply::Records(records)) => {
            message.add_answers(records.iter().cloned());
        }
        Some(Reply::Code(code)) => message.metadata.response_code = *code,
        Some(Reply::Silence) => return None,
        None if zone.keys().any(|(name, _)| name == query.name()) => {}
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(message)
}
