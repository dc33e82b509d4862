//! Documents: one view model, two engines, the same text.
//!
//! A document is rendered once, when its invoice is issued, and kept byte for byte. Templates are
//! versioned; one that does not render its example is refused at start.

mod folder;
pub(crate) mod fonts;
pub(crate) mod format;
pub(crate) mod labels;
mod typst;
pub(crate) mod view;
mod wkhtmltopdf;

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Semaphore;
use tracing::Instrument;

use self::typst::Typst;
use self::view::InvoiceView;
use self::wkhtmltopdf::Wkhtmltopdf;
use crate::billing::content::InvoiceContent;

/// The version of the invoice templates. A template that has rendered an issued invoice is not
/// changed any more but for a new version.
pub(crate) const TEMPLATE_VERSION: &str = "invoice-1";

/// How many times the example is tried before a renderer is refused.
const EXAMPLE_ATTEMPTS: u32 = 3;

/// The engine that makes PDFs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RendererKind {
    /// In process: page numbers, repeated table heads, PDF/A-3b. The default.
    Typst,
    /// Handlebars to HTML to PDF, by processes of wkhtmltopdf.
    Wkhtmltopdf,
}

impl std::str::FromStr for RendererKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "typst" => Ok(Self::Typst),
            "wkhtmltopdf" => Ok(Self::Wkhtmltopdf),
            _ => Err("must be typst or wkhtmltopdf".to_owned()),
        }
    }
}

/// A rendered document.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pages: u32,
    pub(crate) renderer_version: String,
}

/// An engine, ready to render.
#[derive(Clone)]
pub(crate) struct Renderer {
    engine: Engine,
    slots: Arc<Semaphore>,
}

#[derive(Clone)]
enum Engine {
    Typst(Arc<Typst>),
    Wkhtmltopdf(Arc<Wkhtmltopdf>),
    /// Says which rendering it was, so that no two are the same.
    #[cfg(test)]
    Fake(Arc<std::sync::atomic::AtomicU32>),
}

impl Renderer {
    /// Starts an engine that renders so many documents `at_once`, and renders the example invoice
    /// in every language with it.
    ///
    /// # Errors
    /// When the engine cannot be started or a template does not render.
    pub(crate) async fn start(kind: RendererKind, at_once: u16) -> anyhow::Result<Self> {
        let engine = match kind {
            RendererKind::Typst => Engine::Typst(Arc::new(Typst::new()?)),
            RendererKind::Wkhtmltopdf => Engine::Wkhtmltopdf(Arc::new(Wkhtmltopdf::start().await?)),
        };
        let slots = Arc::new(Semaphore::new(at_once.into()));
        let renderer = Self { engine, slots };
        for locale in schemas::values::Locale::ALL {
            let rendered = renderer.render_example(locale).await;
            rendered.with_context(|| format!("render the example invoice in {locale}"))?;
        }
        Ok(renderer)
    }

    /// More than once if need be: its process may be killed for the lack of memory, or by somebody.
    /// A template that does not render fails every time.
    async fn render_example(&self, locale: schemas::values::Locale) -> anyhow::Result<()> {
        let example = example(locale)?;
        let mut attempts = 1;
        while let Err(error) = self.render(&example, None).await {
            anyhow::ensure!(attempts < EXAMPLE_ATTEMPTS, error);
            attempts += 1;
        }
        Ok(())
    }

    /// An engine that makes no PDF.
    #[cfg(test)]
    pub(crate) fn fake() -> Self {
        Self {
            engine: Engine::Fake(Arc::default()),
            slots: Arc::new(Semaphore::new(1000)),
        }
    }

    /// Renders an invoice, with a logo (PNG) if there is one.
    ///
    /// # Errors
    /// When the engine fails, or its output is not the document it should be.
    pub(crate) async fn render(
        &self,
        content: &InvoiceContent,
        logo: Option<&[u8]>,
    ) -> anyhow::Result<Rendered> {
        let view = InvoiceView::new(content, logo.is_some())?;
        let engine = match self.engine {
            Engine::Typst(_) => "typst",
            Engine::Wkhtmltopdf(_) => "wkhtmltopdf",
            #[cfg(test)]
            Engine::Fake(_) => "fake",
        };
        let _slot = self.slots.acquire().await?;
        let span = tracing::info_span!(
            "render invoice",
            renderer = engine,
            lines = view.lines.len()
        );
        let rendering = async {
            match &self.engine {
                Engine::Typst(typst) => {
                    let (typst, logo) = (typst.clone(), logo.map(<[u8]>::to_vec));
                    let rendering = tokio::task::spawn_blocking(move || typst.render(&view, logo));
                    rendering.await.context("typst panicked")?
                }
                Engine::Wkhtmltopdf(wkhtmltopdf) => wkhtmltopdf.render(&view, logo).await,
                #[cfg(test)]
                Engine::Fake(count) => {
                    crate::simulation::point("render").await;
                    let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(Rendered {
                        bytes: format!("%PDF âãÏÓ rendering {number} of {}", view.number)
                            .into_bytes(),
                        pages: 1,
                        renderer_version: "fake".to_owned(),
                    })
                }
            }
        };
        rendering.instrument(span).await
    }
}

/// The invoice that every template must be able to render.
pub(crate) fn example(locale: schemas::values::Locale) -> anyhow::Result<InvoiceContent> {
    let json = include_str!("../../templates/invoice/example.json");
    let mut content: InvoiceContent =
        serde_json::from_str(json).context("read the example invoice")?;
    content.locale = locale;
    Ok(content)
}
