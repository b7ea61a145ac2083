//! Counts what a whole process allocates, for whoever asks at a socket.

use std::{
    env,
    io::Write,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    thread,
};

use alloc_tracker::Session;

/// Names the socket at which the counters are asked for: whoever connects reads a line with allocations and bytes since the start.
pub const SOCKET: &str = "ACCORD_COUNTED_SOCKET";

/// Answers at the socket that the environment names, on a thread of its own, until the process ends.
///
/// # Panics
///
/// Where nothing can listen there: nobody would get what this program is for.
pub fn answer() {
    let Some(socket) = env::var_os(SOCKET).map(PathBuf::from) else { return };
    let listener = listen(&socket);
    thread::spawn(move || serve(&listener));
}

fn listen(socket: &Path) -> UnixListener {
    UnixListener::bind(socket).unwrap_or_else(|problem| panic!("{} can't be listened on: {problem}", socket.display()))
}

fn serve(listener: &UnixListener) {
    let session = Session::new().no_stdout().no_file();
    let everything = session.operation("everything");
    let mut span = everything.measure_process().iterations(1);
    for connection in listener.incoming() {
        // What a span has seen counts once it ends.
        drop(span);
        span = everything.measure_process().iterations(1);
        let report = session.to_report();
        let (allocations, bytes) = report.operations().fold((0, 0), |(allocations, bytes), (_, operation)| {
            (allocations + operation.total_allocations_count(), bytes + operation.total_bytes_allocated())
        });
        // Whoever asked may have left.
        let _ = connection.and_then(|mut connection| writeln!(connection, "{allocations} {bytes}"));
    }
}
