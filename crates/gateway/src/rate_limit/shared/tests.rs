//! Against servers that are silent or refuse; those that count are real ones, in the suite `outside`.

use super::*;
use accord_contract::{RateLimit, RateLimitBy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Longer than a test takes.
const NEVER: Duration = Duration::from_mins(1);

/// The next connection, on which the server has answered what a new one begins with.
async fn greeted(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    came(&mut stream, b"\nreturn answers").await;
    stream.write_all(b"$3\r\nabc\r\n").await.unwrap();
    came(&mut stream, b":hello").await;
    stream.write_all(b"*1\r\n:0\r\n").await.unwrap();
    came(&mut stream, b"SLOTS").await;
    stream.write_all(b"-ERR This instance has cluster support disabled\r\n").await.unwrap();
    stream
}

/// Waits until these bytes have come.
async fn came(stream: &mut TcpStream, wanted: &[u8]) {
    let (mut bytes, mut read) = ([0; 4096], Vec::new());
    while !read.windows(wanted.len()).any(|it| it == wanted) {
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the connection ended");
        read.extend_from_slice(&bytes[..count]);
    }
}

fn started(listener: &TcpListener, timeout: Duration) -> SharedLimits {
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let config = SharedLimitsConfig { url: Some(url), timeout, max_in_flight: 10, ..SharedLimitsConfig::default() };
    SharedLimits::start(&config, &Shutdown::new(Duration::from_secs(1))).unwrap().unwrap()
}

async fn take(shared: &SharedLimits, rate: &Rate, deadline: Deadline) -> Result<Outcomes, Unanswered> {
    let counted = Counted { rate, quota: rate.quota(&[]), key: RateLimitKey::Method };
    shared.ask(Counting::Take, "Get/Say", &[counted], deadline).await
}

fn rate() -> Rate {
    let (per, by) = (Duration::from_secs(1), RateLimitBy::Method);
    Rate::new(&RateLimit { requests: 1, per, burst: 1, by, plans: Vec::new() })
}

#[tokio::test]
async fn silent_server_costs_each_call_its_timeout_and_is_left_after_three() {
    let (listener, rate) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), rate());
    let shared = started(&listener, Duration::from_millis(50));
    let mut up = shared.is_up();
    assert_eq!(take(&shared, &rate, Deadline::after(NEVER)).await, Err(Unanswered::Disconnected));
    let _stream = greeted(&listener).await;
    up.wait_for(|up| *up).await.unwrap();

    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(take(&shared, &rate, Deadline::after(NEVER)).await, Err(Unanswered::Timeout));
    }
    assert!(begun.elapsed() >= Duration::from_millis(150));
    up.wait_for(|up| !*up).await.unwrap();
    assert_eq!(take(&shared, &rate, Deadline::after(NEVER)).await, Err(Unanswered::Disconnected));
}

#[tokio::test]
async fn deadline_of_a_call_that_comes_before_the_timeout_does_not_count_against_the_server() {
    let (listener, rate) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), rate());
    let shared = started(&listener, NEVER);
    let _stream = greeted(&listener).await;
    shared.is_up().wait_for(|up| *up).await.unwrap();
    let soon = Deadline::after(Duration::from_millis(1));
    assert_eq!(take(&shared, &rate, soon).await, Err(Unanswered::Deadline));
    assert!(*shared.is_up().borrow());
}

#[tokio::test]
async fn answers_of_the_script_are_what_is_left_or_how_long_to_wait() {
    let (listener, rate) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), rate());
    let shared = started(&listener, NEVER);
    let mut stream = greeted(&listener).await;
    shared.is_up().wait_for(|up| *up).await.unwrap();
    for (answer, expected) in [
        (&b"*1\r\n:7\r\n"[..], Ok(vec![Ok(7)])),
        (b"*1\r\n:-1500000\r\n", Ok(vec![Err(Duration::from_millis(1500))])),
        (b"-READONLY it is a replica\r\n", Err(Unanswered::Refused("READONLY it is a replica".to_owned()))),
        (b"*0\r\n", Err(Unanswered::Refused("it answers something else than the script does".to_owned()))),
    ] {
        let answering = async {
            came(&mut stream, b"Get/Say").await;
            stream.write_all(answer).await.unwrap();
        };
        let (taken, ()) = tokio::join!(take(&shared, &rate, Deadline::after(NEVER)), answering);
        assert_eq!(taken, expected);
    }
}

#[tokio::test]
async fn server_that_leaves_a_new_connection_unanswered_is_given_up_after_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let connect_timeout = Duration::from_millis(50);
    let config = SharedLimitsConfig { url: Some(url), connect_timeout, ..SharedLimitsConfig::default() };
    let shared = SharedLimits::start(&config, &Shutdown::new(Duration::from_secs(1))).unwrap().unwrap();
    let (mut silent, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    silent.read_to_end(&mut all).await.unwrap();
    assert!(!all.is_empty() && !*shared.is_up().borrow(), "it asked, and left");
}
