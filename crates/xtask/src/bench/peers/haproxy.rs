//! `HAProxy`: HTTP/2 in and out, and nothing else.

use anyhow::Result;

use super::{Checks, Form, Peer, debian};
use crate::bench::stage::Stage;

pub(super) async fn start(stage: &Stage) -> Result<Peer> {
    let program = debian("haproxy", "haproxy")?;
    let (address, encrypted, upstream) = (stage.reserve()?, stage.reserve()?, stage.upstream);
    let certificate = &stage.certificate.both_file;
    let config = format!(
        "global\n  nbthread 1\n  maxconn 8000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend public\n  bind {address} proto h2\n  bind {encrypted} ssl crt {certificate} alpn h2\n  default_backend bench\n\
         backend bench\n  http-reuse always\n  server bench {upstream} proto h2\n"
    );
    let config = stage.write("haproxy.cfg", &config)?;
    let process = stage.start_tested("haproxy", &program, &["-db", "-f", &config], address).await?;
    let listeners = [((Form::Grpc, Checks::None, false), address), ((Form::Grpc, Checks::None, true), encrypted)];
    Ok(Peer { process, listeners: listeners.into(), checks_nothing: true })
}
