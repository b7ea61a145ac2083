//! The floor of whatever signs or verifies tokens: Ed25519 over as many bytes as a token has before its signature, and nothing else.

use anyhow::{Context, Result};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use clap::{Args as ClapArgs, ValueEnum};

use crate::turns;

const MESSAGE: [u8; 400] = [b'm'; 400];

/// Which half.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Which half
    #[arg(value_enum)]
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    Sign,
    Verify,
}

/// Signs or verifies as often as each line of standard input says.
pub(crate) async fn run(Args { work }: Args) -> Result<()> {
    let pair = Ed25519KeyPair::generate().context("no key could be made")?;
    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref().to_vec());
    let signature = pair.sign(&MESSAGE);
    turns::serve(async |count| {
        let once = |_number| match work {
            Work::Sign => turns::timed(|| pair.try_sign(&MESSAGE).map(drop)),
            Work::Verify => turns::timed(|| public.verify(&MESSAGE, signature.as_ref())),
        };
        (0..count).map(once).collect::<Result<_, _>>().context("the signature failed")
    })
    .await
}
