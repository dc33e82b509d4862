//! wkhtmltopdf: Handlebars to HTML to PDF, by warm processes that each take one job after another.
//!
//! The engine is old and gets no fixes, so it is not trusted: no JavaScript, no network (a dead
//! proxy, and a network namespace of its own where that is allowed), no files but its own folder,
//! limited memory and time. A process that errs or is late is killed and replaced. Output counts
//! only if it is a PDF that says what it should.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use handlebars::Handlebars;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::Rendered;
use super::folder::WorkFolder;
use super::fonts::FONTS;
use super::view::InvoiceView;

const PROGRAM: &str = "wkhtmltopdf";
/// How long one document may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How many documents a process makes before it is replaced: it never gives memory back.
const MAX_JOBS: u32 = 500;
/// The address space of a process, in bytes.
const MAX_MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// The largest document that is taken.
const MAX_PDF: u64 = 32 * 1024 * 1024;
/// Nobody listens there, and nothing gets past it.
const DEAD_PROXY: &str = "http://127.0.0.1:9";
const TEMPLATE: &str = "invoice";

/// A pool of warm processes. It grows to as many as render at once.
pub(crate) struct Wkhtmltopdf {
    templates: Handlebars<'static>,
    /// Its fonts and one folder for each process.
    folder: WorkFolder,
    idle: Mutex<Vec<Process>>,
    sandbox: Sandbox,
    version: String,
}

/// What limits the processes on this machine.
#[derive(Debug, Clone, Copy)]
struct Sandbox {
    /// `prlimit` is there: memory is limited.
    prlimit: bool,
    /// `unshare` is there and allowed: the process has no network at all.
    unshare: bool,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stderr: ChildStderr,
    folder: TempDir,
    jobs: u32,
}

impl Wkhtmltopdf {
    /// Prepares templates, fonts and the sandbox.
    ///
    /// # Errors
    /// When wkhtmltopdf is not installed or a template cannot be read.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut templates = Handlebars::new();
        templates.set_strict_mode(true);
        templates
            .register_template_string(
                TEMPLATE,
                include_str!("../../templates/invoice/invoice.html.hbs"),
            )
            .context("read the template of the invoice")?;
        let folder = WorkFolder::new()?;
        let fonts = folder.path().join("fonts");
        tokio::fs::create_dir(&fonts).await?;
        for (name, bytes) in FONTS {
            tokio::fs::write(fonts.join(name), bytes)
                .await
                .context("write the fonts")?;
        }
        tokio::fs::write(folder.path().join("fonts.conf"), fontconfig(folder.path())).await?;
        let version = run(PROGRAM, &["--version"]).await.with_context(|| {
            format!(
                "run {PROGRAM}; install it, or choose the built-in renderer with RENDERER=typst"
            )
        })?;
        let sandbox = Sandbox {
            prlimit: run("prlimit", &["--as=1000000000", "true"]).await.is_ok(),
            unshare: run("unshare", &["-rn", "true"]).await.is_ok(),
        };
        if !sandbox.unshare {
            tracing::warn!(
                "{PROGRAM} has no network namespace of its own here; only the dead proxy keeps it off the network"
            );
        }
        Ok(Self {
            templates,
            folder,
            idle: Mutex::default(),
            sandbox,
            version: version.trim().to_owned(),
        })
    }

    /// Renders a document.
    ///
    /// # Errors
    /// When the process fails, is late, or its output is not the document it should be.
    pub(crate) async fn render(
        &self,
        view: &InvoiceView,
        logo: Option<&[u8]>,
    ) -> anyhow::Result<Rendered> {
        let html = self.html(view, logo)?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut process = match idle {
            Some(process) => process,
            None => self.spawn()?,
        };
        // On every error the process is dropped, and with that killed.
        let bytes = timeout(LIMIT, process.job(&html))
            .await
            .with_context(|| format!("{PROGRAM} took longer than {LIMIT:?}"))??;
        let (bytes, pages) = {
            let (number, total) = (view.number.clone(), view.total.clone());
            tokio::task::spawn_blocking(move || verified(bytes, &[&number, &total])).await??
        };
        if process.jobs < MAX_JOBS {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(process);
        }
        Ok(Rendered {
            bytes,
            pages,
            renderer_version: self.version.clone(),
        })
    }

    fn html(&self, view: &InvoiceView, logo: Option<&[u8]>) -> anyhow::Result<String> {
        let mut data = serde_json::to_value(view).context("write the view")?;
        let uri = logo.map_or_else(String::new, |png| {
            format!(
                "data:image/png;base64,{}",
                data_encoding::BASE64.encode(png)
            )
        });
        data["logo_uri"] = uri.into();
        self.templates
            .render(TEMPLATE, &data)
            .context("fill in the template")
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let folder = tempfile::Builder::new()
            .prefix("job-")
            .tempdir_in(self.folder.path())?;
        let mut line: Vec<String> = Vec::new();
        if self.sandbox.prlimit {
            line.extend([
                "prlimit".to_owned(),
                format!("--as={MAX_MEMORY}"),
                format!("--fsize={MAX_PDF}"),
            ]);
        }
        if self.sandbox.unshare {
            line.extend(["unshare", "-rn"].map(str::to_owned));
        }
        line.extend([PROGRAM, "--read-args-from-stdin"].map(str::to_owned));
        let (program, arguments) = line.split_first().context("no program")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that starts wkhtmltopdf"
        )]
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("QT_QPA_PLATFORM", "offscreen")
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .env("FONTCONFIG_FILE", self.folder.path().join("fonts.conf"))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stderr = child.stderr.take().context("no standard error")?;
        Ok(Process {
            child,
            stdin,
            stderr,
            folder,
            jobs: 0,
        })
    }
}

impl Process {
    async fn job(&mut self, html: &str) -> anyhow::Result<Vec<u8>> {
        self.jobs += 1;
        let (input, output) = (self.path("in.html"), self.path("out.pdf"));
        tokio::fs::write(&input, html)
            .await
            .context("write the HTML")?;
        let own = self.folder.path().display();
        let line = format!(
            "--disable-javascript --javascript-delay 0 --disable-plugins \
             --disable-local-file-access --allow {own} --proxy {DEAD_PROXY} \
             --load-error-handling abort --load-media-error-handling abort \
             --encoding utf-8 --page-size A4 -T 18mm -B 18mm -L 25mm -R 20mm {} {}\n",
            input.display(),
            output.display(),
        );
        self.stdin
            .write_all(line.as_bytes())
            .await
            .context("the process is gone")?;
        let said = self.until_done().await?;
        ensure!(!said.contains("Error"), "{PROGRAM}: {}", complaint(&said));
        let size = tokio::fs::metadata(&output)
            .await
            .context("it wrote no document")?
            .len();
        ensure!(size <= MAX_PDF, "the document has {size} bytes");
        let bytes = tokio::fs::read(&output)
            .await
            .context("read the document")?;
        tokio::fs::remove_file(&output).await?;
        Ok(bytes)
    }

    /// What the process says until it is done with a job.
    async fn until_done(&mut self) -> anyhow::Result<String> {
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = self.stderr.read(&mut chunk).await?;
            said.extend_from_slice(chunk.get(..read).unwrap_or_default());
            let text = String::from_utf8_lossy(&said);
            if read == 0 {
                let status = self.child.wait().await?;
                bail!("{PROGRAM} ended with {status}: {}", complaint(&text));
            }
            if text.trim_end().ends_with("Done") {
                return Ok(text.into_owned());
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The lines that tell of an error, without the progress bar.
fn complaint(said: &str) -> String {
    let lines = said
        .split(['\r', '\n'])
        .filter_map(|line| line.find("Error").and_then(|at| line.get(at..)));
    lines.take(3).collect::<Vec<_>>().join("; ")
}

/// The bytes and number of pages of a PDF that holds these texts.
fn verified(bytes: Vec<u8>, expected: &[&str]) -> anyhow::Result<(Vec<u8>, u32)> {
    ensure!(bytes.starts_with(b"%PDF-"), "the output is not a PDF");
    let document = lopdf::Document::load_mem(&bytes).context("the output is not a readable PDF")?;
    let pages: Vec<u32> = document.get_pages().into_keys().collect();
    let text = document
        .extract_text(&pages)
        .context("read the text of the PDF")?;
    // Blanks are not told apart: a renderer places words, not blanks.
    let squeezed = |text: &str| {
        text.chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    let text = squeezed(&text);
    for expected in expected {
        ensure!(
            text.contains(&squeezed(expected)),
            "the PDF does not say {expected:?}"
        );
    }
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    Ok((bytes, count))
}

async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "looks what this machine has")]
    let running = Command::new(program)
        .args(arguments)
        .env("QT_QPA_PLATFORM", "offscreen")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, running).await.context("no answer")??;
    ensure!(
        output.status.success(),
        "{program} ended with {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn fontconfig(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\
         <fontconfig><dir>{folder}/fonts</dir><cachedir>{folder}/cache</cachedir></fontconfig>"
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// As if the escaping had failed: the limits of the processes hold, and the dead proxy alone too.
    #[tokio::test]
    async fn html_that_is_not_ours_reaches_neither_the_network_nor_files() {
        if run(PROGRAM, &["--version"]).await.is_err() {
            return;
        }
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = canary.local_addr().unwrap();
        let mut engine = Wkhtmltopdf::start().await.unwrap();
        for unshare in [engine.sandbox.unshare, false] {
            engine.sandbox.unshare = unshare;
            for hostile in [
                "<img src=http://CANARY/>",
                "<iframe src=http://CANARY/></iframe>",
                "<link rel=stylesheet href=http://CANARY/>",
                "<style>@import url(http://CANARY/);</style>",
                "<p style='background: url(http://CANARY/)'>x</p>",
                "<object data=http://CANARY/></object>",
                "<meta http-equiv=refresh content='0;url=http://CANARY/'>",
                "<script src=http://CANARY/></script>",
                "<script>document.write('<img src=http://CANARY/>')</script>",
                "<script>while(1){}</script>",
                "<iframe src=file:///etc/passwd></iframe>",
                "<img src=file:///etc/passwd>",
            ] {
                let html = hostile.replace("CANARY", &address.to_string());
                let mut process = engine.spawn().unwrap();
                let printed = timeout(LIMIT, process.job(&html)).await.expect(hostile);
                let Ok(bytes) = printed else { continue };
                let pdf = lopdf::Document::load_mem(&bytes).unwrap();
                let text = pdf.extract_text(&[1]).unwrap();
                assert!(!text.contains("root:"), "{hostile}: {text}");
            }
        }
        let visited = timeout(Duration::from_millis(1), canary.accept()).await;
        assert!(visited.is_err(), "somebody came");
    }
}
