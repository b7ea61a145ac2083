//! What concerns the whole process: its signals, its descriptors, its defects. One at a time.

use std::{
    fs::File,
    io::Write,
    net::TcpStream,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accord_runtime::{
    run,
    server::{ListenConfig, Listener},
    shutdown::Shutdown,
};
use accord_test_log::Log;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use rustix::process::{Signal, getpid, kill_process};
use tokio::time::timeout;
use tower::service_fn;

const PATIENCE: Duration = Duration::from_secs(20);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn sighup_is_ignored_and_a_second_sigterm_changes_nothing() {
    let _alone = alone();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let shutdown = Shutdown::on_signals(Duration::ZERO).unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        tokio::task::yield_now().await;
        assert!(!shutdown.is_begun());
        for _ in 0..2 {
            kill_process(getpid(), Signal::TERM).unwrap();
            timeout(PATIENCE, shutdown.begun()).await.unwrap();
        }
    });
}

#[test]
fn accept_recovers_after_file_descriptors_ran_out() {
    let _alone = alone();
    // One thread, so that nothing is accepted before the descriptors are gone.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
        let (address, shutdown) = (listener.address(), Shutdown::new(PATIENCE));
        let mut waiting = TcpStream::connect(address).unwrap();
        waiting.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").unwrap();
        waiting.set_nonblocking(true).unwrap();
        let waiting = tokio::net::TcpStream::from_std(waiting).unwrap();
        let answer = service_fn(async |_| Ok(Response::new(Full::new(Bytes::from_static(b"here")))));

        let taken = take_all_descriptors();
        let served = tokio::spawn(listener.serve(answer, shutdown.clone()));
        assert!(timeout(Duration::from_millis(250), waiting.readable()).await.is_err());
        drop(taken);
        timeout(PATIENCE, waiting.readable()).await.unwrap().unwrap();
        shutdown.begin();
        timeout(PATIENCE, served).await.unwrap().unwrap();
    });
}

fn take_all_descriptors() -> Vec<File> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(256);
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn panic_is_logged_with_its_place() {
    let _alone = alone();
    let log = Log::default();
    let lines = log.clone();
    let ended = run::run(async || {
        let _guard = accord_test_log::set_default(tracing_subscriber::fmt().json().with_writer(lines).finish());
        let defect: Result<(), _> = std::panic::catch_unwind(|| panic!("boom"));
        assert!(defect.is_err());
        Ok(ExitCode::SUCCESS)
    });
    drop(std::panic::take_hook());
    assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::SUCCESS));
    let text = log.text();
    assert!(text.starts_with('{') && text.contains("boom") && text.contains("process.rs:"), "{text}");
}
