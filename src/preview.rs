//! `flow preview`.

use std::path::PathBuf;

use anyhow::Context;
use workers::{Preview, RendererKind};

/// Options of `flow preview`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The content of an invoice as JSON, as the table `invoice` keeps it; without one, the example.
    content: Option<PathBuf>,
    /// The engine: typst or wkhtmltopdf.
    #[arg(long, env = "RENDERER", default_value = "typst")]
    renderer: RendererKind,
    /// A logo as PNG.
    #[arg(long)]
    logo: Option<PathBuf>,
    /// Where to write the PDF.
    #[arg(long, short, default_value = "preview.pdf")]
    output: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let content = args.content.as_ref().map(read).transpose()?;
    let logo = args.logo.as_ref().map(read).transpose()?;
    let preview = Preview::start(args.renderer).await?;
    let (pdf, pages) = preview.render(content.as_deref(), logo.as_deref()).await?;
    std::fs::write(&args.output, pdf)
        .with_context(|| format!("write {}", args.output.display()))?;
    println!("{} pages in {}", pages, args.output.display());
    Ok(())
}
