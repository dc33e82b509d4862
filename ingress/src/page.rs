//! Pages of lists: newest first, by cursor. A cursor says where a page ended, so that nothing is
//! skipped or repeated when something is added meanwhile.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use schemars::JsonSchema;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::fields::Fields;

/// How many items a page has if nothing is said.
pub(crate) const DEFAULT: u64 = 20;
/// How many items a page has at most.
pub(crate) const MOST: u64 = 100;

/// Where a page begins and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRequest<I = Uuid> {
    limit: u64,
    /// The time and the id of the last row before it.
    after: Option<(DateTime<Utc>, I)>,
}

/// One page of a list, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

impl<I: FromStr> PageRequest<I> {
    /// Reads `limit` and `cursor`.
    pub(crate) fn read(fields: &mut Fields) -> Option<Self> {
        let limit = fields.take("limit");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let limit = limit.map_or(Some(DEFAULT), |value| text(&value)?.parse().ok());
        let limit = limit.filter(|limit| (1..=MOST).contains(limit));
        if limit.is_none() {
            fields.wrong("limit", format!("must be a whole number from 1 to {MOST}"));
        }
        let after = fields.take("cursor").map(|value| decode(&text(&value)?));
        if matches!(after, Some(None)) {
            fields.wrong("cursor", "must be the value of next from the page before");
        }
        Some(Self {
            limit: limit?,
            after: after.flatten(),
        })
    }
}

impl<I: Clone + Into<sea_orm::Value>> PageRequest<I> {
    /// The rows of the page, newest first by `time` and `id`, and one more if there is another page.
    pub(crate) fn of<E, C>(&self, rows: Select<E>, time: C, id: C) -> Select<E>
    where
        E: EntityTrait,
        C: ColumnTrait,
    {
        let rows = match &self.after {
            Some((at, last)) => {
                let older = time.into_expr().lt(*at);
                let same = time
                    .into_expr()
                    .eq(*at)
                    .and(id.into_expr().lt(last.clone()));
                rows.filter(older.or(same))
            }
            None => rows,
        };
        rows.order_by_desc(time)
            .order_by_desc(id)
            .limit(self.limit + 1)
    }
}

impl<T> Page<T> {
    /// A page of what was read: one row more than the limit tells that there is another page.
    pub(crate) fn new<R, I: Display>(
        mut rows: Vec<R>,
        request: PageRequest<I>,
        key: impl Fn(&R) -> (DateTime<Utc>, I),
        item: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| encode(key(row)));
        Self {
            items: rows.into_iter().map(item).collect(),
            next,
        }
    }
}

fn encode((at, id): (DateTime<Utc>, impl Display)) -> String {
    BASE64URL_NOPAD.encode(format!("{} {id}", at.to_rfc3339()).as_bytes())
}

fn decode<I: FromStr>(cursor: &str) -> Option<(DateTime<Utc>, I)> {
    let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
    let (at, id) = text.split_once(' ')?;
    Some((
        DateTime::parse_from_rfc3339(at).ok()?.to_utc(),
        id.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_way_to_the_caller_and_back() {
        let key = (Utc::now(), Uuid::now_v7());
        let mut query = Fields::of_query(&format!("limit=2&cursor={}", encode(key)));
        let read = PageRequest::read(&mut query);
        let expected = PageRequest {
            limit: 2,
            after: Some(key),
        };
        assert_eq!(query.finish(read).unwrap(), expected);
    }

    #[test]
    fn wrong_parameters_are_all_named() {
        for wrong in [
            "limit=0&cursor=x",
            "limit=101&cursor=",
            "limit=many&cursor=%25%25",
            "limit=1&limit=2&cursor=x",
            "limit=&cursor=x&curser=x",
        ] {
            let mut query = Fields::of_query(wrong);
            let read = PageRequest::<Uuid>::read(&mut query);
            let error = format!("{:?}", query.finish(read).unwrap_err());
            assert!(
                error.contains("\"limit\"") && error.contains("\"cursor\""),
                "{error}"
            );
        }
    }

    #[test]
    fn the_last_page_has_no_next() {
        let request = PageRequest {
            limit: 2,
            after: None,
        };
        let key = |_: &i32| (Utc::now(), Uuid::nil());
        assert!(
            Page::new(vec![1, 2, 3], request.clone(), key, |row| row)
                .next
                .is_some()
        );
        assert!(
            Page::new(vec![1, 2], request, key, |row| row)
                .next
                .is_none()
        );
    }
}
