//! The mails to people: links with which they prove who they are, and what they should know of.

use anyhow::Context;
use entity::one_time_token::Purpose;
use entity::{account, invitation, issuer, one_time_token, user};
use lettre::message::Message;
use schemas::link::{LinkFor, LinkKey};
use schemas::values::Locale;
use serde::Serialize;
use url::Url;

use super::message::{MailTemplates, alternatives, header, mailbox, plain};

/// How links in mails are made.
#[derive(Debug, Clone)]
pub struct Links {
    /// What their secrets follow from.
    pub key: LinkKey,
    /// Where people reach the pages that they lead to.
    pub public_url: Url,
}

impl Links {
    /// The address of a page with a token behind `#`: browsers send that to no server.
    fn to(&self, page: &str, token: &str) -> String {
        let base = self.public_url.as_str().trim_end_matches('/');
        format!("{base}/{page}#{token}")
    }
}

/// What a mail to a person tells of.
pub(crate) enum About {
    /// A token, or what it stands for.
    Token(one_time_token::Model, Option<user::Model>),
    /// An invitation to an account.
    Invitation(invitation::Model, account::Model),
}

/// A mail to be composed.
pub(crate) struct PersonMail<'a> {
    pub(crate) about: &'a About,
    pub(crate) links: &'a Links,
    pub(crate) issuer: &'a issuer::Model,
    pub(crate) recipient: &'a str,
    pub(crate) message_id: &'a str,
}

#[derive(Serialize)]
struct PersonView {
    lang: &'static str,
    subject: String,
    greeting: String,
    intro: String,
    link: Option<String>,
    /// What to do if they know nothing of it.
    otherwise: &'static str,
    closing: &'static str,
    seller: Vec<String>,
}

impl MailTemplates {
    /// A mail to a person.
    ///
    /// # Errors
    /// When an address is not one, or a template does not render.
    pub(crate) fn person(&self, mail: PersonMail<'_>) -> anyhow::Result<Message> {
        let view = view(&mail);
        let name = match mail.about {
            About::Token(_, Some(user)) => user.name.as_str(),
            _ => "",
        };
        Message::builder()
            .from(mailbox(&mail.issuer.name, &mail.issuer.email)?)
            .to(mailbox(name, mail.recipient)?)
            .subject(plain(&view.subject))
            .message_id(Some(mail.message_id.to_owned()))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .multipart(alternatives(self, "person", &view)?)
            .context("compose the mail")
    }
}

fn view(mail: &PersonMail<'_>) -> PersonView {
    let (locale, name) = match mail.about {
        About::Token(token, user) => (&token.locale, user.as_ref().map(|user| &user.name)),
        About::Invitation(_, account) => (&account.locale, None),
    };
    let locale: Locale = locale.parse().unwrap_or_default();
    let (subject, intro) = match mail.about {
        About::Token(token, _) => about_token(locale, token.purpose, &mail.issuer.name),
        About::Invitation(_, account) => about_invitation(locale, &account.name),
    };
    let (hello, otherwise, closing) = match locale {
        Locale::En => (
            "Hello",
            "If you know nothing of this, you need not do anything; tell us if it happens again.",
            "Kind regards",
        ),
        Locale::De => (
            "Guten Tag",
            "Wenn Sie davon nichts wissen, brauchen Sie nichts zu tun; sagen Sie uns, wenn es noch einmal vorkommt.",
            "Mit freundlichen Grüßen",
        ),
        Locale::Fr => (
            "Bonjour",
            "Si vous n'êtes pas au courant, vous n'avez rien à faire ; dites-le-nous si cela se reproduit.",
            "Cordialement",
        ),
    };
    let issuer = mail.issuer;
    let seller = [&issuer.name, &issuer.phone, &issuer.email, &issuer.website];
    PersonView {
        lang: locale.as_str(),
        subject,
        greeting: match name {
            Some(name) => format!("{hello} {name},"),
            None => format!("{hello},"),
        },
        intro,
        link: link(mail),
        otherwise: match mail.about {
            About::Token(token, _) if tells_of_a_change(token.purpose) => at_once(locale),
            _ => otherwise,
        },
        closing,
        seller: seller
            .into_iter()
            .filter(|line| !line.is_empty())
            .cloned()
            .collect(),
    }
}

fn link(mail: &PersonMail<'_>) -> Option<String> {
    let key = &mail.links.key;
    match mail.about {
        About::Token(token, _) => {
            let page = match token.purpose {
                Purpose::Confirm => "confirm",
                Purpose::Reset => "reset-password",
                Purpose::Known | Purpose::PasswordChanged | Purpose::SecondFactorChanged => {
                    return None;
                }
            };
            let token = key.token(LinkFor::Token, token.id, token.expires_at);
            Some(mail.links.to(page, &token))
        }
        About::Invitation(invitation, _) => {
            let end = invitation.expires_at;
            let token = key.token(LinkFor::Invitation, invitation.id, end);
            Some(mail.links.to("accept-invitation", &token))
        }
    }
}

fn tells_of_a_change(purpose: Purpose) -> bool {
    matches!(
        purpose,
        Purpose::PasswordChanged | Purpose::SecondFactorChanged
    )
}

fn at_once(locale: Locale) -> &'static str {
    match locale {
        Locale::En => "If it was not you, set a new password at once and tell us.",
        Locale::De => {
            "Wenn Sie das nicht waren, setzen Sie sofort ein neues Passwort und sagen Sie es uns."
        }
        Locale::Fr => {
            "Si ce n'était pas vous, définissez tout de suite un nouveau mot de passe et dites-le-nous."
        }
    }
}

fn about_token(locale: Locale, purpose: Purpose, seller: &str) -> (String, String) {
    let (subject, intro) = match (locale, purpose) {
        (Locale::En, Purpose::Confirm) => (
            "Confirm your address",
            "choose a password with this link within a day; then you can log in.",
        ),
        (Locale::De, Purpose::Confirm) => (
            "Bestätigen Sie Ihre Adresse",
            "wählen Sie mit diesem Link innerhalb eines Tages ein Passwort; dann können Sie sich anmelden.",
        ),
        (Locale::Fr, Purpose::Confirm) => (
            "Confirmez votre adresse",
            "choisissez un mot de passe avec ce lien dans les 24 heures ; vous pourrez ensuite vous connecter.",
        ),
        (Locale::En, Purpose::Reset) => (
            "Set a new password",
            "set a new password with this link within an hour.",
        ),
        (Locale::De, Purpose::Reset) => (
            "Neues Passwort setzen",
            "setzen Sie mit diesem Link innerhalb einer Stunde ein neues Passwort.",
        ),
        (Locale::Fr, Purpose::Reset) => (
            "Nouveau mot de passe",
            "définissez un nouveau mot de passe avec ce lien dans l'heure.",
        ),
        (Locale::En, Purpose::Known) => (
            "You have an account already",
            "somebody has signed up with your address. You have an account already: log in, or set a new password.",
        ),
        (Locale::De, Purpose::Known) => (
            "Sie haben schon ein Konto",
            "jemand hat sich mit Ihrer Adresse registriert. Sie haben schon ein Konto: melden Sie sich an, oder setzen Sie ein neues Passwort.",
        ),
        (Locale::Fr, Purpose::Known) => (
            "Vous avez déjà un compte",
            "quelqu'un s'est inscrit avec votre adresse. Vous avez déjà un compte : connectez-vous, ou définissez un nouveau mot de passe.",
        ),
        (Locale::En, Purpose::PasswordChanged) => (
            "Your password was changed",
            "your password was changed. Whoever was logged in elsewhere is not any more.",
        ),
        (Locale::De, Purpose::PasswordChanged) => (
            "Ihr Passwort wurde geändert",
            "Ihr Passwort wurde geändert. Wer anderswo angemeldet war, ist es nicht mehr.",
        ),
        (Locale::Fr, Purpose::PasswordChanged) => (
            "Votre mot de passe a été modifié",
            "votre mot de passe a été modifié. Les autres sessions sont terminées.",
        ),
        (Locale::En, Purpose::SecondFactorChanged) => (
            "Your second factor was changed",
            "your second factor or your recovery codes were changed.",
        ),
        (Locale::De, Purpose::SecondFactorChanged) => (
            "Ihr zweiter Faktor wurde geändert",
            "Ihr zweiter Faktor oder Ihre Wiederherstellungscodes wurden geändert.",
        ),
        (Locale::Fr, Purpose::SecondFactorChanged) => (
            "Votre second facteur a été modifié",
            "votre second facteur ou vos codes de secours ont été modifiés.",
        ),
    };
    (format!("{seller}: {subject}"), intro.to_owned())
}

fn about_invitation(locale: Locale, account: &str) -> (String, String) {
    match locale {
        Locale::En => (
            format!("Invitation to {account}"),
            format!("you are invited to act for {account}. Accept with this link within a week."),
        ),
        Locale::De => (
            format!("Einladung zu {account}"),
            format!(
                "Sie sind eingeladen, für {account} zu handeln. Nehmen Sie mit diesem Link innerhalb einer Woche an."
            ),
        ),
        Locale::Fr => (
            format!("Invitation à {account}"),
            format!(
                "vous êtes invité à agir pour {account}. Acceptez avec ce lien dans la semaine."
            ),
        ),
    }
}
