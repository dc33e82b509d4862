//! What a mail says: HTML and plain text by Handlebars, with the document attached.

use anyhow::Context;
use handlebars::Handlebars;
use lettre::Address;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use schemas::values::{Locale, Money};
use serde::Serialize;

use crate::billing::content::{Corrected, InvoiceContent};
use crate::document::format::Formats;
use crate::document::labels::{credit_terms, labels, of_credit_note, payment_terms};

/// The templates of mails.
pub(crate) struct MailTemplates {
    html: Handlebars<'static>,
    text: Handlebars<'static>,
}

#[derive(Serialize)]
struct MailView {
    lang: &'static str,
    subject: String,
    greeting: &'static str,
    intro: String,
    facts: Vec<(&'static str, String)>,
    terms: String,
    closing: &'static str,
    seller: Vec<String>,
}

/// A mail to be composed.
pub(crate) struct InvoiceMail<'a> {
    pub(crate) content: &'a InvoiceContent,
    /// Nothing: it delivers what is attached.
    pub(crate) reminder: Option<Reminder>,
    /// Whom it is for.
    pub(crate) to: Vec<&'a str>,
    /// Who gets a copy.
    pub(crate) cc: Vec<&'a str>,
    pub(crate) message_id: &'a str,
    pub(crate) pdf: Vec<u8>,
}

/// What is reminded of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reminder {
    /// How often with this one, from 1; the tone follows from it.
    pub(crate) level: i32,
    /// What is to be paid.
    pub(crate) open: Money,
}

impl MailTemplates {
    /// Reads the templates.
    ///
    /// # Errors
    /// When one of them is broken.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (mut html, mut text) = (Handlebars::new(), Handlebars::new());
        html.set_strict_mode(true);
        text.set_strict_mode(true);
        // Plain text has nothing to escape.
        text.register_escape_fn(handlebars::no_escape);
        for (name, in_html, in_text) in [
            (
                "invoice",
                include_str!("../../templates/mail/invoice.html.hbs"),
                include_str!("../../templates/mail/invoice.txt.hbs"),
            ),
            (
                "ticket",
                include_str!("../../templates/mail/ticket.html.hbs"),
                include_str!("../../templates/mail/ticket.txt.hbs"),
            ),
            (
                "person",
                include_str!("../../templates/mail/person.html.hbs"),
                include_str!("../../templates/mail/person.txt.hbs"),
            ),
        ] {
            html.register_template_string(name, in_html)
                .with_context(|| format!("read the HTML template of the {name} mail"))?;
            text.register_template_string(name, in_text)
                .with_context(|| format!("read the text template of the {name} mail"))?;
        }
        Ok(Self { html, text })
    }

    /// The mail that delivers an invoice. It never exists without its PDF.
    ///
    /// # Errors
    /// When an address is not one, or a template does not render.
    pub(crate) fn invoice(&self, mail: InvoiceMail<'_>) -> anyhow::Result<Message> {
        let view = match mail.reminder {
            Some(reminder) => reminder_view(mail.content, reminder)?,
            None => view(mail.content)?,
        };
        let body = alternatives(self, "invoice", &view)?;
        let seller = &mail.content.seller;
        let name = format!("{}.pdf", file_name(&mail.content.number));
        let pdf = Attachment::new(name).body(mail.pdf, ContentType::parse("application/pdf")?);
        let mut message = Message::builder().from(mailbox(&seller.address.name, &seller.email)?);
        let buyer = &mail.content.buyer.address.name;
        for address in mail.to {
            message = message.to(mailbox(buyer, address)?);
        }
        for address in mail.cc {
            message = message.cc(mailbox(buyer, address)?);
        }
        message
            .subject(plain(&view.subject))
            .message_id(Some(mail.message_id.to_owned()))
            // Nobody's out-of-office shall answer to an invoice (RFC 3834 §5).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .multipart(MultiPart::mixed().multipart(body).singlepart(pdf))
            .context("compose the mail")
    }
}

/// The same in plain text and in HTML.
pub(super) fn alternatives(
    templates: &MailTemplates,
    name: &str,
    view: &impl Serialize,
) -> anyhow::Result<MultiPart> {
    let html = templates.html.render(name, view);
    let text = templates.text.render(name, view);
    Ok(MultiPart::alternative()
        .singlepart(SinglePart::plain(
            text.context("fill in the text template")?,
        ))
        .singlepart(SinglePart::html(html.context("fill in the HTML template")?)))
}

pub(super) fn header(name: &'static str, value: &str) -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str(name);
    lettre::message::header::HeaderValue::new(name, value.to_owned())
}

fn view(content: &InvoiceContent) -> anyhow::Result<MailView> {
    let locale = content.locale;
    let formats = Formats::new(locale)?;
    let words = labels(locale);
    let number = &content.number;
    let total = formats.money(content.total);
    let due = formats.date(content.due_date);
    let (greeting, closing) = frame(locale);
    if let Some(corrected) = &content.corrects {
        return Ok(credit_view(content, corrected, &formats));
    }
    let intro = match locale {
        Locale::En => format!("please find attached invoice {number}."),
        Locale::De => format!("im Anhang finden Sie die Rechnung {number}."),
        Locale::Fr => format!("veuillez trouver ci-joint la facture {number}."),
    };
    let name = &content.seller.address.name;
    Ok(MailView {
        lang: locale.as_str(),
        subject: match locale {
            Locale::En => format!("Invoice {number} from {name}"),
            Locale::De => format!("Rechnung {number} von {name}"),
            Locale::Fr => format!("Facture {number} de {name}"),
        },
        greeting,
        intro,
        facts: vec![
            (words.number, number.clone()),
            (words.issue_date, formats.date(content.issue_date)),
            (words.total, total.clone()),
            (words.due_date, due.clone()),
        ],
        terms: payment_terms(locale, &total, &due, content.payment_terms_days),
        closing,
        seller: contact(content),
    })
}

/// What the mail with a credit note says.
fn credit_view(content: &InvoiceContent, corrected: &Corrected, formats: &Formats) -> MailView {
    let (locale, number) = (content.locale, &content.number);
    let (words, invoice) = (of_credit_note(locale), &corrected.number);
    let total = formats.money(content.total);
    let name = &content.seller.address.name;
    let (greeting, closing) = frame(locale);
    MailView {
        lang: locale.as_str(),
        subject: match locale {
            Locale::En => format!("Credit note {number} from {name}"),
            Locale::De => format!("Rechnungskorrektur {number} von {name}"),
            Locale::Fr => format!("Avoir {number} de {name}"),
        },
        greeting,
        intro: match locale {
            Locale::En => {
                format!("please find attached credit note {number} for invoice {invoice}.")
            }
            Locale::De => {
                format!(
                    "im Anhang finden Sie die Rechnungskorrektur {number} zur Rechnung {invoice}."
                )
            }
            Locale::Fr => {
                format!("veuillez trouver ci-joint l’avoir {number} sur la facture {invoice}.")
            }
        },
        facts: vec![
            (words.number, number.clone()),
            (words.issue_date, formats.date(content.issue_date)),
            (words.total, total.clone()),
        ],
        terms: credit_terms(locale, &total),
        closing,
        seller: contact(content),
    }
}

/// What a mail says that reminds of an invoice: the first one asks, the later ones urge.
fn reminder_view(content: &InvoiceContent, reminder: Reminder) -> anyhow::Result<MailView> {
    let locale = content.locale;
    let formats = Formats::new(locale)?;
    let (words, number) = (labels(locale), &content.number);
    let (open, due) = (formats.money(reminder.open), formats.date(content.due_date));
    let first = reminder.level <= 1;
    let level = reminder.level;
    let (greeting, closing) = frame(locale);
    Ok(MailView {
        lang: locale.as_str(),
        subject: match (locale, first) {
            (Locale::En, true) => format!("Reminder: invoice {number}"),
            (Locale::En, false) => format!("Reminder {level}: invoice {number} is overdue"),
            (Locale::De, true) => format!("Zahlungserinnerung: Rechnung {number}"),
            (Locale::De, false) => format!("{level}. Mahnung: Rechnung {number} ist überfällig"),
            (Locale::Fr, true) => format!("Rappel : facture {number}"),
            (Locale::Fr, false) => format!("Rappel n° {level} : facture {number} en retard"),
        },
        greeting,
        intro: match (locale, first) {
            (Locale::En, true) => format!(
                "perhaps it has escaped you: we have not received all of invoice {number} yet. It is \
                 attached again."
            ),
            (Locale::En, false) => format!(
                "in spite of our reminder invoice {number} is not paid. It is attached again."
            ),
            (Locale::De, true) => format!(
                "vielleicht ist es Ihnen entgangen: Die Rechnung {number} ist noch nicht vollständig \
                 bezahlt. Sie liegt noch einmal bei."
            ),
            (Locale::De, false) => format!(
                "trotz unserer Erinnerung ist die Rechnung {number} nicht bezahlt. Sie liegt noch einmal bei."
            ),
            (Locale::Fr, true) => format!(
                "sauf erreur de notre part, la facture {number} n’est pas encore entièrement réglée. Elle \
                 est jointe de nouveau."
            ),
            (Locale::Fr, false) => format!(
                "malgré notre rappel, la facture {number} n’est pas réglée. Elle est jointe de nouveau."
            ),
        },
        facts: vec![
            (words.number, number.clone()),
            (words.total, formats.money(content.total)),
            (words.due_date, due),
        ],
        terms: match locale {
            Locale::En => format!(
                "Please pay {open} now. If you have done so meanwhile, this mail is not for you."
            ),
            Locale::De => format!(
                "Bitte zahlen Sie jetzt {open}. Falls Sie inzwischen gezahlt haben, ist diese Mail gegenstandslos."
            ),
            Locale::Fr => format!(
                "Merci de régler {open} sans délai. Si c’est déjà fait, ne tenez pas compte de ce message."
            ),
        },
        closing,
        seller: contact(content),
    })
}

/// How a mail begins and ends.
fn frame(locale: Locale) -> (&'static str, &'static str) {
    match locale {
        Locale::En => ("Hello,", "Kind regards"),
        Locale::De => ("Guten Tag,", "Mit freundlichen Grüßen"),
        Locale::Fr => ("Bonjour,", "Cordialement"),
    }
}

/// Who writes, line by line.
fn contact(content: &InvoiceContent) -> Vec<String> {
    let seller = &content.seller;
    [
        &seller.address.name,
        &seller.phone,
        &seller.email,
        &seller.website,
    ]
    .into_iter()
    .filter(|line| !line.is_empty())
    .cloned()
    .collect()
}

/// A mailbox whose display name cannot hurt: lettre panics on control characters in one.
pub(super) fn mailbox(name: &str, address: &str) -> anyhow::Result<Mailbox> {
    let address: Address = address.parse().context("read the mail address")?;
    let name = Some(plain(name)).filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, address))
}

/// The text without control characters, which could end a header.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn file_name(number: &str) -> String {
    number
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(change: impl FnOnce(&mut InvoiceContent)) -> String {
        let mut content: InvoiceContent =
            serde_json::from_str(include_str!("../../templates/invoice/example.json")).unwrap();
        change(&mut content);
        let mail = InvoiceMail {
            content: &content,
            reminder: None,
            to: vec!["buyer@example.com"],
            cc: vec![],
            message_id: "<1@flow>",
            pdf: b"%PDF-1.7".to_vec(),
        };
        let message = MailTemplates::new().unwrap().invoice(mail).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    fn headers(mail: &str) -> Vec<&str> {
        let head = mail.split("\r\n\r\n").next().unwrap();
        head.lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split(':').next())
            .collect()
    }

    #[test]
    fn the_mail_carries_text_html_and_the_document() {
        let mail = mail(|_| ());
        assert_eq!(
            headers(&mail),
            [
                "From",
                "To",
                "Subject",
                "Message-ID",
                "Auto-Submitted",
                "MIME-Version",
                "Date",
                "Content-Type"
            ]
        );
        for part in [
            "text/plain",
            "text/html",
            "application/pdf",
            "filename=\"INV-2026-000042.pdf\"",
        ] {
            assert!(mail.contains(part), "{part}");
        }
    }

    #[test]
    fn hostile_names_neither_panic_nor_add_headers() {
        let clean = headers(&mail(|_| ())).len();
        for hostile in [
            "a\r\nBcc: evil@example.com",
            "a\nb",
            "a\0b",
            "\u{202E}x",
            "\"<evil@example.com>",
        ] {
            let mail = mail(|content| {
                content.buyer.address.name = hostile.to_owned();
                content.seller.address.name = hostile.to_owned();
                content.number = hostile.to_owned();
            });
            assert_eq!(headers(&mail).len(), clean, "{hostile:?}");
        }
    }

    #[test]
    fn names_are_escaped_in_html() {
        let mail =
            mail(|content| content.seller.address.name = "<script>alert(1)</script>".to_owned());
        let (_, html) = mail.split_once("Content-Type: text/html").unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
    }
}
