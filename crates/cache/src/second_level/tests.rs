//! Against a server that does as a test says; real ones are asked in the suite `replicas`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::format::tests::{key, value};
use super::*;

/// Longer than a test takes.
const NEVER: Duration = Duration::from_mins(1);

/// What a server holds, and how it behaves.
#[derive(Debug, Default)]
struct Held {
    values: HashMap<String, Bytes>,
    /// The life of the value that was written last, in milliseconds.
    life: u64,
    /// By its own clock.
    seconds: u64,
    is_silent: bool,
    /// Commands that came while it was silent.
    unanswered: usize,
}

#[derive(Clone, Debug)]
struct Server {
    held: Arc<Mutex<Held>>,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let held = Arc::new(Mutex::new(Held { seconds: 1_800_000_000, ..Held::default() }));
        let server = Self { held, url };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    async fn serve(self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufStream::new(stream);
        loop {
            let mut parts = Vec::new();
            for _ in 0..length(&mut stream).await? {
                let mut part = vec![0; length(&mut stream).await? + 2];
                stream.read_exact(&mut part).await?;
                part.truncate(part.len() - 2);
                parts.push(part);
            }
            let answer = self.held().answer(&parts);
            if let Some(answer) = answer {
                stream.write_all(&answer).await?;
                stream.flush().await?;
            }
        }
    }
}

/// What a line says after its first character.
async fn length(stream: &mut BufStream<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line[1..].trim().parse().unwrap())
}

impl Held {
    fn answer(&mut self, parts: &[Vec<u8>]) -> Option<Vec<u8>> {
        if self.is_silent {
            self.unanswered += 1;
            return None;
        }
        let text = |place: usize| String::from_utf8(parts[place].clone()).unwrap();
        Some(match &*text(0) {
            "SET" if text(1).ends_with(":hello") => b"+OK\r\n".to_vec(),
            "SET" => {
                self.life = text(4).parse().unwrap();
                self.values.insert(text(1), parts[2].clone().into());
                b"+OK\r\n".to_vec()
            }
            "GETRANGE" => {
                let value = self.values.get(&text(1)).cloned().unwrap_or_default();
                let end = value.len().min(text(3).parse::<usize>().unwrap() + 1);
                [format!("${end}\r\n").as_bytes(), &value[..end], b"\r\n"].concat()
            }
            "TIME" => {
                let seconds = self.seconds.to_string();
                format!("*2\r\n${}\r\n{seconds}\r\n$1\r\n0\r\n", seconds.len()).into_bytes()
            }
            _ => b"-ERR This instance has cluster support disabled\r\n".to_vec(),
        })
    }
}

/// A replica's side, kept until it is dropped.
struct Subject {
    store: SharedStore,
    keeping: AbortHandle,
    _folder: tempfile::TempDir,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Subject {
    async fn start(server: &Server, change: impl FnOnce(&mut SecondLevelConfig)) -> Self {
        let subject = Self::unconnected(server, change);
        subject.store.is_up().wait_for(|up| *up).await.unwrap();
        subject
    }

    fn unconnected(server: &Server, change: impl FnOnce(&mut SecondLevelConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s".repeat(32)).unwrap();
        let mut config = SecondLevelConfig { url: Some(server.url.clone()), ..SecondLevelConfig::default() };
        config.timeout = Duration::from_secs(10);
        change(&mut config);
        let consistency = ConsistencyConfig { token_key_file: Some(file) };
        let store = SharedStore::new(&config, &consistency).unwrap().unwrap();
        let keeping = tokio::spawn(store.keep()).abort_handle();
        Self { store, keeping, _folder: folder }
    }

    async fn find(&self) -> Result<SharedValue, SharedMiss> {
        self.store.find(key(b"1"), NEVER).await
    }

    /// Writes a value whose load started so long ago.
    async fn write(&self, age: Duration) -> Outcome {
        let value = SharedValue { age, ..value(Ok(Bytes::from_static(b"milk"))) };
        self.store.0.write(Waiting { key: key(b"1"), value, since: Live.now() }).await
    }
}

#[tokio::test]
async fn value_that_one_replica_put_is_found_by_another() {
    let server = Server::start().await;
    let [one, other] = [Subject::start(&server, |_| {}).await, Subject::start(&server, |_| {}).await];
    assert_eq!(other.find().await, Err(SharedMiss::Absent));
    one.store.put(key(b"1"), value(Ok(Bytes::from_static(b"milk"))));
    let found = loop {
        if let Ok(found) = other.find().await {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(SharedValue { age: Duration::ZERO, ..found }, value(Ok(Bytes::from_static(b"milk"))));
    assert!(server.held().life <= 30_000, "no longer than it is fresh");
}

#[tokio::test]
async fn age_counts_by_the_clock_of_the_server_and_is_never_less_than_the_truth() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |_| {}).await;
    assert_eq!(subject.write(Duration::from_secs(3)).await, Outcome::Written);
    server.held().seconds += 10;
    let age = subject.find().await.unwrap().age;
    assert!((Duration::from_secs(13)..Duration::from_secs(16)).contains(&age), "{age:?}");
}

#[tokio::test]
async fn server_that_is_set_back_does_not_make_values_younger() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |_| {}).await;
    subject.write(Duration::ZERO).await;
    server.held().seconds += 10;
    subject.find().await.unwrap();
    server.held().seconds -= 9;
    assert!(subject.find().await.unwrap().age >= Duration::from_secs(10));
    // Another one has not seen it, and can't tell.
    server.held().seconds -= 5;
    assert_eq!(Subject::start(&server, |_| {}).await.find().await, Err(SharedMiss::TooOld));
}

#[tokio::test]
async fn value_older_than_max_ttl_is_neither_kept_nor_used() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |config| config.max_ttl = Duration::from_secs(5)).await;
    subject.write(Duration::ZERO).await;
    assert!(server.held().life <= 5_000);
    server.held().seconds += 6;
    assert_eq!(subject.find().await, Err(SharedMiss::TooOld));
}

#[tokio::test]
async fn value_whose_life_is_over_when_its_turn_comes_is_not_written() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |_| {}).await;
    let value = SharedValue { life: Duration::from_micros(900), ..value(Ok(Bytes::new())) };
    let waiting = Waiting { key: key(b"1"), value, since: Live.now() };
    assert_eq!(subject.store.0.write(waiting).await, Outcome::Expired);
    assert_eq!(subject.find().await, Err(SharedMiss::Absent));
}

#[tokio::test]
async fn bytes_that_somebody_else_wrote_are_unreadable_however_many_they_are() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |config| config.max_value_bytes = 1024).await;
    subject.write(Duration::ZERO).await;
    let name = subject.store.0.name(&key(b"1"));
    for poison in [Bytes::from_static(b"poison"), Bytes::from(vec![1; 1_000_000])] {
        server.held().values.insert(name.clone(), poison);
        assert_eq!(subject.find().await, Err(SharedMiss::Unreadable));
    }
    assert!(*subject.store.is_up().borrow(), "the connection is left as it is");
}

#[tokio::test]
async fn silent_server_costs_a_read_the_timeout_and_is_left_after_three() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |config| config.timeout = Duration::from_millis(50)).await;
    server.held().is_silent = true;
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(subject.find().await, Err(SharedMiss::Late));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    subject.store.is_up().wait_for(|up| !up).await.unwrap();
    assert_eq!(subject.find().await, Err(SharedMiss::Unavailable));
    assert_eq!(subject.write(Duration::ZERO).await, Outcome::Unavailable);
    server.held().is_silent = false;
    subject.store.is_up().wait_for(|up| *up).await.unwrap();
    assert_eq!(subject.find().await, Err(SharedMiss::Absent));
}

#[tokio::test]
async fn reader_with_little_time_waits_for_half_of_it_and_that_is_no_failure_of_the_server() {
    let server = Server::start().await;
    let subject = Subject::start(&server, |config| config.timeout = NEVER).await;
    server.held().is_silent = true;
    for _ in 0..10 {
        let (begun, left) = (Instant::now(), Duration::from_millis(40));
        assert_eq!(subject.store.find(key(b"1"), left).await, Err(SharedMiss::Late));
        assert!(begun.elapsed() >= left / 2, "{:?}", begun.elapsed());
    }
    server.held().is_silent = false;
    assert!(*subject.store.is_up().borrow());
}

#[tokio::test]
async fn server_that_leaves_a_new_connection_unanswered_is_tried_again_after_the_connect_timeout() {
    let server = Server::start().await;
    server.held().is_silent = true;
    let subject = Subject::unconnected(&server, |config| config.connect_timeout = Duration::from_millis(20));
    while server.held().unanswered < 2 {
        tokio::task::yield_now().await;
    }
    server.held().is_silent = false;
    subject.store.is_up().wait_for(|up| *up).await.unwrap();
}
