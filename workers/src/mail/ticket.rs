//! The mails about tickets: one for everything that is said, in one thread for each reader.

use anyhow::Context;
use entity::ticket_message::Author;
use entity::{account, attachment, issuer, ticket, ticket_message};
use lettre::message::{Message, MultiPart};
use schemas::ticket::{TicketStatus, ticket_number};
use schemas::values::{Locale, TimeZone};
use serde::Serialize;

use super::message::{MailTemplates, alternatives, header, mailbox, plain};

/// A mail to be composed.
pub(crate) struct TicketMail<'a> {
    pub(crate) ticket: &'a ticket::Model,
    pub(crate) said: &'a ticket_message::Model,
    /// The files that belong to what was said. They stay where they are.
    pub(crate) attached: Vec<attachment::Head>,
    pub(crate) account: &'a account::Model,
    pub(crate) issuer: &'a issuer::Model,
    /// Whether it goes to the support.
    pub(crate) to_support: bool,
    pub(crate) recipient: &'a str,
    pub(crate) message_id: &'a str,
    /// The `Message-ID`s of what the same reader got before, oldest first.
    pub(crate) before: Vec<String>,
    /// Where answers go.
    pub(crate) reply_to: Option<&'a str>,
}

#[derive(Serialize)]
struct TicketView {
    lang: &'static str,
    subject: String,
    greeting: &'static str,
    intro: String,
    lines: Vec<String>,
    facts: Vec<(&'static str, String)>,
    closing: &'static str,
    seller: Vec<String>,
}

impl MailTemplates {
    /// The mail that tells what was said in a ticket.
    ///
    /// # Errors
    /// When an address is not one, or a template does not render.
    pub(crate) fn ticket(&self, mail: TicketMail<'_>) -> anyhow::Result<Message> {
        let view = view(&mail)?;
        let name = match mail.to_support {
            true => &mail.issuer.name,
            false => &mail.account.name,
        };
        let mut message = Message::builder()
            .from(mailbox(&mail.issuer.name, &mail.issuer.email)?)
            .to(mailbox(name, mail.recipient)?)
            .subject(plain(&view.subject))
            .message_id(Some(mail.message_id.to_owned()))
            .raw_header(header("Auto-Submitted", "auto-generated"));
        if let Some(address) = mail.reply_to.filter(|_| !mail.to_support) {
            message = message.reply_to(mailbox(&mail.issuer.name, address)?);
        }
        // RFC 5322 §3.6.4: the one it answers to, and the whole thread.
        if let Some(last) = mail.before.last() {
            message = message
                .in_reply_to(last.clone())
                .references(mail.before.join(" "));
        }
        let body: MultiPart = alternatives(self, "ticket", &view)?;
        message.multipart(body).context("compose the mail")
    }
}

fn view(mail: &TicketMail<'_>) -> anyhow::Result<TicketView> {
    let locale: Locale = match mail.to_support {
        // The support works in the language that it writes its catalogue in.
        true => Locale::En,
        false => mail.account.locale.parse().unwrap_or_default(),
    };
    let number = ticket_number(mail.ticket.id);
    let zone: TimeZone = mail.account.time_zone.parse().context("read the zone")?;
    let due = mail.ticket.answer_due_at.with_timezone(&zone.0);
    let due = due.format("%Y-%m-%d %H:%M %Z");
    let who = &mail.said.author_name;
    let confirms = !mail.to_support && mail.said.author == Author::Customer;
    let intro = match (locale, confirms) {
        (Locale::En, true) => format!("we have received ticket {number} and answer by {due}."),
        (Locale::De, true) => {
            format!("Ihr Ticket {number} ist eingegangen; wir antworten bis {due}.")
        }
        (Locale::Fr, true) => {
            format!("nous avons reçu votre ticket {number} et répondrons avant le {due}.")
        }
        (Locale::En, false) => format!("{who} writes in ticket {number}:"),
        (Locale::De, false) => format!("{who} schreibt im Ticket {number}:"),
        (Locale::Fr, false) => format!("{who} écrit dans le ticket {number} :"),
    };
    let (greeting, closing) = match locale {
        Locale::En => ("Hello,", "Kind regards"),
        Locale::De => ("Guten Tag,", "Mit freundlichen Grüßen"),
        Locale::Fr => ("Bonjour,", "Cordialement"),
    };
    let words = match locale {
        Locale::En => ["Subject", "Status", "Attached"],
        Locale::De => ["Betreff", "Stand", "Angehängt"],
        Locale::Fr => ["Objet", "État", "Pièces jointes"],
    };
    let status = mail.ticket.status.parse().context("read the state")?;
    let mut facts = vec![
        (words[0], mail.ticket.subject.clone()),
        (words[1], in_words(locale, status).to_owned()),
    ];
    let files: Vec<_> = (mail.attached.iter())
        .map(|file| format!("{} ({})", file.name, length(file.size)))
        .collect();
    if !files.is_empty() {
        facts.push((words[2], files.join(", ")));
    }
    if mail.to_support {
        facts.push(("Account", mail.account.name.clone()));
        facts.push(("Priority", mail.ticket.priority.clone()));
        facts.push(("Answer due", due.to_string()));
        facts.extend(mail.ticket.trace_id.clone().map(|trace| ("Trace", trace)));
    }
    let issuer = mail.issuer;
    let seller = [&issuer.name, &issuer.phone, &issuer.email, &issuer.website];
    Ok(TicketView {
        lang: locale.as_str(),
        subject: format!("[{number}] {}", mail.ticket.subject),
        greeting,
        intro,
        lines: mail.said.body.lines().map(str::to_owned).collect(),
        facts,
        closing,
        seller: seller
            .into_iter()
            .filter(|line| !line.is_empty())
            .cloned()
            .collect(),
    })
}

/// A length in bytes, for people.
fn length(bytes: i64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_euclid(1024)),
        _ => format!("{} MiB", bytes.div_euclid(1_048_576)),
    }
}

fn in_words(locale: Locale, status: TicketStatus) -> &'static str {
    use TicketStatus::*;
    match (locale, status) {
        (Locale::En, Open) => "open",
        (Locale::En, InProgress) => "in progress",
        (Locale::En, WaitingCustomer) => "waits for the customer",
        (Locale::En, WaitingSupport) => "waits for the support",
        (Locale::En, Resolved) => "solved",
        (Locale::En, Closed) => "closed",
        (Locale::De, Open) => "offen",
        (Locale::De, InProgress) => "in Arbeit",
        (Locale::De, WaitingCustomer) => "wartet auf Ihre Antwort",
        (Locale::De, WaitingSupport) => "wartet auf unsere Antwort",
        (Locale::De, Resolved) => "gelöst",
        (Locale::De, Closed) => "geschlossen",
        (Locale::Fr, Open) => "ouvert",
        (Locale::Fr, InProgress) => "en cours",
        (Locale::Fr, WaitingCustomer) => "en attente de votre réponse",
        (Locale::Fr, WaitingSupport) => "en attente de notre réponse",
        (Locale::Fr, Resolved) => "résolu",
        (Locale::Fr, Closed) => "fermé",
    }
}
