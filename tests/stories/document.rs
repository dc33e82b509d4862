//! Documents: what is printed, mailed and downloaded is the same; in every script; by both engines.

use std::path::{Path, PathBuf};

use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::client::small_server;
use crate::support::process::{command, flow};
use crate::support::suite::{Need, Suite};
use crate::support::system::{BOTH, System, World};

pub(super) const ENGINES: [&str; 2] = ["typst", "wkhtmltopdf"];

pub(crate) fn register(suite: &mut Suite) {
    suite.story(
        "the_pdf_says_what_the_invoice_says",
        &[World::Distributed],
        the_pdf_says_what_the_invoice_says,
    );
    suite.story_with(
        "the_pdf_of_the_embedded_system_says_what_the_invoice_says",
        &[Need::Poppler],
        || the_pdf_says_what_the_invoice_says(World::Embedded),
    );
    suite.story(
        "the_download_is_byte_for_byte_what_was_mailed",
        &BOTH,
        the_download_is_what_was_mailed,
    );
    let all = [Need::Wkhtmltopdf, Need::Poppler];
    suite.story_with(
        "both_engines_print_the_same_text",
        &all,
        both_engines_print_the_same_text,
    );
    suite.story_with("long_invoices_are_whole", &all, long_invoices_are_whole);
    suite.story_with(
        "names_in_every_script_are_seen",
        &all,
        names_in_every_script_are_seen,
    );
}

/// Text without blanks: engines place words, not blanks.
pub(super) fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

pub(super) async fn text_of(pdf: &Path) -> String {
    let output = command("pdftotext")
        .args(["-layout"])
        .arg(pdf)
        .arg("-")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn the_pdf_says_what_the_invoice_says(world: World) {
    let system = System::start(world).await;
    let languages = [
        ("en", "17.73", "Total due", "Reverse"),
        ("de", "17,73", "Gesamtbetrag", "Steuerschuldnerschaft"),
        ("fr", "17,73", "Total TTC", "Autoliquidation"),
    ];
    for (locale, total, label, note) in languages {
        let options = [
            "--country",
            "DE",
            "--locale",
            locale,
            "--email",
            "buyer@customer.example",
        ];
        let (_, client) = system.account("Élan & Søn <Holding>", &options).await;
        let order = system
            .order_and_deliver(&client, "k1", &small_server("web-1"))
            .await;
        let invoice = client
            .get(order["links"]["invoice"].as_str().unwrap())
            .await
            .body;
        let pdf = client
            .bytes(order["links"]["pdf"].as_str().unwrap())
            .await
            .bytes()
            .await
            .unwrap();
        let path = system.folder().join(format!("{locale}.pdf"));
        std::fs::write(&path, &pdf).unwrap();
        let text = squeezed(&text_of(&path).await);
        for expected in [
            invoice["number"].as_str().unwrap(),
            "Élan & Søn <Holding>",
            "Nimbus Cloud Services GmbH",
            "Setup · web-1",
            "Cloud server S · web-1",
            "DE02 1203 0000 0000 2020 51",
            total,
            label,
        ] {
            assert!(
                text.contains(&squeezed(expected)),
                "{locale}: {expected} is not in {text}"
            );
        }
        assert!(!text.contains(note), "{locale}");
    }
    let options = [
        "--country",
        "FR",
        "--vat-id",
        "FR40303265045",
        "--locale",
        "fr",
        "--email",
        "b@c.example",
    ];
    let (_, client) = system.account("Acheteur", &options).await;
    let order = system
        .order_and_deliver(&client, "k1", &small_server("web-1"))
        .await;
    let pdf = client
        .bytes(order["links"]["pdf"].as_str().unwrap())
        .await
        .bytes()
        .await
        .unwrap();
    let path = system.folder().join("reverse.pdf");
    std::fs::write(&path, &pdf).unwrap();
    let text = squeezed(&text_of(&path).await);
    assert!(
        text.contains("Autoliquidation") && text.contains("FR40303265045"),
        "{text}"
    );
    system.finish().await;
}

async fn the_download_is_what_was_mailed(world: World) {
    let system = System::start(world).await;
    let order = system
        .order_and_deliver(&system.client, "k1", &small_server("web"))
        .await;
    let invoice = system
        .client
        .get(order["links"]["invoice"].as_str().unwrap())
        .await
        .body;
    let link = order["links"]["pdf"].as_str().unwrap();
    let download = system.client.bytes(link).await;
    assert_eq!(download.headers()["content-type"], "application/pdf");
    let etag = download.headers()["etag"].to_str().unwrap().to_owned();
    let bytes = download.bytes().await.unwrap();
    assert!(bytes.starts_with(b"%PDF-"));

    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
    assert_eq!(etag, format!("\"{hash}\""));
    assert_eq!(invoice["document"]["sha256"], hash);
    let mails = system.mail.accepted().await;
    let raw = std::fs::read(system.folder().join(&mails[0].file)).unwrap();
    let mail = MessageParser::default().parse(&raw).unwrap();
    let number = invoice["number"].as_str().unwrap();
    let attachment = mail
        .attachments()
        .next()
        .expect("the mail has an attachment");
    assert_eq!(
        attachment.attachment_name(),
        Some(format!("{number}.pdf").as_str())
    );
    assert_eq!(attachment.contents(), bytes.as_ref());
    assert!(mail.subject().unwrap().contains(number));
    assert!(mail.body_text(0).unwrap().contains(number));
    assert!(mail.body_html(0).unwrap().contains(number));

    let request = system
        .client
        .request(reqwest::Method::GET, link)
        .header("if-none-match", &etag);
    let unchanged = request.send().await.unwrap();
    assert_eq!(
        (
            unchanged.status().as_u16(),
            unchanged.headers()["etag"].to_str().unwrap()
        ),
        (304, etag.as_str())
    );
    assert!(unchanged.bytes().await.unwrap().is_empty());
    system.finish().await;
}

/// The example invoice with a change, rendered by an engine.
pub(super) async fn preview(
    folder: &Path,
    engine: &str,
    change: impl FnOnce(&mut Value),
) -> PathBuf {
    let example = include_str!("../../workers/templates/invoice/example.json");
    let mut content: Value = serde_json::from_str(example).unwrap();
    change(&mut content);
    let file = folder.join(format!("{engine}.json"));
    std::fs::write(&file, content.to_string()).unwrap();
    let pdf = folder.join(format!("{engine}.pdf"));
    let arguments = [
        "preview",
        file.to_str().unwrap(),
        "--renderer",
        engine,
        "-o",
        pdf.to_str().unwrap(),
    ];
    flow(folder, &arguments, &[]).await;
    pdf
}

async fn both_engines_print_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    for locale in ["en", "de", "fr"] {
        let mut texts = Vec::new();
        for engine in ENGINES {
            let pdf = preview(folder.path(), engine, |content| {
                content["locale"] = json!(locale)
            })
            .await;
            let output = command("pdftotext")
                .arg("-raw")
                .arg(&pdf)
                .arg("-")
                .output()
                .await
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            // Only Typst has page numbers.
            let text = text.lines().map(|line| {
                ["Page 1 of 1", "Seite 1 von 1", "Page 1 sur 1"]
                    .iter()
                    .fold(line.to_owned(), |line, page| line.replace(page, ""))
            });
            let mut words: Vec<_> = text
                .flat_map(|line| {
                    line.split_whitespace()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .collect();
            words.sort();
            texts.push(words);
        }
        assert_eq!(texts[0], texts[1], "{locale}");
        assert!(texts[0].len() > 100, "{:?}", texts[0]);
    }
}

fn lines(count: usize) -> impl FnOnce(&mut Value) {
    move |content| {
        let line = content["lines"][1].clone();
        let make = |position: usize| {
            let mut line = line.clone();
            line["position"] = json!(position);
            line["description"] = json!(format!("Cloud server M · host-{position:03}"));
            line
        };
        content["lines"] = (1..=count).map(make).collect();
    }
}

async fn long_invoices_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    for engine in ENGINES {
        let pdf = preview(folder.path(), engine, lines(300)).await;
        let text = text_of(&pdf).await;
        for position in 1..=300 {
            assert_eq!(
                text.matches(&format!("host-{position:03}")).count(),
                1,
                "{engine}: line {position}"
            );
        }
        let pages = text.matches('\u{c}').count();
        assert!((8..=20).contains(&pages), "{engine}: {pages} pages");
        // The total stands on the last page, in one piece with the way to pay.
        let last = text
            .split('\u{c}')
            .rfind(|page| !page.trim().is_empty())
            .unwrap();
        assert!(
            last.contains("Total due") && last.contains("IBAN"),
            "{engine}: {last}"
        );
        if engine == "typst" {
            assert_eq!(
                text.matches("Unit price").count(),
                pages,
                "the head of the table is repeated"
            );
            assert!(text.contains(&format!("Page {pages} of {pages}")));
        }
    }
}

/// How many dark dots the first page has, rendered.
async fn ink(pdf: &Path) -> usize {
    let stem = pdf.with_extension("");
    let rendered = command("pdftoppm")
        .args(["-gray", "-r", "60", "-l", "1", "-singlefile"])
        .arg(pdf)
        .arg(&stem)
        .status()
        .await
        .unwrap();
    assert!(rendered.success());
    let image = std::fs::read(stem.with_extension("pgm")).unwrap();
    image.iter().filter(|dot| **dot < 128).count()
}

async fn names_in_every_script_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    for engine in ENGINES {
        let nothing = preview(folder.path(), engine, |content| {
            content["buyer"]["address"]["name"] = json!("")
        })
        .await;
        let nothing = ink(&nothing).await;
        for name in [
            "Żółta Łódź Sp. z o.o.",
            "ООО «Ромашка»",
            "Ο Κήπος Α.Ε.",
            "株式会社クラウド",
            "云计算有限公司",
            "클라우드 주식회사",
            "חברת הענן",
            "شركة السحاب",
            "บริษัท คลาวด์",
        ] {
            let pdf = preview(folder.path(), engine, |content| {
                content["buyer"]["address"]["name"] = json!(name)
            })
            .await;
            let seen = ink(&pdf).await;
            assert!(
                seen > nothing + 20,
                "{engine}: {name} leaves {seen} dots, nothing leaves {nothing}"
            );
            // Right to left and composed scripts come out in another order; the others are read as written.
            if !name
                .chars()
                .any(|c| matches!(c, '\u{590}'..='\u{6FF}' | '\u{E00}'..='\u{E7F}'))
            {
                let text = squeezed(&text_of(&pdf).await);
                assert!(
                    text.contains(&squeezed(name)),
                    "{engine}: {name} is not in {text}"
                );
            }
        }
    }
}
