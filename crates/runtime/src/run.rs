//! How a binary runs: its tokio runtime, the log line of a panic, and its exit status.

use std::{future::Future, panic, process::ExitCode};

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::disable_transparent_huge_pages,
};

use crate::{exit_status::ExitStatus, output::print_error, tls, workers::LAST_WORK};

/// The threads of the runtime that has what is no call: accepting connections, following files and endpoints, the admin port.
const THREADS: usize = 1;

/// Runs `main` to its end, and ends with the status that it returns. An error is told on stderr as one sentence, and the
/// process ends with the status for it.
pub fn run<F>(main: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    take_small_pages();
    tls::install_provider();
    log_panics();
    take_descriptors();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|runtime| {
        let outcome = runtime.block_on(main());
        runtime.shutdown_timeout(LAST_WORK);
        outcome
    });
    match outcome {
        Ok(status) => status,
        Err(error) => {
            print_error(format_args!("error: {}", sentence(&error)));
            ExitStatus::of_error(&error).into()
        }
    }
}

/// Logs panics as soon as there is a log, so that whoever reads it by machine reads them too.
fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !tracing::dispatcher::has_been_set() {
            return before(panic);
        }
        let place = panic.location().map(tracing::field::display);
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("without a message"));
    }));
}

/// The allocator asks for pages of 2 MiB, of which it fills a small part: a gateway that has just started had twice the memory, for
/// up to 3% less processor time a request.
fn take_small_pages() {
    // Where it is refused, memory is only larger.
    let _ = disable_transparent_huge_pages(true);
}

/// Every connection needs a descriptor, and the limit that a process begins with is far below what the system allows it.
fn take_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, the listener tells when descriptors run out.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The error with its causes, without those that its text already contains.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk full");
        let error = anyhow::Error::from(inner).context("can't write the log: disk full").context("can't start");
        assert_eq!(sentence(&error), "can't start: can't write the log: disk full");
    }
}
