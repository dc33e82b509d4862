//! The words of documents and mails, in every language.

use schemas::values::Locale;
use serde::Serialize;

use crate::billing::content::Unit;
use crate::billing::tax::Category;

/// The fixed words of an invoice.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Labels {
    pub(crate) invoice: &'static str,
    pub(crate) number: &'static str,
    pub(crate) issue_date: &'static str,
    pub(crate) due_date: &'static str,
    pub(crate) order: &'static str,
    pub(crate) reference: &'static str,
    pub(crate) your_vat_id: &'static str,
    pub(crate) vat_id: &'static str,
    pub(crate) position: &'static str,
    pub(crate) description: &'static str,
    pub(crate) quantity: &'static str,
    pub(crate) unit_price: &'static str,
    pub(crate) tax: &'static str,
    pub(crate) amount: &'static str,
    pub(crate) net: &'static str,
    pub(crate) total: &'static str,
    pub(crate) on: &'static str,
    pub(crate) payment: &'static str,
    pub(crate) bank: &'static str,
    pub(crate) purpose: &'static str,
    pub(crate) page: &'static str,
    pub(crate) of: &'static str,
}

const EN: Labels = Labels {
    invoice: "Invoice",
    number: "Invoice number",
    issue_date: "Date of issue",
    due_date: "Due date",
    order: "Order",
    reference: "Your reference",
    your_vat_id: "Your VAT ID",
    vat_id: "VAT ID",
    position: "No.",
    description: "Description",
    quantity: "Quantity",
    unit_price: "Unit price",
    tax: "VAT",
    amount: "Amount",
    net: "Net total",
    total: "Total due",
    on: "on",
    payment: "Payment",
    bank: "Bank",
    purpose: "Payment reference",
    page: "Page",
    of: "of",
};

const DE: Labels = Labels {
    invoice: "Rechnung",
    number: "Rechnungsnummer",
    issue_date: "Rechnungsdatum",
    due_date: "Fällig am",
    order: "Bestellung",
    reference: "Ihr Zeichen",
    your_vat_id: "Ihre USt-IdNr.",
    vat_id: "USt-IdNr.",
    position: "Pos.",
    description: "Bezeichnung",
    quantity: "Menge",
    unit_price: "Einzelpreis",
    tax: "USt.",
    amount: "Betrag",
    net: "Summe netto",
    total: "Gesamtbetrag",
    on: "auf",
    payment: "Zahlung",
    bank: "Bank",
    purpose: "Verwendungszweck",
    page: "Seite",
    of: "von",
};

const FR: Labels = Labels {
    invoice: "Facture",
    number: "Numéro de facture",
    issue_date: "Date d’émission",
    due_date: "Date d’échéance",
    order: "Commande",
    reference: "Votre référence",
    your_vat_id: "Votre n° TVA",
    vat_id: "N° TVA",
    position: "N°",
    description: "Désignation",
    quantity: "Quantité",
    unit_price: "Prix unitaire",
    tax: "TVA",
    amount: "Montant",
    net: "Total HT",
    total: "Total TTC",
    on: "sur",
    payment: "Paiement",
    bank: "Banque",
    purpose: "Référence de paiement",
    page: "Page",
    of: "sur",
};

/// The fixed words in a language.
pub(crate) fn labels(locale: Locale) -> Labels {
    match locale {
        Locale::En => EN,
        Locale::De => DE,
        Locale::Fr => FR,
    }
}

/// The fixed words of a credit note in a language. In the place of the due date it says which invoice it
/// corrects.
pub(crate) fn of_credit_note(locale: Locale) -> Labels {
    match locale {
        Locale::En => Labels {
            invoice: "Credit note",
            number: "Credit note number",
            due_date: "Corrects invoice",
            total: "Total credited",
            payment: "Credit",
            ..EN
        },
        Locale::De => Labels {
            invoice: "Rechnungskorrektur",
            number: "Nummer",
            issue_date: "Datum",
            due_date: "Zu Rechnung",
            total: "Gutgeschriebener Betrag",
            payment: "Gutschrift",
            ..DE
        },
        Locale::Fr => Labels {
            invoice: "Avoir",
            number: "Numéro d’avoir",
            due_date: "Facture corrigée",
            total: "Total crédité",
            payment: "Avoir",
            ..FR
        },
    }
}

/// What becomes of what is credited.
pub(crate) fn credit_terms(locale: Locale, total: &str) -> String {
    match locale {
        Locale::En => {
            format!("{total} is set off against what is open; what was paid already is refunded.")
        }
        Locale::De => format!(
            "{total} werden mit offenen Beträgen verrechnet; bereits Gezahltes wird erstattet."
        ),
        Locale::Fr => format!(
            "{total} sont déduits des montants dus ; ce qui a déjà été réglé est remboursé."
        ),
    }
}

/// What a quantity counts, in words for that many.
pub(crate) fn unit(locale: Locale, unit: Unit, one: bool) -> &'static str {
    match (locale, unit, one) {
        (Locale::En, Unit::Piece, true) => "piece",
        (Locale::En, Unit::Piece, false) => "pieces",
        (Locale::En, Unit::Month, true) => "month",
        (Locale::En, Unit::Month, false) => "months",
        (Locale::De, Unit::Piece, _) => "Stück",
        (Locale::De, Unit::Month, true) => "Monat",
        (Locale::De, Unit::Month, false) => "Monate",
        (Locale::Fr, Unit::Piece, true) => "unité",
        (Locale::Fr, Unit::Piece, false) => "unités",
        (Locale::Fr, Unit::Month, _) => "mois",
        (Locale::En | Locale::De, Unit::Gibibyte, _) => "GiB",
        (Locale::Fr, Unit::Gibibyte, _) => "Gio",
    }
}

/// What the law wants to read on an invoice that has lines of a category (Directive 2006/112/EC
/// art. 226 (11) and (11a)).
pub(crate) fn note(locale: Locale, category: Category) -> Option<&'static str> {
    Some(match (locale, category) {
        (_, Category::Standard | Category::Zero) => return None,
        (Locale::En, Category::ReverseCharge) => {
            "Reverse charge: the customer is liable for the VAT (Art. 196 Directive 2006/112/EC)."
        }
        (Locale::De, Category::ReverseCharge) => {
            "Steuerschuldnerschaft des Leistungsempfängers (Art. 196 Richtlinie 2006/112/EG)."
        }
        (Locale::Fr, Category::ReverseCharge) => {
            "Autoliquidation : TVA due par le preneur (art. 196 directive 2006/112/CE)."
        }
        (Locale::En, Category::Export) => {
            "Not subject to VAT: the service is supplied outside the European Union (Art. 44 and 59 Directive 2006/112/EC)."
        }
        (Locale::De, Category::Export) => {
            "Nicht steuerbar: Leistungsort außerhalb der Europäischen Union (Art. 44 und 59 Richtlinie 2006/112/EG)."
        }
        (Locale::Fr, Category::Export) => {
            "Hors champ de la TVA : prestation fournie en dehors de l’Union européenne (art. 44 et 59 directive 2006/112/CE)."
        }
        (Locale::En, Category::Exempt) => "Exempt from VAT.",
        (Locale::De, Category::Exempt) => "Umsatzsteuerfrei.",
        (Locale::Fr, Category::Exempt) => "Exonéré de TVA.",
    })
}

/// How and until when to pay.
pub(crate) fn payment_terms(locale: Locale, total: &str, due: &str, days: u32) -> String {
    match locale {
        Locale::En => {
            format!("Please pay {total} within {days} days, by {due}, without deduction.")
        }
        Locale::De => format!(
            "Bitte zahlen Sie {total} innerhalb von {days} Tagen, bis zum {due}, ohne Abzug."
        ),
        Locale::Fr => format!(
            "Merci de régler {total} sous {days} jours, au plus tard le {due}, sans escompte."
        ),
    }
}
