//! One target under libFuzzer: the environment names it. Without a name it says which there are, and the tokens of each.

#![no_main]

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    process,
    sync::{Mutex, OnceLock},
};

use accord_fuzz::{TARGETS, Target, target};

/// Names the target.
const NAME: &str = "ACCORD_FUZZ_TARGET";

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

/// What the last panic said. One that is caught, as those of a library are, says nothing.
static LAST: Mutex<String> = Mutex::new(String::new());

libfuzzer_sys::fuzz_target!(init: prepare(), |input: &[u8]| run(input));

fn prepare() {
    let Ok(name) = env::var(NAME) else {
        for Target { name, tokens, .. } in &TARGETS {
            let tokens: Vec<_> = tokens.iter().map(|token| escaped(token)).collect();
            println!("{name} {}", tokens.join(" "));
        }
        process::exit(0);
    };
    let Some(chosen) = target(&name) else {
        eprintln!("{name} is no target");
        process::exit(2);
    };
    CHOSEN.get_or_init(|| chosen);
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST.lock() {
            *last = panic.to_string();
        }
    }));
}

/// As it stands in a dictionary of libFuzzer.
fn escaped(token: &str) -> String {
    let bytes: Vec<_> = token.bytes().map(|byte| format!("\\x{byte:02X}")).collect();
    bytes.concat()
}

/// An abort is what libFuzzer takes for a finding.
fn run(input: &[u8]) {
    let Some(target) = CHOSEN.get() else { process::abort() };
    if panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input))).is_err() {
        eprintln!("{}", LAST.lock().map(|last| last.clone()).unwrap_or_default());
        process::abort();
    }
}
