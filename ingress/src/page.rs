//! Pages of lists: newest first, by cursor. A cursor says where a page ended, so that nothing is
//! skipped or repeated when something is added meanwhile.

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use schemas::problem::FieldError;
use sea_orm::sea_query::SimpleExpr;
use sea_orm::{ColumnTrait, ExprTrait};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ApiError;

const DEFAULT: u64 = 20;
const MOST: u64 = 100;

/// The query parameters of a list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Where a page begins and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) limit: u64,
    after: Option<(DateTime<Utc>, Uuid)>,
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

impl PageQuery {
    /// # Errors
    /// 422 when a parameter is wrong.
    pub(crate) fn parse(self) -> Result<PageRequest, ApiError> {
        let mut errors = Vec::new();
        let limit = self.limit.map_or(Some(DEFAULT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MOST).contains(limit));
        if limit.is_none() {
            errors.push(FieldError::new(
                "limit",
                format!("must be a whole number from 1 to {MOST}"),
            ));
        }
        let after = self.cursor.map(|text| decode(&text));
        if after == Some(None) {
            errors.push(FieldError::new(
                "cursor",
                "must be the value of next from the page before",
            ));
        }
        match limit {
            Some(limit) if errors.is_empty() => Ok(PageRequest {
                limit,
                after: after.flatten(),
            }),
            _ => Err(ApiError::invalid(errors)),
        }
    }
}

impl PageRequest {
    /// The condition that rows come after the cursor in a list sorted by `time` and `id`, newest first.
    pub(crate) fn condition<C: ColumnTrait>(&self, time: C, id: C) -> Option<SimpleExpr> {
        let (at, last) = self.after?;
        let older = time.into_expr().lt(at);
        let same = time.into_expr().eq(at).and(id.into_expr().lt(last));
        Some(older.or(same))
    }
}

impl<T> Page<T> {
    /// A page of what was read: one row more than the limit tells that there is another page.
    pub(crate) fn new<R>(
        mut rows: Vec<R>,
        request: PageRequest,
        key: impl Fn(&R) -> (DateTime<Utc>, Uuid),
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

fn encode((at, id): (DateTime<Utc>, Uuid)) -> String {
    BASE64URL_NOPAD.encode(format!("{} {id}", at.to_rfc3339()).as_bytes())
}

fn decode(cursor: &str) -> Option<(DateTime<Utc>, Uuid)> {
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
        let query = PageQuery {
            limit: Some("2".into()),
            cursor: Some(encode(key)),
        };
        assert_eq!(
            query.parse().unwrap(),
            PageRequest {
                limit: 2,
                after: Some(key)
            }
        );
    }

    #[test]
    fn wrong_parameters_are_all_named() {
        for (limit, cursor) in [("0", "x"), ("101", ""), ("many", "%%%")] {
            let query = PageQuery {
                limit: Some(limit.into()),
                cursor: Some(cursor.into()),
            };
            let error = format!("{:?}", query.parse().unwrap_err());
            assert!(
                error.contains("limit") && error.contains("cursor"),
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
            Page::new(vec![1, 2, 3], request, key, |row| row)
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
