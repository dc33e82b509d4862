//! `flow contract`: the published contract, made from the code.

use std::path::{Path, PathBuf};

use anyhow::Context;
use schemas::contract::{asyncapi, kinds};
use serde_json::Value;

/// Options of `flow contract`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Prints the OpenAPI document of the HTTP API.
    Openapi,
    /// Prints the AsyncAPI document of what partner systems publish and read.
    Asyncapi,
    /// Prints the JSON Schema of a kind of message; without one, the names of all kinds.
    Schema {
        /// The kind: order.place.v1.
        kind: Option<String>,
    },
    /// Writes everything into a folder.
    Write {
        /// The folder.
        folder: PathBuf,
    },
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Openapi => print!("{}", text(&ingress::openapi())?),
        Action::Asyncapi => print!("{}", text(&asyncapi())?),
        Action::Schema { kind: None } => {
            for kind in kinds() {
                println!("{}", kind.name);
            }
        }
        Action::Schema { kind: Some(name) } => {
            let known = kinds().into_iter().find(|kind| kind.name == name);
            let known = known.with_context(|| {
                format!("there is no kind {name}; flow contract schema lists them")
            })?;
            print!("{}", text(&known.json_schema())?);
        }
        Action::Write { folder } => {
            write(&folder, "openapi.json", &ingress::openapi())?;
            write(&folder, "asyncapi.json", &asyncapi())?;
            for kind in kinds() {
                let name = format!("schemas/{}.json", kind.name);
                write(&folder, &name, &kind.json_schema())?;
            }
        }
    }
    Ok(())
}

fn text(document: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

fn write(folder: &Path, name: &str, document: &Value) -> anyhow::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("make the folder {}", parent.display()))?;
    }
    std::fs::write(&path, text(document)?).with_context(|| format!("write {}", path.display()))
}
