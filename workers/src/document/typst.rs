//! Typst, in process. Its world holds the template, the view as JSON, the logo and the built-in
//! fonts, and nothing else: no files, no packages, no network, no clock.

use ::typst::diag::{FileError, FileResult, SourceDiagnostic};
use ::typst::foundations::{Bytes, Datetime, Duration, Smart};
use ::typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use ::typst::text::{Font, FontBook};
use ::typst::utils::LazyHash;
use ::typst::{Library, LibraryExt, World, comemo};
use anyhow::{Context, anyhow, bail};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

use super::Rendered;
use super::fonts::FONTS;
use super::view::InvoiceView;

/// How many renderings ago something must have been used last to be kept in Typst's cache.
const CACHE_AGE: usize = 8;

/// The engine with everything that is the same for every document.
pub(crate) struct Typst {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    template: Source,
    view: FileId,
    logo: FileId,
    standards: PdfStandards,
}

impl Typst {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let fonts: Vec<Font> = FONTS
            .iter()
            .map(|(name, bytes)| {
                Font::new(Bytes::new(*bytes), 0)
                    .with_context(|| format!("read the built-in font {name}"))
            })
            .collect::<anyhow::Result<_>>()?;
        let template = include_str!("../../templates/invoice/invoice.typ");
        let standards =
            PdfStandards::new(&[PdfStandard::A_3b]).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            template: Source::new(file_id("/invoice.typ")?, template.to_owned()),
            view: file_id("/invoice.json")?,
            logo: file_id("/logo.png")?,
            standards,
        })
    }

    /// Renders a document. Takes milliseconds of this thread.
    pub(crate) fn render(
        &self,
        view: &InvoiceView,
        logo: Option<Vec<u8>>,
    ) -> anyhow::Result<Rendered> {
        let json = serde_json::to_vec(view).context("write the view")?;
        let job = Job {
            typst: self,
            view: Bytes::new(json),
            logo: logo.map(Bytes::new),
        };
        let compiled = ::typst::compile::<PagedDocument>(&job);
        let document = compiled.output.map_err(|errors| described(&errors))?;
        let options = PdfOptions {
            ident: Smart::Custom(view.number.clone()),
            standards: self.standards.clone(),
            ..PdfOptions::default()
        };
        let bytes = typst_pdf::pdf(&document, &options).map_err(|errors| described(&errors))?;
        let pages = u32::try_from(document.pages().len()).unwrap_or(u32::MAX);
        comemo::evict(CACHE_AGE);
        if pages == 0 {
            bail!("typst made no page");
        }
        Ok(Rendered {
            bytes,
            pages,
            renderer_version: format!("typst {}", env!("TYPST_VERSION")),
        })
    }
}

fn file_id(path: &str) -> anyhow::Result<FileId> {
    let path = VirtualPath::new(path).map_err(|error| anyhow!("{error:?}"))?;
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

fn described(errors: &[SourceDiagnostic]) -> anyhow::Error {
    let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    anyhow!("typst: {}", messages.join("; "))
}

/// One rendering, as the world that the template sees.
struct Job<'a> {
    typst: &'a Typst,
    view: Bytes,
    logo: Option<Bytes>,
}

impl World for Job<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.typst.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.typst.book
    }

    fn main(&self) -> FileId {
        self.typst.template.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        match id == self.typst.template.id() {
            true => Ok(self.typst.template.clone()),
            false => Err(FileError::AccessDenied),
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        match &self.logo {
            _ if id == self.typst.view => Ok(self.view.clone()),
            Some(logo) if id == self.typst.logo => Ok(logo.clone()),
            _ => Err(FileError::AccessDenied),
        }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.typst.fonts.get(index).cloned()
    }

    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}
