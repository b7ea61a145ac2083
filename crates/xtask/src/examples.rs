//! What the help of each command ends with: lines that can be typed.

pub(super) const UP: &str = "\
Examples:
  With a service of yours and what holds for it, until Ctrl-C:
    cargo xtask up --upstream shop=http://127.0.0.1:50051 --overlay shop.toml

  The printed lines, tried and told of by the exit status, on ports that are free:
    cargo xtask up --once --ports free";

pub(super) const TEST: &str = "\
Examples:
  Without what takes other servers:
    cargo xtask test --embedded

  The stores against a PostgreSQL, and nothing else:
    cargo xtask test --only postgres";

pub(super) const ATTACK: &str = "\
Examples:
  A short one:
    cargo xtask attack --count 400 --answers 40 --calls 100";

pub(super) const BENCH: &str = "\
Examples:
  What there is:
    cargo xtask bench --list

  The cases whose names begin so, beside what the page says of them:
    cargo xtask bench grpc json-get-h1 --rounds 7 --compare deploy/guide/benchmarks.md";

pub(super) const COUNTS: &str = "\
Examples:
    cargo xtask bench counts grpc";

pub(super) const PROFILE: &str = "\
Examples:
    cargo xtask bench profile json-get-h1 --of gateway --top 20";

pub(super) const OVERLOAD: &str = "\
Examples:
    cargo xtask bench overload --seconds 4 --picture overload.svg";

pub(super) const CRASHES: &str = "\
Examples:
  Fewer kills at any moment:
    cargo xtask crashes --kills 20

  At each step of what auth does, and nothing else:
    cargo xtask crashes --steps";

pub(super) const REVOCATIONS: &str = "\
Examples:
    cargo xtask revocations --trials 100";

pub(super) const ROLLING: &str = "\
Examples:
  As by Kubernetes, found by DNS:
    cargo xtask rolling --discovery dns

  As in production, while certificates and their authority are replaced:
    cargo xtask rolling --discovery dns --tls

  From the binaries of one commit to those of another, and back:
    cargo xtask rolling --from target/before --to target/debug";

pub(super) const FUZZ: &str = "\
Examples:
    cargo xtask fuzz --minutes 1 --target compressed";

pub(super) const HIT_RATIO: &str = "\
Examples:
    cargo xtask hit-ratio --reads 100000";

pub(super) const LOGIN_TIMING: &str = "\
Examples:
    cargo xtask login-timing --logins 100";

pub(super) const TIDY: &str = "\
Examples:
    cargo xtask tidy";

pub(super) const METRICS: &str = "\
Examples:
    cargo xtask metrics";

pub(super) const SIMULATE: &str = "\
Examples:
  More of it, and one seed that has failed again:
    cargo xtask simulate --seeds 20000
    cargo xtask simulate --from 4711 --seeds 1";

pub(super) const SCREENSHOT: &str = "\
Examples:
    cargo xtask screenshot";

pub(super) const SOAK: &str = "\
Examples:
  Replicas and their PostgreSQL, a short one:
    cargo xtask soak --shape replicas --writes 2000 --minutes 10";

pub(super) const WYCHEPROOF: &str = "\
Examples:
    cargo xtask wycheproof ../wycheproof/testvectors_v1";
