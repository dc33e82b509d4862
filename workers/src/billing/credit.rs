//! What is credited of an invoice: never more than is left, at the original rates of tax.

use std::collections::BTreeMap;

use schemas::invoice::CreditLine;
use schemas::problem::FieldError;
use schemas::values::{InvalidValue, Money, Quantity};

use super::content::{InvoiceContent, Line, TaxSubtotal, Unit};
use super::tax::Category;

/// The lines of a credit note with its tax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) lines: Vec<Line>,
    pub(crate) taxes: Vec<TaxSubtotal>,
    pub(crate) net: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
    /// Whether nothing is left of the invoice after it.
    pub(crate) whole: bool,
}

/// Why nothing is credited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Everything is credited already.
    NothingLeft,
    /// These fields ask for what there is not.
    Fields(Vec<FieldError>),
    /// The amounts do not fit.
    TooLarge(InvalidValue),
}

impl From<InvalidValue> for Refused {
    fn from(error: InvalidValue) -> Self {
        Self::TooLarge(error)
    }
}

/// Credits these lines of an invoice, or all that earlier credit notes have left.
///
/// Tax is rounded on all that was credited at a rate so far, less what was credited before: once
/// everything is credited, the tax is that of the invoice to the last minor unit.
pub(crate) fn credit(
    invoice: &InvoiceContent,
    earlier: &[InvoiceContent],
    wanted: &[CreditLine],
) -> Result<Credit, Refused> {
    let left = left(invoice, earlier);
    if left.values().all(|left| *left == 0) {
        return Err(Refused::NothingLeft);
    }
    let nets = chosen(invoice, &left, wanted)?;
    let mut lines = Vec::new();
    let mut whole = true;
    for line in &invoice.lines {
        let left = left.get(&line.position).copied().unwrap_or_default();
        let net = nets.get(&line.position).copied().unwrap_or_default();
        whole &= net == left;
        if net != 0 {
            lines.push(credited(line, Money::new(net, invoice.currency))?);
        }
    }
    let taxes = taxes(&lines, earlier)?;
    let currency = invoice.currency;
    let net = Money::sum(lines.iter().map(|line| line.net), currency)?;
    let tax = Money::sum(taxes.iter().map(|tax| tax.tax), currency)?;
    Ok(Credit {
        total: Money::sum([net, tax], currency)?,
        lines,
        taxes,
        net,
        tax,
        whole,
    })
}

/// What is left of each line, in minor units.
fn left(invoice: &InvoiceContent, earlier: &[InvoiceContent]) -> BTreeMap<u32, i64> {
    let lines = invoice.lines.iter();
    let mut left: BTreeMap<u32, i64> = lines.map(|line| (line.position, line.net.minor)).collect();
    for line in earlier.iter().flat_map(|note| &note.lines) {
        if let Some(left) = left.get_mut(&line.position) {
            *left -= line.net.minor;
        }
    }
    left
}

/// What is asked for of each line, in minor units.
fn chosen(
    invoice: &InvoiceContent,
    left: &BTreeMap<u32, i64>,
    wanted: &[CreditLine],
) -> Result<BTreeMap<u32, i64>, Refused> {
    if wanted.is_empty() {
        return Ok(left.clone());
    }
    let mut nets = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, line) in wanted.iter().enumerate() {
        let mut wrong = |field: &str, reason: String| {
            errors.push(FieldError::new(format!("lines[{index}].{field}"), reason));
        };
        let Some(left) = left.get(&line.position) else {
            let last = invoice.lines.len();
            wrong(
                "position",
                format!("must be a line of the invoice, 1 to {last}"),
            );
            continue;
        };
        let most = Money::new(*left, invoice.currency);
        match line.net.in_currency(invoice.currency) {
            Err(InvalidValue(reason)) => wrong("net", reason),
            Ok(net) if net.minor <= 0 => wrong("net", "must be above 0".to_owned()),
            Ok(net) if net.minor > *left => {
                wrong("net", format!("must be at most what is left of it, {most}"));
            }
            Ok(net) if nets.insert(line.position, net.minor).is_some() => {
                wrong("position", "must be there once".to_owned());
            }
            Ok(_) => {}
        }
    }
    match errors.is_empty() {
        true => Ok(nets),
        false => Err(Refused::Fields(errors)),
    }
}

/// The line as it was, if it is credited whole; else one piece of it.
fn credited(line: &Line, net: Money) -> Result<Line, InvalidValue> {
    if net == line.net {
        return Ok(line.clone());
    }
    Ok(Line {
        quantity: Quantity::from(1),
        unit: Unit::Piece,
        unit_price: net.decimal().to_string().parse()?,
        net,
        ..line.clone()
    })
}

fn taxes(lines: &[Line], earlier: &[InvoiceContent]) -> Result<Vec<TaxSubtotal>, InvalidValue> {
    let mut taxes: Vec<TaxSubtotal> = Vec::new();
    for line in lines {
        let known = taxes
            .iter_mut()
            .find(|tax| (tax.category, tax.rate) == (line.category, line.rate));
        match known {
            Some(subtotal) => {
                subtotal.base = Money::sum([subtotal.base, line.net], line.net.currency)?;
            }
            None => taxes.push(TaxSubtotal {
                category: line.category,
                rate: line.rate,
                base: line.net,
                tax: Money::new(0, line.net.currency),
            }),
        }
    }
    for subtotal in &mut taxes {
        let same =
            |tax: &&TaxSubtotal| (tax.category, tax.rate) == (subtotal.category, subtotal.rate);
        let before = earlier.iter().flat_map(|note| &note.taxes).filter(same);
        let before: Vec<_> = before.collect();
        let currency = subtotal.base.currency;
        let bases = before.iter().map(|tax| tax.base);
        let base = Money::sum(bases.chain([subtotal.base]), currency)?;
        let tax = Money::sum(before.iter().map(|tax| tax.tax), currency)?;
        let taxed = subtotal.category == Category::Standard;
        let so_far = if taxed {
            subtotal.rate.of(base)?
        } else {
            Money::new(0, currency)
        };
        subtotal.tax = Money::new(so_far.minor - tax.minor, currency);
    }
    Ok(taxes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::billing::content::totals;

    fn invoice(nets: &[(i64, &str)]) -> InvoiceContent {
        let mut content = crate::document::example(schemas::values::Locale::En).unwrap();
        let template = content.lines[0].clone();
        content.lines = nets
            .iter()
            .zip(1..)
            .map(|((net, rate), position)| Line {
                position,
                net: Money::new(*net, content.currency),
                category: if *rate == "0" {
                    Category::ReverseCharge
                } else {
                    Category::Standard
                },
                rate: rate.parse().unwrap(),
                ..template.clone()
            })
            .collect();
        let (taxes, net, tax, total) = totals(&content.lines, content.currency).unwrap();
        InvoiceContent {
            taxes,
            net,
            tax,
            total,
            ..content
        }
    }

    fn line(position: u32, net: &str) -> CreditLine {
        CreditLine {
            position,
            net: net.parse().unwrap(),
        }
    }

    fn note(invoice: &InvoiceContent, credit: Credit) -> InvoiceContent {
        let Credit {
            lines,
            taxes,
            net,
            tax,
            total,
            ..
        } = credit;
        InvoiceContent {
            lines,
            taxes,
            net,
            tax,
            total,
            ..invoice.clone()
        }
    }

    #[test]
    fn an_invoice_is_credited_whole_as_it_was() {
        let invoice = invoice(&[(990, "19"), (500, "7"), (100, "0")]);
        let all = credit(&invoice, &[], &[]).unwrap();
        assert_eq!(
            (all.net, all.tax, all.total),
            (invoice.net, invoice.tax, invoice.total)
        );
        assert_eq!((&all.lines, &all.taxes), (&invoice.lines, &invoice.taxes));
        assert!(all.whole);
        let after = [note(&invoice, all)];
        assert_eq!(credit(&invoice, &after, &[]), Err(Refused::NothingLeft));
    }

    #[test]
    fn no_more_is_credited_than_is_left() {
        let invoice = invoice(&[(990, "19"), (500, "7")]);
        let part = credit(&invoice, &[], &[line(1, "9.50")]).unwrap();
        assert_eq!(
            (part.net.minor, part.tax.minor, part.whole),
            (950, 181, false)
        );
        let earlier = [note(&invoice, part)];
        let wrong = [
            line(1, "0.41"),
            line(3, "1"),
            line(2, "-1"),
            line(2, "0.001"),
            line(2, "1"),
            line(2, "1"),
        ];
        let Err(Refused::Fields(errors)) = credit(&invoice, &earlier, &wrong) else {
            panic!("it is refused");
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "lines[0].net",
                "lines[1].position",
                "lines[2].net",
                "lines[3].net",
                "lines[5].position"
            ]
        );
        assert!(errors[0].message.contains("0.40 EUR"), "{errors:?}");
        let rest = credit(&invoice, &earlier, &[]).unwrap();
        assert_eq!((rest.net.minor, rest.whole), (540, true));
    }

    proptest! {
        /// However an invoice is cut into credit notes, together they are the invoice.
        #[test]
        fn parts_add_up_to_the_invoice(
            nets in proptest::collection::vec((1_i64..100_000, 0..4_usize), 1..6),
            cuts in proptest::collection::vec((0..6_usize, 1_i64..50_000), 0..12),
        ) {
            let rates = ["19", "7", "0", "8.875"];
            let nets: Vec<_> = nets.into_iter().map(|(net, rate)| (net, rates[rate])).collect();
            let invoice = invoice(&nets);
            let mut notes = Vec::new();
            for (index, cents) in cuts {
                let position = u32::try_from(index % nets.len()).unwrap() + 1;
                let net = Money::new(cents, invoice.currency).decimal().to_string();
                match credit(&invoice, &notes, &[line(position, &net)]) {
                    Ok(part) => {
                        prop_assert!(part.tax.minor >= 0);
                        notes.push(note(&invoice, part));
                    }
                    Err(refused) => prop_assert!(!matches!(refused, Refused::TooLarge(_))),
                }
            }
            match credit(&invoice, &notes, &[]) {
                Ok(rest) => {
                    prop_assert!(rest.whole);
                    notes.push(note(&invoice, rest));
                }
                Err(refused) => prop_assert_eq!(refused, Refused::NothingLeft),
            }
            let sum = |of: fn(&InvoiceContent) -> Money| notes.iter().map(|note| of(note).minor).sum::<i64>();
            prop_assert_eq!(sum(|note| note.net), invoice.net.minor);
            prop_assert_eq!(sum(|note| note.tax), invoice.tax.minor);
            prop_assert_eq!(sum(|note| note.total), invoice.total.minor);
        }
    }
}
