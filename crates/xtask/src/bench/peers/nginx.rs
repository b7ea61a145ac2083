//! nginx: `grpc_pass`, and nothing else.

use anyhow::Result;

use super::{Checks, Form, Peer, debian};
use crate::bench::stage::Stage;

pub(super) async fn start(stage: &Stage) -> Result<Peer> {
    let program = debian("nginx", "nginx-light")?;
    let (address, upstream, directory) = (stage.reserve()?, stage.upstream, stage.directory().display());
    let config = format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 10000; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {directory}/nginx-body;\n  proxy_temp_path {directory}/nginx-proxy;\n  \
         fastcgi_temp_path {directory}/nginx-fastcgi;\n  uwsgi_temp_path {directory}/nginx-uwsgi;\n  \
         scgi_temp_path {directory}/nginx-scgi;\n  \
         upstream bench {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {address} http2;\n    keepalive_requests 1000000000;\n    location / {{ grpc_pass grpc://bench; }}\n  }}\n}}\n"
    );
    let config = stage.write("nginx.conf", &config)?;
    let process = stage.start_tested("nginx", &program, &["-c", &config], address).await?;
    Ok(Peer { process, listeners: [((Form::Grpc, Checks::None, false), address)].into(), checks_nothing: true })
}
