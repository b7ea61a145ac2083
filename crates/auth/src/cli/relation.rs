//! `accord-auth relation`.

use std::fmt;

use accord_runtime::{cli::OutputFlag, output::print};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{ACTOR, Context};
use crate::{
    domain::{
        admin::Admin,
        policy::Policies,
        relations::{RelationChanges, RelationError},
    },
    store::{
        Store,
        relations::{Relation, Which},
    },
};

/// Commands about relations. Their types are those of the configuration, `[[policy.object]]`.
#[derive(Debug, Subcommand)]
pub enum RelationCommand {
    /// Let somebody stand in a relation to an object; that they do already is no error.
    Add(RelationArgs),
    /// Take a relation away; that there is none is no error.
    Remove(RelationArgs),
    /// Print the relations to the objects of a type, one a line.
    List {
        /// The type, `Product`.
        r#type: String,
        /// Only to this object, `Product/42`.
        #[arg(long, default_value = "", hide_default_value = true)]
        object: String,
        /// Only of this subject, `User/ada`.
        #[arg(long, default_value = "", hide_default_value = true)]
        subject: String,
        #[command(flatten)]
        output: OutputFlag,
    },
}

/// Who stands in which relation to what.
#[derive(Debug, Args)]
pub struct RelationArgs {
    /// The object, `Product/42`.
    object: String,
    /// The relation, such as `owner`.
    relation: String,
    /// `User/ada`, `Service/orders`, or `Group/sales#member` for all who stand in that relation.
    subject: String,
}

impl RelationArgs {
    fn read(self) -> Relation {
        let Self { object, relation, subject } = self;
        Relation { object, relation, subject }
    }
}

impl RelationCommand {
    pub(super) async fn run(self, context: &Context<'_>) -> anyhow::Result<()> {
        let store = context.existing_store().await?;
        let (policy, upstreams) = context.configured_policies()?;
        let policies = Policies::load(&policy, &upstreams)?;
        match self {
            Self::Add(relation) => {
                let changes = RelationChanges { add: vec![relation.read()], ..RelationChanges::default() };
                let is_news = write(&store, &policies, changes).await?;
                print(if is_news { "added\n" } else { "it is there already\n" })
            }
            Self::Remove(relation) => {
                let changes = RelationChanges { remove: vec![relation.read()], ..RelationChanges::default() };
                let is_news = write(&store, &policies, changes).await?;
                print(if is_news { "removed\n" } else { "there is none\n" })
            }
            Self::List { r#type, object, subject, output } => {
                policies.objects.permission(&r#type)?;
                list(&store, Which { object_type: &r#type, object: &object, subject: &subject }, output).await
            }
        }
    }
}

/// Whether that changed anything.
async fn write(store: &Store, policies: &Policies, changes: RelationChanges) -> Result<bool, RelationError> {
    let written = Admin::new(store, ACTOR).write_relations(&changes, &policies.objects).await?;
    Ok(written.changed > 0)
}

/// Page by page, as principals are.
async fn list(store: &Store, which: Which<'_>, output: OutputFlag) -> anyhow::Result<()> {
    let mut written = output.list();
    let mut last = Relation { object: String::new(), relation: String::new(), subject: String::new() };
    loop {
        let page = store.relations_after(&last, which).await?;
        let Some(newest) = page.last() else { return written.end() };
        last.clone_from(newest);
        written.page(page.iter().map(Row::of))?;
    }
}

/// A relation in a list.
#[derive(Serialize)]
struct Row<'a> {
    object: &'a str,
    relation: &'a str,
    subject: &'a str,
}

impl<'a> Row<'a> {
    fn of(Relation { object, relation, subject }: &'a Relation) -> Self {
        Self { object, relation, subject }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, relation, subject } = self;
        writeln!(f, "{object}\t{relation}\t{subject}")
    }
}
