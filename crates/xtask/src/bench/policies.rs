//! Decisions of auth where it has many policies, beside the same where it has few.

use std::{fmt::Write, fs};

use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;

use super::{
    authority::{self, Method},
    load::{Request, Tool},
    report::Figures,
    rounds::{self, Amount, Subject},
    scale::grouped,
    stage::Stage,
};
use crate::say::note;

/// Beside those that the fabric has by itself.
const MANY: u32 = 1000;
const FEW: u32 = 10;

/// Measures a decision among many policies beside one among few. Each is about another permission, as those of a company are, where each
/// team writes what its own methods ask for.
pub(super) async fn run(most: u32, stage: &Stage, load: &Tool, amount: Amount) -> Result<Vec<Figures>> {
    let mut sides = Vec::new();
    for count in [most.min(MANY), FEW] {
        let name = format!("{} policies", grouped(count));
        note(format_args!("Starting Accord with {name} ..."));
        let file = stage.directory().join(format!("policies-{count}.cedar"));
        fs::write(&file, policies(count))?;
        let fabric = stage.another(&stage.descriptors, &[stage.cores.tested], |builder| builder.policy(&file)).await?;
        let token = fabric.token(EDITOR).await?;
        let (address, request) = authority::prepared(Method::Check, &fabric, &token).await?;
        sides.push((name, fabric, address, request));
    }
    let subject = |(name, fabric, address, request): &(String, Fabric, _, Request)| {
        let (address, request) = (*address, request.clone());
        Subject {
            name: name.clone(),
            processes: vec![fabric.auth.process.id()],
            per_request: 1,
            send: Box::new(move |count| load.send(address, &request, count)),
        }
    };
    let subjects: Vec<_> = sides.iter().map(subject).collect();
    let figures = rounds::interleaved(&subjects, amount)?;
    drop(subjects);
    for (_, fabric, ..) in sides {
        fabric.stop().await?;
    }
    Ok(figures)
}

fn policies(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = writeln!(
            text,
            "permit (principal in Accord::Role::\"catalog-reader\", action == Accord::Action::\"bench.items{number}.read\", \
             resource == Accord::Upstream::\"catalog\");"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_as_many_as_are_asked_for_and_each_of_another_permission() {
        let text = policies(100);
        let actions: std::collections::BTreeSet<_> = text.lines().map(|line| line.split(", ").nth(1)).collect();
        assert_eq!((text.matches("permit").count(), actions.len()), (100, 100));
    }
}
